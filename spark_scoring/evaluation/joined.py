"""Predictions beside their labels: the joined rows, and what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.evaluation.errors import EvaluateError
from spark_scoring.evaluation.result import EvaluatedRows
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.evaluation.columns import Kind, Probability, Values
    from spark_scoring.evaluation.planning import EvaluatePlan

DECILES = [n / 10 for n in range(1, 10)]
IS_GOOD = "is_good"
"""Column: whether a row is measured."""

Totals = dict[str, Any]
"""Of the rows that are measured: ``distinct``, ``label_distinct``, and where they are numbers ``low``, ``high``,
``whole`` (whether all are), ``deciles``, and most of it of labels; of lists of probabilities ``shortest``, ``longest``.
"""


def joined_rows(plan: EvaluatePlan, splits: Sequence[Column]) -> DataFrame:
    """A row for each row of the predictions, with its label where there is one.

    Args:
        plan: the evaluation's.
        splits: the level of a row in each split, as text.

    """
    columns = plan.columns
    keys = [f"key{i}" for i in range(len(columns.key))]
    own = [F.col(quote(of_table)).alias(key) for key, (of_table, _) in zip(keys, columns.key, strict=True)]
    others = [F.col(quote(of_labels)).alias(key) for key, (_, of_labels) in zip(keys, columns.key, strict=True)]
    error = F.lit(None).cast("string") if columns.error is None else F.col(quote(columns.error))
    left = plan.predictions.frame.select(
        *own,
        F.col(quote(columns.prediction)).alias("prediction"),
        error.isNotNull().alias("is_bad"),
        probabilities(plan.columns.probability).alias("probabilities"),
        *[level.alias(f"split{i}") for i, level in enumerate(splits)],
    )
    right = plan.labels.frame.select(*others, F.col(quote(columns.label)).alias("label"))
    rows = left.join(right, keys, "left")
    is_finite = finite("prediction", columns.prediction_kind) & finite("label", columns.label_kind)
    return rows.withColumn(IS_GOOD, ~F.col("is_bad") & is_finite)


def probabilities(found: Probability | None) -> Column:
    """An array of doubles, one for each class; a single number is the probability of the second of two classes."""
    if found is None:
        return F.lit(None).cast("array<double>")
    if found.is_list:
        return F.col(quote(found.columns[0])).cast("array<double>")
    numbers = [F.col(quote(name)).cast("double") for name in found.columns]
    return two_sided(numbers[0]) if len(numbers) == 1 else F.array(*numbers)


def two_sided(probability: Column) -> Column:
    """The probabilities of two classes, from that of the second."""
    return F.array(F.lit(1.0) - probability, probability)


def finite(name: str, kind: Kind) -> Column:
    """Whether there is a value, and of a number neither NaN nor an infinite one; never null."""
    value = F.col(name)
    if kind != "number":
        return value.isNotNull()
    number = value.cast("double")
    return F.coalesce(~F.isnan(number) & (F.abs(number) < float("inf")), F.lit(False))  # noqa: FBT003


def check_labels(labels: PinnedSource, key: Sequence[str], label: str) -> int:
    """The labels that there are. Refuses labels of which several are of one key. Runs one job.

    Raises:
        EvaluateError: says how many keys occur in several rows.

    """
    columns = [F.col(quote(name)) for name in key]
    whole = columns[0].isNotNull()
    for column in columns[1:]:
        whole = whole & column.isNotNull()
    keys = [column.alias(f"key{i}") for i, column in enumerate(columns)]
    count = F.count(quote(label)).alias("labels")
    counted = labels.frame.where(whole).groupBy(*keys).agg(F.count(F.lit(1)).alias("n"), count)
    found = counted.agg(F.count_if(F.col("n") > 1).alias("twice"), F.sum("labels").alias("labels")).collect()[0]
    if found["twice"]:
        raise EvaluateError.keys_twice(labels.ref.text, int(found["twice"]), key)
    return int(found["labels"] or 0)


def count_rows(rows: DataFrame, plan: EvaluatePlan, labels: int) -> tuple[EvaluatedRows, int, Totals]:
    """The rows by what became of them; the keys that occur in several; what the values are like. Runs two jobs."""
    labelled = F.col("label").isNotNull()
    sums = {
        "rows": F.count(F.lit(1)),
        "bad": F.count_if("is_bad"),
        "unlabelled": F.count_if(~F.col("is_bad") & ~labelled),
        "measured": F.count_if(IS_GOOD),
        **value_sums(plan.columns),
    }
    totals: Totals = rows.agg(*[column.alias(name) for name, column in sums.items()]).collect()[0].asDict()
    keys = [f"key{i}" for i in range(len(plan.columns.key))]
    whole = rows.dropna(subset=keys).groupBy(*keys)
    by_key = whole.agg(F.count(F.lit(1)).alias("n"), F.count("label").alias("labels"))
    found = by_key.agg(F.count_if(F.col("n") > 1), F.count_if(F.col("labels") > 0)).collect()[0]
    named = ("rows", "bad", "unlabelled", "measured")
    counts = {name: int(totals[name]) for name in named}
    not_finite = counts["rows"] - counts["bad"] - counts["unlabelled"] - counts["measured"]
    counted = EvaluatedRows(**counts, not_finite=not_finite, labels=labels, labels_matched=int(found[1]))
    return counted, int(found[0]), totals


def good_rows(rows: DataFrame) -> DataFrame:
    """Those that are measured."""
    return rows.where(IS_GOOD)


def value_sums(values: Values) -> dict[str, Column]:
    """Aggregates of the values of rows that are measured: of ``Totals``, by name."""
    sums = {}
    sides = (("", "prediction", values.prediction_kind), ("label_", "label", values.label_kind))
    for prefix, name, kind in sides:
        value = F.when(F.col(IS_GOOD), F.col(name))
        sums[f"{prefix}distinct"] = F.approx_count_distinct(value)
        if kind == "number":
            number = value.cast("double")
            sums |= {
                f"{prefix}low": F.min(number),
                f"{prefix}high": F.max(number),
                f"{prefix}whole": F.coalesce(F.bool_and(number == F.floor(number)), F.lit(True)),  # noqa: FBT003
            }
    if values.prediction_kind == "number":
        good = F.when(F.col(IS_GOOD), F.col("prediction").cast("double"))
        sums["deciles"] = F.percentile_approx(good, DECILES)
    if values.probability is not None:
        size = F.when(F.col(IS_GOOD), F.size("probabilities"))
        size = F.when(size >= 0, size)
        sums |= {"shortest": F.min(size), "longest": F.max(size)}
    return sums
