"""Tables that a written expression reads: each at one version, which is put into the text after its name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException

from spark_scoring.delta.errors import SourceError
from spark_scoring.delta.names import TableRef
from spark_scoring.delta.settings import is_on
from spark_scoring.delta.tables import describe_table, history
from spark_scoring.parsing import UnreadableSqlError, read_names
from spark_scoring.redact import redact
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_scoring.parsing import NamedTable


@dataclass(frozen=True)
class PinnedTable:
    """A Delta table that an expression reads, at one version."""

    name: str
    """As it is written."""
    table_id: str
    version: int


@dataclass(frozen=True)
class PinnedSql:
    """A written expression, and what it is run as."""

    label: str
    """What people call it: ``where``, ``column price``."""
    written: str
    sql: str
    """The text with a version after the name of each table."""
    tables: tuple[PinnedTable, ...] = ()
    """Of each place where a table is read."""
    unpinned: tuple[str, ...] = ()
    """Why it may read other rows next time."""

    def as_written(self) -> PinnedSql:
        """Where Spark does not take the versions."""
        why = (f"{self.label} reads {table.name}, which cannot be read at a version" for table in self.tables)
        return replace(self, sql=self.written, tables=(), unpinned=(*self.unpinned, *dict.fromkeys(why)))


def pin_tables(spark: SparkSession, label: str, written: str) -> PinnedSql:
    """Pin the tables that an expression reads in subqueries to their newest versions. Reads metadata, no rows.

    Views, tables of other formats, tables at a time, and whatever cannot be told from the text stay as they are, with
    the reason in ``unpinned``. A table that the text asks for at a version stays at it.
    """
    try:
        named = read_names(written).tables
    except UnreadableSqlError:
        return PinnedSql(label, written, written, (), (f"{label} may read tables: its SQL cannot be parsed",))
    if not named:
        return PinnedSql(label, written, written)
    if is_on(spark, "spark.sql.parser.escapedStringLiterals"):
        why = f"{label} reads tables, and the session's string literals have another syntax (escapedStringLiterals)"
        return PinnedSql(label, written, written, (), (why,))
    sql = written
    tables: list[PinnedTable] = []
    reasons: list[str] = []
    for table in sorted(named, key=lambda table: table.end, reverse=True):  # from the end: the other places stay
        found = _pinned(spark, label, table)
        if isinstance(found, str):
            reasons.append(found)
            continue
        tables.append(found)
        if table.version is None:
            sql = f"{sql[: table.end]} VERSION AS OF {found.version}{sql[table.end :]}"
    return PinnedSql(label, written, sql, tuple(reversed(tables)), tuple(dict.fromkeys(reversed(reasons))))


def _pinned(spark: SparkSession, label: str, table: NamedTable) -> PinnedTable | str:
    """The table at a version, or why not."""
    name = redact(table.name)
    reads = f"{label} reads {name}"
    if table.end < 0:
        return f"{reads}, which is not plainly a table"
    if table.is_fixed and table.version is None:
        return f"{reads} at a time, and not at a version"
    ref = TableRef(text=name, sql=".".join(quote(part) for part in table.parts), parts=table.parts)
    try:
        detail = describe_table(spark, ref)
        if detail is None or detail["format"] != "delta":
            kind = "not a table of this session" if detail is None else f"a {detail['format']} and not a Delta table"
            return f"{reads}, which is {kind}"
        version = table.version
        if version is None:
            version = int(history(spark, ref, limit=1).collect()[0]["version"])
    except (AnalysisException, SourceError) as error:
        return f"{reads}, which cannot be described ({type(error).__name__})"
    return PinnedTable(name, str(detail["id"]), version)
