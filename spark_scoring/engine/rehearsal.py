"""A plan tried out on a few rows before any row of the table is read: whether the model treats each row by itself.

The driver has the model in memory for the plan. It is called as a worker calls it (``engine.trial``), on rows of its
saved input example, cast as the plan casts a table's, and on rows made up from types, category levels and recorded
statistics.
"""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyspark.sql.types import StructField, StructType

from spark_scoring.conversions.lanes import LANE_TYPES
from spark_scoring.engine.explaining import with_contributions
from spark_scoring.engine.frame_values import frame_schema
from spark_scoring.engine.frames import frame_columns, model_column, single_lanes
from spark_scoring.engine.isolated.planned import rehearse_model, saved_model
from spark_scoring.engine.model_log import log_model_error
from spark_scoring.engine.native.choice import with_engine
from spark_scoring.engine.returned_types import spark_type_of
from spark_scoring.engine.trial_rows import Given, Rows
from spark_scoring.errors import PlanError, Problem, RequestError, RunError
from spark_scoring.model.errors import repair_command
from spark_scoring.model.recorded import recorded_quantiles
from spark_scoring.model.types import ANY, MISSING_CODE, Array, Category, Coded, Map, Object, OneOf, Tensor
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import Policy
from spark_scoring.plan.rehearsal import BATCH_CODES
from spark_scoring.plan.request import Request
from spark_scoring.plan.scoring_plan import with_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from spark_scoring.engine.frames import FrameColumns
    from spark_scoring.engine.inputs import WorkerPlan
    from spark_scoring.job_settings import ExplainSettings
    from spark_scoring.model.spec import ModelSpec
    from spark_scoring.model.types import Levels, ModelType
    from spark_scoring.plan.rehearsal import Rehearsal
    from spark_scoring.plan.scoring_plan import Engine, PlannedFeature, ScoringPlan

_ROWS = 5
"""Rows that are played together at most."""


def rehearsed(
    plan: ScoringPlan,
    *,
    policy: Policy,
    rehearse: bool = True,
    batch_dependent: bool = False,
    show_model_error: bool = False,
    before: ScoringPlan | None = None,
    engine: Engine = "python",
    explain: ExplainSettings | None = None,
) -> ScoringPlan:
    """The plan after a rehearsal, with what it has found. Calls the model, which the plan has loaded.

    Args:
        plan: the scoring plan.
        policy: of the request; under a strict one what scoring would do wrong is an error, else a note.
        rehearse: False: nothing is tried.
        batch_dependent: whether the job says that a row's result may depend on other rows or on chance.
        show_model_error: whether a traceback of the model, which may hold values, goes to the log.
        before: an earlier plan with the same model, whose rehearsal holds.
        engine: who is to score.
        explain: what is told of the contributions of features; None: nothing.

    Raises:
        PlanError: with everything that scoring would do wrong.

    """
    if before is not None:  # perhaps of another process, which has the model's files
        return replace(
            plan,
            outputs=before.outputs,
            returns=before.returns,
            proven=before.proven,
            rehearsal=before.rehearsal,
            engine=before.engine,
            engine_note=before.engine_note,
        )
    if explain is not None:
        plan = with_contributions(plan, explain)
    tried = _tried(plan, policy, rehearse=rehearse, batch_dependent=batch_dependent, show_model_error=show_model_error)
    return with_engine(tried, engine, partial(_made_of, plan))


def _tried(
    plan: ScoringPlan, policy: Policy, *, rehearse: bool, batch_dependent: bool, show_model_error: bool
) -> ScoringPlan:
    """The plan after a rehearsal, if there is to be one."""
    if not rehearse:
        return plan
    allowed = batch_dependent or plan.model.batch_dependent
    found = rehearse_plan(plan, policy=policy, show_model_error=show_model_error)
    errors = [f for f in found.findings if f.is_error and not (allowed and f.code in BATCH_CODES)]
    if errors and policy.is_strict:
        repair = {"results": f"; where the signature alone is wrong: {repair_command(plan.model.uri)}"}
        raise PlanError(
            [Problem(f"model {plan.model.uri!r}", f.cause, f"{f.fix}{repair.get(f.code, '')}") for f in errors]
        )
    returns = tuple(replace(r, by_index=r.by_index and r.method not in found.by_position) for r in plan.returns)
    tried = replace(plan, returns=returns, proven=found.rows > 0, rehearsal=found)
    return with_notes(tried, [f"rehearsal: {f.cause}" for f in found.findings])


def rehearse_plan(
    plan: ScoringPlan, *, policy: Policy | None = None, example: Any = None, show_model_error: bool = False
) -> Rehearsal:
    """Call the plan's model on a few rows, as a worker does, and compare what it returns for the same row.

    Args:
        plan: the scoring plan.
        policy: of the request.
        example: rows in place of the saved input example.
        show_model_error: whether a traceback of the model, which may hold values, goes to the log.

    """
    given = rehearsal_rows(plan, example, policy)
    return rehearse_model(plan.model, given, log_model_error if show_model_error else None)


def rehearsal_rows(plan: ScoringPlan, example: Any = None, policy: Policy | None = None) -> Given:
    """What the plan's model is rehearsed on: rows of an example, by default of the saved one, and rows made up."""
    saved = saved_model(plan.model)
    example = saved.input_example if example is None else example
    found = (_example_rows(plan, policy or Policy(), example), _made_rows(plan, saved.statistics))
    keeps = tuple(f.name for f in plan.features if f.handling.nulls == "keep")
    return Given(tuple(rows for rows in found if rows is not None), keeps)


# Rows of the saved example, the way of a table.


def _example_rows(plan: ScoringPlan, policy: Policy, example: Any) -> Rows | None:
    """The example's rows as the plan casts a table's; None where it is not rows of the model's inputs."""
    frame = example_frame(plan.model, example)
    if frame is None or not len(frame):
        return None
    try:
        lanes, columns = example_lanes(plan, frame.iloc[:_ROWS], policy)
    except (RequestError, RunError):
        return None
    return Rows(lanes, columns, len(columns[0]), "input example") if len(columns[0]) else None


def example_lanes(plan: ScoringPlan, frame: pd.DataFrame, policy: Policy) -> tuple[WorkerPlan, list[NDArray[Any]]]:
    """An example's rows as a worker is given them: what the plan does to a table of the example's types.

    Rows that the plan's checks keep from the model are left out.

    Raises:
        RequestError: a column of it cannot be cast.
        PolicyError: a value on which the policy of its feature is to fail.

    """
    return packed_lanes(plan, cast_example(plan, frame, policy))


def cast_example(plan: ScoringPlan, frame: pd.DataFrame, policy: Policy) -> FrameColumns:
    """An example's rows cast as the plan casts those of a table of the example's types, a lane for each feature.

    Raises:
        RequestError: a column of it cannot be cast.
        PolicyError: a value on which the policy of its feature is to fail.

    """
    known = {f.name: f.type.levels for f in plan.features if isinstance(f.type, Category | Coded | OneOf)}
    categories = {name: levels for name, levels in known.items() if levels.origin == "the job"}
    wanted = {feature.name for feature in plan.features}
    only = replace(plan.model, inputs=tuple(f for f in plan.model.inputs if f.name in wanted))
    request = Request(policy=policy, categories=categories, methods=plan.methods, case_sensitive=True)
    own, schema = plan_of_example(only, frame, request)
    return frame_columns(with_levels_in_place(plan.model, frame), own, schema)


def packed_lanes(plan: ScoringPlan, given: FrameColumns) -> tuple[WorkerPlan, list[NDArray[Any]]]:
    """Cast rows as a worker is given them, features of one type in one lane."""
    return _packed(plan, given.plan), _pack(given.plan, given.columns)


def plan_of_example(
    spec: ModelSpec, frame: pd.DataFrame, request: Request | None = None
) -> tuple[ScoringPlan, StructType]:
    """The plan that scores a table of an example's columns and types, and the table's schema.

    Raises:
        RequestError: a column of it cannot be cast.

    """
    frame = with_levels_in_place(spec, frame)
    schema = frame_schema(frame, None, {feature.name.lower() for feature in spec.inputs})
    return make_plan(spec, schema, request or Request()), schema


def plan_of_types(spec: ModelSpec) -> ScoringPlan:
    """The plan that scores a table whose columns have the types of the signature.

    Raises:
        RequestError: no table can be scored with the model as it is.

    """
    try:
        schema = StructType([StructField(f.name, spark_type_of(f.type)) for f in spec.inputs])
    except KeyError as error:
        fix = "log the model with inputs of MLflow's data types"
        raise PlanError([Problem("signature", f"no Spark type holds {error}", fix)]) from error
    return make_plan(spec, schema, Request(case_sensitive=True))


def example_frame(spec: ModelSpec, example: Any) -> pd.DataFrame | None:
    """An example as a frame whose columns are named like the model's inputs; None where it is something else."""
    names = [feature.name for feature in spec.inputs]
    if isinstance(example, pd.Series) or (isinstance(example, dict) and not any(map(_is_list, example.values()))):
        example = pd.DataFrame([example])
    if isinstance(example, pd.DataFrame):
        frame = example.rename(columns=str)
        if not set(names) & set(frame.columns) and len(frame.columns) == len(names):
            frame.columns = pd.Index(names)
        return frame
    if isinstance(example, dict):
        columns = {str(name): list(values) if _is_list(values) else [values] for name, values in example.items()}
        return pd.DataFrame(columns) if len({len(c) for c in columns.values()}) == 1 else None
    if isinstance(example, str | int | float | bool):
        example = [example]
    if isinstance(example, np.ndarray) and example.ndim == 2 and example.shape[1] == len(names) > 1:  # noqa: PLR2004
        return pd.DataFrame(example, columns=names)
    if isinstance(example, list) and example and all(isinstance(row, dict) for row in example):
        return pd.DataFrame(example)
    if _is_list(example) and len(names) == 1:
        return pd.DataFrame({names[0]: [v.tolist() if isinstance(v, np.ndarray) else v for v in example]})
    return None


def with_levels_in_place(spec: ModelSpec, example: pd.DataFrame) -> pd.DataFrame:
    """The example as a table has it: the level itself in the place of its code."""
    levels = {}
    categories = {*spec.levels.unknown, *(name for name, _ in spec.levels.named)}  # of these it holds the levels
    for name, known in spec.recorded:
        is_number = name in example.columns and getattr(example[name].dtype, "kind", "O") in "iuf"
        if is_number and name not in categories:
            values = list(known.values)
            codes = [int(c) if pd.notna(c) else -1 for c in example[name]]
            known_levels = [values[c] if 0 <= c < len(values) else None for c in codes]
            levels[name] = pd.Series(known_levels, example.index, dtype=object)
    return example.assign(**levels) if levels else example


def _packed(plan: ScoringPlan, single: WorkerPlan) -> WorkerPlan:
    """A worker's plan for the scoring plan's model, features of one type in one lane as a table's are."""
    groups = _groups(single)
    lanes = tuple((type_, tuple(single.lanes[i][1][0] for i in members), packed) for type_, members, packed in groups)
    return replace(
        single, lanes=lanes, returns=plan.returns, takes=plan.model.takes, params=plan.params, labels=plan.model.labels
    )


def _pack(single: WorkerPlan, columns: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    return [
        np.concatenate([columns[i] for i in members], axis=1) if len(members) > 1 else columns[members[0]]
        for _, members, _ in _groups(single)
    ]


def _groups(single: WorkerPlan) -> list[tuple[str, list[int], bool]]:
    """Places of the features that share a lane."""
    types = dict(single.features)
    groups: dict[Any, list[int]] = {}
    for i, (type_, (name,), packed) in enumerate(single.lanes):
        shared = packed and type_ in LANE_TYPES and not isinstance(types[name], Tensor)
        groups.setdefault(type_ if shared else i, []).append(i)
    return [(single.lanes[members[0]][0], members, single.lanes[members[0]][2]) for members in groups.values()]


# Made-up rows.


def _made_rows(plan: ScoringPlan, statistics: Mapping[str, Mapping[str, Any]]) -> Rows | None:
    """Rows of plausible values, in no column sorted; None where a feature has no type to make them of."""
    try:
        values = [_values(feature, statistics.get(feature.name) or {}) for feature in plan.features]
    except LookupError:
        return None
    return Rows(*_made_of(plan, values), _ROWS, "made-up rows")


def _made_of(plan: ScoringPlan, values: Sequence[Sequence[Any]]) -> tuple[WorkerPlan, list[NDArray[Any]]]:
    """Values, a list for each feature, as a worker is given them."""
    single = single_lanes(plan.features)
    columns = [model_column(f.type, v) for f, v in zip(plan.features, values, strict=True)]
    return _packed(plan, single), _pack(single, columns)


def _values(feature: PlannedFeature, statistics: Mapping[str, Any]) -> list[Any]:
    """Values of one feature, a row each."""
    order = np.random.default_rng(zlib.crc32(feature.name.encode())).permutation(_ROWS)
    return [_value(feature.type, int(i), statistics) for i in order]


_NUMBERS = (0.5, 1.0, -2.0, 40.0, 7.0)
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  UTC, as all of a model's times


def _value(type_: ModelType, i: int, statistics: Mapping[str, Any]) -> Any:
    """The i-th of some distinct values.

    Raises:
        LookupError: the type does not say what its values are.

    """
    match type_:
        case Category() | Coded():
            return i % len(type_.levels.values) if type_.levels.values else MISSING_CODE
        case OneOf():
            return _level(type_.levels, i, type_.type)
        case Tensor():
            return [_value(type_.dtype, (i + k) % _ROWS, {}) for k in range(max(type_.width, 1))]
        case Array():
            return [_inner(type_.element, (i + k) % _ROWS) for k in range(3)]
        case Map():
            return [("a", _inner(type_.value, i)), ("b", _inner(type_.value, (i + 1) % _ROWS))]
        case Object():
            return {m.name: _inner(m.type, i) for m in type_.members}
        case str() if type_ in _MADE:
            return _MADE[type_](i, statistics)
        case str() if type_ != ANY:  # whole numbers, numpy's too
            quantile = _quantile(statistics, i)
            return i if quantile is None else int(quantile)
        case _:
            raise LookupError(type_)


def _number(i: int, statistics: Mapping[str, Any]) -> float:
    quantile = _quantile(statistics, i)
    return _NUMBERS[i] if quantile is None else quantile


def _text(i: int, statistics: Mapping[str, Any]) -> str:
    levels = [level for level, _ in statistics.get("levels") or ()]
    return str(levels[i % len(levels)]) if levels else "abcdefgh"[i]


def _micros(i: int, _: Mapping[str, Any]) -> int:
    moment = dt.datetime(2024, 1, 1) + dt.timedelta(days=37 * i)  # noqa: DTZ001
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


_MADE: dict[str, Callable[[int, Mapping[str, Any]], Any]] = {
    "double": _number,
    "float": _number,
    "float16": _number,
    "string": _text,
    "boolean": lambda i, _: bool(i % 2),
    "binary": lambda i, _: bytes([i]),
    "datetime": _micros,
}
"""MLflow type -> the i-th of some distinct values."""


def _inner(type_: ModelType, i: int) -> Any:
    """A value inside another; times are times there."""
    value = _value(type_, i, {})
    return _EPOCH + dt.timedelta(microseconds=value) if type_ == "datetime" else value


def _level(levels: Levels, i: int, type_: str) -> Any:
    level = levels.values[i % len(levels.values)]
    return str(level) if type_ == "string" else level


def _quantile(statistics: Mapping[str, Any], i: int) -> float | None:
    quantiles = recorded_quantiles(statistics)
    return quantiles[i % len(quantiles)] if quantiles else None


def _is_list(value: Any) -> bool:
    """Whether it holds several values."""
    return isinstance(value, list | tuple | pd.Series) or (isinstance(value, np.ndarray) and value.ndim > 0)
