"""A few rows of a job, scored to be looked at: nothing is written."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from spark_scoring.delta.failures import explain_failure
from spark_scoring.engine.limit import Deadline
from spark_scoring.run.frames import Observed, written_frame
from spark_scoring.run.plan import LINEAGE, read_text
from spark_scoring.sql import in_sql, quote

if TYPE_CHECKING:
    from pyspark.sql import Row

    from spark_scoring.run.plan import JobPlan

_SHOWN_TYPES = {"boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal", "string", "date"}
_SHOWN_TYPES |= {"timestamp", "timestamp_ntz"}
_SHOWN_FEATURES = 20
"""Of a preview, at most."""


def preview_rows(plan: JobPlan, limit: int) -> list[Row]:
    """A few scored rows, with their kept columns, predictions and ``scoring_error``. Writes nothing.

    Args:
        plan: the job's plan.
        limit: rows at most; those that Spark finds first, and on another day others.

    Raises:
        RunError: the model or Spark failed.

    """
    few = replace(plan, source=replace(plan.source, frame=plan.source.frame.limit(limit)))
    try:
        frame = written_frame(few, "", 0.0, Observed("preview"))
        with Deadline(plan.timeout, plan.planned_in).of_spark(plan.session, f"preview_{uuid.uuid4().hex}"):
            return frame.select(*[quote(name) for name in frame.columns[: -len(LINEAGE)]]).collect()
    except Exception as error:
        raise explain_failure(error, plan.target.ref.text, read_text(plan)) from error


def with_features(plan: JobPlan) -> tuple[JobPlan, dict[str, str | None]]:
    """A plan for a preview, which keeps the columns of its first features, too; and each feature's column.

    It is None where the value fits on no screen, or is made by an expression.
    """
    lookups, taken = plan.scoring.lookups, {name.lower() for name in plan.added.values()}
    columns = [*plan.source.frame.columns, *(() if lookups is None else lookups.columns)]
    by_sql = {sql.lower(): name for name in columns for sql in (quote(name), f"({quote(name)})", f"({in_sql(name)})")}
    found = {
        f.name: by_sql.get(str(f.source).lower()) if str(f.source_type).partition("(")[0] in _SHOWN_TYPES else None
        for f in plan.scoring.features
    }
    new = dict.fromkeys(c for c in found.values() if c is not None and c not in plan.keep and c.lower() not in taken)
    return replace(plan, keep=(*plan.keep, *list(new)[:_SHOWN_FEATURES])), found
