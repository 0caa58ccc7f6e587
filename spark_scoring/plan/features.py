"""A model's inputs with their category levels settled: the model's own, then recorded ones, then the job's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, listed
from spark_scoring.model.types import Category, Coded, Levels, ModelType, OneOf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spark_scoring.model.spec import Feature, ModelSpec

_NUMBERS = ("double", "float", "long", "integer")


def with_levels(model: ModelSpec, given: Mapping[str, Levels]) -> tuple[tuple[Feature, ...], list[Problem]]:
    """The model's inputs, category features with their levels.

    Args:
        model: the pinned model.
        given: the job's levels by feature; they settle what neither the model nor its metadata says.

    """
    known = {**given, **dict(model.recorded)}
    assigned = _assigned(model, known)
    types = _held_types(model, assigned or {})
    problems = [
        *_contradictions(model, given, types),
        *([_not_assigned(model)] if assigned is None else []),
        *_strays(model, types),
        *_missing(model, known),
    ]
    return tuple(_settled(model, feature, types, known) for feature in model.inputs), problems


def _held_types(model: ModelSpec, assigned: Mapping[str, Levels]) -> dict[str, Category | OneOf]:
    """Features whose levels the model holds: a category where any part of it wants one, else the values that may be."""
    own = {name: _with_unseen(model, name, levels) for name, levels in model.levels.named}
    values = {x.feature: OneOf(x.levels.type, x.levels, x.null) for x in model.levels.listed}
    recorded = {n: levels for n, levels in model.recorded if n in model.levels.unknown}
    with_null = {x.feature for x in model.levels.listed if x.null and x.levels.type != "string"}  # no number is a null
    own.update({name: levels for name, levels in recorded.items() if name in with_null})
    return {**values, **{name: _category(model, name, levels) for name, levels in {**own, **assigned}.items()}}


def _category(model: ModelSpec, name: str, levels: Levels) -> Category:
    return Category(levels, ordered=name in model.ordered)


def _with_unseen(model: ModelSpec, name: str, levels: Levels) -> Levels:
    """Recorded levels in the place of those of the rows of training, which may be fewer: the model takes any."""
    recorded = dict(model.recorded).get(name)
    is_wider = recorded is not None and name in model.levels.seen and set(levels.values) <= set(recorded.values)
    return recorded if recorded is not None and is_wider else levels


def _settled(
    model: ModelSpec, feature: Feature, types: Mapping[str, Category | OneOf], known: Mapping[str, Levels]
) -> Feature:
    if feature.name in types:
        return _typed(feature, types[feature.name])
    if feature.name in known:
        return replace(feature, type=_given_type(model, feature, known[feature.name]))
    return feature


def _typed(feature: Feature, type_: Category | OneOf) -> Feature:
    """An encoder's levels say which values may be, not what the model is given."""
    if isinstance(type_, OneOf) and isinstance(feature.type, str):
        return replace(feature, type=replace(type_, type=feature.type))
    return replace(feature, type=type_)


def _given_type(model: ModelSpec, feature: Feature, levels: Levels) -> ModelType:
    """Levels from outside the model: of a category column, of codes, or the values that may be."""
    if feature.name in model.levels.unknown:
        return _category(model, feature.name, levels)
    if feature.type in _NUMBERS:
        return Coded(str(feature.type), levels)
    return OneOf(str(feature.type), levels, null=feature.nullable)


def _contradictions(
    model: ModelSpec, given: Mapping[str, Levels], types: Mapping[str, Category | OneOf]
) -> Iterator[Problem]:
    """Levels beside the model's own that are others.

    The model looks its own levels up by value, so their order is not compared. An encoder knows what came to it: not
    the levels that no row of training had, but the value that an imputer in front of it gave to nulls. Where only the
    metadata holds levels, their order may be that of codes.
    """
    recorded = dict(model.recorded)
    encoded = {x.feature for x in model.levels.listed}
    own = {**{x.feature: x.levels for x in model.levels.listed}, **dict(model.levels.named)}
    for name, levels in recorded.items():
        has_more = name in model.levels.seen and name in own and set(levels.values) >= set(own[name].values)
        if name in own and name not in encoded and not (has_more or _same(levels, own[name])):
            yield _other_levels(name, own[name])
    held = {**recorded, **{name: type_.levels for name, type_ in types.items()}}
    for name, levels in given.items():
        if name in held and not _same(levels, held[name], in_order=_by_code(model, name, types)):
            yield _other_levels(name, held[name])


def _same(levels: Levels, others: Levels, *, in_order: bool = False) -> bool:
    return levels.values == others.values if in_order else set(levels.values) == set(others.values)


def _by_code(model: ModelSpec, name: str, types: Mapping[str, Category | OneOf]) -> bool:
    """Whether the model knows the feature's levels by their places only."""
    declared = {feature.name: feature.type for feature in model.inputs}.get(name)
    return name not in types and (name in model.levels.unknown or declared in _NUMBERS)


def _other_levels(name: str, held: Levels) -> Problem:
    return Problem(f"categories: {name}", f"{held.origin} holds other levels ({held})", "leave them out")


def _assigned(model: ModelSpec, known: Mapping[str, Levels]) -> dict[str, Levels] | None:
    """Levels that the model holds without names, by the features that were named for them; None: not settled."""
    held = model.levels.unassigned
    sets = [set(levels.values) for levels in held]
    names = [f.name for f in model.inputs if f.name in known and set(known[f.name].values) in sets]
    if [set(known[name].values) for name in names] != sets:
        return None
    return {name: replace(levels, origin=known[name].origin) for name, levels in zip(names, held, strict=True)}


def _not_assigned(model: ModelSpec) -> Problem:
    unnamed = "; ".join(str(levels) for levels in model.levels.unassigned)
    cause = f"it holds category levels ({unnamed}) and does not say of which features"
    fix = "name them: categories: {<feature>: [levels in the order of training], ...}"
    return Problem(f"model {model.uri!r}", cause, fix)


def _strays(model: ModelSpec, types: Mapping[str, Category | OneOf]) -> Iterator[Problem]:
    inputs = {feature.name for feature in model.inputs}
    stray = [name for name in types if name not in inputs]
    if stray:
        cause = f"it was trained on categories of features that its signature does not name: {listed(stray)}"
        yield Problem(f"model {model.uri!r}", cause, "log it with the frame that it was trained on")


def _missing(model: ModelSpec, known: Mapping[str, Levels]) -> Iterator[Problem]:
    missing = [name for name in model.levels.unknown if name not in known]
    if missing:
        cause = f"it was trained on category columns whose levels it does not hold: {listed(missing)}"
        fix = f"give them: categories: {{{missing[0]}: [levels in the order of training]}}"
        yield Problem(f"model {model.uri!r}", cause, fix)
