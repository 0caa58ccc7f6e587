"""What the fit of each library takes beside rows and labels: weights, groups, rows to stop on."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from spark_scoring.registration.examples import Examples

_STOPPING = {
    ("lightgbm", "LGBMModel"): "lightgbm",
    ("xgboost", "XGBModel"): "xgboost",
    ("catboost", "CatBoost"): "catboost",
    ("sklearn", "BaseHistGradientBoosting"): "sklearn",
}
"""Package and name of a class -> whose way of stopping on validation rows it has."""
BEST_ITERATION = {"lightgbm": "best_iteration_", "xgboost": "best_iteration", "catboost": "best_iteration_"}
"""Way of stopping -> the attribute that says where it stopped."""
_RANKERS = ("LGBMRanker", "XGBRanker", "CatBoostRanker")


def ranker_of(core: Any) -> str | None:
    """The ranker of LightGBM, XGBoost or CatBoost that it is, or derives from."""
    return next((cls.__name__ for cls in type(core).__mro__ if cls.__name__ in _RANKERS), None)


def way_to_stop(core: Any) -> str | None:
    """Whose way of stopping on validation rows it has; None: it has none."""
    kinds = [(cls.__module__.split(".", maxsplit=1)[0], cls.__name__) for cls in type(core).__mro__]
    return next((_STOPPING[kind] for kind in kinds if kind in _STOPPING), None)


def row_keywords(core: Any, rows: Examples) -> dict[str, Any]:
    """Weights, and a ranker's groups, as the fit of the core takes them."""
    weights, groups = rows.weights, rows.groups
    found: dict[str, Any] = {} if weights is None else {"sample_weight": weights}
    if groups is None:
        return found
    match ranker_of(core):
        case "LGBMRanker":
            return {**found, "group": sizes_of(groups)}
        case "XGBRanker":
            return {**({} if weights is None else {"sample_weight": weights[firsts_of(groups)]}), "qid": groups}
        case "CatBoostRanker":
            return {**({} if weights is None else {"group_weight": weights}), "group_id": groups}
        case _:
            return found


def stopping_keywords(core: Any, rounds: int, rows: Examples) -> dict[str, Any]:
    """What makes the core stop on the validation rows; sets its parameters where that is their place.

    Frames stand in a list: scikit-learn's searches cut whatever has as many rows as there are to train on.
    """
    given = row_keywords(core, rows)
    match way_to_stop(core):
        case "lightgbm":
            import lightgbm

            # not eval_X and eval_y: LightGBM 4.7 compares their labels without encoding them (its issue 7400)
            names = {"sample_weight": "eval_sample_weight", "group": "eval_group"}
            stop = [lightgbm.early_stopping(rounds, verbose=False)]
            more: dict[str, Any] = {"eval_set": [(rows.X, rows.y)], "callbacks": stop}
        case "xgboost":
            core.set_params(early_stopping_rounds=rounds)
            names = {"sample_weight": "sample_weight_eval_set", "qid": "eval_qid"}
            more = {"eval_set": [(rows.X, rows.y)], "verbose": False}
        case "catboost":
            return {"eval_set": [_pool(core, rows, given)], "early_stopping_rounds": rounds}
        case _:
            core.set_params(early_stopping=True, n_iter_no_change=rounds)
            weights = {} if rows.weights is None else {"sample_weight_val": rows.weights}
            return {"X_val": rows.X, "y_val": rows.y, **weights}
    return {**more, **{names[name]: [value] for name, value in given.items()}}


def _pool(core: Any, rows: Examples, given: Mapping[str, Any]) -> Any:
    """Validation rows as CatBoost takes them with weights and groups."""
    from catboost import Pool

    kinds = {name: core.get_params().get(name) for name in ("cat_features", "text_features", "embedding_features")}
    beside = {"weight" if name == "sample_weight" else name: value for name, value in given.items()}
    return Pool(rows.X, rows.y, **kinds, **beside)


@contextmanager
def without_deprecation() -> Iterator[None]:
    """LightGBM warns of the keyword that works; see ``stopping_keywords``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The argument 'eval_set' is deprecated")
        yield


def sizes_of(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of each group, in their order."""
    return np.unique(groups, return_counts=True)[1]


def firsts_of(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each group begins."""
    return np.unique(groups, return_index=True)[1]
