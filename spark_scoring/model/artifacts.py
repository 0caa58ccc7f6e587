"""A model's artifact is put into a folder of ours: copied, or fetched from the storage that it lies in."""

from __future__ import annotations

import shutil
from pathlib import Path

from spark_scoring.errors import first_line
from spark_scoring.model.errors import ModelError
from spark_scoring.model.mlflow_servers import asked_registry
from spark_scoring.model.uris import LOGGED, REGISTERED, is_stored, scheme_of
from spark_scoring.model.waiting import NoAnswer, fetched
from spark_scoring.redact import redact

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


def copy_folder(uri: str, folder: Path, target: Path) -> Path:
    """Copy a model's folder into the target, links as links; where in it the model lies."""
    try:
        return Path(shutil.copytree(folder, target / "model", symlinks=True))
    except (OSError, shutil.Error) as error:
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or str(error)
        raise ModelError.not_copied(uri, reason) from error


def download(uri: str, artifact_uri: str, folder: Path) -> Path:
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
        return asked_registry()
    is_direct = is_stored(artifact_uri) and scheme_of(artifact_uri) != "mlflow-artifacts"
    return artifact_uri if is_direct else str(mlflow.get_tracking_uri())


def _not_fetched(uri: str, error: Exception) -> ModelError:
    cause = f"its artifact cannot be fetched: {first_line(error)}"
    missing = str(error.name).partition(".")[0] if isinstance(error, ImportError) else ""
    if missing in _CLIENTS:
        return ModelError.no_storage_client(uri, cause, _CLIENTS[missing])
    return ModelError.not_fetched(uri, cause) if is_stored(uri) else ModelError.no_artifact(uri, cause)
