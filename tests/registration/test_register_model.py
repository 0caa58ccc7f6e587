"""``register_model``: real models into real registries, scored by jobs; mistakes caught before any version is made."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
from mlflow.exceptions import MlflowException
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from spark_scoring import RegistrationError, ScoringJob, VerificationError, run_job, score_batch
from spark_scoring.model.registry import resolve_model
from tests.models import TABLE, in_order, table_rows, training_frame
from tests.needs import in_short
from tests.registering import register_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession

ROWS = 300
PINS = ["scikit-learn==1.0"]
"""Given, so that MLflow does not look for them; what is installed is the environment check's business."""
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Kind:
    """A model to register: how it is made, and what it is for."""

    make: Callable[[pd.DataFrame, Any], Any]
    task: str
    returns: str


KINDS = {
    "logistic": Kind(
        lambda X, y: make_pipeline(SimpleImputer(), LogisticRegression()).fit(X, np.where(y, "late", "ok")),
        "binary_classification",
        "string",
    ),
    "forest": Kind(
        lambda X, y: make_pipeline(SimpleImputer(), RandomForestClassifier(10, random_state=0)).fit(X, y + X["member"]),
        "multiclass_classification",
        "bigint",
    ),
    "lightgbm": Kind(lambda X, y: lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(X, y), "regression", "double"),
    "xgboost": Kind(
        lambda X, y: xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, y), 5), "probability", "double"
    ),
    "outliers": Kind(
        lambda X, _: make_pipeline(SimpleImputer(), IsolationForest(n_estimators=10, random_state=0)).fit(X),
        "anomaly_detection",
        "bigint",
    ),
}


@pytest.fixture(scope="module")
def features() -> pd.DataFrame:
    return training_frame(ROWS)[0]


@pytest.fixture(scope="module")
def label() -> Any:
    return training_frame(ROWS)[1]


@pytest.fixture(scope="module")
def orders(spark: SparkSession) -> str:
    """The features as a warehouse holds them."""
    spark.sql("CREATE SCHEMA IF NOT EXISTS registered")
    frame, _ = training_frame(ROWS)
    spark.createDataFrame(table_rows(frame), TABLE).write.format("delta").saveAsTable("registered.orders")
    return "main.registered.orders"


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """sqlite, and a real server over HTTP."""
    return str(request.getfixturevalue(request.param))


def in_memory(kind: str, model: Any, features: pd.DataFrame) -> list[Any]:
    data = xgboost.DMatrix(features) if kind == "xgboost" else features
    return [v.item() if isinstance(v, np.generic) else v for v in model.predict(data)]


_FIRST = [("logistic", "registry"), ("logistic", "server"), ("lightgbm", "registry"), ("xgboost", "registry")]
_WITH_STORES = [*_FIRST, *(pair for pair in product(KINDS, ("registry", "server")) if pair not in _FIRST)]


@pytest.mark.parametrize(("kind", "store"), in_short(len(_FIRST), _WITH_STORES), indirect=["store"])
def test_each_kind_is_scored_by_a_job_without_a_policy(
    kind: str, store: str, spark: SparkSession, orders: str, features: pd.DataFrame, label: Any
) -> None:
    case, place = KINDS[kind], "http" if store.startswith("http") else "sqlite"
    model = case.make(features, label)
    name = f"main.registered.{kind}"
    experiment = None if place == "sqlite" else "registered"
    registered = register_model(
        model, features, name=name, task=case.task, alias="champion", pip_requirements=PINS,
        experiment=experiment, tracking_uri=store, registry_uri=store,
    )  # fmt: skip
    assert registered.uri == f"models:/{name}/1"
    assert registered.aliases == (("champion", "1"),)
    output = f"main.registered.{kind}_{place}"
    fields = {
        "model": f"models:/{name}@champion",
        "source": {"table": orders},
        "output": {"table": output, "keep": ["id"]},
    }
    report = run_job(ScoringJob.from_dict({**fields, "tracking_uri": store, "registry_uri": store}))
    assert (report.rows_out, report.bad_rows, report.model_version) == (ROWS, 0, "1")
    scored = spark.table(output.removeprefix("main."))
    assert dict(scored.dtypes)["prediction"] == case.returns
    found = [row["prediction"] for row in in_order(scored)]
    if case.returns == "double":
        np.testing.assert_allclose(found, in_memory(kind, model, features), rtol=1e-12)
    else:
        assert found == in_memory(kind, model, features)


def versions(name: str) -> list[str]:
    return sorted(str(v.version) for v in mlflow.MlflowClient().search_model_versions(f"name='{name}'"))


def test_a_model_trained_on_categories_is_scored_from_text(spark: SparkSession, registry: str, frame: Any) -> None:
    y = (frame["seats"] > 4).astype(int)
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, min_child_samples=5).fit(frame, y)
    registered = register_model(
        model, frame, name="main.registered.cats", task="binary_classification", pip_requirements=PINS
    )
    assert "carrier: string" in registered.inputs
    assert "a null in seats will make a bad row" in registered.notes[0]
    table = spark.createDataFrame(frame.astype({"carrier": str}).replace({np.nan: None}))
    scored = score_batch(table, registered.uri).toPandas()
    assert scored["prediction"].tolist() == model.predict(frame).tolist()
    assert (
        score_batch(table.selectExpr("price", "seats", "'XX' carrier"), registered.uri)
        .first()["scoring_error"]
        .startswith("carrier: ")
    )


def test_what_training_knew_is_in_the_metadata(registry: str, frame: pd.DataFrame) -> None:
    y = np.where(frame["seats"] > 4, "big", "small")
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, min_child_samples=5).fit(frame, y)
    registered = register_model(
        model, frame, name="main.registered.meta", task="binary_classification", pip_requirements=PINS
    )
    record = mlflow.models.Model.load(resolve_model(registered.uri).path).metadata["spark_scoring"]
    assert record["task"] == "binary_classification"
    assert record["classes"] == ["big", "small"]
    assert record["dtypes"] == {"price": "float64", "seats": "int64", "carrier": "category"}
    assert record["categories"] == {"carrier": ["UA", "AA", "DL"]}
    statistics = json.loads(record["statistics"])
    price = statistics["price"]
    assert price["nulls"] == pytest.approx(frame["price"].isna().mean())
    assert price["quantiles"] == pytest.approx(np.nanquantile(frame["price"], np.arange(11) / 10))
    assert dict(map(tuple, statistics["carrier"]["levels"])) == pytest.approx(
        frame["carrier"].value_counts(normalize=True).to_dict()
    )


def test_statistics_can_be_left_out_and_identifiers_always_are(registry: str) -> None:
    names = [f"person {i // 2}" for i in range(104)]  # each in two rows
    flags = ["yes", "no"] * 51 + ["Mrs Smith", "Mr Smith"]
    vectors = [np.array([float(i), 1.0]) for i in range(104)]
    X = pd.DataFrame({"name": names, "flag": flags, "vector": vectors, "x": np.arange(104.0)})

    def only_x(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[["x"]]

    model = make_pipeline(FunctionTransformer(only_x), LinearRegression()).fit(X, X["x"])
    settings = {"name": "main.registered.names", "task": "regression", "pip_requirements": PINS}
    with_them = register_model(model, X, **settings)
    record = mlflow.models.Model.load(resolve_model(with_them.uri).path).metadata["spark_scoring"]
    statistics = json.loads(record["statistics"])
    assert statistics["name"] == {"nulls": 0.0, "distinct": 52}
    assert [level for level, _ in statistics["flag"]["levels"]] == ["yes", "no"]
    assert statistics["vector"] == {"nulls": 0.0}
    assert "loading it runs whatever code" in with_them.notes[0]
    without = register_model(model, X, statistics=False, **settings)
    assert "statistics" not in mlflow.models.Model.load(resolve_model(without.uri).path).metadata["spark_scoring"]


def test_the_run_is_named_after_the_version_and_carries_what_was_given(registry: str, numbers: pd.DataFrame) -> None:
    model = LinearRegression().fit(numbers, numbers["a"])
    for version in (1, 2):
        registered = register_model(
            model, numbers, name="main.registered.runs", task="regression", pip_requirements=PINS,
            params={"depth": 3}, metrics={"rmse": 0.5}, tags={"team": "air"},
        )  # fmt: skip
        run = mlflow.get_run(registered.run_id)
        assert run.info.run_name == registered.run_name
        stem, _, stamp = registered.run_name.rpartition("_")
        assert stem == f"runs_LinearRegression_v{version}"
        assert pd.Timestamp(stamp).tzinfo is not None
        assert run.info.status == "FINISHED"
        assert (run.data.params, run.data.metrics["rmse"]) == ({"depth": "3"}, 0.5)
        tags = mlflow.MlflowClient().get_model_version("main.registered.runs", str(version)).tags
        assert {k: tags[k] for k in ("team", "task", "algorithm")} == {
            "team": "air", "task": "regression", "algorithm": "LinearRegression",
        }  # fmt: skip


def test_a_run_of_the_callers_is_used_as_it_is(registry: str, numbers: pd.DataFrame) -> None:
    model = LinearRegression().fit(numbers, numbers["a"])
    with mlflow.start_run(run_name="mine") as run:
        registered = register_model(
            model, numbers, name="main.registered.own", task="regression", pip_requirements=PINS
        )
        assert mlflow.active_run().info.run_id == run.info.run_id
    assert (registered.run_id, registered.run_name) == (run.info.run_id, "mine")


def test_autologging_is_off_meanwhile_and_on_again_after(registry: str, numbers: pd.DataFrame) -> None:
    class Refitting(LinearRegression):
        def predict(self, X: Any) -> Any:
            LinearRegression(positive=True).fit(X, X["a"])  # autologging would log its parameters
            return super().predict(X)

    model = Refitting().fit(numbers, numbers["a"])
    mlflow.sklearn.autolog(silent=True, log_models=False)
    try:
        registered = register_model(
            model, numbers, name="main.registered.auto", task="regression", pip_requirements=PINS, params={"a": 1}
        )
        assert mlflow.get_run(registered.run_id).data.params == {"a": "1"}
        with mlflow.start_run() as run:
            LinearRegression().fit(numbers, numbers["a"])
        assert "fit_intercept" in mlflow.get_run(run.info.run_id).data.params
    finally:
        mlflow.sklearn.autolog(disable=True)


def refused(model: Any, X: Any, **settings: Any) -> str:
    """The message; and that no version and no run came of it."""
    name = settings.setdefault("name", "main.registered.never")
    runs = len(mlflow.search_runs(output_format="list"))
    with pytest.raises(RegistrationError) as raised:
        register_model(model, X, **settings)
    assert len(mlflow.search_runs(output_format="list")) == runs
    with pytest.raises(MlflowException):
        mlflow.MlflowClient().get_registered_model(name or "-")
    return str(raised.value)


def test_everything_that_is_wrong_comes_at_once(registry: str, numbers: pd.DataFrame) -> None:
    model = LinearRegression().fit(numbers, numbers["a"])
    X = numbers.assign(a=numbers["a"].astype(str).map(lambda _: None))
    text = refused(model, X, name="main/ml", task="regresion", alias="v3", flavor="sklear")
    for part in ("model name 'main/ml'", "task 'regresion'", "alias 'v3'", "flavor 'sklear'", "column 'a'"):
        assert part in text
    assert text.startswith("this model cannot be registered: 5 problems")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"registry_uri": "databricks-uc", "name": "delay"}, "it has 1 level(s), Unity Catalog wants three"),
        ({"registry_uri": "databricks-uc", "name": "main.ml.my delay"}, "a part is empty, too long, or holds a space"),
        ({"registry_uri": "uc:http://127.0.0.1:1", "alias": "champion"}, "this registry has no aliases"),
        ({"alias": "latest"}, "latest and v1, v2, ... are reserved"),
        ({"alias": "the champion"}, "aliases are of letters, digits"),
        ({"name": ""}, "model name ''"),
        ({"task": "binary_classification"}, "the task says labels: whole numbers, booleans or text"),
        ({"nullable": ["n"]}, "column 'n': int64 has no room for the nulls in what is scored"),
        ({"categories": {"a": ["x", "x"]}}, "categories: a: levels are of one type"),
        ({"categories": {"c": ["x"]}}, "categories: c: the frame has no such column"),
    ],
)
def test_what_is_refused(registry: str, settings: dict[str, Any], expected: str) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0], "n": [1, 2, 4]})
    model = LinearRegression().fit(X, X["a"])
    assert expected in refused(model, X, **{"task": "regression", **settings})


def test_keys_and_labels_left_in_the_frame_are_named(registry: str, numbers: pd.DataFrame) -> None:
    model = LinearRegression().fit(numbers, numbers["a"])
    text = refused(model, numbers.assign(customer_id=1.0), task="regression")
    assert "trained on other columns: the frame has also customer_id" in text
    assert "in another order" in refused(model, numbers[["b", "a"]], task="regression")
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(numbers, numbers["a"]), 2)
    assert "in another order" in refused(booster, numbers[["b", "a"]], task="regression")


def test_an_example_rebuilt_from_values_is_refused(registry: str, frame: pd.DataFrame) -> None:
    model = lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(frame, frame["seats"] * 1.0)
    rebuilt = pd.DataFrame(frame.to_numpy()[:3], columns=frame.columns)
    text = refused(model, frame, task="regression", input_example=rebuilt)
    assert "price: float64 in training, object in the example" in text
    assert "A frame built anew from values loses its dtypes" in text


def test_a_model_of_no_flavor_is_refused(registry: str, numbers: pd.DataFrame) -> None:
    class Mean:
        def predict(self, X: Any) -> Any:
            return X.mean(axis=1)

    text = refused(Mean(), numbers, task="regression")
    assert "flavor: none was given, and MLflow has none for a " in text
    assert "wrap the model in an mlflow.pyfunc.PythonModel" in text


def test_a_model_that_raises_on_its_frame_is_refused_without_its_values(registry: str, numbers: pd.DataFrame) -> None:
    model = LinearRegression().fit(numbers, numbers["a"])
    text = refused(model, numbers.assign(a=np.nan), task="regression")
    assert "the model raised ValueError on rows of it" in text
    assert "NaN" not in text
    with pytest.raises(RegistrationError) as raised:
        register_model(model, numbers.assign(a=np.nan), name="main.registered.never", task="regression")
    assert "NaN" in str(raised.value.__cause__)


def test_a_logged_model_that_predicts_otherwise_is_not_registered(registry: str, numbers: pd.DataFrame) -> None:
    class Counting(mlflow.pyfunc.PythonModel):
        calls = 0

        def __getstate__(self) -> dict[str, Any]:
            return {}  # what predict needs is not logged with it

        def __init__(self) -> None:
            self.slope = 2.0

        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            return model_input["a"] * getattr(self, "slope", 3.0)

    name = "main.registered.counting"
    with pytest.raises(VerificationError, match="100 of 100 rows differ; no version was registered"):
        register_model(Counting(), numbers, name=name, task="regression", alias="champion", pip_requirements=PINS)
    with pytest.raises(MlflowException):
        mlflow.MlflowClient().get_registered_model(name)
    assert mlflow.active_run() is None
    failed = mlflow.search_runs(output_format="list", max_results=1)[0]
    assert failed.info.status == "FAILED"


def test_arrays_and_inference_params_have_signatures_too(registry: str, numbers: pd.DataFrame) -> None:
    model = LinearRegression().fit(numbers.to_numpy(), numbers["a"])
    settings = {"task": "regression", "pip_requirements": PINS}
    registered = register_model(model, numbers.to_numpy(), name="main.registered.array", **settings)
    assert registered.inputs == ("input: float64 (-1, 2)",)

    class Scaled(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
            return model_input["a"] * (params or {}).get("factor", 1.0)

    scaled = register_model(
        Scaled(), numbers, name="main.registered.scaled", inference_params={"factor": 1.0}, **settings
    )
    signature = mlflow.models.get_model_info(scaled.uri).signature
    assert str(signature.params) == "['factor': double (default: 1.0)]"


def test_probabilities_of_a_classifier_are_its_predict(spark: SparkSession, registry: str, numbers: Any) -> None:
    model = RandomForestClassifier(5, random_state=0).fit(numbers, numbers["a"] > 0)
    registered = register_model(model, numbers, name="main.registered.proba", task="probability", pip_requirements=PINS)
    assert registered.outputs == ("prediction: float64 (-1, 2)",)
    scored = score_batch(spark.createDataFrame(numbers), registered.uri).toPandas()
    np.testing.assert_allclose(np.stack(scored["prediction"]), model.predict_proba(numbers), rtol=1e-12)


def test_predictions_that_are_not_one_for_each_row_are_refused(registry: str, numbers: pd.DataFrame) -> None:
    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            return [1]

    text = refused(Model(), numbers, task="binary_classification")
    assert "the model returned 1 predictions for 100 rows" in text
    assert "ColumnTransformer" in text


def test_codes_of_a_category_are_scored_from_its_levels(spark: SparkSession, registry: str, numbers: Any) -> None:
    codes = np.where(numbers["a"] > 0, 1, np.where(numbers["a"] < -1, -1, 0))
    X = numbers.assign(g=codes)
    model = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, min_child_samples=5).fit(X, codes * 1.0)
    settings = {"task": "regression", "pip_requirements": PINS, "name": "main.registered.codes"}
    registered = register_model(model, X, categories={"g": ["u", "v"]}, **settings)
    words = [("u", "v", None)[code] for code in codes]
    table = spark.createDataFrame(numbers.assign(g=pd.Series(words, dtype=object)))
    scored = score_batch(table, registered.uri).toPandas()
    np.testing.assert_allclose(scored["prediction"], model.predict(X), rtol=1e-12)
    with pytest.raises(RegistrationError, match="numbers that are not codes of 1 levels"):
        register_model(model, X, categories={"g": ["u"]}, **settings)


def test_a_python_model_around_categories_and_times(spark: SparkSession, registry: str, frame: pd.DataFrame) -> None:
    inner = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1, min_child_samples=5).fit(frame, frame["seats"] * 1.0)
    X = frame.assign(at=pd.date_range("2026", periods=len(frame), tz="UTC"))

    class Around(mlflow.pyfunc.PythonModel):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            return self.inner.predict(model_input[["price", "seats", "carrier"]])

    registered = register_model(
        Around(inner), X, name="main.registered.around", task="regression", pip_requirements=PINS
    )
    table = spark.createDataFrame(X.astype({"carrier": str}).replace({np.nan: None}))
    scored = score_batch(table, registered.uri).toPandas()
    np.testing.assert_allclose(scored["prediction"], inner.predict(frame), rtol=1e-12)


class Adding(mlflow.pyfunc.PythonModel):
    """A model that needs its parameters."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any) -> Any:
        return model_input["a"] + params["shift"]


def test_python_models_of_other_kinds(registry: str, numbers: pd.DataFrame) -> None:
    settings = {"task": "regression", "pip_requirements": PINS}
    register_model(Adding(), numbers, name="main.registered.adding", inference_params={"shift": 1.0}, **settings)

    class Stateful(mlflow.pyfunc.PythonModel):
        def load_context(self, context: Any) -> None:
            self.slope = 2.0

        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            return model_input["a"] * self.slope

    register_model(Stateful(), numbers, name="main.registered.stateful", **settings)

    class Hinted(mlflow.pyfunc.PythonModel):
        def predict(self, model_input: list[str]) -> Any:
            return [0.0 for _ in model_input]

    assert "its predict takes list[str] by its type hint" in refused(Hinted(), numbers, task="regression")
    loaded = mlflow.pyfunc.load_model("models:/main.registered.adding/1")
    assert "it is a model that MLflow loaded" in refused(loaded, numbers, task="regression")


def test_a_torch_module(registry: str, numbers: pd.DataFrame) -> None:
    import torch

    X = numbers.astype("float32")
    registered = register_model(
        torch.nn.Linear(2, 1), X, name="main.registered.torch", task="regression", pip_requirements=PINS
    )
    assert (registered.flavor, registered.inputs) == ("pytorch", ("a: float", "b: float"))


def test_predictions_near_zero_are_the_same(registry: str, numbers: pd.DataFrame) -> None:
    model = LinearRegression(fit_intercept=False).fit(numbers, numbers["a"])
    X = numbers.copy()
    X.iloc[:5] = 1e-17
    register_model(model, X, name="main.registered.zero", task="regression", pip_requirements=PINS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"registered_model_name": "main.registered.bypass"}, "options: registered_model_name: register_model sets it"),
        ({"code_pths": ["x"]}, "log_model of the flavor sklearn has no such keyword"),
    ],
)
def test_options_do_not_go_around_the_checks(
    registry: str, numbers: pd.DataFrame, options: dict[str, Any], expected: str
) -> None:
    assert expected in refused(
        LinearRegression().fit(numbers, numbers["a"]), numbers, task="regression", options=options
    )


def test_metadata_of_the_callers_is_kept(registry: str, numbers: pd.DataFrame) -> None:
    registered = register_model(
        LinearRegression().fit(numbers, numbers["a"]), numbers, name="main.registered.more", task="regression",
        pip_requirements=PINS, metadata={"owner": "air"}, metrics={"r": np.float32(0.5)}, alias=None, nullable="a",
    )  # fmt: skip
    metadata = mlflow.models.Model.load(resolve_model(registered.uri).path).metadata
    assert (metadata["owner"], metadata["spark_scoring"]["task"]) == ("air", "regression")
    assert json.loads(json.dumps(registered.to_dict()))["metrics"] == {"r": 0.5}


def test_another_server_is_logged_to_in_its_own_experiment(registry: str, server: str, numbers: pd.DataFrame) -> None:
    model = LinearRegression().fit(numbers, numbers["a"])
    elsewhere = {"tracking_uri": server, "registry_uri": server, "task": "regression", "pip_requirements": PINS}
    register_model(model, numbers, name="main.registered.there", experiment="there", **elsewhere)
    with mlflow.start_run() as run:  # the current experiment is still that of this process
        assert mlflow.get_experiment(run.info.experiment_id).name == "tests"
        with pytest.raises(RegistrationError, match="one is active on another tracking server"):
            register_model(model, numbers, name="main.registered.there", **elsewhere)
    registered = register_model(model, numbers, name="main.registered.there", **elsewhere)
    client = mlflow.MlflowClient(server)
    assert client.get_experiment(client.get_run(registered.run_id).info.experiment_id).name == "Default"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"metrics": {"v:@": 1.0}}, "run: MLflow answered"),
        ({"registry_uri": "http://bob:secret@127.0.0.1:9"}, "registry http://***@127.0.0.1:9"),
        ({"tracking_uri": "sqlite:////proc/no/mlflow.db"}, "tracking server: MLflow answered"),
    ],
)
def test_what_mlflow_says_comes_in_our_words_without_secrets(
    registry: str, numbers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], expected: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    model = LinearRegression().fit(numbers, numbers["a"])
    with pytest.raises(RegistrationError) as raised:
        register_model(model, numbers, name="main.registered.no", task="regression", pip_requirements=PINS, **settings)
    assert expected in str(raised.value)
    assert "secret" not in str(raised.value)


def test_an_alias_that_cannot_be_set_does_not_hide_the_version(
    registry: str, numbers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: Any, **__: Any) -> None:
        msg = "PERMISSION_DENIED"
        raise MlflowException(msg)

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", denied)
    with pytest.raises(VerificationError, match="version 1 was registered, without its alias"):
        register_model(
            LinearRegression().fit(numbers, numbers["a"]), numbers, name="main.registered.denied", task="regression",
            alias="champion", pip_requirements=PINS,
        )  # fmt: skip
    assert versions("main.registered.denied") == ["1"]


def test_a_run_with_other_parameters_is_told_so(registry: str, numbers: pd.DataFrame) -> None:
    model = LinearRegression().fit(numbers, numbers["a"])
    settings = {"name": "main.registered.params", "task": "regression", "pip_requirements": PINS}
    with mlflow.start_run():
        register_model(model, numbers, params={"a": 1}, **settings)
        with pytest.raises(RegistrationError, match="run: MLflow answered"):
            register_model(model, numbers, params={"a": 2}, **settings)


_REGISTER = """
import sys, time
import numpy as np, pandas as pd, mlflow
from sklearn.linear_model import LinearRegression
from spark_scoring import register_model

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("tests")
X = pd.DataFrame({"a": np.arange(9.0)})
model = LinearRegression().fit(X, X["a"] * 2)
for _ in range(3):
    print(register_model(model, X, name=sys.argv[2], task="regression", alias="champion", pip_requirements=[]).version)
"""


@pytest.mark.long
def test_two_jobs_at_once_give_two_versions_and_the_alias_to_the_newer(registry: str, tmp_path: Path) -> None:
    name = "main.registered.race"
    command = [sys.executable, "-c", _REGISTER, registry, name]
    jobs = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment()
        )
        for _ in range(2)
    ]
    made = []
    for job in jobs:
        out, err = job.communicate(timeout=300)
        assert job.returncode == 0, err[-3000:]
        made += [line for line in out.splitlines() if line.isdigit()]
    assert sorted(made) == versions(name) == ["1", "2", "3", "4", "5", "6"]
    assert str(mlflow.MlflowClient().get_model_version_by_alias(name, "champion").version) == "6"


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_an_alias_stays_at_a_newer_version_that_another_job_verified(registry: str) -> None:
    from spark_scoring.registration.versions import move_alias

    client, name = mlflow.MlflowClient(), "main.registered.late"
    X = pd.DataFrame({"a": np.arange(9.0)})
    model = LinearRegression().fit(X, X["a"])
    for _ in range(3):
        register_model(model, X, name=name, task="regression", pip_requirements=PINS)
    assert move_alias(client, name, "champion", "2") == "2"
    assert move_alias(client, name, "champion", "1") == "2"
    assert move_alias(client, name, "champion", "3") == "3"
    assert str(client.get_model_version_by_alias(name, "champion").version) == "3"
