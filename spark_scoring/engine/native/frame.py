"""A table scored by the formula of its plan's model: what ``engine.stage`` gives, without a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.conversions.lanes import lane_type
from spark_scoring.engine.native.estimators import formula_of, results_of
from spark_scoring.engine.native.operations import Context, Sql
from spark_scoring.engine.native.proof import columns_of
from spark_scoring.model.loaded import loaded_model
from spark_scoring.model.types import SPARK_TYPES
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyspark.sql import Column

    from spark_scoring.plan.scoring_plan import PlannedFeature, ScoringPlan


@dataclass(frozen=True)
class NativeColumns:
    """A model's formula as columns."""

    scores: list[Column]
    """Linear scores, over the table, each under its name."""
    raised: Column | None
    """Whether the model raises on a row; None where on none."""
    fields: dict[str, str]
    """The returned fields as SQL over columns of the scores."""


def native_columns(plan: ScoringPlan, values: Mapping[str, str], name: Callable[[int], str]) -> NativeColumns:
    """The formula of a plan's model. Runs no job; loads the model where this process does not have it.

    Args:
        plan: the scoring plan; its engine is ``native``.
        values: SQL of each feature's value, cast as the plan says.
        name: gives the column of a score its name, by its number.

    Raises:
        NotNativeError: never, as the plan was proven with the same files.

    """
    model, operations = loaded_model(plan.model.copy), Sql()
    with model.running():
        columns = columns_of(plan.features, [_as_double(f, values[f.name]) for f in plan.features])
        formula = formula_of(model.raw, columns, Context(operations))
    names = [name(i) for i in range(len(formula.scores))]
    types = {field: str(type_) for returned in plan.returns for field, type_ in returned.fields}
    fields = results_of(formula.linear, plan.returns, [quote(own) for own in names], operations)
    return NativeColumns(
        scores=[F.expr(score).alias(own) for score, own in zip(formula.scores, names, strict=True)],
        raised=None if formula.raised is None else F.expr(formula.raised),
        fields={field: f"CAST({sql} AS {SPARK_TYPES[types[field]]})" for field, sql in fields.items()},
    )


def _as_double(feature: PlannedFeature, value: str) -> str:
    match lane_type(feature.type):
        case "string" | "double":
            return value
        case "boolean":
            return f"CAST(CAST({value} AS int) AS double)"
        case _:
            return f"CAST({value} AS double)"
