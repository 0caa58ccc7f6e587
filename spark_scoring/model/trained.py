"""What a trained model itself says of its inputs, its classes and its methods, beyond its signature."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spark_scoring.model.categories import own_levels
from spark_scoring.model.estimator_kinds import attribute, library
from spark_scoring.model.estimators import final_estimator, own_feature_names, takes_documents, walk
from spark_scoring.model.spec import UNNAMED, Feature, ModelSpec
from spark_scoring.model.types import ModelType, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.models import ModelSignature

    from spark_scoring.model.loaded import LoadedModel


def with_trained(spec: ModelSpec, model: LoadedModel, signature: ModelSignature | None) -> ModelSpec:
    """A spec with what the loaded model says. Runs the model's code."""
    raw = model.raw
    with model.running():
        own_names = own_feature_names(raw, [str(f.name) for f in spec.inputs])
        inputs, labels = _named(spec.inputs, own_names, signature)
        types = {f.name: f.type for f in inputs if isinstance(f.type, str)}
        levels = own_levels(raw, own_names or [f.name for f in inputs], types)
        documents, selects = takes_documents(raw), _selects(raw)
        classes = _classes(raw)
        methods = _methods(raw, classes)
    return replace(
        spec,
        inputs=inputs,
        methods=methods,
        own_names=own_names,
        classes=classes,
        levels=levels,
        labels=labels,
        documents=documents,
        selects=selects,
    )


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


def _classes(raw: Any) -> tuple[str, ...]:
    return _labels(raw) if attribute(raw, "predict_proba") is not None else ()


def _labels(raw: Any) -> tuple[str, ...]:
    classes = attribute(raw, "classes_")
    if classes is None or isinstance(classes, list):  # a list: one set of classes per output
        return ()
    return tuple(str(c) for c in classes)
