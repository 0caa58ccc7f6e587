"""Metrics of predictions beside labels, by the task that they are of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.evaluation.classes import learned_classes
from spark_scoring.evaluation.errors import EvaluateError
from spark_scoring.evaluation.joined import two_sided
from spark_scoring.evaluation.labels import confusions, label_metrics
from spark_scoring.evaluation.measures import OF_TASK
from spark_scoring.evaluation.probabilities import is_whole_list, probability_metrics
from spark_scoring.evaluation.regression import decile_bins, regression_metrics
from spark_scoring.evaluation.slices import EVERY
from spark_scoring.evaluation.tasks import class_text, class_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame

    from spark_scoring.evaluation.columns import Values
    from spark_scoring.evaluation.joined import Totals
    from spark_scoring.evaluation.probabilities import Probabilities
    from spark_scoring.evaluation.result import CalibrationBin, ClassResult, Confusion, Task
    from spark_scoring.evaluation.slices import SliceKey
    from spark_scoring.report.measures import Measures

_PAIR = 2
_LEFT_OUT = "log_loss, auc, brier and calibration are left out"


@dataclass(frozen=True)
class LabelledRows:
    """Rows that all have a label, and what is known of them."""

    frame: DataFrame
    """With ``prediction``, ``label``, ``probabilities`` (an array of doubles) and a level for each split."""
    values: Values
    totals: Totals
    levels: Sequence[Sequence[str | None]] = ()
    """Of each split, those that are told apart."""
    classes: Sequence[str] = ()
    """Of the probabilities, where they were given."""


@dataclass
class Found:
    """What was measured of all rows and of each slice."""

    sizes: dict[SliceKey, int] = field(default_factory=dict)
    metrics: dict[SliceKey, Measures] = field(default_factory=dict)
    classes: tuple[ClassResult, ...] = ()
    other_classes: int = 0
    confusion: tuple[Confusion, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    positive: str | None = None
    notes: list[str] = field(default_factory=list)


def measure(task: Task, rows: LabelledRows) -> Found:
    """All that is measured of a task. Runs two to six jobs.

    Raises:
        EvaluateError: other classes were given than there are probabilities of.

    """
    found = Found()
    _MEASURE[task](rows, found)
    found.metrics = {key: {name: own.get(name) for name in OF_TASK[task]} for key, own in found.metrics.items()}
    return found


def _regression(rows: LabelledRows, found: Found) -> None:
    found.sizes, found.metrics = regression_metrics(rows.frame, rows.levels)
    found.calibration = decile_bins(rows.frame, rows.totals)


def _probability(rows: LabelledRows, found: Found) -> None:
    _, label = class_texts(rows.values)
    frame = rows.frame.withColumns({"y": label, "q": two_sided(F.col("prediction").cast("double"))})
    of = probability_metrics(frame, rows.levels, ("0", "1"), int(rows.totals["measured"]))
    found.sizes, found.metrics, found.calibration, found.positive = of.rows, of.metrics, of.calibration, "1"


def _classification(rows: LabelledRows, found: Found) -> None:
    prediction, label = class_texts(rows.values)
    frame = rows.frame.withColumns({"p": prediction, "y": label, "q": F.col("probabilities")})
    found.sizes, found.metrics, found.classes, found.other_classes = label_metrics(frame, rows.levels)
    found.confusion = confusions(frame)
    if rows.values.probability is not None:
        of = _of_probabilities(frame, rows, found)
        if of is not None:
            found.calibration = of.calibration
            found.metrics = {key: {**own, **of.metrics.get(key, {})} for key, own in found.metrics.items()}


_MEASURE = {"regression": _regression, "probability": _probability, "classification": _classification}


def _of_probabilities(frame: DataFrame, rows: LabelledRows, found: Found) -> Probabilities | None:
    """None, and a note, where the classes of the probabilities are not known."""
    totals = rows.totals
    size, measured = totals["longest"], int(totals["measured"])
    if size is None or size < _PAIR or size != totals["shortest"]:
        found.notes.append(f"{_LEFT_OUT}: the rows do not all have the probabilities of as many classes")
        return None
    usable = frame.where(is_whole_list(size))
    classes = _class_names(usable, int(size), rows)
    if classes is None:
        found.notes.append(f"{_LEFT_OUT}: which probability is of which class cannot be told; --classes says it")
        return None
    of = probability_metrics(usable, rows.levels, classes, measured)
    if of.unknown:
        found.notes.append(f"{_LEFT_OUT} where a label is none of the probabilities' classes: in {of.unknown:,} rows")
    if (rest := measured - of.rows.get(EVERY, 0)) > 0:
        found.notes.append(f"{rest:,} rows have no probabilities from 0 to 1, and count for the other metrics alone")
    if size == _PAIR and classes[1] in [one.label for one in found.classes]:
        found.positive = classes[1]
    return of


def _class_names(usable: DataFrame, size: int, rows: LabelledRows) -> tuple[str, ...] | None:
    probability, given = rows.values.probability, rows.classes
    if given:
        names = tuple(class_text(rows.values, name) for name in given)
        if len(set(names)) != size or len(names) != size:
            raise EvaluateError.classes(len(names), size)
        return names
    if probability is not None and probability.classes:
        return tuple(class_text(rows.values, name) for name in probability.classes)
    return learned_classes(usable, size)
