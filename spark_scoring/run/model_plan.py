"""A job's rows and one model: the features that the model takes of them, the plan of that, and its rehearsal."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from spark_scoring.delta.settings import is_case_sensitive
from spark_scoring.engine.isolated.planned import read_model
from spark_scoring.engine.rehearsal import rehearsed
from spark_scoring.features.planning import plan_features
from spark_scoring.model.registry import resolve_model
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.zone import with_zone_note
from spark_scoring.run.columns import check_columns, frame_of, pinned_columns, request_of, typed_expressions

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from spark_scoring.delta.pinning import PinnedSql
    from spark_scoring.engine.limit import Deadline
    from spark_scoring.errors import Gathering
    from spark_scoring.job import ScoringJob
    from spark_scoring.model.pinned import PinnedModel
    from spark_scoring.model.spec import ModelSpec
    from spark_scoring.plan.lookups import LookupPlan
    from spark_scoring.plan.scoring_plan import ScoringPlan


def pinned_model(job: ScoringJob) -> PinnedModel:
    """The version of the model that a job means now, fetched as the job allows it."""
    return resolve_model(
        job.model,
        tracking_uri=job.tracking_uri,
        registry_uri=job.registry_uri,
        allow_models=job.allow_models,
        expect_digest=job.expect_digest,
    )


def model_of(job: ScoringJob, pinned: PinnedModel | None = None) -> ModelSpec:
    """What a job's model is; it is loaded with the packages that the job says, which runs its code."""
    return read_model(pinned or pinned_model(job), job.environment)


def frame_for(rows: DataFrame, spec: ModelSpec) -> tuple[DataFrame, LookupPlan | None]:
    """The columns that a model's features are taken from: the table's, or those with lookups, without a row."""
    if spec.features is None:
        return rows, None
    lookups, schema = plan_features(rows, spec.features)
    return frame_of(schema), lookups


def plan_model(
    job: ScoringJob,
    spec: ModelSpec,
    frame: DataFrame,
    lookups: LookupPlan | None,
    deadline: Deadline,
    problems: Gathering,
    *,
    before: ScoringPlan | None = None,
) -> tuple[ScoringPlan | None, list[PinnedSql]]:
    """The plan of a model over what ``frame_for`` gives, and the job's expressions as they are run.

    What is wrong is gathered; the plan is then None. ``before`` is an earlier plan of the job with the same model,
    whose rehearsal holds.
    """
    scoring = None
    check_columns(frame, job.columns, problems)
    written = pinned_columns(frame, job.columns)
    expressions = typed_expressions(frame, {name: pinned.sql for name, pinned in written.items()}, problems)
    with problems.attempt():
        case_sensitive = is_case_sensitive(frame.sparkSession)
        request = request_of(job, expressions, lookups, case_sensitive=case_sensitive)
        rehearsal = partial(
            rehearsed,
            make_plan(spec, frame.schema, request),
            policy=request.policy,
            # what an expression without a type would feed the model is no sample of it
            rehearse=job.rehearse and all(expression.type is not None for expression in expressions.values()),
            batch_dependent=job.batch_dependent,
            show_model_error=job.show_model_error,
            before=before,
            engine=job.scorer,
            explain=job.explained,
        )
        zone = str(frame.sparkSession.conf.get("spark.sql.session.timeZone"))
        scoring = with_zone_note(deadline.of_model(rehearsal), zone)
    return scoring, list(written.values())
