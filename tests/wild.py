"""Models as people bring them, saved fast; and what scoring makes of a small frame of theirs."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema

import spark_scoring as ss

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


def columns(type_: str = "double", *names: str) -> Schema:
    """A schema of columns of one type."""
    return Schema([ColSpec(type_, name) for name in names])


ONE_NUMBER = Schema([ColSpec("double", "prediction")])


def save_python(path: Path, model: Any, inputs: Schema, outputs: Schema = ONE_NUMBER, **options: Any) -> str:
    """A saved PythonModel."""
    signature = ModelSignature(inputs, outputs)
    mlflow.pyfunc.save_model(str(path), python_model=model, signature=signature, pip_requirements=["mlflow"], **options)
    return str(path)


def save_sklearn(path: Path, model: Any, X: Any, signature: ModelSignature | None = None, **options: Any) -> str:
    """A saved scikit-learn model with the signature of what it takes and returns."""
    mlflow.sklearn.save_model(
        model,
        str(path),
        signature=signature or infer_signature(X, model.predict(X)),
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
        **options,
    )
    return str(path)


def save_with_code(path: Path, files: dict[str, str], script: str) -> str:
    """A model that a process of its own saves, with files of code beside it: ``CODE`` in the script lists them."""
    code = path.parent / f"{path.name}_code"
    for name, text in files.items():
        file = code / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    top = sorted({str(code / name.split("/", maxsplit=1)[0]) for name in files})
    lines = [
        "import sys, mlflow, pandas as pd",
        "from mlflow.models import ModelSignature",
        "from mlflow.types import ColSpec, Schema",
        f"PATH, CODE = {str(path)!r}, {top!r}",
        "D = lambda *names: Schema([ColSpec('double', n) for n in names])",
        textwrap.dedent(script),
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(lines)], cwd=code, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return str(path)


def scored(spark: SparkSession, rows: Any, model: str, schema: Any = None, parts: int = 1, **options: Any) -> Any:
    """The scored rows as a pandas frame, in the order given."""
    rows = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    df = spark.createDataFrame(rows, schema)
    return ss.score_batch(df.coalesce(1) if parts == 1 else df.repartition(parts), model, **options).toPandas()
