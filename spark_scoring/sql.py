"""Identifiers and strings as SQL text; every name that reaches SQL goes through here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spark_scoring.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

_VARIABLE = re.compile(r"\$\{\S+?\}")
_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def quote(identifier: str) -> str:
    """One identifier in backticks: ``a`b`` becomes ``` `a``b` ```.

    Raises:
        RequestError: Spark puts the value of a variable in the place of ``${name}``, wherever it is in SQL, so that the
            text would be another table's or column's name.

    """
    if _VARIABLE.search(identifier):
        raise RequestError.variable(identifier)
    return _in_backticks(identifier)


def in_sql(name: str) -> str:
    """A name as a person writes it in SQL: in backticks where it needs them. Statements are made with ``quote``."""
    return name if _PLAIN.fullmatch(name) else _in_backticks(name)


def _in_backticks(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A string literal with quotes and backslashes escaped, for statements that take no expression."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("${", "$\\{") + "'"


def text(value: str) -> str:
    """A string as a SQL expression, whatever the session's rule for backslashes in literals is."""
    if "'" in value or "\\" in value or "${" in value:
        return f"decode(X'{value.encode().hex()}', 'UTF-8')"
    return f"'{value}'"


def unformatted(sql: str) -> str:
    """SQL whose braces are its own, for ``spark.sql`` with DataFrames as arguments."""
    return sql.replace("{", "{{").replace("}", "}}")


def free_prefix(prefix: str, taken: Iterable[str]) -> str:
    """A beginning of names that none of those taken has: the prefix, with underscores where they are needed."""
    folded = {name.lower() for name in taken}
    while any(name.startswith(prefix) for name in folded):
        prefix += "_"
    return prefix
