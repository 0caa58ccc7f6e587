"""What registration wrote into the MLmodel's metadata of a model, as scoring and the doctor read it.

``registration.record`` writes it. A model that was logged otherwise has none of it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from spark_scoring.model.levels import given_levels
from spark_scoring.model.types import Levels, Missing

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDED = "spark_scoring"
"""The key of the metadata."""


@dataclass(frozen=True)
class TrainingStatistics:
    """What the features were like in training, as it was recorded; read when it is asked for."""

    rows: int
    """Of training."""
    text: str
    """JSON by feature, as ``registration.record`` writes it."""

    def by_feature(self) -> dict[str, dict[str, Any]]:
        """The statistics of each feature.

        Raises:
            ValueError: they are not JSON.

        """
        return _by_feature(self.text)


def training_statistics(record: Mapping[str, Any]) -> TrainingStatistics | None:
    """The statistics of a record; None where they were left out."""
    rows, text = record.get("rows"), record.get("statistics")
    return TrainingStatistics(rows, text) if isinstance(rows, int) and isinstance(text, str) else None


def metadata_of(mlmodel: Any) -> Mapping[str, Any] | None:
    """An MLmodel's metadata, which MLflow before 2.0 did not know."""
    found: Mapping[str, Any] | None = getattr(mlmodel, "metadata", None)
    return found


def statistics_of(mlmodel: Any) -> Mapping[str, Mapping[str, Any]]:
    """What its registration recorded of each feature; empty where that is nothing, or cannot be read."""
    try:
        return recorded_statistics(recorded(metadata_of(mlmodel)))
    except Exception:  # noqa: BLE001  what cannot be read is as not recorded
        return {}


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


def recorded_levels(metadata: Mapping[str, Any] | None) -> dict[str, Levels]:
    """Levels that registration wrote into the MLmodel's metadata: ``spark_scoring: {categories: {name: [...]}}``.

    Raises:
        ValueError: they are not levels.

    """
    levels = recorded(metadata).get("categories") or {}
    return {name: given_levels(values, "its metadata") for name, values in levels.items()}


def recorded_categories(metadata: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Columns that were pandas categories in training, by what registration wrote into the MLmodel's metadata."""
    dtypes = recorded_dtypes(recorded(metadata))
    return tuple(name for name, dtype in dtypes.items() if dtype == "category")


def recorded_settings(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of libraries that were not the default in training."""
    return _dict(record.get("settings"))


def recorded_statistics(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Statistics by feature; empty where they were left out.

    Raises:
        ValueError: they are not JSON.

    """
    text = record.get("statistics")
    return _by_feature(text) if isinstance(text, str) else {}


def recorded_quantiles(of_one: Mapping[str, Any]) -> list[float]:
    """The quantiles in the statistics of one feature, ascending; none of times, which are text."""
    return [float(q) for q in of_one.get("quantiles") or () if isinstance(q, int | float) and math.isfinite(q)]


def _by_feature(text: str) -> dict[str, dict[str, Any]]:
    found = _dict(json.loads(text))
    return {str(name): of_one for name, of_one in found.items() if isinstance(of_one, dict)}


def _dict(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}
