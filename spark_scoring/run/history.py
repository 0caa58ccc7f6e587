"""Looks back: the runs that a table has seen, and taking one of them back."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from spark_scoring.delta.history_errors import HistoryError
from spark_scoring.delta.ledger import read_commits
from spark_scoring.delta.names import resolve
from spark_scoring.delta.rollback import RolledBack
from spark_scoring.delta.rollback import roll_back as take_back
from spark_scoring.delta.tables import is_delta
from spark_scoring.drift.result import Drift
from spark_scoring.job_file import place_of
from spark_scoring.redact import printable
from spark_scoring.screen import Shown
from spark_scoring.session import get_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.delta.ledger import Commit, RunFacts
    from spark_scoring.delta.names import TableRef


@dataclass(frozen=True)
class RunRecord:
    """One run in a table's history."""

    run_id: str
    version: int
    """The table's version that it made."""
    committed: str
    """UTC, ISO 8601."""
    seconds: float | None
    """From the run's start to its commit."""
    user: str | None
    job: str | None
    mode: str
    model: str | None
    model_version: str | None
    source: str | None
    source_version: int | None
    rows_in: int
    rows_written: int
    """Of a merge: those that it inserted or updated."""
    quarantined: int
    rolled_back: bool
    bad_rows: int | None = None
    """Rows that could not be scored; None where the run did not count them before its commit."""
    drift: float | None = None
    """The greatest PSI of a feature to training; None where it was not measured."""

    def __repr__(self) -> str:
        undone = ", rolled back" if self.rolled_back else ""
        return f"<RunRecord {self.run_id}: {self.mode} at version {self.version}, {self.rows_written:,} rows{undone}>"


class RunHistory(Shown, list[RunRecord]):
    """The runs of a table, newest first: a list that a notebook shows as a table."""

    def view(self) -> Table:
        """The runs in a table."""
        return history_view(self)

    def __repr__(self) -> str:
        return f"<RunHistory of {len(self)} run{'' if len(self) == 1 else 's'}>"


def run_history(table: str, spark: SparkSession | None = None, *, limit: int | None = None) -> RunHistory:
    """The runs of a table, newest first; as far as its log reaches back.

    Args:
        table: its name, or its path (with a slash).
        spark: the session; default: the active one, else a new local one.
        limit: commits to look at, those of others included; default: all.

    Raises:
        HistoryError: there is no such Delta table.

    """
    spark = spark or get_session()
    return records_of(read_commits(spark, history_table(spark, table), limit))


def records_of(commits: Sequence[Commit]) -> RunHistory:
    """The runs among a table's commits, in their order."""
    taken_back = {commit.rolled_back for commit in commits}
    return RunHistory(
        _record(commit, commit.facts, rolled_back=commit.facts.run_id in taken_back)
        for commit in commits
        if commit.facts is not None
    )


def roll_back(table: str, run_id: str, spark: SparkSession | None = None) -> list[RolledBack]:
    """Take one run back: remove its rows, or put back what they replaced; in its quarantine, too.

    Args:
        table: the output's name, or its path (with a slash).
        run_id: of the run; its first eight characters or more will do.
        spark: the session; default: the active one, else a new local one.

    Raises:
        HistoryError: no such table or run, or others changed or replaced its rows since; nothing was changed.
        RollbackFailedError: Delta refused, or another writer came between.

    """
    spark = spark or get_session()
    return take_back(spark, history_table(spark, table), run_id)


def history_table(spark: SparkSession, table: str) -> TableRef:
    """A table whose runs are looked at.

    Raises:
        HistoryError: there is no such Delta table.

    """
    ref = resolve(spark, **place_of(table))
    if not is_delta(spark, ref):
        raise HistoryError.no_table(ref.text)
    return ref


def history_view(records: Sequence[RunRecord]) -> Table:
    """Runs as a rich renderable. At 80 characters, times and numbers are whole: words alone are wrapped."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("when (UTC)", "run", "version", "seconds", "rows"):
        table.add_column(head, no_wrap=True)  # rollback takes eight characters of a run
    table.add_column("model, mode, job, by", overflow="fold")
    for record in records:
        seconds = "" if record.seconds is None else f"{record.seconds:.1f}"
        when = record.committed[:16].replace("T", " ")
        cells = (when, record.run_id[:8], str(record.version), seconds, _rows(record), _what(record))
        table.add_row(*map(Text, cells))
    return table


def _rows(record: RunRecord) -> str:
    """Those that were written, of how many where these are others, and bad ones, wherever they are; a line each."""
    rows = [f"{record.rows_written:,}"]
    if record.rows_written != record.rows_in:
        rows.append(f"of {record.rows_in:,}")
    if bad := record.quarantined or record.bad_rows:
        rows.append(f"{bad:,} bad")
    return "\n".join(rows)


def _what(record: RunRecord) -> str:
    """What has run; a job without a name of its own is called by its model and its source."""
    model = record.model if record.model_version is None else f"{record.model} {record.model_version}"
    job = None if record.job == f"{record.model} on {record.source}" else record.job
    by = None if record.user is None else f"by {record.user}"
    told = (model, record.mode, "rolled back" if record.rolled_back else None, job, by)
    return printable(", ".join(part for part in told if part))


def record_dict(record: RunRecord) -> dict[str, Any]:
    """A run as JSON types."""
    return asdict(record)


def _record(commit: Commit, facts: RunFacts, *, rolled_back: bool) -> RunRecord:
    drift = Drift.of_ledger(facts.drift)
    return RunRecord(
        run_id=facts.run_id,
        version=commit.version,
        committed=dt.datetime.fromtimestamp(commit.committed, tz=dt.timezone.utc).isoformat(),
        seconds=commit.seconds,
        user=facts.user,
        job=facts.job,
        mode=facts.mode,
        model=facts.model_name or facts.model_uri,
        model_version=facts.model_version,
        source=facts.source,
        source_version=facts.source_version,
        rows_in=facts.rows_in,
        rows_written=commit.rows,
        quarantined=facts.quarantined if facts.part == "predictions" else 0,
        bad_rows=facts.bad,
        rolled_back=rolled_back,
        drift=None if drift is None else drift.greatest,
    )
