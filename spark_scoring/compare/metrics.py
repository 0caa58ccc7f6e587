"""How well each of two models does against labels, over the rows that both have scored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.compare.frames import SIDES, cell, is_both_scored
from spark_scoring.compare.result import LabelResult
from spark_scoring.evaluation.joined import IS_GOOD, finite, probabilities, value_sums
from spark_scoring.evaluation.measures import OF_TASK
from spark_scoring.evaluation.measuring import Found, LabelledRows, measure
from spark_scoring.evaluation.probabilities import METRICS as OF_PROBABILITIES
from spark_scoring.evaluation.result import TableFacts
from spark_scoring.evaluation.slices import SliceKey
from spark_scoring.evaluation.tasks import task_of
from spark_scoring.run.held import held
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from spark_scoring.compare.frames import Names
    from spark_scoring.compare.labelled import LabelPlan
    from spark_scoring.compare.planning import ComparePlan
    from spark_scoring.report.measures import Measures

_WIDEST = {"text": "string", "flag": "boolean", "number": "double"}
"""Types that hold the predictions of both models."""


def label_result(plan: ComparePlan, labels: LabelPlan, scored: DataFrame, names: Names) -> LabelResult:
    """The metrics of both models over the same rows: those that both have scored, with a label, and all finite.

    Each model's rows are a slice of one evaluation. Runs about six jobs over a few columns.

    Args:
        plan: the comparison's.
        labels: the plan's; no key may occur in several rows.
        scored: of ``both_scored``.
        names: the comparison's column names.

    Raises:
        EvaluateError: values that do not fit the task.

    """
    values = labels.values
    with held(_joined(plan, labels, scored, names)) as rows:
        counts = rows.agg(F.count(F.lit(1)), F.count("label"), F.count_if(IS_GOOD)).collect()[0]
        both, labelled, measured = (int(count) for count in counts)
        frame = _a_row_for_each_model(rows)
        sums = [column.alias(name) for name, column in value_sums(values).items()]
        totals = {**frame.agg(*sums).collect()[0].asDict(), "measured": measured * len(SIDES)}
        task, why = task_of(labels.task, values, totals)
        if labels.task == "classification":
            why = "the models tell classes"
        good = LabelledRows(frame.where(IS_GOOD), values, totals, levels=[SIDES])
        found = measure(task, good) if measured else Found()
    none = dict.fromkeys(OF_TASK[task])
    current, challenger = (found.metrics.get(SliceKey(0, side, is_other=False), none) for side in SIDES)
    return LabelResult(
        table=None if labels.table is None else TableFacts.of(labels.table),
        label=values.label,
        key=tuple(of_source for of_source, _ in labels.key),
        task=task,
        task_reason=why,
        rows=both,
        unlabelled=both - labelled,
        not_finite=labelled - measured,
        measured=measured,
        current=current,
        challenger=challenger,
        notes=_notes(labels, current, challenger) if measured else (),
    )


def _notes(labels: LabelPlan, *metrics: Measures) -> tuple[str, ...]:
    """Why metrics of probabilities have no value, where that is not of their own nature."""
    names = [name for name in OF_PROBABILITIES if all(name in of and of[name] is None for of in metrics)]
    if "log_loss" not in names:
        return ()
    if labels.values.probability is None:
        return (f"{', '.join(names)} need probabilities: let predict name predict_proba, too",)
    return (f"{', '.join(names)} are left out: labels and probabilities are not of the same classes",)


def _joined(plan: ComparePlan, labels: LabelPlan, scored: DataFrame, names: Names) -> DataFrame:
    """Label, and predictions and probabilities of both, of the rows that both have scored."""
    rows = scored.where(is_both_scored(names))
    if labels.table is not None:
        keys = [F.col(quote(of_labels)).alias(names.key(i)) for i, (_, of_labels) in enumerate(labels.key)]
        right = labels.table.frame.select(*keys, F.col(quote(labels.values.label)).alias(names.label))
        rows = rows.join(right, [names.key(i) for i in range(len(keys))], "left")
    kinds, part = labels.values, plan.outputs[labels.prediction].parts[0]
    type_ = "bigint" if kinds.is_whole else _WIDEST[kinds.prediction_kind]
    values, is_good = [F.col(names.label).alias("label")], finite("label", kinds.label_kind)
    for i, side in enumerate(SIDES):
        prediction = cell(part, names.output(i, labels.prediction)).cast(type_)
        values += [prediction.alias(side), _probabilities(labels, i, names).alias(f"{side}_probabilities")]
        is_good = is_good & finite(side, kinds.prediction_kind)
    return rows.select(*values).withColumn(IS_GOOD, is_good)


def _probabilities(labels: LabelPlan, side: int, names: Names) -> Column:
    found = labels.values.probability
    columns = tuple(names.output(side, i) for i in labels.probability)
    return probabilities(None if found is None else replace(found, columns=columns))


def _a_row_for_each_model(rows: DataFrame) -> DataFrame:
    """Each row twice, with the model in ``split0``."""
    sides = [
        F.struct(
            F.lit(side).alias("split0"),
            F.col(side).alias("prediction"),
            F.col(f"{side}_probabilities").alias("probabilities"),
        )
        for side in SIDES
    ]
    return rows.select("label", IS_GOOD, F.explode(F.array(*sides)).alias("side")).select("label", IS_GOOD, "side.*")
