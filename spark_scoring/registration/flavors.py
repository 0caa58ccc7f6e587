"""A model's MLflow flavor, how it is logged with it, and how it predicts in memory."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from spark_scoring.errors import Gathering
from spark_scoring.model.estimator_kinds import attribute, library
from spark_scoring.model.estimators import final_estimator, takes_documents
from spark_scoring.registration.boosters import booster_predict, lost_by_own_flavor
from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.saving import not_saved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

_OURS = frozenset(
    (
        *("name", "artifact_path", "signature", "input_example", "metadata", "registered_model_name", "run_id"),
        *("pip_requirements", "extra_pip_requirements", "await_registration_for", "params", "tags", "step", "model_id"),
    )
)
"""Keywords of ``log_model`` that have settings of their own here."""
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
_PREDICTING = ("catboost", "lightgbm", "sklearn", "statsmodels", "xgboost")
"""Flavors whose models predict with a method of their own, in memory as when loaded."""


def flavor_of(model: Any, given: str | ModuleType | None = None) -> str:
    """The name of the flavor that logs the model: ``lightgbm`` for ``mlflow.lightgbm``.

    An estimator of which XGBoost's or CatBoost's own flavor would lose something goes as scikit-learn's, whose flavor
    takes whatever predicts.

    Args:
        model: the trained model.
        given: a flavor's name or module; default: found from the class of the model.

    Raises:
        RegistrationError: none is known for it, the given one would lose something of it, or it is of Spark ML.

    """
    if inspect.isclass(model):
        raise RegistrationError.is_class(model.__name__)
    name = given.__name__.removeprefix("mlflow.") if inspect.ismodule(given) else given
    lost = lost_by_own_flavor(model)
    if name is None:
        packages = (cls.__module__.split(".", maxsplit=1)[0] for cls in type(model).__mro__)
        name = next((_FLAVORS[package] for package in packages if package in _FLAVORS), None)
        name = "sklearn" if lost else name
    elif lost and name in ("xgboost", "catboost"):
        raise RegistrationError.flavor_loses(name, lost)
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


def flavor_options(
    model: Any, flavor: str, task: str | None, given: Mapping[str, Any], *, takes_frame: bool
) -> tuple[dict[str, Any], str]:
    """Keywords of the flavor's ``log_model`` that the model needs, and a note on them, which may be empty.

    Models of scikit-learn, and LightGBM's estimators, go as skops, which runs no code of the file's; the types in it
    that skops does not know are named as trusted, since they are those of the very object that is logged. What skops
    cannot hold goes as cloudpickle, and torch modules that take a frame as a pickle: their traced form wants an array.
    A task ``probability`` makes ``predict`` of a classifier its ``predict_proba``.

    Raises:
        RegistrationError: a keyword that is ours, or that the flavor does not have; a model that cannot predict.

    """
    problems = Gathering()
    module = flavor_module(flavor)
    saving = inspect.signature(module.save_model).parameters  # where log_model passes on what it does not know
    known = {**inspect.signature(module.log_model).parameters, **saving}
    is_open = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in saving.values())
    for name in given:
        with problems.attempt():
            if name in _OURS or not (name in known or is_open):
                raise RegistrationError.bad_option(name, flavor, reserved=name in _OURS)
    options = dict(given)
    if flavor == "sklearn" and task == "probability" and hasattr(model, "predict_proba"):
        options.setdefault("pyfunc_predict_fn", "predict_proba")
    if flavor in _PREDICTING:
        with problems.attempt():
            _check_predicts(model, flavor, str(options.get("pyfunc_predict_fn", "predict")))
    problems.raise_all(RegistrationError)
    if flavor == "pytorch" and takes_frame and "serialization_format" in known:
        options.setdefault("serialization_format", "pickle")
        note = (
            "logged as a pickle: loading it runs whatever code the file names; trained on an array, it would be traced"
        )
        return options, note
    if flavor == "sklearn" or (flavor == "lightgbm" and hasattr(model, "get_params")):
        options, note = _as_skops(model, flavor, options, known)
        lost = lost_by_own_flavor(model)
        own = f"logged with the flavor sklearn, since its own would lose {lost}" if lost else ""
        return options, "; ".join(text for text in (own, note) if text)
    return options, ""


def _as_skops(
    model: Any, flavor: str, given: Mapping[str, Any], known: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """With the keywords of the form in which the flavor writes the model, and a note on it.

    Raises:
        RegistrationError: skops is asked for, and cannot hold it; or a pickle cannot, either.

    """
    options = dict(given)
    if options.get("serialization_format", "skops") != "skops" or "skops_trusted_types" in options:
        return options, ""
    trusted = _skops_types(model) if "skops_trusted_types" in known else None
    if trusted is None and "serialization_format" in options:
        raise RegistrationError.not_for_skops()
    if trusted is None:
        _check_pickles(model, flavor)
        options |= {"serialization_format": "cloudpickle"} if "serialization_format" in known else {}
        return (
            options,
            "logged as cloudpickle, since skops cannot hold it: loading it runs whatever code the file names",
        )
    if trusted:
        options |= {"serialization_format": "skops", "skops_trusted_types": trusted}
    return options, ""


def _check_pickles(model: Any, flavor: str) -> None:
    """Refuse what cannot be written, before a run is begun for it."""
    try:
        import_module("cloudpickle").dumps(model)
    except Exception as error:
        raise not_saved(flavor, error) from error


def _check_predicts(model: Any, flavor: str, method: str) -> None:
    """Refuse a model that is not trained, or has no method to predict rows with.

    Raises:
        RegistrationError: says what it has instead, and what to do.

    """
    if _is_untrained(model):
        raise RegistrationError.not_trained(type(model).__name__)
    if type(model).__module__.startswith("statsmodels.tsa."):
        raise RegistrationError.no_rows(type(model).__name__)
    if flavor == "sklearn" and method not in _CALLED:
        raise RegistrationError.no_predict_fn(method, _CALLED)
    if attribute(model, method) is not None:
        return
    last = final_estimator(model)
    last = model if attribute(last, method) is not None else last
    others = [name for name in _OTHER_METHODS if attribute(last, name) is not None]
    fix = "leave pyfunc_predict_fn out of options" if method != "predict" else _instead(model, last, others)
    raise RegistrationError.no_method(type(last).__name__, method, others, fix)


_CALLED = ("predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba")
"""What MLflow's loaded model of scikit-learn can be made to call for each row (``pyfunc_predict_fn``)."""
_OTHER_METHODS = ("transform", "fit_transform", "fit_predict", "score_samples", "predict_proba")
"""What an estimator has that does not predict."""


def _is_untrained(model: Any) -> bool:
    """Whether CatBoost says so; or it is a model of statsmodels', whose fit returns another object that predicts."""
    if library(model) == "catboost":
        return not model.is_fitted()
    return type(model).__module__.startswith("statsmodels.") and hasattr(model, "fit")


def _instead(model: Any, last: Any, others: Sequence[str]) -> str:
    """What to type, so that rows are predicted after all."""
    if attribute(last, "novelty") is False:
        return f"train it for new rows: {type(last).__name__}(novelty=True).fit(X), task='anomaly_detection'"
    if attribute(last, "refit", default=True) is False:
        return "let it fit the best one again: refit=True; or register an estimator with the best parameters"
    for name in ("transform", "score_samples"):
        if name in others:
            return (
                f"put a model behind it, make_pipeline(..., LinearRegression()); or register what its {name} returns: "
                f"register_model(lambda X: model.{name}(X), X, flavor='pyfunc', task='regression', name=...)"
            )
    if attribute(last, "labels_") is not None:
        learner = "KNeighborsClassifier(1).fit(X, model.labels_)"
        if last is not model:
            learner = "make_pipeline(model[:-1], KNeighborsClassifier(1)).fit(X, model[-1].labels_)"
        return f"take one that predicts (KMeans, Birch, ...); or learn its labels: {learner}, task='clustering'"
    return "train one that predicts rows; or wrap it: class Mine(mlflow.pyfunc.PythonModel) with a predict of its own"


def model_keyword(model: Any, flavor: str) -> dict[str, Any]:
    """The model as the flavor's ``log_model`` and ``save_model`` take it, by name."""
    if flavor == "pyfunc":
        return {"python_model": model}
    return {next(iter(inspect.signature(flavor_module(flavor).log_model).parameters)): model}


def in_memory(
    model: Any, flavor: str, options: Mapping[str, Any], params: Mapping[str, Any]
) -> Callable[[Any], Any] | None:
    """How the model in memory predicts what it will predict when loaded; None where only a loaded one can.

    Raises:
        RegistrationError: it is not a trained model, or takes something else than a frame or an array.

    """
    if flavor == "pyfunc":
        return _python_model(model, options, params)
    if library(model) == "xgboost" and hasattr(model, "inplace_predict"):  # a Booster: its predict takes no frame
        return booster_predict(model)
    method = getattr(model, options.get("pyfunc_predict_fn", "predict"), None)
    if flavor in ("onnx", "pytorch") or method is None:
        return None
    predict = cast("Callable[[Any], Any]", method)
    return (lambda data: predict(_texts(data))) if takes_documents(model) else predict


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


def _python_model(model: Any, options: Mapping[str, Any], params: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """A PythonModel without artifacts and without a state that it loads predicts as it is; its context is empty."""
    from mlflow.pyfunc import PyFuncModel, PythonModel

    if isinstance(model, PyFuncModel):
        raise RegistrationError.loaded_model()
    if not isinstance(model, PythonModel):
        return None  # a function
    loads = type(model).load_context is not PythonModel.load_context or options.get("artifacts")
    given = inspect.signature(model.predict).parameters
    inputs = next((p for name, p in given.items() if name != "context"), None)
    hint = "" if inputs is None or inputs.annotation is inspect.Parameter.empty else _text(inputs.annotation)
    if hint.startswith(("list", "List", "typing.List")):
        raise RegistrationError.type_hint(hint)
    if loads:
        return None
    context = (None,) if "context" in given else ()
    extra = {"params": dict(params)} if "params" in given else {}
    return lambda data: model.predict(*context, _own(data), **extra)


def _texts(data: Any) -> Any:
    """The one column of a frame, as scoring gives it to a model that takes texts."""
    return data.iloc[:, 0] if isinstance(data, pd.DataFrame) and data.shape[1] == 1 else data


def _text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _own(data: Any) -> Any:
    """A copy: a custom model may write into what it is given."""
    return data.copy() if isinstance(data, pd.DataFrame) else data
