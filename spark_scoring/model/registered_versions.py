"""Which version of a registered model is meant by a number, an alias or a stage, and what there is instead.

MLflow's own messages mislead: a missing alias is INVALID_PARAMETER_VALUE, a missing version "Logged model not found".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from spark_scoring.errors import first_line
from spark_scoring.model.errors import ModelError
from spark_scoring.model.mlflow_servers import asked_registry, registry_name
from spark_scoring.model.waiting import NoAnswer, answer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_T = TypeVar("_T")
_STAGES = {stage.lower(): stage for stage in ("Production", "Staging", "Archived", "None")}
_NO_STAGES = ("databricks-uc", "uc")
"""Schemes of registries that never had stages: Unity Catalog's."""
_MISREAD = re.compile(r"[?@\t\r\n]")
"""What a registered name may hold but MLflow reads otherwise in a ``models:/`` URI."""
_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


def version_meant(
    client: type[MlflowClient], uri: str, name: str, version: str | None, alias: str | None
) -> tuple[ModelVersion, tuple[str, ...]]:
    """The version that a URI means now, and what to say of how it was found.

    Args:
        client: asks the registry.
        uri: what errors call the model.
        name: the registered model's.
        version: a number, a stage or ``latest``.
        alias: instead of it; without either the newest is meant.

    Raises:
        ModelError: there is none, or the registry does not answer; names what exists.

    """
    asked = version or alias
    if (asked or "").lower() == "latest":  # MLflow reserves it: no version has it as an alias
        version = alias = None
    found, notes = _answered(uri, lambda: _found_version(_connected(client, uri), uri, name, version, alias))
    if asked is None:
        own = f"models:/{name}/{found.version}"
        notes = (*notes, f"the model's URI names no version: the newest is scored, as by {own}")
    return found, notes


def version_artifact(client: type[MlflowClient], uri: str, name: str, number: str) -> str:
    """The URI by which MLflow fetches the artifact of a version."""
    return _answered(uri, lambda: _artifact_of(_connected(client, uri), uri, name, number))


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


def _answered(uri: str, ask: Callable[[], _T]) -> _T:
    """What the registry answers, if it does."""
    try:
        return answer_of(ask, asked_registry())
    except NoAnswer as error:
        raise ModelError.registry_silent(uri, registry_name(), str(error)) from None


def _connected(client: type[MlflowClient], uri: str) -> MlflowClient:
    """A client; making one connects to its store, which raises what it likes."""
    try:
        return client()
    except Exception as error:
        raise _failed(uri, error) from error


def _failed(uri: str, error: Exception) -> ModelError:
    """The registry did not answer."""
    return ModelError.registry_failed(uri, registry_name(), f"{type(error).__name__}: {first_line(error)}")


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
