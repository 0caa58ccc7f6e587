"""A whole job, Delta to Delta: time against rows, memory over time, and what each guarantee costs.

``make bench-job``. One process, LightGBM on 20 features from five warehouse types, a bad row in a hundred. Ratios
are of this run alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from mlflow.models import infer_signature
from pyspark.sql import functions as F  # noqa: N812

import spark_scoring as ss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import SparkSession

FEATURES = 20
SMALL = 1_000_000
TYPES = ("decimal(12,2)", "boolean", "int", "bigint", "double")
FLAT = 1.1
"""A process whose largest size in the last half of a run is at most this times that of the first half is flat."""
SECONDS_BETWEEN_LOOKS = 1.0


def main() -> None:
    """Print time against rows, memory of the large run, and the cost of each guarantee."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10 * SMALL, help="of the large run")
    parser.add_argument("--rounds", type=int, default=3, help="in which the guarantees are timed")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.scale(chosen.rows)
        bench.guarantees(chosen.rounds)
        bench.spark.stop()


class Bench:
    """A session, tables of some sizes and a model, in a folder that is removed afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spark = ss.get_session(folder / "warehouse")
        self.model = save_model(folder / "model")
        self.outputs = 0

    def scale(self, rows: int) -> None:
        """A large run between two small ones, after one that warms up."""
        for n in (SMALL, rows):
            write_table(self.spark, self.table(n), n)
        self.timed(SMALL)
        before = self.timed(SMALL)
        with sampled_memory() as memory:
            large = self.timed(rows)
        small = statistics.mean([before, self.timed(SMALL)])
        shutil.rmtree(self.table(rows))
        for n, seconds in ((SMALL, small), (rows, large)):
            print(f"{n:12,} rows x {FEATURES}  {seconds:7.1f} s  {n / seconds:10,.0f} rows/s")
        print(f"{rows / SMALL:.0f} x the rows take {large / small:.1f} x the time")
        for process, sizes in memory.sizes.items():
            print(memory_line(process, sizes))

    def guarantees(self, rounds: int) -> None:
        """Each guarantee in turn, some times over, as a ratio to a plain append."""
        seconds: dict[str, list[float]] = {}
        for n in range(rounds):
            for name, run in self.ways().items():
                seconds.setdefault(name, []).append(run())
                print(f"round {n + 1}: {name}, {seconds[name][-1]:.1f} s", file=sys.stderr)
        for name, times in seconds.items():
            middle = statistics.median(times)
            print(f"{name:44} {middle:7.1f} s  {middle / statistics.median(seconds['keep']):5.2f}")

    def ways(self) -> dict[str, Callable[[], float]]:
        """What is timed, each into an output of its own."""
        merge = {"mode": "merge", "key": ["id"]}

        def after(first: dict[str, Any], second: dict[str, Any]) -> float:
            output = self.new_output()
            self.timed(SMALL, output, **first)
            return self.timed(SMALL, output, **second)

        return {
            "keep": lambda: self.timed(SMALL),
            "max_bad_rows": lambda: self.timed(SMALL, max_bad_rows=0.5),
            "quarantine": lambda: self.timed(SMALL, bad_rows="quarantine"),
            "merge, the table is new": lambda: self.timed(SMALL, output=merge),
            "merge, the table is empty": lambda: after({"where": "id < 0", "output": merge}, {"output": merge}),
            "merge, all rows are there and as they were": lambda: after(
                {"output": merge, "name": "first"}, {"output": merge}
            ),
            "merge, all rows are there and change": lambda: after(
                {"output": merge, "columns": {"f4": "f4 + 300"}}, {"output": merge}
            ),
            "a repeated run": lambda: after({}, {}),
        }

    def timed(
        self,
        rows: int,
        place: Path | None = None,
        *,
        where: str | None = None,
        output: dict[str, Any] | None = None,
        **fields: Any,
    ) -> float:
        """Seconds of a job from its plan to its report."""
        place = place or self.new_output()
        job = ss.ScoringJob.from_dict(
            {
                "model": self.model,
                "source": {"path": str(self.table(rows)), "where": where},
                "output": {"path": str(place), "keep": ["id"], **(output or {})},
                **fields,
            }
        )
        begin = time.perf_counter()
        report = ss.run_job(job)
        seconds = time.perf_counter() - begin
        if report.rows_in != (0 if where else rows):
            msg = f"{report.rows_in} rows were scored"
            raise RuntimeError(msg)
        return seconds

    def table(self, rows: int) -> Path:
        """The source of that many rows."""
        return self.folder / f"table-{rows}"

    def new_output(self) -> Path:
        """A place for an output; those of before are removed."""
        shutil.rmtree(self.folder / "outputs", ignore_errors=True)
        self.outputs += 1
        return self.folder / "outputs" / str(self.outputs)


def write_table(spark: SparkSession, path: Path, rows: int) -> None:
    """``f0``.. in turns of five types and a key; in a row of a hundred, ``f2`` is null, which makes it a bad one."""
    values = [
        ((F.rand(seed=i) * 2).cast("int") if TYPES[i % 5] == "boolean" else F.rand(seed=i) * 1000)
        .cast(TYPES[i % 5])
        .alias(f"f{i}")
        for i in range(FEATURES)
    ]
    values[2] = F.when(F.col("id") % 100 != 7, values[2]).alias("f2")  # noqa: PLR2004
    parts = max(2, rows // 500_000)
    spark.range(0, rows, 1, parts).select("id", *values).write.format("delta").save(str(path))


def save_model(path: Path) -> str:
    """A LightGBM classifier of 100 trees on what the table's types are for a model."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((5000, FEATURES)) * 1000, columns=[f"f{i}" for i in range(FEATURES)])
    dtypes = {"decimal(12,2)": "float64", "boolean": "bool", "int": "int32", "bigint": "int64", "double": "float64"}
    label = (frame["f0"] + frame["f4"] > 1000).astype(int)  # noqa: PLR2004
    frame = frame.assign(**{f"f{i}": frame[f"f{i}"] > 500 for i in range(1, FEATURES, 5)})  # noqa: PLR2004
    frame = frame.astype({f"f{i}": dtypes[TYPES[i % 5]] for i in range(FEATURES)})
    model = LGBMClassifier(n_estimators=100, verbose=-1).fit(frame, label)
    mlflow.lightgbm.save_model(model, path, signature=infer_signature(frame, model.predict(frame)))
    return str(path)


@dataclass
class Memory:
    """Resident sizes in MB of the driver's JVM and of the largest Python worker, one for each look."""

    sizes: dict[str, list[float]] = field(default_factory=lambda: {"driver JVM": [], "Python worker": []})

    def look(self) -> None:
        """Add the sizes of now."""
        processes = descendants(os.getpid())
        for name, mark in (("driver JVM", "java"), ("Python worker", "pyspark.daemon")):
            found = [size for size, command in processes if mark in command]
            if found:
                self.sizes[name].append(max(found) / 1024)


@contextmanager
def sampled_memory() -> Iterator[Memory]:
    """Memory that is looked at again and again meanwhile."""
    memory, stop = Memory(), threading.Event()

    def watch() -> None:
        while not stop.wait(SECONDS_BETWEEN_LOOKS):
            memory.look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        stop.set()
        watcher.join()


def descendants(root: int) -> list[tuple[int, str]]:
    """KB and command line of the processes below one."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,rss=,args="],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    children: dict[int, list[list[str]]] = {}
    for line in listed.stdout.splitlines():
        row = line.split(None, 3)
        children.setdefault(int(row[1]), []).append(row)
    found, parents = [], [root]
    while parents:
        for pid, _, size, *command in children.get(parents.pop(), ()):
            parents.append(int(pid))
            found.append((int(size), " ".join(command)))
    return found


def memory_line(process: str, sizes: list[float]) -> str:
    """Largest size of each half of a run, and whether that is flat."""
    half = len(sizes) // 2
    first, last = max(sizes[:half], default=0.0), max(sizes[half:], default=0.0)
    ratio = last / first if first else float("nan")
    verdict = "flat" if ratio <= FLAT else "NOT FLAT"
    return f"{process:14} {first:6,.0f} MB at most in the first half, {last:6,.0f} in the last: {ratio:.2f}, {verdict}"


if __name__ == "__main__":
    main()
