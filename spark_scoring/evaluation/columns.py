"""The columns of an evaluation: what the request names, what the table's history tells, else the usual names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pyspark.sql.types import (
    ArrayType,
    AtomicType,
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegralType,
    NumericType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from spark_scoring.delta.settings import is_case_sensitive
from spark_scoring.evaluation.errors import EvaluateError
from spark_scoring.plan.outputs import ERROR_COLUMN, METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

    from spark_scoring.delta.ledger import RunFacts
    from spark_scoring.errors import Gathering
    from spark_scoring.evaluation.request import EvaluateRequest

Kind = Literal["text", "flag", "number"]

PROBABILITY = METHODS["predict_proba"]
_USUAL = {"model_version": ("model_version", "model_id"), "scored_at": ("scored_at", "timestamp")}
"""Names of lineage: ours, and those of Databricks' client."""


class NamedColumns:
    """A table's columns by name, as its session compares names."""

    def __init__(self, frame: DataFrame, table: str) -> None:
        self.table = table
        self.types = {field.name: field.dataType for field in frame.schema}
        self._fold = str if is_case_sensitive(frame.sparkSession) else str.lower
        self._by_name = {self._fold(name): name for name in self.types}

    def get(self, name: str) -> str | None:
        """The column's own spelling; None where there is none."""
        return self._by_name.get(self._fold(name))

    def named(self, option: str, name: str) -> str:
        """The column that an option names."""
        found = self.get(name)
        if found is None:
            raise EvaluateError.no_column(option, name, self.table, self.types)
        return found


@dataclass(frozen=True)
class Probability:
    """Where the probabilities are: a list, a number, or one column for each class."""

    columns: tuple[str, ...]
    is_list: bool
    classes: tuple[str, ...]
    """Of columns: the class of each, by its name; empty where the names do not say."""


@dataclass(frozen=True)
class Values:
    """A prediction and its label, and what their types say of them."""

    label: str
    label_kind: Kind
    prediction: str
    prediction_kind: Kind
    is_whole: bool
    """Whether predictions are of a type of whole numbers."""
    probability: Probability | None


@dataclass(frozen=True)
class EvaluatedColumns(Values):
    """What is read of both tables."""

    key: tuple[tuple[str, str], ...]
    """Of the predictions and of the labels."""
    error: str | None
    model: str | None
    version: str | None
    time: str | None
    by: tuple[str, ...]


def find_columns(
    request: EvaluateRequest,
    predictions: NamedColumns,
    labels: NamedColumns,
    facts: RunFacts | None,
    problems: Gathering,
) -> EvaluatedColumns | None:
    """The columns; None, and the problems, where some cannot be found or do not fit."""
    key: list[tuple[str, str]] = []
    probability = time = None
    by: list[str] = []
    before = len(problems.problems)
    for name in distinct_keys(request.key, problems):
        with problems.attempt():
            key.append(key_pair(name, predictions, labels, problems))
    values = _values(request, predictions, labels, facts, problems)
    with problems.attempt():
        probability = _probability(request, predictions, facts)
    with problems.attempt():
        time = _time(request, predictions, facts)
    for name in request.by:
        with problems.attempt():
            by.append(_by(name, predictions))
    if len(problems.problems) > before or values is None:
        return None
    prediction, label = values
    return EvaluatedColumns(
        key=tuple(key),
        label=label,
        label_kind=kind_of("--label", label, labels.types[label]),
        prediction=prediction,
        prediction_kind=kind_of("--prediction", prediction, predictions.types[prediction]),
        is_whole=isinstance(predictions.types[prediction], IntegralType),
        probability=probability,
        error=_ours(predictions, facts, ERROR_COLUMN),
        model=_ours(predictions, facts, "model_name"),
        version=_ours(predictions, facts, "model_version"),
        time=time,
        by=tuple(by),
    )


def _values(
    request: EvaluateRequest,
    predictions: NamedColumns,
    labels: NamedColumns,
    facts: RunFacts | None,
    problems: Gathering,
) -> tuple[str, str] | None:
    """Prediction and label, whose types go together; None, and the problems, where they do not."""
    label = prediction = None
    with problems.attempt():
        name = label_column(request.label, request.key, labels)
        label = None if name is None else Typed.of("--label", name, labels.types[name])
    with problems.attempt():
        name = _prediction(request, predictions, facts)
        prediction = Typed.of("--prediction", name, predictions.types[name])
    if label is None or prediction is None:
        return None
    with problems.attempt():
        check_pair(request.task, prediction, label)
    return prediction.name, label.name


def _ours(columns: NamedColumns, facts: RunFacts | None, own: str) -> str | None:
    """A column that scoring adds: as the newest run has named it, else by a usual name."""
    told = {} if facts is None else {**facts.lineage, **facts.outputs}
    names = [told[own]] if own in told else _USUAL.get(own, (own,))
    return next((found for name in names if (found := columns.get(name)) is not None), None)


def distinct_keys(key: Sequence[str], problems: Gathering) -> tuple[str, ...]:
    """The names of the key, each once; what is wrong with them by themselves is gathered."""
    with problems.attempt():
        if not key:
            raise EvaluateError.no_key()
    for name in {name for name in key if key.count(name) > 1}:
        with problems.attempt():
            raise EvaluateError.key_twice(name)
    return tuple(dict.fromkeys(key))


def key_pair(name: str, predictions: NamedColumns, labels: NamedColumns, problems: Gathering) -> tuple[str, str]:
    """A column of the key in both tables, whose values can be equal without loss."""
    sides = []
    for columns in (predictions, labels):
        with problems.attempt():
            sides.append(columns.named("--key", name))
    if len(sides) < 2:  # noqa: PLR2004
        return name, name
    own, other = predictions.types[sides[0]], labels.types[sides[1]]
    if _group(own) is None or _group(other) is None:
        raise EvaluateError.key_type(name, (own if _group(own) is None else other).simpleString())
    if _group(own) != _group(other):
        types = own.simpleString(), other.simpleString()
        is_rounded = {_group(own), _group(other)} == {"whole", "float"}
        raise EvaluateError.key_types(name, *types, is_rounded=is_rounded)
    return sides[0], sides[1]


def _group(type_: DataType) -> str | None:
    """Types whose values can be equal without loss."""
    match type_:
        case IntegralType() | DecimalType():
            return "whole"
        case FloatType() | DoubleType():
            return "float"
        case AtomicType():
            return type_.typeName()
        case _:
            return None


def label_column(asked: str | None, key: Sequence[str], labels: NamedColumns) -> str | None:
    """The label as asked, else the only column beside the keys; None where a key is wrong, which is told elsewhere."""
    if asked is not None:
        return labels.named("--label", asked)
    keys = {labels.get(name) for name in key}
    if None in keys or not keys:  # told elsewhere: any column may be meant
        return None
    candidates = [name for name in labels.types if name not in keys]
    if len(candidates) != 1:
        raise EvaluateError.no_label(labels.table, candidates)
    return candidates[0]


def _prediction(request: EvaluateRequest, columns: NamedColumns, facts: RunFacts | None) -> str:
    if request.prediction is not None:
        return columns.named("--prediction", request.prediction)
    own = METHODS["predict"]
    found = _ours(columns, facts, own)
    if found is None:
        raise EvaluateError.no_prediction(own, columns.table, columns.types)
    return found


def kind_of(option: str, name: str, type_: DataType) -> Kind:
    """What a prediction or label of a type is."""
    match type_:
        case StringType():
            return "text"
        case BooleanType():
            return "flag"
        case NumericType():
            return "number"
        case _:
            raise EvaluateError.value_type(option, name, type_.simpleString())


@dataclass(frozen=True)
class Typed:
    """A prediction or a label, as it is asked for and as its type is."""

    option: str
    name: str
    type: str
    """Spark's, as text."""
    kind: Kind

    @classmethod
    def of(cls, option: str, name: str, type_: DataType) -> Typed:
        """A column of this name and type."""
        return cls(option, name, type_.simpleString(), kind_of(option, name, type_))


def check_pair(task: str | None, prediction: Typed, label: Typed) -> None:
    """What can be known of the task by types alone."""
    if (prediction.kind == "text") != (label.kind == "text"):
        raise EvaluateError.text_and_number(prediction.name, prediction.type, label.name, label.type)
    takes = {"regression": (("number",), ("number",)), "probability": (("number",), ("number", "flag"))}
    for side, taken in zip((prediction, label), takes.get(task or "", ()), strict=False):
        if side.kind not in taken:
            raise EvaluateError.task_type(str(task), side.option, side.name, side.type)


def _probability(request: EvaluateRequest, columns: NamedColumns, facts: RunFacts | None) -> Probability | None:
    if request.probability:
        names = tuple(columns.named("--probability", name) for name in request.probability)
        return _checked(names, columns, ())
    found = _ours(columns, facts, PROBABILITY)
    if found is not None:
        return _checked((found,), columns, ()) if _is_probability(columns.types[found]) else None
    prefix = f"{PROBABILITY}_"
    told = {} if facts is None else facts.outputs
    named = {own: name for own, name in told.items() if own.startswith(prefix)}
    named = named or {name: name for name in columns.types if name.startswith(prefix)}
    pairs = [(own.removeprefix(prefix), columns.get(name)) for own, name in named.items()]
    used = [(of, name) for of, name in pairs if name is not None and isinstance(columns.types[name], NumericType)]
    if len(used) < 2:  # noqa: PLR2004
        return None
    return _checked(tuple(name for _, name in used), columns, tuple(of for of, _ in used))


def _is_probability(type_: DataType) -> bool:
    element = type_.elementType if isinstance(type_, ArrayType) else type_
    return isinstance(element, NumericType)


def _checked(names: Sequence[str], columns: NamedColumns, classes: tuple[str, ...]) -> Probability:
    types = [columns.types[name] for name in names]
    for name, type_ in zip(names, types, strict=True):
        if not _is_probability(type_) or (len(names) > 1 and not isinstance(type_, NumericType)):
            raise EvaluateError.probability_type(name, type_.simpleString())
    return Probability(tuple(names), isinstance(types[0], ArrayType), classes)


def _time(request: EvaluateRequest, columns: NamedColumns, facts: RunFacts | None) -> str | None:
    if request.window is None and request.time is None:
        return None
    times = (TimestampType, TimestampNTZType, DateType)
    candidates = [name for name, type_ in columns.types.items() if isinstance(type_, times)]
    if request.time is not None:
        found = columns.named("--time", request.time)
        if found not in candidates:
            raise EvaluateError.time_type(found, columns.types[found].simpleString())
        return found
    usual = _ours(columns, facts, "scored_at")
    if usual is None or usual not in candidates:
        raise EvaluateError.no_time(columns.table, candidates)
    return usual


def _by(name: str, columns: NamedColumns) -> str:
    found = columns.get(name)
    if found is None:
        raise EvaluateError.no_split(name, columns.table, columns.types)
    type_ = columns.types[found]
    if not isinstance(type_, AtomicType) or isinstance(type_, BinaryType):
        raise EvaluateError.not_a_split(found, type_.simpleString())
    return found
