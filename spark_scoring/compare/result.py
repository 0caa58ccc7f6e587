"""What a comparison has found, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_scoring.compare.outputs import Kind, PartKind
    from spark_scoring.evaluation.result import TableFacts, Task
    from spark_scoring.report.bad_rows import ReasonCount
    from spark_scoring.report.measures import Measures


@dataclass(frozen=True)
class ModelFacts:
    """One of the two models."""

    uri: str
    """As the job, or ``--with``, names it."""
    name: str | None
    version: str | None
    digest: str
    """sha256 of the artifact's files."""
    flavor: str
    plan_hash: str
    only_features: tuple[str, ...]
    """Features that the other model does not take."""

    @property
    def title(self) -> str:
        """For people."""
        version = f" version {self.version}" if self.version else ""
        return f"{self.name or self.uri}{version} ({self.flavor}, artifact {self.digest[:12]})"


@dataclass(frozen=True)
class SourceFacts:
    """The rows that both models have scored."""

    table: str
    table_id: str | None
    """Delta's own id; None where it is not a Delta table."""
    version: int | None
    files: str | None
    """Of a source of files: the digest of their paths, sizes and times."""
    where: str | None
    state: str
    """For people: ``at version 3``."""


@dataclass(frozen=True)
class ComparedRows:
    """Rows by what became of them."""

    rows: int
    both: int
    """Scored by both models: changes are measured over these."""
    bad_both: int
    bad_current_only: int
    """Bad under the current model, scored by the challenger."""
    bad_challenger_only: int
    """Scored by the current model, bad under the challenger."""
    reasons_current_only: tuple[ReasonCount, ...] = ()
    reasons_challenger_only: tuple[ReasonCount, ...] = ()


@dataclass(frozen=True)
class NumberChange:
    """A number of both models, over the rows in which both are finite. None where there is no such row."""

    rows: int
    """In which both are finite numbers."""
    not_finite: int
    """Scored rows in which one of them is null, NaN or infinite: no difference is taken of these."""
    mean_diff: float | None
    """Challenger minus current."""
    mean_abs_diff: float | None
    max_abs_diff: float | None
    quantiles_abs_diff: dict[str, float] | None
    """``p50``, ``p90`` and ``p99``, by Spark's approx_percentile; None below ``RARE`` rows."""
    mean_current: float | None
    """None below ``RARE`` rows, as the challenger's."""
    mean_challenger: float | None
    deciles_current: tuple[float, ...] | None
    """The nine deciles; None below ``RARE`` rows, and of lists of more than ten values."""
    deciles_challenger: tuple[float, ...] | None


@dataclass(frozen=True)
class Flip:
    """Rows that went from one label to another."""

    current: str | None
    challenger: str | None
    rows: int


@dataclass(frozen=True)
class LabelShare:
    """A label, and how many rows have it under each model."""

    label: str | None
    current: int
    challenger: int


@dataclass(frozen=True)
class LabelChange:
    """A label of both models, over the rows that both have scored."""

    flips: tuple[Flip, ...]
    """The most frequent first."""
    other_flips: int
    """Rows of flips that are not listed: rare ones, and those beyond the first 20."""
    labels: tuple[LabelShare, ...]
    """The most frequent first."""
    other_current: int
    """Rows with a label that is not listed."""
    other_challenger: int


@dataclass(frozen=True)
class PartResult:
    """A single value of an output: a number, a label, or another value, of which only changes are counted."""

    name: str
    kind: PartKind
    changed: int
    """Rows in which it differs, exactly; NaN equals NaN."""
    changed_rate: float | None
    """Of the rows that both have scored."""
    number: NumberChange | None = None
    label: LabelChange | None = None


@dataclass(frozen=True)
class Level:
    """The values of a feature between which the change is greatest: one text, or a range of numbers or times."""

    text: str
    rows: int
    mean_change: float


@dataclass(frozen=True)
class DriverResult:
    """How much of an output's change a feature explains."""

    feature: str
    effect: float | None
    """The feature's total effect on the change, 0 to about 1, asked of the models themselves; see ``swaps``. None where
    it was not asked: a feature of little association, too few rows, or a change without variance."""
    association: float
    """The share of the change's variance between the feature's bins or levels, 0 to 1; see ``drivers``."""
    most: Level | None
    """Where the change is greatest; None where all of its levels are rare."""


@dataclass(frozen=True)
class LabelResult:
    """How well both models do against labels, over the same rows: those that both have scored and that have a label."""

    table: TableFacts | None
    """The labels' table; None where the label is a column of the source."""
    label: str
    """Its column."""
    key: tuple[str, ...]
    task: Task
    task_reason: str
    """Why it is taken for this task."""
    rows: int
    """Scored by both models."""
    unlabelled: int
    """Without a label, or with a null one."""
    not_finite: int
    """Labelled ones in which a prediction is null, or a prediction or the label NaN or infinite."""
    measured: int
    current: Measures
    """The metrics of ``evaluate`` for this task; None where one could not be measured."""
    challenger: Measures
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> Measures:
        """The challenger's metrics minus the current one's; None where either has no value."""
        both = ((name, current, self.challenger[name]) for name, current in self.current.items())
        return {name: None if a is None or b is None else b - a for name, a, b in both}


@dataclass(frozen=True)
class OutputResult:
    """A column that both models return."""

    name: str
    kind: Kind
    changed: int
    """Rows in which any of its values differs."""
    changed_rate: float | None
    mean_change: float | None
    """Of rows whose change is a finite number; see ``frames.change``."""
    parts: tuple[PartResult, ...]
    drivers: tuple[DriverResult, ...] = ()
    """The feature that explains most first."""
