"""Feature spec x table schemas -> a plan of lookups, or every problem at once. Reads no row and needs no session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import PlanError, Problem, listed, near_fix
from spark_scoring.model.feature_spec import FunctionColumn, LookupColumn, SourceColumn
from spark_scoring.plan.lookups import AsOf, FunctionCall, LookedUp, LookupPlan, Match, TableLookup

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyspark.sql.types import DataType, StructField, StructType

    from spark_scoring.model.feature_spec import FeatureSpec
    from spark_scoring.plan.lookups import FeatureTable, Step

_WHOLE = ("tinyint", "smallint", "int", "bigint")
_TEXT = ("string", "char", "varchar")
_KEYS = (*_WHOLE, *_TEXT, "boolean", "decimal", "binary", "date", "timestamp", "timestamp_ntz")
"""Types of keys: values that are equal or not, without a rounding or a collation between."""
_TIMES = ("date", "timestamp", "timestamp_ntz")
_LONGEST_SECONDS = 10_000 * 366 * 86_400
"""Spark's times are of the years 1 to 9999."""


def lookup_tables(spec: FeatureSpec, schema: StructType, *, case_sensitive: bool = False) -> tuple[str, ...]:
    """The feature tables that scoring a table of this schema needs: those of columns that it does not have itself."""
    needed = _needed(spec, _Names(schema.fieldNames(), case_sensitive=case_sensitive))
    return tuple(dict.fromkeys(c.table for c in needed if isinstance(c, LookupColumn)))


def plan_lookups(
    spec: FeatureSpec,
    schema: StructType,
    tables: Mapping[str, FeatureTable],
    *,
    case_sensitive: bool = False,
) -> LookupPlan:
    """Decide how each feature of a model is found.

    Args:
        spec: the model's feature spec.
        schema: the scored table's columns; a feature that is among them is not looked up.
        tables: the feature tables of ``lookup_tables``, by name.
        case_sensitive: Spark's rule for names.

    Raises:
        PlanError: with every problem: keys that are missing or of another type, features that their table lacks.

    """
    planner = _Planner(spec, schema, tables, case_sensitive=case_sensitive)
    plan = planner.plan()
    if planner.problems:
        raise PlanError(list(dict.fromkeys(planner.problems)))
    return plan


class _Names:
    """Names by Spark's rule for their case."""

    def __init__(self, names: Iterable[str], *, case_sensitive: bool) -> None:
        self.fold = str if case_sensitive else str.lower
        self._own = {self.fold(name): name for name in names}

    def __contains__(self, name: str) -> bool:
        return self.fold(name) in self._own

    def __getitem__(self, name: str) -> str:
        return self._own[self.fold(name)]

    def add(self, name: str) -> None:
        self._own.setdefault(self.fold(name), name)

    def all(self) -> list[str]:
        return list(self._own.values())


def _needed(spec: FeatureSpec, present: _Names) -> list[LookupColumn | FunctionColumn]:
    """Columns to be added, in the spec's order: what the model takes, and what these are made from."""
    by_name = {present.fold(column.name): column for column in spec.columns}
    wanted = [present.fold(column.name) for column in spec.included]
    needed: set[str] = set()
    while wanted:
        name = wanted.pop()
        column = by_name.get(name)
        if name in needed or column is None or isinstance(column, SourceColumn) or name in present:
            continue
        needed.add(name)
        wanted += [present.fold(other) for other in _inputs(column)]
    return [c for c in spec.columns if present.fold(c.name) in needed and not isinstance(c, SourceColumn)]


def _inputs(column: LookupColumn | FunctionColumn) -> tuple[str, ...]:
    """The columns that a column is made from."""
    if isinstance(column, FunctionColumn):
        return tuple(bound for _, bound in column.bindings)
    time = column.timestamp_lookup_key
    return (*column.lookup_key, *([] if time is None else [time]))


class _Planner:
    """Plans round by round, gathering problems."""

    def __init__(
        self, spec: FeatureSpec, schema: StructType, tables: Mapping[str, FeatureTable], *, case_sensitive: bool
    ) -> None:
        self._spec = spec
        self._tables = tables
        self._case_sensitive = case_sensitive
        self._names = _Names(schema.fieldNames(), case_sensitive=case_sensitive)
        self._types: dict[str, DataType | None] = {self._names.fold(f.name): f.dataType for f in schema.fields}
        self._columns = schema.fieldNames()
        folded = [self._names.fold(name) for name in self._columns]
        fix = "rename one; lookups tell columns apart by their names"
        self.problems: list[Problem] = [
            Problem(f"column {name}", "more than one column has this name", fix)
            for name in dict.fromkeys(folded)
            if folded.count(name) > 1
        ]

    def plan(self) -> LookupPlan:
        needed = _needed(self._spec, self._names)
        present = [c.name for c in self._spec.columns if not isinstance(c, SourceColumn) and c.name in self._names]
        rounds: list[tuple[Step, ...]] = []
        open_columns = list(needed)
        while ready := [c for c in open_columns if all(name in self._names for name in _inputs(c))]:
            rounds.append(tuple(self._steps(ready)))
            for column in ready:
                self._names.add(column.name)
            open_columns = [c for c in open_columns if c not in ready]
        self._unreachable(open_columns)
        return LookupPlan(tuple(rounds), tuple(column.name for column in needed), tuple(present))

    def _steps(self, columns: Sequence[LookupColumn | FunctionColumn]) -> Iterable[Step]:
        groups: dict[tuple[str, tuple[str, ...], str | None], list[LookupColumn]] = {}
        for column in columns:
            if isinstance(column, LookupColumn):
                key = (column.table, column.lookup_key, column.timestamp_lookup_key)
                groups.setdefault(key, []).append(column)
        for (name, lookup_key, time), members in groups.items():
            table = self._tables.get(name)
            if table is not None:  # else whoever looked for it has said so
                matches, as_of = self._keys(table, lookup_key, time)
                features = [feature for c in members if (feature := self._feature(table, c)) is not None]
                yield TableLookup(table, matches, as_of, tuple(features))
        for column in columns:
            if isinstance(column, FunctionColumn):
                bindings = tuple((parameter, self._names[bound]) for parameter, bound in column.bindings)
                self._types[self._names.fold(column.name)] = None
                yield FunctionCall(column.name, column.function, bindings, self._spec.definition(column.function))

    def _unreachable(self, columns: Sequence[LookupColumn | FunctionColumn]) -> None:
        """Columns whose inputs are nowhere: one problem for each missing input, naming what needs it."""
        own = {self._names.fold(column.name) for column in columns}
        needers: dict[str, list[str]] = {}
        for column in columns:
            for name in _inputs(column):
                if name not in self._names and self._names.fold(name) not in own:
                    needers.setdefault(name, []).append(column.name)
        for name, features in needers.items():
            cause = f"the table has no such column, by which the model looks up or computes {listed(features)}"
            near = near_fix(name, self._columns, what="columns") or "the table has no columns"
            self.problems.append(Problem(f"lookup key {name!r}", cause, f"{near}; add it, or the features themselves"))
        if columns and not needers:
            cause = f"they are each made from the other: {listed(c.name for c in columns)}"
            self.problems.append(Problem("feature spec", cause, "log the model again"))

    def _keys(
        self, table: FeatureTable, lookup_key: Sequence[str], time: str | None
    ) -> tuple[tuple[Match, ...], AsOf | None]:
        keys = table.primary_keys
        if keys is None:  # nothing says which: those of the same names, as is usual
            keys = tuple(lookup_key)
        thing = f"feature table {table.name}"
        if time is None and table.timeseries_column is not None and len(lookup_key) == len(keys) + 1:
            keys = (*keys, table.timeseries_column)  # looked up by its exact time
        elif time is None and table.timeseries_column is not None:
            cause = f"it is a time series by {table.timeseries_column}, and the lookup names no timestamp_lookup_key"
            self.problems.append(Problem(thing, cause, "log the model again with timestamp_lookup_key=<column>"))
        if len(keys) != len(lookup_key):
            cause = f"its primary keys are {listed(keys)}, and the lookup gives {listed(lookup_key)}"
            self.problems.append(Problem(thing, cause, "give one column for each key, in their order"))
        pairs = [self._match(table, source, key) for source, key in zip(lookup_key, keys, strict=False)]
        as_of = None if time is None else self._as_of(table, time)
        return tuple(match for match in pairs if match is not None), as_of

    def _match(self, table: FeatureTable, source: str, key: str) -> Match | None:
        column = self._column(table, key, "key")
        type_ = self._types.get(self._names.fold(source))
        if column is None or type_ is None:
            return None
        ours, theirs = type_.simpleString(), column.dataType.simpleString()
        cast = _common(ours, theirs)
        if cast is None:
            cause = f"the scored table's is {ours}, that of feature table {table.name} ({column.name}) is {theirs}"
            fix = f"cast it as it was in training: CAST({source} AS {theirs}) AS {source}"
            if theirs.partition("(")[0] not in _KEYS:
                why = f"a {theirs} cannot be compared exactly; integers, text and times can"
                fix = f"write {table.name} with another key: {why}"
            self.problems.append(Problem(f"lookup key {source!r}", cause, fix))
            return None
        return Match(self._names[source], column.name, None if ours == theirs else cast)

    def _as_of(self, table: FeatureTable, source: str) -> AsOf | None:
        time = table.timeseries_column or source
        column = self._column(table, time, "time")
        type_ = self._types.get(self._names.fold(source))
        if column is None or type_ is None:
            return None
        ours, theirs = type_.simpleString(), column.dataType.simpleString()
        for name, found, where in ((source, ours, "the scored table"), (time, theirs, f"feature table {table.name}")):
            if found not in _TIMES:
                cause = f"in {where} it is {found}, which is not a time"
                fix = f"make it a DATE or TIMESTAMP: to_timestamp({name})"
                self.problems.append(Problem(f"timestamp lookup key {name!r}", cause, fix))
        seconds = self._spec.table(table.name).lookback_seconds
        # No two times are farther apart than the longest of them: more would be more than a long holds.
        micros = None if seconds is None or seconds > _LONGEST_SECONDS else round(seconds * 1e6)
        return AsOf(self._names[source], ours, column.name, theirs, micros)

    def _feature(self, table: FeatureTable, column: LookupColumn) -> LookedUp | None:
        found = self._column(table, column.feature, "feature")
        if found is None:
            return None
        type_ = found.dataType.simpleString()
        self._types[self._names.fold(column.name)] = found.dataType
        return LookedUp(column.name, found.name, type_, column.default)

    def _column(self, table: FeatureTable, name: str, what: str) -> StructField | None:
        fields = {self._names.fold(field.name): field for field in table.schema.fields}
        found = fields.get(self._names.fold(name))
        if found is None:
            near = near_fix(name, table.schema.fieldNames(), what="its columns") or "it has no columns"
            cause = f"the table has no {what} column {name!r} (any more)"
            fix = f"{near}; else add it to the table, or give the scored table the features"
            self.problems.append(Problem(f"feature table {table.name}", cause, fix))
        return found


def _common(ours: str, theirs: str) -> str | None:
    """The type in which two keys are compared without a doubt; None where there is none."""
    if ours == theirs and ours.partition("(")[0] in _KEYS:
        return ours
    if ours in _WHOLE and theirs in _WHOLE:
        return max(ours, theirs, key=_WHOLE.index)
    if ours.partition("(")[0] in _TEXT and theirs.partition("(")[0] in _TEXT:
        return "string"
    return None
