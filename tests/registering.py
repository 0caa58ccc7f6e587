"""Registration as most tests use it: the logged model is tried in the tests' own process, which saves seconds each."""

from __future__ import annotations

from functools import partial

import spark_scoring

register_model = partial(spark_scoring.register_model, verify="here")
repair_model = partial(spark_scoring.repair_model, verify="here")
check_model = partial(spark_scoring.check_model, verify="here")
log_model_with_feature_engineering = partial(spark_scoring.log_model_with_feature_engineering, verify="here")
