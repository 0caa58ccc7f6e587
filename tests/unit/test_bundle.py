"""A Databricks bundle: what it holds, what is refused before it is written, and the task that it runs."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
import zipfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from spark_scoring import BundleError, ScoringJob
from spark_scoring.bundle import BundleRequest, write_bundle
from spark_scoring.bundle.definition import ENTRY_POINT, FEATURE_CLIENT, MLFLOW
from spark_scoring.cli import main, output
from tests.bundles import dangling, jobs, read
from tools import bundle_example

if sys.version_info >= (3, 11):
    import tomllib

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
BATCH = """\
name: daily delays
model: models:/main.ml.delay@champion
source: {table: main.gold.flights, where: day = :day}
output: {table: "${STAGE}.ml.delay_scored", mode: overwrite}
"""
INCREMENTAL = """\
model: models:/main.ml.delay@champion
source: {table: main.gold.flights}
output: {table: main.ml.delay_scored}
incremental: true
"""
LOCAL = """\
model: models:/delay/Production
tracking_uri: http://localhost:5000
registry_uri: sqlite:///mlflow.db
source: {path: data/flights}
output: {table: ml.delay_scored}
incremental: {checkpoint: /tmp/checkpoints}
report: pages
environment: packs/delay.zip
track: true
"""
TRAINING = """\
name: delay
task: regression
source: {table: flights}
features: [distance]
label: delay
lookups: [{table: ml.planes, key: tailnum}]
estimator: sklearn.linear_model:LinearRegression
experiment: delays
artifact_location: ./artifacts
code_paths: [./features]
tracking_uri: sqlite:///mlflow.db
"""
PARAMS = {"day": "{{job.start_time.iso_date}}", "STAGE": "dev"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"batch": BATCH, "incremental": INCREMENTAL, "local": LOCAL, "train": TRAINING}.items():
        (tmp_path / f"{name}.yml").write_text(text, encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "spark_scoring-9.9-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            "spark_scoring-9.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: spark-scoring\nVersion: 9.9\n"
        )
        wheel.writestr(
            "spark_scoring-9.9.dist-info/entry_points.txt",
            f"[console_scripts]\n{ENTRY_POINT} = spark_scoring.cli:main\n",
        )
    return tmp_path


def bundle(folder: Path, *options: str) -> Path:
    """The folder of a new bundle of a job file, which comes first in the options."""
    made = folder / "made"
    with pytest.raises(SystemExit) as ended:
        main(["bundle", *options, "--folder", str(made)])
    assert ended.value.code == 0
    return made


def batch(folder: Path, *options: str) -> Path:
    params = [part for name, value in PARAMS.items() for part in ("--param", f"{name}={value}")]
    return bundle(folder, str(folder / "batch.yml"), *params, *options)


@pytest.mark.parametrize("compute", ["serverless", "job-cluster"])
@pytest.mark.parametrize("make", [batch, lambda f, *o: bundle(f, str(f / "incremental.yml"), *o)], ids=["batch", "inc"])
def test_everything_that_a_bundle_names_is_there(folder: Path, compute: str, make: Callable[..., Path]) -> None:
    made = make(folder, "--compute", compute, "--requires", "lightgbm==4.6.0")
    assert dangling(made) == []


BREAKS: dict[str, tuple[str, str, str]] = {
    "variable": ("databricks.yml", "  timezone:", "  timezones:"),
    "form": ("resources/daily_delays_score.yml", "${var.timezone}", "${var._zone}"),
    "environment": ("resources/daily_delays_score.yml", "environment_key: default", "environment_key: other"),
    "file": ("databricks.yml", "jobs/daily_delays_score.yml", "jobs/other.yml"),
    "wheel": ("resources/daily_delays_score.yml", "../dist/spark_scoring-9.9", "../dist/spark_scoring-9.8"),
    "entry point": ("resources/daily_delays_score.yml", "entry_point: spark-scoring", "entry_point: main"),
    "command": ("resources/daily_delays_score.yml", "- score\n", "- rate\n"),
    "parameter": ("resources/daily_delays_score.yml", "- name: day", "- name: days"),
    "include": ("databricks.yml", "- resources/*.yml", "- resource/*.yml"),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_is_not_there_is_found(folder: Path, broken: str) -> None:
    made = batch(folder, "--wheel", str(next(folder.glob("*.whl"))), "--volume", "main.ml.files")
    file, text, other = BREAKS[broken]
    before = (made / file).read_text(encoding="utf-8")
    assert text in before
    (made / file).write_text(before.replace(text, other, 1), encoding="utf-8")
    assert dangling(made)


def arguments(made: Path, key: str) -> list[str]:
    """What the task gives to the entry point, with the bundle's variables at their defaults."""
    variables = read(made)[made / "databricks.yml"]["variables"]
    texts = jobs(read(made))[key]["tasks"][0]["python_wheel_task"]["parameters"]
    filled = [re.sub(r"\$\{var\.(\w+)\}", lambda found: variables[found[1]]["default"], text) for text in texts]
    return [text.replace("${workspace.file_path}", str(made)) for text in filled]


def test_the_task_scores_the_job_file_with_its_settings_and_parameters(folder: Path) -> None:
    made = batch(folder, "--set", "max_bad_rows=7")
    command, file, *options = arguments(made, "daily_delays_score")
    assert (command, Path(file).read_text(encoding="utf-8")) == ("score", BATCH)
    assert options == [
        *("--set", "max_bad_rows=7"),
        *("--param", "day={{job.parameters.day}}", "--param", "STAGE={{job.parameters.STAGE}}"),
    ]
    job = jobs(read(made))["daily_delays_score"]
    assert job["parameters"] == [
        {"name": "day", "default": "${var.param_day}"},
        {"name": "STAGE", "default": "${var.param_STAGE}"},
    ]
    variables = read(made)[made / "databricks.yml"]["variables"]
    assert [variables[f"param_{name}"]["default"] for name in PARAMS] == list(PARAMS.values())
    assert job["schedule"]["pause_status"] == "${var.pause_status}"
    assert variables["pause_status"]["default"] == "PAUSED"
    # as it would be read there
    assert ScoringJob.from_yaml(file, ["max_bad_rows=7"], PARAMS).output.table == "dev.ml.delay_scored"


def test_an_incremental_job_keeps_its_checkpoint_in_the_volume(folder: Path) -> None:
    made = bundle(folder, str(folder / "incremental.yml"))
    command, file, *options = arguments(made, "delay_incremental")
    settings = options[1::2]
    assert (command, options[::2]) == ("score", ["--set"])
    increments = ScoringJob.from_yaml(file, settings).increments
    assert increments is not None
    assert increments.checkpoint == "/Volumes/main/ml/spark_scoring/checkpoints/delay_incremental"


def test_the_wheel_goes_to_the_volume_and_pip_has_the_rest(folder: Path) -> None:
    wheel = next(folder.glob("*.whl"))
    made = batch(folder, "--wheel", str(wheel), "--volume", "main.`my ml`.files", "--requires", "mlflow==3.8.1")
    assert (made / "dist" / wheel.name).read_bytes() == wheel.read_bytes()
    root = read(made)[made / "databricks.yml"]
    assert root["variables"]["volume"]["default"] == "/Volumes/main/my ml/files"
    assert root["workspace"]["artifact_path"].startswith("${var.volume}/")
    (environment,) = jobs(read(made))["daily_delays_score"]["environments"]
    assert environment["spec"]["dependencies"] == [f"../dist/{wheel.name}", "mlflow==3.8.1"]
    assert dangling(made) == []


def test_a_job_cluster_has_the_same_libraries(folder: Path) -> None:
    made = batch(folder, "--compute", "job-cluster", "--requires", "lightgbm==4.6.0")
    job = jobs(read(made))["daily_delays_score"]
    packages = [library["pypi"]["package"] for library in job["tasks"][0]["libraries"]]
    assert packages[1:] == [MLFLOW, "lightgbm==4.6.0"]
    assert packages[0].startswith("spark-scoring==")
    assert "environments" not in job


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib")
def test_names_and_requirements_are_the_packages_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"][ENTRY_POINT] == "spark_scoring.cli:main"
    assert MLFLOW in project["optional-dependencies"]["local"]
    assert FEATURE_CLIENT in project["optional-dependencies"]["databricks"]


def refusal(folder: Path, *options: str) -> str:
    err, before = io.StringIO(), sorted(folder.rglob("*"))
    with redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["bundle", *options, "--folder", str(folder / "made")])
    assert ended.value.code == 2
    assert sorted(folder.rglob("*")) == before
    return err.getvalue()


def test_all_that_cannot_work_there_is_told_at_once(folder: Path) -> None:
    told = refusal(folder, str(folder / "local.yml"), "--train", str(folder / "train.yml"), "--requires", "pyspark>=4")
    things = re.findall(r"^ *\d+\. (.+?): ", told, re.MULTILINE)
    assert things == [
        "model models:/delay/Production",
        "model models:/delay/Production",
        "source.path data/flights",
        "output.table ml.delay_scored",
        "tracking_uri http://localhost:5000",
        "registry_uri sqlite:///mlflow.db",
        "incremental.checkpoint /tmp/checkpoints",
        "report pages",
        "environment packs/delay.zip",
        "track true",
        "name delay",
        "source.table flights",
        "lookups",
        "tracking_uri sqlite:///mlflow.db",
        "experiment delays",
        "artifact_location ./artifacts",
        "code_paths",
        "--requires pyspark>=4",
    ]


def test_the_fixes_work_when_they_are_typed(folder: Path) -> None:
    local, train = str(folder / "local.yml"), str(folder / "train.yml")
    options = ["--train-set", "code_paths=[]", "--train-set", "lookups=[]"]
    fixes = re.findall(r"(--set|--train-set) ([\w.]+=[\w.:/@-]+)", refusal(folder, local, "--train", train, *options))
    assert len(fixes) >= 12
    made = bundle(folder, local, "--train", train, *options, *(part for fix in fixes for part in fix))
    assert dangling(made) == []


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("runs:/0123456789abcdef0123456789abcdef/model", "not a registered model"),
        ("models:/m-0123456789abcdef0123456789abcdef", "not a registered model"),
        ("./model", "not a registered model"),
        ("s3://bucket/model", "not a registered model"),
        ("models:/hive_metastore.ml.delay/1", "models:/CATALOG.ml.delay/1"),
        ("models:/main.ml.delay/staging", "models:/main.ml.delay@staging"),
    ],
)
def test_a_model_outside_of_unity_catalog_is_refused(folder: Path, model: str, named: str) -> None:
    assert named in refusal(folder, str(folder / "incremental.yml"), "--set", f"model={model}")


@pytest.mark.parametrize(
    "path", ["/Volumes/main/raw/files", "dbfs:/Volumes/main/raw/files", "s3://bucket/flights", "abfss://a@b/flights"]
)
def test_files_of_volumes_and_clouds_are_taken(folder: Path, path: str) -> None:
    made = batch(folder, "--set", f"source={{path: '{path}', format: json}}", "--set", "source.where=day = :day")
    assert dangling(made) == []


@pytest.mark.parametrize(
    "path",
    ["flights", "./flights", "/data/flights", "file:/data/flights", "dbfs:/flights", "C:/flights", "/Volumesx/a"],
)
def test_files_of_this_machine_are_refused(folder: Path, path: str) -> None:
    settings = ["--set", f"source={{path: '{path}', format: json}}"]
    told = refusal(folder, str(folder / "incremental.yml"), "--set", "incremental=false", *settings)
    assert f"source.path {path}: a job on Databricks does not see it" in told
    assert "--set source.path=/Volumes/CATALOG/SCHEMA/VOLUME/FOLDER" in told


OPTIONS: dict[str, tuple[list[str], str]] = {
    "requirement": (["--requires", "light gbm"], "write --requires lightgbm==4.6.0"),
    "volume": (["--volume", "ml.files"], "--volume CATALOG.SCHEMA.VOLUME"),
    "name": (["--name", "my bundle"], "letters, digits, - and _"),
    "no wheel": (["--wheel", "gone.whl"], "No such file"),
    "other wheel": (["--wheel", str(ROOT / "LICENSE")], "it is not a wheel"),
    "parameter": (["--param", "day=1"], "the job has no place for it"),
    "secret": (["--set", "source.options.password=hunter2"], "setting source.options.password"),
    "field": (["--set", "modle=x"], "did you mean model?"),
    "training": (["--train", "gone.yml"], "job file gone.yml"),
}


@pytest.mark.parametrize("wrong", OPTIONS)
def test_a_wrong_option_is_refused_with_a_fix(folder: Path, wrong: str) -> None:
    given, told = OPTIONS[wrong]
    shown = refusal(folder, str(folder / "incremental.yml"), *given)
    assert told in shown
    assert "fix: " in shown
    assert "hunter2" not in shown


def test_a_value_of_the_environment_is_no_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("day", "2026-11-25")
    told = refusal(folder, str(folder / "batch.yml"), "--param", "STAGE=dev")
    assert "parameter day: its value is of this machine's environment" in told
    assert "2026-11-25" not in told


def test_an_output_by_path_wants_a_volume_that_is_named(folder: Path) -> None:
    told = refusal(folder, str(folder / "incremental.yml"), "--set", "output={path: 's3://bucket/scored'}")
    assert "--volume: an incremental job needs one" in told


def test_files_that_are_there_are_written_over_on_demand_alone(folder: Path) -> None:
    made = batch(folder)
    (made / "databricks.yml").write_text("mine", encoding="utf-8")
    with pytest.raises(BundleError, match=r"holds databricks\.yml, resources/"):
        write_bundle(BundleRequest(folder / "batch.yml", made, params=PARAMS))
    assert (made / "databricks.yml").read_text(encoding="utf-8") == "mine"
    batch(folder, "--force")
    assert dangling(made) == []


def test_names_are_values_and_never_yaml(folder: Path) -> None:
    hostile = 'main.gold.`a: "b" #{c}`'
    job = {"model": "models:/main.ml.delay/1", "source": {"table": hostile}, "output": {"table": "main.ml.out"}}
    (folder / "job.yml").write_text(yaml.safe_dump(job), encoding="utf-8")
    made = bundle(folder, str(folder / "job.yml"))
    assert hostile in jobs(read(made))["delay_score"]["description"]


def test_a_job_file_that_is_wrong_is_told_as_everywhere(folder: Path) -> None:
    (folder / "job.yml").write_text(INCREMENTAL.replace("output", "outptu"), encoding="utf-8")
    assert "did you mean output?" in refusal(folder, str(folder / "job.yml"))


def test_the_example_is_what_is_made_of_its_job_files(tmp_path: Path) -> None:
    def contents(folder: Path) -> dict[str, str]:
        return {str(f.relative_to(folder)): f.read_text(encoding="utf-8") for f in folder.rglob("*") if f.is_file()}

    bundle_example.main(tmp_path)
    assert contents(tmp_path) == contents(bundle_example.FLIGHTS / "bundle"), "make docs"
    assert dangling(tmp_path) == []
    assert set(jobs(read(tmp_path))) == {"delay_score", "delay_training"}


def test_the_guide_has_the_command_that_the_example_was_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "databricks.md").read_text(encoding="utf-8")
    command = re.search(r"^spark-scoring (bundle examples/flights/.*?[^\\])\n```", page, re.DOTALL | re.MULTILINE)
    assert command is not None
    words = shlex.split(command[1].replace("\\\n", " "))
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        main([*words, "--folder", str(tmp_path)])
    assert ended.value.code == 0
    kept = bundle_example.FLIGHTS / "bundle"
    assert all((kept / f.relative_to(tmp_path)).read_text() == f.read_text() for f in tmp_path.rglob("*.yml"))


# The task: a part of another program, which takes any SystemExit for a failure.


def test_a_task_returns_when_it_is_done_and_ends_where_it_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    main(["validate", str(folder / "incremental.yml")])
    assert "is a scoring job" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["validate", str(folder / "gone.yml")])
    assert ended.value.code == 2
    assert "gone.yml: No such file" in capsys.readouterr().err


def test_a_task_shows_results_where_its_program_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cell(io.StringIO):
        """Of a notebook's kernel: what is written to it is shown, what goes to its number is not."""

        def fileno(self) -> int:
            return writing

    reading, writing = os.pipe()
    cell: Any = Cell()
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    monkeypatch.setattr(sys, "stdout", cell)
    with output.streams:
        output.keep_results_apart()
        output.echo("a result")
    os.close(writing)
    with os.fdopen(reading) as elsewhere:
        assert (cell.getvalue(), elsewhere.read()) == ("a result\n", "")
