"""What every error of the package is made of: what is wrong, why, and what to do about it.

An error carries one or more problems, so that a request's faults come all at once. A wrong request
(``RequestError``, exit status 2) is raised on the driver before a row is read; a failed run (``RunError``,
exit status 1) has committed nothing unless it says so. Texts name things and reasons, never row values.
The errors of one package, with their words, are in its own ``errors``; ``spark_scoring`` exports them all.
"""

from __future__ import annotations

import difflib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

SHOWN = 12
"""Names at most in one text."""
_MOST_NEAR = 3


@dataclass(frozen=True)
class Problem:
    """One fault: the thing that has it, its cause, and the fix."""

    thing: str
    cause: str
    fix: str
    code: str = ""
    """Of ``registration.findings``, where the doctor has one for it."""

    def __post_init__(self) -> None:
        for name in ("thing", "cause", "fix"):
            object.__setattr__(self, name, redact(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.thing}: {self.cause}\n   fix: {self.fix}"


class ScoringError(Exception):
    """Base of every error of this package; ``problems`` holds its faults in order."""

    exit_status = 1
    title = "scoring failed"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = [f"{self.title}: {len(self.problems)} problems"]
        lines += [f"{n:2}. " + str(p).replace("\n", "\n ") for n, p in enumerate(self.problems, start=1)]
        return "\n".join(lines)

    @classmethod
    def unexpected(cls, what: str, variable: str) -> ScoringError:
        fix = f"{variable}=1 shows the error, with whatever values its text holds; please report it without them"
        return cls([Problem("spark-scoring", f"an error that it does not expect: {what}", fix)])


class RequestError(ScoringError):
    """The request cannot be carried out as it stands; nothing was read or written."""

    exit_status = 2
    title = "this request cannot be carried out"

    @classmethod
    def variable(cls, name: str) -> RequestError:
        cause = "Spark puts a variable's value in the place of ${...} in SQL, so the name may come to mean another"
        return cls([Problem(f"name {name}", cause, "take a name without ${...}")])

    @classmethod
    def not_a_model(cls, kind: str, *, has_uri: bool) -> RequestError:
        fix = (
            "give its uri, such as registered.uri"
            if has_uri
            else "give its URI, such as models:/main.ml.delay@champion"
        )
        return cls([Problem("model", f"it is {kind}, and not the URI of a model", fix)])

    @classmethod
    def not_a_frame(cls, kind: str, fix: str) -> RequestError:
        return cls([Problem("df", f"it is {kind}, and not a DataFrame of Spark's", fix)])

    @classmethod
    def swapped(cls, call: str) -> RequestError:
        return cls([Problem(call.split("(", maxsplit=1)[0], "its two arguments are swapped", f"write {call}")])

    @classmethod
    def not_a_job(cls, kind: str, *, is_swapped: bool) -> RequestError:
        cause = "job and session are swapped" if is_swapped else f"it is {kind}, and not a job"
        fix = (
            "write run_job(job, spark)" if is_swapped else "give a ScoringJob, a mapping of its fields, or a YAML file"
        )
        return cls([Problem("job", cause, fix)])

    @classmethod
    def params_of_a_file(cls) -> RequestError:
        cause = "they fill the open places of a job file, and the job is not given as one"
        return cls([Problem("params", cause, 'give the file: run_job("job.yml", params={...})')])


class RunError(ScoringError):
    """The run failed; nothing was committed unless the text says so."""


class PlanError(RequestError):
    """The model cannot score this table as it stands; every problem is listed."""

    title = "this model cannot score this table"


class Gathering:
    """Collects the problems of steps that do not depend on each other, to raise them together."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._causes: list[BaseException] = []

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Run a step; a wrong request in it is kept, anything else is raised."""
        try:
            yield
        except RequestError as error:
            self.problems.extend(error.problems)
            if error.__cause__ is not None:
                self._causes.append(error.__cause__)

    def raise_all(self, kind: type[RequestError] = RequestError) -> None:
        """Raise what was gathered, if anything was.

        Raises:
            RequestError: with every problem, as the kind given.

        """
        if self.problems:
            raise kind(self.problems) from (self._causes[0] if self._causes else None)


def first_line(error: Exception) -> str:
    """The first line of an error of Spark, Java or MLflow, without plan dumps, traces and the like."""
    return re.sub(r"^An error occurred while calling \S+\.\n: ", "", str(error).strip()).split("\n", maxsplit=1)[0]


def near_fix(name: str, others: Iterable[str], *, what: str, shown: Callable[[str], str] = str) -> str | None:
    """``did you mean ...`` for a name and those that exist, as ``shown`` writes them, else their list, else None."""
    known = sorted(set(others))
    schema = f"{name.lower().rpartition('.')[0]}."
    if not all(other.lower().startswith(schema) for other in known):
        schema = ""  # else it is shared by all, and says nothing of what was meant
    folded = {other.lower().removeprefix(schema): other for other in known}
    wanted = name.lower().removeprefix(schema)
    near = difflib.get_close_matches(wanted, folded, n=_MOST_NEAR, cutoff=0.7)
    alike = [other for other in folded if _words(wanted) <= _words(other) or _words(other) <= _words(wanted)]
    near = near or (alike if len(alike) <= _MOST_NEAR else [])
    if near:
        return "did you mean " + " or ".join(shown(folded[n]) for n in near) + "?"
    return f"{what}: {listed(map(shown, known))}" if known else None


def _words(name: str) -> set[str]:
    """The word of ``items`` is one of ``item_count``'s. A name without any has itself."""
    return {word.removesuffix("s") for word in re.findall(r"[^\W_]+", name)} or {name}


def listed(names: Iterable[str]) -> str:
    """Names in a row, cut where they are too many to read."""
    all_names = list(names)
    rest = len(all_names) - SHOWN
    return ", ".join(all_names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def __getattr__(name: str) -> Any:
    """An error of one package, for code that knows this module as the place of all of them."""
    if name.endswith("Error"):
        return getattr(import_module("spark_scoring"), name)
    msg = f"module 'spark_scoring.errors' has no attribute {name!r}"
    raise AttributeError(msg)
