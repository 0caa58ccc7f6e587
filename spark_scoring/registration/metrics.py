"""Metrics of a model on rows that it was not trained on, by scikit-learn's definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from spark_scoring.registration.tasks import Task


def validation_metrics(task: Task, model: Any, X: pd.DataFrame, y: pd.Series[Any]) -> dict[str, float]:
    """The task's usual metrics, by name: ``validation_rmse``, ``validation_auc``, ...

    regression: rmse, mae, r2. Classifications: accuracy, f1 (weighted over the classes) and, where the model has
    ``predict_proba``, log_loss and for two classes auc. probability: as a classification, of what ``predict``
    returns. None for anomaly_detection, which has no labels. In the units of the label.
    """
    from sklearn import metrics

    found: dict[str, float] = {"rows": float(len(X))}
    if task == "regression":
        predicted = model.predict(X)
        found["rmse"] = metrics.root_mean_squared_error(y, predicted)
        found["mae"] = metrics.mean_absolute_error(y, predicted)
        found["r2"] = metrics.r2_score(y, predicted)
    elif task.endswith("classification"):
        predicted = model.predict(X)
        found["accuracy"] = metrics.accuracy_score(y, predicted)
        found["f1"] = metrics.f1_score(y, predicted, average="weighted")
    if task != "regression" and (probability := _probability(task, model, X)) is not None:
        found["log_loss"] = metrics.log_loss(y, probability, labels=getattr(model, "classes_", None))
        is_binary = probability.ndim == 1 or probability.shape[1] == 2  # noqa: PLR2004
        if is_binary and y.nunique() == 2:  # noqa: PLR2004
            found["auc"] = metrics.roc_auc_score(y, probability if probability.ndim == 1 else probability[:, 1])
    return {f"validation_{name}": float(value) for name, value in found.items()}


def _probability(task: Task, model: Any, X: pd.DataFrame) -> Any:
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    return model.predict(X) if task == "probability" else None
