"""What registration wrote into the MLmodel's metadata of a model, as scoring and the doctor read it.

``registration.record`` writes it. A model that was logged otherwise has none of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

from spark_scoring.model.types import Missing

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDED = "spark_scoring"
"""The key of the metadata."""


def recorded(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The record; empty where there is none."""
    found = (metadata or {}).get(RECORDED)
    return found if isinstance(found, dict) else {}


def recorded_nulls(record: Mapping[str, Any]) -> dict[str, Missing]:
    """What a missing text was in training, by feature."""
    return {name: kind for name, kind in _dict(record.get("nulls")).items() if kind in get_args(Missing)}


def recorded_ordered(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Category features whose levels were ordered in training."""
    found = record.get("ordered")
    return tuple(map(str, found)) if isinstance(found, list) else ()


def recorded_dtypes(record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns' dtypes in training, as text; empty for a model that was trained on a matrix."""
    return _dict(record.get("dtypes"))


def recorded_settings(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of libraries that were not the default in training."""
    return _dict(record.get("settings"))


def recorded_statistics(record: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics by feature; empty where they were left out.

    Raises:
        ValueError: they are not JSON.

    """
    text = record.get("statistics")
    return _dict(json.loads(text)) if isinstance(text, str) else {}


def _dict(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}
