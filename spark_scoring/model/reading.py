"""A pinned model is read into its spec: its MLmodel file, what registration recorded in it, and the trained model.

Reading a spec loads the model, which runs its code: score only models whose origin you trust.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spark_scoring.errors import Gathering
from spark_scoring.model.environment import differences_of
from spark_scoring.model.errors import ModelError
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
    metadata_of,
    recorded,
    recorded_categories,
    recorded_dtypes,
    recorded_levels,
    recorded_nulls,
    recorded_ordered,
    training_statistics,
)
from spark_scoring.model.signature import TRAINED_TYPES, output_model_type, signature_inputs, signature_params
from spark_scoring.model.spec import Feature, ModelSpec, Takes
from spark_scoring.model.trained import with_trained

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.models import Model
    from mlflow.types.schema import Schema

    from spark_scoring.model.pinned import PinnedModel
    from spark_scoring.model.sealed import Copy
    from spark_scoring.model.types import Levels, Missing


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
    mlmodel = _scorable(pinned, features)
    known_levels = _recorded_levels(pinned, mlmodel)
    model = load_part(pinned, part, own_packages=own_packages)
    outputs, notes = _outputs(pinned, mlmodel, model, outer)
    takes, inputs = _inputs(pinned, mlmodel, features)
    flavor = native_flavor(mlmodel)
    record = recorded(metadata_of(mlmodel))
    spec = ModelSpec(
        uri=pinned.uri,
        name=pinned.name,
        version=pinned.version,
        run_id=getattr(outer or mlmodel, "run_id", None),  # MLflow 2 has none for a folder
        digest=pinned.digest,
        path=pinned.path,
        flavor=flavor,
        inputs=inputs,
        output=output_model_type(outputs),
        takes=takes,
        recorded=tuple(known_levels.items()),
        params=signature_params(getattr(mlmodel.signature, "params", None)),
        differences=differences_of(pinned.path, flavor),
        notes=(*pinned.notes, *notes),
        features=features,
        batch_dependent=record.get("batch_dependent") is True,
        ordered=recorded_ordered(record),
        part_digest="" if features is None else part.digest,
        statistics=training_statistics(record) or training_statistics(recorded(metadata_of(outer or mlmodel))),
    )
    spec = with_trained(spec, model, mlmodel.signature)
    return _with_nulls(_with_documents(_with_categories(spec, mlmodel)), recorded_nulls(record))


def _scorable(pinned: PinnedModel, features: FeatureSpec | None) -> Model:
    """The MLmodel of a model that has typed inputs, and a library that Python workers can call."""
    mlmodel = _mlmodel(pinned)
    if native_flavor(mlmodel) == "spark":
        raise ModelError.spark_ml(pinned.uri)
    if features is None and (mlmodel.signature is None or mlmodel.signature.inputs is None):
        raise ModelError.no_signature(pinned.uri)
    return mlmodel


def _with_categories(spec: ModelSpec, mlmodel: Model) -> ModelSpec:
    """With the features whose categories a frame of training gave the model, and not the model itself."""
    levels = spec.levels
    held = {*levels.unknown, *(name for name, _ in levels.named)}
    categories = (name for name in recorded_categories(metadata_of(mlmodel)) if name not in held)
    return replace(spec, levels=replace(levels, unknown=(*levels.unknown, *categories)))


def _with_documents(spec: ModelSpec) -> ModelSpec:
    """A model whose only input is texts takes a Series of them."""
    if not (spec.documents and spec.takes == "frame"):
        return replace(spec, documents=False)
    if [f.type for f in spec.inputs] != ["string"]:
        return spec
    levels = replace(spec.levels, text=(spec.inputs[0].name,))  # a vectorizer raises on a missing text
    return replace(spec, takes="texts", documents=False, levels=levels)


def _with_nulls(spec: ModelSpec, known: Mapping[str, Missing]) -> ModelSpec:
    """With what a missing text is: as in training where that is recorded; else as encoders and imputers have it."""
    levels = spec.levels
    inputs = tuple(
        replace(
            f,
            nullable=f.name not in levels.text,
            missing=known.get(f.name) or ("NaN" if f.name in levels.nan else "None"),
        )
        for f in spec.inputs
    )
    return replace(spec, inputs=inputs, unsure_nulls=tuple(name for name in levels.unsure if name not in known))


def _inputs(pinned: PinnedModel, mlmodel: Model, features: FeatureSpec | None) -> tuple[Takes, tuple[Feature, ...]]:
    """How the model is called, and its inputs: of its signature, or of the training set of a feature model."""
    signature = mlmodel.signature
    if signature is not None and signature.inputs is not None:
        takes, inputs = signature_inputs(signature)
    else:
        takes, inputs = "frame", _trained_inputs(pinned, features)
    return takes, inputs if features is None else _as_trained(inputs, mlmodel)


def _outputs(
    pinned: PinnedModel, mlmodel: Model, model: LoadedModel, outer: Model | None
) -> tuple[Schema, tuple[str, ...]]:
    """The outputs of the signature, or those that are found otherwise, with a note."""
    outputs = None if mlmodel.signature is None else mlmodel.signature.outputs
    return _missing_outputs(pinned, mlmodel, model, outer) if outputs is None else (outputs, ())


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
    return tuple(replace(f, type=TRAINED_TYPES.get(str(known.get(f.name)), f.type)) for f in inputs)


def _recorded_levels(pinned: PinnedModel, mlmodel: Model) -> dict[str, Levels]:
    try:
        return recorded_levels(metadata_of(mlmodel))
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError.unreadable(pinned.uri, f"the category levels in its metadata: {kind_of(error)}") from error


def _mlmodel(pinned: PinnedModel) -> Model:
    from mlflow.models import Model

    try:
        mlmodel = Model.load(pinned.path)
        mlmodel.signature  # noqa: B018  parsed on access
    except Exception as error:  # a broken file raises what the YAML and signature parsers raise
        raise ModelError.unreadable(pinned.uri, kind_and_place(error)) from error
    return mlmodel


def raw_part(pinned: PinnedModel) -> tuple[FeatureSpec | None, Copy, Model | None]:
    """A feature model's spec, its raw model in the place of the whole, and the whole's MLmodel; else the model."""
    folder = feature_folder(pinned.path)
    if folder is None:
        return None, pinned.part(Path(pinned.path)), None
    features = read_feature_spec(folder, pinned.uri)
    return features, pinned.part(folder / RAW_MODEL), _mlmodel(pinned)


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


def lacks_much(pinned: PinnedModel, part: Copy) -> bool:
    """Whether the session lacks a package that a part of the artifact needs, or has its library in another version."""
    flavor = native_flavor(_mlmodel(replace(pinned, path=part.folder)))
    return any(difference.own or difference.major for difference in differences_of(part.folder, flavor))


def native_flavor(mlmodel: Model) -> str:
    """The flavor of the model's own library; ``python_function`` where there is none."""
    return next((f for f in mlmodel.flavors if f != "python_function"), "python_function")
