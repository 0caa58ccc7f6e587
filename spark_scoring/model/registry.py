"""A model URI becomes one pinned version and its local artifact: once, on the driver.

An alias can move while a job runs, so it is read once. MLflow's own messages for a wrong URI mislead
(a missing alias is INVALID_PARAMETER_VALUE, a missing version "Logged model not found"), so URIs are parsed
here and errors name what exists.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import ModelError, first_line
from spark_scoring.model.trust import check_trust
from spark_scoring.model.uris import (
    LOGGED,
    REGISTERED,
    RUN,
    as_mlflow_reads,
    folder_of,
    is_asked_of_mlflow,
    is_stored,
    leads_elsewhere,
    near_uri,
    scheme_of,
)
from spark_scoring.model.waiting import NoAnswer, answer_of, fetched
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

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
_READ_AT_ONCE = 2**20
_CACHED_MODELS = 16
_KEPT_AT_LEAST_SECONDS = 3 * 24 * 3600


@dataclass(frozen=True)
class PinnedModel:
    """One version of a model and the folder its artifact lies in; the folder is ours and does not change."""

    uri: str
    name: str | None
    version: str | None
    path: str
    digest: str
    """sha256 over the relative names and bytes of the artifact's files."""
    notes: tuple[str, ...] = ()
    """What whoever reads the plan should know of how the URI was understood."""


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
    model = pin_model(uri, tracking_uri=tracking_uri, registry_uri=registry_uri)
    check_trust(model, allow_models=allow_models, expect_digest=expect_digest)
    return model


def pin_model(uri: str, *, tracking_uri: str | None = None, registry_uri: str | None = None) -> PinnedModel:
    """As ``resolve_model``, whatever may be loaded here: for a model that this very process has logged."""
    _require_mlflow()
    if not is_asked_of_mlflow(uri):
        return _resolve_folder(uri)
    with mlflow_at(tracking_uri, registry_uri) as client:
        if is_stored(uri):
            return _fetch_unpinned(uri.rstrip("/"), as_mlflow_reads(uri.rstrip("/")))
        _check_registry_file(uri)
        if match := LOGGED.fullmatch(uri):
            return _fetch(f"models:/{match['id']}", f"models:/{match['id']}", key=("logged", match["id"]))
        if match := REGISTERED.fullmatch(uri):
            return _resolve_registered(client, uri, match["name"], match["version"], match["alias"])
        if match := RUN.fullmatch(uri):
            return _fetch_unpinned(f"runs:/{match['run']}/{match['path']}", f"runs:/{match['run']}/{match['path']}")
    raise ModelError.bad_uri(uri, near_uri(uri))


def digest_of(folder: str | Path) -> str:
    """sha256 over relative names and bytes of a folder's files, in name order."""
    root = Path(folder)
    total = hashlib.sha256()
    for file in sorted(p for p in root.rglob("*") if p.is_file() and not _is_by_product(p)):
        content = hashlib.sha256()
        with file.open("rb") as stream:
            while part := stream.read(_READ_AT_ONCE):
                content.update(part)
        total.update(f"{file.relative_to(root).as_posix()}\0{content.hexdigest()}\n".encode())
    return total.hexdigest()


def _is_by_product(file: Path) -> bool:
    """What MLflow and Python write into a model's folder after it was made."""
    return file.name == "registered_model_meta" or file.suffix == ".pyc"


def cache_folder() -> Path:
    """Where artifacts are kept: ``$SPARK_SCORING_CACHE``, else ``spark_scoring/models`` in the user's cache folder."""
    if chosen := os.environ.get("SPARK_SCORING_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spark_scoring" / "models"


@contextmanager
def mlflow_at(tracking_uri: str | None, registry_uri: str | None) -> Iterator[type[MlflowClient]]:
    """The client class, which then talks to the given servers; MLflow's process-wide settings are as before afterwards.

    MLflow resolves ``models:/`` URIs through its global settings whatever the client says, so these are set
    while we need them.
    """
    _require_mlflow()
    import mlflow

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


def _resolve_registered(
    client: type[MlflowClient], uri: str, name: str, version: str | None, alias: str | None
) -> PinnedModel:
    if (version or alias or "").lower() == "latest":  # MLflow reserves it: no version has it as an alias
        version = alias = None
    try:
        found, artifact, notes = answer_of(lambda: _asked(client, uri, name, version, alias), _registry_uri())
    except NoAnswer as error:
        raise ModelError.registry_silent(uri, registry_name(), str(error)) from None
    number = str(found.version)
    source = str(found.source or "")
    logged = source.removeprefix("models:/") if source.startswith("models:/m-") else source
    key = ("registered", registry_name(), name, number, logged)
    return replace(_fetch(uri, artifact, key=key, name=name, version=number), notes=notes)


def _asked(
    client_class: type[MlflowClient], uri: str, name: str, version: str | None, alias: str | None
) -> tuple[ModelVersion, str, tuple[str, ...]]:
    """What the registry is asked: the version, the URI of its artifact, and what to say of how it was found."""
    client = _connected(client_class, uri)
    notes: tuple[str, ...] = ()
    if version is None or re.fullmatch("[0-9]+", version):
        found = _version_of(client, uri, name, version, alias)
    else:
        found, notes = _version_in_stage(client, uri, name, version)
    return found, _artifact_of(client, uri, name, str(found.version)), notes


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


def _resolve_folder(uri: str) -> PinnedModel:
    named = folder_of(uri)
    if named is None:
        raise ModelError.bad_uri(uri, near_uri(uri))
    folder = named.absolute()
    if not (folder / "MLmodel").is_file():
        cause = f"{folder} holds no MLmodel file" if folder.is_dir() else f"there is no folder {folder}"
        raise ModelError.no_artifact(uri, cause)
    return PinnedModel(uri=redact(uri), name=None, version=None, path=str(folder), digest=digest_of(folder))


def _fetch_unpinned(uri: str, artifact_uri: str) -> PinnedModel:
    """Fetch what may change, such as a run's artifact: each time anew.

    Raises:
        ModelError: a part of the path is ``..``, so that a pattern of ``allow_models`` may match another place.

    """
    if leads_elsewhere(uri):
        raise ModelError.leads_elsewhere(uri)
    return _fetch(uri, artifact_uri, key=None)


def _fetch(
    uri: str,
    artifact_uri: str,
    *,
    key: tuple[str, ...] | None,
    name: str | None = None,
    version: str | None = None,
) -> PinnedModel:
    """Download into our own folder: without one, MLflow hands out the registry's own directory or a stray copy.

    A key names what never changes (a version of a registered model, a logged model); its folder is reused. An
    artifact of a run or a storage has none and is fetched each time.
    """
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".fetch-", dir=cache))
    except OSError as error:
        raise ModelError.no_cache(str(cache), error.strerror or str(error)) from error
    try:
        target = cache / hashlib.sha256("\0".join(key).encode()).hexdigest()[:32] if key else None
        if target is None or not (target / "MLmodel").is_file():
            model = _download(uri, artifact_uri, fresh)
            target = target or cache / digest_of(model)[:32]
            _move_into_place(model, target)
        target.touch()
        pinned = PinnedModel(uri=redact(uri), name=name, version=version, path=str(target), digest=digest_of(target))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    _drop_oldest(cache)
    return pinned


def _download(uri: str, artifact_uri: str, folder: Path) -> Path:
    """Fetch the artifact into the folder; where in it the model lies (a run's artifact keeps its own path)."""
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


def _move_into_place(fresh: Path, target: Path) -> None:
    """Atomic: of two processes that fetch the same model, one wins and both use its folder."""
    fresh.chmod(0o755)
    try:
        fresh.rename(target)
    except OSError:
        if not (target / "MLmodel").is_file():
            raise


def _drop_oldest(cache: Path) -> None:
    """Keep the artifacts used last, and any that a running job may still load from."""
    kept = sorted((p for p in cache.iterdir() if (p / "MLmodel").is_file()), key=lambda p: p.stat().st_mtime)
    for old in kept[:-_CACHED_MODELS]:
        if time.time() - old.stat().st_mtime > _KEPT_AT_LEAST_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
