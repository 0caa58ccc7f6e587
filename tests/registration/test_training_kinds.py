"""Training jobs beyond fit(X, y): weights, groups, early stopping, searches, classes of any type, code of one's own.

What a job registers is held against the library itself, fitted on the same rows in pandas.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import catboost
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import sklearn
import xgboost
import yaml
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spark_scoring import LocalFeatureClient, RequestError, RunError, TrainingJob, run_training, score_batch
from spark_scoring.job_problems import JobError
from spark_scoring.registration import training
from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.examples import Examples
from spark_scoring.registration.fitting import fitting_of
from spark_scoring.registration.tasks import output_type
from tests.models import frame_in_order

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

ROWS = 120
HELD_OUT = 90  # ids from here on are for validation
FEATURES = ["a", "b"]
LGBM = {"n_estimators": 8, "min_child_samples": 5, "n_jobs": 1, "verbose": -1, "random_state": 1}
XGB = {"n_estimators": 8, "max_depth": 2, "n_jobs": 1, "random_state": 1}
CAT = {"iterations": 8, "depth": 2, "verbose": False, "allow_writing_files": False, "random_seed": 1, "thread_count": 1}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """What the table holds: shuffled queries of five rows, two and one, labels of several kinds."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=ROWS), rng.normal(size=ROWS)
    signal = a + b / 2 + rng.normal(size=ROWS) / 2
    frame = pd.DataFrame({"id": np.arange(ROWS), "a": a, "b": b, "price": signal * 10 + 50})
    frame["note"] = np.where(signal > 0, "ok", "late")
    frame["kind"] = np.select([signal > 0.5, signal > -0.5], [3, -7], 2**53 + 1)
    frame["late"] = signal < 0
    frame["weight"] = rng.integers(0, 5, ROWS) + np.where(np.arange(ROWS) % 10 == 0, 20.0, 0.5)
    query = np.r_[rng.permutation(np.arange(HELD_OUT) // 5), rng.permutation(np.arange(30) // 5 + 50)]
    query[-3:] = 98, 98, 99  # a query of two rows and one of one
    frame["query"] = [f"q{number:02}" for number in query]
    frame["relevance"] = np.clip(np.round(signal + 1), 0, 3)
    return frame


@pytest.fixture(scope="module")
def table(spark: SparkSession, rows: pd.DataFrame) -> str:
    spark.sql("CREATE SCHEMA IF NOT EXISTS kinds")
    spark.createDataFrame(rows).coalesce(1).write.format("delta").saveAsTable("kinds.rows")
    return "kinds.rows"


@pytest.fixture
def fields(table: str, registry: str) -> dict[str, Any]:
    return {
        "name": "main.kinds.model",
        "task": "regression",
        "source": {"table": table},
        "features": FEATURES,
        "label": "price",
        "order_by": ["id"],
        "validation": f"id >= {HELD_OUT}",
        "estimator": "lightgbm:LGBMRegressor",
        "params": LGBM,
        "pip_requirements": ["mlflow"],
        "verify": "here",
        "tracking_uri": registry,
    }


def split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return rows[rows["id"] < HELD_OUT], rows[rows["id"] >= HELD_OUT]


def by_query(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    train, held_out = split(rows)
    return train.sort_values("query", kind="stable"), held_out.sort_values("query", kind="stable")


def trained(spark: SparkSession, job: dict[str, Any]) -> tuple[Any, dict[str, float]]:
    """The registered model as its own library loads it, and the run's metrics."""
    registered = run_training(TrainingJob.from_dict(job), spark)
    flavor = getattr(mlflow, registered.flavor)
    return flavor.load_model(registered.uri), mlflow.get_run(registered.run_id).data.metrics


def told(job: dict[str, Any]) -> str:
    """Why a job is refused before a row is read: no session is there to read one."""
    with pytest.raises(JobError) as raised:
        fitting_of(TrainingJob.from_dict(job))
    return str(raised.value)


# weights


def test_weights_go_to_fit_and_to_the_metrics(spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame) -> None:
    train, held_out = split(rows)
    model, found = trained(spark, {**fields, "weights": "weight"})
    expected = lightgbm.LGBMRegressor(**LGBM).fit(train[FEATURES], train["price"], sample_weight=train["weight"])
    predicted = expected.predict(held_out[FEATURES])
    assert model.predict(held_out[FEATURES]) == pytest.approx(predicted)
    for name, metric in (("mae", metrics.mean_absolute_error), ("r2", metrics.r2_score)):
        weighted = metric(held_out["price"], predicted, sample_weight=held_out["weight"])
        assert found[f"validation_{name}"] == pytest.approx(weighted)
    plain = metrics.mean_absolute_error(held_out["price"], predicted)
    assert found["validation_mae"] != pytest.approx(plain)


def scaled() -> Any:
    """An estimator of a job: a pipeline."""
    return make_pipeline(StandardScaler(), LogisticRegression())


def test_weights_go_to_the_last_step_of_a_pipeline(
    spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame
) -> None:
    train, held_out = split(rows)
    job = {**fields, "task": "binary_classification", "label": "note", "estimator": f"{__name__}:scaled", "params": {}}
    model, found = trained(spark, {**job, "weights": "weight"})
    expected = scaled().fit(train[FEATURES], train["note"], logisticregression__sample_weight=train["weight"])
    assert model.predict_proba(held_out[FEATURES]) == pytest.approx(expected.predict_proba(held_out[FEATURES]))
    score, beside = expected.predict_proba(held_out[FEATURES])[:, 1], {"sample_weight": held_out["weight"]}
    assert found["validation_auc"] == pytest.approx(metrics.roc_auc_score(held_out["note"], score, **beside))
    accuracy = metrics.accuracy_score(held_out["note"], expected.predict(held_out[FEATURES]), **beside)
    assert found["validation_accuracy"] == pytest.approx(accuracy)


def routed() -> Any:
    """A pipeline whose last step asks for weights, as scikit-learn routes metadata."""
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    return make_pipeline(scaler, LogisticRegression().set_fit_request(sample_weight=True))


def test_weights_reach_a_step_that_asks_for_them(fields: dict[str, Any], rows: pd.DataFrame) -> None:
    train, _ = split(rows)
    given = Examples(train[FEATURES], train["note"], train["weight"].to_numpy())
    job = {**fields, "task": "binary_classification", "label": "note", "weights": "weight", "params": {}}
    with sklearn.config_context(enable_metadata_routing=True):
        fitting = fitting_of(TrainingJob.from_dict({**job, "estimator": f"{__name__}:routed"}))
        coefficients = fitting.fit(given, given).model[-1].coef_
    expected = scaled().fit(train[FEATURES], train["note"], logisticregression__sample_weight=train["weight"])
    assert coefficients == pytest.approx(expected[-1].coef_)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("weight - 1", "it is not a number >= 0 in"),
        ("note", "weights: STRING is not a number\n   fix: weights: CAST(note AS DOUBLE)"),
        ("wait", "weights: 'wait' does not fit the source"),
        (f"IF(id >= {HELD_OUT}, 0, 1)", "it is 0 in all rows that validation holds in"),
        (f"IF(id >= {HELD_OUT}, 1, 0)", "it is 0 in all rows that are trained on"),
    ],
)
def test_wrong_weights_are_refused(spark: SparkSession, fields: dict[str, Any], weights: str, expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        run_training(TrainingJob.from_dict({**fields, "weights": weights}), spark)
    assert expected in str(raised.value)


def test_the_fix_of_weights_takes_away_all_that_is_wrong(spark: SparkSession, fields: dict[str, Any]) -> None:
    odd = "CASE id WHEN 1 THEN NULL WHEN 2 THEN double('NaN') WHEN 3 THEN double('Infinity') WHEN 4 THEN -1 ELSE 2 END"
    with pytest.raises(RequestError, match="it is not a number >= 0 in 4 rows") as raised:
        run_training(TrainingJob.from_dict({**fields, "weights": odd}), spark)
    corrected = yaml.safe_load(raised.value.problems[0].fix)
    assert run_training(TrainingJob.from_dict({**fields, **corrected}), spark).version


def test_an_estimator_without_weights_is_named(fields: dict[str, Any]) -> None:
    job = {**fields, "weights": "weight", "estimator": "sklearn.neighbors:KNeighborsRegressor", "params": {}}
    assert told(job).startswith("weights: the fit of KNeighborsRegressor takes no sample_weight\n   fix: leave weights")


# groups


def ndcg(held_out: pd.DataFrame, predicted: Any) -> float:
    """scikit-learn's, one query after the other."""
    scored = held_out.assign(predicted=predicted)
    queries = [part for _, part in scored.groupby("query") if len(part) > 1]
    assert len(queries) < scored["query"].nunique()
    return float(np.mean([metrics.ndcg_score([part["relevance"]], [part["predicted"]]) for part in queries]))


RANKING = {"task": "ranking", "label": "relevance", "groups": "query"}


def test_lightgbm_ranks_within_groups(spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame) -> None:
    train, held_out = by_query(rows)
    model, found = trained(spark, {**fields, **RANKING, "estimator": "lightgbm:LGBMRanker", "weights": "weight"})
    sizes = train.groupby("query").size()
    expected = lightgbm.LGBMRanker(**LGBM).fit(
        train[FEATURES], train["relevance"], group=sizes, sample_weight=train["weight"]
    )
    assert model.predict(held_out[FEATURES]) == pytest.approx(expected.predict(held_out[FEATURES]))
    assert found["validation_ndcg"] == pytest.approx(ndcg(held_out, expected.predict(held_out[FEATURES])))
    assert found["validation_ndcg"] < 1


def test_xgboost_ranks_within_groups_of_a_weight_each(
    spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame
) -> None:
    train, held_out = by_query(rows)
    job = {**fields, **RANKING, "estimator": "xgboost:XGBRanker", "params": XGB, "early_stopping": 3}
    with pytest.raises(RequestError, match=r"takes one weight for each group, and within \d+ groups") as raised:
        run_training(TrainingJob.from_dict({**job, "weights": "weight"}), spark)
    model, found = trained(spark, {**job, **yaml.safe_load(raised.value.problems[0].fix)})
    numbers = [pd.factorize(part["query"])[0] for part in (train, held_out)]
    weights = [part.groupby("query")["weight"].mean() for part in (train, held_out)]
    expected = xgboost.XGBRanker(**XGB, early_stopping_rounds=3).fit(
        train[FEATURES],
        train["relevance"],
        qid=numbers[0],
        sample_weight=weights[0],
        eval_set=[(held_out[FEATURES], held_out["relevance"])],
        eval_qid=[numbers[1]],
        sample_weight_eval_set=[weights[1]],
        verbose=False,
    )
    assert model.predict(held_out[FEATURES]) == pytest.approx(expected.predict(held_out[FEATURES]))
    assert found["best_iteration"] == expected.best_iteration


def test_catboost_ranks_within_groups_of_a_weight_each(
    spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame
) -> None:
    train, held_out = by_query(rows)
    weights = "ascii(substr(query, 3)) - 47"
    job = {**fields, **RANKING, "estimator": "catboost:CatBoostRanker", "params": CAT, "early_stopping": 3}
    model, found = trained(spark, {**job, "weights": weights})
    pools = [
        catboost.Pool(
            part[FEATURES],
            part["relevance"],
            group_id=part["query"],
            group_weight=part["query"].str[2].map(ord) - 47.0,
        )
        for part in (train, held_out)
    ]
    expected = catboost.CatBoostRanker(**CAT).fit(pools[0], eval_set=pools[1], early_stopping_rounds=3)
    assert model.predict(held_out[FEATURES]) == pytest.approx(expected.predict(held_out[FEATURES]))
    assert found["best_iteration"] == expected.get_best_iteration()


def test_a_group_is_not_split_by_validation(spark: SparkSession, fields: dict[str, Any]) -> None:
    job = {**fields, **RANKING, "estimator": "xgboost:XGBRanker", "params": XGB, "validation": "id % 5 = 0"}
    with pytest.raises(RequestError, match="groups have rows that it holds in and rows that it does not") as raised:
        run_training(TrainingJob.from_dict(job), spark)
    corrected = yaml.safe_load(raised.value.problems[0].fix.removeprefix("let it hold for whole groups: "))
    registered = run_training(TrainingJob.from_dict({**job, **corrected}), spark)
    assert 0 < dict(registered.metrics)["validation_ndcg"] <= 1


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("IF(id = 3, NULL, query)", "groups: it is null in 1 rows\n   fix: leave them out: source.where: (IF("),
        ("a", "groups: DOUBLE does not tell groups apart"),
    ],
)
def test_groups_that_are_none_are_refused(
    spark: SparkSession, fields: dict[str, Any], groups: str, expected: str
) -> None:
    job = {**fields, **RANKING, "estimator": "lightgbm:LGBMRanker", "groups": groups}
    with pytest.raises(RequestError) as raised:
        run_training(TrainingJob.from_dict(job), spark)
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"groups": "query"},
            "groups: nothing uses them: LGBMRegressor is not a ranker, and no search splits by groups",
        ),
        (
            {"estimator": "lightgbm:LGBMRanker"},
            "groups: LGBMRanker ranks the rows of a group, and there are none\n   fix: add groups",
        ),
        (
            {"estimator": "lightgbm:LGBMRanker", "groups": "query", "search": {"space": {"num_leaves": [2]}}},
            "search: a search splits rows without regard to the groups that LGBMRanker ranks",
        ),
        (
            {"search": {"space": {"num_leaves": [2]}, "cv": "GroupKFold"}},
            "groups: GroupKFold cuts by groups, and there are none",
        ),
    ],
)
def test_groups_and_what_takes_them_go_together(fields: dict[str, Any], changes: Any, expected: str) -> None:
    assert expected in told({**fields, **changes})


# no label


def test_clusters_need_no_label(spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame) -> None:
    params = {"n_clusters": 3, "n_init": 1, "random_state": 1}
    job = {**fields, "task": "clustering", "label": None, "estimator": "sklearn.cluster:KMeans", "params": params}
    registered = run_training(TrainingJob.from_dict({**job, "weights": "weight"}), spark)
    assert registered.outputs == ("prediction: long",)
    assert dict(registered.metrics) == {"training_rows": HELD_OUT, "validation_rows": ROWS - HELD_OUT}
    train, held_out = split(rows)
    expected = KMeans(**params).fit(train[FEATURES], sample_weight=train["weight"])
    scored = frame_in_order(score_batch(spark.table("kinds.rows"), registered.uri).where(f"id >= {HELD_OUT}"))
    assert scored["prediction"].tolist() == expected.predict(held_out[FEATURES]).tolist()


class Alone:
    """Fitted without labels, and with no place for one."""

    def fit(self, X: pd.DataFrame) -> Alone:
        self.rows = len(X)
        return self


def test_fit_is_called_without_a_label_where_there_is_none(fields: dict[str, Any], rows: pd.DataFrame) -> None:
    job = {**fields, "task": "clustering", "label": None, "estimator": f"{__name__}:Alone", "params": {}}
    train = Examples(rows[FEATURES], None)
    assert fitting_of(TrainingJob.from_dict(job)).fit(train, train).model.rows == ROWS


@pytest.mark.parametrize(
    ("estimator", "fix"),
    [("sklearn.cluster:DBSCAN", "KMeans"), ("sklearn.neighbors:LocalOutlierFactor", "params: {novelty: true}")],
)
def test_what_only_tells_of_its_own_rows_is_refused(fields: dict[str, Any], estimator: str, fix: str) -> None:
    text = told({**fields, "task": "clustering", "label": None, "estimator": estimator, "params": {}})
    assert "has no predict: it only labels the rows that it was fitted on" in text
    assert fix in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label": None, "task": "ranking"}, "label: the task ranking has one"),
        ({"label": "note"}, "label: STRING is not a number, and the task regression has one"),
        ({"label": "DATE'2026-01-01'"}, "fix: label: unix_date(DATE'2026-01-01')"),
        ({"label": "IF(id = 1, double('NaN'), price)"}, "label: it is null or NaN in 1 rows"),
        ({"label": "price", "task": "binary_classification"}, "it is not a whole number of 64 bits in 120 rows"),
        (
            {"label": "DATE'2026-01-01'", "task": "binary_classification"},
            "label: DATE is not a class label: a model predicts whole numbers or text",
        ),
    ],
)
def test_labels_that_are_none_are_refused(
    spark: SparkSession, fields: dict[str, Any], changes: Any, expected: str
) -> None:
    with pytest.raises(RequestError) as raised:
        run_training(TrainingJob.from_dict({**fields, **changes}), spark)
    assert expected in str(raised.value)


# early stopping

STOPPING = {"early_stopping": 3, "weights": "weight"}


def test_lightgbm_stops_on_encoded_text_labels(spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame) -> None:
    train, held_out = split(rows)
    params = {**LGBM, "n_estimators": 60}
    job = {**fields, **STOPPING, "task": "binary_classification", "label": "note", "params": params}
    model, found = trained(spark, {**job, "estimator": "lightgbm:LGBMClassifier"})
    sets = [
        lightgbm.Dataset(part[FEATURES], (part["note"] == "ok").astype(int), weight=part["weight"], free_raw_data=False)
        for part in (train, held_out)
    ]
    booster = {**params, "objective": "binary", "num_threads": 1}
    native = lightgbm.train(
        booster, sets[0], 60, valid_sets=sets[1:], callbacks=[lightgbm.early_stopping(3, verbose=False)]
    )
    assert 0 < native.best_iteration < 60
    assert found["best_iteration"] == native.best_iteration
    assert model.predict_proba(held_out[FEATURES])[:, 1] == pytest.approx(native.predict(held_out[FEATURES]))


def test_xgboost_stops(spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame) -> None:
    train, held_out = split(rows)
    params = {**XGB, "n_estimators": 60}
    model, found = trained(spark, {**fields, **STOPPING, "estimator": "xgboost:XGBRegressor", "params": params})
    sets = [xgboost.DMatrix(part[FEATURES], part["price"], weight=part["weight"]) for part in (train, held_out)]
    booster = {"max_depth": 2, "nthread": 1, "seed": 1, "objective": "reg:squarederror"}
    native = xgboost.train(
        booster, sets[0], 60, evals=[(sets[1], "held_out")], early_stopping_rounds=3, verbose_eval=False
    )
    assert found["best_iteration"] == native.best_iteration < 59
    expected = native.predict(sets[1], iteration_range=(0, native.best_iteration + 1))
    assert model.predict(held_out[FEATURES]) == pytest.approx(expected, rel=1e-5)


def test_catboost_stops(spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame) -> None:
    train, held_out = split(rows)
    params = {**CAT, "iterations": 60, "learning_rate": 0.5}
    model, found = trained(spark, {**fields, **STOPPING, "estimator": "catboost:CatBoostRegressor", "params": params})
    pools = [catboost.Pool(part[FEATURES], part["price"], weight=part["weight"]) for part in (train, held_out)]
    native = catboost.train(pools[0], {**params, "loss_function": "RMSE"}, eval_set=pools[1], early_stopping_rounds=3)
    assert found["best_iteration"] == native.get_best_iteration() < 59
    assert model.predict(held_out[FEATURES]) == pytest.approx(native.predict(held_out[FEATURES]))


def test_histogram_boosting_stops(spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame) -> None:
    train, held_out = split(rows)
    params = {"max_iter": 60, "min_samples_leaf": 5, "learning_rate": 0.5}
    estimator = "sklearn.ensemble:HistGradientBoostingRegressor"
    model, _ = trained(spark, {**fields, **STOPPING, "estimator": estimator, "params": params})
    native = HistGradientBoostingRegressor(**params, early_stopping=True, n_iter_no_change=3).fit(
        train[FEATURES],
        train["price"],
        sample_weight=train["weight"],
        X_val=held_out[FEATURES],
        y_val=held_out["price"],
        sample_weight_val=held_out["weight"],
    )
    assert model.n_iter_ == native.n_iter_ < 60
    assert model.predict(held_out[FEATURES]) == pytest.approx(native.predict(held_out[FEATURES]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"validation": None}, "early_stopping: validation is missing: there are no rows to stop on"),
        (
            {"estimator": f"{__name__}:scaled", "params": {}},
            "a pipeline gives the validation rows to LogisticRegression as they are, without its earlier steps",
        ),
        (
            {"estimator": "sklearn.linear_model:LinearRegression", "params": {}},
            "LinearRegression does not stop on validation rows",
        ),
        ({"params": {"boosting_type": "dart"}}, "LightGBM does not stop early with boosting_type dart"),
        (
            {
                "estimator": "sklearn.ensemble:HistGradientBoostingRegressor",
                "params": {},
                "search": {"space": {"max_depth": [2]}},
            },
            "scikit-learn's searches may split the validation rows of HistGradientBoostingRegressor",
        ),
    ],
)
def test_what_cannot_stop_is_refused(fields: dict[str, Any], changes: Any, expected: str) -> None:
    assert expected in told({**fields, "early_stopping": 3, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"validation": "id < 0"}, "validation: it holds in no row, and early_stopping needs some"),
        (
            {"task": "multiclass_classification", "label": "IF(id >= 100, 'new', note)"},
            "validation: 20 of its rows are of classes that no row to train on has",
        ),
    ],
)
def test_rows_that_cannot_be_stopped_on_are_refused(
    spark: SparkSession, fields: dict[str, Any], changes: Any, expected: str
) -> None:
    job = {**fields, "early_stopping": 3, "estimator": "lightgbm:LGBMClassifier", "task": "binary_classification"}
    with pytest.raises(RequestError) as raised:
        run_training(TrainingJob.from_dict({**job, "label": "note", **changes}), spark)
    assert expected in str(raised.value)


def test_rounds_are_counted_from_one(fields: dict[str, Any]) -> None:
    with pytest.raises(JobError, match="early_stopping: the number is too small\n   fix: give 1 or more"):
        TrainingJob.from_dict({**fields, "early_stopping": 0})


# searches


def test_the_best_estimator_of_a_grid_is_registered(
    spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame
) -> None:
    train, held_out = split(rows)
    search = {"space": {"num_leaves": [2, 9]}, "cv": 3, "scoring": "neg_mean_absolute_error"}
    registered = run_training(TrainingJob.from_dict({**fields, "weights": "weight", "search": search}), spark)
    expected = GridSearchCV(
        lightgbm.LGBMRegressor(**LGBM), {"num_leaves": [2, 9]}, cv=3, scoring="neg_mean_absolute_error"
    ).fit(train[FEATURES], train["price"], sample_weight=train["weight"])
    run = mlflow.get_run(registered.run_id).data
    assert registered.flavor == "lightgbm"
    assert run.params["num_leaves"] == str(expected.best_params_["num_leaves"])
    assert run.params["n_estimators"] == "8"
    assert run.metrics["best_score"] == pytest.approx(expected.best_score_)
    model = mlflow.lightgbm.load_model(registered.uri)
    assert model.predict(held_out[FEATURES]) == pytest.approx(expected.predict(held_out[FEATURES]))


@pytest.mark.parametrize(
    ("estimator", "params", "name"),
    [
        ("lightgbm:LGBMRegressor", {**LGBM, "n_estimators": 60, "learning_rate": 0.5}, "num_leaves"),
        ("xgboost:XGBRegressor", {**XGB, "n_estimators": 60}, "max_depth"),
        ("catboost:CatBoostRegressor", {**CAT, "iterations": 60, "learning_rate": 0.5}, "depth"),
    ],
)
def test_a_search_does_not_cut_the_validation_rows(
    fields: dict[str, Any], rows: pd.DataFrame, estimator: str, params: Any, name: str
) -> None:
    """As many validation rows as rows to train on, which scikit-learn would take for one of them each."""
    train, held_out = rows.iloc[:60], rows.iloc[60:]
    parts = [Examples(part[FEATURES], part["price"]) for part in (train, held_out)]
    job = {**fields, "estimator": estimator, "params": params, "early_stopping": 3}
    alone = fitting_of(TrainingJob.from_dict({**job, "params": {**params, name: 2}})).fit(*parts)
    search = {"space": {name: [2]}, "cv": 2, "error_score": "raise"}
    found = fitting_of(
        TrainingJob.from_dict({**job, "params": {k: v for k, v in params.items() if k != name}, "search": search})
    ).fit(*parts)
    assert found.metrics["best_iteration"] == alone.metrics["best_iteration"] < 59
    assert found.model.predict(held_out[FEATURES]) == pytest.approx(alone.model.predict(held_out[FEATURES]))


def test_a_search_keeps_groups_together(spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame) -> None:
    train, _ = by_query(rows)
    cut = {"class": "GroupKFold", "n_splits": 3}
    job = {**fields, "groups": "query", "estimator": "sklearn.linear_model:Ridge", "params": {}}
    registered = run_training(
        TrainingJob.from_dict({**job, "search": {"space": {"alpha": [0.1, 100.0]}, "cv": cut}}), spark
    )
    grid = GridSearchCV(Ridge(), {"alpha": [0.1, 100.0]}, cv=GroupKFold(3))
    grid.fit(train[FEATURES], train["price"], groups=train["query"])
    assert dict(registered.metrics)["best_score"] == pytest.approx(grid.best_score_)


@pytest.mark.parametrize(
    "search",
    [
        {"class": "RandomizedSearchCV", "n_iter": 2, "random_state": 1, "cv": 2},
        {"class": "HalvingGridSearchCV", "cv": 2, "min_resources": 20, "random_state": 1},
        {"class": "sklearn.model_selection:GridSearchCV", "cv": {"n_splits": 2}},
    ],
)
def test_other_searches(fields: dict[str, Any], rows: pd.DataFrame, search: dict[str, Any]) -> None:
    train = Examples(rows[FEATURES], rows["note"], rows["weight"].to_numpy())
    space = {"logisticregression__C": [0.1, 1.0, 10.0]}
    job = {**fields, "estimator": f"{__name__}:scaled", "params": {}, "weights": "weight"}
    fitted = fitting_of(TrainingJob.from_dict({**job, "search": {"space": space, **search}})).fit(train, train)
    best = fitted.params["logisticregression__C"]
    expected = scaled().set_params(logisticregression__C=best)
    expected.fit(rows[FEATURES], rows["note"], logisticregression__sample_weight=rows["weight"])
    assert fitted.model[-1].coef_ == pytest.approx(expected[-1].coef_)
    assert 0 < fitted.metrics["best_score"] < 1


def grid() -> Any:
    """A factory of a search, which is registered as it is."""
    return GridSearchCV(LinearRegression(), {"fit_intercept": [True, False]}, cv=2)


def test_a_search_that_a_factory_makes_stays_a_search(spark: SparkSession, fields: dict[str, Any]) -> None:
    job = {**fields, "estimator": f"{__name__}:grid", "params": {}, "weights": "weight"}
    model, found = trained(spark, job)
    assert isinstance(model, GridSearchCV)
    assert "best_score" not in found


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (
            {"space": {"num_leafs": [2]}},
            "search: space.num_leafs: LGBMRegressor has no such parameter\n   fix: did you mean num_leaves?",
        ),
        ({"space": {"num_leaves": 2}}, "search: space.num_leaves: it is not a list of values"),
        ({"space": {"num_leaves": []}}, "search: space.num_leaves: it is not a list of values"),
        ({}, "search: space: it does not say what to try\n   fix: add space: {<parameter>: [<values to try>]}"),
        ({"space": {"num_leaves": [2]}, "class": "GridSearch"}, "fix: did you mean GridSearchCV?"),
        ({"space": {"num_leaves": [2]}, "class": "no.such:Search"}, "search: class: No module named 'no'"),
        ({"space": {"num_leaves": [2]}, "n_itr": 3}, "search: n_itr: GridSearchCV has no such field"),
        ({"space": {"num_leaves": [2]}, "refit": False}, "search: refit: the search then leaves no model to register"),
        ({"space": {"num_leaves": [2]}, "scoring": "acuracy"}, "fix: did you mean accuracy"),
        ({"space": {"num_leaves": [2]}, "cv": "KFolds"}, "search: cv: module sklearn.model_selection has no"),
        ({"space": {"num_leaves": [2]}, "cv": {"class": "KFold", "n": 2}}, "search: cv KFold: TypeError"),
    ],
)
def test_a_wrong_search_is_refused(fields: dict[str, Any], search: Any, expected: str) -> None:
    assert expected in told({**fields, "search": search})


def test_a_wrong_parameter_of_catboost_is_told_the_nearest(fields: dict[str, Any]) -> None:
    job = {**fields, "estimator": "catboost:CatBoostRegressor", "params": {}, "search": {"space": {"dept": [2]}}}
    assert "CatBoostRegressor has no such parameter\n   fix: did you mean depth" in told(job)
    assert fitting_of(TrainingJob.from_dict({**job, "search": {"space": {"depth": [2]}}})).keeps_best


# classes

CLASSIFIERS = {
    "lightgbm:LGBMClassifier": LGBM,
    "catboost:CatBoostClassifier": CAT,
    "sklearn.ensemble:HistGradientBoostingClassifier": {"max_iter": 8, "min_samples_leaf": 5},
}


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_text_labels_are_predicted(
    spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame, estimator: str
) -> None:
    label = "CASE WHEN kind = 3 THEN 'three' WHEN kind < 0 THEN 'minus' ELSE 'big' END"
    job = {**fields, "task": "multiclass_classification", "label": label, "estimator": estimator}
    registered = run_training(TrainingJob.from_dict({**job, "params": CLASSIFIERS[estimator]}), spark)
    assert registered.outputs == ("prediction: string",)
    train, held_out = split(rows)
    names = {3: "three", -7: "minus", 2**53 + 1: "big"}
    expected = _native(estimator).fit(train[FEATURES], train["kind"].map(names))
    scored = frame_in_order(score_batch(spark.table("kinds.rows"), registered.uri))
    assert scored["prediction"].tolist() == np.ravel(expected.predict(rows[FEATURES])).tolist()
    accuracy = (np.ravel(expected.predict(held_out[FEATURES])) == held_out["kind"].map(names)).mean()
    assert dict(registered.metrics)["validation_accuracy"] == pytest.approx(accuracy)


def _native(estimator: str) -> Any:
    classes = (lightgbm.LGBMClassifier, catboost.CatBoostClassifier, HistGradientBoostingClassifier)
    return next(cls(**CLASSIFIERS[estimator]) for cls in classes if estimator.endswith(cls.__name__))


def test_whole_numbers_of_any_size_are_predicted(
    spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame
) -> None:
    job = {**fields, "task": "multiclass_classification", "label": "kind", "estimator": "lightgbm:LGBMClassifier"}
    registered = run_training(TrainingJob.from_dict(job), spark)
    scored = score_batch(spark.table("kinds.rows"), registered.uri)
    assert {row.prediction for row in scored.collect()} == {3, -7, 2**53 + 1}


@pytest.mark.parametrize("label", ["late", "CAST(late AS DOUBLE)", "CAST(late AS DECIMAL(3,1))", "CAST(late AS FLOAT)"])
def test_booleans_and_whole_doubles_are_classes(spark: SparkSession, fields: dict[str, Any], label: str) -> None:
    job = {**fields, "task": "binary_classification", "label": label, "estimator": "xgboost:XGBClassifier"}
    model, _ = trained(spark, {**job, "params": XGB})
    assert model.classes_.tolist() == [0, 1]


def test_xgboost_is_given_numbered_classes(spark: SparkSession, fields: dict[str, Any]) -> None:
    job = {**fields, "task": "binary_classification", "label": "note", "estimator": "xgboost:XGBClassifier"}
    with pytest.raises(RequestError) as raised:
        run_training(TrainingJob.from_dict({**job, "params": XGB}), spark)
    problem = raised.value.problems[0]
    assert problem.cause == "XGBClassifier takes only the classes 0 to 1; those of the rows to train on are others"
    assert problem.fix.startswith("number them: label: CASE note WHEN ... THEN 0 WHEN ... THEN 1 END;")
    for word in ("ok", "late"):
        assert word not in str(raised.value)
    typed = problem.fix.split(";")[0].removeprefix("number them: ").replace("...", "'late'", 1).replace("...", "'ok'")
    model, _ = trained(spark, {**job, "params": XGB, **yaml.safe_load(typed)})
    assert model.classes_.tolist() == [0, 1]


def test_catboost_is_not_given_classes_that_it_would_confuse(
    spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame
) -> None:
    label = "16777216 + CAST(late AS INT)"
    job = {**fields, "task": "binary_classification", "label": label, "estimator": "catboost:CatBoostClassifier"}
    with pytest.raises(RequestError, match="in which those above 16,777,216 become others") as raised:
        run_training(TrainingJob.from_dict({**job, "params": CAT}), spark)
    model, found = trained(spark, {**job, "params": CAT, **yaml.safe_load(raised.value.problems[0].fix)})
    assert set(model.predict(rows[FEATURES])) == {"16777216", "16777217"}
    assert found["validation_accuracy"] > 0.5


def test_classes_that_only_validation_has_leave_probabilities_out(spark: SparkSession, fields: dict[str, Any]) -> None:
    label = "IF(id >= 100, 'new', note)"
    job = {**fields, "task": "multiclass_classification", "label": label, "estimator": "lightgbm:LGBMClassifier"}
    _, found = trained(spark, job)
    assert found["validation_accuracy"] > 0
    assert "validation_log_loss" not in found


# code of one's own


def test_code_paths_travel_with_the_model(
    spark: SparkSession, fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "own_line.py"
    module.write_text(
        "from sklearn.linear_model import LinearRegression\n\n\n"
        "class OwnLine(LinearRegression):\n"
        "    def predict(self, X):\n        return super().predict(X) + 1000\n"
    )
    job = {**fields, "code_paths": [str(module)], "estimator": "own_line:OwnLine", "params": {}, "verify": "apart"}
    monkeypatch.setattr(sys, "path", [*sys.path])
    registered = run_training(TrainingJob.from_dict(job), spark)
    folder = mlflow.artifacts.download_artifacts(registered.uri)
    with open(f"{folder}/code/own_line.py") as logged:  # noqa: PTH123
        assert logged.read() == module.read_text()
    module.unlink()
    scored = score_batch(spark.table("kinds.rows"), registered.uri)
    assert scored.where("prediction > 900").count() == ROWS


def test_looked_up_features_leave_the_other_columns_as_they_are(
    spark: SparkSession, fields: dict[str, Any], rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Label, weights, groups and order are of the source's columns, also where a feature has the name of one."""
    (tmp_path / "own_ranker.py").write_text("import xgboost\n\n\nclass OwnRanker(xgboost.XGBRanker):\n    pass\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    queries = spark.createDataFrame([(f"q{n:02}", float(n)) for n in range(100)], "query string, size double")
    LocalFeatureClient().create_table(name="main.kinds.queries", primary_keys="query", df=queries)
    job = {**fields, **RANKING, "estimator": "own_ranker:OwnRanker", "params": XGB, "name": "main.kinds.looked"}
    job |= {
        "features": {"relevance": {"sql": "-a * 7"}, "b": "double", "size": "double"},
        "lookups": [{"table": "main.kinds.queries", "key": "query", "features": ["size"]}],
        "weights": "ascii(substr(query, 3))",
        "code_paths": [str(tmp_path / "own_ranker.py")],
    }
    registered = run_training(TrainingJob.from_dict(job), spark)
    features = rows.assign(target=rows["relevance"], relevance=-rows["a"] * 7, size=rows["query"].str[1:].astype(float))
    train, _ = by_query(features)
    names = ["b", "relevance", "size"]
    weights = train.groupby("query")["query"].first().str[2].map(ord)
    numbers = pd.factorize(train["query"])[0]
    expected = xgboost.XGBRanker(**XGB).fit(train[names], train["target"], qid=numbers, sample_weight=weights)
    (tmp_path / "own_ranker.py").unlink()
    columns = {"relevance": "-a * 7"}
    scored = frame_in_order(score_batch(spark.table("kinds.rows"), registered.uri, columns=columns))
    assert scored["prediction"].to_numpy() == pytest.approx(expected.predict(features[names]))


def test_autologging_makes_no_runs_of_its_own(spark: SparkSession, fields: dict[str, Any]) -> None:
    search = {"space": {"num_leaves": [2, 3]}, "cv": 2}
    before = len(mlflow.search_runs(search_all_experiments=True))
    mlflow.lightgbm.autolog(silent=True)
    try:
        run_training(TrainingJob.from_dict({**fields, "search": search}), spark)
    finally:
        mlflow.lightgbm.autolog(disable=True)
    assert len(mlflow.search_runs(search_all_experiments=True)) == before + 1


def test_a_missing_code_path_is_told_before_training(
    spark: SparkSession, fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "features.py").touch()
    monkeypatch.setattr(training, "read_rows", lambda *_: pytest.fail("rows were read"))
    with pytest.raises(RequestError) as raised:
        run_training(TrainingJob.from_dict({**fields, "code_paths": [str(tmp_path / "feature.py")]}), spark)
    assert "feature.py: there is no such file or folder\n   fix: did you mean " in str(raised.value)
    assert "features.py" in str(raised.value)


def test_a_fit_that_raises_names_the_estimator(spark: SparkSession, fields: dict[str, Any]) -> None:
    search = {"space": {"alpha": [1.0]}, "cv": 1000}
    job = {**fields, "estimator": "sklearn.linear_model:Ridge", "params": {}, "search": search}
    with pytest.raises(RunError, match="estimator GridSearchCV: fit raised ValueError"):
        run_training(TrainingJob.from_dict(job), spark)


# the tasks and the file


def test_rankers_return_doubles_and_clusters_whole_numbers() -> None:
    assert output_type("ranking", np.array([0.5, -2.0], dtype="float32")) == "double"
    assert output_type("clustering", np.array([0, -1], dtype="int32")) == "long"


@pytest.mark.parametrize(
    ("task", "predictions", "expected"),
    [
        ("ranking", np.array([1, 2]), "they are whole numbers; is this a classification?"),
        ("ranking", np.ones((2, 2)), "it returns 2 values per row, the task has one"),
        ("clustering", np.array([0.5, 1.0]), "they are floating; is this a distance (transform) or a score?"),
        ("clustering", np.array(["a", "b"]), "they are text"),
    ],
)
def test_what_rankers_and_clusters_do_not_return(task: Any, predictions: Any, expected: str) -> None:
    with pytest.raises(RegistrationError) as raised:
        output_type(task, predictions)
    assert expected in str(raised.value)


def test_a_job_is_read_back_as_it_was_written(fields: dict[str, Any]) -> None:
    search = {"class": "RandomizedSearchCV", "space": {"num_leaves": [2]}, "cv": {"class": "GroupKFold"}}
    more = {"weights": "weight", "groups": "query", "early_stopping": 3, "search": search, "code_paths": ["a.py"]}
    job = TrainingJob.from_dict({**fields, **more})
    assert TrainingJob.from_dict(yaml.safe_load(job.to_yaml())) == job
