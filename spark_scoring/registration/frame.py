"""The training frame as the model's input: what a signature can say of its columns, and its head as the example.

MLflow turns a whole signature into AnyType where one column has a type that it does not know, and takes any
object for an example. Here each such column is refused by name, with the fix.
"""

from __future__ import annotations

import datetime as dt
import warnings
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.errors import Problem, listed, near_fix
from spark_scoring.model.estimator_kinds import library
from spark_scoring.model.estimators import takes_documents, walk
from spark_scoring.model.levels import given_levels
from spark_scoring.model.signature import model_type
from spark_scoring.model.types import is_untyped
from spark_scoring.registration.errors import RegistrationError, column_fix
from spark_scoring.times import is_utc

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from mlflow.types import Schema

    Inputs = pd.DataFrame | np.ndarray[Any, Any]

_SAMPLED = 100
"""Rows that MLflow infers a plain column's type from; on all of them it takes longer than many a training."""
_AS_FLOAT = "train on floats, which hold nulls as NaN: X[{c}] = X[{c}].astype('float64')"
_AS_TEXT = "make it one type: X[{c}] = X[{c}].astype('string')"
_AS_UTC = "train on UTC, and register that: X[{c}] = X[{c}].dt.tz_convert('UTC').dt.tz_localize(None)"
_AS_TIME = "train on times: X[{c}] = pd.to_datetime(X[{c}])"
_TEXT_LEVELS = "make them text: X[{c}] = X[{c}].cat.rename_categories(str)"
_OF_OBJECTS: dict[str, tuple[str, str]] = {
    "decimal": ("it holds decimal.Decimal objects (a DECIMAL column), with which models cannot count", _AS_FLOAT),
    "boolean": ("it holds booleans and nulls as objects", _AS_FLOAT),
    "integer": ("it holds whole numbers as objects", _AS_FLOAT),
    "floating": ("it holds numbers as objects", _AS_FLOAT),
    "mixed-integer-float": ("it holds numbers as objects", _AS_FLOAT),
    "date": ("it holds datetime.date objects", _AS_TIME),
    "datetime": ("it holds datetime objects", _AS_TIME),
    "empty": ("it holds nothing but nulls", "drop it, or give it a type: X[{c}] = X[{c}].astype('float64')"),
    "mixed-integer": ("it holds text and numbers", _AS_TEXT),
}
"""What pandas finds in a column of objects that no signature can say -> cause and fix."""
_OF_DTYPES: dict[str, tuple[str, str]] = {
    "m": ("it holds durations", "train on seconds: X[{c}] = X[{c}].dt.total_seconds()"),
    "c": ("it holds complex numbers", "train on its real and imaginary parts"),
}
"""Kind of a numpy dtype that no signature can say -> cause and fix."""


def as_frame(model: Any, X: Any) -> Inputs:
    """Texts as a frame of one column, where the model's first step takes texts, one for each row; else X as it is.

    The column has the Series' name, or is called text. A table has columns, and scoring gives such a model the texts.

    Args:
        model: the trained model.
        X: what it was trained on.

    """
    texts = X.tolist() if isinstance(X, np.ndarray) and X.ndim == 1 else X
    if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
        texts = pd.Series(texts, dtype=object)
    if not isinstance(texts, pd.Series) or not _is_texts(texts) or not takes_documents(model):
        given: Inputs = X  # whatever else it is: checked_inputs says so
        return given
    return texts.to_frame(texts.name if isinstance(texts.name, str) and texts.name else "text").reset_index(drop=True)


def checked_inputs(X: Any, *, nullable: Collection[str] = (), model: Any = None) -> list[Problem]:
    """Everything that keeps a training frame (or matrix) from having a signature that scoring can rely on.

    Args:
        X: the frame that the model was trained on, or a 2-D array.
        nullable: columns that may hold nulls when the model scores, although none is in X.
        model: the trained model, which says what it takes.

    """
    if isinstance(X, np.ndarray):
        return list(_matrix_problems(X))
    if not isinstance(X, pd.DataFrame):
        return [_no_frame(X, model)]
    if len(X) and takes_documents(model) and not (X.shape[1] == 1 and _is_texts(X.iloc[:, 0])):
        return [_no_texts(X)]
    names = list(X.columns)
    problems = [
        Problem(f"column {name!r}", "its name is not text", "name the columns before training: X.columns = [...]")
        for name in names
        if not isinstance(name, str)
    ]
    folded = Counter(str(name).lower() for name in names)
    problems += [
        Problem(
            f"column {name!r}",
            "two columns have this name (upper and lower case count as one)",
            "give each its own name",
        )
        for name in dict.fromkeys(n for n in names if folded[str(n).lower()] > 1)
    ]
    if X.empty:
        problems.append(Problem("training frame", "it has no rows or no columns", "give the frame of training"))
    for name in nullable:
        if name not in names:
            near = near_fix(name, map(str, names), what="columns")
            problems.append(Problem(f"nullable: {name}", "the frame has no such column", near or "leave it out"))
    if not problems:
        found = (_column_problem(name, X[name], may_be_null=name in nullable) for name in names)
        problems = [problem for problem in found if problem is not None]
    return problems


def checked_example(X: Inputs, example: Any, rows: int) -> Any:
    """The input example: the head of the training frame, or the one given where it has the frame's columns and dtypes.

    An example that was built anew from values has lost the dtypes, and the signature with them.

    Raises:
        RegistrationError: names every column that differs, both dtypes beside each other.

    """
    head = X.head(rows) if isinstance(X, pd.DataFrame) else X[:rows]
    if example is None:
        return head
    if type(example) is not type(head):
        raise RegistrationError.example_is_other_object(type(example).__name__, type(head).__name__)
    differ = list(_differences(head, example))
    if differ:
        raise RegistrationError.example_differs(differ)
    return example


def input_schema(X: Inputs) -> Schema:
    """MLflow's schema of the training frame: a column is optional where any of its rows has a null."""
    from mlflow.types import ColSpec, Schema

    if not isinstance(X, pd.DataFrame):
        return _inferred(X)
    sampled = _inferred(pd.DataFrame({name: _sampled(X[name]) for name in X.columns}))
    required = {str(name): not X[name].isna().any() for name in X.columns}
    return Schema([ColSpec(spec.type, spec.name, required=required[spec.name]) for spec in sampled.inputs])


def _inferred(X: Inputs) -> Schema:
    from mlflow.models import infer_signature

    with without_hints():
        schema: Schema = infer_signature(X).inputs
    return schema


@contextmanager
def without_hints() -> Iterator[None]:
    """MLflow's hints on integers, which our notes give, and on a missing example: predictions are verified here."""
    with warnings.catch_warnings():
        for hint in (".*integer column", ".*An input example was not provided"):
            warnings.filterwarnings("ignore", message=hint, category=UserWarning)
        yield


def _sampled(column: pd.Series[Any]) -> pd.Series[Any]:
    """What MLflow needs to see of a column: all rows of lists and the like, whose members may differ."""
    if _is_plain(column.dtype):
        return column.head(_SAMPLED).reset_index(drop=True)
    present = column.dropna()
    if str(column.dtype) == "object" and not isinstance(present.iloc[0], str | bytes):
        return present.reset_index(drop=True)
    return present.head(_SAMPLED).reset_index(drop=True)


def _is_plain(dtype: Any) -> bool:
    """Whether numpy's own dtype says all: numbers, flags, times without a zone."""
    return isinstance(dtype, np.dtype) and dtype.kind in "iufbM"


def integer_columns(X: Inputs) -> list[str]:
    """Columns whose type cannot hold a null: of integers and booleans."""
    if not isinstance(X, pd.DataFrame):
        return []
    return [str(name) for name, dtype in X.dtypes.items() if getattr(dtype, "kind", "") in "iub"]


def category_columns(X: Inputs) -> dict[str, list[Any]]:
    """Columns of pandas' category dtype with their levels in order, as plain values."""
    if not isinstance(X, pd.DataFrame):
        return {}
    return {str(name): X[name].cat.categories.tolist() for name, dtype in X.dtypes.items() if is_category(dtype)}


def is_category(dtype: Any) -> bool:
    """Whether it is pandas' category dtype."""
    return isinstance(dtype, pd.CategoricalDtype)


def _no_frame(X: Any, model: Any) -> Problem:
    kind = f"{type(X).__module__}.{type(X).__name__}"
    cause = f"it is a {kind}"
    if kind.startswith("pyspark"):
        fix = "give the pandas frame that the model was trained on: X = spark_scoring.training_frame(df, ...)"
    elif kind.startswith("scipy.sparse"):
        cause += ", and a table's rows are dense: so is what scoring gives the model"
        fix = _dense_fix(model)
    elif isinstance(X, pd.Series):
        cause += ", and scoring gives the model a DataFrame, as a table has columns"
        fix = f"train on a frame, and give that; or {column_fix(str(X.name))}"
    elif hasattr(X, "to_pandas"):
        fix = "give the pandas DataFrame: X.to_pandas()"
    else:
        fix = "give the pandas DataFrame or the 2-D numpy array that the model was trained on"
    return Problem("training frame", cause, fix)


def _dense_fix(model: Any) -> str:
    """What to give in the place of a sparse matrix, which means the same to the model."""
    if any(library(seen.estimator) == "xgboost" for seen in walk(model, ())):
        return (
            "train on X.toarray(), and give that: to XGBoost, what a sparse matrix does not hold is missing, "
            "and not 0 as in a dense one"
        )
    return (
        "give X.toarray(), or that of some rows: X[:1000].toarray(); where a vectorizer made X of texts, "
        "give make_pipeline(vectorizer, model) and the texts"
    )


def _no_texts(X: pd.DataFrame) -> Problem:
    cause = f"the model's first step takes texts, one for each row, and the frame has {X.shape[1]} columns"
    if X.shape[1] == 1:
        cause = "the model's first step takes texts, one for each row, and the frame's column is not of text"
    fix = (
        "give the texts of fit() as a Series: X['<text column>']; for more columns, let a ColumnTransformer choose: "
        "ColumnTransformer([('text', TfidfVectorizer(), '<text column>'), ...])"
    )
    return Problem("training frame", cause, fix)


def _is_texts(column: pd.Series[Any]) -> bool:
    return pd.api.types.infer_dtype(column, skipna=True) == "string" and not is_category(column.dtype)


def documents_note(model: Any, X: Inputs) -> str:
    """What MLflow does otherwise with a model that takes texts; empty for every other one."""
    if not takes_documents(model) or not isinstance(X, pd.DataFrame):
        return ""
    return (
        f"its first step takes texts, and scoring gives it those of {X.columns[0]}; "
        "mlflow.pyfunc gives it a DataFrame, which it takes for one text"
    )


def _matrix_problems(X: np.ndarray[Any, Any]) -> Iterator[Problem]:
    if X.ndim < 2 or not X.size:  # noqa: PLR2004
        yield Problem("training matrix", f"its shape is {X.shape}", "give the array of training, one row per sample")
    if X.dtype.kind not in "fiub":
        fix = "train on a DataFrame, or on an array of numbers: X.astype('float64')"
        yield Problem("training matrix", f"it is an array of {X.dtype}", fix)


def _is_sayable(column: pd.Series[Any]) -> bool:
    """Whether MLflow finds a type for the column."""
    try:
        schema = _inferred(pd.DataFrame({"c": _sampled(column)}))
    except Exception:  # noqa: BLE001  MLflow raises what its type rules and JSON raise
        return False
    return not any(is_untyped(model_type(spec.type)) for spec in schema.inputs)


def _column_problem(name: str, column: pd.Series[Any], *, may_be_null: bool) -> Problem | None:
    """What keeps the column from a type that a signature can say and every row can have."""
    found = type_refusal(column)
    if found is not None:
        cause, fix = found
        code = "time-zone" if zone_of(column.dtype) else "object-column"
        return Problem(f"column {name!r}", f"{cause} (dtype {column.dtype})", fix.replace("{c}", repr(name)), code)
    if getattr(column.dtype, "kind", "") in "iub" and not is_category(column.dtype):
        where = "in the frame" if column.isna().any() else "in what is scored" if may_be_null else None
        if where is not None:
            cause = _no_null(column.dtype, where)
            return Problem(f"column {name!r}", cause, _AS_FLOAT.replace("{c}", repr(name)), "integer-nulls")
    return None


def _no_null(dtype: Any, where: str) -> str:
    """Why an integer or boolean column may not have nulls, though pandas' own types have room for them."""
    if isinstance(dtype, np.dtype):
        return f"{dtype} has no room for the nulls {where}"
    kind = "booleans" if dtype.kind == "b" else "integers"
    return f"{dtype} has room for the nulls {where}; numpy's {kind}, which scoring gives the model, have none"


def type_refusal(column: pd.Series[Any]) -> tuple[str, str] | None:
    """Cause and fix where no signature can say the column's type; ``{c}`` in the fix is its name."""
    dtype = column.dtype
    if is_category(dtype):
        return _category_refusal(column)
    if zone := zone_of(dtype):
        return f"its times are of the zone {zone}, and scoring gives a model times in UTC", _AS_UTC
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if isinstance(dtype, pd.SparseDtype):
        return "it is sparse, and scoring gives the model a dense column", "X[{c}] = X[{c}].sparse.to_dense()"
    if str(dtype) == "uint64":
        return "unsigned 64-bit numbers have no type in a signature", _AS_FLOAT
    if str(dtype) == "object" or kind == "decimal":
        if kind == "mixed" and not _is_nested(column):
            return "it holds objects of several kinds", _AS_TEXT
        found = _OF_OBJECTS.get(kind)
    else:
        found = _OF_DTYPES.get(getattr(dtype, "kind", ""))
    if found is None and not _is_plain(dtype) and not _is_sayable(column):
        return "MLflow knows no type for its values", "make it a number, a time or text (.astype('string'))"
    return found


def zone_of(dtype: Any) -> str:
    """The zone of a time column, where it is not UTC; else empty."""
    if not isinstance(dtype, pd.DatetimeTZDtype):
        return ""
    always = dtype.tz.utcoffset(None)  # of a zone whose offset changes, None
    return "" if always == dt.timedelta(0) or is_utc(str(dtype.tz)) else str(dtype.tz)


def _category_refusal(column: pd.Series[Any]) -> tuple[str, str] | None:
    kind = column.cat.categories.inferred_type
    if kind in ("date", "datetime", "datetime64"):
        return f"its levels are {'dates' if kind == 'date' else 'times'}", _TEXT_LEVELS
    try:
        given_levels(column.cat.categories.tolist(), "the frame")
    except ValueError:
        cause = "its levels are not of one kind that a table can hold: text, whole numbers, numbers, booleans, dates"
        return cause, _TEXT_LEVELS
    return None


def _is_nested(column: pd.Series[Any]) -> bool:
    present = column.dropna()
    return all(isinstance(value, list | np.ndarray | dict) for value in present)


def _differences(head: Inputs, example: Inputs) -> Iterator[str]:
    """Lines that show the training frame's columns and the example's beside each other, where they differ."""
    if not isinstance(head, pd.DataFrame) or not isinstance(example, pd.DataFrame):
        if head.dtype != example.dtype or head.shape[1:] != example.shape[1:]:
            yield f"training {head.dtype} of {head.shape[1:]}, example {example.dtype} of {example.shape[1:]}"
        return
    trained, given = head.dtypes.to_dict(), example.dtypes.to_dict()
    if not len(example):
        yield "the example has no rows"
    for name in [*trained, *(n for n in given if n not in trained)]:
        if trained.get(name) != given.get(name):
            yield f"{name}: {_shown(trained.get(name))} in training, {_shown(given.get(name))} in the example"
    if list(trained) != list(given) and set(trained) == set(given):
        yield f"the order of the columns: {_listed(list(trained))} in training, {_listed(list(given))} in the example"


def _shown(dtype: Any) -> str:
    if dtype is None:
        return "no such column"
    return f"category of {len(dtype.categories)} levels" if is_category(dtype) else str(dtype)


def _listed(names: Sequence[Any]) -> str:
    return listed(map(str, names))
