"""feature_spec.yaml: read as Databricks writes it, written as it reads it; and what a plan makes of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pyspark.sql.types import (
    DateType,
    DecimalType,
    DoubleType,
    IntegerType,
    LongType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.feature_tables import constraint_keys
from spark_scoring.errors import PlanError
from spark_scoring.model.errors import ModelError
from spark_scoring.model.feature_spec import (
    RAW_MODEL,
    SPEC_FILE,
    FeatureSpec,
    FunctionColumn,
    FunctionDefinition,
    InputTable,
    LookupColumn,
    SourceColumn,
    column_model_type,
    read_feature_spec,
)
from spark_scoring.model.types import Array, Map, Member, Object
from spark_scoring.plan.lookup_planner import plan_lookups
from spark_scoring.plan.lookups import FeatureTable, FunctionCall, LookupPlan, TableLookup

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql.types import DataType

DATABRICKS = """
input_columns:
- carrier:    {source: training_data, data_type: string, topological_ordering: 0}
- origin:     {source: training_data, data_type: STRING, include: false, topological_ordering: 1}
- time_hour:  {source: training_data, data_type: timestamp, include: false, topological_ordering: 2}
- tailnum:    {source: training_data, data_type: string, include: false, topological_ordering: 3}
- distance:   {source: training_data, data_type: LONG, topological_ordering: 4}
- temp:       {source: feature_store, table_name: main.ml.weather, feature_name: temp, lookup_key: [origin],
               timestamp_lookup_key: [time_hour], default_value: '50.0', data_type: double, topological_ordering: 5}
- seats_out:  {source: feature_store, table_name: main.ml.planes, feature_name: seats, lookup_key: [tailnum],
               data_type: integer, topological_ordering: 6}
- ratio:      {source: on_demand_feature, udf_name: main.ml.ratio, input_bindings: {a: temp, b: distance},
               data_type: double, topological_ordering: 7}
input_tables:
- main.ml.weather: {table_id: 00000000-0000-0000-0000-000000000001, lookback_window: 21600}
- main.ml.planes:  {table_id: 00000000-0000-0000-0000-000000000002}
input_functions:
- main.ml.ratio: {}
workspace_id: 0
feature_store_client_version: 0.18.2
serialization_version: 9
something_new: {of: later}
"""
SPEC = FeatureSpec(
    columns=(
        SourceColumn("carrier", "string"),
        SourceColumn("origin", "string", include=False),
        SourceColumn("time_hour", "timestamp", include=False),
        SourceColumn("tailnum", "string", include=False),
        SourceColumn("distance", "bigint"),
        LookupColumn("temp", "main.ml.weather", "temp", ("origin",), "time_hour", "50.0", "double"),
        LookupColumn("seats_out", "main.ml.planes", "seats", ("tailnum",), type="int"),
        FunctionColumn("ratio", "main.ml.ratio", (("a", "temp"), ("b", "distance")), "double"),
    ),
    tables=(
        InputTable("main.ml.weather", "00000000-0000-0000-0000-000000000001", 21600.0),
        InputTable("main.ml.planes", "00000000-0000-0000-0000-000000000002"),
    ),
)


def struct(**fields: type[DataType] | DataType) -> StructType:
    return StructType([StructField(n, t() if isinstance(t, type) else t) for n, t in fields.items()])


TABLES = {
    "main.ml.weather": FeatureTable(
        "main.ml.weather",
        struct(station=StringType, hour=TimestampType, temp=DoubleType),
        "w",
        primary_keys=("station",),
        timeseries_column="hour",
        version=3,
    ),
    "main.ml.planes": FeatureTable("main.ml.planes", struct(tailnum=StringType, seats=ShortType), "p"),
}
SOURCE = struct(carrier=StringType, origin=StringType, time_hour=TimestampType, TAILNUM=StringType, distance=LongType)


def read(text: str, folder: Path) -> FeatureSpec:
    (folder / RAW_MODEL).mkdir(exist_ok=True)
    (folder / RAW_MODEL / "MLmodel").touch()
    (folder / SPEC_FILE).write_text(text, encoding="utf-8")
    return read_feature_spec(folder, "models:/m/1")


def plan(spec: FeatureSpec = SPEC, schema: StructType = SOURCE, **tables: FeatureTable) -> LookupPlan:
    return plan_lookups(spec, schema, {**TABLES, **{t.name: t for t in tables.values()}})


def problems(spec: FeatureSpec = SPEC, schema: StructType = SOURCE, **tables: FeatureTable) -> dict[str, str]:
    with pytest.raises(PlanError) as raised:
        plan(spec, schema, **tables)
    return {p.thing: f"{p.cause} | {p.fix}" for p in raised.value.problems}


def test_databricks_own_format_is_read(tmp_path: Path) -> None:
    assert read(DATABRICKS, tmp_path) == SPEC


def test_what_is_written_reads_back_and_has_databricks_types(tmp_path: Path) -> None:
    keyed = tuple(replace(t, primary_keys=("k",), timeseries_column="t") for t in SPEC.tables)
    spec = replace(SPEC, tables=keyed, definitions=(FunctionDefinition("main.ml.ratio", "a INT", "INT", "a + 1"),))
    assert read(spec.to_yaml(), tmp_path) == spec
    fields = yaml.safe_load(spec.to_yaml())
    columns = {name: entry for column in fields["input_columns"] for name, entry in column.items()}
    assert columns["temp"]["default_value"] == "50.0"
    assert [entry["topological_ordering"] for entry in columns.values()] == list(range(8))
    assert [list(t) for t in fields["input_tables"]] == [["main.ml.weather"], ["main.ml.planes"]]
    assert fields["input_functions"] == [{"main.ml.ratio": {}}]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a: [", "it is not YAML"),
        ("[]", "it holds no fields"),
        ("input_columns: []", "input_columns is missing or empty"),
        ("input_columns: [{a: {source: moon}}]", "column 'a' has the source 'moon'"),
        ("input_columns: [{a: {source: feature_store, feature_name: a, lookup_key: [k]}}]", "'a' has no table_name"),
        ("input_columns: [{a: {source: training_data}}, {a: {source: training_data}}]", "names a column twice"),
        ("input_columns: [a]", "an entry of input_columns is not one name with its fields"),
        (
            "input_columns: [{a: {source: training_data}}]\ninput_tables: [{t: {lookback_window: long}}]",
            "lookback_window of table 't' is not a number of seconds",
        ),
    ],
)
def test_what_is_not_of_the_format_is_said(text: str, cause: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be used") as raised:
        read(text, tmp_path)
    assert cause in str(raised.value)


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("bigint", "double"),
        ("LONG", "double"),
        ("decimal(10,2)", "double"),
        ("DATE", "datetime"),
        ("boolean", "boolean"),
        ("float", "float"),
        ("array<int>", Array("integer")),
        ("map<string,double>", Map("double")),
        (
            "struct<a:bigint,b:array<struct<c:string>>>",
            Object(
                (
                    Member("a", "long", required=False),
                    Member("b", Array(Object((Member("c", "string", required=False),))), required=False),
                )
            ),
        ),
        ("map<int,double>", None),
        ("interval", None),
        (None, None),
    ],
)
def test_recorded_types_are_what_pandas_made_of_them(type_: str | None, expected: Any) -> None:
    assert column_model_type(SourceColumn("a", type_)) == expected


def test_lookups_come_in_rounds_and_name_their_origin() -> None:
    planned = plan()
    first, second = planned.rounds
    assert [step.table.name for step in first if isinstance(step, TableLookup)] == ["main.ml.weather", "main.ml.planes"]
    assert [step.name for step in second if isinstance(step, FunctionCall)] == ["ratio"]
    assert planned.columns == ("temp", "seats_out", "ratio")
    assert [(o.name, o.source, o.keys, o.as_of, o.otherwise) for o in planned.origins] == [
        ("temp", "main.ml.weather at 3", "origin = station", "time_hour >= hour, at most 6 h old", "50.0"),
        ("seats_out", "main.ml.planes: seats", "TAILNUM = tailnum", "", "null"),
        ("ratio", "main.ml.ratio", "a => temp, b => distance", "", ""),
    ]


def test_columns_that_the_table_has_are_not_looked_up() -> None:
    own = StructType([*SOURCE.fields, StructField("temp", DoubleType()), StructField("SEATS_OUT", LongType())])
    planned = plan(SPEC, own)
    assert planned.columns == ("ratio",)
    assert planned.present == ("temp", "seats_out")
    assert planned.tables == ()


def test_what_no_needed_column_is_made_from_is_not_looked_up() -> None:
    columns = tuple(replace(c, include=c.name == "seats_out") for c in SPEC.columns)
    assert plan(replace(SPEC, columns=columns)).columns == ("seats_out",)
    columns = tuple(replace(c, include=c.name == "ratio") for c in SPEC.columns)
    assert plan(replace(SPEC, columns=columns)).columns == ("temp", "ratio")


def test_every_problem_of_the_lookups_comes_at_once() -> None:
    schema = struct(carrier=StringType, time_hour=StringType, tailnum=LongType, origen=StringType, distance=LongType)
    weather = replace(TABLES["main.ml.weather"], schema=struct(station=StringType, hour=TimestampType))
    found = problems(SPEC, schema, weather=weather)
    assert set(found) == {"lookup key 'origin'", "lookup key 'tailnum'"}
    assert "features temp, ratio" not in found["lookup key 'origin'"]
    assert "by which the model looks up or computes temp | did you mean origen?" in found["lookup key 'origin'"]
    assert (
        "the scored table's is bigint, that of feature table main.ml.planes (tailnum) is string"
        in (found["lookup key 'tailnum'"])
    )
    found = problems(SPEC, struct(origin=StringType, time_hour=StringType, tailnum=StringType), weather=weather)
    assert "in the scored table it is string, which is not a time" in found["timestamp lookup key 'time_hour'"]
    assert "no feature column 'temp' (any more)" in found["feature table main.ml.weather"]


@pytest.mark.parametrize(
    ("ours", "theirs", "cast"),
    [
        (IntegerType(), IntegerType(), None),
        (IntegerType(), LongType(), "bigint"),
        (LongType(), ShortType(), "bigint"),
        (DateType(), DateType(), None),
        (DecimalType(10, 0), DecimalType(10, 0), None),
    ],
)
def test_keys_are_compared_in_a_type_that_holds_both(ours: DataType, theirs: DataType, cast: str | None) -> None:
    spec = FeatureSpec((SourceColumn("k"), LookupColumn("v", "t", "v", ("k",))))
    table = FeatureTable("t", struct(k=theirs, v=DoubleType), "t")
    (step,) = plan_lookups(spec, struct(k=ours), {"t": table}).steps
    assert isinstance(step, TableLookup)
    assert [match.cast for match in step.matches] == [cast]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LongType(), StringType()),
        (DoubleType(), LongType()),
        (DoubleType(), DoubleType()),
        (DateType(), TimestampType()),
        (DecimalType(10, 0), DecimalType(12, 0)),
    ],
)
def test_keys_whose_equality_is_doubtful_are_refused(ours: DataType, theirs: DataType) -> None:
    spec = FeatureSpec((SourceColumn("k"), LookupColumn("v", "t", "v", ("k",))))
    table = FeatureTable("t", struct(k=theirs, v=DoubleType), "t")
    with pytest.raises(PlanError, match="lookup key 'k'"):
        plan_lookups(spec, struct(k=ours), {"t": table})


def test_a_key_of_a_type_that_no_key_can_have_is_not_to_be_cast_to() -> None:
    spec = FeatureSpec((SourceColumn("k"), LookupColumn("v", "t", "v", ("k",))))
    table = FeatureTable("t", struct(k=DoubleType, v=DoubleType), "t")
    with pytest.raises(PlanError, match="fix: write t with another key: a double cannot be compared"):
        plan_lookups(spec, struct(k=StringType), {"t": table})


def test_a_table_is_near_by_its_own_name_and_not_by_its_schemas() -> None:
    near = ["main.a_long_schema.pl", "main.a_long_schema.x", "main.a_long_schema.plane"]
    assert "did you mean main.a_long_schema.plane?" in str(FeatureTableError.missing("main.a_long_schema.planes", near))
    elsewhere = [*near, "main.other.planes"]
    assert "main.other.planes" in str(FeatureTableError.missing("main.othr.planes", elsewhere))


def test_columns_that_names_do_not_tell_apart_are_refused() -> None:
    twice = StructType([*SOURCE.fields, StructField("ORIGIN", StringType())])
    assert set(problems(SPEC, twice)) == {"column origin"}


def test_a_lookback_longer_than_all_times_is_none() -> None:
    column = LookupColumn("v", "t", "v", ("k",), timestamp_lookup_key="at")
    seconds = dt.timedelta.max.total_seconds()
    spec = FeatureSpec((SourceColumn("k"), SourceColumn("at"), column), (InputTable("t", lookback_seconds=seconds),))
    table = FeatureTable("t", struct(k=LongType, ts=TimestampType, v=DoubleType), "t", None, None, 0, ("k",), "ts")
    (step,) = plan_lookups(spec, struct(k=LongType, at=TimestampType), {"t": table}).joins
    assert step.as_of is not None
    assert step.as_of.lookback_micros is None


def test_a_time_series_needs_a_time_or_its_exact_key() -> None:
    no_time = replace(SPEC.columns[5], timestamp_lookup_key=None)
    found = problems(replace(SPEC, columns=(*SPEC.columns[:5], no_time)))
    assert "the lookup names no timestamp_lookup_key" in found["feature table main.ml.weather"]
    exact = replace(no_time, lookup_key=("origin", "time_hour"))
    (step,) = plan(replace(SPEC, columns=(*SPEC.columns[:5], exact))).steps
    assert isinstance(step, TableLookup)
    assert [str(match) for match in step.matches] == ["origin = station", "time_hour = hour"]


def test_unity_catalogs_constraint_says_keys_and_time() -> None:
    assert constraint_keys("`id`, `ts` TIMESERIES") == (("id",), "ts")
    assert constraint_keys("`a b`, `c``d`") == (("a b", "c`d"), None)


def test_the_lookups_decide_the_plan() -> None:
    first = plan()
    assert first.decisive == plan().decisive
    assert first.decisive == plan(planes=replace(TABLES["main.ml.planes"], version=9)).decisive
    other = replace(SPEC, tables=(replace(SPEC.tables[0], lookback_seconds=1.0), SPEC.tables[1]))
    assert first.decisive != plan(other).decisive
