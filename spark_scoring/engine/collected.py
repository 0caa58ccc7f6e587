"""A table's rows brought to the driver, as the model would be given them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

from spark_scoring.engine.batches import arrow_matrix, arrow_values
from spark_scoring.engine.columns import extend, prepare
from spark_scoring.engine.inputs import build_input
from spark_scoring.engine.internal_names import InternalNames
from spark_scoring.engine.worker_job import worker_plan
from spark_scoring.spark_versions import to_arrow_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

    from spark_scoring.plan.scoring_plan import ScoringPlan


@dataclass(frozen=True)
class ModelInputs:
    """A table's rows in the driver's memory, as the model is given them."""

    data: Any
    """What the model takes, of the rows that it can take; None where there are none."""
    errors: list[str]
    """Why it cannot take the others: the text of ``scoring_error``, one per row."""
    kept: pa.Table
    """The columns that were kept, of the rows in ``data``."""


def collect_inputs(df: DataFrame, plan: ScoringPlan, keep: Sequence[Column] = ()) -> ModelInputs:
    """What the model would be given for the table: the same casts, brought to the driver. Runs a job.

    Args:
        df: the table that the plan was made for; all its rows must fit into the driver's memory.
        plan: the scoring plan.
        keep: columns to bring along.

    """
    internal = InternalNames(df.columns)
    extended = extend(df, plan, internal.prefix)
    prepared = prepare(plan, extended)
    kept = [column.alias(internal.kept(i)) for i, column in enumerate(keep)]
    lanes = [lane.column.alias(internal.lane(i)) for i, lane in enumerate(prepared.lanes)]
    table = to_arrow_table(extended.frame.select(*kept, *lanes, prepared.error.alias(internal.error)))
    errors = table.column(internal.error)
    good = table.filter(pa.compute.is_null(errors))
    columns = [
        arrow_matrix(chunk) if lane.packed else arrow_values(chunk, lane.type)
        for lane, name in zip(prepared.lanes, (internal.lane(i) for i in range(len(lanes))), strict=True)
        for chunk in [_one_chunk(good.column(name))]
    ]
    return ModelInputs(
        data=build_input(worker_plan(plan, prepared.lanes), columns) if good.num_rows else None,
        errors=[text for text in errors.to_pylist() if text is not None],
        kept=good.select([internal.kept(i) for i in range(len(kept))]),
    )


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)
