"""The wheel, installed outside the checkout: with its base requirements alone, and beside Spark."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bundles import dangling, jobs, read
from tests.needs import environment_apart

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def _run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [str(c) for c in command]
    env = {k: v for k, v in environment_apart().items() if not k.startswith("PYTHON")} | environment
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    built = _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment that holds the wheel and what it requires without extras, as pinned."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder / "env", with_pip=False)
    (folder / "pinned.txt").write_text("\n".join(_pins(_closure("spark-scoring"))))
    python = folder / "env" / "bin" / "python"
    pip = (*_pip(python), "install", "--quiet", "--no-deps")
    done = _run(*pip, "--require-hashes", "-r", folder / "pinned.txt", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = _run(*pip, wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    return python


def _pip(python: Path) -> tuple[object, ...]:
    """Run the pip of this environment, for the packages of another one."""
    return (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)


def _closure(name: str, seen: set[str] | None = None) -> set[str]:
    """The names of what a distribution requires here without extras, and what these require."""
    seen = set() if seen is None else seen
    for line in requires(name) or ():
        requirement, _, marker = line.partition(";")
        needed = re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0].lower().replace("_", "-")
        if needed not in seen and "extra ==" not in marker and "win32" not in marker.lower():
            seen.add(needed)
            _closure_if_installed(needed, seen)
    return seen


def _closure_if_installed(name: str, seen: set[str]) -> None:
    from importlib.metadata import PackageNotFoundError

    try:
        _closure(name, seen)
    except PackageNotFoundError:  # required on another platform or Python only
        seen.discard(name)


def _pins(names: set[str]) -> Iterator[str]:
    """The pinned requirements of these names, with their hashes."""
    text = (ROOT / "constraints.txt").read_text()
    for block in re.split(r"\n(?=\S)", text):
        if block.split("==")[0] in names:
            yield block


def test_the_wheel_runs_without_spark_and_says_what_is_missing(base: Path, tmp_path: Path) -> None:
    command = base.parent / "spark-scoring"
    assert _run(command, "--version", cwd=tmp_path).stdout.strip()
    script = _run(command, "job-script", cwd=tmp_path).stdout.strip()
    assert Path(script).is_file()
    assert Path(script).is_relative_to(base.parents[1])
    page = Path(_run(command, "docs", "merge", cwd=tmp_path).stdout.strip())
    assert page.is_relative_to(base.parents[1])
    assert page.read_text() == (ROOT / "docs" / "merge.md").read_text()
    assert (page.parent / "job.schema.json").is_file()
    (tmp_path / "job.yml").write_text("{model: 'models:/a.b.c/1', source: {table: a.b.c}, output: {table: a.b.d}}")
    planned = _run(command, "plan", "job.yml", cwd=tmp_path)
    assert planned.returncode == 2
    assert "Spark: pyspark is not installed here\n   fix: pip install 'spark-scoring[local]'" in planned.stderr


@pytest.mark.parametrize("compute", ["serverless", "job-cluster"])
def test_the_wheel_writes_a_bundle_with_itself(base: Path, wheel: Path, tmp_path: Path, compute: str) -> None:
    (tmp_path / "job.yml").write_text("{model: 'models:/a.b.c/1', source: {table: a.b.c}, output: {table: a.b.d}}")
    command = (base.parent / "spark-scoring", "bundle", "job.yml", "--wheel", wheel, "--compute", compute)
    done = _run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "CREATE VOLUME IF NOT EXISTS `a`.`b`.`spark_scoring`" in done.stdout
    assert dangling(tmp_path / "bundle") == []
    (task,) = jobs(read(tmp_path / "bundle"))["c_score"]["tasks"]
    asked = "from importlib.metadata import distribution as d; print([e.name for e in d('{}').entry_points])"
    scripts = _run(base, "-c", asked.format(task["python_wheel_task"]["package_name"]), cwd=tmp_path).stdout
    assert repr(task["python_wheel_task"]["entry_point"]) in scripts


def test_the_base_install_brings_no_spark(base: Path, tmp_path: Path) -> None:
    listed = _run(*_pip(base), "list", "--format", "freeze", cwd=tmp_path).stdout.lower()
    assert "spark-scoring==" in listed
    assert not re.search(r"^(pyspark|mlflow|delta-spark)", listed, re.MULTILINE)


def test_the_wheel_scores_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Beside the Spark of this environment, whose own copy of the package it hides."""
    installed = _run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        tmp_path / "site",
        wheel,
        cwd=tmp_path,
    )
    assert installed.returncode == 0, installed.stderr
    (tmp_path / "use.py").write_text(_USE)
    done = _run(sys.executable, "use.py", cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr[-2000:]
    place, predictions = done.stdout.strip().splitlines()[-2:]
    assert place.startswith(str(tmp_path))
    assert predictions == "[1.0, 3.0, None]"


_USE = """
import mlflow, pandas as pd
from sklearn.linear_model import LinearRegression
import spark_scoring as ss

frame = pd.DataFrame({"x": [0, 1, 2]})
line = LinearRegression().fit(frame, [1.0, 3.0, 5.0])
signature = mlflow.models.infer_signature(frame, line.predict(frame))
quickly = {"pip_requirements": ["mlflow"], "serialization_format": "cloudpickle"}
mlflow.sklearn.save_model(line, "line", signature=signature, **quickly)
spark = ss.get_session("warehouse")
table = spark.createDataFrame([(0,), (1,), (None,)], "x int")
rows = ss.score_batch(table, "line").orderBy("x").collect()
print(ss.__file__)
print([None if r.prediction is None else round(r.prediction, 9) for r in [*rows[1:], rows[0]]])
"""
