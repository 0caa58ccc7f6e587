"""Feature spec x table schemas -> a plan of lookups, or every problem at once. Reads no row and needs no session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from spark_scoring.errors import PlanError, Problem, listed, near_fix
from spark_scoring.model.feature_spec import FunctionColumn, LookupColumn, SourceColumn
from spark_scoring.sql import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyspark.sql.types import DataType, StructField, StructType

    from spark_scoring.model.feature_spec import FeatureSpec, FunctionDefinition

_WHOLE = ("tinyint", "smallint", "int", "bigint")
_TEXT = ("string", "char", "varchar")
_KEYS = (*_WHOLE, *_TEXT, "boolean", "decimal", "binary", "date", "timestamp", "timestamp_ntz")
"""Types of keys: values that are equal or not, without a rounding or a collation between."""
_TIMES = ("date", "timestamp", "timestamp_ntz")
_LONGEST_SECONDS = 10_000 * 366 * 86_400
"""Spark's times are of the years 1 to 9999."""


@dataclass(frozen=True)
class FeatureTable:
    """What is known of a feature table before a row of it is read."""

    name: str
    """As the feature spec names it."""
    schema: StructType
    sql: str
    """As SQL addresses it."""
    path: str | None = None
    """Where it is addressed by a path."""
    table_id: str | None = None
    version: int | None = None
    """The version to read; None: whatever is there."""
    primary_keys: tuple[str, ...] | None = None
    """Its key columns without its time; None where nothing says which they are."""
    timeseries_column: str | None = None
    partitions: tuple[str, ...] = ()
    """The columns by which its files are partitioned."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Match:
    """A column of the scored table and one of the feature table that must be equal."""

    source: str
    column: str
    cast: str | None = None
    """The Spark type that both are compared in, where their types differ."""

    def __str__(self) -> str:
        return self.source if self.source == self.column else f"{self.source} = {self.column}"


@dataclass(frozen=True)
class AsOf:
    """The latest row at or before the scored row's time, by instant; a time without a zone is UTC."""

    source: str
    source_type: str
    column: str
    column_type: str
    lookback_micros: int | None = None
    """How old the row may be, inclusive; None: any age."""


@dataclass(frozen=True)
class LookedUp:
    """One looked-up column."""

    name: str
    column: str
    """Its name in the feature table."""
    type: str
    default: str | None = None
    """Text of the value that takes the place of a null or NaN."""

    @property
    def default_sql(self) -> str | None:
        """The default as SQL of the feature's type."""
        return None if self.default is None else f"CAST({text(self.default)} AS {self.type})"


@dataclass(frozen=True)
class TableLookup:
    """A join of one feature table."""

    table: FeatureTable
    matches: tuple[Match, ...]
    as_of: AsOf | None
    features: tuple[LookedUp, ...]

    @property
    def time_text(self) -> str:
        """``sched_dep >= hour, at most 3 h old``; nothing for a plain lookup."""
        if self.as_of is None:
            return ""
        age = self.as_of.lookback_micros
        limit = "" if age is None else f", at most {_duration(age)} old"
        return f"{self.as_of.source} >= {self.as_of.column}{limit}"


@dataclass(frozen=True)
class FunctionCall:
    """A column computed from others."""

    name: str
    function: str
    bindings: tuple[tuple[str, str], ...]
    definition: FunctionDefinition | None = None


@dataclass(frozen=True)
class Origin:
    """A looked-up column's line in a plan."""

    name: str
    source: str
    """``main.ml.weather at 3``, with the table's own name of the column where that differs; or a function."""
    keys: str
    """Columns of the scored table that are matched, or bound."""
    as_of: str = ""
    otherwise: str = ""
    """What a row gets for which nothing is found."""


Step: TypeAlias = TableLookup | FunctionCall


@dataclass(frozen=True)
class LookupPlan:
    """The joins and calls that add a model's features to a table, in rounds: each needs only what came before."""

    rounds: tuple[tuple[Step, ...], ...] = ()
    columns: tuple[str, ...] = ()
    """The added columns, in the order of the spec."""
    present: tuple[str, ...] = ()
    """Features that the table has itself, which are therefore not looked up."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order."""
        return tuple(step for steps in self.rounds for step in steps)

    @property
    def joins(self) -> tuple[TableLookup, ...]:
        """The steps that read a table."""
        return tuple(step for step in self.steps if isinstance(step, TableLookup))

    @property
    def sources(self) -> frozenset[str]:
        """The columns by which something is looked up: keys and times."""
        matched = {match.source for join in self.joins for match in join.matches}
        return frozenset(matched | {join.as_of.source for join in self.joins if join.as_of is not None})

    @property
    def tables(self) -> tuple[FeatureTable, ...]:
        """The feature tables that are read, each once."""
        return tuple({join.table.name: join.table for join in self.joins}.values())

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where each added column comes from, for people."""
        found = []
        for step in self.steps:
            if isinstance(step, FunctionCall):
                found.append(Origin(step.name, step.function, ", ".join(f"{p} => {c}" for p, c in step.bindings)))
                continue
            table = step.table.name if step.table.version is None else f"{step.table.name} at {step.table.version}"
            keys = ", ".join(map(str, step.matches))
            for feature in step.features:
                column = "" if feature.name == feature.column else f": {feature.column}"
                default = feature.default or "null"
                found.append(Origin(feature.name, table + column, keys, step.time_text, default))
        order = {name: place for place, name in enumerate(self.columns)}
        return tuple(sorted(found, key=lambda origin: order[origin.name]))

    def to_dict(self) -> list[dict[str, Any]]:
        """The lookups as JSON types: one entry per table and key, and one per function."""
        return [_step_dict(step) for step in self.steps]

    @property
    def decisive(self) -> list[str]:
        """All that decides the added values, but for the rows of the tables."""
        kept = []
        for step in self.steps:
            if isinstance(step, FunctionCall):
                kept.append(repr((step.name, step.function, step.bindings, step.definition)))
            else:
                kept.append(repr((step.table.name, step.matches, step.as_of, step.features)))
        return kept


def _duration(micros: int) -> str:
    """Microseconds in the largest unit of which they are a whole number: ``3 h``."""
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000)):
        if micros and micros % size == 0:
            return f"{micros // size} {unit}"
    return f"{micros / 1e6:g} s"


def _step_dict(step: Step) -> dict[str, Any]:
    if isinstance(step, FunctionCall):
        return {"function": step.function, "inputs": dict(step.bindings), "features": {step.name: step.function}}
    as_of = step.as_of
    return {
        "table": step.table.name,
        "version": step.table.version,
        "keys": {match.source: match.column for match in step.matches},
        "as_of": None if as_of is None else {as_of.source: as_of.column},
        "lookback_seconds": None if as_of is None or as_of.lookback_micros is None else as_of.lookback_micros / 1e6,
        "features": {feature.name: feature.column for feature in step.features},
        "defaults": {feature.name: feature.default for feature in step.features if feature.default is not None},
    }


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
