"""Runs inside Python workers: lanes -> the model's input -> predictions. Imports no pyspark.

The model is loaded once per worker process and kept in this module (a closure's globals are new in every
task). It is called below MLflow's input enforcement, which the plan has made redundant: the frame has the
signature's exact dtypes and order.
"""

from __future__ import annotations

import logging
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.engine.inputs import WorkerPlan, build_input, cut
from spark_scoring.engine.results import empty_fields, normalise
from spark_scoring.errors import ModelFailedError, ModelOutputError
from spark_scoring.model.spec import raw_model
from spark_scoring.plan.reasons import MODEL, reason_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

_KEPT_MODELS = 2
_CALLS_PER_BATCH = 300
_PROBES = 3


@dataclass
class Scored:
    """A batch's results: per returned field the values and a mask of nulls, and per row an error or None."""

    fields: list[tuple[NDArray[Any], NDArray[np.bool_]]]
    errors: NDArray[np.object_]


class LoadedModel:
    """A model in this worker's memory: its predict methods on frames of the signature's dtypes."""

    def __init__(self, path: str) -> None:
        import mlflow.pyfunc
        from mlflow.models import ModelSignature

        logging.getLogger("mlflow").setLevel(logging.ERROR)  # version warnings are the plan's business
        self._pyfunc = mlflow.pyfunc.load_model(path, suppress_warnings=True)
        self._raw = raw_model(self._pyfunc)
        _use_one_thread(self._raw)
        # The public way below input enforcement: predict_fn and the params' defaults stay in force.
        signature = self._pyfunc.metadata.signature
        params = signature.params if signature is not None else None
        self._pyfunc.metadata.signature = ModelSignature(params=params) if params is not None else None
        self.has_scored = False

    @property
    def raw(self) -> Any | None:
        """The native model, None for custom Python models."""
        return self._raw

    def call(self, method: str, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """What the model's method returns for a batch, in the model's own form."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if method != "predict":
                return getattr(self._raw, method)(data)
            if _is_categorical(data) and self._raw is not None and hasattr(self._raw, "inplace_predict"):
                return self._raw.inplace_predict(data)  # MLflow's wrapper of an XGBoost Booster refuses categories
            return self._pyfunc.predict(data, params=dict(params) if params else None)


_models: OrderedDict[str, LoadedModel] = OrderedDict()


def loaded_model(path: str, digest: str) -> LoadedModel:
    """The model of this digest, loaded from the folder on first use in this process. Loading runs its code."""
    if digest not in _models:
        _models[digest] = LoadedModel(path)
        while len(_models) > _KEPT_MODELS:
            _models.popitem(last=False)
    _models.move_to_end(digest)
    return _models[digest]


def score(model: LoadedModel, plan: WorkerPlan, columns: Sequence[NDArray[Any]], ok: NDArray[np.bool_]) -> Scored:
    """Score one batch.

    Args:
        model: the loaded model.
        plan: what the columns are.
        columns: per lane an (n, k) matrix of its dtype, or (n,) values of a feature that travels alone.
        ok: (n,) rows that passed every check; the others never reach the model.

    Returns:
        (n,) values per returned field; masked where the row is bad. A NaN that the model returns stays one.

    Raises:
        ModelOutputError: the model returns something else than its signature says.
        ModelFailedError: it raises on every row tried, and has not scored any in this process.

    """
    n = len(ok)
    scored = Scored(empty_fields(plan.returns, n), np.full(n, None, dtype=object))
    rows = np.flatnonzero(ok)
    if len(rows) == 0:
        return scored
    if len(rows) < n:
        columns = [c[rows] for c in columns]
    data = build_input(plan, columns)
    n_good = len(rows)
    done = np.zeros(n_good, dtype=bool)
    params = dict(plan.params)

    def fill(start: int, stop: int) -> None:
        part = data if (start, stop) == (0, n_good) else cut(data, start, stop)
        results = [normalise(r, model.call(r.method, part, params), stop - start) for r in plan.returns]
        target = rows[start:stop]
        for (values, mask), (new, null) in zip(scored.fields, [f for fields in results for f in fields], strict=True):
            values[target] = new
            mask[target] = null
        done[start:stop] = True

    for start, stop, error in _isolate(model, fill, n_good):
        scored.errors[rows[start:stop][~done[start:stop]]] = reason_text(MODEL, error)
    return scored


def _is_categorical(data: Any) -> bool:
    return isinstance(data, pd.DataFrame) and any(isinstance(t, pd.CategoricalDtype) for t in data.dtypes)


def _isolate(model: LoadedModel, fill: Callable[[int, int], None], n: int) -> list[tuple[int, int, str]]:
    """Score all rows, and by halving those around rows on which the model raises.

    Returns the segments that could not be scored, each with the kind of the model's error. Its text stays
    out: it may hold values. A budget bounds the calls; a segment that is not split further fails as a whole.
    """

    def attempt(start: int, stop: int) -> Exception | None:
        try:
            fill(start, stop)
        except (MemoryError, ModelOutputError):
            raise
        except Exception as error:  # noqa: BLE001  the model's code may raise anything
            return error
        model.has_scored = True
        return None

    first = attempt(0, n)
    if first is None:
        return []
    probes = [attempt(i, i + 1) for i in sorted({0, n // 2, n - 1})]
    if not model.has_scored and len(probes) == _PROBES and {type(p) for p in probes} == {type(first)}:
        raise ModelFailedError.on_every_row(type(first).__name__) from first
    return _bisect(attempt, n, first)


def _bisect(attempt: Callable[[int, int], Exception | None], n: int, first: Exception) -> list[tuple[int, int, str]]:
    """Segments on which the model raises; where the left half of a failing segment passes, the right one fails."""
    failed: list[tuple[int, int, str]] = []
    open_segments = [(0, n, first)]
    calls = 0
    while open_segments:
        start, stop, error = open_segments.pop()
        if stop - start == 1 or calls >= _CALLS_PER_BATCH:
            failed.append((start, stop, type(error).__name__))
            continue
        middle = (start + stop) // 2
        left = attempt(start, middle)
        calls += 1
        if left is None and stop - middle > 1:
            open_segments.append((middle, stop, error))
            continue
        if left is not None:
            open_segments.append((start, middle, left))
        right = attempt(middle, stop)
        calls += 1
        if right is not None:
            open_segments.append((middle, stop, right))
    return failed


def _use_one_thread(raw: Any) -> None:
    """A task has one core: undo an ``n_jobs`` of training time, in nested estimators too."""
    if not hasattr(raw, "get_params") or not hasattr(raw, "set_params"):
        return
    jobs = [name for name in raw.get_params(deep=True) if name == "n_jobs" or name.endswith("__n_jobs")]
    if jobs:
        raw.set_params(**dict.fromkeys(jobs, 1))
