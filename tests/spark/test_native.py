"""Linear models scored by Spark's own expressions: against scikit-learn and statsmodels themselves, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from mlflow.models import infer_signature
from pyspark.sql import functions as F  # noqa: N812
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    GammaRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC

import spark_scoring as ss
from tests.models import QUICKLY

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

ROWS = 150
NUMBERS = ["a", "b", "k"]
PLAIN = ["a", "k", "m"]
MIXED = ["a", "b", "k", "f", "m", "c", "d"]
RAISED = "model: ValueError"


def frame() -> pd.DataFrame:
    """Features of each kind; half of the tests' models are trained on some of them."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": rng.normal(size=ROWS),
            "b": rng.normal(5, 2, size=ROWS),
            "k": rng.integers(0, 9, ROWS),
            "f": rng.normal(size=ROWS).astype("float32"),
            "m": rng.random(ROWS) < 0.5,
            "c": rng.choice(["x", "y", "it's"], ROWS),
            "d": rng.choice(["u", "v"], ROWS),
        }
    )


def target(rows: pd.DataFrame) -> Any:
    """A number that depends on them."""
    noise = np.random.default_rng(1).normal(size=len(rows)) * 0.3
    return rows.a + rows.b * 0.3 + rows.k * 0.1 + rows.m + (rows.c == "x") * 0.5 + noise


def labels(rows: pd.DataFrame, names: list[Any]) -> Any:
    """As many classes as names."""
    return np.array(names)[pd.qcut(target(rows), len(names), labels=False)]


def mixed(**encoder: Any) -> ColumnTransformer:
    """Imputed, scaled and encoded columns, and the others as they are."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer(
        [("numbers", numbers, ["a", "b", "f"]), ("levels", OneHotEncoder(**encoder), ["c", "d"])],
        remainder="passthrough",
    )


REGRESSORS: dict[str, tuple[Any, list[str]]] = {
    "plain": (LinearRegression(), NUMBERS),
    "products": (make_pipeline(PolynomialFeatures(2), StandardScaler(), Ridge()), NUMBERS),
    "mixed": (make_pipeline(mixed(drop="first"), Lasso(alpha=0.01)), MIXED),
    "selected": (make_pipeline(VarianceThreshold(), SelectKBest(f_regression, k=2), LinearRegression()), NUMBERS),
    "union": (make_pipeline(FeatureUnion([("s", RobustScaler()), ("m", MaxAbsScaler())]), Ridge()), NUMBERS),
    "poisson": (make_pipeline(MinMaxScaler(), PoissonRegressor()), NUMBERS),
    "gamma": (GammaRegressor(max_iter=500), NUMBERS),
    "ordinal": (
        make_pipeline(
            make_column_transformer(
                (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["c", "d"]),
                remainder="passthrough",
            ),
            LinearRegression(),
        ),
        ["a", "c", "d", "m"],
    ),
    "searched": (GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=2), NUMBERS),
    "no numbers of floating point": (LinearRegression(), ["k", "m"]),
}
CLASSIFIERS: dict[str, tuple[Any, list[str], list[Any]]] = {
    "two numbers": (make_pipeline(StandardScaler(), LogisticRegression()), NUMBERS, [0, 1]),
    "three texts": (make_pipeline(StandardScaler(), LogisticRegression()), NUMBERS, ["hi", "it's", "lo"]),
    "mixed": (make_pipeline(mixed(handle_unknown="ignore"), LogisticRegression()), MIXED, ["no", "yes"]),
    "two flags": (SGDClassifier(loss="log_loss", random_state=0), PLAIN, [False, True]),
    "margins": (LinearSVC(), NUMBERS, [-1, 0, 7]),
    "ridge": (RidgeClassifier(), NUMBERS, ["b", "a"]),
    "discriminant": (LinearDiscriminantAnalysis(), NUMBERS, [1, 2, 3]),
}


def saved(model: Any, rows: pd.DataFrame, folder: Path, flavor: Any = mlflow.sklearn, **options: Any) -> str:
    """The model's folder."""
    own = QUICKLY if flavor.__name__ == "mlflow.sklearn" else {"pip_requirements": ["mlflow"]}
    signature = infer_signature(rows, model.predict(rows))
    flavor.save_model(model, folder, signature=signature, input_example=rows.head(5), **{**own, **options})
    return str(folder)


@pytest.fixture(scope="module")
def odd(spark: SparkSession) -> tuple[pd.DataFrame, DataFrame]:
    """Rows as they come: values at the edges, unknown levels, nulls; the same as a table."""
    rows = frame().reset_index(names="id")
    rows["a"] = rows["a"].astype(object)
    for row, (name, value) in enumerate(
        [
            ("a", np.inf),
            ("b", -np.inf),
            ("a", 1e308),
            ("b", 1e-300),
            ("a", -0.0),
            ("c", "other"),
            ("c", ""),
            ("k", 2**52),
        ]
    ):
        rows.loc[row, name] = value
    rows["a"] = rows["a"].astype(float)
    df = spark.createDataFrame(rows.assign(c=rows.c.astype(object)))
    nulls = F.col("id") == ROWS - 1
    for name in ("a", "c"):
        df = df.withColumn(name, F.when(~nulls, F.col(name)))
    rows.loc[ROWS - 1, ["a", "c"]] = None
    return rows, df


@dataclass(frozen=True)
class Case:
    """A model, and the columns that it has made."""

    model: Any
    uri: str
    names: list[str]
    methods: list[str]
    place: int


def outputs(place: int) -> dict[str, str]:
    """Names of the columns that a model makes, by the method or what they hold."""
    own = {"predict": "prediction", "predict_proba": "probability", "decision_function": "decision"}
    return {**own, "error": "scoring_error"} if place < 0 else {k: f"{k}_{place}" for k in (*own, "error")}


@pytest.fixture(scope="module")
def scored(
    odd: tuple[pd.DataFrame, DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Case], pd.DataFrame]:
    """All models, and what they make of the odd rows, in one job."""
    train, df = frame(), odd[1]
    cases = {}
    templates = {**REGRESSORS, **{f"class {name}": case for name, case in CLASSIFIERS.items()}}
    for place, (name, (template, names, *classes)) in enumerate(templates.items()):
        y = labels(train, classes[0]) if classes else target(train)
        model = template.fit(train[names], np.exp(y / 3) if name in ("poisson", "gamma") else y)
        folder = tmp_path_factory.mktemp("model") / "m"
        own = outputs(place)
        methods = [m for m in own if m != "error" and hasattr(model, m)]
        cases[name] = Case(model, saved(model, train[names], folder), names, methods, place)
        renamed = {column: own[key] for key, column in outputs(-1).items() if key in (*methods, "error")}
        df = ss.score_batch(df, cases[name].uri, predict=methods, names=renamed, engine="native")
    return cases, df.orderBy("id").toPandas()


def alone(model: Any, method: str, row: pd.DataFrame) -> Any:
    """What the model itself returns for one row; the name of what it raises."""
    try:
        with np.errstate(all="ignore"):
            return getattr(model, method)(row)[0]
    except ValueError as error:
        return type(error)


def check(values: pd.Series[Any], errors: pd.Series[Any], case: Case, method: str, rows: pd.DataFrame) -> int:
    """Hold a column against the model itself, row by row; how many rows it raises on."""
    raised = 0
    for i, (found, error) in enumerate(zip(values, errors, strict=True)):
        if error is not None and not error.startswith("model: "):
            continue  # the plan's own checks
        expected = alone(case.model, method, rows[case.names].iloc[[i]])
        if expected is ValueError:
            raised += 1
            assert error == RAISED
            assert found is None or np.isnan(found)
            continue
        assert error is None, i
        if isinstance(expected, str | bool | np.str_ | np.bool_ | np.integer):
            assert found == expected, i
        else:
            assert np.allclose(found, expected, rtol=1e-12, atol=1e-14, equal_nan=True), (i, found, expected)
    return raised


@pytest.mark.parametrize("name", [*REGRESSORS, *(f"class {name}" for name in CLASSIFIERS)])
def test_a_row_gets_what_the_model_itself_returns(
    name: str, scored: tuple[dict[str, Case], pd.DataFrame], odd: tuple[pd.DataFrame, DataFrame]
) -> None:
    cases, made = scored
    case = cases[name]
    own = outputs(case.place)
    for method in case.methods:
        raised = check(made[own[method]], made[own["error"]], case, method, odd[0])
        assert raised >= (0 if {"a", "b", "f"}.isdisjoint(case.names) else 1)


def test_the_columns_are_those_of_python_workers(
    scored: tuple[dict[str, Case], pd.DataFrame], odd: tuple[pd.DataFrame, DataFrame]
) -> None:
    case = scored[0]["class mixed"]
    own, python = (
        ss.score_batch(odd[1], case.uri, predict=case.methods, engine=engine) for engine in ("native", "python")
    )
    assert own.schema == python.schema
    rows = own.orderBy("id").collect(), python.orderBy("id").collect()
    assert [(r.prediction, r.scoring_error) for r in rows[0]] == [(r.prediction, r.scoring_error) for r in rows[1]]


def test_statsmodels_keep_their_links_and_a_nan_stays_one(
    spark: SparkSession, odd: tuple[pd.DataFrame, DataFrame], tmp_path: Path
) -> None:
    train = frame()
    x = sm.add_constant(train[NUMBERS].astype(float))
    y = (target(train) > target(train).median()).astype(int)
    rows = odd[0].assign(const=1.0)
    for name, model in (("ols", sm.OLS(y, x).fit()), ("logit", sm.GLM(y, x, family=sm.families.Binomial()).fit())):
        uri = saved(model, x, tmp_path / name, mlflow.statsmodels)
        df = odd[1].withColumn("const", F.lit(1.0)).withColumn("k", F.col("k").cast("double"))
        made = ss.score_batch(df, uri, engine="native", policy={"*": {"nulls": "keep"}}).orderBy("id").toPandas()
        assert made.scoring_error.isna().all()
        with np.errstate(all="ignore"):
            expected = model.predict(rows[list(x.columns)].astype(float))
        assert np.allclose(made.prediction, expected, rtol=1e-12, atol=1e-14, equal_nan=True)


class Shifted(LinearRegression):
    """A class of one's own: what it inherits says nothing of what it returns."""

    def predict(self, x: Any) -> Any:
        return super().predict(x) + 1


def test_what_is_not_proven_is_scored_in_python(odd: tuple[pd.DataFrame, DataFrame], tmp_path: Path) -> None:
    train, schema = frame(), odd[1].schema
    y = labels(train, [0, 1])
    logistic = LogisticRegression().fit(train[NUMBERS], y)
    models = {
        "a RandomForestClassifier": (RandomForestClassifier(3).fit(train[NUMBERS], y), NUMBERS, {}),
        "a Shifted": (Shifted().fit(train[NUMBERS], y), NUMBERS, {}),
        "double precision": (LinearRegression().fit(train[["f"]], target(train)), ["f"], {}),
    }
    for i, (why, (model, names, options)) in enumerate(models.items()):
        uri = saved(model, train[names], tmp_path / str(i), **options)
        plan = ss.plan_scoring(uri, schema)
        assert plan.engine == "python", why
        with pytest.raises(ss.PlanError, match="engine: native"):
            ss.plan_scoring(uri, schema, engine="native")
    uri = saved(logistic, train[NUMBERS], tmp_path / "logistic")
    assert ss.plan_scoring(uri, schema, rehearse=False).engine == "python"
    assert ss.plan_scoring(uri, schema, engine="python").engine == "python"
    assert ss.plan_scoring(uri, schema).hash != ss.plan_scoring(uri, schema, engine="python").hash
