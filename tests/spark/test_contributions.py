"""Why a row got its prediction: contributions as the models' own libraries give them, exact ones of linear models."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING, Any

import catboost
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
from mlflow.models import infer_signature
from pyspark.sql import functions as F  # noqa: N812
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import spark_scoring as ss
from tests.models import QUICKLY, in_order

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, Row, SparkSession

N = 300
NAMES = ["size", "age", "odd `name`"]
_RANDOM = np.random.default_rng(7)
NUMBERS = pd.DataFrame(_RANDOM.normal(size=(N, 3)), columns=NAMES)
NUMBERS.loc[::9, "age"] = np.nan
COLOURS = np.array(["red", "green", "blue"])
MIXED = NUMBERS.assign(colour=COLOURS[_RANDOM.integers(0, 3, N)])
_SCORE = NUMBERS["size"] + 2 * NUMBERS["age"].fillna(0) * NUMBERS["odd `name`"]
TWO = (_SCORE > 0).astype(int)
THREE = np.where(_SCORE > 1, "high", np.where(_SCORE < -1, "low", "middle"))


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> DataFrame:
    rows = [tuple(None if v != v else v for v in row) for row in MIXED.itertuples(index=False)]  # noqa: PLR0124
    numbered = [(i, *row) for i, row in enumerate(rows)]
    frame = spark.createDataFrame(numbered, "id int, size double, age double, `odd ``name``` double, colour string")
    return frame.repartition(3).cache()


def saved(flavor: Any, model: Any, folder: Path, frame: pd.DataFrame, result: Any) -> str:
    own = QUICKLY if flavor is mlflow.sklearn else {"pip_requirements": QUICKLY["pip_requirements"]}
    flavor.save_model(model, str(folder), signature=infer_signature(frame, result), **own)
    return str(folder)


def explained(table: DataFrame, model: str, top: int | bool = 50, **options: Any) -> list[Row]:  # noqa: FBT001
    return in_order(ss.score_batch(table, model, explain=top, **options))


def matrix(rows: list[Row], names: list[str]) -> np.ndarray[Any, Any]:
    """Contributions by name; 0 where a row does not tell of a feature."""
    told = [{one["feature"]: one["contribution"] for one in row["contributions"]} for row in rows]
    assert all(set(row) <= set(names) for row in told)
    return np.array([[row.get(name, 0.0) for name in names] for row in told])


def scores(rows: list[Row]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.array([row["raw_score"] for row in rows]), np.array([row["base_score"] for row in rows])


def holds(rows: list[Row], names: list[str], own: np.ndarray[Any, Any], raw: np.ndarray[Any, Any], near: float) -> None:
    """As the library gives them, to the bit; in order of size; and adding up to the model's own raw score."""
    assert [row["scoring_error"] for row in rows] == [None] * N
    found, (raw_score, base) = matrix(rows, names), scores(rows)
    assert np.array_equal(found, own[:, :-1])
    assert np.array_equal(base, own[:, -1])
    for row in rows:
        sizes = [abs(one["contribution"]) for one in row["contributions"]]
        assert sizes == sorted(sizes, reverse=True)
    assert np.abs(found.sum(axis=1) + base - raw_score).max() < 1e-9
    assert np.abs(raw_score - raw).max() <= near * max(1.0, np.abs(raw).max())


def of_best(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of (rows, scores, columns) those of the greatest score."""
    return values[np.arange(N), values.sum(axis=2).argmax(axis=1)]


def test_a_lightgbm_classifier_with_categories(table: DataFrame, tmp_path: Path) -> None:
    frame = MIXED.assign(colour=MIXED["colour"].astype("category"))
    model = lightgbm.LGBMClassifier(n_estimators=15, min_child_samples=5, verbose=-1, n_jobs=1).fit(frame, TWO)
    path = saved(mlflow.lightgbm, model, tmp_path / "m", frame.astype({"colour": str}), model.predict(frame))
    rows = explained(table, path, predict=["predict", "predict_proba"])
    raw = model.predict(frame, raw_score=True)
    holds(rows, list(frame.columns), model.predict(frame, pred_contrib=True), raw, 1e-9)
    few = explained(table, path, True, stage="map")  # noqa: FBT003
    assert [row["contributions"] for row in few] == [row["contributions"][:3] for row in rows]
    assert few[5]["raw_score"] == rows[5]["raw_score"]


def test_xgboost_to_single_precision_and_three_classes(table: DataFrame, tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=12, max_depth=3, n_jobs=1).fit(
        NUMBERS, pd.Series(THREE).map({"low": 0, "middle": 1, "high": 2})
    )
    path = saved(mlflow.xgboost, model, tmp_path / "m", NUMBERS, model.predict(NUMBERS))
    data = xgboost.DMatrix(NUMBERS)
    own = model.get_booster().predict(data, pred_contribs=True).astype(float)
    margins = model.predict(NUMBERS, output_margin=True)
    assert len(set(margins.argmax(axis=1))) == 3
    holds(explained(table, path), NAMES, of_best(own), margins.max(axis=1), 1e-5)


def test_catboost(table: DataFrame, tmp_path: Path) -> None:
    model = catboost.CatBoostRegressor(iterations=15, depth=3, verbose=False, thread_count=1, allow_writing_files=False)
    model.fit(NUMBERS, _SCORE)
    path = saved(mlflow.catboost, model, tmp_path / "m", NUMBERS, model.predict(NUMBERS))
    own = model.get_feature_importance(catboost.Pool(NUMBERS), type="ShapValues")
    holds(explained(table, path), NAMES, own, model.predict(NUMBERS), 1e-9)


def test_a_pipeline_tells_of_the_tables_own_features(table: DataFrame, tmp_path: Path) -> None:
    front = ColumnTransformer(
        [
            ("colours", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
            ("numbers", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), [NAMES[2], "age", "size"]),
        ]
    )
    for last in (LogisticRegression(), lightgbm.LGBMClassifier(n_estimators=9, verbose=-1, n_jobs=1)):
        model = make_pipeline(front, last).fit(MIXED, THREE)
        path = saved(mlflow.sklearn, model, tmp_path / type(last).__name__, MIXED, model.predict(MIXED))
        rows = explained(table, path)
        given = np.asarray(model[:-1].transform(MIXED))
        if isinstance(last, LogisticRegression):
            raw = model.decision_function(MIXED)
            own = of_best(
                np.concatenate([given[:, None] * last.coef_, np.repeat(last.intercept_[None, :, None], N, 0)], 2)
            )
        else:
            raw = last.predict(given, raw_score=True)
            own = of_best(last.predict(given, pred_contrib=True).reshape(N, 3, -1))
        # three columns of the colour; the indicator of age is its own, too
        names, sources = ["colour", NAMES[2], "age", "size"], [[0, 1, 2], [3], [4, 6], [5]]
        folded = np.column_stack([*(own[:, s].sum(axis=1) for s in sources), own[:, -1]])
        assert given.shape[1] == 7
        found, (raw_score, base) = matrix(rows, names), scores(rows)
        assert np.abs(found - folded[:, :-1]).max() < 1e-9
        assert np.abs(base - folded[:, -1]).max() < 1e-12
        assert np.abs(raw_score - raw.max(axis=1)).max() < 1e-9


WHOLE = NUMBERS.fillna(0)
POSITIVE = np.exp(_SCORE / 4)
TREES: dict[str, tuple[Any, pd.DataFrame, Any]] = {
    "forest": (RandomForestClassifier(4, max_depth=4), NUMBERS, TWO),
    "three classes": (ExtraTreesClassifier(4, max_depth=4), NUMBERS, THREE),
    "regression": (RandomForestRegressor(3, max_depth=5), NUMBERS, _SCORE),
    "tree": (DecisionTreeClassifier(max_depth=4), NUMBERS, THREE),
    "boosted": (GradientBoostingClassifier(n_estimators=6), WHOLE, TWO),
    "boosted by histograms": (HistGradientBoostingClassifier(max_iter=5), NUMBERS, THREE),
    "logarithm": (HistGradientBoostingRegressor(loss="poisson", max_iter=5), NUMBERS, POSITIVE),
}


def raw_scores(model: Any, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """As docs/explain.md says: of several classes the score of the greatest, of two that of the second."""
    if hasattr(model, "decision_function"):
        own = model.decision_function(frame)
    elif hasattr(model, "predict_proba"):
        own = model.predict_proba(frame)
        own = own[:, 1] if own.shape[1] == 2 else own
    else:
        own = model.predict(frame)
        own = np.log(own) if getattr(model, "loss", "") == "poisson" else own
    return np.asarray(own if own.ndim == 1 else own.max(axis=1))


def exact_shapley(model: Any, row: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Shapley values of one tree, by their definition over all sets of features (Lundberg et al. 2020)."""
    tree = model.tree_

    def value(known: frozenset[int], node: int = 0) -> float:
        left, right = tree.children_left[node], tree.children_right[node]
        if left == right:
            return float(tree.value[node][0][0])
        if (feature := tree.feature[node]) in known:
            return value(known, left if np.float32(row[feature]) <= tree.threshold[node] else right)
        shares = tree.weighted_n_node_samples[[left, right]] / tree.weighted_n_node_samples[node]
        return float(shares[0] * value(known, left) + shares[1] * value(known, right))

    count = len(row)
    found = np.zeros(count)
    for feature in range(count):
        others = [f for f in range(count) if f != feature]
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for chosen in combinations(others, size):
                found[feature] += weight * (value(frozenset({*chosen, feature})) - value(frozenset(chosen)))
    return found


@pytest.mark.parametrize("kind", TREES)
def test_trees_of_scikit_learn_add_up_to_their_score(table: DataFrame, tmp_path: Path, kind: str) -> None:
    model, frame, label = TREES[kind]
    model.set_params(random_state=0).fit(frame, label)
    path = saved(mlflow.sklearn, model, tmp_path / "m", frame, model.predict(frame))
    rows = [row for row in explained(table, path) if row["scoring_error"] is None]
    told = [place for place in range(N) if frame is NUMBERS or not np.isnan(NUMBERS["age"][place])]
    assert len(rows) == len(told)
    raw, base = scores(rows)
    assert np.abs(raw - raw_scores(model, frame)[told]).max() < 1e-9
    assert np.abs(matrix(rows, NAMES).sum(axis=1) + base - raw).max() < 1e-9


def test_the_contributions_of_a_tree_are_its_shapley_values(table: DataFrame, tmp_path: Path) -> None:
    model = DecisionTreeRegressor(max_depth=5, random_state=0).fit(WHOLE, _SCORE)
    path = saved(mlflow.sklearn, model, tmp_path / "m", WHOLE, model.predict(WHOLE))
    found = matrix(explained(table.fillna(0, ["age"]), path), NAMES)
    own = [exact_shapley(model, row) for row in WHOLE.to_numpy()]
    assert np.abs(found - own).max() < 1e-9


def test_products_are_told_as_products(table: DataFrame, tmp_path: Path) -> None:
    frame = NUMBERS.fillna(0)
    model = make_pipeline(PolynomialFeatures(2, include_bias=False), LinearRegression()).fit(frame, _SCORE)
    path = saved(mlflow.sklearn, model, tmp_path / "m", frame, model.predict(frame))
    rows = explained(table.fillna(0.0), path)
    assert rows[0]["contributions"][0]["feature"] == "age * odd `name`" or frame.loc[0, "age"] == 0
    assert np.abs(scores(rows)[0] - model.predict(frame)).max() < 1e-9
    plan = ss.plan_scoring(path, table.fillna(0.0), explain=2)
    assert (plan.engine, plan.engine_note) == ("python", "the job asks for contributions")


def test_a_bad_row_has_no_reasons(table: DataFrame, tmp_path: Path) -> None:
    frame = NUMBERS.fillna(0)
    model = LinearRegression().fit(frame, _SCORE)
    path = saved(mlflow.sklearn, model, tmp_path / "m", frame, model.predict(frame))
    rows = explained(table, path)  # the model raises on a missing number
    bad = [row for row in rows if row["age"] is None]
    assert len(bad) == 34
    assert {(row["contributions"], row["raw_score"], row["base_score"]) for row in bad} == {(None, None, None)}
    good = [row for row in rows if row["age"] is not None]
    assert all(row["prediction"] == pytest.approx(row["raw_score"], abs=1e-9) for row in good)


def test_other_models_are_refused_before_a_row_is_read(table: DataFrame, tmp_path: Path) -> None:
    frame = NUMBERS.fillna(0)
    ada = AdaBoostClassifier(n_estimators=2).fit(frame, TWO)
    forests = RandomForestRegressor(2).fit(frame, np.column_stack([_SCORE, _SCORE]))
    begun = GradientBoostingRegressor(n_estimators=2, init=LinearRegression()).fit(frame, _SCORE)
    exponential = GradientBoostingClassifier(n_estimators=2, loss="exponential").fit(frame, TWO)
    coded = frame.assign(colour=np.arange(N) % 3.0)
    grouped = HistGradientBoostingRegressor(max_iter=2, categorical_features=[3]).fit(coded, _SCORE)
    two = LinearRegression().fit(frame, np.column_stack([_SCORE, _SCORE]))
    linear_trees = lightgbm.train(
        {"linear_tree": True, "verbose": -1, "num_threads": 1}, lightgbm.Dataset(frame.to_numpy(), _SCORE), 3
    )
    cases: list[tuple[Any, Any, Any, str]] = [
        (mlflow.sklearn, ada, ada.predict(frame), "its estimator is AdaBoostClassifier"),
        (mlflow.sklearn, forests, forests.predict(frame), "it returns several numbers"),
        (mlflow.sklearn, begun, begun.predict(frame), "Unsupported init model type"),
        (mlflow.sklearn, exponential, exponential.predict(frame), "the loss is exponential"),
        (mlflow.sklearn, two, two.predict(frame), "it returns several numbers"),
        (mlflow.lightgbm, linear_trees, linear_trees.predict(frame), "linear trees"),
    ]
    for i, (flavor, model, result, cause) in enumerate(cases):
        path = saved(flavor, model, tmp_path / f"m{i}", frame, result)
        with pytest.raises(ss.PlanError, match=cause):
            ss.plan_scoring(path, table, explain=True)
    rows = table.withColumn("colour", F.lit(1.0))
    path = saved(mlflow.sklearn, grouped, tmp_path / "grouped", coded, grouped.predict(coded))
    with pytest.raises(ss.PlanError, match="splits by category") as raised:
        ss.plan_scoring(path, rows, explain=True)
    assert "OrdinalEncoder" in str(raised.value)
    for wrong in (0, 101, "three"):
        with pytest.raises(ss.RequestError, match="explain"):
            ss.plan_scoring(str(tmp_path / "m0"), table, explain=wrong)  # type: ignore[arg-type]


def test_some_rows_alone_are_told_of(table: DataFrame, tmp_path: Path) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=9, verbose=-1, n_jobs=1).fit(NUMBERS, THREE)
    path = saved(mlflow.lightgbm, model, tmp_path / "m", NUMBERS, model.predict(NUMBERS))
    every = explained(table, path, predict=["predict", "predict_proba"])
    shares = model.predict_proba(NUMBERS)[:, 1]
    cases = {
        "prediction = 'high'": model.predict(NUMBERS) == "high",
        'prediction != "high"': model.predict(NUMBERS) != "high",
        f"probability[1]>={float(shares[7])!r}": shares >= shares[7],
        "probability[1] > 2": shares > 2,
    }
    for only_if, chosen in cases.items():
        stage = "map" if chosen.sum() else "udf"
        options: dict[str, Any] = {"predict": ["predict", "predict_proba"], "stage": stage}
        rows = in_order(ss.score_batch(table, path, explain={"top": 50, "only_if": only_if}, **options))
        for row, full, is_chosen in zip(rows, every, chosen, strict=True):
            told = (row["contributions"], row["raw_score"], row["base_score"])
            assert told == (
                (full["contributions"], full["raw_score"], full["base_score"]) if is_chosen else (None,) * 3
            )
    assert 0 < cases["prediction = 'high'"].sum() < N
    hashes = {ss.plan_scoring(path, table, explain={"only_if": f"prediction = '{c}'"}).hash for c in ("high", "low")}
    assert len(hashes) == 2
    wrong = {
        "prediction": "not of the form",
        "contributions = 1": "no single value contributions",
        "probability[1] > 0.5": "no single value",  # which is not asked for
        "prediction = 3": "prediction is a string",
    }
    for only_if, cause in wrong.items():
        with pytest.raises(ss.PlanError, match=cause):
            ss.plan_scoring(path, table, explain={"only_if": only_if})


def test_codes_stand_beside_contributions(table: DataFrame, tmp_path: Path) -> None:
    model = LinearRegression().fit(NUMBERS.fillna(0), _SCORE)
    path = saved(mlflow.sklearn, model, tmp_path / "m", NUMBERS.fillna(0), model.predict(NUMBERS.fillna(0)))
    here = table.where("age IS NOT NULL")
    plain = explained(here, path)
    file = tmp_path / "codes.csv"
    file.write_text("\ufefffeature;code;text\nsize;007;how large\nage;NA;\nheight;R9;of another model\n")
    told = "there is none for odd `name`: their code is null"
    for codes, wanted in (
        (str(file), {"size": "007", "age": "NA"}),
        ({"odd `name`": 'R"3", é', "size": "7", "age": "8"}, {"odd `name`": 'R"3", é', "size": "7", "age": "8"}),
    ):
        asked = {"top": 3, "codes": codes}
        rows = in_order(ss.score_batch(here, path, explain=asked))
        for row, bare in zip(rows, plain, strict=True):
            assert row["contributions"] == [(*one, wanted.get(one["feature"])) for one in bare["contributions"]]
        notes = ss.plan_scoring(path, here, explain=asked).notes
        assert any(told in note for note in notes) == (len(wanted) < 3)
    first = ss.plan_scoring(path, here, explain=asked).hash
    asked["codes"] = {"odd `name`": "R3", "size": "7", "age": "8"}
    assert ss.plan_scoring(path, here, explain=asked).hash != first


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("name,code\nsize,R1\n", "it has no column feature\n   fix: begin it with the line feature,code"),
        ("feature,code\nsize,R1\nsize,R2\n", "its line 3 has another code for a feature that has one"),
        ("feature,code\nsize,\n", "its line 2 has no feature or no code"),
        ("feature,code\nsize\n", "its line 2 has no feature or no code"),
        ("feature,code\nheight,R1\n", "there is none for any of the model's features\n   fix: features: size, age"),
        ("", "it has no column feature, code"),
        (None, "No such file or directory"),
        ({"agee": "R1", "size": "R2"}, "explain.codes: agee: the model has no such feature\n   fix: did you mean age?"),
    ],
)
def test_codes_that_do_not_fit(table: DataFrame, tmp_path: Path, content: Any, cause: str) -> None:
    model = LinearRegression().fit(NUMBERS.fillna(0), _SCORE)
    path = saved(mlflow.sklearn, model, tmp_path / "m", NUMBERS.fillna(0), model.predict(NUMBERS.fillna(0)))
    codes = tmp_path / "codes.csv"
    if isinstance(content, str):
        codes.write_text(content)
    with pytest.raises(ss.PlanError) as raised:
        ss.plan_scoring(path, table, explain={"codes": content if isinstance(content, dict) else str(codes)})
    assert cause in str(raised.value)
