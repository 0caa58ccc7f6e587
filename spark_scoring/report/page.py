"""A run as a page: one HTML file that loads nothing, and the same as JSON. Holds no row's values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from spark_scoring.drift.view import share_text
from spark_scoring.html import html_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_scoring.drift.result import Drift
    from spark_scoring.report.bad_rows import ReasonCount
    from spark_scoring.report.predictions import Predictions

FORMAT = 1
"""Of the JSON."""
_SHOWN_RUNS = 30


@dataclass(frozen=True)
class ModelCard:
    """What scored. Of what only a plan knows, there is something where the page is of a run that was just made."""

    uri: str
    name: str | None
    version: str | None
    digest: str
    flavor: str | None = None
    differences: tuple[str, ...] | None = None
    """Requirements that this environment does not meet."""
    rehearsal: str | None = None
    """On how many rows the plan has tried it, and what it found."""

    @property
    def alias(self) -> str | None:
        """The alias that the job named it by."""
        return self.uri.rpartition("@")[2] if "@" in self.uri and self.uri.startswith("models:/") else None


@dataclass(frozen=True)
class TrendPoint:
    """A run of the same table."""

    run_id: str
    committed: str
    model_version: str | None
    rows: int
    seconds: float | None
    drift: float | None
    rolled_back: bool


@dataclass(frozen=True)
class RunPage:
    """A run, as one page tells of it."""

    run_id: str
    job: str
    output: str
    output_version: int
    mode: str
    source: str
    source_state: str
    where: str | None
    committed: str
    """UTC, ISO 8601."""
    user: str | None
    model: ModelCard
    rows_in: int
    rows_scored: int
    bad_rows: int
    quarantine: str | None
    seconds: float | None
    reasons: tuple[ReasonCount, ...]
    predictions: tuple[Predictions, ...]
    drift: Drift | None
    """None where the job did not ask for it."""
    runs: tuple[TrendPoint, ...]
    """Runs of the table up to 30, the newest first."""
    notes: tuple[str, ...] = ()
    plan: dict[str, Any] | None = None
    """The plan as JSON types; None where the page is not of a run that was just made."""
    plan_html: str = ""

    @property
    def rows_per_second(self) -> float | None:
        """Rows read per second, from the run's start to its commit."""
        return self.rows_in / self.seconds if self.seconds else None

    def __repr__(self) -> str:
        return f"<RunPage of run {self.run_id}: {self.rows_in:,} rows, to {self.output} version {self.output_version}>"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        own = {name: value for name, value in asdict(self).items() if name != "plan_html"}
        return {
            "format": FORMAT,
            **own,
            "model": {**own["model"], "alias": self.model.alias},
            "rows_per_second": self.rows_per_second,
            "drift": self.drift and self.drift.to_dict(),
        }

    def to_html(self) -> str:
        """As a whole page, escaped; no script, nothing loaded."""
        values = {
            "page": self,
            "plan": Markup(self.plan_html),  # noqa: S704  of the plan's own template, which escapes
            "lines": [(part, _lines(part.deciles, part.deciles_before)) for part in self.predictions],
            "most_rows": max((run.rows for run in self.runs), default=0) or 1,
            "most_drift": _most_drift(self.drift),
        }
        filters = {"share": share_text, "count": _count, "number": _number}
        return html_of("spark_scoring.report", "page.html.j2", values, **filters)

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Write the page and the JSON into a folder, which is made if it is not there: ``run_<id>.html`` and ``.json``.

        Raises:
            OSError: it cannot be written.

        """
        base = Path(folder) / f"run_{self.run_id[:8]}"
        base.parent.mkdir(parents=True, exist_ok=True)
        page, data = base.with_suffix(".html"), base.with_suffix(".json")
        page.write_text(self.to_html(), encoding="utf-8")
        data.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        return page, data


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}"


def _most_drift(drift: Drift | None) -> float:
    if drift is None:
        return 1.0
    return max([1.5 * drift.warn, *(f.psi for f in drift.features if f.psi is not None)])


def _lines(deciles: Sequence[float], before: Sequence[float]) -> dict[str, str]:
    """Lines in a box of 100 x 100: to the right the value, upwards the share of the rows that are up to it."""
    ends = [*deciles, *before]
    if not deciles or max(ends) == min(ends):
        return {}
    low, span = min(ends), max(ends) - min(ends)
    return {
        name: " ".join(f"{100 * (value - low) / span:.2f},{90 - 10 * i}" for i, value in enumerate(values))
        for name, values in (("now", deciles), ("before", before))
    }
