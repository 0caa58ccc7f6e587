"""A driver killed at a point of its run; the same job again must make the output whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.processes import kill, living
from tests.faults.workload import BATCHES, ROOT, SETTINGS, Run, is_whole
from tests.needs import QUICK_JAVA, prepared_cache

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL = 0.003
_LONGEST = 600.0
_LEAVE = 60.0
"""Seconds in which the processes of a killed driver must be gone."""


@dataclass(frozen=True)
class Point:
    """Where in a run the driver is killed."""

    text: str
    reached: Callable[[Run, float], bool]
    """Of a run and its seconds since it started."""
    alone: bool = False
    """Whether only the driver's Python is killed; what it has started must go by itself."""
    by_command: bool = False
    """Whether the job is run again by the command line, as a stranger would."""
    commits_before: int | None = None
    """New commits of the output at this point, where the point decides it."""


def after_seconds(seconds: float) -> Point:
    return Point(f"after {seconds:.0f} s", lambda _, now: now >= seconds, by_command=True)


def after_batches(n: int) -> Point:
    return Point(f"after {n} of {BATCHES} batches", lambda run, _: len(run.batches()) >= n, commits_before=0)


def planned() -> Point:
    return Point("planned", lambda run, _: "features:" in (run.folder / "stdout").read_text(), commits_before=0)


def first_file() -> Point:
    return Point("first data file", lambda run, _: bool(run.new_files(run.output)), commits_before=0)


def first_quarantine_file() -> Point:
    return Point("first quarantine file", lambda run, _: bool(run.new_files(run.quarantine)), commits_before=0)


def written() -> Point:
    """All data files are there, and no commit."""

    def reached(run: Run, _: float) -> bool:
        undisturbed = run.workload.undisturbed(run.kind)
        files = run.new_files(run.output)
        return len(files) >= len(undisturbed.new_files(undisturbed.output)) and all(is_whole(f) for f in files)

    return Point("data files written", reached)


def between() -> Point:
    return Point("between the two commits", lambda run, _: run.new_commits(run.quarantine) > 0)


def committed() -> Point:
    return Point("commit written", lambda run, _: run.new_commits(run.output) > 0, commits_before=1)


def alone(point: Point) -> Point:
    return Point(f"{point.text}, driver's Python alone", point.reached, alone=True)


def _cache_of(run: Run) -> str:
    """A cache of the run's own."""
    folder = run.folder / "cache"
    return str(folder) if folder.exists() else prepared_cache(folder)


def start(run: Run, job_file: Path | None = None, name: str = "std") -> subprocess.Popen[bytes]:
    """``spark-scoring score`` in a session of processes of its own; the name is for the files of its output."""
    settings = " ".join(f"--conf {key}={value}" for key, value in SETTINGS.items())
    temporary = run.folder / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK", "SPARK", "MLFLOW"))}
    environment |= {
        "JDK_JAVA_OPTIONS": QUICK_JAVA,
        "PYTHONPATH": str(ROOT),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": f"{settings} pyspark-shell",
        "SPARK_LOCAL_DIRS": str(temporary),
        "TMPDIR": str(temporary),
        "SPARK_SCORING_CACHE": _cache_of(run),
    }
    command = [str(Path(sys.executable).with_name("spark-scoring")), "score", str(job_file or run.job_file)]
    with (run.folder / f"{name}out").open("wb") as out, (run.folder / f"{name}err").open("wb") as err:
        return subprocess.Popen(
            command, cwd=run.folder, env=environment, stdout=out, stderr=err, start_new_session=True
        )


def finish(run: Run, process: subprocess.Popen[bytes], name: str = "std") -> None:
    """Wait for a run that is left alone.

    Raises:
        AssertionError: it failed.

    """
    status = process.wait(timeout=_LONGEST)
    assert status == 0, (run.folder / f"{name}err").read_text()[-3000:]


def same_job_in_two_processes(run: Run) -> None:
    """At the same time, with one model cache that is empty."""
    _together(run, {"first": run.job_file, "second": run.job_file})


def two_jobs_in_two_processes(run: Run) -> None:
    """Two jobs that write the same output at the same time."""
    run.jobs = (run.job(name="a"), run.job(name="b"))
    files = {str(job.name): run.folder / f"{job.name}.yml" for job in run.jobs}
    for job in run.jobs:
        files[str(job.name)].write_text(job.to_yaml())
    _together(run, files)


def _together(run: Run, job_files: dict[str, Path]) -> None:
    processes = {name: start(run, file, name) for name, file in job_files.items()}
    for name, process in processes.items():
        finish(run, process, name)


def kill_at(run: Run, point: Point) -> bool:
    """Start a run and kill it at a point; False where it had ended before.

    Raises:
        AssertionError: processes of it are left.

    """
    process = start(run)
    begin = time.monotonic()
    while not point.reached(run, time.monotonic() - begin):
        if process.poll() is not None:
            finish(run, process)
            return False
        assert time.monotonic() - begin < _LONGEST, f"not reached: {point.text}"
        time.sleep(_POLL)
    if point.alone:
        kill(process.pid)
    else:
        for pid in (process.pid, *_processes(process.pid)):
            kill(pid)
    process.wait()
    deadline = time.monotonic() + _LEAVE
    while left := _processes(process.pid):
        if not point.alone:
            for pid in left:  # a process that was just starting
                kill(pid)
        assert time.monotonic() < deadline, f"{len(left)} processes are left"
        time.sleep(0.1)
    return True


def _processes(session: int) -> list[int]:
    """Of a session: Python workers have a process group of their own."""
    return [p.pid for p in living() if p.session == session]
