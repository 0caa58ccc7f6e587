"""Names for columns that go to the worker and back: none that the table uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.sql import free_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence


class InternalNames:
    """Column names that the table does not use."""

    def __init__(self, taken: Sequence[str]) -> None:
        self.prefix = free_prefix("_scoring", taken)
        self.ok = f"{self.prefix}_ok"
        self.error = f"{self.prefix}_error"
        self.result = f"{self.prefix}_result"

    def kept(self, i: int) -> str:
        """Of a column that is kept."""
        return f"{self.prefix}_kept{i}"

    def lane(self, i: int) -> str:
        """Of a lane."""
        return f"{self.prefix}_lane{i}"

    def score(self, i: int) -> str:
        """Of a linear score that expressions compute."""
        return f"{self.prefix}_score{i}"

    def field(self, name: str) -> str:
        """Of a returned field."""
        return f"{self.prefix}_{name}"
