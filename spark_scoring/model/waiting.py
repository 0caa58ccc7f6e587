"""Waiting for servers: one that does not answer is told of after 5 seconds and given up after 30.

MLflow asks eight times in silence, which takes four minutes where a port is closed and sixteen where packets are
swallowed; the clients of databases and storages have limits of their own. So a question runs in a thread that can be
left behind. It changes no setting of the process, and ends with its client's own limit.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

from spark_scoring.errors import first_line
from spark_scoring.model.uris import scheme_of
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from pathlib import Path

_T = TypeVar("_T")

TOLD_AFTER_SECONDS = 5
LEFT_AFTER_SECONDS = 30
_KNOCK_SECONDS = 3
_LOOK_SECONDS = 0.5
OWN_LIMITS = (
    "MLFLOW_HTTP_REQUEST_TIMEOUT",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR",
)
"""The user's own choice of how long MLflow tries: then nothing is given up before."""
_BOUND_TO_THREAD = ("databricks", "databricks-uc", "uc", "dbfs")
"""Their credentials may belong to the thread that a notebook runs in."""
_OF_THIS_MACHINE = (None, "file", "sqlite")
"""Files: no server is asked, and a slow or busy machine is no reason to give up."""
_BUSY = (429, 500, 502, 503, 504)


class NoAnswer(Exception):  # noqa: N818  callers say it in an error of their own
    """A server was given up; the text says why, without secrets."""

    def __init__(self, why: str) -> None:
        super().__init__(f"it did not answer for {LEFT_AFTER_SECONDS} seconds: {why}")


def answer_of(ask: Callable[[], _T], server: str) -> _T:
    """What a server answers to a question that changes nothing; what the question raises is raised.

    Args:
        ask: the question.
        server: its URI, which is shown without secrets.

    Raises:
        NoAnswer: nothing came within 30 seconds, and the environment sets no limit of its own
            (``MLFLOW_HTTP_REQUEST_TIMEOUT``, ``..._MAX_RETRIES``, ``..._BACKOFF_FACTOR``).

    """
    return _waited_for(ask, server, lambda: None, lambda: _knock(server) or "no reply")


def fetched(fetch: Callable[[], _T], server: str, folder: Path) -> _T:
    """As ``answer_of`` for files that come into a folder, for as long as they grow.

    A server that replies is waited for: it may itself be fetching a large file before it sends the first byte.
    """
    return _waited_for(fetch, server, lambda: _grown(folder), lambda: _knock(server))


def _waited_for(
    ask: Callable[[], _T], server: str, progress: Callable[[], Hashable], why_silent: Callable[[], str | None]
) -> _T:
    if scheme_of(server) in _OF_THIS_MACHINE:
        return ask()
    if scheme_of(server) in _BOUND_TO_THREAD:
        timer = threading.Timer(TOLD_AFTER_SECONDS, tell_of_silence, (server,))
        timer.start()
        try:
            return ask()
        finally:
            timer.cancel()
    future = _in_thread(ask)
    seen, since, told = progress(), time.monotonic(), False
    while not wait([future], _LOOK_SECONDS).done:
        if (now := progress()) != seen:
            seen, since, told = now, time.monotonic(), False
        silent = time.monotonic() - since
        if silent >= TOLD_AFTER_SECONDS and not told:
            tell_of_silence(server)
            told = True
        if silent >= LEFT_AFTER_SECONDS and not any(name in os.environ for name in OWN_LIMITS):
            if why := why_silent():
                raise NoAnswer(why)
            since, told = time.monotonic(), False
    return future.result()


def _in_thread(ask: Callable[[], _T]) -> Future[_T]:
    """The answer to come; a daemon thread does not keep the process from ending, as a pool's would."""
    future: Future[_T] = Future()

    def work() -> None:
        try:
            future.set_result(ask())
        except BaseException as error:  # noqa: BLE001  raised where the answer is waited for
            future.set_exception(error)

    threading.Thread(target=copy_context().run, args=(work,), daemon=True, name="spark-scoring-ask").start()
    return future


def tell_of_silence(server: str) -> None:
    """Log that a server has not answered, by its URI without secrets."""
    logging.getLogger("spark_scoring").warning(
        "%s has not answered for %d seconds; still waiting", redact(server), TOLD_AFTER_SECONDS
    )


def _knock(server: str) -> str | None:
    """Why an HTTP server does not answer, from one more short request; None: it replies, or it is none of HTTP."""
    if scheme_of(server) not in ("http", "https"):
        return "no reply"
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    creds, limits = get_default_host_creds(server), {"max_retries": 0, "timeout": _KNOCK_SECONDS}
    try:
        status = http_request(creds, "/", "GET", raise_on_status=False, **limits).status_code
    except Exception as error:  # noqa: BLE001  it is the answer
        return redact(_reason(error))
    return f"it replies with HTTP status {status}" if status in _BUSY else None


def _reason(error: Exception) -> str:
    """What the socket said, out of the errors that urllib3, requests and MLflow wrap around it."""
    wrapped = error.__context__
    reason = getattr(wrapped.args[0], "reason", None) if wrapped is not None and wrapped.args else None
    if not isinstance(reason, Exception) or not reason.args:
        return first_line(error)
    return str(reason.args[-1]).rpartition("): ")[2]


def _grown(folder: Path) -> Hashable:
    """What changes while files arrive: clients write a part at a time, some of them in place."""
    sizes = []
    for file in folder.rglob("*"):
        try:
            held = file.stat()
        except OSError:  # renamed meanwhile
            continue
        sizes.append((str(file), held.st_size, held.st_mtime_ns))
    return tuple(sorted(sizes))
