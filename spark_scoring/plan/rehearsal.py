"""What a rehearsal of a plan has found; ``engine.rehearsal`` makes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Origin = Literal["input example", "made-up rows"]

BATCH_CODES = ("batch", "random", "order")
"""Findings that a model may have on purpose."""


@dataclass(frozen=True)
class RehearsalFinding:
    """What a rehearsal has found about the model."""

    code: str
    cause: str
    fix: str = ""
    """Empty where there is nothing to fix: the engine makes it right, or it is good to know."""

    @property
    def is_error(self) -> bool:
        """Whether scoring would be wrong or fail."""
        return bool(self.fix)


@dataclass(frozen=True)
class Rehearsal:
    """How a model did on a few rows."""

    origin: Origin | None
    """Where the rows came from; None where it scored none."""
    rows: int
    """Rows that it scored."""
    seconds: float
    findings: tuple[RehearsalFinding, ...] = ()
    by_position: tuple[str, ...] = ()
    """Methods whose results are in the rows' order although their index says another one."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        found = [{"code": f.code, "cause": f.cause, "fix": f.fix} for f in self.findings]
        return {"rows": self.rows, "origin": self.origin, "findings": found}
