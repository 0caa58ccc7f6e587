"""Which of the model's own columns an estimator inside it is given, and which of them a step passes on.

Whether an estimator sees the model's columns as they are follows from the names or the number of features that it was
fitted with, and from what the steps in front of it do with their input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spark_scoring.model.estimator_kinds import (
    attribute,
    is_column_transformer,
    is_of,
    is_passed_over,
    is_pipeline,
    is_ruled,
    is_union,
    library,
    own_attributes,
    passing_over,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

DEEPEST = 50
"""How many estimators inside each other are followed."""
_NAMES = ("feature_names_in_", "feature_names", "feature_name_", "feature_name")
_NUMBERED = ("Column_{}", "{}")
"""What LightGBM and CatBoost call the columns of a bare matrix."""


@dataclass(frozen=True)
class Column:
    """A column of the model's own input on its way to an estimator inside the model."""

    name: str
    label: str = ""
    """What it is called where it arrives: a ColumnTransformer or a FeatureUnion puts a prefix before it."""
    imputed: bool = False
    """Whether an imputer has filled its missing values."""
    sure: bool = True
    """Whether nothing but imputers stands in front: a function or a foreign step may have changed its values."""


Columns: TypeAlias = "tuple[Column | None, ...]"
"""What an estimator is given, in its own order; None: a column that steps in front have made."""


# Names and numbers of what an estimator was fitted with.


def trained_names(estimator: Any) -> tuple[str, ...]:
    """The names of the columns that it was fitted with, as text; empty where it does not hold any."""
    for name in (*_NAMES, "feature_names_") if library(estimator) == "catboost" else _NAMES:
        names = attribute(estimator, name)
        with passing_over():
            names = names() if callable(names) else names
            found = () if names is None or isinstance(names, str | bytes) else tuple(names)
            if found and all(isinstance(n, str | int | np.integer) for n in found):
                return tuple(map(str, found))
    return ()


def is_numbered(names: Sequence[str]) -> bool:
    """Whether a library has made the names itself, by counting."""
    return any(list(names) == [form.format(i) for i in range(len(names))] for form in _NUMBERED)


def given_columns(estimator: Any, columns: Columns) -> Columns:
    """The columns as the estimator takes them: by its names where it knows them, else by position.

    A step that may have changed them may have made others of the same number, so names must be those of before.
    """
    names = trained_names(estimator)
    known = {c.label.replace(" ", "_"): c for c in columns if c is not None}
    known |= {c.label: c for c in columns if c is not None}
    if any(name in known for name in names):
        return tuple(known.get(name) for name in names)
    count = attribute(estimator, "n_features_in_")
    count = int(count) if isinstance(count, int | np.integer) else len(names) or len(columns)
    renamed = bool(names) and not is_numbered(names) and any(c is not None and not c.sure for c in columns)
    return (None,) * count if renamed or count != len(columns) else columns


# What a step leaves of the columns for those behind it.


def columns_after(step: Any, columns: Columns, above: tuple[int, ...] = ()) -> Columns:
    """The model's columns in what the step returns for these, as far as they can be followed."""
    if id(step) in above or len(above) > DEEPEST:
        return ()
    left = next(left for fits, left in _LEFT if fits(step))
    return left(step, given_columns(step, columns), (*above, id(step)))


def _all_left(_: Any, columns: Columns, __: tuple[int, ...]) -> Columns:
    return columns


def _none_left(_: Any, __: Columns, ___: tuple[int, ...]) -> Columns:
    return ()


def _perhaps_left(_: Any, columns: Columns, __: tuple[int, ...]) -> Columns:
    return unsure(columns)


def _left_by_frozen(step: Any, columns: Columns, above: tuple[int, ...]) -> Columns:
    return columns_after(step.estimator, columns, above)


def _left_by_pipeline(pipeline: Any, columns: Columns, above: tuple[int, ...]) -> Columns:
    for _, step in pipeline.steps:
        columns = columns_after(step, columns, above)
    return columns


def _left_by_columns(transformer: Any, columns: Columns, above: tuple[int, ...]) -> Columns:
    spans = attribute(transformer, "output_indices_", {})
    made: list[Column | None] = [None] * max((span.stop for span in spans.values()), default=0)
    for name, inner, chosen in branches(transformer, columns):
        kept = () if inner == "drop" else columns_after(inner, chosen, above)
        span = spans.get(name, slice(0, 0))
        if len(kept) == span.stop - span.start:
            made[span] = [_prefixed(column, name, transformer) for column in kept]
    return tuple(made)


def _left_by_union(union: Any, columns: Columns, above: tuple[int, ...]) -> Columns:
    """By name only: how many columns the others make is not known."""
    parts = ((name, inner) for name, inner in union.transformer_list if inner != "drop")
    return tuple(_prefixed(c, name, union) for name, inner in parts for c in columns_after(inner, columns, above) if c)


def _prefixed(column: Column | None, name: str, transformer: Any) -> Column | None:
    verbose = attribute(transformer, "verbose_feature_names_out", default=True) is True
    return replace(column, label=f"{name}__{column.label}") if column is not None and verbose else column


def _left_by_imputer(imputer: Any, columns: Columns, _: tuple[int, ...]) -> Columns:
    """A column of which training saw no value is dropped; flags of what was missing come behind."""
    filled = [replace(column, imputed=True) if column is not None else None for column in columns]
    if imputer.strategy != "constant" and not attribute(imputer, "keep_empty_features", default=False):
        filled = [c for c, value in zip(filled, imputer.statistics_, strict=True) if value == value]  # noqa: PLR0124  not NaN
    flags = attribute(attribute(imputer, "indicator_"), "features_", ())
    return (*filled, *[None] * len(flags))


def _left_by_selection(selection: Any, columns: Columns, _: tuple[int, ...]) -> Columns:
    return picked(columns, np.flatnonzero(selection.support_))


_LEFT: tuple[tuple[Callable[[Any], bool], Callable[[Any, Columns, tuple[int, ...]], Columns]], ...] = (
    (is_passed_over, _all_left),
    (lambda step: is_of(step, ("FrozenEstimator",)), _left_by_frozen),
    (is_pipeline, _left_by_pipeline),
    (is_column_transformer, _left_by_columns),
    (is_union, _left_by_union),
    (lambda step: is_of(step, ("SimpleImputer",)), _left_by_imputer),
    (lambda step: "support_" in own_attributes(step), _left_by_selection),
    (lambda step: is_ruled(step) and not is_of(step, ("FunctionTransformer",)), _none_left),  # an encoder, a scaler
    (lambda _: True, _perhaps_left),  # a function, a foreign transformer
)
"""What a step does to the columns: the first that fits."""


def unsure(columns: Columns) -> Columns:
    """The columns, where their values may be others now."""
    return tuple(replace(column, sure=False) if column is not None else None for column in columns)


# The columns that a ColumnTransformer chooses.


def branches(transformer: Any, columns: Columns) -> Iterator[tuple[str, Any, Columns]]:
    """The name of each transformer of a ColumnTransformer, itself, and the columns that it chooses for it."""
    names = [str(name) for name in attribute(transformer, "feature_names_in_", ())]
    for name, inner, selected in transformer.transformers_:
        yield str(name), inner, picked(columns, places(selected, names, len(columns)))


def places(selected: Any, names: Sequence[str], count: int) -> list[int]:
    """The positions that a selection by name, position, slice or mask means; names that are not there are -count-1."""
    position = {name: place for place, name in enumerate(names)}
    if isinstance(selected, slice):
        start, stop = selected.start, selected.stop
        start = position.get(start, 0) if isinstance(start, str) else start
        stop = position.get(stop, -1) + 1 if isinstance(stop, str) else stop  # a slice of names has both its ends
        return list(range(count)[start : stop : selected.step])
    chosen = [selected] if isinstance(selected, str | int | np.integer) else list(selected)
    if chosen and all(isinstance(c, bool | np.bool_) for c in chosen):
        return [place for place, is_chosen in enumerate(chosen) if is_chosen]
    return [position.get(c, -count - 1) if isinstance(c, str) else int(c) for c in chosen]


def picked(columns: Columns, places: Iterable[int]) -> Columns:
    """The columns at these positions, negative ones from the end; None where there is none."""
    count = len(columns)
    return tuple(columns[place] if -count <= place < count else None for place in places)
