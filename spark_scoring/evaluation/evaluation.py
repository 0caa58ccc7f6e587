"""The result of an evaluation, for people and programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from spark_scoring.evaluation.gate import checked, read
from spark_scoring.evaluation.log import log_versions
from spark_scoring.evaluation.measures import measured
from spark_scoring.evaluation.view import evaluation_view, headline
from spark_scoring.screen import Shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spark_scoring.evaluation.log import LoggedVersion
    from spark_scoring.evaluation.result import (
        CalibrationBin,
        ClassResult,
        Confusion,
        EvaluatedRows,
        Split,
        TableFacts,
        Task,
    )
    from spark_scoring.report.measures import Measures

FORMAT = 1
"""Of the JSON."""


@dataclass(frozen=True)
class Evaluation(Shown):
    """Predictions beside labels that came later. Holds no row's values."""

    table: TableFacts
    """The predictions."""
    labels: TableFacts
    key: tuple[str, ...]
    where: str | None
    """Of the predictions, as it was asked."""
    label: str
    prediction: str
    probability: tuple[str, ...]
    """The columns; none where there are none."""
    task: Task
    task_reason: str
    """Why it is taken for this task."""
    rows: EvaluatedRows
    metrics: Measures
    """Of all rows that have a label: regression ``rmse``, ``mae``, ``r2``, ``bias``; classification ``accuracy``,
    ``f1`` (weighted), ``f1_macro``; of probabilities ``log_loss``, ``auc``, ``brier``, ``ece``. By scikit-learn's
    definitions; None where one could not be measured."""
    positive: str | None
    """Of two classes with probabilities: the one that ``auc``, ``brier`` and the calibration are about."""
    classes: tuple[ClassResult, ...]
    """The most frequent first; those of fewer than 20 rows are left out."""
    other_classes: int
    """Rows with a label that is not listed."""
    confusion: tuple[Confusion, ...]
    """Labels with their predictions, the most frequent first; pairs of fewer than 20 rows are left out."""
    other_confusion: int
    """Rows of pairs that are not listed."""
    calibration: tuple[CalibrationBin, ...]
    """Of a regression between the deciles of the prediction, else in ten bins of the probability."""
    splits: tuple[Split, ...]
    """By version, where the table tells of one; then as asked."""
    model_name: str | None
    """Of the newest run of the table, as its history tells."""
    evaluated_at: str
    """UTC, ISO 8601."""
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def measures(self) -> Measures:
        """The metrics, and counts of rows: what ``failed`` takes."""
        return measured(self.rows, self.metrics)

    def failed(self, *conditions: str) -> tuple[str, ...]:
        """Those of the conditions that hold, such as ``auc < 0.7``; on a measure without a value, each does.

        Raises:
            EvaluateError: a text is not a condition, or names no measure of the task.

        """
        measures = self.measures
        return tuple(c.text for c in checked(read(conditions), self.task, measures) if c.holds(measures))

    def log(self, *, tracking_uri: str | None = None, registry_uri: str | None = None) -> tuple[LoggedVersion, ...]:
        """Write the metrics of each model version to the run of MLflow's that the version is of, and tag the version.

        A version of a model that was logged without a run gets one, in the model's experiment and linked to the model.
        The metrics are called ``evaluation_rmse`` and so on, with ``evaluation_rows``; each evaluation adds a point.
        The tag ``spark_scoring.evaluated`` has table, rows, time and metrics as JSON. Versions of fewer than 20 rows
        are left out.

        Raises:
            EvaluationLogError: no version is known, or the registry or a run takes nothing; the others are logged.
            RegistrationError: the servers do not answer.

        """
        return log_versions(self, tracking_uri, registry_uri)

    def view(self) -> RenderableType:
        """As a rich renderable."""
        return evaluation_view(self)

    def __repr__(self) -> str:
        return f"<Evaluation of {self.table.table}: {self.rows.measured:,} rows, {headline(self.metrics)}>"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"format": FORMAT, **asdict(self), "measures": self.measures}
