"""What importing the package costs, what it must not start, and how long its files and functions are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import spark_scoring

LONGEST_FILE, LONGEST_FUNCTION = 400, 40
TABLES = ("registration/known_errors.py",)
"""Files that hold data."""
FILES = {
    str(file.relative_to(Path(spark_scoring.__path__[0]))): file
    for file in Path(spark_scoring.__path__[0]).rglob("*.py")
}


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


def test_files_can_be_read_in_one_go() -> None:
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in FILES.items()}
    assert {name: n for name, n in lines.items() if n > LONGEST_FILE and name not in TABLES} == {}


def test_functions_fit_a_screen() -> None:
    """Their docstrings are not counted."""
    long = []
    for name, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if body and (body[-1].end_lineno or 0) - body[0].lineno >= LONGEST_FUNCTION:
                    long.append(f"{name}: {node.name}")
    assert long == []
