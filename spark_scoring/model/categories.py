"""What a trained model holds of its category features: levels by feature, or that it holds none.

They are read from every estimator inside the model that sees its columns, and brought together here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from spark_scoring.model.estimators import walk
from spark_scoring.model.levels import levels_of
from spark_scoring.model.library_levels import Held, Leaf, ListedLevels, leaves_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from spark_scoring.model.types import Levels


@dataclass(frozen=True)
class OwnLevels:
    """A trained model's category features."""

    named: tuple[tuple[str, Levels], ...] = ()
    """Features of pandas' category type, with their levels."""
    listed: tuple[ListedLevels, ...] = ()
    """Features whose values an encoder knows and must know."""
    unassigned: tuple[Levels, ...] = ()
    """Levels in the order of the columns, where the model does not say whose they are."""
    unknown: tuple[str, ...] = ()
    """Features of the category type whose levels the model does not hold."""
    coded: tuple[str, ...] = ()
    """Features that were numbers in training and are split as categories."""
    text: tuple[str, ...] = ()
    """Features that the model takes as text and never as a null."""
    nan: tuple[str, ...] = ()
    """Text features whose missing value was NaN in training: an encoder or imputer does not know None."""
    unsure: tuple[str, ...] = ()
    """Text features of which an imputer replaces NaN alone, and nothing shows which null they had in training."""
    seen: tuple[str, ...] = ()
    """Named features whose levels are those of the rows of training: the column's dtype may have had more."""


def own_levels(raw: Any, names: Sequence[str], types: Mapping[str, str]) -> OwnLevels:
    """The category features of a native model, of whatever estimators inside it see its columns.

    Args:
        raw: the native model; None for one that has none.
        names: the features' names in the order of the model's columns.
        types: MLflow types of the features, which tell text levels from numbers.

    """
    return _merged([leaf for seen in walk(raw, names) for leaf in leaves_of(seen, types)])


def _merged(leaves: Sequence[Leaf]) -> OwnLevels:
    """What several estimators hold of the same features, as levels with which every one of them can do.

    A level that one of them refuses makes a bad row, so those that refuse others decide; where none does, a level
    that any of them knows is one. Codes without levels need the dtype's order, which levels of rows do not have.
    """
    by_feature: dict[str, list[Held]] = {}
    for held in (held for leaf in leaves for held in leaf.held):
        by_feature.setdefault(held.feature, []).append(held)
    rows_only = {name for name, found in by_feature.items() if all(h.others == "unseen" for h in found)}
    unknown = [n for n in _flat(leaf.unknown for leaf in leaves) if n not in by_feature or n in rows_only]
    named = {name: _together(found) for name, found in by_feature.items() if name not in unknown}
    settled = {*named, *unknown}
    sets = [set(levels.values) for levels in named.values()]
    unassigned = [leaf.unassigned for leaf in leaves if any(set(x.values) not in sets for x in leaf.unassigned)]
    nan, none = _flat(leaf.nan for leaf in leaves), _flat(leaf.none for leaf in leaves)
    unsure = tuple(name for name in _flat(leaf.replaced for leaf in leaves) if name not in nan)
    return OwnLevels(
        named=tuple(named.items()),
        listed=tuple(x for x in _common(leaves) if x.feature not in settled),
        unassigned=max(unassigned, key=len, default=()),
        unknown=tuple(unknown),
        coded=tuple(name for name in _flat(leaf.coded for leaf in leaves) if name not in settled),
        text=_flat(leaf.text for leaf in leaves),
        nan=tuple(name for name in (*nan, *unsure) if name not in none),
        unsure=tuple(name for name in unsure if name not in none),
        seen=tuple(name for name in named if name in rows_only),
    )


def _flat(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _together(found: Sequence[Held]) -> Levels:
    """Levels of one feature in the order of its dtype, as far as anyone holds it."""
    ordered = sorted(found, key=lambda held: ("refused", "missing", "unseen").index(held.others))
    first = ordered[0].levels
    refusing = [set(held.levels.values) for held in ordered if held.others == "refused"]
    if refusing:
        return replace(first, values=tuple(v for v in first.values if all(v in known for known in refusing)))
    values = tuple(dict.fromkeys(v for held in ordered for v in held.levels.values))
    if all(held.levels.type == first.type for held in ordered):
        return replace(first, values=values)
    return levels_of(values) or first  # whole numbers are floats where a row of training had none


def _common(leaves: Sequence[Leaf]) -> Iterator[ListedLevels]:
    """Per feature the values that all encoders know which see it: each of them raises on others."""
    by_feature: dict[str, list[ListedLevels]] = {}
    for listed in (listed for leaf in leaves for listed in leaf.listed):
        by_feature.setdefault(listed.feature, []).append(listed)
    for name, found in by_feature.items():
        first = found[0].levels
        values = tuple(v for v in first.values if all(v in x.levels.values for x in found))
        if values:
            yield ListedLevels(name, replace(first, values=values), all(x.null for x in found))
