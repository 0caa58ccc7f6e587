"""Linear estimators written down: their scores, and the results that each method makes of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from spark_scoring.engine.native.operations import Column, Context, NotLinearError, refuse
from spark_scoring.engine.native.steps import transformed
from spark_scoring.model.estimator_kinds import attribute
from spark_scoring.model.lineage import class_name, last_estimator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_scoring.engine.native.operations import Operations
    from spark_scoring.plan.outputs import Returned

V = TypeVar("V")

_REGRESSORS = (
    *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "MultiTaskLasso"),
    *("MultiTaskLassoCV", "MultiTaskElasticNet", "MultiTaskElasticNetCV", "Lars", "LarsCV", "LassoLars", "LassoLarsCV"),
    *("LassoLarsIC", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV", "BayesianRidge", "ARDRegression"),
    *("HuberRegressor", "TheilSenRegressor", "QuantileRegressor", "SGDRegressor", "PassiveAggressiveRegressor"),
    "LinearSVR",
)
_GLMS = ("PoissonRegressor", "GammaRegressor", "TweedieRegressor")
_CLASSIFIERS = (
    *("LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "RidgeClassifier", "RidgeClassifierCV"),
    *("LinearSVC", "Perceptron", "PassiveAggressiveClassifier", "LinearDiscriminantAnalysis"),
)
_STATSMODELS = ("OLS", "WLS", "GLS", "GLM")
_LINKS = {"IdentityLink": "identity", "LogLink": "log", "Identity": "identity", "Log": "log", "Logit": "logit"}
_MOST_TERMS = 5_000
"""Products in all scores: above it, planning in Spark costs more than the way to Python."""


@dataclass(frozen=True)
class Linear:
    """A linear model's numbers."""

    kind: str
    """``regressor``, ``glm`` or ``classifier``."""
    weights: NDArray[np.float64]
    """(scores, columns)"""
    starts: NDArray[np.float64]
    """(scores,)"""
    link: str = "identity"
    classes: tuple[Any, ...] = ()
    """A classifier's, as Python's own values."""
    probabilities: str = ""
    """How a classifier makes them of its scores: ``each`` score alone, or ``softmax``; empty where not at all."""
    refuses: bool = True
    """Whether it raises on a number that is not finite."""


@dataclass(frozen=True)
class Formula(Generic[V]):
    """A model's linear scores, and when it raises."""

    linear: Linear
    scores: list[V]
    raised: V | None
    """Whether it raises on a row; None where on none."""


def formula_of(raw: Any, columns: list[Column[V]], context: Context[V]) -> Formula[V]:
    """A native model over its own columns.

    Raises:
        NotNativeError: it is not a linear model, or a step in front of it is none that is written down.

    """
    final, columns = _behind_steps(raw, columns, context)
    linear = linear_of(final)
    if any(column.is_text for column in columns):
        refuse("a text reaches its estimator")
    if linear.weights.shape[1] != len(columns):
        refuse("its estimator was fitted on another number of columns")
    if linear.weights.size > _MOST_TERMS:
        refuse(f"it has more than {_MOST_TERMS:,} coefficients")
    operations = context.operations
    rows = zip(linear.weights.tolist(), linear.starts.tolist(), strict=True)
    scores = [operations.dot(columns, weights, start) for weights, start in rows]
    conditions = list(context.refused)
    unsure = [column.value for column in columns if not column.is_finite]
    if linear.refuses and unsure:
        # A number that is not finite makes every score one that is not, also times 0; so does a sum that is too large.
        bad = operations.either([operations.negate(operations.is_finite(value)) for value in unsure])
        conditions.append(operations.both(operations.negate(operations.is_finite(scores[0])), bad))
    return Formula(linear, scores, operations.either(conditions) if conditions else None)


def _behind_steps(raw: Any, columns: list[Column[V]], context: Context[V]) -> tuple[Any, list[Column[V]]]:
    """The estimator whose results the model returns, and the columns that it is given."""
    steps, last = last_estimator(raw, ("sklearn.",))
    for step in steps:
        columns = transformed(step, columns, context)
    return last, columns


def linear_of(estimator: Any) -> Linear:
    """A fitted estimator's numbers.

    Raises:
        NotNativeError: it is not a linear model that is written down here.

    """
    name = class_name(estimator)
    if type(estimator).__module__.startswith("statsmodels."):
        return _statsmodels(estimator)
    if name not in (*_REGRESSORS, *_GLMS, *_CLASSIFIERS):
        cause = f"it is a {type(estimator).__name__}"
        raise NotLinearError(cause)
    weights = attribute(estimator, "coef_")
    if not isinstance(weights, np.ndarray) or weights.dtype != np.float64:
        refuse("its coefficients are not plain numbers of double precision")
    weights = np.atleast_2d(weights)
    starts = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64).ravel(), len(weights))
    if name in _GLMS:
        link = _LINKS.get(type(estimator._base_loss.link).__name__)  # noqa: SLF001  its predict reads it, too
        if link is None:
            refuse("its link is none that is written down as an expression")
        return Linear("glm", weights, starts, link)
    if name in _REGRESSORS:
        return Linear("regressor", weights, starts)
    classes = attribute(estimator, "classes_")
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or len(classes) != max(len(weights), 2):
        refuse("its classes are not one list")
    return Linear("classifier", weights, starts, "identity", tuple(classes.tolist()), _probabilities(estimator, name))


def _probabilities(estimator: Any, name: str) -> str:
    binary = len(estimator.classes_) == 2  # noqa: PLR2004
    if name.startswith("LogisticRegression"):
        alone = attribute(estimator, "multi_class") == "ovr" or estimator.solver == "liblinear"
        return "each" if binary or alone else "softmax"
    if name == "LinearDiscriminantAnalysis":
        return "each" if binary else "softmax"
    return "each" if name == "SGDClassifier" and estimator.loss == "log_loss" else ""


def _statsmodels(results: Any) -> Linear:
    model = attribute(results, "model")
    name = type(model).__name__
    if name not in _STATSMODELS or not type(model).__module__.startswith("statsmodels."):
        cause = f"it is a {name} of statsmodels"
        raise NotLinearError(cause)
    if attribute(model, "formula") is not None:
        refuse("it was fitted by a formula")
    link = "identity"
    if name == "GLM":
        link = _LINKS.get(type(model.family.link).__name__, "")
        if not link:
            refuse("its link is none that is written down as an expression")
    weights = np.atleast_2d(np.asarray(results.params, dtype=np.float64))
    return Linear("glm", weights, np.zeros(len(weights)), link, refuses=False)


def results_of(
    linear: Linear, returns: Sequence[Returned], scores: Sequence[V], operations: Operations[V]
) -> dict[str, V]:
    """The returned fields, by name, of the scores; of rows on which the model does not raise.

    Raises:
        NotNativeError: a method is none that is written down.

    """
    fields: dict[str, V] = {}
    for returned in returns:
        if returned.names is not None or returned.is_nested:
            refuse("it returns more than plain numbers or labels")
        values = _method_results(linear, returned, scores, operations)
        if len(values) != len(returned.fields):
            refuse(f"its {returned.method} returns another number of values than its signature says")
        fields.update(zip((name for name, _ in returned.fields), values, strict=True))
    return fields


def _method_results(linear: Linear, returned: Returned, scores: Sequence[V], operations: Operations[V]) -> Sequence[V]:
    types = {str(type_) for _, type_ in returned.fields}
    if returned.method == "predict" and linear.kind == "classifier":
        return [_label(linear, types.pop(), scores, operations)]
    if not types <= {"double", "float"}:
        refuse(f"its {returned.method} is declared as {', '.join(sorted(types))}")
    if returned.method == "predict":
        return [_unlinked(linear.link, score, operations) for score in scores]
    if returned.method == "decision_function" and linear.kind == "classifier":
        return scores
    if returned.method != "predict_proba" or not linear.probabilities:
        refuse(f"its {returned.method} is not written down as an expression")
    return _shares(linear, scores, operations)


_PYTHON_TYPES = {"string": str, "boolean": bool, "long": int, "integer": int, "double": float}


def _label(linear: Linear, type_: str, scores: Sequence[V], operations: Operations[V]) -> V:
    if type_ not in _PYTHON_TYPES or any(type(c) is not _PYTHON_TYPES[type_] for c in linear.classes):
        refuse("its classes are of another type than its signature says")
    if len(scores) == 1:
        is_second = operations.above(scores[0], operations.number(0.0))
        first, second = (operations.label(c) for c in linear.classes)
        return operations.choose(is_second, second, first)
    return operations.first_equal(scores, operations.largest(scores), linear.classes)


def _unlinked(link: str, score: V, operations: Operations[V]) -> V:
    match link:
        case "log":
            return operations.exp(score)
        case "logit":
            return _logistic(score, operations)
        case _:
            return score


def _logistic(score: V, operations: Operations[V]) -> V:
    one = operations.number(1.0)
    negative = operations.subtract(operations.number(0.0), score)
    return operations.divide(one, operations.add(one, operations.exp(negative)))


def _shares(linear: Linear, scores: Sequence[V], operations: Operations[V]) -> list[V]:
    """The probability of each class."""
    if linear.probabilities == "softmax":
        top = operations.largest(scores)
        return _normalised([operations.exp(operations.subtract(score, top)) for score in scores], operations)
    shares = [_logistic(score, operations) for score in scores]
    if len(shares) == 1:
        return [operations.subtract(operations.number(1.0), shares[0]), shares[0]]
    if len(shares) > 1:
        refuse("its probabilities are those of one class against all others")
    return shares


def _normalised(values: Sequence[V], operations: Operations[V]) -> list[V]:
    total = values[0]
    for value in values[1:]:
        total = operations.add(total, value)
    return [operations.divide(value, total) for value in values]
