"""A model's formula held against the model itself, before any row of the table is read.

The model scores rows that are made up for this: usual values, and those at the edges of each feature's type. The
formula, on arrays, must give the same labels, the same errors and the same numbers. What is left is rounding: a sum is
rounded otherwise where it is added up in another order, in Python too, from one size of a batch to another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.conversions.lanes import lane_type
from spark_scoring.engine.native.estimators import formula_of, results_of
from spark_scoring.engine.native.operations import Arrays, Column, Context, NotNativeError, refuse
from spark_scoring.engine.worker import Scorer
from spark_scoring.errors import RunError
from spark_scoring.model.raised import kind_of
from spark_scoring.model.recorded import recorded_quantiles
from spark_scoring.model.types import Coded, OneOf
from spark_scoring.plan.reasons import MODEL, reason_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from spark_scoring.engine.inputs import WorkerPlan
    from spark_scoring.engine.native.estimators import Formula
    from spark_scoring.engine.native.operations import Level, V
    from spark_scoring.engine.worker import Scored
    from spark_scoring.model.loaded import LoadedModel
    from spark_scoring.plan.scoring_plan import PlannedFeature, ScoringPlan

    MadeRows = Callable[[Sequence[Sequence[Any]]], tuple[WorkerPlan, list[NDArray[Any]]]]

RAISED = reason_text(MODEL, "ValueError")
"""The error of a row on which scikit-learn raises, as a worker tells it."""

_ROWS = 192
_ODD_ROWS = 12
"""Rows with values on which a model may raise; each is a call of its own."""
_RELATIVE, _RELATIVE_SINGLE = 1e-12, 1e-6
_OF_SUM = 1e-14
"""How much a number may differ: relative to itself, and its score relative to the sizes of what is added up."""
_OF_ONE, _TINY = 1e-15, 1e-290
"""How much besides: a probability, which may be 1 minus another one; any other number."""
_EDGES = (0.0, -0.0, 1.0, -1.0, 0.1, 1e-3, 1e3, -12345.678, 1e7)
_WHOLE_EDGES = (0, 1, -1, 2, 100, -1000, 32767, 2**31 - 1, -(2**31))


def columns_of(features: Sequence[PlannedFeature], values: Sequence[V]) -> list[Column[V]]:
    """A plan's features as the columns that a formula starts from; a number's value is a double.

    Raises:
        NotNativeError: a feature is of a type that no formula takes.

    """
    return [_column(feature, value) for feature, value in zip(features, values, strict=True)]


def _column(feature: PlannedFeature, value: V) -> Column[V]:
    type_ = lane_type(feature.type)
    if type_ == "string":
        keeps = feature.handling.nulls == "keep"
        if keeps and feature.missing not in ("None", "NaN"):
            refuse(f"a missing text in {feature.name} is {feature.missing} to it")
        return Column(feature.name, value, is_text=True, missing=feature.missing)
    if type_ not in ("double", "float", "long", "integer", "boolean"):
        refuse(f"its feature {feature.name} is a {feature.type}")
    is_float = type_ in ("double", "float")
    return Column(feature.name, value, is_finite=not is_float, is_float=is_float)


def prove(plan: ScoringPlan, model: LoadedModel, made: MadeRows) -> int:
    """Hold a model's formula against what the model returns.

    Args:
        plan: the scoring plan, whose model was seen to score rows.
        model: the plan's model.
        made: makes of values, a list for each feature, what a worker is given.

    Returns:
        The rows on which the two are the same.

    Raises:
        NotNativeError: they differ, or the model cannot be written down.

    """
    context = Context(Arrays(0))
    with model.running():
        formula_of(model.raw, columns_of(plan.features, [np.zeros(0) for _ in plan.features]), context)
    rng = np.random.default_rng(20_261)
    known = model.statistics
    usual = [_usual(f, known.get(f.name) or {}, context.levels.get(f.name, []), rng) for f in plan.features]
    odd = _odd_rows(plan.features, usual)
    for values in (usual, odd):
        _hold(plan, model, made, values)
    return _ROWS + len(odd[0])


def _usual(feature: PlannedFeature, known: Mapping[str, Any], levels: Sequence[Level], rng: Any) -> list[Any]:
    """Values that a model takes."""
    type_ = lane_type(feature.type)
    held = feature.type.levels.values if isinstance(feature.type, Coded | OneOf) else ()
    if isinstance(feature.type, Coded):
        return [int(code) for code in rng.integers(0, max(len(held), 1), _ROWS)]
    if isinstance(feature.type, OneOf):
        pool: list[Any] = [str(v) if type_ == "string" else v for v in held]
    elif levels:
        pool = [level for level in levels if level is not None]
        pool = pool if type_ == "string" else [_as(type_, level) for level in pool]
    elif type_ == "string":
        pool = ["a", "b", ""]
    elif type_ == "boolean":
        pool = [False, True]
    elif type_ in ("long", "integer"):
        pool = [
            *_WHOLE_EDGES,
            *(int(q) for q in recorded_quantiles(known)),
            *(int(n) for n in rng.integers(-50, 50, 20)),
        ]
    else:
        pool = [*_EDGES, *recorded_quantiles(known), *rng.normal(size=40).tolist()]
    return [pool[i] for i in rng.integers(0, len(pool), _ROWS)]


def _as(type_: str, level: Any) -> Any:
    return {"boolean": bool, "long": int, "integer": int}.get(type_, float)(level)


def _odd_rows(features: Sequence[PlannedFeature], usual: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Usual rows, in each of which one feature has a value that the model may not take."""
    odd: list[tuple[int, Any]] = []
    for place, feature in enumerate(features):
        odd += [(place, value) for value in _odd_values(feature)]
    if len(odd) > _ODD_ROWS:  # spread over the features
        odd = [odd[i] for i in np.linspace(0, len(odd) - 1, _ODD_ROWS).astype(int)]
    values = [list(column[: max(len(odd), 1)]) for column in usual]
    for row, (place, value) in enumerate(odd):
        values[place][row] = value
    return values


def _odd_values(feature: PlannedFeature) -> list[Any]:
    type_ = lane_type(feature.type)
    keeps = feature.handling.nulls == "keep"
    if type_ in ("double", "float"):
        return [np.inf, -np.inf, *([np.nan] if keeps else [])]
    if type_ == "string" and not isinstance(feature.type, OneOf):
        return ["\x00 no level", *([None] if keeps else [])]
    if type_ in ("long", "integer") and not isinstance(feature.type, Coded | OneOf):
        return [7_654_321]
    return []


def _hold(plan: ScoringPlan, model: LoadedModel, made: MadeRows, values: Sequence[Sequence[Any]]) -> None:
    n = len(values[0])
    worker, columns = made(values)
    try:
        scored = Scorer(model, worker).score(lambda: [c.copy() for c in columns], np.ones(n, dtype=bool))
    except RunError as error:
        cause = f"it raises a {kind_of(error)} on rows that are made up"
        raise NotNativeError(cause) from error
    operations = Arrays(n)
    given = columns_of(plan.features, [_array(f, v) for f, v in zip(plan.features, values, strict=True)])
    with model.running(), np.errstate(all="ignore"):
        formula = formula_of(model.raw, given, Context(operations))
        fields = results_of(formula.linear, plan.returns, formula.scores, operations)
        _compare(plan, scored, formula, operations.sizes, fields)


def _array(feature: PlannedFeature, values: Sequence[Any]) -> NDArray[Any]:
    """A feature's values as a formula's arrays have them."""
    type_ = lane_type(feature.type)
    if type_ == "string":
        array = np.empty(len(values), dtype=object)
        array[:] = list(values)
        return array
    own = np.asarray(values, dtype=np.float32) if type_ == "float" else np.asarray(values)
    return own.astype(np.float64)


def _compare(
    plan: ScoringPlan,
    scored: Scored,
    formula: Formula[NDArray[Any]],
    sizes: Sequence[NDArray[Any]],
    made: Mapping[str, NDArray[Any]],
) -> None:
    raised = np.zeros(len(scored.errors), dtype=bool) if formula.raised is None else formula.raised
    if any(error != (RAISED if is_raised else None) for error, is_raised in zip(scored.errors, raised, strict=True)):
        refuse("it raises on other rows than its formula says")
    found = iter(scored.fields)
    rounding = _OF_SUM * np.max(sizes, axis=0)
    for returned in plan.returns:
        is_label = returned.method == "predict" and formula.linear.kind == "classifier"
        good = ~raised & ~_is_tie(formula.scores, rounding) if is_label else ~raised
        for name, _ in returned.fields:
            values, null = next(found)
            if null[good].any():
                refuse("it returns nulls")
            own = made[name][good]
            same = (
                np.array_equal(values[good].astype(object), own)
                if is_label
                else _are_close(values[good], own, rounding[good], _absolute(returned.method, formula.linear.link))
            )
            if not same:
                refuse(f"its {returned.method} does not return what its formula gives")


def _is_tie(scores: Sequence[NDArray[Any]], rounding: NDArray[Any]) -> NDArray[Any]:
    """Rows in which rounding alone decides between two labels."""
    if len(scores) == 1:
        return np.asarray(np.abs(scores[0]) <= rounding)
    ordered = np.sort(scores, axis=0)
    return np.asarray(ordered[-1] - ordered[-2] <= 2 * rounding)


def _absolute(method: str, link: str) -> tuple[float, float]:
    """How much a result may differ whatever its size: a fixed part, and the share of the rounding of its score."""
    if method == "predict_proba" or link == "logit":
        return _OF_ONE, 0.0
    return (_TINY, 1.0) if link == "identity" else (_TINY, 0.0)


def _are_close(values: NDArray[Any], made: NDArray[Any], rounding: NDArray[Any], absolute: tuple[float, float]) -> bool:
    relative = _RELATIVE if values.dtype == np.float64 else _RELATIVE_SINGLE
    made = made.astype(values.dtype)
    fixed, share = absolute
    with np.errstate(all="ignore"):
        allowed = np.abs(values) * (relative + 4 * rounding) + fixed + share * rounding
        same = (values == made) | (np.isnan(values) & np.isnan(made)) | (np.abs(values - made) <= allowed)
    return bool(same.all())
