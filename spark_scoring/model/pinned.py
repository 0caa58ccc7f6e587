"""A model that is known and lies here: what a URI means, once it was asked for. Imports no pyspark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spark_scoring.model.sealed import Copy, digest_of


@dataclass(frozen=True)
class PinnedModel:
    """One version of a model and a copy of its artifact that is ours and does not change."""

    uri: str
    name: str | None
    version: str | None
    path: str
    digest: str
    """sha256 over the relative names and bytes of the artifact's files."""
    notes: tuple[str, ...] = ()
    """What whoever reads the plan should know of how the URI was understood."""

    def part(self, folder: Path) -> Copy:
        """A model inside of it, as a copy of its own."""
        return Copy(str(folder), self.digest if folder == Path(self.path) else digest_of(folder))
