"""A trained model that is ready to be logged: everything that can be wrong with it is told before, at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from spark_scoring.engine.errors import ModelOutputError
from spark_scoring.errors import Gathering, Problem, listed
from spark_scoring.model.estimators import own_feature_names
from spark_scoring.model.levels import given_levels
from spark_scoring.model.raised import kind_of
from spark_scoring.model.signature import output_model_type
from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.flavors import algorithm_of, flavor_of, flavor_options, in_memory
from spark_scoring.registration.frame import (
    as_frame,
    checked_example,
    checked_inputs,
    documents_note,
    input_schema,
    integer_columns,
)
from spark_scoring.registration.record import mixed_nulls, training_record
from spark_scoring.registration.sample import sample_of
from spark_scoring.registration.tasks import (
    check_count,
    check_returned,
    class_labels,
    described,
    known_task,
    output_schema,
    output_type,
)
from spark_scoring.registration.verification import predict_as_saved, prediction_difference
from spark_scoring.registration.zones import zone_note

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from types import ModuleType

    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    from spark_scoring.registration.frame import Inputs
    from spark_scoring.registration.tasks import Task


@dataclass(frozen=True)
class Candidate:
    """A model with all that logging it takes, checked."""

    model: Any
    flavor: str
    algorithm: str
    task: Task | None
    """None where the caller gave the outputs instead."""
    example: Any
    """The head of the training frame, which is stored with the model."""
    sample: Any
    """Rows that represent the training frame (``sample_of``), on which ``predictions`` were made."""
    predictions: Any
    """What the model in memory returned for the sample, in its own form."""
    signature: ModelSignature
    record: Mapping[str, Any]
    """The MLmodel's metadata."""
    options: Mapping[str, Any]
    """Keywords of the flavor's ``log_model``."""
    notes: tuple[str, ...]


def prepare_candidate(  # noqa: PLR0913  keyword-only
    model: Any,
    X: Inputs | pd.Series[Any],
    *,
    task: str | None,
    outputs: Schema | None = None,
    no_outputs: str | None = "neither a task nor outputs were given",
    flavor: str | ModuleType | None = None,
    input_example: Any = None,
    example_rows: int = 5,
    nullable: Collection[str] = (),
    categories: Mapping[str, Sequence[Any]] | None = None,
    statistics: bool = True,
    inference_params: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Candidate:
    """Check a trained model and its training frame, predict on a sample of it, and settle the signature.

    The outputs come from the task; where the caller gives them, they are held against the predictions, too.
    ``no_outputs`` says what comes of neither; None lets it pass, for a model that is only looked at.

    Raises:
        RegistrationError: with every problem that does not hide another.

    """
    X = as_frame(model, X)  # noqa: N806  a frame
    way = _way_to_log(model, X, task, flavor, options or {}, nullable=nullable, categories=categories or {})
    known = way.task
    example = _example(model, X, input_example, example_rows)
    predict = in_memory(model, way.flavor, way.options, inference_params or {})
    sample = sample_of(X, predict)
    predictions = _predictions(predict, model, way.flavor, way.options, sample)
    check_count(predictions, len(sample))
    if predict is not None:
        _check_one_null(predict, sample, predictions)
    labels = None if known in ("regression", "anomaly_detection") else class_labels(model)
    if known is not None:
        settled_type = output_type(known, predictions, labels, model)
        outputs = outputs or output_schema(settled_type)
    if outputs is None and no_outputs is not None:
        raise RegistrationError.no_outputs(no_outputs)
    if outputs is not None:
        _check_outputs(outputs, predictions, len(sample))
    return Candidate(
        model=model,
        flavor=way.flavor,
        algorithm=algorithm_of(model),
        task=known,
        example=example,
        sample=sample,
        predictions=predictions,
        signature=_signature(X, outputs, inference_params),
        record=training_record(X, task=known, classes=labels, categories=categories or {}, statistics=statistics),
        options=way.options,
        notes=tuple(text for text in (way.note, documents_note(model, X), _null_note(X), zone_note(X)) if text),
    )


class _Way(NamedTuple):
    """How a model is logged."""

    task: Task | None
    flavor: str
    options: dict[str, Any]
    note: str


def _way_to_log(
    model: Any,
    X: Inputs,
    task: str | None,
    flavor: str | ModuleType | None,
    options: Mapping[str, Any],
    *,
    nullable: Collection[str],
    categories: Mapping[str, Sequence[Any]],
) -> _Way:
    """The task, the flavor and its options, once they and the frame are right."""
    problems = Gathering()
    name, known, note = "", None, ""
    settled: dict[str, Any] = {}
    with problems.attempt():
        known = None if task is None else known_task(task)
    with problems.attempt():
        name = flavor_of(model, flavor)
    with problems.attempt():
        if name:
            settled, note = flavor_options(model, name, known, options, takes_frame=isinstance(X, pd.DataFrame))
    may_be_null = [nullable] if isinstance(nullable, str) else nullable
    problems.problems += checked_inputs(X, nullable=may_be_null, model=model)
    problems.problems += _category_problems(categories, X)
    problems.raise_all(RegistrationError)
    return _Way(known, name, settled, note)


def _example(model: Any, X: Inputs, given: Any, rows: int) -> Any:
    """The input example of a frame whose columns are those that the model was trained on."""
    problems, example = Gathering(), None
    with problems.attempt():
        example = checked_example(X, given, rows)
    problems.problems += _name_problems(model, X)
    problems.raise_all(RegistrationError)
    return example


def _signature(X: Inputs, outputs: Any, params: Mapping[str, Any] | None) -> ModelSignature:
    from mlflow.models import ModelSignature, infer_signature

    schema = infer_signature(params=dict(params)).params if params else None
    return ModelSignature(inputs=input_schema(X), outputs=outputs, params=schema)


def _check_outputs(outputs: Schema, predictions: Any, rows: int) -> None:
    try:
        check_returned(output_model_type(outputs), predictions, rows)
    except ModelOutputError as error:
        raise RegistrationError.schema_differs(str(outputs), described(predictions)) from error


def _predictions(
    predict: Callable[[Any], Any] | None, model: Any, flavor: str, options: Mapping[str, Any], sample: Any
) -> Any:
    """What the model in memory returns; of one that only predicts when loaded, what a saved copy returns."""
    own = sample.copy()  # a model may write into what it is given
    if predict is None:
        return predict_as_saved(model, flavor, options, own)
    try:
        return predict(own)
    except Exception as error:
        if _takes_series(predict, sample):
            raise RegistrationError.takes_series(str(sample.columns[0])) from error
        raise RegistrationError.predict_failed(kind_of(error)) from error


def _takes_series(predict: Callable[[Any], Any], sample: Any) -> bool:
    """Whether it predicts for the one column of a frame for which it does not."""
    if not isinstance(sample, pd.DataFrame) or sample.shape[1] != 1:
        return False
    try:
        return len(predict(sample.iloc[:, 0].copy())) == len(sample)
    except Exception:  # noqa: BLE001  then it has another cause
        return False


def _check_one_null(predict: Callable[[Any], Any], sample: Inputs, predictions: Any) -> None:
    """Refuse text whose missing values are of two kinds, where they are not the same to the model.

    Raises:
        RegistrationError: names the columns.

    """
    if not isinstance(sample, pd.DataFrame):
        return
    problems = []
    for name in mixed_nulls(sample):
        own = sample.copy()
        own[name] = [None if pd.isna(value) else value for value in own[name]]
        if prediction_difference(predictions, predict(own)) is not None:
            cause = "its missing values are both None and NaN, which the model tells apart; a table has one null"
            fix = f"train on one of them, and register that: X[{name!r}] = X[{name!r}].where(X[{name!r}].notna(), None)"
            problems.append(Problem(f"column {name!r}", cause, fix, "object-column"))
    if problems:
        raise RegistrationError(problems)


def _category_problems(categories: Mapping[str, Sequence[Any]], X: Inputs) -> list[Problem]:
    problems = []
    for name, values in categories.items():
        thing = f"categories: {name}"
        try:
            given_levels(list(values), "the call")
        except ValueError as error:
            problems.append(Problem(thing, str(error), "list the levels in the order of training"))
        if not isinstance(X, pd.DataFrame) or name not in X.columns:
            problems.append(Problem(thing, "the frame has no such column", "leave it out"))
        elif getattr(X[name].dtype, "kind", "O") in "iuf" and not _are_codes(X[name], len(values)):
            cause = f"the column holds numbers that are not codes of {len(values)} levels: -1 (missing), 0, 1, ..."
            problems.append(Problem(thing, cause, "list all levels in the order of training"))
    return problems


def _are_codes(column: pd.Series[Any], levels: int) -> bool:
    present = column.dropna()
    return bool(((present % 1 == 0) & (present >= -1) & (present < levels)).all())


def _name_problems(model: Any, X: Inputs) -> list[Problem]:
    """A frame of other columns than the model was trained on; LightGBM scores a reordered one silently wrong."""
    if not isinstance(X, pd.DataFrame):
        return []
    given = [str(name) for name in X.columns]
    own = list(own_feature_names(model, given))
    if not own or own == given or own == [f"Column_{i}" for i in range(len(given))]:  # LightGBM's, of a bare matrix
        return []
    more, fewer = [n for n in given if n not in own], [n for n in own if n not in given]
    parts = [
        f"the frame has also {listed(more)}" if more else "",
        f"the frame lacks {listed(fewer)}" if fewer else "",
        "" if more or fewer else "the columns are in another order",
    ]
    cause = f"the model was trained on other columns: {'; '.join(part for part in parts if part)}"
    fix = "give the very frame that fit() was given; keys and labels are not features"
    code = "foreign-input" if more else "missing-input" if fewer else "input-order"
    return [Problem("training frame", cause, fix, code)]


def _null_note(X: Inputs) -> str:
    """Which features make a bad row of a null."""
    names = integer_columns(X)
    if not names:
        return ""
    return (
        f"a null in {listed(names)} will make a bad row, as integers and booleans hold none; "
        "where nulls may come (nullable=[...] says so), train on float64"
    )
