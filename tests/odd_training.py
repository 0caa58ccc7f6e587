"""Random training frames and pipelines: registered and scored, each row gets its native prediction, or all is refused.

A frame has columns of many dtypes, with nulls of several kinds, zones, levels in any order and odd names; a pipeline
is made from a small grammar that fits it. What a row must get is what the model predicted in the process that trained
it. The table is scored in five partitions under another session zone: every few by Spark, the others by a worker's
code in this process. ``python -m tests.odd_training --count 1500`` tries many.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import sklearn
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBRegressor

import spark_scoring as ss
from spark_scoring.engine.rehearsal import cast_example, packed_lanes
from spark_scoring.engine.worker import Scorer
from spark_scoring.errors import ScoringError
from spark_scoring.model.loaded import LoadedModel
from spark_scoring.plan.policy import Policy
from spark_scoring.registration.errors import RegistrationError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from pyspark.sql import DataFrame, SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a registered model must not need the tests

ROWS, PARTS = 60, 5
ZONES = ("America/New_York", "Asia/Kolkata", "Pacific/Auckland", "UTC")
NAMES = ("a", "B", "c d", "Länge", "x.y", "e'f", "g`h", "seven", "Zone")
TEXTS = ("north", "South", "", " east", "naïve", "None", "nan", "0", "true")


@dataclass(frozen=True)
class Kind:
    """A sort of column: how it is made, how a table has it, and what a pipeline can do with it."""

    name: str
    make: Callable[[Generator, int], pd.Series[Any]]
    steps: tuple[Callable[[], Any], ...]


def some_null(rng: Generator, values: Any, null: Any) -> Any:
    if rng.random() < 0.4:
        return pd.Series(values)
    column = pd.Series(values).copy()
    column[rng.random(len(column)) < 0.2] = null
    return column


def doubles(rng: Generator, n: int) -> pd.Series[Any]:
    return some_null(rng, rng.normal(size=n).round(3), np.nan)


def floats(rng: Generator, n: int) -> pd.Series[Any]:
    return doubles(rng, n).astype("float32")


def integers(rng: Generator, n: int) -> pd.Series[Any]:
    return pd.Series(rng.integers(0, 50, n), dtype=str(rng.choice(["int64", "int32", "int8", "uint8", "uint32"])))


def nullable_integers(rng: Generator, n: int) -> pd.Series[Any]:
    column = pd.Series(rng.integers(0, 9, n)).astype("Int64")
    return some_null(rng, column, pd.NA)


def flags(rng: Generator, n: int) -> pd.Series[Any]:
    return pd.Series(rng.random(n) < 0.5)


def texts(rng: Generator, n: int, null: Any) -> pd.Series[Any]:
    known = rng.choice(np.array(TEXTS, dtype=object), size=rng.integers(2, 6), replace=False)
    return some_null(rng, pd.Series(rng.choice(known, n), dtype=object), null)


def mixed_nulls(rng: Generator, n: int) -> pd.Series[Any]:
    column = texts(rng, n, None)
    column[rng.random(n) < 0.1] = np.nan
    return column


def strings(rng: Generator, n: int) -> pd.Series[Any]:
    return texts(rng, n, None).astype("string")


def categories(rng: Generator, n: int) -> pd.Series[Any]:
    """Levels of a type, in an order of their own, some of them never there, perhaps ordered."""
    levels: Any = {
        "text": ["lo", "mid", "hi", "off", "Zz"],
        "long": [3, 1, 20, 7, -1],
        "double": [0.5, -1.25, 3.0, 8.5, 2.0],
        "flags": [True, False],
        "times": list(pd.date_range("2024", periods=4)),
    }[str(rng.choice(["text", "text", "text", "long", "double", "flags", "times"]))]
    order = [levels[i] for i in rng.permutation(len(levels))]
    used = order[: rng.integers(2, len(order) + 1)]
    values = [used[i] for i in rng.integers(0, len(used), n)]
    if rng.random() < 0.4:
        values = [None if rng.random() < 0.2 else v for v in values]
    return pd.Series(pd.Categorical(values, categories=order, ordered=bool(rng.random() < 0.3)))


def times(rng: Generator, n: int, zone: str | None) -> pd.Series[Any]:
    moments = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 365 * 24 * 60, n), unit="min")
    column = some_null(rng, pd.Series(moments), pd.NaT)
    return column if zone is None else column.dt.tz_localize("UTC").dt.tz_convert(zone)


def by_hour(d: pd.DataFrame) -> Any:
    return np.column_stack([d.iloc[:, i].dt.hour.fillna(-1).to_numpy(dtype=float) for i in range(d.shape[1])])


def by_day(d: pd.DataFrame) -> Any:
    return np.column_stack([d.iloc[:, i].dt.dayofyear.fillna(0).to_numpy(dtype=float) for i in range(d.shape[1])])


def lengths(d: pd.DataFrame) -> Any:
    return np.column_stack([[len(v) if isinstance(v, str) else -1 for v in d.iloc[:, i]] for i in range(d.shape[1])])


def kinds_of_null(d: pd.DataFrame) -> Any:
    """Another number for None, for NaN and for NA, as code that people write may have it."""
    number = {"NoneType": 0.0, "float": 1.0, "NAType": 2.0}
    return np.array([[number.get(type(v).__name__, 3.0) for v in row] for row in d.astype(object).to_numpy()])


def codes(d: pd.DataFrame) -> Any:
    return np.column_stack([d.iloc[:, i].cat.codes.to_numpy(dtype=float) for i in range(d.shape[1])])


def above(d: pd.DataFrame) -> Any:
    """What an ordered category can do."""
    columns = [d.iloc[:, i] for i in range(d.shape[1])]
    return np.column_stack([(c > c.cat.categories[0]).to_numpy(dtype=float) for c in columns])


def centred(d: pd.DataFrame) -> Any:
    return (d - d.mean()).fillna(0.0)


def backwards(d: pd.DataFrame) -> Any:
    return d.fillna(0.0).cumsum()


def one_hot(unknown: str) -> Any:
    return OneHotEncoder(handle_unknown=unknown, sparse_output=False)  # pandas output takes no sparse matrix


def ordinal() -> Any:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)


def filled(missing: Any, strategy: str) -> Any:
    imputer = SimpleImputer(missing_values=missing, strategy=strategy, fill_value="?")
    return make_pipeline(imputer, one_hot("ignore"))


NUMBERS = (
    lambda: make_pipeline(SimpleImputer(), StandardScaler()),
    lambda: SimpleImputer(strategy="median", add_indicator=True),
    lambda: FunctionTransformer(np.nan_to_num),
)
WORDS = (
    partial(one_hot, "ignore"),
    partial(one_hot, "error"),
    ordinal,
    partial(filled, np.nan, "most_frequent"),
    partial(filled, None, "constant"),
    partial(filled, pd.NA, "constant"),
    partial(FunctionTransformer, lengths),
    partial(FunctionTransformer, kinds_of_null),
    partial(TargetEncoder, random_state=0),
)
LEVELS = (partial(one_hot, "ignore"), partial(one_hot, "error"), ordinal, partial(filled, np.nan, "most_frequent"))
ODD_LEVELS = (partial(FunctionTransformer, codes), partial(FunctionTransformer, above))
MOMENTS = (partial(FunctionTransformer, by_hour), partial(FunctionTransformer, by_day))
DEPENDENT = (partial(FunctionTransformer, centred), partial(FunctionTransformer, backwards))
KINDS = (
    Kind("double", doubles, NUMBERS),
    Kind("float", floats, NUMBERS),
    Kind("integer", integers, NUMBERS),
    Kind("Int64", nullable_integers, NUMBERS),
    Kind("flag", flags, (*NUMBERS[2:], partial(one_hot, "error"))),
    Kind("None", partial(texts, null=None), WORDS),
    Kind("NaN", partial(texts, null=np.nan), WORDS),
    Kind("NA", partial(texts, null=pd.NA), WORDS),
    Kind("None or NaN", mixed_nulls, WORDS),
    Kind("string", strings, WORDS),
    Kind("category", categories, (*LEVELS, *ODD_LEVELS)),
    Kind("time", partial(times, zone=None), MOMENTS),
    Kind("UTC", partial(times, zone="UTC"), MOMENTS),
    Kind("London", partial(times, zone="Europe/London"), MOMENTS),
    Kind("dependent", doubles, DEPENDENT),
)
WEIGHTS = np.array([3, 1, 3, 1, 2, 4, 3, 1, 1, 2, 6, 3, 1, 0.4, 0.4])


@dataclass
class Case:
    """A model in memory and the frame that it was trained on."""

    name: str
    model: Any
    X: pd.DataFrame
    expected: Any
    task: str
    settings: dict[str, Any]


def cases(seed: int, count: int) -> Iterator[Case]:
    """Models that could be trained; those that raise in fit or predict are passed over."""
    rng = np.random.default_rng(seed)
    found = 0
    while found < count:
        case = made(rng)
        if case is not None:
            found += 1
            yield case


def made(rng: Generator) -> Case | None:
    chosen = [KINDS[i] for i in rng.choice(len(KINDS), rng.integers(1, 5), p=WEIGHTS / WEIGHTS.sum())]
    names = [str(name) for name in rng.choice(NAMES, len(chosen), replace=False)]
    X = pd.DataFrame({name: kind.make(rng, ROWS) for name, kind in zip(names, chosen, strict=True)})
    if rng.random() < 0.3:
        X.index = pd.Index(rng.permutation(ROWS) + 100)  # as train_test_split leaves it
    settings = {"transform_output": "pandas"} if rng.random() < 0.15 else {}
    y = pd.Series(rng.normal(size=ROWS) + signal(X), index=X.index)
    model, task = pipeline(rng, X, chosen)
    y -= y.median()
    label = y if task == "regression" else (y > 0) if rng.random() < 0.5 else np.where(y > 0, "yes", "no")
    with warnings.catch_warnings(), sklearn.config_context(**settings):
        warnings.simplefilter("ignore")
        try:
            model.fit(X, label)
            expected = np.asarray(model.predict(X))
        except Exception:  # noqa: BLE001  no such model can be trained
            return None
    steps = "+".join(kind.name for kind in chosen)
    return Case(f"{steps} {describe(model)}", model, X, expected, task, settings)


def signal(X: pd.DataFrame) -> Any:
    """A part of the label that depends on each column, so that a wrong value changes the prediction."""
    total = np.zeros(len(X))
    for i in range(X.shape[1]):
        total += 3.0 * (pd.factorize(X.iloc[:, i].astype(object).map(repr))[0] % 5)
    return total


def pipeline(rng: Generator, X: pd.DataFrame, chosen: list[Kind]) -> tuple[Any, str]:
    """A library that takes the frame as it is, or a step for each column and a small model behind them."""
    takes = all(kind.name in ("double", "float", "integer", "category", "flag") for kind in chosen)
    if takes and rng.random() < 0.4:
        small = {"n_estimators": 5, "min_child_samples": 2, "verbose": -1}
        boosters: list[tuple[Any, str]] = [
            (LGBMRegressor(**small), "regression"),
            (LGBMClassifier(**small), "binary_classification"),
            (XGBRegressor(n_estimators=5, max_depth=3, enable_categorical=True), "regression"),
            (HistGradientBoostingRegressor(max_iter=5, categorical_features="from_dtype"), "regression"),
        ]
        return boosters[rng.integers(len(boosters))]
    parts = []
    for i, kind in enumerate(chosen):
        step = kind.steps[rng.integers(len(kind.steps))]()
        where: Any = [i] if rng.random() < 0.3 else [X.columns[i]]
        parts.append((f"s{i}", step, where))
    finals: list[tuple[Any, str]] = [
        (LinearRegression(), "regression"),
        (DecisionTreeRegressor(max_depth=4, random_state=0), "regression"),
        (LogisticRegression(max_iter=50), "binary_classification"),
        (DecisionTreeClassifier(max_depth=4, random_state=0), "binary_classification"),
        (RandomForestClassifier(3, max_depth=4, random_state=0), "binary_classification"),
    ]
    final, task = finals[rng.integers(len(finals))]
    return Pipeline([("columns", ColumnTransformer(parts)), ("model", final)]), task


def describe(model: Any) -> str:
    if not isinstance(model, Pipeline):
        return type(model).__name__
    steps = [step for _, step, _ in model.steps[0][1].transformers]
    texts = [s.func.__name__ if isinstance(s, FunctionTransformer) else str(s) for s in steps]
    return f"{' | '.join(texts)} -> {type(model.steps[-1][1]).__name__}".replace("\n", "")


@dataclass
class Trial:
    """What became of many models."""

    counts: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    """Why models were refused."""
    wrong: list[str] = field(default_factory=list)

    def take(self, spark: SparkSession, case: Case, name: str, *, by_spark: bool, verify: Any) -> None:
        try:
            registered = register(case, name, verify)
        except RegistrationError as error:
            self._refused("refused", error)
            return
        except VerificationError as error:
            self._refused("refused after logging", error)
            return
        except Exception:  # noqa: BLE001  nothing else may be raised
            self.wrong.append(f"{case.name}: {traceback.format_exc()[-700:]}")
            return
        try:
            problem = by(spark, case, registered.uri) if by_spark else here(case, registered.uri)
        except ScoringError as error:
            problem = f"registered, and then refused: {error}"
        self.counts["wrong" if problem else "scored"] += 1
        self.wrong += [f"{case.name}: {problem}"] if problem else []

    def _refused(self, what: str, error: ScoringError) -> None:
        self.counts[what] += 1
        problem = error.problems[0]
        self.causes[f"{problem.thing.split(' ')[0]}: {problem.cause[:110]}"] += 1


def register(case: Case, name: str, verify: Any) -> Any:
    with sklearn.config_context(**case.settings):
        return ss.register_model(
            case.model, case.X, name=name, task=case.task, pip_requirements=["scikit-learn"], verify=verify
        )


def rows_of(X: pd.DataFrame) -> pa.Table:
    """The frame as a table has it: an instant for a time, the level itself, a null for every kind of null."""
    columns = {"id": pa.array(range(len(X)))}
    for name in X.columns:
        column = X[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(object)
        if getattr(column.dtype, "kind", "") == "M":
            naive = column if isinstance(column.dtype, np.dtype) else column.dt.tz_convert("UTC").dt.tz_localize(None)
            columns[name] = pa.array(naive, pa.timestamp("us", "UTC"))
            continue
        values = [None if pd.isna(v) else v for v in column.astype(object)]
        numbers = column.dtype.name if getattr(column.dtype, "kind", "") in "iu" else None
        signed = {"uint8": "int16", "uint32": "int64", "Int64": "int64"}
        columns[name] = pa.array(values, signed.get(numbers, numbers) if numbers else infer(values))
    return pa.table(columns)


def infer(values: list[Any]) -> Any:
    return pa.string() if all(v is None for v in values) else None


def table(spark: SparkSession, X: pd.DataFrame) -> DataFrame:
    return spark.createDataFrame(rows_of(X)).repartition(PARTS)


def by(spark: SparkSession, case: Case, uri: str) -> str | None:
    found = ss.score_batch(table(spark, case.X), uri).select("id", "prediction", "scoring_error").toPandas()
    found = found.sort_values("id")
    return compare(case, found["prediction"].tolist(), found["scoring_error"].tolist())


def here(case: Case, uri: str) -> str | None:
    """By a worker's code, a partition after the other, each with a model loaded for it."""
    from spark_scoring.model.reading import read_spec
    from spark_scoring.model.registry import resolve_model

    frame = rows_of(case.X).to_pandas(ignore_metadata=True).drop(columns="id")
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.DatetimeTZDtype):
            frame[name] = frame[name].dt.tz_localize(None)
    spec = read_spec(resolve_model(uri))
    from spark_scoring.engine.rehearsal import plan_of_example

    plan, _ = plan_of_example(spec, frame)
    predictions: list[Any] = [None] * ROWS
    errors: list[Any] = [None] * ROWS
    model = LoadedModel(spec.copy)
    for part in (np.arange(ROWS)[start::PARTS] for start in range(PARTS)):
        cast = cast_example(plan, frame.iloc[part].reset_index(drop=True), Policy())
        for place, error in zip(cast.errors.index, cast.errors, strict=True):
            errors[part[place]] = error
        worker_plan, columns = packed_lanes(plan, cast)
        scored = Scorer(model, worker_plan).score(
            lambda columns=columns: [c.copy() for c in columns], np.ones(len(cast.rows), dtype=bool)
        )
        values, null = scored.fields[0]
        for i, place in enumerate(cast.rows):
            predictions[part[place]] = None if null[i] else values[i]
            errors[part[place]] = scored.errors[i]
    return compare(case, predictions, errors)


def compare(case: Case, found: list[Any], errors: list[Any]) -> str | None:
    """What is wrong; labels of booleans are 0 and 1 in a table."""
    bad = [error for error in errors if isinstance(error, str)]
    if bad:
        return f"{len(bad)} bad rows of training: {Counter(bad).most_common(1)[0]}"
    wanted = case.expected
    if wanted.dtype.kind in "fiub":
        wrong = ~np.isclose(np.asarray(found, dtype=float), wanted.astype(float), rtol=1e-5, atol=1e-6)
    else:
        wrong = np.array([a != b for a, b in zip(found, wanted.tolist(), strict=True)])
    return f"{int(wrong.sum())} of {len(wrong)} rows are wrong" if wrong.any() else None


def try_models(spark: SparkSession, seed: int, count: int, by_spark: int = 5, apart: int = 0) -> Trial:
    """Train, register and score models; every ``by_spark``-th by Spark, every ``apart``-th verified in a process."""
    trial = Trial()
    zone = spark.conf.get("spark.sql.session.timeZone")
    try:
        for i, case in enumerate(cases(seed, count)):
            spark.conf.set("spark.sql.session.timeZone", ZONES[i % len(ZONES)])
            verify = "apart" if apart and i % apart == 0 else "here"
            trial.take(spark, case, f"main.odd.m{seed}_{i}", by_spark=i % by_spark == 0, verify=verify)
    finally:
        spark.conf.set("spark.sql.session.timeZone", str(zone))
    return trial


def main() -> int:
    """Try many models, and print what became of them."""
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--count", type=int, default=150)
    options.add_argument("--by-spark", type=int, default=5, help="of how many models one is scored by Spark")
    options.add_argument("--apart", type=int, default=0, help="of how many models one is verified in a process")
    given = options.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("odd", artifact_location=f"{folder}/artifacts"))
        spark = ss.get_session(Path(folder, "warehouse"))
        trial = try_models(spark, given.seed, given.count, given.by_spark, given.apart)
        spark.stop()
    print(dict(trial.counts))  # noqa: T201
    print("\n".join(f"{n:4} {cause}" for cause, n in trial.causes.most_common()))  # noqa: T201
    print("\n".join(trial.wrong))  # noqa: T201
    return 1 if trial.wrong else 0


if __name__ == "__main__":
    from tests.odd_training import main as run  # by its name, so that models are pickled with it

    sys.exit(run())
