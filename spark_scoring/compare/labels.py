"""Labels of both models: which flips, from what to what, and the shares of both; rare ones folded in Spark."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.compare.frames import SIDES, is_both_scored, label, pair
from spark_scoring.compare.result import Flip, LabelChange, LabelShare
from spark_scoring.report.measures import RARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame, Row

    from spark_scoring.compare.frames import Names
    from spark_scoring.compare.outputs import Output
    from spark_scoring.compare.result import PartResult

_MOST = 20
"""Flips, and labels of each model, that are listed."""


def with_labels(
    parts: Sequence[Sequence[PartResult]], scored: DataFrame, outputs: Sequence[Output], names: Names
) -> list[tuple[PartResult, ...]]:
    """The parts of all outputs, those that are labels with their flips and shares. Runs one job, if there are any."""
    places = [(i, j) for i, output in enumerate(outputs) for j, part in enumerate(output.parts) if part.kind == "label"]
    if not places:
        return [tuple(of_output) for of_output in parts]
    found = defaultdict(list)
    for row in _counted(scored, outputs, names, places):
        found[row["place"]].append(row)
    changes = {place: _change(found[number]) for number, place in enumerate(places)}
    return [
        tuple(replace(part, label=changes.get((i, j))) for j, part in enumerate(of_output))
        for i, of_output in enumerate(parts)
    ]


def _counted(
    scored: DataFrame, outputs: Sequence[Output], names: Names, places: Sequence[tuple[int, int]]
) -> list[Row]:
    """Rows per label of each model, and per flip; a null label is a label. Of what is folded, only the rows."""
    entries = [
        entry
        for number, (i, j) in enumerate(places)
        for entry in _entries(number, *(label(outputs[i].parts[j], column) for column in pair(names, i)))
    ]
    rows = scored.where(is_both_scored(names)).select(F.explode(F.array(*entries)).alias("entry"))
    sums = [F.sum(f"n_{side}").alias(f"n_{side}") for side in SIDES]
    counted = rows.where("entry IS NOT NULL").select("entry.*").groupBy("place", "kind", *SIDES).agg(*sums)
    order = Window.partitionBy("place", "kind").orderBy(F.expr("n_current + n_challenger").desc(), *SIDES)
    is_listed = (F.row_number().over(order) <= _MOST) & (F.greatest("n_current", "n_challenger") >= RARE)
    keys = [F.when(F.col("listed"), F.col(side)).alias(side) for side in SIDES]
    return counted.withColumn("listed", is_listed).groupBy("place", "kind", "listed", *keys).agg(*sums).collect()


def _entries(place: int, current: Column, challenger: Column) -> list[Column]:
    """What a row counts for: a label under each model and, if they differ, a flip."""

    def entry(kind: str, a: Column, b: Column, n: tuple[int, int]) -> Column:
        counts = [F.lit(count).alias(f"n_{side}") for count, side in zip(n, SIDES, strict=True)]
        keys = [value.cast("string").alias(side) for value, side in zip((a, b), SIDES, strict=True)]
        return F.struct(F.lit(place).alias("place"), F.lit(kind).alias("kind"), *keys, *counts)

    nothing = F.lit(None)
    return [
        entry("label", current, nothing, (1, 0)),
        entry("label", challenger, nothing, (0, 1)),
        F.when(~current.eqNullSafe(challenger), entry("flip", current, challenger, (1, 1))),
    ]


def _change(rows: Sequence[Row]) -> LabelChange:
    """Rows of one part: those that are listed, and one or none for each kind with what is folded."""
    flips = [row for row in rows if row["kind"] == "flip"]
    labels = [row for row in rows if row["kind"] == "label"]
    return LabelChange(
        flips=tuple(
            Flip(row["current"], row["challenger"], int(row["n_current"])) for row in _ordered(flips) if row["listed"]
        ),
        other_flips=sum(int(row["n_current"]) for row in flips if not row["listed"]),
        labels=tuple(
            LabelShare(row["current"], int(row["n_current"]), int(row["n_challenger"]))
            for row in _ordered(labels)
            if row["listed"]
        ),
        other_current=sum(int(row["n_current"]) for row in labels if not row["listed"]),
        other_challenger=sum(int(row["n_challenger"]) for row in labels if not row["listed"]),
    )


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """The most frequent first."""
    return sorted(rows, key=lambda row: (-row["n_current"] - row["n_challenger"], *(str(row[side]) for side in SIDES)))
