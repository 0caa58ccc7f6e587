"""The commands that need no Spark: what is told of a job's file, and where the scripts are."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from spark_scoring.cli import main
from spark_scoring.cli.progress import progress_bar, progress_columns

ROOT = Path(__file__).parents[2]
GOOD = "model: models:/a/1\nsource: {table: a.b, where: x > 1}\noutput: {path: /out}\n"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "job.yml").write_text(GOOD)
    return tmp_path / "job.yml"


def test_a_job_is_told_in_a_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", file) == 0
    told, more = capsys.readouterr().out.splitlines()
    assert told == f"{file} is a scoring job: models:/a/1 on a.b, to /out"
    assert more == f"not looked at: the table's columns and types, and the model; spark-scoring plan {file} does so"


def test_sql_that_is_none_is_doubted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run("validate", file, "--set", "source.where=x >", "--set", "columns.f=price *", "--set", "columns.g=a+1") == 0
    )
    shown = capsys.readouterr().out
    assert "the SQL of source.where does not look right" in shown
    assert "the SQL of columns.f does not look right" in shown
    assert "columns.g" not in shown


def test_wrong_fields_end_with_status_2(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", file, "--set", "output.mod=merge", "--set", "policy=loose") == 2
    shown = capsys.readouterr().err
    assert "output.mod: there is no such field\n    fix: did you mean mode?" in shown
    assert "policy" in shown


def test_a_training_job_is_known_by_its_estimator(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", ROOT / "examples" / "flights" / "train.yml") == 0
    assert "is a training job: main.flights.delay from main.flights.departures" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["score", "register"])
def test_the_scripts_are_where_it_is_said(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("job-script", name) == 0
    script = Path(capsys.readouterr().out.strip())
    assert f'insert(1, "{name}")' in script.read_text(encoding="utf-8")
    assert run("job-script", "run") == 2


def test_the_package_for_py_files_is_a_zip_that_python_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPARK_SCORING_CACHE", str(tmp_path))
    assert run("job-script", "package") == 0
    package = capsys.readouterr().out.strip()
    code = "import spark_scoring.run.jobs, spark_scoring.cli; print(spark_scoring.cli.__file__)"
    options = {"env": {**os.environ, "PYTHONPATH": package}, "cwd": tmp_path, "text": True}
    assert subprocess.check_output([sys.executable, "-c", code], **options).startswith(package)


def test_a_text_for_the_doctor_is_explained_with_and_without_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "Input X contains NaN") == 0
    assert "a null reached a model that takes none" in capsys.readouterr().out
    assert run("doctor", "--error", "MlflowException: The saved sklearn model references untrusted types. If") == 0
    assert "skops_trusted_types" in capsys.readouterr().out


def test_a_name_alone_is_told_how_a_registered_model_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "main.ml.delay") == 2
    shown = capsys.readouterr().err
    assert "it is neither a model's URI nor a folder\n   fix: a registered model is models:/main.ml.delay/1" in shown


@pytest.mark.parametrize(
    ("done", "text"),
    [
        (0, "0 of 2.5M rows"),
        (9_999, "9,999 of 2.5M rows"),
        (12_345, "12.3k of 2.5M rows"),
        (1_250_000, "1.2M of 2.5M rows"),
        (2_500_000, "2,500,000 rows"),
    ],
)
def test_progress_is_in_rows_on_one_line(done: int, text: str) -> None:
    with Progress(*progress_columns(), console=Console(file=io.StringIO(), width=80)) as bar:
        task = bar.add_task("", total=2_500_000)
        bar.update(task, completed=done)
        shown = io.StringIO()
        Console(file=shown, width=80).print(bar.make_tasks_table([bar.tasks[task]]))
    assert f" {text}" in shown.getvalue()
    assert shown.getvalue().count("\n") == 1


def test_progress_names_no_number_that_is_not_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar() as on_progress:
        pass
    assert "None" not in capsys.readouterr().err
    with progress_bar() as on_progress:
        on_progress(0, 7_000)
        on_progress(3_000, 7_000)
    shown = capsys.readouterr().err
    assert "7,000 rows" in shown
    assert "left" not in shown
