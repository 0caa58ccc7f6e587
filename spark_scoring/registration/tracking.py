"""The run that a model is logged into, and MLflow's process-wide settings meanwhile: as they were, afterwards."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from spark_scoring.errors import Problem, ScoringError, first_line
from spark_scoring.model.mlflow_servers import mlflow_at, registry_name
from spark_scoring.model.waiting import NoAnswer, answer_of
from spark_scoring.redact import all_shown, redact
from spark_scoring.registration.errors import RegistrationError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mlflow import ActiveRun, MlflowClient

_T = TypeVar("_T")
_LOGGERS = tuple(logging.getLogger(f"mlflow.{name}") for name in ("models", "utils", "pyfunc", "sklearn", "tracking"))
_OWN_RUN = "spark_scoring.run"
_REFUSED = "spark_scoring.refused"
_LONGEST_TAG = 500
_DEFAULT_EXPERIMENT = "Default"
_EXISTS = ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")

_quiet = threading.Lock()
_quiet_depth = 0
_restored = ExitStack()
"""What makes MLflow as loud as it was, once the last call is through."""


@contextmanager
def logging_at(tracking_uri: str | None, registry_uri: str | None) -> Iterator[MlflowClient]:
    """MLflow at the given servers, quiet and without autologging; a client for them.

    Raises:
        RegistrationError: a run is active on another tracking server, or the servers do not answer.

    """
    import mlflow

    active = mlflow.active_run()
    elsewhere = tracking_uri is not None and tracking_uri != mlflow.get_tracking_uri()
    if active is not None and elsewhere:
        raise RegistrationError.run_elsewhere(redact(str(tracking_uri)))
    with mlflow_at(tracking_uri, registry_uri) as client_class, _quiet_mlflow():
        with in_our_words("tracking server"):
            client = _answered("tracking server", mlflow.get_tracking_uri(), client_class)
        yield client


def _answered(what: str, server: str, ask: Callable[[], _T]) -> _T:
    try:
        return answer_of(ask, server)
    except NoAnswer as error:
        raise RegistrationError.silent(what, redact(server), str(error)) from None


@contextmanager
def in_our_words(what: str) -> Iterator[None]:
    """What MLflow and its stores raise about runs and registries, as one of our errors; secrets are taken out."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except ScoringError:
        raise
    except MlflowException as error:
        raise RegistrationError.tracking_failed(what, redact(first_line(error))) from error
    except Exception as error:  # a store raises what its driver raises, whose text may hold statements and values
        raise RegistrationError.tracking_failed(what, type(error).__name__) from error


@contextmanager
def run_of(client: MlflowClient, experiment: str | None, name: str, *, elsewhere: bool) -> Iterator[ActiveRun]:
    """The caller's active run, or one of our own, which fails with the block.

    Args:
        client: MLflow's.
        experiment: the experiment of a run of our own, made if it is not there; default: MLflow's current one.
        name: of a run of our own; the UTC time is added.
        elsewhere: whether the tracking server is another than MLflow's current one, whose experiments it does not know.

    """
    import mlflow

    active = mlflow.active_run()
    if active is not None:
        yield active
        return
    with new_run(client, experiment, f"{name}_{now()}", {_OWN_RUN: "true"}, elsewhere=elsewhere) as run:
        yield run


@contextmanager
def new_run(
    client: MlflowClient, experiment: str | None, name: str, tags: Mapping[str, str], *, elsewhere: bool
) -> Iterator[ActiveRun]:
    """A run of our own, which fails with the block; below the caller's active run, where there is one.

    Args:
        client: MLflow's.
        experiment: its name, made if it is not there; default: MLflow's current one.
        name: of the run.
        tags: of the run.
        elsewhere: whether the tracking server is another than MLflow's current one, whose experiments it does not know.

    """
    import mlflow

    with in_our_words("experiment"):
        chosen = experiment or (_DEFAULT_EXPERIMENT if elsewhere else None)
        place = None if chosen is None else experiment_id(client, chosen)
        run = mlflow.start_run(experiment_id=place, run_name=name, tags=dict(tags), nested=True)
    with run:
        yield run


@contextmanager
def marked_if_refused(client: MlflowClient, run: ActiveRun, model_id: str | None) -> Iterator[None]:
    """Mark what was logged where its verification fails, and tell of it: nobody takes it for a good model then.

    A tag of the run and of the logged model has the cause, which names no values; the logged model is failed.

    Raises:
        VerificationError: the one of the block, with a line on what is left behind.

    """
    try:
        yield
    except VerificationError as error:
        cause = "; ".join(f"{problem.thing}: {problem.cause}" for problem in error.problems)
        with suppress(Exception):  # what failed is told, whatever else the server says
            client.set_tag(run.info.run_id, _REFUSED, cause[:_LONGEST_TAG])
            if model_id is not None:
                client.set_logged_model_tags(model_id, {_REFUSED: cause[:_LONGEST_TAG]})
                client.finalize_logged_model(model_id, "FAILED")
        if _OWN_RUN in run.data.tags or model_id is None:
            left, fix = f"run {run.info.run_id}", f"mlflow.delete_run({run.info.run_id!r}) removes it"
        else:
            left = f"logged model {model_id}"
            fix = f"mlflow.MlflowClient().delete_logged_model({model_id!r}) removes it"
        told = Problem(left, f"it keeps what was logged, marked by the tag {_REFUSED}", fix)
        raise VerificationError([*error.problems, told]) from error.__cause__


def experiment_id(client: MlflowClient, name: str, artifact_location: str | None = None) -> str:
    """The experiment's id; it is made if it is not there, with its own place for artifacts if one is given.

    Raises:
        RegistrationError: the place holds a secret.

    """
    from mlflow.exceptions import MlflowException

    if artifact_location is not None and redact(artifact_location) != artifact_location:
        raise RegistrationError.secret_location(artifact_location)
    found = client.get_experiment_by_name(name)
    if found is None:
        place = artifact_location
        if place is not None and "://" not in place:
            place = Path(place).absolute().as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException as error:
            found = client.get_experiment_by_name(name)
            if error.error_code not in _EXISTS or found is None:  # else another job was faster
                raise
    return str(found.experiment_id)


def log_to_run(
    client: MlflowClient,
    run: ActiveRun,
    params: Mapping[str, Any] | None,
    metrics: Mapping[str, float] | None,
    tags: Mapping[str, str] | None,
) -> None:
    """Parameters, metrics and tags of the run. Whoever may look at it sees them: secrets are not among them.

    Raises:
        RegistrationError: the run has other values for them, or a name or value is none that MLflow takes.

    """
    from mlflow.entities import Metric, Param, RunTag

    moment = int(time.time() * 1000)
    with in_our_words("run"):
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, float(number), moment, 0) for key, number in (metrics or {}).items()],
            params=[Param(key, str(value)) for key, value in all_shown(params or {}).items()],
            tags=[RunTag(key, str(value)) for key, value in all_shown(tags or {}).items()],
        )


def name_run(client: MlflowClient, run: ActiveRun, name: str) -> str:
    """Name a run of our own; the caller's own keeps its name. Its name then."""
    if _OWN_RUN not in run.data.tags:
        return str(run.info.run_name)
    client.update_run(run.info.run_id, name=name)
    return name


def now() -> str:
    """UTC, as in run names."""
    return dt.datetime.now(dt.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def ask_registry(client: MlflowClient, name: str) -> None:
    """Ask for the registered model, which need not exist, before a model is trained or logged.

    Raises:
        RegistrationError: the registry or the tracking server does not answer, or the registry refuses.

    """
    import mlflow
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):  # the tracking server has answered; logging tells what it refuses
        _answered(
            "tracking server",
            mlflow.get_tracking_uri(),
            lambda: client.get_experiment_by_name(_DEFAULT_EXPERIMENT),
        )
    try:
        _answered("registry", mlflow.get_registry_uri(), lambda: client.get_registered_model(name))
    except ScoringError:
        raise
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            raise RegistrationError.registry_failed(registry_name(), redact(first_line(error))) from error
    except Exception as error:
        raise RegistrationError.registry_failed(registry_name(), type(error).__name__) from error


@contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """Autologging off, and MLflow's warnings that our own checks replace; threads inside share it."""
    global _quiet_depth  # noqa: PLW0603  loggers and autologging are of the process, too
    from mlflow.utils.autologging_utils import disable_autologging

    with _quiet:
        if _quiet_depth == 0:
            _restored.enter_context(disable_autologging())
            for logger in _LOGGERS:
                _restored.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.ERROR)
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _restored.close()
