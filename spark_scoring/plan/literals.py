"""Whether a value that a person wrote, such as a fill or a parameter, is one of a model's type."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from spark_scoring.model.types import INTEGER_RANGES, Category, Coded, ModelType, OneOf
from spark_scoring.times import from_iso


def fits(value: Any, type_: ModelType, *, nullable: bool) -> bool:
    """Whether it is a value of the type, as JSON or YAML have it; None where ``nullable``."""
    if value is None:
        return nullable
    match type_:
        case "double" | "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "long" | "integer":
            low, high = INTEGER_RANGES[type_]
            return isinstance(value, int) and not isinstance(value, bool) and low <= value < high
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "datetime":
            return isinstance(written(value), str) and _is_iso_time(written(value))
        case Category() | Coded() | OneOf():
            return value in type_.levels.values
        case _:
            return False


def written(value: Any) -> Any:
    """A value as JSON and YAML have it: a time, or each of a list, as ISO 8601 text."""
    if isinstance(value, list | tuple):
        return [written(one) for one in value]
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, np.datetime64) else value


def _is_iso_time(value: str) -> bool:
    try:
        from_iso(value)
    except ValueError:
        return False
    return True
