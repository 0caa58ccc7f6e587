"""Scores what is new in a source, micro-batch by micro-batch: each one is a run of its own, counted and committed.

A job that keeps going is this again and again, not a stream without an end: what is new is looked for with the
model, the feature tables and the source as they then are, and it stops where a batch ends.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.errors import StreamingQueryException

from spark_scoring.delta.checkpoint import checkpoint_id, newest_version, reads_feed
from spark_scoring.delta.failures import explain_failure
from spark_scoring.delta.settings import session_settings
from spark_scoring.delta.source_commits import commits_of_source
from spark_scoring.delta.stream import changes_rows, new_rows, open_stream, start_query, without_source
from spark_scoring.delta.stream_errors import StreamError
from spark_scoring.delta.stream_output import commits_of_stream
from spark_scoring.delta.target import inspect_again
from spark_scoring.engine.shipping import place_model
from spark_scoring.run.execute import carry_out
from spark_scoring.run.facts import report_of, report_of_nothing
from spark_scoring.run.increments import check_commits
from spark_scoring.run.planning import at_present, plan_beside

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from pyspark.sql import DataFrame

    from spark_scoring.report.run import RunReport
    from spark_scoring.run.plan import Increments, JobPlan

_ONE_AT_A_TIME = {"spark.sql.streaming.stopActiveRunOnRestart": "false"}
"""Else a second run of a job in one session would stop the first, which would then seem to have ended."""


def score_increments(
    plan: JobPlan,
    increments: Increments,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_batch: Callable[[RunReport], None] | None = None,
    until: threading.Event | None = None,
) -> RunReport:
    """Score what is new, or whatever is new until an event is set; the report sums the batches.

    Args:
        plan: the job's plan.
        increments: of the plan.
        on_progress: called now and then with (rows so far, all rows) of a batch.
        on_batch: called with the report of each batch once it is committed.
        until: keeps going until it is set; None: until nothing is new.

    Raises:
        RunError: a batch failed; those before it are committed, and the next run begins with it.

    """
    total = report_of_nothing(plan)
    has_jvm = hasattr(plan.session, "_sc")

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
            plan = at_present(plan, model_too=until is not None)
            part = _part(plan, increments, rows, number)
        if part is not None:
            count(carry_out(part, on_progress))

    while True:
        if has_jvm:
            _score_here(plan, increments, score)
        else:
            for report in _score_by_server(plan, increments):
                count(report)
        if until is None or until.wait(increments.interval):
            return total
        plan = plan if has_jvm else _planned_anew(plan)


def _planned_anew(plan: JobPlan) -> JobPlan:
    """For another look at the source over Spark Connect; in this process each batch is planned anew by itself."""
    with _in_our_words(plan):
        return at_present(plan, model_too=True)


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
    spark = plan.session
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


def _score_by_server(plan: JobPlan, increments: Increments) -> list[RunReport]:
    """Over Spark Connect, Python beside the server carries the batches out, each planned there with this plan's model.

    The registry and the model's files may be out of reach there: what was read of the model here goes along, and its
    copy is sent to the executors. Nothing comes back but an error's text: the output's history tells the rest. A
    batch that an earlier run had committed before it died is not counted.
    """
    spark, scoring = plan.session, plan.scoring
    if plan.client is None:
        place_model(spark, scoring.model.copy, scoring.model.environment)
    sent = replace(scoring, model=replace(scoring.model, path=""))
    job = plan.job.model_copy(update={"force": False})

    def batch(rows: DataFrame, number: int) -> None:
        there = plan_beside(job, rows.sparkSession, sent)
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
    spark, feed = plan.session, reads_feed(increments.checkpoint)
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
    check_commits(plan, changes, commits_of_source(spark, plan.source, since, version), feed=feed)
