"""Which features of the model each column comes from that its last estimator is given.

Only scikit-learn's own transformers: one that extends them may do anything with its columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_scoring.model.estimator_kinds import attribute
from spark_scoring.model.passed_columns import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Names = list[str]
"""A feature for each column; of a product, its features with `` * `` between them."""

_LIBRARIES = ("sklearn.", "imblearn.")
_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
_MIXING = ("Normalizer",)
"""One column for each that they are given, but made of the whole row."""


class UnknownLineageError(Exception):
    """Why the columns of an estimator cannot be led back to features."""


def class_name(thing: Any, libraries: tuple[str, ...] = ("sklearn.",)) -> str:
    """The name of a class of scikit-learn's, or of another library's; empty for any other."""
    kind = type(thing)
    return kind.__name__ if str(kind.__module__).startswith(libraries) else ""


def last_estimator(raw: Any, libraries: tuple[str, ...] = _LIBRARIES) -> tuple[list[Any], Any]:
    """The steps in front of the estimator whose results the model returns, and that estimator.

    Args:
        raw: a native model.
        libraries: whose pipelines and searches are looked into.

    """
    steps: list[Any] = []
    while (name := class_name(raw, libraries)) == "Pipeline" or name in _SEARCHES:
        if name in _SEARCHES:
            raw = raw.best_estimator_
            continue
        steps += [step for _, step in raw.steps[:-1] if step is not None and step != "passthrough"]
        raw = raw.steps[-1][1]
    return steps, raw


def names_behind(steps: list[Any], names: Names) -> Names:
    """A feature for each column that comes out of fitted steps, in order.

    Raises:
        UnknownLineageError: a step makes columns of which it is not known what they come from.

    """
    for step in steps:
        names = _behind(step, names)
    return names


def _behind(step: Any, names: Names) -> Names:
    if step is None or step == "passthrough":
        return names
    from sklearn.base import OneToOneFeatureMixin
    from sklearn.feature_selection import SelectorMixin

    name = class_name(step, _LIBRARIES)
    if name in _MAKERS:
        return list(_MAKERS[name](step, names))
    if name and isinstance(step, SelectorMixin):
        return [names[place] for place in step.get_support(indices=True)]
    if name and name not in _MIXING and isinstance(step, OneToOneFeatureMixin):
        return names
    cause = f"its step {type(step).__name__} makes columns that cannot be led back to single features"
    raise UnknownLineageError(cause)


def _by_columns(transformer: Any, names: Names) -> Iterator[str]:
    fitted = [str(name) for name in attribute(transformer, "feature_names_in_", ())]
    ordered = fitted if fitted and set(fitted) <= set(names) else names  # of a frame it takes columns by name
    for _, inner, selected in transformer.transformers_:
        chosen = places(selected, fitted, len(ordered))
        if inner != "drop" and chosen:
            yield from _behind(inner, [ordered[place] for place in chosen])


def _united(union: Any, names: Names) -> Iterator[str]:
    for _, inner in union.transformer_list:
        if inner != "drop":
            yield from _behind(inner, names)


def _imputed(step: Any, names: Names) -> Iterator[str]:
    """Of SimpleImputer and KNNImputer: the columns that are kept, then an indicator for some."""
    if attribute(step, "keep_empty_features", default=False):
        yield from names
    else:
        statistics = attribute(step, "statistics_")
        if statistics is None:
            kept = step._valid_mask  # noqa: SLF001  its transform reads it, too
        else:
            kept = [value == value and value is not None for value in statistics]  # noqa: PLR0124  NaN
        yield from (name for name, is_kept in zip(names, kept, strict=True) if is_kept)
    if step.add_indicator:
        yield from (names[place] for place in step.indicator_.features_)


def _one_hot(step: Any, names: Names) -> Iterator[str]:
    for name, columns in zip(names, step._n_features_outs, strict=True):  # noqa: SLF001  no other place has it
        yield from [name] * columns


def _products(step: Any, names: Names) -> Iterator[str]:
    for powers in step.powers_:
        factors = [name for name, power in zip(names, powers, strict=True) if power]
        yield " * ".join(factors) or "1"


def _as_they_are(step: Any, names: Names) -> Names:
    if step.func is not None:
        cause = "its FunctionTransformer calls a function"
        raise UnknownLineageError(cause)
    return names


_MAKERS: dict[str, Callable[[Any, Names], Any]] = {
    "Pipeline": lambda step, names: names_behind([inner for _, inner in step.steps], names),
    "ColumnTransformer": _by_columns,
    "FeatureUnion": _united,
    "SimpleImputer": _imputed,
    "KNNImputer": _imputed,
    "OneHotEncoder": _one_hot,
    "PolynomialFeatures": _products,
    "FunctionTransformer": _as_they_are,
}
"""By the name of scikit-learn's class; selections, and all that keep their columns, are known by its mixins."""
