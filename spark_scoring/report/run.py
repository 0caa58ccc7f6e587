"""The facts of one finished run, or of all micro-batches of an incremental one."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spark_scoring.drift.view import headline
from spark_scoring.screen import Shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_scoring.drift.result import Drift
    from spark_scoring.report.bad_rows import ReasonCount

_SHOWN_REASONS = 10


@dataclass(frozen=True)
class MergeChanges:
    """Rows of a merge's output."""

    inserted: int
    updated: int
    deleted: int
    """Their new row is in quarantine, or their source row is gone."""
    unchanged: int
    """They keep the lineage of the run that last changed them."""


@dataclass(frozen=True)
class RunReport(Shown):
    """A run that has committed: rows in equal rows out, or it would have been an error."""

    run_id: str | None
    """Of several micro-batches, the last one's; None where there was nothing new."""
    skipped: bool
    """Whether the run had been made before and its rows are there: nothing was scored, this is its report."""
    job: str
    model: str
    """Name or URI of the model."""
    model_version: str | None
    plan_hash: str
    source: str
    source_state: str
    """For people: ``at version 3``."""
    source_version: int | None
    """None where the source is not a Delta table."""
    output: str
    output_version: int | None
    """The version of the output table that this run's commit made; None where there was nothing new."""
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
    """From the run's start, after its planning, to its commit, as the table's history has it; of several micro-batches,
    their sum. 0 for a skipped run."""
    batches: int = 0
    """Micro-batches of an incremental job that had rows for it."""
    recovered: int = 0
    """Those of them that an earlier run had committed before it died; their rows are counted here."""
    drift: Drift | None = None
    """What the model was given, beside what it was trained on; of several micro-batches, the last one's. None where the
    job does not ask for it."""
    notes: tuple[str, ...] = ()
    """What went wrong after the commit, such as a page that could not be written."""
    mlflow_run: str | None = None
    """The id of the MLflow run that tells of it; None where the job does not ask for one."""

    def with_batch(self, batch: RunReport) -> RunReport:
        """Add the next micro-batch's report."""
        changes = [report.changes for report in (self, batch) if report.changes is not None]
        return replace(
            batch,
            skipped=self.skipped and batch.skipped,
            rows_in=self.rows_in + batch.rows_in,
            rows_out=self.rows_out + batch.rows_out,
            bad_rows=self.bad_rows + batch.bad_rows,
            quarantine=batch.quarantine or self.quarantine,
            quarantined=self.quarantined + batch.quarantined,
            reasons=_sum_of_reasons([*self.reasons, *batch.reasons]),
            changes=MergeChanges(*map(sum, zip(*map(astuple, changes), strict=True))) if changes else None,
            touched=tuple((Counter(dict(self.touched)) + Counter(dict(batch.touched))).items()),
            scored_at=self.scored_at,
            seconds=self.seconds + batch.seconds,
            batches=self.batches + 1,
            recovered=self.recovered + batch.skipped,
        )

    @property
    def rows_per_second(self) -> float:
        """Rows read per second, from the run's start to its commit."""
        return self.rows_in / self.seconds if self.seconds else 0.0

    def rows_text(self) -> str:
        """For people: rows in, out, and bad or quarantined."""
        counts = f"{self.rows_in:,} in, {self.rows_out:,} out"
        share = f" ({_share_text(self.bad_rows, self.rows_in)})" if self.bad_rows else ""
        what = f"{self.quarantined:,} quarantined" if self.quarantine else f"{self.bad_rows:,} bad"
        return f"{counts}, {what}{share}"

    def _batches(self) -> str:
        recovered = f", {self.recovered} of them committed by a run that died" if self.recovered else ""
        return f"{self.batches}{recovered}"

    def __repr__(self) -> str:
        done = "nothing to do" if self.skipped else "scored"
        return f"<RunReport {self.run_id}: {done}, {self.rows_text()}, to {self.output} version {self.output_version}>"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            **asdict(self),
            "touched": dict(self.touched),
            "drift": self.drift and self.drift.to_dict(),
            "rows_per_second": self.rows_per_second,
        }

    def _add_reasons(self, table: Table) -> None:
        for reason in self.reasons[:_SHOWN_REASONS]:
            table.add_row("bad", Text(f"{reason.rows:,} row{'s' * (reason.rows != 1)}: {reason.text}", style="yellow"))
        if (rest := len(self.reasons) - _SHOWN_REASONS) > 0:
            table.add_row("", f"and {rest} more reasons")
        if sum(reason.rows for reason in self.reasons) > self.bad_rows:
            table.add_row("", "a row with several reasons is counted for each")

    def view(self) -> Group:
        """The report as a rich renderable."""
        version = f" version {self.model_version}" if self.model_version else ""
        table = Table.grid(padding=(0, 2))
        table.add_row("model", Text(f"{self.model}{version}"))
        table.add_row("rows", Text(self.rows_text(), style="yellow" if self.bad_rows else ""))
        if not self.skipped:
            speed = f", {self.rows_per_second:,.0f} rows/s" if self.rows_per_second >= 1 else ""
            table.add_row("time", f"{self.seconds:.1f} s{speed}")
        table.add_row("source", Text(f"{self.source} {self.source_state}"))
        if self.output_version is not None:
            table.add_row("output", Text(f"{self.output} version {self.output_version}"))
            table.add_row("", Text(self.output_location))
        if self.batches:
            table.add_row("batches", self._batches())
        table.add_row("run", self.run_id or "none: the source holds nothing new")
        if self.mlflow_run is not None:
            table.add_row("mlflow", f"run {self.mlflow_run}")
        if self.changes is not None:
            table.add_row("merged", ", ".join(f"{rows:,} {what}" for what, rows in asdict(self.changes).items()))
        if self.quarantine is not None:
            table.add_row("quarantine", Text(self.quarantine))
        self._add_reasons(table)
        for feature, values in self.touched:
            table.add_row("filled", Text(f"{values:,} values of {feature}"))
        if self.skipped and not self.batches and self.run_id is not None:
            table.add_row("", "this run was made before and its rows are there; force: true scores again")
        self._add_notes(table)
        title = "nothing to do" if self.skipped else "scored"
        return Group(Text(title, style="bold green"), table)

    def _add_notes(self, table: Table) -> None:
        """Of drift, and of what went wrong after the commit."""
        if self.drift is not None:
            is_told = self.drift.above(self.drift.warn) or self.drift.notes
            table.add_row("drift", Text(headline(self.drift), style="yellow" if is_told else ""))
            for note in self.drift.notes:
                table.add_row("", Text(note, style="yellow"))
        for note in self.notes:
            table.add_row("note", Text(note, style="yellow"))


def _share_text(part: int, whole: int) -> str:
    """A share that is above 0 never reads as 0, and one below 1 never as 100 %."""
    percent = 100 * part / whole
    if percent < 0.1:  # noqa: PLR2004
        return "under 0.1%"
    return f"{percent:.1f}%" if part == whole or percent < 99.95 else "over 99.9%"  # noqa: PLR2004


def _sum_of_reasons(reasons: Sequence[ReasonCount]) -> tuple[ReasonCount, ...]:
    """One count for each reason, the most frequent first."""
    rows: Counter[ReasonCount] = Counter()
    for reason in reasons:
        rows[replace(reason, rows=0)] += reason.rows
    summed = [replace(reason, rows=n) for reason, n in rows.items()]
    return tuple(sorted(summed, key=lambda r: (-r.rows, r.text)))
