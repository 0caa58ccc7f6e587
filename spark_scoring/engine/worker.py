"""Runs inside Python workers: lanes -> the model's frame -> predictions. Imports no pyspark.

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

from spark_scoring.errors import ModelFailedError, ModelOutputError
from spark_scoring.model.spec import INTEGER_RANGES, raw_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_KEPT_MODELS = 2
_CALLS_PER_BATCH = 300
_PROBES = 3

NUMPY_TYPES = {
    "double": "float64",
    "float": "float32",
    "long": "int64",
    "integer": "int32",
    "boolean": "bool",
    "string": "object",
}
"""MLflow type -> dtype of a frame's column and of a returned field."""


@dataclass(frozen=True)
class Returned:
    """What one predict method returns: ``width`` fields per row (1 for a scalar) of one MLflow type."""

    method: str
    type: str
    width: int


@dataclass(frozen=True)
class WorkerPlan:
    """All that a worker needs to know, as plain values."""

    digest: str
    features: tuple[str, ...]
    """In the order in which the model wants them."""
    lanes: tuple[tuple[str, tuple[str, ...], bool], ...]
    """Per input column: MLflow type, features, whether they are packed into an array."""
    returns: tuple[Returned, ...]


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

    def call(self, method: str, frame: pd.DataFrame) -> Any:
        """What the model's method returns for the frame, in the model's own form."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if method == "predict":
                return self._pyfunc.predict(frame)
            return getattr(self._raw, method)(frame)


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
    scored = Scored(_empty_fields(plan, n), np.full(n, None, dtype=object))
    rows = np.flatnonzero(ok)
    if len(rows) == 0:
        return scored
    if len(rows) < n:
        columns = [c[rows] for c in columns]
    frame = build_frame(plan, columns)
    done = np.zeros(len(frame), dtype=bool)

    def fill(start: int, stop: int) -> None:
        part = frame if (start, stop) == (0, len(frame)) else frame.iloc[start:stop]
        results = [_normalise(r, model.call(r.method, part), len(part)) for r in plan.returns]
        target = rows[start:stop]
        for (values, mask), (new, null) in zip(scored.fields, [f for fields in results for f in fields], strict=True):
            values[target] = new
            mask[target] = null
        done[start:stop] = True

    for start, stop, error in _isolate(model, fill, len(frame)):
        scored.errors[rows[start:stop][~done[start:stop]]] = f"model: {error}"
    return scored


def build_frame(plan: WorkerPlan, columns: Sequence[NDArray[Any]]) -> pd.DataFrame:
    """The model's frame: the signature's names, order and dtypes, made without touching single values."""
    if len(plan.lanes) == 1 and plan.lanes[0][2]:
        return pd.DataFrame(columns[0], columns=list(plan.features), copy=False)
    by_name: dict[str, NDArray[Any]] = {}
    for (_, names, packed), column in zip(plan.lanes, columns, strict=True):
        by_name.update({name: column[:, i] for i, name in enumerate(names)} if packed else {names[0]: column})
    return pd.DataFrame({name: by_name[name] for name in plan.features}, copy=False)


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


def _empty_fields(plan: WorkerPlan, n: int) -> list[tuple[NDArray[Any], NDArray[np.bool_]]]:
    return [
        (np.full(n, None if r.type == "string" else 0, dtype=NUMPY_TYPES[r.type]), np.ones(n, dtype=bool))
        for r in plan.returns
        for _ in range(r.width)
    ]


def _normalise(returned: Returned, result: Any, n: int) -> list[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """A model's result (array, Series, DataFrame, list) as typed fields with null masks."""
    if isinstance(result, pd.DataFrame):
        columns = [result.iloc[:, i].to_numpy() for i in range(result.shape[1])]
    else:
        array = np.asarray(result)
        columns = [array] if array.ndim == 1 else list(array.T)
    if len(columns) != returned.width or any(column.shape != (n,) for column in columns):
        declared = f"{returned.width} value(s) of type {returned.type} per row"
        shape = np.shape(result)
        raise ModelOutputError.differs(returned.method, declared, f"returned shape {shape} for {n} rows")
    return [_typed(returned, column) for column in columns]


def _typed(returned: Returned, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One field in its declared type; refuses what would change a value, as Spark before 4.1 does silently."""
    kind, dtype = returned.type, np.dtype(NUMPY_TYPES[returned.type])
    is_float = kind in ("double", "float")
    if values.dtype.kind == "f" and is_float:
        return values.astype(dtype, copy=False), np.zeros(len(values), dtype=bool)
    null = np.asarray(pd.isna(values))
    present = values[~null]
    if values.dtype.kind == "O" and kind != "string" and len(present):
        present = np.asarray(present.tolist())
    if not len(present):
        present = np.zeros(0, dtype=dtype)
    if not _holds(present, kind):
        raise ModelOutputError.differs(returned.method, kind, f"returned {_described(present, kind)}")
    typed = np.full(len(values), None if kind == "string" else 0, dtype=dtype)
    typed[~null] = present.astype(dtype, copy=False)
    return typed, null


def _holds(values: NDArray[Any], kind: str) -> bool:
    """Whether a field of this MLflow type can take the values unchanged."""
    match kind:
        case "string":
            return values.dtype.kind == "U" or all(isinstance(v, str) for v in values)
        case "boolean":
            return values.dtype.kind == "b"
        case "double" | "float":
            return values.dtype.kind in "fiub"
        case _:
            low, high = INTEGER_RANGES[kind]
            if values.dtype.kind == "f":
                return bool(np.all((values == np.floor(values)) & (values >= low) & (values < high)))
            return values.dtype.kind in "iub" and bool(np.all((values >= low) & (values <= high - 1)))


def _described(values: NDArray[Any], kind: str) -> str:
    if kind in INTEGER_RANGES and values.dtype.kind in "fiu":
        return f"{values.dtype} values that are no {kind}"
    return str(values.dtype)


def _use_one_thread(raw: Any) -> None:
    """A task has one core: undo an ``n_jobs`` of training time, in nested estimators too."""
    if not hasattr(raw, "get_params") or not hasattr(raw, "set_params"):
        return
    jobs = [name for name in raw.get_params(deep=True) if name == "n_jobs" or name.endswith("__n_jobs")]
    if jobs:
        raw.set_params(**dict.fromkeys(jobs, 1))
