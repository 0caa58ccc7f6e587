"""Identifiers and strings as SQL text; every name that reaches SQL goes through here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NO_CODE = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:``|[^`])*`|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_SPECIAL_TIME = re.compile(r"\b(?:date|timestamp\w*)\s*['\"]\s*(now|today|tomorrow|yesterday)\b", re.IGNORECASE)
_DAILY = ("current_date", "curdate", "today", "tomorrow", "yesterday")
_CHANGING = re.compile(
    r"\b(?:(current_date|current_timestamp|current_time|localtimestamp)\b|(curdate|now|curtime|rand|random|randn|randstr|uniform"
    r"|uuid|shuffle|monotonically_increasing_id|spark_partition_id|input_file_name)\s*\(|(unix_timestamp)\s*\(\s*\))",
    re.IGNORECASE,
)


def quote(identifier: str) -> str:
    """One identifier in backticks: ``a`b`` becomes ``` `a``b` ```."""
    return "`" + identifier.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A string literal with quotes and backslashes escaped, for statements that take no expression."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def text(value: str) -> str:
    """A string as a SQL expression, whatever the session's rule for backslashes in literals is."""
    if "'" in value or "\\" in value:
        return f"decode(X'{value.encode().hex()}', 'UTF-8')"
    return f"'{value}'"


def unformatted(sql: str) -> str:
    """SQL whose braces are its own, for ``spark.sql`` with DataFrames as arguments."""
    return sql.replace("{", "{{").replace("}", "}}")


def changing_functions(expression: str) -> tuple[frozenset[str], frozenset[str]]:
    """Functions in a SQL expression that give another value at another time: those of the day, and all others.

    By name, outside of literals and quoted names: a function of the session's own that does so is not known here.
    """
    found = {name.lower() for name in _SPECIAL_TIME.findall(expression)}
    code = _NO_CODE.sub(" ", expression)
    found |= {name.lower() for names in _CHANGING.findall(code) for name in names if name}
    daily = frozenset(found & set(_DAILY))
    return daily, frozenset(found - daily)


def free_prefix(prefix: str, taken: Iterable[str]) -> str:
    """A beginning of names that none of those taken has: the prefix, with underscores where they are needed."""
    folded = {name.lower() for name in taken}
    while any(name.startswith(prefix) for name in folded):
        prefix += "_"
    return prefix
