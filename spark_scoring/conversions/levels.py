"""Conversions to one of the levels of a category."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_scoring.conversions.base import Conversion
from spark_scoring.conversions.lanes import constant, lane_type, spark_lane
from spark_scoring.conversions.plain import cast
from spark_scoring.model.types import MISSING_CODE

if TYPE_CHECKING:
    from spark_scoring.conversions.base import Pair


class LevelCode(Conversion):
    """The level's position."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        code, fits = _looked_up(source, pair)
        return f"CAST({code} AS {spark_lane(lane_type(pair.type))})", fits

    def in_python(self, value: Any, pair: Pair) -> tuple[int, bool]:
        level, fits = pair.members[0].in_python(value)
        code = pair.codes.get(level) if fits else None
        return MISSING_CODE if code is None else code, code is not None


class Listed(Conversion):
    """The value itself, where it is one of the levels."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        _, fits = _looked_up(source, pair)
        value, _ = pair.members[0].in_spark(source)
        return f"CAST({value} AS {spark_lane(lane_type(pair.type))})", fits

    def in_python(self, value: Any, pair: Pair) -> tuple[Any, bool]:
        member = pair.members[0]
        level, fits = member.in_python(value)
        if not fits or level not in pair.codes:
            return None, False
        return cast(level, member.scalar, lane_type(pair.type)), True


def _looked_up(source: str, pair: Pair) -> tuple[str, str]:
    """A lookup in a map, or what the join has found."""
    if pair.code is not None:
        return pair.code, f"({pair.code} IS NOT NULL)"
    member = pair.members[0]
    value, fits = member.in_spark(source)
    entries = (f"{constant(level, member.scalar)}, {code}" for code, level in enumerate(pair.levels.values))
    code = f"try_element_at(map({', '.join(entries)}), {value})"
    known = f"{code} IS NOT NULL"
    return code, f"({known})" if fits is None else f"(CASE WHEN {fits} THEN {known} ELSE false END)"
