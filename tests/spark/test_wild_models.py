"""Models from the wild: situations that people report in public, each with the right value or the plan's message."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
import xgboost
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema, TensorSpec
from pyspark.errors import PySparkException
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import spark_scoring as ss
from spark_scoring.engine.errors import OutputError
from spark_scoring.errors import PlanError, RequestError, RunError
from tests.models import in_order
from tests.registering import register_model
from tests.wild import ONE_NUMBER, columns, save_python, save_sklearn, save_with_code, scored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyspark.sql import SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

RNG = np.random.default_rng(5)
NUMBERS = pd.DataFrame({"a": np.round(RNG.normal(size=40), 2), "b": np.round(RNG.normal(size=40), 2)})
TARGET = (NUMBERS["a"] > NUMBERS["b"]).astype("int64")


class Made(mlflow.pyfunc.PythonModel):
    """A PythonModel of a function."""

    def __init__(self, function: Callable[[pd.DataFrame], Any]) -> None:
        self._function = function

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return self._function(model_input)


# 1: each model runs its own code


WRAP = """
    import mlflow, helper_mod
    class W(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input["a"] * helper_mod.FACTOR
"""
LATE = """
    import mlflow
    class W(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            import helper_mod
            from pack.sub.inner import offset
            return model_input["a"] * helper_mod.FACTOR + offset()
"""
SAVE = """
    sys.path.insert(0, ".")
    import wrap_mod
    mlflow.pyfunc.save_model(PATH, python_model=wrap_mod.W(), code_paths=CODE, pip_requirements=["mlflow"],
                             signature=ModelSignature(D("a"), D("prediction")))
"""


def coded(path: Path, factor: float, wrap: str) -> str:
    files = {
        "helper_mod.py": f"FACTOR = {factor}",
        "wrap_mod.py": wrap,
        "pack/__init__.py": "",
        "pack/sub/inner.py": "def offset():\n    import pack.late\n    return pack.late.N",
        "pack/late.py": f"N = {factor * 100}",
    }
    return save_with_code(path, files, SAVE)


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("coded")
    return {
        f"{kind} {factor}": coded(folder / f"{kind}{i}", factor, wrap)
        for kind, wrap in (("early", WRAP), ("late", LATE))
        for i, factor in enumerate((3.0, 2.0))
    }


def test_models_with_modules_of_one_name_run_their_own_code_one_after_the_other(
    spark: SparkSession, two_models: dict[str, str]
) -> None:
    for _ in range(2):
        for name, path in two_models.items():
            kind, factor = name.split()
            offset = 100 * float(factor) if kind == "late" else 0
            found = scored(spark, [(1.0,), (2.0,)], path, "a double")
            assert found["prediction"].tolist() == [float(factor) * x + offset for x in (1.0, 2.0)], name


def test_models_with_modules_of_one_name_run_their_own_code_in_one_frame(
    spark: SparkSession, two_models: dict[str, str]
) -> None:
    df = spark.createDataFrame([(float(i),) for i in range(50)], "a double").repartition(3)
    df = ss.score_batch(df, two_models["late 3.0"], names={"prediction": "three", "scoring_error": "e3"})
    df = ss.score_batch(df, two_models["late 2.0"], names={"prediction": "two", "scoring_error": "e2"})
    found = df.toPandas()
    assert (found["three"] == found["a"] * 3 + 300).all()
    assert (found["two"] == found["a"] * 2 + 200).all()


def test_a_models_modules_leave_no_trace_on_the_driver(two_models: dict[str, str]) -> None:
    before = list(sys.path)
    ss.plan_scoring(two_models["late 3.0"], _schema("a"))
    assert not {"helper_mod", "wrap_mod", "pack", "pack.sub.inner", "pack.late"} & set(sys.modules)
    assert sys.path == before


def test_a_module_of_the_drivers_own_stays_when_a_model_has_one_of_its_name(
    spark: SparkSession, two_models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import types

    own = types.ModuleType("helper_mod")
    own.FACTOR = 7.0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "helper_mod", own)
    plan = ss.plan_scoring(two_models["early 2.0"], _schema("a"))
    assert plan.rehearsal is not None
    assert plan.rehearsal.rows > 0
    assert sys.modules["helper_mod"] is own
    assert scored(spark, [(1.0,)], two_models["early 2.0"], "a double")["prediction"].tolist() == [2.0]


# 2: missing text is what training had


TEXT = pd.DataFrame({"c": ["x", "x", "y", np.nan] * 10})
TEXT_TARGET = [0.0, 0.0, 4.0, 0.0] * 10


def encoding() -> Any:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")), ["c"])
    )


NAN_TRAINED = {
    "search": GridSearchCV(
        make_pipeline(encoding(), LinearRegression()), {"linearregression__fit_intercept": [True]}, cv=2
    ),
    "target": TransformedTargetRegressor(make_pipeline(encoding(), LinearRegression())),
    "pipeline in a pipeline": make_pipeline(make_pipeline(encoding()), make_pipeline(LinearRegression())),
    "behind a function": make_pipeline(FunctionTransformer(), encoding(), LinearRegression()),
}


@pytest.mark.parametrize("kind", NAN_TRAINED)
def test_missing_text_is_what_it_was_in_training(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    model = NAN_TRAINED[kind].fit(TEXT, TEXT_TARGET)
    path = save_sklearn(tmp_path / "m", model, TEXT)
    found = scored(spark, [("x",), ("y",), (None,)], path, "c string")
    expected = model.predict(pd.DataFrame({"c": ["x", "y", np.nan]}))
    assert found["prediction"].tolist() == pytest.approx(expected.tolist(), rel=1e-12, abs=1e-12)


# 3 and 4: every call on fresh input


def test_a_model_that_changes_its_input_scores_every_method_on_what_the_table_holds(
    spark: SparkSession, tmp_path: Path
) -> None:
    model = make_pipeline(StandardScaler(copy=False), LogisticRegression()).fit(NUMBERS.copy(), TARGET)
    path = save_sklearn(tmp_path / "m", model, NUMBERS.copy(), infer_signature(NUMBERS, TARGET.to_numpy()))
    expected = model.predict_proba(NUMBERS.copy()), model.predict(NUMBERS.copy())
    found = scored(spark, NUMBERS, path, predict=["predict", "predict_proba", "decision_function"])
    np.testing.assert_allclose(np.array(found["probability"].tolist()), expected[0], rtol=1e-12)
    assert found["prediction"].tolist() == expected[1].tolist()
    np.testing.assert_allclose(found["decision"], model.decision_function(NUMBERS.copy()), rtol=1e-12)


def test_a_row_beside_one_that_raises_is_scored_on_what_the_table_holds(spark: SparkSession, tmp_path: Path) -> None:
    def change(x: pd.DataFrame) -> Any:
        x["a"] -= 10
        if (x["q"] < 0).any():
            msg = "unfit"
            raise ValueError(msg)
        return x["a"] * 2

    path = save_python(tmp_path / "m", Made(change), columns("double", "a", "q"))
    rows = [(float(i), -1.0 if i == 5 else 1.0) for i in range(12)]
    found = scored(spark, rows, path, "a double, q double")
    assert found["prediction"].dropna().tolist() == [2.0 * (i - 10) for i in range(12) if i != 5]
    assert found["scoring_error"][5].startswith("model: ValueError (test_wild_models.py line ")


def test_the_plan_says_that_a_model_changes_its_input(tmp_path: Path) -> None:
    def change(x: pd.DataFrame) -> Any:
        x["a"] -= 10
        return x["a"]

    path = save_python(tmp_path / "m", Made(change), columns("double", "a"))
    assert any("changes its input" in note for note in ss.plan_scoring(path, _schema("a")).notes)


def test_a_model_that_numbers_its_rows_from_0_is_right_beside_a_row_that_raises(
    spark: SparkSession, tmp_path: Path
) -> None:
    def number(x: pd.DataFrame) -> Any:
        if (x["q"] < 0).any():
            msg = "unfit"
            raise ValueError(msg)
        x = x.copy()
        x["h"] = pd.Series(x["a"].to_numpy() / 2)
        return x["h"].fillna(0).to_numpy()

    path = save_python(tmp_path / "m", Made(number), columns("double", "a", "q"))
    rows = [(float(i), -1.0 if i == 3 else 1.0) for i in range(9)]
    found = scored(spark, rows, path, "a double, q double")
    assert found["prediction"].dropna().tolist() == [i / 2 for i in range(9) if i != 3]


# 5: rows in another order


def test_a_result_in_another_order_is_put_back_by_its_index(spark: SparkSession, tmp_path: Path) -> None:
    path = save_python(tmp_path / "m", Made(lambda x: x.sort_values("a")["a"] * 2), columns("double", "a"))
    found = scored(spark, [(3.0,), (1.0,), (2.0,)], path, "a double")
    assert found["prediction"].tolist() == [6.0, 2.0, 4.0]
    assert any("put back by its result's index" in note for note in ss.plan_scoring(path, _schema("a")).notes)


def test_a_result_in_another_order_that_does_not_say_so_is_refused_when_planned(tmp_path: Path) -> None:
    path = save_python(tmp_path / "m", Made(lambda x: x.sort_values("a")["a"].to_numpy()), columns("double", "a"))
    with pytest.raises(PlanError, match="returns its rows in another order"):
        ss.plan_scoring(path, _schema("a"))
    lenient = ss.plan_scoring(path, _schema("a"), policy="lenient")
    assert any("in another order" in note for note in lenient.notes)
    assert ss.plan_scoring(path, _schema("a"), batch_dependent=True).rehearsal is not None
    assert ss.plan_scoring(path, _schema("a"), rehearse=False).rehearsal is None


def test_a_result_indexed_by_an_identifier_is_in_the_rows_order(spark: SparkSession, tmp_path: Path) -> None:
    def by_id(x: pd.DataFrame) -> Any:
        result = x["a"] * 2
        result.index = pd.Index(x["id"].astype("int64").to_numpy())
        return result

    path = save_python(tmp_path / "m", Made(by_id), Schema([ColSpec("double", "a"), ColSpec("long", "id")]))
    found = scored(spark, [(5.0, 2), (6.0, 0), (7.0, 1)], path, "a double, id long")
    assert found["prediction"].tolist() == [10.0, 12.0, 14.0]


# 6: raw documents


DOCUMENTS = pd.DataFrame({"text": ["good plane", "bad wing", "good wing", "bad plane"] * 5})


def test_a_first_step_that_takes_documents_is_given_the_text_column(spark: SparkSession, tmp_path: Path) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(DOCUMENTS["text"], [1, 0, 1, 0] * 5)
    signature = infer_signature(DOCUMENTS, np.array([1, 0]))
    path = save_sklearn(tmp_path / "m", model, DOCUMENTS, signature)
    rows = [("good plane",), ("bad bad wing",), (None,)]
    found = scored(spark, rows, path, "text string", predict=["predict", "predict_proba"])
    assert found["prediction"].tolist()[:2] == [1, 0]
    expected = model.predict_proba(["good plane", "bad bad wing"])
    np.testing.assert_allclose(np.array(found["probability"][:2].tolist()), expected, rtol=1e-12)
    assert found["scoring_error"].tolist() == [None, None, "text: null"]
    assert scored(spark, rows[:1], path, "text string")["prediction"].tolist() == [1]


def test_documents_of_several_columns_are_refused_when_planned(tmp_path: Path) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(DOCUMENTS["text"], [1, 0, 1, 0] * 5)
    signature = infer_signature(DOCUMENTS.assign(other="x"), np.array([1, 0]))
    path = save_sklearn(tmp_path / "m", model, DOCUMENTS, signature)
    with pytest.raises(PlanError, match="its first step takes texts, one for each row"):
        ss.plan_scoring(path, _schema("text", "other", type_="string"))


# 7, 8, 19, 26, 28, 30: results


def test_a_result_that_is_squeezed_for_one_row_is_the_value(spark: SparkSession, tmp_path: Path) -> None:
    path = save_python(tmp_path / "m", Made(lambda x: np.squeeze(x[["a"]].to_numpy() * 2)), columns("double", "a"))
    assert scored(spark, [(3.0,)], path, "a double")["prediction"].tolist() == [6.0]
    assert scored(spark, [(3.0,), (4.0,)], path, "a double")["prediction"].tolist() == [6.0, 8.0]


def test_a_sparse_result_is_its_dense_rows(spark: SparkSession, tmp_path: Path) -> None:
    labels = np.column_stack([NUMBERS["a"] > 0, NUMBERS["b"] > 0]).astype(int)
    model = OneVsRestClassifier(LogisticRegression()).fit(NUMBERS, scipy.sparse.csr_matrix(labels))
    dense = np.asarray(model.predict(NUMBERS).todense())
    path = save_sklearn(tmp_path / "m", model, NUMBERS, infer_signature(NUMBERS, dense))
    assert scored(spark, NUMBERS, path)["prediction"].tolist() == dense.tolist()


def test_a_nan_in_the_place_of_a_list_is_a_null(spark: SparkSession, tmp_path: Path) -> None:
    def lists(x: pd.DataFrame) -> Any:
        return pd.Series([[v, v] if v > 0 else np.nan for v in x["a"]], dtype=object)

    outputs = infer_signature(pd.DataFrame({"a": [1.0]}), [[1.0, 2.0]]).outputs
    path = save_python(tmp_path / "m", Made(lists), columns("double", "a"), outputs)
    found = scored(spark, [(1.0,), (-1.0,)], path, "a double")
    assert list(found["prediction"][0]) == [1.0, 1.0]
    assert found["prediction"][1] is None
    assert found["scoring_error"].tolist() == [None, None]


def test_a_model_that_drops_rows_is_told_with_both_counts(spark: SparkSession, tmp_path: Path) -> None:
    path = save_python(tmp_path / "m", Made(lambda x: x.loc[x["a"] != 77.5, "a"]), columns("double", "a"))
    with pytest.raises(PySparkException, match="the model returned 9 results for 10 rows"):
        scored(spark, [(77.5 if i == 4 else 1.0,) for i in range(10)], path, "a double")


def test_a_model_that_drops_a_row_of_its_example_is_refused_when_planned(tmp_path: Path) -> None:
    example = pd.DataFrame({"a": [1.0, 77.5, 2.0]})
    path = save_python(
        tmp_path / "m", Made(lambda x: x.loc[x["a"] != 77.5, "a"]), columns("double", "a"), input_example=example
    )
    with pytest.raises(PlanError, match="returned 2 results for 3 rows"):
        ss.plan_scoring(path, _schema("a"))


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_a_model_that_fails_on_every_row_fails_the_run_whatever_the_batches(
    spark: SparkSession, tmp_path: Path, rows: int
) -> None:
    def fail(x: pd.DataFrame) -> Any:
        raise ValueError(x)

    path = save_python(tmp_path / "m", Made(fail), columns("double", "a"))
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "2")
    try:
        with pytest.raises(PySparkException, match="ModelFailedError"):
            scored(spark, [(float(i),) for i in range(rows)], path, "a double")
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")


def test_results_with_other_names_than_the_signatures_are_refused_when_planned(tmp_path: Path) -> None:
    path = save_python(
        tmp_path / "m",
        Made(lambda x: pd.DataFrame({"hi": x["a"] + 1, "low": x["a"] - 1})),
        columns("double", "a"),
        columns("double", "lo", "hi"),
    )
    with pytest.raises(PlanError, match="the signature has outputs named lo, hi, the model returned hi, low"):
        ss.plan_scoring(path, _schema("a"))


# 9, 15, 16, 18, 29: names of inputs


def test_integer_column_names_are_bound_by_their_text(spark: SparkSession, tmp_path: Path) -> None:
    frame = pd.DataFrame(RNG.normal(size=(30, 3)))
    model = LinearRegression().fit(frame, frame[0] - 2 * frame[2])
    path = save_sklearn(tmp_path / "m", model, frame)
    found = scored(spark, frame.rename(columns=str), path)
    np.testing.assert_allclose(found["prediction"], model.predict(frame), rtol=1e-12)


def test_a_model_with_integer_names_is_given_a_frame_with_integer_names(spark: SparkSession, tmp_path: Path) -> None:
    signature = infer_signature(pd.DataFrame([[1.0, 2.0]]), np.array([1.0]))
    path = save_python(tmp_path / "m", Made(lambda x: x[0] - x[1]), signature.inputs)
    assert scored(spark, [(5.0, 2.0)], path, "`0` double, `1` double")["prediction"].tolist() == [3.0]


def test_one_unnamed_text_is_bound_as_input(spark: SparkSession, tmp_path: Path) -> None:
    signature = infer_signature("hey", "HEY")
    path = save_python(
        tmp_path / "m", Made(lambda x: [s.upper() for s in x.iloc[:, 0]]), signature.inputs, signature.outputs
    )
    assert scored(spark, [("a",), ("b",)], path, "input string")["prediction"].tolist() == ["A", "B"]
    found = scored(spark, [("a",)], path, "words string", columns={"input": "concat(words, 'x')"})
    assert found["prediction"].tolist() == ["AX"]


def test_unnamed_inputs_are_bound_by_the_trained_models_own_names(spark: SparkSession, tmp_path: Path) -> None:
    model = LinearRegression().fit(NUMBERS, NUMBERS["a"] * 2 - NUMBERS["b"])
    unnamed = ModelSignature(Schema([ColSpec("double"), ColSpec("double")]), ONE_NUMBER)
    path = save_sklearn(tmp_path / "m", model, NUMBERS, unnamed)
    found = scored(spark, [(1.0, 5.0)], path, "b double, a double")
    assert found["prediction"].tolist() == pytest.approx([9.0])


def test_unnamed_inputs_that_nothing_names_are_refused_with_a_fix(tmp_path: Path) -> None:
    unnamed = Schema([ColSpec("double"), ColSpec("double")])
    path = save_python(tmp_path / "m", Made(lambda x: x.iloc[:, 0]), unnamed)
    with pytest.raises(PlanError) as caught:
        ss.plan_scoring(path, _schema("a", "b"))
    [problem] = caught.value.problems
    assert problem.cause == "its signature has inputs without a name"
    assert problem.fix == "log it with a pandas DataFrame as its example"  # a repair takes names from a trained model


def test_an_input_that_the_model_was_not_trained_on_is_refused_when_planned(tmp_path: Path) -> None:
    frame = pd.DataFrame({"date": np.arange(20.0), "f": np.arange(20.0)})
    model = xgboost.XGBRegressor(n_estimators=2).fit(frame[["f"]], frame["f"])
    path = str(tmp_path / "m")
    signature = infer_signature(frame, np.array([1.0], dtype="float32"))
    mlflow.xgboost.save_model(model, path, signature=signature, pip_requirements=["xgboost"])
    with pytest.raises(PlanError, match="inputs that it was not trained on: date"):
        ss.plan_scoring(path, _schema("date", "f"))


def test_features_that_differ_by_case_do_not_share_a_column(spark: SparkSession, tmp_path: Path) -> None:
    path = save_python(tmp_path / "m", Made(lambda x: x["a"] - x["A"]), columns("double", "a", "A"))
    with pytest.raises(PlanError, match="they differ by case only"):
        ss.plan_scoring(path, _schema("a"))
    found = scored(spark, [(5.0, 3.0)], path, "a double, b double", columns={"A": "b"})
    assert found["prediction"].tolist() == [2.0]


# 10 and 11: estimators that are built in other ways


@pytest.mark.parametrize("chosen", [[0], slice(0, 1), [True, False], [-2]])
def test_a_column_transformer_by_position_takes_a_named_signature(
    spark: SparkSession, tmp_path: Path, chosen: Any
) -> None:
    frame = pd.DataFrame({"c": ["x", "y"] * 10, "n": np.arange(20.0)}).astype({"c": object})
    columns_ = ColumnTransformer([("o", OneHotEncoder(), chosen)], remainder="passthrough")
    model = Pipeline([("ct", columns_), ("lr", LinearRegression())]).fit(frame.to_numpy(), np.arange(20.0))
    path = save_sklearn(tmp_path / "m", model, frame, infer_signature(frame, np.array([1.0])))
    found = scored(spark, frame, path)
    np.testing.assert_allclose(found["prediction"], model.predict(frame.to_numpy()), rtol=1e-9, atol=1e-9)


class Times(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step that does not keep its argument under its name."""

    def __init__(self, factor: float = 1.0) -> None:
        self.f = factor

    def fit(self, X: Any, y: Any = None) -> Times:
        return self

    def transform(self, X: Any) -> Any:
        return X * self.f


def test_an_estimator_that_breaks_scikit_learns_rules_is_scored_as_native(spark: SparkSession, tmp_path: Path) -> None:
    model = Pipeline([("times", Times(3.0)), ("lr", LinearRegression())]).fit(NUMBERS, NUMBERS["a"])
    path = save_sklearn(tmp_path / "m", model, NUMBERS)
    np.testing.assert_allclose(scored(spark, NUMBERS, path)["prediction"], model.predict(NUMBERS), rtol=1e-12)


# 12 and 13: categories


CATEGORIES = pd.DataFrame({"c": pd.Categorical(["x", "y", "z", "y"] * 25), "n": np.arange(100.0) % 7})
IS_Y = (CATEGORIES["c"] == "y").astype(int)
TREES = {
    "search lightgbm": lambda: GridSearchCV(
        lightgbm.LGBMClassifier(n_jobs=1, n_estimators=3, verbose=-1), {"max_depth": [2]}, cv=2
    ),
    "calibrated lightgbm": lambda: CalibratedClassifierCV(
        lightgbm.LGBMClassifier(n_jobs=1, n_estimators=3, verbose=-1), cv=2
    ),
    "voting lightgbm": lambda: VotingClassifier(
        [(f"m{i}", lightgbm.LGBMClassifier(n_jobs=1, n_estimators=i + 2, verbose=-1)) for i in range(2)], voting="soft"
    ),
    "search xgboost": lambda: GridSearchCV(
        xgboost.XGBClassifier(n_jobs=1, n_estimators=3, enable_categorical=True), {"max_depth": [2]}, cv=2
    ),
}


@pytest.mark.parametrize("kind", TREES)
def test_categories_inside_a_meta_estimator_are_found(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    model = TREES[kind]().fit(CATEGORIES, IS_Y)
    example = CATEGORIES.astype({"c": object})
    path = save_sklearn(tmp_path / "m", model, CATEGORIES, infer_signature(example, np.array([0, 1])))
    found = scored(spark, example, path, predict=["predict", "predict_proba"])
    np.testing.assert_array_equal(np.array(found["probability"].tolist()), model.predict_proba(CATEGORIES))
    assert found["prediction"].tolist() == model.predict(CATEGORIES).tolist()


def test_the_same_levels_in_another_order_are_the_same_levels(registry: str) -> None:
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y"] * 50, categories=["y", "x"])})
    model = HistGradientBoostingClassifier(max_iter=2, categorical_features="from_dtype").fit(frame, [0, 1] * 50)
    registered = register_model(
        model, frame, name="wild_levels", task="binary_classification", pip_requirements=["scikit-learn"]
    )
    plan = ss.plan_scoring(registered.uri, _schema("c", type_="string"))
    assert plan.rehearsal is not None
    assert plan.rehearsal.rows > 0


def test_a_category_of_numbers_reaches_a_model_that_holds_no_levels_as_in_training(
    spark: SparkSession, registry: str
) -> None:
    frame = pd.DataFrame({"size": pd.Categorical([10, 20, 30, 20] * 10), "n": np.arange(40.0)})
    model = LinearRegression().fit(frame, frame["size"].astype(float) * 2 + frame["n"])
    registered = register_model(model, frame, name="wild_sizes", task="regression", pip_requirements=["scikit-learn"])
    found = scored(spark, [(30, 1.0), (10, 2.0)], registered.uri, "size int, n double")
    assert found["prediction"].tolist() == pytest.approx([61.0, 22.0])


# 14: ONNX


def test_an_onnx_model_of_two_outputs_takes_a_frame(spark: SparkSession, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[1.0, 0.5, 2.0], [0.0, 1.0, -1.0]], dtype="float32"), "w")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["scores"]),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 3]),
        ],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    outputs = Schema(
        [TensorSpec(np.dtype("int64"), (-1,), "label"), TensorSpec(np.dtype("float32"), (-1, 3), "scores")]
    )
    path = str(tmp_path / "m")
    signature = ModelSignature(columns("float", "a", "b"), outputs)
    mlflow.onnx.save_model(model, path, signature=signature, pip_requirements=["onnxruntime"])
    found = scored(spark, [(1.0, 2.0), (3.0, 4.0)], path, "a float, b float")
    assert [row["label"] for row in found["prediction"]] == [1, 1]
    assert [list(row["scores"]) for row in found["prediction"]] == [[1.0, 2.5, 0.0], [3.0, 5.5, 2.0]]


# 17: names of results


def test_results_that_differ_by_case_only_are_refused_when_planned(tmp_path: Path) -> None:
    path = save_python(
        tmp_path / "m",
        Made(lambda x: pd.DataFrame({"x": x["a"], "X": x["a"]})),
        columns("double", "a"),
        columns("double", "x", "X"),
    )
    with pytest.raises(PlanError, match="differ by case only"):
        ss.plan_scoring(path, _schema("a"))


def bounds(x: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"yhat lower": x["a"] - 1, "yhat upper": x["a"] + 1})


def test_results_with_odd_names_are_written(spark: SparkSession, tmp_path: Path) -> None:
    path = save_python(
        tmp_path / "m", Made(bounds), columns("double", "a"), columns("double", "yhat lower", "yhat upper")
    )
    spark.createDataFrame([(1.0,), (2.0,)], "a double").write.format("delta").save(str(tmp_path / "source"))
    job = ss.ScoringJob.model_validate(
        {"model": path, "source": {"path": str(tmp_path / "source")}, "output": {"path": str(tmp_path / "out")}}
    )
    ss.run_job(job, spark)
    rows = in_order(spark.read.format("delta").load(str(tmp_path / "out")), "a")
    assert [(r.prediction["yhat lower"], r.prediction["yhat upper"]) for r in rows] == [(0.0, 2.0), (1.0, 3.0)]


def test_odd_names_that_an_existing_table_cannot_hold_are_refused_when_planned(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = save_python(
        tmp_path / "m", Made(bounds), columns("double", "a"), columns("double", "yhat lower", "yhat upper")
    )
    spark.createDataFrame([(1.0,)], "a double").write.format("delta").save(str(tmp_path / "source"))
    output = str(tmp_path / "out")
    spark.createDataFrame([(1.0, "r")], "a double, run_id string").write.format("delta").save(output)
    job = ss.ScoringJob.model_validate(
        {
            "model": path,
            "source": {"path": str(tmp_path / "source")},
            "output": {"path": output, "evolve": True},
        }
    )
    with pytest.raises(RequestError, match="columnMapping") as caught:
        ss.plan_job(job, spark)
    spark.sql(str(caught.value).split("map columns: ")[1].split("\n")[0])  # the fix works as it is written
    assert ss.run_job(job, spark).rows_out == 1


# 24: columns that Arrow cannot carry


def test_an_interval_is_kept_beside_features_that_travel_through_arrow(spark: SparkSession, tmp_path: Path) -> None:
    path = save_python(tmp_path / "m", Made(lambda x: x["a"] * 2), columns("double", "a"))
    df = spark.sql(
        "SELECT 1D AS a, INTERVAL '1-2' YEAR TO MONTH AS i, INTERVAL '3' YEAR AS y, CAST(NULL AS INTERVAL MONTH) AS m, "
        "INTERVAL '1 2:03:04' DAY TO SECOND AS d"
    )
    found = ss.score_batch(df, path, stage="map")
    assert found.schema["i"].dataType == df.schema["i"].dataType
    assert found.schema["y"].dataType == df.schema["y"].dataType
    text = ["CAST(i AS STRING)", "CAST(y AS STRING)", "CAST(m AS STRING)", "CAST(d AS STRING)", "prediction"]
    assert list(found.selectExpr(*text).collect()[0])[:4] == list(df.selectExpr(*text[:4]).collect()[0])


def test_a_column_that_arrow_cannot_carry_is_refused_by_name(spark: SparkSession, tmp_path: Path) -> None:
    path = save_python(tmp_path / "m", Made(lambda x: x["a"] * 2), columns("double", "a"))
    df = spark.sql("SELECT 1D AS a, array(INTERVAL '1-2' YEAR TO MONTH) AS waits")
    with pytest.raises(OutputError, match="keep: waits"):
        ss.score_batch(df, path, stage="map")
    assert ss.score_batch(df, path).select("prediction").collect()[0][0] == 2.0


# 25: settings of training


def test_a_setting_of_training_is_recorded_and_holds_in_workers(spark: SparkSession, registry: str) -> None:
    class Named(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, X: Any, y: Any = None) -> Named:
            return self

        def transform(self, X: pd.DataFrame) -> Any:
            return X.rename(columns={"standardscaler__a": "a"})[["a", "b"]]

    sklearn.set_config(transform_output="pandas")
    try:
        model = make_pipeline(StandardScaler(), Named(), LinearRegression()).fit(NUMBERS, NUMBERS["a"])
        expected = model.predict(NUMBERS)
        registered = register_model(
            model,
            NUMBERS,
            name="wild_settings",
            task="regression",
            pip_requirements=["scikit-learn"],
            options={"serialization_format": "cloudpickle"},
        )
    finally:
        sklearn.set_config(transform_output="default")
    np.testing.assert_allclose(scored(spark, NUMBERS, registered.uri)["prediction"], expected, rtol=1e-12)


# 27: rows on which a model raises


def test_only_the_rows_on_which_a_model_raises_are_bad(spark: SparkSession, tmp_path: Path) -> None:
    def visit(x: pd.DataFrame) -> Any:
        if (x["visits"] >= 1000).any():
            msg = "too many visits"
            raise ValueError(msg)
        return x["visits"] * 2

    path = save_python(tmp_path / "m", Made(visit), columns("double", "visits"))
    bad = set(np.random.default_rng(3).choice(20_000, 98, replace=False).tolist())
    df = spark.range(20_000).selectExpr("CAST(id AS INT) AS id", "id % 7 + 0D AS visits").toPandas()
    df.loc[df["id"].isin(bad), "visits"] = 5000.0
    found = ss.score_batch(spark.createDataFrame(df), path).toPandas()
    assert set(found.loc[found["prediction"].isna(), "id"]) == bad
    assert found.loc[found["prediction"].isna(), "scoring_error"].str.startswith("model: ValueError (").all()
    good = found[found["prediction"].notna()]
    assert (good["prediction"] == good["visits"] * 2).all()


def test_a_run_of_few_rows_that_all_fail_commits_nothing(spark: SparkSession, tmp_path: Path) -> None:
    def fail(x: pd.DataFrame) -> Any:
        if (x["a"] > 100).any():
            msg = "unfit"
            raise ValueError(msg)
        return x["a"]

    path = save_python(tmp_path / "m", Made(fail), columns("double", "a"))
    source = str(tmp_path / "source")
    spark.createDataFrame([(200.0,), (300.0,)], "a double").write.format("delta").save(source)
    job = {"model": path, "source": {"path": source}, "output": {"path": str(tmp_path / "out")}}
    with pytest.raises(RunError, match="on every row that was tried: none of 2 was scored; nothing was committed"):
        ss.run_job(ss.ScoringJob.model_validate(job), spark)
    assert not (tmp_path / "out").exists()


def test_the_models_traceback_reaches_the_drivers_log_where_it_is_asked_for(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def visit(x: pd.DataFrame) -> Any:
        if (x["a"] > 100).any():
            msg = "too many visits"
            raise ValueError(msg)
        return x["a"]

    path = save_python(tmp_path / "m", Made(visit), columns("double", "a"))
    rows = [(1.0,), (200.0,), (3.0,)]
    scored(spark, rows, path, "a double")
    assert "too many visits" not in caplog.text
    scored(spark, rows, path, "a double", show_model_error=True)
    assert caplog.text.count("ValueError: too many visits") == 1


# random results


def test_a_model_that_draws_at_random_is_refused_when_planned(tmp_path: Path) -> None:
    path = save_python(
        tmp_path / "m", Made(lambda x: x["a"] + np.random.default_rng().normal(size=len(x))), columns("double", "a")
    )
    with pytest.raises(PlanError, match="gives the same rows another result when it is called again"):
        ss.plan_scoring(path, _schema("a"))


def test_a_model_of_batch_statistics_is_refused_when_planned(tmp_path: Path) -> None:
    path = save_python(tmp_path / "m", Made(lambda x: x["a"] - x["a"].mean()), columns("double", "a"))
    with pytest.raises(PlanError, match="another result when it is given other rows beside it"):
        ss.plan_scoring(path, _schema("a"))


def _schema(*names: str, type_: str = "double") -> Any:
    from pyspark.sql.types import DoubleType, StringType, StructField, StructType

    kind = StringType() if type_ == "string" else DoubleType()
    return StructType([StructField(name, kind) for name in names])
