"""One walk over a trained model: the estimators inside it, and what of the model's own input reaches each of them.

scikit-learn's meta-estimators and those of others keep what they have fitted in their attributes, so that is where
the walk finds it, whatever their class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spark_scoring.model.estimator_kinds import (
    attribute,
    is_column_transformer,
    is_estimator,
    is_leaf,
    is_of,
    is_passed_over,
    is_pipeline,
    is_ruled,
    is_tree,
    is_union,
    library,
    own_attributes,
    passing_over,
)
from spark_scoring.model.passed_columns import (
    DEEPEST,
    Column,
    Columns,
    branches,
    columns_after,
    given_columns,
    is_numbered,
    picked,
    trained_names,
    unsure,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_MOST = 10_000
"""Estimators that a walk visits at most, and things in one list that it looks at."""
_OTHERS = 50
"""Members of a list that are something else before the walk takes all of them for it."""
_DUPLICATES = ("cv_results_", "best_params_", "named_estimators_")
"""Attributes whose estimators are templates, or are found elsewhere."""
_GIVEN_THE_INPUT = (
    *("estimator", "estimator_", "estimators_", "best_estimator_", "final_estimator_", "base_estimator_", "init_"),
    *("regressor", "regressor_", "classifier_", "calibrated_classifiers_", "pipeline_", "transformer_"),
    *("initial_imputer_", "indicator_"),
)
"""Attributes in which scikit-learn's meta-estimators keep what they give their own input to. Whatever else is kept in
an estimator may be fitted on what it makes of its input: KBinsDiscretizer encodes the numbers of its bins."""
_VECTORIZERS = ("CountVectorizer", "HashingVectorizer")
_THREADS = ("num_threads", "num_thread", "nthread", "nthreads", "n_jobs")
"""What LightGBM calls it. Whatever was given by ``set_params`` or ``**kwargs`` wins over the attribute."""


@dataclass(frozen=True)
class Seen:
    """An estimator inside a model, and what it is given of the model's own input."""

    estimator: Any
    columns: Columns
    is_whole: bool
    """Whether it is handed the model's input itself, with nothing in front."""
    among: tuple[str, ...] = ()
    """The model's columns that a function in front had, where it is not known which of them it has returned."""


class _Part(NamedTuple):
    """A fitted estimator among another one's attributes."""

    attribute: str
    place: int
    estimator: Any


def walk(raw: Any, names: Iterable[str]) -> Iterator[Seen]:
    """The model and every fitted estimator inside that takes part in a prediction, parents first.

    Never raises and ends soon, whatever the object: cycles are cut, the trees of a forest are left out.

    Args:
        raw: a native model, or any object.
        names: the model's own columns, in the order in which it takes them.

    """
    start = tuple(Column(str(name), str(name)) for name in names)
    waiting: list[tuple[Seen, tuple[int, ...]]] = [(Seen(raw, start, is_whole=True), ())]
    for _ in range(_MOST):
        if not waiting:
            return
        found, above = waiting.pop()
        with passing_over():
            found = _arrived(found)
        yield found
        inside: list[Seen] = []
        if len(above) < DEEPEST:
            with passing_over():
                inside = [replace(seen, among=found.among) for seen in _inside(found)]
        above = (*above, id(found.estimator))
        waiting += [(seen, above) for seen in reversed(inside) if id(seen.estimator) not in above]


def own_feature_names(raw: Any, inputs: Sequence[str]) -> tuple[str, ...]:
    """The names the model was trained on, in its own order; empty where it was trained on a bare matrix.

    A meta-estimator without names of its own has those of the estimators that it hands its input to.
    """
    known = [str(name) for name in inputs]
    written = {name.replace(" ", "_"): name for name in known}  # LightGBM stores spaces as underscores
    for seen in walk(raw, known):
        names = trained_names(seen.estimator) if seen.is_whole else ()
        if names and (set(names) & set(known) or not is_numbered(names)):
            return tuple(name if name in known else written.get(name, name) for name in names)
    return ()


def final_estimator(raw: Any) -> Any:
    """The estimator whose results the model returns: behind Pipelines, searches and others that hand them on."""
    for _ in range(DEEPEST):
        inner = _last(raw)
        if inner is None or isinstance(inner, str):
            return raw
        raw = inner
    return raw


def _last(raw: Any) -> Any:
    """What the estimator's results come from, None where from itself."""
    if is_pipeline(raw):
        return raw.steps[-1][1]
    own = own_attributes(raw)
    if is_of(raw, ("FrozenEstimator",)):
        return own.get("estimator")
    if "best_estimator_" in own:
        return own["best_estimator_"]
    return own.get("estimator_") if is_ruled(raw) and "estimators_" not in own else None


def takes_documents(raw: Any) -> bool:
    """Whether the model's input goes straight to a document vectorizer, which takes texts and no frame of columns."""
    return any(seen.is_whole and is_of(seen.estimator, _VECTORIZERS) for seen in walk(raw, ()))


def use_one_thread(raw: Any) -> None:
    """Undo an ``n_jobs`` of training time in every estimator inside, as a courtesy: what cannot be set stays."""
    unset = object()
    for seen in walk(raw, ()):
        if attribute(seen.estimator, "n_jobs", unset) is not unset:
            with passing_over():
                seen.estimator.n_jobs = 1
        with passing_over():
            _set_booster_threads(seen.estimator)


def _set_booster_threads(model: Any) -> None:
    match library(model):
        case "lightgbm":
            given = attribute(model, "_other_params") or {}
            model.set_params(**dict.fromkeys([name for name in _THREADS if name in given], 1))
        case "xgboost":
            attribute(model, "get_booster", lambda: model)().set_param({"nthread": 1})


def _arrived(seen: Seen) -> Seen:
    """With the columns as the estimator takes them."""
    columns = given_columns(seen.estimator, seen.columns)
    lost = tuple(c.name for c in seen.columns if c is not None and not c.sure) if None in columns else ()
    return replace(seen, columns=columns, among=seen.among or lost)


# What is inside an estimator.


def _inside(seen: Seen) -> Iterator[Seen]:
    """The fitted estimators of this one, each with what it is given."""
    return next(parts for fits, parts in _SHAPES if fits(seen.estimator))(seen)


def _nothing_inside(_: Seen) -> Iterator[Seen]:
    return iter(())


def _steps_inside(seen: Seen) -> Iterator[Seen]:
    columns, is_whole = seen.columns, seen.is_whole
    for _, step in seen.estimator.steps:
        if not is_passed_over(step):
            yield Seen(step, columns, is_whole)
            columns, is_whole = columns_after(step, columns), False


def _columns_inside(seen: Seen) -> Iterator[Seen]:
    for _, transformer, columns in branches(seen.estimator, seen.columns):
        if columns and not isinstance(transformer, str):
            yield Seen(transformer, columns, is_whole=False)


def _union_inside(seen: Seen) -> Iterator[Seen]:
    for _, transformer in seen.estimator.transformer_list:
        if not is_passed_over(transformer):
            yield Seen(transformer, seen.columns, seen.is_whole)


def _attributes_inside(seen: Seen) -> Iterator[Seen]:
    for part in _fitted_parts(seen.estimator):
        passes_on = is_ruled(seen.estimator) and part.attribute in _GIVEN_THE_INPUT
        columns = seen.columns if passes_on else unsure(seen.columns)
        given, is_all = _handed(own_attributes(seen.estimator), part, columns)
        yield Seen(part.estimator, given, seen.is_whole and is_all and passes_on)


_SHAPES: tuple[tuple[Callable[[Any], bool], Callable[[Seen], Iterator[Seen]]], ...] = (
    (is_leaf, _nothing_inside),
    (is_pipeline, _steps_inside),
    (is_column_transformer, _columns_inside),
    (is_union, _union_inside),
    (lambda _: True, _attributes_inside),
)
"""How an estimator holds others: the first that fits."""


def _handed(parent: dict[str, Any], part: _Part, columns: Columns) -> tuple[Columns, bool]:
    """What a meta-estimator gives of its columns to a fitted estimator of its own, and whether it is its whole input.

    The few that do not pass their input on as it is.
    """
    match part.attribute:
        case "transformer_":  # of the target
            return (), False
        case "final_estimator_":  # predictions, and with passthrough the input behind them
            made = attribute(part.estimator, "n_features_in_", 0) - len(columns)
            return ((None,) * made + columns if parent.get("passthrough") else ()), False
        case "estimators_" if "estimators_features_" in parent:  # of a Bagging
            return picked(columns, parent["estimators_features_"][part.place]), False
        case "estimators_" if "order_" in parent:  # of a chain: results of the ones before come behind the input
            return columns + (None,) * part.place, part.place == 0
        case "estimator_" if "support_" in parent:  # of a feature selection
            return picked(columns, np.flatnonzero(parent["support_"])), False
        case _:
            return columns, True


def _fitted_parts(estimator: Any) -> list[_Part]:
    """Fitted estimators among its attributes.

    scikit-learn clones its parameters before it fits them, so these are templates, perhaps fitted on something else
    before; only what fits nothing itself, such as FrozenEstimator, predicts with a parameter. Others may fit theirs.
    """
    own = {name: value for name, value in own_attributes(estimator).items() if name not in _DUPLICATES}
    if "best_estimator_" in own:
        own = {"best_estimator_": own["best_estimator_"]}
    if "estimators_" in own:
        own.pop("estimator_", None)  # the template of an ensemble
    parameters = _parameters(estimator)
    fitted = _distinct(part for name, value in own.items() if name not in parameters for part in _parts(name, value))
    if fitted and is_ruled(estimator):
        return fitted
    given = (part for name, value in own.items() if name in parameters for part in _parts(name, value))
    return _distinct([*fitted, *given])


def _parameters(estimator: Any) -> frozenset[str]:
    """The names of what its class is made from."""
    import inspect

    with passing_over():
        return frozenset(inspect.signature(type(estimator).__init__).parameters)
    return frozenset()


def _distinct(parts: Iterable[_Part]) -> list[_Part]:
    return list({id(part.estimator): part for part in reversed(list(parts))}.values())[::-1]


def _parts(name: str, value: Any) -> Iterator[_Part]:
    """An attribute's estimators: itself, or the members of a list, a dict or an array of objects."""
    if is_estimator(value):
        yield _Part(name, 0, value)
        return
    is_found = False
    for place, member in enumerate(islice(_members(value), _MOST)):
        inner = member[1] if isinstance(member, tuple) and len(member) > 1 else member  # a pair of a name and it
        if is_tree(inner) or (place > _OTHERS and not is_found):
            return  # a forest, whose trees hold nothing that is looked for; a vocabulary
        if is_estimator(inner):
            is_found = True
            yield _Part(name, place, inner)


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, np.ndarray) and value.dtype == object:
        return value.ravel()
    return ()
