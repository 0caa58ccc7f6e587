"""Columns of the output, made of the fields that a model's results were cut into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.engine.returned_types import flat_fields
from spark_scoring.plan.outputs import BASE_SCORE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyspark.sql import Column

    from spark_scoring.plan.outputs import OutputColumn, Returned


def output_column(
    output: OutputColumn, returns: Sequence[Returned], made: Callable[[str], Column], error: Column
) -> Column:
    """An output column from the worker's fields; lists and structs of a bad row are null as a whole."""
    types = dict(flat_fields(returns))

    def value(field: str) -> Column:
        return F.timestamp_micros(made(field)) if types[field] == "datetime" else made(field)

    match output.form:
        case "error":
            return error
        case "contributions":
            return F.when(error.isNull() & _is_explained(made), _contributions(output, made))
        case "explained":
            return F.when(_is_explained(made), value(output.fields[0][0]))
        case "value":
            return value(output.fields[0][0])
        case "array":
            return F.when(error.isNull(), F.array(*[value(field) for field, _ in output.fields]))
        case "struct":
            return F.when(error.isNull(), F.struct(*[value(field).alias(name) for field, name in output.fields]))


def _is_explained(made: Callable[[str], Column]) -> Column:
    """Whether the row is one of those of which contributions are told: others have no base score."""
    return ~F.isnan(made(BASE_SCORE))


def _contributions(output: OutputColumn, made: Callable[[str], Column]) -> Column:
    """Name, contribution and code of each feature that contributes, as the worker has ranked them."""
    names, codes = (F.array(*[F.lit(text) for text in texts]) for texts in (output.labels, output.codes))
    half = len(output.fields) // 2
    told = []
    for (place, _), (amount, _) in zip(output.fields[:half], output.fields[half:], strict=True):
        number = made(place).cast("int") + 1
        parts = [F.element_at(names, number).alias("feature"), made(amount).alias("contribution")]
        if output.codes:
            parts.append(F.element_at(codes, number).alias("code"))
        told.append(F.when(made(place).isNotNull(), F.struct(*parts)))
    return F.array_compact(F.array(*told))
