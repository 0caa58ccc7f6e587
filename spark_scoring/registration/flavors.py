"""A model's MLflow flavor, how it is logged with it, and how it predicts in memory."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from spark_scoring.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

_FLAVORS = {
    "catboost": "catboost",
    "h2o": "h2o",
    "keras": "keras",
    "lightgbm": "lightgbm",
    "mlflow": "pyfunc",
    "onnx": "onnx",
    "paddle": "paddle",
    "pmdarima": "pmdarima",
    "prophet": "prophet",
    "pyspark": "spark",
    "sklearn": "sklearn",
    "spacy": "spacy",
    "statsmodels": "statsmodels",
    "tensorflow": "tensorflow",
    "torch": "pytorch",
    "transformers": "transformers",
    "xgboost": "xgboost",
}
"""The package that a model's class, or the nearest class that it derives from, is of -> MLflow's flavor."""


def flavor_of(model: Any, given: str | ModuleType | None = None) -> str:
    """The name of the flavor that logs the model: ``lightgbm`` for ``mlflow.lightgbm``.

    Args:
        model: the trained model.
        given: a flavor's name or module; default: found from the class of the model.

    Raises:
        RegistrationError: none is known for it, or it is of Spark ML.

    """
    name = given.__name__.removeprefix("mlflow.") if inspect.ismodule(given) else given
    if name is None:
        packages = (cls.__module__.split(".", maxsplit=1)[0] for cls in type(model).__mro__)
        name = next((_FLAVORS[package] for package in packages if package in _FLAVORS), None)
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if name is None:
        raise RegistrationError.no_flavor(kind, sorted(set(_FLAVORS.values())))
    if name == "spark":
        raise RegistrationError.spark_ml(kind)
    if find_spec(f"mlflow.{name}") is None or not hasattr(import_module(f"mlflow.{name}"), "log_model"):
        raise RegistrationError.unknown_flavor(str(name), sorted(set(_FLAVORS.values())))
    return str(name)


def flavor_module(flavor: str) -> ModuleType:
    """MLflow's module of a flavor."""
    return import_module(f"mlflow.{flavor}")


def flavor_options(model: Any, flavor: str, task: str | None, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Keywords of the flavor's ``log_model`` that the model needs, and a note on them, which may be empty.

    scikit-learn models go as skops, which runs no code of the file's; the types in it that skops does not know are
    named as trusted, since they are those of the very object that is logged. What skops cannot hold goes as
    cloudpickle. A task ``probability`` makes ``predict`` of a classifier its ``predict_proba``.
    """
    options = dict(given)
    note = ""
    if flavor != "sklearn":
        return options, note
    if task == "probability" and hasattr(model, "predict_proba"):
        options.setdefault("pyfunc_predict_fn", "predict_proba")
    if "serialization_format" not in options and "skops_trusted_types" not in options:
        trusted = _skops_types(model)
        if trusted is None:
            options["serialization_format"] = "cloudpickle"
            note = "logged as cloudpickle, since skops cannot hold it: loading it runs whatever code the file names"
        elif trusted:
            options |= {"serialization_format": "skops", "skops_trusted_types": trusted}
    return options, note


def in_memory(model: Any, flavor: str, options: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """How the model in memory predicts what it will predict when loaded; None where only a loaded one can."""
    if flavor == "pyfunc":
        return _python_model(model)
    if hasattr(model, "inplace_predict"):  # an XGBoost Booster: its predict takes no frame
        return cast("Callable[[Any], Any]", model.inplace_predict)
    method = options.get("pyfunc_predict_fn", "predict")
    return getattr(model, method, None) if flavor not in ("onnx", "pytorch") else None


def class_labels(model: Any) -> list[Any] | None:
    """The labels of a classifier in the order of its probabilities; None where the model does not say."""
    labels = getattr(model, "classes_", None)
    if labels is None or (isinstance(labels, list) and labels and hasattr(labels[0], "__len__")):
        return None  # a list of arrays: one set of classes per output
    return [label.item() if hasattr(label, "item") else label for label in labels]


def algorithm_of(model: Any) -> str:
    """The class of the estimator; of a pipeline that of its last step."""
    steps = getattr(model, "steps", None)
    final = steps[-1][1] if isinstance(steps, list) and steps else model
    return type(final).__name__


def _skops_types(model: Any) -> list[str] | None:
    """Types that skops wants named, none where it knows all; None where it cannot hold the model."""
    if find_spec("skops") is None:
        return None
    import skops.io

    try:
        data = skops.io.dumps(model)
        types = list(skops.io.get_untrusted_types(data=data))
        skops.io.loads(data, trusted=types)  # some write what they cannot read
    except Exception:  # noqa: BLE001  whatever its parts raise when they are taken apart
        return None
    nowhere = [name for name in types if "<" in name or name.startswith("__main__.")]  # lambdas and scripts' own
    return None if nowhere else types


def _python_model(model: Any) -> Callable[[Any], Any] | None:
    """A PythonModel without artifacts predicts as it is; its context is empty."""
    if not hasattr(model, "predict"):
        return None
    names = list(inspect.signature(model.predict).parameters)
    if names and names[0] == "context":
        return lambda data: model.predict(None, _own(data))
    return lambda data: model.predict(_own(data))


def _own(data: Any) -> Any:
    """A copy: a custom model may write into what it is given."""
    return data.copy() if isinstance(data, pd.DataFrame) else data
