"""Every error of the package: what is wrong, why, and what to do about it.

An error carries one or more problems, so that a request's faults come all at once. A wrong request
(``RequestError``, exit status 2) is raised on the driver before a row is read; a failed run (``RunError``,
exit status 1) has committed nothing unless it says so. Texts name things and reasons, never row values.
"""

from __future__ import annotations

import difflib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SHOWN = 12


@dataclass(frozen=True)
class Problem:
    """One fault: the thing that has it, its cause, and the fix."""

    thing: str
    cause: str
    fix: str

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
    def no_delta_jars(cls, spark_version: str) -> SessionError:
        minor = ".".join(spark_version.split(".")[:2])
        fix = (
            f"spark-submit --packages io.delta:delta-spark_{minor}_2.13:4.4.0 ..., "
            "with Delta's spark.sql.extensions and spark.sql.catalog.spark_catalog settings on a cluster; "
            "spark-defaults.conf can hold all three"
        )
        return cls([Problem("Delta", f"the Spark {spark_version} session was started without Delta", fix)])


class TableNameError(RequestError):
    """A name that is no table name here."""

    def __init__(self, name: str, unknown_catalog: str | None = None) -> None:
        cause = "not a table name of one to three parts"
        fix = "write table, schema.table or catalog.schema.table; parts with other characters in `backticks`"
        if unknown_catalog is not None:
            cause = f"this session knows no catalog {unknown_catalog!r}"
            fix = "SHOW CATALOGS lists those that exist and that you may use"
        super().__init__([Problem(f"table {name!r}", cause, fix)])


class JobError(RequestError):
    """The job file or a setting of it is wrong."""

    title = "the job is not valid"

    @classmethod
    def unreadable(cls, path: str, cause: str) -> JobError:
        return cls([Problem(f"job file {path}", cause, "give the path of a YAML file that holds a job's fields")])

    @classmethod
    def bad_setting(cls, text: str) -> JobError:
        fix = "write --set field=value, or --set source.table=main.gold.flights"
        return cls([Problem(f"--set {text}", "not of the form field=value", fix)])

    @classmethod
    def bad_levels(cls, feature: str, cause: str) -> JobError:
        fix = f"write categories: {{{feature}: [<the values in the order of training>]}}"
        return cls([Problem(f"categories: {feature}", cause, fix)])


class ModelError(RequestError):
    """The model cannot be found, read or scored."""

    @classmethod
    def bad_uri(cls, uri: str) -> ModelError:
        fix = (
            "write models:/name/version, models:/name@alias, models:/name/latest, models:/name, "
            "models:/m-<id>, runs:/<run id>/<path> or the path of a model folder"
        )
        return cls([Problem(f"model {uri!r}", "not a model URI", fix)])

    @classmethod
    def stage(cls, uri: str, stage: str) -> ModelError:
        cause = f"{stage!r} is neither a version number nor 'latest'; stages are gone from MLflow"
        return cls([Problem(f"model {uri!r}", cause, f"give an alias instead: models:/name@{stage.lower()}")])

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
    def registry_failed(cls, uri: str, registry: str, cause: str) -> ModelError:
        fix = "check the registry and tracking URI and the credentials"
        return cls([Problem(f"model {uri!r}", f"the registry {registry} answered: {cause}", fix)])

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
            "log_model(..., signature=infer_signature(X, model.predict(X)), input_example=X.head())"
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
            "or with input_example=X.head(), from which the outputs are inferred"
        )
        return cls([Problem(f"model {uri!r}", "its signature has only inputs, and no input example was saved", fix)])

    @classmethod
    def outputs_not_inferable(cls, uri: str, cause: str) -> ModelError:
        fix = "log the model again with signature=infer_signature(X, model.predict(X))"
        text = f"its signature has only inputs, and predicting on its saved input example failed: {cause}"
        return cls([Problem(f"model {uri!r}", text, fix)])

    @classmethod
    def no_cache(cls, folder: str, cause: str) -> ModelError:
        fix = "set SPARK_SCORING_CACHE to a folder that can be written"
        return cls([Problem(f"model cache {folder}", cause, fix)])

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
    def not_delta(cls, text: str, found: str) -> SourceError:
        fix = "give a Delta table; for anything else, score_batch takes a DataFrame"
        cause = f"it is {found}, which has no version to pin"
        return cls([Problem(f"source {text}", cause, fix)])

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
    def bad_filter(cls, text: str, where: str, cause: str) -> SourceError:
        return cls([Problem(f"source {text}", f"where: {where!r} does not fit it: {cause}", "mend the expression")])

    @classmethod
    def bad_expression(cls, feature: str, expression: str, cause: str) -> SourceError:
        thing = f"columns: {feature}"
        return cls([Problem(thing, f"{expression!r} does not fit the source: {cause}", "mend the expression")])


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
        return cls([Problem(f"feature table {name}", f"Spark refused it: {cause}", "mend what it names")])

    @classmethod
    def no_schema(cls, name: str) -> FeatureTableError:
        return cls([Problem(f"feature table {name}", "neither df nor schema says what columns it has", "give one")])

    @classmethod
    def no_keys(cls, name: str) -> FeatureTableError:
        fix = "create it through create_table, or set its property spark_scoring.primary_keys to a JSON list of names"
        return cls([Problem(f"feature table {name}", "nothing says which columns are its primary keys", fix)])

    @classmethod
    def lacks_columns(cls, name: str, lacking: Sequence[str], columns: Sequence[str]) -> FeatureTableError:
        fix = near_fix(lacking[0], columns, what="columns") or "give a DataFrame with columns"
        return cls([Problem(f"feature table {name}", f"the rows lack its columns {listed(lacking)}", fix)])

    @classmethod
    def types_differ(cls, name: str, columns: Sequence[tuple[str, str, str]]) -> FeatureTableError:
        shown = "; ".join(f"{column}: rows have {ours}, the table {theirs}" for column, ours, theirs in columns)
        return cls(
            [Problem(f"feature table {name}", f"columns of another type: {shown}", "cast them in the DataFrame")]
        )

    @classmethod
    def null_keys(cls, name: str, keys: Sequence[str]) -> FeatureTableError:
        cause = f"rows have a null in its keys ({listed(keys)})"
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
        return cls([Problem("feature_lookups", f"a {kind} is no lookup", fix)])

    @classmethod
    def bad_default(cls, feature: str, type_: str) -> FeatureTableError:
        fix = f"log the model again with a default of type {type_}"
        return cls([Problem(f"default of feature {feature!r}", f"it is no {type_}", fix)])

    @classmethod
    def bad_function(cls, function: str, feature: str, cause: str) -> FeatureTableError:
        fix = "create it in this session (CREATE FUNCTION), mend its inputs, or give the table the column itself"
        return cls([Problem(f"feature function {function} ({feature})", f"it cannot be called: {cause}", fix)])

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
    def schema(cls, text: str, rows: Sequence[str]) -> OutputError:
        table = "\n      ".join(rows)
        fix = "write to another table, or let the run write this one's columns (keep, names, predict)"
        return cls([Problem(f"output {text}", f"its columns differ from the run's:\n      {table}", fix)])

    @classmethod
    def constraint(cls, text: str, constraint: str, column: str) -> OutputError:
        cause = f"its constraint {constraint} refuses a null {column}, which a bad row has"
        fix = f"drop the constraint, or let it accept nulls: {column} IS NULL OR ..."
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def append_only(cls, text: str) -> OutputError:
        return cls([Problem(f"output {text}", "the table is append-only", "use mode: append, or another table")])

    @classmethod
    def name_taken(cls, column: str) -> OutputError:
        fix = f"rename what the run adds (names: {{{column}: <another name>}}), or leave the table's own column out"
        return cls([Problem(f"output column {column}", "two columns would have this name", fix)])

    @classmethod
    def no_such_output(cls, name: str, columns: Sequence[str]) -> OutputError:
        fix = near_fix(name, columns, what="added columns") or "leave it out"
        return cls([Problem(f"names: {name}", "the run adds no such column", fix)])

    @classmethod
    def keep_missing(cls, column: str, columns: Sequence[str]) -> OutputError:
        fix = near_fix(column, columns, what="source columns") or "leave it out of keep"
        return cls([Problem(f"keep: {column}", "the source has no such column", fix)])


class ModelOutputError(RunError):
    """The model returned something else than its signature says."""

    @classmethod
    def differs(cls, method: str, declared: str, returned: str) -> ModelOutputError:
        fix = "log the model again with the signature of what it returns: infer_signature(X, model.predict(X))"
        return cls([Problem(f"model output of {method}", f"the signature says {declared}, the model {returned}", fix)])


class ModelFailedError(RunError):
    """The model raised on every row that was tried."""

    @classmethod
    def on_every_row(cls, kind: str) -> ModelFailedError:
        cause = f"it raised {kind} on every row that was tried"
        fix = "its own text, which may hold values, is in the chained error; mind nulls that the model cannot take"
        return cls([Problem("model", cause, fix)])


class PolicyError(RunError):
    """A value on which the policy of its feature is to fail."""

    @classmethod
    def fails(cls, found: Iterable[tuple[str, str]]) -> PolicyError:
        fix = "mend the rows, or let the policy be bad_row or a fill value"
        return cls([Problem(name, f"{reason}, and the feature's policy is to fail", fix) for name, reason in found])


class CommitError(RunError):
    """The predictions were not committed, or not as many rows as were read."""

    @classmethod
    def rows_differ(cls, text: str, rows_in: int, rows_out: int, version: int) -> CommitError:
        cause = f"{rows_in} rows were read, {rows_out} written in its version {version}"
        undo = f"RESTORE TABLE ... TO VERSION AS OF {version - 1}" if version else "drop the table"
        fix = f"inspect it, then {undo}; a where with rand() or now() does this"
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def not_found(cls, text: str) -> CommitError:
        cause = "the write ended, yet the table's history does not hold this run"
        return cls([Problem(f"output {text}", cause, "look at DESCRIBE HISTORY before you run again")])

    @classmethod
    def after_commit(cls, text: str, version: int, kind: str) -> CommitError:
        cause = f"the predictions were committed as its version {version}, but what follows failed with {kind}"
        return cls([Problem(f"output {text}", cause, "do not append again; DESCRIBE HISTORY shows the run")])

    @classmethod
    def conflict(cls, text: str, code: str) -> CommitError:
        cause = f"another writer changed the table during the run ({code}); nothing was committed"
        return cls([Problem(f"output {text}", cause, "run again")])

    @classmethod
    def failed(cls, thing: str, cause: str, fix: str) -> CommitError:
        return cls([Problem(thing, f"{cause}; nothing was committed", fix)])


class Gathering:
    """Collects the problems of steps that do not depend on each other, to raise them together."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Run a step; a wrong request in it is kept, anything else is raised."""
        try:
            yield
        except RequestError as error:
            self.problems.extend(error.problems)

    def raise_all(self, kind: type[RequestError] = RequestError) -> None:
        """Raise what was gathered, if anything was.

        Raises:
            RequestError: with every problem, as the kind given.

        """
        if self.problems:
            raise kind(self.problems)


def first_line(error: Exception) -> str:
    """The first line of an error of Spark or MLflow, without plan dumps and the like."""
    return str(error).strip().split("\n", maxsplit=1)[0]


def near_fix(name: str, others: Iterable[str], *, what: str) -> str | None:
    """``did you mean ...`` for a name and those that exist, else the list of these, else None."""
    known = sorted(set(others))
    folded = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.7)
    if near:
        return "did you mean " + " or ".join(folded[n] for n in near) + "?"
    return f"{what}: {listed(known)}" if known else None


def listed(names: Iterable[str]) -> str:
    """Names in a row, cut where they are too many to read."""
    all_names = list(names)
    rest = len(all_names) - _SHOWN
    return ", ".join(all_names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
