"""The result of a comparison, for people and programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from spark_scoring.compare.measures import conditions_on, measured
from spark_scoring.compare.view import comparison_view, headline
from spark_scoring.screen import Shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spark_scoring.compare.result import ComparedRows, LabelResult, ModelFacts, OutputResult, SourceFacts
    from spark_scoring.report.measures import Measures

FORMAT = 1
"""Of the JSON."""


@dataclass(frozen=True)
class Comparison(Shown):
    """Two models over the same rows of a source: what changes, how much, and where. Holds no row's values."""

    current: ModelFacts
    """The job's model."""
    challenger: ModelFacts
    """The model that it is compared with."""
    source: SourceFacts
    """What both have scored: the table, its id and version."""
    rows: ComparedRows
    """How many rows both, one or none of them could score, and why."""
    outputs: tuple[OutputResult, ...]
    """Each column that both models return."""
    compared_at: str
    """UTC, ISO 8601."""
    seconds: float
    """Wall time of scoring and measuring, without planning."""
    labelled: LabelResult | None = None
    """How well both do against labels, where they were asked for."""
    notes: tuple[str, ...] = ()
    """Of the source and of the two plans."""

    @property
    def measures(self) -> Measures:
        """The measures by name, such as ``flip_rate``; None where there was nothing to measure.

        A name without the output's is that of the first output that has it.
        """
        return measured(self.rows, self.outputs, self.labelled)

    def failed(self, *conditions: str) -> tuple[str, ...]:
        """Those of the conditions that hold, such as ``flip_rate > 0.02``; on a measure without a value, each does.

        Raises:
            CompareError: a text is not a condition, or names no measure.

        """
        measures = self.measures
        return tuple(c.text for c in conditions_on(conditions, measures) if c.holds(measures))

    def view(self) -> RenderableType:
        """As a rich renderable."""
        return comparison_view(self)

    def __repr__(self) -> str:
        return f"<Comparison {self.current.title} with {self.challenger.title}: {headline(self.rows, self.outputs)}>"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"format": FORMAT, **asdict(self), "measures": self.measures}
