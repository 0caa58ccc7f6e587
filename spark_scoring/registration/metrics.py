"""Metrics of a model on rows that it was not trained on, by scikit-learn's definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spark_scoring.registration.examples import Examples
    from spark_scoring.registration.tasks import Task


def validation_metrics(task: Task, model: Any, rows: Examples) -> dict[str, float]:
    """The task's usual metrics, by name: ``validation_rmse``, ``validation_auc``, ... and the number of rows.

    regression: rmse, mae, r2. Classifications: accuracy, f1 (weighted over the classes) and, where the model has
    ``predict_proba`` and knows all labels of the rows, log_loss and for two classes auc. probability: as a
    classification, of what ``predict`` returns. ranking: ndcg. None for anomaly_detection and clustering, or where
    the rows have no label. In the units of the label. Rows count by their weights, where they have them; ndcg is the
    mean of the groups of more than one row, each counted once, and is left out where a label is below 0.
    """
    found: dict[str, float] = {"rows": float(len(rows.X))}
    if rows.y is not None:
        if task == "regression":
            found |= _regression(model, rows)
        elif task == "ranking":
            found |= _ranking(model, rows)
        else:
            found |= _classification(model, rows) if task.endswith("classification") else {}
            found |= _probabilities(task, model, rows)
    return {f"validation_{name}": float(value) for name, value in found.items()}


def _regression(model: Any, rows: Examples) -> dict[str, float]:
    from sklearn import metrics

    predicted = model.predict(rows.X)
    return {
        "rmse": metrics.root_mean_squared_error(rows.y, predicted, sample_weight=rows.weights),
        "mae": metrics.mean_absolute_error(rows.y, predicted, sample_weight=rows.weights),
        "r2": metrics.r2_score(rows.y, predicted, sample_weight=rows.weights),
    }


def _classification(model: Any, rows: Examples) -> dict[str, float]:
    from sklearn import metrics

    predicted = np.ravel(model.predict(rows.X))
    return {
        "accuracy": metrics.accuracy_score(rows.y, predicted, sample_weight=rows.weights),
        "f1": metrics.f1_score(rows.y, predicted, average="weighted", sample_weight=rows.weights),
    }


def _probabilities(task: Task, model: Any, rows: Examples) -> dict[str, float]:
    from sklearn import metrics

    probability = _probability(task, model, rows.X)
    classes = getattr(model, "classes_", None)
    labels = np.unique(np.asarray(rows.y))
    if probability is None or (classes is not None and not np.isin(labels, classes).all()):
        return {}
    found = {"log_loss": metrics.log_loss(rows.y, probability, labels=classes, sample_weight=rows.weights)}
    is_binary = probability.ndim == 1 or probability.shape[1] == 2  # noqa: PLR2004
    if is_binary and len(labels) == 2:  # noqa: PLR2004
        score = probability if probability.ndim == 1 else probability[:, 1]
        found["auc"] = metrics.roc_auc_score(rows.y, score, sample_weight=rows.weights)
    return found


def _probability(task: Task, model: Any, X: Any) -> Any:
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    return model.predict(X) if task == "probability" else None


def _ranking(model: Any, rows: Examples) -> dict[str, float]:
    from sklearn import metrics

    if rows.groups is None or rows.y is None or (rows.y < 0).any():
        return {}
    label, predicted = rows.y.to_numpy(), np.ravel(model.predict(rows.X))
    starts, sizes = np.unique(rows.groups, return_index=True, return_counts=True)[1:]
    total = counted = 0.0
    for size in np.unique(sizes[sizes > 1]):  # groups of one size make a matrix
        at: NDArray[np.int64] = starts[sizes == size][:, None] + np.arange(size)
        total += metrics.ndcg_score(label[at], predicted[at]) * len(at)
        counted += len(at)
    return {"ndcg": total / counted} if counted else {}
