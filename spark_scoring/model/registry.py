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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import ModelError, first_line
from spark_scoring.model.trust import check_trust
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_REGISTERED = re.compile(r"models:/+(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))?")
_LOGGED = re.compile(r"models:/+(?P<id>m-[0-9a-f]{32})")
_RUN = re.compile(r"runs:/+(?P<run>[0-9a-zA-Z]+)/(?P<path>.+)")
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
            highest version number), ``models:/m-<id>``, ``runs:/<run id>/<path>`` or a model folder.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings (``MLFLOW_TRACKING_URI``, ...).
        allow_models, expect_digest: see ``spark_scoring.model.trust``.

    Raises:
        ModelError: a malformed URI, or no such model, version, alias or artifact; names what exists. Or a model
            that may not be loaded.

    """
    model = _resolve(uri, tracking_uri, registry_uri)
    check_trust(model, allow_models=allow_models, expect_digest=expect_digest)
    return model


def _resolve(uri: str, tracking_uri: str | None, registry_uri: str | None) -> PinnedModel:
    try:
        import mlflow  # noqa: F401
    except ImportError as error:
        raise ModelError.no_mlflow() from error
    if not uri.startswith(("models:/", "runs:/")):
        return _resolve_folder(uri)
    with _mlflow_at(tracking_uri, registry_uri) as client:
        _check_registry_file(uri)
        if match := _LOGGED.fullmatch(uri):
            return _fetch(uri, uri, key=("logged", match["id"]))
        if match := _REGISTERED.fullmatch(uri):
            return _resolve_registered(_connected(client, uri), uri, match["name"], match["version"], match["alias"])
        if _RUN.fullmatch(uri):
            return _fetch(uri, uri, key=None)
    raise ModelError.bad_uri(uri)


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
def _mlflow_at(tracking_uri: str | None, registry_uri: str | None) -> Iterator[type[MlflowClient]]:
    """The client class, which then talks to the given servers; MLflow's process-wide settings are as before afterwards.

    MLflow resolves ``models:/`` URIs through its global settings whatever the client says, so these are set
    while we need them.
    """
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
    return ModelError.registry_failed(uri, _registry_name(), f"{type(error).__name__}: {first_line(error)}")


def _resolve_registered(
    client: MlflowClient, uri: str, name: str, version: str | None, alias: str | None
) -> PinnedModel:
    if version is not None and version != "latest" and not version.isdigit():
        raise ModelError.stage(uri, version)
    found = _version_of(client, uri, name, version, alias)
    number = str(found.version)
    source = str(found.source or "")
    logged = source.removeprefix("models:/") if source.startswith("models:/m-") else source
    key = ("registered", _registry_name(), name, number, logged)
    return _fetch(uri, f"models:/{name}/{number}", key=key, name=name, version=number)


def _version_of(client: MlflowClient, uri: str, name: str, version: str | None, alias: str | None) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        if alias is not None:
            return client.get_model_version_by_alias(name, alias)
        if version is not None and version != "latest":
            return client.get_model_version(name, version)
        versions = _versions(client, name)
    except MlflowException as error:
        raise _explain_missing(client, uri, name, version, alias, error) from error
    except Exception as error:  # a store raises what its driver raises
        raise _failed(uri, error) from error
    if versions:
        return max(versions, key=lambda v: int(v.version))
    raise _explain_missing(client, uri, name, version, alias, None)


def _explain_missing(
    client: MlflowClient, uri: str, name: str, version: str | None, alias: str | None, error: Any | None
) -> ModelError:
    """What is missing, and what exists instead; the registry's own words where it did not answer at all."""
    from mlflow.exceptions import MlflowException

    registry = _registry_name()
    if error is not None and error.error_code not in _NOT_THERE:
        return _failed(uri, error)
    try:
        model = client.get_registered_model(name)
    except MlflowException as missing:
        if missing.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            return _failed(uri, missing)
        return ModelError.no_model(uri, name, registry, _model_names(client))
    versions = sorted((str(v.version) for v in _versions(client, name)), key=int)
    if alias is not None:
        return ModelError.no_alias(uri, name, alias, sorted(model.aliases), versions)
    if version in (None, "latest"):
        return ModelError.no_versions(uri, name)
    return ModelError.no_version(uri, name, str(version), versions)


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    escaped = name.replace("'", "''")
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name='{escaped}'", max_results=1000, page_token=token)
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


def _registry_name() -> str:
    """The registry's URI without secrets."""
    import mlflow

    return redact(str(mlflow.get_registry_uri()))


def _resolve_folder(uri: str) -> PinnedModel:
    text = re.sub(r"^file:/*(?=/)", "", uri)
    if re.match(r"[a-z][a-z0-9+.-]*:", text):
        raise ModelError.bad_uri(uri)
    folder = Path(text).absolute()
    if not (folder / "MLmodel").is_file():
        cause = f"{folder} holds no MLmodel file" if folder.is_dir() else f"there is no folder {folder}"
        raise ModelError.no_artifact(uri, cause)
    return PinnedModel(uri=redact(uri), name=None, version=None, path=str(folder), digest=digest_of(folder))


def _fetch(
    uri: str,
    artifact_uri: str,
    *,
    key: tuple[str, ...] | None,
    name: str | None = None,
    version: str | None = None,
) -> PinnedModel:
    """Download into our own folder: without one, MLflow hands out the registry's own directory or a stray copy.

    A key names what never changes (a version of a registered model, a logged model); its folder is reused. A
    run's artifact has none and is fetched each time.
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

    try:
        model = Path(mlflow.artifacts.download_artifacts(artifact_uri=artifact_uri, dst_path=str(folder)))
    except Exception as error:  # MLflow raises what its artifact store's own client raises
        raise ModelError.no_artifact(uri, f"its artifact cannot be fetched: {first_line(error)}") from error
    if not (model / "MLmodel").is_file():
        raise ModelError.no_artifact(uri, "the artifact holds no MLmodel file")
    return model


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
