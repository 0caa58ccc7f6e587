"""A model's typed inputs and outputs as plain values, read from its MLmodel file and the trained model itself.

Reading a spec loads the model, which runs its code: score only models whose origin you trust.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spark_scoring.errors import Gathering
from spark_scoring.model.categories import OwnLevels, own_levels
from spark_scoring.model.environment import Difference, Environment, differences_of
from spark_scoring.model.errors import ModelError
from spark_scoring.model.estimator_kinds import attribute, library
from spark_scoring.model.estimators import final_estimator, own_feature_names, takes_documents, walk
from spark_scoring.model.feature_spec import (
    RAW_MODEL,
    FeatureSpec,
    column_model_type,
    feature_folder,
    read_feature_spec,
)
from spark_scoring.model.kept_process import ProcessEndError
from spark_scoring.model.loaded import LoadedModel, loaded_model
from spark_scoring.model.raised import kind_and_line, kind_and_place, kind_and_text, kind_of
from spark_scoring.model.recorded import (
    TrainingStatistics,
    metadata_of,
    recorded,
    recorded_categories,
    recorded_dtypes,
    recorded_levels,
    recorded_nulls,
    recorded_ordered,
    training_statistics,
)
from spark_scoring.model.sealed import Copy
from spark_scoring.model.types import ANY, Array, Levels, Map, Member, Missing, ModelType, Object, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import ParamSchema, Schema

    from spark_scoring.model.pinned import PinnedModel

Takes = Literal["frame", "tensor", "tensors", "records", "values", "texts"]

UNNAMED = "input"
"""What an input without a name is called in a plan, a job's ``columns`` and ``policy``."""

_NUMPY_TO_MLFLOW = {
    "float64": "double",
    "float32": "float",
    "int64": "long",
    "int32": "integer",
    "bool": "boolean",
    "str": "string",
    "object": "string",
    "bytes": "binary",
    "datetime64[ns]": "datetime",
}
_TRAINED_TYPES = {
    **{name: type_ for name, type_ in _NUMPY_TO_MLFLOW.items() if type_ in ("double", "float", "long", "integer")},
    "bool": "boolean",
    "float16": "float",
    **dict.fromkeys(("int8", "int16", "uint8", "uint16"), "integer"),
    "uint32": "long",
}
"""numpy's numbers of a training frame -> MLflow's data types."""
_WIDENED = {"int8": "integer", "int16": "integer", "uint8": "integer", "uint16": "integer", "uint32": "long"}
"""What a column of results holds numpy's other integers in."""


@dataclass(frozen=True)
class Feature:
    """One input of the model: its name, its type and whether it must be there."""

    name: str
    type: ModelType
    required: bool = True
    nullable: bool = True
    """False where the library refuses a null in a type that could hold one."""
    missing: Missing = "None"
    """What a missing text is to the model."""


@dataclass(frozen=True)
class Parameter:
    """One inference parameter of the signature."""

    name: str
    type: str
    """MLflow's data type."""
    listed: bool
    """Whether it takes a list of them."""


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
    """The folder of the model that predicts: in a copy that is ours."""
    flavor: str
    """The native flavor, such as ``lightgbm``; ``python_function`` where there is none."""
    inputs: tuple[Feature, ...]
    output: ModelType
    """What ``predict`` returns per row; several named outputs are an object, of tensors where MLflow says so."""
    takes: Takes = "frame"
    """What the model is called with: a DataFrame, a matrix, a dict of arrays, a list of dicts or values, a Series."""
    methods: tuple[tuple[str, ModelType], ...] = ()
    """Predict methods of the native model besides ``predict``, with what they return per row."""
    own_names: tuple[str, ...] = ()
    """The feature names in the trained model's own order, where it holds them."""
    classes: tuple[str, ...] = ()
    """The class labels of ``predict_proba``'s columns, as text; empty where the model has no ``predict_proba``."""
    levels: OwnLevels = field(default_factory=OwnLevels)
    """What the trained model says of its category features."""
    recorded: tuple[tuple[str, Levels], ...] = ()
    """Levels that registration wrote into the model's metadata."""
    params: tuple[Parameter, ...] = ()
    differences: tuple[Difference, ...] = ()
    """Requirements of the model that this environment does not meet."""
    notes: tuple[str, ...] = ()
    features: FeatureSpec | None = None
    """Where its inputs come from, for a model trained with feature lookups; ``path`` is then its raw model's."""
    labels: tuple[tuple[str, int], ...] = ()
    """Inputs that the model's frame calls by a number: columns that had no names in training."""
    documents: bool = False
    """Whether its first step takes texts, one for each row, and no frame of columns."""
    selects: bool = False
    """Whether its first step chooses columns by name, so that it does not mind others."""
    batch_dependent: bool = False
    """Whether its registration recorded that a row's result depends on other rows or on chance, on purpose."""
    unsure_nulls: tuple[str, ...] = ()
    """Text features of which it is guessed, by an imputer in the model, what a missing one was in training."""
    ordered: tuple[str, ...] = ()
    """Category features whose levels were ordered in training."""
    part_digest: str = ""
    """sha256 of the files in ``path``, where that is a part of the artifact."""
    statistics: TrainingStatistics | None = field(default=None, repr=False)
    """What registration recorded of the training rows; None where it recorded nothing of them."""
    environment: Environment | None = None
    """The packages with which it runs, in a process of its own; None: those of the session."""

    @property
    def title(self) -> str:
        """For people: the name, or the URI of a model that has none, with the version."""
        return f"{self.name or self.uri}{f' version {self.version}' if self.version else ''}"

    @property
    def copy(self) -> Copy:
        """What is loaded, with the digest that it is held against."""
        return Copy(self.path, self.part_digest or self.digest)


def read_spec(pinned: PinnedModel, *, own_packages: bool = False) -> ModelSpec:
    """The spec of a pinned model. Loads the model once in this process, which runs its code.

    Args:
        pinned: the model.
        own_packages: whether this process has what the model's requirements.txt lists.

    Raises:
        ModelError: no signature, no outputs and no example to infer them from, or a model that does not load.

    """
    features, part, outer = raw_part(pinned)
    pinned = replace(pinned, path=part.folder)
    mlmodel = _mlmodel(pinned)
    signature = mlmodel.signature
    flavor = native_flavor(mlmodel)
    if flavor == "spark":
        raise ModelError.spark_ml(pinned.uri)
    if features is None and (signature is None or signature.inputs is None):
        raise ModelError.no_signature(pinned.uri)
    known_levels = _recorded(pinned, mlmodel)
    model = load_part(pinned, part, own_packages=own_packages)
    raw = model.raw
    notes: tuple[str, ...] = ()
    outputs = None if signature is None else signature.outputs
    if outputs is None:
        outputs, notes = _missing_outputs(pinned, mlmodel, model, outer)
    if signature is not None and signature.inputs is not None:
        takes, inputs = signature_inputs(signature)
    else:
        takes, inputs = "frame", _trained_inputs(pinned, features)
    if features is not None:
        inputs = _as_trained(inputs, mlmodel)
    with model.running():
        own_names = own_feature_names(raw, [str(f.name) for f in inputs])
        inputs, labels = _named(inputs, own_names, signature)
        types = {f.name: f.type for f in inputs if isinstance(f.type, str)}
        levels = own_levels(raw, own_names or [f.name for f in inputs], types)
        documents, selects = takes_documents(raw), _selects(raw)
        classes = _classes(raw)
        methods = _methods(raw, classes)
    held = {*levels.unknown, *(name for name, _ in levels.named)}
    categories = (name for name in recorded_categories(metadata_of(mlmodel)) if name not in held)
    levels = replace(levels, unknown=(*levels.unknown, *categories))  # a frame of training gave the model a category
    if documents and takes == "frame" and [f.type for f in inputs] == ["string"]:
        takes, levels = "texts", replace(levels, text=(inputs[0].name,))  # a vectorizer raises on a missing text
    record = recorded(metadata_of(mlmodel))
    known_nulls = recorded_nulls(record)
    return ModelSpec(
        uri=pinned.uri,
        name=pinned.name,
        version=pinned.version,
        run_id=getattr(outer or mlmodel, "run_id", None),  # MLflow 2 has none for a folder
        digest=pinned.digest,
        path=pinned.path,
        flavor=flavor,
        inputs=tuple(
            replace(f, nullable=f.name not in levels.text, missing=_missing(f.name, known_nulls, levels))
            for f in inputs
        ),
        output=output_model_type(outputs),
        takes=takes,
        methods=methods,
        own_names=own_names,
        classes=classes,
        levels=levels,
        recorded=tuple(known_levels.items()),
        params=_parameters(getattr(signature, "params", None)),
        differences=differences_of(pinned.path, flavor),
        notes=(*pinned.notes, *notes),
        features=features,
        labels=labels,
        documents=documents and takes == "frame",
        selects=selects,
        batch_dependent=record.get("batch_dependent") is True,
        unsure_nulls=tuple(name for name in levels.unsure if name not in known_nulls),
        ordered=recorded_ordered(record),
        part_digest="" if features is None else part.digest,
        statistics=training_statistics(record) or training_statistics(recorded(metadata_of(outer or mlmodel))),
    )


def _missing(name: str, known: Mapping[str, Missing], levels: OwnLevels) -> Missing:
    """As it was in training where that is recorded; else as the encoders and imputers in the model have it."""
    return known.get(name) or ("NaN" if name in levels.nan else "None")


def _named(
    inputs: tuple[Feature, ...], own_names: Sequence[str], signature: ModelSignature | None
) -> tuple[tuple[Feature, ...], tuple[tuple[str, int], ...]]:
    """Every input with a name to bind it by, and the numbers by which the model's frame calls some of them.

    A number is bound by its text. Inputs without names have the trained model's own; a single one is ``input``.
    """
    if signature is None or signature.inputs is None or signature.inputs.is_tensor_spec():
        return inputs, ()
    if not signature.inputs.has_input_names():
        if len(own_names) == len(inputs):
            return tuple(replace(f, name=name) for f, name in zip(inputs, own_names, strict=True)), ()
        return inputs, ((UNNAMED, 0),) if len(inputs) == 1 else ()
    return inputs, tuple((str(s.name), s.name) for s in signature.inputs.inputs if isinstance(s.name, int))


def _selects(raw: Any) -> bool:
    """Whether what is given the model's input itself are ColumnTransformers, which do not mind more columns."""
    whole = [seen.estimator for seen in walk(raw, ()) if seen.is_whole]
    return any(attribute(e, "transformers_") is not None for e in whole) and not any(library(e) for e in whole)


def lacks_much(pinned: PinnedModel, part: Copy) -> bool:
    """Whether the session lacks a package that a part of the artifact needs, or has its library in another version."""
    flavor = native_flavor(_mlmodel(replace(pinned, path=part.folder)))
    return any(difference.own or difference.major for difference in differences_of(part.folder, flavor))


def raw_part(pinned: PinnedModel) -> tuple[FeatureSpec | None, Copy, Model | None]:
    """A feature model's spec, its raw model in the place of the whole, and the whole's MLmodel; else the model."""
    folder = feature_folder(pinned.path)
    if folder is None:
        return None, pinned.part(Path(pinned.path)), None
    features = read_feature_spec(folder, pinned.uri)
    return features, pinned.part(folder / RAW_MODEL), _mlmodel(pinned)


def _mlmodel(pinned: PinnedModel) -> Model:
    from mlflow.models import Model

    try:
        mlmodel = Model.load(pinned.path)
        mlmodel.signature  # noqa: B018  parsed on access
    except Exception as error:  # a broken file raises what the YAML and signature parsers raise
        raise ModelError.unreadable(pinned.uri, kind_and_place(error)) from error
    return mlmodel


def _trained_inputs(pinned: PinnedModel, features: FeatureSpec | None) -> tuple[Feature, ...]:
    """Inputs from the training set's recorded types, for a raw model whose signature lacks them."""
    inputs, problems = [], Gathering()
    for column in features.included if features else ():
        with problems.attempt():
            type_ = column_model_type(column)
            if type_ is None:
                raise ModelError.no_input_type(pinned.uri, column.name, column.type)
            inputs.append(Feature(column.name, type_))
    problems.raise_all(ModelError)
    return tuple(inputs)


def _as_trained(inputs: tuple[Feature, ...], mlmodel: Model) -> tuple[Feature, ...]:
    """A feature model's inputs in the dtypes of the frame that it was trained on, where registration recorded them.

    A feature client infers the raw model's signature from an example that it makes anew: a flag that training had as
    a float, for its nulls, would be a flag again.
    """
    known = recorded_dtypes(recorded(metadata_of(mlmodel)))
    return tuple(replace(f, type=_TRAINED_TYPES.get(str(known.get(f.name)), f.type)) for f in inputs)


def _recorded(pinned: PinnedModel, mlmodel: Model) -> dict[str, Levels]:
    try:
        return recorded_levels(metadata_of(mlmodel))
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError.unreadable(pinned.uri, f"the category levels in its metadata: {kind_of(error)}") from error


def load_part(pinned: PinnedModel, part: Copy, *, own_packages: bool = False) -> LoadedModel:
    """A model of the artifact, loaded, which runs its code.

    Raises:
        ModelError: it does not load here; names the kind of the error, and its place in the model's code.

    """
    try:
        return loaded_model(part)
    except ModelError:
        raise
    except ProcessEndError as error:
        raise ModelError.ends_process(pinned.uri) from error
    except Exception as error:
        raise ModelError.not_loadable(pinned.uri, kind_and_text(error), own_packages=own_packages) from error


def _missing_outputs(
    pinned: PinnedModel, mlmodel: Model, model: LoadedModel, outer: Model | None
) -> tuple[Schema, tuple[str, ...]]:
    """Outputs of a model whose signature has none: of its input example, else those that a feature model declares."""
    declared = outer.signature.outputs if outer is not None and outer.signature is not None else None
    try:
        inferred = _infer_outputs(pinned, mlmodel, model)
    except ModelError:
        if declared is None:
            raise
        note = "the raw model's signature has no outputs; those of the feature model, which are the label's, hold"
        return declared, (note,)
    return inferred, ("the signature has only inputs; outputs were inferred from the saved input example",)


def _infer_outputs(pinned: PinnedModel, mlmodel: Model, model: LoadedModel) -> Schema:
    from mlflow.models import infer_signature

    try:
        example = mlmodel.load_input_example(pinned.path)
    except (OSError, ValueError) as error:
        raise ModelError.outputs_not_inferable(pinned.uri, kind_of(error)) from error
    if example is None:
        raise ModelError.no_outputs(pinned.uri)
    try:
        return infer_signature(example, model.predict_enforced(example)).outputs
    except Exception as error:
        raise ModelError.outputs_not_inferable(pinned.uri, kind_and_line(error)) from error


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
    dtype = _WIDENED.get(dtype, "float" if dtype == "float16" else dtype)
    tensor = Tensor(dtype, tuple(spec.shape))
    if tensor.width == 1:
        return dtype
    if tensor.width < 0 and len(tensor.shape) == 2:  # noqa: PLR2004  rows of any length
        return Array(dtype)
    return tensor


def _parameters(schema: ParamSchema | None) -> tuple[Parameter, ...]:
    if schema is None:
        return ()
    return tuple(Parameter(p.name, str(model_type(p.dtype)), p.shape is not None) for p in schema.params)


def _methods(raw: Any, classes: Sequence[str]) -> tuple[tuple[str, ModelType], ...]:
    """The native model's methods whose results are known without a call."""
    per_class = Tensor("double", (-1, len(classes)))
    known: dict[str, ModelType | None] = {
        "predict_proba": per_class if classes else None,
        "predict_log_proba": per_class if classes else None,
        "decision_function": _decision_type(raw, classes),
        "score_samples": "double",
    }
    return tuple(
        (name, type_) for name, type_ in known.items() if type_ is not None and attribute(raw, name) is not None
    )


def _decision_type(raw: Any, classes: Sequence[str]) -> ModelType | None:
    """One number per row for two classes or none; else one per class, or per pair of classes where it says so."""
    labels = classes or _labels(raw)
    if len(labels) <= 2:  # noqa: PLR2004
        return "double"
    pairs = attribute(final_estimator(raw), "decision_function_shape") == "ovo"
    return Tensor("double", (-1, len(labels) * (len(labels) - 1) // 2 if pairs else len(labels)))


def native_flavor(mlmodel: Model) -> str:
    """The flavor of the model's own library; ``python_function`` where there is none."""
    return next((f for f in mlmodel.flavors if f != "python_function"), "python_function")


def _classes(raw: Any) -> tuple[str, ...]:
    return _labels(raw) if attribute(raw, "predict_proba") is not None else ()


def _labels(raw: Any) -> tuple[str, ...]:
    classes = attribute(raw, "classes_")
    if classes is None or isinstance(classes, list):  # a list: one set of classes per output
        return ()
    return tuple(str(c) for c in classes)
