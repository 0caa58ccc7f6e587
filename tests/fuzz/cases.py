"""Odd tables, names, values and settings against small real models; what must hold of every run.

A run ends in an error of this package that says what is wrong, or every row is accounted for. No value of a row is
in a message, a report or a commit.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import shutil
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from lightgbm import LGBMRegressor
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema
from pyspark.sql import types as T  # noqa: N812
from sklearn.linear_model import LinearRegression, LogisticRegression

from spark_scoring import ScoringJob, run_job, score_batch
from spark_scoring.delta.failures import explain_failure
from spark_scoring.errors import RequestError, ScoringError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

TEXT, NUMBER, DAY = "zq7mark", 739_146_281, dt.date(2461, 7, 9)
"""Values that are easy to find where they must not be."""

ODD_NAMES = (
    *("a b", "a.b", "a`b", "ä", "select", "a,b;c", "{x}", "a=b", "tab\there", "line\nbreak", "'", '"q"', "A" * 300),
    *(
        "prediction",
        "run_id",
        "scoring_error",
        "_spark_scoring_lane0",
        "%s",
        "\\",
        "*",
        "a[0]",
        "null",
        "日本",
        "--",
        "1",
    ),
)
ODD_TEXTS = (
    *("", " ", "NaN", "-inf", "1e400", "1e-400", "0x10", "١٢", "1_000", " 7 ", "+3", "-0", "true", "T", "no", "null"),
    *("9" * 40, "2024-02-30", "2024-02-29T23:59:60Z", "10000-01-01", "\x00", "😀", "1,5", "1.5.2", f"{NUMBER}"),
    "x" * 5000,
)
MODEL_TYPES = ("double", "float", "long", "integer", "boolean", "string", "datetime", "binary")


class Fickle(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Raises on some rows, with their values in its text."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        texts = model_input.astype(str).agg(" ".join, axis=1)
        if texts.str.contains("8").any():
            raise ValueError(texts.iloc[0])
        return texts.str.len().astype("float64")


_ESTIMATORS: dict[str, Callable[[], Any]] = {
    "sklearn": LinearRegression,
    "classes": lambda: LogisticRegression(max_iter=20),
    "lightgbm": lambda: LGBMRegressor(n_estimators=3, verbose=-1),
}


@dataclass(frozen=True)
class Model:
    """A saved model and what it wants."""

    path: str
    inputs: tuple[tuple[str, str], ...]


def make_model(folder: Path, rng: random.Random) -> Model:
    """A small model of random inputs, trained here."""
    kind = rng.choice(["sklearn", "classes", "lightgbm", "python", "python"])
    plain = [f"f{i}" for i in range(4)]
    names = plain if kind == "lightgbm" else rng.sample([*ODD_NAMES, *plain], 4)
    names = names[: rng.randint(1, 4)]
    path = str(folder / f"model-{rng.getrandbits(32):08x}")
    values = np.random.default_rng(rng.getrandbits(32))
    if kind == "python":
        inputs = [(name, rng.choice(MODEL_TYPES)) for name in names]
        columns = Schema([ColSpec(type_, name, required=rng.random() < 0.8) for name, type_ in inputs])
        signature = ModelSignature(columns, Schema([ColSpec("double")]))
        mlflow.pyfunc.save_model(path, python_model=Fickle(), signature=signature, pip_requirements=["mlflow"])
        return Model(path, tuple(inputs))
    types = {name: rng.choice(["float64", "float32", "int32", "int64", "bool"]) for name in names}
    frame = pd.DataFrame({name: values.integers(0, 9, 40) for name in names}).astype(types)
    if kind == "lightgbm" and rng.random() < 0.5:
        types[names[0]] = "category"
        frame[names[0]] = pd.Categorical(values.choice(["a", "b", TEXT], 40))
    numeric = frame.drop(columns=[name for name, type_ in types.items() if type_ == "category"])
    model = _ESTIMATORS[kind]().fit(frame, numeric.sum(axis=1).mod(3).astype("int64"))
    flavor = mlflow.lightgbm if kind == "lightgbm" else mlflow.sklearn
    signature = infer_signature(frame, model.predict(frame))
    flavor.save_model(model, path, signature=signature, pip_requirements=["mlflow"])
    return Model(path, tuple((name, str(t)) for name, t in types.items()))


_NUMBERS = st.sampled_from([0, 1, -1, 2, 8, 127, -128, 2**15, 2**24 + 1, 2**31, 2**53 + 1, -(2**63), NUMBER])
_FLOATS = st.sampled_from(
    [0.0, -0.0, 1.0, 0.5, 8.0, 1e39, -1e308, 5e-324, float("nan"), float("inf"), -float("inf"), NUMBER + 0.25]
)
_DAYS = st.sampled_from([DAY, dt.date(1, 1, 1), dt.date(1582, 10, 10), dt.date(1970, 1, 1), dt.date(9999, 12, 31)])
_TIMES = st.sampled_from(
    [dt.datetime(*day) for day in ((1970, 1, 2), (1677, 1, 1), (2262, 5, 1), (2461, 7, 9), (2024, 3, 31, 2, 30))]  # noqa: DTZ001
)
_TEXTS = st.one_of(st.sampled_from([*ODD_TEXTS, TEXT, f"{TEXT} {NUMBER}"]), st.text(max_size=5))


def _bounded(bits: int) -> st.SearchStrategy[int]:
    return _NUMBERS.filter(lambda n: -(2 ** (bits - 1)) <= n < 2 ** (bits - 1))


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    nines = (9,) * precision
    return st.sampled_from([Decimal((sign, digits, -scale)) for sign in (0, 1) for digits in ((0,), (1,), nines)])


_SOURCES: dict[str, tuple[T.DataType, st.SearchStrategy[Any]]] = {
    "boolean": (T.BooleanType(), st.booleans()),
    "tinyint": (T.ByteType(), _bounded(8)),
    "smallint": (T.ShortType(), _bounded(16)),
    "int": (T.IntegerType(), _bounded(32)),
    "bigint": (T.LongType(), _bounded(64)),
    "float": (T.FloatType(), _FLOATS),
    "double": (T.DoubleType(), _FLOATS),
    "decimal(38,0)": (T.DecimalType(38, 0), _decimals(38, 0)),
    "decimal(38,38)": (T.DecimalType(38, 38), _decimals(38, 38)),
    "decimal(12,2)": (T.DecimalType(12, 2), _decimals(12, 2)),
    "string": (T.StringType(), _TEXTS),
    "binary": (T.BinaryType(), st.binary(max_size=9).map(lambda b: b + TEXT.encode())),
    "date": (T.DateType(), _DAYS),
    "timestamp": (T.TimestampType(), _TIMES),
    "timestamp_ntz": (T.TimestampNTZType(), _TIMES),
    "array<double>": (T.ArrayType(T.DoubleType()), st.lists(_FLOATS | st.none(), max_size=3)),
    "struct": (T.StructType([T.StructField("s", T.StringType())]), st.tuples(_TEXTS | st.none())),
    "map": (T.MapType(T.StringType(), T.LongType()), st.dictionaries(_TEXTS.filter(bool), _bounded(64), max_size=2)),
}
_FOR_NUMBERS = ("double", "float", "int", "bigint", "decimal(12,2)", "decimal(38,0)", "string", "boolean")
_LIKELY = {
    **dict.fromkeys(("double", "float", "long", "integer", "boolean"), _FOR_NUMBERS),
    **dict.fromkeys(("float64", "float32", "int64", "int32", "bool"), _FOR_NUMBERS),
    "string": ("string", "int", "double", "boolean", "date", "timestamp"),
    "category": ("string",),
    "datetime": ("timestamp", "date", "timestamp_ntz", "string"),
    "binary": ("binary", "string"),
}
_EXPRESSIONS = (
    *("{}", "{} + 1", "CAST({} AS STRING)", "CAST({} AS DOUBLE)", "1/0", "nope +", "max({})", "NULL"),
    "explode(array(1))",
)
_FILLS = st.sampled_from([0, 1, -1, 0.5, "a", True, None, "x y", 2**70])


@dataclass(frozen=True)
class Case:
    """A request."""

    model: Model
    schema: T.StructType
    rows: tuple[tuple[Any, ...], ...]
    job: dict[str, Any]
    conf: dict[str, str]
    through_job: bool

    def __repr__(self) -> str:
        parts = {"inputs": self.model.inputs, "schema": self.schema.simpleString(), "job": self.job, "conf": self.conf}
        return f"Case({parts}, job={self.through_job}, rows={self.rows})"


@st.composite
def cases(draw: Any, models: Sequence[Model]) -> Case:
    model = draw(st.sampled_from(models))
    columns: list[tuple[str, str]] = []
    for name, wanted in model.inputs:
        match draw(st.integers(0, 19)):
            case 0:
                continue  # absent
            case 1:
                columns.append((name, draw(st.sampled_from(sorted(_SOURCES)))))
            case 2:
                columns.append((name.upper() or "x", draw(st.sampled_from(_LIKELY[wanted]))))
            case _:
                columns.append((name, draw(st.sampled_from(_LIKELY[wanted]))))
    columns += draw(st.lists(st.tuples(st.sampled_from(ODD_NAMES), st.sampled_from(sorted(_SOURCES))), max_size=2))
    if draw(st.integers(0, 9)):  # else two columns may have one name
        columns = list({name.lower(): (name, type_) for name, type_ in columns}.values())
    columns = draw(st.permutations(columns))
    schema = T.StructType([T.StructField("id", T.LongType()), *[T.StructField(n, _SOURCES[t][0]) for n, t in columns]])
    values = [st.none() | _SOURCES[t][1] | _SOURCES[t][1] for _, t in columns]
    n = draw(st.integers(0, 12))
    rows = [(i, *row) for i, row in enumerate(draw(st.lists(st.tuples(*values), min_size=n, max_size=n)))]
    conf = {
        "spark.sql.ansi.enabled": draw(st.sampled_from(["true", "false"])),
        "spark.sql.session.timeZone": draw(st.sampled_from(["UTC", "America/St_Johns", "Asia/Kathmandu"])),
        "spark.sql.caseSensitive": draw(st.sampled_from(["false", "false", "false", "true"])),
    }
    return Case(model, schema, tuple(rows), draw(_jobs(model, columns)), conf, draw(st.booleans()))


@st.composite
def _jobs(draw: Any, model: Model, columns: list[tuple[str, str]]) -> dict[str, Any]:
    """Settings of a job, some of them wrong."""
    job: dict[str, Any] = {"policy": draw(st.sampled_from(["strict", "strict", "lenient"]))}
    names = [name for name, _ in model.inputs]
    if draw(st.booleans()):
        parts = {
            "nulls": st.sampled_from(["keep", "bad_row", "fail"]) | _FILLS.map(lambda v: {"fill": v}),
            "invalid": st.sampled_from(["bad_row", "missing", "fail"]) | _FILLS.map(lambda v: {"fill": v}),
            "absent": _FILLS.map(lambda v: {"fill": v}),
        }
        feature = st.fixed_dictionaries({}, optional=parts)
        job["policy"] = draw(st.dictionaries(st.sampled_from([*names, "*", "nope"]), feature, max_size=3))
    if columns and draw(st.integers(0, 3)) == 0:
        column = draw(st.sampled_from(columns))[0].replace("`", "``")
        job["columns"] = {draw(st.sampled_from(names)): draw(st.sampled_from(_EXPRESSIONS)).format(f"`{column}`")}
    job["bad_rows"] = draw(st.sampled_from(["keep", "keep", "quarantine", "fail"]))
    if job["bad_rows"] != "fail":
        job |= draw(st.sampled_from([{}, {}, {"max_bad_rows": 0}, {"max_bad_rows": 0.5}, {"max_bad_rows": 3}]))
    job["predict"] = draw(st.sampled_from([["predict"], ["predict"], ["predict", "predict_proba"]]))
    job["per_class"] = draw(st.sampled_from(["array", "columns"]))
    job["stage"] = draw(st.sampled_from(["udf", "map"]))
    job["output"] = draw(
        st.sampled_from(
            [
                {},
                {"mode": "overwrite"},
                {"mode": "overwrite", "replace_where": "id >= 0"},
                {"mode": "merge", "key": ["id"]},
                {"keep": ["id"]},
                {"keep": ["id"], "naming": "databricks"},
                {"keep": ["id"], "names": {"prediction": "a b"}},
            ]
        )
    )
    return job


_OF_BOTH = ("policy", "columns", "predict", "per_class", "stage")
"""Settings of a job that ``score_batch`` takes, too."""


class Checks:
    """Runs cases in one session and holds them to what must be so."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.counts = {"refused": 0, "failed": 0, "scored": 0, "rows": 0, "bad rows": 0}

    def check(self, case: Case) -> None:
        before = {key: self.spark.conf.get(key, None) for key in case.conf}
        for key, value in case.conf.items():
            self.spark.conf.set(key, value)
        try:
            frame = self.spark.createDataFrame(list(case.rows), case.schema)
            (self._job if case.through_job else self._batch)(case, frame)
        finally:
            for key, value in before.items():
                self.spark.conf.unset(key) if value is None else self.spark.conf.set(key, value)

    def _batch(self, case: Case, frame: DataFrame) -> None:
        try:
            job = ScoringJob.from_dict(
                {"model": case.model.path, "source": {"path": "x"}, "output": {"path": "y"}, **_request(case)}
            )
            scored = score_batch(
                frame,
                case.model.path,
                policy=job.scoring_policy(),
                columns=job.columns,
                predict=job.predict,
                per_class=job.per_class,
                stage=job.stage,
            )
        except ScoringError as error:
            self._refused(error)
            return
        try:
            rows = scored.select("id", "scoring_error").collect()
        except Exception as error:  # noqa: BLE001  it comes from Spark, and must be one that we know
            self._failed(explain_failure(error, "output", "source"))
            return
        self._count([row["id"] for row in rows], case)
        _no_value([row["scoring_error"] for row in rows])
        self.counts["bad rows"] += sum(row["scoring_error"] is not None for row in rows)

    def _job(self, case: Case, frame: DataFrame) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        source, output = str(self.folder / "in"), str(self.folder / "out")
        try:
            frame.write.format("delta").option("delta.columnMapping.mode", "name").save(source)
        except Exception:  # noqa: BLE001  a table that Delta does not take is no case of ours
            return
        output_fields = {"path": output, **case.job["output"]}
        fields = {**_request(case), "bad_rows": case.job["bad_rows"], "output": output_fields}
        if "max_bad_rows" in case.job:
            fields["max_bad_rows"] = case.job["max_bad_rows"]
        try:
            job = ScoringJob.from_dict({"model": case.model.path, "source": {"path": source}, **fields})
            report = run_job(job, self.spark)
        except ScoringError as error:
            self._refused(error) if isinstance(error, RequestError) else self._failed(error)
            self._nothing_written()
            return
        ids = self._ids(output)
        bad = self._ids(f"{output}_quarantine") if report.quarantined else []
        self._count([*ids, *bad], case)
        assert (report.rows_in, report.rows_out, report.quarantined) == (len(case.rows), len(ids), len(bad)), report
        self.counts["bad rows"] += report.bad_rows
        _no_value([json.dumps(report.to_dict(), default=str), *self._metadata(output)])
        again = run_job(job, self.spark)
        assert (again.skipped, again.rows_out, again.bad_rows) == (True, report.rows_out, report.bad_rows), again

    def _nothing_written(self) -> None:
        assert not list(self.folder.glob("out*/_delta_log/*.json"))

    def _ids(self, place: str) -> list[int]:
        return [row["id"] for row in self.spark.read.format("delta").load(place).select("id").collect()]

    def _metadata(self, place: str) -> list[str]:
        history = self.spark.sql(f"DESCRIBE HISTORY delta.`{place}`").select("userMetadata", "operationParameters")
        return [str(row) for row in history.collect()]

    def _refused(self, error: ScoringError) -> None:
        self.counts["refused"] += 1
        assert all(p.thing and p.cause and p.fix for p in error.problems), error
        _no_value([str(error)])

    def _failed(self, error: ScoringError) -> None:
        self.counts["failed"] += 1
        assert "Spark failed with" not in str(error), f"not explained: {error.__context__!r}"[:6000]
        _no_value([str(error)])

    def _count(self, ids: list[int], case: Case) -> None:
        self.counts["scored"] += 1
        self.counts["rows"] += len(ids)
        assert sorted(ids) == list(range(len(case.rows)))


def _request(case: Case) -> dict[str, Any]:
    return {name: case.job[name] for name in _OF_BOTH if name in case.job}


def _no_value(texts: Sequence[str | None]) -> None:
    for text in texts:
        for mark in (TEXT, str(NUMBER), f"{NUMBER:,}", str(DAY)):
            assert mark not in (text or ""), f"a value is told: {text}"


def fuzz(spark: SparkSession, folder: Path, *, start: int, count: int, models: int, shrink: bool) -> dict[str, int]:
    """Check ``count`` cases that follow from the seed ``start`` against that many models; counts of what came of them.

    Raises:
        AssertionError: of the smallest case found that does not hold.

    """
    rng = random.Random(start)  # noqa: S311
    pool = [make_model(folder, rng) for _ in range(models)]
    checks = Checks(spark, folder / "tables")
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    run: Callable[[], None] = seed(start)(
        settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )(given(cases(pool))(checks.check))
    )
    run()
    return checks.counts
