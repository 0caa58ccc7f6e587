"""What people reported of training and registering: each is right when it scores, or refused with its cause."""

from __future__ import annotations

import datetime as dt
import importlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import dateutil.tz
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import sklearn
from pyspark.sql.types import DoubleType, StructField, StructType
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

import spark_scoring as ss
from spark_scoring import RegistrationError, VerificationError
from spark_scoring.registration.sample import sample_of
from tests.models import QUICKLY, in_order
from tests.registering import check_model, log_model_with_feature_engineering, register_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

SKLEARN = ["scikit-learn"]


def scored(spark: SparkSession, uri: str, rows: str, types: str) -> list[Any]:
    """Predictions of rows that are written as SQL values, in their order."""
    table = spark.sql(f"SELECT * FROM VALUES {rows} AS t({types})").repartition(3)  # noqa: S608  the test's own
    found = in_order(ss.score_batch(table, uri))
    assert [row["scoring_error"] for row in found] == [None] * len(found)
    return [row["prediction"] for row in found]


@pytest.fixture
def new_york(spark: SparkSession) -> Iterator[None]:
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    yield
    spark.conf.unset("spark.sql.session.timeZone")


# The sample.


def test_a_probability_that_leaves_0_to_1_behind_the_head_is_refused(registry: str) -> None:
    X = pd.DataFrame({"a": np.r_[np.linspace(0.1, 0.9, 5), np.full(5_000, 0.5), 7.0, np.full(5_000, 0.5)]})
    model = LinearRegression().fit(X, X["a"])
    with pytest.raises(RegistrationError, match="some are outside 0 to 1"):
        register_model(model, X, name="main.cases.r1", task="probability")


def test_a_row_whose_prediction_alone_stands_out_is_in_the_sample(registry: str) -> None:
    """No value of its columns is an extreme, and it is 1 of 20,000."""
    X = pd.DataFrame({"a": np.arange(20_000.0) % 97, "b": np.arange(20_000.0) % 89})

    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            return np.where((model_input["a"] == 50) & (model_input["b"] == 60), 3.0, 0.5)

    assert ((X["a"] == 50) & (X["b"] == 60)).sum() <= 3
    with pytest.raises(RegistrationError, match="some are outside 0 to 1"):
        register_model(Model(), X, name="main.cases.r1", task="probability")


def test_a_model_that_returns_text_for_some_rows_is_refused(registry: str) -> None:
    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            return pd.Series([float(i) if i < 7 else "many" for i in model_input["i"]], dtype=object)

    X = pd.DataFrame({"i": np.arange(40.0)})
    with pytest.raises(RegistrationError, match="they are objects"):
        register_model(Model(), X, name="main.cases.r1", task="regression")


def test_the_sample_has_the_extremes_the_nulls_and_every_level_of_a_large_frame() -> None:
    rows = 100_000
    X = pd.DataFrame(
        {"a": np.sin(np.arange(rows)), "k": ["x"] * rows, "t": pd.date_range("2020", periods=rows, freq="min")}
    )
    X["c"] = pd.Categorical.from_codes(np.zeros(rows, dtype=int), [f"level {i}" for i in range(300)])
    X.loc[70_001 : 70_000 + 300, "c"] = [f"level {i}" for i in range(300)]
    X.loc[777, "k"], X.loc[778, "k"], X.loc[779, "k"], X.loc[99_998, "a"] = None, np.nan, "rare", np.nan
    sample = sample_of(X, lambda frame: frame["a"].to_numpy())
    assert len(sample) <= 1000
    assert sample.head(5).equals(X.head(5))
    assert (sample["a"].min(), sample["a"].max(), sample["t"].max()) == (X["a"].min(), X["a"].max(), X["t"].max())
    assert sample["a"].isna().any()
    assert set(sample["c"]) == set(X["c"])
    assert {type(v) for v in sample["k"]} == {str, type(None), float}
    assert "rare" in set(sample["k"])


# Times.


@pytest.mark.parametrize(
    "zone", ["Africa/Abidjan", "Europe/Lisbon", "+02:00", dateutil.tz.gettz("Europe/London")], ids=str
)
def test_times_of_any_other_zone_are_refused(zone: Any) -> None:
    """Some of them have the clock of UTC, and not always had it."""
    X = pd.DataFrame({"t": pd.date_range("2025", periods=9, tz=zone)})
    found = check_model(make_pipeline(hours(), LinearRegression()).fit(X, np.arange(9.0)), X, task="regression")
    assert "time-zone" in {finding.code for finding in found.findings}


def hours() -> Any:
    return FunctionTransformer(lambda d: pd.DataFrame({"h": d["t"].dt.hour.astype(float)}))


def test_times_of_another_zone_are_refused_and_the_fix_scores_right(spark: SparkSession, registry: str) -> None:
    local = pd.to_datetime(["2025-01-01 10:00"] * 5 + ["2025-07-01 10:00"] * 5).tz_localize("Europe/London")
    X = pd.DataFrame({"t": local})
    y = np.arange(10.0)
    model = make_pipeline(hours(), LinearRegression()).fit(X, y)
    with pytest.raises(RegistrationError, match="column 't': its times are of the zone Europe/London") as refused:
        register_model(model, X, name="main.cases.r2", task="regression")
    assert [problem.code for problem in refused.value.problems] == ["time-zone"]
    fix = refused.value.problems[0].fix.split(": ", 1)[1]
    exec(fix, {"X": X})  # noqa: S102  the very line that is proposed
    model = make_pipeline(hours(), LinearRegression()).fit(X, y)
    registered = register_model(model, X, name="main.cases.r2", task="regression", pip_requirements=SKLEARN)
    rows = "(1, TIMESTAMP'2025-01-01 10:00:00 Europe/London'), (2, TIMESTAMP'2025-07-01 10:00:00 Europe/London')"
    assert scored(spark, registered.uri, rows, "id, t") == pytest.approx([2.0, 7.0])


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "GMT", dt.timezone.utc, dateutil.tz.tzutc(), "+00:00"], ids=str)
def test_times_in_utc_by_any_name_are_taken(zone: Any) -> None:
    X = pd.DataFrame({"t": pd.date_range("2025", periods=9, tz=zone)})
    model = make_pipeline(hours(), LinearRegression()).fit(X, np.arange(9.0))
    assert check_model(model, X, task="regression").ok


def hourly(spark: SparkSession) -> Any:
    return spark.range(40).selectExpr("id", "timestamp_seconds(1735740000 + id * 3600) t", "CAST(id AS DOUBLE) z")


@pytest.mark.usefixtures("new_york")
def test_a_session_of_another_zone_is_told(spark: SparkSession, registry: str) -> None:
    X = hourly(spark).select("t", "z").toPandas()
    model = make_pipeline(hours(), LinearRegression()).fit(X, X["z"])
    registered = register_model(model, X, name="main.cases.r3", task="regression", pip_requirements=SKLEARN)
    assert any("the Spark session's zone is America/New_York" in note for note in registered.notes)
    X = ss.training_frame(hourly(spark), ["t", "z"])  # what the note says
    y = X["t"].dt.hour.astype(float)
    registered = register_model(
        make_pipeline(hours(), LinearRegression()).fit(X, y),
        X,
        name="main.cases.r3",
        task="regression",
        pip_requirements=SKLEARN,
    )
    found = ss.score_batch(hourly(spark), registered.uri).selectExpr("prediction", "unix_seconds(t) s").collect()
    assert [row["prediction"] for row in found] == pytest.approx([float(row["s"] // 3600 % 24) for row in found])


@pytest.mark.usefixtures("new_york")
def test_times_of_a_training_set_that_the_session_moved_are_refused(spark: SparkSession, registry: str) -> None:
    client = ss.feature_client()
    spark.sql("CREATE SCHEMA IF NOT EXISTS cases")
    client.create_table(name="main.cases.clock", primary_keys=["id"], df=hourly(spark).select("id", "t"))
    training_set = client.create_training_set(
        df=hourly(spark).selectExpr("id", "z", "z * 2 AS y"),
        feature_lookups=[ss.FeatureLookup("main.cases.clock", "id")],
        label="y",
        exclude_columns=["id"],
    )
    settings = {
        "training_set": training_set,
        "name": "main.cases.r3_lookup",
        "task": "regression",
        "pip_requirements": SKLEARN,
    }
    X = training_set.load_df().toPandas().drop(columns="y")
    model = make_pipeline(hours(), LinearRegression())
    with pytest.raises(RegistrationError, match="in the session's zone America/New_York") as refused:
        log_model_with_feature_engineering(client, model.fit(X, X["z"]), X, **settings)
    assert "training_frame(training_set.load_df()" in refused.value.problems[0].fix
    rows = ss.training_frame(training_set.load_df(), training_set.load_df().columns)
    X, y = rows.drop(columns="y"), rows["t"].dt.hour.astype(float)
    registered = log_model_with_feature_engineering(
        client, make_pipeline(hours(), LinearRegression()).fit(X, y), X, **settings
    )
    found = ss.score_batch(hourly(spark).select("id", "z"), registered.uri).select("id", "prediction").collect()
    wanted = {i: float((1735740000 // 3600 + i) % 24) for i in range(40)}
    assert {row["id"]: row["prediction"] for row in found} == pytest.approx(wanted)


# Nulls.


@pytest.mark.parametrize("null", [None, np.nan, "mixed"], ids=repr)
def test_a_missing_text_is_to_the_model_what_it_was_in_training(spark: SparkSession, registry: str, null: Any) -> None:
    missing = [None, np.nan, None, np.nan, None] if null == "mixed" else [null] * 5
    X = pd.DataFrame({"k": pd.Series([*["a"] * 7, *["b"] * 4, *missing], dtype=object)})
    y = [v not in ("a", "b") for v in X["k"]]
    steps = (SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"), LogisticRegression(C=9))
    model = make_pipeline(*steps).fit(X, y)
    settings: dict[str, Any] = {"name": "main.cases.r4", "task": "binary_classification", "pip_requirements": SKLEARN}
    if null == "mixed":  # a table has one null, and to this model there are two
        with pytest.raises(RegistrationError, match="both None and NaN, which the model tells apart") as refused:
            register_model(model, X, **settings)
        exec(refused.value.problems[0].fix.split(": ", 1)[1], {"X": X})  # noqa: S102  the very line that is proposed
        null = None
        model = make_pipeline(*steps).fit(X, y)
    registered = register_model(model, X, **settings)
    wanted = model.predict(pd.DataFrame({"k": pd.Series(["a", "b", null], dtype=object)})).astype(int).tolist()
    assert scored(spark, registered.uri, "(1, 'a'), (2, 'b'), (3, NULL)", "id, k") == wanted
    assert wanted == ([0, 0, 1] if null is None else [0, 0, 0])


def null_kinds() -> Any:
    """Code of one's own that tells the nulls apart, and the dtypes."""
    numbers = {"NoneType": 10.0, "float": 20.0, "NAType": 30.0}

    def numbered(d: pd.DataFrame) -> Any:
        values = [float(len(v)) if isinstance(v, str) else numbers[type(v).__name__] for v in d["k"]]
        return np.array(values)[:, None] + (100.0 if d["k"].dtype == "string" else 0.0)

    return FunctionTransformer(numbered)


@pytest.mark.parametrize(
    ("null", "dtype", "wanted"),
    [(None, object, 10.0), (np.nan, object, 20.0), (pd.NA, object, 30.0), (None, "string", 130.0)],
    ids=["None", "NaN", "NA", "string"],
)
def test_code_of_ones_own_sees_the_null_of_training(
    spark: SparkSession, registry: str, null: Any, dtype: Any, wanted: float
) -> None:
    X = pd.DataFrame({"k": pd.Series(["a", "bb", null, "a"] * 5, dtype=dtype)})
    step = null_kinds()
    model = make_pipeline(step, LinearRegression()).fit(X, step.transform(X)[:, 0])
    registered = register_model(model, X, name="main.cases.own_null", task="regression")
    found = scored(spark, registered.uri, "(1, 'a'), (2, 'bb'), (3, NULL)", "id, k")
    base = 100.0 if dtype == "string" else 0.0
    assert found == pytest.approx([base + 1.0, base + 2.0, wanted])


def test_a_model_without_the_record_is_told_what_a_null_will_be(spark: SparkSession, tmp_path: Path) -> None:
    X = pd.DataFrame({"k": pd.Series(["a", "b", "b"] * 5, dtype=object)})
    model = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(), LogisticRegression())
    model.fit(X, [0, 1, 1] * 5)
    signature = mlflow.models.infer_signature(X, model.predict(X))
    mlflow.sklearn.save_model(model, str(tmp_path / "m"), signature=signature, **QUICKLY)
    notes = ss.plan_scoring(str(tmp_path / "m"), spark.sql("SELECT 'a' AS k").schema).notes
    assert [note for note in notes if "a null reaches the model as NaN" in note]


# What the model needs and does not carry.


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module that only this process's path knows, as a training script's neighbour is."""
    (tmp_path / "my_steps.py").write_text(
        "FACTOR = 1.0\n"
        "class Scaled:\n"
        "    def fit(self, X, y=None): return self\n"
        "    def transform(self, X): return X * FACTOR\n"
        "    def get_params(self, deep=True): return {}\n"
        "    def __sklearn_is_fitted__(self): return True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("my_steps")
    del sys.modules["my_steps"]


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_a_module_that_is_not_logged_along_is_refused_by_name(
    spark: SparkSession, registry: str, numbers: pd.DataFrame, script: Any, factor: float
) -> None:
    script.FACTOR = factor
    model = make_pipeline(script.Scaled(), LinearRegression()).fit(numbers, numbers["a"] * 2)
    settings: dict[str, Any] = {"name": "main.cases.r5", "task": "regression", "verify": "apart"}
    if factor == 1.0:
        with pytest.raises(VerificationError, match="it needs the module my_steps, which it does not carry") as refused:
            register_model(model, numbers, pip_requirements=SKLEARN, **settings)
        place = script.__file__
        assert f"options={{'code_paths': [{place!r}]}}" in refused.value.problems[0].fix
    options = {"code_paths": [script.__file__]}
    if factor == 3.0:  # set at run time, which nothing carries
        with pytest.raises(VerificationError, match="100 of 100 rows differ"):
            register_model(model, numbers, options=options, pip_requirements=SKLEARN, **settings)
        return
    registered = register_model(model, numbers, options=options, pip_requirements=SKLEARN, **settings)
    assert "in a process of its own" in registered.verified
    assert scored(spark, registered.uri, "(1, 1.5D, 0D)", "id, a, b") == pytest.approx([3.0])


def test_a_setting_of_the_training_script_is_carried(spark: SparkSession, registry: str, numbers: pd.DataFrame) -> None:
    X = numbers.mask(numbers > 2)
    steps = (SimpleImputer(), FunctionTransformer(lambda d: d[["b"]]), LinearRegression())
    with sklearn.config_context(transform_output="pandas"):
        model = make_pipeline(*steps).fit(X, numbers["b"] * 3)
        registered = ss.register_model(model, X, name="main.cases.r6", task="regression", pip_requirements=SKLEARN)
        wanted = model.predict(pd.DataFrame({"a": [1.0], "b": [2.0]}))
    assert scored(spark, registered.uri, "(1, 1D, 2D)", "id, a, b") == pytest.approx(wanted)


def ending(how: str) -> Any:
    """A model that ends the process that loads it, but for the one that has trained it."""

    class Ending(mlflow.pyfunc.PythonModel):
        def __init__(self) -> None:
            self.home = os.getpid()

        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            if os.getpid() != self.home:
                if how == "exit":
                    sys.exit(0)
                if how == "_exit":
                    os._exit(0)
                os.kill(os.getpid(), signal.SIGKILL)
            return model_input["a"]

    return Ending()


@pytest.mark.parametrize(
    ("how", "told"), [("exit", "ProcessEndError"), ("_exit", "ProcessEndError"), ("kill", r"signal 9 \(SIGKILL\)")]
)
def test_a_model_that_ends_its_process_is_refused_and_what_was_logged_is_marked(
    registry: str, numbers: pd.DataFrame, how: str, told: str
) -> None:
    with pytest.raises(VerificationError, match=told) as refused:
        ss.register_model(ending(how), numbers, name="main.cases.ends", task="regression", pip_requirements=["mlflow"])
    left = refused.value.problems[-1]
    run = mlflow.get_run(left.thing.removeprefix("run "))
    assert run.info.status == "FAILED"
    assert "loaded back, it ended in" in run.data.tags["spark_scoring.refused"]
    (model,) = mlflow.search_logged_models(
        [run.info.experiment_id], output_format="list", filter_string=f"source_run_id = '{run.info.run_id}'"
    )
    assert str(model.status) == "FAILED"
    exec(left.fix.removesuffix(" removes it"), {"mlflow": mlflow})  # noqa: S102  the very line that is proposed
    assert mlflow.get_run(run.info.run_id).info.lifecycle_stage == "deleted"
    with pytest.raises(mlflow.MlflowException):
        mlflow.MlflowClient().get_registered_model("main.cases.ends")


def test_in_a_run_of_the_callers_own_the_logged_model_is_marked(registry: str, numbers: pd.DataFrame) -> None:
    model = make_pipeline(FunctionTransformer(lambda d: d - d.mean()), LinearRegression()).fit(numbers, numbers["a"])
    with mlflow.start_run() as run, pytest.raises(VerificationError) as refused:
        register_model(model, numbers, name="main.cases.mine", task="regression", pip_requirements=SKLEARN)
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"
    left = refused.value.problems[-1]
    assert left.thing.startswith("logged model m-")
    exec(left.fix.removesuffix(" removes it"), {"mlflow": mlflow})  # noqa: S102  the very line that is proposed


# A row's result depends on others.


def by_batch(d: pd.DataFrame) -> pd.DataFrame:
    return d - d.mean()


def by_neighbour(d: pd.DataFrame) -> pd.DataFrame:
    return d.assign(a=d.groupby("g")["a"].shift().fillna(0.0))


def by_order(d: pd.DataFrame) -> pd.DataFrame:
    return d.assign(a=pd.Series(np.sort(d["a"].to_numpy()), index=d.index))


@pytest.mark.parametrize("step", [by_batch, by_neighbour, by_order])
def test_a_result_that_depends_on_other_rows_is_refused(registry: str, numbers: pd.DataFrame, step: Any) -> None:
    """In the head, no two rows are of one group."""
    X = numbers.assign(g=np.arange(100.0) % 50)
    model = make_pipeline(FunctionTransformer(step), LinearRegression()).fit(X, step(X)["a"])
    with pytest.raises(VerificationError, match=r"another result when it is given other rows|on rows together"):
        register_model(model, X, name="main.cases.r7", task="regression", pip_requirements=SKLEARN)


# Levels.


def test_an_encoder_settles_the_levels_of_a_pandas_category(spark: SparkSession, registry: str) -> None:
    ordered = pd.Categorical(["lo", "mid", "hi", "lo"] * 5, categories=["lo", "mid", "hi"], ordered=True)
    unused = pd.Categorical(["lo", "mid", "hi", "lo"] * 5, categories=["none", "hi", "lo", "mid"])
    missing = pd.Categorical(["lo", None, "hi", "lo"] * 5, categories=["hi", "lo"])
    y = [1.0, 2.0, 3.0, 1.0] * 5
    filled = SimpleImputer(strategy="constant", fill_value="mid")
    for column, steps in (
        (ordered, (OneHotEncoder(),)),
        (unused, (OneHotEncoder(),)),
        (ordered, (OrdinalEncoder(), OneHotEncoder())),
        (missing, (filled, OneHotEncoder())),
    ):
        X = pd.DataFrame({"c": column})
        model = make_pipeline(*steps, LinearRegression()).fit(X, y)
        registered = register_model(model, X, name="main.cases.r8", task="regression", pip_requirements=SKLEARN)
        middle = "NULL" if column is missing else "'mid'"
        found = scored(spark, registered.uri, f"(1, 'lo'), (2, {middle}), (3, 'hi')", "id, c")
        assert found == pytest.approx([1.0, 2.0, 3.0])


def test_an_ordered_category_stays_ordered(spark: SparkSession, registry: str) -> None:
    X = pd.DataFrame({"c": pd.Categorical(["lo", "mid", "hi", "lo"] * 5, ["lo", "mid", "hi"], ordered=True)})
    above = FunctionTransformer(lambda d: (d["c"] > "lo").astype(float).to_frame())
    model = make_pipeline(above, LinearRegression()).fit(X, [0.0, 1.0, 1.0, 0.0] * 5)
    registered = register_model(model, X, name="main.cases.ordered", task="regression", pip_requirements=SKLEARN)
    found = scored(spark, registered.uri, "(1, 'lo'), (2, 'mid'), (3, 'hi')", "id, c")
    assert found == pytest.approx([0.0, 1.0, 1.0])


def test_levels_that_are_times_are_refused_by_name(registry: str) -> None:
    X = pd.DataFrame({"c": pd.Categorical(pd.to_datetime(["2024-01-01", "2024-01-02"] * 50)), "x": np.arange(100.0)})
    model = make_pipeline(ColumnTransformer([("x", "passthrough", ["x"])]), LinearRegression()).fit(X, X["x"])
    with pytest.raises(RegistrationError, match="column 'c': its levels are times"):
        register_model(model, X, name="main.cases.r11", task="regression")


@pytest.mark.parametrize("levels", [[False, True], [True, False]], ids=repr)
def test_levels_that_are_flags_keep_their_order(spark: SparkSession, registry: str, levels: list[bool]) -> None:
    X = pd.DataFrame({"c": pd.Categorical([False, True, True, False] * 25, levels), "x": np.arange(100.0)})
    y = np.where(X["c"].astype(bool), 5.0, 2.0) + np.where(X["x"] > 50, 1.0, 0.0)
    model = lightgbm.LGBMRegressor(n_estimators=20, min_child_samples=2, verbose=-1).fit(X, y)
    registered = register_model(model, X, name="main.cases.r17", task="regression", pip_requirements=["lightgbm"])
    rows = pd.DataFrame({"c": pd.Categorical([False, True], levels), "x": [3.0, 80.0]})
    found = scored(spark, registered.uri, "(1, false, 3D), (2, true, 80D)", "id, c, x")
    assert found == pytest.approx(model.predict(rows))


class Plain(BaseEstimator, TransformerMixin):
    """A transformer of the test file itself, which a worker cannot import."""

    def fit(self, X: Any, y: Any = None) -> Plain:
        return self

    def transform(self, X: Any) -> Any:
        return X


def test_a_step_of_the_training_script_that_is_imported_is_named(registry: str, numbers: pd.DataFrame) -> None:
    model = make_pipeline(Plain(), LinearRegression()).fit(numbers, numbers["a"])
    with pytest.raises(VerificationError, match=r"it needs the module test_public_cases|it needs the module tests"):
        ss.register_model(model, numbers, name="main.cases.named", task="regression", pip_requirements=SKLEARN)


def test_a_function_of_the_training_script_is_told_to_be_logged_along(tmp_path: Path) -> None:
    path = tmp_path / "model"
    (tmp_path / "train.py").write_text(_TRAINING_SCRIPT)
    subprocess.run([sys.executable, "train.py", str(path)], cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(ss.ModelError, match="__main__") as raised:
        ss.plan_scoring(str(path), StructType([StructField("x", DoubleType())]))
    assert "log both again: code_paths=['own_code.py']" in str(raised.value)


_TRAINING_SCRIPT = """
import sys
import mlflow
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

def half(frame):
    return frame / 2

X = pd.DataFrame({"x": [1.0, 2.0, 4.0]})
model = make_pipeline(FunctionTransformer(half), LinearRegression()).fit(X, X["x"])
signature = mlflow.models.infer_signature(X, model.predict(X))
trusted = ["__main__.half"]
mlflow.sklearn.save_model(
    model, sys.argv[1], signature=signature, skops_trusted_types=trusted, pip_requirements=["scikit-learn"]
)
"""
