"""Which kind of model a URI names, told by its text: MLflow's own messages for a wrong URI mislead."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from spark_scoring.redact import redact

REGISTERED = re.compile(r"models:/+(?P<name>[^/]*?[^/@])(?:/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))?/*")
LOGGED = re.compile(r"models:/+(?P<id>m-[0-9a-f]{32})/*")
RUN = re.compile(r"runs:/+(?P<run>[0-9a-zA-Z]+)/(?P<path>.*[^/])/*")

_SAME_STORAGE = {"s3a": "s3", "s3n": "s3", "abfs": "abfss", "wasb": "wasbs"}
"""Hadoop's names for storage that MLflow knows by another."""
_OF_MLFLOW = ("models", "runs")
_NEAR = 0.75


def scheme_of(uri: str) -> str | None:
    """The scheme of a URI in lower case; None for a plain path."""
    match = re.match(r"([a-z][a-z0-9+.-]*):", uri, re.IGNORECASE)
    return match[1].lower() if match else None


def is_asked_of_mlflow(uri: str) -> bool:
    """Whether MLflow says where it lies, or fetches it: a model of a registry or a run, or an artifact URI."""
    return uri.startswith(("models:/", "runs:/")) or is_stored(uri)


def is_stored(uri: str) -> bool:
    """Whether it is an artifact URI, such as ``s3://bucket/model``: of a storage that MLflow fetches from."""
    scheme = scheme_of(uri)
    return scheme is not None and (scheme in _SAME_STORAGE or scheme in _storages())


def as_mlflow_reads(uri: str) -> str:
    """An artifact URI with the scheme that MLflow knows its storage by."""
    scheme = str(scheme_of(uri))
    if scheme in _storages():
        return uri
    return _SAME_STORAGE[scheme] + uri[len(scheme) :]


def leads_elsewhere(uri: str) -> bool:
    """Whether a part of its path is ``..``, plain or encoded: its text then does not say where it leads."""
    while (decoded := unquote(uri)) != uri:
        uri = decoded
    return ".." in re.split(r"[/\\?#]", uri)


def is_plain_path(path: str) -> bool:
    """Whether a path is of plain names, however it is joined and decoded: it then leads into what it is joined to."""
    return all(re.fullmatch(r"[^/\\?#%\x00-\x1f]+", part) and part not in (".", "..") for part in path.split("/"))


def server_of(uri: str) -> str:
    """``host:port`` of a URI, without who asks; empty where it has none."""
    return _authority(uri).rpartition("@")[2].lower()


def named_server(uri: str) -> str | None:
    """The server that an artifact URI names for itself.

    Of ``mlflow-artifacts://host:port/path`` it is the host, of ``dbfs://profile@databricks/path`` the workspace of the
    profile.
    """
    match scheme_of(uri):
        case "mlflow-artifacts" if host := server_of(uri):
            return f"mlflow-artifacts://{host}"
        case "dbfs" if authority := _authority(uri):
            profile, at, host = authority.rpartition("@")
            return f"{host}://{profile}" if at else host
        case _:
            return None


def without_user(uri: str) -> str:
    """The URI without user and password, as patterns are held against it."""
    authority = _authority(uri)
    return uri.replace(f"//{authority}", f"//{authority.rpartition('@')[2]}", 1) if authority else uri


def is_plain_server(uri: str) -> bool:
    """Whether every reader of the URI finds the same host in it."""
    return not re.search(r"[\\\s\x00-\x1f]", uri) and uri.count("@") == _authority(uri).count("@") <= 1


def hides_host(uri: str) -> bool:
    """Whether the URI without its secrets, which patterns are held against, seems to lead to another host."""
    return server_of(redact(uri)) != server_of(uri)


def _authority(uri: str) -> str:
    match = re.match(r"[a-z][a-z0-9+.-]*://([^/?#]*)", uri, re.IGNORECASE)
    return match[1] if match else ""


def folder_of(uri: str) -> Path | None:
    """The local folder that a path or a ``file:`` URI names, whether it exists or not; None: it names none."""
    scheme = scheme_of(uri)
    if scheme == "file":
        return _file_folder(uri[len("file:") :])
    if scheme is None or Path(uri).is_dir():  # a folder's name may hold a colon
        return Path(uri)
    return None


def near_uri(uri: str) -> str | None:
    """A model URI that a text of an unknown scheme may be meant as."""
    scheme = scheme_of(uri)
    near = difflib.get_close_matches(scheme or "", (*_OF_MLFLOW, "file", *_storages()), n=1, cutoff=_NEAR)
    if scheme is None or not near:
        return None
    rest = uri[len(scheme) + 1 :]
    if near[0] in _OF_MLFLOW:
        meant = f"{near[0]}:/{rest.lstrip('/')}"
        return meant if meant != uri and any(p.fullmatch(meant) for p in (REGISTERED, RUN)) else None
    return f"{near[0]}:{rest}"


def _file_folder(text: str) -> Path:
    """What follows ``file:``, decoded; as it stands where only that is there, since many write paths so."""
    plain = re.sub(r"^/+(?=/)", "", re.sub(r"^//localhost(?=/)", "", text, flags=re.IGNORECASE))
    decoded = Path(os.fsdecode(unquote_to_bytes(os.fsencode(plain))))  # what Path.as_uri does, the other way
    return Path(plain) if not decoded.is_dir() and Path(plain).is_dir() else decoded


def _storages() -> set[str]:
    """Schemes that MLflow, with its plugins, fetches artifacts from."""
    from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories

    return set(get_registered_artifact_repositories()) - {"", "file", *_OF_MLFLOW}
