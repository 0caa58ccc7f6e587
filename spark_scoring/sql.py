"""Identifiers and strings as SQL text; every name that reaches SQL goes through here."""

from __future__ import annotations


def quote(identifier: str) -> str:
    """One identifier in backticks: ``a`b`` becomes ``` `a``b` ```."""
    return "`" + identifier.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A string literal with quotes and backslashes escaped."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
