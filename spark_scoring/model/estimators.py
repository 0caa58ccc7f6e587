"""One walk over a trained model: the estimators inside it, and what of the model's own input reaches each of them.

scikit-learn's meta-estimators and those of others keep what they have fitted in their attributes, so that is where
the walk finds it, whatever their class. Whether an estimator inside sees the model's columns as they are follows from
the names or the number of features that it was fitted with, and from what its parent does with its input. Models of
other people break every rule: whatever an attribute raises, the walk takes it for an attribute that is not there.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_MOST = 10_000
"""Estimators that a walk visits at most, and things in one list that it looks at."""
_DEEPEST = 50
_OTHERS = 50
"""Members of a list that are something else before the walk takes all of them for it."""
_BOOSTERS = ("lightgbm", "xgboost", "catboost")
_RULED = ("sklearn.", "imblearn.")
"""Libraries whose meta-estimators pass their input on as it is, but for what ``_handed`` says."""
_NOT_RULED = ("sklearn.base", "sklearn.utils")
"""What estimators of others inherit from."""
_NAMES = ("feature_names_in_", "feature_names", "feature_name_", "feature_name")
_NUMBERED = ("Column_{}", "{}")
"""What LightGBM and CatBoost call the columns of a bare matrix."""
_DUPLICATES = ("cv_results_", "best_params_", "named_estimators_")
"""Attributes whose estimators are templates, or are found elsewhere."""
_VECTORIZERS = ("CountVectorizer", "HashingVectorizer")
_THREADS = ("num_threads", "num_thread", "nthread", "nthreads", "n_jobs")
"""What LightGBM calls it. Whatever was given by ``set_params`` or ``**kwargs`` wins over the attribute."""


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


def attribute(thing: Any, name: str, default: Any = None) -> Any:
    """An attribute, the default where there is none: a property of somebody's estimator may raise anything."""
    try:
        return getattr(thing, name, default)
    except Exception:  # noqa: BLE001  whatever it is, the attribute cannot be had
        return default


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
        with _passing_over():
            found = _arrived(found)
        yield found
        inside: list[Seen] = []
        if len(above) < _DEEPEST:
            with _passing_over():
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
        names = _trained_names(seen.estimator) if seen.is_whole else ()
        if names and (set(names) & set(known) or not _is_numbered(names)):
            return tuple(name if name in known else written.get(name, name) for name in names)
    return ()


def final_estimator(raw: Any) -> Any:
    """The estimator whose results the model returns: behind Pipelines, searches and others that hand them on."""
    for _ in range(_DEEPEST):
        inner = _last(raw)
        if inner is None or isinstance(inner, str):
            return raw
        raw = inner
    return raw


def takes_documents(raw: Any) -> bool:
    """Whether the model's input goes straight to a document vectorizer, which takes texts and no frame of columns."""
    return any(seen.is_whole and _is_of(seen.estimator, _VECTORIZERS) for seen in walk(raw, ()))


def use_one_thread(raw: Any) -> None:
    """Undo an ``n_jobs`` of training time in every estimator inside, as a courtesy: what cannot be set stays."""
    unset = object()
    for seen in walk(raw, ()):
        if attribute(seen.estimator, "n_jobs", unset) is not unset:
            with _passing_over():
                seen.estimator.n_jobs = 1
        with _passing_over():
            _set_booster_threads(seen.estimator)


def library(thing: Any) -> str:
    """``lightgbm``, ``xgboost`` or ``catboost`` for a model of theirs or of a class that extends it; else empty."""
    return next((top for module in _modules(thing) if (top := module.split(".", 1)[0]) in _BOOSTERS), "")


def is_ruled(thing: Any) -> bool:
    """Whether it is of scikit-learn or imbalanced-learn, or of a class that extends one of theirs."""
    return any(module.startswith(_RULED) and not module.startswith(_NOT_RULED) for module in _modules(thing))


def _passing_over() -> contextlib.suppress:
    """Estimators of others may raise anything, and none of it is a reason to fail."""
    return contextlib.suppress(Exception)


def _modules(thing: Any) -> Iterator[str]:
    return (str(kind.__module__) for kind in type(thing).__mro__)


def _is_of(thing: Any, classes: Sequence[str]) -> bool:
    """Whether its class is one of scikit-learn's with these names, or extends one."""
    return any(kind.__name__ in classes and str(kind.__module__).startswith("sklearn.") for kind in type(thing).__mro__)


def _set_booster_threads(model: Any) -> None:
    match library(model):
        case "lightgbm":
            given = attribute(model, "_other_params") or {}
            model.set_params(**dict.fromkeys([name for name in _THREADS if name in given], 1))
        case "xgboost":
            attribute(model, "get_booster", lambda: model)().set_param({"nthread": 1})


# Names and numbers of what an estimator was fitted with.


def _trained_names(estimator: Any) -> tuple[str, ...]:
    """The names of the columns that it was fitted with, as text; empty where it does not hold any."""
    for name in (*_NAMES, "feature_names_") if library(estimator) == "catboost" else _NAMES:
        names = attribute(estimator, name)
        with _passing_over():
            names = names() if callable(names) else names
            found = () if names is None or isinstance(names, str | bytes) else tuple(names)
            if found and all(isinstance(n, str | int | np.integer) for n in found):
                return tuple(map(str, found))
    return ()


def _is_numbered(names: Sequence[str]) -> bool:
    return any(list(names) == [form.format(i) for i in range(len(names))] for form in _NUMBERED)


def _arrived(seen: Seen) -> Seen:
    """With the columns as the estimator takes them."""
    columns = _given(seen.estimator, seen.columns)
    lost = tuple(c.name for c in seen.columns if c is not None and not c.sure) if None in columns else ()
    return replace(seen, columns=columns, among=seen.among or lost)


def _given(estimator: Any, columns: Columns) -> Columns:
    """The columns as the estimator takes them: by its names where it knows them, else by position.

    A step that may have changed them may have made others of the same number, so names must be those of before.
    """
    names = _trained_names(estimator)
    known = {c.label.replace(" ", "_"): c for c in columns if c is not None}
    known |= {c.label: c for c in columns if c is not None}
    if any(name in known for name in names):
        return tuple(known.get(name) for name in names)
    count = attribute(estimator, "n_features_in_")
    count = int(count) if isinstance(count, int | np.integer) else len(names) or len(columns)
    renamed = bool(names) and not _is_numbered(names) and any(c is not None and not c.sure for c in columns)
    return (None,) * count if renamed or count != len(columns) else columns


# What is inside an estimator.


def _inside(seen: Seen) -> Iterator[Seen]:
    """The fitted estimators of this one, each with what it is given."""
    return next(parts for fits, parts in _SHAPES if fits(seen.estimator))(seen)


def _is_pipeline(thing: Any) -> bool:
    return _are_pairs(attribute(thing, "steps"))


def _is_column_transformer(thing: Any) -> bool:
    return isinstance(attribute(thing, "transformers_"), list)


def _is_union(thing: Any) -> bool:
    return _are_pairs(attribute(thing, "transformer_list"))


def _are_pairs(steps: Any) -> bool:
    return isinstance(steps, list) and bool(steps) and all(isinstance(s, tuple | list) and len(s) == 2 for s in steps)  # noqa: PLR2004


def _is_leaf(thing: Any) -> bool:
    """Trees, and boosters, which are read as a whole."""
    return bool(library(thing)) or _is_tree(thing) or _is_of(thing, ("BaseHistGradientBoosting",))


def _is_tree(thing: Any) -> bool:
    return "tree_" in _own(thing) or _is_of(thing, ("BaseDecisionTree",))


def _nothing_inside(_: Seen) -> Iterator[Seen]:
    return iter(())


def _steps_inside(seen: Seen) -> Iterator[Seen]:
    columns, is_whole = seen.columns, seen.is_whole
    for _, step in seen.estimator.steps:
        if not _is_passed_over(step):
            yield Seen(step, columns, is_whole)
            columns, is_whole = _after(step, columns), False


def _columns_inside(seen: Seen) -> Iterator[Seen]:
    for _, transformer, columns in _branches(seen.estimator, seen.columns):
        if columns and not isinstance(transformer, str):
            yield Seen(transformer, columns, is_whole=False)


def _union_inside(seen: Seen) -> Iterator[Seen]:
    for _, transformer in seen.estimator.transformer_list:
        if not _is_passed_over(transformer):
            yield Seen(transformer, seen.columns, seen.is_whole)


def _attributes_inside(seen: Seen) -> Iterator[Seen]:
    passes_on = is_ruled(seen.estimator)
    columns = seen.columns if passes_on else _unsure(seen.columns)
    for part in _fitted_parts(seen.estimator):
        given, is_all = _handed(_own(seen.estimator), part, columns)
        yield Seen(part.estimator, given, seen.is_whole and is_all and passes_on)


_SHAPES: tuple[tuple[Callable[[Any], bool], Callable[[Seen], Iterator[Seen]]], ...] = (
    (_is_leaf, _nothing_inside),
    (_is_pipeline, _steps_inside),
    (_is_column_transformer, _columns_inside),
    (_is_union, _union_inside),
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
            return _picked(columns, parent["estimators_features_"][part.place]), False
        case "estimators_" if "order_" in parent:  # of a chain: results of the ones before come behind the input
            return columns + (None,) * part.place, part.place == 0
        case "estimator_" if "support_" in parent:  # of a feature selection
            return _picked(columns, np.flatnonzero(parent["support_"])), False
        case _:
            return columns, True


def _own(thing: Any) -> dict[str, Any]:
    """The object's own attributes; properties and class attributes are not among them."""
    try:
        return dict(vars(thing))
    except Exception:  # noqa: BLE001  it has none, or does not let one look
        return {}


def _fitted_parts(estimator: Any) -> list[_Part]:
    """Fitted estimators among its attributes.

    scikit-learn clones its parameters before it fits them, so these are templates, perhaps fitted on something else
    before; only what fits nothing itself, such as FrozenEstimator, predicts with a parameter. Others may fit theirs.
    """
    own = {name: value for name, value in _own(estimator).items() if name not in _DUPLICATES}
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

    with _passing_over():
        return frozenset(inspect.signature(type(estimator).__init__).parameters)
    return frozenset()


def _distinct(parts: Iterable[_Part]) -> list[_Part]:
    return list({id(part.estimator): part for part in reversed(list(parts))}.values())[::-1]


def _parts(name: str, value: Any) -> Iterator[_Part]:
    """An attribute's estimators: itself, or the members of a list, a dict or an array of objects."""
    if _is_estimator(value):
        yield _Part(name, 0, value)
        return
    is_found = False
    for place, member in enumerate(islice(_members(value), _MOST)):
        inner = member[1] if isinstance(member, tuple) and len(member) > 1 else member  # a pair of a name and it
        if _is_tree(inner) or (place > _OTHERS and not is_found):
            return  # a forest, whose trees hold nothing that is looked for; a vocabulary
        if _is_estimator(inner):
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


def _is_estimator(thing: Any) -> bool:
    """Whether it can predict, or be fitted and transform; a wrapper's methods may be those of what it holds."""
    kind = type(thing)
    if isinstance(thing, type):
        return False
    if hasattr(kind, "fit"):
        return any(hasattr(kind, v) or callable(attribute(thing, v)) for v in ("predict", "transform", "fit_predict"))
    return hasattr(kind, "predict") or hasattr(kind, "predict_proba")


def _last(raw: Any) -> Any:
    """What the estimator's results come from, None where from itself."""
    if _is_pipeline(raw):
        return raw.steps[-1][1]
    own = _own(raw)
    if _is_of(raw, ("FrozenEstimator",)):
        return own.get("estimator")
    if "best_estimator_" in own:
        return own["best_estimator_"]
    return own.get("estimator_") if is_ruled(raw) and "estimators_" not in own else None


# What a step leaves of the columns for those behind it.


def _is_passed_over(step: Any) -> bool:
    """A step that does nothing in a prediction: none, a function that is none, a sampler of imbalanced-learn."""
    if step is None or isinstance(step, str):
        return True
    if _is_of(step, ("FunctionTransformer",)) and "func" in _own(step):
        return _own(step)["func"] is None
    kind = type(step)
    return hasattr(kind, "fit_resample") and not hasattr(kind, "transform") and not hasattr(kind, "predict")


def _after(step: Any, columns: Columns, above: tuple[int, ...] = ()) -> Columns:
    """The model's columns in what the step returns for these, as far as they can be followed."""
    if id(step) in above or len(above) > _DEEPEST:
        return ()
    left = next(left for fits, left in _LEFT if fits(step))
    return left(step, _given(step, columns), (*above, id(step)))


def _all_left(_: Any, columns: Columns, __: tuple[int, ...]) -> Columns:
    return columns


def _none_left(_: Any, __: Columns, ___: tuple[int, ...]) -> Columns:
    return ()


def _perhaps_left(_: Any, columns: Columns, __: tuple[int, ...]) -> Columns:
    return _unsure(columns)


def _left_by_frozen(step: Any, columns: Columns, above: tuple[int, ...]) -> Columns:
    return _after(step.estimator, columns, above)


def _left_by_pipeline(pipeline: Any, columns: Columns, above: tuple[int, ...]) -> Columns:
    for _, step in pipeline.steps:
        columns = _after(step, columns, above)
    return columns


def _left_by_columns(transformer: Any, columns: Columns, above: tuple[int, ...]) -> Columns:
    spans = attribute(transformer, "output_indices_", {})
    made: list[Column | None] = [None] * max((span.stop for span in spans.values()), default=0)
    for name, inner, chosen in _branches(transformer, columns):
        kept = () if inner == "drop" else _after(inner, chosen, above)
        span = spans.get(name, slice(0, 0))
        if len(kept) == span.stop - span.start:
            made[span] = [_prefixed(column, name, transformer) for column in kept]
    return tuple(made)


def _left_by_union(union: Any, columns: Columns, above: tuple[int, ...]) -> Columns:
    """By name only: how many columns the others make is not known."""
    parts = ((name, inner) for name, inner in union.transformer_list if inner != "drop")
    return tuple(_prefixed(c, name, union) for name, inner in parts for c in _after(inner, columns, above) if c)


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
    return _picked(columns, np.flatnonzero(selection.support_))


_LEFT: tuple[tuple[Callable[[Any], bool], Callable[[Any, Columns, tuple[int, ...]], Columns]], ...] = (
    (_is_passed_over, _all_left),
    (lambda step: _is_of(step, ("FrozenEstimator",)), _left_by_frozen),
    (_is_pipeline, _left_by_pipeline),
    (_is_column_transformer, _left_by_columns),
    (_is_union, _left_by_union),
    (lambda step: _is_of(step, ("SimpleImputer",)), _left_by_imputer),
    (lambda step: "support_" in _own(step), _left_by_selection),
    (lambda step: is_ruled(step) and not _is_of(step, ("FunctionTransformer",)), _none_left),  # an encoder, a scaler
    (lambda _: True, _perhaps_left),  # a function, a foreign transformer
)
"""What a step does to the columns: the first that fits."""


def _unsure(columns: Columns) -> Columns:
    return tuple(replace(column, sure=False) if column is not None else None for column in columns)


# The columns that a ColumnTransformer chooses.


def _branches(transformer: Any, columns: Columns) -> Iterator[tuple[str, Any, Columns]]:
    names = [str(name) for name in attribute(transformer, "feature_names_in_", ())]
    for name, inner, selected in transformer.transformers_:
        yield str(name), inner, _picked(columns, places(selected, names, len(columns)))


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


def _picked(columns: Columns, places: Iterable[int]) -> Columns:
    """The columns at these positions, negative ones from the end; None where there is none."""
    count = len(columns)
    return tuple(columns[place] if -count <= place < count else None for place in places)
