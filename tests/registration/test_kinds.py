"""Rankers, boosters, clusterers, texts, several targets: each kind scores right, or is refused with its true cause."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import catboost
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xgboost
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN, KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

import spark_scoring as ss
from spark_scoring import RegistrationError
from spark_scoring.registration.saving import not_saved
from spark_scoring.registration.tasks import class_labels, likely_task
from tests.models import in_order
from tests.registering import register_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyspark.sql import SparkSession

ROWS = 120
_RNG = np.random.default_rng(8)
X = pd.DataFrame(_RNG.normal(size=(ROWS, 3)), columns=["a", "b", "c"])
NUMBER = (X["a"] * 2 + X["b"]).to_numpy()
TWO = (X["a"] > 0).astype(int).to_numpy()
THREE = np.digitize(X["a"] + X["b"], [-0.6, 0.6])
BOTH = np.c_[TWO, THREE]
TEXTS = pd.Series(["good film", "bad film", "so so", "Fine film"] * 30, name="review", index=range(5, 125))
KINDS = [1, 0, 0, 1] * 30
SMALL: dict[str, Any] = {"n_estimators": 3, "verbose": -1, "min_child_samples": 3}
CAT: dict[str, Any] = {"iterations": 3, "verbose": False, "allow_writing_files": False}


def registered(model: Any, given: Any = X, **settings: Any) -> Any:
    """The model as it is registered in most of these tests."""
    chosen = {"name": "main.kinds.model", "task": "regression", "pip_requirements": ["scikit-learn"], **settings}
    return register_model(model, given, **chosen)


def refused(model: Any, given: Any = X, **settings: Any) -> tuple[str, str]:
    """Cause (behind its thing) and fix, of a refusal before there is any run."""
    before = len(mlflow.search_runs(search_all_experiments=True))
    with pytest.raises(RegistrationError) as raised:
        registered(model, given, **settings)
    assert len(mlflow.search_runs(search_all_experiments=True)) == before
    problem = raised.value.problems[0]
    return f"{problem.thing}: {problem.cause}", problem.fix


def scored(spark: SparkSession, version: Any, frame: pd.DataFrame = X) -> list[Any]:
    """Predictions of a table of the frame's rows, in their order."""
    table = spark.createDataFrame(frame.assign(id=range(len(frame)))).repartition(2)
    rows = in_order(ss.score_batch(table, version.uri))
    assert [row["scoring_error"] for row in rows] == [None] * len(rows)
    return [row["prediction"] for row in rows]


def typed(line: str, **names: Any) -> Any:
    """What a line of a fix gives when it is typed as it stands."""
    known = {"register_model": registered, "np": np, "catboost": catboost, "X": X, "name": "main.kinds.typed", **names}
    return eval(line.replace("name=...", "name=name"), {**known, **_STEPS})  # noqa: S307  the very line that is proposed


_STEPS = {
    step.__name__: step
    for step in (
        *(make_pipeline, FunctionTransformer, KNeighborsClassifier, LocalOutlierFactor),
        *(CalibratedClassifierCV, FrozenEstimator),
    )
}


def booster(params: dict[str, Any], label: Any, **data: Any) -> Any:
    """A native Booster of XGBoost."""
    return xgboost.train(params, xgboost.DMatrix(X, label, **data), 3)


# How a model is written.


def test_rankers_subclasses_and_functions_as_objectives_are_written(spark: SparkSession, registry: str) -> None:
    class Turned(lightgbm.LGBMClassifier):  # type: ignore[misc]
        def predict(self, X: Any, **settings: Any) -> Any:
            return 1 - super().predict(X, **settings)

    ranker = lightgbm.LGBMRanker(**SMALL).fit(X, THREE, group=[12] * 10)
    turned = Turned(**SMALL).fit(X, TWO)
    own = lightgbm.LGBMRegressor(objective=lambda y, p: (p - y, np.ones_like(y)), **SMALL).fit(X, NUMBER)
    first = registered(ranker, task="ranking")
    second = registered(turned, task="binary_classification")
    third = registered(own)
    assert first.notes == ()
    for version in (second, third):
        assert version.flavor == "lightgbm"
        assert version.notes[0].startswith("logged as cloudpickle, since skops cannot hold it")
    assert scored(spark, first) == pytest.approx(ranker.predict(X))
    assert scored(spark, second) == (1 - lightgbm.LGBMClassifier(**SMALL).fit(X, TWO).predict(X)).tolist()
    assert scored(spark, third) == pytest.approx(own.predict(X))


def test_what_a_flavor_would_lose_goes_with_that_of_scikit_learn(spark: SparkSession, registry: str) -> None:
    class Higher(xgboost.XGBRegressor):  # type: ignore[misc]
        def fit(self, X: Any, y: Any) -> Any:
            self.more_ = 5.0
            return super().fit(X, y)

        def predict(self, X: Any, **settings: Any) -> Any:
            return super().predict(X, **settings) + self.more_

    class Cat(catboost.CatBoostClassifier):  # type: ignore[misc]
        pass

    holes = X.assign(a=X["a"].where(np.arange(ROWS) % 5 > 0, -999.0))
    missing = xgboost.XGBRegressor(n_estimators=3, missing=-999.0).fit(holes, NUMBER)
    higher, cat = Higher(n_estimators=3).fit(X, NUMBER), Cat(**CAT).fit(X, TWO)
    for model, given, task, lost in (
        (missing, holes, "regression", "its setting missing"),
        (higher, X, "regression", "its class Higher"),
        (cat, X, "binary_classification", "its class Cat"),
    ):
        version = registered(model, given, task=task)
        assert (version.flavor, version.algorithm) == ("sklearn", type(model).__name__)
        assert version.notes[0].startswith(f"logged with the flavor sklearn, since its own would lose {lost}")
        assert scored(spark, version, given) == pytest.approx(model.predict(given))
    cause, fix = refused(higher, flavor="xgboost")
    assert cause == "flavor 'xgboost': it does not write its class Higher, so that the loaded model would be another"
    assert "leave it out" in fix


def test_a_format_of_the_callers_is_kept_and_skops_has_its_types_named(registry: str) -> None:
    ranker = lightgbm.LGBMRanker(**SMALL).fit(X, THREE, group=[12] * 10)
    for form in ("skops", "cloudpickle"):
        version = registered(ranker, task="ranking", options={"serialization_format": form})
        files = mlflow.models.Model.load(version.uri).flavors["lightgbm"]
        assert files["serialization_format"] == form
    own = lightgbm.LGBMRegressor(objective=lambda y, p: (p - y, np.ones_like(y)), **SMALL).fit(X, NUMBER)
    cause, _ = refused(own, options={"serialization_format": "skops"})
    assert cause.startswith("options: serialization_format: skops cannot hold the model")


def test_what_cannot_be_written_is_named_before_there_is_a_run(registry: str) -> None:
    class Locked(LinearRegression):  # type: ignore[misc]
        def fit(self, X: Any, y: Any) -> Any:
            self.lock_ = threading.Lock()
            return super().fit(X, y)

    cause, fix = refused(Locked().fit(X, NUMBER))
    assert cause == (
        "model: saving it with MLflow's flavor sklearn raised TypeError: "
        "it holds a _thread.lock, which cannot be written to a file"
    )
    assert "make it where it is needed" in fix


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ModuleNotFoundError("No module named 'skops.io'"), "raised ModuleNotFoundError: the module skops.io is not"),
        (OSError(28, "No space left on device", "/home/secret"), "raised OSError: the system said: No space left on"),
        (ValueError("customer 4711 is odd"), "MLflow's flavor sklearn raised ValueError"),
        (AttributeError("Can't pickle local object 'train.<locals>.Own'"), "it holds train.<locals>.Own, which pickle"),
    ],
)
def test_the_cause_of_a_failed_log_is_told_without_values(error: Exception, cause: str) -> None:
    wrapped = RuntimeError("see there")
    wrapped.__cause__ = error
    text = not_saved("sklearn", error).problems[0].cause
    assert cause in text
    assert "RuntimeError from " + type(error).__name__ in not_saved("sklearn", wrapped).problems[0].cause
    assert "4711" not in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("settings", "cause", "fix"),
    [
        (
            {"extra_pip_requirements": ["pandas"]},
            "pip_requirements, extra_pip_requirements: MLflow takes only one of them",
            "put all into pip_requirements",
        ),
        (
            {"options": {"conda_env": {}}},
            "pip_requirements, conda_env: MLflow takes only one",
            "leave pip_requirements",
        ),
        ({"pip_requirements": ["scikit-learn=1.7"]}, "scikit-learn=1.7: it is not a requirement", "name==version"),
        ({"pip_requirements": "pandas"}, "'pandas' is not a file", "give a list"),
        ({"options": {"code_paths": ["no/own.py"]}}, "code_paths: no/own.py: there is no such file", "are relative to"),
        ({"options": {"code_paths": "nowhere.py"}}, "code_paths: it is not a list", "give a list"),
    ],
)
def test_requirements_are_checked_before_there_is_a_run(registry: str, settings: Any, cause: str, fix: str) -> None:
    told = refused(LinearRegression().fit(X, NUMBER), **settings)
    assert cause in told[0]
    assert fix in told[1]


# Native Boosters.


def test_labels_of_an_objective_are_whole_numbers(spark: SparkSession, registry: str) -> None:
    softmax = booster({"objective": "multi:softmax", "num_class": 3}, THREE)
    hinge = booster({"objective": "binary:hinge"}, TWO)
    several = registered(softmax, task="multiclass_classification")
    two = registered(hinge, task="binary_classification")
    assert several.outputs == two.outputs == ("prediction: long",)
    data = xgboost.DMatrix(X)
    assert set(softmax.predict(data)) == {0, 1, 2}
    assert scored(spark, several) == softmax.predict(data).astype(int).tolist()
    assert scored(spark, two) == hinge.predict(data).astype(int).tolist()
    cause, fix = refused(hinge, task="probability")
    assert cause.endswith("its objective binary:hinge returns labels")
    assert fix == "give task='binary_classification'"


def test_a_linear_booster_is_given_a_matrix_of_its_library(spark: SparkSession, registry: str) -> None:
    linear = booster({"booster": "gblinear"}, NUMBER)
    assert scored(spark, registered(linear)) == pytest.approx(linear.predict(xgboost.DMatrix(X)))


@pytest.mark.parametrize(
    ("make", "task", "labels"),
    [
        (
            lambda: booster({"objective": "multi:softmax", "num_class": 3}, THREE),
            "multiclass_classification",
            [0, 1, 2],
        ),
        (lambda: booster({"objective": "multi:softprob", "num_class": 3}, THREE), "probability", [0, 1, 2]),
        (lambda: booster({"objective": "binary:hinge"}, TWO), "binary_classification", [0, 1]),
        (lambda: booster({"objective": "binary:logistic"}, TWO), "probability", None),
        (lambda: booster({"objective": "binary:logitraw"}, TWO), "regression", None),
        (lambda: booster({"objective": "rank:ndcg"}, THREE, qid=np.repeat(range(10), 12)), "ranking", None),
        (
            lambda: lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, TWO), 2),
            "probability",
            None,
        ),
        (
            lambda: lightgbm.train(
                {"objective": "multiclass", "num_class": 3, "verbose": -1}, lightgbm.Dataset(X, THREE), 2
            ),
            "probability",
            [0, 1, 2],
        ),
        (
            lambda: lightgbm.train(
                {"objective": "lambdarank", "verbose": -1}, lightgbm.Dataset(X, THREE, group=[12] * 10), 2
            ),
            "ranking",
            None,
        ),
        (
            lambda: lightgbm.train(
                {"objective": lambda p, d: (p - d.get_label(), np.ones_like(p)), "verbose": -1},
                lightgbm.Dataset(X, NUMBER),
                2,
            ),
            None,
            None,
        ),
        (lambda: lightgbm.LGBMRanker(**SMALL).fit(X, THREE, group=[12] * 10), "ranking", None),
        (lambda: make_pipeline(StandardScaler(), KMeans(2, n_init=1)).fit(X), "clustering", None),
        (lambda: make_pipeline(StandardScaler(), IsolationForest(n_estimators=2)).fit(X), "anomaly_detection", None),
    ],
)
def test_a_model_says_what_it_is_for(make: Callable[[], Any], task: str | None, labels: Any) -> None:
    model = make()
    assert likely_task(model) == task
    assert class_labels(model) == labels


@pytest.mark.parametrize(
    ("objective", "task", "returns"),
    [
        ({"objective": "multi:softprob", "num_class": 3}, "multiclass_classification", "probabilities"),
        ({"objective": "binary:logistic"}, "binary_classification", "probabilities"),
        ({"objective": "binary:logitraw"}, "probability", "numbers"),
    ],
)
def test_an_objective_says_why_its_numbers_are_others(registry: str, objective: Any, task: str, returns: str) -> None:
    model = booster(objective, THREE if "num_class" in objective else TWO)
    cause, fix = refused(model, task=task)
    assert cause.endswith(f"its objective {objective['objective']} returns {returns}")
    registered(model, task=fix.removeprefix("give task='").removesuffix("'"))


def test_raw_scores_of_a_function_as_objective_are_told(spark: SparkSession, registry: str) -> None:
    def log_odds(label: Any, margin: Any) -> Any:
        p = 1 / (1 + np.exp(-margin))
        return p - label, p * (1 - p)

    model = lightgbm.LGBMClassifier(objective=log_odds, **SMALL).fit(X, TWO)
    scores = model.predict(X)
    expected = {"binary_classification": (scores > 0).astype(int), "probability": 1 / (1 + np.exp(-scores))}
    for task, values in expected.items():
        cause, fix = refused(model, task=task)
        assert cause.endswith("its objective is a function, and LightGBM then returns raw scores")
        line = fix.removeprefix("say what the scores mean; of log-odds: ").split("; task='regression'")[0]
        assert scored(spark, typed(line, model=model)) == pytest.approx(values)


def test_raw_values_of_catboosts_general_class_are_told(registry: str) -> None:
    model = catboost.CatBoost({"loss_function": "Logloss", **CAT}).fit(X, TWO)
    cause, fix = refused(model, task="binary_classification")
    assert cause.endswith("its class CatBoost returns raw values")
    registered(typed(fix.removeprefix("register "), model=model), task="binary_classification")


def test_a_classifier_without_probabilities_is_told_how_it_gets_them(registry: str) -> None:
    model = LinearSVC().fit(X, TWO)
    cause, fix = refused(model, task="probability")
    assert cause.endswith("LinearSVC has no predict_proba, and its predict returns labels")
    registered(typed(fix.removeprefix("fit one that has it: "), model=model, y=TWO), task="probability")
    boosted = lightgbm.LGBMClassifier(**SMALL).fit(X, TWO)
    cause, fix = refused(boosted, task="probability")
    assert cause.endswith("with the flavor lightgbm its predict returns labels")
    assert fix.startswith("give flavor='sklearn'")
    assert registered(boosted, task="probability", flavor="sklearn").outputs == ("prediction: float64 (-1, 2)",)


# No predict.


def test_what_only_transforms_is_told_and_its_function_scores(spark: SparkSession, registry: str) -> None:
    model = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    cause, fix = refused(model)
    assert cause == "model: PCA has no predict; it has transform, fit_transform, score_samples"
    version = typed(fix.split("transform returns: ")[1], model=model)
    np.testing.assert_allclose(scored(spark, version), model.transform(X), rtol=1e-12)


@pytest.mark.parametrize("front", [(), (StandardScaler(),)])
def test_what_only_labels_its_own_rows_is_told(registry: str, front: tuple[Any, ...]) -> None:
    model = make_pipeline(*front, DBSCAN()).fit(X) if front else DBSCAN().fit(X)
    cause, fix = refused(model, task="clustering")
    assert cause == "model: DBSCAN has no predict; it has fit_predict, for the rows that it was trained on"
    learner = typed(fix.split("learn its labels: ")[1].removesuffix(", task='clustering'"), model=model)
    assert registered(learner, task="clustering").outputs == ("prediction: long",)


def test_outliers_of_training_only_are_told(registry: str) -> None:
    cause, fix = refused(LocalOutlierFactor().fit(X), task="anomaly_detection")
    assert cause == "model: LocalOutlierFactor has no predict; it has fit_predict, for the rows that it was trained on"
    line, task = fix.removeprefix("train it for new rows: ").split(", task=")
    registered(typed(line), task=task.strip("'"))


@pytest.mark.parametrize(
    ("model", "settings", "cause"),
    [
        (LinearRegression(), {}, "model: it is not trained"),
        (catboost.CatBoostRegressor(), {}, "model: CatBoostRegressor is not trained"),
        (LinearRegression, {}, "model: LinearRegression is a class and not a trained model"),
        (GridSearchCV(Ridge(), {"alpha": [1]}, refit=False, cv=2), {}, "model: GridSearchCV has no predict"),
        (
            LinearSVC().fit(X, TWO),
            {"options": {"pyfunc_predict_fn": "decision_function"}},
            "MLflow's loaded model calls",
        ),
        (
            LinearSVC().fit(X, TWO),
            {"options": {"pyfunc_predict_fn": "predict_proba"}},
            "LinearSVC has no predict_proba",
        ),
    ],
)
def test_what_cannot_predict_is_refused(registry: str, model: Any, settings: Any, cause: str) -> None:
    assert cause in refused(model, **settings)[0]


def test_a_cluster_is_told_its_task(registry: str) -> None:
    assert refused(KMeans(2, n_init=1).fit(X))[1].startswith("give task='clustering'")
    assert refused(IsolationForest(n_estimators=2).fit(X))[1].startswith("give task='anomaly_detection'")


# Several targets.


def test_probabilities_of_several_targets_are_refused_and_one_is_taken(registry: str) -> None:
    several = MultiOutputClassifier(LogisticRegression()).fit(X, BOTH)
    cause, fix = refused(several, task="probability")
    assert cause == f"model: it returned a list of 2 arrays of {ROWS} rows each, as of several targets"
    one = typed(fix.split("register ")[-1].removesuffix(", and so on"), model=several)
    assert registered(one, task="probability").outputs == ("prediction: float64 (-1, 2)",)
    forest = RandomForestClassifier(2, random_state=0).fit(X, np.c_[TWO, 1 - TWO])
    assert "list of 2 arrays" in refused(forest, task="probability")[0]
    registered(clone(forest).fit(X, BOTH[:, 0]), task="probability")


def test_labels_of_several_targets_are_refused(registry: str) -> None:
    for model in (
        RandomForestClassifier(2).fit(X, BOTH),
        ClassifierChain(LogisticRegression()).fit(X, np.c_[TWO, 1 - TWO]),
        xgboost.XGBClassifier(n_estimators=2).fit(X, np.c_[TWO, 1 - TWO]),
    ):
        cause, fix = refused(model, task="multiclass_classification")
        assert "it returns 2 values per row, the task has one" in cause
        assert cause.endswith("of several targets, a model has one")
        assert fix.startswith("register a model for each target: fit it on Y[:, 0]")


def test_numbers_of_several_targets_score(spark: SparkSession, registry: str) -> None:
    trees = {"multi_strategy": "multi_output_tree", "tree_method": "hist"}
    model = xgboost.XGBRegressor(n_estimators=3, **trees).fit(X, np.c_[NUMBER, -NUMBER])
    np.testing.assert_allclose(scored(spark, registered(model)), model.predict(X), rtol=1e-6)


def test_boosters_of_folds_are_refused(registry: str) -> None:
    data = lightgbm.Dataset(X, NUMBER)
    found = lightgbm.cv({"verbose": -1}, data, 2, nfold=3, stratified=False, return_cvbooster=True)
    assert "it returned a list of 3 arrays" in refused(found["cvbooster"])[0]


# Nulls, texts, sparse values.


def test_nulls_of_pandas_integers_are_refused_with_the_true_cause(spark: SparkSession, registry: str) -> None:
    frame = X.assign(a=pd.array([1, None, 3] * 40, dtype="Int64"))
    cause, fix = refused(lightgbm.LGBMRegressor(**SMALL).fit(frame, NUMBER), frame)
    assert "Int64 has room for the nulls in the frame; numpy's integers, which scoring gives the model, have" in cause
    exec(fix.split(": ", 1)[1], {"X": frame})  # noqa: S102  the very line that is proposed
    model = lightgbm.LGBMRegressor(**SMALL).fit(frame, NUMBER)
    assert scored(spark, registered(model, frame), frame) == pytest.approx(model.predict(frame))


@pytest.mark.parametrize("rows", [ROWS, 1])
def test_a_model_of_texts_is_given_texts(spark: SparkSession, registry: str, rows: int) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, KINDS)
    forms: Sequence[tuple[Any, str]] = (
        (TEXTS[:rows], "review"),
        (TEXTS[:rows].to_frame(), "review"),
        (TEXTS[:rows].rename(None), "text"),
        (TEXTS[:rows].tolist(), "text"),
    )
    for given, column in forms[: 4 if rows > 1 else 2]:
        version = registered(model, given, task="probability")
        assert version.inputs == (f"{column}: string",)
        assert version.notes[0].startswith(f"its first step takes texts, and scoring gives it those of {column}")
    np.testing.assert_allclose(scored(spark, version, TEXTS.to_frame(column)), model.predict_proba(TEXTS), rtol=1e-12)


def test_a_step_beside_the_vectorizer_gets_a_series(spark: SparkSession, registry: str) -> None:
    lengths = FunctionTransformer(lambda series: series.str.len().to_frame())
    model = make_pipeline(FeatureUnion([("words", CountVectorizer()), ("length", lengths)]), LogisticRegression())
    version = registered(model.fit(TEXTS, KINDS), TEXTS, task="binary_classification")
    assert scored(spark, version, TEXTS.to_frame()) == model.predict(TEXTS).tolist()


def test_texts_beside_other_columns_are_refused(registry: str) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, KINDS)
    cause, fix = refused(model, TEXTS.to_frame().assign(n=1.0), task="binary_classification")
    assert cause.endswith("the model's first step takes texts, one for each row, and the frame has 2 columns")
    assert fix.startswith("give the texts of fit() as a Series")
    cause, _ = refused(model, TEXTS.to_frame().assign(review=1.0), task="binary_classification")
    assert cause.endswith("the frame's column is not of text")


def test_a_series_of_another_model_is_refused_and_the_fix_scores(spark: SparkSession, registry: str) -> None:
    lower = FunctionTransformer(lambda series: series.str.lower())
    model = make_pipeline(lower, TfidfVectorizer(), LogisticRegression()).fit(TEXTS, KINDS)
    frame = TEXTS.reset_index(drop=True).to_frame()
    cause, fix = refused(model, frame, task="binary_classification")
    assert "the model takes a Series, and scoring gives it a DataFrame" in cause
    assert "it is a pandas.core.series.Series, and scoring gives the model a DataFrame" in refused(model, TEXTS)[0]
    line = fix.removeprefix("let a step in front take the column: ").split(", and give a frame")[0]
    version = registered(typed(line, model=model), frame, task="binary_classification")
    assert scored(spark, version, frame) == model.predict(TEXTS).tolist()
    assert "train on a frame, and give that" in refused(LinearRegression().fit(X[["a"]], NUMBER), X["a"])[1]


def test_sparse_matrices_are_refused_and_both_fixes_score(spark: SparkSession, registry: str) -> None:
    vectorizer = TfidfVectorizer()
    matrix = vectorizer.fit_transform(TEXTS)
    model = LogisticRegression().fit(matrix, KINDS)
    cause, fix = refused(model, matrix, task="binary_classification")
    assert "scipy.sparse" in cause
    assert cause.endswith("a table's rows are dense: so is what scoring gives the model")
    assert fix.startswith("give X.toarray()")
    registered(model, matrix.toarray(), task="binary_classification")
    whole = typed("make_pipeline(vectorizer, model)", vectorizer=vectorizer, model=model)
    assert scored(spark, registered(whole, TEXTS, task="binary_classification"), TEXTS.to_frame()) == (
        model.predict(matrix).tolist()
    )
    boosted = xgboost.XGBClassifier(n_estimators=2).fit(matrix, KINDS)
    assert refused(boosted, scipy.sparse.csr_matrix(matrix))[1].startswith("train on X.toarray(), and give that")


def test_sparse_columns_are_refused_and_dense_ones_predict_the_same(spark: SparkSession, registry: str) -> None:
    sparse = X.round().astype(pd.SparseDtype("float64", 0))
    models: list[BaseEstimator] = [LinearRegression(), xgboost.XGBRegressor(n_estimators=3)]
    for model in models:
        model.fit(sparse, NUMBER)
        frame = sparse.copy()
        with pytest.raises(RegistrationError) as raised:
            registered(model, frame)
        for problem in raised.value.problems:
            assert problem.cause.startswith("it is sparse, and scoring gives the model a dense column")
            exec(problem.fix, {"X": frame})  # noqa: S102  the very line that is proposed
        assert scored(spark, registered(model, frame), frame) == pytest.approx(model.predict(sparse))


def test_the_doctor_says_the_same_of_a_model_in_memory(registry: str) -> None:
    found = ss.check_model(PCA(2).fit(X), X)
    assert [finding.code for finding in found.findings] == ["not-registrable"]
    assert ss.check_model(booster({"objective": "multi:softmax", "num_class": 3}, THREE), X).findings == ()
