"""Which probability is of which class: as named, else as the rows tell."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, Row

_NEARLY_ALL = 0.99
"""Of the rows in which a probability is the greatest: as many have one prediction."""
_MOST_PAIRS = 20_000
_PAIR = 2


def learned_classes(rows: DataFrame, size: int) -> tuple[str, ...] | None:
    """The class of each probability; None where the rows do not tell. Runs a job or two.

    A probability is of the class that is predicted in at least 99% of the rows in which it is the greatest, the first
    of equal ones. Of two classes, which a threshold other than a half may tell apart, it is enough that all rows of one
    prediction have greater probabilities than those of the other. One class that is left goes to the one place that is
    left.

    Args:
        rows: with the texts ``y`` and ``p`` and the array ``q`` of as many finite numbers as there are classes.
        size: of the arrays.

    """
    place = F.array_position("q", F.array_max("q")) - 1
    last = F.col("q")[size - 1]
    grouped = rows.groupBy(place.alias("place"), "p")
    counted = grouped.agg(F.count(F.lit(1)).alias("n"), F.min(last).alias("low"), F.max(last).alias("high"))
    found = counted.limit(_MOST_PAIRS).collect()
    classes = _by_greatest(found)
    if classes is None and size == _PAIR:
        classes = _by_threshold(found)
    if classes is not None and len(classes) == size - 1:
        classes = _completed(rows, classes, size)
    if classes is None or len(classes) < size:
        return None
    return tuple(classes[place] for place in range(size))


def _by_greatest(found: Sequence[Row]) -> dict[int, str] | None:
    by_place: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for row in found:
        by_place[int(row["place"])].append((int(row["n"]), row["p"]))
    classes = {}
    for place, counts in by_place.items():
        most, name = max(counts)
        if most < _NEARLY_ALL * sum(n for n, _ in counts):
            return None
        classes[place] = name
    return classes if len(set(classes.values())) == len(classes) else None


def _by_threshold(found: Sequence[Row]) -> dict[int, str] | None:
    ranges: dict[str, tuple[float, float]] = {}
    for row in found:
        low, high = ranges.get(row["p"], (row["low"], row["high"]))
        ranges[row["p"]] = min(low, row["low"]), max(high, row["high"])
    if len(ranges) != _PAIR:
        return None
    (first, lower), (second, upper) = sorted(ranges.items(), key=lambda item: item[1])
    return {0: first, 1: second} if lower[1] < upper[0] else None


def _completed(rows: DataFrame, classes: dict[int, str], size: int) -> dict[int, str] | None:
    """With the one class that is left, which was never predicted with the greatest probability."""
    (place,) = (place for place in range(size) if place not in classes)
    names = rows.select(F.explode(F.array("y", "p")).alias("name")).where(~F.col("name").isin(list(classes.values())))
    left = names.distinct().limit(_PAIR).collect()
    return {**classes, place: left[0]["name"]} if len(left) == 1 else None
