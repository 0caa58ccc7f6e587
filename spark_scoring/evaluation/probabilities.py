"""Metrics of probabilities, by scikit-learn's definitions: log loss, Brier score, calibration, area under ROC."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.evaluation.ranks import areas
from spark_scoring.evaluation.result import CalibrationBin
from spark_scoring.evaluation.slices import EVERY, KEYS, slice_of, spread
from spark_scoring.report.measures import RARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame, Row

    from spark_scoring.evaluation.slices import SliceKey
    from spark_scoring.report.measures import Measures

BINS = 10
_EPSILON = sys.float_info.epsilon
"""scikit-learn clips probabilities so far from 0 and 1."""
_ROUNDING = 1e-6
"""Probabilities of 32 bits may be so far beyond 0 and 1."""
_PAIR = 2

METRICS = ("log_loss", "auc", "brier", "ece")


class Probabilities(NamedTuple):
    """What probabilities are like beside labels."""

    rows: dict[SliceKey, int]
    metrics: dict[SliceKey, Measures]
    calibration: tuple[CalibrationBin, ...]
    unknown: int
    """Rows whose label is none of the classes."""


def is_whole_list(size: int) -> Column:
    """Whether ``q`` has as many numbers from 0 to 1 as there are classes."""
    numbers = F.forall("q", lambda x: F.coalesce((x >= -_ROUNDING) & (x <= 1 + _ROUNDING), F.lit(False)))  # noqa: FBT003
    return F.coalesce((F.size("q") == size) & numbers, F.lit(False))  # noqa: FBT003


def probability_metrics(
    rows: DataFrame, levels: Sequence[Sequence[str | None]], classes: Sequence[str], measured: int
) -> Probabilities:
    """Metrics of each slice, and the calibration of all rows.

    Of two classes, probabilities are those of the second; of more, calibration is that of the greatest one, and neither
    area nor Brier score is measured. A slice with a label that the model does not know has no log loss, as in
    scikit-learn. Runs two or three jobs.

    Args:
        rows: with the text ``y`` and the array ``q`` of finite numbers, one for each class.
        levels: the levels of each split that are listed.
        classes: of ``q``, in its order.
        measured: about how many rows there are.

    """
    own = F.array_position(F.array(*[F.lit(name) for name in classes]), F.col("y"))
    is_pair = len(classes) == _PAIR
    q = F.col("q")
    greatest = F.array_max(q)
    score = q[1] if is_pair else greatest
    hit = own == (2 if is_pair else F.array_position(q, greatest))
    clipped = F.greatest(F.lit(_EPSILON), F.least(F.lit(1 - _EPSILON), F.get(q, (own - 1).cast("int"))))
    values = [own.alias("own"), score.alias("score"), hit.alias("hit"), (-F.log(clipped)).alias("loss")]
    wide = spread(rows, levels, *values)
    bins = _binned(wide)
    known = {key: not sum(int(row["unknown"]) for row in of_slice) for key, of_slice in bins.items()}
    area = areas(wide, measured) if is_pair else {}
    metrics = {
        key: _metrics(of_slice, area.get(key), is_pair=is_pair) if known[key] else dict.fromkeys(METRICS)
        for key, of_slice in bins.items()
    }
    every = bins.get(EVERY, [])
    unknown = sum(int(row["unknown"]) for row in every)
    sizes = {key: sum(int(row["n"]) for row in of_slice) for key, of_slice in bins.items()}
    return Probabilities(sizes, metrics, () if unknown else _calibration(every), unknown)


def _binned(wide: DataFrame) -> dict[SliceKey, list[Row]]:
    """Sums of each slice and tenth of the probability."""
    hit = F.col("hit").cast("double")
    place = F.greatest(F.lit(0), F.least(F.floor(F.col("score") * BINS), F.lit(BINS - 1))).cast("int")
    sums = {
        "n": F.count(F.lit(1)),
        "unknown": F.count_if(F.col("own") == 0),
        "score": F.sum("score"),
        "hit": F.sum(hit),
        "loss": F.sum("loss"),
        "squared": F.sum((F.col("score") - hit) * (F.col("score") - hit)),
    }
    grouped = wide.groupBy(*KEYS, place.alias("place"))
    found: dict[SliceKey, list[Row]] = defaultdict(list)
    for row in grouped.agg(*[column.alias(name) for name, column in sums.items()]).collect():
        found[slice_of(row)].append(row)
    return {key: sorted(of_slice, key=lambda row: int(row["place"])) for key, of_slice in found.items()}


def _metrics(bins: Sequence[Row], area: float | None, *, is_pair: bool) -> Measures:
    n = sum(int(row["n"]) for row in bins)
    return {
        "log_loss": sum(row["loss"] for row in bins) / n,
        "auc": area,
        "brier": sum(row["squared"] for row in bins) / n if is_pair else None,
        "ece": sum(abs(row["score"] - row["hit"]) for row in bins) / n,
    }


def _calibration(bins: Sequence[Row]) -> tuple[CalibrationBin, ...]:
    found = []
    for row in bins:
        n, place = int(row["n"]), int(row["place"])
        means = (row["score"] / n, row["hit"] / n) if n >= RARE else (None, None)
        found.append(CalibrationBin(place / BINS, (place + 1) / BINS, n, *means))
    return tuple(found)
