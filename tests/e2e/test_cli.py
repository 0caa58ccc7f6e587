"""The command line: plan, score, exit status, JSON; and the same job under spark-submit, beside this process."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import pandas as pd
import pytest
import yaml
from lightgbm import LGBMClassifier
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema

from spark_scoring import RequestError, ScoringJob, plan_job, run_job, score_batch
from spark_scoring.cli import main
from tests.models import TABLE, register, table_rows, training_frame
from tests.needs import PYTHON_PATH, environment_apart

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS = 200
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def job_file(spark: SparkSession, registry: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame, label = training_frame(ROWS)
    model = LGBMClassifier(n_estimators=5, verbose=-1).fit(frame, label)
    spark.sql("CREATE SCHEMA IF NOT EXISTS cli")
    spark.createDataFrame(table_rows(frame), TABLE).write.format("delta").saveAsTable("cli.orders")
    fields = {
        "model": register(model, frame, "main.cli.model", mlflow.lightgbm),
        "source": {"table": "main.cli.orders"},
        "output": {"table": "main.cli.scored", "keep": ["id"]},
        "tracking_uri": registry,
        "warehouse": str(spark.conf.get("spark.sql.warehouse.dir")).removeprefix("file:"),
    }
    file = tmp_path_factory.mktemp("jobs") / "job.yml"
    file.write_text(ScoringJob.from_dict(fields).to_yaml())
    return file


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return int(stopped.value.code or 0)


def run_apart(script: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a script printed that has a process, and so a session, of its own; it has to end well."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)],
        cwd=folder,
        env=environment_apart(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_plan_shows_what_would_happen_and_writes_nothing(
    job_file: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", job_file, "--set", "output.table=main.cli.never") == 0
    shown = capsys.readouterr().out
    assert "main.cli.orders at version 0" in shown
    assert "8 features: 7 exact, 1 nearest" in shown
    assert not spark.catalog.tableExists("cli.never")


def test_plan_in_json_is_nothing_but_json(job_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", job_file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["source"]["version"] == 0


def test_plan_writes_a_page_beside_what_it_prints(
    job_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "source.where=\"id >= 0 AND '<b>' <> 'x'\""
    assert run("plan", job_file, "--json", "--set", where, "--html", tmp_path / "plan.html") == 0
    planned = json.loads(capsys.readouterr().out)
    page = (tmp_path / "plan.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>\n")
    assert "main.cli.orders at version 0 where id &gt;= 0 AND &#39;&lt;b&gt;&#39;" in page
    assert planned["plan"]["hash"][:12] in page


def test_a_page_that_cannot_be_written_is_a_wrong_request(
    job_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", job_file, "--html", tmp_path / "no" / "plan.html") == 2
    assert "plan.html: it cannot be written: No such file or directory" in capsys.readouterr().err


def test_preview_shows_what_score_would_write_and_writes_nothing(
    job_file: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ["--set", "output.table=main.cli.previewed", "--set", "source.where=id < 3"]
    assert run("preview", job_file, *other, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert not spark.catalog.tableExists("cli.previewed")
    assert run("preview", job_file, *other, "--limit", "2") == 0
    shown = capsys.readouterr().out
    assert "2 rows; nothing was written" in shown
    assert shown.split()[:2] == ["id", "price"]  # and what else there is room for
    assert run("preview", job_file, *other, "--set", "columns={price: price + 1, ratio: total}") == 0
    assert capsys.readouterr().out.split()[:2] == ["id", "total"]  # no column has what the expression makes
    assert run("score", job_file, *other) == 0
    written = spark.table("cli.previewed").select("id", "prediction").collect()
    assert sorted((r["id"], r["prediction"]) for r in written) == sorted((r["id"], r["prediction"]) for r in rows)
    assert list(rows[0]) == ["id", "prediction", "scoring_error"]


def test_score_reports_the_run(job_file: Path, spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", job_file, "--json", "--set", "output.table=main.cli.json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows_in"], report["rows_out"], report["output_version"]) == (ROWS, ROWS, 0)
    assert spark.table("cli.json").count() == ROWS


def test_the_screen_of_a_run_is_short_unless_asked(job_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score = ("score", job_file, "--set", "output.table=main.cli.screen")
    assert run(*score) == 0
    shown = capsys.readouterr()
    assert " features: " in shown.out
    assert "verdict" not in shown.out
    assert "rehearsed on " in shown.out
    assert "more    spark-scoring history main.cli.screen\n" in shown.out
    assert "planned in " in shown.err
    assert run(*score, "--plan") == 0
    shown = capsys.readouterr()
    assert "verdict" in shown.out
    assert "nothing to do" in shown.out
    assert run(*score, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_a_wrong_request_ends_with_status_2_and_all_problems(
    job_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", job_file, "--set", "source.table=main.cli.oders", "--set", "model=models:/main.cli.model/9") == 2
    shown = capsys.readouterr()
    assert "source main.cli.oders: no such table" in shown.err
    assert "has no version 9" in shown.err
    assert shown.out == ""
    assert run("score", job_file, "--set", "outputt.mode=append") == 2
    assert "outputt: there is no such field\n   fix: did you mean output?" in capsys.readouterr().err


def test_a_failed_run_ends_with_status_1(job_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", job_file, "--set", "policy={ratio: {nulls: fail}}", "--set", "output.table=main.cli.no") == 1
    assert "nothing was committed" in capsys.readouterr().err


def test_spark_submit_scores_into_the_warehouse_of_another_process(
    job_file: Path, spark: SparkSession, tmp_path: Path
) -> None:
    """Two processes side by side on one warehouse folder: each finds the other's tables by name."""
    # spark-submit chooses its jars before our code runs
    packages = spark.conf.get("spark.jars.packages")
    (tmp_path / "spark-defaults.conf").write_text(f"spark.jars.packages {packages}\n")
    folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": PYTHON_PATH}
    environment["SPARK_CONF_DIR"] = str(tmp_path)
    for name in ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET", "PYSPARK_PYTHON", "SPARK_HOME"):
        environment.pop(name, None)
    command = ["spark-submit", ROOT / "jobs" / "score.py", job_file, "--set", "output.table=main.cli.submitted"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert f"{ROWS:,} in, {ROWS:,} out, 0 bad" in done.stdout
    again = ScoringJob.from_yaml(job_file, ["source.table=main.cli.submitted", "output.table=main.cli.other"])
    with pytest.raises(RequestError, match="the table has no such column"):
        plan_job(again)
    assert spark.table("cli.submitted").count() == ROWS


class Chatty(mlflow.pyfunc.PythonModel):
    """Prints while it loads and predicts, in all ways that there are."""

    def load_context(self, context: Any) -> None:
        print("loading")  # noqa: T201
        os.write(1, b"from native code\n")

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        print("scoring")  # noqa: T201
        sys.stdout.write("more\n")
        os.system("echo from a child")  # noqa: S605, S607
        return model_input["x"] * 2


def test_what_a_model_prints_is_not_part_of_the_json(spark: SparkSession, tmp_path: Path) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double", "prediction")]))
    model = str(tmp_path / "model")
    mlflow.pyfunc.save_model(model, python_model=Chatty(), signature=signature, pip_requirements=["mlflow"])
    source = str(tmp_path / "source")
    spark.createDataFrame([(1.0,), (2.0,)], "x double").write.format("delta").save(source)
    file = tmp_path / "job.yml"
    fields = {"model": model, "source": {"path": source}, "output": {"path": str(tmp_path / "out")}}
    file.write_text(ScoringJob.from_dict({**fields, "warehouse": str(tmp_path / "warehouse")}).to_yaml())
    done = run_apart("from spark_scoring.cli import main; main()", "score", file, "--json", folder=tmp_path)
    assert json.loads(done.stdout)["rows_out"] == 2
    for printed in ("loading", "from native code", "scoring", "from a child"):
        assert printed in done.stderr
    named = re.search(r"what Spark prints is in (\S+)\n", done.stderr)
    assert named is not None
    log = Path(named[1])
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "Setting Spark log level" in log.read_text()
    log.unlink()
    assert "Setting Spark log level" not in done.stderr
    assert "delta-spark" not in done.stderr


BESIDE = """
import sys
from pathlib import Path
from pyspark import SparkContext
from spark_scoring.session import get_session, launch_early, starts_jvm

folder = Path(sys.argv[1])
assert starts_jvm()
launch_early(folder / "warehouse", folder / "log")
assert not starts_jvm()
launch_early(folder / "warehouse", folder / "other log")
assert SparkContext._gateway is None, "the second call waited for the JVM"
spark = get_session(folder / "warehouse")
assert spark.conf.get("spark.sql.warehouse.dir").endswith(str(folder / "warehouse"))
assert not starts_jvm()
print([file.name for file in folder.glob("*log")])
"""


def test_the_jvm_comes_up_beside_other_work_once(tmp_path: Path) -> None:
    done = run_apart(BESIDE, tmp_path, folder=tmp_path)
    assert done.stdout == "['log']\n"


def test_init_writes_a_job_that_can_be_planned(
    job_file: Path, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = ScoringJob.from_yaml(job_file)
    renamed = "SELECT * EXCEPT (id, price, ratio), id AS renamed_id, price AS `PRICE_`, ratio AS ratios FROM cli.orders"
    spark.sql(f"CREATE OR REPLACE TABLE cli.renamed USING delta AS {renamed}")
    file = tmp_path / "new.yml"
    init = ("init", job.model, "main.cli.renamed", "--yes", "--file", file)
    places = ("--tracking-uri", job.tracking_uri, "--warehouse", job.warehouse)
    assert run(*init, *places) == 0
    shown = capsys.readouterr().out
    assert "feature price: PRICE_, by a like name" in shown
    assert f"wrote {file}; now: spark-scoring plan" in shown
    written = file.read_text(encoding="utf-8")
    assert run(*init, *places) == 2
    assert "it is there already" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == written
    assert run(*init, *places, "--force") == 0
    assert run("validate", file) == 0
    for hint, *params in (
        (written.replace("mode: append ", "mode: merge ").replace("  # key:", "  key:"),),
        (written.replace("# incremental: true", "incremental: true"),),
        (written.replace("  # where", "  where"), "--param", "day=1"),
    ):
        assert hint != written
        (tmp_path / "hint.yml").write_text(hint, encoding="utf-8")
        assert run("validate", tmp_path / "hint.yml", *params) == 0, "a hint can be taken as it stands"
    assert run("plan", file, "--set", "source.where=count > :low", "--param", "low=-5") == 0
    assert "where count > (-5)" in capsys.readouterr().out
    found = ScoringJob.from_yaml(file)
    assert (found.output.keep, found.columns) == (("renamed_id",), {"price": "PRICE_", "ratio": "ratios"})


@pytest.mark.parametrize(("kind", "ending"), [("parquet", ".snappy.parquet"), ("csv", ".tsv.gz")])
def test_init_takes_a_file(
    job_file: Path, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, ending: str
) -> None:
    job = ScoringJob.from_yaml(job_file)
    rows = spark.table("cli.orders").toPandas()
    monkeypatch.chdir(tmp_path)
    if kind == "csv":
        rows.to_csv(f"orders{ending}", sep="\t", index=False)
    else:
        rows.to_parquet(f"orders{ending}")
    places = ("--tracking-uri", job.tracking_uri, "--warehouse", job.warehouse)
    assert run("init", job.model, f"orders{ending}", "--yes", "--file", "new.yml", *places) == 0
    found = ScoringJob.from_yaml(Path("new.yml"))
    assert (found.source.path, found.source.format) == (f"./orders{ending}", kind)
    assert found.output.path == "./orders_scored"
    assert run("plan", "new.yml") == 0


def test_init_proposes_types_that_change_no_value_of_a_csv_file(
    job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ScoringJob.from_yaml(job_file)
    monkeypatch.chdir(tmp_path)
    columns = {
        "order_id BIGINT": ("1", "1234567890123456789"),
        "zip STRING": ("00123", "8010"),
        "too_big STRING": ("12345678901234567890", "1"),
        "hash STRING": ("12e4", "45"),
        "release STRING": ("1.1", "1.10"),
        "spaced STRING": (" 1", "2"),
        "odd_day STRING": ("2026-1-5", "2026-01-06"),
        "empty STRING": ("", ""),
        "day DATE": ("2026-01-05", ""),
        "cents DOUBLE": ("12.50", "310.00"),
        "small DOUBLE": ("1e-05", "0.30000000000000004"),
        "flag BOOLEAN": ("True", "False"),
        "`a name` BIGINT": ("-1", "0"),
        "label STRING": ("7", "8"),  # which the model takes as text
    }
    names = [column.rpartition(" ")[0].strip("`") for column in columns]
    lines = [",".join(line) for line in (names, *zip(*columns.values(), strict=True))]
    Path("orders.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    frame = pd.DataFrame({"cents": [1.0, 2.0], "label": ["7", "9"]})
    signature = infer_signature(frame, [1.0, 2.0])
    mlflow.pyfunc.save_model(
        "model",
        python_model=lambda model_input: 2 * model_input["cents"],
        signature=signature,
        pip_requirements=[],
    )
    assert run("init", "./model", "orders.csv", "--yes", "--file", "new.yml", "--warehouse", job.warehouse) == 0
    assert ScoringJob.from_yaml(Path("new.yml")).source.ddl == ", ".join(columns)
    assert run("score", "new.yml", "-q") == 0
    Path("nameless.csv").write_text(",cents,label\n1,2.5,7\n", encoding="utf-8")
    assert run("init", "./model", "nameless.csv", "--yes", "--file", "other.yml", "--warehouse", job.warehouse) == 0
    assert ScoringJob.from_yaml(Path("other.yml")).source.ddl is None
    assert run("plan", "other.yml") == 0


def test_init_gives_a_second_model_an_output_of_its_own(job_file: Path, registry: str, tmp_path: Path) -> None:
    assert run("score", job_file, "--set", "output.table=main.cli.orders_scored", "-q") == 0
    job, file = ScoringJob.from_yaml(job_file), tmp_path / "new.yml"
    frame, label = training_frame(ROWS)
    second = register(
        LGBMClassifier(n_estimators=1, verbose=-1).fit(frame, label), frame, "main.cli.second", mlflow.lightgbm
    )
    options = ("--yes", "--force", "--file", file, "--tracking-uri", registry, "--warehouse", job.warehouse)
    for model, output in ((job.model, "main.cli.orders_scored"), (second, "main.cli.orders_second_scored")):
        assert run("init", model, "main.cli.orders", *options) == 0
        assert ScoringJob.from_yaml(file).output.table == output


def test_python_takes_the_short_forms(job_file: Path, spark: SparkSession, tmp_path: Path) -> None:
    job = ScoringJob.from_yaml(job_file)
    file = tmp_path / "short.yml"
    fields = {
        "model": job.model,
        "source": {"table": "main.cli.orders", "where": "id < :many AND note <> :note"},
        "output": f"{tmp_path}/${{FOLDER}}",
        "predict": "predict_proba",
        "max_bad_rows": "50%",
        "tracking_uri": job.tracking_uri,
    }
    file.write_text(yaml.safe_dump(fields))
    params = {"many": 7, "note": "row 3' OR '1' = '1", "FOLDER": "out"}
    assert run_job(str(file), spark, params=params).rows_out == 7
    written = spark.read.format("delta").load(str(tmp_path / "out"))
    assert (written.count(), "probability" in written.columns) == (7, True)
    again = run_job(str(file), spark, params=params)
    assert again.skipped
    other = run_job(str(file), spark, params={**params, "note": "row 3"})
    assert (other.skipped, other.rows_out) == (False, 6)
    policy = {"price": {"nulls": {"fill": 0}}, "*": "strict"}
    scored = score_batch(spark.table("cli.orders"), job.model, policy=policy, predict="predict_proba")
    assert scored.where("scoring_error IS NULL").count() == ROWS
