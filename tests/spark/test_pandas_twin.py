"""The pandas casts against Spark's: the same bad rows with the same text, the same values to the bit.

All cells of a table are features of one plan, so that they are one Spark job; the twin gets them one by one. What
Spark makes of a feature goes through the worker's ``build_input``, as in scoring.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from decimal import Decimal
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.errors import PySparkException
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import types as T  # noqa: N812

from spark_scoring.engine.columns import extend, prepare
from spark_scoring.engine.errors import PolicyError
from spark_scoring.engine.frames import prepare_frame
from spark_scoring.engine.inputs import NUMPY_TYPES, WorkerPlan, build_input, objects
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import ANY, Array, Category, Coded, Levels, Map, Member, ModelType, Object, OneOf, Tensor
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy
from spark_scoring.plan.request import Request
from spark_scoring.spark_versions import to_arrow_table
from tests import needs
from tests.spark.test_conversions import CALENDAR, FAMILIES, TYPES, Table, cells, edges_of, random_values, same

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hypothesis.strategies import SearchStrategy
    from pyspark.sql import SparkSession

    from spark_scoring.engine.columns import Lane
    from spark_scoring.plan.scoring_plan import ScoringPlan

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of an example that fails

ROWS, NESTED_ROWS = 40, 8  # hypothesis throws large tables away
RARELY = settings(
    max_examples=3,  # the first one is of nulls
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""Each example is a Spark job."""


@dataclass(frozen=True)
class Cell:
    """A column of a Spark type for a feature of a model's type."""

    name: str
    source: T.DataType
    target: ModelType
    fitting: Any = None
    """A value that every check lets through."""
    required: bool = True


@dataclass(frozen=True)
class Outcome:
    """What the model is given for a feature, in its good rows; and the causes of the others."""

    values: pd.Series[Any]
    causes: dict[int, str]


# --- cells and their values -------------------------------------------------------------------------------------

SCALARS = {
    family: [
        Cell(f"{source} to {target}", TYPES[source], target)
        for source, target in [*cells(sources), *((s, "datetime") for s in sources if s in (*CALENDAR, "string"))]
    ]
    for family, sources in FAMILIES.items()
}
TIME_TEXTS = (
    *("2026-01-31", "2026-01-31 23:59", "2026-01-31T23:59:59", "2026-01-31 23:59:59.5", "2026-01-31T00:00:00.000001Z"),
    *("2026-01-31 23:59:59.123456+05:30", "2026-01-31 23:59-0800", "2026-01-31Z", " 2026-01-31 \n"),
    *("2026-02-29", "2024-02-29", "2026-13-01", "2026-01-31 24:00", "2026-01-31 23:60", "2026-01-31 23:59:60"),
    *("2026-1-31", "26-01-31", "2026-01-31 7:00", "2026-01-31 23", "2026-01-31 23:59:59.", "2026-01-31\u00a0"),
    *("2026-01-31 23:59:59 UTC", "2026-01-31 23:59+15:00", "2026-01-31 23:59+14:59", "2026-01-31 23:59+05:60"),
    *("1677-09-21 00:12:43.145224", "1677-09-21 00:12:43.145225", "1677-09-20 23:12:44-01:00", "2026-01-31 +00:00"),
    *("2262-04-11 23:47:16.854775", "2262-04-11 23:47:16.854776", "2262-04-12 01:47:16+02:00", "2026-01-31\n\n"),
    *("2262-04-11 23:47:16-01:00", "+2026-01-31", "\uff12026-01-31", "2026-01-31 00:00:00.1234567", "0000-01-01"),
    *("0001-01-01", "9999-12-31"),
)
NEAR_THE_ENDS = (
    *(datetime(1677, 9, 21, 0, 12, 43, micros) for micros in (145_224, 145_225)),  # noqa: DTZ001
    *(datetime(2262, 4, 11, 23, 47, 16, micros) for micros in (854_775, 854_776)),  # noqa: DTZ001
)


VECTORS = (Vectors.dense(1, 2.5), Vectors.dense(-0.0, 3), Vectors.sparse(2, [1], [1e300]), Vectors.dense(1, 2, 3))
NO_CASE = T.StringType("UTF8_LCASE") if needs.IS_SPARK_4 else T.StringType()
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def array(element: str | T.DataType) -> T.DataType:
    return T.ArrayType(TYPES[element] if isinstance(element, str) else element)


def map_of(value: str | T.DataType) -> T.DataType:
    return T.MapType(T.StringType(), TYPES[value] if isinstance(value, str) else value)


def struct(**fields: str | T.DataType) -> T.StructType:
    return T.StructType([T.StructField(n, TYPES[t] if isinstance(t, str) else t) for n, t in fields.items()])


STOP = Object((Member("a", "long"), Member("b", "double", required=False), Member("when", "datetime")))
STOP_FIELDS = struct(A="double", b="string", when="timestamp", other="int")
A_STOP = {"A": 3.0, "b": " 0.5", "when": NOON, "other": None}
NESTED = [
    Cell(f"nested {i}", source, target, fitting)
    for i, (source, target, fitting) in enumerate(
        (
            (array("double"), Array("double"), [0.1, None, math.nan, -0.0]),
            (array("float"), Array("string"), [1e10, None, math.nan, -0.0]),
            (array("string"), Array("double"), ["1e3", None, " nan"]),
            (array("string"), Array("float"), ["1.00000005960464477540", "-1e-46"]),
            (array("double"), Array("long"), [2.0**53, -0.0]),
            (array("bigint"), Array("integer"), [2**31 - 1, -1]),
            (array("decimal(12,2)"), Array("string"), [Decimal("-0.10"), None]),
            (array("string"), Array("boolean"), ["TRUE", "false "]),
            (array("timestamp"), Array("datetime"), [NOON, None]),
            (array("string"), Array("datetime"), ["2026-01-31T12:00:00.25+02:00", None]),
            (array(T.BinaryType()), Array("binary"), [b"\x00\xff", None]),
            (array(T.NullType()), Array("double"), [None, None]),
            (array(array("int")), Array(Array("double")), [[1, None], []]),
            (map_of("string"), Map("long"), {"a": "7.0", "": "-1"}),
            (map_of("bigint"), Map("double"), {"a": 2**53 + 1, "": None}),
            (map_of(array("double")), Map(Array("float")), {"a": [0.1, None]}),
            (STOP_FIELDS, STOP, A_STOP),
            (array(STOP_FIELDS), Array(STOP), [A_STOP, A_STOP]),
            (T.DoubleType(), ANY, 0.1),
            (T.StringType(), ANY, "x"),
            (array("float"), ANY, [0.5, None]),
            (struct(a="double", b=array("string")), ANY, {"a": None, "b": ["x", None]}),
            (T.BinaryType(), "binary", b"\x00\xff"),
            (NO_CASE, "double", "1e3"),
            (NO_CASE, Category(Levels("string", ("true", "1"))), "true"),
            (array(NO_CASE), Array("double"), ["1e3"]),
        )
    )
]
OPTIONAL = [replace(cell, name=f"optional {cell.name}", required=False) for cell in NESTED]
TENSORS = [
    Cell(f"tensor {i}", source, target, fitting)
    for i, (source, target, fitting) in enumerate(
        (
            (T.DoubleType(), Tensor("double", (-1,)), None),
            (T.NullType(), Tensor("double", (-1,)), None),
            (T.DecimalType(38, 18), Tensor("float", (-1, 1)), None),
            (T.LongType(), Tensor("uint8", (-1,)), 255),
            (T.StringType(), Tensor("int16", (-1, 1)), "-32768"),
            (T.BooleanType(), Tensor("boolean", (-1, 1)), True),
            (array("double"), Tensor("float", (-1, 3)), [0.1, None, math.nan]),
            (array("float"), Tensor("double", (-1, 3)), [0.5, None, -0.0]),
            (array("string"), Tensor("double", (-1, 2)), ["0.1", None]),
            (array("string"), Tensor("string", (-1, 2)), ["", None]),
            (array("double"), Tensor("long", (-1, 2)), [1.0, -(2.0**63)]),
            (array("bigint"), Tensor("int8", (-1, 2, 1)), [127, -128]),
            (array(array("int")), Tensor("float", (-1, 2, 1)), [[2**24 + 1], [None]]),
            (array(array(array("double"))), Tensor("double", (-1, 1, 2, 1)), [[[0.1], [None]]]),
            (
                struct(x="double", y="string", z="decimal(9,0)"),
                Tensor("double", (-1, 3)),
                {"x": 0.1, "y": "1e3", "z": None},
            ),
            (struct(x="int", y="bigint"), Tensor("uint32", (-1, 2)), {"x": 1, "y": 2**32 - 1}),
            (VectorUDT(), Tensor("float", (-1, 2)), Vectors.sparse(2, [1], [0.1])),
            (VectorUDT(), Array("long"), Vectors.dense(1, 2, 3)),
        )
    )
]
CITIES = Levels("string", ("Graz", "Łódź", "O'Fallon", "1.5", "100", "2026-01-31", "true"))
SIZES = Levels("long", (30, 10, 2**53 + 1))
RATES = Levels("double", (0.0, 1.5, 0.1, 1e10))
FLAGS = Levels("boolean", (False, True))
DAYS = Levels("date", ("2026-01-31", "1970-01-01"))
MANY = Levels("double", (*map(float, range(1000)), 0.5))
LEVELED = [
    Cell(f"{source} as {target}", TYPES[source], target)
    for source, target in (
        *((source, Category(CITIES)) for source in ("string", "double", "float", "int", "date", "decimal(12,2)")),
        *((source, Category(SIZES)) for source in ("bigint", "double", "string", "decimal(38,18)")),
        *((source, Category(RATES)) for source in ("double", "float", "string", "int")),
        *((source, Category(FLAGS)) for source in ("boolean", "string", "tinyint")),
        *((source, Category(DAYS)) for source in ("date", "string")),
        *((source, Category(MANY)) for source in ("double", "string", "int")),
        *((source, Coded("double", CITIES)) for source in ("string", "boolean")),
        *((source, Coded("integer", SIZES)) for source in ("bigint", "string")),
        ("string", OneOf("string", CITIES, null=True)),
        ("string", OneOf("string", DAYS, null=False)),
        ("bigint", OneOf("long", SIZES, null=False)),
        ("double", OneOf("float", RATES, null=True)),
        ("double", OneOf("double", SIZES, null=False)),
        ("double", OneOf("string", CITIES, null=True)),
    )
]
LEVEL_VALUES: dict[str, Sequence[Any]] = {
    "string": (*CITIES.values, *map(str, SIZES.values), " 30 ", "30.0", "1e10", "-0", "FALSE", "1970-01-01", "no", ""),
    "double": (*RATES.values, 30.0, 10.0, 100.0, -0.0, float("nan"), 7.0, 2.0**53),
    "float": (0.0, 1.5, 100.0, 1e10, 0.10000000149011612, float("nan")),
    "int": (0, 10, 30, 100),
    "tinyint": (0, 1, 2),
    "bigint": (*SIZES.values, 2**53, 0),
    "boolean": (True, False),
    "date": (date(2026, 1, 31), date(1970, 1, 1), date(2000, 1, 1)),
}


def values_of(type_: T.DataType) -> SearchStrategy[Any]:
    """Nulls, edge values and random ones."""
    match type_:
        case VectorUDT():
            own: SearchStrategy[Any] = st.sampled_from(VECTORS)
        case T.BinaryType():
            own = st.binary(max_size=3)
        case T.NullType():
            own = st.none()
        case T.ArrayType():
            own = st.lists(values_of(type_.elementType), max_size=3)
        case T.MapType():
            own = st.dictionaries(st.text(max_size=2), values_of(type_.valueType), max_size=2)
        case T.StructType():
            own = st.fixed_dictionaries({field.name: values_of(field.dataType) for field in type_.fields})
        case _:
            own = st.sampled_from(scalar_edges(kind(type_))) | random_values(kind(type_))
    return st.none() | own


def inner_values_of(type_: T.DataType) -> SearchStrategy[Any]:
    """Mostly values that fit: what is nested is good only if all of it is."""
    match type_:
        case VectorUDT() | T.BinaryType() | T.NullType():
            return values_of(type_)
        case T.ArrayType():
            return st.lists(inner_values_of(type_.elementType), min_size=1, max_size=3)
        case T.MapType():
            return st.dictionaries(st.text(max_size=2), inner_values_of(type_.valueType), max_size=2)
        case T.StructType():
            return st.fixed_dictionaries({field.name: inner_values_of(field.dataType) for field in type_.fields})
        case T.StringType():
            return st.sampled_from(["1", "-0.0", " 1e3", "12.50", "nan", "true", "2026-01-31T12:00:00.25Z"])
        case T.TimestampType():
            return st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1), timezones=st.just(timezone.utc))  # noqa: DTZ001
        case T.DoubleType() | T.FloatType():
            return st.sampled_from([0.0, -0.0, 1.0, 0.5, -3.0, float("nan"), float("inf")])
        case _:
            return st.sampled_from(scalar_edges(kind(type_))) | random_values(kind(type_))


def kind(type_: T.DataType) -> str:
    return type_.simpleString().removesuffix(" collate UTF8_LCASE")


@cache
def scalar_edges(source: str) -> list[Any]:
    edges = edges_of(source)
    match source:
        case "string":
            return [*edges, *TIME_TEXTS]
        case "timestamp":
            return [*edges, *(moment.replace(tzinfo=timezone.utc) for moment in NEAR_THE_ENDS)]
        case "timestamp_ntz":
            return [*edges, *NEAR_THE_ENDS]
        case _:
            return edges


def some_rows(cells_: Sequence[Cell], rows: int = ROWS) -> SearchStrategy[Table]:
    """Cells of the same Spark type have the same values."""
    types = {cell.source.simpleString(): cell.source for cell in cells_}
    columns = {
        name: st.lists(values_of(type_) | inner_values_of(type_), min_size=rows, max_size=rows)
        for name, type_ in types.items()
    }
    return st.fixed_dictionaries(columns).map(
        lambda drawn: {cell.name: drawn[cell.source.simpleString()] for cell in cells_}
    )


def rectangular(table: Mapping[str, Sequence[Any]]) -> Table:
    """Shorter columns end in nulls."""
    return dict(zip(table, zip(*zip_longest(*table.values()), strict=True), strict=True))


# --- the two sides ----------------------------------------------------------------------------------------------


def plan_of(cells_: Sequence[Cell], policy: Any = "strict", there: Sequence[Cell] | None = None) -> ScoringPlan:
    """A feature for each cell, over a table of all cells' columns or of those that are there."""
    spec = ModelSpec(
        uri="models:/cells/1",
        name=None,
        version=None,
        run_id=None,
        digest="",
        path="",
        flavor="python_function",
        inputs=tuple(Feature(cell.name, cell.target, cell.required) for cell in cells_),
        output="double",
    )
    return make_plan(spec, schema_of(cells_ if there is None else there), Request(policy=Policy.of(policy)))


def schema_of(cells_: Sequence[Cell]) -> T.StructType:
    return T.StructType([T.StructField(cell.name, cell.source) for cell in cells_])


def in_spark(spark: SparkSession, plan: ScoringPlan, schema: T.StructType, table: Table) -> Iterator[Any]:
    """Feature by feature what the model is given: one Spark job."""
    rows = list(zip(*(table[name] for name in schema.names), strict=True))
    extended = extend(spark.createDataFrame(rows, schema), plan, "_scoring")
    prepared = prepare(plan, extended)
    lanes = [lane.column.alias(f"lane{i}") for i, lane in enumerate(prepared.lanes)]
    found = to_arrow_table(extended.frame.select(*lanes, prepared.ok.alias("ok"), prepared.error.alias("error")))
    assert found["ok"].to_pylist() == [error is None for error in found["error"].to_pylist()]
    causes = [dict(part.split(": ", 1) for part in (e or "").split("; ") if part) for e in found["error"].to_pylist()]
    for i, lane in enumerate(prepared.lanes):
        values = found[f"lane{i}"].to_pylist()
        for position, name in enumerate(lane.features):
            own = {row: cause[name] for row, cause in enumerate(causes) if name in cause}
            good = [value for row, value in enumerate(values) if row not in own]
            yield name, Outcome(model_input(plan, lane, name, position, good), own)


def model_input(plan: ScoringPlan, lane: Lane, name: str, position: int, values: list[Any]) -> pd.Series[Any]:
    type_ = next(feature.type for feature in plan.features if feature.name == name)
    worker = WorkerPlan(((name, type_),), ((lane.type, (name,), lane.packed),), (), takes="tensors")
    column: Any = objects(values)
    if lane.packed:
        dtype = NUMPY_TYPES.get(lane.type, "int32" if lane.type == "category" else lane.type)
        own = values if isinstance(type_, Tensor) else [value[position : position + 1] for value in values]
        width = type_.width if isinstance(type_, Tensor) else 1
        column = np.array(own, dtype=dtype).reshape(len(values), width)
    made = build_input(worker, [column])[name]
    return pd.Series(made if made.ndim == 1 else objects(list(made)))


def in_pandas(plan: ScoringPlan, schema: T.StructType, table: Table) -> Iterator[tuple[str, Outcome]]:
    frame = pd.DataFrame({name: objects(values) for name, values in table.items()})
    for feature in plan.features:
        prepared = prepare_frame(frame, replace(plan, features=(feature,)), schema)
        causes = {row: text.removeprefix(f"{feature.name}: ") for row, text in prepared.errors.items()}
        yield feature.name, Outcome(prepared.frame[feature.name], causes)


def differences(spark: SparkSession, plan: ScoringPlan, cells_: Sequence[Cell], table: Table) -> list[str]:
    """A line per value that is not the same on both sides."""
    schema, wrong = schema_of(cells_), []
    sources = {feature.name: feature.source_type or "" for feature in plan.features}
    twin = dict(in_pandas(plan, schema, table))
    for name, found in in_spark(spark, plan, schema, table):
        ours = twin.pop(name)
        if (found.causes, found.values.dtype) != (ours.causes, ours.values.dtype):
            wrong.append(f"{name}: Spark {found.values.dtype} {found.causes}, pandas {ours.values.dtype} {ours.causes}")
            continue
        pairs = enumerate(zip(found.values, ours.values, strict=True))
        wrong += [
            f"{name}, good row {i}: {a!r} in Spark, {b!r} here" for i, (a, b) in pairs if not alike(a, b, sources[name])
        ]
    assert not twin
    return wrong


def alike(a: Any, b: Any, source: str) -> bool:
    """To the bit, in type and inside; a float's text, which differs between versions of Java, by what it reads as."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and alike(a.tolist(), b.tolist(), source)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(alike(x, y, source) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key], source) for key in a)
    if isinstance(a, str) and isinstance(b, str):
        return a == b or (("float" in source or "double" in source) and same_number(a, b, source))
    return (a is pd.NaT and b is pd.NaT) or same(a, b, "")


def same_number(a: str, b: str, source: str) -> bool:
    """Texts of one form whose digits differ, not what they are read as."""
    form, parse = re.compile(r"-?\d+\.\d+(E-?\d+)?"), np.float32 if "float" in source else np.float64
    x, y = form.fullmatch(a), form.fullmatch(b)
    return x is not None and y is not None and (x[1] is None) == (y[1] is None) and parse(a) == parse(b)


# --- tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["strict", "lenient"])
@pytest.mark.parametrize("family", FAMILIES)
def test_edge_values_are_the_same(spark: SparkSession, family: str, policy: str) -> None:
    plan = plan_of(SCALARS[family], policy)
    table = rectangular({cell.name: [None, *scalar_edges(cell.source.simpleString())] for cell in SCALARS[family]})
    assert differences(spark, plan, SCALARS[family], table) == []


@pytest.mark.parametrize("family", FAMILIES)
@RARELY
@given(data=st.data())
def test_random_values_are_the_same(spark: SparkSession, family: str, data: st.DataObject) -> None:
    table = data.draw(some_rows(SCALARS[family]))
    assert differences(spark, plan_of(SCALARS[family]), SCALARS[family], table) == []


@pytest.mark.parametrize("cells_", [NESTED, OPTIONAL, TENSORS], ids=["nested", "optional", "tensors"])
@RARELY
@given(data=st.data())
def test_what_is_nested_is_the_same(spark: SparkSession, cells_: list[Cell], data: st.DataObject) -> None:
    drawn = data.draw(some_rows(cells_, NESTED_ROWS))
    table = {cell.name: [cell.fitting, *drawn[cell.name]] for cell in cells_}
    plan = plan_of(cells_)
    assert differences(spark, plan, cells_, table) == []
    assert [name for name, outcome in in_pandas(plan, schema_of(cells_), table) if 0 in outcome.causes] == []


@pytest.mark.parametrize("policy", ["strict", "lenient"])
def test_levels_are_the_same(spark: SparkSession, policy: str) -> None:
    table = rectangular({c.name: [None, *LEVEL_VALUES.get(kind(c.source), edges_of(kind(c.source)))] for c in LEVELED})
    assert differences(spark, plan_of(LEVELED, policy), LEVELED, table) == []


FILLS: dict[str, tuple[str, ModelType, Any]] = {
    "double": ("string", "double", 7),
    "float": ("double", "float", 0.1),
    "float of a double": ("string", "float", 1.00000005960464477540),
    "long": ("double", "long", -(2**63)),
    "boolean": ("int", "boolean", True),
    "string": ("double", "string", "none"),
    "datetime": ("string", "datetime", "2026-01-31T12:00:00.5+02:00"),
    "missing time": ("string", "datetime", None),
    "category": ("string", Category(CITIES), "Graz"),
    "missing category": ("string", Category(CITIES), None),
    "coded": ("bigint", Coded("long", SIZES), 10),
    "missing code": ("bigint", Coded("double", SIZES), None),
    "one of": ("double", OneOf("float", RATES, null=True), 0.1),
    "missing tensor": ("double", Tensor("float", (-1, 1)), None),
}
"""Source, target and what stands in, by the feature's name."""


@pytest.mark.parametrize("when", ["values", "columns"])
def test_what_stands_in_is_the_same(spark: SparkSession, when: str) -> None:
    cells_ = [Cell(name, TYPES[source], target) for name, (source, target, _) in FILLS.items()]
    policy = {name: FeaturePolicy(nulls=Fill(v), invalid=Fill(v), absent=Fill(v)) for name, (*_, v) in FILLS.items()}
    there = cells_ if when == "values" else [Cell("other", T.LongType(), "long")]
    table = rectangular({cell.name: [None, *scalar_edges(kind(cell.source))] for cell in there})
    assert differences(spark, plan_of(cells_, policy, there), there, table) == []


def test_the_text_of_a_row_names_all_that_is_wrong_with_it(spark: SparkSession) -> None:
    cells_ = SCALARS["text"]
    plan, schema = plan_of(cells_), schema_of(cells_)
    table = {cell.name: scalar_edges("string") for cell in cells_}
    df = spark.createDataFrame(list(zip(*table.values(), strict=True)), schema)
    errors = [row[0] for row in df.select(prepare(plan).error).collect()]
    prepared = prepare_frame(pd.DataFrame(table), plan, schema)
    assert dict(prepared.errors) == {row: error for row, error in enumerate(errors) if error is not None}
    assert list(prepared.frame.index) == [row for row, error in enumerate(errors) if error is None]


@pytest.mark.parametrize(("value", "cause"), [(None, "null"), ("x", "not a number")])
def test_the_policy_fails_on_the_same_value_with_the_same_text(
    spark: SparkSession, value: str | None, cause: str
) -> None:
    cells_ = [Cell("seats", T.StringType(), "double")]
    plan = plan_of(cells_, {"*": FeaturePolicy(nulls="fail", invalid="fail")})
    text = f"seats: {cause}, and the feature's policy is to fail"
    with pytest.raises(PySparkException, match=text):
        spark.createDataFrame([(value,)], schema_of(cells_)).select(prepare(plan).ok).collect()
    with pytest.raises(PolicyError, match=text):
        prepare_frame(pd.DataFrame({"seats": [value]}), plan, schema_of(cells_))
