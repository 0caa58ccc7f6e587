"""Job files: what they may say, and what a wrong one is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring.job import ScoringJob
from spark_scoring.job_problems import JobError
from spark_scoring.plan.policy import FeaturePolicy, Fill

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {
    "model": "models:/main.ml.delay@champion",
    "source": {"table": "main.gold.flights", "where": "month >= 10"},
    "output": {"table": "main.ml.delay_predictions", "mode": "overwrite", "keep": ["flight_id"]},
    "columns": {"dep_hour": "hour(sched_dep_time)"},
    "policy": {"*": "lenient", "seats": {"nulls": {"fill": 0.0}, "invalid": "fail", "absent": {"fill": None}}},
    "predict": ["predict", "predict_proba"],
}


def problems(fields: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(JobError) as raised:
        ScoringJob.from_dict(fields)
    return {p.thing: f"{p.cause} | {p.fix}" for p in raised.value.problems}


def test_a_job_survives_yaml(tmp_path: Path) -> None:
    job = ScoringJob.from_dict(GOOD)
    (tmp_path / "job.yml").write_text(job.to_yaml())
    assert ScoringJob.from_yaml(tmp_path / "job.yml") == job


def test_a_notebook_shows_a_job_in_a_line_and_no_secret() -> None:
    options = {"url": "jdbc:x", "password": "hunter2"}
    job = ScoringJob.from_dict(
        {"model": "models:/a/1", "source": {"format": "jdbc", "options": options}, "output": "o"}
    )
    assert repr(job) == str(job) == "<ScoringJob models:/a/1 on jdbc, to o>"
    assert "hunter2" not in f"{job.source!r} {job.source}"


@pytest.mark.parametrize(
    ("extra", "thing", "fix"),
    [
        ({"keep": "id"}, "keep", "did you mean output.keep?"),
        ({"table": "a.b"}, "table", "did you mean source.table or output.table?"),
        ({"source": {"table": "a.b", "bad_rows": "fail"}}, "source.bad_rows", "did you mean bad_rows?"),
        ({"schema": "id INT"}, "schema", "did you mean source.schema?"),
        ({"modell": "m"}, "modell", "did you mean model?"),
    ],
)
def test_a_field_in_the_wrong_place_is_told_where_it_goes(extra: dict[str, Any], thing: str, fix: str) -> None:
    assert problems({**GOOD, **extra})[thing] == f"there is no such field | {fix}"


def test_a_policy_reaches_the_planner() -> None:
    policy = ScoringJob.from_dict(GOOD).scoring_policy()
    assert policy.for_feature("distance") == FeaturePolicy(preset="lenient")
    assert policy.for_feature("seats") == FeaturePolicy("lenient", Fill(0.0), "fail", Fill(None))


def test_settings_lie_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "job.yml").write_text(ScoringJob.from_dict(GOOD).to_yaml())
    job = ScoringJob.from_yaml(tmp_path / "job.yml", ["output.mode=append", "source.version=3", "predict=[predict]"])
    assert (job.output.mode, job.source.version, job.predict) == ("append", 3, ("predict",))
    assert job.source.where == "month >= 10"


def test_setting_a_part_of_a_policy_keeps_its_preset(tmp_path: Path) -> None:
    (tmp_path / "job.yml").write_text(ScoringJob.from_dict({**GOOD, "policy": "lenient"}).to_yaml())
    policy = ScoringJob.from_yaml(tmp_path / "job.yml", ["policy.seats.nulls=bad_row"]).scoring_policy()
    assert policy.for_feature("seats") == FeaturePolicy("lenient", nulls="bad_row")
    assert policy.for_feature("distance") == FeaturePolicy("lenient")


def test_times_and_dates_need_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "job.yml").write_text(
        "{model: m, source: {table: a.b, timestamp: 2026-01-31T10:00:00}, output: {table: a.c}}"
    )
    assert ScoringJob.from_yaml(tmp_path / "job.yml").source.timestamp == "2026-01-31T10:00:00"
    job = ScoringJob.from_yaml(tmp_path / "job.yml", ["source.timestamp=2026-13-41"])
    assert job.source.timestamp == "2026-13-41"


def test_every_wrong_field_is_told_at_once() -> None:
    wrong = {
        "modle": "models:/x/1",
        "source": {"table": "a.b", "path": "/c", "wehre": "x"},
        "output": {"table": "a.c", "mode": "upsert"},
        "predict": ["predict_probability"],
        "policy": {"seats": {"nulls": "skip"}},
    }
    found = problems(wrong)
    assert found["modle"] == "there is no such field | did you mean model?"
    assert found["model"] == "this field is missing | add model to the job"
    assert found["source.wehre"] == "there is no such field | did you mean where?"
    assert found["output.mode"] == "'upsert' is not one of its values | give append, overwrite or merge"
    assert found["predict"].startswith("'predict_probability' is not one of its values | did you mean predict_proba? ")
    assert (
        found["policy.seats.nulls"] == "'skip' is not one of its values | give keep, bad_row, fail or {fill: <value>}"
    )


def test_a_place_is_a_table_or_a_path() -> None:
    assert problems({**GOOD, "source": {"table": "a", "path": "/b"}})["source"].startswith("it has both table and path")
    assert problems({**GOOD, "output": {}})["output"].startswith("it has neither table nor path")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (": [", "it is not YAML: expected <block end>, but found ':', in line 1, column 1"),
        (
            "a: 1\npassword: hunter2: x",
            "it is not YAML: a colon where none can be: .* needs quotes, in line 2, column 18",
        ),
        ("a:1\nb: 2", "a space is missing behind an earlier one"),
        (
            "a: 1\nb: [x,\n  y\nc: 2",
            "the list or mapping that begins in line 2 is not closed, or lacks a comma; noticed in line 4, column 2",
        ),
        ("a: 1\nb: {x: [1]", "that begins in line 2 is not closed"),
        ("a:\n\tb: 1", "a tab, and YAML takes spaces, in line 2, column 1"),
        ("a: 1\nb: 'x\nc: 2", "the quotes that begin in line 2 are not closed"),
        ("a: @hunter2", "a value that begins with @ needs quotes, in line 1, column 4"),
        ("a: *hunter2", "a value that begins with [*] needs quotes, in line 1, column 4"),
        ("[" * 5000, "it is not YAML: it is nested too deeply"),
        ("model: a\nmodel: b", "it is not YAML: 'model' is there twice, in line 2, column 1"),
        ("a: \x00", "not YAML"),
        ("- a\n- b", "it holds no fields"),
        ("", "it holds no fields"),
    ],
)
def test_a_file_that_is_no_job_is_named(tmp_path: Path, text: str, cause: str) -> None:
    file = tmp_path / "job.yml"
    file.write_text(text)
    with pytest.raises(JobError, match=cause) as raised:
        ScoringJob.from_yaml(file)
    assert "hunter2" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="No such file"):
        ScoringJob.from_yaml(tmp_path / "none.yml")


def test_a_setting_without_a_value_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "job.yml"
    file.write_text(ScoringJob.from_dict(GOOD).to_yaml())
    with pytest.raises(JobError, match="field=value"):
        ScoringJob.from_yaml(file, ["output.mode"])


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2h", 7200), ("1h 5s", 3605), ("45", 45), (45, 45), (0.5, 0.5)],
)
def test_a_timeout_is_seconds_or_a_text(timeout: Any, seconds: float) -> None:
    assert ScoringJob.from_dict({**GOOD, "timeout": timeout}).seconds == seconds
    assert ScoringJob.from_dict(GOOD).seconds is None


@pytest.mark.parametrize(
    "timeout", ["soon", "", "0s", 0, -1, "5 days", "1m1h", ".5h", True, float("inf"), float("nan")]
)
def test_what_is_not_a_time_is_refused(timeout: Any) -> None:
    with pytest.raises(JobError, match="timeout"):
        ScoringJob.from_dict({**GOOD, "timeout": timeout})
