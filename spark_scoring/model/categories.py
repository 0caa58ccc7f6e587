"""What a trained model holds of its category features: levels by feature, or that it holds none.

A signature never says that a feature is categorical; it has the type of the levels. LightGBM keeps the levels
in the order of the columns but not their names, XGBoost keeps both since 3.1, scikit-learn in its encoders;
CatBoost keeps hashes only.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.model.types import Level, Levels, LevelType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

RECORDED = "spark_scoring"
_LEVEL_TYPES: tuple[tuple[type, LevelType], ...] = (
    (bool, "boolean"),  # before int, which it is, too
    (int, "long"),
    (float, "double"),
    (str, "string"),
    (dt.date, "date"),
)


@dataclass(frozen=True)
class ListedLevels:
    """Values that an encoder in the model knows; it raises on others."""

    feature: str
    levels: Levels
    null: bool
    """Whether it takes a null, as a level or by an imputer in front of it."""


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


def own_levels(raw: Any, names: Sequence[str], types: Mapping[str, str]) -> OwnLevels:
    """The category features of a native model.

    Args:
        raw: the native model; None for one that has none.
        names: the features' names in the order of the model's columns.
        types: MLflow types of the features, which tell text levels from numbers.

    """
    if raw is None:
        return OwnLevels()
    final = _final_estimator(raw)
    module = type(final).__module__.split(".", maxsplit=1)[0]
    match module:
        case "lightgbm":
            found = _of_lightgbm(final, names, types)
        case "xgboost":
            found = _of_xgboost(final)
        case "catboost":
            found = OwnLevels(text=tuple(str(final.feature_names_[i]) for i in final.get_cat_feature_indices()))
        case _:
            found = _of_sklearn(raw, final)
    if final is not raw and not set(_features(found)) <= set(names):
        return OwnLevels(unassigned=tuple(levels for _, levels in found.named))  # steps in front renamed the columns
    return found


def recorded_levels(metadata: Mapping[str, Any] | None) -> dict[str, Levels]:
    """Levels that registration wrote into the MLmodel's metadata: ``spark_scoring: {categories: {name: [...]}}``.

    Raises:
        ValueError: they are no levels.

    """
    own = (metadata or {}).get(RECORDED)
    recorded = own.get("categories") if isinstance(own, dict) else None
    return {name: given_levels(values, "its metadata") for name, values in (recorded or {}).items()}


def recorded_categories(metadata: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Columns that were pandas categories in training, by what registration wrote into the MLmodel's metadata."""
    own = (metadata or {}).get(RECORDED)
    dtypes = own.get("dtypes") if isinstance(own, dict) else None
    return tuple(name for name, dtype in dtypes.items() if dtype == "category") if isinstance(dtypes, dict) else ()


def given_levels(values: Any, origin: str) -> Levels:
    """Levels that a person or a training job wrote down: a list of one type, each once, none missing.

    Raises:
        ValueError: they are not.

    """
    if not isinstance(values, list | tuple) or not values:
        msg = "levels are a list of values in the order of training"
        raise ValueError(msg)
    levels = None if any(map(_is_missing, values)) else _levels(values, origin)
    if levels is None or len(set(levels.values)) < len(levels.values):
        msg = "levels are of one type (text, whole numbers, numbers, booleans or dates), each once, none missing"
        raise ValueError(msg)
    return levels


def _levels(values: Iterable[Any], origin: str = "the model") -> Levels | None:
    """None where the values are not of one type that levels can have."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if any(isinstance(v, float) for v in plain) and all(type(v) in (int, float) for v in plain):
        plain = [float(v) for v in plain]
    for python_type, type_ in _LEVEL_TYPES:
        if all(isinstance(v, python_type) for v in plain) and not (type_ == "long" and any(v is True for v in plain)):
            own: list[Level] = [v.isoformat() for v in plain] if type_ == "date" else plain
            return Levels(type_, tuple(own), origin)
    return None


def _features(found: OwnLevels) -> Iterator[str]:
    yield from (name for name, _ in found.named)
    yield from found.unknown
    yield from found.coded
    yield from found.text


def _final_estimator(raw: Any) -> Any:
    steps = getattr(raw, "steps", None)
    if isinstance(steps, list) and steps and hasattr(raw, "named_steps"):
        return _final_estimator(steps[-1][1])
    return raw


def _of_lightgbm(model: Any, names: Sequence[str], types: Mapping[str, str]) -> OwnLevels:
    """Levels are listed in column order: of all category columns, also ordered ones, which are split as numbers."""
    booster = getattr(model, "booster_", model)
    lines = booster.model_to_string(num_iteration=1).split("\n")
    own = list(booster.feature_name())
    ours = list(names) if [n.replace(" ", "_") for n in names] == own else own  # it stores spaces as underscores
    split = [ours[int(i)] for i in _value(lines, "[categorical_feature: ").rstrip("]").split(",") if i]
    held = [_levels(values) for values in booster.pandas_categorical or ()]
    if not held:
        return OwnLevels(coded=tuple(split))
    levels = [level for level in held if level is not None]
    if len(levels) < len(held):
        return OwnLevels(unknown=tuple(split))
    texts = [name for name in ours if types.get(name) == "string"]
    if all(level.type == "string" for level in levels) and len(texts) == len(levels):
        return _named(texts, levels, split)
    infos = dict(zip(ours, _value(lines, "feature_infos=").split(), strict=True))
    if len(split) == len(levels) and all(map(_may_be, levels, split, [infos[n] for n in split], [types] * len(split))):
        return _named(split, levels, split)
    return OwnLevels(unassigned=tuple(levels), coded=tuple(split))


def _named(names: Sequence[str], levels: Sequence[Levels], split: Sequence[str]) -> OwnLevels:
    return OwnLevels(
        named=tuple(zip(names, levels, strict=True)), coded=tuple(name for name in split if name not in names)
    )


def _may_be(levels: Levels, name: str, info: str, types: Mapping[str, str]) -> bool:
    """Whether the feature's codes in training and its signature type are those of these levels."""
    codes = [int(code) for code in info.split(":") if code.lstrip("-").isdigit()]
    declared = {"string": ("string",), "boolean": ("boolean",), "double": ("double", "float")}
    fits = types.get(name) in (None, *declared.get(levels.type, ("long", "integer")))
    return fits and max(codes, default=0) < len(levels.values)


def _value(lines: Sequence[str], key: str) -> str:
    return next((line[len(key) :] for line in lines if line.startswith(key)), "")


def _of_xgboost(model: Any) -> OwnLevels:
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    names, kinds = booster.feature_names or [], booster.feature_types or []
    categorical = [name for name, kind in zip(names, kinds, strict=False) if kind == "c"]
    held = {}
    if categorical and hasattr(booster, "get_categories"):
        found = booster.get_categories(export_to_arrow=True).to_arrow() or []
        held = {name: _stored_levels(values) for name, values in found if values is not None}
    named = tuple((name, levels) for name in categorical if (levels := held.get(name)) is not None)
    return OwnLevels(named=named, unknown=tuple(name for name in categorical if held.get(name) is None))


def _stored_levels(values: Any) -> Levels | None:
    """XGBoost counts characters where Arrow counts bytes: text beyond ASCII comes back cut at the wrong places."""
    try:
        plain = values.to_pylist()
    except UnicodeDecodeError:
        return None
    return _levels(plain) if all(not isinstance(v, str) or v.isascii() for v in plain) else None


def _of_sklearn(raw: Any, final: Any) -> OwnLevels:
    categorical = getattr(final, "is_categorical_", None)
    encoder = dict(_transformers(getattr(final, "_preprocessor", None))).get("encoder")
    if categorical is not None and np.any(categorical) and encoder is not None:
        names = [str(n) for n, c in zip(getattr(final, "feature_names_in_", ()), categorical, strict=False) if c]
        held = [_levels(v for v in values if not _is_missing(v)) for values in encoder.categories_]
        pairs = list(zip(names, held, strict=False))
        return OwnLevels(
            named=tuple((name, levels) for name, levels in pairs if levels is not None),
            unknown=tuple(name for name, levels in pairs if levels is None),
        )
    steps = list(_first_steps(raw))
    listed = tuple(found for names, chain in steps for found in _encoded(names, chain))
    nan = tuple(name for names, chain in steps for name in _nan_features(names, chain))
    return OwnLevels(listed=listed, nan=nan)


def _transformers(columns: Any) -> Iterator[tuple[str, Any]]:
    for name, transformer, _ in getattr(columns, "transformers_", ()):
        yield name, transformer


def _first_steps(raw: Any) -> Iterator[tuple[list[str], list[Any]]]:
    """The chains of transformers that see the table's own columns, with the names of these."""
    names = [str(n) for n in getattr(raw, "feature_names_in_", ())]
    chain = _chain(raw)
    if hasattr(chain[0], "transformers_"):
        for _, transformer, columns in chain[0].transformers_:
            yield _column_names(columns, names), _chain(transformer)
    else:
        yield names, chain


def _chain(transformer: Any) -> list[Any]:
    steps = getattr(transformer, "steps", None)
    return [step for _, step in steps] if isinstance(steps, list) else [transformer]


def _encoded(names: Sequence[str], chain: Sequence[Any]) -> Iterator[ListedLevels]:
    """Levels of an encoder that raises on a value that it does not know."""
    imputers, encoder = _until_encoder(names, chain)
    if encoder is None or getattr(encoder, "handle_unknown", None) != "error":
        return
    for name, values in zip(names, encoder.categories_, strict=True):
        levels = _levels(v for v in values if not _is_missing(v))
        if levels is not None and levels.values:
            yield ListedLevels(name, levels, bool(imputers) or any(_is_missing(v) for v in values))


def _nan_features(names: Sequence[str], chain: Sequence[Any]) -> Iterator[str]:
    imputers, encoder = _until_encoder(names, chain)
    if imputers and _is_nan(imputers[0].missing_values):
        yield from names
    elif encoder is not None and not imputers:
        yield from (name for name, v in zip(names, encoder.categories_, strict=True) if any(map(_is_nan, v)))


def _until_encoder(names: Sequence[str], chain: Sequence[Any]) -> tuple[list[Any], Any]:
    """The imputers in front of an encoder of these columns, and the encoder; without one where others come first."""
    imputers: list[Any] = []
    for step in chain:
        if hasattr(step, "categories_"):
            return imputers, step if len(step.categories_) == len(names) else None
        if hasattr(step, "statistics_"):
            imputers.append(step)
        elif step != "passthrough":
            break
    return imputers, None


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value  # noqa: PLR0124  NaN alone differs from itself


def _column_names(columns: Any, names: Sequence[str]) -> list[str]:
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice):
        return list(names[columns])
    chosen = list(columns)
    if chosen and all(isinstance(c, bool | np.bool_) for c in chosen):
        return [name for name, c in zip(names, chosen, strict=False) if c]
    return [names[int(c)] if isinstance(c, int | np.integer) else str(c) for c in chosen]


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124  NaN alone differs from itself
