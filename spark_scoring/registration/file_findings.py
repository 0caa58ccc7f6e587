"""What is wrong with a model as far as its files tell, without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from packaging.requirements import InvalidRequirement, Requirement

from spark_scoring.errors import listed
from spark_scoring.model.environment import environment_differences, model_requirements
from spark_scoring.model.errors import repair_command
from spark_scoring.model.feature_spec import RAW_MODEL, feature_folder, read_feature_spec
from spark_scoring.model.raised import kind_and_place
from spark_scoring.model.reading import native_flavor
from spark_scoring.model.recorded import recorded, recorded_dtypes, recorded_statistics
from spark_scoring.model.signature import output_model_type, signature_inputs
from spark_scoring.model.types import is_untyped
from spark_scoring.redact import redact
from spark_scoring.registration.findings import Finding
from spark_scoring.registration.frame import is_category, type_refusal, zone_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow.models import Model, ModelSignature

    from spark_scoring.model.pinned import PinnedModel
    from spark_scoring.model.spec import Feature

_INTEGERS = ("long", "integer", "boolean")
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".pth")
_KINDS = {"double": "f8", "float": "f4", "long": "i8", "integer": "i4", "boolean": "b1"}
"""MLflow's numbers as numpy's kind and size."""
_TRAIN_IN_UTC = "train it on times in UTC, and register that"


@dataclass(frozen=True)
class ModelFiles:
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


def read_files(pinned: PinnedModel) -> ModelFiles:
    """Read them.

    Raises:
        ModelError: a file that says what the model is cannot be read.

    """
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
    return ModelFiles(pinned, mlmodel, signature, inputs, is_frame, recorded(mlmodel.metadata), native_flavor(mlmodel))


def file_findings(files: ModelFiles, example: Any) -> list[Finding]:
    """What is wrong with a model as far as its files, and a given example, tell."""
    return [
        *_signature_findings(files),
        *_input_findings(files),
        *_dtype_findings(files, example),
        *_name_findings(files.pinned),
        *_stored_findings(files),
    ]


def _signature_findings(files: ModelFiles) -> Iterator[Finding]:
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


def _input_findings(files: ModelFiles) -> Iterator[Finding]:
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


def _nulls(files: ModelFiles, name: str) -> float | None:
    """Share of nulls in training, None where it was not recorded."""
    share = (recorded_statistics(files.record).get(name) or {}).get("nulls")
    return None if share is None else float(share)


def _dtype_findings(files: ModelFiles, example: Any) -> Iterator[Finding]:
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
        fix = f"where it is to go there, register it as catalog.schema.{pinned.name.rsplit('.', maxsplit=1)[-1]}"
        cause = "Unity Catalog on Databricks takes names of three levels only; here it is fine"
        yield Finding("name-levels", f"name {pinned.name}", cause, fix)


def _stored_findings(files: ModelFiles) -> Iterator[Finding]:
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


def _pickled(files: ModelFiles) -> list[str]:
    root = Path(files.pinned.path)
    found = {str(p.relative_to(root)) for p in root.rglob("*") if p.suffix in _PICKLES}
    for name, settings in files.mlmodel.flavors.items():
        stored = settings.get("serialization_format") if isinstance(settings, dict) else None
        if stored in ("pickle", "cloudpickle"):
            found.add(f"{settings.get('pickled_model') or settings.get('data') or name} ({stored})")
    return sorted(found)
