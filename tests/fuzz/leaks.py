"""Requests with secrets and values of rows in odd places; no output, error, report or commit has one of them.

Secrets are where people put them: URIs, options of a source, settings on the command line, parameters of a model, a
file that is not YAML. Values of rows are in tables, in input examples and in what a model raises.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
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

from spark_scoring import plan_job, plan_scoring, run_job
from spark_scoring.cli import main
from spark_scoring.errors import ScoringError
from spark_scoring.job import ScoringJob
from spark_scoring.plan.explain import as_text
from spark_scoring.report.run import RunReport
from spark_scoring.running import preview_rows

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
        if self.spark is not None:
            kinds = [self._job]
        for _ in range(count):
            self.random.choice(kinds)()
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
