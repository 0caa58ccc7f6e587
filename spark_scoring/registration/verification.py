"""Hold a logged model against the one in memory, through the very path that scores it: plan, casts, model call."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.engine.inputs import build_input
from spark_scoring.engine.pandas_casts import frame_columns
from spark_scoring.engine.rehearsal import example_frame, plan_of_example, rehearse_plan, with_levels_in_place
from spark_scoring.errors import Problem, RegistrationError, RequestError, VerificationError
from spark_scoring.model.loaded import LoadedModel
from spark_scoring.model.spec import read_spec
from spark_scoring.plan.rehearsal import BATCH_CODES
from spark_scoring.registration.flavors import flavor_module, model_keyword
from spark_scoring.registration.tasks import described, prediction_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spark_scoring.model.registry import PinnedModel
    from spark_scoring.model.spec import ModelSpec

_TOLERANCE = 1e-9
"""Relative, and absolute; what sums in another order may change. Of float32, 1e-5."""


def verify(pinned: PinnedModel, example: Any, predictions: Any, *, batch_dependent: bool = False) -> ModelSpec:
    """The spec of a logged model whose predictions on the example are those of the model in memory.

    Loads the model, which runs its code. The example goes the way of a table: its columns are planned against the
    signature, cast, and given to the model below MLflow's enforcement, as a Spark worker does it. Then it is rehearsed
    on the example, as every plan of a job does it.

    Raises:
        VerificationError: it does not load, scoring would refuse the example, a prediction differs, or a rehearsal
            finds that scoring would be wrong.

    """
    try:
        spec = read_spec(pinned)
        data = model_input(spec, example)
        frame = example_frame(spec, example)
        plan = None if frame is None else plan_of_example(spec, frame)[0]
    except RequestError as error:
        raise VerificationError.not_scorable(error.problems) from error
    _compare(pinned.path, data, predictions)
    if plan is not None:
        found = rehearse_plan(plan, example=example).findings
        errors = [f for f in found if f.is_error and not (batch_dependent and f.code in BATCH_CODES)]
        if errors:
            thing = "logged model"
            raise VerificationError.not_scorable([Problem(thing, f.cause, f.fix) for f in errors])
    return spec


def verify_raw(pinned: PinnedModel, inside: Sequence[str], example: Any, predictions: Any) -> None:
    """As ``verify``, of a model inside the artifact that feature lookups feed; its inputs are the training set's.

    Raises:
        VerificationError: it is not there, does not load, or a prediction differs.

    """
    folder = Path(pinned.path, *inside)
    if not (folder / "MLmodel").is_file():
        raise VerificationError.no_raw_model("/".join(inside))
    _compare(str(folder), example, predictions)


def _compare(path: str, data: Any, predictions: Any) -> None:
    try:
        loaded = LoadedModel(path).call("predict", data)
    except Exception as error:
        raise VerificationError.raises(type(error).__name__) from error
    difference = prediction_difference(predictions, loaded)
    if difference:
        raise VerificationError.differs(difference)


def model_input(spec: ModelSpec, example: Any) -> Any:
    """What scoring gives the model for the example's rows; arrays go as they are.

    Raises:
        RequestError: scoring would refuse the example, or make a bad row of one of its rows.

    """
    if not isinstance(example, pd.DataFrame):
        return example
    frame = example.rename(columns=str)
    plan, schema = plan_of_example(spec, frame)
    given = frame_columns(with_levels_in_place(spec, frame), plan, schema)
    if len(given.errors):
        reasons = "; ".join(dict.fromkeys(given.errors))
        raise RequestError([Problem("input example", f"a row of it would be a bad row: {reasons}", "fix the frame")])
    return build_input(replace(given.plan, takes=spec.takes, labels=spec.labels), given.columns)


def predict_as_saved(model: Any, flavor: str, options: Mapping[str, Any], example: Any) -> Any:
    """What a saved and loaded copy returns, below MLflow's enforcement; for models that cannot predict in memory.

    Raises:
        RegistrationError: it cannot be saved, or raises on the example.

    """
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model"))
        saving = {**options, **model_keyword(model, flavor), "input_example": saved_example(example, flavor)}
        try:
            flavor_module(flavor).save_model(path=path, pip_requirements=[], **saving)
        except Exception as error:
            raise RegistrationError.not_saved(flavor, type(error).__name__) from error
        try:
            return LoadedModel(path).call("predict", example)
        except Exception as error:
            raise RegistrationError.predict_failed(type(error).__name__) from error


def saved_example(example: Any, flavor: str) -> Any:
    """The example as MLflow saves it: for a PythonModel, which MLflow calls with it, in types that MLflow knows."""
    if flavor != "pyfunc" or not isinstance(example, pd.DataFrame):
        return example
    saved = example.copy()
    for name, dtype in example.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):
            saved[name] = example[name].astype(dtype.categories.dtype)
        elif isinstance(dtype, pd.DatetimeTZDtype):
            saved[name] = example[name].dt.tz_convert("UTC").dt.tz_localize(None)
    return saved


def prediction_difference(expected: Any, found: Any) -> str | None:
    """How predictions differ, without their values; None where they are the same."""
    ours, theirs = prediction_columns(expected), prediction_columns(found)
    if [column.shape for column in ours] != [column.shape for column in theirs]:
        return f"in memory {described(expected)}, loaded {described(found)}"
    wrong = np.zeros(len(ours[0]), dtype=bool)
    for a, b in zip(ours, theirs, strict=True):
        wrong |= ~_same(a, b)
    return f"{int(wrong.sum())} of {len(wrong)} rows differ" if wrong.any() else None


def _same(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    if a.dtype.kind in "iubf" and b.dtype.kind in "iubf":
        tolerance = _TOLERANCE if a.dtype.itemsize > 4 and b.dtype.itemsize > 4 else 1e-5  # noqa: PLR2004
        close: NDArray[np.bool_] = np.isclose(
            a.astype("float64"), b.astype("float64"), rtol=tolerance, atol=tolerance, equal_nan=True
        )
        return close
    return np.asarray([x == y for x, y in zip(a.tolist(), b.tolist(), strict=True)], dtype=bool)
