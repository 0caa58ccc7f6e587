"""The area under the ROC curve, exactly, with ties, and without all rows in one place."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.evaluation.slices import EVERY, KEYS, slice_of

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row

    from spark_scoring.evaluation.slices import SliceKey

_ROWS_OF_A_BUCKET = 200_000
_MOST_BUCKETS = 100


def areas(wide: DataFrame, rows: int) -> dict[SliceKey, float | None]:
    """Of each slice; None where all its labels are of one class. Runs one job, and one more of many rows.

    The area is the share of pairs, one row that came true and one that did not, in which the former has the greater
    score; a tie counts half (Mann and Whitney 1947; scikit-learn's roc_auc_score). Scores are counted, cut into buckets
    at their quantiles, and summed up from below in each; the buckets come together on the driver, as whole numbers.

    Args:
        wide: a row for each row and slice, with ``score`` and ``hit``.
        rows: about how many they are without slices.

    """
    hits = F.count_if("hit").alias("positive"), F.count_if(~F.col("hit")).alias("negative")
    counted = wide.groupBy(*KEYS, "score").agg(*hits).withColumn("bucket", _bucket(wide, rows))
    below = Window.partitionBy(*KEYS, "bucket").orderBy("score").rowsBetween(Window.unboundedPreceding, -1)
    before = F.coalesce(F.sum("negative").over(below), F.lit(0))
    twice = F.col("positive").cast("decimal(18,0)") * (2 * F.col("before") + F.col("negative")).cast("decimal(18,0)")
    sums = [F.sum(name).alias(name) for name in ("positive", "negative")]
    summed = counted.withColumn("before", before).groupBy(*KEYS, "bucket").agg(*sums, F.sum(twice).alias("twice"))
    found: dict[SliceKey, list[Row]] = defaultdict(list)
    for row in summed.collect():
        found[slice_of(row)].append(row)
    return {key: _area(sorted(rows, key=lambda row: int(row["bucket"]))) for key, rows in found.items()}


def _bucket(wide: DataFrame, rows: int) -> Column:
    """The number of a score's bucket, by bounds that all slices share."""
    buckets = min(_MOST_BUCKETS, rows // _ROWS_OF_A_BUCKET + 1)
    if buckets == 1:
        return F.lit(0)
    shares = [i / buckets for i in range(1, buckets)]
    found = (
        wide.where(F.col("split") == EVERY.split)
        .agg(F.percentile_approx("score", shares).alias("bounds"))
        .collect()[0]["bounds"]
    )
    bounds = F.array(*[F.lit(bound) for bound in sorted(set(found))])
    return F.size(F.filter(bounds, lambda bound: bound < F.col("score")))


def _area(buckets: list[Row]) -> float | None:
    positive = negative = twice = 0
    for row in buckets:
        twice += int(row["twice"]) + 2 * int(row["positive"]) * negative
        positive += int(row["positive"])
        negative += int(row["negative"])
    return twice / (2 * positive * negative) if positive and negative else None
