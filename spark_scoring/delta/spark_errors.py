"""What Spark and Delta say of a failure, without the values of rows, and what is known to help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from spark_scoring.errors import first_line, listed, near_fix
from spark_scoring.sql import in_sql

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONDITION = re.compile(r"\[([A-Z][A-Z0-9]*_[A-Z0-9_]+(?:\.[A-Z0-9_]+)*)\]\s*([^\n]*)")
_JAVA = re.compile(r"\b((?:[a-z]\w*\.)+[A-Z]\w*(?:Exception|Error))(?:: ([^\n]*))?")
_AROUND = (
    "TASK_WRITE_FAILED",
    "STREAM_FAILED",
    "FOREACH_BATCH_USER_FUNCTION_ERROR",
    "FOREACH_USER_FUNCTION_ERROR",
    "FAILED_READ_FILE.NO_HINT",
)
"""Conditions that say where something failed; what it was comes behind them."""
_WRAPPERS = ("py4j.", "org.apache.spark.SparkException", "java.util.concurrent.ExecutionException")
_VALUES = re.compile(r"'.*'|'.*|\[.*\]|\[.*|(?<![\w`.])-?\d[\w.:+-]*")
"""Spark puts values in single quotes or square brackets or writes them as numbers, names in backticks, types and
settings in double quotes. All between the first single quote and the last goes: a value may hold some itself."""
_NO_COLUMN = re.compile(r"\[UNRESOLVED_COLUMN\.\w+\] .*? with name (`.+?`) cannot be resolved")
"""What SQL asks for and is not there; of Spark 3.5 to 4.1."""
_NOT_PARSED = re.compile(r"\s*\[PARSE_SYNTAX_ERROR\]")
_STATE = re.compile(r"\s*SQLSTATE: ?\w+.*$")
_LONGEST = 300

_FIXES: dict[str, str] = {
    "CAST_INVALID_INPUT": "write try_cast where the job's SQL says cast: a text that is not a number becomes a null",
    "CAST_OVERFLOW": "cast to a wider type, or write try_cast: what does not fit becomes a null",
    "NUMERIC_VALUE_OUT_OF_RANGE": "cast to a wider decimal, or write try_cast: what does not fit becomes a null",
    "ARITHMETIC_OVERFLOW": "cast to a wider type first, such as double, or use try_add, try_subtract or try_multiply",
    "BINARY_ARITHMETIC_OVERFLOW": "cast to a wider type first, such as int",
    "DIVIDE_BY_ZERO": "write try_divide(a, b), or a / nullif(b, 0): where b is 0 the result is a null",
    "REMAINDER_BY_ZERO": "write a % nullif(b, 0): where b is 0 the result is a null",
    "INVALID_ARRAY_INDEX": "write get(a, i), which counts from 0: where there is no such element the result is a null",
    "INVALID_ARRAY_INDEX_IN_ELEMENT_AT": "write try_element_at(a, i): where there is no such element it gives a null",
    "CANNOT_PARSE_TIMESTAMP": "write try_to_timestamp: a text that is not a time becomes a null",
    "CANNOT_PARSE_TIME": "write try_to_time: a text that is not a time becomes a null",
    "DATETIME_OVERFLOW": "leave such rows out (source.where): the result is beyond the times that Spark knows",
    "SCALAR_SUBQUERY_TOO_MANY_ROWS": "let the subquery give one row, as with max(...), or use IN (SELECT ...)",
    "DELTA_UNSUPPORTED_FEATURES_FOR_READ": "use a newer Delta, or another runtime: the table's features are too new",
    "DELTA_UNSUPPORTED_FEATURES_FOR_WRITE": "use a newer Delta, or another runtime: the table's features are too new",
    "DELTA_INVALID_PROTOCOL_VERSION": "use a newer Delta, or another runtime: the table's protocol is too new",
    "TABLE_OR_VIEW_NOT_FOUND": "look whether a table was dropped or renamed while the job ran, then run again",
    "DELTA_TABLE_NOT_FOUND": "look whether a table was dropped or renamed while the job ran, then run again",
    "MALFORMED_RECORD_IN_PARSING": "say STRING in source.schema for what does not fit: the plan casts texts, and a row "
    "whose text does not fit is a bad row that names its feature; of a CSV whose nulls are written as n/a, say so: "
    "source.options: {nullValue: n/a}",
    "FAILED_READ_FILE": "look whether the source's files were removed or are damaged, then plan and run again",
    "java.lang.OutOfMemoryError": "give the driver and the executors more memory (spark.driver.memory, "
    "spark.executor.memory)",
}
"""By the condition, or by its part before the dot, or by Java's class."""
_ELSE = "see the chained error (SPARK_SCORING_TRACEBACK=1 shows it), with whatever values its text holds"
_TELLS_VALUES = ("USER_RAISED_EXCEPTION", "FAILED_EXECUTE_UDF", "PYTHON_DATA_SOURCE_ERROR")
"""Conditions whose texts others have written."""
_TELLING = ("java.io.", "java.net.", "java.nio.file.", "java.lang.OutOf", "org.apache.hadoop.", "com.amazonaws.")
"""Java's packages whose texts name files and hosts; those of all others may be values of rows."""


class SparkFailure(NamedTuple):
    """A failure for people."""

    text: str
    """``[CONDITION] first line``, values left out; empty where the text names neither a condition nor a class."""
    fix: str


def sql_fault(error: Exception, sql: str, columns: Iterable[str]) -> tuple[str, str]:
    """Cause and fix of SQL that Spark does not take over a table of these columns."""
    names, found = list(columns), _NO_COLUMN.match(str(error))
    bare = [in_sql(n) for n in names if in_sql(n) != n and n.lower() in sql.lower() and in_sql(n) not in sql]
    fix = "correct the expression"
    if bare and (found or _NOT_PARSED.match(str(error))):
        fix = f"put names with spaces or other marks in backticks: {listed(bare)}"
    if found is None:
        return first_line(error), fix
    name = found[1].replace("`", "")
    near = None if bare else near_fix(name, names, what="its columns", shown=in_sql)
    return f"there is no column {name!r}", near or fix


def spark_failure(text: str) -> SparkFailure:
    """What failed, from the text of an error that Spark raised.

    Values of rows are replaced by ``...``: single-quoted text and numbers. Names of tables and columns stay.
    """
    told = [(name, line) for name, line in _CONDITION.findall(text) if name not in _AROUND]
    if told:
        name, line = told[0]
        line = "" if name.startswith(_TELLS_VALUES) else line
        return SparkFailure(f"[{name}] {_shown(line)}".strip(), _fix(name))
    told = [(name, line) for name, line in _JAVA.findall(text) if not name.startswith(_WRAPPERS)]
    if told:
        name, line = told[-1]  # the innermost cause
        line = line if name.startswith(_TELLING) else ""
        return SparkFailure(": ".join(filter(None, [name, _shown(line)])), _fix(name))
    return SparkFailure("", _ELSE)


def _fix(name: str) -> str:
    return _FIXES.get(name) or _FIXES.get(name.partition(".")[0], _ELSE)


def _shown(line: str) -> str:
    line = _VALUES.sub("...", _STATE.sub("", line)).strip()
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
