"""Spark of a command: its settings, and its Java process, which starts beside other work."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from spark_scoring.cli.output import is_task, streams
from spark_scoring.delta.session_errors import SessionError
from spark_scoring.errors import Problem, RequestError, ScoringError
from spark_scoring.screen import SafeConsole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.job import ScoringJob
    from spark_scoring.registration.training import TrainingJob

_AJob = TypeVar("_AJob", "ScoringJob", "TrainingJob")


_REMOTE = "SPARK_REMOTE"
_LOG_NAME = "spark-scoring-"
_LOGS_KEPT = 50


def with_spark(job: _AJob, texts: Sequence[str] | None, remote: str | None) -> _AJob:
    """The job with the settings of ``--spark`` laid over its own, for the server of ``--remote``."""
    return job.model_copy(update={"spark": {**job.spark, **settings_of(texts, remote)}})


def settings_of(texts: Sequence[str] | None, remote: str | None) -> dict[str, str]:
    """Settings of ``--spark``, by their whole keys. Their values are not told.

    From now on, until ``main`` ends, the session is the server's that ``--remote`` names.
    """
    settings = _read(texts)
    if remote is not None:
        from spark_scoring.connect import check_server

        if is_task():
            raise SessionError.remote_in_task()
        if "spark.master" in settings:
            raise SessionError.remote_and_master()
        check_server(remote)
        streams.callback(_set_remote, os.environ.get(_REMOTE))
        _set_remote(remote)
    return settings


def _set_remote(server: str | None) -> None:
    """Where PySpark looks for it, too, in this process and in those that it starts."""
    os.environ.pop(_REMOTE, None)
    if server is not None:
        os.environ[_REMOTE] = server


def _read(texts: Sequence[str] | None) -> dict[str, str]:
    from spark_scoring.spark_settings import SettingError, spark_settings

    settings: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise RequestError([Problem(f"--spark {key}", "it has no value", "write --spark driver.memory=8g")])
        try:
            settings |= spark_settings({key: value})
        except SettingError as error:
            raise RequestError([Problem(f"--spark {error.key}", error.cause, error.fix)]) from None
    return settings


@contextmanager
def session_coming_up(
    what: str, warehouse: str | None, texts: Sequence[str] | None, remote: str | None = None, *, verbose: bool
) -> Iterator[Callable[[], SparkSession]]:
    """What gives the session of a command that has no job: it may be asked for late, as it starts meanwhile."""
    from spark_scoring.session import require_spark

    require_spark()
    settings = settings_of(texts, remote)
    with spark_coming_up(what, warehouse, settings, verbose=verbose):
        yield lambda: _session(warehouse, settings)


def _session(warehouse: str | None, settings: Mapping[str, str]) -> SparkSession:
    """The session, and a line on each setting that it does not have."""
    from spark_scoring.session import get_session, unheeded

    spark = get_session(warehouse, settings)
    for note in unheeded(spark, settings):
        SafeConsole(stderr=True, soft_wrap=True).print(f"note: {note}", markup=False, highlight=False)
    return spark


@contextmanager
def spark_coming_up(
    what: str,
    warehouse: str | None,
    settings: Mapping[str, str],
    *,
    verbose: bool = False,
    quiet: bool = False,
    asks: bool = False,
) -> Iterator[None]:
    """Start Spark's Java process, where none is, beside what the command does; say on a terminal what is waited for.

    What Spark prints goes into a file, unless all is to be shown.
    """
    from spark_scoring.session import launch_early, starts_jvm

    console = SafeConsole(stderr=True, soft_wrap=True)
    if starts_jvm():
        log = None if verbose else log_file()
        launch_early(warehouse, log, settings, shows_all=verbose)
        if log is not None and not quiet:
            console.print(f"what Spark prints is in {log}", style="dim", highlight=False)
    if quiet or not console.is_terminal:
        waiting: AbstractContextManager[object] = nullcontext()
    elif verbose or asks:  # other lines, or questions, come meanwhile
        console.print(what)
        waiting = nullcontext()
    else:
        waiting = console.status(what)
    with waiting:
        yield


def show_planned(begin: float, spark: SparkSession) -> None:
    """A line on standard error: how long planning took, since a reading of ``time.perf_counter``."""
    text = f"planned in {time.perf_counter() - begin:.1f} s with Spark {spark.version}"
    SafeConsole(stderr=True, soft_wrap=True).print(text, style="dim", highlight=False)


def log_file() -> Path:
    """A new file that nobody else can read: what Spark prints may hold values of rows. The oldest of many goes."""
    from spark_scoring.model.store import private_folder

    try:
        folder = private_folder() / "logs"
        folder.mkdir(mode=0o700, exist_ok=True)
    except (ScoringError, OSError):  # planning says so, if it needs the folder
        folder = Path(tempfile.gettempdir())
    with suppress(OSError):  # another process has removed one meanwhile
        newest_last = sorted(folder.glob(f"{_LOG_NAME}*.log"), key=lambda log: log.stat().st_mtime)
        for old in newest_last[: 1 - _LOGS_KEPT]:
            old.unlink()
    number, path = tempfile.mkstemp(prefix=_LOG_NAME, suffix=".log", dir=folder)
    os.close(number)
    return Path(path)
