"""What boosters say of the numbers that they return: their objective, and what their MLflow flavor would lose.

A native Booster has no classes and no methods but ``predict``. Whether its numbers are labels, probabilities or ranks
is its objective's: https://xgboost.readthedocs.io/en/stable/parameter.html#learning-task-parameters,
https://lightgbm.readthedocs.io/en/stable/Parameters.html#objective.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from spark_scoring.model.estimator_kinds import attribute, library

if TYPE_CHECKING:
    from collections.abc import Callable

Numbers = Literal["labels", "probabilities", "ranks", "numbers"]

_XGBOOST: dict[str, Numbers] = {
    "multi:softmax": "labels",
    "binary:hinge": "labels",
    "multi:softprob": "probabilities",
    "binary:logistic": "probabilities",
    "rank:pairwise": "ranks",
    "rank:ndcg": "ranks",
    "rank:map": "ranks",
}
_LIGHTGBM: dict[str, Numbers] = {
    "binary": "probabilities",
    "multiclass": "probabilities",
    "multiclassova": "probabilities",
    "cross_entropy": "probabilities",
    "lambdarank": "ranks",
    "rank_xendcg": "ranks",
}
"""Objective -> what the numbers are; of every other one they are numbers, as of a regression."""


@dataclass(frozen=True)
class Objective:
    """What a native Booster was trained for."""

    name: str
    returns: Numbers
    classes: int
    """How many there are, where it returns labels or a number for each class; else 0."""


def objective_of(model: Any) -> Objective | None:
    """The objective of a native Booster; None for every other model, and where its objective was a function.

    XGBoost does not keep that its objective was a function: it is then the default, and the numbers are numbers.
    """
    if type(model).__name__ != "Booster" or hasattr(model, "get_params"):
        return None
    match library(model):
        case "xgboost":
            learner = _xgboost_learner(model)
            name = str(learner["objective"]["name"])
            classes = int(learner["learner_model_param"].get("num_class") or 0)
            return Objective(name, _XGBOOST.get(name, "numbers"), 2 if name == "binary:hinge" else classes)
        case "lightgbm":
            lines = model.model_to_string(num_iteration=1).split("\n\n", 1)[0].splitlines()
            header = dict(line.split("=", 1) for line in lines if "=" in line)
            if "objective" not in header:
                return None
            name, classes = header["objective"].split(" ", 1)[0], int(header.get("num_class", 1))
            return Objective(name, _LIGHTGBM.get(name, "numbers"), classes if classes > 1 else 0)
        case _:
            return None


def booster_predict(model: Any) -> Callable[[Any], Any]:
    """How an XGBoost Booster predicts a frame: in place; one of linear models takes a DMatrix only."""
    if _xgboost_learner(model)["gradient_booster"]["name"] != "gblinear":
        predict: Callable[[Any], Any] = model.inplace_predict
        return predict
    import xgboost

    return lambda data: model.predict(xgboost.DMatrix(data))


def lost_by_own_flavor(model: Any) -> str:
    """What MLflow's flavor of XGBoost or CatBoost does not write of an estimator; empty where it writes all.

    Both write the trees in their library's own format: not a class of one's own, nor its attributes. XGBoost's loses
    the setting ``missing``, with which the estimator reads what it predicts.
    """
    own = library(model)
    if own not in ("xgboost", "catboost") or not hasattr(model, "get_params"):
        return ""
    if not type(model).__module__.startswith(own):
        return f"its class {type(model).__name__}"
    missing = attribute(model, "missing", math.nan) if own == "xgboost" else math.nan
    return "" if missing is None or missing != missing else "its setting missing"  # noqa: PLR0124  NaN


def has_function_as_objective(model: Any) -> bool:
    """Whether it is a classifier of LightGBM's with an objective that is a function: it returns raw scores."""
    is_classifier = library(model) == "lightgbm" and attribute(model, "classes_") is not None
    return is_classifier and callable(attribute(model, "objective"))


def returns_raw_values(model: Any) -> bool:
    """Whether it is CatBoost's general class, trained for classes: it returns raw values of them."""
    return library(model) == "catboost" and not hasattr(model, "predict_proba") and _has_classes(model)


def _has_classes(model: Any) -> bool:
    classes = attribute(model, "classes_")
    return classes is not None and len(classes) > 0


def _xgboost_learner(model: Any) -> dict[str, Any]:
    learner: dict[str, Any] = json.loads(model.save_config())["learner"]
    return learner
