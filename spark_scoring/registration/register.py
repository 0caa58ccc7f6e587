"""``register_model``: check, log, load back and compare, register; then the alias moves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from spark_scoring.engine.process import Where
from spark_scoring.errors import Gathering, Problem, first_line
from spark_scoring.model.mlflow_servers import registry_name
from spark_scoring.model.recorded import RECORDED
from spark_scoring.model.registry import pin_model
from spark_scoring.redact import all_shown, redact
from spark_scoring.registration.candidate import prepare_candidate
from spark_scoring.registration.errors import RegistrationError, VerificationError
from spark_scoring.registration.flavors import flavor_module, model_keyword
from spark_scoring.registration.saving import environment_problems, not_saved
from spark_scoring.registration.tracking import (
    ask_registry,
    log_to_run,
    logging_at,
    marked_if_refused,
    name_run,
    now,
    run_of,
)
from spark_scoring.registration.verification import check_raw_part, saved_example, verified
from spark_scoring.registration.versions import alias_problems, move_alias, name_problems, register_version
from spark_scoring.registration.zones import lost_zones
from spark_scoring.screen import Shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from types import ModuleType

    from mlflow import ActiveRun, MlflowClient

    from spark_scoring.registration.candidate import Candidate
    from spark_scoring.registration.frame import Inputs
    from spark_scoring.registration.verification import Proof


@dataclass(frozen=True)
class RegisteredModel(Shown):
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
    verified: str
    """On how many rows it was held against the model in memory, where, and how long that took."""
    notes: tuple[str, ...]

    @property
    def uri(self) -> str:
        """``models:/name/version``."""
        return f"models:/{self.name}/{self.version}"

    def __repr__(self) -> str:
        return f"<RegisteredModel {self.uri} ({self.flavor}, {self.algorithm})>"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"uri": self.uri, **asdict(self), "aliases": dict(self.aliases), "metrics": dict(self.metrics)}

    def view(self) -> Group:
        """As a rich renderable."""
        table = Table.grid(padding=(0, 2))
        table.add_row("model", Text(f"{self.name} version {self.version} ({self.flavor}, {self.algorithm})"))
        table.add_row("run", Text(f"{self.run_name} ({self.run_id})"))
        lines_of = (
            ("takes", self.inputs),
            ("returns", self.outputs),
            ("verified", (self.verified,)),
            ("note", self.notes),
        )
        for label, lines in lines_of:
            for i, line in enumerate(lines):
                table.add_row("" if i else label, Text(line))
        for name, version in self.aliases:
            table.add_row("alias", Text(f"{name} is at version {version}"))
        for name, value in self.metrics:
            table.add_row("metric", Text(f"{name} {value:.6g}"))
        return Group(Text("registered", style="bold green"), table)


def register_model(  # noqa: PLR0913  keyword-only
    model: Any,
    X: Inputs | pd.Series[Any],
    *,
    name: str,
    task: str,
    flavor: str | ModuleType | None = None,
    alias: str | Sequence[str] | None = None,
    nullable: str | Collection[str] = (),
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
    metadata: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    batch_dependent: bool = False,
    verify: Where = "apart",
) -> RegisteredModel:
    """Log and register a trained model so that Unity Catalog accepts it and scoring needs no guessing.

    Everything that can be known beforehand is checked beforehand, and told at once. Then the model is logged with a
    full signature (inputs from X, outputs from the task), and loaded back in a process of its own, which has the
    installed packages and nothing else of the training script. There it is given rows of X through the path that
    scores tables: rows spread over X, the extremes, nulls and levels of every column. Only if its predictions are
    those of the model in memory a version is registered, and only then the alias moves. Autologging is off meanwhile.

    A run of the caller's that is active is used as it is; else one of our own is made, named
    ``<model>_<algorithm>_v<version>_<UTC time>``, in the experiment that is current (on another tracking server than
    MLflow's current one: its default). A failure after the checks leaves a failed run.

    Args:
        model: the trained model, of any MLflow flavor but Spark ML.
        X: the frame (or 2-D array) that it was trained on, features only; of a model whose first step takes texts, the
            Series of them. Its head is the input example. Of it the MLmodel's metadata keeps dtypes, category levels
            and statistics (quantiles, shares of levels).
        name: the registered model; ``catalog.schema.model`` where the registry is Unity Catalog.
        task: ``regression``, ``binary_classification``, ``multiclass_classification``, ``anomaly_detection``,
            ``probability``, ``ranking`` or ``clustering``: decides the output type.
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
        metadata: further entries of the MLmodel's metadata.
        options: further keywords of the flavor's ``log_model``, such as ``code_paths``.
        batch_dependent: whether a row's result may depend on other rows of its batch or on chance, on purpose; it is
            recorded, and scoring then takes the model as it is.
        verify: ``here`` loads and tries the logged model in this process, some seconds faster: for tests. What the
            model needs of the training script then does not show.

    Raises:
        RegistrationError: the model, frame, name or alias cannot be registered as they stand, or a server does not
            answer; no version was made.
        VerificationError: what was logged is not the model in memory, or the registry failed; no version was made,
            unless the text names one.

    """
    aliases = listed_aliases(alias)
    elsewhere = is_elsewhere(tracking_uri)
    with logging_at(tracking_uri, registry_uri) as client:
        problems = Gathering()
        problems.problems += request_problems(name, aliases, verify)
        problems.problems += environment_problems(pip_requirements, extra_pip_requirements, options)
        candidate = None
        with problems.attempt():
            if tables := lookup_tables(training_set):
                raise RegistrationError.has_training_set(tables)
            if isinstance(X, pd.DataFrame) and hasattr(training_set, "load_df"):
                problems.problems += lost_zones(training_set.load_df(), X)
        with problems.attempt():
            candidate = prepare_candidate(
                model,
                X,
                task=task,
                flavor=flavor,
                input_example=input_example,
                nullable=nullable,
                categories=categories,
                statistics=statistics,
                inference_params=inference_params,
                options=options,
            )
        problems.raise_all(RegistrationError)
        assert candidate is not None  # noqa: S101  else raised above
        ask_registry(client, name)
        with run_of(client, experiment, f"{last_part(name)}_{candidate.algorithm}", elsewhere=elsewhere) as run:
            log_to_run(client, run, params, metrics, tags)
            record = {**(metadata or {}), **_with_choice(candidate.record, batch_dependent=batch_dependent)}
            info = _log(candidate, record, pip_requirements, extra_pip_requirements)
            uri = f"models:/{info.model_id}" if info.model_id else info.model_uri
            logged = verified_model(
                client, run, candidate, uri, info.model_id, where=verify, batch_dependent=batch_dependent
            )
            return publish(client, run, logged, name=name, aliases=aliases, metrics=metrics, tags=tags)


def _with_choice(record: Mapping[str, Any], *, batch_dependent: bool) -> dict[str, Any]:
    return {RECORDED: {**record[RECORDED], "batch_dependent": True}} if batch_dependent else dict(record)


@dataclass(frozen=True)
class LoggedModel:
    """A model that was logged and verified, and that no version names yet."""

    uri: str
    model_id: str | None
    candidate: Candidate
    proof: Proof


def verified_model(
    client: MlflowClient,
    run: ActiveRun,
    candidate: Candidate,
    uri: str,
    model_id: str | None,
    *,
    where: Where,
    batch_dependent: bool = False,
    inside: Sequence[str] = (),
) -> LoggedModel:
    """What was logged, once it is held against the model in memory; marked where it is another.

    Args:
        client: MLflow's.
        run: into which it was logged.
        candidate: the model in memory.
        uri: of the logged model.
        model_id: MLflow's id of it, where it has them.
        where: where it is loaded and tried.
        batch_dependent: whether a row's result may depend on other rows or on chance.
        inside: folders to the model that feature lookups feed, where the artifact is one with lookups.

    Raises:
        VerificationError: it is not the model in memory, or could not be scored.

    """
    with marked_if_refused(client, run, model_id):
        pinned = pin_model(uri)
        if inside:
            check_raw_part(pinned, inside)
        proof = verified(
            pinned,
            candidate.sample,
            candidate.predictions,
            example=candidate.example,
            batch_dependent=batch_dependent,
            where=where,
        )
    return LoggedModel(uri, model_id, candidate, proof)


def publish(
    client: MlflowClient,
    run: ActiveRun,
    logged: LoggedModel,
    *,
    name: str,
    aliases: Sequence[str],
    metrics: Mapping[str, float] | None,
    tags: Mapping[str, str] | None,
) -> RegisteredModel:
    """Register a verified model as the newest version, name the run after it, and move the aliases.

    Raises:
        VerificationError: the registry failed; says whether there is a version, and which.

    """
    from mlflow.exceptions import MlflowException

    candidate = logged.candidate
    labels = {"task": candidate.task or "custom", "algorithm": candidate.algorithm, **(tags or {})}
    version = None
    try:
        version = register_version(logged.uri, name, {key: str(value) for key, value in all_shown(labels).items()})
        run_name = name_run(client, run, f"{last_part(name)}_{candidate.algorithm}_v{version}_{now()}")
        held = tuple((alias, move_alias(client, name, alias, version)) for alias in aliases)
    except Exception as error:  # a registry raises what its driver raises
        text = redact(first_line(error)) if isinstance(error, MlflowException) else ""
        raise VerificationError.registry_failed(
            name, version, registry_name(), f"{type(error).__name__}: {text}".rstrip(": ")
        ) from error
    newer = [f"alias {alias} is at the newer version {at}" for alias, at in held if at != version]
    return RegisteredModel(
        name=name,
        version=version,
        run_id=run.info.run_id,
        run_name=run_name,
        model_id=logged.model_id,
        flavor=candidate.flavor,
        algorithm=candidate.algorithm,
        task=candidate.task,
        inputs=tuple(map(_shown, candidate.signature.inputs.inputs)),
        outputs=tuple(map(_shown, candidate.signature.outputs.inputs)),
        aliases=held,
        metrics=tuple((key, float(value)) for key, value in (metrics or {}).items()),
        verified=str(logged.proof),
        notes=(*candidate.notes, *newer),
    )


def request_problems(name: str, aliases: Sequence[str], verify: str = "apart") -> list[Problem]:
    """What is wrong with the name, the aliases and the place of trial, before the registry is asked."""
    import mlflow

    registry = str(mlflow.get_registry_uri())
    known = get_args(Where)
    wrong = (
        []
        if verify in known
        else [Problem(f"verify {verify!r}", "there is no such choice", f"give {' or '.join(known)}")]
    )
    return [*wrong, *name_problems(name, registry), *alias_problems(aliases, registry)]


def lookup_tables(training_set: Any) -> list[str]:
    """The feature tables that a training set of Databricks' client or of ours looks features up in."""
    names = ("spec", "feature_spec", "_feature_spec")
    spec = next((found for name in names if (found := getattr(training_set, name, None)) is not None), None)
    tables = getattr(spec, "tables", None) or getattr(spec, "input_tables", None) or ()
    return [str(getattr(table, "name", None) or getattr(table, "table_name", table)) for table in tables]


def listed_aliases(alias: str | Sequence[str] | None) -> tuple[str, ...]:
    """One alias, several or none."""
    if alias is None:
        return ()
    return (alias,) if isinstance(alias, str) else tuple(alias)


def is_elsewhere(tracking_uri: str | None) -> bool:
    """Whether it is another tracking server than the one that MLflow talks to now."""
    import mlflow

    return tracking_uri is not None and tracking_uri != mlflow.get_tracking_uri()


def last_part(name: str) -> str:
    """``delay`` of ``main.ml.delay``."""
    return name.rsplit(".", maxsplit=1)[-1]


def _log(candidate: Candidate, metadata: dict[str, Any], requirements: Any, extra_requirements: Any) -> Any:
    """MLflow's ModelInfo of the logged model; no version yet."""
    try:
        return flavor_module(candidate.flavor).log_model(
            name="model",
            signature=candidate.signature,
            input_example=saved_example(candidate.example, candidate.flavor),
            metadata=metadata,
            pip_requirements=requirements,
            extra_pip_requirements=extra_requirements,
            **model_keyword(candidate.model, candidate.flavor),
            **candidate.options,
        )
    except Exception as error:
        raise not_saved(candidate.flavor, error) from error


def _shown(spec: Any) -> str:
    """A signature's column as text: ``carrier: string (optional)``."""
    kind = getattr(spec.type, "name", None) or str(spec.type)
    shape = f" {tuple(spec.shape)}" if hasattr(spec, "shape") else ""
    optional = "" if getattr(spec, "required", True) else " (optional)"
    return f"{spec.name or 'input'}: {kind}{shape}{optional}"
