"""Errors of drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError, RunError, listed

if TYPE_CHECKING:
    from spark_scoring.drift.result import Drift


class DriftError(RunError):
    """The source has drifted too far from training; nothing was committed."""

    @classmethod
    def too_far(cls, source: str, drift: Drift) -> DriftError:
        named = listed(f"{f.feature} ({f.psi:.2f})" for f in drift.above(drift.fail))
        cause = f"features are further from training than drift.fail ({drift.fail:g}) allows, by their PSI: {named}"
        fix = (
            "look at them with spark-scoring drift JOB.yml; train anew on rows like these, set drift.fail higher, "
            "or name those that may drift in drift.ignore"
        )
        return cls([Problem(f"source {source}", cause, fix)])


class DriftRequestError(RequestError):
    """Drift cannot be measured as it was asked."""

    title = "drift cannot be measured"

    @classmethod
    def delegated(cls) -> DriftRequestError:
        cause = "a feature client scores this job, and what it looks up is not seen here"
        return cls([Problem("engine", cause, "set engine: auto (--set engine=auto)")])
