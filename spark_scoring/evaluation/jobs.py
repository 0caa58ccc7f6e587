"""Evaluate predictions: join them with their labels, measure, write nothing."""

from __future__ import annotations

import datetime as dt
import time as clock
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pyspark.sql.types import TimestampType

from spark_scoring.delta.failures import explain_failure
from spark_scoring.errors import RequestError, listed
from spark_scoring.evaluation.evaluation import Evaluation
from spark_scoring.evaluation.joined import check_labels, count_rows, good_rows, joined_rows
from spark_scoring.evaluation.measures import OF_TASK
from spark_scoring.evaluation.measuring import Found, LabelledRows, measure
from spark_scoring.evaluation.planning import plan_evaluation
from spark_scoring.evaluation.request import EvaluateRequest, as_names
from spark_scoring.evaluation.result import EvaluatedRows, Slice, Split, TableFacts
from spark_scoring.evaluation.slices import EVERY, SliceKey, listed_levels, name_and_version, splits_of
from spark_scoring.evaluation.tasks import task_of
from spark_scoring.redact import redact
from spark_scoring.run.held import held
from spark_scoring.session import get_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.evaluation.planning import EvaluatePlan
    from spark_scoring.evaluation.slices import SplitBy
    from spark_scoring.report.measures import Measures


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
        key=as_names(key),
        label=label,
        where=where,
        by=as_names(by),
        window=window,
        time=time,
        task=task,
        prediction=prediction,
        probability=as_names(probability),
        classes=tuple(str(name) for name in classes),
    )
    return carry_out_evaluation(plan_evaluation(request, spark or get_session(warehouse)))


def carry_out_evaluation(plan: EvaluatePlan) -> Evaluation:
    """Make a planned evaluation.

    Raises:
        EvaluateError: several labels for one key, or values that do not fit the task.
        RunError: Spark failed.

    """
    begin, now = clock.perf_counter(), dt.datetime.now(tz=dt.timezone.utc)
    with _in_our_words(plan):
        labels = check_labels(plan.labels, [of_labels for _, of_labels in plan.columns.key], plan.columns.label)
        splits = splits_of(plan)
        with held(joined_rows(plan, [split.level for split in splits])) as rows:
            counts, repeated, totals = count_rows(rows, plan, labels)
            task, why = task_of(plan.request.task, plan.columns, totals)
            good, found = good_rows(rows), Found()
            levels = listed_levels(good, splits)
            if counts.measured:
                found = measure(task, LabelledRows(good, plan.columns, totals, levels, plan.request.classes))
    columns, metrics = plan.columns, found.metrics
    return Evaluation(
        table=TableFacts.of(plan.predictions),
        labels=TableFacts.of(plan.labels),
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


@contextmanager
def _in_our_words(plan: EvaluatePlan) -> Iterator[None]:
    try:
        yield
    except RequestError:
        raise
    except Exception as error:
        explained = explain_failure(error, plan.predictions.ref.text, plan.labels.ref.text)
        if explained is error:
            raise
        raise explained from error


def _split(
    number: int,
    split: SplitBy,
    sizes: dict[SliceKey, int],
    metrics: dict[SliceKey, Measures],
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
