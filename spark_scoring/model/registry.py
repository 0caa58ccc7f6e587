"""A model URI becomes one pinned version and its local artifact: once, on the driver.

An alias can move while a job runs, so it is read once. URIs are parsed here, since MLflow's own messages for a wrong
one mislead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_scoring.model.artifacts import copy_folder, download
from spark_scoring.model.errors import ModelError
from spark_scoring.model.mlflow_servers import asked_servers, check_registry_file, mlflow_at, require_mlflow
from spark_scoring.model.pinned import PinnedModel
from spark_scoring.model.registered_versions import version_artifact, version_meant
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
)
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mlflow import MlflowClient


_PLAIN_NAME = re.compile(r"([\w.-]+)(/\d+|@[\w-]+)?")
"""Of a registered model, perhaps with its version or alias, as people write it without ``models:/``."""


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
    require_mlflow()
    if is_asked_of_mlflow(uri):
        door.check_servers(uri, (tracking_uri, registry_uri, named_server(uri)), asked_servers())
    return _pinned(uri, tracking_uri, registry_uri, door)


def pin_model(uri: str) -> PinnedModel:
    """As ``resolve_model``, whatever may be loaded here: for a model that this very process has logged."""
    require_mlflow()
    return _pinned(uri, None, None, None)


def check_servers(uri: str, tracking_uri: str | None, registry_uri: str | None) -> None:
    """Refuse servers that a model may not be asked for at, where they become MLflow's own settings afterwards.

    Raises:
        ModelError: one is not the environment's, and patterns hold.

    """
    require_mlflow()
    Door().check_servers(uri, (tracking_uri, registry_uri), asked_servers())


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
    check_registry_file(uri)
    if match := LOGGED.fullmatch(uri):
        uri = f"models:/{match['id']}"
        return _Wanted(uri, (uri,), _downloads(uri, uri), key=("logged", *asked_servers(), match["id"]))
    if match := REGISTERED.fullmatch(uri):
        return _wanted_version(client, uri, match["name"], match["version"], match["alias"])
    if match := RUN.fullmatch(uri):
        if not is_plain_path(match["path"]):
            raise ModelError.not_plain(uri)
        uri = f"runs:/{match['run']}/{match['path']}"
        return _Wanted(uri, (uri,), _downloads(uri, uri))
    raise ModelError.bad_uri(uri, near_uri(uri))


def _wanted_version(client: type[MlflowClient], uri: str, name: str, version: str | None, alias: str | None) -> _Wanted:
    found, notes = version_meant(client, uri, name, version, alias)
    number = str(found.version)
    source = str(found.source or "")
    logged = source.removeprefix("models:/") if source.startswith("models:/m-") else source

    def fetch(folder: Path) -> Path:
        return download(uri, version_artifact(client, uri, name, number), folder)

    key = ("registered", *asked_servers(), name, number, logged)
    return _Wanted(uri, (name, f"models:/{name}/{number}"), fetch, key, name, number, notes)


def _wanted_folder(uri: str) -> _Wanted:
    """A model in a local folder; known by where it really is, whatever its URI looks like."""
    named = folder_of(uri)
    if named is None:
        raise ModelError.bad_uri(uri, near_uri(uri))
    folder = named.absolute()
    if not folder.exists() and (plain := _PLAIN_NAME.fullmatch(uri)):
        raise ModelError.plain_name(uri, plain[1], plain[2])
    if not (folder / "MLmodel").is_file():
        cause = f"{folder} holds no MLmodel file" if folder.is_dir() else f"there is no folder {folder}"
        raise ModelError.no_artifact(uri, cause)
    real = folder.resolve()
    return _Wanted(uri, (str(real),), lambda target: copy_folder(uri, real, target), folder=real)


def _downloads(uri: str, artifact_uri: str) -> Callable[[Path], Path]:
    return lambda folder: download(uri, artifact_uri, folder)
