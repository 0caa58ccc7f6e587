"""Pasted error texts: those that the installed libraries raise themselves, and those that were recorded."""

from __future__ import annotations

import html
import json
import os
import pickle
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import catboost
import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sklearn
import skops.io
import xgboost
from mlflow.models import ModelSignature, infer_signature
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway
from pyspark.sql.connect.dataframe import DataFrame as ConnectFrame
from pyspark.sql.connect.session import SparkSession as ConnectSession
from pyspark.sql.pandas import utils as pandas_utils
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, LabelEncoder, OneHotEncoder, StandardScaler

from spark_scoring import RequestError
from spark_scoring.registration.known_errors import KNOWN
from spark_scoring.registration.pasted import EXAMPLES, recognise
from tests.models import QUICKLY
from tests.needs import PYTHON_PATH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUE = "Wanda Nowak 4711"
"""A value of a row, which no finding repeats."""
TEXTS = pd.DataFrame({"c": ["AA", "DL"], "n": [1.0, 2.0]})
MIXED = pd.DataFrame({"c": pd.Categorical(["a", "b", "c", "d"] * 10), "n": np.arange(40.0)})
LINE = LinearRegression().fit(TEXTS[["n"]], [1.0, 2.0])


def half(X: Any) -> Any:
    return X / 2


def of_skops() -> None:
    model = make_pipeline(FunctionTransformer(half), LinearRegression()).fit(TEXTS[["n"]], [1.0, 2.0])
    skops.io.loads(skops.io.dumps(model))


def unpickled(made_here: bytes) -> Any:
    return pickle.loads(made_here)  # noqa: S301


def of_another_sklearn() -> None:
    """An estimator whose pickle says that an older scikit-learn wrote it."""
    version = sklearn.__version__.encode()
    old = b"1.2.2".ljust(len(version), b"0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unpickled(pickle.dumps(LINE).replace(version, old))


def of_lightgbm() -> None:
    model = lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(MIXED, MIXED["n"])
    model.predict(MIXED.assign(c=VALUE))


def of_catboost(changed: dict[str, Any]) -> None:
    frame = MIXED.assign(c=MIXED["c"].astype(str))
    model = catboost.CatBoostRegressor(iterations=2, verbose=0, allow_writing_files=False)
    model.fit(frame, MIXED["n"], cat_features=["c"]).predict(frame.assign(**changed))


def of_no_java() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_HOME", "/nowhere/java")
        patch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
        launch_gateway()


def of_an_old_library(library: Any, check: Callable[[], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "__version__", "1.0")
        check()


def of_a_signature(example: Any, given: Any) -> None:
    """What ``mlflow.pyfunc`` raises."""
    signature = infer_signature(example, np.zeros(len(example)))
    mlflow.pyfunc.PyFuncModel(mlflow.models.Model(signature=signature), model_impl=LINE).predict(given)


REAL: dict[str, tuple[Callable[[], Any], str, str]] = {
    "skops": (of_skops, "not-loadable", "skops_trusted_types="),
    "OneHotEncoder": (
        lambda: OneHotEncoder().fit(TEXTS[["c"]]).transform(pd.DataFrame({"c": [VALUE]})),
        "unknown-category",
        "handle_unknown='ignore'",
    ),
    "LabelEncoder": (lambda: LabelEncoder().fit(TEXTS["c"]).transform([VALUE]), "unknown-category", "null prediction"),
    "text for a number": (
        lambda: LINE.predict(pd.DataFrame({"n": [VALUE]})),
        "dtype-differs",
        "encoder into the logged pipeline",
    ),
    "CatBoost, text for a number": (lambda: of_catboost({"n": VALUE}), "dtype-differs", "encoder into the logged"),
    "CatBoost, a number for a category": (lambda: of_catboost({"c": 4711.5}), "category-as-text", "train on text"),
    "too many columns": (
        lambda: LinearRegression().fit(TEXTS[["n"]].to_numpy(), [1, 2]).predict(np.zeros((1, 3))),
        "foreign-input",
        "trained on 1 columns and was given 3",
    ),
    "too few columns": (
        lambda: LinearRegression().fit(np.zeros((2, 3)), [1, 2]).predict(np.zeros((1, 1))),
        "missing-input",
        "trained on 3 columns and was given 1",
    ),
    "too many columns for XGBoost": (
        lambda: xgboost.XGBRegressor(n_estimators=1).fit(MIXED[["n"]], MIXED["n"]).predict(np.zeros((1, 3))),
        "foreign-input",
        "trained on 1 columns and was given 3",
    ),
    "too few columns for LightGBM": (
        lambda: lightgbm.train({"verbose": -1}, lightgbm.Dataset(np.eye(40), MIXED["n"]), 1).predict(np.eye(3)),
        "missing-input",
        "trained on 40 columns and was given 3",
    ),
    "other names": (lambda: LINE.predict(pd.DataFrame({"q": [1.0]})), "input-order", "the frame of fit()"),
    "other names for XGBoost": (
        lambda: (
            xgboost.XGBRegressor(n_estimators=1).fit(MIXED[["n"]], MIXED["n"]).predict(TEXTS[["n"]].add_suffix("x"))
        ),
        "input-order",
        "the frame of fit()",
    ),
    "a missing column": (
        lambda: ColumnTransformer([("n", StandardScaler(), ["n"])]).fit(TEXTS).transform(TEXTS[["c"]]),
        "missing-input",
        "takes a column by its name",
    ),
    "a missing column of pandas": (lambda: TEXTS[["n", "age"]], "missing-input", "columns: {<feature>: <column>}"),
    "missing columns of pandas": (lambda: TEXTS[["years", "age"]], "missing-input", "takes a column by its name"),
    "XGBoost's categories": (
        lambda: xgboost.XGBRegressor(enable_categorical=False).fit(MIXED, MIXED["n"]),
        "category-as-text",
        "enable_categorical=True",
    ),
    "LightGBM's categories": (of_lightgbm, "category-as-text", "takes the levels from the model"),
    "Arrow": (lambda: pa.array([1.5, VALUE]), "outputs-differ", "let the model return one type"),
    "Arrow's fractions": (lambda: pa.array([4711.5]).cast(pa.int64()), "outputs-differ", "let the model return"),
    "a newer pickle": (lambda: unpickled(b"\x80\x09N."), "not-loadable", "python_env.yaml"),
    "a private class of scikit-learn": (
        lambda: unpickled(b"csklearn.compose._column_transformer\n_GoneColsList\n."),
        "own-library",
        "the scikit-learn that its requirements.txt names",
    ),
    "another scikit-learn": (of_another_sklearn, "own-library", "install scikit-learn==1.2.2"),
    "a class of a script": (lambda: unpickled(b"c__main__\nRatio\n."), "needs-module", "code_paths="),
    "a module": (lambda: unpickled(b"cown_code.steps\nRatio\n."), "needs-module", "code_paths="),
    "no Java": (of_no_java, "session", "set JAVA_HOME"),
    "an old PyArrow": (
        lambda: of_an_old_library(pa, pandas_utils.require_minimum_pyarrow_version),
        "libraries",
        "pip install 'pyarrow>=",
    ),
    "an old pandas": (
        lambda: of_an_old_library(pd, pandas_utils.require_minimum_pandas_version),
        "libraries",
        "pip install 'pandas>=",
    ),
    "no sparkContext": (lambda: object.__new__(ConnectSession).sparkContext, "session", "unset SPARK_REMOTE"),
    "no rdd": (lambda: object.__new__(ConnectFrame).rdd, "session", "DataFrame calls"),
    "missing inputs": (lambda: of_a_signature(TEXTS, TEXTS[["n"]]), "missing-input", "columns: {<feature>:"),
    "incompatible inputs": (lambda: of_a_signature(TEXTS, TEXTS.assign(n=VALUE)), "dtype-differs", "of text checked"),
    "another matrix": (
        lambda: of_a_signature(np.zeros((2, 3)), np.zeros((2, 3), dtype="float32")),
        "dtype-differs",
        "makes the matrix in the signature's type",
    ),
    "a smaller matrix": (
        lambda: of_a_signature(np.zeros((2, 3)), np.zeros((2, 2))),
        "dtype-differs",
        "makes the matrix in the signature's type",
    ),
    "no registered model": (
        lambda: mlflow.MlflowClient().get_registered_model("main.pasted.none"),
        "not-found",
        "MLFLOW_REGISTRY_URI",
    ),
    "no version": (
        lambda: mlflow.MlflowClient().get_model_version("main.pasted.none", "3"),
        "not-found",
        "MLFLOW_REGISTRY_URI",
    ),
    "no run": (lambda: mlflow.get_run("0123456789abcdef0123456789abcdef"), "not-found", "MLFLOW_TRACKING_URI"),
}
"""What the installed libraries raise; so a reworded text shows here."""

CRASH = (
    "org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 2.0 failed 1 times, most "
    "recent failure: Lost task 1.0 in stage 2.0 (TID 7) (192.0.2.2 executor driver): org.apache.spark.SparkException: "
)
RECORDED = {
    # raised on this machine in 2026-11: Spark 4.1.4, a worker that was killed with SIGKILL
    CRASH + "Python worker exited unexpectedly (crashed). Consider setting": (
        "memory",
        "maxRecordsPerBatch",
    ),
    # raised on this machine in 2026-11: Spark 4.1.4, spark.driver.maxResultSize=1m
    "Job aborted due to stage failure: Total size of serialized results of 1 tasks (1263.7 KiB) is bigger than "
    "spark.driver.maxResultSize (1024.0 KiB)": ("memory", "write the predictions to a table"),
    # raised on this machine in 2026-11: Delta's jar without its settings
    "[DELTA_CONFIGURE_SPARK_SESSION_WITH_EXTENSION_AND_CATALOG] This Delta operation requires the SparkSession to be "
    "configured with the\nDeltaSparkSessionExtension and the DeltaCatalog.": ("session", "configure_spark_with_delta"),
    # raised on this machine in 2026-11: mlflow.pyfunc.spark_udf of MLflow 3.17 with one column of two
    "mlflow.exceptions.MlflowException: Model input is missing required columns. Expected 2 required input columns "
    "['a', 'n'], but the model received only 1 unnamed input columns": ("missing-input", "columns: {<feature>:"),
    # raised on this machine in 2026-11: a pandas UDF of Spark 4.1.4 that is a DOUBLE and returns text
    "pyspark.errors.exceptions.base.PySparkValueError: Failed to convert the value of the column 'None' with type "
    "'object' to Arrow type 'double'. It can be caused by overflows": (
        "outputs-differ",
        "let the model return one type",
    ),
    # raised on this machine in 2026-11: NumPy 1.24 loads a pickle of NumPy 2; both fixes were tried
    "ModuleNotFoundError: No module named 'numpy._core'": ("libraries", "pip install 'numpy>=2'"),
    # raised on this machine in 2026-11: pandas 2.1.4 beside NumPy 2.2; the fix was tried
    "ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88 from "
    "PyObject": ("libraries", "pip install 'numpy<2'"),
    # raised on this machine in 2026-11: Python 3.11 without setuptools; the fix was tried
    "ModuleNotFoundError: No module named 'pkg_resources'": ("libraries", "pip install 'setuptools<81'"),
    # raised on this machine in 2026-11: a table of a pandas frame with nulls among integers; the fix was tried
    'org.apache.spark.SparkArithmeticException: [CAST_OVERFLOW] The value NaN of the type "DOUBLE" cannot be cast to '
    '"INT" due to an overflow.': ("table", "nullif(column, double('NaN'))"),
    # raised on this machine in 2026-11: Delta 4.4, a column 'customer id'; the fixes were tried
    "[DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES] Found invalid character(s) among ' ,;{}()\\n\\t=' in the column names "
    "of your schema.": ("table", "delta.columnMapping.mode"),
    # pyspark 4.1's error-conditions.json; and the text of Spark 3
    "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11": (
        "session",
        "PYSPARK_PYTHON",
    ),
    "Exception: Python in worker has different version 3.8 than that in driver 3.9, PySpark cannot run with different "
    "minor versions": ("session", "PYSPARK_PYTHON"),
    # github.com/delta-io/delta/issues/224, /1013 and delta-io/delta-sharing/issues/584
    "java.lang.ClassNotFoundException: Failed to find data source: delta. Please find packages at": ("session", "jar"),
    "java.lang.ClassNotFoundException: io.delta.sql.DeltaSparkSessionExtension": ("session", "jar"),
    "[DATA_SOURCE_NOT_FOUND] Failed to find the data source: delta. Please find packages at": ("session", "jar"),
    # github.com/capitalone/datacompy/issues/407
    "[NOT_SUPPORTED_WITH_SERVERLESS] PERSIST TABLE is not supported on serverless compute. SQLSTATE: 0A000": (
        "session",
        "leave cache() and persist() out",
    ),
    # github.com/apache/spark/pull/43537: what Connect said until Spark 3.5
    "PySparkNotImplementedError: [NOT_IMPLEMENTED] sparkContext() is not implemented.": ("session", "DataFrame calls"),
    # github.com/hail-is/hail/issues/13287
    "ExecutorLostFailure (executor 7 exited caused by one of the running tasks) Reason: Container from a bad node: "
    "container_e01 on host: w-0. Exit status: 137. Diagnostics: Container killed on request. Exit code is 137": (
        "memory",
        "spark.executor.memoryOverhead",
    ),
    "java.lang.OutOfMemoryError: Java heap space": ("memory", "--spark driver.memory=8g"),
    # github.com/mlflow/mlflow/issues/17648
    "mlflow.exceptions.RestException: RESOURCE_DOES_NOT_EXIST: Node ID 527798313318634 does not exist.": (
        "not-found",
        "MLFLOW_TRACKING_URI",
    ),
    # found word for word in several public repositories
    "PERMISSION_DENIED: User does not have USE CATALOG on Catalog 'main'.": ("access", "ask the owner"),
    "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User does not have MODIFY on Table 'a.b'. SQLSTATE: 42501": (
        "access",
        "ask the owner",
    ),
    # github.com/campusx-official/fastapi-demo-api/issues/4
    "AttributeError: Can't get attribute '_RemainderColsList' on <module 'sklearn.compose._column_transformer' from "
    "'D:\\\\VSCODE\\\\lib\\\\site-packages\\\\sklearn\\\\compose\\\\_column_transformer.py'>": (
        "own-library",
        "requirements.txt",
    ),
    # MLflow's and Databricks' own, as before
    EXAMPLES[0] + ". All models in the Unity Catalog must be logged": ("only-inputs", "give output_schema"),
    EXAMPLES[1]: ("no-signature", "give both output_schema and infer_input_example=True"),
    EXAMPLES[2]: ("only-inputs", "inferred without predictions"),
    "TypeError: " + EXAMPLES[3]: ("no-flavor", "flavor=mlflow.sklearn"),
    "unsupported operand type(s) for -: 'decimal.Decimal' and 'float'": (
        "object-column",
        "casts DECIMAL to the nearest DOUBLE",
    ),
    "Incompatible input types for column price. Can not safely convert object to float64.": (
        "dtype-differs",
        "of DECIMAL the nearest number",
    ),
    "Incompatible input types for column my price. Can not safely convert category to <U0.": (
        "category-as-text",
        "a level that training knew",
    ),
    "Cannot safely convert bool to float64": ("dtype-differs", "exact: true is 1, false is 0"),
    "Cannot safely convert int64 to float64": ("dtype-differs", "of BIGINT the nearest double above 2^53"),
    "Cannot safely convert float64 to float32": ("dtype-differs", "the nearest float; checked for overflow"),
    "Cannot safely convert float64 to bool": ("dtype-differs", "any other value makes a bad row"),
    "ValueError: Input X contains NaN.": ("example-fails", "put the imputer into the logged pipeline"),
    "Registered model alias champion not found": ("not-registrable", "set one: register_model"),
}
"""Text -> code, and words of its cause or fix; above each where it is from."""

JAVA = """py4j.protocol.Py4JJavaError: An error occurred while calling o98.collectToPython.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 2.0 failed 4 times
\tat org.apache.spark.scheduler.DAGScheduler.$anonfun$abortStage$3(DAGScheduler.scala:3122)
Caused by: org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "/databricks/spark/python/pyspark/worker.py", line 1993, in process
  File "/databricks/python/lib/python3.11/site-packages/mlflow/pyfunc/__init__.py", line 846, in predict
{text}

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:561)
\tat java.base/java.lang.Thread.run(Thread.java:840)
"""
FORMS: dict[str, Callable[[str], str]] = {
    "a stack trace of Java": lambda text: JAVA.format(text=text),
    "a notebook's page": lambda text: (
        f'<div class="ansiout"><span class="ansi-red-fg">{html.escape(text).replace(chr(10), "<br/>")}</span></div>'
    ),
    "a page that shows a page": lambda text: html.escape(f"<pre>{html.escape(text)}</pre>"),
    "colours": lambda text: "".join(f"\x1b[0;31m{word}\x1b[0m " for word in text.split(" ")),
    "colours without their escape": lambda text: "".join(f"[1;31m{word}[0m " for word in text.split(" ")),
    "a notebook's file": lambda text: json.dumps({"traceback": [f"\x1b[31m{text}\x1b[39m\n", "\x1b[0;32m"]}),
    "one line of a log": lambda text: repr(f"26/11/26 ERROR Executor: {text}\n\tat x"),
    "a chat": lambda text: text.replace("'", "\u2019").replace(" ", "\u00a0"),
}


def raised(call: Callable[[], Any]) -> str:
    """The kind and the text of what a call raises, as a traceback's last line has them."""
    with pytest.raises(Exception) as raising:  # noqa: PT011  of many libraries
        call()
    return raising.exconly()


def all_of(finding: Any) -> str:
    return f"{finding.thing} {finding.cause} {finding.fix} {finding.evidence}"


@pytest.mark.parametrize("name", REAL)
def test_what_the_installed_libraries_raise_is_explained(name: str, registry: str) -> None:
    call, code, part = REAL[name]
    text = raised(call)
    for pasted in (text, *(form(text) for form in FORMS.values())):
        finding = recognise(pasted)
        assert (finding.code, part in all_of(finding)) == (code, True), pasted
        assert not any(word in all_of(finding) for word in (*VALUE.split(), "4711.5"))


@pytest.mark.parametrize("text", RECORDED)
def test_recorded_texts_are_explained_in_every_form(text: str) -> None:
    code, part = RECORDED[text]
    for pasted in (text, *(form(text) for form in FORMS.values())):
        finding = recognise(pasted)
        assert (finding.code, part in all_of(finding)) == (code, True), pasted


def test_a_mismatch_of_pythons_is_spelled_as_pyspark_spells_it() -> None:
    versions = {"worker_version": "3.9", "driver_version": "3.11"}
    error = PySparkRuntimeError(errorClass="PYTHON_VERSION_MISMATCH", messageParameters=versions)
    assert str(error).splitlines()[0].startswith(next(t for t in RECORDED if "PYTHON_VERSION" in t))


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_text_of_the_page_is_recognised_by_its_own_line(text: str) -> None:
    own = next(known for known in KNOWN if text in known.texts)
    found = recognise(f"some stack trace\n{text}\nmore of it" if not text.startswith("KeyError") else text)
    means = own.means
    assert found.fix
    assert callable(means) or found.cause == means.cause


@pytest.mark.parametrize(
    ("given", "code", "thing"),
    [
        ({"a": [1.0], "n": [1.5]}, "dtype-differs", "column n"),
        ({"a": ["x"], "n": [1]}, "dtype-differs", "column a"),
        ({"a": [1.0]}, "missing-input", "feature ['n']"),
    ],
)
def test_mlflows_own_texts_name_the_column(given: Any, code: str, thing: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "n": [1, 2]})
    signature: ModelSignature = infer_signature(frame, np.array([1.0, 2.0]))
    model, folder = LinearRegression().fit(frame, [1.0, 2.0]), tmp_path / "model"
    mlflow.sklearn.save_model(model, folder, signature=signature, **QUICKLY)
    finding = recognise(raised(lambda: mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame(given))))
    assert (finding.code, finding.thing) == (code, thing)


def test_the_column_of_a_pasted_text_is_named_over_line_breaks() -> None:
    text = "MlflowException: Incompatible input types for column dep delay.\n Can not safely convert int64 to\nfloat32."
    assert recognise(text).thing == "column dep delay"


def test_a_module_is_named_and_a_secret_is_not() -> None:
    assert recognise("ModuleNotFoundError: No module named 'own_code.steps'").thing == "module own_code.steps"
    text = "Model is missing inputs ['age', 'https://wanda:hunter2@host/x?token=hunter2']"
    assert "hunter2" not in all_of(recognise(text))


@pytest.mark.parametrize(
    "text",
    [
        "My dashboard contains NaN values",
        "Segmentation fault",
        "I opened the file and the key was missing",
        "exit code 1",
        "the job was retried 137 times",
        "a KeyError: in a text",
        "permission was denied",
        "",
    ],
)
def test_a_text_that_only_looks_alike_is_said_to_be_unknown(text: str) -> None:
    with pytest.raises(RequestError, match="the doctor does not know this text"):
        recognise(text)


def test_a_very_long_text_takes_little_time() -> None:
    trace = "\tat org.apache.spark.Thing.method(Thing.scala:1)\n" * 20_000
    assert recognise(f"{trace}X has 3 features, but Ridge is expecting 4 features as input.{trace}").code
    with pytest.raises(RequestError):
        recognise("missing 1 required keyword-only argument: exit code can not safely convert in get_loc " * 5_000)


def test_the_doctor_reads_a_log_from_standard_input_and_needs_no_spark() -> None:
    """In a Python that has no pyspark, as a machine has that cannot install it."""
    script = "import sys; sys.modules['pyspark'] = None; from spark_scoring.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "doctor", "--error", "-", "--json"],
        input=JAVA.format(text="ValueError: X has 3 features, but Ridge is expecting 4 features as input."),
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["findings"][0]["code"] == "missing-input"
