"""Plan an evaluation: both tables pinned, their columns found, and whatever is wrong told at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_scoring.delta.errors import SourceError
from spark_scoring.delta.ledger import kept_runs, read_commits
from spark_scoring.delta.source import PinnedSource, pin_source
from spark_scoring.errors import Gathering
from spark_scoring.evaluation.columns import EvaluatedColumns, NamedColumns, find_columns
from spark_scoring.evaluation.errors import EvaluateError
from spark_scoring.job_file import place_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_scoring.delta.ledger import RunFacts
    from spark_scoring.evaluation.request import EvaluateRequest

_LOOKED_AT = 50
"""Commits in which the newest run is looked for."""


@dataclass(frozen=True)
class EvaluatePlan:
    """An evaluation that can be made: two tables at their versions, and the columns of both."""

    request: EvaluateRequest
    predictions: PinnedSource
    labels: PinnedSource
    columns: EvaluatedColumns
    model_name: str | None
    """Of the newest run of the predictions; None where their history knows none."""

    @property
    def session(self) -> SparkSession:
        """The session that both are read with."""
        return self.predictions.frame.sparkSession


def plan_evaluation(request: EvaluateRequest, spark: SparkSession) -> EvaluatePlan:
    """Pin both tables and find their columns. Reads metadata and history, no rows.

    Raises:
        EvaluateError: with every problem of the request and of either table that can be known at once.

    """
    problems = Gathering()
    request.check(problems)
    predictions = pinned_table(spark, "table", request.table, request.where, problems)
    labels = pinned_table(spark, "labels", request.labels, None, problems)
    if predictions is None or labels is None:
        raise EvaluateError(problems.problems)
    facts = _newest_run(spark, predictions)
    of_predictions, of_labels = (NamedColumns(source.rows, source.ref.text) for source in (predictions, labels))
    columns = find_columns(request, of_predictions, of_labels, facts, problems)
    if columns is None or problems.problems:
        raise EvaluateError(problems.problems)
    if predictions.ref.sql == labels.ref.sql and columns.label == columns.prediction:
        raise EvaluateError.label_is_prediction(columns.label)
    return EvaluatePlan(request, predictions, labels, columns, None if facts is None else facts.model_name)


def pinned_table(
    spark: SparkSession, role: str, place: str, where: str | None, problems: Gathering
) -> PinnedSource | None:
    """A table at its version; None, and the problems, where it cannot be read."""
    source = None
    with problems.attempt():
        try:
            source = pin_source(spark, **place_of(place), where=where)
        except SourceError as error:
            raise EvaluateError.of_table(role, error.problems) from error
    return source


def _newest_run(spark: SparkSession, predictions: PinnedSource) -> RunFacts | None:
    """The newest run that the table's history has kept, and that was not taken back."""
    if predictions.version is None:
        return None
    commits = read_commits(spark, predictions.ref, _LOOKED_AT)
    seen = [commit for commit in commits if commit.version <= predictions.version]
    return next((facts for _, facts in kept_runs(seen)), None)
