"""Score any MLflow model over a Spark table and write the predictions to Delta.

Importing this package starts nothing and imports neither pyspark nor mlflow; each name loads its part on
first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_scoring.engine.pandas_casts import PreparedFeatures, prepare_features
    from spark_scoring.errors import (
        PlanError,
        RegistrationError,
        RequestError,
        RunError,
        ScoringError,
        VerificationError,
    )
    from spark_scoring.features.client import FeatureFunction, FeatureLookup, feature_client
    from spark_scoring.features.local_client import LocalFeatureClient
    from spark_scoring.job import ScoringJob
    from spark_scoring.job_plan import JobPlan
    from spark_scoring.pipeline import plan_job, plan_scoring, run_job, score_batch
    from spark_scoring.plan.planner import ScoringPlan
    from spark_scoring.plan.policy import FeaturePolicy, Fill
    from spark_scoring.registration.doctor import check_model
    from spark_scoring.registration.feature_engineering import log_model_with_feature_engineering
    from spark_scoring.registration.findings import Diagnosis, Finding
    from spark_scoring.registration.register import RegisteredModel, register_model
    from spark_scoring.registration.repair import repair_model
    from spark_scoring.registration.training import TrainingJob, run_training
    from spark_scoring.registration.training_rows import training_frame
    from spark_scoring.report.run import RunReport
    from spark_scoring.runs import RunRecord, roll_back, run_history
    from spark_scoring.session import get_session

__version__ = "0.1.0"

_HOMES = {
    "Diagnosis": "registration.findings",
    "FeatureFunction": "features.client",
    "FeatureLookup": "features.client",
    "FeaturePolicy": "plan.policy",
    "Fill": "plan.policy",
    "Finding": "registration.findings",
    "JobPlan": "job_plan",
    "LocalFeatureClient": "features.local_client",
    "PlanError": "errors",
    "PreparedFeatures": "engine.pandas_casts",
    "RegisteredModel": "registration.register",
    "RegistrationError": "errors",
    "RequestError": "errors",
    "RunError": "errors",
    "RunRecord": "runs",
    "RunReport": "report.run",
    "ScoringError": "errors",
    "ScoringJob": "job",
    "ScoringPlan": "plan.planner",
    "TrainingJob": "registration.training",
    "VerificationError": "errors",
    "check_model": "registration.doctor",
    "feature_client": "features.client",
    "get_session": "session",
    "log_model_with_feature_engineering": "registration.feature_engineering",
    "plan_job": "pipeline",
    "plan_scoring": "pipeline",
    "prepare_features": "engine.pandas_casts",
    "register_model": "registration.register",
    "repair_model": "registration.repair",
    "roll_back": "runs",
    "run_history": "runs",
    "run_job": "pipeline",
    "run_training": "registration.training",
    "score_batch": "pipeline",
    "training_frame": "registration.training_rows",
}

__all__ = [
    "Diagnosis",
    "FeatureFunction",
    "FeatureLookup",
    "FeaturePolicy",
    "Fill",
    "Finding",
    "JobPlan",
    "LocalFeatureClient",
    "PlanError",
    "PreparedFeatures",
    "RegisteredModel",
    "RegistrationError",
    "RequestError",
    "RunError",
    "RunRecord",
    "RunReport",
    "ScoringError",
    "ScoringJob",
    "ScoringPlan",
    "TrainingJob",
    "VerificationError",
    "__version__",
    "check_model",
    "feature_client",
    "get_session",
    "log_model_with_feature_engineering",
    "plan_job",
    "plan_scoring",
    "prepare_features",
    "register_model",
    "repair_model",
    "roll_back",
    "run_history",
    "run_job",
    "run_training",
    "score_batch",
    "training_frame",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'spark_scoring' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"spark_scoring.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
