"""Which columns a signature can say, and what is told of the others; what an input example may be."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.frame import checked_example, checked_inputs, input_schema, integer_columns

DAY = dt.date(2026, 1, 31)
FINE: dict[str, Any] = {
    "int64": np.arange(3),
    "int8": np.arange(3, dtype="int8"),
    "uint32": np.arange(3, dtype="uint32"),
    "float32": np.arange(3, dtype="float32"),
    "bool": [True, False, True],
    "Int64": pd.array([1, 2, 3], dtype="Int64"),
    "Float64": pd.array([1.5, None, 3], dtype="Float64"),
    "text": ["a", None, "c"],
    "string": pd.array(["a", None, "c"], dtype="string"),
    "bytes": [b"a", b"b", b"c"],
    "category": pd.Categorical(["a", None, "b"]),
    "whole category": pd.Categorical([3, 1, 2]),
    "time": pd.date_range("2026", periods=3),
    "instant": pd.date_range("2026", periods=3, tz="UTC"),
    "list": [[1.0, 2.0], [3.0], []],
    "array": [np.array([1.0]), np.array([2.0]), np.array([3.0])],
    "dict": [{"a": 1}, {"a": 2}, {"a": 3}],
}
REFUSED: dict[str, tuple[Any, str, str]] = {
    "decimal": ([Decimal("1.5"), None, Decimal(2)], "decimal.Decimal objects", "['c'].astype('float64')"),
    "arrow decimal": (
        pd.array([Decimal(1)] * 3, dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
        "decimal.Decimal",
        "float64",
    ),
    "booleans": ([True, None, False], "booleans and nulls as objects", "astype('float64')"),
    "integers": (pd.Series([1, None, 2], dtype=object), "whole numbers as objects", "astype('float64')"),
    "Int64 with a null": (
        pd.array([1, None, 3], dtype="Int64"),
        "Int64 has room for the nulls in the frame; numpy's integers, which scoring gives the model, have none",
        "float64",
    ),
    "boolean with a null": (
        pd.array([True, None, False], dtype="boolean"),
        "numpy's booleans, which scoring",
        "float64",
    ),
    "uint64": (np.arange(3, dtype="uint64"), "unsigned 64-bit numbers", "float64"),
    "date": ([DAY, None, DAY], "datetime.date objects", "pd.to_datetime(X['c'])"),
    "duration": (pd.to_timedelta([1, 2, 3], unit="h"), "durations", "dt.total_seconds()"),
    "complex": (np.array([1j, 2j, 3j]), "complex numbers", "real and imaginary"),
    "mixed": (["a", 1, "b"], "text and numbers", "astype('string')"),
    "several kinds": ([object(), "a", {"a": 1}], "objects of several kinds", "astype('string')"),
    "nothing": ([None, None, None], "nothing but nulls", "drop it"),
    "dates": (pd.Categorical([DAY, None, DAY]), "its levels are dates", "rename_categories(str)"),
    "times": ([dt.time(1), dt.time(2), dt.time(3)], "MLflow knows no type", "astype('string')"),
    "tuples": ([(1, 2), (3, 4), (5, 6)], "objects of several kinds", "astype('string')"),
    "lists of several kinds": ([[1, "a"], [2], ["b"]], "MLflow knows no type", "a number, a time or text"),
    "periods": (pd.period_range("2026", periods=3, freq="D"), "MLflow knows no type", "a number, a time or text"),
    "sparse": (pd.arrays.SparseArray([0.0, 0.0, 1.0]), "it is sparse", "sparse.to_dense()"),
    "intervals": (pd.cut(pd.Series([1.0, 2.0, 3.0]), 2), "levels are not of one kind", "cat.rename_categories(str)"),
}


@pytest.mark.parametrize("name", FINE)
def test_a_column_that_a_signature_can_say(name: str) -> None:
    frame = pd.DataFrame({"c": FINE[name]})
    assert checked_inputs(frame) == []
    assert "Any" not in str(input_schema(frame))


@pytest.mark.parametrize("name", REFUSED)
def test_a_column_that_none_can_say_is_named_with_the_fix(name: str) -> None:
    values, cause, fix = REFUSED[name]
    [problem] = checked_inputs(pd.DataFrame({"fine": [1.0, 2.0, 3.0], "c": values}))
    assert problem.thing == "column 'c'"
    assert cause in problem.cause
    assert fix in problem.fix


def mended(X: pd.DataFrame) -> pd.DataFrame:
    """The frame after the line of code that the message gives was run."""
    [problem] = checked_inputs(X)
    code = problem.fix[problem.fix.index("X[") :]
    exec(code if "=" in code.split("(")[0] else f"X['c'] = {code}", {"X": X, "pd": pd})  # noqa: S102  our own message
    return X


@pytest.mark.parametrize(
    "name", ["decimal", "booleans", "integers", "date", "duration", "mixed", "intervals", "sparse"]
)
def test_the_fix_mends_the_column_and_keeps_its_nulls(name: str) -> None:
    column = pd.Series(["a", 2, 3] if name == "mixed" else REFUSED[name][0]).copy()
    if name != "sparse":
        column.iloc[1] = None
    fixed = mended(pd.DataFrame({"c": column}))
    assert checked_inputs(fixed) == []
    assert fixed["c"].isna().tolist() == [False, name != "sparse", False]


def test_a_column_is_optional_where_any_row_has_a_null() -> None:
    values = [1.0] * 500 + [None]
    frame = pd.DataFrame(
        {"number": values, "text": ["a"] * 500 + [None], "late": [None] * 500 + ["a"], "n": range(501)}
    )
    found = {spec.name: (str(spec.type), spec.required) for spec in input_schema(frame).inputs}
    assert found == {
        "number": ("DataType.double", False), "text": ("DataType.string", False),
        "late": ("DataType.string", False), "n": ("DataType.long", True),
    }  # fmt: skip


def test_an_integer_column_that_may_be_null_when_scored_is_refused() -> None:
    frame = pd.DataFrame({"age": [1, 2], "member": [True, False], "price": [1.0, 2.0]})
    problems = checked_inputs(frame, nullable=["age", "member", "price"])
    assert [p.thing for p in problems] == ["column 'age'", "column 'member'"]
    assert "int64 has no room for the nulls in what is scored" in problems[0].cause
    assert integer_columns(frame) == ["age", "member"]
    [stray] = checked_inputs(frame, nullable=["memmber"])
    assert stray.fix == "did you mean member?"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([[1, 2]], "it is a builtins.list"),
        (pd.DataFrame(), "it has no rows or no columns"),
        (pd.DataFrame([[1.0, 2.0]]), "its name is not text"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), "two columns have this name"),
        (
            pd.DataFrame([[1.0, 2.0]], columns=["a", "A"]),
            "two columns have this name (upper and lower case count as one)",
        ),
        (np.array([1.0, 2.0]), "its shape is (2,)"),
        (np.array([["a"]]), "it is an array of <U1"),
    ],
)
def test_what_is_no_training_frame(data: Any, expected: str) -> None:
    assert expected in str(checked_inputs(data)[0])


def test_the_example_is_the_head_of_the_frame_itself() -> None:
    frame = pd.DataFrame({"a": np.arange(9, dtype="float32"), "c": pd.Categorical(list("abcabcabc"))})
    example = checked_example(frame, None, 5)
    assert example.dtypes.equals(frame.dtypes)
    assert len(example) == 5
    assert len(checked_example(frame, frame.iloc[[7, 8]], 5)) == 2


def test_an_example_rebuilt_from_values_has_lost_its_dtypes() -> None:
    frame = pd.DataFrame({"a": np.arange(3, dtype="float32"), "n": [1, 2, 3], "c": pd.Categorical(list("abc"))})
    rebuilt = pd.DataFrame(frame.to_numpy()[:2], columns=frame.columns)
    with pytest.raises(RegistrationError) as raised:
        checked_example(frame, rebuilt, 5)
    text = str(raised.value)
    assert "a: float32 in training, object in the example" in text
    assert "n: int64 in training, object in the example" in text
    assert "c: category of 3 levels in training, object in the example" in text
    with pytest.raises(RegistrationError, match="it is a dict, the model was trained on a DataFrame"):
        checked_example(frame, {"a": [1.0]}, 5)
    with pytest.raises(RegistrationError, match="the order of the columns: a, n, c in training, c, a, n"):
        checked_example(frame, frame[["c", "a", "n"]], 5)
    with pytest.raises(RegistrationError, match="a: float32 in training, no such column in the example"):
        checked_example(frame, frame[["n", "c"]], 5)
