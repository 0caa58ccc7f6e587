"""What was measured of drift: for people, for programs, and as small numbers for the ledger. Holds no row's values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from spark_scoring.drift.measures import is_above
from spark_scoring.drift.view import drift_view
from spark_scoring.screen import Shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from spark_scoring.drift.baseline import Kind

Verdict = Literal["ok", "warn", "fail", "few rows"]
_KEPT = 50
"""Features at most in the ledger: of each commit's metadata, Delta reads all."""
_DIGITS = 5


@dataclass(frozen=True)
class FeatureDrift:
    """One feature beside training. Shares are of all rows, 0 to 1."""

    feature: str
    kind: Kind
    verdict: Verdict
    psi: float | None
    """Population stability index to training; None of too few rows."""
    js: float | None
    """Jensen-Shannon distance to training, 0 to 1."""
    chance: float | None
    """The PSI that chance alone explains, for as many rows; one below it is no sign of drift."""
    psi_before: float | None
    """To the run before; None where there is none that counted the same bins, or of too few rows."""
    nulls: float
    nulls_in_training: float
    out_of_range: float | None
    """Numbers and times below the least or above the greatest of training; None of other kinds."""
    unknown: float | None
    """Values of levels: neither a recorded level nor, of a category, one that the model knows; None of other kinds."""
    unfit: float
    """Values that the model does not take, which make bad rows or are replaced."""
    counts: tuple[int, ...]
    """Rows in each bin, of missing values, and of those that do not fit."""


@dataclass(frozen=True)
class Drift(Shown):
    """What the model is given, beside what it was trained on."""

    rows: int
    training_rows: int
    warn: float
    """The PSI above which a feature is told."""
    fail: float | None
    """The PSI above which a run stops before anything is written; None: it does not."""
    bins: str
    """Equal for runs that counted the same bins."""
    features: tuple[FeatureDrift, ...]
    """Those furthest from training first."""
    notes: tuple[str, ...] = ()
    left_out: int = 0
    """Features that were measured and are not listed: a ledger keeps no more than 50."""

    @property
    def greatest(self) -> float | None:
        """The greatest PSI to training; None where nothing was measured."""
        return max((f.psi for f in self.features if f.psi is not None), default=None)

    def above(self, limit: float | None) -> tuple[FeatureDrift, ...]:
        """Features whose PSI is above the limit, and not by chance."""
        return tuple(f for f in self.features if is_above(limit, f.psi, f.chance))

    def __repr__(self) -> str:
        told = len(self.above(self.warn))
        features = len(self.features) + self.left_out
        return f"<Drift of {features} features over {self.rows:,} rows: {told} above {self.warn:g}>"

    def view(self) -> RenderableType:
        """As a rich renderable."""
        return drift_view(self)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "greatest": self.greatest}

    def for_ledger(self) -> dict[str, Any]:
        """As JSON types, short: rounded, and no more than 50 features."""
        own = asdict(self)
        kept = [
            {name: _short(value) for name, value in f.items() if value is not None} for f in own["features"][:_KEPT]
        ]
        return {**own, "features": kept, "left_out": max(0, len(self.features) - _KEPT)}

    @classmethod
    def of_ledger(cls, found: Mapping[str, Any] | None) -> Drift | None:
        """What ``for_ledger`` has kept; None where it is not that."""
        try:
            features = tuple(
                FeatureDrift(**{**_ABSENT, **f, "counts": tuple(f["counts"])}) for f in (found or {})["features"]
            )
            return cls(**{**(found or {}), "features": features, "notes": tuple((found or {})["notes"])})
        except (KeyError, TypeError):  # of another version of this package
            return None


_ABSENT = dict.fromkeys(("psi", "js", "chance", "psi_before", "out_of_range", "unknown"))


def _short(value: Any) -> Any:
    return round(value, _DIGITS) if isinstance(value, float) else value
