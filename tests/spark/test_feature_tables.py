"""The local client's feature tables and training sets."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import FeatureFunction, FeatureLookup, LocalFeatureClient, feature_client
from spark_scoring.errors import FeatureTableError, RequestError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COLUMNS = "k bigint, v double, note string"


@pytest.fixture(scope="module")
def client(spark: SparkSession) -> LocalFeatureClient:
    made = feature_client()
    assert isinstance(made, LocalFeatureClient)
    made.create_table(
        name="main.ft.things",
        primary_keys=["k"],
        df=spark.createDataFrame([(1, 1.0, "a"), (2, 2.0, "b")], COLUMNS),
        description="things",
        tags={"team": "ml"},
    )
    return made


def rows(client: LocalFeatureClient, name: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in client.read_table(name=name).collect())


def test_merge_updates_known_keys_and_adds_new_ones(client: LocalFeatureClient, spark: SparkSession) -> None:
    client.create_table(name="main.ft.merged", primary_keys="k", schema=spark.table("ft.things").schema)
    client.write_table(name="main.ft.merged", df=spark.createDataFrame([(1, 1.0, "a"), (2, 2.0, "b")], COLUMNS))
    update = spark.createDataFrame([(2, 20.0, True), (3, 30.0, False)], "k bigint, v double, newer boolean")
    client.write_table(name="main.ft.merged", df=update)
    assert rows(client, "main.ft.merged") == [(1, 1.0, "a", None), (2, 20.0, "b", True), (3, 30.0, None, False)]


def test_overwrite_replaces_rows_and_columns_and_keeps_the_keys(
    client: LocalFeatureClient, spark: SparkSession
) -> None:
    client.create_table(name="main.ft.replaced", primary_keys="k", df=spark.table("ft.things"))
    client.write_table(
        name="main.ft.replaced", df=spark.createDataFrame([(9, "x")], "k bigint, w string"), mode="overwrite"
    )
    assert rows(client, "main.ft.replaced") == [(9, "x")]
    with pytest.raises(FeatureTableError, match="several rows have the same key"):
        client.write_table(
            name="main.ft.replaced", df=spark.createDataFrame([(9, "x"), (9, "y")], "k bigint, w string")
        )


@pytest.mark.parametrize(
    ("columns", "data", "expected"),
    [
        (COLUMNS, [(5, 1.0, "a"), (5, 2.0, "b")], "several rows have the same key (k)"),
        (COLUMNS, [(None, 1.0, "a")], "rows have a null in its keys (k)"),
        ("v double", [(1.0,)], "the rows lack its columns k"),
        ("k bigint, v string", [(5, "1")], "columns of another type: v: rows have string, the table double"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_written(
    client: LocalFeatureClient, spark: SparkSession, columns: str, data: list[Any], expected: str
) -> None:
    before = rows(client, "main.ft.things")
    with pytest.raises(FeatureTableError) as raised:
        client.write_table(name="main.ft.things", df=spark.createDataFrame(data, columns))
    assert expected in str(raised.value)
    assert rows(client, "main.ft.things") == before


def test_a_table_is_made_once_and_with_its_keys(client: LocalFeatureClient, spark: SparkSession) -> None:
    schema = spark.table("ft.things").schema
    with pytest.raises(FeatureTableError, match="it exists already"):
        client.create_table(name="main.ft.things", primary_keys="k", schema=schema)
    with pytest.raises(FeatureTableError, match="lack its columns notes\n   fix: did you mean note"):
        client.create_table(name="main.ft.other", primary_keys="notes", schema=schema)
    with pytest.raises(FeatureTableError, match="neither df nor schema"):
        client.create_table(name="main.ft.other", primary_keys="k")
    with pytest.raises(FeatureTableError, match=r"no such table\n   fix: did you mean main.ft.things"):
        client.read_table(name="main.ft.thing")
    detail = spark.sql("DESCRIBE DETAIL ft.things").collect()[0]
    assert (detail["description"], detail["properties"]["team"]) == ("things", "ml")


def keys(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame([(1, 0), (2, 1), (7, 0), (None, 1)], "k int, y int")


def test_a_training_set_has_all_columns_but_keys_and_casts_keys(
    client: LocalFeatureClient, spark: SparkSession
) -> None:
    lookup = FeatureLookup("main.ft.things", "k", default_values={"v": -1, "note": "it's"})
    made = client.create_training_set(df=keys(spark), feature_lookups=[lookup], label="y")
    found = sorted(made.load_df().collect(), key=str)
    assert made.load_df().columns == ["k", "v", "note", "y"]
    assert [tuple(row) for row in found] == [
        (1, 1.0, "a", 0),
        (2, 2.0, "b", 1),
        (7, -1.0, "it's", 0),
        (None, -1.0, "it's", 1),
    ]


def test_a_training_set_is_of_the_versions_it_was_made_with(client: LocalFeatureClient, spark: SparkSession) -> None:
    client.create_table(name="main.ft.moving", primary_keys="k", df=spark.table("ft.things"))
    lookup = FeatureLookup("main.ft.moving", "k", feature_names="v")
    made = client.create_training_set(df=keys(spark), feature_lookups=[lookup], label="y")
    client.write_table(name="main.ft.moving", df=spark.createDataFrame([(1, 100.0, "z")], COLUMNS))
    assert {row["v"] for row in made.load_df().collect()} == {1.0, 2.0, None}


@pytest.mark.parametrize(
    ("lookups", "options", "expected"),
    [
        ([FeatureLookup("main.ft.thing", "k")], {}, "feature table main.ft.thing: no such table"),
        ([FeatureLookup("main.ft.things", "kk")], {}, "lookup key 'kk'"),
        ([FeatureLookup("main.ft.things", ["k", "k"])], {}, "its primary keys are k, and the lookup gives k, k"),
        ([FeatureLookup("main.ft.things", "k", feature_names="vv")], {}, "no feature column 'vv'"),
        (
            [FeatureLookup("main.ft.things", "k", rename_outputs={"v": "k"})],
            {},
            "column k: a looked-up column and one of df have this name",
        ),
        ([FeatureLookup("main.ft.things", "k")] * 2, {}, "column note: two looked-up columns have this name"),
        ([FeatureLookup("main.ft.things", "k", default_values={"v": "low"})], {}, "default of feature 'v'"),
        ([FeatureLookup("main.ft.things", "k")], {"label": "z"}, "label: z: there is no such column"),
        ([FeatureLookup("main.ft.things", "k")], {"exclude_columns": ["w"]}, "exclude_columns: w"),
        ([FeatureFunction(udf_name="main.ft.none", input_bindings={"a": "k"})], {}, "feature function main.ft.none"),
        (["main.ft.things"], {}, "a str is no lookup"),
    ],
)
def test_a_training_set_that_cannot_be_is_refused(
    client: LocalFeatureClient, spark: SparkSession, lookups: list[Any], options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(RequestError) as raised:
        client.create_training_set(df=keys(spark), feature_lookups=lookups, **{"label": "y", **options})
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"default_values": {"w": 1}, "feature_names": ["v"]}, "default_values names 'w'"),
        ({"lookback_window": dt.timedelta(1)}, "lookback_window needs timestamp_lookup_key"),
        ({"lookback_window": dt.timedelta(-1), "timestamp_lookup_key": "t"}, "lookback_window is negative"),
        ({"timestamp_lookup_key": ["t", "u"]}, "timestamp_lookup_key names several columns"),
    ],
)
def test_a_lookup_that_says_nothing_possible_is_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(FeatureTableError) as raised:
        FeatureLookup("main.ft.things", "k", **options)
    assert expected in str(raised.value)
