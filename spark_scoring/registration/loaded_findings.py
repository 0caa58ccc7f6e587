"""What is wrong with a model that only loading and trying it tells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from spark_scoring.engine.errors import ModelOutputError
from spark_scoring.engine.frames import frame_columns
from spark_scoring.engine.inputs import build_input
from spark_scoring.engine.process import Task, tried
from spark_scoring.engine.rehearsal import (
    example_frame,
    packed_lanes,
    plan_of_example,
    plan_of_types,
    rehearsal_rows,
    with_levels_in_place,
)
from spark_scoring.errors import Problem, RequestError, ScoringError, listed
from spark_scoring.model.categories import own_levels
from spark_scoring.model.estimators import own_feature_names
from spark_scoring.model.feature_spec import RAW_MODEL, feature_folder
from spark_scoring.model.loaded import LoadedModel
from spark_scoring.model.raised import kind_and_line, kind_and_text
from spark_scoring.model.recorded import recorded_nulls
from spark_scoring.model.signature import output_model_type
from spark_scoring.model.types import ModelType, is_untyped
from spark_scoring.redact import redact
from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.findings import Finding
from spark_scoring.registration.tasks import (
    check_count,
    check_returned,
    class_labels,
    described,
    known_task,
    output_type,
)
from spark_scoring.registration.verification import module_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_scoring.engine.process import Where
    from spark_scoring.model.spec import ModelSpec
    from spark_scoring.plan.scoring_plan import ScoringPlan
    from spark_scoring.registration.file_findings import ModelFiles

_NOTHING_TO_FIX = "nothing to do: scoring deals with it"
_REHEARSED = {
    "batch": "batch-dependent",
    "random": "random",
    "order": "row-order",
    "single": "one-row",
    "fails": "example-fails",
    "results": "outputs-differ",
    "changes": "changes-input",
    "index": "result-index",
    "made-up": "not-rehearsed",
    "late": "not-rehearsed",
}
"""A rehearsal's finding -> the doctor's code."""


def loaded_findings(
    files: ModelFiles, example: Any, task: str | None, where: Where, *, is_clear: bool
) -> Iterator[Finding]:
    """What loading it shows, and calling it on an example, or on rows made up from its types."""
    folder = _scored_folder(files)
    try:
        loaded = LoadedModel(files.pinned.part(folder))
    except Exception as error:  # noqa: BLE001  loading runs the model's code
        fix = "install what its requirements.txt lists, in the versions it lists"
        yield Finding("not-loadable", "artifact", "loading it failed", fix, redact(kind_and_text(error)))
        return
    raw = loaded.raw
    names = [feature.name for feature in files.inputs] if files.is_frame else []
    found = [
        *_trained_findings(list(own_feature_names(raw, names)) if raw is not None else [], names, files.again),
        *_category_findings(files, raw, names),
    ]
    yield from found
    is_clear = is_clear and all(finding.severity != "error" for finding in found)
    if files.inputs and folder == Path(files.pinned.path):
        if example is not None:
            yield from _prediction_findings(files, loaded, example, task, where, is_clear=is_clear)
        elif is_clear:
            yield from _made_up_findings(files, where)


def _scored_folder(files: ModelFiles) -> Path:
    """Of a model with feature lookups the raw model inside, which needs no client to load."""
    folder = feature_folder(files.pinned.path)
    return Path(files.pinned.path) if folder is None else folder / RAW_MODEL


def _trained_findings(own: list[str], names: list[str], again: str) -> Iterator[Finding]:
    if not own or not names or own == names:
        return
    foreign, missing = [n for n in names if n not in own], [n for n in own if n not in names]
    if len(foreign) == len(names) and len(own) == len(names):
        return  # trained on a bare matrix, whose columns the library numbers
    if foreign:
        cause = "the model was not trained on it: a lookup key, an identifier or the label was left in the example"
        fix = f"leave it out of the frame that is logged (exclude_columns of the training set); {again}"
        yield Finding("foreign-input", f"input {listed(foreign)}", cause, fix, f"trained on {listed(own)}")
    if missing:
        cause = "the model was trained on it, and the signature does not name it"
        yield Finding("missing-input", f"feature {listed(missing)}", cause, again)
    if not foreign and not missing:
        cause = "LightGBM scores a reordered frame silently wrong, scikit-learn and XGBoost refuse it"
        yield Finding("input-order", "signature", cause, again, f"trained on {listed(own)}")


def _category_findings(files: ModelFiles, raw: Any, names: list[str]) -> Iterator[Finding]:
    types = {f.name: f.type for f in files.inputs if isinstance(f.type, str)}
    try:
        levels = own_levels(raw, own_feature_names(raw, names) or names, types) if raw is not None else None
    except Exception:  # noqa: BLE001  a library that changed how it stores them
        return
    if levels is None:
        return
    unsure = [
        name for name in levels.unsure if types.get(name) == "string" and name not in recorded_nulls(files.record)
    ]
    if unsure:
        cause = (
            "an imputer in the model replaces NaN, and nothing says whether a missing text was NaN or None in training"
        )
        fix = "register it with register_model, which records it; scoring gives NaN"
        yield Finding("null-kind", f"input {listed(unsure)}", cause, fix)
    known = set(files.record.get("categories") or {})
    held = [name for name, _ in levels.named if name in names and name not in known]
    if held:
        cause = "a signature cannot say category: mlflow.pyfunc refuses both category and text input for it"
        fix = "score it with spark_scoring, which takes the levels from the model; register_model records them, too"
        yield Finding("category-as-text", f"input {listed(held)}", cause, fix, "levels are in the model")
    unknown = [name for name in levels.unknown if name not in known]
    if unknown or (levels.unassigned and not known):
        what = listed(unknown) if unknown else f"{len(levels.unassigned)} columns that it does not name"
        cause = "the model was trained on categories, and scoring cannot know which level had which code"
        fix = "register it with register_model, which records them; or name them in the job: categories: {...}"
        yield Finding("category-levels-unknown", f"input {what}", cause, fix)


def _made_up_findings(files: ModelFiles, where: Where) -> Iterator[Finding]:
    """What a rehearsal on made-up rows finds, where no example was saved."""
    from spark_scoring.model.reading import read_spec

    try:
        plan = plan_of_types(read_spec(files.pinned))
    except ScoringError:
        return
    yield from _tried(plan, None, where)


def _tried(plan: ScoringPlan, example: Any, where: Where) -> Iterator[Finding]:
    """What shows when the model is loaded without what this process has, and rehearsed."""
    outcome = tried(Task(plan.model.copy, rehearsal_rows(plan, example)), where)
    if outcome.missing_module:
        problem = module_problem(outcome.missing_module)
        yield Finding("needs-module", "artifact", problem.cause, problem.fix)
    elif outcome.failure:
        fix = "does it need a file, a global variable or a setting of the process that trained it? log it along"
        yield Finding("not-loadable", "artifact", "loading it in a process of its own failed", fix, outcome.failure)
    for found in outcome.findings:
        yield Finding(_REHEARSED[found.code], "model", found.cause, found.fix or _NOTHING_TO_FIX)


def _prediction_findings(
    files: ModelFiles, loaded: LoadedModel, example: Any, task: str | None, where: Where, *, is_clear: bool
) -> Iterator[Finding]:
    """Predictions on the example, made below MLflow's enforcement, beside what the signature says."""
    from spark_scoring.model.reading import read_spec

    plan = None
    try:
        spec = read_spec(files.pinned)
        data = _model_input(spec, example)
        frame = example_frame(spec, example)
        plan = None if frame is None else plan_of_example(spec, frame)[0]
    except ScoringError as error:
        data = example
        if is_clear:  # else what is wrong with signature or types has findings of its own
            yield from (Finding("not-scorable", p.thing, p.cause, p.fix) for p in error.problems)
    if plan is not None:
        yield from _tried(plan, example, where)
    try:
        predictions = loaded.call("predict", data)
        check_count(predictions, len(data))
    except RegistrationError as error:
        if plan is None:
            yield from (Finding("outputs-differ", p.thing, p.cause, p.fix) for p in error.problems)
        return
    except Exception as error:  # noqa: BLE001  the model's code may raise anything
        if is_clear and plan is None:
            fix = "register it with the frame that it was trained on: its head becomes the example"
            yield Finding("example-fails", "input example", f"the model raises {kind_and_line(error)} on it", fix)
        return
    signature = files.signature
    if plan is None and signature is not None and signature.outputs is not None:
        yield from _output_findings(output_model_type(signature.outputs), predictions, len(data), files.again)
    if task is not None:
        yield from _task_findings(task, predictions, loaded.raw)


def _model_input(spec: ModelSpec, example: Any) -> Any:
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
    return build_input(*packed_lanes(plan, given))


def _output_findings(declared: ModelType, predictions: Any, rows: int, again: str) -> Iterator[Finding]:
    if is_untyped(declared):
        return
    try:
        check_returned(declared, predictions, rows)
    except ModelOutputError:
        cause = f"the signature says {declared}, the model returned {described(predictions)} for the example"
        yield Finding("outputs-differ", "output schema", cause, again)


def _task_findings(task: str, predictions: Any, raw: Any) -> Iterator[Finding]:
    labels = None if task in ("regression", "anomaly_detection") else class_labels(raw)
    try:
        output_type(known_task(task), predictions, labels)
    except RegistrationError as error:
        problem = error.problems[0]
        yield Finding("outputs-differ", problem.thing, problem.cause, problem.fix)
