"""How well each of two models does against labels, over the rows that both have scored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.compare.frames import cell, is_both_scored
from spark_scoring.compare.result import LabelResult
from spark_scoring.evaluation.joined import Totals, finite, probabilities, value_sums
from spark_scoring.evaluation.measures import OF_TASK
from spark_scoring.evaluation.measuring import LabelledRows, measure
from spark_scoring.evaluation.result import TableFacts
from spark_scoring.evaluation.slices import EVERY
from spark_scoring.evaluation.tasks import task_of
from spark_scoring.redact import redact
from spark_scoring.run.held import held
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from spark_scoring.compare.frames import Names
    from spark_scoring.compare.labelled import LabelPlan
    from spark_scoring.compare.planning import ComparePlan
    from spark_scoring.evaluation.columns import Values

_SIDES = ("current", "challenger")
_EXTREMES = {"low": min, "high": max, "label_low": min, "label_high": max, "whole": min, "label_whole": min}
_EXTREMES |= {"distinct": max, "label_distinct": max}


def label_result(plan: ComparePlan, labels: LabelPlan, scored: DataFrame, names: Names) -> LabelResult:
    """The metrics of both models over the same rows: those that both have scored, with a label, and all finite.

    Runs about ten jobs over a few columns.

    Args:
        plan: the comparison's.
        labels: the plan's; no key may occur in several rows.
        scored: of ``both_scored``.
        names: the comparison's column names.

    Raises:
        EvaluateError: values that do not fit the task.

    """
    with held(_joined(plan, labels, scored, names)) as rows:
        counts = rows.agg(F.count(F.lit(1)), F.count("label"), F.count_if("is_good")).collect()[0]
        both, labelled, measured = (int(count) for count in counts)
        sides = [_side(rows, side) for side in (0, 1)]
        totals = [_totals(frame, labels.values, measured) for frame in sides]
        task, why = task_of(labels.task, labels.values, _together(*totals))
        if labels.task == "classification":
            why = "the models tell classes"
        found = [
            measure(task, LabelledRows(frame.where("is_good"), labels.values, of_side)) if measured else None
            for frame, of_side in zip(sides, totals, strict=True)
        ]
    none = dict.fromkeys(OF_TASK[task])
    metrics = [none if of is None else of.metrics.get(EVERY, none) for of in found]
    notes = [[f"{side}: {note}" for note in of.notes] for side, of in zip(_SIDES, found, strict=True) if of is not None]
    table = labels.table
    return LabelResult(
        table=None if table is None else TableFacts(redact(table.ref.text), table.table_id, table.version, table.state),
        label=labels.values.label,
        key=tuple(of_source for of_source, _ in labels.key),
        task=task,
        task_reason=why,
        rows=both,
        unlabelled=both - labelled,
        not_finite=labelled - measured,
        measured=measured,
        current=metrics[0],
        challenger=metrics[1],
        notes=tuple(note for of_side in notes for note in of_side),
    )


def _joined(plan: ComparePlan, labels: LabelPlan, scored: DataFrame, names: Names) -> DataFrame:
    """Label, and predictions and probabilities of both, of the rows that both have scored."""
    rows = scored.where(is_both_scored(names))
    if labels.table is not None:
        keys = [F.col(quote(of_labels)).alias(names.key(i)) for i, (_, of_labels) in enumerate(labels.key)]
        right = labels.table.frame.select(*keys, F.col(quote(labels.values.label)).alias(names.label))
        rows = rows.join(right, [names.key(i) for i in range(len(keys))], "left")
    values = [F.col(names.label).alias("label")]
    for side in (0, 1):
        part = plan.outputs[labels.prediction].parts[0]
        values.append(cell(part, names.output(side, labels.prediction)).alias(f"prediction{side}"))
        values.append(_probabilities(labels, side, names).alias(f"probabilities{side}"))
    kinds = labels.values
    is_good = finite("label", kinds.label_kind)
    for side in (0, 1):
        is_good = is_good & finite(f"prediction{side}", kinds.prediction_kind)
    return rows.select(*values).withColumn("is_good", is_good)


def _probabilities(labels: LabelPlan, side: int, names: Names) -> Column:
    found = labels.values.probability
    columns = tuple(names.output(side, i) for i in labels.probability)
    return probabilities(None if found is None else replace(found, columns=columns))


def _side(rows: DataFrame, side: int) -> DataFrame:
    own = [F.col(f"{name}{side}").alias(name) for name in ("prediction", "probabilities")]
    return rows.select("label", "is_good", *own)


def _totals(frame: DataFrame, values: Values, measured: int) -> Totals:
    sums = [column.alias(name) for name, column in value_sums(values).items()]
    return {**frame.agg(*sums).collect()[0].asDict(), "measured": measured}


def _together(current: Totals, challenger: Totals) -> Totals:
    """What the predictions of both are like, so that one task is told of both."""
    both = {}
    for name, extreme in _EXTREMES.items():
        known = [of[name] for of in (current, challenger) if of.get(name) is not None]
        both[name] = extreme(known) if known else None
    return both
