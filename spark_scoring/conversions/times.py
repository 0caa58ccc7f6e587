"""Conversions to times, as microseconds since 1970 in UTC.

A model's times are nanoseconds in 64 bits: what these cannot hold does not fit.
No SQL function that is used here asks for the session's zone.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from spark_scoring.conversions.base import Conversion
from spark_scoring.model.types import MISSING_TIME
from spark_scoring.times import micros_of

if TYPE_CHECKING:
    from spark_scoring.conversions.base import Pair

_DAY_MICROS = 86_400_000_000
_NS_MICROS = 9_223_372_036_854_775
"""Nanoseconds in 64 bits reach this many microseconds before and after 1970."""
_TIME = (
    r"\s*(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(:\d\d(?:\.\d{1,6})?)?)?"
    r"\s*(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?\s*"
)
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  a wall clock's


class DateMicros(Conversion):
    """Midnight of a date."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        days = f"unix_date({source})"
        last = _NS_MICROS // _DAY_MICROS
        return f"({days} * {_DAY_MICROS}L)", f"({days} BETWEEN {-last} AND {last})"

    def in_python(self, value: dt.date, pair: Pair) -> tuple[int, bool]:
        return _in_range(micros_of(dt.datetime.combine(value, dt.time())))


class InstantMicros(Conversion):
    """An instant."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        micros = f"unix_micros({source})"
        return micros, f"({_is_in_range(micros)})"

    def in_python(self, value: dt.datetime, pair: Pair) -> tuple[int, bool]:
        return _in_range(micros_of(value))


class WallClockMicros(Conversion):
    """A time without a zone, counted as if in UTC."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        days = f"unix_date(CAST({source} AS date))"
        of_day = f"hour({source}) * 3600000000L + minute({source}) * 60000000L"
        seconds = f"CAST(extract(SECOND FROM {source}) * 1000000BD AS bigint)"
        micros = f"({days} * {_DAY_MICROS}L + {of_day} + {seconds})"
        last = _NS_MICROS // _DAY_MICROS + 1
        return micros, f"(CASE WHEN {days} BETWEEN {-last} AND {last} THEN {_is_in_range(micros)} ELSE false END)"

    def in_python(self, value: dt.datetime, pair: Pair) -> tuple[int, bool]:
        return _in_range(micros_of(value))


class ParseInstant(Conversion):
    """ISO 8601 text of a time; UTC without an offset."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        pattern = rf"^{_TIME}\z"
        day, hour, second, offset = (f"regexp_extract({source}, r'{pattern}', {i})" for i in (1, 2, 3, 4))
        clock = f"concat({day}, ' ', coalesce(nullif({hour}, ''), '00:00'), coalesce(nullif({second}, ''), ':00'))"
        time = f"try_cast({clock} AS timestamp_ntz)"  # null where there is no such day
        wall, _ = WallClockMicros().in_spark(time, pair)
        minutes = f"(CAST(substring({offset}, 2, 2) AS int) * 60 + CAST(right({offset}, 2) AS int))"
        before = f"startswith({offset}, '-')"
        signed = f"CASE WHEN {offset} IN ('', 'Z') THEN 0 WHEN {before} THEN -{minutes} ELSE {minutes} END"
        micros = f"({wall} - ({signed}) * 60000000L)"
        in_range = f"coalesce({_is_in_range(micros)}, false)"
        return micros, f"(CASE WHEN {source} RLIKE r'{pattern}' THEN {in_range} ELSE false END)"

    def in_python(self, value: str, pair: Pair) -> tuple[int, bool]:
        found = re.fullmatch(_TIME, value, re.ASCII)
        if not found:
            return MISSING_TIME, False
        day, minute, second, offset = found.groups()
        clock, _, fraction = (second or ":00").partition(".")
        try:
            wall = dt.datetime.fromisoformat(f"{day} {minute or '00:00'}{clock}.{fraction.ljust(6, '0')}+00:00")
        except ValueError:  # the 30th of February
            return MISSING_TIME, False
        return _in_range(micros_of(wall) - _offset_minutes(offset) * 60_000_000)


def _offset_minutes(offset: str | None) -> int:
    """Of ``+05:30``, ``-0800``, ``Z`` or none."""
    if offset in (None, "Z"):
        return 0
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    return -minutes if offset.startswith("-") else minutes


def wall_clock(micros: str) -> str:
    """Microseconds since the epoch as a time without a zone, which no session's zone changes."""
    of_day = f"({micros} % {_DAY_MICROS}L)"  # of the sign of micros: taking it off cannot overflow
    days = f"CAST(({micros} - {of_day}) / {_DAY_MICROS}L AS int)"
    seconds = f"CAST(CAST({of_day} AS decimal(20,0)) / 1000000BD AS decimal(18,6))"
    return f"(TIMESTAMP_NTZ '1970-01-01 00:00:00' + make_dt_interval({days}, 0, 0, {seconds}))"


def wall_clock_time(micros: int) -> dt.datetime:
    """As ``wall_clock``, of a number."""
    return _EPOCH + dt.timedelta(microseconds=micros)


def _is_in_range(micros: str) -> str:
    return f"{micros} BETWEEN {-_NS_MICROS}L AND {_NS_MICROS}L"


def _in_range(micros: int) -> tuple[int, bool]:
    return micros, abs(micros) <= _NS_MICROS
