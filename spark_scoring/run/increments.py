"""How an incremental job goes on from its last run: its stream, its checkpoint, and what has happened to its source."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from spark_scoring.delta.checkpoint import (
    checkpoint_home,
    newest_checkpoint,
    next_checkpoint,
    reads_feed,
    streams_beside,
)
from spark_scoring.delta.ledger import kept_runs, read_commits
from spark_scoring.delta.source_commits import alters_columns, commits_of_source, replaces_rows, rows_passed_over
from spark_scoring.delta.stream import check_change_feed, has_change_feed
from spark_scoring.delta.stream_errors import StreamError
from spark_scoring.delta.stream_output import has_rows, has_rows_of_run, holds_batches
from spark_scoring.redact import redact
from spark_scoring.run.plan import Increments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_scoring.delta.checkpoint import Checkpoint
    from spark_scoring.delta.ledger import Commit
    from spark_scoring.delta.stream import Changes
    from spark_scoring.job_settings import IncrementalSettings
    from spark_scoring.run.plan import JobPlan

_NEWEST = 10
"""Commits of the output in which the job's last run is looked for, to tell what changed."""
_KEY_LENGTH, _OWN_LENGTH = 12, 6
"""Of a stream's key; of a job without a name, the second half is of the source's place alone."""


def plan_increments(plan: JobPlan) -> Increments | None:
    """How an incremental job goes on from its last run; None for any other job.

    Asks the checkpoint, and the histories of source and output.

    Raises:
        RequestError: there is no place for a checkpoint, or going on would lose rows or add them a second time.

    """
    settings = plan.job.increments
    if settings is None:
        return None
    _ = plan.source.delta_version  # there is one, or this is where it is said
    spark = plan.session
    root = checkpoint_home(spark, plan.target, settings.checkpoint, plan.source)
    stream, newest = _find_stream(plan, settings, root)
    begun = None if plan.force or newest is None else _to_go_on_from(plan, settings.changes, newest, stream)
    checkpoint = begun.folder if begun is not None else _new_checkpoint(plan, settings.changes, f"{root}/{stream}")
    if reads_feed(checkpoint):
        check_change_feed(spark, plan.source)
    doubles = begun is None and not plan.force and plan.target.writing.mode == "append"
    if doubles and has_rows(spark, plan.target, plan.added["run_id"], stream):
        raise StreamError.would_double(plan.target.ref.text, checkpoint)
    if doubles:
        _check_no_whole_run(plan)
    return Increments(
        stream=stream,
        checkpoint=checkpoint,
        checkpoint_id=None if begun is None else begun.id,
        is_anew=begun is None and newest is not None,
        changes=settings.changes,
        files_per_batch=settings.files_per_batch,
        interval=settings.interval,
    )


def note_on_model(plan: JobPlan, increments: Increments) -> str | None:
    """That the rows scored so far are another model's, where the job goes on with a new one."""
    model = plan.scoring.model
    if increments.checkpoint_id is None or plan.target.schema is None:
        return None
    commits = read_commits(plan.session, plan.target.ref, _NEWEST)
    last = next((facts for _, facts in kept_runs(commits) if facts.stream == increments.stream), None)
    if last is None or last.model_digest == model.digest:
        return None
    before = "of another model" if last.model_version is None else f"of version {last.model_version}"
    return f"the rows scored so far keep their predictions {before}; force: true, for one run, scores everything again"


def _check_no_whole_run(plan: JobPlan) -> None:
    """Refuse to begin beside rows of a run that was not incremental: they would be added a second time.

    Raises:
        StreamError: such a run of this source, of the same job and ``where``, is in the output.

    """
    source, target = plan.source, plan.target
    if target.schema is None:
        return
    own = source.table_id, source.where and redact(source.where), redact(plan.title)
    for commit, facts in kept_runs(read_commits(plan.session, target.ref)):
        is_whole = facts.part == "predictions" and facts.stream is None
        is_own = (facts.source_id, facts.where, facts.job) == own
        if is_whole and is_own and has_rows_of_run(plan.session, target, facts.run_column, facts.run_id):
            raise StreamError.would_repeat(target.ref.text, commit.version, facts.rows_in, facts.run_id)
        if facts.mode == "overwrite" and facts.replace_where is None:
            return  # what was before it is gone


def _find_stream(plan: JobPlan, settings: IncrementalSettings, root: str) -> tuple[str, Checkpoint | None]:
    """What tells incremental jobs apart, and the newest checkpoint: of the job's name, or else of what it does.

    So a job with a name may change its model, its filter or its columns, and goes on from where it was. Of one without
    a name, a source that has another name or place than last time is known by Delta's id.
    """
    spark, source = plan.session, plan.source
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
    spark = plan.session
    feed = changes == "follow" or (changes == "ignore" and has_change_feed(spark, plan.source))
    return next_checkpoint(spark, home, feed=feed)


def _to_go_on_from(plan: JobPlan, changes: Changes, newest: Checkpoint, stream: str) -> Checkpoint | None:
    """The job's checkpoint if source and output are those of last time; None where everything is to be scored anew.

    A merge that follows changes can begin anew at any time: what is gone from the source loses its predictions.

    Raises:
        StreamError: they are not, and to score everything would add rows again or leave some that are gone.

    """
    spark, source, target = plan.session, plan.source, plan.target
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
    check_commits(plan, changes, commits, feed=reads_feed(newest.folder))
    unfinished = changes == "ignore" and not reads_feed(newest.folder) and not newest.has_batches
    # what its first batch, which comes again, was to pass over is not known any more
    return None if unfinished and not has_rows(spark, target, plan.added["run_id"], stream) else newest


def check_commits(plan: JobPlan, changes: Changes, commits: Sequence[Commit], *, feed: bool) -> None:
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
        has_feed = has_change_feed(plan.session, plan.source)
        raise StreamError.would_pass_over(source.text, None if has_feed else source.sql, passed)
