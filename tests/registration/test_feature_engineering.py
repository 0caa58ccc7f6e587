"""``log_model_with_feature_engineering``: what Databricks would refuse afterwards, or accept and break, is told before.

The client here records its call and logs nothing: what is tested is that no call is made, or which one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression

import spark_scoring as ss
from spark_scoring import RegistrationError
from tests.registering import log_model_with_feature_engineering, register_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NAME = "main.fe.never"
X = pd.DataFrame({"temp": np.linspace(0, 1, 20), "seats": np.linspace(5, 9, 20)})
Y = X["temp"] * 2


class CalledError(Exception):
    """The client's log_model was called."""


@dataclass
class Recorder:
    """A client that goes no further than the call."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def log_model(self, **call: Any) -> None:
        self.calls.append(call)
        raise CalledError


@dataclass
class Spec:
    """The lookups of a training set."""

    input_tables: tuple[str, ...] = ("main.ml.weather",)


@dataclass
class TrainingSet:
    """As a client returns it: a DataFrame, its lookups, the label's name or None."""

    df: DataFrame
    label: str | None = "late"
    feature_spec: Spec = field(default_factory=Spec)

    def load_df(self) -> DataFrame:
        return self.df


@pytest.fixture(scope="module")
def training_set(spark: SparkSession) -> TrainingSet:
    return TrainingSet(spark.createDataFrame([(0.5, 6.0, 1.0)], "temp double, seats double, late double"))


def line() -> LinearRegression:
    return LinearRegression().fit(X, Y)


def refused(training_set: Any, model: Any = None, frame: pd.DataFrame = X, **settings: Any) -> str:
    """The message; and that neither the client nor the registry heard of it."""
    client = Recorder()
    with pytest.raises(RegistrationError) as raised:
        log_model_with_feature_engineering(
            client, model or line(), frame, training_set=training_set, **{"name": NAME, **settings}
        )
    assert client.calls == []
    with pytest.raises(MlflowException):
        mlflow.MlflowClient().get_registered_model(NAME)
    return str(raised.value)


def called(training_set: Any, model: Any = None, **settings: Any) -> dict[str, Any]:
    client = Recorder()
    with pytest.raises(CalledError):
        log_model_with_feature_engineering(
            client, model or line(), X, training_set=training_set, **{"name": NAME, **settings}
        )
    return client.calls[0]


def test_the_call_has_both_halves_of_the_signature(registry: str, training_set: TrainingSet) -> None:
    call = called(training_set, task="regression")
    assert call["flavor"] is mlflow.sklearn
    assert call["training_set"] is training_set
    assert call["infer_input_example"] is True
    assert call["output_schema"] == Schema([ColSpec("double", "prediction")])
    assert call["metadata"]["spark_scoring"]["task"] == "regression"
    assert not {"signature", "input_example", "registered_model_name"} & set(call)


def test_the_alternative_is_a_signature_with_an_example(registry: str, training_set: TrainingSet) -> None:
    signature = infer_signature(X, line().predict(X))
    call = called(training_set, signature=signature, input_example=X.head(3))
    assert call["signature"] is signature
    assert call["input_example"].equals(X.head(3))
    assert not {"infer_input_example", "output_schema"} & set(call)


def test_a_flavor_level_call_where_a_training_set_exists(registry: str, training_set: TrainingSet) -> None:
    with pytest.raises(RegistrationError) as raised:
        register_model(line(), X, name=NAME, task="regression", training_set=training_set)
    assert "trained on features looked up in main.ml.weather" in str(raised.value)
    assert "use log_model_with_feature_engineering" in str(raised.value)


def test_no_training_set(registry: str) -> None:
    assert "without its feature lookups, and could not score from keys" in refused(None, task="regression")


def test_a_signature_alone(registry: str, training_set: TrainingSet) -> None:
    text = refused(training_set, signature=infer_signature(X, Y))
    assert "with a training set the inputs come from it (infer_input_example) and the outputs from the task" in text
    half = ModelSignature(inputs=infer_signature(X).inputs)
    assert "it has no outputs" in refused(training_set, signature=half, input_example=X.head())


def test_no_output_schema_and_no_label(registry: str, spark: SparkSession, training_set: TrainingSet) -> None:
    unlabelled = TrainingSet(spark.createDataFrame([(0.5, 6.0)], "temp double, seats double"), label=None)
    text = refused(unlabelled, IsolationForest(n_estimators=3).fit(X))
    assert "the signature would include only inputs, which Unity Catalog refuses" in text
    assert "the outputs would have the label's type, not that of the predictions" in refused(training_set)
    assert called(unlabelled, IsolationForest(n_estimators=3).fit(X), task="anomaly_detection")["output_schema"]


def test_no_flavor(registry: str, training_set: TrainingSet) -> None:
    class Mean:
        def predict(self, X: Any) -> Any:
            return X.mean(axis=1)

    assert "flavor: none was given, and MLflow has none for a" in refused(training_set, Mean(), task="regression")


def test_an_example_rebuilt_from_values(registry: str, training_set: TrainingSet) -> None:
    frame = X.astype({"temp": "float32"})
    model = LinearRegression().fit(frame, Y)
    rebuilt = pd.DataFrame(frame.to_numpy().tolist(), columns=frame.columns).head()
    signature = infer_signature(frame, model.predict(frame))
    text = refused(training_set, model, frame, signature=signature, input_example=rebuilt)
    assert "temp: float32 in training, float64 in the example" in text


def test_types_that_drop_out_of_the_signature(registry: str, spark: SparkSession) -> None:
    columns = "temp decimal(5,2), seats tinyint, at timestamp_ntz, late decimal(3,0)"
    text = refused(TrainingSet(spark.createDataFrame([], columns)), task="regression")
    assert "training set column 'temp': DECIMAL(5,2) is not a type of a feature or label" in text
    assert "training set column 'seats': TINYINT" in text
    assert "fix: cast it in its table: CAST(`at` AS TIMESTAMP)" in text
    assert "training set column 'late': DECIMAL(3,0)" in text


def test_keys_left_in_and_columns_of_another_frame(registry: str, spark: SparkSession) -> None:
    keyed = TrainingSet(spark.createDataFrame([], "origin string, temp double, seats double, late double"))
    text = refused(keyed, task="regression")
    assert "the model was not trained on its columns origin, which scoring would give it" in text
    assert "exclude_columns=['origin']" in text
    other = TrainingSet(spark.createDataFrame([], "temp double, late double"))
    assert "the training set has no column seats" in refused(other, task="regression")


def test_a_key_where_no_label_was_told(registry: str, spark: SparkSession) -> None:
    keyed = spark.createDataFrame([], "temp double, seats double, flight_id bigint")
    outliers = IsolationForest(n_estimators=3).fit(X)
    text = refused(TrainingSet(keyed, label=None), outliers, task="anomaly_detection")
    assert "the model was not trained on its columns flight_id" in text

    class Silent:
        """Databricks' own tells the label only privately."""

        def load_df(self) -> DataFrame:
            return spark.createDataFrame([], "temp double, seats double, flight_id bigint, late double")

    text = refused(Silent(), task="regression")
    assert "columns flight_id, late, of which one may be the label" in text
    assert "exclude_columns=[all of them but the label]" in text


def test_other_types_and_another_order_than_in_training(registry: str, spark: SparkSession) -> None:
    text = refused(TrainingSet(spark.createDataFrame([], "temp string, seats double, late double")), task="regression")
    assert "training set column 'temp': it is STRING there, and float64 in training" in text
    other = TrainingSet(spark.createDataFrame([], "seats double, temp double, late double"))
    assert "in another order: seats, temp" in refused(other, task="regression")
    signature = infer_signature(X.rename(columns={"temp": "other"}), Y.to_numpy())
    text = refused(other, signature=signature, input_example=X.head())
    assert "its inputs are not the training frame's" in text


def test_outputs_that_the_predictions_contradict(registry: str, training_set: TrainingSet) -> None:
    text = refused(training_set, output_schema=Schema([ColSpec("long")]))
    assert "output schema: it says [long (required)]; the model returned float64 of shape (20,)" in text
    classifier = LogisticRegression().fit(X, X["temp"] > 0.5)
    assert "the task says floating numbers" in refused(training_set, classifier, task="regression")


def test_everything_comes_at_once(registry: str, spark: SparkSession) -> None:
    keyed = TrainingSet(spark.createDataFrame([], "origin string, temp decimal(3,1), seats double, late double"))
    text = refused(keyed, name="main/delay", alias="v1")
    for part in ("model name 'main/delay'", "alias 'v1'", "column 'temp'", "columns origin", "neither task nor"):
        assert part in text


def test_mlflow_hints_at_nothing_that_registration_says_itself(spark: SparkSession, registry: str) -> None:
    spark.sql("CREATE SCHEMA IF NOT EXISTS hints")
    client = ss.feature_client()
    client.create_table(
        name="hints.seats", primary_keys=["id"], df=spark.createDataFrame([(1, 4)], "id int, seats int")
    )
    training_set = client.create_training_set(
        df=spark.createDataFrame([(1, 4.0)], "id int, late double"),
        feature_lookups=[ss.FeatureLookup("hints.seats", "id")],
        label="late",
        exclude_columns=["id"],
    )
    frame = training_set.load_df().toPandas()[["seats"]]
    model = LinearRegression().fit(frame, [4.0])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        registered = log_model_with_feature_engineering(
            client, model, frame, training_set=training_set, name="hints_model", task="regression"
        )
    assert any("a null in seats" in note for note in registered.notes)
    assert not [text for text in (str(one.message) for one in told) if "integer column" in text or "example" in text]
