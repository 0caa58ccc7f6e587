"""Run a job, in one commit or micro-batch by micro-batch; or only measure what it would be given."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from spark_scoring.delta.failures import explain_failure
from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.source import check_as_planned
from spark_scoring.delta.stream_errors import StreamError
from spark_scoring.drift.errors import DriftRequestError
from spark_scoring.engine.limit import Deadline
from spark_scoring.errors import RequestError
from spark_scoring.features.join import check_keys
from spark_scoring.run.batches import score_increments
from spark_scoring.run.drift import drift_of_plan
from spark_scoring.run.execute import carry_out
from spark_scoring.run.plan import JobPlan, read_text
from spark_scoring.run.planning import plan_job
from spark_scoring.run.told import tell

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pyspark.sql import SparkSession

    from spark_scoring.drift.result import Drift
    from spark_scoring.job import ScoringJob
    from spark_scoring.parameters import Value
    from spark_scoring.report.run import RunReport


def run_job(
    job: ScoringJob | JobPlan | Mapping[str, Any] | str | Path,
    spark: SparkSession | None = None,
    *,
    params: Mapping[str, Value] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_batch: Callable[[RunReport], None] | None = None,
    until: threading.Event | None = None,
) -> RunReport:
    """Score a Delta table into another one, in one commit; of an incremental job, what is new, in one for each batch.

    Args:
        job: the job, a mapping of its fields, the path of its YAML file, or its plan from ``plan_job``.
        spark: the session; default: the active one, else a new local one.
        params: of a YAML file: the values of ``${DAY}`` in names and ``:day`` in SQL.
        on_progress: called now and then from another thread with (rows so far, all rows), as told by finished tasks.
        on_batch: of an incremental job: called with the report of each micro-batch once it is committed.
        until: an incremental job keeps going until this is set, and ends with the batch that it is at. The model's
            alias is read anew for each batch.

    Raises:
        RequestError: the job cannot run as it stands; nothing was read or written.
        RunError: the run failed; nothing was committed, unless the text says so. Batches before it are.

    """
    if isinstance(job, JobPlan) and params:
        raise RequestError.params_of_a_file()
    plan = job if isinstance(job, JobPlan) else plan_job(job, spark, params=params)
    if plan.increments is not None:
        report = score_increments(plan, plan.increments, on_progress=on_progress, on_batch=on_batch, until=until)
    elif until is not None:
        raise StreamError.not_incremental()
    else:
        report = carry_out(plan, on_progress)
    return tell(plan, report)


def measure_drift(
    job: ScoringJob | JobPlan | Mapping[str, Any] | str | Path,
    spark: SparkSession | None = None,
    *,
    params: Mapping[str, Value] | None = None,
) -> Drift:
    """Hold what a job's model would be given against its training rows, and against the run before. Writes nothing.

    The rows are those that the job would read, of an incremental job the whole source; their values are those that
    the model would be given, after the plan's conversions and the job's policy. Reads them once, and scores none.

    Args:
        job: the job, a mapping of its fields, the path of its YAML file, or its plan from ``plan_job``. Without a
            ``drift`` of its own, it is measured with the defaults.
        spark: the session; default: the active one, else a new local one.
        params: of a YAML file: the values of ``${DAY}`` in names and ``:day`` in SQL.

    Raises:
        RequestError: the job cannot run as it stands; no row was read.
        RunError: Spark failed.
        TimeLimitError: it took longer than the job's timeout.

    """
    plan = job if isinstance(job, JobPlan) else plan_job(job, spark, params=params)
    if plan.client is not None:
        raise DriftRequestError.delegated()
    if plan.job.drift_settings is None:
        plan = replace(plan, job=plan.job.model_copy(update={"drift": True}))
    try:
        with Deadline(plan.timeout, plan.planned_in).of_spark(plan.session, f"drift_{uuid.uuid4().hex}"):
            check_as_planned(plan.source)
            if plan.scoring.lookups is not None:
                check_keys(plan.source.frame, plan.scoring.lookups)
            found = drift_of_plan(plan)
    except FeatureTableError:
        raise
    except Exception as error:
        explained = explain_failure(error, plan.target.ref.text, read_text(plan))
        if explained is error:
            raise
        raise explained from error
    return cast("Drift", found)
