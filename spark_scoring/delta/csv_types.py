"""The types of a CSV file's columns: those that change no value, as texts such as 007 would be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.sql import in_sql, quote

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pyspark.sql import Column, DataFrame

_NUMBER = r"\A-?(0|[1-9][0-9]*)([.][0-9]+([eE][+-]?[0-9]+)?|[eE][+-][0-9]+)?\z"
_MOST_DIGITS = 17
"""With which a double is written so that it is read back."""


def all_texts(names: Sequence[str]) -> str:
    """A schema of texts, as ``source.schema`` takes it."""
    return _ddl(dict.fromkeys(names, "STRING"))


def fitting_types(texts: DataFrame, kept: Collection[str]) -> str:
    """The schema of a file whose values are read as texts, as ``source.schema`` takes it. Reads all of its rows.

    A whole number, a date or a decimal number is one only if all of the column's values are written as such a value is:
    not ``007``, not ``1e5``, and decimals without zeros at their ends, unless all have as many places (``12.50``).

    Args:
        texts: the file's columns.
        kept: names of those that stay texts, whatever their values are.

    """
    names = [name for name in texts.columns if name not in kept]
    found = texts.agg(*[column for i, name in enumerate(names) for column in _tests(quote(name), i)]).head()
    types = dict.fromkeys(texts.columns, "STRING")
    for i, name in enumerate(names):
        types[name] = next((type_ for type_ in _TYPES if found and found[f"{type_}{i}"]), "STRING")
    return _ddl(types)


_TYPES = ("BIGINT", "DOUBLE", "DATE", "BOOLEAN")


def _tests(name: str, place: int) -> list[Column]:
    """Whether all values of a column, named in SQL, fit a type; null for one that has no values."""
    value = F.col(name)
    whole, number, date = (F.expr(f"try_cast({name} AS {type_})") for type_ in _TYPES[:3])
    digits = F.regexp_replace(value, "[eE].*", "")
    decimals = F.regexp_extract(digits, "[.](.*)", 1)
    is_number = value.rlike(_NUMBER) & (F.length(F.regexp_replace(digits, "^[-0.]*|[.]", "")) <= _MOST_DIGITS)
    is_short = ~decimals.endswith("0") | (decimals == "0")
    are_alike = F.min(F.length(decimals)) == F.max(F.length(decimals))
    tests = {
        "BIGINT": _all(value, whole.cast("string") == value),
        "DOUBLE": _all(value, is_number & (F.abs(number) < float("inf"))) & (_all(value, is_short) | are_alike),
        "DATE": _all(value, date.cast("string") == value),
        "BOOLEAN": _all(value, F.lower(value).isin("true", "false")),
    }
    return [test.alias(f"{type_}{place}") for type_, test in tests.items()]


def _all(value: Column, holds: Column) -> Column:
    return F.min(F.when(value.isNotNull(), F.coalesce(holds, F.lit(False))))  # noqa: FBT003


def _ddl(types: dict[str, str]) -> str:
    return ", ".join(f"{in_sql(name)} {type_}" for name, type_ in types.items())
