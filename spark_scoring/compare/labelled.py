"""What came true, and how it belongs to the rows that both models score: planned before a row is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_scoring.compare.errors import CompareError
from spark_scoring.evaluation.columns import (
    NamedColumns,
    Probability,
    Typed,
    Values,
    check_pair,
    distinct_keys,
    key_pair,
    label_column,
)
from spark_scoring.evaluation.planning import pinned_table
from spark_scoring.evaluation.request import TASKS, check_choice
from spark_scoring.plan.outputs import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.compare.outputs import Output, Part
    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.errors import Gathering
    from spark_scoring.evaluation.columns import Kind

_KINDS: dict[str, Kind] = {"string": "text", "boolean": "flag", "bigint": "number", "int": "number"}
_KINDS |= {"double": "number", "float": "number"}
_WHOLE = ("bigint", "int")


@dataclass(frozen=True)
class LabelRequest:
    """Labels as they are asked for: a table and the key that it shares with the source, or a column of the source."""

    labels: str | None = None
    key: tuple[str, ...] = ()
    label: str | None = None
    task: str | None = None

    @property
    def is_asked(self) -> bool:
        """Whether there are to be any."""
        return self.labels is not None or self.label is not None

    def check(self, problems: Gathering) -> None:
        """Gather what is wrong with it by itself."""
        with problems.attempt():
            check_choice("--task", self.task, TASKS)
        with problems.attempt():
            if self.key and self.labels is None:
                raise CompareError.key_alone()
        with problems.attempt():
            if self.task is not None and not self.is_asked:
                raise CompareError.task_alone()


@dataclass(frozen=True)
class LabelPlan:
    """Where the labels are, and what they are held against."""

    values: Values
    """The prediction and its probabilities by the names of the outputs, the label by that of its column."""
    key: tuple[tuple[str, str], ...]
    """Of the source and of the labels; none where the label is a column of the source."""
    table: PinnedSource | None
    task: str | None
    prediction: int
    """Which of the outputs it is."""
    probability: tuple[int, ...]
    """Those of the probabilities: one with a list, or one for each class; none where the models return none."""


def pinned_labels(request: LabelRequest, spark: SparkSession, problems: Gathering) -> PinnedSource | None:
    """The labels' table at its version; None, and the problems, where it cannot be read, or where there is none."""
    if request.labels is None:
        return None
    return pinned_table(spark, "labels", request.labels, None, problems)


def plan_labels(
    request: LabelRequest,
    source: PinnedSource,
    table: PinnedSource | None,
    outputs: Sequence[Output],
    classes: Sequence[str],
    problems: Gathering,
) -> LabelPlan | None:
    """How the labels belong to the rows and to what the models return; None, and the problems, where they do not.

    Args:
        request: what was asked.
        source: the rows that both models score.
        table: the labels' own, if they have one.
        outputs: the columns that both models return.
        classes: of the models, as far as they tell.
        problems: takes all that is wrong.

    """
    before = len(problems.problems)
    of_source = NamedColumns(source.frame, source.ref.text)
    of_labels = of_source if table is None else NamedColumns(table.rows, table.ref.text)
    key: list[tuple[str, str]] = []
    label = None
    if table is not None:
        for name in distinct_keys(request.key, problems):
            with problems.attempt():
                key.append(key_pair(name, of_source, of_labels, problems))
    with problems.attempt():
        column = label_column(request.label, request.key, of_labels)
        label = None if column is None else Typed.of("--label", column, of_labels.types[column])
    with problems.attempt():
        place, part = _prediction(outputs)
        prediction = Typed("predict", part.name, part.type, _KINDS[part.type])
        if label is not None:
            check_pair(request.task, prediction, label)
    if label is None or len(problems.problems) > before:
        return None
    probability = _probability(outputs, classes)
    values = Values(
        label=label.name,
        label_kind=label.kind,
        prediction=prediction.name,
        prediction_kind=prediction.kind,
        is_whole=prediction.type in _WHOLE,
        probability=_found(outputs, probability, classes),
    )
    task = request.task or ("classification" if classes or probability else None)
    return LabelPlan(values, tuple(key), table, task, place, probability)


def _prediction(outputs: Sequence[Output]) -> tuple[int, Part]:
    """The output that labels are held against."""
    for i, output in enumerate(outputs):
        if output.name == METHODS["predict"] and len(output.parts) == 1 and output.parts[0].type in _KINDS:
            return i, output.parts[0]
    raise CompareError.no_prediction([output.name for output in outputs])


def _probability(outputs: Sequence[Output], classes: Sequence[str]) -> tuple[int, ...]:
    """The outputs with probabilities: a list, or a column for each class."""
    names = {output.name: i for i, output in enumerate(outputs)}
    whole = names.get(METHODS["predict_proba"])
    if whole is not None:
        return (whole,) if outputs[whole].kind == "list" else ()
    of_classes = [names.get(f"{METHODS['predict_proba']}_{name}") for name in classes]
    return tuple(i for i in of_classes if i is not None) if None not in of_classes else ()


def _found(outputs: Sequence[Output], places: Sequence[int], classes: Sequence[str]) -> Probability | None:
    if not places:
        return None
    is_list = outputs[places[0]].kind == "list"
    return Probability(tuple(outputs[i].name for i in places), is_list, tuple(classes))
