"""What a model is for decides what it returns: a task's output schema, held against real predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from spark_scoring.engine.inputs import objects
from spark_scoring.engine.results import normalise
from spark_scoring.errors import Problem, near_fix
from spark_scoring.model.estimator_kinds import attribute, library
from spark_scoring.model.estimators import final_estimator
from spark_scoring.model.types import ModelType, Tensor
from spark_scoring.plan.outputs import returned_fields
from spark_scoring.registration.boosters import has_function_as_objective, objective_of, returns_raw_values
from spark_scoring.registration.errors import EACH_TARGET, RegistrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.types import Schema
    from numpy.typing import NDArray

Task = Literal[
    "regression",
    "binary_classification",
    "multiclass_classification",
    "anomaly_detection",
    "probability",
    "ranking",
    "clustering",
]
"""regression: a number. Classifications: the label, a whole number or text. anomaly_detection: no label, -1 or 1 as
scikit-learn's outlier detectors say it. probability: a number from 0 to 1, or one per class. ranking: a number
that sorts the rows of a query, the highest first. clustering: no label, the number of the row's cluster."""

TASKS: tuple[Task, ...] = get_args(Task)

_ONE_MODEL = "of several targets, a model has one"
_LABELS = ("binary_classification", "multiclass_classification")
_KINDS = {"f": "floating", "i": "whole numbers", "u": "whole numbers", "b": "booleans", "U": "text", "O": "objects"}
WANTED = {
    "regression": "floating numbers",
    "binary_classification": "labels: whole numbers, booleans or text",
    "multiclass_classification": "labels: whole numbers, booleans or text",
    "anomaly_detection": "-1 for an anomaly and 1 for all else",
    "probability": "floating numbers from 0 to 1",
    "ranking": "floating numbers, the highest for the row that comes first",
    "clustering": "whole numbers: the row's cluster",
}


def known_task(task: str) -> Task:
    """The task of this name.

    Raises:
        RegistrationError: there is none.

    """
    for known in TASKS:
        if known == task:
            return known
    fix = near_fix(task, TASKS, what="tasks") or ""
    raise RegistrationError([Problem(f"task {task!r}", "no such task", fix)])


def output_type(task: Task, predictions: Any, classes: Sequence[Any] | None = None, model: Any = None) -> ModelType:
    """The type that the task gives the model's output, after holding it against real predictions.

    regression and probability: double, one per row, or a fixed number of them (several targets, one per class).
    ranking: double. Classifications: long, for text labels string; booleans become 0 and 1. anomaly_detection and
    clustering: long.

    Args:
        task: what the model is for.
        predictions: what it returned for the input example, in its own form.
        classes: its class labels, where it knows them.
        model: the model itself, which may say why its predictions are others.

    Raises:
        RegistrationError: the predictions are not what the task says; the message shows both.

    """
    columns = prediction_columns(predictions)
    cause = _contradiction(task, columns, classes) or _against_objective(task, model)
    if cause is not None:
        own, fix = _explained(task, model)
        fix = fix or (EACH_TARGET if _ONE_MODEL in cause else "")
        raise RegistrationError.outputs_differ(task, WANTED[task], described(predictions), own or cause, fix)
    if task in ("regression", "probability"):
        return "double" if len(columns) == 1 else Tensor("double", (-1, len(columns)))
    if task == "ranking":
        return "double"
    return "string" if task in _LABELS and _is_text(columns[0]) else "long"


def output_schema(type_: ModelType) -> Schema:
    """MLflow's schema of one output column, or of a matrix with one value per target or class."""
    from mlflow.types import ColSpec, Schema, TensorSpec

    if isinstance(type_, Tensor):
        return Schema([TensorSpec(np.dtype("float64"), type_.shape, "prediction")])
    return Schema([ColSpec(str(type_), "prediction")])


_OF_OBJECTIVES: dict[str, Task] = {"probabilities": "probability", "ranks": "ranking", "numbers": "regression"}
_OF_CLASSES: dict[str, Task] = {
    "OutlierMixin": "anomaly_detection",
    "ClusterMixin": "clustering",
    "BaseMixture": "clustering",
    "LGBMRanker": "ranking",
    "XGBRanker": "ranking",
    "CatBoostRanker": "ranking",
}
"""What a native Booster returns, and the name of a class that a model is of -> its task."""


def likely_task(model: Any) -> Task | None:
    """The task of a model that says what it is: by its objective, its class labels, or its class."""
    objective = objective_of(model)
    if objective is not None and objective.returns in _OF_OBJECTIVES:
        return _OF_OBJECTIVES[objective.returns]
    labels = class_labels(model)
    if labels is not None:
        return "binary_classification" if len(labels) == 2 else "multiclass_classification"  # noqa: PLR2004
    classes = (kind.__name__ for kind in type(final_estimator(model)).__mro__)
    return next((_OF_CLASSES[name] for name in classes if name in _OF_CLASSES), None)


def class_labels(model: Any) -> list[Any] | None:
    """The labels of a classifier in the order of its probabilities; None where the model does not say."""
    objective = objective_of(model)
    if objective is not None:
        return list(range(objective.classes)) or None
    labels = attribute(model, "classes_")
    if labels is None or not len(labels) or (isinstance(labels, list) and hasattr(labels[0], "__len__")):
        return None  # a list of arrays: one set of classes per output
    return [label.item() if hasattr(label, "item") else label for label in labels]


def check_count(predictions: Any, rows: int) -> None:
    """Refuse predictions that are not one for each row.

    Raises:
        RegistrationError: with both numbers.

    """
    if _is_of_targets(predictions, rows):
        raise RegistrationError.several_targets(len(predictions), rows)
    columns = prediction_columns(predictions)
    counts = {len(column) if column.ndim else 1 for column in columns}
    if counts != {rows} or any(column.ndim == 0 for column in columns):
        raise RegistrationError.predict_count(max(counts, default=0), rows)


def check_returned(type_: ModelType, predictions: Any, rows: int) -> None:
    """Hold predictions for some rows against a declared type, as a worker does it with every batch.

    Raises:
        ModelOutputError: the type cannot take them unchanged.

    """
    normalise(returned_fields("predict", "prediction", type_), predictions, rows)


def prediction_columns(predictions: Any) -> list[NDArray[Any]]:
    """Predictions column by column: one of shape (n,) or (n, 1), k of (n, k)."""
    if isinstance(predictions, pd.DataFrame):
        return [predictions.iloc[:, i].to_numpy() for i in range(predictions.shape[1])]
    if isinstance(predictions, dict):
        return [np.asarray(values) for values in predictions.values()]
    array = _array(predictions)
    return [array] if array.ndim < 2 else list(array.reshape(len(array), -1).T)  # noqa: PLR2004


def _array(predictions: Any) -> NDArray[Any]:
    """Predictions as numpy has them; lists of several lengths as objects."""
    try:
        return np.asarray(predictions)
    except ValueError:
        return objects(list(predictions))


def _is_of_targets(predictions: Any, rows: int) -> bool:
    """Whether it is a list of arrays that have a row for each, and not a row's value each: of several targets."""
    if not isinstance(predictions, list) or len(predictions) == rows:
        return False
    return all(isinstance(part, np.ndarray) and part.ndim and len(part) == rows for part in predictions)


def described(predictions: Any) -> str:
    """What predictions are, without their values: ``float64 of shape (5,)``."""
    if isinstance(predictions, pd.DataFrame):
        return f"a DataFrame of {', '.join(f'{name}: {dtype}' for name, dtype in predictions.dtypes.items())}"
    if isinstance(predictions, dict):
        return f"a dict of {', '.join(map(str, predictions))}"
    array = _array(predictions)
    dtype = "text" if _is_text(array.ravel()) else str(array.dtype)
    return f"{dtype} of shape {array.shape}"


def _contradiction(task: Task, columns: Sequence[NDArray[Any]], classes: Sequence[Any] | None) -> str | None:
    """Why these predictions are not the task's; None where they are."""
    if task not in ("regression", "probability") and len(columns) != 1:
        per_class = "one number per class is the task probability"
        are_numbers = all(column.dtype.kind == "f" for column in columns)
        hints = [per_class] if are_numbers else []
        hints += [_ONE_MODEL] if all(_are_whole(column) or _is_text(column) for column in columns) else []
        return f"it returns {len(columns)} values per row, the task has one; {'; '.join(hints)}"
    match task:
        case "regression":
            return _not_floating(columns, "is this a classification?")
        case "probability":
            return _not_floating(columns, "are these labels?") or _not_probabilities(columns)
        case "anomaly_detection":
            return _not_outliers(columns[0])
        case "ranking":
            return _not_floating(columns, "is this a classification?")
        case "clustering":
            return _not_clusters(columns[0])
        case _:
            return _not_labels(task, columns[0], classes)


def _against_objective(task: Task, model: Any) -> str | None:
    """Why predictions that could be the task's are not: a Booster's labels, as numbers from 0 to 1."""
    objective = objective_of(model)
    if task != "probability" or objective is None or objective.returns != "labels":
        return None
    return f"its objective {objective.name} returns labels; are these labels?"


def _explained(task: Task, model: Any) -> tuple[str, str]:
    """Why this model's predictions are not the task's, and the fix, where the model says it; else empty."""
    objective, labels = objective_of(model), class_labels(model)
    says = likely_task(model)
    if has_function_as_objective(model) and task in (*_LABELS, "probability"):
        return "its objective is a function, and LightGBM then returns raw scores", _scored(task, labels or [])
    if returns_raw_values(model) and task in (*_LABELS, "probability"):
        return "its class CatBoost returns raw values", "register catboost.to_classifier(model)"
    if objective is not None and says is not None and says != task:
        kind = {"ranks": "numbers to sort by"}.get(objective.returns, objective.returns)
        return f"its objective {objective.name} returns {kind}", f"give task={says!r}"
    if task == "probability" and labels is not None:
        if attribute(model, "predict_proba") is None:
            fix = "fit one that has it: CalibratedClassifierCV(FrozenEstimator(model)).fit(X, y)"
            return f"{type(final_estimator(model)).__name__} has no predict_proba, and its predict returns labels", fix
        if library(model):
            fix = "give flavor='sklearn', with which predict_proba is its predict"
            return f"with the flavor {library(model)} its predict returns labels", fix
    if says is not None and says != task and not (says in _LABELS and task in _LABELS):
        return "", f"give task={says!r}, or the predictions that the task has"
    return "", ""


def _scored(task: Task, labels: Sequence[Any]) -> str:
    """A function around a classifier that returns raw scores, to be typed."""
    is_binary = len(labels) == 2  # noqa: PLR2004
    if task == "probability":
        returned = "1 / (1 + np.exp(-model.predict(X)))" if is_binary else "scipy.special.softmax(model.predict(X), 1)"
    else:
        chosen = "(model.predict(X) > 0).astype(int)" if is_binary else "model.predict(X).argmax(axis=1)"
        returned = f"model.classes_[{chosen}]"
    return (
        f"say what the scores mean; of log-odds: register_model(lambda X: {returned}, X, flavor='pyfunc', "
        f"task={task!r}, name=...); task='regression' registers the scores"
    )


def _not_floating(columns: Sequence[NDArray[Any]], question: str) -> str | None:
    kinds = {column.dtype.kind for column in columns}
    return None if kinds <= {"f"} else f"they are {', '.join(sorted(_KINDS.get(k, k) for k in kinds))}; {question}"


def _not_probabilities(columns: Sequence[NDArray[Any]]) -> str | None:
    outside = any(np.any((column < 0) | (column > 1)) for column in columns)
    return "some are outside 0 to 1; is this a margin (decision_function, output_margin)?" if outside else None


def _not_outliers(column: NDArray[Any]) -> str | None:
    values = set(np.unique(column).tolist()) if column.dtype.kind in "if" else {None}
    if values <= {-1, 1}:
        return None
    if values <= {0, 1}:
        return "they are 0 and 1 (PyOD's way): map them, so that 1 is -1 and 0 is 1"
    return "they are neither -1 nor 1; is this a score (score_samples, decision_function)?"


def _not_clusters(column: NDArray[Any]) -> str | None:
    if column.dtype.kind in "iu":
        return None
    kind = "text" if _is_text(column) else _KINDS.get(column.dtype.kind, column.dtype.kind)
    return f"they are {kind}; is this a distance (transform) or a score?"


def _not_labels(task: Task, column: NDArray[Any], classes: Sequence[Any] | None) -> str | None:
    if task == "binary_classification" and classes is not None and len(classes) != 2:  # noqa: PLR2004
        return f"it knows {len(classes)} classes, the task has two"
    if column.dtype.kind in "iub" or _is_text(column):
        return None
    if column.dtype.kind == "f" and classes is not None and _are_whole(np.asarray(classes)) and _are_whole(column):
        return None
    return "they are not labels; probabilities are the task probability, numbers are a regression"


def _are_whole(values: NDArray[Any]) -> bool:
    """Labels such as 0.0 and 1.0, which a model trained on floats returns."""
    return values.dtype.kind in "iub" or (values.dtype.kind == "f" and bool(np.all(values == np.floor(values))))


def _is_text(column: NDArray[Any]) -> bool:
    return column.dtype.kind == "U" or (column.dtype.kind == "O" and all(isinstance(v, str) for v in column))
