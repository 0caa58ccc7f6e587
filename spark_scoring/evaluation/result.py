"""What an evaluation has found, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spark_scoring.redact import redact

if TYPE_CHECKING:
    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.report.measures import Measures

Task = Literal["regression", "classification", "probability"]


@dataclass(frozen=True)
class TableFacts:
    """A table that was read."""

    table: str
    table_id: str | None
    """Delta's own id; None where it is not a Delta table."""
    version: int | None
    state: str
    """For people: ``at version 3``."""

    @classmethod
    def of(cls, source: PinnedSource) -> TableFacts:
        """What a pinned table is told as, without secrets of its place."""
        return cls(redact(source.ref.text), source.table_id, source.version, source.state)


@dataclass(frozen=True)
class EvaluatedRows:
    """Rows of the predictions by what became of them; each counts once."""

    rows: int
    bad: int
    """With a ``scoring_error``."""
    unlabelled: int
    """Good ones whose key has no label, or a null one."""
    not_finite: int
    """Labelled ones whose prediction is null, or in which prediction or label is NaN or infinite."""
    measured: int
    labels: int
    """Labels that are not null, with a whole key."""
    labels_matched: int
    """Those of them that a row of the predictions has the key of."""


@dataclass(frozen=True)
class ClassResult:
    """A class, as the label and as the prediction."""

    label: str
    rows: int
    """With this label."""
    predicted: int
    precision: float
    """0 where it was never predicted, as scikit-learn has it."""
    recall: float
    """0 where no row has the label."""
    f1: float


@dataclass(frozen=True)
class Confusion:
    """Rows of one label that were predicted as one class."""

    label: str
    prediction: str
    rows: int


@dataclass(frozen=True)
class CalibrationBin:
    """Rows whose predictions, or probabilities, are between two bounds."""

    low: float | None
    """Of a regression: above it; None of the lowest. Of a probability: from it on."""
    high: float | None
    """Of a regression: up to it; None of the highest. Of a probability: below it; 1 belongs to the highest."""
    rows: int
    predicted: float | None
    """The mean; None of fewer than 20 rows."""
    observed: float | None
    """The mean label, or the share in which it came true; None of fewer than 20 rows."""


@dataclass(frozen=True)
class Slice:
    """A part of the rows, with its metrics."""

    level: str | None
    """Such as a version, the first day of a week, or a value; None where the column is null, and of the others."""
    is_other: bool
    """Whether it is what is not listed: levels of fewer than 20 rows, and those beyond the first."""
    rows: int
    metrics: Measures
    model: str | None = None
    """Of a version: the name of its model."""


@dataclass(frozen=True)
class Split:
    """The rows by one column."""

    by: str
    """The column."""
    kind: Literal["version", "window", "column"]
    window: str | None
    """``day``, ``week`` or ``month``."""
    slices: tuple[Slice, ...]
