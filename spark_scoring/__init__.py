"""Score any MLflow model over a Spark table and write the predictions to Delta.

Importing this package starts nothing and imports neither pyspark nor mlflow; each name loads its part on
first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_scoring.engine.pandas_casts import PreparedFeatures, prepare_features
    from spark_scoring.errors import PlanError, RequestError, RunError, ScoringError
    from spark_scoring.job import ScoringJob
    from spark_scoring.job_plan import JobPlan
    from spark_scoring.pipeline import plan_job, plan_scoring, run_job, score_batch
    from spark_scoring.plan.planner import ScoringPlan
    from spark_scoring.plan.policy import FeaturePolicy, Fill
    from spark_scoring.report.run import RunReport
    from spark_scoring.runs import RunRecord, roll_back, run_history
    from spark_scoring.session import get_session

__version__ = "0.1.0"

_HOMES = {
    "FeaturePolicy": "plan.policy",
    "Fill": "plan.policy",
    "JobPlan": "job_plan",
    "PlanError": "errors",
    "PreparedFeatures": "engine.pandas_casts",
    "RequestError": "errors",
    "RunError": "errors",
    "RunRecord": "runs",
    "RunReport": "report.run",
    "ScoringError": "errors",
    "ScoringJob": "job",
    "ScoringPlan": "plan.planner",
    "get_session": "session",
    "plan_job": "pipeline",
    "plan_scoring": "pipeline",
    "prepare_features": "engine.pandas_casts",
    "roll_back": "runs",
    "run_history": "runs",
    "run_job": "pipeline",
    "score_batch": "pipeline",
}

__all__ = [
    "FeaturePolicy",
    "Fill",
    "JobPlan",
    "PlanError",
    "PreparedFeatures",
    "RequestError",
    "RunError",
    "RunRecord",
    "RunReport",
    "ScoringError",
    "ScoringJob",
    "ScoringPlan",
    "__version__",
    "get_session",
    "plan_job",
    "plan_scoring",
    "prepare_features",
    "roll_back",
    "run_history",
    "run_job",
    "score_batch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'spark_scoring' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"spark_scoring.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
