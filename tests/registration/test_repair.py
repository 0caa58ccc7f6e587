"""``repair_model``: an old model's files again with a whole signature, as a new version."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import cloudpickle
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from spark_scoring import RequestError, plan_scoring, score_batch
from spark_scoring.cli import main
from spark_scoring.model.errors import ModelError
from spark_scoring.model.registry import resolve_model
from tests.models import QUICKLY, frame_in_order
from tests.registering import check_model, register_model, repair_model

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

RNG = np.random.default_rng(8)
X = pd.DataFrame({"a": RNG.normal(size=50), "b": RNG.normal(size=50)})
CARRIER = pd.Categorical(RNG.choice(["AA", "UA"], 50))
Y = 2 * X["a"]
PINS = ["scikit-learn"]
PLAIN: dict[str, Any] = {**QUICKLY, "pip_requirements": PINS}


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> DataFrame:
    frame = X.assign(id=range(50), carrier=CARRIER.astype(str), n=range(50))
    df = spark.createDataFrame(frame).selectExpr("id", "CAST(b AS DECIMAL(12,6)) b", "a", "carrier", "n")
    spark.sql("CREATE SCHEMA IF NOT EXISTS repair")
    df.write.format("delta").saveAsTable("repair.orders")
    return spark.table("repair.orders").coalesce(1)


def log(model: Any, name: str, flavor: Any = mlflow.sklearn, **settings: Any) -> str:
    settings = {**(PLAIN if flavor is mlflow.sklearn else {"pip_requirements": PINS}), **settings}
    info = flavor.log_model(model, name="m", registered_model_name=name, **settings)
    return f"models:/{name}/{info.registered_model_version}"


def test_a_model_without_signature_gets_one_as_a_new_version(
    registry: str, spark: SparkSession, table: DataFrame
) -> None:
    old = log(LinearRegression().fit(X, Y), "main.repair.line", serialization_format="skops")  # MLflow's default
    with pytest.raises(ModelError, match="without a signature"):
        score_batch(table, old)
    before = resolve_model(old).digest
    repaired = repair_model(old, table, alias="champion")
    assert repaired.uri == "models:/main.repair.line/2"
    assert repaired.inputs == ("a: double", "b: double")
    assert repaired.outputs == ("prediction: double",)
    assert resolve_model(old).digest == before
    scored = frame_in_order(score_batch(table, "models:/main.repair.line@champion"))
    np.testing.assert_allclose(scored["prediction"], Y, rtol=1e-9)
    assert {f.code for f in check_model(repaired.uri).findings} == {"unpinned"}
    tags = mlflow.MlflowClient().get_model_version("main.repair.line", "2").tags
    assert tags["spark_scoring.repaired_from"] == "main.repair.line/1"


def test_only_inputs_and_categories(registry: str, table: DataFrame) -> None:
    frame = X.assign(carrier=CARRIER)
    model = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=5, verbose=-1).fit(frame, Y > 0)
    inputs = ModelSignature(inputs=infer_signature(frame).inputs)
    old = log(model, "main.repair.cats", mlflow.lightgbm, signature=inputs)
    repaired = repair_model(old, table)
    assert (repaired.task, repaired.outputs) == ("binary_classification", ("prediction: long",))
    assert repaired.inputs[2] == "carrier: string"
    record = mlflow.models.Model.load(resolve_model(repaired.uri).path).metadata["spark_scoring"]
    assert record["categories"] == {"carrier": ["AA", "UA"]}
    assert "statistics" not in record  # the example is no training data
    scored = frame_in_order(score_batch(table, repaired.uri))
    assert scored["prediction"].tolist() == model.predict(frame).astype(int).tolist()


def test_a_wrong_type_can_be_named(registry: str, spark: SparkSession, table: DataFrame) -> None:
    frame = X[["a"]].assign(n=np.arange(50, dtype="int32"))
    model = LinearRegression().fit(frame, Y)
    old = log(model, "main.repair.ints", signature=infer_signature(frame, Y.to_numpy()))
    holes = table.selectExpr("a", "IF(id = 3, NULL, n) AS n")
    with pytest.raises(RequestError, match=r"feature 'n': 1 of 50 rows: null"):
        repair_model(old, holes)
    repaired = repair_model(old, table, types={"n": "double"})
    assert repaired.inputs == ("a: double", "n: double")


def test_a_type_that_changes_predictions_is_refused(registry: str, spark: SparkSession) -> None:
    frame = pd.DataFrame({"a": 123_456_789.0 + np.arange(400)})
    model = lightgbm.LGBMRegressor(n_estimators=5, min_child_samples=5, verbose=-1).fit(frame, np.arange(400) % 7)
    old = log(model, "main.repair.close", mlflow.lightgbm, signature=infer_signature(frame, model.predict(frame)))
    table = spark.createDataFrame(frame)
    with pytest.raises(
        RequestError, match=r"with this type of a the model predicts other values .* of 400 rows differ"
    ):
        repair_model(old, table, types={"a": "float"})
    assert repair_model(old, table, types={"a": "double"}).version == "2"


def test_what_registration_recorded_is_kept(registry: str, table: DataFrame) -> None:
    model = RandomForestClassifier(3, random_state=0).fit(X, Y > 0)
    first = register_model(model, X, name="main.repair.kept", task="probability", pip_requirements=PINS)
    repaired = repair_model(first.uri, table)
    assert (repaired.task, repaired.flavor, repaired.outputs) == (
        "probability", "sklearn", ("prediction: float64 (-1, 2)",),
    )  # fmt: skip
    record = mlflow.models.Model.load(resolve_model(repaired.uri).path).metadata["spark_scoring"]
    assert json.loads(record["statistics"]).keys() == {"a", "b"}
    assert record["rows"] == 50


def test_a_table_without_the_features_and_a_model_without_a_name(registry: str, table: DataFrame) -> None:
    old = log(LinearRegression().fit(X, Y), "main.repair.short")
    with pytest.raises(RequestError, match="feature 'b': the table has no such column"):
        repair_model(old, table.select("a"))
    logged = mlflow.sklearn.log_model(LinearRegression().fit(X, Y), name="m", **PLAIN).model_uri
    with pytest.raises(RequestError, match="it is not a registered model\n   fix: say under which one: --name"):
        repair_model(logged, table)
    named = repair_model(logged, table.selectExpr("a AS x", "b"), name="main.repair.named", columns={"a": "x"})
    assert named.version == "1"
    bare = LinearRegression().fit(X.to_numpy(), Y)
    with pytest.raises(RequestError, match="neither its signature nor the trained model names its features"):
        repair_model(log(bare, "main.repair.bare"), table)
    with pytest.raises(RequestError, match="the task says -1 for an anomaly"):
        repair_model(old, table, task="anomaly_detection")


def test_the_command_line_repairs(
    registry: str, table: DataFrame, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    old = log(LinearRegression().fit(X, Y), "main.repair.cli")
    with pytest.raises(SystemExit) as stopped:
        main(["repair", old, "--example", "main.repair.orders", "--where", "a > 0", "--column", "b=b * 1", "--json"])
    assert not stopped.value.code
    assert json.loads(capsys.readouterr().out)["uri"] == "models:/main.repair.cli/2"
    record = mlflow.models.Model.load(resolve_model("models:/main.repair.cli/2").path).metadata["spark_scoring"]
    assert record["rows"] == (X["a"] > 0).sum() < len(X)
    with pytest.raises(SystemExit) as stopped:
        main(["repair", old, "--example", "main.repair.orders", "--type", "b"])
    assert stopped.value.code == 2
    assert "--type b: not of the form feature=value" in capsys.readouterr().err


TOLD = "password=hunter2 of customer 4711"


class Teller(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Raises with a value in its text and in the name of its class."""

    when = ""

    def load_context(self, context: Any) -> None:
        if self.when == "loading":
            raise type("Customer4711", (ValueError,), {})(TOLD)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        raise type("Customer4711", (ValueError,), {})(TOLD)


@pytest.mark.parametrize("when", ["loading", "predicting"])
def test_what_the_old_model_raises_is_told_without_its_text(
    registry: str, table: DataFrame, tmp_path: Path, when: str
) -> None:
    teller = Teller()
    teller.when = when
    signature = infer_signature(X, Y.to_numpy())
    mlflow.pyfunc.save_model(tmp_path / "m", python_model=Teller(), signature=signature, pip_requirements=PINS)
    (tmp_path / "m" / "python_model.pkl").write_bytes(cloudpickle.dumps(teller))
    with pytest.raises(RequestError) as raised:
        repair_model(str(tmp_path / "m"), table, name="main.repair.teller")
    assert "4711" not in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert "ValueError" in str(raised.value)


def whole(frame: pd.DataFrame = X, outputs: Any = Y) -> ModelSignature:
    return infer_signature(frame, np.asarray(outputs, "float64"))


def inputs_twice() -> ModelSignature:
    return ModelSignature(Schema([ColSpec("double", name) for name in ("a", "a", "b")]), whole().outputs)


BROKEN: dict[str, dict[str, Any]] = {
    "no signature": {},
    "only inputs": {"signature": ModelSignature(inputs=whole().inputs)},
    "only inputs, and an example that fails": {
        "signature": ModelSignature(inputs=whole().inputs),
        "input_example": X.rename(columns=str.upper),
    },
    "another order": {"signature": whole(X[["b", "a"]])},
    "a foreign input": {"signature": whole(X.assign(id=1))},
    "a missing input": {"signature": whole(X[["a"]])},
    "an input twice": {"signature": inputs_twice()},
    "outputs of any type": {"signature": ModelSignature(whole().inputs, Schema([ColSpec(AnyType())]))},
    "outputs of another type": {"signature": ModelSignature(whole().inputs, Schema([ColSpec("string")]))},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_each_refusal_that_a_repair_answers_names_the_command(
    kind: str, registry: str, table: DataFrame, tmp_path: Path
) -> None:
    """Of a registered model and of a folder; the plan's refusal and the doctor's finding.

    tests/spark/test_registry.py types such commands.
    """
    name = f"main.repair.{kind.replace(' ', '_').replace(',', '')}"
    model, folder = LinearRegression().fit(X, Y), tmp_path / "a model"
    registered = log(model, name, **BROKEN[kind])
    mlflow.sklearn.save_model(model, folder, **PLAIN, **BROKEN[kind])
    for uri in (registered, str(folder)):
        with pytest.raises(RequestError) as raised:
            plan_scoring(uri, table)
        told = [str(raised.value), *(finding.fix for finding in check_model(uri).findings)]
        commands = {found[1] for text in told for found in re.finditer(r"spark-scoring (repair [^;\n]*)", text)}
        assert len(commands) == 1
        command, *words = shlex.split(commands.pop())
        assert (command, words) == (
            "repair",
            [uri, "--example", "TABLE", *(["--name", "NAME"] if "/a " in uri else [])],
        )
        repaired = repair_model(uri, table, name=name)
        scored = frame_in_order(score_batch(table, repaired.uri))
        np.testing.assert_allclose(scored["prediction"], Y, rtol=1e-5)


def test_a_refusal_that_no_repair_answers_names_none(registry: str, table: DataFrame) -> None:
    bare = LinearRegression().fit(X.to_numpy(), Y)
    nameless = ModelSignature(Schema([ColSpec("double"), ColSpec("double")]), whole().outputs)
    with pytest.raises(RequestError, match="inputs without a name") as raised:
        plan_scoring(log(bare, "main.repair.nameless", signature=nameless), table)
    assert "spark-scoring repair" not in str(raised.value)
