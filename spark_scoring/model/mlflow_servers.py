"""The tracking server and the registry that MLflow asks: those of its settings, or others for a while."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from spark_scoring.model.errors import ModelError
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

_REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"


@contextmanager
def mlflow_at(tracking_uri: str | None, registry_uri: str | None) -> Iterator[type[MlflowClient]]:
    """The client class, which then talks to the given servers; MLflow's process-wide settings are as before afterwards.

    MLflow resolves ``models:/`` URIs through its global settings whatever the client says, so these are set
    while we need them.
    """
    require_mlflow()
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


def require_mlflow() -> None:
    """Refuse to go on where MLflow is not installed."""
    if find_spec("mlflow") is None:
        raise ModelError.no_mlflow()


def check_registry_file(uri: str) -> None:
    """MLflow would make a missing sqlite file, with all its tables, and then say that the model is not in it."""
    import mlflow

    for server in {mlflow.get_tracking_uri(), mlflow.get_registry_uri()}:
        file = server.removeprefix("sqlite:///")
        if file not in (server, "", ":memory:") and not Path(file).is_file():
            raise ModelError.no_registry_file(uri, str(Path(file).absolute()))


def asked_servers() -> list[str]:
    """The tracking server and the registry that MLflow asks now."""
    import mlflow

    return [str(mlflow.get_tracking_uri()), asked_registry()]


def registry_name() -> str:
    """The registry's URI without secrets."""
    return redact(asked_registry())


def asked_registry() -> str:
    """The URI of the registry that MLflow asks now; a secret may be in it."""
    import mlflow

    return str(mlflow.get_registry_uri())
