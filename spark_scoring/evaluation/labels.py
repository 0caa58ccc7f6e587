"""Metrics of classes, by scikit-learn's definitions: exact counts of each class; rare ones are not named."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.evaluation.result import ClassResult, Confusion
from spark_scoring.evaluation.slices import EVERY, KEYS, slice_of, spread
from spark_scoring.report.measures import RARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame

    from spark_scoring.evaluation.slices import SliceKey
    from spark_scoring.report.measures import Measures

_MOST = 20
"""Classes, and pairs of label and prediction, that are listed."""


class ClassCounts(NamedTuple):
    """Rows of a class."""

    label: str | None
    """None of a rare class."""
    both: int
    """That have the label and the prediction."""
    labelled: int
    predicted: int

    @property
    def f1(self) -> float:
        """2 both / (labelled + predicted), which is never divided by 0: each class occurs."""
        return 2 * self.both / (self.labelled + self.predicted)


def label_metrics(
    rows: DataFrame, levels: Sequence[Sequence[str | None]]
) -> tuple[dict[SliceKey, int], dict[SliceKey, Measures], tuple[ClassResult, ...], int]:
    """Rows and metrics of each slice, the classes of all rows, and the rows of classes that are not listed.

    Runs one job. ``rows`` have the texts ``y`` and ``p``.
    """
    counts = _counted(rows, levels)
    sizes = {key: sum(one.labelled for one in of_slice) for key, of_slice in counts.items()}
    metrics = {key: _metrics(of_slice, sizes[key]) for key, of_slice in counts.items()}
    every = sorted(counts.get(EVERY, []), key=lambda one: (-one.labelled, -one.predicted, str(one.label)))
    listed = [one for one in every if one.label is not None][:_MOST]
    other = sizes.get(EVERY, 0) - sum(one.labelled for one in listed)
    return sizes, metrics, tuple(_class(one) for one in listed), other


def _counted(rows: DataFrame, levels: Sequence[Sequence[str | None]]) -> dict[SliceKey, list[ClassCounts]]:
    """Per slice and class. A row counts for its label and, where that is another one, for its prediction."""
    y, p = F.col("y"), F.col("p")
    entries = F.when(y == p, F.array(_entry(y, 1, 1, 1))).otherwise(F.array(_entry(y, 0, 1, 0), _entry(p, 0, 0, 1)))
    spread_rows = spread(rows, levels, y, p)
    of_classes = spread_rows.select(*KEYS, F.explode(entries).alias("entry")).select(*KEYS, "entry.*")
    sums = [F.sum(name).alias(name) for name in ("both", "labelled", "predicted")]
    counted = of_classes.groupBy(*KEYS, "class").agg(*sums)
    is_named = (F.col("split") == EVERY.split) & (F.greatest("labelled", "predicted") >= RARE)
    found: dict[SliceKey, list[ClassCounts]] = defaultdict(list)
    for row in counted.withColumn("class", F.when(is_named, F.col("class"))).collect():
        numbers = (int(row[name]) for name in ("both", "labelled", "predicted"))
        found[slice_of(row)].append(ClassCounts(row["class"], *numbers))
    return found


def _entry(text: Column, both: int, labelled: int, predicted: int) -> Column:
    numbers = {"both": both, "labelled": labelled, "predicted": predicted}
    return F.struct(text.alias("class"), *[F.lit(n).alias(name) for name, n in numbers.items()])


def _metrics(counts: Sequence[ClassCounts], rows: int) -> Measures:
    return {
        "accuracy": sum(one.both for one in counts) / rows,
        "f1": sum(one.f1 * one.labelled for one in counts) / rows,
        "f1_macro": sum(one.f1 for one in counts) / len(counts),
    }


def _class(one: ClassCounts) -> ClassResult:
    return ClassResult(
        label=str(one.label),
        rows=one.labelled,
        predicted=one.predicted,
        precision=one.both / one.predicted if one.predicted else 0.0,
        recall=one.both / one.labelled if one.labelled else 0.0,
        f1=one.f1,
    )


def confusions(rows: DataFrame) -> tuple[Confusion, ...]:
    """Labels with what they were predicted as, the most frequent first, without rare pairs. Runs one job."""
    frequent = rows.groupBy("y", "p").count().where(F.col("count") >= RARE)
    listed = frequent.orderBy(F.desc("count"), "y", "p").limit(_MOST).collect()
    return tuple(Confusion(row["y"], row["p"], int(row["count"])) for row in listed)
