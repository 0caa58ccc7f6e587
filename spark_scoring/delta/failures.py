"""A failed run's error in our own words: what Spark and Delta say may hold row values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_scoring.delta.errors import BadRowsError, CommitError, DuplicateKeyError
from spark_scoring.delta.spark_errors import spark_failure
from spark_scoring.engine.errors import (
    ManyBadRowsError,
    ModelFailedError,
    ModelLoadError,
    ModelOutputError,
    TimeLimitError,
)
from spark_scoring.engine.isolated.errors import ModelProcessError
from spark_scoring.errors import Problem, RequestError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable

_FROM_WORKER: dict[str, type[RunError]] = {
    "ModelOutputError": ModelOutputError,
    "ModelFailedError": ModelFailedError,
    "ModelLoadError": ModelLoadError,
    "ModelProcessError": ModelProcessError,
    "BadRowsError": BadRowsError,
    "ManyBadRowsError": ManyBadRowsError,
    "CommitError": CommitError,
    "DuplicateKeyError": DuplicateKeyError,
    "TimeLimitError": TimeLimitError,
}
_NOTHING = "; nothing was committed"


@dataclass(frozen=True)
class _Places:
    """Where a run's rows come from and go to, for its error."""

    output: str
    source: str


_CONFLICT = (
    r"\[(DELTA_(?:CONCURRENT|METADATA_CHANGED|PROTOCOL_CHANGED|PATH_EXISTS)[A-Z_.]*"
    r"|TABLE_OR_VIEW_ALREADY_EXISTS|LOCATION_ALREADY_EXISTS)\]"
)
"""Another writer was faster; an output that did not exist when it was inspected counts, too."""


def is_conflict(error: Exception) -> bool:
    """Whether a write failed because of another writer: nothing was committed, and it may pass if tried again."""
    return re.search(_CONFLICT, str(error)) is not None


def explain_failure(error: Exception, output: str, source: str) -> RunError:
    """The error of a run from ``source`` into ``output`` that Spark raised, as one of ours; nothing was committed."""
    if isinstance(error, RunError):
        return error
    if isinstance(error, RequestError):  # the output is another one than when the run was planned
        causes = [Problem(p.thing, f"during the run: {p.cause}; nothing was committed", p.fix) for p in error.problems]
        return CommitError(causes)
    text = str(error)
    for pattern, explain in _CAUSES:
        if found := re.search(pattern, text):
            return explain(found, _Places(output, source))
    told = spark_failure(text)
    return CommitError.failed("run", f"Spark failed: {told.text or type(error).__name__}", told.fix)


def _worker_error(found: re.Match[str], places: _Places) -> RunError:
    """An error of ours that was raised in a Python worker and came back as a traceback's text."""
    kind, thing, cause, fix = found.groups()
    cause = f"{cause.removesuffix(_NOTHING)}{_NOTHING}"  # a micro-batch over Spark Connect has said so itself
    return _FROM_WORKER.get(kind, RunError)([Problem(thing, cause, fix)])


def _policy(found: re.Match[str], places: _Places) -> RunError:
    cause = f"a row has {found[1]}, and the feature's policy is to fail"
    return CommitError.failed("run", cause, "fix the row, or let the policy be bad_row or a fill value")


def _bad_row(found: re.Match[str], places: _Places) -> RunError:
    return BadRowsError.first(found[1])


def _no_caching(found: re.Match[str], places: _Places) -> RunError:
    cause = "this compute cannot hold scored rows until they are counted and committed"
    return CommitError.failed("run", cause, "use classic compute, or bad_rows: keep or fail without max_bad_rows")


def _outside(found: re.Match[str], places: _Places) -> RunError:
    cause = "the run has rows that its replace_where does not cover"
    return CommitError.failed(f"output {places.output}", cause, "let source.where select what replace_where replaces")


def _full(found: re.Match[str], places: _Places) -> RunError:
    cause = "there is no space left where the run writes: the output's storage, or Spark's own folder for shuffles"
    return CommitError.failed(f"output {places.output}", cause, "free space, then run again")


def _not_allowed(found: re.Match[str], places: _Places) -> RunError:
    cause = f"the storage refused the run ({found[1]})"
    fix = "check the permissions on the output, its quarantine and the source"
    return CommitError.failed(f"output {places.output}", cause, fix)


def _no_folder(found: re.Match[str], places: _Places) -> RunError:
    cause = "its folder cannot be made: the storage is read-only, or not this user's, or part of the path is a file"
    return CommitError.failed(f"output {places.output}", cause, "give a place where tables can be made")


def _constraint(found: re.Match[str], places: _Places) -> RunError:
    cause = f"a row of the run violates its constraint {' '.join(found[1].split())}"
    return CommitError.failed(f"output {places.output}", cause, "leave such rows out (source.where), or drop it")


def _not_null(found: re.Match[str], places: _Places) -> RunError:
    cause = f"a row of the run has no {found[1]}, which the table wants (NOT NULL)"
    return CommitError.failed(f"output {places.output}", cause, "leave such rows out (source.where), or drop it")


def _too_long(found: re.Match[str], places: _Places) -> RunError:
    cause = "a text of the run is longer than the table's CHAR or VARCHAR column takes"
    return CommitError.failed(f"output {places.output}", cause, "widen the column, or write to another table")


def _files_gone(found: re.Match[str], places: _Places) -> RunError:
    cause = "files of the version that is read are gone: it was vacuumed, or its folder was changed by hand"
    return CommitError.failed(
        f"source {places.source}", cause, "run again on a newer version, or keep files for longer"
    )


def _changed(found: re.Match[str], places: _Places) -> RunError:
    cause = "rows that were scored have been updated, deleted or overwritten in it, and changes: refuse stops at that"
    fix = (
        "incremental: {changes: follow}, with mode: merge and the source's change data feed, scores them again; "
        "incremental: {changes: ignore} leaves their predictions as they are"
    )
    return CommitError.failed(f"source {places.source}", cause, fix)


def _no_changes(found: re.Match[str], places: _Places) -> RunError:
    cause = "its change data feed does not reach back to the last run"
    fix = "force: true scores everything again and goes on from there"
    return CommitError.failed(f"source {places.source}", cause, fix)


def _other_columns(found: re.Match[str], places: _Places) -> RunError:
    cause = f"its columns have changed in a way that a stream does not read over ({found[0]})"
    fix = "run again; if that does not help, force: true scores everything again and goes on from there"
    return CommitError.failed(f"source {places.source}", cause, fix)


def _other_table(found: re.Match[str], places: _Places) -> RunError:
    cause = f"the checkpoint is of another table ({found[0]})"
    return CommitError.failed(f"source {places.source}", cause, "force: true begins a new checkpoint")


def _two_at_once(found: re.Match[str], places: _Places) -> RunError:
    cause = "another run of this job is at work with the same checkpoint"
    return CommitError.failed(f"output {places.output}", cause, "wait for it, or stop it; two are no faster than one")


def _conflict(found: re.Match[str], places: _Places) -> RunError:
    return CommitError.conflict(places.output, found[1])


def _delta(found: re.Match[str], places: _Places) -> RunError:
    told = spark_failure(found[0])
    return CommitError.failed(f"output {places.output}", f"Delta refused the write: {told.text}", told.fix)


def _worker_died(found: re.Match[str], places: _Places) -> RunError:
    cause = "it died each time that a task was tried: it ran out of memory, or the model's native code crashed"
    fix = "give the executors more memory beside the JVM's, or score in smaller Arrow batches; Spark's log has more"
    return CommitError.failed("Python worker", cause, fix)


def _executor_died(found: re.Match[str], places: _Places) -> RunError:
    cause = "executors were lost each time that a task was tried, as where they run out of memory"
    return CommitError.failed("executor", cause, "give the executors more memory; the cluster's log says why they died")


def _no_package(found: re.Match[str], places: _Places) -> RunError:
    cause = "the executors' Python does not have this package, spark_scoring"
    fix = "install it there, or give it to spark-submit: --py-files $(spark-scoring job-script package)"
    return CommitError.failed("Python worker", cause, fix)


def _missing_module(found: re.Match[str], places: _Places) -> RunError:
    cause = f"the executors' Python has no module {found[1]}"
    fix = (
        "install what it is part of where the executors run (this package needs pandas, pyarrow and mlflow there, and "
        "a model what its requirements.txt lists), or let PYSPARK_PYTHON (spark.pyspark.python) name a Python that has "
        "it"
    )
    return CommitError.failed("Python worker", cause, fix)


def _other_python(found: re.Match[str], places: _Places) -> RunError:
    there, here = (".".join(re.findall(r"\d+", version)) for version in found.groups())
    cause = f"the executors run Python {there} and the driver {here}: Spark wants the same minor version"
    fix = (
        "let PYSPARK_PYTHON (spark.pyspark.python) name a Python of the driver's version, there for every executor; "
        "of a Spark Connect server, the client's Python is what must have the server's version"
    )
    return CommitError.failed("Python worker", cause, fix)


def _no_python(found: re.Match[str], places: _Places) -> RunError:
    cause = f"the executors cannot run {found[1]} as their Python"
    fix = "let PYSPARK_PYTHON (spark.pyspark.python) name a Python that is there for every executor"
    return CommitError.failed("Python worker", cause, fix)


_CAUSES: tuple[tuple[str, Callable[[re.Match[str], _Places], RunError]], ...] = (
    (r"spark_scoring(?:\.\w+)*\.(?:errors|job_problems)\.(\w+): (.+?): (.+?)\n\s+fix: (.+)", _worker_error),
    (r"spark_scoring: (.+?), and the feature's policy is to fail", _policy),
    (r"spark_scoring: a row cannot be scored \((.+?)\), and bad_rows is fail", _bad_row),
    (r'Cannot run program "([^"\n]+)"', _no_python),
    (r"Python in worker has different version:? ([\d.(), ]+?) than that in driver:? ([\d.]+)", _other_python),
    (r"DELTA_SOURCE_(?:TABLE_IGNORE_CHANGES|IGNORE_DELETE)", _changed),
    (r"DELTA_MISSING_CHANGE_DATA|DELTA_CDC_\w+", _no_changes),
    (r"DELTA_SCHEMA_CHANGED\w*|DELTA_STREAMING_\w*SCHEMA\w*|DELTA_STREAMING_METADATA_EVOLUTION", _other_columns),
    (r"DIFFERENT_DELTA_TABLE_READ_BY_STREAMING_SOURCE|DELTA_INVALID_SOURCE_(?:VERSION|OFFSET_FORMAT)", _other_table),
    (r"CONCURRENT_(?:STREAM_LOG_UPDATE|STREAMING)|[Cc]annot start query with id .* already active", _two_at_once),
    (_CONFLICT, _conflict),
    (r"spark_scoring: a row is outside of replace_where", _outside),
    (r"NOT_SUPPORTED_WITH_SERVERLESS\] PERSIST", _no_caching),
    (r"No space left on device|Disk quota exceeded|File too large", _full),
    (r"(Read-only file system|Permission denied|AccessDenied\w*|AccessControlException)", _not_allowed),
    (r"(AuthorizationPermissionMismatch|INSUFFICIENT_PERMISSIONS|PERMISSION_DENIED|403 Forbidden)", _not_allowed),
    (r"DELTA_CANNOT_CREATE_LOG_PATH", _no_folder),
    (r"CHECK constraint (\S+ \(.+?\)) violated by row", _constraint),
    (r"NOT NULL constraint violated for column: (.+?)\.?\s", _not_null),
    (r"DELTA_EXCEED_CHAR_VARCHAR_LIMIT", _too_long),
    (r"FAILED_READ_FILE\.FILE_NOT_EXIST|DELTA_FILE_NOT_FOUND\w*|FileNotFoundException", _files_gone),
    (r"\[DELTA_REPLACE_WHERE_MISMATCH\]", _outside),
    (r"\[DELTA_[A-Z_.]+\][^\n]*", _delta),
    (r"Python worker exited unexpectedly|Python worker failed to connect back", _worker_died),
    (r"ExecutorLostFailure", _executor_died),
    (r"ModuleNotFoundError: No module named 'spark_scoring[\w.]*'", _no_package),
    (r"ModuleNotFoundError: No module named '([\w.]+)'", _missing_module),
)
"""Patterns in the error's text, the most telling first."""
