"""A plan tried out on a few rows before any row of the table is read: whether the model treats each row by itself.

The driver has the model in memory for the plan. Here it is called as a worker calls it, on rows of its saved input
example, cast as the plan casts a table's; without one, on rows made up from types, category levels and recorded
statistics. A row must get the same result alone, beside another, among all and in another order, and twice the same.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import time
import traceback
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyspark.sql.types import StructField, StructType

from spark_scoring.engine.casts import LANE_TYPES, MISSING_CODE, MISSING_TIME
from spark_scoring.engine.inputs import WorkerPlan, build_input
from spark_scoring.engine.pandas_casts import frame_columns, frame_schema, model_column, single_lanes
from spark_scoring.engine.results import index_order, normalise
from spark_scoring.engine.stage import log_model_error, spark_type_of
from spark_scoring.engine.worker import kind_and_line
from spark_scoring.errors import ModelOutputError, PlanError, Problem, RequestError, RunError
from spark_scoring.model.categories import RECORDED
from spark_scoring.model.loaded import LoadedModel, loaded_model
from spark_scoring.model.types import ANY, Array, Category, Coded, Map, Object, OneOf, Tensor
from spark_scoring.plan.planner import Request, make_plan, with_notes
from spark_scoring.plan.policy import Policy
from spark_scoring.plan.rehearsal import BATCH_CODES, Rehearsal, RehearsalFinding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from spark_scoring.model.spec import ModelSpec
    from spark_scoring.model.types import Levels, ModelType
    from spark_scoring.plan.outputs import Returned
    from spark_scoring.plan.planner import PlannedFeature, ScoringPlan
    from spark_scoring.plan.rehearsal import Origin

Fields = list[tuple["NDArray[Any]", "NDArray[np.bool_]"]]

_ROWS = 5
"""Rows that are played together at most."""
_WITH_NULLS = 3
"""Rows into which nulls are put."""
_SECONDS = 5.0
_RELATIVE, _OF_LARGEST = 1e-4, 1e-5
"""How much a number may differ: libraries sum in another order for other batches, some in single precision."""
_ON_PURPOSE = "if that is meant, say batch_dependent: true"
_SKIP = "rehearse: false leaves this check out"


@dataclass(frozen=True)
class _Rows:
    """Rows as columns that no model has been given."""

    plan: WorkerPlan
    columns: list[NDArray[Any]]
    n: int
    origin: Origin
    only_compare: bool = False
    """Whether the model need not like them: there are others by which it is judged."""

    def input(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Any:
        """What the model takes, made anew."""
        return build_input(self.plan, self.of(rows).columns)

    def of(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> _Rows:
        """Some of them."""
        chosen = np.asarray(rows, dtype=int)
        return replace(self, columns=[column[chosen] for column in self.columns], n=len(chosen))


def rehearsed(
    plan: ScoringPlan,
    *,
    policy: Policy,
    rehearse: bool = True,
    batch_dependent: bool = False,
    show_model_error: bool = False,
    before: ScoringPlan | None = None,
) -> ScoringPlan:
    """The plan after a rehearsal, with what it has found. Calls the model, which the plan has loaded.

    Args:
        plan: the scoring plan.
        policy: of the request; under a strict one what scoring would do wrong is an error, else a note.
        rehearse: False: nothing is tried.
        batch_dependent: whether the job says that a row's result may depend on other rows or on chance.
        show_model_error: whether a traceback of the model, which may hold values, goes to the log.
        before: an earlier plan with the same model, whose rehearsal holds.

    Raises:
        PlanError: with everything that scoring would do wrong.

    """
    if before is not None:
        return replace(plan, returns=before.returns, proven=before.proven, rehearsal=before.rehearsal)
    if not rehearse:
        return plan
    allowed = batch_dependent or plan.model.batch_dependent
    found = rehearse_plan(plan, policy=policy, show_model_error=show_model_error)
    errors = [f for f in found.findings if f.is_error and not (allowed and f.code in BATCH_CODES)]
    if errors and policy.is_strict:
        raise PlanError([Problem(f"model {plan.model.uri!r}", f.cause, f.fix) for f in errors])
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
    begin = time.perf_counter()
    model = loaded_model(plan.model.path, plan.model.digest)
    example = model.input_example if example is None else example
    act = _Act(model, plan, begin + _SECONDS, show_model_error=show_model_error)
    given = (_example_rows(plan, policy or Policy(), example), _made_rows(plan, model))
    scored = [act.play(rows) for rows in given if rows is not None]
    with_nulls = next((_with_nulls(plan, rows) for rows in scored if rows.n), None)
    if with_nulls is not None:
        act.play(with_nulls)
    seconds = time.perf_counter() - begin
    return Rehearsal(act.origin, act.scored, seconds, tuple(act.findings.values()), tuple(act.by_position))


@dataclass
class _Act:
    """One rehearsal: the calls of the model, and what they have shown."""

    model: LoadedModel
    plan: ScoringPlan
    until: float
    show_model_error: bool = False
    findings: dict[str, RehearsalFinding] = field(default_factory=dict)
    by_position: list[str] = field(default_factory=list)
    scored: int = 0
    """Rows that every method has scored."""
    answered: int = 0
    """Rows that the method at hand has scored."""
    origin: Origin | None = None

    def play(self, rows: _Rows) -> _Rows:
        """Every method on the rows; those that all of them scored."""
        rows = replace(rows, only_compare=rows.only_compare or self.scored > 0)
        scored: list[NDArray[np.integer[Any]]] = [np.arange(0)]
        try:
            scored = [self._method(returned, rows) for returned in self.plan.returns]
        except _LateError:
            scored = [np.arange(self.answered)]
            cause = f"it was ended after {_SECONDS:g} s; not everything was tried"
            self.findings.setdefault("late", RehearsalFinding("late", cause))
        good = min(scored, key=len)
        if not rows.only_compare:
            self.scored += len(good)
            self.origin = self.origin or (rows.origin if len(good) else None)
        return rows.of(good)

    def _method(self, returned: Returned, rows: _Rows) -> NDArray[np.integer[Any]]:
        """The rows that one method has scored."""
        if "random" in self.findings:
            return np.arange(0)  # two calls tell nothing
        try:
            good, given, raw = self._good_rows(returned, rows)
            if len(good):
                self._compare(returned, rows, good, given, raw)
        except ModelOutputError as error:
            if not rows.only_compare:
                problem = error.problems[0]
                self._find("results", f"{problem.thing}: {problem.cause}", f"{problem.fix}; {_SKIP}")
            return np.arange(0)
        except _LateError:
            raise
        except Exception as error:  # noqa: BLE001  the model's code may raise anything
            cause = f"{returned.method} raises {kind_and_line(error)} on rows that it takes in another call"
            self._find("batch", cause, f"let it treat each row by itself; {_ON_PURPOSE}")
            return np.arange(0)
        return good

    def _good_rows(self, returned: Returned, rows: _Rows) -> tuple[NDArray[np.integer[Any]], Any, Any]:
        """The rows that the model takes, in one call: its input and its result.

        All of them; else those on which it does not raise when it is given them alone.
        """
        every = np.arange(rows.n)
        self.answered = 0
        given = rows.input(every)
        raw, together = self._tried(returned, given)
        if together is None:
            self.answered = rows.n
            return every, given, raw
        good = np.array([i for i in every if self._raises(returned, rows, [int(i)]) is None], dtype=int)
        if not len(good):
            self._raises_on_all(returned, rows, together)
            return good, None, None
        given = rows.input(good)
        raw, together = self._tried(returned, given)
        if together is None:
            return good, given, raw
        cause = f"{returned.method} raises {kind_and_line(together)} on rows together that it takes one by one"
        self._find("batch", cause, f"let it treat each row by itself; {_ON_PURPOSE}")
        return good[:0], None, None

    def _raises_on_all(self, returned: Returned, rows: _Rows, error: Exception) -> None:
        kind = kind_and_line(error)
        if rows.only_compare:
            return
        if any(self._raises(returned, rows, [i, i]) is None for i in range(rows.n)):
            self._single(returned, error)
            return
        if rows.origin == "made-up rows":
            cause = f"{returned.method} raises {kind} on every row that was made up for it: nothing was tried"
            self.findings.setdefault("made-up", RehearsalFinding("made-up", cause))
            return
        cause = f"{returned.method} raises {kind} on every row of the model's own input example"
        fix = f"--show-model-error shows its text; log the model with an example that it can score; {_SKIP}"
        self._find("fails", cause, fix)

    def _compare(self, returned: Returned, rows: _Rows, good: NDArray[np.integer[Any]], given: Any, raw: Any) -> None:
        """Hold what each row gets in one call against what it gets in others."""
        if not rows.only_compare and not _equal_input(given, rows.input(good)):
            cause = f"{returned.method} changes its input; each call gets input of its own"
            self.findings.setdefault("changes", RehearsalFinding("changes", cause))
        n = len(good)
        reordered = index_order(raw, n) is not None
        base = _copied(normalise(returned, raw, n))  # a model may hand out memory of its own, again and again
        if not rows.only_compare and not _same(base, self._fields(returned, rows, good)):
            cause = f"{returned.method} gives the same rows another result when it is called again"
            fix = f"let it draw nothing at random and keep nothing from call to call, or fix its seed; {_ON_PURPOSE}"
            self._find("random", cause, fix)
            return
        alone = self._alone(returned, rows, good)
        if alone is None:
            return
        if reordered and not self._agree(base, alone):
            by_position = normalise(replace(returned, by_index=False), raw, n)
            if self._agree(by_position, alone):
                self.by_position.append(returned.method)
                returned, base, reordered = replace(returned, by_index=False), by_position, False
        if reordered:
            cause = f"{returned.method} returns its rows in another order; they are put back by its result's index"
            self.findings.setdefault("index", RehearsalFinding("index", cause))
        places = np.arange(n)
        groups = [places[::-1], places[:2]][: 1 if rows.only_compare else 2] if n > 1 else []
        consistent = self._agree(base, alone) and all(
            _same(_taken(base, group), self._fields(returned, rows, good[group])) for group in groups
        )
        if not consistent:
            self._blame(returned, rows, good, base)

    def _alone(self, returned: Returned, rows: _Rows, good: NDArray[np.integer[Any]]) -> dict[int, Fields] | None:
        """What each row gets alone, by its place; None where the model raises on one of them."""
        try:
            return {place: self._fields(returned, rows, good[[place]]) for place in range(len(good))}
        except (_LateError, RunError):
            raise
        except Exception as error:  # noqa: BLE001  the model's code may raise anything
            self._single(returned, error)
            return None

    def _single(self, returned: Returned, error: Exception) -> None:
        cause = f"{returned.method} raises {kind_and_line(error)} on one row alone, and not on it among others"
        self._find("single", cause, f"let it take a frame of one row; {_SKIP}")

    @staticmethod
    def _agree(base: Fields, alone: Mapping[int, Fields]) -> bool:
        return all(_same(_taken(base, np.array([place])), fields) for place, fields in alone.items())

    def _blame(self, returned: Returned, rows: _Rows, good: NDArray[np.integer[Any]], base: Fields) -> None:
        """Whether rows are exchanged or their results depend on each other."""
        single = [_row_texts(self._fields(returned, rows, [i]))[0] for i in good]
        if Counter(single) == Counter(_row_texts(base)):
            cause = (
                f"{returned.method} returns its rows in another order than it was given them, and does not say which"
            )
            fix = (
                "let it return a Series or DataFrame with the index of its input, or sort back before it returns; "
                f"{_ON_PURPOSE}"
            )
            self._find("order", cause, fix)
            return
        cause = f"{returned.method} gives a row another result when it is given other rows beside it"
        fix = (
            "let it treat each row by itself: statistics such as means, ranks or categories belong into training; "
            f"{_ON_PURPOSE}"
        )
        self._find("batch", cause, fix)

    def _find(self, code: str, cause: str, fix: str) -> None:
        self.findings.setdefault(code, RehearsalFinding(code, cause, fix))

    def _raises(self, returned: Returned, rows: _Rows, of: Sequence[int]) -> Exception | None:
        return self._tried(returned, rows.input(of))[1]

    def _tried(self, returned: Returned, data: Any) -> tuple[Any, Exception | None]:
        """What the model returns, or what it raises."""
        try:
            return self._call(returned, data), None
        except _LateError:
            raise
        except Exception as error:  # noqa: BLE001  the model's code may raise anything
            if self.show_model_error:
                log_model_error("".join(traceback.format_exception(error)))
                self.show_model_error = False
            return None, error

    def _fields(self, returned: Returned, rows: _Rows, of: Sequence[int] | NDArray[np.integer[Any]]) -> Fields:
        return _copied(normalise(returned, self._call(returned, rows.input(of)), len(of)))

    def _call(self, returned: Returned, data: Any) -> Any:
        if time.perf_counter() > self.until:
            raise _LateError
        return self.model.call(returned.method, data, dict(self.plan.params))


class _LateError(Exception):
    """The time of a rehearsal is spent."""


# What a row gets in two calls.


def _copied(fields: Fields) -> Fields:
    return [(values.copy(), null.copy()) for values, null in fields]


def _taken(fields: Fields, rows: NDArray[np.integer[Any]]) -> Fields:
    return [(values[rows], null[rows]) for values, null in fields]


def _same(a: Fields, b: Fields) -> bool:
    return all(
        len(x) == len(y) and np.array_equal(p, q) and _same_values(x[~p], y[~q])
        for (x, p), (y, q) in zip(a, b, strict=True)
    )


def _same_values(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if a.dtype.kind == "f":
        finite = np.abs(a[np.isfinite(a)])
        slack = _OF_LARGEST * float(finite.max(initial=0.0))
        return bool(np.isclose(a, b, rtol=_RELATIVE, atol=slack, equal_nan=True).all())
    if a.dtype.kind == "O":
        return all(_same_value(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True))
    return bool(np.array_equal(a, b))


def _same_value(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=_RELATIVE, atol=_OF_LARGEST, equal_nan=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_value(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same_value(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _row_texts(fields: Fields) -> list[str]:
    """Each row's results as a text that is equal for equal ones."""
    columns = [
        [None if n else _rounded(v) for v, n in zip(values.tolist(), null, strict=True)] for values, null in fields
    ]
    return [repr(row) for row in zip(*columns, strict=True)]


def _rounded(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _equal_input(a: Any, b: Any) -> bool:
    match a:
        case pd.DataFrame():
            if not (a.columns.equals(b.columns) and a.index.equals(b.index) and list(a.dtypes) == list(b.dtypes)):
                return False
            texts = (repr(frame.select_dtypes(object).to_numpy().tolist()) for frame in (a, b))
            return a.select_dtypes(exclude=object).equals(b.select_dtypes(exclude=object)) and len({*texts}) == 1
        case dict():
            return a.keys() == b.keys() and all(_equal_input(a[name], b[name]) for name in a)
        case np.ndarray() if a.dtype.kind != "O":
            return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        case _:
            return repr(a) == repr(b)


# Rows of the saved example, the way of a table.


def _example_rows(plan: ScoringPlan, policy: Policy, example: Any) -> _Rows | None:
    """The example's rows as the plan casts a table's; None where it is not rows of the model's inputs."""
    frame = example_frame(plan.model, example)
    if frame is None or not len(frame):
        return None
    try:
        lanes, columns = example_lanes(plan, frame.iloc[:_ROWS], policy)
    except (RequestError, RunError):
        return None
    return _Rows(lanes, columns, len(columns[0]), "input example") if len(columns[0]) else None


def example_lanes(plan: ScoringPlan, frame: pd.DataFrame, policy: Policy) -> tuple[WorkerPlan, list[NDArray[Any]]]:
    """An example's rows as a worker is given them: what the plan does to a table of the example's types.

    Rows that the plan's checks keep from the model are left out.

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
    given = frame_columns(with_levels_in_place(plan.model, frame), own, schema)
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
    if isinstance(example, pd.Series) or (isinstance(example, dict) and all(np.ndim(v) == 0 for v in example.values())):
        example = pd.DataFrame([example])
    if isinstance(example, pd.DataFrame):
        frame = example.rename(columns=str)
        if not set(names) & set(frame.columns) and len(frame.columns) == len(names):
            frame.columns = pd.Index(names)
        return frame
    if isinstance(example, dict):
        columns = {str(name): list(np.asarray(values)) for name, values in example.items()}
        return pd.DataFrame(columns) if len({len(c) for c in columns.values()}) == 1 else None
    if isinstance(example, str | int | float | bool):
        example = [example]
    if isinstance(example, np.ndarray) and example.ndim == 2 and example.shape[1] == len(names) > 1:  # noqa: PLR2004
        return pd.DataFrame(example, columns=names)
    if isinstance(example, list) and example and all(isinstance(row, dict) for row in example):
        return pd.DataFrame(example)
    if isinstance(example, list | np.ndarray) and np.ndim(example) and len(names) == 1:
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


def _with_nulls(plan: ScoringPlan, rows: _Rows) -> _Rows:
    """The rows with a null in every feature that the plan lets one reach the model in: of each in another row."""
    rows = rows.of(range(min(rows.n, _WITH_NULLS)))
    keeps = (f.name for f in plan.features if f.handling.nulls == "keep" and not isinstance(f.type, Tensor))
    row_of = {name: i % rows.n for i, name in enumerate(keeps)}
    columns = []
    for (type_, names, packed), column in zip(rows.plan.lanes, rows.columns, strict=True):
        own = column.copy()
        for i, name in enumerate(names):
            place = (row_of.get(name), i) if packed else row_of.get(name)
            if name in row_of and (type_ in _NULLS or not packed):
                own[place] = _NULLS.get(type_)
        columns.append(own)
    return replace(rows, columns=columns, only_compare=True)


_NULLS = {"double": math.nan, "float": math.nan, "datetime": MISSING_TIME, "category": MISSING_CODE}
"""What stands for a null in a lane."""


def _made_rows(plan: ScoringPlan, model: LoadedModel) -> _Rows | None:
    """Rows of plausible values, in no column sorted; None where a feature has no type to make them of."""
    statistics = _statistics(model)
    try:
        values = [_values(feature, statistics.get(feature.name) or {}) for feature in plan.features]
    except LookupError:
        return None
    single = single_lanes(plan.features)
    columns = [model_column(f.type, v) for f, v in zip(plan.features, values, strict=True)]
    return _Rows(_packed(plan, single), _pack(single, columns), _ROWS, "made-up rows")


def _statistics(model: LoadedModel) -> Mapping[str, Any]:
    try:
        own = (model.metadata or {}).get(RECORDED) or {}
        found = json.loads(own.get("statistics") or "{}")
    except Exception:  # noqa: BLE001  what cannot be read is as not recorded
        return {}
    return found if isinstance(found, dict) else {}


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
    quantiles: Iterable[Any] = statistics.get("quantiles") or ()
    numbers = [q for q in quantiles if isinstance(q, int | float)]
    return float(numbers[i % len(numbers)]) if numbers else None
