"""What the predictions of a run are like: quantiles of numbers, shares of frequent labels; no row's value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import ArrayType, BooleanType, IntegralType, NumericType, StringType

from spark_scoring.drift.measures import distance, psi_between
from spark_scoring.report.measures import RARE
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

_LABELS = 10
_ELEMENTS = 10
_FEW_NUMBERS = 20
"""Whole numbers of so few different values are labels, such as 0 and 1."""
_TENTHS = tuple(i / 10 for i in range(1, 10))


@dataclass(frozen=True)
class Label:
    """A frequent label, and its rows in this run and in the run before."""

    label: str
    rows: int
    rows_before: int


@dataclass(frozen=True)
class Predictions:
    """A column of predictions, or one place of a column of lists, over the rows of a run."""

    name: str
    rows: int
    """With a value that is a finite number, or a label."""
    rows_before: int
    """Of the run before; 0 where there is none."""
    mean: float | None = None
    mean_before: float | None = None
    deciles: tuple[float, ...] = ()
    """The nine deciles of numbers, by Spark's approx_percentile; none of labels, and of fewer than 20 rows."""
    deciles_before: tuple[float, ...] = ()
    labels: tuple[Label, ...] = ()
    """The most frequent first; labels of fewer than 20 rows are not listed."""
    other: int = 0
    """Rows of labels that are not listed."""
    other_before: int = 0
    psi: float | None = None
    """To the run before: of its labels, or of ten bins between its deciles. None where either run has too few rows, or
    where deciles are equal."""


@dataclass(frozen=True)
class _Part:
    name: str
    value: Column
    is_label: bool


def describe_predictions(
    rows: DataFrame, before: DataFrame | None, columns: Mapping[str, str]
) -> tuple[Predictions, ...]:
    """What the columns are like in the rows of a run, and in those of the run before. Runs a job or two for each.

    Args:
        rows: the rows of the run in its output.
        before: those of the run before, if there was one.
        columns: the output's columns to describe, by the names that scoring gives them.

    """
    present = {own: name for own, name in columns.items() if name in rows.columns}
    if before is not None and not set(present.values()) <= set(before.columns):
        before = None
    frames = [rows] if before is None else [rows, before]
    parts = [part for own, name in present.items() for part in _parts(own, name, rows.schema[name].dataType)]
    if not parts:
        return ()
    totals = [_totals(frame, parts) for frame in frames]
    found: dict[int, Predictions] = {}
    for i, part in enumerate(parts):
        if not totals[0][f"n{i}"]:
            continue
        is_label = part.is_label or (totals[0].get(f"distinct{i}") or _FEW_NUMBERS + 1) <= _FEW_NUMBERS
        found[i] = _labels(part, frames) if is_label else _numbers(part.name, totals, i)
    bounds = {i: one.deciles_before for i, one in found.items() if len(set(one.deciles_before)) == len(_TENTHS)}
    for i, counts in _counted(rows, parts, bounds).items():
        tenths = distance([0.1] * len(counts), found[i].rows_before, counts)
        found[i] = replace(found[i], psi=None if tenths is None else tenths.psi)
    return tuple(found.values())


def _counted(
    rows: DataFrame, parts: Sequence[_Part], bounds: Mapping[int, Sequence[float]]
) -> dict[int, tuple[int, ...]]:
    """Rows in each bin between a number's bounds, which belong to the bin below. Runs a job, if there are any."""
    if not bounds:
        return {}
    sums = []
    for i, of_part in bounds.items():
        number = _finite(parts[i].value)
        for k, (low, high) in enumerate(pairwise([None, *of_part, None])):
            above = F.lit(True) if low is None else number > low  # noqa: FBT003
            below = F.lit(True) if high is None else number <= high  # noqa: FBT003
            sums.append(F.count_if(number.isNotNull() & above & below).alias(f"n{i}_{k}"))
    found = rows.agg(*sums).collect()[0]
    return {i: tuple(int(found[f"n{i}_{k}"]) for k in range(len(of_part) + 1)) for i, of_part in bounds.items()}


def _parts(own: str, name: str, type_: DataType) -> list[_Part]:
    column = F.col(quote(name))
    match type_:
        case StringType() | BooleanType():
            return [_Part(own, column.cast("string"), is_label=True)]
        case NumericType():
            return [_Part(own, column, is_label=False)]
        case ArrayType() if isinstance(type_.elementType, NumericType):
            return [_Part(f"{own}[{i}]", F.get(column, F.lit(i)), is_label=False) for i in range(_ELEMENTS)]
        case _:
            return []


def _totals(frame: DataFrame, parts: Sequence[_Part]) -> Mapping[str, Any]:
    sums = {}
    for i, part in enumerate(parts):
        if part.is_label:
            sums[f"n{i}"] = F.count(part.value)
            continue
        finite = _finite(part.value)
        sums |= {
            f"n{i}": F.count(finite),
            f"mean{i}": F.avg(finite),
            f"deciles{i}": F.percentile_approx(finite, list(_TENTHS)),
        }
        if isinstance(frame.select(part.value).schema[0].dataType, IntegralType):
            sums[f"distinct{i}"] = F.approx_count_distinct(part.value)
    return dict(frame.agg(*[column.alias(name) for name, column in sums.items()]).collect()[0].asDict())


def _finite(value: Column) -> Column:
    """The number as a double; null where it is NaN or infinite."""
    number = value.cast("double")
    return F.when(~F.isnan(number) & (F.abs(number) < float("inf")), number)


def _numbers(name: str, totals: Sequence[Mapping[str, Any]], i: int) -> Predictions:
    rows = [of_run[f"n{i}"] for of_run in totals]
    means, deciles = ([], [])  # type: tuple[list[float | None], list[tuple[float, ...]]]
    for n, of_run in zip(rows, totals, strict=True):
        means.append(of_run[f"mean{i}"] if n >= RARE else None)
        deciles.append(tuple(of_run[f"deciles{i}"]) if n >= RARE else ())
    has_before = len(rows) > 1
    return Predictions(
        name=name,
        rows=rows[0],
        rows_before=rows[1] if has_before else 0,
        mean=means[0],
        mean_before=means[1] if has_before else None,
        deciles=deciles[0],
        deciles_before=deciles[1] if has_before else (),
    )


def _labels(part: _Part, frames: Sequence[DataFrame]) -> Predictions:
    """The labels that are frequent in either run: the others are folded in Spark, and never collected."""
    entries = [
        frame.select(part.value.cast("string").alias("label"), *[F.lit(int(i == j)).alias(f"n{j}") for j in range(2)])
        for i, frame in enumerate(frames)
    ]
    spread = entries[0] if len(entries) == 1 else entries[0].unionByName(entries[1])
    counted = spread.where("label IS NOT NULL").groupBy("label").agg(F.sum("n0").alias("n0"), F.sum("n1").alias("n1"))
    shown = F.when(F.greatest("n0", "n1") >= RARE, F.col("label"))
    folded = counted.groupBy(shown.alias("label")).agg(F.sum("n0").alias("n0"), F.sum("n1").alias("n1"))
    order = [F.col("label").isNull().asc(), F.desc("n0"), F.desc("n1"), F.col("label")]
    first = folded.orderBy(*order).limit(_LABELS).collect()
    sums = folded.agg(F.sum("n0"), F.sum("n1")).collect()[0]
    listed = [Label(r["label"], int(r["n0"]), int(r["n1"])) for r in first if r["label"] is not None]
    rows, rows_before = (int(n or 0) for n in sums)
    other, other_before = rows - sum(one.rows for one in listed), rows_before - sum(one.rows_before for one in listed)
    psi = psi_between([*(one.rows_before for one in listed), other_before], [*(one.rows for one in listed), other])
    return Predictions(
        part.name, rows, rows_before, labels=tuple(listed), other=other, other_before=other_before, psi=psi
    )
