"""Models of every flavor over one warehouse table: predictions equal the library's own, under both stages.

Trees agree to the bit, what goes through BLAS within 1e-12. The reference is ``mlflow.pyfunc`` on right-typed
pandas data; for category features, which pyfunc refuses, it is the native model on a right-made Categorical.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import catboost
import cloudpickle
import lightgbm
import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
import xgboost
from mlflow.models import infer_signature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, svm, tree
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from spark_scoring import FeaturePolicy, Fill, score_batch
from tests.models import FEATURES, TABLE, in_order, table_rows, training_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyspark.sql import DataFrame, Row, SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

ROWS = 600
BLAS = 1e-12
CITIES = ("Bath", "Cork", "Graz", "Łódź", "O'Fallon")
SIZES = (10, 20, 30)
NULL_CITY, NEW_CITY, NO_TOTAL, NO_COUNT = 5, 300, 7, 301
"""Rows of the table that differ from the training frame."""

NUMBERS, LABEL = training_frame(ROWS)
NUMBERS["amount"] = np.round(NUMBERS["ratio"].fillna(0) * 10, 2)
FRAME = NUMBERS.assign(
    city=np.array(CITIES, dtype=object)[np.arange(ROWS) % len(CITIES)],
    size=np.array(SIZES)[np.arange(ROWS) % len(SIZES)],
)
FRAME.loc[NULL_CITY, "city"] = None
CATEGORIES = FRAME[["price", "city", "size"]].assign(
    city=pd.Categorical(FRAME["city"], categories=["Łódź", "Graz", "Cork", "Bath", "O'Fallon"]),
    size=pd.Categorical(FRAME["size"], categories=[30, 10, 20]),
)
CATEGORY_LABEL = ((FRAME["city"] == "Graz") | (FRAME["size"] == 20)).astype("int64").to_numpy()
THREE = (FRAME["price"].fillna(0).to_numpy() // 350).astype("int64")


@dataclass(frozen=True)
class Kept:
    """A saved model, what it was fed in training and what it must give for the good rows."""

    path: str
    given: Any
    """Right-typed training data, row by row that of the table."""
    expected: Callable[[Any], Any]
    bad: dict[int, str] = field(default_factory=dict)
    """Rows that cannot be scored, and why."""
    tolerance: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Saver:
    """Saves models under one folder, with no look for requirements, which takes seconds each."""

    folder: Path

    def save(self, flavor: Any, model: Any, signature: Any, **options: Any) -> str:
        path = str(self.folder / "model")
        if flavor.__name__ == "mlflow.sklearn":
            options = {"serialization_format": "cloudpickle", **options}
        if flavor is mlflow.pyfunc:
            flavor.save_model(path, python_model=model, signature=signature, pip_requirements=["mlflow"], **options)
        elif flavor.__name__ == "mlflow.onnx":
            flavor.save_model(model, path, signature=signature, pip_requirements=["onnxruntime"], **options)
        else:
            flavor.save_model(model, path, signature=signature, pip_requirements=["mlflow"], **options)
        return path

    def plain(self, flavor: Any, model: Any, frame: pd.DataFrame, result: Any = None, tolerance: float = 0.0) -> Kept:
        """A model on a frame that pyfunc takes."""
        signature = infer_signature(frame, model.predict(frame) if result is None else result)
        path = self.save(flavor, model, signature)
        bad = {row: f"{name}: null" for row, name in NULLS.items() if name in frame}
        return Kept(path, frame, mlflow.pyfunc.load_model(path).predict, bad, tolerance)


NULLS = {NO_TOTAL: "total", NO_COUNT: "count"}


def fitted(estimator: Any, label: Any = LABEL, frame: pd.DataFrame = NUMBERS) -> Any:
    return make_pipeline(SimpleImputer(), StandardScaler(), estimator).fit(frame, label)


def in_sklearn(estimator: Any, label: Any = LABEL, tolerance: float = 0.0) -> Callable[[Saver], Kept]:
    return lambda saver: saver.plain(mlflow.sklearn, fitted(estimator, label), NUMBERS, tolerance=tolerance)


def on_numbers(train: Callable[[pd.DataFrame, Any], Any], flavor: Any, label: Any = THREE) -> Callable[[Saver], Kept]:
    return lambda saver: saver.plain(flavor, train(NUMBERS, label), NUMBERS)


def on_categories(
    train: Callable[[pd.DataFrame, Any], Any], flavor: Any, predict: Any = None, **options: Any
) -> Callable[[Saver], Kept]:
    """A model on pandas categories; unseen values are bad rows, nulls are missing."""

    def keep(saver: Saver) -> Kept:
        model = train(CATEGORIES, CATEGORY_LABEL)
        native = model.predict if predict is None else lambda x: predict(model, x)
        example = CATEGORIES.assign(city=FRAME["city"], size=FRAME["size"].astype("int64"))
        path = saver.save(flavor, model, infer_signature(example, native(CATEGORIES)))
        return Kept(path, CATEGORIES, native, {NEW_CITY: "city: unknown level"}, options=options)

    return keep


def lightgbm_booster(frame: pd.DataFrame, label: Any) -> Any:
    return lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(frame, label), 20)


def xgboost_booster(frame: pd.DataFrame, label: Any) -> Any:
    data = xgboost.DMatrix(frame, label, enable_categorical=True)
    return xgboost.train({"objective": "binary:logistic"}, data, 20)


def native_xgboost(model: Any, frame: pd.DataFrame) -> Any:
    return model.predict(xgboost.DMatrix(frame, enable_categorical=True))


def plain_xgboost_booster(saver: Saver) -> Kept:
    model = xgboost_booster(NUMBERS, LABEL)
    return saver.plain(mlflow.xgboost, model, NUMBERS, native_xgboost(model, NUMBERS))


def encoded(unknown: str) -> Callable[[Saver], Kept]:
    """Text through encoders in the model: one that raises on unknown values, one that does not."""

    def keep(saver: Saver) -> Kept:
        if unknown == "error":
            text: Any = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
        else:
            text = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        columns = ColumnTransformer([("text", text, ["city"]), ("numbers", SimpleImputer(), ["price", "ratio"])])
        frame = FRAME[["price", "ratio", "city"]].assign(city=FRAME["city"].replace({None: np.nan}))
        model = make_pipeline(columns, ensemble.RandomForestClassifier(10, random_state=0)).fit(frame, LABEL)
        bad = {NEW_CITY: "city: unknown level"} if unknown == "error" else {}
        kept = saver.plain(mlflow.sklearn, model, frame)
        given = frame.copy()
        given.loc[NEW_CITY, "city"] = "Oslo"
        return Kept(kept.path, frame if bad else given, model.predict, bad)

    return keep


def coded(saver: Saver) -> Kept:
    """Codes made by pandas in training, -1 for a missing value; the levels come from the request."""
    levels = list(CATEGORIES["city"].cat.categories)
    frame = FRAME[["price"]].assign(city=CATEGORIES["city"].cat.codes.astype("int32"))
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1)
    model.fit(frame, CATEGORY_LABEL, categorical_feature=["city"])
    path = saver.save(mlflow.lightgbm, model, infer_signature(frame, model.predict(frame)))
    expected = mlflow.pyfunc.load_model(path).predict
    return Kept(path, frame, expected, {NEW_CITY: "city: unknown level"}, options={"categories": {"city": levels}})


def statsmodels(kind: Any) -> Callable[[Saver], Kept]:
    def keep(saver: Saver) -> Kept:
        frame = NUMBERS[["amount", "total", "count"]].astype("float64").assign(bias=1.0)
        model = kind(THREE.astype(float), frame).fit()
        kept = saver.plain(mlflow.statsmodels, model, frame)
        given = frame.copy()  # a null stays a null in a double, and in the result
        given.loc[NO_TOTAL, "total"] = np.nan
        given.loc[NO_COUNT, "count"] = np.nan
        return Kept(kept.path, given, kept.expected, tolerance=BLAS, options={"columns": {"bias": "1"}})

    return keep


def cat_boost(saver: Saver) -> Kept:
    """Text that must not be null, and a result of shape (n, 1)."""
    frame = FRAME[["price", "city"]].fillna({"city": "none"})
    model = catboost.CatBoostClassifier(iterations=20, verbose=False, cat_features=["city"], allow_writing_files=False)
    model.fit(frame, THREE)
    filled = {"policy": {"city": FeaturePolicy(nulls=Fill("none"))}}
    given = frame.copy()
    given.loc[NEW_CITY, "city"] = "Oslo"
    kept = saver.plain(mlflow.catboost, model, frame)
    return Kept(kept.path, given, kept.expected, options=filled)


def torch_model(*, columns: bool) -> Callable[[Saver], Kept]:
    """An unnamed float32 matrix: from columns of several types, and from one array column."""

    def keep(saver: Saver) -> Kept:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
        given = NUMBERS[["amount", "total", "member"]].to_numpy(dtype="float32")
        given[:, 1] /= 2**40
        with torch.no_grad():
            result = model(torch.from_numpy(given)).numpy()
        path = saver.save(mlflow.pytorch, model, infer_signature(given, result), serialization_format="pickle")
        parts = "amount, total / 1099511627776D, member"
        sql = f"struct({parts})" if columns else "array(amount, total / 1099511627776D, CAST(member AS double))"
        given[NO_TOTAL, 1] = np.nan
        expected = mlflow.pyfunc.load_model(path).predict
        return Kept(path, given, expected, tolerance=BLAS, options={"columns": {"input": sql}})

    return keep


def onnx_model(saver: Saver) -> Kept:
    """Named float tensors, one of them of two values, and two named results."""
    number = onnx.TensorProto.FLOAT
    info = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("ReduceSum", ["pair", "axis"], ["sum"], keepdims=1),
        onnx.helper.make_node("Mul", ["sum", "scale"], ["product"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [info("pair", number, ["n", 2]), info("scale", number, ["n", 1])],
        [info("sum", number, ["n", 1]), info("product", number, ["n", 1])],
        [onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    given = {
        "pair": NUMBERS[["amount", "member"]].to_numpy(dtype="float32"),
        "scale": NUMBERS[["count"]].to_numpy(dtype="float32"),
    }
    given["scale"][NO_COUNT] = np.nan
    result = {"sum": given["pair"].sum(axis=1, keepdims=True), "product": given["scale"] * 1}
    path = saver.save(mlflow.onnx, model, infer_signature(given, result))
    columns = {"pair": "struct(amount, member)", "scale": "count"}
    loaded = mlflow.pyfunc.load_model(path)

    def expected(data: Any) -> Any:
        out = loaded.predict(data)
        return pd.DataFrame({name: np.ravel(out[name]) for name in ("sum", "product")})

    return Kept(path, given, expected, options={"columns": columns})


class Describes(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Lists, maps and objects in, dicts out."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return [
            {"mean": float(np.mean(row["values"])), "tags": list(row["tags"]), "n": int(row["box"]["n"])}
            for row in model_input.to_dict("records")
        ]


def nested(saver: Saver) -> Kept:
    given = pd.DataFrame(
        {
            "values": [np.array([row.price, row.amount]) for row in NUMBERS.itertuples()],
            "tags": [[city, "x"] for city in FRAME["city"].fillna("none")],
            "box": [{"n": int(n), "inner": [{"q": float(n)}]} for n in FRAME["size"]],
        }
    )
    example = given[1:3].reset_index(drop=True)
    model = Describes()
    path = saver.save(mlflow.pyfunc, model, infer_signature(example, model.predict(None, example)))
    columns = {
        "values": "array(price, amount)",
        "tags": "array(coalesce(city, 'none'), 'x')",
        "box": "named_struct('n', size, 'inner', array(named_struct('q', size)))",
    }
    given["tags"][NEW_CITY][0] = "Oslo"
    return Kept(path, given, lambda x: model.predict(None, x), options={"columns": columns})


class Times(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A datetime in, a datetime out; scaled by a parameter."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return model_input["at"] + pd.Timedelta(hours=1) * (params or {})["hours"]


def times(saver: Saver) -> Kept:
    at = pd.Series(pd.Timestamp("2026-03-29 00:30") + pd.to_timedelta(np.arange(ROWS), "h"), name="at")
    frame = at.dt.floor("us").to_frame()
    model = Times()
    signature = infer_signature(frame, model.predict(None, frame, {"hours": 1}), params={"hours": 1})
    path = saver.save(mlflow.pyfunc, model, signature)
    columns = {"at": "timestamp_seconds(1774744200 + id * 3600)"}
    frame = frame.astype("datetime64[ns]")
    options = {"columns": columns, "params": {"hours": 2}}
    return Kept(path, frame, lambda x: model.predict(None, x, {"hours": 2}), options=options)


class Shouts(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A type hint in place of a signature."""

    def predict(self, model_input: list[str]) -> list[str]:
        return [text.upper() for text in model_input]


def type_hints(saver: Saver) -> Kept:
    path = saver.save(mlflow.pyfunc, Shouts(), None)
    given = FRAME["city"].fillna("none").tolist()
    given[NEW_CITY] = "Oslo"
    options = {"columns": {"input": "coalesce(city, 'none')"}}
    return Kept(path, given, lambda x: Shouts().predict(list(x)), options=options)


class Parameterised(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Adds a parameter, which has a default."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return model_input["amount"] + params["add"]


def parameters(saver: Saver) -> Kept:
    from mlflow.models import ModelSignature

    params = ParamSchema([ParamSpec("add", "double", 0.5)])
    columns = Schema([ColSpec("double", "amount")])
    signature = ModelSignature(columns, Schema([ColSpec("double")]), params)
    path = saver.save(mlflow.pyfunc, Parameterised(), signature)
    return Kept(path, NUMBERS[["amount"]], lambda x: x["amount"] + 0.5)


def names(labels: Any) -> Any:
    return np.array(["low", "high"], dtype=object)[labels]


LOST = {"city": list(CATEGORIES["city"].cat.categories)}
"""XGBoost cuts levels beyond ASCII at the wrong places: they must be given."""
BOOSTED = {"n_estimators": 20, "random_state": 0}
ZOO: dict[str, Callable[[Saver], Kept]] = {
    "logistic regression": in_sklearn(linear_model.LogisticRegression(), tolerance=BLAS),
    "ridge": in_sklearn(linear_model.Ridge(), tolerance=BLAS),
    "sgd": in_sklearn(linear_model.SGDClassifier(random_state=0)),
    "decision tree": in_sklearn(tree.DecisionTreeClassifier(max_depth=5, random_state=0)),
    "random forest": in_sklearn(ensemble.RandomForestClassifier(10, random_state=0, n_jobs=-1)),
    "extra trees": in_sklearn(ensemble.ExtraTreesRegressor(10, random_state=0)),
    "gradient boosting": in_sklearn(ensemble.GradientBoostingRegressor(n_estimators=10, random_state=0)),
    "ada boost": in_sklearn(ensemble.AdaBoostClassifier(n_estimators=10, random_state=0)),
    "isolation forest": in_sklearn(ensemble.IsolationForest(n_estimators=10, random_state=0)),
    "svc": in_sklearn(svm.SVC()),
    "linear svc": in_sklearn(svm.LinearSVC()),
    "neighbours": in_sklearn(neighbors.KNeighborsClassifier()),
    "naive bayes": in_sklearn(naive_bayes.GaussianNB()),
    "network": in_sklearn(
        neural_network.MLPRegressor(hidden_layer_sizes=(5,), max_iter=30, random_state=0, tol=0.5), tolerance=1e-9
    ),
    "clusters": in_sklearn(KMeans(3, n_init=1, random_state=0)),
    "text labels": in_sklearn(ensemble.RandomForestClassifier(5, random_state=0), names(LABEL)),
    "two outputs": in_sklearn(MultiOutputRegressor(tree.DecisionTreeRegressor(max_depth=3)), np.c_[LABEL, THREE]),
    "hist gradient boosting": on_numbers(ensemble.HistGradientBoostingClassifier(max_iter=10).fit, mlflow.sklearn),
    "encoders that raise": encoded("error"),
    "encoders that do not": encoded("ignore"),
    "lightgbm": on_numbers(lightgbm.LGBMClassifier(**BOOSTED, verbose=-1).fit, mlflow.lightgbm),
    "lightgbm regressor": on_numbers(lightgbm.LGBMRegressor(**BOOSTED, verbose=-1).fit, mlflow.lightgbm),
    "lightgbm booster": on_numbers(lightgbm_booster, mlflow.lightgbm, LABEL),
    "lightgbm categories": on_categories(lightgbm.LGBMClassifier(**BOOSTED, verbose=-1).fit, mlflow.lightgbm),
    "lightgbm booster categories": on_categories(lightgbm_booster, mlflow.lightgbm),
    "lightgbm codes": coded,
    "xgboost": on_numbers(xgboost.XGBClassifier(**BOOSTED).fit, mlflow.xgboost),
    "xgboost regressor": on_numbers(xgboost.XGBRegressor(**BOOSTED).fit, mlflow.xgboost),
    "xgboost booster": plain_xgboost_booster,
    "xgboost categories": on_categories(
        xgboost.XGBClassifier(**BOOSTED, enable_categorical=True).fit,
        mlflow.xgboost,
        categories=LOST,
    ),
    "xgboost booster categories": on_categories(xgboost_booster, mlflow.xgboost, native_xgboost, categories=LOST),
    "hist gradient boosting categories": on_categories(
        ensemble.HistGradientBoostingClassifier(max_iter=10).fit, mlflow.sklearn
    ),
    "statsmodels ols": statsmodels(sm.OLS),
    "statsmodels glm": statsmodels(sm.GLM),
    "catboost": cat_boost,
    "torch on columns": torch_model(columns=True),
    "torch on an array": torch_model(columns=False),
    "onnx": onnx_model,
    "lists, maps and objects": nested,
    "times and parameters": times,
    "type hints": type_hints,
    "default parameters": parameters,
}


@pytest.fixture(scope="module")
def warehouse(spark: SparkSession) -> DataFrame:
    """The training rows in a warehouse's types, some of them spoilt."""
    rows = []
    for row, amount, city, size in zip(
        table_rows(NUMBERS[list(FEATURES)]), NUMBERS["amount"], FRAME["city"], FRAME["size"], strict=True
    ):
        rows.append([*row, float(amount), city, int(size)])
    columns = [part.split()[0] for part in f"{TABLE}, amount double, city string, size smallint".split(", ")]
    rows[NO_TOTAL][columns.index("total")] = None
    rows[NO_COUNT][columns.index("count")] = None
    rows[NEW_CITY][columns.index("city")] = "Oslo"
    frame = spark.createDataFrame(rows, f"{TABLE}, amount double, city string, size smallint")
    return frame.repartition(2).cache()


@pytest.mark.parametrize("name", ZOO)
def test_predictions_equal_the_librarys(name: str, warehouse: DataFrame, tmp_path: Path) -> None:
    kept = ZOO[name](Saver(tmp_path))
    good = np.array([row not in kept.bad for row in range(ROWS)])
    expected = rows_of(kept.expected(chosen(kept.given, good)))
    for stage in ("udf", "map"):
        scored = in_order(score_batch(warehouse, kept.path, stage=stage, **kept.options))
        found = {row["id"]: row["scoring_error"] for row in scored if row["scoring_error"] is not None}
        assert found == kept.bad
        results = [row["prediction"] for row, is_good in zip(scored, good, strict=True) if is_good]
        wrong = [(f, e) for f, e in zip(map(plain, results), expected, strict=True) if not close(f, e, kept.tolerance)]
        assert wrong == []


def chosen(given: Any, good: np.ndarray[Any, Any]) -> Any:
    if isinstance(given, dict):
        return {name: values[good] for name, values in given.items()}
    if isinstance(given, list):
        return [value for value, is_good in zip(given, good, strict=True) if is_good]
    return given[good].reset_index(drop=True) if isinstance(given, pd.DataFrame) else given[good]


def rows_of(result: Any) -> list[Any]:
    """A result row by row, as Python has it."""
    if isinstance(result, pd.DataFrame):
        return result.to_dict("records") if result.shape[1] > 1 else result.iloc[:, 0].tolist()
    if isinstance(result, pd.Series):
        return [value.to_pydatetime() if isinstance(value, pd.Timestamp) else value for value in result]
    if isinstance(result, np.ndarray):
        return (result[:, 0] if result.ndim == 2 and result.shape[1] == 1 else result).tolist()
    return list(result)


def plain(value: Row | Any) -> Any:
    return value.asDict() if hasattr(value, "asDict") else value


def close(found: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, dict):
        return set(found) == set(expected) and all(close(found[k], v, tolerance) for k, v in expected.items())
    if isinstance(expected, list):
        return len(found) == len(expected) and all(close(f, e, tolerance) for f, e in zip(found, expected, strict=True))
    if isinstance(expected, float) and np.isnan(expected):
        return found is None or np.isnan(found)
    if tolerance and isinstance(expected, float):
        return abs(found - expected) <= tolerance * max(abs(expected), 1e-300)
    return type(found) is type(expected) and found == expected
