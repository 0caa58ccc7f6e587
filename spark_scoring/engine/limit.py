"""A job's time limit: of what Spark runs for it, and of the model's code on the driver."""

from __future__ import annotations

import contextvars
import ctypes
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from spark_scoring.engine.errors import TimeLimitError
from spark_scoring.model.loaded import give_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import SparkSession

_AGAIN = 1.0
"""Seconds after which Spark jobs are cancelled again: a step may begin one after the others were."""
_Result = TypeVar("_Result")


class Deadline:
    """When a job has to be done; never, where it has no limit. Its clock begins when it is made."""

    def __init__(self, limit: float | None, spent: float = 0.0) -> None:
        self.limit = limit
        """In seconds."""
        self._begin = time.monotonic() - spent

    @property
    def spent(self) -> float:
        """Seconds."""
        return time.monotonic() - self._begin

    @property
    def left(self) -> float | None:
        """Seconds; None: as many as it takes."""
        return None if self.limit is None else max(0.0, self.limit - self.spent)

    @contextmanager
    def of_spark(self, spark: SparkSession, tag: str) -> Iterator[None]:
        """Cancel the Spark jobs that are begun inside, and in threads of Spark's own, once the time is over.

        Raises:
            TimeLimitError: what is inside failed after that. What ends all the same has its result.

        """
        if self.limit is None:
            yield
            return
        over, done = threading.Event(), threading.Event()
        jobs = spark.sparkContext if hasattr(spark, "_sc") else None
        add, remove = (spark.addTag, spark.removeTag) if jobs is None else (jobs.addJobTag, jobs.removeJobTag)
        cancel = spark.interruptTag if jobs is None else jobs.cancelJobsWithTag

        def watch() -> None:
            if done.wait(self.left):
                return
            over.set()
            while not done.is_set():
                cancel(tag)
                done.wait(_AGAIN)

        watcher = threading.Thread(target=watch, daemon=True)
        add(tag)
        watcher.start()
        try:
            yield
        except Exception as error:
            if over.is_set() and not isinstance(error, TimeLimitError):
                raise TimeLimitError.of_run(self.limit) from error
            raise
        finally:
            done.set()
            watcher.join()
            remove(tag)

    def of_model(self, work: Callable[[], _Result]) -> _Result:
        """What a function returns that runs a model's code in this process, or raises.

        It has a thread of its own, which is given up when the time is over: Python code is ended, native code goes on
        until it returns or the process ends.

        Raises:
            TimeLimitError: it is not done in time.

        """
        if self.limit is None:
            return work()
        found: list[_Result] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                found.append(work())
            except BaseException as error:  # noqa: BLE001  it is raised below
                raised.append(error)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
        thread.start()
        thread.join(self.left)
        if thread.is_alive():
            give_up(thread)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
            raise TimeLimitError.of_model(self.limit)
        if raised:
            raise raised[0]
        return found[0]
