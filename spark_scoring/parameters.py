"""What a job file leaves open: ``${DAY}`` in names, ``:day`` in SQL. From ``--param``, else the environment.

The environment of a shared cluster may hold secrets: where it restricts SQL, parameters are given and not looked for.
A name takes the value's text. SQL takes the value as one literal, so that no value can be anything but a value.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import os
import re
from typing import TYPE_CHECKING, Any

from spark_scoring.job_problems import JobError
from spark_scoring.model.trust import RESTRICT_SQL, is_restricted
from spark_scoring.sql import text as text_literal
from spark_scoring.times import from_iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value = str | int | float | bool | decimal.Decimal | dt.date
"""Of a parameter; ``datetime`` is a ``date``."""

_IN_NAMES = re.compile(r"(?P<escaped>\$\$)(?=\{)|\$\{(?P<name>[A-Za-z_]\w*)\}")
_IN_SQL = re.compile(
    r"(?P<skipped>\b[rR]'[^']*'|\b[rR]\"[^\"]*\"|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|--[^\n]*|/\*.*?\*/)"
    r"|(?<![\w)\]`'\":]):(?P<name>[A-Za-z_]\w*)",
    re.DOTALL,
)
"""Texts, quoted names and comments are left alone, and so are ``a::int`` and ``a:b``."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,37})")
_DECIMAL = re.compile(r"-?(0|[1-9]\d{0,18})\.\d{1,18}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?")


class Parameters:
    """Values by name; which of them a job names, and which names have none."""

    def __init__(self, given: Mapping[str, Value]) -> None:
        self._given = given
        self._used: dict[str, None] = {}
        self.errors: list[JobError] = []

    @property
    def used(self) -> tuple[str, ...]:
        """The names that the fields name, in their order; once they are filled."""
        return tuple(self._used)

    def fill(self, fields: dict[str, Any], sql_fields: Sequence[str]) -> dict[str, Any]:
        """The fields with every open place filled in; ``sql_fields`` are those of SQL, such as ``columns.*``."""
        patterns = [tuple(pattern.split(".")) for pattern in sql_fields]
        filled: dict[str, Any] = self._filled(fields, (), patterns)
        self.errors += [
            JobError.unused_parameter(name, list(self._used)) for name in self._given if name not in self._used
        ]
        return filled

    def _filled(self, value: Any, path: tuple[str, ...], patterns: Sequence[tuple[str, ...]]) -> Any:
        match value:
            case dict():
                return {name: self._filled(inner, (*path, str(name)), patterns) for name, inner in value.items()}
            case list():
                return [self._filled(inner, (*path, "*"), patterns) for inner in value]
            case str() if any(_fits(path, pattern) for pattern in patterns):
                for name in dict.fromkeys(_VARIABLE.findall(value)):  # in a text of SQL, too, Spark would fill it in
                    self._used[name] = None
                    self.errors.append(JobError.variable_in_sql(_text(path), name))
                return _IN_SQL.sub(lambda found: self._in_sql(found, _text(path)), value)
            case str():
                return _IN_NAMES.sub(lambda found: self._in_name(found, _text(path)), value)
            case _:
                return value

    def _in_sql(self, found: re.Match[str], place: str) -> str:
        if found["skipped"] is not None:
            return found[0]
        value = self._value(found["name"], place, f":{found['name']}")
        if value is None:
            return found[0]
        try:
            return literal_of(value)
        except ValueError as error:
            self.errors.append(JobError.bad_parameter(found["name"], str(error)))
            return found[0]

    def _in_name(self, found: re.Match[str], place: str) -> str:
        if found["escaped"] is not None:
            return "$"
        value = self._value(found["name"], place, found[0])
        if value is None:
            return found[0]
        return value.isoformat() if isinstance(value, dt.date) else str(value)

    def _value(self, name: str, place: str, written: str) -> Value | None:
        self._used[name] = None
        if name in self._given:
            return self._given[name]
        try:
            switch = RESTRICT_SQL if is_restricted() else None
        except JobError as error:
            self.errors.append(error)
            return None
        value = None if switch else os.environ.get(name)
        if value is None:
            self.errors.append(JobError.undefined_parameter(place, written, name, switch))
        return value


def _text(path: tuple[str, ...]) -> str:
    """For people; places in lists are not counted."""
    return ".".join(part for part in path if part != "*")


def _fits(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    return len(path) == len(pattern) and all(wanted in ("*", part) for part, wanted in zip(path, pattern, strict=True))


def literal_of(value: Value) -> str:
    """A value as one literal of Spark's SQL.

    Text that is written like a whole number, a number with a point, true or false, a date or a time is one; a number
    with zeros in front is text. A time without an offset is UTC.

    Raises:
        ValueError: SQL has no such value.

    """
    match value:
        case bool():
            return str(value).lower()
        case int():
            return _number(str(value))
        case float() if math.isfinite(value):
            return _number(f"{value!r}D")
        case decimal.Decimal() if value.is_finite():
            return _number(f"{value:f}BD")
        case dt.datetime():
            moment = value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)
            return f"TIMESTAMP '{moment.astimezone(dt.timezone.utc).isoformat(sep=' ')}'"
        case dt.date():
            return f"DATE '{value.isoformat()}'"
        case str():
            return _literal_of_text(value)
        case _:
            msg = "it is not text, a number, true or false, a date or a time"
            raise ValueError(msg)


def _number(text: str) -> str:
    """In parentheses if negative: a minus sign in front of ``-5`` would begin a comment."""
    return f"({text})" if text.startswith("-") else text


def _literal_of_text(value: str) -> str:
    if _WHOLE.fullmatch(value) or _DECIMAL.fullmatch(value):
        return _number(value)
    if value in ("true", "false"):
        return value
    try:
        if _DATE.fullmatch(value):
            return literal_of(dt.date.fromisoformat(value))
        if _TIME.fullmatch(value):
            return literal_of(from_iso(value))
    except ValueError as error:
        msg = "it is written like a date or a time, and is not one of the calendar"
        raise ValueError(msg) from error
    return text_literal(value)
