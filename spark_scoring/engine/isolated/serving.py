"""The model's process: loads it, tells of it, rehearses it and scores batches, as it is asked. Imports no pyspark."""

from __future__ import annotations

import contextlib
import os
import traceback
from typing import TYPE_CHECKING, Any

from spark_scoring.engine.isolated.messages import EndedError, packed, receive, send, unpacked
from spark_scoring.engine.trial import rehearse
from spark_scoring.engine.worker import Scorer
from spark_scoring.errors import ScoringError
from spark_scoring.model.loaded import loaded_model
from spark_scoring.model.raised import kind_and_line
from spark_scoring.model.reading import read_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_scoring.engine.inputs import WorkerPlan
    from spark_scoring.engine.trial_rows import Given
    from spark_scoring.engine.worker import Scored
    from spark_scoring.model.pinned import PinnedModel
    from spark_scoring.model.sealed import Copy
    from spark_scoring.model.spec import ModelSpec
    from spark_scoring.plan.rehearsal import Rehearsal


class _Answers:
    """What can be asked: a method each."""

    def __init__(self) -> None:
        self.told: list[str] = []
        """Tracebacks of the model, whose texts may hold values."""
        self._scorer: Scorer | None = None

    def spec(self, pinned: PinnedModel) -> ModelSpec:
        return read_spec(pinned, own_packages=True)

    def load(self, copy: Copy) -> None:
        loaded_model(copy)

    def rehearse(self, copy: Copy, given: Given) -> Rehearsal:
        return rehearse(loaded_model(copy), given, self.told.append)

    def begin(self, copy: Copy, plan: WorkerPlan) -> None:
        self._scorer = Scorer(loaded_model(copy), plan, self.told.append)

    def score(self, columns: bytes, ok: Any) -> Scored:
        return self._of_task.score(lambda: unpacked(columns), ok)

    def finish(self) -> None:
        self._of_task.finish()

    @property
    def _of_task(self) -> Scorer:
        assert self._scorer is not None  # noqa: S101  begin comes first
        return self._scorer


def serve(requests: int, replies: int) -> None:
    """Answer until nobody asks any more."""
    answers = _Answers()
    with contextlib.suppress(EndedError):
        while True:
            name, arguments = unpacked(receive(requests))
            send(replies, packed(_answer(getattr(answers, name), arguments, answers.told)))
    os._exit(0)  # no thread of a model is waited for


def _answer(method: Callable[..., Any], arguments: tuple[Any, ...], told: list[str]) -> tuple[str, Any, str]:
    """Whether it went well, what came of it, and the model's first traceback."""
    told.clear()
    try:
        result = method(*arguments)
    except ScoringError as error:
        return "refused", error, "".join(told[:1])
    except BaseException as error:  # noqa: BLE001  a model's code may also exit
        return "failed", kind_and_line(error), "".join(traceback.format_exception(error))
    return "done", result, "".join(told[:1])
