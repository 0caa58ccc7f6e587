"""The local client's feature tables and training sets."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import FeatureFunction, FeatureLookup, LocalFeatureClient, feature_client
from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.errors import RequestError
from spark_scoring.features.join import add_features
from spark_scoring.features.planning import plan_features
from spark_scoring.model.feature_spec import FeatureSpec, FunctionColumn, FunctionDefinition, SourceColumn
from tests import needs
from tests.delta_tables import IDENTITY, make_table

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


@pytest.mark.short
def test_merge_updates_known_keys_and_adds_new_ones(client: LocalFeatureClient, spark: SparkSession) -> None:
    client.create_table(name="main.ft.merged", primary_keys="k", schema=spark.table("ft.things").schema)
    client.write_table(name="main.ft.merged", df=spark.createDataFrame([(1, 1.0, "a"), (2, 2.0, "b")], COLUMNS))
    update = spark.createDataFrame([(2, 20.0, True), (3, 30.0, False)], "k bigint, v double, newer boolean")
    client.write_table(name="main.ft.merged", df=update)
    assert rows(client, "main.ft.merged") == [(1, 1.0, "a", None), (2, 20.0, "b", True), (3, 30.0, None, False)]


@pytest.mark.short
def test_overwrite_replaces_rows_adds_columns_and_keeps_the_keys(
    client: LocalFeatureClient, spark: SparkSession
) -> None:
    client.create_table(name="main.ft.replaced", primary_keys="k", df=spark.table("ft.things"))
    client.write_table(
        name="main.ft.replaced", df=spark.createDataFrame([(9, "x")], "k bigint, w string"), mode="overwrite"
    )
    assert rows(client, "main.ft.replaced") == [(9, None, None, "x")]
    with pytest.raises(FeatureTableError, match="several rows have the same key"):
        client.write_table(
            name="main.ft.replaced", df=spark.createDataFrame([(9, "x"), (9, "y")], "k bigint, w string")
        )


def test_an_overwrite_keeps_the_tables_partitions(client: LocalFeatureClient, spark: SparkSession) -> None:
    client.create_table(
        name="main.ft.parted", primary_keys="k", df=spark.table("ft.things"), partition_columns=["note"]
    )
    new = spark.createDataFrame([(9, "x", 1)], "k bigint, note string, w int")
    client.write_table(name="main.ft.parted", df=new, mode="overwrite")
    assert spark.sql("DESCRIBE DETAIL ft.parted").collect()[0]["partitionColumns"] == ["note"]


def test_an_overwrite_keeps_layout_and_constraints(client: LocalFeatureClient, spark: SparkSession) -> None:
    client.create_table(name="main.ft.laid", primary_keys="k", df=spark.table("ft.things"))
    properties = spark.sql("SHOW TBLPROPERTIES ft.laid ('spark_scoring.primary_keys')").collect()[0]["value"]
    spark.sql("DROP TABLE ft.laid")
    columns = {
        "k": {"dataType": "BIGINT", "nullable": False, "comment": "the key"},
        "v": "DOUBLE",
        "twice": {"dataType": "DOUBLE", "generatedAlwaysAs": "v * 2"},
        "n": {"dataType": "BIGINT", **IDENTITY},
        "d": {"dataType": "STRING", "default": "'x'"},
        "part": "STRING",
    }
    for table, laid_out in (("laid", "clusterBy k"), ("parted_too", "partitionedBy part")):
        make_table(spark, f"ft.{table}", columns, laid_out, {"spark_scoring.primary_keys": properties})
        client.write_table(name=f"main.ft.{table}", df=spark.sql("SELECT 1L AS k, 5D AS v, 'p' AS part"))
        client.write_table(name=f"main.ft.{table}", df=spark.sql("SELECT 2 AS k, 6F AS v"), mode="overwrite")
        assert rows(client, f"main.ft.{table}") == [(2, 6.0, 12.0, 2, "x", None)]
        detail = spark.sql(f"DESCRIBE DETAIL ft.{table}").collect()[0]
        assert [*detail["clusteringColumns"], *detail["partitionColumns"]] == laid_out.split()[1:]
        key = spark.table(f"ft.{table}").schema["k"]
        assert (key.nullable, key.metadata) == (False, {"comment": "the key"})
    with pytest.raises(FeatureTableError, match="columns of another type: v: rows have string, the table double"):
        client.write_table(name="main.ft.laid", df=spark.sql("SELECT 2L AS k, 'a' AS v"), mode="overwrite")


def test_char_keys_are_merged_and_empty_keys_of_a_partition_are_refused(
    client: LocalFeatureClient, spark: SparkSession
) -> None:
    spark.sql("CREATE TABLE ft.chars (k CHAR(3), v INT) USING delta")
    spark.sql("INSERT INTO ft.chars VALUES ('a', 1), ('b', 2)")
    client.create_table(name="main.ft.of_chars", primary_keys="k", df=spark.table("ft.chars"))
    assert spark.table("ft.of_chars").schema["k"].metadata == {}
    spark.sql("ALTER TABLE ft.chars SET TBLPROPERTIES ('spark_scoring.primary_keys' = '[\"k\"]')")
    for table in ("chars", "of_chars"):
        client.write_table(name=f"main.ft.{table}", df=spark.sql("SELECT rpad('a', 3, ' ') AS k, 10 AS v"))
        assert rows(client, f"main.ft.{table}") == [("a  ", 10), ("b  ", 2)]
    parted = spark.sql("SELECT '' AS k, 1 AS v")
    options: dict[str, Any] = {"name": "main.ft.blank", "primary_keys": "k", "partition_columns": "k"}
    with pytest.raises(FeatureTableError, match="or are empty in k, a partition column"):
        client.create_table(**options, df=parted)
    client.create_table(**options, schema=parted.schema)
    with pytest.raises(FeatureTableError, match="or are empty in k, a partition column"):
        client.write_table(name="main.ft.blank", df=parted)


def test_a_name_that_a_table_cannot_hold_is_told(client: LocalFeatureClient, spark: SparkSession) -> None:
    odd = spark.sql("SELECT 1L AS k, 2 AS `a b`")
    with pytest.raises(FeatureTableError, match="cannot hold these names as it is: 'a b'") as raised:
        client.create_table(name="main.ft.spaced", primary_keys="k", df=odd)
    assert "tags={'delta.columnMapping.mode': 'name'}" in str(raised.value)
    with pytest.raises(RequestError, match="takes names of plain letters"):
        client.create_table(name="main.`ml-x`.spaced", primary_keys="k", df=odd)
    client.create_table(name="main.ft.plain", primary_keys="k", df=odd.select("k"))
    for mode in ("merge", "overwrite"):
        with pytest.raises(FeatureTableError, match="cannot hold these names as it is: 'a b'") as raised:
            client.write_table(name="main.ft.plain", df=odd, mode=mode)
    spark.sql(str(raised.value).partition("let the table map columns: ")[2])
    client.write_table(name="main.ft.plain", df=odd)
    assert rows(client, "main.ft.plain") == [(1, 2)]


FAILING = "SELECT id AS k, IF(id > 2, CAST(raise_error('no') AS INT), 1) AS w FROM range(5)"


def test_rows_that_cannot_be_computed_leave_no_table_and_no_column(
    client: LocalFeatureClient, spark: SparkSession
) -> None:
    with pytest.raises(needs.RowError):
        client.create_table(name="main.ft.half", primary_keys="k", df=spark.sql(FAILING))
    assert not spark.catalog.tableExists("ft.half")
    with pytest.raises(needs.RowError):
        client.write_table(name="main.ft.things", df=spark.sql(FAILING))
    assert client.read_table(name="main.ft.things").columns == ["k", "v", "note"]


def test_columns_of_odd_names_are_merged(client: LocalFeatureClient, spark: SparkSession) -> None:
    tags = {"delta.columnMapping.mode": "name"}
    odd = spark.sql("SELECT 1L AS k, 2 AS `{x}`")
    client.create_table(name="main.ft.odd", primary_keys="k", df=odd, tags=tags)
    client.write_table(name="main.ft.odd", df=spark.sql("SELECT 1L AS k, 3 AS `{x}`, named_struct('a b', 4) AS `s.t`"))
    assert [tuple(row) for row in client.read_table(name="main.ft.odd").collect()] == [(1, 3, (4,))]


@pytest.mark.parametrize(
    ("columns", "data", "expected"),
    [
        (COLUMNS, [(5, 1.0, "a"), (5, 2.0, "b")], "several rows have the same key (k)"),
        (COLUMNS, [(None, 1.0, "a")], "rows have a null in its keys (k)"),
        ("v double", [(1.0,)], "the rows lack its columns k"),
        ("k bigint, v double, V double", [(5, 1.0, 2.0)], "columns of the rows have one name: v, V"),
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
    with pytest.raises(FeatureTableError, match="primary_keys names no column beside the time"):
        client.create_table(name="main.ft.other", primary_keys=["v"], timeseries_column="v", schema=schema)
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


@pytest.mark.short
def test_a_training_set_is_of_the_versions_it_was_made_with(client: LocalFeatureClient, spark: SparkSession) -> None:
    client.create_table(name="main.ft.moving", primary_keys="k", df=spark.table("ft.things"))
    lookup = FeatureLookup("main.ft.moving", "k", feature_names="v")
    made = client.create_training_set(df=keys(spark), feature_lookups=[lookup], label="y")
    client.write_table(name="main.ft.moving", df=spark.createDataFrame([(1, 100.0, "z")], COLUMNS))
    assert {row["v"] for row in made.load_df().collect()} == {1.0, 2.0, None}


def test_keys_are_matched_in_the_order_of_training(client: LocalFeatureClient, spark: SparkSession) -> None:
    pairs = spark.createDataFrame([("a", "b", 1.0), ("b", "a", 2.0)], "p string, q string, v double")
    df = pairs.selectExpr("p AS x", "q AS y", "v AS expected")
    client.create_table(name="main.ft.pairs", primary_keys=["p", "q"], df=pairs)
    lookup = FeatureLookup("main.ft.pairs", ["x", "y"])
    spec = client.create_training_set(df=df, feature_lookups=[lookup], label=None).spec
    spark.sql("DROP TABLE ft.pairs")
    client.create_table(name="main.ft.pairs", primary_keys=["q", "p"], df=pairs)
    found = add_features(df, plan_features(df, spec)[0])
    assert found.where("v = expected").count() == 2


@pytest.mark.parametrize(
    ("keys", "time", "now"),
    [(["p", "r"], None, "p, r"), (["p"], None, "p"), (["p", "q"], "r", "p, q, by the time r")],
)
def test_a_table_that_has_other_keys_than_in_training_is_refused(
    client: LocalFeatureClient, spark: SparkSession, keys: list[str], time: str | None, now: str
) -> None:
    schema = spark.sql("SELECT 'a' AS p, 'b' AS q, current_timestamp() AS r, 1D AS v").schema
    df = spark.createDataFrame([("a", "b")], "x string, y string")
    client.create_table(name="main.ft.rekeyed", primary_keys=["p", "q"], schema=schema)
    lookup = FeatureLookup("main.ft.rekeyed", ["x", "y"], feature_names="v")
    spec = client.create_training_set(df=df, feature_lookups=[lookup], label=None).spec
    spark.sql("DROP TABLE ft.rekeyed")
    client.create_table(name="main.ft.rekeyed", primary_keys=keys, timeseries_column=time, schema=schema)
    try:
        with pytest.raises(RequestError) as raised:
            plan_features(df, spec)
    finally:
        spark.sql("DROP TABLE ft.rekeyed")
    assert f"its keys are now {now}; when the model was logged they were p, q" in str(raised.value)


def test_a_default_time_is_utc_whatever_the_sessions_zone(client: LocalFeatureClient, spark: SparkSession) -> None:
    seen = spark.sql("SELECT 1L AS k, TIMESTAMP '2020-01-01 00:00:00Z' AS seen")
    client.create_table(name="main.ft.seen", primary_keys="k", df=seen)
    lookup = FeatureLookup("main.ft.seen", "k", default_values={"seen": dt.datetime(2020, 6, 1)})  # noqa: DTZ001
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        made = client.create_training_set(df=keys(spark).where("k = 7"), feature_lookups=[lookup], label="y")
        found = made.load_df().selectExpr("unix_seconds(seen)").collect()
    finally:
        spark.conf.unset("spark.sql.session.timeZone")
    assert found[0][0] == dt.datetime(2020, 6, 1, tzinfo=dt.timezone.utc).timestamp()


def test_a_feature_that_differs_from_a_column_by_case_only_is_refused(
    client: LocalFeatureClient, spark: SparkSession
) -> None:
    df = spark.createDataFrame([(1, 5.0)], "k bigint, V double")
    with pytest.raises(RequestError, match="column v: a looked-up column and one of df have this name"):
        client.create_training_set(df=df, feature_lookups=[FeatureLookup("main.ft.things", "k")], label=None)
    twice = spark.sql("SELECT 1L AS k, 1 AS s, 2 AS s")
    with pytest.raises(RequestError, match="column s: more than one column has this name"):
        client.create_training_set(df=twice, feature_lookups=[FeatureLookup("main.ft.things", "k")], label=None)


@needs.sql_functions
def test_a_function_of_another_text_is_another_plan(client: LocalFeatureClient, spark: SparkSession) -> None:
    df = spark.createDataFrame([(1, 5.0)], "k bigint, x double")
    plans = []
    try:
        for factor in (2, 3, 3):
            spark.sql(f"CREATE OR REPLACE FUNCTION ft.scaled(a DOUBLE) RETURNS DOUBLE RETURN a * {factor}")
            if not plans:
                call = FeatureFunction(udf_name="main.ft.scaled", input_bindings={"a": "x"}, output_name="y")
                spec = client.create_training_set(df=df, feature_lookups=[call], label=None).spec
            plans.append(plan_features(df, spec)[0])
        assert [add_features(df, plan).collect()[0]["y"] for plan in plans[1:]] == [15.0, 15.0]
    finally:
        spark.sql("DROP FUNCTION ft.scaled")
    assert plans[0].decisive != plans[1].decisive
    assert plans[1].decisive == plans[2].decisive


@pytest.mark.skipif(needs.IS_SPARK_4, reason="Spark 4 has functions made of SQL")
@pytest.mark.short
def test_a_function_made_of_sql_is_refused_where_spark_has_none(spark: SparkSession) -> None:
    spec = FeatureSpec(
        (SourceColumn("x"), FunctionColumn("y", "main.ft.scaled", (("a", "x"),))),
        definitions=(FunctionDefinition("main.ft.scaled", "a DOUBLE", "DOUBLE", "a * 2"),),
    )
    with pytest.raises(RequestError) as raised:
        plan_features(spark.createDataFrame([(5.0,)], "x double"), spec)
    cause = f"it is made of SQL, and Spark {spark.version} has no such functions"
    assert [problem.cause for problem in raised.value.problems] == [cause]


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
        (["main.ft.things"], {}, "a str is not a lookup"),
        (
            [FeatureLookup("main.ft.things", "k", rename_outputs={"vv": "w"})],
            {},
            "rename_outputs of main.ft.things: vv: there is no such column",
        ),
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
