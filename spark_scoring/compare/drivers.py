"""Where the change is: how much of it each feature explains, by aggregates over its bins or levels."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.compare.frames import change, is_both_scored, pair
from spark_scoring.compare.result import DriverResult, Level
from spark_scoring.compare.totals import DECILES
from spark_scoring.report.measures import RARE
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import Column, DataFrame, Row

    from spark_scoring.compare.frames import Driver, Names
    from spark_scoring.compare.outputs import Output
    from spark_scoring.compare.totals import Totals

_MOST_LEVELS = 50
"""Levels of a feature beside which the others are one."""
_KEYS = "bin", "level"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def associations(
    scored: DataFrame, outputs: Sequence[Output], drivers: Sequence[Driver], names: Names, totals: Totals
) -> list[tuple[DriverResult, ...]]:
    """For each output, the features by how much of its change they explain, most first. Runs one job.

    A number or a time is cut into up to ten bins of about as many rows; a text, flag or category has its levels, of
    which rare ones, and those beyond the 50 most frequent, are one. Nulls and NaNs are a level, too.

    The measure is the correlation ratio (Pearson 1905; Fisher's eta squared), the share of the change's variance that
    is between the groups, corrected for their number, without which a feature with more levels explains more by chance
    (Kelley 1935, epsilon squared): 1 - (1 - eta^2) (n - 1) / (n - k), n rows in k groups, and at least 0.

    """
    if not drivers or not totals["both"]:
        return [() for _ in outputs]
    bounds = {i: sorted(set(totals[f"bins_{i}"] or ())) for i, d in enumerate(drivers) if d.scale != "level"}
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in _grouped(scored, outputs, drivers, names, bounds):
        groups[row["driver"]].append(row)
    return [
        tuple(
            sorted(
                (_driver(d, groups[i], o, bounds.get(i, [])) for i, d in enumerate(drivers)),
                key=lambda found: (-found.association, found.feature),
            )
        )
        for o in range(len(outputs))
    ]


def _grouped(
    scored: DataFrame,
    outputs: Sequence[Output],
    drivers: Sequence[Driver],
    names: Names,
    bounds: Mapping[int, Sequence[float]],
) -> list[Row]:
    """Rows, and sums of each output's change, per driver and group."""
    sums = {"n": F.count(F.lit(1))}
    for o in range(len(outputs)):
        c = F.col(f"c{o}")
        sums |= {
            f"n{o}": F.count(c),
            f"s{o}": F.coalesce(F.sum(c), F.lit(0.0)),
            f"q{o}": F.coalesce(F.sum(c * c), F.lit(0.0)),
        }
    aggregates = [column.alias(name) for name, column in sums.items()]
    parts = [
        _entries(scored, outputs, names, those, bounds).groupBy("driver", *_KEYS).agg(*aggregates)
        for those in (
            [i for i, d in enumerate(drivers) if (d.scale == "level") is is_level] for is_level in (False, True)
        )
        if those
    ]
    counted = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
    order = Window.partitionBy("driver").orderBy(F.desc("n"), *_KEYS)
    is_listed = (F.row_number().over(order) <= _MOST_LEVELS) & (F.col("n") >= RARE)
    of_listed = [F.when(F.col("listed"), F.col(key)).alias(key) for key in _KEYS]
    folded = counted.withColumn("listed", is_listed).groupBy("driver", "listed", *of_listed)
    return folded.agg(*[F.sum(name).alias(name) for name in sums]).collect()


def _entries(
    scored: DataFrame,
    outputs: Sequence[Output],
    names: Names,
    those: Sequence[int],
    bounds: Mapping[int, Sequence[float]],
) -> DataFrame:
    """A row per scored row and driver, with its bin or level and the outputs' changes. All ``those`` are of one kind.

    Bins are found after the rows are spread: one short expression, which Java compiles, for all drivers.
    """
    changes = [change(output, pair(names, o)).alias(f"c{o}") for o, output in enumerate(outputs)]
    values = F.array(*[F.col(quote(names.driver(i))) for i in those])
    good = scored.where(is_both_scored(names)).select(values.alias("values"), *changes)
    spread = good.select(F.posexplode("values").alias("place", "value"), *[f"c{o}" for o in range(len(outputs))])
    driver = F.get(F.array(*[F.lit(i) for i in those]), F.col("place"))
    spread = spread.withColumn("driver", driver)
    if those[0] not in bounds:
        return spread.withColumns({"bin": F.lit(None).cast("int"), "level": F.col("value")})
    return spread.withColumns({"bin": _bin([bounds[i] for i in those]), "level": F.lit(None).cast("string")})


def _bin(bounds: Sequence[Sequence[float]]) -> Column:
    """The number of a value's bin: 0 up to the first bound, which belongs to it; null of a null or a NaN."""
    value, most = F.col("value"), len(DECILES)
    padded = [[*of_driver, *[float("inf")] * (most - len(of_driver))] for of_driver in bounds]
    listed = F.array(*[F.lit(float(bound)) for of_driver in padded for bound in of_driver])
    above = F.lit(0)
    for k in range(most):
        above = above + F.when(value > F.get(listed, F.col("place") * most + k), 1).otherwise(0)
    return F.when(value.isNotNull() & ~F.isnan(value), above)


def _driver(driver: Driver, groups: Sequence[Row], output: int, bounds: Sequence[float]) -> DriverResult:
    n, s, q = f"n{output}", f"s{output}", f"q{output}"
    used = [row for row in groups if row[n]]
    share = explained([(row[n], row[s], row[q]) for row in used])
    named = [row for row in used if row["listed"] and row[n] >= RARE]
    most = max(named, key=lambda row: (row[s] / row[n], row["n"], str([row[key] for key in _KEYS])), default=None)
    level = None if most is None else Level(_text(driver, most, bounds), most["n"], most[s] / most[n])
    return DriverResult(driver.name, None, share, level if share else None)


def explained(groups: Sequence[tuple[int, float, float]]) -> float:
    """Epsilon squared of groups with their rows, sums and sums of squares; 0 where nothing varies."""
    n, total, squares = (sum(group[i] for group in groups) for i in range(3))
    if n <= len(groups):
        return 0.0
    whole = squares - total * total / n
    if whole <= 1e-12 * squares:  # what rounding leaves
        return 0.0
    between = sum(s * s / rows for rows, s, _ in groups) - total * total / n
    return max(0.0, 1.0 - (1.0 - between / whole) * (n - 1) / (n - len(groups)))


def _text(driver: Driver, group: Row, bounds: Sequence[float]) -> str:
    """A level or a bin, for people."""
    number, level = (group[key] for key in _KEYS)
    if driver.scale == "level":
        return "missing" if level is None else str(level)
    if number is None:
        return "missing"
    if not bounds:
        return "all"
    if number == 0:
        return f"up to {_shown(driver, bounds[0])}"
    if number == len(bounds):
        return f"above {_shown(driver, bounds[-1])}"
    return f"{_shown(driver, bounds[number - 1])} to {_shown(driver, bounds[number])}"


def _shown(driver: Driver, value: float) -> str:
    shown: Any
    match driver.scale:
        case "date":
            shown = (_EPOCH + dt.timedelta(days=value)).date().isoformat()
        case "time":
            shown = (_EPOCH + dt.timedelta(microseconds=value)).isoformat(sep=" ", timespec="seconds")
        case _:
            shown = f"{value:,.6g}"
    return str(shown)
