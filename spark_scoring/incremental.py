"""Scores what is new in a source, micro-batch by micro-batch: each one is a run of its own, counted and committed.

A job that keeps going is this again and again, not a stream without an end: what is new is looked for with the
model, the feature tables and the source as they then are, and it stops where a batch ends.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.errors import StreamingQueryException

from spark_scoring.delta.failures import explain_failure
from spark_scoring.delta.sink import inspect_again, session_settings
from spark_scoring.delta.stream import (
    check_change_feed,
    checkpoint_home,
    checkpoint_id,
    commits_of_stream,
    find_checkpoint,
    has_rows,
    new_rows,
    newest_version,
    open_stream,
    start_query,
)
from spark_scoring.errors import StreamError
from spark_scoring.job import IncrementalSettings
from spark_scoring.job_plan import Increments
from spark_scoring.running import carry_out, report_of, report_of_nothing

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.job import ScoringJob
    from spark_scoring.job_plan import JobPlan
    from spark_scoring.report.run import RunReport

_ONE_AT_A_TIME = {"spark.sql.streaming.stopActiveRunOnRestart": "false"}
"""Else a second run of a job in one session would stop the first, which would then seem to have ended."""
_KEY_LENGTH = 12


def plan_increments(plan: JobPlan, job: ScoringJob) -> Increments | None:
    """How an incremental job goes on from its last run; None for any other job.

    Asks the checkpoint, and the output where there is none.

    Raises:
        RequestError: there is no place for a checkpoint, or going on would add rows a second time.

    """
    settings = job.increments
    if settings is None:
        return None
    spark = plan.source.frame.sparkSession
    stream = _stream_key(plan, job)
    home = f"{checkpoint_home(spark, plan.target, settings.checkpoint, plan.source)}/{stream}"
    checkpoint, begun = find_checkpoint(spark, home, anew=job.force)
    if settings.changes == "follow":
        check_change_feed(spark, plan.source)
    doubles = begun is None and not job.force and plan.target.writing.mode == "append"
    if doubles and has_rows(spark, plan.target, plan.added["run_id"], stream):
        raise StreamError.would_double(plan.target.ref.text, checkpoint)
    return Increments(
        job=job,
        stream=stream,
        checkpoint=checkpoint,
        checkpoint_id=begun,
        changes=settings.changes,
        files_per_batch=settings.files_per_batch,
        interval=settings.interval,
    )


def _stream_key(plan: JobPlan, job: ScoringJob) -> str:
    """What tells incremental jobs apart: the name, or for want of one what the job reads, scores with and writes to.

    A job with a name may so change its model, its filter or its columns, and goes on from where it was.
    """
    model, source, writing = plan.scoring.model, plan.source, plan.target.writing
    of_its_own = [source.where, model.name or model.uri, writing.mode, writing.key]
    settings = job.increments or IncrementalSettings()
    output = None if settings.checkpoint is None else plan.target.ref.sql  # several may share a folder of checkpoints
    decisive = [source.table_id, settings.changes == "follow", output, plan.name, None if plan.name else of_its_own]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:_KEY_LENGTH]


def score_increments(
    plan: JobPlan,
    increments: Increments,
    *,
    at_present: Callable[[JobPlan, bool], JobPlan],
    plan_anew: Callable[[ScoringJob, SparkSession], JobPlan],
    on_progress: Callable[[int, int], None] | None = None,
    on_batch: Callable[[RunReport], None] | None = None,
    until: threading.Event | None = None,
) -> RunReport:
    """Score what is new, or whatever is new until an event is set; the report sums the batches.

    Args:
        plan: the job's plan.
        increments: of the plan.
        at_present: the plan with the feature tables as they are now and, if so asked, the model.
        plan_anew: the plan of a job; a function that another process can import.
        on_progress: called now and then with (finished tasks, all tasks) of a batch.
        on_batch: called with the report of each batch once it is committed.
        until: keeps going until it is set; None: until nothing is new.

    Raises:
        RunError: a batch failed; those before it are committed, and the next run begins with it.

    """
    started, total = time.perf_counter(), report_of_nothing(plan)
    has_jvm = hasattr(plan.source.frame.sparkSession, "_sc")

    def count(report: RunReport) -> None:
        nonlocal total
        total = total.with_batch(report)
        if on_batch is not None:
            on_batch(report)

    def score(rows: DataFrame, number: int) -> None:
        nonlocal plan
        if until is not None and until.is_set():
            raise _StoppedError
        with _in_our_words(plan):
            plan = at_present(plan, until is not None)
            part = _part(plan, increments, rows, number)
        if part is not None:
            count(carry_out(part, on_progress))

    while True:
        if has_jvm:
            _score_here(plan, increments, score)
        else:
            for report in _score_by_server(plan, increments, plan_anew, keeps_going=until is not None):
                count(report)
        if until is None or until.wait(increments.interval):
            return replace(total, seconds=time.perf_counter() - started)


@contextmanager
def _in_our_words(plan: JobPlan) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise explain_failure(error, plan.target.ref.text, plan.source.ref.text) from error


class _StoppedError(Exception):
    """Ends the query in a batch: it failed, or the job was told to stop before it was begun."""


def _score_here(plan: JobPlan, increments: Increments, score: Callable[[DataFrame, int], None]) -> None:
    """Hand what is new to a function, batch by batch, in this process. What Spark raises comes out in our words."""
    spark = plan.source.frame.sparkSession
    raised: list[BaseException] = []

    def batch(rows: DataFrame, number: int) -> None:
        try:
            score(rows, number)
        except BaseException as error:  # noqa: BLE001  it is raised below
            raised.append(error)  # Spark brings back no more than a text, and logs it
            raise _StoppedError from None

    with _in_our_words(plan):
        stream = open_stream(spark, plan.source, increments.changes, increments.files_per_batch)
        with session_settings(spark, _ONE_AT_A_TIME):
            query = start_query(stream, increments.checkpoint, batch)
        try:
            query.awaitTermination()
        except StreamingQueryException:
            if not raised:
                raise
        finally:
            if query.isActive:
                query.stop()
    if raised and not isinstance(raised[0], _StoppedError):
        raise raised[0]


def _score_by_server(
    plan: JobPlan,
    increments: Increments,
    plan_anew: Callable[[ScoringJob, SparkSession], JobPlan],
    *,
    keeps_going: bool,
) -> list[RunReport]:
    """Over Spark Connect, Python beside the server carries the batches out, each planned there.

    Nothing comes back from it but an error's text: the output's history tells the rest. A batch that an earlier run
    had committed before it died is so not counted.
    """
    spark, model = plan.source.frame.sparkSession, plan.scoring.model
    settings: dict[str, object] = {"force": False}
    if not keeps_going:
        pinned = model.uri if model.version is None else f"models:/{model.name}/{model.version}"
        settings |= {"model": pinned, "expect_digest": model.digest}
    job = increments.job.model_copy(update=settings)

    def batch(rows: DataFrame, number: int) -> None:
        there = plan_anew(job, rows.sparkSession)
        part = _part(there, increments, rows, number)
        if part is not None:
            carry_out(part)

    known = {commit.version for commit in commits_of_stream(spark, plan.target, increments.stream)}
    with _in_our_words(plan):
        stream = open_stream(spark, plan.source, increments.changes, increments.files_per_batch)
        start_query(stream, increments.checkpoint, batch).awaitTermination()
    made = commits_of_stream(spark, inspect_again(spark, plan.target), increments.stream)
    return [report_of(plan, commit) for commit in made if commit.version not in known]


def _part(plan: JobPlan, increments: Increments, rows: DataFrame, number: int) -> JobPlan | None:
    """The plan of a micro-batch; None where there is nothing in it to do.

    The first one is carried out in any case: it replaces what an earlier start of the stream has left.
    """
    spark = rows.sparkSession
    source = new_rows(rows, plan.source, increments.changes, plan.target.writing.key)
    if number and source.frame.isEmpty() and (source.removed is None or source.removed.isEmpty()):
        return None  # the source was optimized or altered, or its filter passes none of the rows
    known = increments.checkpoint_id or checkpoint_id(spark, increments.checkpoint)
    return replace(
        plan,
        source=replace(source, version=newest_version(spark, increments.checkpoint, number)),
        increments=replace(increments, checkpoint_id=known),
        batch=number,
        force=False,
    )
