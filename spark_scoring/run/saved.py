"""A plan as a file: ``plan --json`` writes it, and ``score`` runs it later if what it has pinned is as it was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import Problem, RequestError
from spark_scoring.job import ScoringJob
from spark_scoring.job_file import lay_over
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAVED, SAVED_FORMAT = "saved", 1
"""Where in a plan's JSON that part is that lets it be run later, and which form it has."""
_MEANT = {
    "what SQL means": "a time, a variable, a setting or a function that the job's SQL uses is another one now",
    "plan": "a cast, an output or a lookup of the plan is another one now",
}
"""Of what is pinned by a hash."""
_OF_SESSION = "spark."
"""Settings of the session, which --spark gives; one that lacks a secret cannot read what it needs it for."""


class PlanMovedError(RequestError):
    """Something that a saved plan has pinned is another one now."""

    title = "this plan does not hold any longer"

    @classmethod
    def differs(cls, file: str, moved: Mapping[str, tuple[Any, Any]]) -> PlanMovedError:
        """Each part that is another one, as it was and as it is."""
        fix = "plan anew, look at the plan, and score that one: spark-scoring plan JOB.yml --json > plan.json"
        causes = {name: _MEANT.get(name) or _seen(was, now) for name, (was, now) in moved.items()}
        return cls([Problem(f"{file}: {name}", cause, fix) for name, cause in causes.items()])


@dataclass(frozen=True)
class SavedPlan:
    """A plan's job with what the plan has pinned."""

    file: str
    job: ScoringJob
    pins: Mapping[str, Any]

    def check(self, now: Mapping[str, Any]) -> None:
        """Hold what the job's plan of now pins against the saved one.

        Raises:
            PlanMovedError: with all that is another one.

        """
        moved = {name: (was, now.get(name)) for name, was in self.pins.items() if not _holds(name, was, now.get(name))}
        if moved:
            raise PlanMovedError.differs(self.file, moved)


def _holds(name: str, was: Any, now: Any) -> bool:
    match name:
        case "output":  # the plan's own run may have made it since
            return was is None or bool(was == now)
        case "schema changes":  # and have made them
            return all(change in was for change in now)
        case _:
            return bool(was == now)


def _seen(was: Any, now: Any) -> str:
    return redact(f"when planned it was {json.dumps(was)}, now it is {json.dumps(now)}")


def read_saved(file: str | Path, settings: Sequence[str] = ()) -> SavedPlan | None:
    """The saved plan of a file; None where it is not one, but a job's.

    Args:
        file: the file.
        settings: of the form ``a.b=value``: what the plan's file leaves out, as it is secret.

    Raises:
        RequestError: the file is of another version of this package, or a setting is not one that it leaves out.

    """
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
        saved = found[SAVED]
        left_out, fields, pins = saved["left_out"], saved["job"], saved["pins"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if saved.get("format") != SAVED_FORMAT:
        cause = "another version of this package has written it"
        raise RequestError([Problem(f"plan {file}", cause, "plan anew: spark-scoring plan JOB.yml --json")])
    given = {setting.partition("=")[0] for setting in settings}
    if other := sorted(given - {*left_out, "show_model_error"}):
        cause, fix = (
            "a saved plan is run as it is",
            "set it in the job, and plan anew: spark-scoring plan JOB.yml --json",
        )
        raise RequestError([Problem(f"--set {name}", cause, fix) for name in other])
    if missing := [name for name in left_out if name not in given and not name.startswith(_OF_SESSION)]:
        cause = "the plan's file leaves it out, as it holds a secret"
        raise RequestError([Problem(name, cause, f"give it anew: --set {name}=...") for name in missing])
    for setting in settings:
        lay_over(fields, setting)
    return SavedPlan(str(file), ScoringJob.from_dict(fields), pins)
