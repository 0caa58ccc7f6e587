"""Counts, differences and deciles of both models' results: one aggregate over the scored rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.compare.frames import change, difference, finite, has_changed, is_both_scored, number, pair
from spark_scoring.compare.result import ComparedRows, NumberChange, PartResult
from spark_scoring.report.measures import RARE, rate
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import Column, DataFrame

    from spark_scoring.compare.frames import Driver, Names
    from spark_scoring.compare.outputs import Output, Part

DECILES = [n / 10 for n in range(1, 10)]
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_MOST_WITH_DECILES = 10
"""Values of a list of which each gets its deciles."""
_BIN_ACCURACY = 1_000
"""Of approx_percentile for the bins of a feature, whose bounds need not be exact."""

Totals = dict[str, Any]
"""The aggregate's row, by the names below."""


def count_totals(scored: DataFrame, outputs: Sequence[Output], drivers: Sequence[Driver], names: Names) -> Totals:
    """All counts and quantiles that need no groups. Runs one job.

    Args:
        scored: of ``both_scored``.
        outputs: the columns that both models return.
        drivers: the features whose bins are asked for.
        names: the comparison's column names.

    """
    good = is_both_scored(names)
    bad = [F.col(names.error(side)).isNotNull() for side in (0, 1)]
    sums = {
        "rows": F.count(F.lit(1)),
        "both": F.count_if(good),
        "bad_both": F.count_if(bad[0] & bad[1]),
        "bad_0": F.count_if(bad[0] & ~bad[1]),
        "bad_1": F.count_if(bad[1] & ~bad[0]),
    }
    for i, output in enumerate(outputs):
        columns = pair(names, i)
        changed = [has_changed(part, columns) for part in output.parts]
        any_changed = changed[0]
        for one in changed[1:]:
            any_changed = any_changed | one
        sums[f"changed_{i}"] = F.count_if(good & any_changed)
        sums[f"mean_{i}"] = F.avg(F.when(good, change(output, columns)))
        for j, part in enumerate(output.parts):
            sums[f"changed_{i}_{j}"] = F.count_if(good & changed[j])
            if part.kind == "number":
                sums |= _number_sums(part, columns, good, f"{i}_{j}", deciles=len(output.parts) <= _MOST_WITH_DECILES)
    for i, driver in enumerate(drivers):
        if driver.scale != "level":
            value = finite(F.col(quote(names.driver(i))))
            sums[f"bins_{i}"] = F.percentile_approx(F.when(good, value), DECILES, _BIN_ACCURACY)
    return dict(scored.agg(*[column.alias(name) for name, column in sums.items()]).collect()[0].asDict())


def _number_sums(
    part: Part, columns: tuple[str, str], good: Column, suffix: str, *, deciles: bool
) -> Mapping[str, Column]:
    diff = F.when(good, difference(part, columns))
    sums = {
        f"n_{suffix}": F.count(diff),
        f"diff_{suffix}": F.avg(diff),
        f"abs_{suffix}": F.avg(F.abs(diff)),
        f"max_{suffix}": F.max(F.abs(diff)),
        f"quantiles_{suffix}": F.percentile_approx(F.abs(diff), list(_QUANTILES.values())),
    }
    for side, column in enumerate(columns):
        value = F.when(good, finite(number(part, column)))
        sums[f"mean_{side}_{suffix}"] = F.avg(value)
        if deciles:
            sums[f"deciles_{side}_{suffix}"] = F.percentile_approx(value, DECILES)
    return sums


def row_counts(totals: Totals) -> ComparedRows:
    """Rows by what became of them."""
    return ComparedRows(totals["rows"], totals["both"], totals["bad_both"], totals["bad_0"], totals["bad_1"])


def part_result(part: Part, totals: Totals, suffix: str) -> PartResult:
    """What the aggregate says of a part: ``suffix`` is the number of its output, and its own in it."""
    both, changed = totals["both"], totals[f"changed_{suffix}"]
    result = _number_change(totals, suffix) if part.kind == "number" else None
    return PartResult(part.name, part.kind, changed, rate(changed, both), result)


def _number_change(totals: Totals, suffix: str) -> NumberChange:
    n = totals[f"n_{suffix}"]
    quantiles, *deciles = (
        totals.get(f"{name}_{suffix}") if n >= RARE else None for name in ("quantiles", "deciles_0", "deciles_1")
    )
    return NumberChange(
        rows=n,
        not_finite=totals["both"] - n,
        mean_diff=totals[f"diff_{suffix}"],
        mean_abs_diff=totals[f"abs_{suffix}"],
        max_abs_diff=totals[f"max_{suffix}"],
        quantiles_abs_diff=None if quantiles is None else dict(zip(_QUANTILES, quantiles, strict=True)),
        mean_current=totals[f"mean_0_{suffix}"] if n >= RARE else None,
        mean_challenger=totals[f"mean_1_{suffix}"] if n >= RARE else None,
        deciles_current=None if deciles[0] is None else tuple(deciles[0]),
        deciles_challenger=None if deciles[1] is None else tuple(deciles[1]),
    )
