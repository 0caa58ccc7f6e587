"""``spark:`` of a job and ``--spark``: forms, what may not be set, and that no value is told."""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import ScoringJob
from spark_scoring.cli import main
from spark_scoring.cli.spark import log_file
from spark_scoring.delta.session_errors import SessionError
from spark_scoring.job_problems import JobError
from spark_scoring.registration.training import TrainingJob
from spark_scoring.session import get_session, launch_early
from spark_scoring.spark_settings import at_launch, decides

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = {"model": "m", "source": "s", "output": "o"}
SECRET = "hunter2 of Wanda"  # noqa: S105


def job(spark: Any) -> ScoringJob:
    return ScoringJob.from_dict({**FIELDS, "spark": spark})


@pytest.mark.parametrize(
    "spark",
    [
        {"spark.driver.memory": "8g", "spark.task.cpus": 2, "spark.sql.ansi.enabled": False},
        {"driver.memory": "8g", "task.cpus": "2", "sql": {"ansi": {"enabled": "false"}}},
        {"driver": {"memory": "8g"}, "spark": {"task.cpus": 2}, "spark.sql": {"ansi.enabled": False}},
    ],
)
def test_keys_are_whole_nested_or_without_their_first_word(spark: Any) -> None:
    whole = {"spark.driver.memory": "8g", "spark.task.cpus": "2", "spark.sql.ansi.enabled": "false"}
    assert job(spark).spark == whole
    assert ScoringJob.from_dict(job(spark).model_dump(exclude_defaults=True)).spark == whole


def test_set_lays_one_setting_over_the_file_s_and_parameters_fill_them(tmp_path: Path) -> None:
    file = tmp_path / "job.yml"
    file.write_text('{model: m, source: s, output: o, spark: {driver.memory: 4g, hadoop: {a.key: "${KEY}"}}}')
    overrides = ["spark.driver.memory=8g", "spark.master=local[2]", "spark.task.cpus=1", "spark.ui.enabled=true"]
    read = ScoringJob.from_yaml(file, overrides, {"KEY": SECRET})
    assert read.spark == {
        "spark.driver.memory": "8g",
        "spark.hadoop.a.key": SECRET,
        "spark.master": "local[2]",
        "spark.task.cpus": "1",
        "spark.ui.enabled": "true",
    }
    assert "hunter2" not in repr(read)


def test_a_training_job_has_them_too() -> None:
    fields = {"name": "m", "task": "regression", "source": "s", "features": "a", "estimator": "e:f", "label": "l"}
    assert TrainingJob.from_dict({**fields, "spark": {"master": "local[2]"}}).spark == {"spark.master": "local[2]"}


@pytest.mark.parametrize(
    ("spark", "key", "told"),
    [
        ({"sql.extensions": SECRET}, "spark.sql.extensions", "Delta needs it as it is"),
        ({"sql": {"catalog.spark_catalog": SECRET}}, "spark.sql.catalog.spark_catalog", "Delta needs it"),
        ({"sql.warehouse.dir": SECRET}, "spark.sql.warehouse.dir", "write warehouse: <folder>"),
        ({"log.level": SECRET}, "spark.log.level", "hold values of rows"),
        ({"master": "yarn"}, "spark.master", "spark-submit --master"),
        ({"master": "spark://elsewhere:7077"}, "spark.master", "not a master of this machine"),
        ({"master": "local-cluster[1,1,512]"}, "spark.master", "write local[4] or local[*]"),
        ({"remote": SECRET}, "spark.remote", "give --remote sc://<host>:15002, or set SPARK_REMOTE"),
        ({"connect.grpc.binding.port": 1}, "spark.connect.grpc.binding.port", "SPARK_REMOTE"),
        ({"driver.memory": "8g", "driver": {"memory": SECRET}}, "spark.driver.memory", "it is there twice"),
        ({"driver.memory": [SECRET]}, "spark.driver.memory", "not text, a number, true or false"),
        ({"driver.memory": None}, "spark.driver.memory", "not text, a number, true or false"),
        ({"app.name": f"a\n{SECRET}"}, "spark.app.name", "a line end"),
        ({"a=b": SECRET}, "spark.a=b", "not a setting of Spark's"),
        ({1: SECRET}, "spark.1", None),
    ],
)
def test_what_cannot_be_set_is_refused_with_its_reason(spark: Any, key: str, told: str | None) -> None:
    if told is None:
        assert job(spark).spark == {key: SECRET}
        return
    with pytest.raises(JobError) as raised:
        job(spark)
    assert f"spark: {key}: " in str(raised.value)
    assert told in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_what_is_not_a_mapping_is_refused() -> None:
    with pytest.raises(JobError, match="spark: it is text, which this field does not take\n   fix: give settings of"):
        job("local[2]")


HARMFUL = {
    "spark.jars": "evil.jar",
    "spark.jars.packages": "evil:evil:1",
    "spark.driver.extraJavaOptions": "-javaagent:evil.jar",
    "spark.driver.extraClassPath": "evil",
    "spark.plugins": "evil.Plugin",
    "spark.extraListeners": "evil.Listener",
    "spark.serializer": "evil.Serializer",
    "spark.pyspark.python": "/evil",
    "spark.python.daemon.module": "evil",
    "spark.sql.catalog.other": "evil.Catalog",
    "spark.sql.queryExecutionListeners": "evil.Listener",
    "spark.sql.parser.escapedStringLiterals": "true",
    "spark.hadoop.fs.s3a.endpoint": "evil",
    "spark.files": "/etc/passwd",
    "spark.unheard.of": "1",
}


@pytest.mark.parametrize(
    "variable",
    [
        "SPARK_SCORING_RESTRICT_SQL",
        "SPARK_SCORING_ALLOW_MODELS",
        "SPARK_SCORING_ALLOW_REGISTRIES",
        "SPARK_SCORING_ALLOW_ESTIMATORS",
    ],
)
@pytest.mark.parametrize("start", [get_session, launch_early])
def test_a_restricted_environment_lets_no_setting_load_code(
    start: Any, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused at the door that every session comes through, before Spark's process is started."""
    monkeypatch.setenv(variable, "1")
    with pytest.raises(SessionError) as raised:
        start(settings={**HARMFUL, "spark.master": "local[2]", "driver.memory": "8g"})
    assert [problem.thing for problem in raised.value.problems] == [f"spark: {key}" for key in HARMFUL]
    assert f"{variable} is set, which restricts what jobs may do" in str(raised.value)
    assert "evil" not in str(raised.value)


def test_the_command_line_is_told_a_wrong_setting_without_its_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yml"
    file.write_text("{model: m, source: s, output: o}")
    for command in (["plan", file], ["history", "t"], ["rollback", "t", "r"], ["repair", "m", "--example", "t"]):
        for text, told in ((f"sql.extensions={SECRET}", "Delta needs it"), ("driver.memory", "it has no value")):
            with pytest.raises(SystemExit) as stopped:
                main([*map(str, command), "--spark", text])
            assert stopped.value.code == 2
            error = capsys.readouterr().err
            assert told in error
            assert "hunter2" not in error


def test_the_command_line_of_spark_s_process_has_what_it_must_have_and_no_secret() -> None:
    settings = {"spark.driver.memory": "8g", "spark.hadoop.fs.s3a.secret.key": SECRET, "spark.jars.packages": "a:b:1"}
    assert at_launch(settings) == {"spark.driver.memory": "8g", "spark.jars.packages": "a:b:1"}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("spark.sql.ansi.enabled", True),
        ("spark.sql.session.timeZone", True),
        ("spark.sql.legacy.timeParserPolicy", True),
        ("spark.sql.not.known", True),
        ("spark.sql.shuffle.partitions", False),
        ("spark.sql.adaptive.enabled", False),
        ("spark.driver.memory", False),
        ("spark.master", False),
        ("spark.executor.memory", False),
    ],
)
def test_settings_of_speed_alone_decide_no_result(key: str, expected: bool) -> None:  # noqa: FBT001
    assert decides(key) is expected


def test_what_spark_prints_is_kept_in_one_place_that_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_SCORING_CACHE", str(tmp_path / "cache"))
    folder = log_file().parent
    assert folder.relative_to(tmp_path / "cache").parts[1:] == ("logs",)
    for age in range(60):
        (file := folder / f"spark-scoring-{age:02}.log").touch()
        os.utime(file, (then := time.time() - 60 * (age + 1), then))
    (other := folder / "mine.txt").touch()
    made = log_file()
    kept = {file.name for file in folder.iterdir()} - {made.name, other.name}
    assert (len(kept), other.exists()) == (49, True)
    assert {"spark-scoring-00.log", "spark-scoring-47.log"} <= kept  # the newest
    assert made.stat().st_mode & 0o077 == folder.stat().st_mode & 0o077 == 0


def test_what_spark_prints_is_kept_where_no_cache_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPARK_SCORING_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert log_file().parent == tmp_path
