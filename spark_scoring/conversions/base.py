"""What a conversion is: two forms of one thing, which give the same value for every value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spark_scoring.model.types import Category, Coded, Levels, OneOf

if TYPE_CHECKING:
    from spark_scoring.model.types import Level, ModelType


class Conversion(ABC):
    """From a Spark type to a model's type. Neither form is asked about a missing value."""

    @abstractmethod
    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        """SQL of the value, and of whether the source's value fits; None where all do.

        The value is only evaluated where the source is not missing and fits. Neither may depend on
        ``spark.sql.ansi.enabled`` or on the session's time zone.
        """

    @abstractmethod
    def in_python(self, value: Any, pair: Pair) -> tuple[Any, bool]:
        """The value, and whether the source's value fits; of one that does not, any value."""


@dataclass(frozen=True)
class Pair:
    """A Spark type, a model's type and the conversion between: of a feature, or of a member of one."""

    type: ModelType
    source_type: str
    """Spark type as a simple string."""
    conversion: Conversion
    members: tuple[Pair, ...] = ()
    """Of nested types: their elements, values, members; of levels: how they are matched."""
    name: str = ""
    """A member's name to the model."""
    source: str = ""
    """The struct's field that a member comes from; ``[]`` for each level of arrays in a tensor's source."""
    nullable: bool = True
    """Whether a null inside is a value of its own, or keeps the whole from fitting."""
    code: str | None = None
    """SQL of the level's code, where a join has looked it up."""

    def in_spark(self, source: str) -> tuple[str, str | None]:
        """SQL of the converted value, and of whether the source's value fits; None where all do."""
        return self.conversion.in_spark(source, self)

    def in_python(self, value: Any) -> tuple[Any, bool]:
        """The converted value, and whether the value fits."""
        return self.conversion.in_python(value, self)

    @property
    def scalar(self) -> str:
        """The data type, of a conversion that only data types have."""
        return str(self.type)

    @property
    def levels(self) -> Levels:
        """The known values, of a conversion that only types with levels have."""
        return self.type.levels if isinstance(self.type, Category | Coded | OneOf) else Levels("string", ())

    @cached_property
    def codes(self) -> dict[Level, int]:
        """The position of each level."""
        return {level: code for code, level in enumerate(self.levels.values)}
