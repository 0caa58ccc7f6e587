"""Point-in-time joins: each promise by name, both ways of joining held to it and to pandas.merge_asof."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from spark_scoring.features.asof import latest_rows
from spark_scoring.features.asof_intervals import by_intervals, cut_intervals
from spark_scoring.features.asof_join import AsOfJoin
from spark_scoring.features.asof_sorting import by_sorting
from spark_scoring.plan.lookups import AsOf, FeatureTable, LookedUp, Match, TableLookup
from tests import needs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
HOUR = 3_600_000_000
SPINE = "key string, t timestamp, id bigint"
FEATURES = "key string, t timestamp, a double, b string"

Row: TypeAlias = tuple[Any, ...]
Way: TypeAlias = "Callable[[DataFrame, list[AsOfJoin]], DataFrame]"


def through_intervals(spine: DataFrame, joins: list[AsOfJoin]) -> DataFrame:
    for join in joins:
        joined = by_intervals(spine, join, "_p")
        assert joined is not None
        spine = joined
    return spine


WAYS: dict[str, Way] = {
    "sorting": lambda spine, joins: by_sorting(spine, joins, "_p"),
    "intervals": through_intervals,
}
OF_THIS_SPARK = list(WAYS) if needs.IS_SPARK_4 else ["sorting"]

# Per promise a key of its own: feature rows (time in seconds, a, b), and the scored rows' times.
CASES: dict[str, tuple[list[Row], list[int | None]]] = {
    "before": ([(10, 1.0, "x"), (20, 2.0, "y")], [9, 10, 15, 20, 10**6]),
    "future": ([(100, 1.0, "x")], [99, 0]),
    "row": ([(10, 1.0, "x"), (20, None, None)], [25]),
    "tie": ([(10, 5.0, "m"), (10, float("nan"), None), (10, 7.0, None), (10, 7.0, "z"), (10, None, "zz")], [10]),
    "no_time": ([(10, 1.0, "x")], [None]),
    "feature_without_time": ([(None, 1.0, "x"), (5, 2.0, "y")], [3, 6]),
    "unknown": ([], [5]),
    "old": ([(-(10**9), 1.0, "x"), (-7, 2.0, "y")], [-8, -7, -6]),
    "edge": ([(0, 1.0, "x")], [3600, 3601]),
    "twice": ([(10, 1.0, "x")], [11, 11, 11]),
}


def time(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else EPOCH + dt.timedelta(seconds=seconds)


def join_of(rows: DataFrame, names: dict[str, str], age: int | None = None, **types: str) -> AsOfJoin:
    """A lookup by ``key`` as of ``t``; names of the result by the feature's own."""
    table = FeatureTable("main.ml.t", rows.schema, "t")
    as_of = AsOf("t", types.get("source", "timestamp"), "t", types.get("column", "timestamp"), age)
    features = tuple(LookedUp(name, own, rows.schema[own].dataType.simpleString()) for own, name in names.items())
    return AsOfJoin(TableLookup(table, (Match("key", "key"),), as_of, features), rows, tuple(names.values()))


@pytest.fixture(scope="module", params=["sorting", pytest.param("intervals", marks=needs.arrow_tables)])
def found(request: pytest.FixtureRequest, spark: SparkSession) -> dict[str, list[Row]]:
    """Per key the scored rows in order: (time, a, b, a within an hour)."""
    feature_rows = [(key, time(t), a, b) for key, (rows, _) in CASES.items() for t, a, b in rows]
    feature_rows.append((None, time(1), 1.0, "null key"))
    spine_rows = [(key, time(t)) for key, (_, times) in CASES.items() for t in times]
    spine_rows += [(None, time(5)), (None, None)]
    spine = spark.createDataFrame([(*row, i) for i, row in enumerate(spine_rows)], SPINE)
    features = spark.createDataFrame(feature_rows, FEATURES)
    joins = [join_of(features, {"a": "a", "b": "b"}), join_of(features, {"a": "recent"}, age=HOUR)]
    result = WAYS[request.param](spine, joins)
    assert result.columns == ["key", "t", "id", "a", "b", "recent"]
    by_key: dict[str, list[Row]] = {}
    for row in sorted(result.collect(), key=lambda r: r["id"]):
        key = spine_rows[row["id"]][0]
        assert row["key"] == key
        by_key.setdefault(str(key), []).append((row["a"], row["b"], row["recent"]))
    assert sum(map(len, by_key.values())) == len(spine_rows)
    return by_key


def test_the_latest_row_at_or_before_the_time_is_taken(found: dict[str, list[Row]]) -> None:
    assert [a for a, _, _ in found["before"]] == [None, 1.0, 1.0, 2.0, 2.0]


def test_a_row_of_the_future_is_never_taken(found: dict[str, list[Row]]) -> None:
    assert found["future"] == [(None, None, None)] * 2


def test_the_latest_row_counts_and_not_the_latest_value_of_each_column(found: dict[str, list[Row]]) -> None:
    assert found["row"] == [(None, None, None)]


def test_of_rows_of_one_time_the_greatest_is_taken(found: dict[str, list[Row]]) -> None:
    ((a, b, recent),) = found["tie"]  # by Spark's order: a NaN above all numbers, a null below all values
    assert np.isnan(a)
    assert b is None
    assert np.isnan(recent)


def test_a_row_without_a_time_stays_and_finds_nothing(found: dict[str, list[Row]]) -> None:
    assert found["no_time"] == [(None, None, None)]


def test_a_row_without_a_key_stays_and_finds_nothing(found: dict[str, list[Row]]) -> None:
    assert found["None"] == [(None, None, None)] * 2


def test_a_feature_row_without_a_time_is_never_found(found: dict[str, list[Row]]) -> None:
    assert found["feature_without_time"] == [(None, None, None), (2.0, "y", 2.0)]


def test_a_key_without_features_stays(found: dict[str, list[Row]]) -> None:
    assert found["unknown"] == [(None, None, None)]


def test_times_before_1970_are_times(found: dict[str, list[Row]]) -> None:
    assert [(a, recent) for a, _, recent in found["old"]] == [(1.0, None), (2.0, 2.0), (2.0, 2.0)]


def test_a_lookback_is_inclusive_and_to_the_microsecond(found: dict[str, list[Row]]) -> None:
    assert found["edge"] == [(1.0, "x", 1.0), (1.0, "x", None)]


def test_equal_rows_stay_as_many(found: dict[str, list[Row]]) -> None:
    assert found["twice"] == [(1.0, "x", 1.0)] * 3


TIMES = st.one_of(st.none(), st.integers(-3, 12), st.integers(-(10**10), 10**10))
TIMELINE = st.tuples(st.lists(st.tuples(TIMES, st.integers(0, 3)), max_size=8), st.lists(TIMES, max_size=5))
UNIT = 250_000
"""Microseconds of a timeline's step."""


@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],  # each example is two Spark jobs over 150 timelines: there is no shrinking them
)
@given(st.lists(TIMELINE, min_size=150, max_size=150), st.sampled_from([None, 0, 1, 5, 10**9]))
def test_random_timelines_match_pandas_and_see_no_future(
    spark: SparkSession, timelines: list[tuple[list[tuple[int | None, int]], list[int | None]]], age: int | None
) -> None:
    micros = [None if age is None else age * UNIT]
    features = pd.DataFrame(
        [(f"k{k}", t, float(v)) for k, (rows, _) in enumerate(timelines) for t, v in rows], columns=["key", "at", "v"]
    ).astype({"key": str, "at": "Int64", "v": float})
    spine = pd.DataFrame(
        [(f"k{k}", t) for k, (_, times) in enumerate(timelines) for t in times], columns=["key", "at"]
    ).astype({"key": str, "at": "Int64"})
    spine["id"] = range(len(spine))
    assume(len(spine) > 0 and features["at"].notna().any())
    expected = merge_asof(spine, features, age)

    def on_spark(frame: pd.DataFrame, columns: list[str]) -> DataFrame:
        table = pa.table({c: pa.array(frame[c], from_pandas=True) for c in frame.columns})
        shuffled = table.take(pa.array(np.random.default_rng(0).permutation(len(frame))))
        types = {"key": "string", "v": "double"}
        schema = ", ".join(f"{column} {types.get(column, 'bigint')}" for column in frame.columns)
        made = spark.createDataFrame([tuple(row.values()) for row in shuffled.to_pylist()], schema)
        return made.selectExpr("key", f"timestamp_micros(at * {UNIT}) AS t", *columns)

    rows = on_spark(features, ["v", "at AS seen"])
    table = on_spark(spine, ["id", "at"])
    for way in map(WAYS.__getitem__, OF_THIS_SPARK):
        join = join_of(rows, {"v": "v", "seen": "seen"}, age=micros[0])
        got = way(table, [join]).toPandas().sort_values("id")
        assert got["id"].tolist() == spine["id"].tolist()
        assert not (got["seen"] > got["at"]).any()
        assert [None if pd.isna(v) else v for v in got["v"]] == expected


def merge_asof(spine: pd.DataFrame, features: pd.DataFrame, age: int | None) -> list[float | None]:
    """What pandas finds; it takes the last of equal times, so the greatest is put there."""
    left = spine.dropna(subset="at").astype({"at": "int64"}).sort_values("at")
    right = features.dropna(subset="at").astype({"at": "int64"}).sort_values(["at", "v"])
    found = pd.merge_asof(left, right, on="at", by="key", tolerance=age)
    by_id = dict(zip(found["id"], found["v"], strict=True))
    return [None if pd.isna(by_id.get(i, np.nan)) else by_id[i] for i in spine["id"]]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("date", "date"), ("date", "timestamp"), ("timestamp_ntz", "timestamp"), ("timestamp", "date")],
)
def test_times_of_other_kinds_are_instants_in_utc(spark: SparkSession, ours: str, theirs: str) -> None:
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        spine = spark.sql(f"SELECT 'k' AS key, CAST(TIMESTAMP_NTZ '2024-03-10 00:00:00' AS {ours}) AS t, 7 AS id")
        if ours == "timestamp":
            spine = spark.sql("SELECT 'k' AS key, TIMESTAMP '2024-03-10 00:00:00Z' AS t, 7 AS id")
        cast = {"date": "CAST(at AS date)", "timestamp": "to_timestamp(concat(at, ' 00:00:00Z'))"}[theirs]
        rows = spark.createDataFrame(
            [("k", "2024-03-10", 2.0), ("k", "2024-03-11", 3.0)], "key string, at string, v double"
        )
        rows = rows.selectExpr("key", f"{cast} AS t", "v")
        for way in map(WAYS.__getitem__, OF_THIS_SPARK):
            result = way(spine, [join_of(rows, {"v": "v"}, source=ours, column=theirs)])
            assert [row["v"] for row in result.collect()] == [2.0]
            assert result.schema["t"].dataType == spine.schema["t"].dataType
    finally:
        spark.conf.unset("spark.sql.session.timeZone")


def test_far_times_odd_names_and_features_of_any_type_are_kept(spark: SparkSession) -> None:
    spine = spark.sql(
        "SELECT key, CAST(t AS timestamp) AS t, map('x', 1) AS `m.a p`, array(1) AS `Ł``q` FROM VALUES "
        "('k', '0001-01-02 00:00:00Z'), ('k', '9999-12-30 00:00:00Z'), ('j', '9999-12-30 00:00:00Z') AS v(key, t)"
    )
    rows = spark.sql(
        "SELECT key, CAST(t AS timestamp) AS t, map('a', n) AS `f.m`, named_struct('v', n, 'w', array(n)) AS s FROM "
        "VALUES ('k', '0001-01-01 00:00:00Z', 1), ('k', '9999-12-29 00:00:00Z', 2) AS v(key, t, n)"
    )
    result = latest_rows(spine, [join_of(rows, {"f.m": "map of k", "s": "s"})], "_p")
    assert result.columns == ["key", "t", "m.a p", "Ł`q", "map of k", "s"]
    got = sorted((row["key"], str(row["t"])[:4], row["map of k"], row["s"]) for row in result.collect())
    assert [(key, found) for key, _, found, _ in got] == [("j", None), ("k", {"a": 1}), ("k", {"a": 2})]


@needs.variant
def test_a_variant_in_the_scored_table_is_carried(spark: SparkSession) -> None:
    spine = spark.sql("SELECT 'k' AS key, TIMESTAMP '2024-01-01' AS t, parse_json('7') AS x")
    rows = spark.createDataFrame([("k", time(0), 1.0, None)], FEATURES)
    found = by_sorting(spine, [join_of(rows, {"a": "a"})], "_p").selectExpr("CAST(x AS int) AS x", "a").collect()
    assert [tuple(row) for row in found] == [(7, 1.0)]


def test_of_maps_of_one_time_the_same_is_taken_whatever_their_order(spark: SparkSession) -> None:
    spine = spark.createDataFrame([("k", time(9), 0)], SPINE)
    maps = [("k", time(1), {"a": n}) for n in range(4)]
    found = set()
    for order in (maps, maps[::-1], [*maps[2:], *maps[:2]]):
        rows = spark.createDataFrame(order, "key string, t timestamp, m map<string,int>").coalesce(1)
        found |= {str(row["m"]) for row in by_sorting(spine, [join_of(rows, {"m": "m"})], "_p").collect()}
    assert found == {"{'a': 3}"}


def test_several_tables_of_one_key_share_one_shuffle_of_the_scored_table(spark: SparkSession) -> None:
    spine = spark.range(2000).selectExpr("CAST(id % 5 AS string) AS key", "timestamp_seconds(id) AS t", "id")
    tables = [
        spark.range(300).selectExpr("CAST(id % 5 AS string) AS key", f"timestamp_seconds(id * {n}) AS t", "id AS v")
        for n in (2, 3, 5)
    ]
    joins = [join_of(rows, {"v": f"v{i}"}) for i, rows in enumerate(tables)]
    result = by_sorting(spine, joins, "_p")
    plan = result._jdf.queryExecution().executedPlan().toString()  # noqa: SLF001
    assert plan.count("Exchange hashpartitioning") == 1
    one_by_one = spine
    for join in joins:
        one_by_one = by_sorting(one_by_one, [join], "_p")
    assert result.exceptAll(one_by_one).count() == 0
    assert result.count() == 2000


@pytest.mark.parametrize("age", [None, 40_000_000])
def test_many_rows_of_a_key_are_found_through_buckets(spark: SparkSession, age: int | None) -> None:
    rows = spark.range(900).selectExpr(
        "CAST(id % 3 AS string) AS key", "timestamp_seconds(hash(id) % 5000) AS t", "id AS v", "rand(1) AS w"
    )
    spine = spark.range(3000).selectExpr("CAST(id % 4 AS string) AS key", "timestamp_seconds(id * 4 - 6000) AS t", "id")
    join = join_of(rows.localCheckpoint(), {"v": "v", "w": "w"}, age=age)
    cut, sorted_ = through_intervals(spine, [join]), by_sorting(spine, [join], "_p")
    assert sorted(cut.collect(), key=str) == sorted(sorted_.collect(), key=str)
    assert cut.where("v IS NOT NULL").count() > 1000


def test_a_small_table_is_joined_through_intervals(spark: SparkSession, tmp_path: Path) -> None:
    rows = spark.range(50).selectExpr("CAST(id % 3 AS string) key", "timestamp_seconds(id) t", "id AS v")
    rows.write.format("delta").save(str(tmp_path / "small"))
    join = join_of(spark.read.format("delta").load(str(tmp_path / "small")), {"v": "v"})
    result = latest_rows(spark.range(9).selectExpr("'1' AS key", "timestamp_seconds(id) AS t"), [join], "_p")
    assert "Window" not in result._jdf.queryExecution().optimizedPlan().toString()  # noqa: SLF001
    assert sorted(row["v"] or 0 for row in result.collect()) == [0, 1, 1, 1, 4, 4, 4, 7, 7]


def test_a_small_table_that_reads_alike_twice_leaves_other_keys_out(spark: SparkSession, tmp_path: Path) -> None:
    """The scored table's keys filter the features first; a limit may give other rows the second time."""
    spark.range(20).selectExpr("CAST(id % 3 AS string) key", "timestamp_seconds(id) t", "id").write.parquet(
        str(tmp_path / "spine")
    )
    features = spark.range(400_000).selectExpr("CAST(id % 900 AS string) key", "timestamp_seconds(id) t", "id AS v")
    features.write.parquet(str(tmp_path / "features"))
    spine, rows = (spark.read.parquet(str(tmp_path / name)) for name in ("spine", "features"))
    join = join_of(rows, {"v": "v"})
    pruned, whole = by_sorting(spine, [join], "_p"), by_sorting(spine.limit(20), [join], "_p")
    plans = ["LeftSemi" in frame._jdf.queryExecution().optimizedPlan().toString() for frame in (pruned, whole)]  # noqa: SLF001
    assert plans == [True, False]
    assert sorted(pruned.collect()) == sorted(whole.collect())


def intervals(times: list[int], age: int | None = None, keys: list[str] | None = None) -> Any:
    table = pa.table({"k0": keys or ["k"] * len(times), "t": pa.array(times, pa.int64()), "f0": times})
    return cut_intervals(table, 1, age)


def test_intervals_are_few_per_bucket_and_cover_each_time_once() -> None:
    times = sorted(set(np.random.default_rng(0).integers(0, 10**9, 500).tolist()))
    rows, first, last, width = intervals(times)
    assert rows.num_rows <= 4 * len(times) + 16
    frame = rows.to_pandas()
    assert frame.groupby("bucket").size().max() <= 16
    for moment in (times[0], times[3], times[3] + 1, times[-1], times[-1] + 10**12):
        bucket = (min(moment, last) - first) // width
        hits = frame[(frame["bucket"] == bucket) & (frame["from"] <= moment) & (moment < frame["until"])]
        assert hits["f0"].tolist() == [max(t for t in times if t <= moment)]


def test_uneven_times_are_not_cut() -> None:
    assert intervals([*range(5000), 10**15]) is None
