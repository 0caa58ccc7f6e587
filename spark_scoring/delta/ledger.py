"""The run's facts in the commit's user metadata; the table's history is the ledger."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from spark_scoring.delta.source import history

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_scoring.delta.names import TableRef

_KEY = "spark_scoring"
_LOOK_BACK = 100
"""Commits that others may have added behind ours before we look."""


@dataclass(frozen=True)
class RunFacts:
    """What identifies a run; counts are in the same history row as Delta's own metrics."""

    run_id: str
    model_uri: str
    model_name: str | None
    model_version: str | None
    model_digest: str
    plan_hash: str
    source: str
    source_id: str
    source_version: int
    where: str | None
    rows_in: int
    feature_tables: dict[str, int | None] = field(default_factory=dict)
    """The version of each feature table that was read."""

    def to_json(self) -> str:
        """For the commit's ``userMetadata``."""
        return json.dumps({_KEY: asdict(self)}, sort_keys=True)


@dataclass(frozen=True)
class Commit:
    """A commit of ours: its version and the rows that it wrote."""

    version: int
    rows: int


def find_commit(spark: SparkSession, ref: TableRef, run_id: str) -> Commit | None:
    """The commit that carries a run's id, None where the history does not hold it."""
    for row in history(spark, ref, limit=_LOOK_BACK).collect():
        if _run_id(row["userMetadata"]) == run_id:
            metrics: dict[str, Any] = row["operationMetrics"]
            rows = int(metrics.get("numOutputRows", 0)) - int(metrics.get("numCopiedRows", 0))
            return Commit(version=int(row["version"]), rows=rows)
    return None


def _run_id(metadata: str | None) -> str | None:
    """The run id in a commit's user metadata; None for a commit that is not ours."""
    try:
        facts = json.loads(metadata or "null")
    except json.JSONDecodeError:
        return None
    run = facts.get(_KEY) if isinstance(facts, dict) else None
    return run.get("run_id") if isinstance(run, dict) else None
