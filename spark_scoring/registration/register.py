"""``register_model``: check, log, load back and compare, register; then the alias moves."""

from __future__ import annotations

import datetime as dt
import logging
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spark_scoring.errors import Gathering, Problem, RegistrationError, VerificationError, first_line
from spark_scoring.model.registry import mlflow_at, pin_model, registry_name
from spark_scoring.registration.candidate import prepare_candidate
from spark_scoring.registration.flavors import flavor_module
from spark_scoring.registration.verification import verify
from spark_scoring.registration.versions import alias_problems, move_alias, name_problems, register_version

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from types import ModuleType

    from mlflow import ActiveRun

    from spark_scoring.registration.candidate import Candidate
    from spark_scoring.registration.frame import Inputs


@dataclass(frozen=True)
class RegisteredModel:
    """A version that predicts, loaded back, what the model in memory predicts."""

    name: str
    version: str
    run_id: str
    run_name: str
    model_id: str | None
    """MLflow's id of the logged model, where it has them."""
    flavor: str
    algorithm: str
    task: str | None
    inputs: tuple[str, ...]
    """The signature's inputs, as MLflow shows them."""
    outputs: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]
    """Aliases that were asked for, each with the version that has it: a newer one where another job was faster."""
    metrics: tuple[tuple[str, float], ...]
    notes: tuple[str, ...]

    @property
    def uri(self) -> str:
        """``models:/name/version``."""
        return f"models:/{self.name}/{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"uri": self.uri, **asdict(self), "aliases": dict(self.aliases), "metrics": dict(self.metrics)}

    def view(self) -> Group:
        """As a rich renderable."""
        table = Table.grid(padding=(0, 2))
        table.add_row("model", Text(f"{self.name} version {self.version} ({self.flavor}, {self.algorithm})"))
        table.add_row("run", Text(f"{self.run_name} ({self.run_id})"))
        for label, lines in (("takes", self.inputs), ("returns", self.outputs), ("note", self.notes)):
            for i, line in enumerate(lines):
                table.add_row("" if i else label, Text(line))
        for name, version in self.aliases:
            table.add_row("alias", Text(f"{name} is at version {version}"))
        for name, value in self.metrics:
            table.add_row("metric", Text(f"{name} {value:.6g}"))
        return Group(Text("registered", style="bold green"), table)


def register_model(  # noqa: PLR0913  keyword-only
    model: Any,
    X: Inputs,
    *,
    name: str,
    task: str,
    flavor: str | ModuleType | None = None,
    alias: str | Sequence[str] = (),
    nullable: Collection[str] = (),
    categories: Mapping[str, Sequence[Any]] | None = None,
    statistics: bool = True,
    input_example: Any = None,
    training_set: Any = None,
    inference_params: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    pip_requirements: Sequence[str] | str | None = None,
    extra_pip_requirements: Sequence[str] | None = None,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> RegisteredModel:
    """Log and register a trained model so that Unity Catalog accepts it and scoring needs no guessing.

    Everything that can be known beforehand is checked beforehand, and told at once. Then the model is logged with a
    full signature (inputs from X, outputs from the task), loaded back, and given the example through the path that
    scores tables; only if its predictions are those of the model in memory a version is registered, and only then
    the alias moves. Autologging is off meanwhile.

    A run of the caller's that is active is used as it is; else one of our own is made, named
    ``<model>_<algorithm>_v<version>_<UTC time>``. A failure leaves a failed run and no version.

    Args:
        model: the trained model, of any MLflow flavor but Spark ML.
        X: the frame (or 2-D array) that it was trained on, features only. Its head is the input example. Of it the
            MLmodel's metadata keeps dtypes, category levels and statistics (quantiles, shares of levels).
        name: the registered model; ``catalog.schema.model`` where the registry is Unity Catalog.
        task: ``regression``, ``binary_classification``, ``multiclass_classification``, ``anomaly_detection`` or
            ``probability``: decides the output type.
        flavor: MLflow's flavor or its module; default: found from the model's class.
        alias: one or more aliases for the version.
        nullable: columns that may hold nulls when the model scores; integer and boolean ones among them are refused,
            since their types hold none.
        categories: levels in the order of training, of columns that were trained on as codes or text and whose
            levels the model does not hold; those of pandas' category columns are taken from X.
        statistics: whether the metadata keeps quantiles and shares of levels, which are values of X.
        input_example: other rows of X than its head.
        training_set: the training set that X came from, if there is one: refused where it has feature lookups, which
            need ``log_model_with_feature_engineering``.
        inference_params: the signature's inference parameters with their defaults.
        params, metrics, tags: of the run; tags go on the version, too.
        pip_requirements, extra_pip_requirements: as MLflow has them; without, MLflow finds them, pinned.
        experiment: name of the experiment of a run of our own; default: MLflow's current one.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings.
        options: further keywords of the flavor's ``log_model``, such as ``code_paths``.

    Raises:
        RegistrationError: the model, frame, name or alias cannot be registered as they stand; nothing was logged.
        VerificationError: what was logged is not the model in memory; no version was registered.

    """
    aliases = (alias,) if isinstance(alias, str) else tuple(alias)
    with mlflow_at(tracking_uri, registry_uri), quiet_mlflow():
        candidate = _checked(
            model,
            X,
            name,
            aliases,
            training_set,
            task=task,
            flavor=flavor,
            input_example=input_example,
            nullable=nullable,
            categories=categories,
            statistics=statistics,
            inference_params=inference_params,
            options=options,
        )
        with run_of(experiment, f"{last_part(name)}_{candidate.algorithm}") as run:
            log_to_run(params, metrics, tags)
            info = _log(candidate, pip_requirements, extra_pip_requirements)
            uri = f"models:/{info.model_id}" if info.model_id else info.model_uri
            verify(pin_model(uri), candidate.example, candidate.predictions)
            return publish(
                candidate, run, uri, name=name, aliases=aliases, model_id=info.model_id, metrics=metrics, tags=tags
            )


def publish(
    candidate: Candidate,
    run: ActiveRun,
    model_uri: str,
    *,
    name: str,
    aliases: Sequence[str],
    model_id: str | None,
    metrics: Mapping[str, float] | None,
    tags: Mapping[str, str] | None,
) -> RegisteredModel:
    """Register a verified model as the newest version, name the run after it, and move the aliases."""
    import mlflow

    client = mlflow.MlflowClient()
    labels = {"task": candidate.task or "custom", "algorithm": candidate.algorithm, **(tags or {})}
    version = None
    try:
        version = register_version(model_uri, name, labels)
        run_name = _name_run(client, run, name, candidate.algorithm, version)
        held = tuple((alias, move_alias(client, name, alias, version)) for alias in aliases)
    except mlflow.MlflowException as error:
        cause = f"{type(error).__name__}: {first_line(error)}"
        raise VerificationError.registry_failed(name, version, registry_name(), cause) from error
    newer = [f"alias {alias} is at the newer version {at}" for alias, at in held if at != version]
    return RegisteredModel(
        name=name,
        version=version,
        run_id=run.info.run_id,
        run_name=run_name,
        model_id=model_id,
        flavor=candidate.flavor,
        algorithm=candidate.algorithm,
        task=candidate.task,
        inputs=tuple(map(_shown, candidate.signature.inputs.inputs)),
        outputs=tuple(map(_shown, candidate.signature.outputs.inputs)),
        aliases=held,
        metrics=tuple((metrics or {}).items()),
        notes=(*candidate.notes, *newer),
    )


def request_problems(name: str, aliases: Sequence[str]) -> list[Problem]:
    """What is wrong with the name and the aliases, before the registry is asked."""
    import mlflow

    registry = str(mlflow.get_registry_uri())
    return [*name_problems(name, registry), *alias_problems(aliases, registry)]


def lookup_tables(training_set: Any) -> list[str]:
    """The feature tables that a training set of Databricks' client or of ours looks features up in."""
    spec = getattr(training_set, "feature_spec", None) or getattr(training_set, "_feature_spec", None)
    return [str(getattr(table, "table_name", table)) for table in getattr(spec, "input_tables", None) or ()]


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Autologging off, and MLflow's warnings that our own checks replace; both as before afterwards."""
    from mlflow.utils.autologging_utils import disable_autologging

    loggers = [logging.getLogger(name) for name in ("mlflow.models", "mlflow.utils", "mlflow.pyfunc", "mlflow.sklearn")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with disable_autologging():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def run_of(experiment: str | None, name: str) -> Iterator[ActiveRun]:
    """The caller's active run, or one of our own, which fails with the block."""
    import mlflow

    active = mlflow.active_run()
    if active is not None:
        yield active
        return
    experiment_id = mlflow.set_experiment(experiment).experiment_id if experiment else None
    with mlflow.start_run(experiment_id=experiment_id, run_name=f"{name}_{_now()}", tags={_OWN_RUN: "true"}) as run:
        yield run


def log_to_run(
    params: Mapping[str, Any] | None, metrics: Mapping[str, float] | None, tags: Mapping[str, str] | None
) -> None:
    """Parameters, metrics and tags of the active run."""
    import mlflow

    if params:
        mlflow.log_params(dict(params))
    if metrics:
        mlflow.log_metrics(dict(metrics))
    if tags:
        mlflow.set_tags(dict(tags))


def last_part(name: str) -> str:
    """``delay`` of ``main.ml.delay``."""
    return name.rsplit(".", maxsplit=1)[-1]


_OWN_RUN = "spark_scoring.run"


def _checked(
    model: Any,
    X: Inputs,
    name: str,
    aliases: Sequence[str],
    training_set: Any,
    **settings: Any,
) -> Candidate:
    """The candidate; what is wrong with the name and with the model comes at once."""
    problems = Gathering()
    problems.problems += request_problems(name, aliases)
    candidate = None
    with problems.attempt():
        if tables := lookup_tables(training_set):
            raise RegistrationError.has_training_set(tables)
    with problems.attempt():
        candidate = prepare_candidate(model, X, **settings)
    problems.raise_all(RegistrationError)
    assert candidate is not None  # noqa: S101  else raised above
    return candidate


def _log(candidate: Candidate, requirements: Any, extra_requirements: Any) -> Any:
    """MLflow's ModelInfo of the logged model; no version yet."""
    keyword = {"python_model": candidate.model} if candidate.flavor == "pyfunc" else {}
    positional = () if keyword else (candidate.model,)
    return flavor_module(candidate.flavor).log_model(
        *positional,
        name="model",
        signature=candidate.signature,
        input_example=candidate.example,
        metadata=dict(candidate.record),
        pip_requirements=requirements,
        extra_pip_requirements=extra_requirements,
        **keyword,
        **candidate.options,
    )


def _name_run(client: Any, run: ActiveRun, name: str, algorithm: str, version: str) -> str:
    """Name a run of our own after the version that it made; the caller's own keeps its name."""
    if _OWN_RUN not in run.data.tags:
        return str(run.info.run_name)
    run_name = f"{last_part(name)}_{algorithm}_v{version}_{_now()}"
    client.update_run(run.info.run_id, name=run_name)
    return run_name


def _shown(spec: Any) -> str:
    """A signature's column as text: ``carrier: string (optional)``."""
    kind = getattr(spec.type, "name", None) or str(spec.type)
    shape = f" {tuple(spec.shape)}" if hasattr(spec, "shape") else ""
    optional = "" if getattr(spec, "required", True) else " (optional)"
    return f"{spec.name or 'input'}: {kind}{shape}{optional}"


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
