"""Hold a logged model against the one in memory, through the very path that scores it: plan, casts, model call.

It is loaded and called in a process of its own, which has nothing of the training script: what the model needs and
does not bring along shows here, and not in a Spark worker.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.engine.process import Task, module_place, tried
from spark_scoring.engine.rehearsal import cast_example, example_frame, packed_lanes, plan_of_example, rehearsal_rows
from spark_scoring.engine.results import normalise
from spark_scoring.engine.trial_rows import Rows, Sample
from spark_scoring.errors import Problem, RequestError, RunError, listed
from spark_scoring.model.loaded import LoadedModel
from spark_scoring.model.raised import kind_of
from spark_scoring.model.reading import read_spec
from spark_scoring.model.sealed import Copy, digest_of
from spark_scoring.plan.policy import Policy
from spark_scoring.plan.rehearsal import BATCH_CODES
from spark_scoring.registration.errors import RegistrationError, VerificationError
from spark_scoring.registration.flavors import flavor_module, model_keyword
from spark_scoring.registration.saving import not_saved
from spark_scoring.registration.tasks import described, prediction_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spark_scoring.engine.process import Outcome, Where
    from spark_scoring.model.pinned import PinnedModel
    from spark_scoring.model.spec import ModelSpec
    from spark_scoring.plan.scoring_plan import ScoringPlan
    from spark_scoring.registration.frame import Inputs

_OF_DOUBLES, _OF_FLOATS = 1e-9, 1e-5
"""How much a prediction may differ, relative and absolute: what sums in another order may change."""
_SAVED = 5
"""Rows of the example of a copy that is saved only to be asked."""


@dataclass(frozen=True)
class Proof:
    """What a logged model was held against."""

    rows: int
    """Rows of the training frame whose predictions were compared."""
    seconds: float
    where: Where

    def __str__(self) -> str:
        place = "in a process of its own" if self.where == "apart" else "in this process"
        return f"{self.rows:,} rows predicted as in memory, {place}, in {self.seconds:.1f} s"


def verified(
    pinned: PinnedModel,
    sample: Inputs,
    predictions: Any,
    *,
    example: Inputs,
    batch_dependent: bool = False,
    where: Where = "apart",
) -> Proof:
    """Hold a logged model against what the model in memory predicted. Loads it, which runs its code.

    The sample goes the way of a table: its columns are planned against the signature, cast, and given to the model as
    a Spark worker does it. Then it is rehearsed on the example, as every plan of a job does it.

    Args:
        pinned: the logged model.
        sample: rows of the training frame, of ``sample_of``.
        predictions: what the model in memory returned for them.
        example: the input example.
        batch_dependent: whether a row's result may depend on other rows or on chance.
        where: where it is loaded and called.

    Raises:
        VerificationError: it does not load without what the training process has, scoring would refuse rows of the
            sample, a prediction differs, or a rehearsal finds that scoring would be wrong.

    """
    try:
        spec = read_spec(pinned)
        frame = _frame(spec, sample)
        plan = plan_of_example(spec, frame)[0]
        held = _sample(plan, frame, predictions)
    except (RequestError, RunError) as error:
        raise VerificationError.not_scorable(error.problems) from error
    given = rehearsal_rows(plan, example)
    outcome = tried(Task(spec.copy, given, held), where)
    _judge(outcome, frame, batch_dependent=batch_dependent)
    return Proof(len(sample), outcome.seconds, where)


def check_raw_part(pinned: PinnedModel, inside: Sequence[str]) -> None:
    """Refuse an artifact without the model inside that feature lookups feed.

    Raises:
        VerificationError: it is not there.

    """
    if not Path(pinned.path, *inside, "MLmodel").is_file():
        raise VerificationError.no_raw_model("/".join(inside))


def _frame(spec: ModelSpec, sample: Inputs) -> pd.DataFrame:
    frame = example_frame(spec, sample)
    if frame is None:
        problem = Problem("training frame", "its rows are not rows of the model's inputs", "give the frame of training")
        raise RequestError([problem])
    return frame


def _sample(plan: ScoringPlan, frame: pd.DataFrame, predictions: Any) -> Sample:
    """The sample as a worker is given it, with what it must predict.

    Raises:
        RequestError: scoring would refuse the frame, or make a bad row of one of its rows.

    """
    cast = cast_example(plan, frame, Policy())
    if len(cast.errors):
        reasons = "; ".join(dict.fromkeys(cast.errors))
        cause = f"scoring would make bad rows of {len(cast.errors)} of {len(frame)} of its rows: {reasons}"
        fix = "train on rows without these values, or let the logged pipeline take them"
        raise RequestError([Problem("training frame", cause, fix)])
    lanes, columns = packed_lanes(plan, cast)
    expected = normalise(plan.returns[0], predictions, len(frame))
    return Sample(Rows(lanes, columns, len(frame), "input example"), expected, _tolerance(predictions))


def _tolerance(predictions: Any) -> float:
    single = any(c.dtype.kind == "f" and c.dtype.itemsize <= 4 for c in prediction_columns(predictions))  # noqa: PLR2004
    return _OF_FLOATS if single else _OF_DOUBLES


def _judge(outcome: Outcome, frame: pd.DataFrame, *, batch_dependent: bool) -> None:
    """Raise what is wrong with the logged model."""
    if outcome.missing_module:
        problem = module_problem(outcome.missing_module)
        raise VerificationError.not_scorable([problem]) from ModelText(outcome.text)
    if outcome.failure:
        raise VerificationError.raises(outcome.failure) from ModelText(outcome.text)
    if outcome.wrong:
        raise VerificationError.differs(len(outcome.wrong), len(frame), _shared_by(frame, outcome.wrong))
    errors = [f for f in outcome.findings if f.is_error and not (batch_dependent and f.code in BATCH_CODES)]
    if errors:
        raise VerificationError.not_scorable([Problem("logged model", f.cause, f.fix) for f in errors])


def module_problem(name: str) -> Problem:
    """What to do about a module that a logged model needs, and that a process of its own does not find."""
    place = module_place(name.split(".", maxsplit=1)[0])
    if place is None:
        cause = f"it needs the module {name}, which is not a file here, and does not carry it"
        fix = f"install the package that has {name}; or write the module as a file, and give that in code_paths"
        return Problem("logged model", cause, fix)
    cause = f"it needs the module {name}, which it does not carry and only this process finds; no Spark worker would"
    fix = f"log it along: options={{'code_paths': [{place!r}]}}; in a training job code_paths: [{place}]"
    return Problem("logged model", cause, fix)


def _shared_by(frame: pd.DataFrame, wrong: Sequence[int]) -> str:
    """A null that all of these rows have, and that others have not."""
    missing = frame.isna()
    names = [n for n in frame.columns if missing[n].iloc[np.array(wrong)].all() and not missing[n].all()]
    return f"each has a null in {listed(map(str, names))}" if names else ""


class ModelText(Exception):  # noqa: N818  it is the text of an error of the model's process
    """What the model's process wrote, which may hold values."""


def predict_as_saved(model: Any, flavor: str, options: Mapping[str, Any], example: Any) -> Any:
    """What a saved and loaded copy returns, below MLflow's enforcement; for models that cannot predict in memory.

    Raises:
        RegistrationError: it cannot be saved, or raises on the example.

    """
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model"))
        saving = {**options, **model_keyword(model, flavor), "input_example": saved_example(example[:_SAVED], flavor)}
        try:
            flavor_module(flavor).save_model(path=path, pip_requirements=[], **saving)
        except Exception as error:
            raise not_saved(flavor, error) from error
        try:
            return LoadedModel(Copy(path, digest_of(path))).call("predict", example)
        except Exception as error:
            raise RegistrationError.predict_failed(kind_of(error)) from error


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
        tolerance = _OF_DOUBLES if a.dtype.itemsize > 4 and b.dtype.itemsize > 4 else _OF_FLOATS  # noqa: PLR2004
        close: NDArray[np.bool_] = np.isclose(
            a.astype("float64"), b.astype("float64"), rtol=tolerance, atol=tolerance, equal_nan=True
        )
        return close
    return np.asarray([x == y for x, y in zip(a.tolist(), b.tolist(), strict=True)], dtype=bool)
