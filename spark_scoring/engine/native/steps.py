"""scikit-learn's transformers written down: what each makes of the columns that it is given.

Only scikit-learn's own classes: one that extends them may do anything. What a transformer does is read from what it
has fitted, as its ``transform`` reads it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spark_scoring.engine.native.operations import Column, Context, Hot, Level, refuse
from spark_scoring.model.estimator_kinds import attribute
from spark_scoring.model.lineage import class_name
from spark_scoring.model.passed_columns import places

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

V = TypeVar("V")
Columns = list[Column[V]]

_MOST_LEVELS = 200
"""Levels of one feature: above it, looking one up by comparing costs more than the way to Python."""
_MOST_COLUMNS = 5_000
"""Columns that a step may make."""
_WHOLE = 2**53
"""Up to here a double holds every whole number."""


def transformed(step: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    """The columns that a fitted transformer returns for these.

    Raises:
        NotNativeError: it is none that is written down here.

    """
    if step is None or step == "passthrough":
        return columns
    name = class_name(step)
    if name not in _STEPS:
        refuse(f"its step {type(step).__name__} is not written down as expressions")
    made: Columns[V] = _STEPS[name](step, columns, context)
    if len(made) > _MOST_COLUMNS:
        refuse(f"its step {name} makes more than {_MOST_COLUMNS:,} columns")
    return made


def _piped(pipeline: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    for _, step in pipeline.steps:
        columns = transformed(step, columns, context)
    return columns


def _by_columns(transformer: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    names = [str(name) for name in attribute(transformer, "feature_names_in_", ())]
    given = {column.name: column for column in columns}
    if names and not set(names) <= set(given):
        refuse("its ColumnTransformer was fitted on other columns")
    ordered = [given[name] for name in names] if names else columns
    made: Columns[V] = []
    for _, inner, selected in transformer.transformers_:
        chosen = places(selected, names, len(ordered))
        if inner == "drop" or not chosen:
            continue
        made += transformed(inner, [ordered[place] for place in chosen], context)
    return made


def _united(union: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    if union.transformer_weights:
        refuse("its FeatureUnion has weights")
    return [c for _, inner in union.transformer_list if inner != "drop" for c in transformed(inner, columns, context)]


def _as_they_are(step: Any, columns: Columns[V], _: Context[V]) -> Columns[V]:
    if step.func is not None:
        refuse("its FunctionTransformer calls a function")
    return columns


def _scaled(step: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    """Minus the middle, by the scale: of StandardScaler, RobustScaler and MaxAbsScaler."""
    middle = next((m for name in ("mean_", "center_") if (m := attribute(step, name)) is not None), None)
    if not attribute(step, "with_mean", default=True) or not attribute(step, "with_centering", default=True):
        middle = None
    scale = step.scale_
    if not attribute(step, "with_std", default=True) or not attribute(step, "with_scaling", default=True):
        scale = None
    if attribute(step, "clip", default=False):
        refuse(f"its {class_name(step)} clips")
    operations = context.operations
    made = []
    for i, column in enumerate(_numbers(step, columns)):
        value = column.value
        if middle is not None:
            value = operations.subtract(value, operations.number(middle[i]))
        if scale is not None:
            if scale[i] == 0:
                refuse(f"its {class_name(step)} divides by 0")
            value = operations.divide(value, operations.number(scale[i]))
        made.append(_of(column, value))
    return made


def _between(step: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    """Of MinMaxScaler."""
    if attribute(step, "clip", default=False):
        refuse("its MinMaxScaler clips")
    operations = context.operations
    made = []
    for i, column in enumerate(_numbers(step, columns)):
        value = operations.multiply(column.value, operations.number(step.scale_[i]))
        made.append(_of(column, operations.add(value, operations.number(step.min_[i]))))
    return made


def _imputed(step: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    if step.add_indicator:
        refuse("its SimpleImputer adds indicators")
    operations = context.operations
    made = []
    for column, fill in zip(columns, step.statistics_, strict=True):
        if fill is None or fill != fill:  # noqa: PLR0124  NaN, of single precision, too
            refuse("its SimpleImputer drops a column of which training saw no value")
        if column.is_text:
            made.append(_text_imputed(step, column, str(fill), context))
        elif not _is_nan(step.missing_values):
            refuse("its SimpleImputer fills other values than NaN")
        elif column.is_finite:
            made.append(column)
        else:
            value = operations.choose(operations.is_nan(column.value), operations.number(fill), column.value)
            made.append(_of(column, value))
    return made


def _text_imputed(step: Any, column: Column[V], fill: str, context: Context[V]) -> Column[V]:
    wanted = "NaN" if _is_nan(step.missing_values) else "None" if step.missing_values is None else ""
    if column.missing != wanted:
        return column
    operations = context.operations
    filled = operations.choose(operations.is_level(column.value, None), operations.label(fill), column.value)
    return replace(column, value=filled)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value  # noqa: PLR0124  NaN


def _one_hot(step: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    _check_encoder(step)
    operations = context.operations
    zero, one = operations.number(0.0), operations.number(1.0)
    made: Columns[V] = []
    for i, (column, categories) in enumerate(zip(columns, step.categories_, strict=True)):
        levels = _levels(step, column, categories, context)
        dropped = None if step.drop_idx_ is None else step.drop_idx_[i]
        if step.handle_unknown == "error":
            _refuse_others(column, levels, context)
        for place, level in enumerate(levels):
            if place == dropped:
                continue
            if level is _NEVER:
                made.append(Column(column.name, zero, is_finite=True))
                continue
            value = operations.choose(operations.is_level(column.value, level), one, zero)
            made.append(Column(column.name, value, is_finite=True, hot=Hot(column.value, level)))
    return made


def _ordinal(step: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    _check_encoder(step)
    made: Columns[V] = []
    for column, categories in zip(columns, step.categories_, strict=True):
        levels = _levels(step, column, categories, context)
        codes = [
            (level, float(step.encoded_missing_value if level is None else code))
            for code, level in enumerate(levels)
            if level is not _NEVER
        ]
        other = step.unknown_value
        if step.handle_unknown == "error":
            _refuse_others(column, levels, context)
            other = 0.0
        value = context.operations.mapped(column.value, codes, float(other))
        is_finite = bool(np.isfinite(float(other)) and all(np.isfinite(code) for _, code in codes))
        made.append(Column(column.name, value, is_finite=is_finite))
    return made


_NEVER: Any = object()
"""The level that no value of a table is."""


def _check_encoder(step: Any) -> None:
    if attribute(step, "_infrequent_enabled", default=False):
        refuse(f"its {class_name(step)} puts rare levels together")


def _levels(step: Any, column: Column[V], categories: Any, context: Context[V]) -> list[Level]:
    """An encoder's categories as levels of the column."""
    if len(categories) > _MOST_LEVELS:
        refuse(f"its {class_name(step)} has more than {_MOST_LEVELS} levels of one feature")
    if column.is_float:
        refuse(f"its {class_name(step)} takes numbers with a fraction for levels")
    levels = [_level(value, column) for value in categories]
    context.levels.setdefault(column.name, []).extend(level for level in levels if level is not _NEVER)
    return levels


def _level(value: Any, column: Column[V]) -> Level:
    if value is None or _is_nan(value):
        return None if column.is_text and column.missing == ("None" if value is None else "NaN") else _NEVER
    if column.is_text:
        return value if isinstance(value, str) else _NEVER
    if isinstance(value, str) or abs(value) > _WHOLE:
        refuse("levels of a number are not plain numbers")
    return float(value)


def _refuse_others(column: Column[V], levels: Sequence[Level], context: Context[V]) -> None:
    known = [context.operations.is_level(column.value, level) for level in levels if level is not _NEVER]
    context.refused.append(context.operations.negate(context.operations.either(known)))


def _with_products(step: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    """Of PolynomialFeatures."""
    operations = context.operations
    made: Columns[V] = []
    given = _numbers(step, columns)
    for powers in step.powers_:
        factors = [c for c, power in zip(given, powers, strict=True) for _ in range(power)]
        if not factors:
            made.append(Column("", operations.number(1.0), is_finite=True))
            continue
        value = factors[0].value
        for factor in factors[1:]:
            value = operations.multiply(value, factor.value)
        made.append(factors[0] if len(factors) == 1 else _of(factors[0], value))
        if not all(c.is_finite for c in factors):
            made[-1] = replace(made[-1], is_finite=False)
    return made


def _selected(step: Any, columns: Columns[V], context: Context[V]) -> Columns[V]:
    """Of feature selections, which also look at the columns that they drop."""
    from sklearn.utils import get_tags

    takes_nan = get_tags(step).input_tags.allow_nan
    kept = set(step.get_support(indices=True).tolist())
    operations = context.operations
    for i, column in enumerate(_numbers(step, columns)):
        if i not in kept and not column.is_finite:
            is_bad = operations.is_infinite(column.value)
            context.refused.append(is_bad if takes_nan else operations.negate(operations.is_finite(column.value)))
    return [column for i, column in enumerate(columns) if i in kept]


def _numbers(step: Any, columns: Columns[V]) -> Columns[V]:
    if any(column.is_text for column in columns):
        refuse(f"its {class_name(step)} is given texts")
    return columns


def _of(column: Column[V], value: V) -> Column[V]:
    """A number made of this column's."""
    return Column(column.name, value, is_finite=column.is_finite)


_SELECTIONS = (
    *("SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe", "GenericUnivariateSelect"),
    *("SelectFromModel", "VarianceThreshold", "RFE", "RFECV"),
)
_STEPS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "Pipeline": _piped,
    "ColumnTransformer": _by_columns,
    "FeatureUnion": _united,
    "FunctionTransformer": _as_they_are,
    "StandardScaler": _scaled,
    "RobustScaler": _scaled,
    "MaxAbsScaler": _scaled,
    "MinMaxScaler": _between,
    "SimpleImputer": _imputed,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
    "PolynomialFeatures": _with_products,
    **dict.fromkeys(_SELECTIONS, _selected),
}
"""By the name of scikit-learn's class."""
