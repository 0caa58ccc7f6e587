"""Conversions to text."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.conversions.base import Conversion
from spark_scoring.conversions.times import wall_clock

if TYPE_CHECKING:
    from decimal import Decimal

    from spark_scoring.conversions.base import Pair


class DecimalText(Conversion):
    """Plain digits with the column's scale."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        """Spark writes small values as 1E-18 unless ANSI is on; the digits before the E are all there."""
        scale = re.sub(r".*,(\d+)\)", r"\1", pair.source_type)
        plain = f"CAST({source} AS string)"
        digits = f"regexp_replace(regexp_extract({plain}, '^[^E]*', 0), '[-.]', '')"
        sign = f"CASE WHEN startswith({plain}, '-') THEN '-' ELSE '' END"
        small = f"concat({sign}, '0.', lpad({digits}, {scale}, '0'))"
        return f"CASE WHEN contains({plain}, 'E') THEN {small} ELSE {plain} END", None

    def in_python(self, value: Decimal, pair: Pair) -> tuple[str, bool]:
        return f"{value:f}", True


class InstantText(Conversion):
    """An instant in UTC, whatever the session's time zone: the epoch without a zone, plus the elapsed time."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        return f"CAST({wall_clock(f'unix_micros({source})')} AS string)", None

    def in_python(self, value: dt.datetime, pair: Pair) -> tuple[str, bool]:
        return text_of(value, pair.source_type), True


def text_of(value: Any, source_type: str) -> str:
    """What Spark's cast of a value to text gives."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return _java_text(np.float32(value) if source_type == "float" else np.float64(value))
        case dt.datetime():
            text = value.replace(tzinfo=None).isoformat(sep=" ")
            return text.rstrip("0") if value.microsecond else text
        case _:
            return str(value)


def _java_text(number: np.floating[Any]) -> str:
    """``Double.toString``: digits up to ten million, else 1.0E7; two digits at least, of which the nearest two."""
    size = abs(number)
    if not np.isfinite(number):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(number)]
    if number == 0 or 1e-3 <= size < 1e7:  # noqa: PLR2004
        return np.format_float_positional(number, trim="0")
    text = np.format_float_scientific(number, trim="0", exp_digits=1)
    if re.match(r"-?\d\.0e", text):
        text = np.format_float_scientific(number, precision=1, unique=False, exp_digits=1)
    return text.replace("e+", "E").replace("e", "E")
