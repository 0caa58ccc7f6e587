"""Drift on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from spark_scoring.drift.result import Drift, FeatureDrift

_SHOWN = 20
_STYLES = {"ok": "", "warn": "yellow", "fail": "red", "few rows": "dim"}


def drift_view(drift: Drift) -> Group:
    """Drift as a rich renderable: the features furthest from training first."""
    notes = [Text(f"note: {note}", style="yellow") for note in drift.notes]
    if not drift.features:
        return Group(Text(headline(drift), style="yellow"), *notes)
    head = Text(f"{drift.rows:,} rows beside {drift.training_rows:,} of training: {headline(drift)}")
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("feature", overflow="fold")
    for name in ("PSI", "chance", "JS", "run before", "nulls", "in training", "out of range", "unknown", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for feature in drift.features[:_SHOWN]:
        table.add_row(Text(feature.feature), *_cells(feature), style=_STYLES[feature.verdict])
    rest = len(drift.features) - _SHOWN + drift.left_out
    more = [Text(f"and {rest} more features: --json has them", style="dim")] if rest > 0 else []
    return Group(head, table, *more, *notes)


def headline(drift: Drift) -> str:
    """The result in a line."""
    if not drift.features:
        return "nothing could be compared"
    above, measured = drift.above(drift.warn), [f for f in drift.features if f.psi is not None]
    if not measured:
        return "too few rows to tell"
    count = len(drift.features) + drift.left_out
    told = f"{len(above)} of {count} features {'has' if len(above) == 1 else 'have'} a PSI above {drift.warn:g}"
    return f"{told}: {', '.join(f.feature for f in above[:5])}{', ...' if len(above) > 5 else ''}" if above else told  # noqa: PLR2004


def _cells(feature: FeatureDrift) -> list[str]:
    numbers = [feature.psi, feature.chance, feature.js, feature.psi_before]
    shares = [feature.nulls, feature.nulls_in_training, feature.out_of_range, feature.unknown]
    return [*map(_number, numbers), *map(share_text, shares), "" if feature.verdict == "ok" else feature.verdict]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def share_text(share: float | None) -> str:
    """A share that is above 0 never reads as 0, and one below 1 never as 100 %."""
    if share is None:
        return "-"
    if 0 < share < 0.0005:  # noqa: PLR2004
        return "under 0.1%"
    return "over 99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"  # noqa: PLR2004
