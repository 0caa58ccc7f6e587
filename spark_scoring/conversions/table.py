"""All conversions by the names that rules give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.conversions.base import Pair
from spark_scoring.conversions.levels import LevelCode, Listed
from spark_scoring.conversions.nested import Elements, Entries, Members, TensorValues
from spark_scoring.conversions.numbers import Narrow, NonZero, ParseFlag, ParseNumber, ParseWhole, Whole, ZeroOne
from spark_scoring.conversions.plain import Cast, Same, Void
from spark_scoring.conversions.texts import DecimalText, InstantText
from spark_scoring.conversions.times import DateMicros, InstantMicros, ParseInstant, WallClockMicros

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_scoring.conversions.base import Conversion
    from spark_scoring.plan.scoring_plan import PlannedFeature
    from spark_scoring.plan.verdicts import Cell
    from spark_scoring.plan.verdicts import Conversion as Name

CONVERSIONS: Mapping[Name, Conversion] = {
    "same": Same(),
    "cast": Cast(),
    "narrow": Narrow(),
    "whole": Whole(),
    "zero_one": ZeroOne(),
    "nonzero": NonZero(),
    "parse_number": ParseNumber(),
    "parse_whole": ParseWhole(),
    "parse_flag": ParseFlag(),
    "decimal_text": DecimalText(),
    "instant_text": InstantText(),
    "date_micros": DateMicros(),
    "instant_micros": InstantMicros(),
    "wall_clock_micros": WallClockMicros(),
    "parse_instant": ParseInstant(),
    "void": Void(),
    "level": LevelCode(),
    "listed": Listed(),
    "elements": Elements(),
    "entries": Entries(),
    "members": Members(),
    "tensor": TensorValues(),
}

_OF_TIMES: Mapping[str, Name] = {"date": "date_micros", "timestamp_ntz": "wall_clock_micros"}


def pair_of(feature: PlannedFeature, code: str | None = None) -> Pair:
    """The conversion of a feature that is read from the table; ``code`` is SQL of a level's code that a join found."""
    members = tuple(map(member_of, feature.members))
    return Pair(feature.type, str(feature.source_type), CONVERSIONS[feature.conversion], members, code=code)


def member_of(cell: Cell) -> Pair:
    """The conversion of a value inside another."""
    members = tuple(map(member_of, cell.rule.members))
    conversion = CONVERSIONS[cell.rule.conversion]
    return Pair(cell.type, cell.source_type, conversion, members, cell.name, cell.source, cell.nullable)


def time_micros(source: str, type_: str) -> str:
    """A time as microseconds since 1970 in UTC, as SQL: of a date its midnight, of a time without a zone as in UTC."""
    value, _ = Pair("datetime", type_, CONVERSIONS[_OF_TIMES.get(type_, "instant_micros")]).in_spark(source)
    return value
