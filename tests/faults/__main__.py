"""``make test-faults``: faults, each followed by the same job again, and a table of what was lost or doubled.

``--short`` is the form of the test suite.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults import cluster, driver
from tests.faults.workload import BATCHES, KINDS, ROOT, ROWS, Run, Workload
from tests.needs import QUICK_JAVA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.driver import Point

_PAUSE = 0.1
"""Seconds that the model takes for a batch."""
_AT_A_TIME = 2
_SHARES = (0.2, 0.45, 0.65, 0.85)
"""Of the time that an undisturbed run takes."""

KILLS: dict[str, tuple[Point, ...]] = {
    "append": (
        driver.planned(),
        driver.after_batches(1),
        driver.first_file(),
        driver.after_batches(BATCHES // 3),
        driver.alone(driver.after_batches(BATCHES // 2)),
        driver.after_batches(BATCHES - 1),
        driver.written(),
        driver.committed(),
    ),
    "append by name": (driver.first_file(), driver.written(), driver.committed()),
    "overwrite": (driver.first_file(), driver.after_batches(BATCHES // 2), driver.written(), driver.committed()),
    "replace_where": (driver.first_file(), driver.written(), driver.committed()),
    "merge": (driver.after_batches(BATCHES // 2), driver.first_file(), driver.written(), driver.committed()),
    "quarantine": (
        driver.after_batches(BATCHES // 2),
        driver.first_quarantine_file(),
        driver.between(),
        driver.alone(driver.between()),
        driver.first_file(),
        driver.committed(),
    ),
    "quarantine, merge": (driver.between(), driver.first_file(), driver.committed()),
    "incremental": (driver.first_file(), driver.written(), driver.committed()),
}
SHORT_KILLS: dict[str, tuple[Point, ...]] = {
    "append": (driver.written(),),
    "quarantine": (driver.between(),),
}

_Fault = tuple["Callable[[Run], None]", tuple[str, ...]]
FAULTS: dict[str, _Fault] = {
    "Python worker killed in a batch": (cluster.worker_killed_once, ("append", "quarantine", "merge")),
    "Python workers killed in every batch": (cluster.workers_killed_always, ("append", "quarantine", "merge")),
    "executor killed": (cluster.executor_killed, ("append", "overwrite", "quarantine", "merge")),
    "executors killed again and again": (cluster.executors_killed_always, ("append",)),
    "executor killed between two commits": (cluster.executor_killed_between_commits, ("quarantine",)),
    "file system full": (cluster.disk_full, ("append", "quarantine")),
    "data files stop growing midway": (cluster.no_more_written_midway, ("append", "overwrite", "merge")),
    "commit file cannot be written": (cluster.commit_not_written, ("append", "overwrite", "merge", "quarantine")),
    "same job twice at a time": (cluster.same_job_twice, ("append", "overwrite", "merge", "quarantine")),
    "two jobs at a time": (cluster.two_jobs, ("append", "merge")),
    "same job in two processes": (driver.same_job_in_two_processes, ("append", "quarantine, merge")),
    "two jobs in two processes": (driver.two_jobs_in_two_processes, ("append", "merge")),
}
SHORT_FAULTS: dict[str, tuple[str, ...]] = {
    "Python workers killed in every batch": ("append",),
    "executor killed between two commits": ("quarantine",),
}
"""What tests/e2e does not do: test_storage.py has a full disk, test_concurrency.py equal runs at a time."""


@dataclass
class Line:
    """A line of the table."""

    fault: str
    tried: int = 0
    missed: int = 0
    """Runs that had ended before their fault."""
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    """Runs that were not as they should in another way: an exception, a process that was left."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the faults and print the table; 1 where a row was lost or doubled, or anything else went wrong."""
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the form of the test suite")
    parser.add_argument("--only", metavar="TEXT", default="", help="faults whose line holds this text")
    chosen = parser.parse_args(arguments)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        os.environ |= {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable, "JDK_JAVA_OPTIONS": QUICK_JAVA}
        os.environ["SPARK_SCORING_CACHE"] = str(Path(folder, "cache"))
        spark = cluster.start_cluster(Path(folder))
        try:
            suite = _Suite(Workload(spark, Path(folder), _PAUSE), short=chosen.short, only=chosen.only)
            suite.kill_drivers()
            suite.make_faults()
        finally:
            cluster.stop_cluster(spark)
    print(table(suite.lines))
    kills = sum(line.tried - line.missed for line in suite.lines if line.fault.startswith("driver killed"))
    print(f"{kills} kills of a driver; runs of {ROWS:,} rows; {time.monotonic() - begin:.0f} s in all")
    return int(any(line.lost or line.doubled or line.wrong for line in suite.lines))


def table(lines: Sequence[Line]) -> str:
    """The table, as text."""
    head = ("fault", "tried", "missed", "rows lost", "rows doubled", "otherwise wrong")
    rows = [(x.fault, *map(str, (x.tried, x.missed, x.lost, x.doubled, x.wrong))) for x in lines]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    )


class _Suite:
    """Makes faults and gathers the lines of the table."""

    def __init__(self, workload: Workload, *, short: bool, only: str) -> None:
        self.workload, self.short, self.only = workload, short, only
        self.lines: list[Line] = []
        self._numbers = itertools.count(1)

    def kill_drivers(self) -> None:
        """A driver's process at each point of each kind of run, some at a time."""
        kills = {kind: list(points) for kind, points in (SHORT_KILLS if self.short else KILLS).items()}
        kills = {kind: points for kind, points in kills.items() if self.only in _killed(kind)}
        if not self.short and "append" in kills:
            seconds = self._seconds_undisturbed()
            kills["append"] += [driver.after_seconds(share * seconds) for share in _SHARES]
        lines = {kind: Line(_killed(kind)) for kind in kills}
        self.lines += lines.values()
        for kind in kills:
            self.workload.undisturbed(kind)
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            chosen = [(kind, point) for kind, points in kills.items() for point in points]
            for made in [pool.submit(self._kill, kind, point, lines[kind]) for kind, point in chosen]:
                made.result()

    def make_faults(self) -> None:
        """Each fault inside the cluster, with each kind of run that it is for."""
        for text, (fault, kinds) in FAULTS.items():
            wanted = SHORT_FAULTS.get(text, ()) if self.short else kinds
            line = Line(text)
            for kind in wanted if self.only in text else ():
                run = self._run(kind)
                with _Watched(line, f"{text}, {kind}"), run.undo:
                    fault(run)
                    self._compare(run, line, times=len(run.jobs) if kind == "append" else 1)
            if line.tried:
                self.lines.append(line)

    def _seconds_undisturbed(self) -> float:
        """Of a run by the command line."""
        run, begin = self._run("append"), time.monotonic()
        driver.finish(run, driver.start(run))
        return time.monotonic() - begin

    def _kill(self, kind: str, point: Point, line: Line) -> None:
        run = self._run(kind)
        with _Watched(line, f"{line.fault}, {point.text}"):
            if not driver.kill_at(run, point):
                line.missed += 1
                print(f"       {line.fault}, {point.text}: it had ended before", flush=True)
            elif point.commits_before is not None:
                found = run.new_commits(run.output)
                assert found == point.commits_before, f"{found} commits when killed"
            if point.by_command or KINDS[kind].by_name:
                driver.finish(run, driver.start(run))
            self._compare(run, line)

    def _run(self, kind: str) -> Run:
        return self.workload.run(kind, str(next(self._numbers)))

    def _compare(self, run: Run, line: Line, times: int = 1) -> None:
        """Run the job again, and once more, and compare its rows to those of an undisturbed run."""
        if not KINDS[run.kind].by_name:
            run.again()
            third = run.again()
            # Two jobs that merge the same keys take each other's bad rows, which name the last run that tried them.
            takes_turns = len(run.jobs) > 1 and "key" in KINDS[run.kind].output
            assert takes_turns or all(report.skipped for report in third), "the third run was made, too"
        expected = Counter({row: n * times for row, n in self.workload.undisturbed(run.kind).rows().items()})
        found = run.rows()
        lost, doubled = (expected - found).total(), (found - expected).total()
        if lost or doubled:
            print(f"{lost} rows lost, {doubled} doubled: {line.fault}, {run.kind}", flush=True)
        line.lost += lost
        line.doubled += doubled


class _Watched:
    """Counts a try, and what goes wrong in it."""

    def __init__(self, line: Line, text: str) -> None:
        self.line, self.text = line, text

    def __enter__(self) -> None:
        self.begin = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        self.line.tried += not isinstance(error, cluster.UnavailableError)
        match error:
            case None:
                outcome = "ok"
            case cluster.UnavailableError():
                outcome = f"left out: {error}"
            case _:
                self.line.wrong += 1
                outcome = "".join(traceback.format_exception_only(error)).strip()[:2000]
        print(f"{time.monotonic() - self.begin:5.0f} s  {self.text}: {outcome}", flush=True)
        return isinstance(error, Exception)


def _killed(kind: str) -> str:
    return f"driver killed ({kind})"


if __name__ == "__main__":
    sys.exit(main())
