"""A model URI becomes one pinned version and its local artifact: once, on the driver.

An alias can move while a job runs, so it is read once. MLflow's own messages for a wrong URI mislead
(a missing alias is INVALID_PARAMETER_VALUE, a missing version "Logged model not found"), so URIs are parsed
here and errors name what exists.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from spark_scoring.errors import first_line
from spark_scoring.model.errors import ModelError
from spark_scoring.model.pinned import PinnedModel
from spark_scoring.model.sealed import digest_of
from spark_scoring.model.store import kept_copy, known_copy
from spark_scoring.model.trust import Door
from spark_scoring.model.uris import (
    LOGGED,
    REGISTERED,
    RUN,
    as_mlflow_reads,
    folder_of,
    hides_host,
    is_asked_of_mlflow,
    is_plain_path,
    is_stored,
    leads_elsewhere,
    named_server,
    near_uri,
    scheme_of,
)
from spark_scoring.model.waiting import NoAnswer, answer_of, fetched
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_T = TypeVar("_T")
_STAGES = {stage.lower(): stage for stage in ("Production", "Staging", "Archived", "None")}
_NO_STAGES = ("databricks-uc", "uc")
"""Schemes of registries that never had stages: Unity Catalog's."""
_MISREAD = re.compile(r"[?@\t\r\n]")
"""What a registered name may hold but MLflow reads otherwise in a ``models:/`` URI."""
_CLIENTS = {
    "azure": "azure-identity azure-storage-blob azure-storage-file-datalake",
    "boto3": "boto3",
    "botocore": "boto3",
    "databricks": "databricks-sdk",
    "google": "google-cloud-storage",
    "paramiko": "paramiko pysftp",
    "pysftp": "paramiko pysftp",
}
"""The packages that MLflow needs for a storage, by the module that it does not find."""
_REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


@dataclass(frozen=True)
class _Wanted:
    """A model that was found and of which nothing is fetched yet."""

    uri: str
    names: tuple[str, ...]
    """What patterns may match; the first is what errors call it."""
    fetch: Callable[[Path], Path]
    """Puts its artifact into a folder; where in it the model lies."""
    key: tuple[str, ...] | None = None
    """Names what never changes (a version of a registered model, a logged model); None: it is fetched each time."""
    name: str | None = None
    version: str | None = None
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    """The local folder that it lies in."""


def resolve_model(
    uri: str,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    allow_models: Sequence[str] | None = None,
    expect_digest: str | None = None,
) -> PinnedModel:
    """Pin the model that a URI means now and fetch its artifact into the local cache.

    Args:
        uri: ``models:/name/3``, ``models:/name@alias``, ``models:/name/latest`` or ``models:/name`` (both the
            highest version number), ``models:/name/Production`` (the highest of a stage, with a note),
            ``models:/m-<id>``, ``runs:/<run id>/<path>``, an artifact URI that MLflow fetches from
            (``s3://bucket/model``, ``mlflow-artifacts:/...``) or a model folder, as a path or a ``file:`` URI.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings (``MLFLOW_TRACKING_URI``, ...).
        allow_models, expect_digest: see ``spark_scoring.model.trust``.

    Raises:
        ModelError: a malformed URI, or no such model, version, alias, stage or artifact; names what exists. Or a
            model that may not be loaded.

    """
    door = Door(allow_models, expect_digest)
    _require_mlflow()
    if is_asked_of_mlflow(uri):
        door.check_servers(uri, (tracking_uri, registry_uri, named_server(uri)), _servers())
    return _pinned(uri, tracking_uri, registry_uri, door)


def pin_model(uri: str) -> PinnedModel:
    """As ``resolve_model``, whatever may be loaded here: for a model that this very process has logged."""
    _require_mlflow()
    return _pinned(uri, None, None, None)


def check_servers(uri: str, tracking_uri: str | None, registry_uri: str | None) -> None:
    """Refuse servers that a model may not be asked for at, where they become MLflow's own settings afterwards.

    Raises:
        ModelError: one is not the environment's, and patterns hold.

    """
    _require_mlflow()
    Door().check_servers(uri, (tracking_uri, registry_uri), _servers())


def _servers() -> list[str]:
    """The tracking server and the registry that MLflow asks now."""
    import mlflow

    return [str(mlflow.get_tracking_uri()), str(mlflow.get_registry_uri())]


def _pinned(uri: str, tracking_uri: str | None, registry_uri: str | None, door: Door | None) -> PinnedModel:
    if not is_asked_of_mlflow(uri):
        return _brought_in(_wanted_folder(uri), door)
    with mlflow_at(tracking_uri, registry_uri) as client:
        return _brought_in(_wanted(uri, client), door)


def _brought_in(wanted: _Wanted, door: Door | None) -> PinnedModel:
    """Check the name, fetch, check the digest of what is then loaded."""
    if door is not None:
        door.check_name(wanted.names)
    copy = known_copy(_digest_where_it_lies(wanted)) if wanted.folder is not None else None
    copy = copy or kept_copy(wanted.names[0], wanted.fetch, wanted.key)
    if door is not None:
        door.check_digest(wanted.names[0], copy.digest)
    return PinnedModel(redact(wanted.uri), wanted.name, wanted.version, copy.folder, copy.digest, wanted.notes)


def _digest_where_it_lies(wanted: _Wanted) -> str:
    try:
        return digest_of(str(wanted.folder))
    except OSError as error:
        raise ModelError.not_copied(wanted.uri, error.strerror or str(error)) from error


def _wanted(uri: str, client: type[MlflowClient]) -> _Wanted:
    """Ask the registry what a URI means now.

    Raises:
        ModelError: not a URI of a model, or one whose text does not say where it leads.

    """
    if is_stored(uri):
        uri = uri.rstrip("/")
        if leads_elsewhere(uri):
            raise ModelError.leads_elsewhere(uri)
        if hides_host(uri):
            raise ModelError.hidden_host(uri)
        return _Wanted(uri, (redact(uri),), _downloads(uri, as_mlflow_reads(uri)))
    _check_registry_file(uri)
    if match := LOGGED.fullmatch(uri):
        uri = f"models:/{match['id']}"
        return _Wanted(uri, (uri,), _downloads(uri, uri), key=("logged", *_servers(), match["id"]))
    if match := REGISTERED.fullmatch(uri):
        return _wanted_version(client, uri, match["name"], match["version"], match["alias"])
    if match := RUN.fullmatch(uri):
        if not is_plain_path(match["path"]):
            raise ModelError.not_plain(uri)
        uri = f"runs:/{match['run']}/{match['path']}"
        return _Wanted(uri, (uri,), _downloads(uri, uri))
    raise ModelError.bad_uri(uri, near_uri(uri))


@contextmanager
def mlflow_at(tracking_uri: str | None, registry_uri: str | None) -> Iterator[type[MlflowClient]]:
    """The client class, which then talks to the given servers; MLflow's process-wide settings are as before afterwards.

    MLflow resolves ``models:/`` URIs through its global settings whatever the client says, so these are set
    while we need them.
    """
    _require_mlflow()
    import mlflow

    for name, server in (("tracking_uri", tracking_uri), ("registry_uri", registry_uri)):
        _check_server(name, server or "")
    tracking_was = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    registry_was = os.environ.get(_REGISTRY_VARIABLE)  # set_registry_uri leaves its value here, too
    try:
        if tracking_uri is not None:
            mlflow.set_tracking_uri(tracking_uri)
        if registry_uri is not None:
            mlflow.set_registry_uri(registry_uri)
        yield mlflow.MlflowClient
    finally:
        if tracking_uri is not None:
            mlflow.set_tracking_uri(tracking_was)
        if registry_uri is not None:
            mlflow.set_registry_uri(registry_was)
            if registry_was is None:
                os.environ.pop(_REGISTRY_VARIABLE, None)


def _check_server(name: str, uri: str) -> None:
    try:
        urlsplit(uri)
    except ValueError as error:
        raise ModelError.bad_server(name, uri, str(error)) from None


def _require_mlflow() -> None:
    if find_spec("mlflow") is None:
        raise ModelError.no_mlflow()


def _check_registry_file(uri: str) -> None:
    """MLflow would make a missing sqlite file, with all its tables, and then say that the model is not in it."""
    import mlflow

    for server in {mlflow.get_tracking_uri(), mlflow.get_registry_uri()}:
        file = server.removeprefix("sqlite:///")
        if file not in (server, "", ":memory:") and not Path(file).is_file():
            raise ModelError.no_registry_file(uri, str(Path(file).absolute()))


def _connected(client: type[MlflowClient], uri: str) -> MlflowClient:
    """A client; making one connects to its store, which raises what it likes."""
    try:
        return client()
    except Exception as error:
        raise _failed(uri, error) from error


def _failed(uri: str, error: Exception) -> ModelError:
    """The registry did not answer."""
    return ModelError.registry_failed(uri, registry_name(), f"{type(error).__name__}: {first_line(error)}")


def _wanted_version(client: type[MlflowClient], uri: str, name: str, version: str | None, alias: str | None) -> _Wanted:
    if (version or alias or "").lower() == "latest":  # MLflow reserves it: no version has it as an alias
        version = alias = None
    found, notes = _answered(uri, lambda: _found_version(_connected(client, uri), uri, name, version, alias))
    number = str(found.version)
    source = str(found.source or "")
    logged = source.removeprefix("models:/") if source.startswith("models:/m-") else source

    def fetch(folder: Path) -> Path:
        artifact = _answered(uri, lambda: _artifact_of(_connected(client, uri), uri, name, number))
        return _download(uri, artifact, folder)

    key = ("registered", *_servers(), name, number, logged)
    return _Wanted(uri, (name, f"models:/{name}/{number}"), fetch, key, name, number, notes)


def _answered(uri: str, ask: Callable[[], _T]) -> _T:
    """What the registry answers, if it does."""
    try:
        return answer_of(ask, _registry_uri())
    except NoAnswer as error:
        raise ModelError.registry_silent(uri, registry_name(), str(error)) from None


def _found_version(
    client: MlflowClient, uri: str, name: str, version: str | None, alias: str | None
) -> tuple[ModelVersion, tuple[str, ...]]:
    """The version that is meant, and what to say of how it was found."""
    if version is None or re.fullmatch("[0-9]+", version):
        return _version_of(client, uri, name, version, alias), ()
    return _version_in_stage(client, uri, name, version)


def _artifact_of(client: MlflowClient, uri: str, name: str, number: str) -> str:
    if not _MISREAD.search(name):
        return f"models:/{name}/{number}"
    try:
        return str(client.get_model_version_download_uri(name, number))
    except Exception as error:
        raise _failed(uri, error) from error


def _version_of(client: MlflowClient, uri: str, name: str, number: str | None, alias: str | None) -> ModelVersion:
    """The version of a number or an alias, without either the newest."""
    from mlflow.exceptions import MlflowException

    try:
        if alias is not None:
            return client.get_model_version_by_alias(name, alias)
        if number is not None:
            return client.get_model_version(name, number)
        versions = all_versions(client, name)
    except MlflowException as error:
        raise _explain_missing(client, uri, name, number, alias, error) from error
    except Exception as error:  # a store raises what its driver raises
        raise _failed(uri, error) from error
    if versions:
        return _newest(versions)
    raise _explain_missing(client, uri, name, number, alias, None)


def _version_in_stage(client: MlflowClient, uri: str, name: str, word: str) -> tuple[ModelVersion, tuple[str, ...]]:
    """The newest version of a stage, and what to say of it."""
    from mlflow.exceptions import MlflowException

    stage = _STAGES.get(word.lower())
    if stage is not None and registry_name().partition(":")[0] in _NO_STAGES:
        raise ModelError.no_stages(uri, name, stage, registry_name())
    try:
        aliases = sorted(client.get_registered_model(name).aliases)
        versions = all_versions(client, name)
    except MlflowException as error:
        raise _explain_missing(client, uri, name, None, None, error) from error
    except Exception as error:
        raise _failed(uri, error) from error
    if stage is None:
        raise ModelError.not_a_version(uri, name, word, list(_STAGES.values()), aliases, _numbers(versions))
    if versions and not any(v.current_stage for v in versions):
        raise ModelError.no_stages(uri, name, stage, registry_name())
    staged = {of: [v for v in versions if v.current_stage == of] for of in _STAGES.values()}
    if not staged[stage]:
        raise ModelError.empty_stage(uri, name, stage, {of: _numbers(held) for of, held in staged.items() if held})
    newest = _newest(staged[stage])
    note = (
        f"{stage} is a stage, which MLflow deprecates; its newest version is scored, which is "
        f"models:/{name}/{newest.version} today; an alias does what a stage did: "
        f"models:/{name}@{stage.lower()}, once a version has it"
    )
    return newest, (note,)


def _newest(versions: Sequence[ModelVersion]) -> ModelVersion:
    return max(versions, key=lambda v: int(v.version))


def _numbers(versions: Sequence[ModelVersion]) -> list[str]:
    return sorted((str(v.version) for v in versions), key=int)


def _explain_missing(
    client: MlflowClient, uri: str, name: str, number: str | None, alias: str | None, error: Any | None
) -> ModelError:
    """What is missing, and what exists instead; the registry's own words where it did not answer at all."""
    from mlflow.exceptions import MlflowException

    registry = registry_name()
    if error is not None and error.error_code not in _NOT_THERE:
        return _failed(uri, error)
    try:
        model = client.get_registered_model(name)
    except MlflowException as missing:
        if missing.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            return _failed(uri, missing)
        return ModelError.no_model(uri, name, registry, _model_names(client))
    try:
        versions = _numbers(all_versions(client, name))
    except MlflowException as refused:
        return _failed(uri, refused)
    if alias is not None:
        return ModelError.no_alias(uri, name, alias, sorted(model.aliases), versions)
    if number is None:
        return ModelError.no_versions(uri, name)
    return ModelError.no_version(uri, name, number, versions)


def all_versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Every version of a registered model, as the registry's search has them: without aliases, on Databricks tags.

    MLflow's filter takes a quoted text as it stands and has no escape for the quote, so a name with an apostrophe is
    searched by a pattern and compared here.
    """
    if "'" not in name:
        return _search(client, f"name='{name}'")
    pattern = re.sub(r"[^\w ]", "_", name)
    return [version for version in _search(client, f"name LIKE '{pattern}'") if version.name == name]


def _search(client: MlflowClient, filter_string: str) -> list[ModelVersion]:
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(filter_string, max_results=1000, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _model_names(client: MlflowClient) -> list[str]:
    from mlflow.exceptions import MlflowException

    try:
        return [m.name for m in client.search_registered_models(max_results=100)]
    except MlflowException:  # Unity Catalog: listing may be refused where reading one model is not
        return []


def registry_name() -> str:
    """The registry's URI without secrets."""
    return redact(_registry_uri())


def _registry_uri() -> str:
    import mlflow

    return str(mlflow.get_registry_uri())


def _wanted_folder(uri: str) -> _Wanted:
    """A model in a local folder; known by where it really is, whatever its URI looks like."""
    named = folder_of(uri)
    if named is None:
        raise ModelError.bad_uri(uri, near_uri(uri))
    folder = named.absolute()
    if not folder.exists() and re.fullmatch(r"[\w.-]+", uri):
        raise ModelError.plain_name(uri)
    if not (folder / "MLmodel").is_file():
        cause = f"{folder} holds no MLmodel file" if folder.is_dir() else f"there is no folder {folder}"
        raise ModelError.no_artifact(uri, cause)
    real = folder.resolve()
    return _Wanted(uri, (str(real),), lambda target: _copy_folder(uri, real, target), folder=real)


def _copy_folder(uri: str, folder: Path, target: Path) -> Path:
    try:
        return Path(shutil.copytree(folder, target / "model", symlinks=True))
    except (OSError, shutil.Error) as error:
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or str(error)
        raise ModelError.not_copied(uri, reason) from error


def _downloads(uri: str, artifact_uri: str) -> Callable[[Path], Path]:
    return lambda folder: _download(uri, artifact_uri, folder)


def _download(uri: str, artifact_uri: str, folder: Path) -> Path:
    """Fetch the artifact into the folder; where in it the model lies (a run's artifact keeps its own path).

    Without a folder of ours, MLflow hands out the registry's own or a stray copy.
    """
    import mlflow.artifacts

    def fetch() -> Path:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=artifact_uri, dst_path=str(folder)))

    server = _server_of(artifact_uri)
    try:
        model = fetched(fetch, server, folder)
    except NoAnswer as error:
        raise ModelError.registry_silent(uri, redact(server), str(error)) from None
    except Exception as error:  # MLflow raises what its artifact store's own client raises
        raise _not_fetched(uri, error) from error
    if not (model / "MLmodel").is_file():
        raise ModelError.no_artifact(uri, "the artifact holds no MLmodel file")
    return model


def _server_of(artifact_uri: str) -> str:
    """Whom MLflow asks for an artifact first."""
    import mlflow

    if REGISTERED.fullmatch(artifact_uri) and not LOGGED.fullmatch(artifact_uri):
        return _registry_uri()
    is_direct = is_stored(artifact_uri) and scheme_of(artifact_uri) != "mlflow-artifacts"
    return artifact_uri if is_direct else str(mlflow.get_tracking_uri())


def _not_fetched(uri: str, error: Exception) -> ModelError:
    cause = f"its artifact cannot be fetched: {first_line(error)}"
    missing = str(error.name).partition(".")[0] if isinstance(error, ImportError) else ""
    if missing in _CLIENTS:
        return ModelError.no_storage_client(uri, cause, _CLIENTS[missing])
    return ModelError.not_fetched(uri, cause) if is_stored(uri) else ModelError.no_artifact(uri, cause)
