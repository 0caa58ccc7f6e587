"""A model's inputs with their category levels settled: the model's own, then recorded ones, then the job's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, listed
from spark_scoring.model.types import Category, Coded, Levels, ModelType, OneOf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_scoring.model.spec import Feature, ModelSpec

_NUMBERS = ("double", "float", "long", "integer")


def with_levels(model: ModelSpec, given: Mapping[str, Levels]) -> tuple[tuple[Feature, ...], list[Problem]]:
    """The model's inputs, category features with their levels.

    Args:
        model: the pinned model.
        given: the job's levels by feature; they settle what neither the model nor its metadata says.

    """
    recorded = dict(model.recorded)
    known = {**given, **recorded}
    own = dict(model.levels.named)
    held = {**recorded, **{x.feature: x.levels for x in model.levels.listed}, **own}
    problems = [
        Problem(f"categories: {name}", f"{held[name].origin} holds other levels ({held[name]})", "leave them out")
        for name, levels in [*recorded.items(), *given.items()]
        if name in held and levels.values != held[name].values
    ]
    assigned = _assigned(model, known)
    if assigned is None:
        unnamed = "; ".join(str(levels) for levels in model.levels.unassigned)
        cause = f"it holds category levels ({unnamed}) and does not say of which features"
        fix = "name them: categories: {<feature>: [levels in the order of training], ...}"
        problems.append(Problem(f"model {model.uri!r}", cause, fix))
    types: dict[str, ModelType] = {name: Category(levels) for name, levels in {**own, **(assigned or {})}.items()}
    types |= {x.feature: OneOf(x.levels.type, x.levels, x.null) for x in model.levels.listed}
    features = []
    for feature in model.inputs:
        if feature.name in types:
            settled = _typed(feature, types[feature.name])
        elif feature.name in known:
            settled = replace(feature, type=_given_type(model, feature, known[feature.name]))
        else:
            settled = feature
        features.append(settled)
    inputs = {feature.name for feature in model.inputs}
    stray = [name for name in types if name not in inputs]
    if stray:
        cause = f"it was trained on categories of features that its signature does not name: {listed(stray)}"
        problems.append(Problem(f"model {model.uri!r}", cause, "log it with the frame that it was trained on"))
    missing = [name for name in model.levels.unknown if name not in known]
    if missing:
        cause = f"it was trained on category columns whose levels it does not hold: {listed(missing)}"
        fix = f"give them: categories: {{{missing[0]}: [levels in the order of training]}}"
        problems.append(Problem(f"model {model.uri!r}", cause, fix))
    return tuple(features), problems


def _typed(feature: Feature, type_: ModelType) -> Feature:
    """An encoder's levels say which values may be, not what the model is given."""
    if isinstance(type_, OneOf) and isinstance(feature.type, str):
        return replace(feature, type=replace(type_, type=feature.type))
    return replace(feature, type=type_)


def _assigned(model: ModelSpec, known: Mapping[str, Levels]) -> dict[str, Levels] | None:
    """Levels that the model holds without names, by the features that were named for them; None: not settled."""
    held = model.levels.unassigned
    if not held:
        return {}
    order = [f.name for f in model.inputs if f.name in known]
    by_name = {name: known[name] for name in order}
    found = {name: levels for name, levels in by_name.items() if any(levels.values == h.values for h in held)}
    return found if [v.values for v in found.values()] == [h.values for h in held] else None


def _given_type(model: ModelSpec, feature: Feature, levels: Levels) -> ModelType:
    """Levels from outside the model: of a category column, of codes, or the values that may be."""
    if feature.name in model.levels.unknown:
        return Category(levels)
    if feature.type in _NUMBERS:
        return Coded(str(feature.type), levels)
    return OneOf(str(feature.type), levels, null=feature.nullable)
