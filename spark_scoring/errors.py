"""Every error of the package: what is wrong, why, and what to do about it.

An error carries one or more problems, so that a request's faults come all at once. A wrong request
(``RequestError``, exit status 2) is raised on the driver before a row is read; a failed run (``RunError``,
exit status 1) has committed nothing unless it says so. Texts name things and reasons, never row values.
"""

from __future__ import annotations

import difflib
import re
import shlex
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_SHOWN = 12
_SILENT_FIX = (
    "check its URI, and that it is up and can be reached from here; to wait longer, set "
    "MLFLOW_HTTP_REQUEST_TIMEOUT (seconds) or MLFLOW_HTTP_REQUEST_MAX_RETRIES: then MLflow decides"
)
EACH_TARGET = (
    "register a model for each target: fit it on Y[:, 0], and so on; "
    "of a MultiOutputClassifier, register model.estimators_[0], and so on"
)


@dataclass(frozen=True)
class Problem:
    """One fault: the thing that has it, its cause, and the fix."""

    thing: str
    cause: str
    fix: str
    code: str = ""
    """Of ``registration.findings``, where the doctor has one for it."""

    def __post_init__(self) -> None:
        for name in ("thing", "cause", "fix"):
            object.__setattr__(self, name, redact(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.thing}: {self.cause}\n   fix: {self.fix}"


class ScoringError(Exception):
    """Base of every error of this package; ``problems`` holds its faults in order."""

    exit_status = 1
    title = "scoring failed"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = [f"{self.title}: {len(self.problems)} problems"]
        lines += [f"{n:2}. " + str(p).replace("\n", "\n ") for n, p in enumerate(self.problems, start=1)]
        return "\n".join(lines)


class RequestError(ScoringError):
    """The request cannot be carried out as it stands; nothing was read or written."""

    exit_status = 2
    title = "this request cannot be carried out"

    @classmethod
    def variable(cls, name: str) -> RequestError:
        cause = "Spark puts a variable's value in the place of ${...} in SQL, so the name may come to mean another"
        return cls([Problem(f"name {name}", cause, "take a name without ${...}")])

    @classmethod
    def not_a_model(cls, kind: str, *, has_uri: bool) -> RequestError:
        fix = (
            "give its uri, such as registered.uri"
            if has_uri
            else "give its URI, such as models:/main.ml.delay@champion"
        )
        return cls([Problem("model", f"it is {kind}, and not the URI of a model", fix)])

    @classmethod
    def not_a_frame(cls, kind: str, fix: str) -> RequestError:
        return cls([Problem("df", f"it is {kind}, and not a DataFrame of Spark's", fix)])

    @classmethod
    def swapped(cls, call: str) -> RequestError:
        return cls([Problem(call.split("(", maxsplit=1)[0], "its two arguments are swapped", f"write {call}")])

    @classmethod
    def not_a_job(cls, kind: str, *, is_swapped: bool) -> RequestError:
        cause = "job and session are swapped" if is_swapped else f"it is {kind}, and not a job"
        fix = (
            "write run_job(job, spark)" if is_swapped else "give a ScoringJob, a mapping of its fields, or a YAML file"
        )
        return cls([Problem("job", cause, fix)])

    @classmethod
    def params_of_a_file(cls) -> RequestError:
        cause = "they fill the open places of a job file, and the job is not given as one"
        return cls([Problem("params", cause, 'give the file: run_job("job.yml", params={...})')])


class RunError(ScoringError):
    """The run failed; nothing was committed unless the text says so."""


class SessionError(RequestError):
    """No usable Spark session."""

    @classmethod
    def no_pyspark(cls) -> SessionError:
        return cls([Problem("Spark", "pyspark is not installed here", "pip install 'spark-scoring[local]'")])

    @classmethod
    def no_delta_package(cls) -> SessionError:
        return cls([Problem("Delta", "delta-spark is not installed here", "pip install 'spark-scoring[local]'")])

    @classmethod
    def no_java(cls) -> SessionError:
        cause = "the Java process of Spark did not start"
        fix = "install a Java 17 (or newer) runtime and set JAVA_HOME to it, or put its java on PATH"
        return cls([Problem("Spark", cause, fix)])

    @classmethod
    def no_delta_jars(cls, spark_version: str, package: str) -> SessionError:
        fix = (
            f"spark-submit --packages {package} ..., "
            "with Delta's spark.sql.extensions and spark.sql.catalog.spark_catalog settings on a cluster; "
            "spark-defaults.conf can hold all three"
        )
        return cls([Problem("Delta", f"the Spark {spark_version} session was started without Delta", fix)])


class TableNameError(RequestError):
    """A name that is not a table's name here."""

    @classmethod
    def malformed(cls, name: str) -> TableNameError:
        fix = "write table, schema.table or catalog.schema.table; parts with other characters in `backticks`"
        return cls([Problem(f"table {name!r}", "not a table name of one to three parts", fix)])

    @classmethod
    def unknown_catalog(cls, name: str, catalog: str) -> TableNameError:
        fix = "SHOW CATALOGS lists those that exist and that you may use"
        return cls([Problem(f"table {name!r}", f"this session knows no catalog {catalog!r}", fix)])

    @classmethod
    def unusual(cls, name: str) -> TableNameError:
        cause = "Spark's own catalog takes names of plain letters (a-z), digits and underscores only"
        fix = "give it such a name; a job's source and output may have a path instead, of any characters"
        return cls([Problem(f"table {name!r}", cause, fix)])


class JobError(RequestError):
    """The job file or a setting of it is wrong."""

    title = "the job is not valid"

    @classmethod
    def unreadable(cls, path: str, cause: str) -> JobError:
        fix = "give the path of a job file; spark-scoring init MODEL TABLE writes one"
        return cls([Problem(f"job file {path}", cause, fix)])

    @classmethod
    def not_yaml(cls, path: str, cause: str) -> JobError:
        return cls([Problem(f"job file {path}", f"it is not YAML: {cause}", "correct the file at that place")])

    @classmethod
    def no_fields(cls, path: str) -> JobError:
        fix = "write model: ..., source: ... and output: ... into it; spark-scoring init MODEL TABLE does"
        return cls([Problem(f"job file {path}", "it holds no fields", fix)])

    @classmethod
    def not_allowed(cls, thing: str, why: str, origin: str, patterns: Sequence[str]) -> JobError:
        cause = f"{origin} does not allow it{why and f': {why}'}; it was not called"
        return cls([Problem(thing, cause, f"take one of {listed(patterns)}, or ask whoever set them")])

    @classmethod
    def file_exists(cls, file: str) -> JobError:
        return cls(
            [Problem(f"job file {file}", "it is there already", "give another --file, or --force to write over it")]
        )

    @classmethod
    def frozen(cls, name: str) -> JobError:
        fix = f"make another: ScoringJob.from_dict({{**job.model_dump(by_alias=True), {name!r}: ...}})"
        return cls([Problem(name, "a job does not change once it is made", fix)])

    @classmethod
    def restricted(cls, thing: str, cause: str, switch: str) -> JobError:
        fix = (
            "write it with columns and Spark's own functions alone, or let a view or a table have what it computes; "
            "spark-scoring docs trust --show says what is allowed"
        )
        return cls([Problem(thing, f"{cause}: {switch} does not allow it", fix)])

    @classmethod
    def bad_switch(cls, switch: str, known: Sequence[str]) -> JobError:
        return cls([Problem(switch, "its value is not one that it knows", f"set it to one of {listed(known)}")])

    @classmethod
    def bad_setting(cls, text: str) -> JobError:
        """The value is not told: it may be a secret, whatever the field is called."""
        name, equals, _ = text.partition("=")
        cause = "its value is not YAML" if equals and name.strip(". ") else "not of the form field=value"
        fix = "write --set field=value, such as --set source.table=main.gold.flights; a text with marks in quotes"
        return cls([Problem(f"--set {name}", cause, fix)])

    @classmethod
    def undefined_parameter(cls, place: str, written: str, name: str) -> JobError:
        fix = f"give --param {name}=VALUE (in Python: params={{{name!r}: ...}}), or set the environment variable {name}"
        return cls([Problem(place, f"{written} has no value", fix)])

    @classmethod
    def unused_parameter(cls, name: str, used: Sequence[str]) -> JobError:
        fix = (
            near_fix(name, used, what="its parameters")
            or f"write :{name} in SQL, without quotes, or ${{{name}}} in names; or leave it out"
        )
        return cls([Problem(f"parameter {name}", "the job has no place for it", fix)])

    @classmethod
    def variable_in_sql(cls, place: str, name: str) -> JobError:
        cause = f"${{{name}}} would become a part of the SQL, whatever its text is"
        return cls([Problem(place, cause, f"write :{name}, without quotes around it: SQL then takes it as a value")])

    @classmethod
    def bad_parameter(cls, name: str, cause: str) -> JobError:
        fix = "give text, a number, true or false, a date (2026-11-25) or a time (2026-11-25T10:00:00, UTC)"
        return cls([Problem(f"parameter {name}", cause, fix)])

    @classmethod
    def bad_levels(cls, feature: str, cause: str) -> JobError:
        fix = f"write categories: {{{feature}: [<the values in the order of training>]}}"
        return cls([Problem(f"categories: {feature}", cause, fix)])


class ModelError(RequestError):
    """The model cannot be found, read or scored."""

    @classmethod
    def bad_uri(cls, uri: str, near: str | None = None) -> ModelError:
        fix = (
            "write models:/name/version, models:/name@alias, models:/name/latest, models:/name, "
            "models:/m-<id>, runs:/<run id>/<path>, the path of a model folder, or an artifact URI that MLflow fetches "
            "(s3:, gs:, abfss:, wasbs:, dbfs:, hdfs:, mlflow-artifacts:, ...)"
        )
        hint = "" if near is None else f"did you mean {near}? else "
        return cls([Problem(f"model {uri!r}", "not a model URI", hint + fix)])

    @classmethod
    def leads_elsewhere(cls, uri: str) -> ModelError:
        cause = "a part of its path is '..', so that its text does not say where it leads"
        return cls([Problem(f"model {uri!r}", cause, "write the path without it")])

    @classmethod
    def no_stages(cls, uri: str, name: str, stage: str, registry: str) -> ModelError:
        cause = f"{stage} is a stage, and the registry {registry} has none: Unity Catalog has aliases"
        fix = f"write models:/{name}/<version>, or models:/{name}@<alias> with an alias that a version has"
        return cls([Problem(f"model {uri!r}", cause, fix)])

    @classmethod
    def empty_stage(cls, uri: str, name: str, stage: str, held: Mapping[str, Sequence[str]]) -> ModelError:
        known = "; ".join(f"{other}: {listed(versions)}" for other, versions in held.items())
        fix = f"stages and their versions: {known}" if known else "register a version first"
        return cls([Problem(f"model {uri!r}", f"model {name!r} has no version in stage {stage}", fix)])

    @classmethod
    def not_a_version(
        cls, uri: str, name: str, word: str, stages: Sequence[str], aliases: Sequence[str], versions: Sequence[str]
    ) -> ModelError:
        tails = {f"v{v}": f"/{v}" for v in versions} | {t.lower(): f"/{t}" for t in ("latest", *stages)}
        tails |= {alias.lower(): f"@{alias}" for alias in aliases}
        near = difflib.get_close_matches(word.lower(), tails, n=1, cutoff=0.55)  # prod is near production
        hint = f"did you mean models:/{name}{tails[near[0]]}? " if near else ""
        known = f"versions: {listed(versions) or None}; aliases: {listed(aliases) or None}; stages: {listed(stages)}"
        cause = f"{word!r} is not a version number, a stage or 'latest'"
        return cls([Problem(f"model {uri!r}", cause, hint + known)])

    @classmethod
    def no_model(cls, uri: str, name: str, registry: str, others: Sequence[str]) -> ModelError:
        fix = near_fix(name, others, what="registered models") or "check the name and the registry URI"
        return cls([Problem(f"model {uri!r}", f"no registered model {name!r} in {registry}", fix)])

    @classmethod
    def no_version(cls, uri: str, name: str, version: str, versions: Sequence[str]) -> ModelError:
        fix = f"versions that exist: {listed(versions)}" if versions else "register a version first"
        return cls([Problem(f"model {uri!r}", f"model {name!r} has no version {version}", fix)])

    @classmethod
    def no_versions(cls, uri: str, name: str) -> ModelError:
        return cls([Problem(f"model {uri!r}", f"model {name!r} has no version yet", "register a version first")])

    @classmethod
    def no_alias(cls, uri: str, name: str, alias: str, aliases: Sequence[str], versions: Sequence[str]) -> ModelError:
        known = f"aliases that exist: {listed(aliases)}" if aliases else "the model has no alias"
        fix = f"{known}; versions: {listed(versions)}"
        return cls([Problem(f"model {uri!r}", f"model {name!r} has no alias {alias!r}", fix)])

    @classmethod
    def no_artifact(cls, uri: str, cause: str) -> ModelError:
        fix = "check that the run or path exists and holds an MLmodel file, and that the tracking URI is the right one"
        return cls([Problem(f"model {uri!r}", cause, fix)])

    @classmethod
    def plain_name(cls, name: str) -> ModelError:
        fix = f"a registered model is models:/{name}/1 or models:/{name}@<alias>; a folder needs an MLmodel file"
        return cls([Problem(f"model {name!r}", "it is neither a model's URI nor a folder", fix)])

    @classmethod
    def not_fetched(cls, uri: str, cause: str) -> ModelError:
        fix = (
            "check the path and the credentials of its storage; mlflow-artifacts: needs a tracking URI of http(s), and "
            "http(s): is one of an MLflow server: http://host/api/2.0/mlflow-artifacts/artifacts/<path>"
        )
        return cls([Problem(f"model {uri!r}", cause, fix)])

    @classmethod
    def no_storage_client(cls, uri: str, cause: str, packages: str) -> ModelError:
        return cls([Problem(f"model {uri!r}", cause, f"pip install {packages}")])

    @classmethod
    def registry_failed(cls, uri: str, registry: str, cause: str) -> ModelError:
        fix = "check the registry and tracking URI and the credentials"
        return cls([Problem(f"model {uri!r}", f"the registry {registry} answered: {cause}", fix)])

    @classmethod
    def registry_silent(cls, uri: str, server: str, cause: str) -> ModelError:
        return cls([Problem(f"model {uri!r}", f"asked {server}, but {cause}", _SILENT_FIX)])

    @classmethod
    def no_registry_file(cls, uri: str, file: str) -> ModelError:
        fix = "set tracking_uri in the job (relative to the working directory), or MLFLOW_TRACKING_URI"
        return cls([Problem(f"model {uri!r}", f"there is no registry file {file}", fix)])

    @classmethod
    def no_mlflow(cls) -> ModelError:
        return cls([Problem("MLflow", "mlflow is not installed here", "pip install 'spark-scoring[local]'")])

    @classmethod
    def no_signature(cls, uri: str) -> ModelError:
        fix = (
            "log the model again with a signature: "
            "log_model(..., signature=infer_signature(X, model.predict(X)), input_example=X.head()); "
            f"or have one made from a table with its features: {_repair(uri)}"
        )
        cause = "it was logged without a signature, so its input types are unknown"
        return cls([Problem(f"model {uri!r}", cause, fix)])

    @classmethod
    def spark_ml(cls, uri: str) -> ModelError:
        cause = "a Spark ML model needs a Spark session to predict, and Python workers have none"
        fix = "score it in Spark itself: mlflow.spark.load_model(uri).transform(df)"
        return cls([Problem(f"model {uri!r}", cause, fix)])

    @classmethod
    def no_outputs(cls, uri: str) -> ModelError:
        fix = (
            "log the model again with both halves: signature=infer_signature(X, model.predict(X)), "
            "or with input_example=X.head(), from which the outputs are inferred; "
            f"or have them made from a table with its features: {_repair(uri)}"
        )
        return cls([Problem(f"model {uri!r}", "its signature has only inputs, and no input example was saved", fix)])

    @classmethod
    def outputs_not_inferable(cls, uri: str, cause: str) -> ModelError:
        fix = "log the model again with signature=infer_signature(X, model.predict(X))"
        text = f"its signature has only inputs, and predicting on its saved input example failed: {cause}"
        return cls([Problem(f"model {uri!r}", text, fix)])

    @classmethod
    def bad_server(cls, name: str, uri: str, cause: str) -> ModelError:
        fix = "write it like postgresql://user:password@host:5432/mlflow"
        return cls([Problem(f"{name} {uri}", f"it is not a URI: {cause}", fix)])

    @classmethod
    def no_cache(cls, folder: str | None, cause: str) -> ModelError:
        fix = "set SPARK_SCORING_CACHE to a folder that can be written"
        return cls([Problem("model cache" if folder is None else f"model cache {folder}", cause, fix)])

    @classmethod
    def unreadable(cls, uri: str, cause: str) -> ModelError:
        fix = "log the model again, or update mlflow if a newer one wrote it"
        return cls([Problem(f"model {uri!r}", f"its MLmodel file cannot be read: {cause}", fix)])

    @classmethod
    def bad_feature_spec(cls, uri: str, cause: str) -> ModelError:
        fix = "log the model again through a feature client's log_model"
        return cls([Problem(f"model {uri!r}", f"its feature_spec.yaml cannot be used: {cause}", fix)])

    @classmethod
    def needs_lookups(cls, features: Sequence[str]) -> ModelError:
        cause = f"it takes features that these rows do not have: {listed(features)}"
        fix = "score it in Spark from keys (spark_scoring.score_batch or a feature client), or give it all of them"
        return cls([Problem("model with feature lookups", cause, fix)])

    @classmethod
    def outputs_unknown(cls, name: str) -> ModelError:
        fix = "give output_schema=, or infer_input_example=True, or a training set with a label of a plain type"
        return cls([Problem(f"model {name!r}", "nothing says what it returns", fix)])

    @classmethod
    def no_environments(cls, env_manager: str) -> ModelError:
        fix = "install what it needs on driver and workers, and leave env_manager out"
        return cls([Problem(f"env_manager {env_manager!r}", "only local environments are scored in here", fix)])

    @classmethod
    def result_type(cls, own: str, wanted: str) -> ModelError:
        fix = f"give result_type={own!r}"
        return cls([Problem(f"result_type {wanted}", f"it cannot hold the model's predictions, which are {own}", fix)])

    @classmethod
    def no_input_type(cls, uri: str, column: str, type_: str | None) -> ModelError:
        cause = f"neither its own signature nor its feature spec says what type its input {column!r} has"
        if type_ is not None:
            cause = f"its own signature lacks inputs, and no model takes its input {column!r} as {type_}"
        fix = "log the model again with signature=infer_signature(X, model.predict(X)) beside the training set"
        return cls([Problem(f"model {uri!r}", cause, fix)])

    @classmethod
    def not_loadable(cls, uri: str, cause: str) -> ModelError:
        fix = "install what the model's requirements.txt lists, in the versions it lists"
        return cls([Problem(f"model {uri!r}", f"it does not load in this environment: {cause}", fix)])

    @classmethod
    def ends_process(cls, uri: str) -> ModelError:
        cause = "while it loads, it ends the process that loads it (sys.exit or os._exit)"
        return cls([Problem(f"model {uri!r}", cause, "let it raise an error instead, and log it again")])

    @classmethod
    def not_allowed(cls, name: str, origin: str, patterns: Sequence[str]) -> ModelError:
        fix = f"score one that they match ({listed(patterns)}), or ask whoever set them"
        return cls([Problem(f"model {name!r}", f"the patterns of {origin} do not allow it; it was not loaded", fix)])

    @classmethod
    def no_patterns(cls, variable: str) -> ModelError:
        fix = f"name what it allows, such as {variable}='main.ml.*', or unset it"
        return cls([Problem(variable, "it is set and holds no pattern", fix)])

    @classmethod
    def other_registry(cls, name: str, server: str, variable: str) -> ModelError:
        cause = f"it is asked for at {server}, which is not a registry of this environment; nothing was fetched"
        fix = f"leave tracking_uri and registry_uri out, or ask whoever set the patterns to name it in {variable}"
        return cls([Problem(f"model {name!r}", cause, fix)])

    @classmethod
    def hidden_host(cls, uri: str) -> ModelError:
        cause = "it has an at-sign behind its host, so its text does not say where it leads; nothing was fetched"
        fix = "write at-signs and slashes of a password as %40 and %2F"
        return cls([Problem(f"model {uri!r}", cause, fix)])

    @classmethod
    def not_plain(cls, uri: str) -> ModelError:
        cause = "a part of its path is empty, '.' or '..', or holds one of \\ ? # %, so it may lead out of the run"
        return cls([Problem(f"model {uri!r}", cause, "write runs:/<run id>/<path> with the plain names of the run")])

    @classmethod
    def other_digest(cls, name: str, expected: str, digest: str) -> ModelError:
        cause = f"its artifact's digest is {digest}, not {expected}; it was not loaded"
        fix = "find out who changed it; if it is right, set expect_digest to the new one"
        return cls([Problem(f"model {name!r}", cause, fix)])

    @classmethod
    def unsafe(cls, name: str, cause: str, fix: str) -> ModelError:
        return cls([Problem(f"model {name!r}", f"{cause}; it was not loaded", fix)])

    @classmethod
    def not_copied(cls, uri: str, cause: str) -> ModelError:
        fix = "see that all of its files can be read, and that there is space in SPARK_SCORING_CACHE's folder"
        return cls([Problem(f"model {uri!r}", f"it cannot be copied: {cause}", fix)])


class RegistrationError(RequestError):
    """The model cannot be registered as it stands; nothing was registered."""

    title = "this model cannot be registered"

    @classmethod
    def outputs_differ(cls, task: str, wanted: str, got: str, cause: str, fix: str = "") -> RegistrationError:
        fix = fix or "give the task that the model was trained for, or the predictions that the task has"
        text = f"the task says {wanted}; the model returned {got} for rows of the training frame: {cause}"
        return cls([Problem(f"task {task}", text, fix, "outputs-differ")])

    @classmethod
    def schema_differs(cls, schema: str, got: str) -> RegistrationError:
        fix = "give the schema of what the model returns: infer_signature(X, model.predict(X)).outputs; or give task"
        cause = f"it says {schema}; the model returned {got} for rows of the training frame"
        return cls([Problem("output schema", cause, fix)])

    @classmethod
    def no_outputs(cls, cause: str) -> RegistrationError:
        fix = "give task='...' (such as regression or anomaly_detection), or output_schema=Schema([...])"
        return cls([Problem("output schema", cause, fix)])

    @classmethod
    def example_is_other_object(cls, given: str, trained: str) -> RegistrationError:
        fix = "leave it out: the head of the training frame is the example"
        return cls([Problem("input example", f"it is a {given}, the model was trained on a {trained}", fix)])

    @classmethod
    def example_differs(cls, differences: Sequence[str]) -> RegistrationError:
        shown = "\n      ".join(differences[:_SHOWN])
        fix = (
            "leave it out: the head of the training frame is the example; or take rows of that frame: X.iloc[[...]]. "
            "A frame built anew from values loses its dtypes"
        )
        return cls([Problem("input example", f"it is not of the training frame's dtypes:\n      {shown}", fix)])

    @classmethod
    def no_table(cls, cause: str) -> RegistrationError:
        fix = "give a Spark DataFrame, or pandas columns of numbers, text, booleans and times, each of one type"
        return cls([Problem("input example", f"Spark cannot hold the pandas DataFrame: {cause}", fix)])

    @classmethod
    def no_flavor(cls, kind: str, flavors: Sequence[str]) -> RegistrationError:
        fix = f"give it: flavor='...' (one of {', '.join(flavors)}), or wrap the model in an mlflow.pyfunc.PythonModel"
        return cls([Problem("flavor", f"none was given, and MLflow has none for a {kind}", fix, "no-flavor")])

    @classmethod
    def unknown_flavor(cls, flavor: str, flavors: Sequence[str]) -> RegistrationError:
        fix = near_fix(flavor, flavors, what="flavors") or "leave it out"
        return cls([Problem(f"flavor {flavor!r}", "MLflow has no such flavor", fix)])

    @classmethod
    def spark_ml(cls, kind: str) -> RegistrationError:
        fix = "log it with mlflow.spark.log_model, and score it in Spark itself: mlflow.spark.load_model(uri).transform"
        cause = f"it is a {kind}, which needs a Spark session to predict"
        return cls([Problem("model", cause, fix, "not-registrable")])

    @classmethod
    def predict_failed(cls, kind: str) -> RegistrationError:
        if kind.endswith("NotFittedError"):
            return cls.not_trained("it")
        fix = (
            "give the frame that the model was trained on; its own text, which may hold values, is in the chained error"
        )
        return cls([Problem("training frame", f"the model raised {kind} on rows of it", fix, "example-fails")])

    @classmethod
    def not_trained(cls, kind: str) -> RegistrationError:
        fix = "train it first, model.fit(X, y); of statsmodels, register the results that fit() returns"
        return cls([Problem("model", f"{kind} is not trained", fix, "not-registrable")])

    @classmethod
    def is_class(cls, name: str) -> RegistrationError:
        fix = f"train an object of it: {name}().fit(X, y)"
        return cls([Problem("model", f"{name} is a class and not a trained model", fix, "not-registrable")])

    @classmethod
    def no_rows(cls, kind: str) -> RegistrationError:
        cause = f"{kind} goes on with the series that it was trained on, and does not predict rows of a table"
        fix = "write the forecast to a table with pandas; or wrap it in an mlflow.pyfunc.PythonModel that takes rows"
        return cls([Problem("model", cause, fix, "not-registrable")])

    @classmethod
    def no_method(cls, kind: str, method: str, others: Sequence[str], fix: str) -> RegistrationError:
        has = f"; it has {listed(others)}" if others else ""
        only = ", for the rows that it was trained on" if others == ["fit_predict"] else ""
        return cls([Problem("model", f"{kind} has no {method}{has}{only}", fix, "not-registrable")])

    @classmethod
    def no_predict_fn(cls, method: str, known: Sequence[str]) -> RegistrationError:
        cause = f"MLflow's loaded model calls {listed(known)} only"
        fix = (
            f"register a function: register_model(lambda X: model.{method}(X), X, flavor='pyfunc', "
            "task='regression', name=...)"
        )
        return cls([Problem(f"options: pyfunc_predict_fn {method!r}", cause, fix)])

    @classmethod
    def flavor_loses(cls, flavor: str, lost: str) -> RegistrationError:
        cause = f"it does not write {lost}, so that the loaded model would be another"
        return cls([Problem(f"flavor {flavor!r}", cause, "leave it out, or give flavor='sklearn', which writes all")])

    @classmethod
    def not_for_skops(cls) -> RegistrationError:
        cause = "skops cannot hold the model: a function or class in it is of a script, or is not written whole"
        fix = "leave serialization_format out; or import what the model uses from a module that code_paths logs along"
        return cls([Problem("options: serialization_format", cause, fix)])

    @classmethod
    def several_targets(cls, count: int, rows: int) -> RegistrationError:
        cause = f"it returned a list of {count} arrays of {rows} rows each, as of several targets"
        return cls([Problem("model", cause, EACH_TARGET, "outputs-differ")])

    @classmethod
    def takes_series(cls, name: str) -> RegistrationError:
        cause = "the model takes a Series, and scoring gives it a DataFrame, as a table has columns"
        return cls([Problem("training frame", cause, column_fix(name), "example-fails")])

    @classmethod
    def types_change_predictions(cls, features: Sequence[str], difference: str) -> RegistrationError:
        cause = f"with this type of {listed(features)} the model predicts otherwise than with its own: {difference}"
        return cls([Problem("types", cause, "name a type that holds all its values, such as double")])

    @classmethod
    def run_elsewhere(cls, server: str) -> RegistrationError:
        fix = "end it first (mlflow.end_run()), or leave tracking_uri out"
        return cls([Problem("run", f"one is active on another tracking server than {server}", fix)])

    @classmethod
    def tracking_failed(cls, what: str, cause: str) -> RegistrationError:
        fix = "check the tracking URI, its credentials and the names and values given; no version was made"
        return cls([Problem(what, f"MLflow answered: {cause}", fix)])

    @classmethod
    def registry_failed(cls, registry: str, cause: str) -> RegistrationError:
        fix = "check the registry URI and the credentials"
        return cls([Problem(f"registry {registry}", f"it answered: {cause}", fix)])

    @classmethod
    def silent(cls, what: str, server: str, cause: str) -> RegistrationError:
        return cls([Problem(f"{what} {server}", cause, f"{_SILENT_FIX}; no version was made")])

    @classmethod
    def not_saved(cls, flavor: str, kind: str, cause: str = "", fix: str = "") -> RegistrationError:
        text = f"saving it with MLflow's flavor {flavor} raised {kind}{f': {cause}' if cause else ''}"
        fix = fix or (
            "its own text, which may hold values, is in the chained error; give what the flavor needs in options={...}"
        )
        return cls([Problem("model", text, fix, "not-registrable")])

    @classmethod
    def predict_count(cls, predictions: int, rows: int) -> RegistrationError:
        cause = f"the model returned {predictions} predictions for {rows} rows"
        fix = (
            "predict must return one for each row; a step that takes a Series (such as text) wants a "
            "ColumnTransformer in front, so that it takes a frame"
        )
        return cls([Problem("training frame", cause, fix, "outputs-differ")])

    @classmethod
    def loaded_model(cls) -> RegistrationError:
        cause = "it is a model that MLflow loaded, not the trained one"
        fix = "give the trained model (loaded.get_raw_model()), or register its files again: repair_model(uri, ...)"
        return cls([Problem("model", cause, fix, "not-registrable")])

    @classmethod
    def type_hint(cls, hint: str) -> RegistrationError:
        cause = f"its predict takes {hint} by its type hint, and is given a DataFrame"
        fix = "write predict(self, context, model_input: pd.DataFrame), or log it with mlflow.pyfunc.log_model"
        return cls([Problem("model", cause, fix, "not-registrable")])

    @classmethod
    def bad_option(cls, name: str, flavor: str, *, reserved: bool) -> RegistrationError:
        cause = "register_model sets it itself" if reserved else f"log_model of the flavor {flavor} has no such keyword"
        return cls([Problem(f"options: {name}", cause, "leave it out")])

    @classmethod
    def has_training_set(cls, tables: Sequence[str]) -> RegistrationError:
        cause = f"it was trained on features looked up in {listed(tables)}, which a model logged without it forgets"
        fix = "use log_model_with_feature_engineering(client, model, X, training_set=training_set, ...)"
        return cls([Problem("training set", cause, fix)])

    @classmethod
    def no_name(cls, uri: str) -> RegistrationError:
        fix = "say under which one: --name catalog.schema.model (name=...)"
        return cls([Problem(f"model {uri!r}", "it is not a registered model", fix)])

    @classmethod
    def no_features(cls, uri: str) -> RegistrationError:
        cause = "neither its signature nor the trained model names its features"
        return cls(
            [Problem(f"model {uri!r}", cause, "register it again where it was trained: register_model(model, X, ...)")]
        )


class PlanError(RequestError):
    """The model cannot score this table as it stands; every problem is listed."""

    title = "this model cannot score this table"


class SourceError(RequestError):
    """The source cannot be read."""

    @classmethod
    def missing(cls, text: str, near: Sequence[str] = ()) -> SourceError:
        fix = near_fix(text, near, what="tables here") or "check the name or path"
        return cls([Problem(f"source {text}", "no such table", fix)])

    @classmethod
    def file_as_name(cls, text: str, kind: str) -> SourceError:
        names = ", options: {header: true}" if kind == "csv" else ""
        fix = f"a job reads files by their path: source: {{path: ./{text}, format: {kind}{names}}}"
        return cls([Problem(f"source {text}", "no such table; there is a file of this name", fix)])

    @classmethod
    def no_path(cls, text: str) -> SourceError:
        return cls([Problem(f"source {text}", "there is nothing at this path", "check the path")])

    @classmethod
    def needs_format(cls, text: str, found: str) -> SourceError:
        cause = "it is not a Delta table" + (f": its files look like {found}" if found else "")
        fix = f"say how to read it: source.format: {found or 'parquet (or csv, json, orc, ...)'}"
        return cls([Problem(f"source {text}", cause, fix)])

    @classmethod
    def not_read(cls, text: str, kind: str, cause: str) -> SourceError:
        fix = "check source.path, source.format, source.schema and source.options" if kind != "view" else "fix the view"
        return cls([Problem(f"source {text}", f"Spark cannot read it as {kind}: {cause}", fix)])

    @classmethod
    def no_versions(cls, text: str, kind: str) -> SourceError:
        cause = f"it is {_kind_text(kind)} and not a Delta table, so it has no versions"
        return cls([Problem(f"source {text}", cause, "leave source.version and source.timestamp out")])

    @classmethod
    def files_of_delta(cls, text: str, table: str) -> SourceError:
        cause = f"they are files of a Delta table, {table}, and some of them may hold rows that it has no more"
        return cls([Problem(f"source {text}", cause, "give the table's path, and leave source.format out")])

    @classmethod
    def drops_rows(cls, text: str) -> SourceError:
        cause = "its option mode: DROPMALFORMED leaves rows out without a word"
        fix = "leave it out, so that such a row stops the run; mode: PERMISSIVE makes nulls of its values"
        return cls([Problem(f"source {text}", cause, fix)])

    @classmethod
    def loses_files(cls, setting: str) -> SourceError:
        cause = "the session passes over files that it cannot read, so that their rows would be lost without a word"
        return cls([Problem(setting, cause, f"set it to false: spark.conf.set({setting!r}, 'false')")])

    @classmethod
    def files_changed(cls, text: str) -> SourceError:
        cause = "some of its files were removed or written anew after the job was planned"
        return cls([Problem(f"source {text}", cause, "plan and run again, when nobody writes to it")])

    @classmethod
    def guess(cls, text: str, hint: str) -> SourceError:
        return cls([Problem(f"source {text}", "its columns have no names of their own", hint)])

    @classmethod
    def only_delta_is_incremental(cls, text: str, kind: str) -> SourceError:
        cause = f"it is {_kind_text(kind)}, and an incremental job reads what is new in a Delta table"
        fix = "leave incremental out, or write its rows to a Delta table first"
        return cls([Problem(f"source {text}", cause, fix)])

    @classmethod
    def no_storage(cls, text: str, cause: str) -> SourceError:
        fix = "check the path's scheme, the credentials, and that the session has the storage's jars"
        return cls([Problem(f"table {text}", f"its storage cannot be asked: {cause}", fix)])

    @classmethod
    def no_version(cls, text: str, asked: str, oldest: int, newest: int) -> SourceError:
        fix = f"versions {oldest} to {newest} are in its history"
        return cls([Problem(f"source {text}", f"it has no {asked}", fix)])

    @classmethod
    def unreadable(cls, text: str, version: int, cause: str) -> SourceError:
        return cls(
            [Problem(f"source {text}", f"its version {version} cannot be read: {cause}", "give a newer version")]
        )

    @classmethod
    def no_change_feed(cls, text: str, sql: str) -> SourceError:
        fix = f"ALTER TABLE {sql} SET TBLPROPERTIES (delta.enableChangeDataFeed = true), which records from then on"
        return cls([Problem(f"source {text}", "it has no change data feed, which the job reads", fix)])

    @classmethod
    def columns_changed(cls, text: str, columns: Sequence[str]) -> SourceError:
        cause = f"its columns {listed(columns)} are gone or of another type since the job was planned"
        return cls([Problem(f"source {text}", cause, "run again: the job is then planned on the columns that it has")])

    @classmethod
    def bad_filter(cls, text: str, where: str, cause: str, fix: str) -> SourceError:
        return cls([Problem(f"source {text}", f"where: {where!r} does not fit it: {cause}", fix)])

    @classmethod
    def bad_expression(cls, feature: str, expression: str, cause: str, fix: str) -> SourceError:
        return cls([Problem(f"columns: {feature}", f"{expression!r} does not fit the source: {cause}", fix)])


class StreamError(RequestError):
    """What an incremental job keeps of how far it has come cannot be used."""

    @classmethod
    def no_checkpoint_home(cls, output: str) -> StreamError:
        cause = f"the folder of the output {output} is its catalog's own, so the checkpoint cannot be kept in it"
        fix = "say where, such as incremental: {checkpoint: /Volumes/main/ml/checkpoints}"
        return cls([Problem("incremental.checkpoint", cause, fix)])

    @classmethod
    def checkpoint_in_table(cls, folder: str) -> StreamError:
        cause = f"{folder} lies in the folder of a table, whose VACUUM would delete it"
        return cls([Problem("incremental.checkpoint", cause, "leave it out, or give a folder of its own")])

    @classmethod
    def bad_checkpoint(cls, folder: str) -> StreamError:
        cause = "its files cannot be read as those of a stream from a Delta table"
        return cls([Problem(f"checkpoint {folder}", cause, "force: true begins a new one and scores everything")])

    @classmethod
    def would_double(cls, output: str, folder: str) -> StreamError:
        cause = (
            f"the output {output} holds rows of this job, but its checkpoint is gone: everything would be added again"
        )
        fix = "bring the checkpoint back, or replace those rows: force: true; mode: merge needs neither"
        return cls([Problem(f"checkpoint {folder}", cause, fix)])

    @staticmethod
    def _harm(*, adds: bool) -> str:
        """What scoring a source from its beginning does to an output."""
        return "; all its rows would be added again" if adds else "; predictions of rows that are gone would stay"

    @staticmethod
    def _anew(*, adds: bool) -> str:
        """How a source is scored from its beginning all the same."""
        if adds:
            return "force: true, for one run, puts the source's rows in the place of the job's; or give a new output"
        return (
            "force: true, for one run, scores everything again and leaves predictions of rows that are gone; "
            "changes: follow deletes those, with the source's change data feed"
        )

    @classmethod
    def other_source(cls, source: str, *, adds: bool) -> StreamError:
        cause = (
            "it is not the table that this job has read so far: that one was dropped and created again, or replaced, "
            f"or the job now names another one{cls._harm(adds=adds)}"
        )
        return cls([Problem(f"source {source}", cause, cls._anew(adds=adds))])

    @classmethod
    def replaced(cls, source: str, version: int, operation: str, *, adds: bool) -> StreamError:
        cause = (
            f"its version {version} ({operation}) put rows in the place of others, some of which this job may have "
            f"scored{cls._harm(adds=adds)}"
        )
        return cls([Problem(f"source {source}", cause, cls._anew(adds=adds))])

    @classmethod
    def columns_altered(cls, source: str, version: int, operation: str) -> StreamError:
        cause = f"its version {version} ({operation}) altered columns in a way that a stream does not read over"
        fix = "force: true, for one run, scores everything again and goes on from there"
        return cls([Problem(f"source {source}", cause, fix)])

    @classmethod
    def changed(cls, source: str) -> StreamError:
        cause = "rows that were scored have been updated, deleted or overwritten in it, and changes: refuse stops"
        fix = "changes: follow, with mode: merge, scores them again; changes: ignore leaves their predictions as is"
        return cls([Problem(f"source {source}", cause, fix)])

    @classmethod
    def would_pass_over(cls, source: str, sql: str | None, passed: Sequence[tuple[int, int | None]]) -> StreamError:
        """``sql``: the source's quoted name, where it has no change data feed yet; ``passed``: versions and rows."""
        rows = sum(rows or 0 for _, rows in passed)
        at_least = "at least " if any(rows is None for _, rows in passed) else ""
        versions = listed([str(version) for version, _ in passed])
        cause = (
            f"{len(passed)} of its commits insert rows beside those that they update or delete (versions {versions}; "
            f"{at_least}{rows:,} rows inserted): changes: ignore would lose them, as it reads no change data feed"
        )
        turn_on = f"ALTER TABLE {sql} SET TBLPROPERTIES (delta.enableChangeDataFeed = true), then " if sql else ""
        fix = f"{turn_on}force: true, for one run, scores everything again and reads the feed from then on"
        return cls([Problem(f"source {source}", cause, fix)])

    @classmethod
    def output_restored(cls, output: str) -> StreamError:
        cause = "it no longer holds all that this job has written: it was restored to an older version, or made again"
        fix = "force: true, for one run, scores everything again and replaces the rows of this job"
        return cls([Problem(f"output {output}", cause, fix)])

    @classmethod
    def not_incremental(cls) -> StreamError:
        cause = "only an incremental job keeps going"
        return cls([Problem("continuous", cause, "set incremental: true, or run the job without it")])


class FeatureTableError(RequestError):
    """A feature table, or a lookup in it, is not as it must be."""

    title = "the features cannot be looked up"

    @classmethod
    def missing(cls, name: str, near: Sequence[str]) -> FeatureTableError:
        fix = near_fix(name, near, what="tables here") or "check the name, or create it: feature_client().create_table"
        return cls([Problem(f"feature table {name}", "no such table", fix)])

    @classmethod
    def not_delta(cls, name: str, found: str) -> FeatureTableError:
        cause = f"it is {found}, which has no version to pin"
        return cls([Problem(f"feature table {name}", cause, "make it a Delta table")])

    @classmethod
    def exists(cls, name: str) -> FeatureTableError:
        return cls(
            [Problem(f"feature table {name}", "it exists already", "write to it: write_table(name=..., df=...)")]
        )

    @classmethod
    def failed(cls, name: str, cause: str) -> FeatureTableError:
        return cls([Problem(f"feature table {name}", f"Spark refused it: {cause}", "correct what it names")])

    @classmethod
    def needs_mapping(cls, name: str, names: Sequence[str]) -> FeatureTableError:
        cause = f"the table cannot hold these names as it is: {listed(map(repr, names))}"
        fix = "rename them, or let the table map columns: tags={'delta.columnMapping.mode': 'name'}"
        return cls([Problem(f"feature table {name}", cause, fix)])

    @classmethod
    def cannot_add(cls, name: str, sql: str, names: Sequence[str]) -> FeatureTableError:
        cause = f"the table cannot hold these names as it is: {listed(map(repr, names))}"
        fix = (
            "rename them, or let the table map columns: "
            f"ALTER TABLE {sql} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
        )
        return cls([Problem(f"feature table {name}", cause, fix)])

    @classmethod
    def no_schema(cls, name: str) -> FeatureTableError:
        return cls([Problem(f"feature table {name}", "neither df nor schema says what columns it has", "give one")])

    @classmethod
    def no_keys(cls, name: str) -> FeatureTableError:
        fix = "create it through create_table, or set its property spark_scoring.primary_keys to a JSON list of names"
        return cls([Problem(f"feature table {name}", "nothing says which columns are its primary keys", fix)])

    @classmethod
    def other_keys(cls, name: str, now: str, then: str) -> FeatureTableError:
        cause = f"its keys are now {now}; when the model was logged they were {then}"
        return cls([Problem(f"feature table {name}", cause, "give it those keys again, or log the model again")])

    @classmethod
    def empty_key(cls, name: str) -> FeatureTableError:
        fix = "give primary_keys, with the time among them or not"
        return cls([Problem(f"feature table {name}", "primary_keys names no column beside the time", fix)])

    @classmethod
    def lacks_columns(cls, name: str, lacking: Sequence[str], columns: Sequence[str]) -> FeatureTableError:
        fix = near_fix(lacking[0], columns, what="columns") or "give a DataFrame with columns"
        return cls([Problem(f"feature table {name}", f"the rows lack its columns {listed(lacking)}", fix)])

    @classmethod
    def columns_twice(cls, name: str, columns: Sequence[str]) -> FeatureTableError:
        cause = f"columns of the rows have one name: {listed(columns)}"
        return cls([Problem(f"feature table {name}", cause, "rename all but one; a table's names know no case")])

    @classmethod
    def types_differ(cls, name: str, columns: Sequence[tuple[str, str, str]]) -> FeatureTableError:
        shown = "; ".join(f"{column}: rows have {ours}, the table {theirs}" for column, ours, theirs in columns)
        return cls(
            [Problem(f"feature table {name}", f"columns of another type: {shown}", "cast them in the DataFrame")]
        )

    @classmethod
    def null_keys(cls, name: str, keys: Sequence[str], blank: Sequence[str] = ()) -> FeatureTableError:
        empty = f", or are {_empty_in(blank)}" if blank else ""
        cause = f"rows have a null in its keys ({listed(keys)}){empty}"
        return cls([Problem(f"feature table {name}", cause, "leave them out: a null key is never found")])

    @classmethod
    def duplicate_keys(cls, name: str, keys: Sequence[str]) -> FeatureTableError:
        cause = f"several rows have the same key ({listed(keys)}), so that a lookup would multiply rows"
        return cls([Problem(f"feature table {name}", cause, "keep one row for each key; nothing was written")])

    @classmethod
    def bad_mode(cls, mode: str) -> FeatureTableError:
        return cls([Problem(f"write_table mode {mode!r}", "no such mode", "give merge or overwrite")])

    @classmethod
    def streaming(cls, thing: str) -> FeatureTableError:
        return cls([Problem(thing, "it is a streaming DataFrame", "give a batch DataFrame, or use foreachBatch")])

    @classmethod
    def no_column(cls, name: str, columns: Sequence[str], *, setting: str) -> FeatureTableError:
        fix = near_fix(name, columns, what="columns") or "leave it out"
        return cls([Problem(f"{setting}: {name}", "there is no such column", fix)])

    @classmethod
    def name_twice(cls, name: str, *, in_table: bool) -> FeatureTableError:
        cause = (
            "a looked-up column and one of df have this name" if in_table else "two looked-up columns have this name"
        )
        fix = f"rename it: rename_outputs={{<feature>: <new name>}}{', or drop it from df' if in_table else ''}"
        return cls([Problem(f"column {name}", cause, fix)])

    @classmethod
    def not_a_lookup(cls, kind: str) -> FeatureTableError:
        fix = "give spark_scoring.FeatureLookup and FeatureFunction"
        return cls([Problem("feature_lookups", f"a {kind} is not a lookup", fix)])

    @classmethod
    def bad_default(cls, feature: str, type_: str) -> FeatureTableError:
        fix = f"log the model again with a default of type {type_}"
        return cls([Problem(f"default of feature {feature!r}", f"it does not fit {type_}", fix)])

    @classmethod
    def bad_function(cls, function: str, feature: str, cause: str) -> FeatureTableError:
        fix = "create it in this session (CREATE FUNCTION), correct its inputs, or give the table the column itself"
        return cls([Problem(f"feature function {function} ({feature})", f"it cannot be called: {cause}", fix)])

    @classmethod
    def no_sql_functions(cls, function: str, feature: str, spark_version: str) -> FeatureTableError:
        cause = f"it is made of SQL, and Spark {spark_version} has no such functions"
        fix = "score with Spark 4.0 or newer, or on Databricks; or give the table the column itself"
        return cls([Problem(f"feature function {function} ({feature})", cause, fix)])

    @classmethod
    def bad_lookup(cls, thing: str, cause: str, fix: str) -> FeatureTableError:
        return cls([Problem(thing, cause, fix)])


class OutputError(RequestError):
    """The output cannot take the predictions."""

    @classmethod
    def is_source(cls, text: str) -> OutputError:
        fix = "give another table: a run must never change what it reads"
        return cls([Problem(f"output {text}", "it is the source table itself", fix)])

    @classmethod
    def not_delta(cls, text: str, found: str) -> OutputError:
        fix = "give a Delta table, or a name or empty folder where one can be created"
        return cls([Problem(f"output {text}", f"it is {found}, not a Delta table", fix)])

    @classmethod
    def foreign_folder(cls, text: str, folder: str) -> OutputError:
        cause = f"the folder {folder} holds files but no Delta table"
        return cls([Problem(f"output {text}", cause, "give an empty or new folder, or an existing Delta table")])

    @classmethod
    def schema(
        cls, text: str, rows: Sequence[str], unwritten: Sequence[str], fate: str, *, can_evolve: bool
    ) -> OutputError:
        table = "\n      ".join(rows)
        fix = "write to another table, or let the run write this one's columns (keep, names, predict)"
        if can_evolve:
            stays = f"; of {listed(unwritten)}, which the run does not write, the column stays, {fate}"
            fix += f"; or let the table take the run's: output.evolve: true{stays if unwritten else ''}"
        return cls([Problem(f"output {text}", f"its columns differ from the run's:\n      {table}", fix)])

    @classmethod
    def types(cls, text: str, rows: Sequence[str]) -> OutputError:
        table = "\n      ".join(rows)
        cause = f"evolve adds columns, but the types of these differ:\n      {table}"
        fix = (
            "write to another table; or overwrite the whole table, where it has no clustering, no NOT NULL and no "
            "columns that it fills itself"
        )
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def lacks(cls, text: str, columns: Sequence[str]) -> OutputError:
        cause = (
            f"the run does not write {listed(columns)}, which the table cannot do without (NOT NULL, or a partition)"
        )
        return cls([Problem(f"output {text}", cause, "keep such a column of the source, or write to another table")])

    @classmethod
    def not_predictions(cls, text: str, column: str) -> OutputError:
        cause = f"it has no column {column}, so it holds something else than predictions: evolve leaves it alone"
        return cls([Problem(f"output {text}", cause, "write to another table")])

    @classmethod
    def constraint(cls, text: str, constraint: str, column: str, *, is_null: bool = True) -> OutputError:
        refused = f"a null {column}" if is_null else f"a row that has a {column}"
        cause = f"its constraint {constraint} refuses {refused}, and the run may write such rows"
        fix = "drop the constraint" if constraint == "NOT NULL" else "drop the constraint, or let it accept such rows"
        fix += f": ... OR {column} IS {'' if is_null else 'NOT '}NULL" if constraint != "NOT NULL" else ""
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def append_only(cls, text: str) -> OutputError:
        return cls([Problem(f"output {text}", "the table is append-only", "use mode: append, or another table")])

    @classmethod
    def bad_condition(cls, condition: str, cause: str) -> OutputError:
        fix = "write a SQL condition on the columns that the run writes"
        return cls([Problem("output.replace_where", f"{condition!r} does not fit the output: {cause}", fix)])

    @classmethod
    def no_key(cls, name: str, columns: Sequence[str]) -> OutputError:
        fix = near_fix(name, columns, what="columns written") or "keep it"
        return cls([Problem(f"output.key: {name}", "the run does not write this column", f"{fix}; see output.keep")])

    @classmethod
    def key_of_run(cls, name: str) -> OutputError:
        cause = "it is made by the run, and the rows of a key are counted before one is scored"
        fix = "name kept columns of the source; mode: append writes a row for each model version"
        return cls([Problem(f"output.key: {name}", cause, fix)])

    @classmethod
    def key_type(cls, name: str, type_: str) -> OutputError:
        return cls([Problem(f"output.key: {name}", f"a {type_} cannot be compared", "give another column")])

    @classmethod
    def name_taken(cls, column: str) -> OutputError:
        fix = f"rename what the run adds (names: {{{column}: <another name>}}), or leave the table's own column out"
        return cls([Problem(f"output column {column}", "two columns would have this name", fix)])

    @classmethod
    def no_such_output(cls, name: str, columns: Sequence[str]) -> OutputError:
        fix = near_fix(name, columns, what="added columns") or "leave it out"
        return cls([Problem(f"names: {name}", "the run adds no such column", fix)])

    @classmethod
    def cannot_travel(cls, column: str, type_: str, *, nested: bool) -> OutputError:
        why = "the model's lists, maps or objects need it" if nested else "stage: map asks for it"
        cause = f"a column of type {type_} cannot go through mapInArrow, and {why}"
        fix = "leave it out of keep, or keep its text: cast it to STRING in the source"
        return cls([Problem(f"keep: {column}", cause, fix if nested else f"{fix}; or leave stage out")])

    @classmethod
    def needs_mapping(cls, text: str, sql: str, names: Sequence[str]) -> OutputError:
        cause = f"the table cannot hold these names as it is: {listed(map(repr, names))}"
        fix = (
            "rename them (names:, or in the model), or let the table map columns: "
            f"ALTER TABLE {sql} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
        )
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def keep_missing(cls, column: str, columns: Sequence[str]) -> OutputError:
        fix = near_fix(column, columns, what="source columns") or "leave it out of keep"
        return cls([Problem(f"keep: {column}", "the source has no such column", fix)])


class HistoryError(RequestError):
    """A table's runs cannot be shown, or one of them cannot be taken back; nothing was changed."""

    @classmethod
    def no_table(cls, text: str) -> HistoryError:
        return cls([Problem(f"table {text}", "there is no such Delta table", "check the name or path")])

    @classmethod
    def no_run(cls, text: str, run_id: str, runs: Sequence[str], *, ambiguous: bool) -> HistoryError:
        cause = "more than one run's id begins so" if ambiguous else "the table's history holds no such run"
        fix = f"give eight or more characters of one of its runs: {listed(runs)}" if runs else "it has no run of ours"
        return cls([Problem(f"run {run_id} of {text}", cause, fix)])

    @classmethod
    def already(cls, text: str, run_id: str) -> HistoryError:
        return cls([Problem(f"run {run_id} of {text}", "it was rolled back before", "there is nothing to do")])

    @classmethod
    def touched(cls, text: str, run_id: str) -> HistoryError:
        cause = "others changed, removed or replaced rows of it since"
        fix = "look at the table's history; DELETE or RESTORE by hand if you know what is right"
        return cls([Problem(f"run {run_id} of {text}", cause, fix)])

    @classmethod
    def built_upon(cls, text: str, run_id: str, later: Sequence[str]) -> HistoryError:
        cause = f"what it replaced cannot be put back without losing what came later: {listed(later)}"
        fix = "roll those back first, the newest first, or RESTORE by hand if they may go"
        return cls([Problem(f"run {run_id} of {text}", cause, fix)])


class RollbackFailedError(RunError):
    """A run could not be taken back."""

    @classmethod
    def refused(cls, text: str, run_id: str, kind: str) -> RollbackFailedError:
        cause = f"Spark failed with {kind}; the table is as it was"
        fix = "see the chained error; where older files were vacuumed, what a run replaced cannot be put back"
        return cls([Problem(f"run {run_id} of {text}", cause, fix)])

    @classmethod
    def overtaken(cls, text: str, version: int, others: int) -> RollbackFailedError:
        cause = f"version {version} took the run back, but with it {others} commits that others made meanwhile"
        fix = f"RESTORE TABLE ... TO VERSION AS OF {version - 1} brings them back"
        return cls([Problem(f"output {text}", cause, fix)])


class ModelOutputError(RunError):
    """The model returned something else than its signature says."""

    @classmethod
    def differs(cls, method: str, declared: str, returned: str) -> ModelOutputError:
        fix = "log the model again with the signature of what it returns: infer_signature(X, model.predict(X))"
        return cls([Problem(f"model output of {method}", f"the signature says {declared}, the model {returned}", fix)])

    @classmethod
    def count(cls, method: str, returned: int, rows: int) -> ModelOutputError:
        fix = (
            "let the model return one result for each row, in their order, and None or NaN where it has none; "
            "or leave the rows out that it drops: source.where"
        )
        cause = f"the model returned {returned:,} results for {rows:,} rows"
        return cls([Problem(f"model output of {method}", cause, fix)])

    @classmethod
    def names(cls, method: str, declared: Sequence[str], returned: Sequence[str]) -> ModelOutputError:
        fix = (
            "log the model again with the signature of what it returns (infer_signature(X, model.predict(X))), "
            "or let it return the names that its signature has"
        )
        cause = f"the signature has outputs named {listed(declared)}, the model returned {listed(returned)}"
        return cls([Problem(f"model output of {method}", cause, fix)])


class VerificationError(RunError):
    """The model was logged, but is not the model in memory, or the registry failed; no version, unless it says so."""

    title = "the model was logged, and not registered"

    @classmethod
    def not_scorable(cls, problems: Sequence[Problem]) -> VerificationError:
        return cls(
            [Problem(p.thing, f"{p.cause}; the model was logged, no version was registered", p.fix) for p in problems]
        )

    @classmethod
    def registry_failed(cls, name: str, version: str | None, registry: str, cause: str) -> VerificationError:
        made = (
            "no version was registered" if version is None else f"version {version} was registered, without its alias"
        )
        fix = "check the registry and tracking URI, the credentials and the right to write there"
        return cls([Problem(f"model name {name!r}", f"the registry {registry} answered: {cause}; {made}", fix)])

    @classmethod
    def no_raw_model(cls, place: str) -> VerificationError:
        cause = f"the artifact has no {place}; no version was registered"
        return cls([Problem("logged model", cause, "update the feature engineering client")])

    @classmethod
    def raises(cls, kind: str) -> VerificationError:
        cause = f"loaded back, it ended in {kind} on rows of the training frame; no version was registered"
        fix = (
            "its own text, which may hold values, is in the chained error; does it need a file, a package, a global "
            "variable or a setting of the training script?"
        )
        return cls([Problem("logged model", cause, fix)])

    @classmethod
    def differs(cls, wrong: int, rows: int, shared: str) -> VerificationError:
        difference = f"{wrong:,} of {rows:,} rows differ{f', {shared}' if shared else ''}"
        cause = f"loaded back, it predicts otherwise than in memory: {difference}; no version was registered"
        fix = (
            "does it read globals or settings of the training script, which are not logged with it? "
            "is it still training, or random in predict?"
        )
        return cls([Problem("logged model", cause, fix)])


class TrainingError(RunError):
    """The estimator could not be fitted; nothing was logged."""

    @classmethod
    def fit(cls, estimator: str, kind: str) -> TrainingError:
        fix = "its own text, which may hold values, is in the chained error; mind text and nulls that it cannot take"
        return cls([Problem(f"estimator {estimator}", f"fit raised {kind}", fix)])

    @classmethod
    def no_best(cls, search: str) -> TrainingError:
        cause = "after fit it has no best_estimator_: it did not fit the best parameters again"
        return cls([Problem(f"search {search}", cause, "leave refit out of search, or take another class of search")])


class ModelFailedError(RunError):
    """The model raised on every row that was tried, or too often."""

    @classmethod
    def on_every_row(cls, kind: str, rows: int) -> ModelFailedError:
        cause = f"it raised {kind} on every row that was tried ({rows:,})"
        fix = "--show-model-error (show_model_error=True) shows its own text, which may hold values"
        return cls([Problem("model", cause, fix)])

    @classmethod
    def uncommitted(cls, kind: str, rows: int) -> ModelFailedError:
        cause = f"it raised {kind} on every row that was tried: none of {rows:,} was scored; nothing was committed"
        fix = "--show-model-error (show_model_error=True) shows its own text, which may hold values"
        return cls([Problem("model", cause, fix)])

    @classmethod
    def committed(cls, rows: int, text: str, version: int) -> ModelFailedError:
        cause = f"it scored none of the {rows:,} rows; {text} has them without predictions, as its version {version}"
        fix = "take the run back (spark-scoring rollback); --show-model-error shows what the model raises"
        return cls([Problem("model", cause, fix)])

    @classmethod
    def too_slow(cls, kind: str, raised: int, tried: int, seconds: int) -> ModelFailedError:
        cause = (
            f"it raised {kind} on {raised:,} of {tried:,} rows of failing batches, and telling such rows from the "
            f"others took {seconds:,} s"
        )
        fix = "leave such rows out (source.where), or let the model return None for them instead of raising"
        return cls([Problem("model", cause, fix)])


class TimeLimitError(RunError):
    """The job's time was over."""

    title = "the job took too long"

    @classmethod
    def of_model(cls, seconds: float) -> TimeLimitError:
        cause = f"it was not loaded and rehearsed within the job's timeout of {seconds:g} s; nothing was committed"
        return cls([Problem("model", cause, "look what its code waits for, or raise timeout")])

    @classmethod
    def of_run(cls, seconds: float) -> TimeLimitError:
        cause = f"it was not done within its timeout of {seconds:g} s, and was stopped; nothing was committed"
        fix = "raise timeout; if other runs are faster, look what the model or the source waits for"
        return cls([Problem("run", cause, fix)])


class PolicyError(RunError):
    """A value on which the policy of its feature is to fail."""

    @classmethod
    def fails(cls, found: Iterable[tuple[str, str]]) -> PolicyError:
        fix = "fix the rows, or let the policy be bad_row or a fill value"
        return cls([Problem(name, f"{reason}, and the feature's policy is to fail", fix) for name, reason in found])


class DuplicateKeyError(RunError):
    """Rows that a merge cannot tell apart."""

    @classmethod
    def not_unique(
        cls, key: Sequence[str], nulls: int, repeated: int, rows: int, blank: Sequence[str] = ()
    ) -> DuplicateKeyError:
        thing = f"key {', '.join(key)}"
        found = []
        if nulls:
            fix = "leave them out: source.where, or give another key"
            empty = f", or {_empty_in(blank)}" if blank else ""
            cause = f"it is null in {nulls:,} rows{empty}; nothing was committed"
            found.append(Problem(thing, cause, fix))
        if repeated:
            cause = (
                f"{repeated:,} of its values occur in more than one row, {rows:,} rows in all; nothing was committed"
            )
            found.append(Problem(thing, cause, "add the column that tells the rows apart, or leave all but one out"))
        return cls(found)


class BadRowsError(RunError):
    """Rows that cannot be scored, more of them than the job allows."""

    @classmethod
    def too_many(cls, bad: int, rows: int, allowed: str, reasons: Sequence[tuple[str, int]]) -> BadRowsError:
        cause = f"{bad:,} of {rows:,} rows cannot be scored, max_bad_rows allows {allowed} ({_reasons(reasons)})"
        fix = "fix the rows, or raise max_bad_rows"
        return cls([Problem("bad rows", f"{cause}; nothing was committed", fix)])

    @classmethod
    def all_of_them(cls, rows: int, reasons: Sequence[tuple[str, int]]) -> BadRowsError:
        cause = f"none of the {rows:,} rows can be scored ({_reasons(reasons)}); nothing was committed"
        fix = "look at the first reason: its column is likely another one than the model was trained on (see columns)"
        return cls([Problem("bad rows", cause, fix)])

    @classmethod
    def first(cls, reasons: str) -> BadRowsError:
        fix = "fix the rows, or take bad_rows: keep or quarantine"
        cause = f"a row cannot be scored ({reasons}), and bad_rows is fail"
        return cls([Problem("bad rows", f"{cause}; nothing was committed", fix)])


class ManyBadRowsError(RunError):
    """Of a task, for the driver: it is to count the bad rows of all tasks before anything is committed."""

    @classmethod
    def in_task(cls, bad: int, rows: int) -> ManyBadRowsError:
        cause = f"{bad:,} of the {rows:,} rows that one task has seen cannot be scored; nothing was committed"
        return cls([Problem("bad rows", cause, "run again, with max_bad_rows set to what you allow")])


def _empty_in(blank: Sequence[str]) -> str:
    """Of key columns in which Delta stores an empty value as null."""
    return f"empty in {listed(blank)}, a partition column, where Delta stores an empty value as null"


def _reasons(reasons: Sequence[tuple[str, int]]) -> str:
    return "; ".join(f"{text} in {n:,}" for text, n in reasons[:_SHOWN])


def _untold(problems: Sequence[Problem]) -> list[Problem]:
    """The problems without the words that nothing was committed."""
    return [Problem(p.thing, p.cause.replace("; nothing was committed", ""), p.fix) for p in problems]


class CommitError(RunError):
    """The predictions were not committed, or not as many rows as were read."""

    @classmethod
    def rows_differ(cls, text: str, rows_in: int, rows_out: int, version: int) -> CommitError:
        cause = f"{rows_in} rows were read, {rows_out} written in its version {version}"
        undo = f"RESTORE TABLE ... TO VERSION AS OF {version - 1}" if version else "drop the table"
        fix = f"inspect it, then {undo}; a where with rand() or now() does this"
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def counted(cls, text: str, rows_in: int, rows: int) -> CommitError:
        cause = f"{rows_in} rows were read, but {rows} when they were scored; nothing was committed"
        return cls([Problem(f"output {text}", cause, "a where with rand() or now() does this")])

    @classmethod
    def parts_differ(cls, text: str, rows: int, quarantine: str, quarantined: int, rows_in: int) -> CommitError:
        cause = f"{rows_in} rows were read; {rows} are in the output and {quarantined} in {quarantine}"
        return cls([Problem(f"output {text}", cause, "roll the run back (spark-scoring rollback) and run again")])

    @classmethod
    def quarantined_only(cls, problems: Sequence[Problem], quarantine: str, version: int) -> CommitError:
        cause = f"its version {version} has the bad rows of this run, whose output was not written"
        more = Problem(f"quarantine {quarantine}", cause, "run again: the next run replaces them")
        return cls([*_untold(problems), more])

    @classmethod
    def unseen(cls, problems: Sequence[Problem], text: str, kind: str) -> CommitError:
        cause = f"whether the run has committed to it could not be looked up ({kind})"
        more = Problem(f"output {text}", cause, "look at DESCRIBE HISTORY before you run again")
        return cls([*_untold(problems), more])

    @classmethod
    def not_found(cls, text: str) -> CommitError:
        cause = "the write ended, yet the table's history does not hold this run"
        return cls([Problem(f"output {text}", cause, "look at DESCRIBE HISTORY before you run again")])

    @classmethod
    def before_history(cls, text: str) -> CommitError:
        cause = "an equal run was committed before the table's history begins, so its rows cannot be told from others"
        fix = "look whether its rows are there; force: true appends them again"
        return cls([Problem(f"output {text}", f"{cause}; nothing was committed", fix)])

    @classmethod
    def after_commit(cls, text: str, version: int, kind: str) -> CommitError:
        cause = f"the predictions were committed as its version {version}, but what follows failed with {kind}"
        return cls([Problem(f"output {text}", cause, "do not append again; DESCRIBE HISTORY shows the run")])

    @classmethod
    def conflict(cls, text: str, code: str) -> CommitError:
        cause = f"other writers changed the table whenever the run tried to commit ({code}); nothing was committed"
        return cls([Problem(f"output {text}", cause, "run again when they have finished")])

    @classmethod
    def failed(cls, thing: str, cause: str, fix: str) -> CommitError:
        return cls([Problem(thing, f"{cause}; nothing was committed", fix)])


class Gathering:
    """Collects the problems of steps that do not depend on each other, to raise them together."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._causes: list[BaseException] = []

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Run a step; a wrong request in it is kept, anything else is raised."""
        try:
            yield
        except RequestError as error:
            self.problems.extend(error.problems)
            if error.__cause__ is not None:
                self._causes.append(error.__cause__)

    def raise_all(self, kind: type[RequestError] = RequestError) -> None:
        """Raise what was gathered, if anything was.

        Raises:
            RequestError: with every problem, as the kind given.

        """
        if self.problems:
            raise kind(self.problems) from (self._causes[0] if self._causes else None)


def _kind_text(kind: str) -> str:
    return "a view" if kind == "view" else f"a table of format {kind}"


def first_line(error: Exception) -> str:
    """The first line of an error of Spark, Java or MLflow, without plan dumps, traces and the like."""
    return re.sub(r"^An error occurred while calling \S+\.\n: ", "", str(error).strip()).split("\n", maxsplit=1)[0]


def _repair(uri: str) -> str:
    """The command that gives a model a whole signature; one that is not registered needs a name for it."""
    registered = uri.startswith("models:/") and not uri.startswith("models:/m-")
    return f"spark-scoring repair {shlex.quote(uri)} --example TABLE" + ("" if registered else " --name NAME")


def near_fix(name: str, others: Iterable[str], *, what: str) -> str | None:
    """``did you mean ...`` for a name and those that exist, else the list of these, else None."""
    known = sorted(set(others))
    schema = f"{name.lower().rpartition('.')[0]}."
    if not all(other.lower().startswith(schema) for other in known):
        schema = ""  # else it is shared by all, and says nothing of what was meant
    folded = {other.lower().removeprefix(schema): other for other in known}
    near = difflib.get_close_matches(name.lower().removeprefix(schema), folded, n=3, cutoff=0.7)
    if near:
        return "did you mean " + " or ".join(folded[n] for n in near) + "?"
    return f"{what}: {listed(known)}" if known else None


def column_fix(name: str) -> str:
    """What to type around a model that takes a Series and no frame."""
    return (
        f"let a step in front take the column: make_pipeline(FunctionTransformer(lambda X: X[{name!r}]), model), "
        "and give a frame: X.to_frame() of a Series"
    )


def listed(names: Iterable[str]) -> str:
    """Names in a row, cut where they are too many to read."""
    all_names = list(names)
    rest = len(all_names) - _SHOWN
    return ", ".join(all_names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
