"""Write the metrics of each model version to its run, and the evidence to the version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import Problem
from spark_scoring.evaluation.errors import EvaluationLogError
from spark_scoring.redact import redact
from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.tracking import logging_at
from spark_scoring.registration.versions import LONGEST_TAG, record_metrics

if TYPE_CHECKING:
    from spark_scoring.evaluation.evaluation import Evaluation
    from spark_scoring.evaluation.result import Slice

_PREFIX = "evaluation_"
_TAG = "spark_scoring.evaluated"
_DIGITS = 6


@dataclass(frozen=True)
class LoggedVersion:
    """A model version whose metrics were written."""

    name: str
    version: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.name} version {self.version}, run {self.run_id}"


def log_versions(
    evaluation: Evaluation, tracking_uri: str | None, registry_uri: str | None
) -> tuple[LoggedVersion, ...]:
    """Log what can be logged; see ``Evaluation.log``."""
    of_versions = [
        (one.model or evaluation.model_name, one)
        for split in evaluation.splits
        if split.kind == "version"
        for one in split.slices
        if one.level is not None
    ]
    named = [(name, one) for name, one in of_versions if name]
    if not named:
        raise EvaluationLogError.no_versions(evaluation.table.table)
    with logging_at(tracking_uri, registry_uri) as client:
        done = [_log(client, name, one, evaluation) for name, one in named]
    if problems := [one for one in done if isinstance(one, Problem)]:
        raise EvaluationLogError(problems)
    return tuple(one for one in done if isinstance(one, LoggedVersion))


def _log(client: Any, name: str, one: Slice, evaluation: Evaluation) -> LoggedVersion | Problem:
    """What was logged, or what kept it from that."""
    version = str(one.level)
    metrics = {key: value for key, value in one.metrics.items() if value is not None}
    named = {f"{_PREFIX}{key}": value for key, value in {**metrics, "rows": float(one.rows)}.items()}
    tags = {_TAG: _tag(one, metrics, evaluation)}
    try:
        run_id = record_metrics(client, name, version, named, tags)
    except RegistrationError as error:
        return EvaluationLogError.refused(name, version, "; ".join(p.cause for p in error.problems))
    return EvaluationLogError.no_run(name, version) if run_id is None else LoggedVersion(name, version, run_id)


def _tag(one: Slice, metrics: dict[str, float], evaluation: Evaluation) -> str:
    """As JSON, without the last metrics where it would be too long."""
    fields: dict[str, Any] = {
        "table": redact(evaluation.table.table),
        "rows": one.rows,
        "at": evaluation.evaluated_at[:19],
        "metrics": {key: float(f"{value:.{_DIGITS}g}") for key, value in metrics.items()},
    }
    while len(text := json.dumps(fields)) > LONGEST_TAG and fields["metrics"]:
        fields["metrics"].popitem()
    return text if len(text) <= LONGEST_TAG else json.dumps({**fields, "table": None})
