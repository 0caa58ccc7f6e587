"""A model's typed inputs and outputs as plain values, read from its MLmodel file and the trained model itself.

Reading a spec loads the model, which runs its code: score only models whose origin you trust.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import ModelError, first_line

if TYPE_CHECKING:
    from mlflow.models import Model
    from mlflow.types.schema import Schema

    from spark_scoring.model.registry import PinnedModel

SCALARS = ("double", "float", "long", "integer", "boolean", "string")
"""The MLflow types that one column of a frame can carry and the planner converts to."""

INTEGER_RANGES = {"long": (-(2**63), 2**63), "integer": (-(2**31), 2**31)}
"""The values of MLflow's integer types: from the first up to, not including, the second."""

_NUMPY_TO_MLFLOW = {
    "float64": "double",
    "float32": "float",
    "float16": "float",
    "int64": "long",
    "uint32": "long",
    "int32": "integer",
    "int16": "integer",
    "int8": "integer",
    "uint16": "integer",
    "uint8": "integer",
    "bool": "boolean",
    "str": "string",
    "object": "string",
}


@dataclass(frozen=True)
class Feature:
    """One input of the model: its name, its MLflow type (``double``, ...) and whether it must be there."""

    name: str
    type: str
    required: bool = True


@dataclass(frozen=True)
class Output:
    """What ``predict`` returns per row: a scalar (``width`` None) or ``width`` scalars of one type."""

    type: str
    width: int | None = None

    def __str__(self) -> str:
        return self.type if self.width is None else f"array<{self.type}>[{self.width}]"


@dataclass(frozen=True)
class ModelSpec:
    """A pinned model, all that the planner needs to know of it; no handle on the model itself."""

    uri: str
    """The URI as the user wrote it."""
    name: str | None
    version: str | None
    run_id: str | None
    digest: str
    """sha256 of the artifact's files."""
    path: str
    """The local folder of the artifact."""
    flavor: str
    """The native flavor, such as ``lightgbm``; ``python_function`` where there is none."""
    inputs: tuple[Feature, ...]
    output: Output
    own_names: tuple[str, ...] = ()
    """The feature names in the trained model's own order, where it holds them."""
    classes: tuple[str, ...] = ()
    """The class labels of ``predict_proba``'s columns, as text; empty where the model has no ``predict_proba``."""
    categorical: bool = False
    """Trained on category columns, whose codes the model holds."""
    requirements: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_spec(pinned: PinnedModel) -> ModelSpec:
    """The spec of a pinned model. Loads the model once on the driver, which runs its code.

    Raises:
        ModelError: no signature, no outputs and no example to infer them from, or a model that does not load.

    """
    from mlflow.models import Model

    try:
        mlmodel = Model.load(pinned.path)
        signature = mlmodel.signature
    except Exception as error:  # a broken file raises what the YAML and signature parsers raise
        raise ModelError.unreadable(pinned.uri, f"{type(error).__name__}: {first_line(error)}") from error
    if signature is None or signature.inputs is None:
        raise ModelError.no_signature(pinned.uri)
    model = _load(pinned)
    raw = raw_model(model)
    notes: tuple[str, ...] = ()
    outputs = signature.outputs
    if outputs is None:
        outputs = _infer_outputs(pinned, mlmodel, model)
        notes = ("the signature has only inputs; outputs were inferred from the saved input example",)
    return ModelSpec(
        uri=pinned.uri,
        name=pinned.name,
        version=pinned.version,
        run_id=mlmodel.run_id,
        digest=pinned.digest,
        path=pinned.path,
        flavor=_native_flavor(mlmodel),
        inputs=_inputs(signature.inputs),
        output=_output(outputs),
        own_names=_own_names(raw),
        classes=_classes(raw),
        categorical=_is_categorical(raw),
        requirements=_requirements(pinned.path),
        notes=notes,
    )


def _load(pinned: PinnedModel) -> Any:
    import mlflow.pyfunc

    logging.getLogger("mlflow.utils.requirements_utils").setLevel(logging.ERROR)
    try:
        return mlflow.pyfunc.load_model(pinned.path, suppress_warnings=True)
    except Exception as error:
        raise ModelError.not_loadable(pinned.uri, f"{type(error).__name__}: {error}") from error


def raw_model(model: Any) -> Any | None:
    """The native model, None for custom Python models, which have none."""
    from mlflow.exceptions import MlflowException

    try:
        return model.get_raw_model()
    except (NotImplementedError, MlflowException):
        return None


def _infer_outputs(pinned: PinnedModel, mlmodel: Model, model: Any) -> Schema:
    from mlflow.models import infer_signature

    try:
        example = mlmodel.load_input_example(pinned.path)
    except (OSError, ValueError) as error:
        raise ModelError.outputs_not_inferable(pinned.uri, str(error)) from error
    if example is None:
        raise ModelError.no_outputs(pinned.uri)
    try:
        return infer_signature(example, model.predict(example)).outputs
    except Exception as error:
        raise ModelError.outputs_not_inferable(pinned.uri, f"{type(error).__name__}: {error}") from error


def _inputs(schema: Schema) -> tuple[Feature, ...]:
    """Features in signature order; a tensor or unnamed input keeps its type's text, for the planner to refuse."""
    if schema.is_tensor_spec():
        return tuple(Feature(s.name or "", f"tensor {s.type}{s.shape}", required=True) for s in schema.inputs)
    return tuple(
        Feature(s.name or "", s.type.name if hasattr(s.type, "name") else str(s.type), required=bool(s.required))
        for s in schema.inputs
    )


def _output(schema: Schema) -> Output:
    if len(schema.inputs) != 1:
        return Output(f"{len(schema.inputs)} named outputs")
    spec = schema.inputs[0]
    if not schema.is_tensor_spec():
        return Output(spec.type.name if hasattr(spec.type, "name") else str(spec.type))
    scalar = _NUMPY_TO_MLFLOW.get("str" if spec.type.kind == "U" else str(spec.type), f"tensor {spec.type}")
    shape = tuple(spec.shape)
    if shape in ((-1,), (-1, 1)):
        return Output(scalar)
    if len(shape) == 2 and shape[0] == -1 and shape[1] > 0:  # noqa: PLR2004
        return Output(scalar, width=shape[1])
    return Output(f"tensor {spec.type}{shape}")


def _native_flavor(mlmodel: Model) -> str:
    return next((f for f in mlmodel.flavors if f != "python_function"), "python_function")


def _own_names(raw: Any) -> tuple[str, ...]:
    """The names the model was trained on, in its own order; empty where it was trained on a bare matrix."""
    for attribute in ("feature_names_in_", "feature_names", "feature_name_", "feature_name"):
        names = getattr(raw, attribute, None)
        if callable(names):
            names = names()
        if names is not None and len(names):
            return tuple(str(n) for n in names)
    return ()


def _classes(raw: Any) -> tuple[str, ...]:
    if not hasattr(raw, "predict_proba"):
        return ()
    classes = getattr(raw, "classes_", None)
    if classes is None or isinstance(classes, list):  # a list: one set of classes per output
        return ()
    return tuple(str(c) for c in classes)


def _is_categorical(raw: Any) -> bool:
    """Whether a LightGBM or XGBoost model holds category codes of its own."""
    booster = getattr(raw, "booster_", raw)
    if getattr(booster, "pandas_categorical", None):
        return True
    if hasattr(raw, "get_booster"):
        booster = raw.get_booster()
    return "c" in (getattr(booster, "feature_types", None) or ())


def _requirements(path: str) -> tuple[str, ...]:
    from pathlib import Path

    file = Path(path, "requirements.txt")
    if not file.is_file():
        return ()
    return tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
