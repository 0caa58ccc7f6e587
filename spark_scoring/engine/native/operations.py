"""What a formula is made of: the same operations on SQL text, which Spark runs, and on numpy arrays.

A number is a double. In arrays a missing number is NaN; a missing text is None, in SQL null.
"""
# ruff: noqa: D102  the operations are what their names say

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

import numpy as np

from spark_scoring.sql import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_scoring.model.types import Missing

V = TypeVar("V")
Level = str | float | None
"""A category: a text, a number, or None for the missing value."""

_LARGEST = float(np.finfo(np.float64).max)


class NotNativeError(Exception):
    """Why a model cannot be written down as Spark's expressions."""


class NotLinearError(NotNativeError):
    """It is a model of another kind: nobody expects it to be."""


def refuse(cause: str) -> NoReturn:
    """Say that a model cannot be written down.

    Args:
        cause: the rest of a sentence that begins with the model.

    Raises:
        NotNativeError: always.

    """
    raise NotNativeError(cause)


@dataclass(frozen=True)
class Hot(Generic[V]):
    """What a one-hot column is 1 for."""

    source: V
    level: Level


@dataclass(frozen=True)
class Column(Generic[V]):
    """A column on its way through a model's steps."""

    name: str
    """The feature that it was, or the name of the first one that it is made of."""
    value: V
    is_text: bool = False
    is_finite: bool = False
    """Whether its numbers are neither NaN nor infinite, whatever the row."""
    is_float: bool = False
    """Whether it is a feature of floating point as it is in the table."""
    missing: Missing = "None"
    """What a missing text is to the model."""
    hot: Hot[V] | None = None


class Operations(Protocol[V]):
    """How values are made of values; conditions are values, too, and never null."""

    def number(self, value: float) -> V: ...
    def add(self, a: V, b: V) -> V: ...
    def subtract(self, a: V, b: V) -> V: ...
    def multiply(self, a: V, b: V) -> V: ...
    def divide(self, a: V, b: V) -> V:
        """``b`` is not 0 in any row."""

    def exp(self, a: V) -> V: ...
    def is_nan(self, a: V) -> V: ...
    def is_finite(self, a: V) -> V: ...
    def is_infinite(self, a: V) -> V: ...
    def is_level(self, a: V, level: Level) -> V:
        """Whether a text or a number is this one; None asks for a missing text."""

    def above(self, a: V, b: V) -> V: ...
    def either(self, conditions: Sequence[V]) -> V: ...
    def both(self, a: V, b: V) -> V:
        """SQL evaluates ``b`` only where ``a`` is true."""

    def negate(self, condition: V) -> V: ...
    def choose(self, condition: V, a: V, b: V) -> V: ...
    def largest(self, values: Sequence[V]) -> V: ...
    def first_equal(self, values: Sequence[V], value: V, results: Sequence[Any]) -> V:
        """The result at the place of the first of the values that is the value."""

    def label(self, value: Any) -> V:
        """A class: a text, a whole number, a number or a flag."""

    def mapped(self, source: V, levels: Sequence[tuple[Level, float]], other: float) -> V:
        """A number for each level, another one for all else."""

    def dot(self, columns: Sequence[Column[V]], weights: Sequence[float], start: float) -> V:
        """The sum of ``start`` and of each column times its weight."""


@dataclass(frozen=True)
class Context(Generic[V]):
    """What a walk through a model collects on its way."""

    operations: Operations[V]
    refused: list[V] = field(default_factory=list)
    """Conditions under which a step raises an error."""
    levels: dict[str, list[Level]] = field(default_factory=dict)
    """Categories that its encoders know, by feature."""


class Sql:
    """Operations as SQL text; nothing in it depends on ``spark.sql.ansi.enabled``."""

    def number(self, value: float) -> str:
        value = float(value)
        if not np.isfinite(value):
            return f"CAST('{value}' AS double)"
        written = f"{value!r}D"
        return f"({written})" if written.startswith("-") else written

    def add(self, a: str, b: str) -> str:
        return f"({a} + {b})"

    def subtract(self, a: str, b: str) -> str:
        return f"({a} - {b})"

    def multiply(self, a: str, b: str) -> str:
        return f"({a} * {b})"

    def divide(self, a: str, b: str) -> str:
        return f"({a} / {b})"

    def exp(self, a: str) -> str:
        return f"exp({a})"

    def is_nan(self, a: str) -> str:
        return f"isnan({a})"

    def is_finite(self, a: str) -> str:
        return f"(abs({a}) <= {_LARGEST!r}D)"  # to Spark, NaN is larger than any other number

    def is_infinite(self, a: str) -> str:
        return f"(abs({a}) = CAST('infinity' AS double))"

    def is_level(self, a: str, level: Level) -> str:
        return f"({a} IS NULL)" if level is None else f"({a} <=> {self._level(level)})"

    def above(self, a: str, b: str) -> str:
        return f"({a} > {b})"

    def either(self, conditions: Sequence[str]) -> str:
        return f"({' OR '.join(conditions)})"

    def both(self, a: str, b: str) -> str:
        return f"({a} AND {b})"

    def negate(self, condition: str) -> str:
        return f"(NOT {condition})"

    def choose(self, condition: str, a: str, b: str) -> str:
        return f"CASE WHEN {condition} THEN {a} ELSE {b} END"

    def largest(self, values: Sequence[str]) -> str:
        return f"greatest({', '.join(values)})"

    def first_equal(self, values: Sequence[str], value: str, results: Sequence[Any]) -> str:
        cases = (f"WHEN {v} = {value} THEN {self.label(r)}" for v, r in zip(values, results, strict=True))
        return f"CASE {' '.join(cases)} END"

    def label(self, value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int):
            return f"CAST('{value}' AS bigint)"
        return text(value) if isinstance(value, str) else self.number(value)

    def mapped(self, source: str, levels: Sequence[tuple[Level, float]], other: float) -> str:
        cases = (f"WHEN {self.is_level(source, level)} THEN {self.number(n)}" for level, n in levels)
        return f"CASE {' '.join(cases)} ELSE {self.number(other)} END"

    def dot(self, columns: Sequence[Column[str]], weights: Sequence[float], start: float) -> str:
        hot: dict[str, list[tuple[Level, float]]] = {}
        terms = [self.number(start)]
        for column, weight in zip(columns, weights, strict=True):
            if column.hot is None:
                terms.append(self.multiply(column.value, self.number(weight)))
            else:
                hot.setdefault(column.hot.source, []).append((column.hot.level, weight))
        terms += [self.mapped(source, levels, 0.0) for source, levels in hot.items()]
        return _sum(terms)

    def _level(self, level: str | float) -> str:
        return text(level) if isinstance(level, str) else self.number(level)


def _sum(terms: Sequence[str]) -> str:
    """Terms added in pairs: no deep tree for Spark's parser, and less rounding than one after the other."""
    while len(terms) > 1:
        terms = [f"({' + '.join(terms[i : i + 2])})" for i in range(0, len(terms), 2)]
    return terms[0]


class Arrays:
    """Operations on arrays of ``n`` rows.

    Args:
        n: the rows.

    """

    def __init__(self, n: int) -> None:
        self._n = n
        self.sizes: list[NDArray[Any]] = []
        """Of each sum, in their order, the sum of the sizes of what is added up: what its rounding is relative to."""

    def number(self, value: float) -> NDArray[Any]:
        return np.full(self._n, float(value))

    def add(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(a + b)

    def subtract(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(a - b)

    def multiply(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(a * b)

    def divide(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(a / b)

    def exp(self, a: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.exp(a))

    def is_nan(self, a: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.isnan(a))

    def is_finite(self, a: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.isfinite(a))

    def is_infinite(self, a: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.isinf(a))

    def is_level(self, a: NDArray[Any], level: Level) -> NDArray[Any]:
        return np.array([value is None if level is None else value == level for value in a], dtype=bool)

    def above(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(a > b)

    def either(self, conditions: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.asarray(np.logical_or.reduce(conditions))

    def both(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(a & b)

    def negate(self, condition: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(~condition)

    def choose(self, condition: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.where(condition, a, b)

    def largest(self, values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.asarray(np.maximum.reduce(values))

    def first_equal(self, values: Sequence[NDArray[Any]], value: NDArray[Any], results: Sequence[Any]) -> NDArray[Any]:
        labels = np.empty(len(results), dtype=object)
        labels[:] = results
        return np.asarray(labels[np.argmax([v == value for v in values], axis=0)])

    def label(self, value: Any) -> NDArray[Any]:
        labels = np.empty(self._n, dtype=object)
        labels[:] = value
        return labels

    def mapped(self, source: NDArray[Any], levels: Sequence[tuple[Level, float]], other: float) -> NDArray[Any]:
        found = self.number(other)
        for level, number in reversed(levels):
            found = np.where(self.is_level(source, level), number, found)
        return found

    def dot(self, columns: Sequence[Column[NDArray[Any]]], weights: Sequence[float], start: float) -> NDArray[Any]:
        terms = [self.number(start), *(column.value * weight for column, weight in zip(columns, weights, strict=True))]
        self.sizes.append(np.sum(np.abs(terms), axis=0))
        return np.asarray(np.sum(terms, axis=0))
