"""What each feature adds to a row's raw score. Runs in workers; imports no pyspark.

Of linear models a coefficient times its column; of trees TreeSHAP (Lundberg et al. 2020): of boosters by their own
libraries, of scikit-learn's by shap.
With the base score, the contributions of a row add up to its raw score: the log-odds of a classifier, before any link.
Of several scores, one for each class, those of the greatest are told.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.engine.errors import NoContributionsError
from spark_scoring.engine.native.estimators import linear_of
from spark_scoring.engine.native.operations import NotNativeError
from spark_scoring.engine.tree_contributions import are_trees, checked_trees, contributions_of_trees
from spark_scoring.model.estimator_kinds import attribute, library
from spark_scoring.model.lineage import last_estimator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spark_scoring.model.loaded import LoadedModel
    from spark_scoring.plan.outputs import Reasons, Returned


def result_of(
    model: LoadedModel,
    returned: Returned,
    data: Any,
    params: Mapping[str, Any],
    chosen: NDArray[np.bool_] | None = None,
) -> Any:
    """What the model returns for a batch: of one of its methods, or the contributions of its features.

    Args:
        model: the model.
        returned: the method.
        data: the rows, as the method takes them.
        params: inference parameters.
        chosen: (n,) the rows whose contributions are taken, the others have NaN; None: all.

    """
    if returned.reasons is None:
        return model.call(returned.method, data, params)
    with model.running(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if chosen is None or chosen.all():
            return ranked(model.raw, data, returned.reasons)
        told = np.full((len(chosen), len(returned.fields)), np.nan)
        if chosen.any():
            told[chosen] = ranked(model.raw, data[chosen], returned.reasons)
        return told


_OPERATORS = {
    "=": np.equal,
    "<>": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def chosen_rows(
    returned: Returned, fields: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]], n: int
) -> NDArray[np.bool_] | None:
    """The rows whose contributions are asked for, (n,); None where those of all are.

    Args:
        returned: what is to be taken of the model now.
        fields: what was returned before: values, and which of them are null.
        n: rows.

    """
    condition = None if returned.reasons is None else returned.reasons.only_if
    if condition is None:
        return None
    values, null = fields[condition.place]
    holds = np.zeros(n, dtype=bool)
    holds[~null] = _OPERATORS[condition.operator](values[~null], condition.value)
    if values.dtype.kind == "f":
        holds &= ~np.isnan(values)
    return holds


def ranked(raw: Any, data: Any, reasons: Reasons) -> NDArray[np.float64]:
    """Per row: raw score, base score, ``top`` places of names, and as many contributions. NaN where there are fewer.

    Args:
        raw: the native model.
        data: n rows as its ``predict`` takes them.
        reasons: what is to be told.

    Returns:
        (n, 2 + 2 * top)

    """
    parts, base = contributions(raw, data)
    features = max(reasons.groups) + 1
    by_feature = np.zeros((len(parts), features))
    for column, group in enumerate(reasons.groups):
        by_feature[:, group] += parts[:, column]
    count = min(reasons.top, features)
    places = np.argsort(-np.abs(by_feature), axis=1, kind="stable")[:, :count]
    amounts = np.take_along_axis(by_feature, places, axis=1)
    told = np.full((len(parts), 2 + 2 * reasons.top), np.nan)
    told[:, 0], told[:, 1] = base + by_feature.sum(axis=1), base
    told[:, 2 : 2 + count] = np.where(amounts == 0, np.nan, places)
    told[:, 2 + reasons.top : 2 + reasons.top + count] = np.where(amounts == 0, np.nan, amounts)
    return told


def contributions(raw: Any, data: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The contributions of the columns that the last estimator is given, (n, columns), and the base scores, (n,).

    Raises:
        NoContributionsError: the last estimator is of none of the kinds that are known.

    """
    steps, last = last_estimator(raw)
    for step in steps:
        data = step.transform(data)
    if maker := _TREE_SHAP.get(tree_kind(last)):
        values = maker(last, data)
        found: NDArray[np.float64] = values[np.arange(len(values)), np.argmax(values.sum(axis=2), axis=1)]
        return found[:, :-1], found[:, -1]
    return _of_linear(last, data)


def tree_kind(estimator: Any) -> str:
    """Whose trees it is made of: a booster's library, ``trees`` of scikit-learn; empty where it has none."""
    return "trees" if are_trees(estimator) else library(estimator)


def check_contributions(raw: Any, columns: int) -> None:
    """Whether the contributions of a model can be told.

    Args:
        raw: the native model.
        columns: that its last estimator is given.

    Raises:
        NoContributionsError: they cannot.

    """
    last = last_estimator(raw)[1]
    found, is_one_score = _CHECKED.get(tree_kind(last), _checked_linear)(last)
    if not is_one_score:
        cause = "it returns several numbers, and one raw score is explained"
        raise NoContributionsError(cause)
    if found != columns:
        cause = f"its {type(last).__name__} was fitted on {found} columns, and is given {columns}"
        raise NoContributionsError(cause)


def _checked_linear(estimator: Any) -> tuple[int, bool]:
    """The columns that it was fitted on, and whether it has one score, or one for each class; as those below."""
    try:
        linear = linear_of(estimator)
    except NotNativeError:
        raise NoContributionsError(_other(estimator)) from None
    scores, found = linear.weights.shape
    return found, scores == 1 or linear.kind == "classifier"


def _checked_lightgbm(model: Any) -> tuple[int, bool]:
    booster = attribute(model, "booster_", model)
    if booster.params.get("linear_tree"):
        cause = "LightGBM does not know the contributions of linear trees"
        raise NoContributionsError(cause)
    return booster.num_feature(), True  # several scores are always those of classes


def _checked_xgboost(model: Any) -> tuple[int, bool]:
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    learner = json.loads(booster.save_config())["learner"]
    parameters = learner["learner_model_param"]
    scores = max(int(parameters.get("num_class", 0)), int(parameters.get("num_target", 1)))
    return booster.num_features(), scores == 1 or str(learner["objective"]["name"]).startswith("multi:")


def _checked_catboost(model: Any) -> tuple[int, bool]:
    bias = model.get_scale_and_bias()[1]
    is_one = not isinstance(bias, list) or len(bias) == 1
    return len(model.feature_names_), is_one or str(model.get_all_params().get("loss_function")).startswith(
        "MultiClass"
    )


_CHECKED = {
    "lightgbm": _checked_lightgbm,
    "xgboost": _checked_xgboost,
    "catboost": _checked_catboost,
    "trees": checked_trees,
}


def _other(estimator: Any) -> str:
    return (
        f"its estimator is {type(estimator).__name__}: the contributions of linear models and trees of scikit-learn, "
        "and of LightGBM, XGBoost and CatBoost are known"
    )


def _of_linear(estimator: Any, data: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    linear = linear_of(estimator)
    matrix = np.asarray(data.toarray() if hasattr(data, "toarray") else data, dtype=np.float64)
    best = np.zeros(len(matrix), dtype=int)
    if len(linear.weights) > 1:
        best = np.argmax(matrix @ linear.weights.T + linear.starts, axis=1)
    return matrix * linear.weights[best], linear.starts[best]


def _of_lightgbm(model: Any, data: Any) -> NDArray[np.float64]:
    """(n, scores, columns + 1): the base score is the last column."""
    values = model.predict(data, pred_contrib=True)
    if isinstance(values, list):  # of sparse rows, a matrix for each score
        values = np.stack([one.toarray() for one in values], axis=1)
    values = np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)
    scores = attribute(model, "booster_", model).num_model_per_iteration()
    return values.reshape(len(values), scores, -1)


def _of_xgboost(model: Any, data: Any) -> NDArray[np.float64]:
    import xgboost

    own = attribute(model, "get_booster") is not None
    booster = model.get_booster() if own else model
    missing = attribute(model, "missing", np.nan) if own else np.nan
    best = attribute(model, "best_iteration") if own else None  # what stopped early predicts with its best trees
    matrix = xgboost.DMatrix(data, missing=missing, enable_categorical=True, nthread=1)
    trees = (0, best + 1) if best is not None else (0, 0)
    values = booster.predict(matrix, pred_contribs=True, iteration_range=trees, strict_shape=True)
    return np.asarray(values, dtype=np.float64)


def _of_catboost(model: Any, data: Any) -> NDArray[np.float64]:
    import catboost

    pool = catboost.Pool(
        data,
        cat_features=model.get_cat_feature_indices(),
        text_features=model.get_text_feature_indices(),
    )
    values = np.asarray(model.get_feature_importance(pool, type="ShapValues", thread_count=1), dtype=np.float64)
    return values if values.ndim == 3 else values[:, np.newaxis, :]  # noqa: PLR2004


_TREE_SHAP = {
    "lightgbm": _of_lightgbm,
    "xgboost": _of_xgboost,
    "catboost": _of_catboost,
    "trees": contributions_of_trees,
}
