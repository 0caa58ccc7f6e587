"""What is decided of a Spark type and a model type: how values are converted, or why they cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from spark_scoring.model.types import ModelType

Verdict = Literal["exact", "rounds", "checked", "renders", "default", "refused"]

VERDICT_WORDS: dict[Verdict, str] = {
    "exact": "exact",
    "rounds": "nearest",
    "checked": "checked",
    "renders": "as text",
    "default": "default",
    "refused": "refused",
}
"""What people read; JSON keeps the verdicts themselves."""

Conversion = Literal[
    "same",
    "cast",
    "narrow",
    "whole",
    "zero_one",
    "nonzero",
    "parse_number",
    "parse_whole",
    "parse_flag",
    "decimal_text",
    "instant_text",
    "date_micros",
    "instant_micros",
    "wall_clock_micros",
    "parse_instant",
    "void",
    "level",
    "listed",
    "elements",
    "entries",
    "members",
    "tensor",
]
"""How the value is made; the names are keys of ``conversions.table``."""


@dataclass(frozen=True)
class Rule:
    """One cell of the table."""

    verdict: Verdict
    conversion: Conversion
    note: str = ""
    """What a person should know of the conversion."""
    reason: str | None = None
    """What a value that does not fit is called; None where every value fits."""
    members: tuple[Cell, ...] = ()
    """Of nested types: how their elements, values, members are converted; of levels: how they are matched."""


@dataclass(frozen=True)
class Cell:
    """A pair of types with its rule, inside a nested one."""

    source_type: str
    """Spark type as a simple string."""
    type: ModelType
    rule: Rule
    name: str = ""
    """The member's name to the model."""
    source: str = ""
    """The struct's field that it comes from; ``[]`` for each level of arrays in a tensor's source."""
    nullable: bool = True
    """Whether a null inside is a value of its own, or keeps the whole from fitting."""


@dataclass(frozen=True)
class Refusal:
    """Why there is no meaningful conversion."""

    cause: str
    fix: str | None = None
