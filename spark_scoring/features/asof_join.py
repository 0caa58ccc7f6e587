"""One point-in-time lookup with its feature rows: their keys, their time, and what Spark estimates of their size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_scoring.conversions.table import time_micros
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

    from spark_scoring.plan.lookups import AsOf, TableLookup

_PLAIN = (
    *("boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal"),
    *("string", "binary", "date", "timestamp", "timestamp_ntz"),
)

SMALL_BYTES = 10 * 2**20
"""A table of no more is small."""


@dataclass(frozen=True)
class AsOfJoin:
    """One lookup with its table's rows and the names that its features get in the result."""

    lookup: TableLookup
    rows: DataFrame
    names: tuple[str, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """Lookups with the same one can share a sort."""
        return (tuple((m.source, m.cast) for m in self.lookup.matches), self.as_of.source)

    @property
    def as_of(self) -> AsOf:
        """How the times are compared."""
        assert self.lookup.as_of is not None  # noqa: S101  the caller chose lookups that have one
        return self.lookup.as_of

    @property
    def row_keys(self) -> list[str]:
        """A feature row's keys, as SQL over its table."""
        return [cast_sql(quote(m.column), m.cast) for m in self.lookup.matches]

    @property
    def row_micros(self) -> str:
        """A feature row's time, as SQL over its table."""
        return time_micros(quote(self.as_of.column), self.as_of.column_type)

    def findable(self) -> DataFrame:
        """The feature rows that have a key and a time; others are never found."""
        columns = [*[m.column for m in self.lookup.matches], self.as_of.column]
        return self.rows.where(" AND ".join(f"{quote(c)} IS NOT NULL" for c in columns))


def cast_sql(sql: str, type_: str | None) -> str:
    """SQL of a key, in the type that both sides are compared in."""
    return sql if type_ is None else f"CAST({sql} AS {type_})"


def is_plain(type_: DataType) -> bool:
    """Whether its values are plain: not lists, maps, structs, variants or the like."""
    return type_.simpleString().partition("(")[0] in _PLAIN


def analyzed(df: DataFrame) -> Any | None:
    """Spark's plan of a query, not optimized: that would ask Delta for files. None on Spark Connect, which has none."""
    return df._jdf.queryExecution().analyzed() if hasattr(df, "_jdf") else None  # noqa: SLF001


def estimated_bytes(plan: Any) -> int:
    """Spark's estimate of the result's size, by the size of the files and the columns that are read."""
    return int(plan.stats().sizeInBytes())
