"""The facts of one finished run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from spark_scoring.report.bad_rows import ReasonCount

_SHOWN_REASONS = 10


@dataclass(frozen=True)
class MergeChanges:
    """Rows of a merge's output."""

    inserted: int
    updated: int
    deleted: int
    """Their new row is in quarantine."""
    unchanged: int
    """They keep the lineage of the run that last changed them."""


@dataclass(frozen=True)
class RunReport:
    """A run that has committed: rows in equal rows out, or it would have been an error."""

    run_id: str
    skipped: bool
    """Whether the run had been made before and its rows are there: nothing was scored, this is its report."""
    job: str
    model: str
    """Name or URI of the model."""
    model_version: str | None
    plan_hash: str
    source: str
    source_version: int
    output: str
    output_version: int
    """The version of the output table that this run's commit made."""
    output_location: str
    rows_in: int
    rows_out: int
    """Rows in the output; with those in quarantine as many as were read."""
    bad_rows: int
    """Rows with a null prediction and a reason in ``scoring_error``, wherever they are."""
    quarantine: str | None
    """The table of the bad rows, where they are not in the output."""
    quarantined: int
    """Rows in it of this run."""
    reasons: tuple[ReasonCount, ...]
    """Bad rows per feature and reason, the most frequent first."""
    changes: MergeChanges | None
    """What a merge did to the output; None for other modes and for the run that made the table."""
    touched: tuple[tuple[str, int], ...]
    """Values per feature that the policy replaced; not known of a skipped run."""
    scored_at: str
    """UTC, ISO 8601."""
    seconds: float
    """Wall time of scoring and writing; 0 for a skipped run."""

    @property
    def rows_per_second(self) -> float:
        """Rows scored and written per second of wall time."""
        return self.rows_out / self.seconds if self.seconds else 0.0

    def _rows(self) -> str:
        counts = f"{self.rows_in:,} in, {self.rows_out:,} out"
        return f"{counts}, {self.quarantined:,} quarantined" if self.quarantine else f"{counts}, {self.bad_rows:,} bad"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            **asdict(self),
            "touched": dict(self.touched),
            "rows_per_second": self.rows_per_second,
        }

    def view(self) -> Group:
        """The report as a rich renderable."""
        version = f" version {self.model_version}" if self.model_version else ""
        table = Table.grid(padding=(0, 2))
        table.add_row("model", Text(f"{self.model}{version}"))
        table.add_row("rows", self._rows())
        if not self.skipped:
            table.add_row("time", f"{self.seconds:.1f} s, {self.rows_per_second:,.0f} rows/s")
        table.add_row("source", Text(f"{self.source} at version {self.source_version}"))
        table.add_row("output", Text(f"{self.output} version {self.output_version}"))
        table.add_row("", Text(self.output_location))
        table.add_row("run", self.run_id)
        if self.changes is not None:
            table.add_row("merged", ", ".join(f"{rows:,} {what}" for what, rows in asdict(self.changes).items()))
        if self.quarantine is not None:
            table.add_row("quarantine", Text(self.quarantine))
        for reason in self.reasons[:_SHOWN_REASONS]:
            table.add_row("bad", Text(f"{reason.rows:,} rows: {reason.text}"))
        if (rest := len(self.reasons) - _SHOWN_REASONS) > 0:
            table.add_row("", f"and {rest} more reasons")
        for feature, values in self.touched:
            table.add_row("filled", Text(f"{values:,} values of {feature}"))
        if self.skipped:
            table.add_row("", "this run was made before and its rows are there; force: true scores again")
        title = "nothing to do" if self.skipped else "scored"
        return Group(Text(title, style="bold green"), table)
