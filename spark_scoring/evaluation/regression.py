"""Metrics of numbers, by scikit-learn's definitions, and how predictions and labels go together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.evaluation.result import CalibrationBin
from spark_scoring.evaluation.slices import KEYS, slice_of, spread
from spark_scoring.report.measures import RARE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import DataFrame

    from spark_scoring.evaluation.joined import Totals
    from spark_scoring.evaluation.slices import SliceKey
    from spark_scoring.report.measures import Measures

_BINS = (10, 5, 2)
"""As many as leave 20 rows for each."""


def regression_metrics(
    rows: DataFrame, levels: Sequence[Sequence[str | None]]
) -> tuple[dict[SliceKey, int], dict[SliceKey, Measures]]:
    """Rows and metrics of each slice. Runs one job."""
    values = [F.col(name).cast("double").alias(name) for name in ("prediction", "label")]
    error = F.col("prediction") - F.col("label")
    sums = {
        "n": F.count(F.lit(1)),
        "squared": F.avg(error * error),
        "absolute": F.avg(F.abs(error)),
        "bias": F.avg(error),
        "variance": F.var_pop("label"),
        "is_constant": F.min("label") == F.max("label"),
    }
    grouped = spread(rows, levels, *values).groupBy(*KEYS)
    found = grouped.agg(*[column.alias(name) for name, column in sums.items()]).collect()
    return {slice_of(row): int(row["n"]) for row in found}, {slice_of(row): _metrics(row.asDict()) for row in found}


def _metrics(row: Mapping[str, Any]) -> Measures:
    return {"rmse": math.sqrt(row["squared"]), "mae": row["absolute"], "r2": _r2(row), "bias": row["bias"]}


def _r2(row: Mapping[str, Any]) -> float | None:
    """Of labels that are all equal: 1 where each prediction is right, else 0, as scikit-learn has it."""
    if row["n"] < 2:  # noqa: PLR2004
        return None
    if row["is_constant"]:
        return 0.0 if row["squared"] else 1.0
    return float(1.0 - row["squared"] / row["variance"])


def decile_bins(rows: DataFrame, totals: Totals) -> tuple[CalibrationBin, ...]:
    """Mean prediction and label between deciles of the prediction, or fewer quantiles of few rows. Runs one job."""
    bins = next((bins for bins in _BINS if totals["measured"] >= bins * RARE), 1)
    step = len(totals["deciles"] or ()) + 1
    bounds = sorted(set((totals["deciles"] or [])[step // bins - 1 :: step // bins]))
    prediction, label = F.col("prediction").cast("double"), F.col("label").cast("double")
    place = F.lit(0)
    for bound in bounds:
        place = place + F.when(prediction > bound, 1).otherwise(0)
    means = F.count(F.lit(1)).alias("n"), F.avg(prediction).alias("predicted"), F.avg(label).alias("observed")
    found = {int(row["place"]): row for row in rows.groupBy(place.alias("place")).agg(*means).collect()}
    told = []
    for i, (low, high) in enumerate(zip([None, *bounds], [*bounds, None], strict=True)):
        if i in found:
            row = found[i]
            is_told = row["n"] >= RARE
            means_of = (row["predicted"], row["observed"]) if is_told else (None, None)
            told.append(CalibrationBin(low, high, int(row["n"]), *means_of))
    return tuple(told)
