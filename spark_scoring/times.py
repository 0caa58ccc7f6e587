"""Times as ISO 8601 text, and as microseconds since 1970. A time without an offset is in UTC."""

from __future__ import annotations

import datetime as dt

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_UTC = ("UTC", "+00:00", "Z", "Etc/UTC", "Etc/UCT", "UCT", "Etc/Universal", "Universal", "Zulu", "GMT", "Etc/GMT")
"""Names of the zone in which scoring gives times; ``str`` of datetime's and pytz's own is UTC."""


def is_utc(zone: str) -> bool:
    """Whether a zone's name means UTC."""
    return zone in _UTC


def from_iso(text: str) -> dt.datetime:
    """The time that a text names, with its offset, or in UTC.

    Raises:
        ValueError: it is not a time in ISO 8601.

    """
    return _with_zone(dt.datetime.fromisoformat(text.replace("Z", "+00:00")))  # Python 3.10 knows no Z


def micros_of(moment: dt.datetime) -> int:
    """Microseconds from 1970 on, in UTC, to a time."""
    return (_with_zone(moment) - _EPOCH) // dt.timedelta(microseconds=1)


def _with_zone(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
