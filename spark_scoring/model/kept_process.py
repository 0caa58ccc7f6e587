"""A model's code runs in a process that is not its own: it does not end it, copy it, or change how it ends.

For the driver and for workers alike. Native code can do all of that, and a signal may end any process.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MODULES = (os, sys.modules[os.name])
"""``os``, and the module of the platform that it has its functions from."""
_ENDING = ("_exit", "execv", "execve")
"""Functions of theirs after which nothing of the process goes on; others call these."""
_SIGNALS = tuple(
    int(getattr(signal, f"SIG{name}"))
    for name in ("INT", "TERM", "HUP", "QUIT", "ALRM", "CHLD", "PIPE", "USR1", "USR2")
    if hasattr(signal, f"SIG{name}")
)
_COPY_STATUS = 70


class ProcessEndError(Exception):
    """A model's code would have ended the process; it is raised where it would have."""


@contextmanager
def process_kept() -> Iterator[None]:
    """Let a model's code run. What it reads from standard input is empty.

    A copy of the process that it makes by ``os.fork`` ends where its code does: it would do the job a second time.
    Processes of its own, as ``multiprocessing`` makes them, may do and end as they like. Handlers of signals are as
    before afterwards, and so is the alarm.

    Raises:
        ProcessEndError: what its code raised or called would have ended the process, past every ``except Exception``.

    """
    own, real = os.getpid(), {name: getattr(os, name) for name in _ENDING}
    handlers, has_alarm, stdin = _handlers(), _has_alarm(), sys.stdin
    _put({name: _refused(own, function) for name, function in real.items()})
    sys.stdin = io.StringIO()
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        cause = "the model ended the process"
        raise ProcessEndError(cause).with_traceback(error.__traceback__) from error
    finally:
        if os.getpid() != own:
            real["_exit"](_COPY_STATUS)
        _put(real)
        sys.stdin = stdin
        if _has_alarm() and not has_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in _handlers().items():
            if handlers[number] is not handler and handlers[number] is not None:
                signal.signal(number, handlers[number])


def keep_to_the_end() -> None:
    """From now on nothing in this process ends it but the end of its program: of use right before that.

    What a model has registered by ``atexit`` could give it another exit status.
    """
    own = os.getpid()
    _put({name: _refused(own, getattr(os, name)) for name in _ENDING})


def _refused(own: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which raises in this process and works in others that are copies of it."""

    def refuse(*arguments: Any) -> Any:
        if os.getpid() != own:
            return function(*arguments)
        raise SystemExit

    return refuse


def _put(functions: Mapping[str, Callable[..., Any]]) -> None:
    for module in _MODULES:
        for name, function in functions.items():
            setattr(module, name, function)


def _handlers() -> dict[int, Any]:
    """What is called on a signal; None: something that is not Python's. Only the main thread can change that."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in _SIGNALS}


def _has_alarm() -> bool:
    return hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0
