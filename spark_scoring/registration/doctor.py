"""``check_model``: what is wrong with a model, before it is registered or with any that is in a registry."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from packaging.requirements import InvalidRequirement, Requirement

from spark_scoring.engine.errors import ModelOutputError
from spark_scoring.engine.inputs import build_input
from spark_scoring.engine.pandas_casts import frame_columns
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
from spark_scoring.model.environment import environment_differences, model_requirements
from spark_scoring.model.errors import repair_command
from spark_scoring.model.estimators import own_feature_names
from spark_scoring.model.feature_spec import RAW_MODEL, feature_folder, read_feature_spec
from spark_scoring.model.loaded import LoadedModel, loaded_model
from spark_scoring.model.raised import kind_and_line, kind_and_place, kind_and_text
from spark_scoring.model.recorded import recorded, recorded_dtypes, recorded_nulls, recorded_statistics
from spark_scoring.model.registry import resolve_model
from spark_scoring.model.spec import (
    native_flavor,
    output_model_type,
    signature_inputs,
)
from spark_scoring.model.types import ModelType, is_untyped
from spark_scoring.redact import redact
from spark_scoring.registration.candidate import prepare_candidate
from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.findings import Diagnosis, Finding, gravest_first
from spark_scoring.registration.frame import is_category, type_refusal, zone_of
from spark_scoring.registration.tasks import (
    check_count,
    check_returned,
    class_labels,
    described,
    known_task,
    likely_task,
    output_type,
)
from spark_scoring.registration.verification import module_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from mlflow.models import Model, ModelSignature

    from spark_scoring.engine.process import Where
    from spark_scoring.model.registry import PinnedModel
    from spark_scoring.model.spec import Feature, ModelSpec
    from spark_scoring.plan.planner import ScoringPlan

_INTEGERS = ("long", "integer", "boolean")
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".pth")
_KINDS = {"double": "f8", "float": "f4", "long": "i8", "integer": "i4", "boolean": "b1"}
"""MLflow's numbers as numpy's kind and size."""
_TRAIN_IN_UTC = "train it on times in UTC, and register that"
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


def check_model(
    model: Any,
    example: Any = None,
    *,
    task: str | None = None,
    flavor: str | ModuleType | None = None,
    load: bool = True,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    verify: Where = "apart",
) -> Diagnosis:
    """What is wrong with a model: findings with cause and fix, the gravest first.

    Args:
        model: a model URI or folder; or a trained model in memory, with the example that it is to be logged with.
        example: rows as the model was trained on; for a model in memory the frame of training or its head. For a
            URI, default is the example that was saved with the model (whose dtypes are lost, as it is JSON).
        task: what the model is for (see ``register_model``); default for a URI: what its registration recorded.
        flavor: of a model in memory; default: found from its class.
        load: whether to load a model of a URI, which runs its code; without, only its files are read.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings.
        verify: where a model of a URI is rehearsed, as in ``register_model``.

    Raises:
        ModelError: a URI that cannot be found or read.

    """
    if isinstance(model, str | os.PathLike):
        pinned = resolve_model(os.fspath(model), tracking_uri=tracking_uri, registry_uri=registry_uri)
        return _check_pinned(pinned, example, task=task, load=load, where=verify)
    return _check_in_memory(model, example, task=task, flavor=flavor)


@dataclass(frozen=True)
class _Files:
    """What a model's files say, without loading it."""

    pinned: PinnedModel
    mlmodel: Model
    signature: ModelSignature | None
    inputs: tuple[Feature, ...]
    is_frame: bool
    """Whether the inputs are columns, each with a name."""
    record: Mapping[str, Any]
    flavor: str

    @property
    def again(self) -> str:
        """What gives the model a whole signature."""
        return f"register it again: register_model(model, X, task=...), or {repair_command(redact(self.pinned.uri))}"


def _check_pinned(pinned: PinnedModel, example: Any, *, task: str | None, load: bool, where: Where) -> Diagnosis:
    files = _read(pinned)
    if example is None:
        example = _saved_example(files)
        given = None
    else:
        given = example
    findings = [
        *_signature_findings(files),
        *_input_findings(files),
        *_dtype_findings(files, given),
        *_name_findings(pinned),
        *_file_findings(files),
    ]
    loads = load and files.flavor != "spark"
    if loads:
        is_clear = all(finding.severity != "error" for finding in findings)
        findings += _loaded_findings(files, example, task or files.record.get("task"), where, is_clear=is_clear)
    title = f"{pinned.name} version {pinned.version}" if pinned.name else pinned.uri
    return Diagnosis(title, gravest_first(findings), loaded=loads)


def _read(pinned: PinnedModel) -> _Files:
    from mlflow.models import Model

    from spark_scoring.model.errors import ModelError

    try:
        mlmodel = Model.load(pinned.path)
        signature = mlmodel.signature
    except Exception as error:  # a broken file raises what the YAML and signature parsers raise
        raise ModelError.unreadable(pinned.uri, kind_and_place(error)) from error
    has_inputs = signature is not None and signature.inputs is not None
    takes, inputs = signature_inputs(signature) if has_inputs else ("frame", ())
    folder = feature_folder(pinned.path)
    if folder is not None:  # the signature has all columns of the lookups; the model inside takes some of them
        known = {feature.name: feature for feature in inputs}
        inputs = tuple(known[c.name] for c in read_feature_spec(folder, pinned.uri).included if c.name in known)
        mlmodel = Model.load(str(folder / RAW_MODEL))
    is_frame = takes == "frame" and has_inputs and signature.inputs.has_input_names()
    return _Files(pinned, mlmodel, signature, inputs, is_frame, recorded(mlmodel.metadata), native_flavor(mlmodel))


def _saved_example(files: _Files) -> Any:
    try:
        return files.mlmodel.load_input_example(files.pinned.path)
    except Exception:  # noqa: BLE001  an example that cannot be read is as none
        return None


def _signature_findings(files: _Files) -> Iterator[Finding]:
    signature = files.signature
    if signature is None:
        cause = "scoring cannot know what the model takes and returns, and Unity Catalog refuses to register it"
        yield Finding("no-signature", "signature", cause, files.again)
        return
    if signature.inputs is None:
        yield Finding("no-inputs", "signature", "it says what the model returns, not what it takes", files.again)
    if signature.outputs is None:
        cause = "the outputs were not recorded: no predictions were given to infer_signature, or no output_schema"
        yield Finding("only-inputs", "signature", cause, files.again)
    elif is_untyped(output_model_type(signature.outputs)):
        cause = "the predictions had a type that MLflow does not know"
        yield Finding("any-type", "output", cause, files.again, str(signature.outputs))


def _input_findings(files: _Files) -> Iterator[Finding]:
    """What the types of the inputs say by themselves."""
    untyped = [feature.name for feature in files.inputs if is_untyped(feature.type)]
    if untyped:
        cause = (
            "a column of the example had a type that MLflow does not know (Decimal, mixed objects), and took all along"
        )
        fix = f"make every column of the example a number, text or time; {files.again}"
        yield Finding("any-type", f"input {listed(untyped)}".strip(), cause, fix)
    numbers = [feature for feature in files.inputs if feature.type in _INTEGERS]
    seen = [f for f in numbers if not f.required or _nulls(files, f.name)]
    fix = "train on float64, where a null is NaN, and register that; or fill nulls in a policy when scoring"
    if seen:
        cause = "training saw nulls in it, and its type has no room for them: every null makes a bad row"
        evidence = "optional in the signature, or nulls in the recorded statistics"
        yield Finding("integer-nulls", f"input {listed(f.name for f in seen)}", cause, fix, evidence)
    unsure = [f.name for f in numbers if f not in seen and _nulls(files, f.name) is None]
    if unsure:
        cause = (
            "integers and booleans hold no null, and nothing recorded says that training saw the whole column without"
        )
        yield Finding("integer-may-see-nulls", f"input {listed(unsure)}", cause, fix)


def _nulls(files: _Files, name: str) -> float | None:
    """Share of nulls in training, None where it was not recorded."""
    share = (recorded_statistics(files.record).get(name) or {}).get("nulls")
    return None if share is None else float(share)


def _dtype_findings(files: _Files, example: Any) -> Iterator[Finding]:
    """Dtypes of the given example, else those that registration recorded, beside the signature's types."""
    if isinstance(example, pd.DataFrame):
        yield from _object_findings(example)
        dtypes, what = {str(name): dtype for name, dtype in example.dtypes.items()}, "the example"
    elif known := recorded_dtypes(files.record):
        dtypes = {name: _dtype(text) for name, text in known.items()}
        what = "the training frame"
    else:
        return
    for feature in files.inputs:
        dtype = dtypes.get(feature.name)
        if what == "the training frame" and (zone := zone_of(dtype)):
            cause = f"its times were of the zone {zone} in training, and scoring gives a model times in UTC"
            yield Finding("time-zone", f"input {feature.name}", cause, _TRAIN_IN_UTC, str(dtype))
        wanted = _KINDS.get(str(feature.type))
        if dtype is None or wanted is None or is_category(dtype) or getattr(dtype, "kind", "O") not in "iubf":
            continue
        evidence = f"{dtype} against {feature.type}"
        if not _converts(dtype.kind, dtype.itemsize, wanted):
            cause = f"{what} has {dtype}, the signature {feature.type}: mlflow.pyfunc cannot safely convert it"
            fix = f"spark_scoring casts it by its plan; for mlflow.pyfunc too, train on {feature.type}, or sign again"
            yield Finding("dtype-differs", f"input {feature.name}", cause, fix, evidence)
        elif dtype.kind == "f" and f"f{dtype.itemsize}" != wanted and dtype.itemsize > 2:  # noqa: PLR2004
            cause = (
                f"{what} has {dtype}, the signature {feature.type}: every value survives, but it is not what was seen"
            )
            fix = "sign again with the frame of training, where the model is to see float32"
            yield Finding("dtype-widens", f"input {feature.name}", cause, fix, evidence)


def _converts(kind: str, size: int, wanted: str) -> bool:
    """Whether MLflow takes the dtype for the type: the same kind and no wider, or narrower integers for double."""
    target, width = wanted[0], int(wanted[1:])
    if kind == target:
        return size <= width
    return size < width and ((kind == "u" and target == "i") or (kind in "iu" and wanted == "f8"))


def _dtype(text: str) -> Any:
    try:
        return pd.api.types.pandas_dtype(text)
    except TypeError:
        return None


def _object_findings(example: pd.DataFrame) -> Iterator[Finding]:
    for name, column in example.items():
        refusal = type_refusal(column)
        if refusal is not None:
            cause, fix = refusal
            code = "time-zone" if zone_of(column.dtype) else "object-column"
            yield Finding(code, f"column {name}", cause, fix.replace("{c}", repr(name)), str(column.dtype))


def _name_findings(pinned: PinnedModel) -> Iterator[Finding]:
    if pinned.name is not None and len(pinned.name.split(".")) != 3:  # noqa: PLR2004
        fix = f"register it as catalog.schema.{pinned.name.rsplit('.', maxsplit=1)[-1]}"
        cause = "Unity Catalog takes names of three levels only; one name then serves laptop and Databricks"
        yield Finding("name-levels", f"name {pinned.name}", cause, fix)


def _file_findings(files: _Files) -> Iterator[Finding]:
    """Requirements and how the model is stored."""
    lines = model_requirements(files.pinned.path)
    loose = [line for line in lines if not _is_pinned(line)]
    if loose:
        cause = "another version may be installed where it is scored, and predict otherwise or not load"
        fix = "pin it: pip_requirements=['package==version', ...]"
        yield Finding("unpinned", "requirements.txt", cause, fix, listed(loose))
    for difference in environment_differences(lines, files.flavor):
        code = "own-library" if difference.own and difference.major else "environment"
        fix = f"pip install '{difference.package}{difference.required}' where it is scored"
        cause = f"the model {difference}"
        yield Finding(code, f"requirement {difference.package}", cause, fix)
    pickled = _pickled(files)
    if pickled:
        cause = "it is a pickle: loading it runs whatever code it names, and wants the versions that wrote it"
        fix = (
            "load only models whose origin you trust; scikit-learn models can be logged as skops (register_model does)"
        )
        yield Finding("pickle", "artifact", cause, fix, listed(pickled))
    if files.flavor == "spark":
        fix = "mlflow.spark.load_model(uri).transform(df)"
        yield Finding("spark-ml", "flavor", "it needs a Spark session to predict; Python workers have none", fix)


def _is_pinned(line: str) -> bool:
    text = line.split(" #", maxsplit=1)[0].strip()
    if not text or text.startswith(("-", "#")):
        return True
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return True
    exact = (part for part in requirement.specifier if part.operator in ("==", "==="))
    return bool(requirement.url) or any("*" not in part.version for part in exact)


def _pickled(files: _Files) -> list[str]:
    root = Path(files.pinned.path)
    found = {str(p.relative_to(root)) for p in root.rglob("*") if p.suffix in _PICKLES}
    for name, settings in files.mlmodel.flavors.items():
        stored = settings.get("serialization_format") if isinstance(settings, dict) else None
        if stored in ("pickle", "cloudpickle"):
            found.add(f"{settings.get('pickled_model') or settings.get('data') or name} ({stored})")
    return sorted(found)


# What only the loaded model tells.


def _loaded_findings(
    files: _Files, example: Any, task: str | None, where: Where, *, is_clear: bool
) -> Iterator[Finding]:
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


def _scored_folder(files: _Files) -> Path:
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


def _category_findings(files: _Files, raw: Any, names: list[str]) -> Iterator[Finding]:
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


def _made_up_findings(files: _Files, where: Where) -> Iterator[Finding]:
    """What a rehearsal on made-up rows finds, where no example was saved."""
    from spark_scoring.model.spec import read_spec

    try:
        plan = plan_of_types(read_spec(files.pinned))
    except ScoringError:
        return
    yield from _tried(plan, None, where)


def _tried(plan: ScoringPlan, example: Any, where: Where) -> Iterator[Finding]:
    """What shows when the model is loaded without what this process has, and rehearsed."""
    model = loaded_model(plan.model.copy)
    given = rehearsal_rows(plan, model, model.input_example if example is None else example)
    outcome = tried(Task(plan.model.copy, given), where)
    if outcome.missing_module:
        problem = module_problem(outcome.missing_module)
        yield Finding("needs-module", "artifact", problem.cause, problem.fix)
    elif outcome.failure:
        fix = "does it need a file, a global variable or a setting of the process that trained it? log it along"
        yield Finding("not-loadable", "artifact", "loading it in a process of its own failed", fix, outcome.failure)
    for found in outcome.findings:
        yield Finding(_REHEARSED[found.code], "model", found.cause, found.fix or _NOTHING_TO_FIX)


def _prediction_findings(
    files: _Files, loaded: LoadedModel, example: Any, task: str | None, where: Where, *, is_clear: bool
) -> Iterator[Finding]:
    """Predictions on the example, made below MLflow's enforcement, beside what the signature says."""
    from spark_scoring.model.spec import read_spec

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


def _check_in_memory(model: Any, example: Any, *, task: str | None, flavor: str | ModuleType | None) -> Diagnosis:
    """A model before it is registered: what ``register_model`` would refuse, as findings."""
    findings: list[Finding] = []
    try:
        prepare_candidate(model, example, task=task or likely_task(model), no_outputs=None, flavor=flavor)
    except RequestError as error:
        findings += [Finding(p.code or "not-registrable", p.thing, p.cause, p.fix) for p in error.problems]
    return Diagnosis(f"{type(model).__name__} in memory", gravest_first(findings), loaded=True)
