"""Plan, look, score: a plan that was saved runs as it was planned, or is refused where what it pinned has moved."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import RequestError, plan_job, run_job
from spark_scoring.run.saved import PlanMovedError, read_saved
from spark_scoring.validation import validate_file
from tests.models import line_rows, save_line
from tests.place import ROWS, Place

if TYPE_CHECKING:
    from pathlib import Path


OVER = {"mode": "overwrite"}


def saved(place: Place, file: Path, output: dict[str, Any] = OVER, **fields: Any) -> Path:
    file.write_text(json.dumps(plan_job(place.job(output, **fields)).to_dict()))
    return file


def add_rows(place: Place) -> None:
    line_rows(place.spark, range(50, 53)).write.format("delta").mode("append").save(place.source)


def test_the_rows_that_were_planned_are_scored_and_once(clean: Place, tmp_path: Path) -> None:
    plan = saved(clean, tmp_path / "plan.json")
    add_rows(clean)
    assert run_job(plan).rows_out == ROWS
    assert run_job(str(plan)).skipped
    assert run_job(clean.job(OVER)).rows_out == ROWS + 3


def test_a_saved_job_is_the_job_on_what_was_pinned(clean: Place, tmp_path: Path) -> None:
    job = clean.job(OVER, policy={"x": {"nulls": {"fill": 0}}}, columns={"x": "x + 1"}, max_bad_rows=0.25)
    (tmp_path / "plan.json").write_text(json.dumps(plan_job(job).to_dict()))
    found = read_saved(tmp_path / "plan.json")
    assert found is not None
    assert found.job.expect_digest
    assert found.job.source.version == 0
    pinned = {"expect_digest": found.job.expect_digest, "source": found.job.source}
    assert found.job == job.model_copy(update=pinned)
    told, rest = validate_file(tmp_path / "plan.json")
    assert rest.endswith(f"spark-scoring plan {tmp_path}/plan.json does so")
    assert told == f"{tmp_path}/plan.json is a saved plan: {clean.model} on {clean.source}, to {clean.output}"


def test_a_model_that_was_changed_is_refused(clean: Place, tmp_path: Path) -> None:
    clean.model = save_line(str(tmp_path / "model"))
    plan = saved(clean, tmp_path / "plan.json")
    shutil.rmtree(clean.model)
    save_line(clean.model, 3.0)
    with pytest.raises(RequestError, match="digest"):
        run_job(plan)


def test_a_source_that_was_made_anew_is_refused(clean: Place, tmp_path: Path) -> None:
    plan = saved(clean, tmp_path / "plan.json")
    shutil.rmtree(clean.source)
    line_rows(clean.spark, range(ROWS)).write.format("delta").save(clean.source)
    with pytest.raises(PlanMovedError, match="source: when planned it was"):
        run_job(plan)


def test_tables_that_sql_reads_are_held(clean: Place, tmp_path: Path) -> None:
    wanted = str(tmp_path / "wanted")
    clean.spark.range(3).write.format("delta").save(wanted)
    where = {"where": "id IN (SELECT id FROM delta.`@`)".replace("@", wanted)}
    plan = saved(clean, tmp_path / "plan.json", source=where)
    assert run_job(plan).rows_out == 3
    clean.spark.range(3, 5).write.format("delta").mode("append").save(wanted)
    with pytest.raises(PlanMovedError, match=r"tables that SQL reads: .*, 0\].*, 1\]"):
        run_job(plan)


def test_an_output_that_was_made_anew_is_refused(clean: Place, tmp_path: Path) -> None:
    clean.run(OVER)
    plan = saved(clean, tmp_path / "plan.json", {"mode": "append"})
    shutil.rmtree(clean.output)
    clean.run(OVER)
    with pytest.raises(PlanMovedError, match="output: when planned it was"):
        run_job(plan)


def test_columns_that_evolve_would_add_are_those_that_were_planned(clean: Place, tmp_path: Path) -> None:
    clean.run(OVER)
    evolve = {**OVER, "evolve": True, "keep": ["id", "note", "x"]}
    plan = saved(clean, tmp_path / "plan.json", evolve)
    assert run_job(plan).rows_out == ROWS
    assert run_job(plan).skipped


def test_secrets_are_left_out_and_wanted_anew(clean: Place, tmp_path: Path) -> None:
    server = f"sqlite:///{tmp_path}/registry.db?password=geheim"
    settings = {"x.password": "geheim", "x.user": "geheim", "x.level": "high"}
    secret = {"tracking_uri": server, "allow_models": ["/**", "/m?token=geheim"], "spark": settings}
    job = clean.job(OVER, **secret)
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan_job(job).to_dict()))
    assert "geheim" not in file.read_text()
    assert json.loads(file.read_text())["saved"]["job"]["spark"] == {"spark.x.level": "high"}
    with pytest.raises(RequestError) as raised:
        run_job(file)
    assert [problem.thing for problem in raised.value.problems] == ["allow_models", "tracking_uri"]
    given = [f"tracking_uri={server}", "allow_models=[/**, '/m?token=geheim']"]
    found = read_saved(file, given)
    assert found is not None
    assert (found.job.tracking_uri, found.job.allow_models) == (job.tracking_uri, job.allow_models)
    with pytest.raises(RequestError, match="a saved plan is run as it is"):
        read_saved(file, [*given, "output.mode=append"])
