"""Point-in-time joins: each row's latest feature row at or before its time.

Two ways with one result. Both hold every row of the scored table once, whatever is in the feature tables.

- ``by_sorting``: all tables with the same keys in one union, one shuffle and one sort, then a window that
  carries the latest row of each table forward. Streams, spills, and reads a hot key in one pass.
- ``by_intervals``: a small table as intervals of validity, cut at the borders of time buckets and broadcast: the
  scored table is neither shuffled nor sorted.

A row's latest feature row counts, not the latest value of each column. Of rows with the same key and time the
greatest counts, by Spark's order of their values, so that the order of the input never matters. A null key or
time matches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import ArrayType, LongType, StructField, StructType

from spark_scoring.conversions.table import time_micros
from spark_scoring.spark_versions import takes_arrow_tables
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

    from spark_scoring.plan.lookups import TableLookup

_LAST = 2**63 - 1
_TIME_BITS = 42
"""Of the sorting code; the others are of the key's hash."""
_UNIT_BITS = 11
"""The code's unit of time: 2 ms, so that its 42 bits reach from 1970 to 2255; what lies outside sorts slower."""

_MOST_ROWS = 200_000
_MOST_BYTES = 10 * 2**20
_MOST_COPIES = 4
"""Rows of the cut intervals per feature row."""
_MOST_CANDIDATES = 16
"""Intervals of one key in one bucket."""
_FEW_CANDIDATES = 4
"""So few that narrower buckets do not pay."""
_ATOMIC_SALT = 8
"""Columns that spread rows without a key over the tasks."""


@dataclass(frozen=True)
class AsOfJoin:
    """One lookup with its table's rows and the names that its features get in the result."""

    lookup: TableLookup
    rows: DataFrame
    names: tuple[str, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """Lookups with the same one can share a sort."""
        as_of = self.lookup.as_of
        return (tuple((m.source, m.cast) for m in self.lookup.matches), as_of and as_of.source)


def latest_rows(spine: DataFrame, joins: Sequence[AsOfJoin], prefix: str) -> DataFrame:
    """The scored table with the features of several as-of lookups added; row count and columns stay.

    Runs a job for each small feature table, which reads it.

    Args:
        spine: the scored table; its column names are distinct.
        joins: the lookups.
        prefix: of internal column names; no column of any table begins so.

    """
    by_key: dict[tuple[object, ...], list[AsOfJoin]] = {}
    for join in joins:
        joined = by_intervals(spine, join, prefix) if _is_small(join) else None
        if joined is None:
            by_key.setdefault(join.key, []).append(join)
        else:
            spine = joined
    for group in by_key.values():
        spine = by_sorting(spine, group, prefix)
    return spine


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
        as_of = joins[0].lookup.as_of
        assert as_of is not None  # noqa: S101  the caller chose lookups that have one
        self._as_of = as_of
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
        keys = [_cast(quote(m.source), m.cast) for m in self._matches]
        return self._spine.select(
            *[F.expr(sql).alias(name) for sql, name in zip(keys, self.keys, strict=True)],
            F.expr(time_micros(quote(self._as_of.source), self._as_of.source_type)).alias(self.time),
            *[F.col(quote(c)).alias(place) for c, place in self._places.items()],
            *[F.lit(None).cast(t).alias(name) for t, name in zip(self._types, self.latest, strict=True)],
        )

    def feature_rows(self, place: int, rows: DataFrame) -> DataFrame:
        lookup = self._joins[place].lookup
        keys, micros = _feature_keys(lookup)
        schema = self._spine.schema
        return rows.select(
            *[F.expr(sql).alias(name) for sql, name in zip(keys, self.keys, strict=True)],
            F.expr(micros).alias(self.time),
            *[F.lit(None).cast(schema[c].dataType).alias(name) for c, name in self._places.items()],
            *[
                _struct(lookup, micros).alias(name) if i == place else F.lit(None).cast(t).alias(name)
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
            as_of = join.lookup.as_of
            age = None if as_of is None else as_of.lookback_micros
            for i, name in enumerate(join.names):
                value = F.col(f"{latest}.f{i}")
                if age is not None:
                    value = F.when(F.expr(f"{self.time} - {latest}.t <= {age}L"), value)
                columns.append(value.alias(name))
        return columns

    def _salt(self) -> str:
        """What spreads rows without a key, which match nothing; the same at each try of a task."""
        types = {field.name: field.dataType for field in self._spine.schema.fields}
        names = [place for c, place in self._places.items() if _is_plain(types[c])]
        return f"xxhash64({', '.join([self.time, *names[:_ATOMIC_SALT]])})"


_PLAIN = (
    *("boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal"),
    *("string", "binary", "date", "timestamp", "timestamp_ntz"),
)


def _is_plain(type_: DataType) -> bool:
    """Whether a value is no list, map, struct, variant or the like."""
    return type_.simpleString().partition("(")[0] in _PLAIN


def is_orderable(type_: DataType) -> bool:
    """Whether Spark can sort by values of the type."""
    match type_:
        case ArrayType():
            return is_orderable(type_.elementType)
        case StructType():
            return all(is_orderable(field.dataType) for field in type_.fields)
        case _:
            return type(type_).__name__ not in ("MapType", "VariantType", "CalendarIntervalType")


def _feature_keys(lookup: TableLookup) -> tuple[list[str], str]:
    """A feature row's keys and time, as SQL over its table."""
    assert lookup.as_of is not None  # noqa: S101
    keys = [_cast(quote(m.column), m.cast) for m in lookup.matches]
    return keys, time_micros(quote(lookup.as_of.column), lookup.as_of.column_type)


def _struct(lookup: TableLookup, micros: str) -> Column:
    """A feature row's values in one column; its time behind them, where its age counts."""
    values = [F.col(quote(feature.column)).alias(f"f{i}") for i, feature in enumerate(lookup.features)]
    if lookup.as_of is not None and lookup.as_of.lookback_micros is not None:
        values.append(F.expr(micros).alias("t"))
    return F.struct(*values)


def _struct_type(join: AsOfJoin) -> StructType:
    fields = [StructField(f"f{i}", join.rows.schema[f.column].dataType) for i, f in enumerate(join.lookup.features)]
    if join.lookup.as_of is not None and join.lookup.as_of.lookback_micros is not None:
        fields.append(StructField("t", LongType()))
    return StructType(fields)


def _cast(sql: str, type_: str | None) -> str:
    return sql if type_ is None else f"CAST({sql} AS {type_})"


def _findable(join: AsOfJoin) -> DataFrame:
    """The feature rows that have a key and a time; others are never found."""
    assert join.lookup.as_of is not None  # noqa: S101
    columns = [*[m.column for m in join.lookup.matches], join.lookup.as_of.column]
    return join.rows.where(" AND ".join(f"{quote(c)} IS NOT NULL" for c in columns))


def _needed_rows(spine: DataFrame, join: AsOfJoin) -> DataFrame:
    """The findable feature rows; where the scored table is small and may be read twice, those of its keys only."""
    rows = _findable(join)
    plan = _analyzed(spine)
    if plan is None or not _reads_alike(plan) or not _bytes(plan) <= min(_MOST_BYTES, _bytes(_analyzed(rows))):
        return rows
    matches = join.lookup.matches
    keys = spine.select(*[F.expr(_cast(quote(m.source), m.cast)).alias(f"k{i}") for i, m in enumerate(matches)])
    own, same = rows.alias("f"), []
    for i, match in enumerate(matches):
        same.append(f"{_cast(f'f.{quote(match.column)}', match.cast)} = k.k{i}")
    return own.join(F.broadcast(keys.distinct().alias("k")), F.expr(" AND ".join(same)), "left_semi")


def _analyzed(df: DataFrame) -> Any | None:
    """Spark's plan of a query, not optimized: that would ask Delta for files. None on Spark Connect, which has none."""
    return df._jdf.queryExecution().analyzed() if hasattr(df, "_jdf") else None  # noqa: SLF001


def _bytes(plan: Any) -> int:
    """Spark's estimate of the result's size, by the size of the files and the columns that are read."""
    return int(plan.stats().sizeInBytes())


def _reads_alike(plan: Any) -> bool:
    """Whether a second run of the query gives the same rows: it reads files, filters and projects, no more."""
    nodes = {line.lstrip(" :+-").partition(" ")[0] for line in str(plan.toString()).splitlines()}
    return bool(plan.deterministic()) and nodes <= {"Project", "Filter", "Relation", "SubqueryAlias"}


def by_intervals(spine: DataFrame, join: AsOfJoin, prefix: str) -> DataFrame | None:
    """One lookup in a small table, through the one interval that holds each row's time. Runs a job that reads it.

    None where the table has too many rows, or times too uneven for intervals.
    """
    as_of = join.lookup.as_of
    table = _distinct_rows(join)
    cut = None if as_of is None or table is None else cut_intervals(table, len(join.lookup.matches), _age(join))
    if as_of is None or cut is None:
        return None
    rows, first, last, width = cut
    names = [f"{prefix}_{name}" for name in rows.column_names]
    types = [*_columns_of(join).schema.fields, *(StructField(n, LongType()) for n in ("bucket", "from", "until"))]
    schema = StructType([StructField(name, field.dataType) for name, field in zip(names, types, strict=True)])
    intervals = spine.sparkSession.createDataFrame(rows.rename_columns(names), schema)
    micros = time_micros(quote(as_of.source), as_of.source_type)
    conditions = [
        *[f"{_cast(quote(m.source), m.cast)} = {prefix}_k{i}" for i, m in enumerate(join.lookup.matches)],
        f"(least({micros}, {last}L) - {first}L) div {width}L = {prefix}_bucket",
        f"{micros} >= {prefix}_from",
        f"{micros} < {prefix}_until",
    ]
    joined = spine.join(F.broadcast(intervals), F.expr(" AND ".join(conditions)), "left")
    own = [F.col(quote(column)) for column in spine.columns]
    return joined.select(*own, *[F.col(f"{prefix}_f{i}").alias(name) for i, name in enumerate(join.names)])


def _is_small(join: AsOfJoin) -> bool:
    """Whether a feature table is known to be small, and its values go to the driver and back as they are."""
    columns = _columns_of(join)
    plan = _analyzed(columns)
    plain = all(_is_plain(field.dataType) for field in columns.schema.fields)
    return plan is not None and plain and takes_arrow_tables(columns) and _bytes(plan) <= _MOST_BYTES


def _age(join: AsOfJoin) -> int | None:
    return None if join.lookup.as_of is None else join.lookup.as_of.lookback_micros


def _columns_of(join: AsOfJoin) -> DataFrame:
    """The findable rows' keys as ``k0``, their time as ``t``, and their features as ``f0``."""
    keys, micros = _feature_keys(join.lookup)
    return _findable(join).select(
        *[F.expr(sql).alias(f"k{i}") for i, sql in enumerate(keys)],
        F.expr(micros).alias("t"),
        *[F.col(quote(f.column)).alias(f"f{i}") for i, f in enumerate(join.lookup.features)],
    )


def _distinct_rows(join: AsOfJoin) -> pa.Table | None:
    """One row for each key and time, the greatest, in the order of keys and times; None where none or too many."""
    order = [*(f"k{i}" for i in range(len(join.lookup.matches))), "t"]
    rows = _columns_of(join)
    table = _sorted_rows(rows, order)
    if table is None or bool(_changes(table, len(order)).all()):
        return table
    # Equal times are rare. Spark, whose order decides, sorts them out in a read of its own.
    features = [F.col(f"f{i}").desc() for i in range(len(join.lookup.features))]
    numbered = rows.withColumn("n", F.row_number().over(Window.partitionBy(*order).orderBy(*features)))
    return _sorted_rows(numbered.where("n = 1").drop("n"), order)


def _sorted_rows(rows: DataFrame, order: Sequence[str]) -> pa.Table | None:
    table: Any = rows.limit(_MOST_ROWS + 1).toArrow()
    if not 0 < table.num_rows <= _MOST_ROWS:
        return None
    return table.sort_by([(name, "ascending") for name in order]).combine_chunks()


def cut_intervals(table: pa.Table, keys: int, age: int | None) -> tuple[pa.Table, int, int, int] | None:
    """Feature rows as intervals of validity, each once per time bucket that it touches.

    Args:
        table: columns ``k0..``, ``t`` (microseconds) and features, distinct in keys and time and sorted by them.
        keys: how many of the first columns are keys.
        age: how old a feature row may be, in microseconds, inclusive; None: any age.

    Returns:
        The rows with ``bucket``, ``from`` (inclusive) and ``until`` (exclusive); the first and last microsecond of
        the buckets, and their width. None where no width keeps both copies and intervals per bucket few: then
        times are too uneven.

    """
    times: NDArray[np.int64] = table.column("t").to_numpy()
    ends_key = np.append(_changes(table, keys), True)
    until = np.where(ends_key, _LAST, np.append(times[1:], _LAST))
    if age is not None:
        until = np.minimum(until, times + min(age + 1, _LAST - int(times.max())))
    first, last = int(times.min()), int(times.max())
    if age is not None:
        last = max(last, int(until.max()) - 1)
    group = np.append(0, np.cumsum(ends_key[:-1]))
    best: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None
    for width in _widths(first, last):
        start = (times - first) // width
        end = (np.minimum(until - 1, last) - first) // width
        copies = end - start + 1
        if copies.sum() > _MOST_COPIES * len(times) + _MOST_CANDIDATES:
            break
        rows = np.repeat(np.arange(len(times)), copies)
        bucket = start[rows] + np.arange(len(rows)) - np.repeat(np.cumsum(copies) - copies, copies)
        most = _most_alike(group[rows], bucket)
        if most <= _MOST_CANDIDATES:
            best = width, rows, bucket
        if most <= _FEW_CANDIDATES:
            break
    if best is None:
        return None
    width, rows, bucket = best
    cut = table.take(pa.array(rows))
    for name, values in (("bucket", bucket), ("from", times[rows]), ("until", until[rows])):
        cut = cut.append_column(name, pa.array(values, type=pa.int64()))
    return cut, first, last, width


def _changes(table: pa.Table, keys: int) -> NDArray[np.bool_]:
    """Whether each row but the first has another key than the one before."""
    changed = np.zeros(max(table.num_rows - 1, 0), dtype=bool)
    for i in range(keys):
        column = table.column(i).combine_chunks()
        differs = pc.not_equal(column[1:], column[:-1])
        changed |= np.asarray(differs.to_numpy(zero_copy_only=False), dtype=bool)
    return changed


def _widths(first: int, last: int) -> Iterator[int]:
    """Ever narrower buckets over a range of time."""
    width = last - first + 1
    while width >= 1:
        yield width
        if width == 1:
            return
        width = (width + 1) // 2


def _most_alike(group: NDArray[np.int64], bucket: NDArray[np.int64]) -> int:
    """The largest number of equal pairs."""
    order = np.lexsort((bucket, group))
    group, bucket = group[order], bucket[order]
    starts = np.flatnonzero(np.append(True, (group[1:] != group[:-1]) | (bucket[1:] != bucket[:-1])))
    return int(np.diff(np.append(starts, len(group))).max())
