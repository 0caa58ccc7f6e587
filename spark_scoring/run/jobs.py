"""Run a job: in one commit, or micro-batch by micro-batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_scoring.delta.errors import StreamError
from spark_scoring.errors import RequestError
from spark_scoring.run.batches import score_increments
from spark_scoring.run.execute import carry_out
from spark_scoring.run.plan import JobPlan
from spark_scoring.run.planning import plan_job

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pyspark.sql import SparkSession

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
        return score_increments(plan, plan.increments, on_progress=on_progress, on_batch=on_batch, until=until)
    if until is not None:
        raise StreamError.not_incremental()
    return carry_out(plan, on_progress)
