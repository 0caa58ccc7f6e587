"""Score any MLflow model over a Spark table and write the predictions to Delta.

Importing this package starts nothing and imports neither pyspark nor mlflow; each name loads its part on
first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_scoring.bundle.errors import BundleError
    from spark_scoring.compare.comparison import Comparison
    from spark_scoring.compare.errors import CompareError, PromoteError, RowsMovedError
    from spark_scoring.compare.jobs import compare_job
    from spark_scoring.compare.promote import Promotion, promote_model
    from spark_scoring.delta.errors import BadRowsError, CommitError, DuplicateKeyError, SourceError, TableNameError
    from spark_scoring.delta.feature_errors import FeatureTableError
    from spark_scoring.delta.history_errors import HistoryError, RollbackFailedError
    from spark_scoring.delta.session_errors import SessionError
    from spark_scoring.delta.stream_errors import StreamError
    from spark_scoring.drift.errors import DriftError, DriftRequestError
    from spark_scoring.drift.result import Drift, FeatureDrift
    from spark_scoring.engine.errors import (
        ModelFailedError,
        ModelLoadError,
        ModelOutputError,
        OutputError,
        PolicyError,
        TimeLimitError,
    )
    from spark_scoring.engine.frames import PreparedFeatures, prepare_features
    from spark_scoring.engine.isolated.errors import IsolationError, ModelProcessError
    from spark_scoring.errors import PlanError, RequestError, RunError, ScoringError
    from spark_scoring.evaluation.errors import EvaluateError, EvaluationLogError
    from spark_scoring.evaluation.evaluation import Evaluation
    from spark_scoring.evaluation.jobs import evaluate
    from spark_scoring.features.client import FeatureFunction, FeatureLookup, feature_client
    from spark_scoring.features.local_client import LocalFeatureClient
    from spark_scoring.job import ScoringJob
    from spark_scoring.job_problems import JobError
    from spark_scoring.model.errors import ModelError
    from spark_scoring.plan.policy import FeaturePolicy, Fill
    from spark_scoring.plan.scoring_plan import ScoringPlan
    from spark_scoring.registration.doctor import check_model
    from spark_scoring.registration.errors import RegistrationError, TrainingError, VerificationError
    from spark_scoring.registration.feature_engineering import log_model_with_feature_engineering
    from spark_scoring.registration.findings import Diagnosis, Finding
    from spark_scoring.registration.register import RegisteredModel, register_model
    from spark_scoring.registration.repair import repair_model
    from spark_scoring.registration.training import TrainingJob, run_training
    from spark_scoring.registration.training_rows import training_frame
    from spark_scoring.report.page import RunPage
    from spark_scoring.report.run import RunReport
    from spark_scoring.run.history import RunRecord, roll_back, run_history
    from spark_scoring.run.jobs import measure_drift, run_job
    from spark_scoring.run.pages import run_page
    from spark_scoring.run.plan import JobPlan
    from spark_scoring.run.planning import plan_job
    from spark_scoring.run.saved import PlanMovedError
    from spark_scoring.scoring import plan_scoring, score_batch
    from spark_scoring.session import get_session

__version__ = "0.1.0"

_HOMES = {
    "BadRowsError": "delta.errors",
    "BundleError": "bundle.errors",
    "CommitError": "delta.errors",
    "CompareError": "compare.errors",
    "Comparison": "compare.comparison",
    "Diagnosis": "registration.findings",
    "Drift": "drift.result",
    "DriftError": "drift.errors",
    "DriftRequestError": "drift.errors",
    "DuplicateKeyError": "delta.errors",
    "EvaluateError": "evaluation.errors",
    "Evaluation": "evaluation.evaluation",
    "EvaluationLogError": "evaluation.errors",
    "FeatureDrift": "drift.result",
    "FeatureFunction": "features.client",
    "FeatureLookup": "features.client",
    "FeaturePolicy": "plan.policy",
    "FeatureTableError": "delta.feature_errors",
    "Fill": "plan.policy",
    "Finding": "registration.findings",
    "HistoryError": "delta.history_errors",
    "IsolationError": "engine.isolated.errors",
    "JobError": "job_problems",
    "JobPlan": "run.plan",
    "LocalFeatureClient": "features.local_client",
    "ModelError": "model.errors",
    "ModelFailedError": "engine.errors",
    "ModelLoadError": "engine.errors",
    "ModelOutputError": "engine.errors",
    "ModelProcessError": "engine.isolated.errors",
    "OutputError": "engine.errors",
    "PlanError": "errors",
    "PlanMovedError": "run.saved",
    "PolicyError": "engine.errors",
    "PreparedFeatures": "engine.frames",
    "PromoteError": "compare.errors",
    "Promotion": "compare.promote",
    "RegisteredModel": "registration.register",
    "RegistrationError": "registration.errors",
    "RequestError": "errors",
    "RollbackFailedError": "delta.history_errors",
    "RowsMovedError": "compare.errors",
    "RunError": "errors",
    "RunPage": "report.page",
    "RunRecord": "run.history",
    "RunReport": "report.run",
    "ScoringError": "errors",
    "ScoringJob": "job",
    "ScoringPlan": "plan.scoring_plan",
    "SessionError": "delta.session_errors",
    "SourceError": "delta.errors",
    "StreamError": "delta.stream_errors",
    "TableNameError": "delta.errors",
    "TimeLimitError": "engine.errors",
    "TrainingError": "registration.errors",
    "TrainingJob": "registration.training",
    "VerificationError": "registration.errors",
    "check_model": "registration.doctor",
    "compare_job": "compare.jobs",
    "evaluate": "evaluation.jobs",
    "feature_client": "features.client",
    "get_session": "session",
    "log_model_with_feature_engineering": "registration.feature_engineering",
    "measure_drift": "run.jobs",
    "plan_job": "run.planning",
    "plan_scoring": "scoring",
    "prepare_features": "engine.frames",
    "promote_model": "compare.promote",
    "register_model": "registration.register",
    "repair_model": "registration.repair",
    "roll_back": "run.history",
    "run_history": "run.history",
    "run_job": "run.jobs",
    "run_page": "run.pages",
    "run_training": "registration.training",
    "score_batch": "scoring",
    "training_frame": "registration.training_rows",
}

__all__ = [
    "BadRowsError",
    "BundleError",
    "CommitError",
    "CompareError",
    "Comparison",
    "Diagnosis",
    "Drift",
    "DriftError",
    "DriftRequestError",
    "DuplicateKeyError",
    "EvaluateError",
    "Evaluation",
    "EvaluationLogError",
    "FeatureDrift",
    "FeatureFunction",
    "FeatureLookup",
    "FeaturePolicy",
    "FeatureTableError",
    "Fill",
    "Finding",
    "HistoryError",
    "IsolationError",
    "JobError",
    "JobPlan",
    "LocalFeatureClient",
    "ModelError",
    "ModelFailedError",
    "ModelLoadError",
    "ModelOutputError",
    "ModelProcessError",
    "OutputError",
    "PlanError",
    "PlanMovedError",
    "PolicyError",
    "PreparedFeatures",
    "PromoteError",
    "Promotion",
    "RegisteredModel",
    "RegistrationError",
    "RequestError",
    "RollbackFailedError",
    "RowsMovedError",
    "RunError",
    "RunPage",
    "RunRecord",
    "RunReport",
    "ScoringError",
    "ScoringJob",
    "ScoringPlan",
    "SessionError",
    "SourceError",
    "StreamError",
    "TableNameError",
    "TimeLimitError",
    "TrainingError",
    "TrainingJob",
    "VerificationError",
    "__version__",
    "check_model",
    "compare_job",
    "evaluate",
    "feature_client",
    "get_session",
    "log_model_with_feature_engineering",
    "measure_drift",
    "plan_job",
    "plan_scoring",
    "prepare_features",
    "promote_model",
    "register_model",
    "repair_model",
    "roll_back",
    "run_history",
    "run_job",
    "run_page",
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
