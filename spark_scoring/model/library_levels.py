"""What one estimator inside a model holds of its category features, in the way of its library.

A signature never says that a feature is categorical; it has the type of the levels. LightGBM keeps the levels
in the order of the columns but not their names, XGBoost keeps both since 3.1, scikit-learn in its encoders;
CatBoost keeps hashes only.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spark_scoring.model.estimator_kinds import attribute, is_ruled, library
from spark_scoring.model.levels import is_missing, levels_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from spark_scoring.model.estimators import Seen
    from spark_scoring.model.passed_columns import Column
    from spark_scoring.model.types import Levels, LevelType

_DECLARED: dict[LevelType, tuple[str, ...]] = {
    "string": ("string",),
    "boolean": ("boolean",),
    "double": ("double", "float"),
    "long": ("long", "integer"),
    "date": ("string", "datetime"),
}
"""Type of the levels -> what a signature may say of the column."""


@dataclass(frozen=True)
class ListedLevels:
    """Values that an encoder in the model knows; it raises on others."""

    feature: str
    levels: Levels
    null: bool
    """Whether it takes a null, as a level or by an imputer in front of it."""


@dataclass(frozen=True)
class Held:
    """The levels that one estimator inside holds of a category feature."""

    feature: str
    levels: Levels
    others: Literal["missing", "refused", "unseen"]
    """What other levels are to it: missing values; an error; levels of the dtype that no row of training had, perhaps.
    The first two have the order of the dtype."""


@dataclass(frozen=True)
class Leaf:
    """What one estimator inside the model holds."""

    held: tuple[Held, ...] = ()
    listed: tuple[ListedLevels, ...] = ()
    unassigned: tuple[Levels, ...] = ()
    unknown: tuple[str, ...] = ()
    coded: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    nan: tuple[str, ...] = ()
    """Text features that have come to an encoder with NaN."""
    none: tuple[str, ...] = ()
    """Text features that have come to an encoder with None."""
    replaced: tuple[str, ...] = ()
    """Text features of which an imputer replaces NaN."""


def leaves_of(seen: Seen, types: Mapping[str, str]) -> Iterator[Leaf]:
    """What the estimator holds itself; none where it is not trained, or its library keeps levels in a way not known."""
    for fits, read in _READERS:
        if fits(seen.estimator):
            with suppress(Exception):
                yield read(seen, types)


def _is_lightgbm(model: Any) -> bool:
    return library(model) == "lightgbm"


def _is_xgboost(model: Any) -> bool:
    return library(model) == "xgboost"


def _is_catboost(model: Any) -> bool:
    return library(model) == "catboost"


def _is_hist_gradient_boosting(model: Any) -> bool:
    return attribute(model, "is_categorical_") is not None and attribute(model, "_preprocessor") is not None


def _is_encoder(model: Any) -> bool:
    return isinstance(attribute(model, "categories_"), list)


def _is_nan_replacer(model: Any) -> bool:
    """An imputer, or what flags missing values."""
    return _is_nan(attribute(model, "missing_values"))


def _of_lightgbm(seen: Seen, types: Mapping[str, str]) -> Leaf:
    """Levels are listed in column order: of all category columns, also ordered ones, which are split as numbers."""
    booster = attribute(seen.estimator, "booster_", seen.estimator)
    lines = booster.model_to_string(num_iteration=1).split("\n")
    places = range(booster.num_feature())
    columns = seen.columns if len(seen.columns) == len(places) else (None,) * len(places)
    split = [int(i) for i in _value(lines, "[categorical_feature: ").rstrip("]").split(",") if i]
    held = [levels_of(values) for values in booster.pandas_categorical or ()]
    levels = [level for level in held if level is not None]
    if len(levels) < len(held):
        return Leaf(unknown=tuple(c.name for c in (columns[i] for i in split) if c is not None))
    own = _category_places(levels, split, [_type(c, types) for c in columns], _value(lines, "feature_infos=").split())
    if own is None:
        coded = _codes([columns[i] for i in split], types)
        return Leaf(unassigned=tuple(levels) if all(columns) else (), coded=coded)
    pairs = [(columns[i], level) for i, level in zip(own, levels, strict=True)]
    return Leaf(
        held=tuple(_held(pairs, types, "missing")), coded=_codes([columns[i] for i in split if i not in own], types)
    )


def _category_places(
    levels: Sequence[Levels], split: Sequence[int], types: Sequence[str | None], infos: Sequence[str]
) -> Sequence[int] | None:
    """Which columns these levels are of, None where that is not sure."""
    texts = [place for place, type_ in enumerate(types) if type_ == "string"]
    if len(texts) == len(levels) and all(level.type == "string" for level in levels):
        return texts
    if len(split) == len(levels) and all(_may_be(x, types[i], infos[i]) for x, i in zip(levels, split, strict=True)):
        return split
    return None


def _may_be(levels: Levels, type_: str | None, info: str) -> bool:
    """Whether the feature's codes in training and its signature type are those of these levels."""
    codes = [int(code) for code in info.split(":") if code.lstrip("-").isdigit()]
    return _fits_type(levels, type_) and max(codes, default=0) < len(levels.values)


def _fits_type(levels: Levels, type_: str | None) -> bool:
    return type_ in (None, *_DECLARED[levels.type])


def _type(column: Column | None, types: Mapping[str, str]) -> str | None:
    return types.get(column.name) if column is not None else None


def _held(
    pairs: Iterable[tuple[Column | None, Levels]],
    types: Mapping[str, str],
    others: Literal["missing", "refused", "unseen"],
) -> Iterator[Held]:
    """Levels with their features. What steps in front have made of a column may be of another kind, and its own."""
    for column, levels in pairs:
        if column is not None and (column.sure or _fits_type(levels, types.get(column.name))):
            yield Held(column.name, levels, others)


def _codes(columns: Iterable[Column | None], types: Mapping[str, str]) -> tuple[str, ...]:
    """Features whose codes come from the table: of text that a step in front may have changed, the step makes them."""
    known = (column for column in columns if column is not None)
    return tuple(column.name for column in known if column.sure or types.get(column.name) != "string")


def _value(lines: Sequence[str], key: str) -> str:
    return next((line[len(key) :] for line in lines if line.startswith(key)), "")


def _of_xgboost(seen: Seen, types: Mapping[str, str]) -> Leaf:
    booster = attribute(seen.estimator, "get_booster", lambda: seen.estimator)()
    kinds = booster.feature_types or []
    columns = seen.columns if len(seen.columns) == len(kinds) else (None,) * len(kinds)
    categorical = [(i, column) for i, column in enumerate(columns) if kinds[i] == "c" and column is not None]
    stored = _stored(booster) if categorical else []
    levels = [_stored_levels(stored[i][1]) if len(stored) == len(kinds) else None for i, _ in categorical]
    pairs = list(zip([column for _, column in categorical], levels, strict=True))
    held = _held([(column, found) for column, found in pairs if found is not None], types, "refused")
    return Leaf(held=tuple(held), unknown=tuple(column.name for column, found in pairs if found is None))


def _stored(booster: Any) -> Sequence[tuple[str, Any]]:
    """Every feature with its levels in Arrow or None; none at all from a release or a model that does not keep them."""
    try:
        return booster.get_categories(export_to_arrow=True).to_arrow() or []
    except Exception:  # noqa: BLE001  an old release has no such method, an old model no such part
        return []


def _stored_levels(values: Any) -> Levels | None:
    """XGBoost counts characters where Arrow counts bytes: text beyond ASCII comes back cut at the wrong places."""
    try:
        plain = values.to_pylist() if values is not None else [None]
    except UnicodeDecodeError:
        return None
    return levels_of(plain) if all(not isinstance(v, str) or v.isascii() for v in plain) else None


def _of_catboost(seen: Seen, _: Mapping[str, str]) -> Leaf:
    """A null is text to it only where a step in front has filled it."""
    model = seen.estimator
    places = [*model.get_cat_feature_indices(), *model.get_text_feature_indices()]
    columns = [seen.columns[place] for place in places]
    return Leaf(text=tuple(c.name for c in columns if c is not None and c.sure and not c.imputed))


def _of_hist_gradient_boosting(seen: Seen, types: Mapping[str, str]) -> Leaf:
    """It keeps the levels of the rows that it was trained on, sorted; any other is missing to it."""
    encoder = next(t for name, t, _ in seen.estimator._preprocessor.transformers_ if name == "encoder")  # noqa: SLF001
    columns = [seen.columns[place] for place in np.flatnonzero(seen.estimator.is_categorical_)]
    levels = [levels_of(v for v in values if not is_missing(v)) for values in encoder.categories_]
    pairs = list(zip(columns, levels, strict=True))
    return Leaf(
        held=tuple(_held([(column, found) for column, found in pairs if found is not None], types, "unseen")),
        unknown=tuple(column.name for column, found in pairs if found is None and column is not None),
    )


def _of_encoder(seen: Seen, types: Mapping[str, str]) -> Leaf:
    """Levels of an encoder that raises on a value that it does not know, and NaN among them."""
    pairs = list(zip(seen.columns, seen.estimator.categories_, strict=True))
    raises = is_ruled(seen.estimator) and attribute(seen.estimator, "handle_unknown") == "error"
    with_nan = [(column, values) for column, values in pairs if any(map(_is_nan, values))]
    with_none = [column for column, values in pairs if any(value is None for value in values)]
    return Leaf(
        listed=tuple(_listed(pairs)) if raises else (),
        nan=_nan_texts(seen, [column for column, _ in with_nan], types, [v for _, values in with_nan for v in values]),
        none=tuple(column.name for column in with_none if column is not None and column.sure),
    )


def _listed(pairs: Iterable[tuple[Column | None, Sequence[Any]]]) -> Iterator[ListedLevels]:
    for column, values in pairs:
        levels = levels_of(v for v in values if not is_missing(v))
        if column is not None and column.sure and levels is not None and levels.values:
            yield ListedLevels(column.name, levels, column.imputed or any(is_missing(v) for v in values))


def _of_nan_replacer(seen: Seen, types: Mapping[str, str]) -> Leaf:
    return Leaf(replaced=_nan_texts(seen, seen.columns, types, attribute(seen.estimator, "statistics_", ())))


def _nan_texts(
    seen: Seen, columns: Sequence[Column | None], types: Mapping[str, str], values: Iterable[Any]
) -> tuple[str, ...]:
    """Text features that arrive here with their missing values.

    Where some of the columns are not known and the values are text, any that a function in front had may be it.
    """
    arrived = [column.name for column in columns if column is not None and not column.imputed]
    if None in columns and any(isinstance(value, str) for value in values):
        arrived += seen.among
    return tuple(name for name in arrived if types.get(name, "string") == "string")


_READERS: tuple[tuple[Callable[[Any], bool], Callable[[Seen, Mapping[str, str]], Leaf]], ...] = (
    (_is_lightgbm, _of_lightgbm),
    (_is_xgboost, _of_xgboost),
    (_is_catboost, _of_catboost),
    (_is_hist_gradient_boosting, _of_hist_gradient_boosting),
    (_is_encoder, _of_encoder),
    (_is_nan_replacer, _of_nan_replacer),
)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value  # noqa: PLR0124  NaN alone differs from itself
