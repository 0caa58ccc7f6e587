"""What a thing inside a trained model is, told by its class and its attributes: of which library, of which kind.

Models of other people break every rule: whatever an attribute raises, it is taken for an attribute that is not there.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BOOSTERS = ("lightgbm", "xgboost", "catboost")
_RULED = ("sklearn.", "imblearn.")
"""Libraries whose meta-estimators pass their input on as it is, but for the few that ``estimators`` lists."""
_NOT_RULED = ("sklearn.base", "sklearn.utils")
"""What estimators of others inherit from."""


def attribute(thing: Any, name: str, default: Any = None) -> Any:
    """An attribute, the default where there is none: a property of somebody's estimator may raise anything."""
    try:
        return getattr(thing, name, default)
    except Exception:  # noqa: BLE001  whatever it is, the attribute cannot be had
        return default


def own_attributes(thing: Any) -> dict[str, Any]:
    """The object's own attributes; properties and class attributes are not among them."""
    try:
        return dict(vars(thing))
    except Exception:  # noqa: BLE001  it has none, or does not let one look
        return {}


def passing_over() -> contextlib.suppress:
    """Estimators of others may raise anything, and none of it is a reason to fail."""
    return contextlib.suppress(Exception)


def library(thing: Any) -> str:
    """``lightgbm``, ``xgboost`` or ``catboost`` for a model of theirs or of a class that extends it; else empty."""
    return next((top for module in _modules(thing) if (top := module.split(".", 1)[0]) in _BOOSTERS), "")


def is_ruled(thing: Any) -> bool:
    """Whether it is of scikit-learn or imbalanced-learn, or of a class that extends one of theirs."""
    return any(module.startswith(_RULED) and not module.startswith(_NOT_RULED) for module in _modules(thing))


def is_of(thing: Any, classes: Sequence[str]) -> bool:
    """Whether its class is one of scikit-learn's with these names, or extends one."""
    return any(kind.__name__ in classes and str(kind.__module__).startswith("sklearn.") for kind in type(thing).__mro__)


def _modules(thing: Any) -> Iterator[str]:
    return (str(kind.__module__) for kind in type(thing).__mro__)


def is_estimator(thing: Any) -> bool:
    """Whether it can predict, or be fitted and transform; a wrapper's methods may be those of what it holds."""
    kind = type(thing)
    if isinstance(thing, type):
        return False
    if hasattr(kind, "fit"):
        return any(hasattr(kind, v) or callable(attribute(thing, v)) for v in ("predict", "transform", "fit_predict"))
    return hasattr(kind, "predict") or hasattr(kind, "predict_proba")


def is_pipeline(thing: Any) -> bool:
    """Whether it has steps, one behind the other, as pairs of a name and an estimator."""
    return _are_pairs(attribute(thing, "steps"))


def is_column_transformer(thing: Any) -> bool:
    """Whether it is fitted and gives each of its transformers columns of their own."""
    return isinstance(attribute(thing, "transformers_"), list)


def is_union(thing: Any) -> bool:
    """Whether it has transformers, side by side, that are all given its whole input."""
    return _are_pairs(attribute(thing, "transformer_list"))


def _are_pairs(steps: Any) -> bool:
    return isinstance(steps, list) and bool(steps) and all(isinstance(s, tuple | list) and len(s) == 2 for s in steps)  # noqa: PLR2004


def is_leaf(thing: Any) -> bool:
    """Trees, and boosters, which are read as a whole."""
    return bool(library(thing)) or is_tree(thing) or is_of(thing, ("BaseHistGradientBoosting",))


def is_tree(thing: Any) -> bool:
    """Whether it is a single tree, which has no estimator inside."""
    return "tree_" in own_attributes(thing) or is_of(thing, ("BaseDecisionTree",))


def is_passed_over(step: Any) -> bool:
    """A step that does nothing in a prediction: none, a function that is none, a sampler of imbalanced-learn."""
    if step is None or isinstance(step, str):
        return True
    if is_of(step, ("FunctionTransformer",)) and "func" in own_attributes(step):
        return own_attributes(step)["func"] is None
    kind = type(step)
    return hasattr(kind, "fit_resample") and not hasattr(kind, "transform") and not hasattr(kind, "predict")
