"""The doctor: the right finding for each of many broken models, none on healthy ones; pasted error texts."""

from __future__ import annotations

import importlib
import json
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
from catboost import CatBoostRegressor
from mlflow.models import ModelSignature, infer_signature
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import spark_scoring
from spark_scoring.cli import main
from spark_scoring.registration.findings import CODES
from spark_scoring.registration.pasted import EXAMPLES
from tests.registering import PINS, check_model, register_model

if TYPE_CHECKING:
    from collections.abc import Callable

RNG = np.random.default_rng(5)
X = pd.DataFrame({"a": RNG.normal(size=60), "b": RNG.normal(size=60)})
Y = 2 * X["a"] - X["b"]
FLAGS = (X["a"] > 0).astype(int)
CARRIER = pd.Categorical(RNG.choice(["AA", "DL", "UA"], 60))


def line() -> LinearRegression:
    return LinearRegression().fit(X, Y)


def boosted(frame: pd.DataFrame, **settings: Any) -> lightgbm.LGBMRegressor:
    return lightgbm.LGBMRegressor(n_estimators=3, min_child_samples=5, verbose=-1, **settings).fit(frame, Y)


def saved(folder: Path, model: Any, flavor: Any = mlflow.sklearn, **settings: Any) -> str:
    flavor.save_model(model, folder, **{"pip_requirements": PINS, **settings})
    return str(folder)


def signed(frame: pd.DataFrame, outputs: Any) -> ModelSignature:
    return infer_signature(frame, outputs)


def no_signature(folder: Path) -> str:
    return saved(folder, line())


def only_inputs(folder: Path) -> str:
    return saved(folder, line(), signature=ModelSignature(inputs=infer_signature(X).inputs))


def no_inputs(folder: Path) -> str:
    return saved(folder, line(), signature=ModelSignature(outputs=infer_signature(X, Y).outputs))


def outputs_differ(folder: Path) -> str:
    return saved(folder, line(), signature=signed(X, np.array([1, 2])), input_example=X.head())


def any_type(folder: Path) -> str:
    frame = X.assign(a=[Decimal("1.5")] * 60)
    return saved(folder, line(), signature=signed(frame, Y))


def optional_integer(folder: Path) -> str:
    frame = X.assign(a=pd.array([1, None] * 30, dtype="Int64"))
    return saved(folder, line(), signature=signed(frame, Y))


def plain_integer(folder: Path) -> str:
    frame = X.assign(a=np.arange(60))
    return saved(folder, LinearRegression().fit(frame, Y), signature=signed(frame, Y.to_numpy()))


def categories(folder: Path) -> str:
    frame = X.assign(carrier=CARRIER)
    model = boosted(frame)
    return saved(folder, model, mlflow.lightgbm, signature=signed(frame, model.predict(frame)))


def unknown_levels(folder: Path) -> str:
    frame = X.assign(city=pd.Categorical(RNG.choice(["Łódź", "Zürich"], 60)))
    model = xgboost.XGBRegressor(n_estimators=2, enable_categorical=True).fit(frame, Y)
    return saved(folder, model, mlflow.xgboost, signature=signed(frame, model.predict(frame)))


def key_left_in(folder: Path) -> str:
    frame = X.assign(customer_id=1.0)
    return saved(folder, line(), signature=signed(frame, Y.to_numpy()))


def feature_left_out(folder: Path) -> str:
    return saved(folder, line(), signature=signed(X[["a"]], Y.to_numpy()))


def other_order(folder: Path) -> str:
    model = boosted(X)
    return saved(folder, model, mlflow.lightgbm, signature=signed(X[["b", "a"]], model.predict(X)))


def unpinned(folder: Path) -> str:
    return saved(folder, line(), signature=signed(X, Y.to_numpy()), pip_requirements=["scikit-learn", "skops"])


def pickled(folder: Path) -> str:
    model = make_pipeline(FunctionTransformer(lambda f: f + 1), LinearRegression()).fit(X, Y)
    return saved(folder, model, serialization_format="cloudpickle", signature=signed(X, Y.to_numpy()))


def not_loadable(folder: Path) -> str:
    saved(folder, line(), signature=signed(X, Y.to_numpy()))
    (folder / "model.skops").write_bytes(b"not a model")
    return str(folder)


def another_major(folder: Path) -> str:
    pins = ["scikit-learn==0.24.2", f"skops=={version('skops')}", "pandas==99.1"]
    return saved(folder, line(), signature=signed(X, Y.to_numpy()), pip_requirements=pins)


def example_with_nulls(folder: Path) -> str:
    frame = X.assign(a=np.nan)
    return saved(folder, line(), signature=signed(X, Y.to_numpy()), input_example=frame.head())


BROKEN: dict[Callable[[Path], str], set[str]] = {
    no_signature: {"no-signature"},
    only_inputs: {"only-inputs"},
    no_inputs: {"no-inputs"},
    outputs_differ: {"outputs-differ"},
    any_type: {"any-type"},
    optional_integer: {"integer-nulls"},
    plain_integer: {"integer-may-see-nulls"},
    categories: {"category-as-text"},
    unknown_levels: {"category-levels-unknown"},
    key_left_in: {"foreign-input"},
    feature_left_out: {"missing-input"},
    other_order: {"input-order"},
    unpinned: {"unpinned"},
    pickled: {"pickle"},
    not_loadable: {"not-loadable"},
    another_major: {"own-library", "environment"},
    example_with_nulls: {"example-fails"},
}


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_broken_model_has_the_right_finding_and_no_other(make: Callable[[Path], str], tmp_path: Path) -> None:
    diagnosis = check_model(make(tmp_path / "model"))
    assert {f.code for f in diagnosis.findings} == BROKEN[make], diagnosis.explain()
    assert diagnosis.ok == all(CODES[code][0] != "error" for code in BROKEN[make])
    for finding in diagnosis.findings:
        assert finding.thing
        assert finding.cause
        assert finding.fix


@pytest.mark.parametrize(
    ("example", "code", "thing"),
    [
        (X.astype("float32"), "dtype-widens", "input a"),
        (X.assign(a=np.arange(60)), "dtype-differs", "input a"),
        (X.assign(a=[Decimal("1.5")] * 60), "object-column", "column a"),
    ],
)
def test_an_example_is_held_against_the_signature(example: Any, code: str, thing: str, tmp_path: Path) -> None:
    uri = saved(tmp_path / "model", line(), signature=signed(X, Y.to_numpy()))
    found = [f for f in check_model(uri, example).findings if f.code != "example-fails"]
    assert {f.code for f in found} == {code}
    assert found[0].thing == thing


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "bool"])
def test_what_differs_is_what_mlflow_refuses(dtype: str, tmp_path: Path) -> None:
    example = (X > 0) if dtype == "bool" else (X > 0).astype(dtype) + np.dtype(dtype).type(2)  # 0 and 1 may pass
    for wanted in ("float64", "float32", "int64", "int32"):
        typed = X.round().astype(wanted)
        uri = saved(tmp_path / wanted, LinearRegression().fit(typed, Y), signature=signed(typed, Y.to_numpy()))
        try:
            mlflow.pyfunc.load_model(uri).predict(example)
            takes = True
        except mlflow.MlflowException:
            takes = False
        found = {f.code for f in check_model(uri, example, load=False).findings}
        assert ("dtype-differs" not in found) == takes, (dtype, wanted)


def names_that_scoring_cannot_tell_apart(folder: Path) -> str:
    frame = X.rename(columns={"b": "A"})
    model = LinearRegression().fit(frame, Y)
    return saved(folder, model, signature=signed(frame, Y.to_numpy()), input_example=frame.head())


def one_prediction_too_few(folder: Path) -> str:
    class Short(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            return np.zeros(len(model_input) - 1)

    signature = signed(X, Y.to_numpy())
    mlflow.pyfunc.save_model(
        folder, python_model=Short(), signature=signature, input_example=X.head(), pip_requirements=PINS
    )
    return str(folder)


@pytest.mark.parametrize(
    ("make", "codes"),
    [
        (names_that_scoring_cannot_tell_apart, {"not-scorable"}),
        (one_prediction_too_few, {"outputs-differ", "pickle"}),
    ],
)
def test_what_only_scoring_its_example_shows(make: Any, codes: set[str], tmp_path: Path) -> None:
    assert {f.code for f in check_model(make(tmp_path / "model")).findings} == codes


REHEARSED = {
    "batch-dependent": lambda x: x["a"] - x["a"].mean(),
    "random": lambda x: x["a"] + np.random.default_rng().normal(size=len(x)),
    "row-order": lambda x: x["a"].sort_values().to_numpy(),
    "one-row": lambda x: x["a"] + 0 * x["a"].iloc[1],
    "changes-input": lambda x: x.insert(0, "more", 1.0) or x["a"],
    "result-index": lambda x: x["a"].sort_values(),
}


class Made(mlflow.pyfunc.PythonModel):
    """A PythonModel of a function."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return self._function(model_input)


@pytest.mark.parametrize("with_example", [True, False])
@pytest.mark.parametrize("code", REHEARSED)
def test_a_rehearsal_shows_how_a_model_treats_its_rows(code: str, with_example: bool, tmp_path: Path) -> None:  # noqa: FBT001
    options = {"input_example": X.head()} if with_example else {}
    signature = signed(X, Y.to_numpy())
    path = str(tmp_path / "model")
    mlflow.pyfunc.save_model(
        path, python_model=Made(REHEARSED[code]), signature=signature, pip_requirements=PINS, **options
    )
    assert {f.code for f in check_model(path).findings} - {"pickle"} == {code}


def test_made_up_rows_that_a_model_does_not_take_are_a_note(tmp_path: Path) -> None:
    def refuse(x: pd.DataFrame) -> Any:
        raise ValueError(x)

    path = str(tmp_path / "model")
    signature = signed(X, Y.to_numpy())
    mlflow.pyfunc.save_model(path, python_model=Made(refuse), signature=signature, pip_requirements=PINS)
    diagnosis = check_model(path)
    assert {f.code for f in diagnosis.findings} - {"pickle"} == {"not-rehearsed"}
    assert diagnosis.ok


def test_a_version_with_a_wildcard_is_no_pin(tmp_path: Path) -> None:
    major = version("scikit-learn").split(".")[0]
    pins = [f"scikit-learn=={major}.*"]
    uri = saved(tmp_path / "model", line(), signature=signed(X, Y.to_numpy()), pip_requirements=pins)
    assert {f.code for f in check_model(Path(uri)).findings} == {"unpinned"}


def test_a_float_signature_and_the_float64_that_does_not_fit(tmp_path: Path) -> None:
    frame = X.astype("float32")
    model = LinearRegression().fit(frame, Y)
    uri = saved(tmp_path / "model", model, signature=signed(frame, model.predict(frame)))
    findings = check_model(uri, X).findings
    assert [(f.code, f.evidence) for f in findings] == [("dtype-differs", "float64 against float")] * 2


def test_a_name_of_one_level_is_named(registry: str) -> None:
    mlflow.sklearn.log_model(
        line(), name="m", signature=signed(X, Y.to_numpy()), pip_requirements=PINS, registered_model_name="doctored"
    )
    [finding] = check_model("models:/doctored/latest").findings
    assert (finding.code, finding.fix) == (
        "name-levels",
        "where it is to go there, register it as catalog.schema.doctored",
    )


HEALTHY: dict[str, tuple[Callable[[], Any], pd.DataFrame, str]] = {
    "line": (line, X, "regression"),
    "several targets": (lambda: LinearRegression().fit(X, np.c_[Y, Y]), X, "regression"),
    "logistic": (
        lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(X, FLAGS), X, "binary_classification",
    ),
    "text labels": (
        lambda: RandomForestClassifier(3).fit(X, np.where(FLAGS, "yes", "no")), X, "binary_classification",
    ),
    "probability": (lambda: RandomForestClassifier(3).fit(X, FLAGS), X, "probability"),
    "nulls": (
        lambda: make_pipeline(SimpleImputer(), LinearRegression()).fit(X.mask(X < -1), Y), X.mask(X < -1), "regression",
    ),
    "outliers": (lambda: IsolationForest(n_estimators=3).fit(X), X, "anomaly_detection"),
    "lightgbm": (lambda: boosted(X.assign(n=np.arange(60))), X.assign(n=np.arange(60)), "regression"),
    "lightgbm categories": (lambda: boosted(X.assign(c=CARRIER)), X.assign(c=CARRIER), "regression"),
    "xgboost categories": (
        lambda: xgboost.XGBRegressor(n_estimators=2, enable_categorical=True).fit(X.assign(c=CARRIER), Y),
        X.assign(c=CARRIER), "regression",
    ),
    "booster": (lambda: xgboost.train({"max_depth": 2}, xgboost.DMatrix(X, Y), 2), X, "regression"),
    "float32": (lambda: LinearRegression().fit(X.astype("float32"), Y), X.astype("float32"), "regression"),
    "catboost": (
        lambda: CatBoostRegressor(iterations=2, verbose=0, allow_writing_files=False).fit(X, Y), X, "regression",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEALTHY)
def test_a_model_of_register_model_has_no_finding(kind: str, registry: str) -> None:
    make, frame, task = HEALTHY[kind]
    model = make()
    name = f"main.doctor.{kind.replace(' ', '_')}"
    registered = register_model(model, frame, name=name, task=task, pip_requirements=PINS)
    assert check_model(registered.uri).findings == ()
    assert check_model(registered.uri, frame).findings == ()
    assert check_model(model, frame, task=task).findings == ()
    assert check_model(model, frame).findings == ()


@pytest.mark.parametrize(
    ("model", "example", "codes"),
    [
        (line(), X.assign(a=[Decimal("1.5")] * 60), {"object-column"}),
        (line(), X.assign(a=pd.array([1, None] * 30, dtype="Int64")), {"integer-nulls"}),
        (line(), X.assign(key=1), {"foreign-input"}),
        (line(), X[["a"]], {"missing-input"}),
        (line(), X.assign(a=np.nan), {"example-fails"}),
        (LogisticRegression().fit(X, FLAGS), X.iloc[:0], {"not-registrable"}),
        (object(), X, {"no-flavor"}),
    ],
)
def test_a_model_in_memory_is_checked_before_it_is_logged(model: Any, example: Any, codes: set[str]) -> None:
    diagnosis = check_model(model, example)
    assert {f.code for f in diagnosis.findings} == codes
    assert not diagnosis.ok


def test_the_task_is_checked_where_it_is_named(tmp_path: Path) -> None:
    [finding] = check_model(line(), X, task="binary_classification").findings
    assert (finding.code, finding.thing) == ("outputs-differ", "task binary_classification")
    uri = saved(tmp_path / "model", line(), signature=signed(X, Y.to_numpy()), input_example=X.head())
    assert [f.code for f in check_model(uri, task="anomaly_detection").findings] == ["outputs-differ"]


def test_without_loading_only_files_are_read(tmp_path: Path) -> None:
    diagnosis = check_model(other_order(tmp_path / "model"), load=False)
    assert (diagnosis.findings, diagnosis.loaded) == ((), False)
    assert "not loaded: what needs that was not looked at" in " ".join(diagnosis.explain().split())


def test_the_zone_of_training(numbers: pd.DataFrame, tmp_path: Path) -> None:
    X = numbers.assign(t=pd.date_range("2025", periods=len(numbers)))
    model = make_pipeline(FunctionTransformer(lambda d: d[["a", "b"]]), LinearRegression()).fit(X, X["a"])
    signature = mlflow.models.infer_signature(X, model.predict(X))
    record = {"spark_scoring": {"format": 1, "dtypes": {"t": "datetime64[ns, Europe/London]"}}}
    kept = {"signature": signature, "metadata": record, "serialization_format": "cloudpickle"}
    mlflow.sklearn.save_model(model, str(tmp_path / "m"), pip_requirements=["mlflow"], **kept)
    found = {finding.code: finding for finding in check_model(str(tmp_path / "m")).findings}
    assert "of the zone Europe/London in training" in found["time-zone"].cause


def test_which_null_training_had_is_not_recorded(tmp_path: Path) -> None:
    texts = pd.DataFrame({"k": pd.Series(["a", "b", "b"] * 5, dtype=object)})
    steps = (SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    model = make_pipeline(*steps).fit(texts, [0, 1, 1] * 5)
    signature = mlflow.models.infer_signature(texts, model.predict(texts))
    kept = {"signature": signature, "serialization_format": "cloudpickle", "pip_requirements": ["mlflow"]}
    mlflow.sklearn.save_model(model, str(tmp_path / "m"), **kept)
    found = {finding.code: finding for finding in check_model(str(tmp_path / "m")).findings}
    assert found["null-kind"].thing == "input k"
    assert "null-kind" not in {f.code for f in check_model(model, texts, task="binary_classification").findings}


def test_a_module_that_only_this_process_finds(
    numbers: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_doctor_steps.py").write_text("def doubled(X):\n    return X * 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    steps = importlib.import_module("my_doctor_steps")
    model = make_pipeline(FunctionTransformer(steps.doubled), LinearRegression()).fit(numbers, numbers["a"])
    kept = {
        "signature": mlflow.models.infer_signature(numbers, model.predict(numbers)),
        "input_example": numbers.head(),
    }
    mlflow.sklearn.save_model(
        model, str(tmp_path / "m"), pip_requirements=["mlflow"], serialization_format="cloudpickle", **kept
    )
    found = {finding.code: finding for finding in spark_scoring.check_model(str(tmp_path / "m")).findings}
    assert "it needs the module my_doctor_steps" in found["needs-module"].cause
    assert str(tmp_path / "my_doctor_steps.py") in found["needs-module"].fix


def test_every_code_is_found_somewhere_in_these_tests() -> None:
    here = Path(__file__)
    text = "".join(file.read_text(encoding="utf-8") for file in (here, here.with_name("test_pasted.py")))
    assert [code for code in CODES if f'"{code}"' not in text and code != "spark-ml"] == []


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def test_the_command_line_explains_and_fails_on_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = only_inputs(tmp_path / "model")
    assert run("doctor", uri) == 1
    assert "error only-inputs: signature" in capsys.readouterr().out
    assert run("doctor", uri, "--json") == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["code"] == "only-inputs"
    assert run("doctor", unpinned(tmp_path / "other")) == 0
    assert "warning unpinned: requirements.txt" in capsys.readouterr().out
    assert run("doctor", "--error", EXAMPLES[0]) == 0
    assert "no output schema" in capsys.readouterr().out
    assert run("doctor", "--error", "something else") == 2
    assert "the doctor does not know this text" in capsys.readouterr().err
    assert run("doctor") == 2
    assert run("doctor", str(tmp_path / "nowhere")) == 2


TOLD = "password=hunter2 of customer 4711"


class Teller(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Raises with a value in its text and in the name of its class."""

    def __init__(self, when: str) -> None:
        self.when = when

    def load_context(self, context: Any) -> None:
        if self.when == "loading":
            raise type("Customer4711", (ValueError,), {})(TOLD)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        if self.when == "predicting":
            raise type("Customer4711", (ValueError,), {})(TOLD)
        return model_input["a"]


@pytest.mark.parametrize("when", ["loading", "predicting"])
def test_what_a_model_raises_is_told_without_its_text(when: str, tmp_path: Path) -> None:
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=Teller("never"), signature=signed(X, Y.to_numpy()),
                             input_example=X.head(2), pip_requirements=PINS)  # fmt: skip
    pickled = tmp_path / "model" / "python_model.pkl"
    pickled.write_bytes(cloudpickle.dumps(Teller(when)))
    diagnosis = check_model(str(tmp_path / "model"))
    shown = diagnosis.explain() + json.dumps(diagnosis.to_dict())
    assert "4711" not in shown
    assert "hunter2" not in shown
    assert "ValueError (test_doctor.py line " in shown
