"""What the faults happen to: a slow model, a source, jobs of every mode, and how an output is compared."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring import ScoringJob, run_job

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring import RunReport

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

ROOT = Path(__file__).parents[2]
ROWS, FILES, BATCH = 2000, 20, 25
BATCHES = ROWS // BATCH
SEEDED = ROWS // 2
"""Rows, the first ones, that an output holds before the run where it is not new."""
SETTINGS = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(BATCH),
    "spark.sql.files.openCostInBytes": str(2**27),  # a task for each file
}
MARK = "do-not-show"
"""In every row; never in an error's text."""


class Slow(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Takes its time for a batch, and writes down in which process it ran."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        time.sleep(params["pause"])
        with open(params["log"], "a") as file:  # noqa: PTH123
            file.write(f"{os.getpid()}\n")
        return 2 * model_input["x"] + model_input["n"]


@dataclass(frozen=True)
class Kind:
    """A kind of run."""

    output: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)
    seeded: bool = False
    by_name: bool = False
    """Whether the output is a table of the warehouse, not a path."""


KEY = {"mode": "merge", "key": ["id"]}
PART = f"id >= {SEEDED // 2}"
KINDS = {
    "append": Kind({}),
    "append by name": Kind({}, by_name=True),
    "overwrite": Kind({"mode": "overwrite"}, seeded=True),
    "replace_where": Kind({"mode": "overwrite", "replace_where": PART}, {"where": PART}, seeded=True),
    "merge": Kind(KEY, seeded=True),
    "quarantine": Kind({}, {"bad_rows": "quarantine"}),
    "quarantine, merge": Kind(KEY, {"bad_rows": "quarantine"}, seeded=True),
    "incremental": Kind({}, {"incremental": True}),
}


class Run:
    """A job of one kind with folders of its own, and what is visible of it from outside."""

    def __init__(self, workload: Workload, kind: str, folder: Path) -> None:
        self.workload, self.kind, self.folder = workload, kind, folder
        folder.mkdir(parents=True)
        self.log = folder / "batches"
        self.log.touch()
        self.warehouse = folder / "warehouse"
        self.output = self.warehouse / "ml" / "out" if KINDS[kind].by_name else folder / "out"
        self.quarantine = self.output.with_name("out_quarantine")
        if KINDS[kind].seeded:
            for suffix in ("out", "out_quarantine"):
                seed = workload.seed_of(kind) / suffix
                if seed.is_dir():
                    shutil.copytree(seed, folder / suffix)
        self.commits = {place: len(commits(place)) for place in (self.output, self.quarantine)}
        self.files = {place: data_files(place) for place in (self.output, self.quarantine)}
        self.jobs = (self.job(),)
        self.undo = ExitStack()
        """What a fault has changed on the machine, to be undone when the run is compared."""
        self.job_file = folder / "job.yml"
        self.job_file.write_text(self.jobs[0].to_yaml())

    def job(self, **changes: Any) -> ScoringJob:
        kind = KINDS[self.kind]
        fields = dict(kind.fields)
        place = {"table": "main.ml.out"} if kind.by_name else {"path": str(self.output)}
        where = {"where": fields.pop("where")} if "where" in fields else {}
        return self.workload.job(
            {"path": str(self.workload.source), **where},
            {**place, **kind.output},
            self.log,
            warehouse=str(self.warehouse),
            **{**fields, **changes},
        )

    def again(self) -> list[RunReport]:
        """The same jobs in this process, one after the other."""
        return [run_job(job, self.workload.spark) for job in self.jobs]

    def batches(self) -> list[int]:
        """The processes that have scored a batch, in turn."""
        return [int(pid) for pid in self.log.read_text().split()]

    def rows(self) -> Counter[Any]:
        return _rows(self.workload.spark, self.output) + _rows(self.workload.spark, self.quarantine, apart=True)

    def new_commits(self, place: Path) -> int:
        return len(commits(place)) - self.commits[place]

    def new_files(self, place: Path) -> set[Path]:
        return data_files(place) - self.files[place]


class Workload:
    """A source, a registered slow model, seeded outputs, and what undisturbed runs make of them."""

    def __init__(self, spark: SparkSession, folder: Path, pause: float) -> None:
        self.spark, self.folder, self.pause = spark, folder, pause
        self.source = folder / "source"
        self.tracking_uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.model = self._register()
        _source(spark).write.format("delta").save(str(self.source))
        self._undisturbed: dict[str, Run] = {}

    def _register(self) -> str:
        mlflow.set_tracking_uri(self.tracking_uri)
        mlflow.set_experiment(
            experiment_id=mlflow.create_experiment("faults", artifact_location=str(self.folder / "artifacts"))
        )
        params = ParamSchema([ParamSpec("pause", "double", 0.0), ParamSpec("log", "string", os.devnull)])
        columns = Schema([ColSpec("double", "x"), ColSpec("long", "n")])
        signature = ModelSignature(columns, Schema([ColSpec("double")]), params=params)
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=Slow(),
            signature=signature,
            pip_requirements=["mlflow"],
            registered_model_name="main.ml.slow",
        )
        return f"models:/main.ml.slow/{info.registered_model_version}"

    def seed_of(self, kind: str) -> Path:
        """A folder with an output of another run, and its quarantine where the kind has one."""
        apart = {"bad_rows": "quarantine"} if "bad_rows" in KINDS[kind].fields else {}
        folder = self.folder / "-".join(["seed", *apart.values()])
        if not folder.is_dir():
            source = {"path": str(self.source), "where": f"id < {SEEDED}"}
            output = {"path": str(folder / "out")}
            run_job(self.job(source, output, Path(os.devnull), pause=0.0, columns={"x": "x + 1"}, **apart), self.spark)
        return folder

    def job(
        self, source: dict[str, Any], output: dict[str, Any], log: Path, *, pause: float | None = None, **fields: Any
    ) -> ScoringJob:
        return ScoringJob.from_dict(
            {
                "model": self.model,
                "source": source,
                "output": {"keep": ["id", "note"], **output},
                "params": {"pause": self.pause if pause is None else pause, "log": str(log)},
                "tracking_uri": self.tracking_uri,
                "rehearse": False,  # a call of the model is taken for a batch, and its process may be killed
                **fields,
            }
        )

    def run(self, kind: str, name: str) -> Run:
        return Run(self, kind, self.folder / "runs" / name)

    def undisturbed(self, kind: str) -> Run:
        """A run of this kind with nothing in its way."""
        if KINDS[kind].by_name:  # in another warehouse, out of this session's reach; by path the rows are the same
            return self.undisturbed("append")
        if kind not in self._undisturbed:
            run = self.run(kind, f"undisturbed {kind}")
            run.again()
            self._undisturbed[kind] = run
        return self._undisturbed[kind]


def _source(spark: SparkSession) -> DataFrame:
    return spark.range(0, ROWS, 1, FILES).select(
        "id",
        F.col("id").cast("double").alias("x"),
        F.expr("IF(id % 97 = 5, NULL, id % 3)").alias("n"),  # where it is null, the row is bad
        F.concat(F.lit(MARK), F.repeat(F.sha2(F.col("id").cast("string"), 512), F.lit(4))).alias("note"),
    )


def _rows(spark: SparkSession, place: Path, *, apart: bool = False) -> Counter[Any]:
    """Rows but for what differs from run to run."""
    if not commits(place):
        return Counter()
    frame = spark.read.format("delta").load(str(place)).drop("run_id", "scored_at")
    return Counter((apart, *row) for row in frame.collect())


def commits(place: Path) -> list[Path]:
    return sorted((place / "_delta_log").glob("[0-9]*.json"))


def data_files(place: Path) -> set[Path]:
    return set(place.glob("*.parquet"))


def is_whole(file: Path) -> bool:
    """Whether a Parquet file has its end."""
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - 4))
        return size > 4 and opened.read() == b"PAR1"
