"""Every Spark type x every model type: the verdict, and what a refusal or a bad row says. No Spark session.

The tables are the design's, cell by cell. What they leave out is refused.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import product

import pytest
from pyspark.ml.linalg import MatrixUDT, VectorUDT
from pyspark.sql import types as T  # noqa: N812

from spark_scoring.errors import PlanError, Problem
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import (
    ANY,
    Array,
    Category,
    Coded,
    Levels,
    LevelType,
    Map,
    Member,
    ModelType,
    Object,
    OneOf,
    Tensor,
    holds_null,
)
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.request import Request
from spark_scoring.plan.rules import rule_for
from spark_scoring.plan.scalar_rules import NONZERO
from spark_scoring.plan.scoring_plan import PlannedFeature
from spark_scoring.plan.verdicts import Refusal, Rule
from tests import needs


def struct(**fields: T.DataType) -> T.StructType:
    return T.StructType([T.StructField(name, type_) for name, type_ in fields.items()])


DOUBLE, LONG, TEXT = T.DoubleType(), T.LongType(), T.StringType()
DIGITS = ((1, 0), (9, 0), (10, 0), (18, 0), (19, 0), (38, 0), (9, 1), (12, 2), (18, 18), (38, 18), (38, 37), (38, 38))
SOURCES: dict[str, T.DataType] = {
    "boolean": T.BooleanType(),
    "tinyint": T.ByteType(),
    "smallint": T.ShortType(),
    "int": T.IntegerType(),
    "bigint": LONG,
    "float": T.FloatType(),
    "double": DOUBLE,
    **{f"decimal({precision},{scale})": T.DecimalType(precision, scale) for precision, scale in DIGITS},
    "string": TEXT,
    "char": T.CharType(4),
    "varchar": T.VarcharType(40),
    "binary": T.BinaryType(),
    "date": T.DateType(),
    "timestamp": T.TimestampType(),
    "timestamp_ntz": T.TimestampNTZType(),
    "days": T.DayTimeIntervalType(),
    "months": T.YearMonthIntervalType(),
    "void": T.NullType(),
    "array<double>": T.ArrayType(DOUBLE),
    "array<bigint>": T.ArrayType(LONG),
    "array<decimal>": T.ArrayType(T.DecimalType(12, 2)),
    "array<string>": T.ArrayType(TEXT),
    "array<date>": T.ArrayType(T.DateType()),
    "array<binary>": T.ArrayType(T.BinaryType()),
    "array<void>": T.ArrayType(T.NullType()),
    "array<vector>": T.ArrayType(VectorUDT()),
    "array<array<bigint>>": T.ArrayType(T.ArrayType(LONG)),
    "array<struct>": T.ArrayType(struct(a=DOUBLE, b=TEXT)),
    "map<string,double>": T.MapType(TEXT, DOUBLE),
    "map<string,string>": T.MapType(TEXT, TEXT),
    "map<bigint,double>": T.MapType(LONG, DOUBLE),
    "struct<a,b>": struct(a=DOUBLE, b=TEXT),
    "struct<A,b,c>": struct(A=LONG, b=DOUBLE, c=T.BooleanType()),
    "struct<b>": struct(b=TEXT),
    "vector": VectorUDT(),
    "matrix": MatrixUDT(),
}
if needs.IS_SPARK_4:
    new: dict[str, T.DataType] = {"collated": T.StringType("UNICODE_CI"), "variant": T.VariantType()}
    SOURCES |= {
        **new,
        "interval": T.CalendarIntervalType(),
        **{f"array<{name}>": T.ArrayType(type_) for name, type_ in new.items()},
    }
if hasattr(T, "TimeType"):  # Spark 4.1
    SOURCES["time"] = T.TimeType()

LEVELS: dict[LevelType, Levels] = {
    "string": Levels("string", ("a",)),
    "long": Levels("long", (7,)),
    "double": Levels("double", (0.5,)),
    "boolean": Levels("boolean", (True,)),
    "date": Levels("date", ("2026-01-31",)),
}
SMALL = ("int8", "int16", "uint8", "uint16", "uint32")
TARGETS: dict[str, ModelType] = {
    **{name: name for name in ("double", "float", "long", "integer", "boolean", "string", "binary", "datetime")},
    **{dtype: Tensor(dtype, (-1,)) for dtype in SMALL},
    "numbers": Array("double"),
    "texts": Array("string"),
    "times": Array("datetime"),
    "lists": Array(Array("double")),
    "map": Map("double"),
    "object": Object((Member("a", "double"), Member("b", "string", required=False))),
    "any": ANY,
    "t1": Tensor("double", (-1, 1)),
    "t3": Tensor("double", (-1, 3)),
    "t2x2": Tensor("float", (-1, 2, 2)),
    "t2text": Tensor("string", (-1, 2)),
    "t2whole": Tensor("long", (-1, 2)),
    "t_time": Tensor("datetime", (-1,)),
    "t_half": Tensor("float16", (-1,)),
    "t_open": Tensor("double", (-1, -1)),
    **{f"{type_}_level": Category(levels) for type_, levels in LEVELS.items()},
}

# --- the verdicts -------------------------------------------------------------------------------------------------
# From the Spark type at the left to the model type above; a ``-``, and what is not here, is refused. A ``+`` behind a
# verdict: values that do not fit are bad rows. ``checked`` always has it; among the others it marks overflow (double to
# float), the range of times, unknown levels, the count of a tensor's values, and what may not be null inside.

# The design checks decimal to float for overflow; DECIMAL ends at 1e38 and float at 3.4e38: nothing to check.
SCALARS = """
                              double   float    long     integer  boolean  string   binary   datetime
boolean                       exact    exact    exact    exact    exact    renders  -        -
tinyint|smallint              exact    exact    exact    exact    checked+ renders  -        -
int                           exact    rounds   exact    exact    checked+ renders  -        -
bigint                        rounds   rounds   exact    checked+ checked+ renders  -        -
float                         exact    exact    checked+ checked+ checked+ renders  -        -
double                        exact    rounds+  checked+ checked+ checked+ renders  -        -
decimal(1,0)|decimal(9,0)     rounds   rounds   exact    exact    checked+ renders  -        -
decimal(10,0)|decimal(18,0)   rounds   rounds   exact    checked+ checked+ renders  -        -
decimal(19,0)|decimal(38,0)   rounds   rounds   checked+ checked+ checked+ renders  -        -
decimal(9,1)|decimal(12,2)    rounds   rounds   checked+ checked+ checked+ renders  -        -
decimal(18,18)|decimal(38,18) rounds   rounds   checked+ checked+ checked+ renders  -        -
decimal(38,37)|decimal(38,38) rounds   rounds   checked+ checked+ checked+ renders  -        -
string|collated|char|varchar  checked+ checked+ checked+ checked+ checked+ exact    -        checked+
variant                       checked+ checked+ checked+ checked+ checked+ exact    -        checked+
binary                        -        -        -        -        -        -        exact    -
date|timestamp|timestamp_ntz  -        -        -        -        -        renders  -        exact+
void                          exact    exact    -        -        -        exact    exact    exact
"""

# One value per row, as the element of a tensor; in a list of exactly one, too.
WHOLES = """
                              int8     int16    uint8    uint16   uint32
boolean                       exact+   exact+   exact+   exact+   exact+
tinyint                       exact+   exact+   checked+ checked+ checked+
smallint                      checked+ exact+   checked+ checked+ checked+
int|bigint|float|double       checked+ checked+ checked+ checked+ checked+
decimal*                      checked+ checked+ checked+ checked+ checked+
string|collated|char|varchar  checked+ checked+ checked+ checked+ checked+
variant                       checked+ checked+ checked+ checked+ checked+
array<double>|array<bigint>   checked+ checked+ checked+ checked+ checked+
array<decimal>|array<string>  checked+ checked+ checked+ checked+ checked+
array<collated>|vector        checked+ checked+ checked+ checked+ checked+
array<void>                   exact+   exact+   exact+   exact+   exact+
struct<b>                     checked+ checked+ checked+ checked+ checked+
"""

# As grave as the gravest inside.
NESTED = """
                              numbers  texts    times    lists    map      object   any
boolean|tinyint|smallint      -        -        -        -        -        -        exact
int|bigint|float|double       -        -        -        -        -        -        exact
string|collated|char|varchar  -        -        -        -        -        -        exact
variant|binary                -        -        -        -        -        -        exact
void                          -        -        -        -        -        -        exact
array<double>|vector          exact    renders  -        -        -        -        exact
array<bigint>                 rounds   renders  -        -        -        -        exact
array<decimal>                rounds   renders  -        -        -        -        -
array<string>|array<collated> checked+ exact    checked+ -        -        -        exact
array<date>                   -        renders  exact+   -        -        -        -
array<binary>                 -        -        -        -        -        -        exact
array<void>                   exact    exact    exact    exact+   -        -        -
array<array<bigint>>          -        -        -        rounds+  -        -        exact
array<struct>                 -        -        -        -        -        -        exact
map<string,double>            -        -        -        -        exact    -        -
map<string,string>            -        -        -        -        checked+ -        -
struct<a,b>                   -        -        -        -        -        exact    exact
struct<A,b,c>                 -        -        -        -        -        renders  exact
struct<b>                     -        -        -        -        -        -        exact
"""

# Of one number per row, of three, of two by two, of two texts, of two whole numbers.
TENSORS = """
                              t1       t3       t2x2     t2text   t2whole
boolean|tinyint|smallint      exact    -        -        -        -
int|float|double|void         exact    -        -        -        -
bigint|decimal*               rounds   -        -        -        -
string|collated|char|varchar  checked+ -        -        -        -
variant                       checked+ -        -        -        -
array<double>|vector          exact+   exact+   rounds+  renders+ checked+
array<bigint>                 rounds+  rounds+  rounds+  renders+ exact+
array<decimal>                rounds+  rounds+  rounds+  renders+ checked+
array<string>|array<collated> checked+ checked+ checked+ exact+   checked+
array<date>                   -        -        -        renders+ -
array<void>                   exact+   exact+   exact+   exact+   exact+
array<array<bigint>>          -        -        rounds+  -        -
struct<a,b>                   -        -        -        renders  checked+
struct<A,b,c>                 -        rounds   -        -        -
struct<b>                     checked+ -        -        -        -
"""

# Matched on the level's own type, so that only known values fit. Dates go by their text; an instant has no date.
LEVELED = """
                              string_level long_level double_level boolean_level date_level
boolean|tinyint|smallint      renders+     checked+   checked+     checked+      -
int|bigint|float|double       renders+     checked+   checked+     checked+      -
decimal*                      renders+     checked+   checked+     checked+      -
string|collated|char|varchar  checked+     checked+   checked+     checked+      checked+
variant                       checked+     checked+   checked+     checked+      checked+
date                          renders+     -          -            -             checked+
timestamp|timestamp_ntz       renders+     -          -            -             -
void                          exact        exact      exact        exact         exact
"""


def cells(table: str) -> dict[tuple[str, str], str]:
    """(source, target) -> verdict, of each cell of a text table that is not refused."""
    header, *rows = (line.split() for line in table.strip().splitlines())
    return {
        (source, target): verdict
        for names, *verdicts in rows
        for source in SOURCES
        if any(fnmatchcase(source, name) for name in names.split("|"))
        for target, verdict in zip(header, verdicts, strict=True)
        if verdict != "-"
    }


VERDICTS = {cell: v for table in (SCALARS, WHOLES, NESTED, TENSORS, LEVELED) for cell, v in cells(table).items()}

# --- what is said ---------------------------------------------------------------------------------------------------
# The first row whose patterns match source and target holds.

NEITHER = "no meaningful conversion from {source} to {target} (`x`)"
WRITE = 'write one: columns: {x: "<SQL expression>"}'
OF_BYTES = "say what the text or the bytes are: unbase64(x), encode(x, 'UTF-8'), decode(x, 'UTF-8')"
OF_MAP = "take values out of it: x['key']; or struct(x['a'] AS a, ...)"
OF_VARIANT = "take a typed value out of it: variant_get(x, '$.path', 'double')"
OF_ANY = "the model names no type for it; give one: CAST(x AS double), CAST(x AS string)"
OF_TENSOR = "log the model with a tensor of float64, float32, int64, int32 or a smaller integer"
NULLS = "the column `x` is null in every row, and the feature cannot be"
STAND_IN = "map another column, or say what to take instead: policy: {x: {nulls: {fill: <value>}}}"
OPEN = "{target} has an open inner dimension, so rows of one batch could differ (`x`)"
PAD = "log the model with a fixed shape, such as (-1, 128), and pad the rows to it"

OF_DATE = "say which number: datediff(DATE '2026-01-01', x), unix_date(x), year(x), month(x), dayofweek(x)"
REFUSALS = (
    ("void", "*", NULLS, STAND_IN),
    ("date", "double|float|long|integer", NEITHER, OF_DATE),
    ("date", "t1", "no meaningful conversion from DATE to {dtype} (`x`)", OF_DATE),
    ("*", "t_open", OPEN, PAD),
    ("array<array*", "t_half|t_time|t1|t3|t2text|t2whole|int8|int16|uint*", NEITHER, WRITE),
    ("struct<a,b>", "t_*|t1|int8|int16|uint*", "2 columns for {target}, which takes 1 (`x`)", WRITE),
    ("struct<a,b>", "t3", "2 columns for {target}, which takes 3 (`x`)", WRITE),
    ("struct<a,b>|struct<A,b,c>|struct<b>", "t2x2", "{fields} columns for {target}, which takes 4 (`x`)", WRITE),
    ("struct<A,b,c>", "t2*", "3 columns for {target}, which takes 2 (`x`)", WRITE),
    ("struct<A,b,c>", "t_*|t1|int8|int16|uint*", "3 columns for {target}, which takes 1 (`x`)", WRITE),
    ("struct<b>", "t3", "1 columns for {target}, which takes 3 (`x`)", WRITE),
    ("struct<b>", "t2*", "1 columns for {target}, which takes 2 (`x`)", WRITE),
    ("struct<b>", "t_*", "b: this version makes no tensors of {dtype} (`x`)", OF_TENSOR),
    ("struct<b>", "object", "the struct has no field 'a' (`x`)", "its fields: b"),
    ("*", "t_half|t_time", "this version makes no tensors of {dtype} (`x`)", OF_TENSOR),
    ("array<void>", "any", "no meaningful conversion from VOID to a model without input types (`x`)", OF_ANY),
    ("array<*>|map*", "any", "no meaningful conversion from {inside} to a model without input types (`x`)", OF_ANY),
    ("*", "any", "no meaningful conversion from {source} to a model without input types (`x`)", OF_ANY),
    ("*", "binary", NEITHER, OF_BYTES),
    ("binary", "t1|int8|int16|uint*", "no meaningful conversion from BINARY to {dtype} (`x`)", OF_BYTES),
    ("binary", "*", NEITHER, OF_BYTES),
    ("array<variant>", "numbers|texts|times", "no meaningful conversion from VARIANT to {element} (`x`)", OF_VARIANT),
    ("array<variant>", "lists", "no meaningful conversion from VARIANT to array<double> (`x`)", OF_VARIANT),
    ("array<variant>", "t*|int8|int16|uint*", "no meaningful conversion from VARIANT to {dtype} (`x`)", OF_VARIANT),
    ("array<binary>", "numbers|texts|times|lists", "no meaningful conversion from BINARY to {element} (`x`)", OF_BYTES),
    (
        "array<binary>",
        "t1|t3|t2text|t2whole|t2x2|int8|int16|uint*",
        "no meaningful conversion from BINARY to {dtype} (`x`)",
        OF_BYTES,
    ),
    ("array<date>", "numbers", "no meaningful conversion from DATE to {element} (`x`)", OF_DATE),
    ("array<date>", "t1|t3|t2whole|t2x2", "no meaningful conversion from DATE to {dtype} (`x`)", OF_DATE),
    ("array<*|vector", "numbers|texts|times|lists", "no meaningful conversion from {inside} to {element} (`x`)", WRITE),
    ("array<*|vector", "t*|int8|int16|uint*", "no meaningful conversion from {innermost} to {dtype} (`x`)", WRITE),
    ("map*", "t1|int8|int16|uint*", "no meaningful conversion from {source} to {dtype} (`x`)", OF_MAP),
    ("map*", "*", NEITHER, OF_MAP),
    ("*", "t1|int8|int16|uint*", "no meaningful conversion from {source} to {dtype} (`x`)", WRITE),
    ("*", "*", NEITHER, WRITE),
)
REASONS = (
    ("*", "*_level", "unknown level"),
    ("*", "numbers|texts|times|lists|map|object", "a value inside does not fit"),
    ("*", "t3", "not 3 values of the tensor's type"),
    ("*", "t2text|t2whole", "not 2 values of the tensor's type"),
    ("*", "t2x2", "not 4 values of the tensor's type"),
    ("*", "t1|int8|int16|uint*", "not one value of the tensor's type"),
    ("double", "float", "too large"),
    ("date|timestamp*", "datetime", "out of range"),
    ("*", "datetime", "not a time in range"),
    ("*int|decimal(??,0)", "long|integer", "out of range"),
    ("*", "long|integer", "not a whole number in range"),
    ("string|collated|char|varchar|variant", "boolean", "not true or false"),
    ("*", "boolean", "not 0 or 1"),
    ("*", "double|float", "not a number"),
)


def row_for(table: tuple[tuple[str, ...], ...], source: str, target: str) -> tuple[str, ...]:
    """What is behind the patterns of the first row that matches."""
    return next(rest for s, t, *rest in table if matches(source, s) and matches(target, t))


def matches(name: str, patterns: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns.split("|"))


def problem_of(source: str, target: str) -> Problem:
    """What a refused cell has to say."""
    type_, model_type = SOURCES[source], TARGETS[target]
    cause, fix = row_for(REFUSALS, source, target)
    seen = T.ArrayType(DOUBLE) if source == "vector" else TEXT if source in ("collated", "variant") else type_
    inside = seen.elementType if isinstance(seen, T.ArrayType) else seen
    names = {
        "source": name_of(seen),
        "inside": name_of(inside),
        "innermost": name_of(inside.elementType if isinstance(inside, T.ArrayType) else inside),
        "fields": str(len(type_)) if isinstance(type_, T.StructType) else "",
        "target": str(model_type),
        "element": str(getattr(model_type, "element", "")),
        "dtype": str(getattr(model_type, "dtype", "")),
    }
    for name, text in names.items():
        cause = cause.replace(f"{{{name}}}", text)
    if isinstance(model_type, str) and fix in (OF_ANY, OF_BYTES, OF_MAP, OF_VARIANT, OF_DATE):
        fix = re.sub(r"\bx\b", "`x`", fix)  # what the feature is read from; inside other types, x is a value inside
    return Problem(f"feature 'x' ({model_type})", cause, fix)


def name_of(type_: T.DataType) -> str:
    return type_.simpleString().upper()


# --- what the planner says ------------------------------------------------------------------------------------------


def planned(source: T.DataType, target: ModelType) -> PlannedFeature | Problem:
    """What a strict plan makes of a column ``x`` of the type, for a feature of the same name."""
    model = ModelSpec(
        uri="models:/cells/1",
        name=None,
        version=None,
        run_id=None,
        digest="",
        path="",
        flavor="python_function",
        inputs=(Feature("x", target),),
        output="double",
    )
    try:
        (feature,) = make_plan(model, struct(x=source), Request()).features
    except PlanError as error:
        (problem,) = error.problems
        return problem
    return feature


def verdict_of(found: PlannedFeature | Problem | Rule | Refusal) -> str:
    """In the notation of the tables."""
    if isinstance(found, Problem | Refusal):
        return "-"
    return found.verdict + ("+" if found.reason is not None else "")


@pytest.mark.parametrize("source", SOURCES)
def test_every_cell_has_the_verdict_of_the_tables(source: str) -> None:
    found = {target: verdict_of(planned(SOURCES[source], type_)) for target, type_ in TARGETS.items()}
    assert found == {target: VERDICTS.get((source, target), "-") for target in TARGETS}


@pytest.mark.parametrize("source", SOURCES)
def test_every_refusal_says_thing_cause_and_fix(source: str) -> None:
    refused = [target for target in TARGETS if (source, target) not in VERDICTS]
    found = {target: planned(SOURCES[source], TARGETS[target]) for target in refused}
    assert found == {target: problem_of(source, target) for target in refused}


@pytest.mark.parametrize("source", SOURCES)
def test_values_that_do_not_fit_are_called_what_they_are(source: str) -> None:
    checked = [target for target in TARGETS if VERDICTS.get((source, target), "").endswith("+")]
    found = {t: getattr(planned(SOURCES[source], TARGETS[t]), "reason", None) for t in checked}
    assert found == {t: row_for(REASONS, source, t)[0] for t in checked}


def test_the_tables_name_types_that_exist() -> None:
    assert {t for _, t in VERDICTS} == set(TARGETS) - {"t_time", "t_half", "t_open"}
    refused = {"interval", "days", "months", "array<variant>", "array<vector>", "map<bigint,double>", "matrix", "time"}
    assert {s for s, _ in VERDICTS} == set(SOURCES) - refused


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("type_", LEVELS)
def test_codes_and_listed_values_go_by_the_rules_of_categories(type_: LevelType, source: str) -> None:
    levels = LEVELS[type_]
    own = "string" if type_ in ("string", "date") else type_
    verdicts = [planned(SOURCES[source], t) for t in (Coded("double", levels), OneOf(own, levels, null=True))]
    expected = VERDICTS.get((source, f"{type_}_level"), "-")
    no_null = source == "void" and own in ("long", "boolean")  # a value of these types cannot be missing, a code can
    assert [verdict_of(v) for v in verdicts] == [expected, "-" if no_null else expected]


@pytest.mark.parametrize(
    ("type_", "levels"),
    [
        ("string", "string long double boolean date"),
        ("double", "long double boolean"),
        ("float", "long double boolean"),
        ("long", "long boolean"),
        ("integer", "long boolean"),
        ("boolean", "boolean"),
        ("datetime", ""),
        ("binary", ""),
        (ANY, ""),
        ("array<double>", ""),
    ],
)
def test_listed_values_must_be_values_of_the_feature(type_: str, levels: str) -> None:
    found = {t for t, known in LEVELS.items() if isinstance(rule_for(TEXT, OneOf(type_, known, null=True)), Rule)}
    assert found == set(levels.split())


@pytest.mark.parametrize(
    ("type_", "levels", "held"),
    [
        ("long", Levels("double", (1.0, -3.0)), True),
        ("long", Levels("double", (1.0, 1.5)), False),
        ("long", Levels("double", (float("inf"),)), False),
        ("long", Levels("long", (2**63 - 1, -(2**63))), True),
        ("integer", Levels("long", (2**31 - 1, -(2**31))), True),
        ("integer", Levels("long", (2**31,)), False),
        ("boolean", Levels("long", (0, 1)), True),
        ("boolean", Levels("long", (0, 1, 2)), False),
    ],
)
def test_listed_numbers_must_lie_in_the_type_s_range(type_: str, levels: Levels, held: bool) -> None:  # noqa: FBT001
    rule = rule_for(TEXT, OneOf(type_, levels, null=True))
    assert isinstance(rule, Rule) == held
    if isinstance(rule, Refusal):
        assert rule.cause == f"its levels ({levels}) are not values of type {type_}"
        assert rule.fix == f"give levels of type {type_}, or leave them out"


STOP = Object((Member("at", "datetime"), Member("n", Object((Member("x", "long"),)), required=False)))


@pytest.mark.parametrize(
    ("source", "refusal"),
    [
        (struct(at=T.DateType()), None),
        (struct(AT=T.DateType(), n=struct(X=DOUBLE), more=T.BinaryType()), None),
        (struct(at=LONG), Refusal("member 'at': no meaningful conversion from BIGINT to datetime")),
        (
            struct(at=TEXT, n=struct(y=DOUBLE, z=DOUBLE)),
            Refusal("member 'n': the struct has no field 'x'", "its fields: y, z"),
        ),
        (struct(at=TEXT, AT=TEXT), Refusal("more than one field of the struct has the name 'at'")),
        (struct(n=struct(x=LONG)), Refusal("the struct has no field 'at'", "its fields: n")),
    ],
    ids=["least", "other case", "member", "member of a member", "twice", "missing"],
)
def test_objects_bind_their_members_by_name(source: T.DataType, refusal: Refusal | None) -> None:
    found = rule_for(source, STOP)
    assert (found if isinstance(found, Refusal) else None) == refusal


def test_names_of_members_follow_sparks_case_rule() -> None:
    upper, both = struct(AT=TEXT), struct(at=TEXT, AT=LONG)
    assert isinstance(rule_for(upper, STOP), Rule)
    assert rule_for(upper, STOP, case_sensitive=True) == Refusal("the struct has no field 'at'", "its fields: AT")
    assert isinstance(rule_for(both, STOP, case_sensitive=True), Rule)


def test_an_object_needs_one_of_its_members() -> None:
    optional = Object((Member("a", "double", required=False),))
    assert rule_for(struct(b=DOUBLE), optional) == Refusal("the struct has none of the object's members")


def test_fields_of_a_tensor_have_distinct_names() -> None:
    twice = struct(a=DOUBLE, A=DOUBLE)
    refusal = Refusal("more than one field of the struct has the name 'a'")
    assert rule_for(twice, Tensor("double", (-1, 2))) == refusal
    assert isinstance(rule_for(twice, Tensor("double", (-1, 2)), case_sensitive=True), Rule)


@pytest.mark.parametrize(
    ("depth", "shape", "verdict"),
    [
        *((0, (-1,), "exact"), (0, (-1, 1, 1), "exact"), (0, (-1, 2), "-")),
        *((1, (-1,), "exact+"), (1, (-1, 2, 3), "exact+"), (2, (-1, 2, 3), "exact+"), (2, (-1, 6), "-")),
        *((2, (-1,), "-"), (2, (-1, 2, 3, 1), "-"), (3, (-1, 2, 3, 1), "exact+"), (3, (-1, 2, 3), "-")),
    ],
)
def test_arrays_for_a_tensor_are_flat_or_as_deep_as_it(depth: int, shape: tuple[int, ...], verdict: str) -> None:
    source: T.DataType = DOUBLE
    for _ in range(depth):
        source = T.ArrayType(source)
    assert verdict_of(rule_for(source, Tensor("double", shape))) == verdict


@pytest.mark.parametrize(("source", "target"), list(product(("void", "array<void>"), TARGETS)))
def test_nothing_is_known_of_a_column_without_a_type(source: str, target: str) -> None:
    """It becomes the model's own missing value, or is refused where there is none."""
    found = planned(SOURCES[source], TARGETS[target])
    if source == "void":
        assert isinstance(found, PlannedFeature) == (holds_null(TARGETS[target]) and target not in ("t_half", "t_open"))
    else:
        assert isinstance(found, Problem) or found.verdict == "exact"


@pytest.mark.parametrize(
    "source", [T.IntegerType(), T.DoubleType(), T.DecimalType(12, 2)], ids=lambda t: t.simpleString()
)
def test_under_the_lenient_policy_every_number_is_a_flag(source: T.DataType) -> None:
    rule = rule_for(source, "boolean")
    assert isinstance(rule, Rule)
    assert (rule.conversion, NONZERO.conversion, NONZERO.reason) == ("zero_one", "nonzero", None)
