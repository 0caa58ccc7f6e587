"""Contributions of scikit-learn's trees and forests: TreeSHAP, by the package shap. Imports no pyspark.

shap reads the trees out of private attributes, and some forms wrongly: losses and categories that it does not know. So
what it gives is held against the model's own score, row by row, and nothing else is told.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.engine.errors import NoContributionsError
from spark_scoring.errors import first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FORMS = ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees", "GradientBoosting", "HistGradientBoosting")
_TREES = {f"{form}{kind}" for form in _FORMS for kind in ("Regressor", "Classifier")}
_LOG_LOSSES = ("poisson", "gamma")
"""Losses of HistGradientBoostingRegressor whose raw score is the prediction's logarithm."""
_NEAR = 1e-6
"""How far contributions may be off the model's score, of its size and at all; they are computed in double precision."""


def are_trees(estimator: Any) -> bool:
    """Whether it is one of scikit-learn's trees or ensembles of trees that shap reads."""
    return type(estimator).__module__.startswith("sklearn.") and type(estimator).__name__ in _TREES


def checked_trees(estimator: Any) -> tuple[int, bool]:
    """The columns that it was fitted on, and whether it has one score, or one for each class.

    Raises:
        NoContributionsError: shap is not installed, or cannot read the trees.

    """
    if np.any(getattr(estimator, "is_categorical_", None)):
        raise NoContributionsError.splits_by_category(estimator)
    if getattr(estimator, "loss", None) == "exponential":
        raise NoContributionsError.unread_trees(estimator, "the loss is exponential")
    try:
        _explainer(estimator)
    except ImportError as error:
        raise NoContributionsError.without_shap(estimator) from error
    except Exception as error:
        raise NoContributionsError.unread_trees(estimator, first_line(error)) from error
    return int(estimator.n_features_in_), getattr(estimator, "n_outputs_", 1) == 1


def contributions_of_trees(estimator: Any, data: Any) -> NDArray[np.float64]:
    """(n, scores, columns + 1): the base score is the last column.

    The score of a classifier is its log-odds, where it has a ``decision_function``, else the share of the second of two
    classes, or of each class.

    Raises:
        NoContributionsError: they do not add up to the model's own score.

    """
    explainer = _explainer(estimator)
    matrix = np.asarray(data.toarray() if hasattr(data, "toarray") else data, dtype=np.float64)
    parts = np.asarray(explainer.shap_values(matrix, check_additivity=False), dtype=np.float64)
    parts = parts[:, np.newaxis, :] if parts.ndim == 2 else np.moveaxis(parts, 2, 1)  # noqa: PLR2004
    base = np.broadcast_to(np.reshape(explainer.expected_value, (1, -1, 1)), (*parts.shape[:2], 1))
    found: NDArray[np.float64] = np.concatenate([parts, base], axis=2)
    if not np.allclose(found.sum(axis=2), _own_scores(estimator, data), rtol=_NEAR, atol=_NEAR):
        raise NoContributionsError.not_its_score(estimator)
    return found[:, 1:] if found.shape[1] == 2 else found  # noqa: PLR2004


def _own_scores(estimator: Any, data: Any) -> NDArray[np.float64]:
    """What the model itself computes: (n, scores)."""
    if hasattr(estimator, "decision_function"):
        scores = estimator.decision_function(data)
    elif hasattr(estimator, "predict_proba"):
        scores = estimator.predict_proba(data)
    else:
        scores = estimator.predict(data)
        if getattr(estimator, "loss", None) in _LOG_LOSSES:
            scores = np.log(scores)
    return np.asarray(scores, dtype=np.float64).reshape(len(scores), -1)


@lru_cache(maxsize=2)
def _explainer(estimator: Any) -> Any:
    """Reading the trees takes longer than explaining a few rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what shap imports to draw
        import shap

    return shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
