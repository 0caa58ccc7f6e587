"""Errors of a table's history: looking back at runs, and taking one back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError, RunError, listed

if TYPE_CHECKING:
    from collections.abc import Sequence


class HistoryError(RequestError):
    """A table's runs cannot be shown, or one of them cannot be taken back; nothing was changed."""

    @classmethod
    def no_table(cls, text: str) -> HistoryError:
        return cls([Problem(f"table {text}", "there is no such Delta table", "check the name or path")])

    @classmethod
    def no_run(cls, text: str, run_id: str, runs: Sequence[str], *, ambiguous: bool) -> HistoryError:
        cause = "several run ids begin with this" if ambiguous else "the table's history holds no such run"
        fix = (
            f"give eight or more characters of one of its runs: {listed(runs)}"
            if runs
            else "spark_scoring has made no run in it"
        )
        return cls([Problem(f"run {run_id} of {text}", cause, fix)])

    @classmethod
    def already(cls, text: str, run_id: str) -> HistoryError:
        return cls([Problem(f"run {run_id} of {text}", "it was rolled back before", "there is nothing to do")])

    @classmethod
    def touched(cls, text: str, run_id: str) -> HistoryError:
        cause = "others changed, removed or replaced rows of it since"
        fix = "look at the table's history; DELETE or RESTORE by hand if you know what is right"
        return cls([Problem(f"run {run_id} of {text}", cause, fix)])

    @classmethod
    def built_upon(cls, text: str, run_id: str, later: Sequence[str]) -> HistoryError:
        cause = f"what it replaced cannot be put back without losing what came later: {listed(later)}"
        fix = "roll those back first, the newest first, or RESTORE by hand if they may go"
        return cls([Problem(f"run {run_id} of {text}", cause, fix)])


class RollbackFailedError(RunError):
    """A run could not be taken back."""

    @classmethod
    def refused(cls, text: str, run_id: str, kind: str) -> RollbackFailedError:
        cause = f"Spark failed with {kind}; the table is as it was"
        fix = "see the chained error; where older files were vacuumed, what a run replaced cannot be put back"
        return cls([Problem(f"run {run_id} of {text}", cause, fix)])

    @classmethod
    def overtaken(cls, text: str, version: int, others: int) -> RollbackFailedError:
        cause = f"version {version} took the run back, but with it {others} commits that others made meanwhile"
        fix = f"RESTORE TABLE ... TO VERSION AS OF {version - 1} brings them back"
        return cls([Problem(f"output {text}", cause, fix)])
