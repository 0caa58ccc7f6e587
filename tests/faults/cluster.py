"""Faults inside a cluster of two worker processes: Python workers, executors, storage, other writers."""

from __future__ import annotations

import resource
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from delta import configure_spark_with_delta_pip
from pyspark.find_spark_home import _find_spark_home
from pyspark.sql import SparkSession

from spark_scoring import run_job
from spark_scoring.errors import RunError
from tests.faults.processes import kill, living
from tests.faults.workload import MARK, SETTINGS, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spark_scoring import RunReport, ScoringJob

_POLL = 0.01
_LONGEST = 600.0
_CLUSTER = "local-cluster[2,1,1024]"


def start_cluster(folder: Path) -> SparkSession:
    """A driver with two executors in processes of their own."""
    settings = {
        **SETTINGS,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.sql.shuffle.partitions": "4",
        "spark.deploy.maxExecutorRetries": "-1",  # the cluster outlives the executors that are killed
        "spark.log.level": "OFF",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master(_CLUSTER).config(map=settings)
    return configure_spark_with_delta_pip(builder).getOrCreate()


def stop_cluster(spark: SparkSession) -> None:
    """Its executors' folders, which lie in Spark's own, go with it."""
    folder = Path(_find_spark_home(), "work", str(spark.sparkContext.applicationId))
    spark.stop()
    shutil.rmtree(folder, ignore_errors=True)


class UnavailableError(Exception):
    """A fault that cannot be made on this machine."""


@dataclass
class Background:
    """A job that runs in another thread."""

    run: Run
    job: ScoringJob
    report: RunReport | None = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def _go(self) -> None:
        try:
            self.report = run_job(self.job, self.run.workload.spark)
        except Exception as error:  # noqa: BLE001  what it is, is the question
            self.error = error

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def wait_for(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _LONGEST
        while not reached():
            assert self.is_running, f"ended too early: {self.error}"
            assert time.monotonic() < deadline
            time.sleep(_POLL)

    def succeed(self) -> RunReport:
        self._thread.join(_LONGEST)
        if self.error is not None:
            raise self.error
        assert self.report is not None, "still running"
        return self.report

    def fail(self, *texts: str) -> RunError:
        """The error of a run that could not end well: one of ours, which says what was committed and tells no value."""
        self._thread.join(_LONGEST)
        assert isinstance(self.error, RunError), f"{type(self.error).__name__}: {self.error}"
        told = str(self.error)
        apart = self.run.new_commits(self.run.quarantine)
        assert ("whose output was not written" if apart else "nothing was committed") in told, told
        assert MARK not in told, "the error tells a value"
        missing = [text for text in texts if text not in told]
        assert not missing, told
        assert not self.run.new_commits(self.run.output)
        return self.error


def start(run: Run) -> Background:
    return Background(run, run.jobs[0])


def worker_killed_once(run: Run) -> None:
    """In the middle of a batch; its task is tried again."""
    job = start(run)
    job.wait_for(lambda: len(run.batches()) > 20)
    kill(run.batches()[-1])
    assert not job.succeed().skipped


def workers_killed_always(run: Run) -> None:
    """Each after its first batch, until Spark gives up."""
    job, killed = start(run), 0
    while job.is_running:
        batches = run.batches()
        for pid in set(batches[killed:]):
            kill(pid)
        killed = len(batches)
        time.sleep(_POLL)
    job.fail("Python worker")


def executor_killed(run: Run) -> None:
    job = start(run)
    job.wait_for(lambda: len(run.batches()) > 20)
    kill(_executors(run.workload.spark)[0])
    assert not job.succeed().skipped


def executor_killed_between_commits(run: Run) -> None:
    """With the scored rows that it holds for the second commit."""
    job = start(run)
    job.wait_for(lambda: run.new_commits(run.quarantine) > 0)
    kill(_executors(run.workload.spark)[0])
    assert not job.succeed().skipped


def executors_killed_always(run: Run) -> None:
    """Each after its first batches, until Spark gives up."""
    job, batches = start(run), 0
    while job.is_running:
        if len(run.batches()) > batches + 2:
            for pid in _executors(run.workload.spark):
                kill(pid)
            batches = len(run.batches())
        time.sleep(_POLL)
    job.fail("executor")


def disk_full(run: Run) -> None:
    """A file system that is too small for the output, and larger when the job runs again."""
    run.output.mkdir()
    run.undo.enter_context(_file_system(run.output, "300k"))
    start(run).fail("no space left")
    subprocess.run(["mount", "-o", "remount,size=100m", run.output], check=True)  # noqa: S607


def no_more_written_midway(run: Run) -> None:
    """Files of the executors stay below a few bytes from the middle of the run on."""
    job = start(run)
    job.wait_for(lambda: len(run.batches()) > 20)
    with _files_limited(_executors(run.workload.spark)):
        job.fail("no space left")


def commit_not_written(run: Run) -> None:
    """Data files are all written, the commit's own file is not."""
    with _files_limited([_driver(run.workload.spark)]):
        start(run).fail()


def same_job_twice(run: Run) -> None:
    """At the same time. A merge has no mark: if it is made twice, the second one finds nothing to change."""
    jobs = [start(run), start(run)]
    reports = [job.succeed() for job in jobs]
    if run.kind == "merge":
        return
    assert len({report.run_id for report in reports}) == 1, "both say that they made the run"
    assert sorted(report.skipped for report in reports) == [False, True]


def two_jobs(run: Run) -> None:
    """Two that write the same output at the same time."""
    run.jobs = (run.job(name="a"), run.job(name="b"))
    jobs = [Background(run, job) for job in run.jobs]
    reports = [job.succeed() for job in jobs]
    assert not any(report.skipped for report in reports)


@contextmanager
def _file_system(folder: Path, size: str) -> Iterator[None]:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False).returncode != 0:
        msg = "no right to mount a file system"
        raise UnavailableError(msg)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607


@contextmanager
def _files_limited(pids: list[int]) -> Iterator[None]:
    """No file of these processes grows; as before afterwards."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (16, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def _driver(spark: SparkSession) -> int:
    return int(spark._jvm.java.lang.ProcessHandle.current().pid())  # noqa: SLF001


def _executors(spark: SparkSession) -> list[int]:
    driver = _driver(spark)
    return [p.pid for p in living() if p.parent == driver and "ExecutorBackend" in p.command]
