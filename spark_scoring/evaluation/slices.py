"""The parts of the rows that are measured apart: by version, by time, by column; rare levels are one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.report.measures import RARE
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame, Row

    from spark_scoring.evaluation.planning import EvaluatePlan

KEYS = ("split", "level", "is_other")
"""Of a slice, in frames."""
_MOST_LEVELS = 20
_MOST_WINDOWS = 30
_BETWEEN = "/"
"""Of a model's name and version: no name has one."""


class SliceKey(NamedTuple):
    """Which rows these are: split -1 has all of them."""

    split: int
    level: str | None
    is_other: bool


EVERY = SliceKey(-1, None, is_other=False)


@dataclass(frozen=True)
class SplitBy:
    """A column to split by, and the level of a row as text."""

    by: str
    kind: Literal["version", "window", "column"]
    level: Column
    window: str | None = None


def splits_of(plan: EvaluatePlan) -> tuple[SplitBy, ...]:
    """The splits of an evaluation; that by version always, where there is such a column."""
    columns, window = plan.columns, plan.request.window
    splits = []
    if columns.version is not None:
        version = F.col(quote(columns.version)).cast("string")
        name = F.lit(None) if columns.model is None else F.col(quote(columns.model)).cast("string")
        level = F.concat(F.coalesce(name, F.lit("")), F.lit(_BETWEEN), version)
        splits.append(SplitBy(columns.version, "version", level))
    if columns.time is not None and window is not None:
        begin = F.to_date(F.date_trunc(window, F.col(quote(columns.time))))
        splits.append(SplitBy(columns.time, "window", begin.cast("string"), window))
    splits += [SplitBy(name, "column", F.col(quote(name)).cast("string")) for name in columns.by]
    return tuple(splits)


def name_and_version(level: str) -> tuple[str, str]:
    """Of a level of the split by version; an empty name is not known."""
    name, _, version = level.rpartition(_BETWEEN)
    return name, version


def listed_levels(rows: DataFrame, splits: Sequence[SplitBy]) -> list[tuple[str | None, ...]]:
    """Of each split, the levels that are told apart: those of 20 rows or more, the most frequent or newest first.

    Runs one job, if there are any splits. No other level is collected.
    """
    if not splits:
        return []
    windows = [i for i, split in enumerate(splits) if split.kind == "window"]
    entries = [F.struct(F.lit(i).alias("split"), F.col(f"split{i}").alias("level")) for i in range(len(splits))]
    counted = (
        rows.select(F.explode(F.array(*entries)).alias("entry")).select("entry.*").groupBy("split", "level").count()
    )
    is_window = F.col("split").isin(windows) if windows else F.lit(False)  # noqa: FBT003
    newest = F.when(is_window, F.col("level"))
    order = Window.partitionBy("split").orderBy(newest.desc_nulls_last(), F.desc("count"), "level")
    place = F.row_number().over(order)
    most = F.when(is_window, _MOST_WINDOWS).otherwise(_MOST_LEVELS)
    frequent = counted.where(F.col("count") >= RARE).withColumn("place", place).where(F.col("place") <= most)
    found = frequent.collect()
    return [
        tuple(row["level"] for row in sorted(found, key=lambda row: int(row["place"])) if row["split"] == i)
        for i in range(len(splits))
    ]


def spread(rows: DataFrame, levels: Sequence[Sequence[str | None]], *values: Column) -> DataFrame:
    """A row for each row and slice that it belongs to, with the values."""
    entries = [_entry(F.lit(-1), F.lit(None).cast("string"), F.lit(False))]  # noqa: FBT003
    for i, listed in enumerate(levels):
        level = F.col(f"split{i}")
        texts = [text for text in listed if text is not None]
        is_listed = F.coalesce(level.isin(texts), F.lit(False)) if texts else F.lit(False)  # noqa: FBT003
        if None in listed:
            is_listed = is_listed | level.isNull()
        entries.append(_entry(F.lit(i), F.when(is_listed, level), ~is_listed))
    return rows.select(F.explode(F.array(*entries)).alias("slice"), *values).select("slice.*", "*").drop("slice")


def _entry(split: Column, level: Column, is_other: Column) -> Column:
    return F.struct(split.alias("split"), level.alias("level"), is_other.alias("is_other"))


def slice_of(row: Row) -> SliceKey:
    """The slice that an aggregate's row is of."""
    return SliceKey(int(row["split"]), row["level"], bool(row["is_other"]))
