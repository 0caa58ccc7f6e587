"""What two models return, side by side: the columns that can be compared, and the single values in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spark_scoring.compare.errors import CompareError
from spark_scoring.plan.outputs import METHODS

if TYPE_CHECKING:
    from spark_scoring.plan.outputs import OutputColumn
    from spark_scoring.plan.scoring_plan import ScoringPlan

Kind = Literal["number", "label", "list", "record", "value"]
"""A number; a class, text or flag; numbers in a row, such as one per class; named values; anything else."""
PartKind = Literal["number", "label", "value"]

_REAL = {"double": "double", "float": "double"}
_WHOLE = {"bigint": "bigint", "int": "bigint"}


@dataclass(frozen=True)
class Part:
    """A single value of an output column."""

    name: str
    """As measures and reports call it: ``prediction``, ``probability.late``."""
    kind: PartKind
    type: str
    """Spark's, of the current model's."""
    path: str | int | None = None
    """Its field in a struct or its place in an array; None: it is the whole column."""


@dataclass(frozen=True)
class Output:
    """A column that both models return."""

    name: str
    kind: Kind
    parts: tuple[Part, ...]


def paired_outputs(current: ScoringPlan, challenger: ScoringPlan) -> tuple[Output, ...]:
    """The columns of two plans that can be compared.

    Raises:
        CompareError: they return different columns, types or classes.

    """
    ours, theirs = ({o.name: o for o in plan.outputs if o.form != "error"} for plan in (current, challenger))
    differences = [_lacks(name, "challenger") for name in ours if name not in theirs]
    differences += [_lacks(name, "current model") for name in theirs if name not in ours]
    for name in ours.keys() & theirs.keys():
        a, b = (_described(plan, output[name]) for plan, output in ((current, ours), (challenger, theirs)))
        if a != b:
            differences.append(f"{name} is {a} of the current model and {b} of the challenger")
    if differences:
        raise CompareError.outputs(sorted(differences))
    return tuple(_output(column, current, challenger) for column in ours.values())


def _lacks(name: str, side: str) -> str:
    return f"the {side} has no {name}"


def _described(plan: ScoringPlan, column: OutputColumn) -> str:
    """The type and the places of a column; numbers of another width, and text beside text, are of one type."""
    type_ = _WHOLE.get(column.type) or _REAL.get(column.type) or column.type
    classes = _classes(plan, column)
    return f"{type_} of classes {', '.join(classes)}" if classes else type_.replace("array<float>", "array<double>")


def _classes(plan: ScoringPlan, column: OutputColumn) -> tuple[str, ...]:
    """Of a column with a value for each class."""
    is_per_class = column.form == "array" and column.name in (METHODS["predict_proba"], METHODS["predict_log_proba"])
    return plan.model.classes if is_per_class and len(plan.model.classes) == len(column.fields) else ()


def _output(column: OutputColumn, current: ScoringPlan, challenger: ScoringPlan) -> Output:
    match column.form:
        case "array":
            names = _classes(current, column) or tuple(map(str, range(len(column.fields))))
            inner = column.type.removeprefix("array<").removesuffix(">")
            parts = tuple(Part(f"{column.name}.{name}", _kind(inner), inner, i) for i, name in enumerate(names))
            return Output(column.name, "list" if parts[0].kind == "number" else "record", parts)
        case "struct":
            types = {field: str(type_) for returned in current.returns for field, type_ in returned.fields}
            parts = tuple(
                Part(f"{column.name}.{name}", _kind(types[field]), types[field], name) for field, name in column.fields
            )
            return Output(column.name, "record", parts)
        case _:
            is_class = column.name == METHODS["predict"] and bool(current.model.classes or challenger.model.classes)
            kind = _kind(column.type, is_class=is_class)
            return Output(column.name, kind, (Part(column.name, kind, column.type),))


def _kind(type_: str, *, is_class: bool = False) -> PartKind:
    """What values of a type of Spark's, or of MLflow's name for it, are compared as."""
    match type_:
        case "string" | "boolean":
            return "label"
        case "bigint" | "int" | "long" | "integer" | "double" | "float":
            return "label" if is_class else "number"
        case "timestamp" | "datetime":
            return "number"
        case _:
            return "value"
