"""Names, versions and aliases in a registry."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from spark_scoring.errors import Problem
from spark_scoring.model.registered_versions import all_versions
from spark_scoring.model.uris import LOGGED
from spark_scoring.registration.tracking import in_our_words, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_CATALOGS = ("databricks-uc", "uc")
"""Schemes of registry URIs that are Unity Catalog, Databricks' and the open one."""
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
LONGEST_TAG = 250
"""Unity Catalog takes no more than 256 characters."""
_WANTED_TAG = "spark_scoring.alias."
"""Of a version: that it was verified and is to have this alias."""


def is_unity_catalog(registry_uri: str) -> bool:
    """Whether models of this registry have names of three levels."""
    return urlsplit(registry_uri).scheme in _CATALOGS or registry_uri in _CATALOGS


def name_problems(name: str, registry_uri: str) -> list[Problem]:
    """Why a registry would refuse the name, told before it is asked: ours and Unity Catalog's rules.

    MLflow takes dots, spaces and accents and refuses ``/`` and ``:``; Unity Catalog wants ``catalog.schema.model``.
    """
    thing = f"model name {name!r}"
    if not name or re.search(r"[/:@]", name):
        return [Problem(thing, "empty, or with one of / : @", "write catalog.schema.model")]
    if not is_unity_catalog(registry_uri):
        return []
    parts = name.split(".")
    if len(parts) != 3:  # noqa: PLR2004
        cause = f"it has {len(parts)} level(s), Unity Catalog wants three"
        return [Problem(thing, cause, f"write catalog.schema.{parts[-1] or 'model'}")]
    if not all(re.fullmatch(r"[^\s/.]{1,255}", part) for part in parts):
        return [Problem(thing, "a part is empty, too long, or holds a space", "use letters, digits and underscores")]
    return []


def alias_problems(aliases: Iterable[str], registry_uri: str) -> list[Problem]:
    """Why a registry would refuse the aliases."""
    problems = []
    for alias in aliases:
        thing = f"alias {alias!r}"
        if not _ALIAS.fullmatch(alias):
            problems.append(Problem(thing, "aliases are of letters, digits, _ and -", "give another one"))
        elif _RESERVED_ALIAS.fullmatch(alias):
            problems.append(Problem(thing, "latest and v1, v2, ... are reserved", "give another one"))
        elif urlsplit(registry_uri).scheme == "uc":
            problems.append(Problem(thing, "this registry has no aliases", "leave it out, score by version"))
    return problems


def move_alias(client: MlflowClient, name: str, alias: str, version: str) -> str:
    """Give a verified version the alias, unless a newer verified one is to have it; the version that has it then.

    Two training jobs that end at once leave the alias at the newer of their versions: each first marks its own,
    sets the alias to the newest marked one, and looks again. Whoever sets it last has seen every mark.
    """
    tag = f"{_WANTED_TAG}{alias}"
    client.set_model_version_tag(name, version, tag, "wanted")
    settled = None
    while settled != (newest := _newest(client, name, tag, version)):
        client.set_registered_model_alias(name, alias, newest)
        settled = newest
    return settled


def aliases_of(client: MlflowClient, name: str) -> dict[str, str]:
    """The versions of a registered model's aliases.

    Raises:
        RegistrationError: the registry does not answer, or has no such model.

    """
    with in_our_words("registry"):
        return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}


def hand_over_alias(client: MlflowClient, name: str, alias: str, version: str, tags: Mapping[str, str]) -> None:
    """Tag a version, then give it the alias, whichever version has it.

    Raises:
        RegistrationError: the registry does not answer, or refuses.

    """
    with in_our_words("registry"):
        tag_version(client, name, version, tags)
        client.set_registered_model_alias(name, alias, version)


def tag_version(client: MlflowClient, name: str, version: str, tags: Mapping[str, str]) -> None:
    """Tag a version; what a store raises is raised."""
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)


def record_metrics(
    client: MlflowClient, name: str, version: str, metrics: Mapping[str, float], tags: Mapping[str, str]
) -> str | None:
    """Tag a version, and log metrics to the run that it is of; the run's id.

    A model that was logged without a run gets one for these metrics, in its experiment and linked to it. None, and
    nothing is logged but the tags, where the version is neither of a run nor of a logged model.

    Raises:
        RegistrationError: the registry or the tracking server does not answer, or refuses.

    """
    with in_our_words("registry"):
        found = client.get_model_version(name, version)
        tag_version(client, name, version, tags)
    own, logged = found.run_id, logged_model_of(found)
    if not own and logged is None:
        return None
    with in_our_words("run"):
        run_id = str(own) if own else _run_for(client, str(logged), f"{name}_{version}")
        for key, number in metrics.items():
            client.log_metric(run_id, key, number, model_id=logged)
        if not own:
            client.set_terminated(run_id)
    return run_id


def logged_model_of(version: ModelVersion) -> str | None:
    """The id of the logged model that a version is; None where MLflow 2 has made it, or another artifact is its source.

    A registry of one's own has it in the version's source alone.
    """
    source = LOGGED.fullmatch(version.source or "")
    return version.model_id or (source["id"] if source else None)


def _run_for(client: MlflowClient, model_id: str, name: str) -> str:
    """A new run in the experiment of a logged model."""
    experiment = client.get_logged_model(model_id).experiment_id
    return str(client.create_run(experiment, run_name=f"evaluation_{name}_{now()}").info.run_id)


def register_version(model_uri: str, name: str, tags: Mapping[str, str]) -> str:
    """Make a logged model the newest version of a registered one, which comes into being with its first."""
    import mlflow

    return str(mlflow.register_model(model_uri, name, tags=dict(tags)).version)


def _newest(client: MlflowClient, name: str, tag: str, own: str) -> str:
    """The newest marked version; asked one by one, since Unity Catalog's search leaves tags out."""
    newer = sorted((int(v.version) for v in all_versions(client, name) if int(v.version) > int(own)), reverse=True)
    return next((str(v) for v in newer if tag in client.get_model_version(name, str(v)).tags), own)
