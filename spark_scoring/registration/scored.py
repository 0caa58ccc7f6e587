"""A scoring run as a run of MLflow: its facts, counts and files, and a mark at the version that scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_scoring.redact import redact
from spark_scoring.registration.tracking import in_our_words, log_to_run, logging_at, new_run
from spark_scoring.registration.versions import LONGEST_TAG, logged_model_of, tag_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlflow import ActiveRun, MlflowClient

_RUN_TAG = "spark_scoring.scoring_run"
"""Of an MLflow run: the id of the scoring run that it tells of."""
_TAG = "spark_scoring.last_scored"
"""Of a model version: when it last scored; with ``_rows`` and ``_table``, how many rows and to where."""
_LONGEST_PARAM = 250
"""What every MLflow server takes."""


@dataclass(frozen=True)
class ScoredRun:
    """What MLflow is told of a run."""

    name: str
    run_id: str
    model_name: str | None
    """Of a registered model; None of a folder or another artifact."""
    model_version: str | None
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    files: Path
    """A folder whose files become artifacts."""
    scored_at: str
    """UTC, ISO 8601."""
    rows: int
    table: str


def log_scored_run(
    scored: ScoredRun, experiment: str | None, *, tracking_uri: str | None, registry_uri: str | None
) -> str:
    """Log the run, link it to the model, and mark the model's version. The id of the MLflow run.

    It is a run of its own: below the caller's active run, where there is one.

    Raises:
        RegistrationError: a server does not answer, or refuses; what was logged before that stays.

    """
    with logging_at(tracking_uri, registry_uri) as client:
        tags = {_RUN_TAG: scored.run_id}
        with new_run(client, experiment, scored.name, tags, elsewhere=tracking_uri is not None) as run:
            log_to_run(client, run, _short(scored.params), scored.metrics, _model_tags(scored))
            with in_our_words("artifacts"):
                client.log_artifacts(run.info.run_id, str(scored.files))
            if scored.model_name is not None and scored.model_version is not None:
                _link(client, run, scored.model_name, scored.model_version)
                _mark(client, scored, scored.model_name, scored.model_version)
        return str(run.info.run_id)


def _short(params: Mapping[str, object]) -> dict[str, str]:
    """Without what is None; a long text is cut."""
    told = {name: redact(str(value)) for name, value in params.items() if value is not None}
    return {
        name: text if len(text) <= _LONGEST_PARAM else text[: _LONGEST_PARAM - 3] + "..." for name, text in told.items()
    }


def _model_tags(scored: ScoredRun) -> dict[str, str]:
    found = {"spark_scoring.model_name": scored.model_name, "spark_scoring.model_version": scored.model_version}
    return {name: value for name, value in found.items() if value is not None}


def _link(client: MlflowClient, run: ActiveRun, name: str, version: str) -> None:
    """Make the logged model of the version an input of the run; versions that MLflow 2 has made have none."""
    from mlflow.entities import LoggedModelInput

    with in_our_words("registry"):
        model_id = logged_model_of(client.get_model_version(name, version))
    if model_id is not None:
        with in_our_words("run"):
            client.log_inputs(run.info.run_id, models=[LoggedModelInput(model_id)])


def _mark(client: MlflowClient, scored: ScoredRun, name: str, version: str) -> None:
    tags = {_TAG: scored.scored_at, f"{_TAG}_rows": str(scored.rows), f"{_TAG}_table": redact(scored.table)}
    with in_our_words("registry"):
        tag_version(client, name, version, {key: value[:LONGEST_TAG] for key, value in tags.items()})
