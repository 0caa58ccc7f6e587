"""Requests with secrets and values of rows in odd places; no output, error, report or commit has one of them.

Secrets are where people put them: URIs, options of a source, settings on the command line, parameters of a model, a
file that is not YAML. Values of rows are in tables, in input examples and in what a model raises.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sqlite3
import string
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import pandas as pd
import yaml
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from pyspark.sql.types import DoubleType, StringType, StructField, StructType
from sklearn.linear_model import LinearRegression

from spark_scoring import plan_job, plan_scoring, run_job
from spark_scoring.cli import main
from spark_scoring.errors import ScoringError
from spark_scoring.job import ScoringJob
from spark_scoring.plan.explain import as_text
from spark_scoring.report.run import RunReport
from spark_scoring.run.preview import preview_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

_URIS = (
    "http://user:{}@127.0.0.1:9/x",
    "http://127.0.0.1:9/x?token={}",
    "postgresql://mlflow:{}@127.0.0.1:9/db",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3DODBC%3BUID%3Du%3BPWD%3D{}",
)
_PATHS = (
    "s3a://AKIDEXAMPLE:{}@bucket/table",
    "abfss://c@account.dfs.core.windows.net/t?sv=2020&sig={}",
    "https://host/t?X-Amz-Security-Token={}",
    "/nowhere/t?password={}",
)
_OPTIONS = ("password", "sfPassword", "pem_private_key", "url", "x", "user", "dbtable", "kafka.sasl.jaas.config")
_NAMES = ("api_key", "token", "password")


class Tells(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Raises with values of a row, or a secret, in the text and in the name of the class."""

    def __init__(self, told: str, when: str) -> None:
        self.told, self.when = told, when

    def load_context(self, context: Any) -> None:
        if self.when == "loading":
            self.tell(self.told)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        if self.when == "always":
            self.tell(self.told + str(model_input.to_dict("list")))
        if self.when == "sometimes":
            for text in model_input["t"]:
                if len(str(text)) % 2:
                    self.tell(str(text))
        return model_input["x"]

    def tell(self, text: str) -> None:
        kind = type(f"Of{''.join(c for c in text if c.isalnum())}", (ValueError,), {})
        raise kind(text)


def save_teller(folder: str, told: str, when: str) -> str:
    """A model folder."""
    signature = ModelSignature(
        Schema([ColSpec("double", "x"), ColSpec("string", "t")]),
        Schema([ColSpec("double")]),
        ParamSchema([ParamSpec("api_key", "string", told)]),
    )
    quiet = Tells(told, "never")
    example = pd.DataFrame({"x": [1.5, 2.5], "t": [told, told + "q"]})
    mlflow.pyfunc.save_model(
        folder, python_model=quiet, signature=signature, input_example=example, pip_requirements=["mlflow"]
    )
    Path(folder, "python_model.pkl").write_bytes(cloudpickle.dumps(Tells(told, when)))
    return folder


class Leaks:
    """Requests drawn from a seed, and where what was planted in them came out."""

    def __init__(self, folder: Path, seed: int, spark: SparkSession | None = None) -> None:
        self.folder, self.random, self.spark = folder, random.Random(seed), spark  # noqa: S311
        self.found: list[str] = []
        self._places: dict[str, str] = {}
        """What each secret of a job is in."""
        self.asked = 0

    def ask(self, count: int) -> None:
        """Make so many requests."""
        kinds: list[Callable[[], None]] = [self._validate] * 12 + [self._broken] * 6 + [self._model] * 2
        of_spark = [self._job, self._refused, self._register, self._repair]
        for i in range(count):
            kind = self.random.choice(kinds) if self.spark is None else of_spark[i % len(of_spark)]
            kind()
            self.asked += 1

    def _secret(self) -> str:
        return "Zq" + "".join(self.random.choices(string.ascii_letters + string.digits, k=22))

    def _look(self, kind: str, planted: list[str], told: str) -> None:
        for text in planted:
            if text in told or text[-8:] in told:
                place = max(told.find(text), told.find(text[-8:]))
                self.found.append(f"{kind}: ...{told[max(0, place - 150) : place + 40]!r}")

    def _command(self, kind: str, planted: list[str], arguments: list[str]) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.suppress(SystemExit):
            main(arguments)
        self._look(f"{kind} {arguments[0]}", planted, out.getvalue())

    def _fields(self) -> tuple[dict[str, Any], list[str]]:
        """A job with secrets in it."""
        planted: list[str] = []

        def secret(template: str = "{}") -> str:
            planted.append(self._secret())
            self._places[planted[-1]] = template.format(planted[-1])
            return self._places[planted[-1]]

        pick = self.random.choice
        source: dict[str, Any] = pick([{"table": "a.b"}, {"path": secret(pick(_PATHS))}])
        if self.random.random() < 0.6:
            options = {name: secret() for name in self.random.sample(_OPTIONS, 2)}
            source = {"path": "/nowhere", "format": pick(["csv", "jdbc"]), "options": options}
        fields = {
            "model": pick(["models:/a.b.c/1", secret(pick(_PATHS)), secret("runs:/0a/m?token={}")]),
            "source": source,
            "output": pick([{"table": "a.c"}, {"path": secret(pick(_PATHS))}]),
            "tracking_uri": secret(pick(_URIS)),
            "registry_uri": secret(pick(_URIS)),
            "params": {pick(_NAMES): secret()},
        }
        return fields, [text for text in planted if text in json.dumps(fields)]

    def _validate(self) -> None:
        fields, planted = self._fields()
        if self.random.random() < 0.6:
            self._damage(fields)
        file = self.folder / "job.yml"
        file.write_text(yaml.safe_dump(fields))
        arguments = ["validate", str(file)]
        if self.random.random() < 0.5:
            planted.append(self._secret())
            name = self.random.choice(["tracking_uri", *(f"source.options.{option}" for option in _OPTIONS)])
            uri = name == "tracking_uri" or name.endswith("url")
            value = (self.random.choice(_URIS) if uri else "{}").format(planted[-1])
            arguments += ["--set", f"{name}={self.random.choice(['', '[', '{a: ', '- : '])}{value}"]
        self._command("wrong fields", planted, arguments)

    def _damage(self, fields: dict[str, Any]) -> None:
        """Something that a job does not take."""
        name = self.random.choice(list(fields))
        wrong = self.random.choice([lambda v: [v], lambda v: {"x": v}, lambda v: {v: 1} if isinstance(v, str) else 7])
        where = self.random.choice([fields, fields["source"]])
        name = name if name in where else self.random.choice(list(where))
        where[name] = wrong(where[name])
        if self.random.random() < 0.3:
            fields["timeout"] = fields["bad_rows"] = fields["policy"] = fields["tracking_uri"]

    def _broken(self) -> None:
        fields, planted = self._fields()
        text = yaml.safe_dump(fields)
        for _ in range(self.random.randint(1, 3)):
            place = self.random.randrange(len(text))
            bad = self.random.choice(["[", "{", ": ", "\t", "\x00", "'", '"', "\n", "&", "*", "!", "%", "\n- ", "@"])
            text = text[:place] + bad + text[place + self.random.randint(0, 1) :]
        file = self.folder / "job.yml"
        file.write_text(text)
        try:
            ScoringJob.from_yaml(file)
        except ScoringError as error:
            self._look("broken file, error", planted, f"{error} {error!r}")
        else:  # it is whole after all: another name than that of a secret may be told with its value
            planted = [secret for secret in planted if self._places[secret] in text]
        self._command("broken file", planted, ["validate", str(file)])

    def _model(self) -> None:
        """The doctor and the plan of a model that tells, or of one on a server that is not there."""
        told = self._secret()
        if self.random.random() < 0.3:
            uri = self.random.choice(_URIS[:2]).format(told)
            self._command("server", [told], ["doctor", "models:/a.b.c/1", "--tracking-uri", uri])
            return
        place = save_teller(
            str(self.folder / f"model{self.asked}"), told, self.random.choice(["loading", "always", "sometimes"])
        )
        self._command("model", [told], ["doctor", place, *self.random.choice([[], ["--json"]])])
        schema = StructType([StructField("x", DoubleType()), StructField("t", StringType())])
        try:
            plan = plan_scoring(place, schema, params={"api_key": told + "x"})
            self._look("model, plan", [told], plan.explain() + json.dumps(plan.to_dict()) + plan.to_html())
        except ScoringError as error:
            self._look("model, plan error", [told], f"{error} {error!r}")

    def _job(self) -> None:
        """A whole job over rows that are easy to find."""
        assert self.spark is not None
        told = self._secret()
        place = self.folder / f"job{self.asked}"
        model = save_teller(str(place / "model"), told, self.random.choice(["never", "sometimes", "always"]))
        rows = [(float(i), f"{told}{'x' * i}") for i in range(6)]
        frame = self.spark.createDataFrame(rows, "x double, t string")
        as_csv = self.random.random() < 0.5
        frame.write.format("csv" if as_csv else "delta").options(header=True).save(str(place / "in"))
        options = {"header": True, "password": told, "x": told}
        read = {"format": "csv", "schema": "x double, t string", "options": options} if as_csv else {}
        wrong = {} if self.random.random() < 0.7 else {"x": self.random.choice(["double(t)", "x / (t - t)", "nope"])}
        job = ScoringJob.from_dict(
            {
                "model": model,
                "source": {"path": str(place / "in"), **read},
                "output": {"path": str(place / "out"), "keep": ["x"]},
                "columns": wrong,
                "params": {"api_key": told},
                "bad_rows": self.random.choice(["keep", "fail", "quarantine"]),
                "rehearse": self.random.random() < 0.5,
            }
        )
        for text in self._told_of(job):
            self._look("job", [told], text)
        out = str(place / "out")
        if Path(out, "_delta_log").exists():
            logs = "".join(file.read_text() for file in Path(out, "_delta_log").glob("*.json"))
            self._look("commit", [told], "\n".join(line for line in logs.splitlines() if "commitInfo" in line))
            self._command("history", [told], ["history", out, *self.random.choice([[], ["--json"]])])

    def _told_of(self, job: ScoringJob) -> Iterator[str]:
        steps: list[Callable[[Any], Any]] = [lambda plan: preview_rows(plan, 3) and "", run_job]
        try:
            plan = plan_job(job, self.spark)
        except ScoringError as error:
            yield f"{error} {error!r}"
            return
        yield plan.explain() + json.dumps(plan.to_dict()) + plan.to_html()
        for step in steps:
            try:
                report = step(plan)
            except ScoringError as error:
                yield f"{error} {error!r}"
                continue
            if isinstance(report, RunReport):
                yield as_text(report.view()) + json.dumps(report.to_dict())

    def _rows(self, place: Path, told: str) -> str:
        """A table whose texts are easy to find."""
        assert self.spark is not None
        rows = [(float(i), f"{told}{'x' * i}") for i in range(6)]
        self.spark.createDataFrame(rows, "x double, t string").write.format("delta").save(str(place / "in"))
        return str(place / "in")

    def _refused(self) -> None:
        """A job whose rows Spark or the output's table refuses; then what it did before is looked at and taken back."""
        assert self.spark is not None
        told = self._secret()
        place = self.folder / f"refused{self.asked}"
        model, out = save_teller(str(place / "model"), told, "never"), str(place / "out")
        fields: dict[str, Any] = {
            "model": model,
            "source": {"path": self._rows(place, told)},
            "output": {"path": out, "keep": ["x", "t"]},
            "rehearse": False,
        }
        self.spark.udf.register("tells", _tells, "double")
        way = self.random.choice(sorted({*_BAD_SQL, *_BAD_TABLES, "replace_where", "key"}))
        run_id = None
        if way not in _BAD_SQL:  # a run of before, and a table that takes none of the rows
            first = {**fields, "source": {**fields["source"], "where": "x < 0"}}
            run_id = run_job(ScoringJob.from_dict(first), self.spark).run_id
        if way in _BAD_TABLES:
            self.spark.sql(_BAD_TABLES[way].format(f"delta.`{out}`"))
        elif way == "replace_where":
            fields["output"] |= {"mode": "overwrite", "replace_where": "t = 'a'"}
        elif way == "key":
            fields["output"] |= {"mode": "merge", "key": ["t"]}
            fields["source"] = {"path": self._twice(place)}
        elif self.random.random() < 0.5:
            fields["source"]["where"] = f"{_BAD_SQL[way]} IS NOT NULL"
        else:
            fields["columns"] = {"x": f"double({_BAD_SQL[way]})"}
        for text in self._told_of(ScoringJob.from_dict(fields)):
            self._look(f"refused, {way}", [told], text)
        file = place / "job.yml"
        file.write_text(yaml.safe_dump(fields))
        self._command(f"refused, {way}", [told], ["score", str(file), *self.random.choice([[], ["--quiet"]])])
        if run_id is not None:
            for command in (["history", out, "--json"], ["rollback", out, run_id[:8]], ["rollback", out, told]):
                self._command(f"refused, {way}", [told] if told not in command else [], command)

    def _twice(self, place: Path) -> str:
        assert self.spark is not None
        frame = self.spark.read.format("delta").load(str(place / "in"))
        frame.union(frame).write.format("delta").save(str(place / "twice"))
        return str(place / "twice")

    def _register(self) -> None:
        """A training job with secrets and values of rows where it has a place for them; what MLflow keeps of it."""
        told, pick = self._secret(), self.random.choice
        place = self.folder / f"register{self.asked}"
        database = place / "mlflow.db"
        place.mkdir()
        fields: dict[str, Any] = {
            "name": "main.leaks.line",
            "task": "regression",
            "source": {"path": self._rows(place, told)},
            "features": ["x"],
            "label": "x * 2",
            "estimator": f"{__name__}:Keyed",
            "params": {"api_key": told},
            "tags": {"password": told, "origin": _URIS[2].format(told)},
            "experiment": "leaks",
            "artifact_location": str(place / "artifacts"),
            "tracking_uri": f"sqlite:///{database}",
            "registry_uri": f"sqlite:///{database}",
            "pip_requirements": ["mlflow", "scikit-learn"],
            "verify": "here",
        }
        bad = _BAD_SQL[pick(["cast", "raise", "assert"])]
        fields |= pick(
            [
                {},
                {},
                {"params": {"api_key": told, "fails": "new"}},
                {"params": {"api_key": told, "fails": "fit"}},
                {"params": {"api_key": told, "solver": told}},
                {"label": f"double({bad})"},
                {"features": {"x": {"sql": f"double({bad})"}}},
                {"validation": f"{bad} IS NULL"},
                {"weights": f"double({bad})"},
                {"order_by": [bad]},
                {"task": "binary", "label": "t"},
                {"tracking_uri": pick(_URIS).format(told)},
                {"artifact_location": f"s3://AKID:{told}@bucket/x"},
                {"source": {**fields["source"], "where": f"{bad} IS NULL"}},
                {"source": {"path": pick(_PATHS).format(told)}},
            ]
        )
        mlflow.MlflowClient(f"sqlite:///{database}").search_experiments()  # makes it
        file = place / "train.yml"
        file.write_text(yaml.safe_dump(fields))
        self._command(f"register {fields}", [told], ["register", str(file), *pick([[], ["--json"]])])
        kept = "\n".join(sqlite3.connect(database).iterdump())
        self._look(f"register {fields}, MLflow", [told], kept)

    def _repair(self) -> None:
        """A model that is registered again, from rows or with expressions that Spark refuses."""
        told, pick = self._secret(), self.random.choice
        place = self.folder / f"repair{self.asked}"
        model = save_teller(str(place / "model"), told, pick(["never", "always", "sometimes", "loading"]))
        database = f"sqlite:///{place}/mlflow.db"
        mlflow.MlflowClient(database).search_experiments()
        bad = _BAD_SQL[pick(["cast", "raise", "assert"])]
        options = pick(
            [
                [],
                ["--where", f"{bad} IS NULL"],
                ["--column", f"x=double({bad})"],
                ["--type", "t=double"],
                ["--type", "x=long", "--column", f"x={bad}"],
                ["--alias", "one/two"],
            ]
        )
        example = pick([self._rows(place, told), pick(_PATHS).format(told)])
        servers = pick([database, database, pick(_URIS).format(told)])
        arguments = [model, "--example", example, "--name", "main.leaks.line", "--tracking-uri", servers, *options]
        self._command(f"repair {arguments}", [told], ["repair", *arguments, "--registry-uri", database])
        kept = "\n".join(sqlite3.connect(place / "mlflow.db").iterdump())
        self._look("repair, MLflow", [told], kept)


_BAD_SQL = {
    "cast": "CAST(t AS INT)",
    "date": "to_date(t, 'yyyy')",
    "raise": "raise_error(t)",
    "assert": "assert_true(x < 0, t)",
    "map": "element_at(map('a', 1), t)",
    "udf": "tells(t)",
    "json": "from_json(t, 'a INT', map('mode', 'FAILFAST')).a",
}
"""What Spark raises on, with the value of a row in its text."""
_BAD_TABLES = {
    "check": "ALTER TABLE {} ADD CONSTRAINT short CHECK (length(t) < 5)",
    "not null": "ALTER TABLE {} ADD CONSTRAINT none CHECK (t IS NULL)",
}


def _tells(text: str) -> float:
    raise ValueError(text)


class Keyed(LinearRegression):  # type: ignore[misc]
    """Takes a key, and tells it."""

    def __init__(self, api_key: str = "", fails: str = "", solver: str = "") -> None:
        super().__init__()
        self.api_key, self.fails, self.solver = api_key, fails, solver
        if fails == "new":
            raise ValueError(api_key)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        if self.fails == "fit":
            raise ValueError(self.api_key + str(X))
        return super().fit(X, y, sample_weight)
