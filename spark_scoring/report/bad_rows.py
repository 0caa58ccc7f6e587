"""Counts of bad rows by reason, from the rows themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.plan.reasons import SEPARATOR, check_reasons, model_reason
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_scoring.plan.reasons import Reason
    from spark_scoring.plan.scoring_plan import ScoringPlan

_ROW, _BAD = "row", "bad"  # no reason is without a colon


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


def count_rows(frame: DataFrame, error_column: str, plan: ScoringPlan | None) -> RowCounts:
    """Count a scored table's rows by what is in its error column. Runs a job that reads this column alone.

    Without a plan, reasons have their texts alone.
    """
    error = F.col(quote(error_column))
    marks = F.when(error.isNull(), F.array(F.lit(_ROW))).otherwise(
        F.concat(F.array(F.lit(_ROW), F.lit(_BAD)), F.split(error, SEPARATOR))
    )
    found = frame.select(F.explode(marks).alias("mark")).groupBy("mark").agg(F.count(F.lit(1)).alias("rows")).collect()
    counts = {row["mark"]: int(row["rows"]) for row in found}
    rows, bad = counts.pop(_ROW, 0), counts.pop(_BAD, 0)
    known = check_reasons((feature.name, feature.reason) for feature in (plan.features if plan else ()))
    reasons = [_counted(known.get(text) or model_reason(text), n) for text, n in counts.items()]
    return RowCounts(rows, bad, tuple(sorted(reasons, key=lambda r: (-r.rows, r.text))))


def _counted(reason: Reason, rows: int) -> ReasonCount:
    return ReasonCount(reason.feature, reason.code, reason.text, rows)
