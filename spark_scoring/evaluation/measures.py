"""The measures of an evaluation by name: what ``--fail-if`` may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.evaluation.probabilities import METRICS as OF_PROBABILITIES
from spark_scoring.report.measures import rate

if TYPE_CHECKING:
    from spark_scoring.evaluation.result import EvaluatedRows, Task
    from spark_scoring.report.measures import Measures

OF_TASK: dict[Task, tuple[str, ...]] = {
    "regression": ("rmse", "mae", "r2", "bias"),
    "classification": ("accuracy", "f1", "f1_macro", *OF_PROBABILITIES),
    "probability": OF_PROBABILITIES,
}
_OF_ROWS = ("rows", "measured", "bad_rate", "labelled_rate")

OF_ANY_TASK = tuple(dict.fromkeys(name for names in OF_TASK.values() for name in names))
KNOWN = (*_OF_ROWS, *OF_ANY_TASK)
"""Of any task; known before a row is read."""


def measured(rows: EvaluatedRows, metrics: Measures) -> Measures:
    """The values, by name; None where nothing could be measured."""
    good = rows.rows - rows.bad
    return {
        "rows": rows.rows,
        "measured": rows.measured,
        "bad_rate": rate(rows.bad, rows.rows),
        "labelled_rate": rate(good - rows.unlabelled, good),
        **metrics,
    }
