"""Conversions that every value fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_scoring.conversions.base import Conversion
from spark_scoring.conversions.lanes import filled_in_spark
from spark_scoring.conversions.numbers import single
from spark_scoring.conversions.texts import text_of
from spark_scoring.model.types import SCALARS

if TYPE_CHECKING:
    from spark_scoring.conversions.base import Pair


class Same(Conversion):
    """The value as it is."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        return source, None

    def in_python(self, value: Any, pair: Pair) -> tuple[Any, bool]:
        return value, True


class Cast(Conversion):
    """The nearest value of a type that has no value too large for it; of text its form."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        return f"CAST({source} AS {SCALARS[pair.scalar].lane})", None

    def in_python(self, value: Any, pair: Pair) -> tuple[Any, bool]:
        return cast(value, pair.source_type, pair.scalar), True


class Void(Same):
    """A column without a type, in which every value is null."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        return filled_in_spark(None, pair.type), None


def cast(value: Any, source_type: str, type_: str) -> Any:
    """What Spark's cast gives, of a value that fits."""
    match type_:
        case "double":
            return float(value)
        case "float":
            return single(value)
        case "string":
            return text_of(value, source_type)
        case "boolean":
            return bool(value)
        case _:
            return int(value)
