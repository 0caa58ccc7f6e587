"""Evaluate predictions: join them with their labels, measure, write nothing."""

from __future__ import annotations

import datetime as dt
import time as clock
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import TimestampType

from spark_scoring.delta.failures import explain_failure
from spark_scoring.errors import RequestError, listed
from spark_scoring.evaluation.classes import learned_classes
from spark_scoring.evaluation.errors import EvaluateError
from spark_scoring.evaluation.evaluation import Evaluation
from spark_scoring.evaluation.joined import check_labels, count_rows, good_rows, joined_rows, two_sided
from spark_scoring.evaluation.labels import confusions, label_metrics
from spark_scoring.evaluation.measures import OF_TASK
from spark_scoring.evaluation.planning import plan_evaluation
from spark_scoring.evaluation.probabilities import is_whole_list, probability_metrics
from spark_scoring.evaluation.regression import decile_bins, regression_metrics
from spark_scoring.evaluation.request import EvaluateRequest
from spark_scoring.evaluation.result import EvaluatedRows, Slice, Split, TableFacts
from spark_scoring.evaluation.slices import EVERY, SliceKey, listed_levels, name_and_version, splits_of
from spark_scoring.evaluation.tasks import class_text, class_texts, task_of
from spark_scoring.redact import redact
from spark_scoring.run.held import held
from spark_scoring.session import get_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.evaluation.joined import Totals
    from spark_scoring.evaluation.planning import EvaluatePlan
    from spark_scoring.evaluation.probabilities import Probabilities
    from spark_scoring.evaluation.result import CalibrationBin, ClassResult, Confusion, Metrics
    from spark_scoring.evaluation.slices import SplitBy

_PAIR = 2
_LEFT_OUT = "log_loss, auc, brier and calibration are left out"


def evaluate(  # noqa: PLR0913  keyword-only
    table: str,
    labels: str,
    key: str | Sequence[str],
    spark: SparkSession | None = None,
    *,
    label: str | None = None,
    where: str | None = None,
    by: str | Sequence[str] = (),
    window: str | None = None,
    time: str | None = None,
    task: str | None = None,
    prediction: str | None = None,
    probability: str | Sequence[str] = (),
    classes: Sequence[Any] = (),
    warehouse: str | None = None,
) -> Evaluation:
    """Hold predictions against labels that came later. Writes nothing; ``Evaluation.log`` tells MLflow.

    Each row of the predictions counts once. Left out, and counted, are bad rows, rows whose key has no label or a null
    one, and those in which prediction or label is NaN or infinite, or the prediction null. A null key matches nothing.

    Args:
        table: the predictions, by name or path: an output of a job, whose columns its history tells, or another table.
        labels: the table with the labels, by name or path; one row for each key.
        key: the columns, of one name in both tables, by which a prediction and its label belong together.
        spark: the session; default: the active one, else a new local one.
        label: the label's column; default: the only one beside the keys.
        where: SQL condition on the predictions.
        by: columns of the predictions by which the metrics are split.
        window: ``day``, ``week`` or ``month``: the metrics by time, in the session's time zone.
        time: a column of dates or times for ``window``; default: when a row was scored.
        task: ``regression``, ``classification`` or ``probability`` (a prediction from 0 to 1 of a label of 0 or 1);
            default: as types and values tell.
        prediction: the prediction's column; default: the one of the table's newest run.
        probability: the column of probabilities, a list for each row, or one column for each class; default: as above.
        classes: the classes of the probabilities, in their order; default: as the rows tell.
        warehouse: folder of a new local session's tables.

    Raises:
        EvaluateError: with every problem of the request and of the tables; or several labels for one key, or values
            that do not fit the task.
        RunError: Spark failed.

    """
    request = EvaluateRequest(
        table=table,
        labels=labels,
        key=_names(key),
        label=label,
        where=where,
        by=_names(by),
        window=window,
        time=time,
        task=task,
        prediction=prediction,
        probability=_names(probability),
        classes=tuple(str(name) for name in classes),
    )
    return carry_out_evaluation(plan_evaluation(request, spark or get_session(warehouse)))


def _names(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


@dataclass
class _Found:
    """What was measured, while it is."""

    sizes: dict[SliceKey, int] = field(default_factory=dict)
    metrics: dict[SliceKey, Metrics] = field(default_factory=dict)
    classes: tuple[ClassResult, ...] = ()
    other_classes: int = 0
    confusion: tuple[Confusion, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    positive: str | None = None
    notes: list[str] = field(default_factory=list)


def carry_out_evaluation(plan: EvaluatePlan) -> Evaluation:
    """Make a planned evaluation.

    Raises:
        EvaluateError: several labels for one key, or values that do not fit the task.
        RunError: Spark failed.

    """
    begin, now = clock.perf_counter(), dt.datetime.now(tz=dt.timezone.utc)
    try:
        labels, splits = check_labels(plan), splits_of(plan)
        with held(joined_rows(plan, [split.level for split in splits])) as rows:
            counts, repeated, totals = count_rows(rows, plan, labels)
            task, why = task_of(plan.request, plan.columns, totals)
            good, levels = good_rows(rows), [() for _ in splits]  # type: DataFrame, list[tuple[str | None, ...]]
            found = _Found()
            if counts.measured:
                levels = listed_levels(good, splits)
                _MEASURE[task](good, levels, plan, totals, found)
    except RequestError:
        raise
    except Exception as error:
        explained = explain_failure(error, plan.predictions.ref.text, plan.labels.ref.text)
        if explained is error:
            raise
        raise explained from error
    metrics = {key: {name: own.get(name) for name in OF_TASK[task]} for key, own in found.metrics.items()}
    columns = plan.columns
    return Evaluation(
        table=_facts(plan.predictions),
        labels=_facts(plan.labels),
        key=tuple(name for name, _ in columns.key),
        where=None if plan.request.where is None else redact(plan.request.where),
        label=columns.label,
        prediction=columns.prediction,
        probability=() if columns.probability is None else columns.probability.columns,
        task=task,
        task_reason=why,
        rows=counts,
        metrics=metrics.get(EVERY, dict.fromkeys(OF_TASK[task])),
        positive=found.positive,
        classes=found.classes,
        other_classes=found.other_classes,
        confusion=found.confusion,
        other_confusion=counts.measured - sum(one.rows for one in found.confusion) if found.classes else 0,
        calibration=found.calibration,
        splits=tuple(_split(i, split, found.sizes, metrics, levels[i]) for i, split in enumerate(splits)),
        model_name=plan.model_name,
        evaluated_at=now.isoformat(),
        seconds=clock.perf_counter() - begin,
        notes=(*_notes(plan, counts, repeated), *found.notes),
    )


def _regression(
    good: DataFrame, levels: Sequence[Sequence[str | None]], _: EvaluatePlan, totals: Totals, found: _Found
) -> None:
    found.sizes, found.metrics = regression_metrics(good, levels)
    found.calibration = decile_bins(good, totals)


def _probability(
    good: DataFrame, levels: Sequence[Sequence[str | None]], plan: EvaluatePlan, totals: Totals, found: _Found
) -> None:
    _, label = class_texts(plan.columns)
    rows = good.withColumns({"y": label, "q": two_sided(F.col("prediction").cast("double"))})
    of = probability_metrics(rows, levels, ("0", "1"), int(totals["measured"]))
    found.sizes, found.metrics, found.calibration, found.positive = of.rows, of.metrics, of.calibration, "1"


def _classification(
    good: DataFrame, levels: Sequence[Sequence[str | None]], plan: EvaluatePlan, totals: Totals, found: _Found
) -> None:
    prediction, label = class_texts(plan.columns)
    rows = good.withColumns({"p": prediction, "y": label, "q": F.col("probabilities")})
    found.sizes, found.metrics, found.classes, found.other_classes = label_metrics(rows, levels)
    found.confusion = confusions(rows)
    if plan.columns.probability is not None:
        of = _of_probabilities(rows, levels, plan, totals, found)
        if of is not None:
            found.calibration = of.calibration
            found.metrics = {key: {**own, **of.metrics.get(key, {})} for key, own in found.metrics.items()}


_MEASURE = {"regression": _regression, "probability": _probability, "classification": _classification}


def _of_probabilities(
    rows: DataFrame, levels: Sequence[Sequence[str | None]], plan: EvaluatePlan, totals: Totals, found: _Found
) -> Probabilities | None:
    """None, and a note, where the classes of the probabilities are not known."""
    size, measured = totals["longest"], int(totals["measured"])
    if size is None or size < _PAIR or size != totals["shortest"]:
        found.notes.append(f"{_LEFT_OUT}: the rows do not all have the probabilities of as many classes")
        return None
    usable = rows.where(is_whole_list(size))
    classes = _class_names(usable, int(size), plan)
    if classes is None:
        found.notes.append(f"{_LEFT_OUT}: which probability is of which class cannot be told; --classes says it")
        return None
    of = probability_metrics(usable, levels, classes, measured)
    if of.unknown:
        found.notes.append(f"{_LEFT_OUT} where a label is none of the probabilities' classes: in {of.unknown:,} rows")
    if (rest := measured - of.rows.get(EVERY, 0)) > 0:
        found.notes.append(f"{rest:,} rows have no probabilities from 0 to 1, and count for the other metrics alone")
    if size == _PAIR and classes[1] in [one.label for one in found.classes]:
        found.positive = classes[1]
    return of


def _class_names(usable: DataFrame, size: int, plan: EvaluatePlan) -> tuple[str, ...] | None:
    probability, given = plan.columns.probability, plan.request.classes
    if given:
        names = tuple(class_text(plan.columns, name) for name in given)
        if len(set(names)) != size or len(names) != size:
            raise EvaluateError.classes(len(names), size)
        return names
    if probability is not None and probability.classes:
        return tuple(class_text(plan.columns, name) for name in probability.classes)
    return learned_classes(usable, size)


def _split(
    number: int,
    split: SplitBy,
    sizes: dict[SliceKey, int],
    metrics: dict[SliceKey, Metrics],
    levels: Sequence[str | None],
) -> Split:
    keys = [SliceKey(number, level, is_other=False) for level in levels]
    if split.kind == "window":
        keys.sort(key=lambda key: (key.level is None, key.level or ""))
    keys.append(SliceKey(number, None, is_other=True))
    slices = []
    for key in keys:
        if key in sizes:
            level, model = key.level, None
            if split.kind == "version" and level is not None:
                model, level = name_and_version(level)
            slices.append(Slice(level, key.is_other, sizes[key], metrics[key], model or None))
    return Split(split.by, split.kind, split.window, tuple(slices))


def _facts(source: PinnedSource) -> TableFacts:
    return TableFacts(redact(source.ref.text), source.table_id, source.version, source.state)


def _notes(plan: EvaluatePlan, counts: EvaluatedRows, repeated: int) -> list[str]:
    """What is to be known of the rows."""
    notes = [note for source in (plan.predictions, plan.labels) for note in (source.ref.note, source.note) if note]
    if repeated:
        occur = "key occurs" if repeated == 1 else "keys occur"
        notes.append(f"{repeated:,} {occur} in several rows of {plan.predictions.ref.text}: each row counts")
    if not counts.labels:
        notes.append(f"{plan.labels.ref.text} has no label yet: there is none that is not null, with a whole key")
    elif counts.rows > counts.bad and not counts.labels_matched:
        keys = listed(name for name, _ in plan.columns.key)
        notes.append(f"no row has a label: check that {keys} means the same in both tables, and is written alike")
    time = plan.columns.time
    if plan.request.window is not None and isinstance(plan.predictions.rows.schema[str(time)].dataType, TimestampType):
        zone = plan.session.conf.get("spark.sql.session.timeZone")
        notes.append(f"a {plan.request.window} is one of the session's time zone, {zone}")
    return list(dict.fromkeys(notes))
