"""Errors of incremental jobs: what they keep of how far they have come, and what has happened to their tables."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError, listed

if TYPE_CHECKING:
    from collections.abc import Sequence


class StreamError(RequestError):
    """What an incremental job keeps of how far it has come cannot be used."""

    @classmethod
    def no_checkpoint_home(cls, output: str) -> StreamError:
        cause = f"the folder of the output {output} is its catalog's own, so the checkpoint cannot be kept in it"
        fix = "say where, such as incremental: {checkpoint: /Volumes/main/ml/checkpoints}"
        return cls([Problem("incremental.checkpoint", cause, fix)])

    @classmethod
    def checkpoint_in_table(cls, folder: str) -> StreamError:
        cause = f"{folder} lies in the folder of a table, whose VACUUM would delete it"
        return cls([Problem("incremental.checkpoint", cause, "leave it out, or give a folder of its own")])

    @classmethod
    def bad_checkpoint(cls, folder: str) -> StreamError:
        cause = "its files cannot be read as those of a stream from a Delta table"
        return cls([Problem(f"checkpoint {folder}", cause, "force: true begins a new one and scores everything")])

    @classmethod
    def would_double(cls, output: str, folder: str) -> StreamError:
        cause = (
            f"the output {output} holds rows of this job, but its checkpoint is gone: everything would be added again"
        )
        fix = "bring the checkpoint back, or replace those rows: force: true; mode: merge needs neither"
        return cls([Problem(f"checkpoint {folder}", cause, fix)])

    @classmethod
    def would_repeat(cls, output: str, version: int, rows: int, run_id: str) -> StreamError:
        cause = f"its version {version} has {rows:,} rows of this job, and a first incremental run would add them again"
        undo = f"spark-scoring rollback {shlex.quote(output)} {run_id[:8]}"
        fix = f"take that run back: {undo}; or score into another output; or, to add them again, force: true"
        return cls([Problem(f"output {output}", cause, fix)])

    @staticmethod
    def _harm(*, adds: bool) -> str:
        """What scoring a source from its beginning does to an output."""
        return "; all its rows would be added again" if adds else "; predictions of rows that are gone would stay"

    @staticmethod
    def _anew(*, adds: bool) -> str:
        """How a source is scored from its beginning all the same."""
        if adds:
            return "force: true, for one run, puts the source's rows in the place of the job's; or give a new output"
        return (
            "force: true, for one run, scores everything again and leaves predictions of rows that are gone; "
            "changes: follow deletes those, with the source's change data feed"
        )

    @classmethod
    def other_source(cls, source: str, *, adds: bool) -> StreamError:
        cause = (
            "it is not the table that this job has read so far: that one was dropped and created again, or replaced, "
            f"or the job now names another one{cls._harm(adds=adds)}"
        )
        return cls([Problem(f"source {source}", cause, cls._anew(adds=adds))])

    @classmethod
    def replaced(cls, source: str, version: int, operation: str, *, adds: bool) -> StreamError:
        cause = (
            f"its version {version} ({operation}) put rows in the place of others, some of which this job may have "
            f"scored{cls._harm(adds=adds)}"
        )
        return cls([Problem(f"source {source}", cause, cls._anew(adds=adds))])

    @classmethod
    def columns_altered(cls, source: str, version: int, operation: str) -> StreamError:
        cause = f"its version {version} ({operation}) altered columns in a way that a stream does not read over"
        fix = "force: true, for one run, scores everything again and goes on from there"
        return cls([Problem(f"source {source}", cause, fix)])

    @classmethod
    def changed(cls, source: str) -> StreamError:
        cause = "rows that were scored have been updated, deleted or overwritten in it, and changes: refuse stops"
        fix = (
            "incremental: {changes: follow}, with mode: merge, scores them again; "
            "incremental: {changes: ignore} leaves their predictions as they are"
        )
        return cls([Problem(f"source {source}", cause, fix)])

    @classmethod
    def would_pass_over(cls, source: str, sql: str | None, passed: Sequence[tuple[int, int | None]]) -> StreamError:
        """``sql``: the source's quoted name, where it has no change data feed yet; ``passed``: versions and rows."""
        rows = sum(rows or 0 for _, rows in passed)
        at_least = "at least " if any(rows is None for _, rows in passed) else ""
        versions = listed([str(version) for version, _ in passed])
        cause = (
            f"{len(passed)} of its commits insert rows beside those that they update or delete (versions {versions}; "
            f"{at_least}{rows:,} rows inserted): changes: ignore would lose them, as it reads no change data feed"
        )
        turn_on = f"ALTER TABLE {sql} SET TBLPROPERTIES (delta.enableChangeDataFeed = true), then " if sql else ""
        fix = f"{turn_on}force: true, for one run, scores everything again and reads the feed from then on"
        return cls([Problem(f"source {source}", cause, fix)])

    @classmethod
    def output_restored(cls, output: str) -> StreamError:
        cause = "it no longer holds all that this job has written: it was restored to an older version, or made again"
        fix = "force: true, for one run, scores everything again and replaces the rows of this job"
        return cls([Problem(f"output {output}", cause, fix)])

    @classmethod
    def not_incremental(cls) -> StreamError:
        cause = "only an incremental job keeps going"
        return cls([Problem("continuous", cause, "set incremental: true, or run the job without it")])
