"""A failed run's error in our own words: what Spark and Delta say may hold row values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyspark.errors import PySparkException

from spark_scoring.errors import BadRowsError, CommitError, ModelFailedError, ModelOutputError, Problem, RunError

if TYPE_CHECKING:
    from collections.abc import Callable

_FROM_WORKER: dict[str, type[RunError]] = {
    "ModelOutputError": ModelOutputError,
    "ModelFailedError": ModelFailedError,
}


_CONFLICT = (
    r"\[(DELTA_(?:CONCURRENT|METADATA_CHANGED|PROTOCOL_CHANGED|PATH_EXISTS)[A-Z_.]*"
    r"|TABLE_OR_VIEW_ALREADY_EXISTS|LOCATION_ALREADY_EXISTS)\]"
)
"""Another writer was faster; an output that did not exist when it was inspected counts, too."""


def is_conflict(error: Exception) -> bool:
    """Whether a write failed because of another writer: nothing was committed, and it may pass if tried again."""
    return re.search(_CONFLICT, str(error)) is not None


def explain_failure(error: Exception, output: str) -> RunError:
    """The error of a run into ``output`` that Spark raised, as one of ours; nothing was committed."""
    if isinstance(error, RunError):
        return error
    text = str(error)
    for pattern, explain in _CAUSES:
        if found := re.search(pattern, text):
            return explain(found, output)
    code = error.getCondition() if isinstance(error, PySparkException) else None
    cause = f"Spark failed with {code or type(error).__name__}"
    return CommitError.failed("run", cause, "see the chained error and Spark's log for the failing task")


def _worker_error(found: re.Match[str], output: str) -> RunError:
    """An error of ours that was raised in a Python worker and came back as a traceback's text."""
    kind, thing, cause, fix = found.groups()
    return _FROM_WORKER.get(kind, RunError)([Problem(thing, f"{cause}; nothing was committed", fix)])


def _policy(found: re.Match[str], output: str) -> RunError:
    cause = f"a row has {found[1]}, and the feature's policy is to fail"
    return CommitError.failed("run", cause, "mend the row, or let the policy be bad_row or a fill value")


def _bad_row(found: re.Match[str], output: str) -> RunError:
    return BadRowsError.first(found[1])


def _no_caching(found: re.Match[str], output: str) -> RunError:
    cause = "this compute cannot hold scored rows until they are counted and committed"
    return CommitError.failed("run", cause, "use classic compute, or bad_rows: keep or fail without max_bad_rows")


def _outside(found: re.Match[str], output: str) -> RunError:
    cause = "the run has rows that its replace_where does not cover"
    return CommitError.failed(f"output {output}", cause, "let source.where select what replace_where replaces")


def _conflict(found: re.Match[str], output: str) -> RunError:
    return CommitError.conflict(output, found[1])


def _delta(found: re.Match[str], output: str) -> RunError:
    return CommitError.failed(f"output {output}", f"Delta refused the write ({found[1]})", "see Spark's log")


def _missing_module(found: re.Match[str], output: str) -> RunError:
    fix = "install it where the executors run; the model's requirements.txt lists what it needs"
    return CommitError.failed("Python worker", found[1], fix)


_CAUSES: tuple[tuple[str, Callable[[re.Match[str], str], RunError]], ...] = (
    (r"spark_scoring\.errors\.(\w+): (.+?): (.+?)\n\s+fix: (.+)", _worker_error),
    (r"spark_scoring: (.+?), and the feature's policy is to fail", _policy),
    (r"spark_scoring: a row cannot be scored \((.+?)\), and bad_rows is fail", _bad_row),
    (_CONFLICT, _conflict),
    (r"spark_scoring: a row is outside of replace_where", _outside),
    (r"NOT_SUPPORTED_WITH_SERVERLESS\] PERSIST", _no_caching),
    (r"\[DELTA_REPLACE_WHERE_MISMATCH\]", _outside),
    (r"\[(DELTA_[A-Z_.]+)\]", _delta),
    (r"ModuleNotFoundError: (No module named '[\w.]+')", _missing_module),
)
"""Patterns in the error's text, the most telling first."""
