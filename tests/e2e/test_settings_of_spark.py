"""``spark:`` of a job: a new session has it, one that was there is not changed by it, and equal runs stay equal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import RequestError, ScoringJob, plan_job
from tests.e2e.test_cli import run_apart
from tests.models import save_line
from tests.needs import in_short

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.place import Place

SCORED = """
import json, os, sys
from pathlib import Path
import spark_scoring as ss

file, secret = sys.argv[1], os.environ["SECRET"]
first = ss.run_job(file)
spark = ss.get_session()
lines = [p / "cmdline" for p in Path("/proc").iterdir() if p.name.isdigit()]
shown = [line.read_bytes() for line in lines if line.exists()]
java = [line for line in shown if line.split(b"\\0")[0].endswith(b"java") and b"703m" in line]
told = {
    "master": spark.sparkContext.master,
    "memory": spark._jvm.java.lang.Runtime.getRuntime().maxMemory() // 2**20,
    "ansi": spark.conf.get("spark.sql.ansi.enabled"),
    "storage": spark.sparkContext._jsc.hadoopConfiguration().get("fs.s3a.secret.key") == secret,
    "java": len(java),
    "seen": any(secret.encode() in line for line in java),
    "notes": list(ss.plan_job(file).scoring.notes),
    "rows": first.rows_out,
}

def say(row):
    print("from a worker", file=sys.stderr)
    return row

assert spark.range(1).rdd.map(say).count() == 1
spark.stop()
try:
    ss.get_session(settings={"driver.memory": "900m"})
except ss.RequestError as error:
    told["late"] = str(error)
print(json.dumps(told))
"""


@pytest.fixture
def job_file(clean: Place, tmp_path: Path) -> Path:
    fields = {
        "model": clean.model,
        "source": {"path": clean.source},
        "output": {"path": clean.output},
        "warehouse": str(tmp_path / "warehouse"),
        "spark": {"driver.memory": "703m", "sql.ansi.enabled": False},
    }
    file = tmp_path / "job.yml"
    file.write_text(ScoringJob.from_dict(fields).to_yaml())
    return file


def test_a_new_session_has_the_job_s_settings_prints_nothing_of_its_start_and_nobody_sees_a_secret(
    job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2hunter2")
    text = job_file.read_text() + '  spark.master: local[1]\n  spark.hadoop.fs.s3a.secret.key: "${SECRET}"\n'
    job_file.write_text(text)
    done = run_apart(SCORED, job_file, folder=tmp_path)
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["master"], told["ansi"], told["storage"]) == ("local[1]", "false", True)
    assert told["memory"] in range(600, 710)  # rounded by Java
    assert (told["java"], told["seen"]) == (1, False)
    assert not [note for note in told["notes"] if "settings" in note]
    assert "Spark's Java process is up already" in told["late"]
    assert "from a worker\n" in done.stderr
    for noise in ("loading settings", "delta-spark", "log4j", "Setting Spark log level"):
        assert noise not in done.stderr
    assert "hunter2" not in done.stderr
    assert not any(b"hunter2" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_a_session_that_was_there_is_told_of_and_refused_where_it_could_change_the_result(
    clean: Place, spark: SparkSession
) -> None:
    before = dict(spark.sparkContext.getConf().getAll())
    plan = plan_job(
        clean.job(spark={"driver.memory": "703m", "master": "local[7]", "sql.shuffle.partitions": 2}), spark
    )
    (note,) = [note for note in plan.scoring.notes if "no effect" in note]
    assert note.endswith("these settings have no effect (spark): spark.driver.memory, spark.master")
    with pytest.raises(RequestError) as raised:
        plan_job(clean.job(spark={"sql.ansi.enabled": False, "sql.session.timeZone": "Asia/Kolkata"}), spark)
    keys = [problem.thing for problem in raised.value.problems]
    assert keys == ["spark: spark.sql.ansi.enabled", "spark: spark.sql.session.timeZone"]
    fix = re.search(r"in a notebook spark\.conf\.set\('(\S+)', '(\S+)'\)", str(raised.value))
    assert fix is not None
    was = str(spark.conf.get(fix[1]))
    spark.conf.set(fix[1], fix[2])
    try:
        assert (
            plan_job(clean.job(spark={fix[1]: fix[2]}), spark).scoring.notes
            == plan_job(clean.job(), spark).scoring.notes
        )
    finally:
        spark.conf.set(fix[1], was)
    assert dict(spark.sparkContext.getConf().getAll()) == before


def test_equal_runs_stay_equal_whatever_master_and_memory_say(clean: Place, spark: SparkSession) -> None:
    output: dict[str, Any] = {"mode": "append", "keep": ["id"]}
    where = {"source": {"where": "id % 2 = 0 OR date_format(timestamp_seconds(id), 'yyyy') = '1970'"}}
    assert not clean.run(output, **where).skipped
    assert clean.run(output, **where, spark={"driver.memory": "703m", "sql.shuffle.partitions": 2}).skipped
    key = "spark.sql.legacy.castComplexTypesToString.enabled"
    spark.conf.set(key, "true")
    try:
        assert not clean.run(output, **where, spark={key: True}).skipped
        assert clean.run(output, **where, spark={key: True}).skipped
    finally:
        spark.conf.unset(key)


TRAIN = (
    "{name: a.b.c, task: regression, source: no.such, features: x, label: y, estimator: 'sklearn.linear_model:Ridge'}"
)


@pytest.mark.parametrize(
    "command",
    in_short(
        0,  # test_cli.py has a score
        [
            ["history", "no.such"],
            ["init", "./model", "no.such", "--yes"],
            ["register", "train.yml", "--set", "tracking_uri=sqlite:///mlflow.db"],
        ],
    ),
    ids=lambda command: command[0],
)
def test_what_spark_prints_goes_to_a_file_for_each_command(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "train.yml").write_text(TRAIN)
    save_line(str(tmp_path / "model"))
    script = "import sys\nfrom spark_scoring.cli import main\ntry: main()\nexcept SystemExit as e: print(e.code)"
    done = run_apart(script, *command, "--spark", "driver.memory=703m", folder=tmp_path)
    assert done.stdout == "2\n"
    assert re.search(r"no\.such: (?:there is )?no such (?:Delta )?table", done.stderr)
    named = re.search(r"what Spark prints is in (\S+)\n", done.stderr)
    assert named is not None
    log = Path(named[1])
    assert "Setting Spark log level" in log.read_text()
    log.unlink()
    assert "Setting Spark log level" not in done.stderr
