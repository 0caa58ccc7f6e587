"""What scoring adds to a table: one column per predict method, or one per class, and the row's error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spark_scoring.errors import Problem
from spark_scoring.model.errors import repair_command
from spark_scoring.model.types import ANY, SPARK_TYPES, Array, Map, ModelType, Object, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_scoring.model.spec import ModelSpec

METHODS = {
    "predict": "prediction",
    "predict_proba": "probability",
    "predict_log_proba": "log_probability",
    "decision_function": "decision",
    "score_samples": "score",
}
"""Predict methods and the output column of each."""

ERROR_COLUMN = "scoring_error"
CONTRIBUTIONS, RAW_SCORE, BASE_SCORE = "contributions", "raw_score", "base_score"
"""Columns that tell why a row got its prediction."""

PerClass = Literal["array", "columns"]
"""One array column with a value per class, or a column for each class."""

_FLAT_FIELDS = 256
"""Above it, values per row travel as one list: wide rows of single fields cost more than they save."""


@dataclass(frozen=True)
class OutputColumn:
    """A column that scoring adds: its name, Spark type, what it holds and what it is made from."""

    name: str
    type: str
    note: str = ""
    form: Literal["value", "array", "struct", "error", "contributions", "explained"] = "value"
    fields: tuple[tuple[str, str], ...] = ()
    """The worker's fields that it is made from, each with its name inside a struct."""
    labels: tuple[str, ...] = ()
    """Of contributions: the names whose places the first half of the fields holds."""
    codes: tuple[str | None, ...] = ()
    """Of contributions: the code of each of these names, where codes are told."""


@dataclass(frozen=True)
class RowCondition:
    """What a row's results have to be: a returned field beside a value. A null or a NaN is never so."""

    place: int
    """Of the field, among those that the methods before return."""
    operator: Literal["=", "<>", "<", "<=", ">", ">="]
    value: bool | float | str


@dataclass(frozen=True)
class Reasons:
    """What is told of a row's contributions."""

    top: int
    """So many features at most, those that contribute most."""
    groups: tuple[int, ...]
    """For each column that the model's last estimator is given, the place of its feature's name."""
    only_if: RowCondition | None = None
    """The rows of which it is told; None: all."""


@dataclass(frozen=True)
class Returned:
    """What a method's result is cut into, row by row."""

    method: str
    fields: tuple[tuple[str, ModelType], ...]
    """Field name and type; one per value of the row."""
    names: tuple[str, ...] | None = None
    """Keys of the result where it is taken by name; None: by position."""
    by_index: bool = True
    """Whether a result whose index has the rows' numbers in another order is put back by it; see ``rehearsal``."""
    reasons: Reasons | None = None
    """Where no method of the model's is called, but the contributions of its features are taken."""

    @property
    def is_nested(self) -> bool:
        """Whether a field is more than a single value."""
        return any(not isinstance(type_, str) for _, type_ in self.fields)


def planned_outputs(
    model: ModelSpec, methods: Sequence[str], per_class: PerClass
) -> tuple[tuple[OutputColumn, ...], tuple[Returned, ...]]:
    """The columns that scoring adds, and what the worker returns for them."""
    columns: list[OutputColumn] = []
    returns: list[Returned] = []
    types = {"predict": model.output, **dict(model.methods)}
    for method in methods:
        name, type_ = METHODS[method], types[method]
        returned = returned_fields(method, name, type_)
        returns.append(returned)
        if _is_per_class(model, method) and per_class == "columns":
            columns += [
                OutputColumn(f"{name}_{label}", "double", f"of class {label}", "value", ((field, ""),))
                for label, (field, _) in zip(model.classes, returned.fields, strict=True)
            ]
        else:
            columns.append(_column(name, type_, returned, _note(model, method)))
    columns.append(OutputColumn(ERROR_COLUMN, "string", "null where all is well", "error"))
    return tuple(columns), tuple(returns)


def contribution_outputs(
    reasons: Reasons, labels: Sequence[str], codes: Sequence[str | None] = ()
) -> tuple[tuple[OutputColumn, ...], Returned]:
    """The columns that tell why a row got its prediction, and what the worker returns for them."""
    places = [(f"feature{i}", "long") for i in range(reasons.top)]
    amounts = [(f"amount{i}", "double") for i in range(reasons.top)]
    scores: list[tuple[str, ModelType]] = [(RAW_SCORE, "double"), (BASE_SCORE, "double")]
    type_ = f"array<struct<feature:string,contribution:double{',code:string' if codes else ''}>>"
    note = f"the {reasons.top} features that add or take most of raw_score"
    fields = tuple((name, "") for name, _ in (*places, *amounts))
    columns = (
        OutputColumn(CONTRIBUTIONS, type_, note, "contributions", fields, tuple(labels), tuple(codes)),
        OutputColumn(RAW_SCORE, "double", "base_score and all contributions", "explained", ((RAW_SCORE, ""),)),
        OutputColumn(BASE_SCORE, "double", "what is there before any feature", "explained", ((BASE_SCORE, ""),)),
    )
    return columns, Returned(CONTRIBUTIONS, (*scores, *places, *amounts), by_index=False, reasons=reasons)


def method_problems(model: ModelSpec, methods: Sequence[str]) -> list[Problem]:
    """What keeps the model from being asked this way."""
    problems = []
    available = {"predict", *dict(model.methods)}
    for method in methods:
        if method not in METHODS:
            problems.append(Problem(f"predict: {method}", "no such method", f"give one of {', '.join(METHODS)}"))
        elif method not in available:
            cause = f"the model ({model.flavor}) has no {method} whose results are known"
            fix = "leave it out, or log the estimator itself with its own flavor"
            problems.append(Problem(f"predict: {method}", cause, fix))
    if len(set(methods)) < len(methods):
        problems.append(Problem("predict", "a method is named twice", "name each method once"))
    if refusal := _output_refusal(model.output):
        fix = (
            "log it with an example that shows what one row's result is: signature=infer_signature(X, result); "
            f"or have its signature made from a table: {repair_command(model.uri)}"
        )
        problems.append(Problem(f"model {model.uri!r}", refusal, fix))
    return problems


def spark_type(type_: ModelType) -> str:
    """A result's type as Spark's simple string."""
    match type_:
        case Array():
            return f"array<{spark_type(type_.element)}>"
        case Map():
            return f"map<string,{spark_type(type_.value)}>"
        case Object():
            from spark_scoring.sql import quote

            return f"struct<{','.join(f'{quote(m.name)}:{spark_type(m.type)}' for m in type_.members)}>"
        case Tensor():
            inner = SPARK_TYPES[type_.dtype]
            for _ in type_.shape[1:]:
                inner = f"array<{inner}>"
            return inner
        case _:
            return SPARK_TYPES[str(type_)]


def returned_fields(method: str, name: str, type_: ModelType) -> Returned:
    """What a result of the type is cut into: fields of ``name`` and a number."""
    match type_:
        case Tensor() if len(type_.shape) == 2 and 0 < type_.width <= _FLAT_FIELDS:  # noqa: PLR2004
            return Returned(method, tuple((f"{name}{i}", type_.dtype) for i in range(type_.width)))
        case Object() if all(isinstance(member.type, str) for member in type_.members):
            fields = tuple((f"{name}{i}", member.type) for i, member in enumerate(type_.members))
            return Returned(method, fields, tuple(member.name for member in type_.members))
        case _:
            return Returned(method, ((f"{name}0", type_),))


def _column(name: str, type_: ModelType, returned: Returned, note: str) -> OutputColumn:
    if returned.names is not None:
        parts = tuple(zip((field for field, _ in returned.fields), returned.names, strict=True))
        return OutputColumn(name, spark_type(type_), note, "struct", parts)
    parts = tuple((field, "") for field, _ in returned.fields)
    flat = isinstance(type_, Tensor) and not returned.is_nested
    return OutputColumn(name, spark_type(type_), note, "array" if flat else "value", parts)


def _is_per_class(model: ModelSpec, method: str) -> bool:
    return method in ("predict_proba", "predict_log_proba") and bool(model.classes)


def _note(model: ModelSpec, method: str) -> str:
    if _is_per_class(model, method):
        return f"of classes {', '.join(model.classes)}"
    return "null in a bad row" if method == "predict" else f"of {method}"


def _output_refusal(type_: ModelType) -> str | None:
    """Why results of this type cannot be a column."""
    match type_:
        case Array():
            return _output_refusal(type_.element)
        case Map():
            return _output_refusal(type_.value)
        case Object():
            return next((cause for m in type_.members if (cause := _output_refusal(m.type))), None)
        case Tensor() if type_.width < 0:
            return f"its output {type_} has an open inner dimension"
        case Tensor():
            return _output_refusal(type_.dtype)
        case _ if type_ == ANY:
            return "its signature does not say what type its outputs have"
        case _:
            return None if type_ in SPARK_TYPES else f"no Spark type can hold its output of type {type_}"
