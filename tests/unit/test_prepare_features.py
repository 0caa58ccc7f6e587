"""``prepare_features`` as a notebook uses it: types from dtypes, the model's frame, errors. No Spark session."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array, Object, Property
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import Row
from pyspark.sql import types as T  # noqa: N812

from spark_scoring import FeaturePolicy, Fill, PlanError, PreparedFeatures, prepare_features
from spark_scoring.engine.errors import PolicyError
from spark_scoring.engine.frame_values import inferred_type
from spark_scoring.errors import RequestError

UTC = dt.timezone.utc


def signature(**types: Any) -> ModelSignature:
    return ModelSignature(inputs=Schema([ColSpec(type_, name) for name, type_ in types.items()]))


def prepared(values: list[Any], type_: Any, source: T.DataType | None = None, **options: Any) -> PreparedFeatures:
    """One feature ``x`` from a column of objects."""
    schema = None if source is None else T.StructType([T.StructField("x", source)])
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object)})
    return prepare_features(frame, signature(x=type_), schema=schema, **options)


def made(values: list[Any], type_: Any, source: T.DataType | None = None, **options: Any) -> list[Any]:
    """What becomes of good values."""
    result = prepared(values, type_, source, **options)
    assert dict(result.errors) == {}
    return result.frame["x"].tolist()


# --- the result -------------------------------------------------------------------------------------------------


def test_the_frame_has_the_model_s_columns_order_and_dtypes_and_the_good_rows_index() -> None:
    frame = pd.DataFrame(
        {
            "note": ["a", "b", "c"],
            "when": ["2026-01-31", "2026-01-31 12:00", "2026-01-31"],
            "SEATS": [2.0, 2.5, math.nan],
            "price": [Decimal("0.10"), None, Decimal("7.25")],
            "carrier": [1, 2, 3],
            "weekend": [1, 0, 1],
        },
        index=["r1", "r2", "r3"],
    )
    types = {"price": "float", "seats": "integer", "weekend": "boolean", "carrier": "string", "when": "datetime"}
    result = prepare_features(frame, signature(**types))
    assert {name: str(dtype) for name, dtype in result.frame.dtypes.items()} == {
        "price": "float32",
        "seats": "int32",
        "weekend": "bool",
        "carrier": "object",
        "when": "datetime64[ns]",
    }
    assert result.frame.to_dict("index") == {
        "r1": {
            "price": float(np.float32(0.1)),
            "seats": 2,
            "weekend": True,
            "carrier": "1",
            "when": pd.Timestamp("2026-01-31"),
        }
    }
    assert dict(result.errors) == {"r2": "seats: not a whole number in range", "r3": "seats: null"}
    assert result.errors.name == "scoring_error"


def test_a_row_names_everything_that_is_wrong_with_it_in_the_model_s_order() -> None:
    frame = pd.DataFrame({"price": ["x", "1", "y"], "seats": [None, "1e3", "2"]})
    result = prepare_features(frame, signature(seats="long", price="double"))
    assert list(result.errors) == [
        "seats: null; price: not a number",
        "seats: not a whole number in range",
        "price: not a number",
    ]


def test_without_a_good_row_the_frame_keeps_its_dtypes() -> None:
    result = prepare_features(pd.DataFrame({"a": ["x"], "b": [1.5]}), signature(a="long", b="float"))
    assert list(map(str, result.frame.dtypes)) == ["int64", "float32"]
    assert len(result.frame) == 0


def test_a_frame_without_rows_is_prepared() -> None:
    result = prepare_features(pd.DataFrame({"a": pd.Series([], dtype="int64")}), signature(a="double"))
    assert (len(result.frame), len(result.errors), str(result.frame["a"].dtype)) == (0, 0, "float64")


def test_the_frame_of_training_passes_its_own_signature_unchanged() -> None:
    frame = pd.DataFrame(
        {
            "a": [1.5, math.nan],
            "b": np.array([1, 2], dtype="int32"),
            "c": [True, False],
            "d": ["x", None],
            "e": pd.to_datetime(["2026-01-31", None]),
        },
        index=[7, 7],
    )
    result = prepare_features(frame, infer_signature(frame))
    pd.testing.assert_frame_equal(result.frame, frame)


# --- types from dtypes ------------------------------------------------------------------------------------------

INFERRED = {
    "tinyint": pd.Series([1], dtype="int8"),
    "smallint": pd.Series([255], dtype="uint8"),
    "int": pd.Series([1, None], dtype="Int32"),
    "bigint": pd.Series([1, None, 2], dtype=object),
    "decimal(20,0)": pd.Series([2**64 - 1], dtype="uint64"),
    "float": pd.Series([1.5], dtype="float16"),
    "double": pd.Series([1, None], dtype="float64"),
    "boolean": pd.Series([True, None], dtype=object),
    "string": pd.Series(["a", math.nan], dtype=object),
    "decimal(5,3)": pd.Series([Decimal("10.25"), Decimal("0.125"), None]),
    "date": pd.Series([dt.date(2026, 1, 31), None]),
    "timestamp_ntz": pd.Series(pd.to_datetime(["2026-01-31"])),
    "timestamp": pd.Series(pd.to_datetime(["2026-01-31"], utc=True)),
    "binary": pd.Series([b"a"]),
    "array<double>": pd.Series([[1.5, None], np.array([1.0])]),
    "struct<a:bigint,b:string>": pd.Series([{"a": 1, "b": "x"}]),
    "void": pd.Series([None, None], dtype=object),
}


@pytest.mark.parametrize("name", INFERRED)
def test_a_column_s_type_comes_from_its_dtype(name: str) -> None:
    found = inferred_type(INFERRED[name])
    assert found is not None
    assert found.simpleString() == name


@pytest.mark.parametrize("values", [["a", None], [7, 8], [0.5, None]])
def test_a_categorical_column_has_the_type_of_its_categories(values: list[Any]) -> None:
    series = pd.Series(values, dtype="category")
    assert inferred_type(series) == inferred_type(pd.Series(series.cat.categories))
    result = prepare_features(pd.DataFrame({"x": series}), signature(x="string"))
    assert [value is None for value in result.frame["x"]] == [value is None for value in values]


@pytest.mark.parametrize("values", [[1, "a"], [2**70], [object()], [pd.Period("2026")]])
def test_a_column_of_no_one_type_is_refused_where_it_is_read(values: list[Any]) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object), "y": 1.0})
    with pytest.raises(PlanError, match="column 'x': its values are not of one Spark type"):
        prepare_features(frame, signature(x="double"))
    assert prepare_features(frame, signature(y="double")).frame["y"].tolist() == [1.0] * len(values)


# --- nulls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN")])
def test_every_missing_value_of_pandas_is_a_null(missing: Any) -> None:
    assert dict(prepared([missing], "long", T.StringType()).errors) == {0: "x: null"}
    assert made(["a", missing], "string", T.StringType()) == ["a", None]


def test_a_nan_is_a_null_in_a_numpy_column_and_a_nan_among_objects() -> None:
    column = pd.DataFrame({"x": [0.5, math.nan]})
    assert prepare_features(column, signature(x="string")).frame["x"].tolist() == ["0.5", None]
    assert made([0.5, math.nan, None], "string") == ["0.5", "NaN", None]


def test_whole_numbers_with_nulls_are_read_from_floats() -> None:
    """As ``toPandas`` makes them."""
    frame, schema = pd.DataFrame({"x": [1.0, math.nan]}), T.StructType([T.StructField("x", T.LongType())])
    result = prepare_features(frame, signature(x="string"), schema=schema)
    assert result.frame["x"].tolist() == ["1", None]


# --- a given schema ---------------------------------------------------------------------------------------------

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=UTC)
NO_ZONE = dt.datetime(2026, 1, 31, 12)  # noqa: DTZ001

MISFITS = (
    (1.5, T.LongType()),
    (128, T.ByteType()),
    (True, T.LongType()),
    ("1", T.LongType()),
    (math.inf, T.IntegerType()),
    (1, T.BooleanType()),
    (1, T.StringType()),
    (Decimal("1.005"), T.DecimalType(12, 2)),
    (Decimal(1000), T.DecimalType(4, 2)),
    (0.5, T.DecimalType(12, 2)),
    (NO_ZONE, T.TimestampType()),
    (NOON, T.TimestampNTZType()),
    (NO_ZONE, T.DateType()),
    ("2026-01-31", T.DateType()),
    ("abc", T.ArrayType(T.StringType())),
    ([1.5], T.ArrayType(T.LongType())),
)


@pytest.mark.parametrize(("value", "source"), MISFITS)
def test_values_that_are_not_of_the_schema_are_refused_without_being_shown(value: Any, source: T.DataType) -> None:
    with pytest.raises(PlanError, match="column 'x': it holds values that are not ") as raised:
        prepared([value], Array(DataType.string) if isinstance(source, T.ArrayType) else "string", source)
    assert raised.value.__cause__ is raised.value.__context__ is None


def test_all_columns_that_are_not_of_the_schema_are_named() -> None:
    frame = pd.DataFrame({"a": [1.5], "b": ["x"], "c": [1]})
    schema = T.StructType([T.StructField(name, T.LongType()) for name in "abc"])
    with pytest.raises(PlanError) as raised:
        prepare_features(frame, signature(a="long", b="long", c="long"), schema=schema)
    assert [problem.thing for problem in raised.value.problems] == ["column 'a'", "column 'b'"]


READ = (
    (np.float32(0.1), T.FloatType(), "0.1"),
    (np.int8(3), T.ByteType(), "3"),
    (7, T.DecimalType(12, 2), "7.00"),
    (Decimal("-0.00"), T.DecimalType(12, 2), "0.00"),
    (Decimal("0.5"), T.DecimalType(38, 38), "0." + "5".ljust(38, "0")),
    (pd.Timestamp("2026-01-31"), T.DateType(), "2026-01-31"),
    (pd.Timestamp("1969-12-31T23:59:59.999999999+02:00"), T.TimestampType(), "1969-12-31 21:59:59.999999"),
    (pd.Timestamp("2026-01-31 12:00:00.5"), T.TimestampNTZType(), "2026-01-31 12:00:00.5"),
    ("x", T.VarcharType(3), "x"),
)


@pytest.mark.parametrize(("value", "source", "text"), READ)
def test_values_are_read_as_the_schema_has_them(value: Any, source: T.DataType, text: str) -> None:
    assert made([value], "string", source) == [text]


def test_rows_maps_and_vectors_are_read_as_to_pandas_makes_them() -> None:
    member = Object([Property("a", DataType.long)])
    assert made([Row(a=1, b=2)], member, T.StructType().add("a", T.LongType()).add("b", T.LongType())) == [{"a": 1}]
    (values,) = made([Vectors.sparse(3, [1], [0.5])], Array(DataType.float), VectorUDT())
    assert (values.dtype, values.tolist()) == (np.dtype("float32"), [0.0, 0.5, 0.0])


def test_a_column_that_the_schema_or_the_frame_does_not_have_is_missing() -> None:
    schema = T.StructType([T.StructField("y", T.LongType())])
    for frame in (pd.DataFrame({"x": [1], "y": [1]}), pd.DataFrame({"y": [1]})):
        with pytest.raises(PlanError, match=r"feature 'x' \(long\): the table has no such column"):
            prepare_features(frame, signature(x="long", y="long"), schema=schema)


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([[1, 2]], columns=["x", "X"])
    with pytest.raises(PlanError, match="more than one column has this name: x, X"):
        prepare_features(frame, signature(x="long"))


# --- values -----------------------------------------------------------------------------------------------------

JAVA = (
    (0.0, "0.0"),
    (-0.0, "-0.0"),
    (100.0, "100.0"),
    (0.001, "0.001"),
    (9999999.0, "9999999.0"),
    (1e7, "1.0E7"),
    (1e10, "1.0E10"),
    (0.00099, "9.9E-4"),
    (1e-5, "1.0E-5"),
    (-1.5e300, "-1.5E300"),
    (1234567.891, "1234567.891"),
    (5e-324, "4.9E-324"),
    (1.7976931348623157e308, "1.7976931348623157E308"),
    (math.inf, "Infinity"),
    (-math.inf, "-Infinity"),
)


def test_the_text_of_a_double_is_java_s() -> None:
    assert made([value for value, _ in JAVA], "string") == [text for _, text in JAVA]


def test_the_text_of_a_float_has_a_float_s_digits() -> None:
    assert made([0.1, 3.4028234663852886e38, 1e-45, 16777216], "string", T.FloatType()) == [
        "0.1",
        "3.4028235E38",
        "1.4E-45",
        "1.6777216E7",
    ]


def test_a_decimal_becomes_a_float_with_one_rounding() -> None:
    """Its nearest double is the middle of two floats."""
    (value,) = made([Decimal("1.0000000596046447753906250000000000001")], "float", T.DecimalType(38, 37))
    assert value == 1 + 2.0**-23


def test_tensors_have_their_inner_shape_in_every_row() -> None:
    tensors = Schema([TensorSpec(np.dtype("float32"), (-1, 2, 1), "image"), TensorSpec(np.dtype("uint8"), (-1,), "n")])
    frame = pd.DataFrame({"image": [[1, 2], [3]], "n": [255, 256]})
    result = prepare_features(frame, ModelSignature(inputs=tensors))
    assert dict(result.errors) == {1: "image: not 2 values of the tensor's type; n: not one value of the tensor's type"}
    assert result.frame["image"][0].tolist() == [[1.0], [2.0]]
    assert (result.frame["image"][0].dtype, result.frame["n"].dtype) == (np.dtype("float32"), np.dtype("uint8"))


# --- policies and levels ----------------------------------------------------------------------------------------


def test_lenient_fills_what_is_missing_and_does_not_fit() -> None:
    frame = pd.DataFrame({"a": [None, "x", "7"]})
    result = prepare_features(frame, signature(a="long", b="double", c="string"), "lenient")
    assert result.frame.to_dict("list") == {"a": [0, 0, 7], "b": [0.0] * 3, "c": [None] * 3}


def test_a_failing_policy_names_every_feature_and_cause_once_and_no_value() -> None:
    frame = pd.DataFrame({"a": ["secret", None, "y"], "b": [1.5, 2.5, None]})
    with pytest.raises(PolicyError) as raised:
        prepare_features(
            frame, signature(a="double", b="long"), {"*": FeaturePolicy(nulls="fail", invalid="fail", absent=Fill(0))}
        )
    assert [f"{problem.thing}: {problem.cause}" for problem in raised.value.problems] == [
        "a: not a number, and the feature's policy is to fail",
        "a: null, and the feature's policy is to fail",
        "b: not a whole number in range, and the feature's policy is to fail",
        "b: null, and the feature's policy is to fail",
    ]
    assert "secret" not in str(raised.value)


def test_given_levels_check_text_and_turn_numbers_into_codes() -> None:
    frame = pd.DataFrame({"city": ["Graz", "Oslo", None], "size": ["30", "10", None]})
    levels = {"city": ["Bath", "Graz"], "size": [10, 30]}
    result = prepare_features(frame, signature(city="string", size="double"), categories=levels)
    assert dict(result.errors) == {1: "city: unknown level"}
    assert result.frame.to_dict("list") == {"city": ["Graz", None], "size": [1.0, -1.0]}


def test_wrong_levels_are_a_wrong_request() -> None:
    with pytest.raises(RequestError, match="categories: city: levels are of one type"):
        prepare_features(pd.DataFrame({"city": ["a"]}), signature(city="string"), categories={"city": ["a", "a"]})


def test_a_signature_without_inputs_is_a_wrong_request() -> None:
    with pytest.raises(PlanError, match="signature: it has no inputs"):
        prepare_features(pd.DataFrame({"a": [1]}), ModelSignature(outputs=Schema([ColSpec("double")])))
