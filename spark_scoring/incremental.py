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

from spark_scoring.delta.errors import StreamError
from spark_scoring.delta.failures import explain_failure
from spark_scoring.delta.settings import session_settings
from spark_scoring.delta.sink import inspect_again
from spark_scoring.delta.stream import (
    alters_columns,
    changes_rows,
    check_change_feed,
    checkpoint_home,
    checkpoint_id,
    commits_of_source,
    commits_of_stream,
    has_change_feed,
    has_rows,
    holds_batches,
    new_rows,
    newest_checkpoint,
    newest_version,
    next_checkpoint,
    open_stream,
    reads_feed,
    replaces_rows,
    rows_passed_over,
    start_query,
    streams_beside,
    without_source,
)
from spark_scoring.job_plan import Increments
from spark_scoring.running import carry_out, report_of, report_of_nothing

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.delta.ledger import Commit
    from spark_scoring.delta.stream import Changes, Checkpoint
    from spark_scoring.job import IncrementalSettings, ScoringJob
    from spark_scoring.job_plan import JobPlan
    from spark_scoring.report.run import RunReport

_ONE_AT_A_TIME = {"spark.sql.streaming.stopActiveRunOnRestart": "false"}
"""Else a second run of a job in one session would stop the first, which would then seem to have ended."""
_KEY_LENGTH, _OWN_LENGTH = 12, 6
"""Of a stream's key; of a job without a name, the second half is of the source's place alone."""


def plan_increments(plan: JobPlan, job: ScoringJob) -> Increments | None:
    """How an incremental job goes on from its last run; None for any other job.

    Asks the checkpoint, and the histories of source and output.

    Raises:
        RequestError: there is no place for a checkpoint, or going on would lose rows or add them a second time.

    """
    settings = job.increments
    if settings is None:
        return None
    _ = plan.source.delta_version  # there is one, or this is where it is said
    spark = plan.source.frame.sparkSession
    root = checkpoint_home(spark, plan.target, settings.checkpoint, plan.source)
    stream, newest = _find_stream(plan, settings, root)
    begun = None if job.force or newest is None else _to_go_on_from(plan, settings.changes, newest, stream)
    checkpoint = begun.folder if begun is not None else _new_checkpoint(plan, settings.changes, f"{root}/{stream}")
    if reads_feed(checkpoint):
        check_change_feed(spark, plan.source)
    doubles = begun is None and not job.force and plan.target.writing.mode == "append"
    if doubles and has_rows(spark, plan.target, plan.added["run_id"], stream):
        raise StreamError.would_double(plan.target.ref.text, checkpoint)
    return Increments(
        job=job,
        stream=stream,
        checkpoint=checkpoint,
        checkpoint_id=None if begun is None else begun.id,
        is_anew=begun is None and newest is not None,
        changes=settings.changes,
        files_per_batch=settings.files_per_batch,
        interval=settings.interval,
    )


def _find_stream(plan: JobPlan, settings: IncrementalSettings, root: str) -> tuple[str, Checkpoint | None]:
    """What tells incremental jobs apart, and the newest checkpoint: of the job's name, or else of what it does.

    So a job with a name may change its model, its filter or its columns, and goes on from where it was. Of one without
    a name, a source that has another name or place than last time is known by Delta's id.
    """
    spark, source = plan.source.frame.sparkSession, plan.source
    output = None if settings.checkpoint is None else plan.target.ref.sql  # several may share a folder of checkpoints
    if plan.name is not None:
        stream = _key([plan.name, output])[:_KEY_LENGTH]
        return stream, newest_checkpoint(spark, f"{root}/{stream}")
    model, writing = plan.scoring.model, plan.target.writing
    own = _key([source.where, model.name or model.uri, writing.mode, writing.key, output])[:_OWN_LENGTH]
    place = source.ref.path.rstrip("/") if source.ref.path is not None else [p.lower() for p in source.ref.parts]
    stream = (own + _key(place))[:_KEY_LENGTH]
    newest = newest_checkpoint(spark, f"{root}/{stream}")
    if newest is not None:
        return stream, newest
    for other in streams_beside(spark, root, own):
        there = newest_checkpoint(spark, f"{root}/{other}")
        if there is not None and there.source_id == source.table_id:
            return other, there
    return stream, None


def _key(decisive: object) -> str:
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _new_checkpoint(plan: JobPlan, changes: Changes, home: str) -> str:
    """Without the change data feed, rows that a commit inserts beside updates cannot be told from the others."""
    spark = plan.source.frame.sparkSession
    feed = changes == "follow" or (changes == "ignore" and has_change_feed(spark, plan.source))
    return next_checkpoint(spark, home, feed=feed)


def _to_go_on_from(plan: JobPlan, changes: Changes, newest: Checkpoint, stream: str) -> Checkpoint | None:
    """The job's checkpoint if source and output are those of last time; None where everything is to be scored anew.

    A merge that follows changes can begin anew at any time: what is gone from the source loses its predictions.

    Raises:
        StreamError: they are not, and to score everything would add rows again or leave some that are gone.

    """
    spark, source, target = plan.source.frame.sparkSession, plan.source, plan.target
    if newest.has_batches and not holds_batches(spark, target, stream):
        if target.writing.mode == "append" and has_rows(spark, target, plan.added["run_id"], stream):
            raise StreamError.output_restored(target.ref.text)
        return None
    if changes == "follow" and not reads_feed(newest.folder):
        return None
    adds = target.writing.mode == "append"
    if newest.source_id not in (None, source.table_id) or newest.version > source.delta_version + 1:
        if changes != "follow":
            raise StreamError.other_source(source.ref.text, adds=adds)
        return None
    commits = (
        commits_of_source(spark, source, newest.version, source.delta_version) if newest.source_id is not None else []
    )
    if changes == "follow":
        return None if any(alters_columns(commit) for commit in commits) else newest
    _check_commits(plan, changes, commits, feed=reads_feed(newest.folder))
    unfinished = changes == "ignore" and not reads_feed(newest.folder) and not newest.has_batches
    # what its first batch, which comes again, was to pass over is not known any more
    return None if unfinished and not has_rows(spark, target, plan.added["run_id"], stream) else newest


def _check_commits(plan: JobPlan, changes: Changes, commits: Sequence[Commit], *, feed: bool) -> None:
    """Refuse commits of the source that the job's stream would take for new rows, or pass over with new rows in them.

    Raises:
        StreamError: says what to do.

    """
    source, adds = plan.source.ref, plan.target.writing.mode == "append"
    for commit in commits:
        if alters_columns(commit):
            raise StreamError.columns_altered(source.text, commit.version, commit.operation)
        replaced = replaces_rows(commit)
        unsure = replaced is None and changes == "ignore" and adds
        if (replaced or unsure) and (changes == "refuse" or adds or not feed):
            raise StreamError.replaced(source.text, commit.version, commit.operation, adds=adds)
    if changes != "ignore" or feed:
        return
    passed = [(commit.version, rows) for commit in commits if (rows := rows_passed_over(commit)) != 0]
    if passed:
        has_feed = has_change_feed(plan.source.frame.sparkSession, plan.source)
        raise StreamError.would_pass_over(source.text, None if has_feed else source.sql, passed)


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
        stream = _opened(plan, increments)
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
    had committed before it died is not counted.
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
        stream = _opened(plan, increments)
        start_query(stream, increments.checkpoint, batch).awaitTermination()
    made = commits_of_stream(spark, inspect_again(spark, plan.target), increments.stream)
    return [report_of(plan, commit) for commit in made if commit.version not in known]


def _opened(plan: JobPlan, increments: Increments) -> DataFrame:
    """The source as the job's stream."""
    spark, feed = plan.source.frame.sparkSession, reads_feed(increments.checkpoint)
    return open_stream(spark, plan.source, increments.changes, increments.files_per_batch, feed=feed)


def _part(plan: JobPlan, increments: Increments, rows: DataFrame, number: int) -> JobPlan | None:
    """The plan of a micro-batch; None where there is nothing in it to do.

    The first one is carried out even if it is empty: it replaces what an earlier start of the stream has left.
    """
    spark, writing = rows.sparkSession, plan.target.writing
    version = newest_version(spark, increments.checkpoint, number)
    _check_batch(plan, increments, rows, number, version)
    source = new_rows(rows, plan.source, increments.changes, writing.key, feed=reads_feed(increments.checkpoint))
    source = replace(source, version=version)
    if number == 0 and increments.changes == "follow":
        tables = [table for table in (plan.target, plan.quarantine) if table is not None]
        source = without_source(source, tables, plan.added["run_id"], increments.stream)
    if number and source.frame.isEmpty() and (source.removed is None or source.removed.isEmpty()):
        return None  # the source was optimized or altered, or its filter passes none of the rows
    known = increments.checkpoint_id or checkpoint_id(spark, increments.checkpoint)
    return replace(
        plan,
        source=source,
        increments=replace(increments, checkpoint_id=known),
        batch=number,
        force=False,
    )


def _check_batch(plan: JobPlan, increments: Increments, rows: DataFrame, number: int, version: int) -> None:
    """Refuse what has come into the source since the job was planned, and cannot be scored rightly.

    Raises:
        StreamError: says what to do.

    """
    spark, feed, changes = rows.sparkSession, reads_feed(increments.checkpoint), increments.changes
    if changes == "refuse" and feed and changes_rows(rows):
        raise StreamError.changed(plan.source.ref.text)
    if changes == "follow" or version <= plan.source.delta_version:
        return
    since = newest_version(spark, increments.checkpoint, number - 1) + 1 if number else plan.source.delta_version + 1
    _check_commits(plan, changes, commits_of_source(spark, plan.source, since, version), feed=feed)
