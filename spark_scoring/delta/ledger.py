"""The run's facts in the commit's user metadata; the table's history is the ledger."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.tables import history
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyspark.sql import Row, SparkSession

    from spark_scoring.delta.names import TableRef

Mode = Literal["append", "overwrite", "merge"]
Part = Literal["predictions", "quarantine"]

LEDGER_KEY = "spark_scoring"
"""Of our part of a commit's user metadata."""
_NEWEST = 20
"""Commits that are read first: Delta reads a file for each."""
_LOOK_BACK = 1000
"""Commits that are read to find a run; a table with more of them since is asked for all only where it matters."""

KEEPS_ROWS = frozenset(
    {
        "OPTIMIZE",
        "REORG",
        "VACUUM START",
        "VACUUM END",
        "SET TBLPROPERTIES",
        "UNSET TBLPROPERTIES",
        "ADD CONSTRAINT",
        "DROP CONSTRAINT",
        "CLUSTER BY",
        "ADD FEATURE",
        "UPGRADE PROTOCOL",
        "COMPUTE STATS",
        "ANALYZE TABLE",
    }
)
"""Operations after which a table reads as it did before."""
_ADDS_NOTHING = KEEPS_ROWS | {"ADD COLUMNS", "CHANGE COLUMN", "CHANGE COLUMNS", "RENAME COLUMN"}
"""Operations that leave every row as it was."""
REPLACES_TABLE = frozenset(
    {
        "REPLACE TABLE",
        "REPLACE TABLE AS SELECT",
        "CREATE OR REPLACE TABLE",
        "CREATE OR REPLACE TABLE AS SELECT",
        "CLONE",
    }
)
"""Operations that put another table in the place of the one before."""


@dataclass(frozen=True)
class RunFacts:
    """What identifies a run; its counts are in the same history row as Delta's own metrics."""

    run_id: str
    idempotency_key: str
    """Equal for two runs that would write the same rows; the app id of Delta's transaction mark."""
    generation: int
    """How often a run of this key was made: the version of Delta's transaction mark."""
    job: str
    mode: Mode
    run_column: str
    """The output's column that holds the run's id."""
    model_uri: str
    model_name: str | None
    model_version: str | None
    model_digest: str
    plan_hash: str
    source: str
    source_id: str | None
    """Delta's own; None of a source that is not a Delta table."""
    source_version: int | None
    where: str | None
    rows_in: int
    user: str
    started: str
    """UTC, ISO 8601."""
    replace_where: str | None = None
    key: tuple[str, ...] = ()
    """Of a merge."""
    part: Part = "predictions"
    quarantine: str | None = None
    """Where the run's bad rows are, if not in the output."""
    quarantined: int = 0
    bad: int | None = None
    """Rows that could not be scored; None where they were not counted before the commit."""
    feature_tables: dict[str, int | None] = field(default_factory=dict)
    """The version of each feature table that was read."""
    read_tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Delta's ``id`` and the ``version`` of each table that the job's expressions read in subqueries, by its name."""
    source_files: dict[str, Any] | None = None
    """Of a source that is not a Delta table but files: their ``count``, ``size`` in bytes, and a ``digest`` of their
    paths, sizes and times."""
    stream: str | None = None
    """Of a micro-batch: what tells the incremental job apart from others; its runs' ids end with it."""
    batch: int | None = None
    """Of a micro-batch: its number in the job's checkpoint. Its idempotency key is the checkpoint's."""
    removed: int = 0
    """Keys that are gone from the source, of a micro-batch that is merged."""
    outputs: dict[str, str] = field(default_factory=dict)
    """The output's columns that scoring adds, by its own names; empty where an earlier version wrote the facts."""
    drift: dict[str, Any] | None = None
    """What was measured of drift, in short; None where nothing was."""
    lineage: dict[str, str] = field(default_factory=dict)
    """The output's columns that tell of model, time and run, by their own names; empty as ``outputs``."""

    @property
    def first_generation(self) -> int:
        """Of a run of this key that was not made before: those of a later micro-batch are above all of this one's."""
        return 1 if self.batch is None else (self.batch << 32) + 1

    def is_same_run(self, other: RunFacts) -> bool:
        """Whether both would write the same rows."""
        return (self.idempotency_key, self.batch) == (other.idempotency_key, other.batch)

    def to_json(self) -> str:
        """For the commit's ``userMetadata``."""
        facts = asdict(self)
        for name in ("job", "model_uri", "model_name", "source", "where", "quarantine"):
            facts[name] = facts[name] and redact(facts[name])
        return json.dumps({LEDGER_KEY: facts}, sort_keys=True)


_DEFAULTS: dict[str, Any] = {
    **{field.name: None if field.default is MISSING else field.default for field in fields(RunFacts)},
    "idempotency_key": "",
    "generation": 0,
    "mode": "append",
    "run_column": "run_id",
    "rows_in": 0,
    "feature_tables": {},
    "read_tables": {},
    "outputs": {},
    "lineage": {},
}
"""For facts that another version of this package wrote."""


@dataclass(frozen=True)
class Commit:
    """A version of a table: what made it, and the run if it was one of ours."""

    version: int
    committed: float
    """Seconds since the epoch."""
    operation: str
    parameters: dict[str, Any]
    metrics: dict[str, str]
    facts: RunFacts | None
    rolled_back: str | None
    """The run that it takes back, where it does."""

    @property
    def seconds(self) -> float | None:
        """From the run's start to this commit, which is of the storage's clock; None where no run's start is kept."""
        if self.facts is None or not self.facts.started:
            return None
        return max(0.0, round(self.committed - dt.datetime.fromisoformat(self.facts.started).timestamp(), 3))

    @property
    def rows(self) -> int:
        """Rows that it wrote: those that it only copied to another file are not counted."""
        if self.operation == "MERGE":
            return self.metric("numTargetRowsInserted") + self.metric("numTargetRowsUpdated")
        return self.metric("numOutputRows") - self.metric("numCopiedRows")

    @property
    def changes_rows(self) -> bool:
        """Whether rows that were there before may be gone or other since; an operation not known here may do so."""
        if self.operation in _ADDS_NOTHING:
            return False
        match self.operation:
            case "WRITE" | "STREAMING UPDATE":
                return self.parameters.get("mode", self.parameters.get("outputMode")) != "Append"
            case "MERGE":
                return self.metric("numTargetRowsUpdated") + self.metric("numTargetRowsDeleted") > 0
            case "UPDATE":
                return self.metrics.get("numUpdatedRows") != "0"
            case "DELETE":
                return self.metrics.get("numDeletedRows") != "0"
            case _:
                return True

    @property
    def rows_seen(self) -> int:
        """Rows that it was given: a merge leaves some as they are."""
        return self.metric("numSourceRows") if self.operation == "MERGE" else self.rows

    def metric(self, name: str) -> int:
        """One of Delta's operation metrics; 0 where it gave none."""
        return int(self.metrics.get(name, 0))


def kept_runs(commits: Sequence[Commit]) -> Iterator[tuple[Commit, RunFacts]]:
    """The runs among commits that none of them takes back, in their order."""
    taken_back = {commit.rolled_back for commit in commits}
    for commit in commits:
        if commit.facts is not None and commit.facts.run_id not in taken_back:
            yield commit, commit.facts


def is_merged_by(commits: Sequence[Commit], key: Sequence[str]) -> bool:
    """Whether the key is known to tell a table's rows apart: its last run merged by it, and no row was added since.

    Args:
        commits: of the table, newest first.
        key: columns.

    """
    for commit in commits:
        if commit.facts is not None and commit.facts.mode == "merge":
            return [name.lower() for name in commit.facts.key] == [name.lower() for name in key]
        if commit.operation not in {*_ADDS_NOTHING, "DELETE"}:
            return False
    return False


def read_commits(spark: SparkSession, ref: TableRef, limit: int | None = _LOOK_BACK) -> list[Commit]:
    """The table's commits, newest first."""
    rows = history(spark, ref, limit).withColumn("micros", F.unix_micros("timestamp"))
    return [_commit(row) for row in rows.collect()]


def find_commit(spark: SparkSession, ref: TableRef, run_id: str) -> Commit | None:
    """The commit that carries a run's id, None where the history does not hold it. It is nearly always a new one."""
    for limit in (_NEWEST, _LOOK_BACK):
        commits = read_commits(spark, ref, limit)
        found = next((c for c in commits if c.facts is not None and c.facts.run_id == run_id), None)
        if found is not None or len(commits) < limit:
            return found
    return None


def _commit(row: Row) -> Commit:
    ours = _ours(row["userMetadata"])
    return Commit(
        version=int(row["version"]),
        committed=row["micros"] / 1e6,
        operation=str(row["operation"]),
        parameters=row["operationParameters"] or {},
        metrics=row["operationMetrics"] or {},
        facts=_facts(ours) if ours.get("run_id") else None,
        rolled_back=ours.get("rolled_back"),
    )


def _ours(metadata: str | None) -> dict[str, Any]:
    """Our part of a commit's user metadata; empty for a commit that is not ours."""
    try:
        outer = json.loads(metadata or "null")
    except json.JSONDecodeError:
        return {}
    inner = outer.get(LEDGER_KEY) if isinstance(outer, dict) else None
    return inner if isinstance(inner, dict) else {}


def _facts(ours: dict[str, Any]) -> RunFacts:
    values = {name: ours.get(name, default) for name, default in _DEFAULTS.items()}
    return RunFacts(**{**values, "key": tuple(values["key"] or ())})
