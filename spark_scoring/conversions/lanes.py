"""How a feature travels to the worker: the type of its lane, and what holds the place of a value that it lacks.

Features of one numeric type share a lane that holds no null. In float lanes a null is NaN, in lanes of times and of
categories a number that stands for it, in the others a placeholder whose row is known to be bad.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from spark_scoring.conversions.numbers import parsed
from spark_scoring.model.types import ANY, MISSING_CODE, NULLS, SCALARS, Category, Coded, OneOf, Tensor
from spark_scoring.plan.policy import Fill
from spark_scoring.sql import text
from spark_scoring.times import from_iso, micros_of

if TYPE_CHECKING:
    from spark_scoring.model.types import Level, Levels, ModelType
    from spark_scoring.plan.scoring_plan import PlannedFeature

LANE_TYPES = ("double", "float", "long", "integer", "boolean", "datetime", "category")
"""Types that share a lane; all others travel alone. Times are microseconds since the epoch, categories codes."""

_PLACEHOLDERS = {**NULLS, "boolean": False, "string": None, "binary": None}
_HAS_NAN = ("float", "double")


def lane_type(type_: ModelType) -> str:
    """The type of a feature's lane: of ``LANE_TYPES``, else another data type, ``tensor`` or ``nested``."""
    match type_:
        case Category():
            return "category"
        case Coded() | OneOf():
            return type_.type
        case str() if type_ != ANY:
            return type_
        case Tensor():
            return "tensor"
        case _:
            return "nested"


def value_type(type_: ModelType) -> str:
    """As ``lane_type``, but of a tensor the type of its elements."""
    return type_.dtype if isinstance(type_, Tensor) else lane_type(type_)


def width_of(type_: ModelType) -> int:
    """Values per row of a packed lane; 0 of a feature that travels alone."""
    if isinstance(type_, Tensor):
        return type_.width
    return 1 if lane_type(type_) in LANE_TYPES else 0


def spark_lane(type_: str) -> str:
    """What a lane's values are in Spark."""
    return "int" if type_ == "category" else SCALARS[type_].lane


def constant(value: float | str | None, type_: str) -> str:
    """A value of a lane's type, as SQL."""
    if value is None:
        return f"CAST(NULL AS {spark_lane(type_)})"
    return text(value) if isinstance(value, str) else f"CAST('{str(value).lower()}' AS {spark_lane(type_)})"


# Two forms of each, as the conversions have them.


def is_missing_in_spark(source: str, feature: PlannedFeature) -> str:
    """Null, and NaN where the source can hold one: a float lane cannot tell them apart."""
    return f"({source} IS NULL OR isnan({source}))" if _may_be_nan(feature) else f"({source} IS NULL)"


def is_missing_in_python(value: Any, feature: PlannedFeature) -> bool:
    """Null, and NaN where the source can hold one."""
    return value is None or (_may_be_nan(feature) and math.isnan(value))


def _may_be_nan(feature: PlannedFeature) -> bool:
    return feature.source_type in _HAS_NAN and feature.type != "string"


def filled_in_spark(action: Fill | str | None, type_: ModelType) -> str:
    """The value that an action puts in place; what a bad row gets is never seen."""
    value = action.value if isinstance(action, Fill) else None
    match type_:
        case Category() | Coded():
            return constant(_code_of(value, type_.levels), lane_type(type_))
        case Tensor():
            return f"array_repeat({constant(_PLACEHOLDERS.get(type_.dtype, 0), type_.dtype)}, {type_.width})"
        case OneOf():
            return filled_in_spark(action, type_.type)
        case str() if type_ != ANY:
            if type_ == "datetime" and value is not None:
                value = micros_of(from_iso(str(value)))
            return constant(_PLACEHOLDERS.get(type_, 0) if value is None else value, type_)
        case _:
            return "NULL"


def filled_in_python(action: Fill | str | None, type_: ModelType) -> Any:
    """The value that an action puts in place; a null in a lane that has none, as a bad row's is never seen."""
    value = action.value if isinstance(action, Fill) else None
    match type_:
        case Category() | Coded():
            return _code_of(value, type_.levels)
        case Tensor():
            return [NULLS.get(type_.dtype)] * type_.width
        case OneOf():
            return filled_in_python(action, type_.type)
        case str() if value is None:
            return NULLS.get(type_)
        case "double" | "float":
            return parsed(str(value), type_)
        case "datetime":
            return micros_of(from_iso(str(value)))
        case _:
            return value


def _code_of(value: Level | None, levels: Levels) -> int:
    return MISSING_CODE if value is None else levels.values.index(value)
