"""A model in this process's memory, on the driver and in workers alike. Imports no pyspark.

Its own modules (``code_paths``) are in force only while its code runs, so that models whose modules have the same
names do not get each other's. What it prints goes to standard error. The settings of libraries that its registration
recorded hold for its calls. The process stays as it was (``model.kept_process``).
"""

from __future__ import annotations

import contextlib
import copy
import importlib.machinery
import logging
import sys
import threading
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.model.errors import ModelError
from spark_scoring.model.estimator_kinds import attribute
from spark_scoring.model.estimators import use_one_thread
from spark_scoring.model.kept_process import process_kept
from spark_scoring.model.recorded import metadata_of, recorded, recorded_settings, statistics_of
from spark_scoring.model.sealed import check_copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import ModuleType

    from spark_scoring.model.sealed import Copy

_KEPT_MODELS = 2
_PACKAGES = ("site-packages", "dist-packages")
_imports = threading.RLock()
"""Held while a model's own modules are in force: names mean one thing at a time in a process."""


_given_up: list[threading.Thread] = []
"""Threads in which a model's code goes on though nobody waits for it."""
_LOOK_SECONDS = 1.0


def give_up(thread: threading.Thread) -> None:
    """A model's code in this thread is not waited for any longer."""
    _given_up.append(thread)


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    while not _imports.acquire(timeout=_LOOK_SECONDS):
        if any(thread.is_alive() for thread in _given_up):
            raise ModelError.process_hangs()
    try:
        yield
    finally:
        _imports.release()


class OwnCode:
    """The modules that a model brings along, in force while its code runs and out of the way otherwise.

    The names in ``sys.modules`` that its folders hold are put aside before, and are back afterwards. What its code
    imports meanwhile, however late, is kept for its next call. So are entries that it adds to ``sys.path``.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        self._folders = list(folders)
        self._names = _top_names(self._folders)
        self._modules: dict[str, ModuleType] = {}

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Let names mean the model's own modules.

        Raises:
            ModelError: a model that was given up has not returned; it would be waited for without end.

        """
        with _one_at_a_time():
            path = list(sys.path)
            aside = self._take_out()
            sys.modules.update(self._modules)
            sys.path[:0] = self._folders
            before = set(sys.modules) if self._folders else set()
            try:
                yield
            finally:
                self._keep_paths(path)
                if self._folders:
                    self._keep_modules(before)
                    self._put_back(aside)
                sys.path[:] = path

    def _take_out(self) -> dict[str, ModuleType]:
        if not self._names:
            return {}
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".", 1)[0] in self._names}

    def _put_back(self, aside: Mapping[str, ModuleType]) -> None:
        sys.modules.update(aside)

    def _keep_paths(self, path: list[str]) -> None:
        """Entries that the model's code has added are its own from now on, but for those of installed packages."""
        known = {*path, *self._folders}
        added = [entry for entry in sys.path if isinstance(entry, str) and entry not in known]
        own = [entry for entry in added if not any(part in _PACKAGES for part in Path(entry).parts)]
        path += [entry for entry in added if entry not in own]
        if own:
            self._folders = [*own, *self._folders]
            self._names = _top_names(self._folders)

    def _keep_modules(self, before: set[str]) -> None:
        new = [name for name in list(sys.modules) if name not in before]
        found = {name for name in new if _is_below(sys.modules[name], self._folders)}
        for name in {*found, *self._modules}:
            module = sys.modules.pop(name, None)
            if module is not None:
                self._modules[name] = module
            else:  # its code has removed it, as a reload does
                self._modules.pop(name, None)


def _top_names(folders: list[str]) -> frozenset[str]:
    """Modules that an import finds in these folders first."""
    candidates = {file.name.split(".", 1)[0] for folder in folders for file in _files(folder)}
    return frozenset(name for name in candidates if name.isidentifier() and _is_found_in(name, folders))


def _files(folder: str) -> list[Path]:
    place = Path(folder)
    return [file for file in place.iterdir() if file.name != "__pycache__"] if place.is_dir() else []


def _is_found_in(name: str, folders: list[str]) -> bool:
    """Whether the name means something in the folders: a folder without ``__init__`` gives way to any real module."""
    if name in sys.builtin_module_names:
        return False
    spec = importlib.machinery.PathFinder.find_spec(name, [*folders, *sys.path])
    if spec is None:
        return False
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    return any(_lies_below(place, folders) for place in places if place)


def _is_below(module: Any, folders: list[str]) -> bool:
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", ()))
    return any(_lies_below(place, folders) for place in places if isinstance(place, str))


def _lies_below(place: str, folders: list[str]) -> bool:
    return any(Path(place).is_relative_to(folder) for folder in folders)


class LoadedModel:
    """A model that can be called: its predict methods, on input of the signature's dtypes.

    Loading it runs its code: that of the files that the digest is of, or nothing. It is called below MLflow's input
    enforcement, which a plan has made redundant.

    Args:
        copy: the model's folder, with the digest that its files had when they were checked.

    Raises:
        ModelError: they are others by now.

    """

    def __init__(self, copy: Copy) -> None:
        from mlflow.models import Model, ModelSignature

        check_copy(copy)
        path = copy.folder
        logging.getLogger("mlflow").setLevel(logging.ERROR)  # version warnings are the plan's business
        mlmodel = Model.load(path)
        function = mlmodel.flavors.get("python_function") or {}
        code = function.get("code")
        self._code = OwnCode([str(Path(path, code))] if code else [])
        self._settings = recorded_settings(recorded(metadata_of(mlmodel)))
        self._flavors = frozenset(mlmodel.flavors)
        with self.running():
            self._pyfunc = _load(path)
            self._raw = raw_model(self._pyfunc)
            use_one_thread(self._raw)
        # The public way below input enforcement: predict_fn and the params' defaults stay in force.
        self._signature = self._pyfunc.metadata.signature
        params = getattr(self._signature, "params", None)  # before MLflow 2.6, there are none
        self._free = ModelSignature(params=params) if params is not None else None
        self._pyfunc.metadata.signature = self._free
        self.has_scored = False
        """Whether any row went through it in this process."""

    @property
    def raw(self) -> Any | None:
        """The native model, None for custom Python models."""
        return self._raw

    @property
    def input_example(self) -> Any | None:
        """The example that was saved with it; None where there is none, or it cannot be read."""
        return self._pyfunc.input_example

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """The MLmodel's metadata."""
        return metadata_of(self._pyfunc.metadata)

    @property
    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """What its registration recorded of each feature; empty where that is nothing, or cannot be read."""
        return statistics_of(self._pyfunc.metadata)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Where the model's code may run: its modules and settings hold, and what it prints is not a result."""
        quiet = contextlib.redirect_stdout(sys.stderr)
        with self._code.in_force(), quiet, _settings_in_force(self._settings), process_kept():
            yield

    def call(self, method: str, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """What the model's method returns for a batch, in the model's own form."""
        with self.running(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if method != "predict":
                return getattr(self._raw, method)(data)
            if _is_categorical(data) and self._raw is not None and hasattr(self._raw, "inplace_predict"):
                return self._raw.inplace_predict(data)  # MLflow's wrapper of an XGBoost Booster refuses categories
            given = _onnx_feed(self._raw, data) if "onnx" in self._flavors else data
            order = _prophet_order(data) if "prophet" in self._flavors else None
            chosen = {"params": copy.deepcopy(dict(params))} if params else {}
            result = self._pyfunc.predict(given, **chosen)
            if order is not None and isinstance(result, pd.DataFrame) and len(result) == len(order):
                result = result.set_axis(order, axis="index")  # as its rows were called before it sorted them
            return result

    def predict_enforced(self, data: Any) -> Any:
        """What ``mlflow.pyfunc`` returns for data that is still to be held against the signature."""
        self._pyfunc.metadata.signature = self._signature
        try:
            with self.running(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._pyfunc.predict(data)
        finally:
            self._pyfunc.metadata.signature = self._free


_models: OrderedDict[Copy, LoadedModel] = OrderedDict()


def loaded_model(copy: Copy) -> LoadedModel:
    """The model, loaded from its copy on first use in this process. Loading runs its code."""
    if copy not in _models:
        _models[copy] = LoadedModel(copy)
        while len(_models) > _KEPT_MODELS:
            _models.popitem(last=False)
    _models.move_to_end(copy)
    return _models[copy]


def is_loaded(copy: Copy) -> bool:
    """Whether ``loaded_model`` has it in this process."""
    return copy in _models


def raw_model(model: Any) -> Any | None:
    """The native model, None for custom Python models, which have none."""
    from mlflow.exceptions import MlflowException

    if not hasattr(model, "get_raw_model"):
        return _raw_of_older_mlflow(model)
    try:
        return model.get_raw_model()
    except (NotImplementedError, MlflowException):
        return None


def _raw_of_older_mlflow(model: Any) -> Any | None:
    """What the wrapper of a library holds in a field such as ``lgb_model``; where there is no wrapper, what it is."""
    held = model._model_impl  # noqa: SLF001  there was no public way
    if not type(held).__module__.startswith("mlflow."):
        return held
    found = [value for name, value in vars(held).items() if name.endswith("_model") and name != "python_model"]
    return found[0] if len(found) == 1 else None


def _load(path: str) -> Any:
    import mlflow.pyfunc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mlflow.pyfunc.load_model(path, suppress_warnings=True)


def _is_categorical(data: Any) -> bool:
    return isinstance(data, pd.DataFrame) and any(isinstance(t, pd.CategoricalDtype) for t in data.dtypes)


def _onnx_feed(session: Any, data: Any) -> Any:
    """Arrays for a model of several outputs: of a frame, MLflow lays them flat, each to a length of its own."""
    if not isinstance(data, pd.DataFrame) or len(session.get_outputs()) == 1:
        return data
    inputs = session.get_inputs()
    if len(inputs) == 1:
        return {inputs[0].name: data.to_numpy()}
    return {i.name: data[i.name].to_numpy().reshape((len(data), *[1] * (len(i.shape) - 1))) for i in inputs}


def _prophet_order(data: Any) -> Any:
    """Where Prophet's result rows come from: it sorts by time and numbers the rows anew."""
    times = pd.to_datetime(data["ds"], errors="coerce")
    return np.argsort(times.to_numpy(), kind="stable")


def changed_settings() -> dict[str, dict[str, Any]]:
    """Settings of libraries in this process that change what a model returns, where they are not the default."""
    sklearn = sys.modules.get("sklearn")
    if sklearn is None:
        return {}
    now = attribute(sklearn, "get_config", dict)()
    changed = {name: now[name] for name, default in _SKLEARN_DEFAULTS.items() if now.get(name, default) != default}
    return {"sklearn": changed} if changed else {}


_SKLEARN_DEFAULTS = {
    "transform_output": "default",
    "assume_finite": False,
    "enable_metadata_routing": False,
    "array_api_dispatch": False,
}
"""scikit-learn's settings that change results, with their defaults (``sklearn.set_config``)."""


@contextlib.contextmanager
def _settings_in_force(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    chosen = settings.get("sklearn")
    if not chosen:
        yield
        return
    import sklearn

    with sklearn.config_context(**chosen):
        yield
