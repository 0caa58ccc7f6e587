"""scikit-learn's meta-estimators, found by rule as its own tests find them, and fitted around models of ours."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  its estimators are in the list then, too
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

_HOLDERS = ("estimator", "estimators", "regressor", "base_estimator", "steps", "transformers", "transformer_list")
_TRANSFORMERS = ("transformers", "transformer_list")
_SETTINGS: dict[str, dict[str, Any]] = {
    "GridSearchCV": {"param_grid": {}},
    "HalvingGridSearchCV": {"param_grid": {}},
    "RandomizedSearchCV": {"param_distributions": {}, "n_iter": 1},
    "HalvingRandomSearchCV": {"param_distributions": {}},
    "RANSACRegressor": {"min_samples": 0.9, "max_trials": 5},
    "AdaBoostClassifier": {"n_estimators": 2},
    "AdaBoostRegressor": {"n_estimators": 2},
    "BaggingClassifier": {"n_estimators": 2},
    "BaggingRegressor": {"n_estimators": 2},
}


def _meta_estimators() -> dict[str, tuple[type, str]]:
    found = {}
    for name, kind in all_estimators():
        parameters = inspect.signature(kind.__init__).parameters
        holder = next((h for h in _HOLDERS if h in parameters), None)
        if holder is not None:
            found[name] = (kind, holder)
    return found


META_ESTIMATORS = _meta_estimators()
"""All whose constructors take other estimators: name -> class, and the parameter that takes them."""


def takes_transformers(name: str) -> bool:
    """Whether it is made of transformers, not of models."""
    return META_ESTIMATORS[name][1] in _TRANSFORMERS


def wrapped(name: str, estimator: Any, frame: pd.DataFrame) -> Any:
    """The meta-estimator of this name around the model or, where it takes transformers, around the transformer."""
    kind, holder = META_ESTIMATORS[name]
    parameters = inspect.signature(kind.__init__).parameters
    fixed = {key: value for key, value in (("cv", 2), ("random_state", 0)) if key in parameters}
    held: Any = {
        "estimators": [("a", estimator), ("b", clone(estimator))],
        "steps": [("a", estimator)],
        "transformer_list": [("a", estimator)],
        "transformers": [("a", estimator, list(frame.columns))],
    }.get(holder, estimator)
    model = kind(**{**fixed, **_SETTINGS.get(name, {}), holder: held})
    return make_pipeline(model, DecisionTreeClassifier(random_state=0)) if holder in _TRANSFORMERS else model


def fitted(name: str, make: Callable[[bool], Any], frame: pd.DataFrame, label: Any) -> tuple[Any, list[str]]:
    """The meta-estimator fitted and tried on the frame, and what it raised: it is None where it cannot take it.

    Args:
        make: an estimator for the classes of the label, or for its numbers (False).
        label: classes, 0 and 1.

    """
    reasons = []
    for is_classifier in (True, False):
        target = label if is_classifier else label.astype(float)
        estimator = make(is_classifier)
        if name == "FrozenEstimator":
            estimator.fit(frame, target)
        if name.startswith("MultiOutput") or name.endswith("Chain"):
            target = np.c_[target, target[::-1]]
        try:
            model = wrapped(name, estimator, frame).fit(frame, target)
            (model.predict if hasattr(model, "predict") else model.transform)(frame)
        except Exception as error:  # noqa: BLE001  whatever it raises is the reason
            reasons.append(f"{type(error).__name__}: {error}")
        else:
            return model, reasons
    return None, reasons
