"""How many rows are in each bin of each feature: one aggregate over the rows that a plan is for."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.conversions.lanes import constant, lane_type
from spark_scoring.engine.columns import extend, given_values
from spark_scoring.model.types import MISSING_CODE, MISSING_TIME, Category, Coded
from spark_scoring.sql import free_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import DataFrame

    from spark_scoring.drift.baseline import Baseline
    from spark_scoring.engine.columns import Given
    from spark_scoring.plan.scoring_plan import PlannedFeature, ScoringPlan

Counts = dict[str, tuple[int, ...]]
"""By feature: rows in each bin, of missing values, and of values that do not fit."""
_NULL, _UNFIT = -1, -2


def count_bins(df: DataFrame, plan: ScoringPlan, baselines: Sequence[Baseline]) -> Counts:
    """Count what the model would be given of the rows. Runs one job that reads them once; collects counts alone.

    Args:
        df: the rows, with looked-up features; their columns are those that the plan was made for.
        plan: the scoring plan.
        baselines: the bins, by feature.

    """
    if not baselines:
        return {}
    by_name = {feature.name: feature for feature in plan.features}
    features = tuple(by_name[baseline.feature] for baseline in baselines)
    prefix = free_prefix("_drift", df.columns)
    extended = extend(df, replace(plan, features=features), prefix)
    given = given_values(features, extended)
    states = [_state(f, given[f.name], b) for f, b in zip(features, baselines, strict=True)]
    spread = extended.frame.select(F.posexplode(F.expr(f"array({', '.join(states)})")).alias("place", "state"))
    bound = spread.withColumn("bounds", F.expr(f"get({_bounds(baselines)}, place)"))
    most = max(len(baseline.bounds) for baseline in baselines)
    above = " + ".join(f"CAST(state > get(bounds, {k}) AS INT)" for k in range(most)) or "0"
    bin_ = (
        f"CASE WHEN state IS NULL THEN {_NULL} WHEN isnan(state) THEN {_UNFIT} "
        f"WHEN bounds IS NULL THEN CAST(state AS INT) ELSE {above} END"
    )
    rows = bound.groupBy("place", F.expr(bin_).alias("bin")).agg(F.count(F.lit(1)).alias("rows")).collect()
    found: dict[int, dict[int, int]] = defaultdict(dict)
    for row in rows:
        found[row["place"]][row["bin"]] = int(row["rows"])
    return {b.feature: _counted(b, found[i]) for i, b in enumerate(baselines)}


def _counted(baseline: Baseline, found: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(found.get(place, 0) for place in (*range(baseline.bins), _NULL, _UNFIT))


def _bounds(baselines: Sequence[Baseline]) -> str:
    """SQL of an array with each feature's bounds, filled up with what no number is above; null of other kinds."""
    most = max(len(baseline.bounds) for baseline in baselines)

    def listed(bounds: Sequence[float]) -> str:
        if not bounds:
            return "CAST(NULL AS ARRAY<DOUBLE>)"
        padded = [*bounds, *[float("inf")] * (most - len(bounds))]
        return f"array({', '.join(_double(bound) for bound in padded)})"

    return f"array({', '.join(listed(baseline.bounds) for baseline in baselines)})"


def _double(number: float) -> str:
    return f"{number!r}D" if math.isfinite(number) else f"double('{number}')"


def _state(feature: PlannedFeature, given: Given, baseline: Baseline) -> str:
    """SQL of a double: the number itself, or the place of its level; null where it is missing, NaN if it is unfit."""
    cases = [f"WHEN {given.invalid} THEN double('NaN')"] if given.invalid else []
    if given.missing and not isinstance(feature.type, Coded):  # a missing level has a code, in training as here
        cases.append(f"WHEN {given.missing} THEN CAST(NULL AS DOUBLE)")
    value = _value(feature, given.value, baseline)
    return f"CASE {' '.join(cases)} ELSE {value} END" if cases else value


def _value(feature: PlannedFeature, value: str, baseline: Baseline) -> str:
    lane = lane_type(feature.type)
    missing = f"{value} IS NULL"
    if lane in ("datetime", "category"):
        missing = f"{value} = {MISSING_TIME if lane == 'datetime' else MISSING_CODE}"
    match baseline.kind:
        case "number":
            return f"nanvl(CAST({value} AS DOUBLE), CAST(NULL AS DOUBLE))"
        case "time":
            return f"CASE WHEN {missing} THEN NULL ELSE CAST({value} AS DOUBLE) END"
        case "level":
            place = f"CAST({_level_place(feature, value, baseline)} AS DOUBLE)"
            return f"CASE WHEN {missing} THEN CAST(NULL AS DOUBLE) ELSE {place} END"
        case "nulls":
            if lane in ("double", "float"):
                missing = f"({missing} OR isnan({value}))"
            return f"CASE WHEN {missing} THEN CAST(NULL AS DOUBLE) ELSE 0D END"


def _level_place(feature: PlannedFeature, value: str, baseline: Baseline) -> str:
    """The place of a value among the recorded levels; behind them that of all others."""
    if not baseline.levels:
        return "0"
    lane, type_ = lane_type(feature.type), feature.type
    if isinstance(type_, Category):
        places = {level: code for code, level in enumerate(type_.levels.values)}
        keys = [str(places[level]) for level in baseline.levels]
    else:
        keys = [constant(level, lane) for level in baseline.levels]
    entries = ", ".join(f"{key}, {i}" for i, key in enumerate(keys))
    return f"coalesce(try_element_at(map({entries}), {value}), {len(keys)})"
