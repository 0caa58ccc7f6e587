"""MLflow's signature of a model as plain values: its inputs, its results, its parameters and their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_scoring.model.spec import UNNAMED, Feature, Parameter, Takes
from spark_scoring.model.types import ANY, NUMPY_TYPES, Array, Map, Member, ModelType, Object, Tensor

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ParamSchema, Schema

_NUMBERS = {NUMPY_TYPES[name]: name for name in ("double", "float", "long", "integer", "boolean")}
_NUMPY_TO_MLFLOW = {
    **_NUMBERS,
    "str": "string",
    "object": "string",
    "bytes": "binary",
    "datetime64[ns]": "datetime",
}
_WIDENED = {
    "float16": "float",
    **dict.fromkeys(("int8", "int16", "uint8", "uint16"), "integer"),
    "uint32": "long",
}
"""numpy's other numbers -> the MLflow type that holds all their values."""
TRAINED_TYPES = {**_NUMBERS, **_WIDENED}
"""numpy's numbers of a training frame -> MLflow's data types."""


def signature_inputs(signature: ModelSignature) -> tuple[Takes, tuple[Feature, ...]]:
    """How a model with this signature is called, and its inputs in signature order."""
    schema = signature.inputs
    specs = schema.inputs
    if schema.is_tensor_spec():
        tensors = tuple(Feature(str(s.name or UNNAMED), Tensor(_tensor_dtype(s), tuple(s.shape))) for s in specs)
        return "tensors" if schema.has_input_names() else "tensor", tensors
    nameless = UNNAMED if len(specs) == 1 else ""
    features = tuple(
        Feature(nameless if s.name is None else str(s.name), model_type(s.type), required=_is_required(s))
        for s in specs
    )
    has_type_hints = getattr(signature, "_is_signature_from_type_hint", False)  # MLflow has no public way to ask
    if not (len(specs) == 1 and specs[0].name is None and has_type_hints):
        return "frame", features
    only = features[0].type
    if isinstance(only, Object):
        return "records", tuple(Feature(m.name, m.type, m.required) for m in only.members)
    return "values", features


def _is_required(spec: Any) -> bool:
    """Whether the input must be there; MLflow before 2.10 says whether it may be missing."""
    return bool(spec.required) if hasattr(spec, "required") else not getattr(spec, "optional", False)


def output_model_type(schema: Schema) -> ModelType:
    """A column's type; a tensor of one value per row is that value; several named ones are an object."""
    specs = schema.inputs
    types = [_tensor_output(s) if schema.is_tensor_spec() else model_type(s.type) for s in specs]
    if len(specs) == 1:
        return types[0]
    names = [str(i) if s.name is None else str(s.name) for i, s in enumerate(specs)]
    return Object(tuple(Member(name, t) for name, t in zip(names, types, strict=True)))


def _tensor_output(spec: Any) -> ModelType:
    dtype = _tensor_dtype(spec)
    dtype = _WIDENED.get(dtype, dtype)
    tensor = Tensor(dtype, tuple(spec.shape))
    if tensor.width == 1:
        return dtype
    if tensor.width < 0 and len(tensor.shape) == 2:  # noqa: PLR2004  rows of any length
        return Array(dtype)
    return tensor


def signature_params(schema: ParamSchema | None) -> tuple[Parameter, ...]:
    """The inference parameters of a signature; none where it has no part for them."""
    if schema is None:
        return ()
    return tuple(Parameter(p.name, str(model_type(p.dtype)), p.shape is not None) for p in schema.params)


def model_type(spec_type: Any) -> ModelType:
    """MLflow's type of a column or of what is inside one, as a plain value."""
    kinds = {kind.__name__ for kind in type(spec_type).__mro__}  # not all of these classes are in each MLflow
    if "Array" in kinds:
        return Array(model_type(spec_type.dtype))
    if "Map" in kinds:
        return Map(model_type(spec_type.value_type))
    if "Object" in kinds:
        members = (Member(p.name, model_type(p.dtype), bool(p.required)) for p in spec_type.properties)
        return Object(tuple(members))
    if "AnyType" in kinds:
        return ANY
    return spec_type.name if hasattr(spec_type, "name") else str(spec_type)


def _tensor_dtype(spec: Any) -> str:
    text = {"U": "str", "S": "bytes"}.get(spec.type.kind, str(spec.type))
    return _NUMPY_TO_MLFLOW.get(text, text)
