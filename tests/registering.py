"""Registration as most tests use it: faster, as the logged model is tried in the tests' own process.

Requirements are given, as MLflow starts a process of its own to find them.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

import spark_scoring

PINS = [f"{name}=={version(name)}" for name in ("scikit-learn", "lightgbm", "xgboost", "catboost", "skops")]

register_model = partial(spark_scoring.register_model, verify="here", pip_requirements=PINS)
repair_model = partial(spark_scoring.repair_model, verify="here")
check_model = partial(spark_scoring.check_model, verify="here")
log_model_with_feature_engineering = partial(
    spark_scoring.log_model_with_feature_engineering, verify="here", pip_requirements=PINS
)
