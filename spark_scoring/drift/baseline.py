"""What a feature was like in training, in bins that a table's rows can be counted in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from spark_scoring.conversions.lanes import lane_type
from spark_scoring.errors import listed
from spark_scoring.model.types import Category, OneOf
from spark_scoring.times import from_iso, micros_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_scoring.model.types import Level
    from spark_scoring.plan.scoring_plan import PlannedFeature, ScoringPlan

Kind = Literal["number", "time", "level", "nulls"]
_ROUNDING = 1e-9
"""A share below it is what is left of adding others up."""
_NUMBERS = ("double", "float", "long", "integer", "int8", "int16", "uint8", "uint16", "uint32")


@dataclass(frozen=True)
class Baseline:
    """The bins of a feature, and their shares in training.

    A row is in one of its bins, or the value is missing, or it is not one that the model takes: in this order.
    """

    feature: str
    kind: Kind
    """``nulls``: nothing but the share of nulls is known, as of lists and of texts with many values."""
    shares: tuple[float, ...]
    """Of all rows of training: of each bin, of nulls, and 0 of what does not fit."""
    bounds: tuple[float, ...] = ()
    """Of numbers and times: upper bounds, which belong to the bin; times in microseconds since 1970."""
    levels: tuple[Level, ...] = ()
    """Of levels: their values, each a bin; one more is for all others."""
    is_closed: bool = False
    """Of levels: whether the model knows them all, so that one that it does not know does not fit."""

    @property
    def bins(self) -> int:
        """Without the last two."""
        return len(self.shares) - 2


@dataclass(frozen=True)
class Baselines:
    """Those of a plan's features."""

    rows: int
    """Of training."""
    features: tuple[Baseline, ...]
    notes: tuple[str, ...] = ()
    """What cannot be measured, and why."""

    @property
    def fingerprint(self) -> str:
        """Of the bins: counts of two runs are of the same bins where theirs are equal. Holds no value."""
        bins = [(b.feature, b.kind, b.bounds, [str(level) for level in b.levels]) for b in self.features]
        return hashlib.sha256(json.dumps(bins).encode()).hexdigest()[:16]


def baselines_of(plan: ScoringPlan, ignored: Sequence[str] = ()) -> Baselines:
    """What was recorded of the plan's features, as bins. Reads no row.

    A model of which nothing was recorded has none, and a note that says so.
    """
    statistics = plan.model.statistics
    if statistics is None:
        return Baselines(0, (), ("the model's training rows were not recorded (register_model records them)",))
    try:
        recorded = statistics.by_feature()
    except ValueError:
        return Baselines(0, (), ("what the model's metadata holds of its training rows cannot be read",))
    found, unlike, absent = [], [], []
    passed_over = {name.lower() for name in ignored}
    for feature in plan.features:
        if feature.name.lower() in passed_over:
            continue
        of_one = recorded.get(feature.name)
        if of_one is None:
            absent.append(feature.name)
            continue
        baseline = _baseline(feature, of_one)
        found.append(baseline)
        if baseline.kind == "nulls" and ("quantiles" in of_one or "levels" in of_one):
            unlike.append(feature.name)
    names = {feature.name.lower() for feature in plan.features}
    notes = [
        *_note(
            [name for name in ignored if name.lower() not in names], "drift.ignore names no feature of the model so"
        ),
        *_note(absent, "nothing was recorded of the training rows"),
        *_note(unlike, "only nulls are compared, as the model was registered before shares were recorded"),
    ]
    return Baselines(statistics.rows, tuple(found), tuple(notes))


def _note(names: Sequence[str], text: str) -> list[str]:
    return [f"{listed(names)}: {text}"] if names else []


def _baseline(feature: PlannedFeature, of_one: Mapping[str, Any]) -> Baseline:
    nulls = float(of_one.get("nulls") or 0.0)
    kind, bounds, levels, shares = _bins(feature, of_one)
    present = [share * (1 - nulls) for share in shares]
    is_closed = isinstance(feature.type, Category | OneOf)
    return Baseline(feature.name, kind, (*present, nulls, 0.0), tuple(bounds), tuple(levels), is_closed)


_Bins = tuple[Kind, "Sequence[float]", "Sequence[Level]", "Sequence[float]"]
_NULLS: _Bins = ("nulls", (), (), (1.0,))


def _bins(feature: PlannedFeature, of_one: Mapping[str, Any]) -> _Bins:
    lane = lane_type(feature.type)
    is_number, is_time = lane in _NUMBERS, lane == "datetime"
    if (is_number or is_time) and "quantiles" in of_one:
        bounds, shares = _number_bins(of_one, is_time=is_time)
        return ("time" if is_time else "number", bounds, (), shares) if bounds else _NULLS
    if "levels" in of_one and (is_number or lane in ("string", "boolean", "category")):
        known = [(level, float(share)) for level, share in of_one["levels"] if _is_of(feature, level)]
        shares = [share for _, share in known]
        rest = 1.0 - sum(shares)
        return "level", (), [level for level, _ in known], [*shares, rest if rest > _ROUNDING else 0.0]
    return _NULLS


def _number_bins(of_one: Mapping[str, Any], *, is_time: bool) -> tuple[Sequence[float], Sequence[float]]:
    """Bounds and shares; of a model that was registered before these were recorded, its deciles if they tell them."""
    if "shares" in of_one:
        return of_one["bounds"], of_one["shares"]
    quantiles = of_one["quantiles"]
    numbers = [float(micros_of(from_iso(q))) if is_time else float(q) for q in quantiles]
    is_continuous = is_time or not all(number.is_integer() for number in numbers)
    if len(set(numbers)) < len(numbers) or not is_continuous:
        return (), ()
    tenth = 1 / (len(numbers) - 1)
    return numbers, [0.0, *[tenth] * (len(numbers) - 1), 0.0]


def _is_of(feature: PlannedFeature, level: Any) -> bool:
    """Whether a recorded level is a value that the feature's lane can hold."""
    match lane_type(feature.type):
        case "category":
            return isinstance(feature.type, Category) and level in feature.type.levels.values
        case "string":
            return isinstance(level, str)
        case "boolean":
            return isinstance(level, bool)
        case _:
            return isinstance(level, int | float)
