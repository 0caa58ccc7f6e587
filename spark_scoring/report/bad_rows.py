"""Counts of bad rows by reason, from the rows themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.plan.reasons import SEPARATOR, check_reasons, model_reason
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_scoring.plan.planner import ScoringPlan
    from spark_scoring.plan.reasons import Reason


@dataclass(frozen=True)
class ReasonCount:
    """How many rows a reason made bad; a row with two reasons counts for both."""

    feature: str | None
    code: str
    text: str
    rows: int


@dataclass(frozen=True)
class RowCounts:
    """Rows, bad ones among them, and why."""

    rows: int
    bad: int
    reasons: tuple[ReasonCount, ...]
    """The most frequent first."""


def count_rows(frame: DataFrame, error_column: str, plan: ScoringPlan) -> RowCounts:
    """Count a scored table's rows by what is in its error column. Runs a job that reads this column alone.

    Bad rows are few: why they are bad is counted by a job of its own, which most runs do not need.
    """
    text = F.col(quote(error_column))
    total = frame.agg(F.count("*").alias("rows"), F.count(text).alias("bad")).collect()[0]
    rows, bad = int(total["rows"]), int(total["bad"])
    if not bad:
        return RowCounts(rows, 0, ())
    marks = frame.where(text.isNotNull()).select(F.explode(F.split(text, SEPARATOR)).alias("mark"))
    counts = {row["mark"]: int(row["count"]) for row in marks.groupBy("mark").count().collect()}
    known = check_reasons((feature.name, feature.reason) for feature in plan.features)
    reasons = [_counted(known.get(text) or model_reason(text), n) for text, n in counts.items()]
    return RowCounts(rows, bad, tuple(sorted(reasons, key=lambda r: (-r.rows, r.text))))


def _counted(reason: Reason, rows: int) -> ReasonCount:
    return ReasonCount(reason.feature, reason.code, reason.text, rows)
