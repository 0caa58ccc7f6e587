"""Errors of a model: its URI, registry, artifact, signature and trust."""

from __future__ import annotations

import difflib
import shlex
from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError, listed, near_fix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


SILENT_FIX = (
    "check its URI, and that it is up and can be reached from here; to wait longer, set "
    "MLFLOW_HTTP_REQUEST_TIMEOUT (seconds) or MLFLOW_HTTP_REQUEST_MAX_RETRIES: then MLflow decides"
)
"""What to do about a server that does not answer."""


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
        cause = "a part of its path is '..', so that it is not clear where it leads"
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
    def plain_name(cls, text: str, name: str, version: str | None) -> ModelError:
        meant = f"models:/{name}/1 or models:/{name}@<alias>" if version is None else f"models:/{text}"
        fix = f"a registered model is {meant}; a folder needs an MLmodel file"
        return cls([Problem(f"model {text!r}", "it is neither a model's URI nor a folder", fix)])

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
        return cls([Problem(f"model {uri!r}", f"asked {server}, but {cause}", SILENT_FIX)])

    @classmethod
    def no_registry_file(cls, uri: str, file: str) -> ModelError:
        fix = "set tracking_uri in the job (relative to the working directory), --tracking-uri, or MLFLOW_TRACKING_URI"
        return cls([Problem(f"model {uri!r}", f"there is no registry file {file}", fix)])

    @classmethod
    def no_mlflow(cls) -> ModelError:
        return cls([Problem("MLflow", "mlflow is not installed here", "pip install 'spark-scoring[local]'")])

    @classmethod
    def no_signature(cls, uri: str) -> ModelError:
        fix = (
            "log the model again with a signature: "
            "log_model(..., signature=infer_signature(X, model.predict(X)), input_example=X.head()); "
            f"or have one made from a table with its features: {repair_command(uri)}"
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
            f"or have them made from a table with its features: {repair_command(uri)}"
        )
        return cls([Problem(f"model {uri!r}", "its signature has only inputs, and no input example was saved", fix)])

    @classmethod
    def outputs_not_inferable(cls, uri: str, cause: str) -> ModelError:
        fix = (
            "log the model again with signature=infer_signature(X, model.predict(X)); "
            f"or have one made from a table with its features: {repair_command(uri)}"
        )
        text = f"its signature has only inputs, and predicting on its saved input example failed: {cause}"
        return cls([Problem(f"model {uri!r}", text, fix)])

    @classmethod
    def bad_server(cls, name: str, uri: str, cause: str) -> ModelError:
        fix = "write it like postgresql://user:password@host:5432/mlflow"
        return cls([Problem(f"{name} {uri}", f"it is not a URI: {cause}", fix)])

    @classmethod
    def no_cache(cls, folder: str | None, cause: str) -> ModelError:
        fix = "set SPARK_SCORING_CACHE to a folder of your own that can be written"
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
    def not_loadable(cls, uri: str, cause: str, *, own_packages: bool = False) -> ModelError:
        fix = "install what its requirements.txt lists, or let the job do so for this model: environment: isolated"
        if own_packages:
            fix = "log it again with what is missing: pip_requirements=[...] for a package, code_paths=[...] for a file"
        if "__main__" in cause:  # of the script or notebook that trained it
            fix = "move what is missing to a file, import it from there, and log both again: code_paths=['own_code.py']"
        return cls([Problem(f"model {uri!r}", f"it does not load in this environment: {cause}", fix)])

    @classmethod
    def ends_process(cls, uri: str) -> ModelError:
        cause = "while it loads, it ends the process that loads it (sys.exit or os._exit)"
        return cls([Problem(f"model {uri!r}", cause, "let it raise an error instead, and log it again")])

    @classmethod
    def process_hangs(cls) -> ModelError:
        cause = "one that was given up when its job's timeout was over still runs, and models run one at a time"
        return cls([Problem("models of this process", cause, "start a new process, and leave that model out")])

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
        cause = "it has an at-sign behind its host, so it is not clear where it leads; nothing was fetched"
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


def repair_command(uri: str) -> str:
    """The command that gives a model a whole signature; one that is not registered needs a name for it."""
    registered = uri.startswith("models:/") and not uri.startswith("models:/m-")
    return f"spark-scoring repair {shlex.quote(uri)} --example TABLE" + ("" if registered else " --name NAME")
