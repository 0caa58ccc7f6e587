"""A model tried on a few rows as a worker calls it: does it treat each row by itself? Imports no pyspark.

A row must get the same result alone, beside another, among all and in another order, and twice the same. A plan's
rehearsal tries the model of the driver; registration tries what it has logged in a process of its own
(``engine.process``), and holds it against what the model in memory predicted.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.engine.agreement import copied, equal_input, row_texts, same_fields, taken, wrong_rows
from spark_scoring.engine.contributions import result_of
from spark_scoring.engine.errors import ModelOutputError
from spark_scoring.engine.results import index_order, normalise
from spark_scoring.engine.trial_rows import with_nulls
from spark_scoring.errors import RunError
from spark_scoring.model.raised import kind_and_line
from spark_scoring.plan.rehearsal import Rehearsal, RehearsalFinding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from spark_scoring.engine.agreement import Fields
    from spark_scoring.engine.trial_rows import Given, Rows, Sample
    from spark_scoring.model.loaded import LoadedModel
    from spark_scoring.plan.outputs import Returned
    from spark_scoring.plan.rehearsal import Origin

_SECONDS = 5.0
"""What a rehearsal may take."""
_ON_PURPOSE = "if that is meant, say batch_dependent: true"
_SKIP = "rehearse: false leaves this check out"


def rehearse(model: LoadedModel, given: Given, tell: Callable[[str], None] | None = None) -> Rehearsal:
    """Call the model on a few rows, and compare what it returns for the same row.

    Args:
        model: the model.
        given: the rows; where it scores none of the first ones, those after them count.
        tell: called with the traceback of the first error of the model, whose text may hold values.

    """
    begin = time.perf_counter()
    trial = Trial(model, begin + _SECONDS, tell)
    scored = [trial.play(rows) for rows in given.rows]
    emptied = next((with_nulls(given.keeps, rows) for rows in scored if rows.n), None)
    if emptied is not None:
        trial.play(emptied)
    seconds = time.perf_counter() - begin
    return Rehearsal(trial.origin, trial.scored, seconds, tuple(trial.findings.values()), tuple(trial.by_position))


@dataclass
class Trial:
    """The calls of a model, and what they have shown."""

    model: LoadedModel
    until: float
    tell: Callable[[str], None] | None = None
    findings: dict[str, RehearsalFinding] = field(default_factory=dict)
    by_position: list[str] = field(default_factory=list)
    scored: int = 0
    """Rows that every method has scored."""
    answered: int = 0
    """Rows that the method at hand has scored."""
    origin: Origin | None = None

    def play(self, rows: Rows) -> Rows:
        """Every method on the rows; those that all of them scored."""
        rows = replace(rows, only_compare=rows.only_compare or self.scored > 0)
        scored: list[NDArray[np.integer[Any]]] = [np.arange(0)]
        try:
            scored = [self._method(returned, rows) for returned in rows.plan.returns]
        except _LateError:
            scored = [np.arange(self.answered)]
            cause = (
                f"the model is slow here, and its rehearsal was ended after {_SECONDS:g} s: what else is looked for "
                "(docs/rehearsal.md) was not looked for"
            )
            self.findings.setdefault("late", RehearsalFinding("late", cause))
        good = min(scored, key=len)
        if not rows.only_compare:
            self.scored += len(good)
            self.origin = self.origin or (rows.origin if len(good) else None)
        return rows.of(good)

    def hold(self, sample: Sample) -> NDArray[np.integer[Any]]:
        """The rows of which ``predict`` returns something else than where the model was trained.

        Where it returns the same, it is called again on the rows in parts and in another order, as the partitions of a
        table bring them. What that shows is a finding.

        Raises:
            Exception: whatever the model raises on all rows together, which it took where it was trained.

        """
        rows = sample.rows
        returned, every = rows.plan.returns[0], np.arange(rows.n)
        base = self._fields(returned, rows, every)
        wrong = np.flatnonzero(wrong_rows(sample.expected, base, sample.tolerance))
        if len(wrong) and not same_fields(base, self._fields(returned, rows, every)):
            self._random(returned)
            return wrong[:0]
        if not len(wrong):
            self._hold_parts(returned, rows, base)
        return wrong

    def _hold_parts(self, returned: Returned, rows: Rows, base: Fields) -> None:
        """Every third row from behind, three times over: each must get what it got among all."""
        try:
            for part in (np.arange(rows.n)[::-1][start::3] for start in range(3)):
                if len(part) and not same_fields(taken(base, part), self._fields(returned, rows, part)):
                    self._depends(returned)
        except _LateError:
            return
        except Exception as error:  # noqa: BLE001  the model's code may raise anything
            self._raises_on(returned, error, "rows that it takes in another call")

    def _method(self, returned: Returned, rows: Rows) -> NDArray[np.integer[Any]]:
        """The rows that one method has scored."""
        if "random" in self.findings:
            return np.arange(0)  # two calls tell nothing
        try:
            good, given, raw = self._good_rows(returned, rows)
            if len(good):
                self._compare(returned, rows, good, given, raw)
        except ModelOutputError as error:
            if not rows.only_compare:
                problem = error.problems[0]
                self._find("results", f"{problem.thing}: {problem.cause}", f"{problem.fix}; {_SKIP}")
            return np.arange(0)
        except _LateError:
            raise
        except Exception as error:  # noqa: BLE001  the model's code may raise anything
            self._raises_on(returned, error, "rows that it takes in another call")
            return np.arange(0)
        return good

    def _good_rows(self, returned: Returned, rows: Rows) -> tuple[NDArray[np.integer[Any]], Any, Any]:
        """The rows that the model takes, in one call: its input and its result.

        All of them; else those on which it does not raise when it is given them alone.
        """
        every = np.arange(rows.n)
        self.answered = 0
        given = rows.input(every)
        raw, together = self._tried(returned, rows, given)
        if together is None:
            self.answered = rows.n
            return every, given, raw
        good = np.array([i for i in every if self._raises(returned, rows, [int(i)]) is None], dtype=int)
        if not len(good):
            self._raises_on_all(returned, rows, together)
            return good, None, None
        given = rows.input(good)
        raw, together = self._tried(returned, rows, given)
        if together is None:
            return good, given, raw
        self._raises_on(returned, together, "rows together that it takes one by one")
        return good[:0], None, None

    def _raises_on_all(self, returned: Returned, rows: Rows, error: Exception) -> None:
        kind = kind_and_line(error)
        if rows.only_compare:
            return
        if any(self._raises(returned, rows, [i, i]) is None for i in range(rows.n)):
            self._single(returned, error)
            return
        if rows.origin == "made-up rows":
            cause = f"{returned.method} raises {kind} on every row that was made up for it: nothing was tried"
            self.findings.setdefault("made-up", RehearsalFinding("made-up", cause))
            return
        cause = f"{returned.method} raises {kind} on every row of the model's own input example"
        fix = f"--show-model-error shows its text; log the model with an example that it can score; {_SKIP}"
        self._find("fails", cause, fix)

    def _compare(self, returned: Returned, rows: Rows, good: NDArray[np.integer[Any]], given: Any, raw: Any) -> None:
        """Hold what each row gets in one call against what it gets in others."""
        if not rows.only_compare and not equal_input(given, rows.input(good)):
            cause = f"{returned.method} changes its input; each call gets input of its own"
            self.findings.setdefault("changes", RehearsalFinding("changes", cause))
        n = len(good)
        reordered = index_order(raw, n) is not None
        base = copied(normalise(returned, raw, n))  # a model may hand out memory of its own, again and again
        if not rows.only_compare and not same_fields(base, self._fields(returned, rows, good)):
            self._random(returned)
            return
        alone = self._alone(returned, rows, good)
        if alone is None:
            return
        if reordered and not self._agree(base, alone):
            by_position = normalise(replace(returned, by_index=False), raw, n)
            if self._agree(by_position, alone):
                self.by_position.append(returned.method)
                returned, base, reordered = replace(returned, by_index=False), by_position, False
        if reordered:
            cause = f"{returned.method} returns its rows in another order; they are put back by its result's index"
            self.findings.setdefault("index", RehearsalFinding("index", cause))
        places = np.arange(n)
        groups = [places[::-1], places[:2]][: 1 if rows.only_compare else 2] if n > 1 else []
        consistent = self._agree(base, alone) and all(
            same_fields(taken(base, group), self._fields(returned, rows, good[group])) for group in groups
        )
        if not consistent:
            self._blame(returned, rows, good, base)

    def _alone(self, returned: Returned, rows: Rows, good: NDArray[np.integer[Any]]) -> dict[int, Fields] | None:
        """What each row gets alone, by its place; None where the model raises on one of them."""
        try:
            return {place: self._fields(returned, rows, good[[place]]) for place in range(len(good))}
        except (_LateError, RunError):
            raise
        except Exception as error:  # noqa: BLE001  the model's code may raise anything
            self._single(returned, error)
            return None

    def _single(self, returned: Returned, error: Exception) -> None:
        cause = f"{returned.method} raises {kind_and_line(error)} on one row alone, and not on it among others"
        self._find("single", cause, f"let it take a frame of one row; {_SKIP}")

    @staticmethod
    def _agree(base: Fields, alone: Mapping[int, Fields]) -> bool:
        return all(same_fields(taken(base, np.array([place])), fields) for place, fields in alone.items())

    def _blame(self, returned: Returned, rows: Rows, good: NDArray[np.integer[Any]], base: Fields) -> None:
        """Whether rows are exchanged or their results depend on each other."""
        single = [row_texts(self._fields(returned, rows, [i]))[0] for i in good]
        if Counter(single) == Counter(row_texts(base)):
            cause = (
                f"{returned.method} returns its rows in another order than it was given them, and does not say which"
            )
            fix = (
                "let it return a Series or DataFrame with the index of its input, or sort back before it returns; "
                f"{_ON_PURPOSE}"
            )
            self._find("order", cause, fix)
            return
        self._depends(returned)

    def _raises_on(self, returned: Returned, error: Exception, rows: str) -> None:
        cause = f"{returned.method} raises {kind_and_line(error)} on {rows}"
        self._find("batch", cause, f"let it treat each row by itself; {_ON_PURPOSE}")

    def _random(self, returned: Returned) -> None:
        cause = f"{returned.method} gives the same rows another result when it is called again"
        fix = f"let it draw nothing at random and keep nothing from call to call, or fix its seed; {_ON_PURPOSE}"
        self._find("random", cause, fix)

    def _depends(self, returned: Returned) -> None:
        cause = f"{returned.method} gives a row another result when it is given other rows beside it"
        fix = (
            "let it treat each row by itself: statistics such as means, ranks or categories belong into training; "
            f"{_ON_PURPOSE}"
        )
        self._find("batch", cause, fix)

    def _find(self, code: str, cause: str, fix: str) -> None:
        self.findings.setdefault(code, RehearsalFinding(code, cause, fix))

    def _raises(self, returned: Returned, rows: Rows, of: Sequence[int]) -> Exception | None:
        return self._tried(returned, rows, rows.input(of))[1]

    def _tried(self, returned: Returned, rows: Rows, data: Any) -> tuple[Any, Exception | None]:
        """What the model returns, or what it raises."""
        try:
            return self._call(returned, rows, data), None
        except _LateError:
            raise
        except Exception as error:  # noqa: BLE001  the model's code may raise anything
            if self.tell is not None:
                self.tell("".join(traceback.format_exception(error)))
                self.tell = None
            return None, error

    def _fields(self, returned: Returned, rows: Rows, of: Sequence[int] | NDArray[np.integer[Any]]) -> Fields:
        return copied(normalise(returned, self._call(returned, rows, rows.input(of)), len(of)))

    def _call(self, returned: Returned, rows: Rows, data: Any) -> Any:
        if time.perf_counter() > self.until:
            raise _LateError
        return result_of(self.model, returned, data, dict(rows.plan.params))


class _LateError(Exception):
    """The time of a rehearsal is spent."""
