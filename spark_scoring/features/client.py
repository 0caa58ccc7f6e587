"""The feature client of this place: Databricks' own where its package and a workspace are, else the local one."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_scoring.features.lookups import FeatureFunction, FeatureLookup


def on_databricks() -> bool:
    """Whether this is a Databricks runtime with its feature engineering package; elsewhere it must not be started."""
    if not os.environ.get("DATABRICKS_RUNTIME_VERSION"):
        return False
    return find_spec("databricks") is not None and find_spec("databricks.feature_engineering") is not None


if not TYPE_CHECKING:
    # Databricks' client accepts its own classes only; ours take the same arguments.
    if on_databricks():
        from databricks.feature_engineering import FeatureFunction, FeatureLookup
    else:
        from spark_scoring.features.lookups import FeatureFunction, FeatureLookup

__all__ = ["FeatureFunction", "FeatureLookup", "feature_client", "on_databricks"]


def feature_client(*, model_registry_uri: str | None = None) -> Any:
    """A feature engineering client: Databricks' FeatureEngineeringClient there, ``LocalFeatureClient`` elsewhere.

    Args:
        model_registry_uri: MLflow's registry; default: MLflow's own setting.

    """
    if on_databricks():
        from databricks.feature_engineering import FeatureEngineeringClient

        return FeatureEngineeringClient(model_registry_uri=model_registry_uri)
    from spark_scoring.features.local_client import LocalFeatureClient

    return LocalFeatureClient(model_registry_uri=model_registry_uri)
