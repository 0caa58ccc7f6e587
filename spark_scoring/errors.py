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

from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SHOWN = 12


@dataclass(frozen=True)
class Problem:
    """One fault: the thing that has it, its cause, and the fix."""

    thing: str
    cause: str
    fix: str

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
    def not_loadable(cls, uri: str, cause: str) -> ModelError:
        fix = "install what the model's requirements.txt lists, in the versions it lists"
        return cls([Problem(f"model {uri!r}", f"it does not load in this environment: {cause}", fix)])

    @classmethod
    def not_allowed(cls, name: str, origin: str, patterns: Sequence[str]) -> ModelError:
        fix = f"score one that they match ({listed(patterns)}), or ask whoever set them"
        return cls([Problem(f"model {name!r}", f"the patterns of {origin} do not allow it; it was not loaded", fix)])

    @classmethod
    def other_digest(cls, name: str, expected: str, digest: str) -> ModelError:
        cause = f"its artifact's digest is {digest}, not {expected}; it was not loaded"
        fix = "find out who changed it; if it is right, set expect_digest to the new one"
        return cls([Problem(f"model {name!r}", cause, fix)])


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
        fix = (
            "write to another table, let the run write this one's columns (keep, names, predict), "
            "or let the table take the run's: output.evolve: true"
        )
        return cls([Problem(f"output {text}", f"its columns differ from the run's:\n      {table}", fix)])

    @classmethod
    def types(cls, text: str, rows: Sequence[str]) -> OutputError:
        table = "\n      ".join(rows)
        cause = f"evolve adds columns, but the types of these differ:\n      {table}"
        fix = "overwrite the whole table (without replace_where or clustering), or write to another one"
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def not_predictions(cls, text: str, column: str) -> OutputError:
        cause = f"it has no column {column}, so it holds something else than predictions: evolve leaves it alone"
        return cls([Problem(f"output {text}", cause, "write to another table")])

    @classmethod
    def constraint(cls, text: str, constraint: str, column: str) -> OutputError:
        cause = f"its constraint {constraint} refuses a null {column}, which a bad row has"
        fix = f"drop the constraint, or let it accept nulls: {column} IS NULL OR ..."
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


class DuplicateKeyError(RunError):
    """Rows that a merge cannot tell apart."""

    @classmethod
    def not_unique(cls, key: Sequence[str], nulls: int, repeated: int, rows: int) -> DuplicateKeyError:
        thing = f"key {', '.join(key)}"
        found = []
        if nulls:
            fix = "leave them out: source.where, or give another key"
            found.append(Problem(thing, f"it is null in {nulls:,} rows; nothing was committed", fix))
        if repeated:
            cause = (
                f"{repeated:,} of its values stand in more than one row, {rows:,} rows in all; nothing was committed"
            )
            found.append(Problem(thing, cause, "add the column that tells the rows apart, or leave all but one out"))
        return cls(found)


class BadRowsError(RunError):
    """Rows that cannot be scored, more of them than the job allows."""

    @classmethod
    def too_many(cls, bad: int, rows: int, allowed: str, reasons: Sequence[tuple[str, int]]) -> BadRowsError:
        shown = "; ".join(f"{text} in {n:,}" for text, n in reasons[:_SHOWN])
        cause = f"{bad:,} of {rows:,} rows cannot be scored, max_bad_rows allows {allowed} ({shown})"
        fix = "mend the rows, or raise max_bad_rows"
        return cls([Problem("bad rows", f"{cause}; nothing was committed", fix)])

    @classmethod
    def first(cls, reasons: str) -> BadRowsError:
        fix = "mend the rows, or take bad_rows: keep or quarantine"
        cause = f"a row cannot be scored ({reasons}), and bad_rows is fail"
        return cls([Problem("bad rows", f"{cause}; nothing was committed", fix)])


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
        told = [Problem(p.thing, p.cause.replace("; nothing was committed", ""), p.fix) for p in problems]
        return cls([*told, more])

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
