"""Both models' results beside each other, row by row, and the features that may explain where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.engine.stage import score_frame
from spark_scoring.features.join import add_features
from spark_scoring.model.types import Category, Coded, OneOf
from spark_scoring.plan.outputs import ERROR_COLUMN
from spark_scoring.sql import free_prefix, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

    from spark_scoring.compare.outputs import Output, Part
    from spark_scoring.compare.planning import ComparePlan
    from spark_scoring.plan.scoring_plan import PlannedFeature, ScoringPlan

SIDES = ("current", "challenger")
"""The two models, in the order of a plan's."""
Scale = Literal["number", "date", "time", "level"]
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal")
_LEVELED = (Category, Coded, OneOf)


@dataclass(frozen=True)
class Driver:
    """A plain feature whose association with the change is measured."""

    name: str
    scale: Scale
    side: int
    """The model whose plan its value is taken from: the current one (0) where both have it."""
    source: str
    """SQL of its value."""

    @property
    def value(self) -> str:
        """SQL of what is held of it: a double, in days or microseconds since 1970 for times, or text."""
        match self.scale:
            case "number":
                return f"CAST({self.source} AS DOUBLE)"
            case "date":
                return f"CAST(unix_date({self.source}) AS DOUBLE)"
            case "time":
                return f"CAST(unix_micros(CAST({self.source} AS TIMESTAMP)) AS DOUBLE)"
            case "level":
                return f"CAST({self.source} AS STRING)"


def drivers_of(plan: ComparePlan) -> tuple[Driver, ...]:
    """The plain features of either model: numbers, flags, texts, categories, dates and times."""
    found: dict[str, Driver] = {}
    for side, scoring in enumerate(plan.sides):
        for feature in scoring.features:
            scale = _scale(feature)
            if scale is not None and feature.source is not None and feature.name not in found:
                found[feature.name] = Driver(feature.name, scale, side, feature.source)
    return tuple(found.values())


def _scale(feature: PlannedFeature) -> Scale | None:
    type_ = feature.source_type or ""
    if isinstance(feature.type, _LEVELED) and type_.startswith(_NUMBERS):
        return "level"
    match type_.split("(")[0].split(" ")[0]:
        case "boolean" | "string" | "char" | "varchar":
            return "level"
        case "date":
            return "date"
        case "timestamp" | "timestamp_ntz":
            return "time"
        case name if name in _NUMBERS:
            return "number"
        case _:
            return None


@dataclass(frozen=True)
class Names:
    """Names of the columns that a comparison works with; the table has none that begins so."""

    prefix: str

    @classmethod
    def free(cls, plan: ComparePlan) -> Names:
        """Of names that neither the table nor a lookup has."""
        looked_up = [name for side in plan.sides if side.lookups is not None for name in side.lookups.columns]
        return cls(free_prefix("_compare", [*plan.source.frame.columns, *looked_up]))

    def driver(self, i: int) -> str:
        """The value of a driver."""
        return f"{self.prefix}_driver{i}"

    def output(self, side: int, i: int) -> str:
        """An output of a model."""
        return f"{self.prefix}_output{side}_{i}"

    def key(self, i: int) -> str:
        """A column of the key by which a row and its label belong together."""
        return f"{self.prefix}_key{i}"

    @property
    def label(self) -> str:
        """The label."""
        return f"{self.prefix}_label"

    def error(self, side: int) -> str:
        """The reason of a row that is bad under a model."""
        return f"{self.prefix}_error{side}"


def both_scored(plan: ComparePlan, names: Names, drivers: Sequence[Driver]) -> DataFrame:
    """Drivers, outputs and errors of both models, a row for each of the source's. Lazy: scores on its first action.

    Where there are labels: their key as well, or the label itself if it is a column of the source.

    Each model is a stage behind the other, so that rows pass both at once. The keys of lookups have to be checked.
    """
    of_labels = {} if plan.labels is None else {names.key(i): own for i, (own, _) in enumerate(plan.labels.key)}
    if plan.labels is not None and plan.labels.table is None:
        of_labels = {names.label: plan.labels.values.label}
    own, made = plan.source.frame.columns, list(of_labels)
    frame = plan.source.frame.select("*", *[F.col(quote(column)).alias(name) for name, column in of_labels.items()])
    for side, scoring in enumerate(plan.sides):
        rows = frame if scoring.lookups is None else add_features(frame, scoring.lookups, checked=True)
        values = {names.driver(i): F.expr(d.value) for i, d in enumerate(drivers) if d.side == side}
        rows = rows.select("*", *[value.alias(name) for name, value in values.items()])
        made += values
        frame = scored_side(rows, plan, scoring, side, names, keep=[*own, *made] if side == 0 else made)
        made = [name for name in frame.columns if name not in own]
    return frame


def scored_side(
    rows: DataFrame, plan: ComparePlan, scoring: ScoringPlan, side: int, names: Names, *, keep: Sequence[str]
) -> DataFrame:
    """The rows with the outputs and the error of one model, under the comparison's names. Runs no job."""
    renamed = {output.name: names.output(side, i) for i, output in enumerate(plan.outputs)}
    return score_frame(
        rows,
        scoring,
        stage="udf",  # with the same result as map, and other columns of the table stay where they are
        keep=keep,
        names={**renamed, ERROR_COLUMN: names.error(side)},
        show_model_error=plan.job.show_model_error,
    )


def is_both_scored(names: Names) -> Column:
    """Whether a row is good under both models."""
    return F.col(names.error(0)).isNull() & F.col(names.error(1)).isNull()


def cell(part: Part, output: str) -> Column:
    """A part of an output column."""
    column = F.col(quote(output))
    match part.path:
        case None:
            return column
        case int():
            return column.getItem(part.path)
        case _:
            return F.expr(f"{quote(output)}.{quote(part.path)}")


def number(part: Part, output: str) -> Column:
    """A part of kind ``number`` as a double; a time in seconds since 1970."""
    value = cell(part, output)
    return F.unix_micros(value) / 1e6 if part.type in ("timestamp", "datetime") else value.cast("double")


def label(part: Part, output: str) -> Column:
    """A part of kind ``label`` as text."""
    return cell(part, output).cast("string")


def has_changed(part: Part, outputs: tuple[str, str]) -> Column:
    """Whether a part differs: exactly, in its own type. A null is a value here, and a NaN equals a NaN."""
    a, b = (cell(part, output) for output in outputs)
    if part.kind == "value" and part.type != "binary":  # Spark does not compare maps
        a, b = (F.to_json(F.struct(value.alias("v"))) for value in (a, b))
    return ~a.eqNullSafe(b)


def difference(part: Part, outputs: tuple[str, str]) -> Column:
    """The challenger's number minus the current one's, as a double; null where either is null or not finite."""
    if part.type in ("bigint", "int", "long", "integer"):
        a, b = (cell(part, output).cast("decimal(20,0)") for output in outputs)
        return (b - a).cast("double")
    a, b = (number(part, output) for output in outputs)
    return finite(b - a)


def finite(value: Column) -> Column:
    """The double; null where it is NaN or infinite."""
    return F.when(~F.isnan(value) & (F.abs(value) < float("inf")), value)


def change(output: Output, outputs: tuple[str, str]) -> Column:
    """How much a row's output changed, as a double: the absolute difference of a number, of a list its mean.

    Of a label or another value 0 or 1; of a record the share of its values that changed.
    """
    if output.kind in ("number", "list"):
        parts = [F.abs(difference(part, outputs)) for part in output.parts]
    else:
        parts = [has_changed(part, outputs).cast("double") for part in output.parts]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total / len(parts)


def pair(names: Names, i: int) -> tuple[str, str]:
    """The columns of an output: the current model's, the challenger's."""
    return names.output(0, i), names.output(1, i)
