"""Runs inside Python workers, and on the driver for a rehearsal: lanes -> the model's input -> predictions.

Imports no pyspark. A row is bad only if the model raised on it alone. Each call of the model gets input of its own,
numbered from 0, that no call before it may have changed.
"""

from __future__ import annotations

import copy
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.engine.contributions import chosen_rows, result_of
from spark_scoring.engine.errors import ManyBadRowsError, ModelFailedError, ModelOutputError
from spark_scoring.engine.inputs import WorkerPlan, build_input
from spark_scoring.engine.results import empty_fields, normalise
from spark_scoring.model.raised import kind_and_line
from spark_scoring.plan.reasons import MODEL, reason_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from spark_scoring.model.loaded import LoadedModel

    Columns = Callable[[], Sequence[NDArray[Any]]]

_PROBES = 32
"""Rows on which a model that has never scored any is tried before the run fails."""
_MANY = 500
"""Rows after which also a model fails the run that was seen to score when the run was planned."""
_FEW = 4
"""Up to so many rows of a failing segment are tried one by one."""
_ENOUGH, _NEARLY_ALL = 10_000, 0.9
"""After so many rows a task does not go on where more than this share of them is bad, and fewer are allowed."""
_DENSE, _STRETCH = 0.3, 32
"""Where more than this share of the rows fails, rows are tried one by one, so many before looking again."""


@dataclass
class Scored:
    """A batch's results: per returned field the values and a mask of nulls, and per row an error or None."""

    fields: list[tuple[NDArray[Any], NDArray[np.bool_]]]
    errors: NDArray[np.object_]


class Scorer:
    """Scores the batches of one task with one model.

    Args:
        model: the loaded model.
        plan: what the columns are and what the model's results are cut into.
        tell: called with the traceback of the first error of the model, whose text may hold values.

    """

    def __init__(self, model: LoadedModel, plan: WorkerPlan, tell: Callable[[str], None] | None = None) -> None:
        self._model = model
        self._plan = plan
        self._tell = tell
        self._scoring = self._isolating = 0.0
        self._rows = self._bad = 0
        self._raised = self._resolved = 0
        """Rows on which the model raised alone; rows of failing batches of which it is known whether it does."""
        self._last: Exception | None = None

    def score(self, columns: Columns, ok: NDArray[np.bool_]) -> Scored:
        """Score one batch.

        Args:
            columns: makes the batch's columns anew, which nobody else holds: per lane an (n, k) matrix of its dtype,
                or (n,) values of a feature that travels alone.
            ok: (n,) rows that passed every check; the others never reach the model.

        Returns:
            (n,) values per returned field; masked where the row is bad. A NaN that the model returns stays one.

        Raises:
            ModelOutputError: the model returns something else than its signature says.
            ModelFailedError: it raises on every row tried and has not scored any in this process; or telling the
                rows on which it raises from the others takes too long.
            ManyBadRowsError: many rows were seen, and nearly all are bad.

        """
        n = len(ok)
        scored = Scored(empty_fields(self._plan.returns, n), np.full(n, None, dtype=object))
        rows = np.flatnonzero(ok)
        self._rows += n
        self._bad += n - len(rows)
        if self._rows >= _ENOUGH:
            self._stop_above(_NEARLY_ALL)
        if len(rows) == 0:
            return scored
        batch = _Batch(self._plan, columns, rows, n)

        def fill(start: int, stop: int) -> None:
            results: list[tuple[NDArray[Any], NDArray[np.bool_]]] = []
            for left, returned in zip(range(len(self._plan.returns))[::-1], self._plan.returns, strict=True):
                data = batch.rows(start, stop, more=left > 0)
                chosen = chosen_rows(returned, results, stop - start)
                result = result_of(self._model, returned, data, dict(self._plan.params), chosen)
                fields = normalise(returned, result, stop - start)
                if len(self._plan.returns) > 1:  # the next call may write into memory that this result shares
                    fields = [(values.copy(), null) for values, null in fields]
                results += fields
            target = rows[start:stop]
            for (values, mask), (new, null) in zip(scored.fields, results, strict=True):
                values[target] = new
                mask[target] = null

        for row, error in self._isolated(fill, len(rows)):
            for values, mask in scored.fields:
                mask[rows[row]] = True
                values[rows[row]] = None if values.dtype == object else 0
            scored.errors[rows[row]] = reason_text(MODEL, kind_and_line(error))
            self._bad += 1
        return scored

    def finish(self) -> None:
        """To be called when the task has no more batches.

        Raises:
            ModelFailedError: nothing was scored, here or when the run was planned, and the model raised on every row.
            ManyBadRowsError: more of the task's rows are bad than ``most_bad``.

        """
        if self._raised and not self._has_scored():
            raise ModelFailedError.on_every_row(kind_and_line(self._last), self._raised) from self._last
        self._stop_above(0.0)

    def _stop_above(self, share: float) -> None:
        if self._plan.most_bad is not None and self._bad > max(share, self._plan.most_bad) * self._rows:
            raise ManyBadRowsError.in_task(self._bad, self._rows)

    def _has_scored(self) -> bool:
        return self._plan.proven or self._model.has_scored

    def _isolated(self, fill: Callable[[int, int], None], n: int) -> list[tuple[int, Exception]]:
        """Score all rows; those on which the model raises when it is given them alone, with what it raised."""
        failed: dict[int, Exception] = {}

        def attempt(start: int, stop: int) -> Exception | None:
            begin = time.perf_counter()
            try:
                fill(start, stop)
            except (MemoryError, ModelOutputError):
                raise
            except Exception as error:  # noqa: BLE001  the model's code may raise anything
                self._note(error)
                if stop - start == 1:
                    failed[start] = error
                    self._raised += 1
                    self._resolved += 1
                return error
            finally:
                self._spend(time.perf_counter() - begin, whole=stop - start == n)
            self._model.has_scored = True
            self._resolved += (stop - start) if stop - start < n else 0
            return None

        if attempt(0, n) is None or n == 1:
            self._stop_if_hopeless()
            return list(failed.items())
        if not self._has_scored():
            for row in np.unique(np.linspace(0, n - 1, min(n, _PROBES)).astype(int)):
                if attempt(int(row), int(row) + 1) is None:
                    break
            self._stop_if_hopeless()
        self._search(attempt, n, failed)
        return list(failed.items())

    def _search(self, attempt: Callable[[int, int], Exception | None], n: int, failed: dict[int, Exception]) -> None:
        """Try parts of a failing batch, by halves while that pays and row by row where most rows fail.

        Where the left half of a failing part passes, the right one must fail: it is not tried as a whole.
        """
        parts = [(0, n)]
        while parts:
            start, stop = parts.pop()
            size = stop - start
            if size <= _FEW or self._raised > _DENSE * max(self._resolved, _STRETCH):
                end = min(stop, start + _STRETCH)
                for row in range(start, end):
                    if row not in failed:
                        attempt(row, row + 1)
                self._stop_if_hopeless()
                if end < stop and attempt(end, stop) is not None and stop - end > 1:
                    parts.append((end, stop))
                continue
            middle = (start + stop) // 2
            if attempt(start, middle) is None:
                parts.append((middle, stop))
                continue
            if attempt(middle, stop) is not None:
                parts.append((middle, stop))
            parts.append((start, middle))

    def _note(self, error: Exception) -> None:
        if self._last is None and self._tell is not None:
            self._tell("".join(traceback.format_exception(error)))
        self._last = error

    def _stop_if_hopeless(self) -> None:
        if self._raised >= (_MANY if self._plan.proven else _PROBES) and not self._model.has_scored:
            raise ModelFailedError.on_every_row(kind_and_line(self._last), self._raised) from self._last

    def _spend(self, seconds: float, *, whole: bool) -> None:
        if whole:
            self._scoring += seconds
            return
        self._isolating += seconds
        if self._isolating > self._plan.isolation_seconds + self._scoring:
            raise ModelFailedError.too_slow(
                kind_and_line(self._last), self._raised, self._resolved, round(self._isolating)
            ) from self._last


class _Batch:
    """A batch's rows as input of the model: memory that no call before has been given."""

    def __init__(self, plan: WorkerPlan, columns: Columns, rows: NDArray[np.int_], n: int) -> None:
        self._plan = plan
        self._columns = columns
        self._rows = rows
        self._n = n
        self._kept: list[NDArray[Any]] | None = None
        """Columns that no model has been given."""

    def rows(self, start: int, stop: int, *, more: bool) -> Any:
        """What the model takes, of some of the good rows; ``more``: of the same ones it will be asked for again."""
        kept = self._good() if self._kept is None else self._kept
        if (start, stop) == (0, len(self._rows)) and not more:
            self._kept = None  # given away: copying costs more than it saves
            return build_input(self._plan, kept)
        self._kept = kept
        return build_input(self._plan, list(map(self._copied, self._plan.lanes, [c[start:stop] for c in kept])))

    def _good(self) -> list[NDArray[Any]]:
        columns = list(self._columns())
        return columns if len(self._rows) == self._n else [column[self._rows] for column in columns]

    @staticmethod
    def _copied(lane: tuple[str, tuple[str, ...], bool], column: NDArray[Any]) -> NDArray[Any]:
        """Of lists, maps and objects what is inside them, too; text does not change."""
        return copy.deepcopy(column) if column.dtype == object and lane[0] != "string" else column.copy()
