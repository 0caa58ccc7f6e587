"""A run is told to MLflow: what its servers hold afterwards, and what happens where they refuse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from spark_scoring import JobError, ScoringJob, run_job
from tests.models import register
from tests.place import ROWS

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.entities import Run
    from pyspark.sql import SparkSession

    from tests.place import Place

NAME = "main.jobs.tracked"


@pytest.fixture(scope="module")
def line(registry: str) -> str:
    """A registered model of the place's rows."""
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 5.0], "n": [0, 3, 1, 2]})
    return register(LinearRegression().fit(frame, 2 * frame["x"] + frame["n"]), frame, NAME)


def runs_in(experiment: str) -> list[Run]:
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


def test_a_run_is_logged_and_its_model_version_marked(place: Place, tmp_path: Path) -> None:
    client = mlflow.MlflowClient()
    job: dict[str, Any] = {"name": "odd <name>", "track": "scorings", "source": {"where": "id < 100"}}
    with mlflow.start_run() as outer:
        report = place.run(
            name="odd <name>", track="scorings", source={"where": "id < 100"}, report=str(tmp_path / "p")
        )
        assert mlflow.active_run().info.run_id == outer.info.run_id  # type: ignore[union-attr]
    assert report.notes == ()
    (run,) = runs_in("scorings")
    assert run.info.run_id == report.mlflow_run
    assert f"run {run.info.run_id}" in str(report)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "scoring odd <name>")
    assert run.data.tags["mlflow.parentRunId"] == outer.info.run_id
    assert run.data.tags["spark_scoring.scoring_run"] == report.run_id
    assert run.data.params["where"] == "id < 100"
    assert (run.data.params["output"], run.data.params["output_version"]) == (report.output, str(report.output_version))
    counts = {name: run.data.metrics[name] for name in ("rows_in", "rows_out", "bad_rows", "quarantined")}
    assert counts == {"rows_in": ROWS, "rows_out": ROWS, "bad_rows": 2, "quarantined": 0}
    short = str(report.run_id)[:8]
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert names == {"plan.json", "plan.html", f"run_{short}.html", f"run_{short}.json"}
    page = client.download_artifacts(run.info.run_id, f"run_{short}.json", str(tmp_path))
    assert json.loads(open(page, encoding="utf-8").read())["rows_in"] == ROWS  # noqa: PTH123, SIM115
    assert (tmp_path / "p" / f"run_{short}.html").exists()
    version = client.get_model_version(NAME, "1")
    assert [f"models:/{one.model_id}" for one in client.get_run(run.info.run_id).inputs.model_inputs] == [
        version.source
    ]
    told = {name: value for name, value in version.tags.items() if name.startswith("spark_scoring.last_scored")}
    assert told == {
        "spark_scoring.last_scored": report.scored_at,
        "spark_scoring.last_scored_rows": str(ROWS - 2),
        "spark_scoring.last_scored_table": report.output,
    }
    again = place.run(**job)
    assert (again.skipped, again.mlflow_run, len(runs_in("scorings"))) == (True, None, 1)


def test_a_run_stays_where_mlflow_refuses(place: Place, spark: SparkSession, tmp_path: Path) -> None:
    elsewhere = f"sqlite:///{tmp_path / 'other.db'}"
    mlflow.MlflowClient(elsewhere).search_experiments()  # which makes it
    with mlflow.start_run():  # of the usual server: MLflow nests no run of another one in it
        report = place.run(track=True, tracking_uri=elsewhere, registry_uri=mlflow.get_registry_uri())
    assert (report.rows_out, report.mlflow_run) == (ROWS, None)
    (note,) = report.notes
    assert note.startswith("not all of the run was logged to MLflow: ")
    assert "one is active on another tracking server" in note
    assert note in " ".join(str(report).split())
    with pytest.raises(JobError, match="the name of the experiment is empty"):
        place.job(track=" ")
    fields: dict[str, Any] = place.job(track=True, force=True).model_dump()
    mlflow.MlflowClient().delete_model_version(NAME, "1")
    saved = run_job(ScoringJob.from_dict({**fields, "model": _folder(tmp_path)}), spark)
    assert saved.notes == ()
    run = mlflow.get_run(str(saved.mlflow_run))
    assert "spark_scoring.model_name" not in run.data.tags


def _folder(tmp_path: Path) -> str:
    """A model that is in no registry."""
    frame = pd.DataFrame({"x": [0.0, 1.0], "n": [0, 3]})
    model = LinearRegression().fit(frame, frame["x"])
    signature = mlflow.models.infer_signature(frame, model.predict(frame))
    mlflow.sklearn.save_model(model, tmp_path / "model", signature=signature, pip_requirements=["scikit-learn"])
    return str(tmp_path / "model")
