"""A zoo by rule: every meta-estimator of scikit-learn around models of categories, of text with nulls, of numbers.

Each is scored over a table in seven partitions, in each of which is a row that cannot be scored. All other rows have
the native model's predictions: to the bit, but for what goes through BLAS.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from spark_scoring import score_batch
from tests.meta import META_ESTIMATORS, fitted, takes_transformers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

PARTS, ROWS = 7, 70
RNG = np.random.default_rng(3)
POISON = np.arange(ROWS) % (ROWS // PARTS) == 3
"""One row of each partition."""
CITIES = ["Graz", "Cork", "Bath"]
BLAS = 1e-12

NUMBERS = pd.DataFrame({"num": RNG.normal(size=ROWS).round(3), "code": RNG.choice(3, ROWS, p=[0.2, 0.6, 0.2])})
LABEL = ((NUMBERS["num"] > 0) ^ (NUMBERS["code"] == 1)).astype(int).to_numpy()
TEXT = pd.DataFrame({"num": NUMBERS["num"], "city": NUMBERS["code"].map(dict(enumerate(CITIES)))})
TEXT.loc[::9, "city"] = np.nan
TEXT.loc[1::8, "num"] = np.nan
CATEGORIES = TEXT.assign(city=pd.Categorical(TEXT["city"], categories=CITIES))


def with_unknown_city(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(city=frame["city"].astype(object).where(~POISON, "Oslo"))


def with_infinity(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(num=frame["num"].where(~POISON, math.inf))


def without_code(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(code=frame["code"].astype(object).where(~POISON, None))


def boosted(*, is_classifier: bool, is_transformer: bool) -> Any:
    kind = lightgbm.LGBMClassifier if is_classifier else lightgbm.LGBMRegressor
    return kind(n_estimators=3, num_leaves=4, min_child_samples=5, verbose=-1, n_jobs=1)


def tree(*, is_classifier: bool, is_transformer: bool) -> Any:
    return (DecisionTreeClassifier if is_classifier else DecisionTreeRegressor)(max_depth=3, random_state=0)


def text_by(selected: Any, unknown: str) -> Callable[..., Any]:
    def make(*, is_classifier: bool, is_transformer: bool) -> Any:
        text = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown=unknown))
        first = ColumnTransformer([("text", text, selected)], remainder=SimpleImputer())
        last = tree(is_classifier=is_classifier, is_transformer=False)
        return first if is_transformer else make_pipeline(first, last)

    return make


@dataclass(frozen=True)
class Kind:
    """A model to wrap, the frame that it is trained on, and what makes a row of it one that cannot be scored."""

    make: Callable[..., Any]
    frame: pd.DataFrame
    poisoned: Callable[[pd.DataFrame], pd.DataFrame]
    reason: str


KINDS = {
    "categories": Kind(boosted, CATEGORIES, with_unknown_city, "city: unknown level"),
    "text by name": Kind(text_by(["city"], "ignore"), TEXT, with_infinity, "model: ValueError"),
    "text by position": Kind(text_by([1], "error"), TEXT, with_unknown_city, "city: unknown level"),
    "numbers": Kind(tree, NUMBERS, without_code, "code: null"),
}


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """As a table has it: text in the place of categories."""
    return frame.astype({"city": object}) if "city" in frame else frame


@pytest.fixture(scope="module")
def tables(spark: SparkSession) -> dict[str, DataFrame]:
    """Per kind the rows with the poisoned ones among them, in seven partitions."""
    found = {}
    for name, kind in KINDS.items():
        frame = plain(kind.poisoned(kind.frame)).astype(object)
        rows = [(i, *row) for i, row in enumerate(frame.where(frame.notna(), None).itertuples(index=False, name=None))]
        schema = "id bigint, num double, " + ("city string" if "city" in frame else "code bigint")
        found[name] = spark.createDataFrame(spark.sparkContext.parallelize(rows, PARTS), schema).cache()
    return found


@functools.cache
def predicting(name: str, what: str) -> Any:
    """The fitted meta-estimator; None where it cannot take such a frame, or does not predict."""
    kind, is_transformer = KINDS[what], takes_transformers(name)
    model, _ = fitted(
        name, lambda is_class: kind.make(is_classifier=is_class, is_transformer=is_transformer), kind.frame, LABEL
    )
    return model if hasattr(model, "predict") else None


def tried(name: str) -> list[str]:
    """The kinds that the meta-estimator takes; text by position, and numbers, where it takes no other."""
    text = next((what for what in ("text by name", "text by position") if predicting(name, what) is not None), None)
    found = [what for what in ("categories", text) if what is not None and predicting(name, what) is not None]
    return found or (["numbers"] if predicting(name, "numbers") is not None else [])


def close(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=BLAS, abs_tol=0.0)
    return type(found) is type(expected) and found == expected


@pytest.mark.parametrize("name", META_ESTIMATORS)
def test_every_row_but_the_poisoned_ones_is_scored_as_natively(
    name: str, tables: dict[str, DataFrame], tmp_path: Path
) -> None:
    """What a meta-estimator cannot take natively, ``test_estimators`` lists."""
    for what in tried(name):
        kind, model, path = KINDS[what], predicting(name, what), str(tmp_path / what.replace(" ", "_"))
        mlflow.sklearn.save_model(
            model,
            path,
            signature=infer_signature(plain(kind.frame), model.predict(kind.frame)),
            serialization_format="cloudpickle",
            pip_requirements=["mlflow"],
        )
        scored = sorted(score_batch(tables[what], path).collect(), key=lambda row: row["id"])
        bad = [row for row in scored if row["scoring_error"] is not None]
        assert [row["id"] for row in bad] == np.flatnonzero(POISON).tolist(), what
        assert {(row["prediction"], row["scoring_error"]) for row in bad} == {(None, kind.reason)}
        expected = model.predict(kind.frame[~POISON]).tolist()
        found = [row["prediction"] for row in scored if row["scoring_error"] is None]
        assert [(f, e) for f, e in zip(found, expected, strict=True) if not close(f, e)] == [], what


def test_the_zoo_has_models_of_all_kinds() -> None:
    counts = Counter(what for name in META_ESTIMATORS for what in tried(name))
    assert min(counts[what] for what in KINDS) > 0
    assert counts["categories"] > 15
