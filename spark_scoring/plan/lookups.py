"""What adds a model's features to a table, as data: joins of feature tables and calls of functions, in rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from spark_scoring.sql import text

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

    from spark_scoring.model.feature_spec import FunctionDefinition


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
