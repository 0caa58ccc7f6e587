"""The model's process as seen from the one that asks it: on the driver for a plan, in a worker for its rows.

It begins with nothing but Python's own modules, the environment's packages and this package. It ends with this
process: a pipe closes, and where the system can do it, Linux ends it at once. Imports no pyspark.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from spark_scoring.engine.isolated.errors import ModelProcessError
from spark_scoring.engine.isolated.messages import EndedError, packed, receive, send, unpacked
from spark_scoring.engine.process import FIND_PACKAGE, LONGEST, LastPrinted, package_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from spark_scoring.engine.inputs import WorkerPlan
    from spark_scoring.engine.worker import Columns, Scored
    from spark_scoring.model.environment import Environment
    from spark_scoring.model.sealed import Copy

_MOST = 2
"""Models whose processes are kept."""
_BOOT = f"""
import json, os, sys
package, folder, parent = json.loads(sys.argv[1])
if parent:
    try:
        import ctypes
        ctypes.CDLL(None).prctl(1, 9)
    except Exception:
        pass
    if os.getppid() != parent:
        os._exit(1)
requests, replies = os.dup(0), os.dup(1)
os.dup2(2, 1)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
import site
site.addsitedir(folder)
{FIND_PACKAGE}
from spark_scoring.engine.isolated.serving import serve
serve(requests, replies)
"""
"""Finds the environment's packages. What the model prints is not an answer."""


class ModelProcess:
    """A process with the packages of an environment, which answers one question at a time.

    Args:
        environment: whose packages; its folder is one that this process can read.

    Raises:
        ModelProcessError: it does not start.

    """

    def __init__(self, environment: Environment) -> None:
        self._lock = threading.Lock()
        # Linux ends it with the thread that has started it, so a thread that ends before the process is no parent.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        python = environment.interpreter or sys.executable
        try:
            self._process = subprocess.Popen(  # noqa: S603  this interpreter or the plan's, our own code
                [python, "-I", "-S", "-c", _BOOT, json.dumps([package_place(), environment.folder, parent])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise ModelProcessError.no_interpreter(
                python, socket.gethostname(), error.strerror or str(error)
            ) from error
        assert self._process.stderr is not None  # noqa: S101  it is a pipe
        self._printed = LastPrinted(self._process.stderr, pass_on=True)
        self._has_answered = self._is_late = False

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(
        self, name: str, *arguments: Any, limit: float | None = None, tell: Callable[[str], None] | None = None
    ) -> Any:
        """What it answers.

        A question that is not answered to its end, whatever the reason, ends the process: nobody reads the answer.

        Args:
            name: the question.
            arguments: what goes with it.
            limit: seconds after which the process is ended; None: scoring has no limit but the job's.
            tell: called with the traceback of the first error of the model, whose text may hold values.

        Raises:
            ScoringError: what this package says there.
            ModelProcessError: it raises something else, ends, or takes longer than the limit.

        """
        with self._lock, self._within(limit):
            try:
                send(self._pipe("stdin"), packed((name, arguments)))
                how, result, told = unpacked(receive(self._pipe("stdout")))
            except EndedError:
                raise self._ended(limit) from None
            except BaseException:
                self.end()
                raise
        self._has_answered = True
        if told and tell is not None:
            tell(told)
        if how == "refused":
            raise result
        if how == "failed":
            raise ModelProcessError.raised(result)
        return result

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()

    def _pipe(self, name: str) -> int:
        return int(getattr(self._process, name).fileno())

    @contextlib.contextmanager
    def _within(self, limit: float | None) -> Iterator[None]:
        if limit is None:
            yield
            return
        timer = threading.Timer(limit, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _last_line(self) -> str:
        """As Python writes an error."""
        lines = self._printed.text().strip().splitlines()
        return lines[-1] if lines else ""

    def _give_up(self) -> None:
        self._is_late = True
        self._process.kill()

    def _ended(self, limit: float | None) -> ModelProcessError:
        """Why it does not answer. What it printed before any row was sent holds no value of one."""
        status = self._process.wait()
        if self._is_late and limit is not None:
            return ModelProcessError.silent(limit)
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        return (
            ModelProcessError.ended(how)
            if self._has_answered
            else ModelProcessError.not_started(how, self._last_line())
        )


_processes: OrderedDict[tuple[Copy, str], ModelProcess] = OrderedDict()


def process_of(copy: Copy, environment: Environment) -> ModelProcess:
    """The process of a model, started on first use in this process and kept for the next plan or task."""
    key = (copy, environment.key)
    found = _processes.pop(key, None)
    if found is None or not found.is_alive:
        found = ModelProcess(environment)
    _processes[key] = found
    while len(_processes) > _MOST:
        _processes.popitem(last=False)[1].end()
    return found


class IsolatedScorer:
    """Scores the batches of one task as ``Scorer`` does, in the model's process.

    Args:
        copy: the model, where this process finds it.
        environment: whose folder this process can read.
        plan: what the columns are and what the model's results are cut into.
        tell: called with the traceback of the first error of the model, whose text may hold values.

    """

    def __init__(
        self, copy: Copy, environment: Environment, plan: WorkerPlan, tell: Callable[[str], None] | None = None
    ) -> None:
        self._process = process_of(copy, environment)
        self._tell = tell
        self._process.ask("begin", copy, plan, limit=LONGEST)

    def score(self, columns: Columns, ok: NDArray[Any]) -> Scored:
        """As ``Scorer.score``."""
        scored: Scored = self._process.ask("score", packed(list(columns())), ok, tell=self._tell)
        return scored

    def finish(self) -> None:
        """As ``Scorer.finish``."""
        self._process.ask("finish", tell=self._tell)
