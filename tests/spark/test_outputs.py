"""What a model returns, as columns: every method in one pass, every shape of result, nulls kept."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import AnyType, Array, Map, Object, Property
from pyspark.errors import PythonException
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.svm import SVC

from spark_scoring import PlanError, plan_scoring, score_batch
from tests.models import in_order

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, Row, SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

X = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60.0) % 7})
LABELS = np.array(["a", "b", "c"], dtype=object)[np.arange(60) // 20]
INPUTS = Schema([ColSpec("double", "x"), ColSpec("double", "y")])


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> DataFrame:
    """The training rows, and one that no check lets through."""
    rows = [(int(x), float(x), str(y)) for x, y in X.itertuples(index=False)]
    return spark.createDataFrame([*rows, (60, 0.0, "seven")], "id int, x double, y string").cache()


def save(model: Any, path: Path, flavor: Any = mlflow.sklearn) -> str:
    flavor.save_model(
        model,
        str(path),
        signature=infer_signature(X, model.predict(X)),
        serialization_format="cloudpickle",
        pip_requirements=["mlflow"],
    )
    return str(path)


def save_python(path: Path, outputs: Schema, predict: Any) -> str:
    model = Returns()
    model.result = predict
    signature = ModelSignature(INPUTS, outputs)
    mlflow.pyfunc.save_model(str(path), python_model=model, signature=signature, pip_requirements=["mlflow"])
    return str(path)


class Returns(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A model that returns what a function makes of its input."""

    result: Any

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return self.result(model_input)


def scored(table: DataFrame, uri: str, **options: Any) -> list[Row]:
    """The rows under both stages, which agree; the last one is bad and has nulls throughout."""
    results = [in_order(score_batch(table, uri, stage=s, **options)) for s in ("udf", "map")]
    assert results[0] == results[1]
    *good, bad = results[0]
    assert bad["scoring_error"] == "y: not a number"
    assert all(value is None for value in bad[3:-1])
    assert all(row["scoring_error"] is None for row in good)
    return good


def test_every_method_of_a_classifier_comes_in_one_pass(table: DataFrame, tmp_path: Path) -> None:
    model = RandomForestClassifier(10, random_state=0).fit(X, LABELS)
    rows = scored(table, save(model, tmp_path / "m"), predict=["predict", "predict_proba", "predict_log_proba"])
    assert [row["prediction"] for row in rows] == model.predict(X).tolist()
    assert [row["probability"] for row in rows] == model.predict_proba(X).tolist()
    with np.errstate(divide="ignore"):
        assert [row["log_probability"] for row in rows] == model.predict_log_proba(X).tolist()


def test_probabilities_come_one_column_per_class_on_request(table: DataFrame, tmp_path: Path) -> None:
    model = RandomForestClassifier(10, random_state=0).fit(X, LABELS)
    rows = scored(table, save(model, tmp_path / "m"), predict=["predict_proba"], per_class="columns")
    assert table.columns == ["id", "x", "y"]
    assert list(rows[0].asDict())[3:] == ["probability_a", "probability_b", "probability_c", "scoring_error"]
    assert [[row["probability_a"], row["probability_b"], row["probability_c"]] for row in rows] == model.predict_proba(
        X
    ).tolist()


@pytest.mark.parametrize(("shape", "width"), [("ovr", 3), ("ovo", 3)])
def test_decisions_of_more_than_two_classes_are_arrays(
    table: DataFrame, tmp_path: Path, shape: str, width: int
) -> None:
    model = SVC(decision_function_shape=shape).fit(X, LABELS)
    rows = scored(table, save(model, tmp_path / "m"), predict=["decision_function", "predict"])
    np.testing.assert_allclose([row["decision"] for row in rows], model.decision_function(X), rtol=1e-12)
    assert len(rows[0]["decision"]) == width
    assert [row["prediction"] for row in rows] == model.predict(X).tolist()


def test_decisions_of_two_classes_and_scores_are_numbers(table: DataFrame, tmp_path: Path) -> None:
    binary = SVC().fit(X, LABELS == "a")
    rows = scored(table, save(binary, tmp_path / "m"), predict=["decision_function"])
    np.testing.assert_allclose([row["decision"] for row in rows], binary.decision_function(X), rtol=1e-12)
    forest = IsolationForest(n_estimators=10, random_state=0).fit(X)
    rows = scored(table, save(forest, tmp_path / "f"), predict=["score_samples", "decision_function"])
    assert [row["score"] for row in rows] == forest.score_samples(X).tolist()
    assert [row["decision"] for row in rows] == forest.decision_function(X).tolist()


def test_methods_that_a_model_lacks_are_refused(table: DataFrame, tmp_path: Path) -> None:
    model = MultiOutputClassifier(RandomForestClassifier(3)).fit(X, np.c_[LABELS == "a", LABELS == "b"])
    with pytest.raises(PlanError, match="has no predict_proba whose results are known"):
        plan_scoring(save(model, tmp_path / "m"), table, predict=["predict_proba"])


NONE = [None, 1, 2**53 + 1]
UTC = dt.timezone.utc


def third(frame: pd.DataFrame, values: list[Any]) -> list[Any]:
    return [values[int(x) % 3] for x in frame["x"]]


SCALARS = {
    "long": (third, NONE),
    "integer": (third, [None, -(2**31), 2**31 - 1]),
    "boolean": (third, [None, True, False]),
    "string": (third, [None, "", "Łódź"]),
    "binary": (third, [None, b"", b"\x00\xff"]),
    "float": (third, [0.5, 1.5, -0.0]),
    "double": (third, [0.1, 1e300, 5e-324]),
}


@pytest.mark.parametrize("kind", SCALARS)
def test_scalars_keep_their_nulls_and_digits(kind: str, table: DataFrame, tmp_path: Path) -> None:
    _, values = SCALARS[kind]
    uri = save_python(tmp_path / "m", Schema([ColSpec(kind)]), lambda x: pd.Series(third(x, values), dtype=object))
    rows = scored(table, uri)
    assert [row["prediction"] for row in rows] == [values[i % 3] for i in range(60)]


def test_times_are_instants_in_utc(spark: SparkSession, table: DataFrame, tmp_path: Path) -> None:
    times = [pd.Timestamp("2026-03-29 01:30:00.000001"), pd.NaT, pd.Timestamp("1969-12-31 23:59:59.999999")]
    uri = save_python(tmp_path / "m", Schema([ColSpec("datetime")]), lambda x: pd.Series(third(x, times)))
    frame = score_batch(table, uri)
    assert frame.schema["prediction"].dataType.simpleString() == "timestamp"
    rows = in_order(frame.selectExpr("id", "unix_micros(prediction) AS micros"))
    assert [row["micros"] for row in rows[:3]] == [1774747800000001, None, -1]


NAMED = Schema([ColSpec("double", "twice"), ColSpec("string", "text"), ColSpec("long", "none")])


@pytest.mark.parametrize("form", ["frame", "reordered frame", "dict", "records"])
def test_named_outputs_are_a_struct(form: str, table: DataFrame, tmp_path: Path) -> None:
    def result(x: pd.DataFrame) -> Any:
        frame = pd.DataFrame({"twice": x["x"] * 2, "text": x["x"].astype(str)})
        frame["none"] = pd.Series(third(x, NONE), dtype=object).to_numpy()
        forms = {
            "frame": lambda: frame,
            "reordered frame": lambda: frame[["none", "text", "twice"]],
            "dict": lambda: {name: frame[name].to_numpy() for name in frame},
            "records": lambda: frame.to_dict("records"),
        }
        return forms[form]()

    uri = save_python(tmp_path / "m", NAMED, result)
    assert score_batch(table, uri).schema["prediction"].dataType.simpleString() == (
        "struct<twice:double,text:string,none:bigint>"
    )
    rows = scored(table, uri)
    assert [row["prediction"].asDict() for row in rows] == [
        {"twice": 2.0 * i, "text": f"{i}.0", "none": NONE[i % 3]} for i in range(60)
    ]


POINT = Object([Property("at", DataType.datetime), Property("of", Array(DataType.double), required=False)])
NESTED = {
    "lists": (
        Schema([ColSpec(Array(DataType.double))]),
        "array<double>",
        [[], [1.0, None], None],
        [[], [1.0, None], None],
    ),
    "maps": (Schema([ColSpec(Map(DataType.long))]), "map<string,bigint>", [{"a": 1}, {}, None], [{"a": 1}, {}, None]),
    "objects": (
        Schema([ColSpec(POINT)]),
        "struct<at:timestamp,of:array<double>>",
        [{"at": dt.datetime(2026, 1, 1, tzinfo=UTC), "of": [0.5]}, {"at": None}, None],
        [
            {"at": dt.datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None), "of": [0.5]},
            {"at": None, "of": None},
            None,
        ],
    ),
    "tensors": (
        Schema([TensorSpec(np.dtype("float32"), (-1, 2, 2))]),
        "array<array<float>>",
        [np.eye(2), np.ones((2, 2)), np.zeros((2, 2))],
        [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]],
    ),
    "wide": (
        Schema([TensorSpec(np.dtype("int64"), (-1, 300))]),
        "array<bigint>",
        [np.arange(300), np.arange(300) + 1, np.zeros(300, dtype="int64")],
        [list(range(300)), list(range(1, 301)), [0] * 300],
    ),
}


@pytest.mark.parametrize("kind", NESTED)
def test_lists_maps_objects_and_tensors_are_nested_columns(kind: str, table: DataFrame, tmp_path: Path) -> None:
    outputs, spark_type, values, expected = NESTED[kind]
    uri = save_python(tmp_path / "m", outputs, lambda x: third(x, values))
    assert score_batch(table, uri).schema["prediction"].dataType.simpleString() == spark_type
    table.sparkSession.conf.set("spark.sql.session.timeZone", "UTC")
    rows = [row["prediction"] for row in scored(table, uri)[:3]]
    assert [r.asDict(recursive=True) if hasattr(r, "asDict") else r for r in rows] == expected


@pytest.mark.parametrize(
    ("outputs", "result", "message"),
    [
        (Schema([ColSpec("double")]), "text", "double.*returned"),
        (Schema([ColSpec(Array(DataType.double))]), ["text"], "array<double> per row.*returned a list of . list"),
        (NAMED, {"twice": 1.0, "text": "a"}, "outputs named twice, text, none, the model returned twice, text"),
        (Schema([TensorSpec(np.dtype("float64"), (-1, 2))]), [1.0, 2.0, 3.0], r"returned a list of . list"),
    ],
)
def test_a_result_that_contradicts_the_signature_shows_both(
    table: DataFrame, tmp_path: Path, outputs: Schema, result: Any, message: str
) -> None:
    uri = save_python(tmp_path / "m", outputs, lambda x: [result] * len(x))
    with pytest.raises(PlanError, match=f"(?s){message}"):
        score_batch(table.limit(1), uri)
    with pytest.raises(PythonException, match=f"(?s){message}"):
        score_batch(table.limit(1), uri, rehearse=False).collect()


def test_outputs_without_a_type_are_refused(table: DataFrame, tmp_path: Path) -> None:
    uri = save_python(tmp_path / "m", Schema([ColSpec(AnyType())]), lambda x: x["x"])
    with pytest.raises(PlanError, match="does not say what type its outputs have"):
        plan_scoring(uri, table)


def test_parameters_are_checked_against_the_signature(table: DataFrame, tmp_path: Path) -> None:
    model = Returns()
    model.result = lambda x: x["x"]
    signature = infer_signature(X, X["x"], params={"alpha": 0.5, "names": ["a"]})
    path = str(tmp_path / "m")
    mlflow.pyfunc.save_model(path, python_model=model, signature=signature, pip_requirements=["mlflow"])
    with pytest.raises(PlanError) as raised:
        plan_scoring(path, table, params={"alpha": "much", "nomes": ["b"], "names": "b"})
    assert {p.thing: f"{p.cause} | {p.fix}" for p in raised.value.problems} == {
        "params: alpha": "its value is not a double | give a double",
        "params: nomes": "the model's signature has no such parameter | did you mean names?",
        "params: names": "its value is not a list of string | give a list of string",
    }
    assert plan_scoring(path, table, params={"alpha": 2}).params == (("alpha", 2),)
