"""Point-in-time joins by sorting: all tables with the same keys in one union, one shuffle and one sort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import ArrayType, LongType, StructField, StructType

from spark_scoring.conversions.table import time_micros
from spark_scoring.features.asof_join import SMALL_BYTES, AsOfJoin, analyzed, cast_sql, estimated_bytes, is_plain
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

_TIME_BITS = 42
"""Of the sorting code; the others are of the key's hash."""
_UNIT_BITS = 11
"""The code's unit of time: 2 ms, so that its 42 bits reach from 1970 to 2255; what lies outside sorts slower."""
_ATOMIC_SALT = 8
"""Columns that spread rows without a key over the tasks."""


def by_sorting(spine: DataFrame, joins: Sequence[AsOfJoin], prefix: str) -> DataFrame:
    """Lookups with the same keys and time, through one union and one sort. Runs no job.

    The window sorts by key, then time. It is handed rows that are nearly in that order already, which costs it
    one comparison per row: sorted before by one number made of the key's hash and the time, which Spark sorts by
    radix, without comparing rows.
    """
    shape = _Union(spine, joins, prefix)
    union = shape.spine_rows()
    for place, join in enumerate(joins):
        union = union.union(shape.feature_rows(place, _needed_rows(spine, join)))
    hashed, time, code = shape.hashed, shape.time, f"{prefix}_code"
    coded = (
        f"shiftleft(shiftright({hashed}, {_TIME_BITS}), {_TIME_BITS})"
        f" | least(greatest(shiftright({time}, {_UNIT_BITS}), 0L), {2**_TIME_BITS - 1}L)"
    )
    # The hash is made anew behind the shuffle, which is cheaper than that it travels.
    spread = union.repartition(F.expr(shape.hash_sql)).withColumn(hashed, F.expr(shape.hash_sql))
    near = spread.withColumn(code, F.expr(coded)).sortWithinPartitions(code)
    window = Window.partitionBy(hashed, *shape.keys).orderBy(time, *shape.feature_order())
    to_here = window.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    latest = [F.last(column, ignorenulls=True).over(to_here).alias(column) for column in shape.latest]
    is_own = F.expr(" AND ".join(f"{column} IS NULL" for column in shape.latest)).alias(shape.is_own)
    filled = near.select(*shape.kept, *latest, is_own).where(shape.is_own)
    return filled.select(*shape.own_columns(), *shape.features())


class _Union:
    """The columns of the union of a scored table and feature tables, and what is read from it again."""

    def __init__(self, spine: DataFrame, joins: Sequence[AsOfJoin], prefix: str) -> None:
        self._spine = spine
        self._joins = joins
        self._prefix = prefix
        self._matches = joins[0].lookup.matches
        self._as_of = as_of = joins[0].as_of
        self.keys = [f"{prefix}_key{i}" for i in range(len(self._matches))]
        self.time, self.hashed, self.is_own = f"{prefix}_time", f"{prefix}_hash", f"{prefix}_own"
        self.latest = [f"{prefix}_latest{i}" for i in range(len(joins))]
        # Keys and time travel once: they are read back from what is sorted by.
        self._as_key = {m.source: key for m, key in zip(self._matches, self.keys, strict=True) if m.cast is None}
        self._as_time = as_of.source if as_of.source_type == "timestamp" else None
        carried = [c for c in spine.columns if c not in self._as_key and c != self._as_time]
        self._places = {c: f"{prefix}_own{i}" for i, c in enumerate(carried)}
        self._types = [_struct_type(join) for join in joins]
        self.kept = [*self.keys, self.time, *self._places.values()]
        lost = " OR ".join(f"{key} IS NULL" for key in self.keys)
        self.hash_sql = f"CASE WHEN {lost} THEN {self._salt()} ELSE xxhash64({', '.join(self.keys)}) END"

    def spine_rows(self) -> DataFrame:
        keys = [cast_sql(quote(m.source), m.cast) for m in self._matches]
        return self._spine.select(
            *[F.expr(sql).alias(name) for sql, name in zip(keys, self.keys, strict=True)],
            F.expr(time_micros(quote(self._as_of.source), self._as_of.source_type)).alias(self.time),
            *[F.col(quote(c)).alias(place) for c, place in self._places.items()],
            *[F.lit(None).cast(t).alias(name) for t, name in zip(self._types, self.latest, strict=True)],
        )

    def feature_rows(self, place: int, rows: DataFrame) -> DataFrame:
        join = self._joins[place]
        schema = self._spine.schema
        return rows.select(
            *[F.expr(sql).alias(name) for sql, name in zip(join.row_keys, self.keys, strict=True)],
            F.expr(join.row_micros).alias(self.time),
            *[F.lit(None).cast(schema[c].dataType).alias(name) for c, name in self._places.items()],
            *[
                _struct(join).alias(name) if i == place else F.lit(None).cast(t).alias(name)
                for i, (t, name) in enumerate(zip(self._types, self.latest, strict=True))
            ],
        )

    def feature_order(self) -> list[Column]:
        """At the same time: feature rows in the order of their values, behind them the scored table's rows."""
        columns = []
        for type_, name in zip(self._types, self.latest, strict=True):
            if is_orderable(type_):
                columns.append(F.col(name).asc_nulls_last())
            else:
                columns.append(F.col(name).isNull().asc())
                values = [(F.col(f"{name}.{f.name}"), is_orderable(f.dataType)) for f in type_.fields]
                columns += [(v if orderable else F.to_json(F.struct(v))).asc() for v, orderable in values]
        return columns

    def own_columns(self) -> list[Column]:
        """The scored table's columns, as they were."""
        found = []
        for column in self._spine.columns:
            if column in self._as_key:
                value = F.col(self._as_key[column])
            elif column == self._as_time:
                value = F.expr(f"timestamp_micros({self.time})")
            else:
                value = F.col(self._places[column])
            found.append(value.alias(column))
        return found

    def features(self) -> list[Column]:
        """The looked-up columns; null where the latest row is too old."""
        columns = []
        for join, latest in zip(self._joins, self.latest, strict=True):
            age = join.as_of.lookback_micros
            for i, name in enumerate(join.names):
                value = F.col(f"{latest}.f{i}")
                if age is not None:
                    value = F.when(F.expr(f"{self.time} - {latest}.t <= {age}L"), value)
                columns.append(value.alias(name))
        return columns

    def _salt(self) -> str:
        """What spreads rows without a key, which match nothing; the same at each try of a task."""
        types = {field.name: field.dataType for field in self._spine.schema.fields}
        names = [place for c, place in self._places.items() if is_plain(types[c])]
        return f"xxhash64({', '.join([self.time, *names[:_ATOMIC_SALT]])})"


def is_orderable(type_: DataType) -> bool:
    """Whether Spark can sort by values of the type."""
    match type_:
        case ArrayType():
            return is_orderable(type_.elementType)
        case StructType():
            return all(is_orderable(field.dataType) for field in type_.fields)
        case _:
            return type(type_).__name__ not in ("MapType", "VariantType", "CalendarIntervalType")


def _struct(join: AsOfJoin) -> Column:
    """A feature row's values in one column; its time behind them, where its age counts."""
    values = [F.col(quote(feature.column)).alias(f"f{i}") for i, feature in enumerate(join.lookup.features)]
    if join.as_of.lookback_micros is not None:
        values.append(F.expr(join.row_micros).alias("t"))
    return F.struct(*values)


def _struct_type(join: AsOfJoin) -> StructType:
    fields = [StructField(f"f{i}", join.rows.schema[f.column].dataType) for i, f in enumerate(join.lookup.features)]
    if join.as_of.lookback_micros is not None:
        fields.append(StructField("t", LongType()))
    return StructType(fields)


def _needed_rows(spine: DataFrame, join: AsOfJoin) -> DataFrame:
    """The findable feature rows; where the scored table is small and may be read twice, those of its keys only."""
    rows = join.findable()
    plan = analyzed(spine)
    if (
        plan is None
        or not _reads_alike(plan)
        or not estimated_bytes(plan) <= min(SMALL_BYTES, estimated_bytes(analyzed(rows)))
    ):
        return rows
    matches = join.lookup.matches
    keys = spine.select(*[F.expr(cast_sql(quote(m.source), m.cast)).alias(f"k{i}") for i, m in enumerate(matches)])
    own, same = rows.alias("f"), []
    for i, match in enumerate(matches):
        same.append(f"{cast_sql(f'f.{quote(match.column)}', match.cast)} = k.k{i}")
    return own.join(F.broadcast(keys.distinct().alias("k")), F.expr(" AND ".join(same)), "left_semi")


def _reads_alike(plan: Any) -> bool:
    """Whether a second run of the query gives the same rows: it reads files, filters and projects, no more."""
    nodes = {line.lstrip(" :+-").partition(" ")[0] for line in str(plan.toString()).splitlines()}
    return bool(plan.deterministic()) and nodes <= {"Project", "Filter", "Relation", "SubqueryAlias"}
