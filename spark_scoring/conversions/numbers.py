"""Conversions to numbers and to booleans."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from spark_scoring.conversions.base import Conversion
from spark_scoring.model.types import INTEGER_RANGES, SCALARS

if TYPE_CHECKING:
    from spark_scoring.conversions.base import Pair

_DIGITS = {name: len(str(high - 1)) for name, (_, high) in INTEGER_RANGES.items()}

# \z and not $: the latter also matches in front of a last line break, which a cast refuses.
_NUMBER = r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*"
_SPECIAL = r"(?i)\s*(nan|[+-]?inf|[+-]?infinity)\s*"
_WHOLE = r"\s*([+-]?)0*(\d{{1,{digits}}})(?:\.0*)?\s*"
_FLAG = r"(?i)\s*{flag}\s*"


class Narrow(Conversion):
    """Double to float: only a finite value that becomes infinite does not fit."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        value = f"CAST({source} AS float)"
        return value, f"(NOT {_is_infinite(value)} OR {_is_infinite(source)})"

    def in_python(self, value: float, pair: Pair) -> tuple[float, bool]:
        narrow = single(value)
        return narrow, math.isinf(value) or not math.isinf(narrow)


class Whole(Conversion):
    """A whole number in the type's range."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        low, high = INTEGER_RANGES[pair.scalar]
        value = f"CAST({source} AS {SCALARS[pair.scalar].lane})"
        if digits := _decimal_digits(pair):
            precision, scale = digits
            checks = [f"{source} % 1BD = CAST(0 AS decimal({scale},{scale}))"] if scale else []
            if low == 0 or precision - scale >= _DIGITS[pair.scalar]:
                checks.append(f"{source} >= {low}BD AND {source} < {high}BD")
            return value, f"({' AND '.join(checks or ['true'])})"
        if pair.source_type in ("float", "double"):
            number = f"CAST({source} AS double)"
            in_range = f"{number} >= {float(low)}D AND {number} < {float(high)}D"
            return value, f"({number} % 1D = 0D AND {in_range})"
        return value, f"({source} >= {low}L AND {source} < {high}L)"

    def in_python(self, value: float | Decimal, pair: Pair) -> tuple[int, bool]:
        low, high = INTEGER_RANGES[pair.scalar]
        whole = int(value) if math.isfinite(value) else high
        return whole, whole == value and low <= whole < high


class ZeroOne(Conversion):
    """0 is false, 1 is true."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        zero, one = _is_number(source, pair, 0), _is_number(source, pair, 1)
        return one, f"({zero} OR {one})"

    def in_python(self, value: float | Decimal, pair: Pair) -> tuple[bool, bool]:
        return value == 1, value in (0, 1)


class NonZero(Conversion):
    """0 is false, any other number true."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        return f"NOT {_is_number(source, pair, 0)}", None

    def in_python(self, value: float | Decimal, pair: Pair) -> tuple[bool, bool]:
        return value != 0, True


class ParseNumber(Conversion):
    """Text of a number; one that is finite as text must be so as a value."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        value = f"CAST({source} AS {SCALARS[pair.scalar].lane})"
        finite = f"CASE WHEN {_matches(source, _NUMBER)} THEN NOT {_is_infinite(value)} ELSE false END"
        return value, f"({_matches(source, _SPECIAL)} OR {finite})"

    def in_python(self, value: str, pair: Pair) -> tuple[float, bool]:
        is_special = re.fullmatch(_SPECIAL, value, re.ASCII) is not None
        if not is_special and not re.fullmatch(_NUMBER, value, re.ASCII):
            return math.nan, False
        number = parsed(value, pair.scalar)
        return number, is_special or not math.isinf(number)


class ParseWhole(Conversion):
    """Text of digits, with a fraction of zeros at most."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        low, high = INTEGER_RANGES[pair.scalar]
        pattern = _WHOLE.format(digits=_DIGITS[pair.scalar])
        sign, digits = (rf"regexp_extract({source}, r'^{pattern}\z', {i})" for i in (1, 2))
        number = f"CAST(concat({sign}, {digits}) AS decimal(20,0))"
        in_range = f"{number} >= {low}BD AND {number} < {high}BD"
        fits = f"CASE WHEN {_matches(source, pattern)} THEN {in_range} ELSE false END"
        return f"CAST({number} AS {SCALARS[pair.scalar].lane})", f"({fits})"

    def in_python(self, value: str, pair: Pair) -> tuple[int, bool]:
        low, high = INTEGER_RANGES[pair.scalar]
        found = re.fullmatch(_WHOLE.format(digits=_DIGITS[pair.scalar]), value, re.ASCII)
        whole = int(found[1] + found[2]) if found else high
        return whole, low <= whole < high


class ParseFlag(Conversion):
    """The texts true and false, in any case."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        true, false = (f"({_matches(source, _FLAG.format(flag=flag))})" for flag in ("true", "false"))
        return true, f"({true} OR {false})"

    def in_python(self, value: str, pair: Pair) -> tuple[bool, bool]:
        true, false = (re.fullmatch(_FLAG.format(flag=flag), value, re.ASCII) is not None for flag in ("true", "false"))
        return true, true or false


def single(number: float | Decimal) -> float:
    """The nearest float, rounded once: a double between two floats leans to the side of the number itself."""
    double = float(number)
    if math.isfinite(double) and number != double and np.float64(double).view("int64") % 2 == 0:
        double = math.nextafter(double, math.inf if number > double else -math.inf)
    with np.errstate(over="ignore"):
        return float(np.float32(double))


def parsed(text: str, type_: str) -> float:
    """Text of a number in the nearest double or float."""
    double = float(text)
    if type_ == "double" or double == 0 or not math.isfinite(double):
        return double
    return single(Decimal(text))


def _matches(source: str, pattern: str) -> str:
    flags, pattern = ("(?i)", pattern[4:]) if pattern.startswith("(?i)") else ("", pattern)
    return rf"{source} RLIKE r'{flags}^{pattern}\z'"


def _is_infinite(number: str) -> str:
    return f"(abs({number}) = double('infinity'))"


def _is_number(source: str, pair: Pair, value: int) -> str:
    """Equality without widening: Spark rounds a DECIMAL(38,38) to compare it with another scale."""
    digits = _decimal_digits(pair)
    if digits is None:
        return f"({source} = {value})"
    precision, scale = digits
    if value != 0 and precision == scale:
        return "false"
    return f"({source} = CAST({value} AS decimal({precision},{scale})))"


def _decimal_digits(pair: Pair) -> tuple[int, int] | None:
    """Precision and scale of a DECIMAL source, None for any other."""
    match = re.fullmatch(r"decimal\((\d+),(\d+)\)", pair.source_type)
    return (int(match[1]), int(match[2])) if match else None
