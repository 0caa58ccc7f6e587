"""How many rows a Spark job has done, by its finished tasks."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark import SparkContext
    from pyspark.sql import SparkSession

_SECONDS = 0.5


@contextmanager
def watch_rows(spark: SparkSession, group: str, rows: int, report: Callable[[int, int], None] | None) -> Iterator[None]:
    """Report (rows so far, ``rows``) of the jobs started inside, from another thread. No report on Spark Connect.

    Spark tells of finished tasks: each is taken to hold as many rows as the others of its stage. Where rows pass more
    than one stage, as in a merge, they are counted anew in each.
    """
    if report is None or not hasattr(spark, "_sc"):
        yield
        return
    context = spark.sparkContext
    keys = ("spark.jobGroup.id", "spark.job.description")
    before = {key: context.getLocalProperty(key) for key in keys}
    context.setJobGroup(group, "spark_scoring")
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(context, group, rows, report, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        for key, value in before.items():
            context.setLocalProperty(key, cast("str", value))  # None unsets it


def _watch(
    context: SparkContext, group: str, rows: int, report: Callable[[int, int], None], stop: threading.Event
) -> None:
    tracker = context.statusTracker()
    while not stop.wait(_SECONDS):
        jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
        stages = [tracker.getStageInfo(stage) for job in jobs if job for stage in job.stageIds]
        # Stages that ended before, as Delta's look at the table, say nothing of the rows.
        running = [stage for stage in stages if stage is not None and stage.numActiveTasks]
        if running:
            report(rows * sum(s.numCompletedTasks for s in running) // sum(s.numTasks for s in running), rows)
