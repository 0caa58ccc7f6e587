"""What importing the package costs, and what it must not start."""

from __future__ import annotations

import subprocess
import sys


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_imports_neither_pyspark_nor_mlflow() -> None:
    loaded = _run("import sys, spark_scoring; print([m for m in ('pyspark', 'mlflow', 'pandas') if m in sys.modules])")
    assert loaded == "[]"


def test_job_files_and_the_command_line_need_no_spark() -> None:
    code = "import sys, spark_scoring.cli; import spark_scoring.run.saved; print('pyspark' in sys.modules)"
    assert _run(code) == "False"


def test_every_public_name_loads() -> None:
    code = "import spark_scoring as ss; print(all(getattr(ss, name) is not None for name in ss.__all__))"
    assert _run(code) == "True"


def test_the_worker_needs_no_pyspark() -> None:
    assert _run("import sys, spark_scoring.engine.worker; print('pyspark' in sys.modules)") == "False"
