"""``log_model_with_feature_engineering``: register a model with its training set, through Databricks' client or ours.

Databricks' ``fe.log_model`` accepts silently what breaks later: a DECIMAL label drops out of the output schema
("includes only inputs"), a DECIMAL or TINYINT feature drops out of the signature, a label of None leaves no
outputs. All of that is refused before the call. The client is any object with its keyword signature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_scoring.engine.frame_values import inferred_type
from spark_scoring.errors import Gathering, Problem, listed
from spark_scoring.registration.candidate import prepare_candidate
from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.flavors import flavor_module
from spark_scoring.registration.frame import input_schema, without_hints
from spark_scoring.registration.register import (
    RegisteredModel,
    is_elsewhere,
    last_part,
    listed_aliases,
    publish,
    request_problems,
    verified_model,
)
from spark_scoring.registration.saving import environment_problems
from spark_scoring.registration.tracking import ask_registry, log_to_run, logging_at, run_of
from spark_scoring.registration.zones import lost_zones
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from types import ModuleType

    import pandas as pd
    from mlflow import ActiveRun, MlflowClient
    from mlflow.models import ModelSignature
    from mlflow.types import Schema
    from pyspark.sql.types import DataType, StructType

    from spark_scoring.engine.process import Where
    from spark_scoring.registration.candidate import Candidate
    from spark_scoring.registration.register import LoggedModel

_ARTIFACT = "model"
_RAW_MODEL = ("data", "feature_store", "raw_model")
"""Where Databricks' layout has the model that the lookups feed."""
_SUPPORTED = frozenset(
    "short integer long float double boolean date timestamp string binary array map struct".split()  # noqa: SIM905
)
"""Spark types that a feature or label can have, by their ``typeName``: of Databricks' documentation."""
_NUMBERS = ("boolean", "byte", "short", "integer", "long", "float", "double", "decimal")


def log_model_with_feature_engineering(  # noqa: PLR0913  keyword-only
    client: Any,
    model: Any,
    X: pd.DataFrame,
    *,
    training_set: Any,
    name: str,
    task: str | None = None,
    output_schema: Schema | None = None,
    flavor: str | ModuleType | None = None,
    signature: ModelSignature | None = None,
    input_example: pd.DataFrame | None = None,
    alias: str | Sequence[str] | None = None,
    nullable: str | Collection[str] = (),
    categories: Mapping[str, Sequence[Any]] | None = None,
    statistics: bool = True,
    project: str | None = None,
    domain: str | None = None,
    use_case: str | None = None,
    training_data: str | None = None,
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
    verify: Where = "apart",
) -> RegisteredModel:
    """Register a model that is scored from keys: its feature lookups travel with it.

    As ``register_model``, through ``client.log_model`` with ``training_set``, ``flavor``,
    ``infer_input_example=True`` and ``output_schema``: the input half of the signature comes from the training set,
    the output half from the task. The run and the version are tagged with project, domain, model_name, model_type,
    algorithm, layer (``ml``), use_case, feature_engineering (``unity_catalog`` or ``local``) and training_data.

    Args:
        client: Databricks' FeatureEngineeringClient, or what ``feature_client()`` gives.
        model: the trained model.
        X: the pandas frame that it was trained on: the training set's columns without its label.
        training_set: of ``client.create_training_set``; its lookups are what scoring repeats.
        name: the registered model.
        task: decides the output type, as in ``register_model``.
        output_schema: the output half, where no task is given.
        flavor: MLflow's flavor or its module; default: found from the model's class.
        signature: only with ``input_example``, instead of the two halves above: the alternative that Databricks has
            for training sets whose types it cannot infer. Both of its halves must be there.
        input_example: rows of X.
        project, domain, use_case, training_data: tags.

    See ``register_model`` for the other arguments.

    Raises:
        RegistrationError: with everything that Databricks would refuse afterwards, or accept and break.
        VerificationError: what was logged is not the model in memory; no version was registered.

    """
    aliases = listed_aliases(alias)
    elsewhere = is_elsewhere(tracking_uri)
    with logging_at(tracking_uri, registry_uri) as mlflow_client:
        problems = Gathering()
        problems.problems += request_problems(name, aliases, verify)
        problems.problems += environment_problems(pip_requirements, extra_pip_requirements, options)
        problems.problems += _training_set_problems(training_set, X, task)
        wrong_signature = _signature_problems(signature, input_example, X)
        problems.problems += wrong_signature
        candidate = None
        if not wrong_signature:
            with problems.attempt():
                candidate = prepare_candidate(
                    model,
                    X,
                    task=task,
                    outputs=output_schema if signature is None else signature.outputs,
                    no_outputs=_no_outputs(training_set, X),
                    flavor=flavor,
                    input_example=input_example,
                    nullable=nullable,
                    categories=categories,
                    statistics=statistics,
                    options=options,
                )
        problems.raise_all(RegistrationError)
        assert candidate is not None  # noqa: S101  else raised above
        ask_registry(mlflow_client, name)
        given = {"project": project, "domain": domain, "use_case": use_case, "training_data": training_data}
        labels = {**_own_tags(client, candidate, last_part(name), **given), **(tags or {})}
        requirements = {"pip_requirements": pip_requirements, "extra_pip_requirements": extra_pip_requirements}
        call = _call(candidate, training_set, signature, metadata or {}, requirements)
        with run_of(mlflow_client, experiment, f"{last_part(name)}_{candidate.algorithm}", elsewhere=elsewhere) as run:
            log_to_run(mlflow_client, run, params, metrics, labels)
            logged = _logged(client, mlflow_client, run, candidate, call, verify)
            return publish(mlflow_client, run, logged, name=name, aliases=aliases, metrics=metrics, tags=labels)


def _own_tags(
    client: Any,
    candidate: Candidate,
    name: str,
    *,
    project: str | None,
    domain: str | None,
    use_case: str | None,
    training_data: str | None,
) -> dict[str, str]:
    """The tags of the run and the version that tell what the model is, whose, and of which features."""
    given = {
        "project": project,
        "domain": domain,
        "model_name": name,
        "model_type": candidate.task or "custom",
        "algorithm": candidate.algorithm,
        "layer": "ml",
        "use_case": use_case,
        "feature_engineering": "unity_catalog" if type(client).__module__.startswith("databricks.") else "local",
        "training_data": training_data,
    }
    return {key: value for key, value in given.items() if value is not None}


def _call(
    candidate: Candidate,
    training_set: Any,
    signature: ModelSignature | None,
    metadata: Mapping[str, Any],
    requirements: Mapping[str, Any],
) -> dict[str, Any]:
    """The keywords of the client's ``log_model``."""
    return {
        "model": candidate.model,
        "artifact_path": _ARTIFACT,
        "flavor": flavor_module(candidate.flavor),
        "training_set": training_set,
        "metadata": {**metadata, **candidate.record},
        **_halves(candidate, signature),
        **{key: value for key, value in requirements.items() if value is not None},
        **candidate.options,
    }


def _logged(
    client: Any,
    mlflow_client: MlflowClient,
    run: ActiveRun,
    candidate: Candidate,
    call: Mapping[str, Any],
    where: Where,
) -> LoggedModel:
    """What the feature client has logged, held against the model in memory."""
    with without_hints():
        info = client.log_model(**call)
    model_id = getattr(info, "model_id", None)  # Databricks' own client returns nothing
    uri = f"models:/{model_id}" if model_id else f"runs:/{run.info.run_id}/{_ARTIFACT}"
    return verified_model(mlflow_client, run, candidate, uri, model_id, where=where, inside=_RAW_MODEL)


def _halves(candidate: Candidate, signature: ModelSignature | None) -> dict[str, Any]:
    """The keywords that make the signature: inferred inputs and our outputs, or the caller's own two halves."""
    if signature is None:
        return {"infer_input_example": True, "output_schema": candidate.signature.outputs}
    return {"signature": signature, "input_example": candidate.example}


def _training_set_problems(training_set: Any, X: pd.DataFrame, task: str | None) -> list[Problem]:
    """What is wrong between the training set and the frame that the model was trained on."""
    if training_set is None or not hasattr(training_set, "load_df"):
        cause = "there is none: the model would be logged without its feature lookups, and could not score from keys"
        return [Problem("training_set", cause, "give what client.create_training_set(...) returned")]
    rows = training_set.load_df()
    schema: StructType = rows.schema
    columns, features = schema.fieldNames(), [str(name) for name in X.columns]
    problems = [_type_problem(field.name, field.dataType) for field in schema.fields]
    foreign = [name for name in features if name not in columns]
    if foreign:
        fix = "train on spark_scoring.training_frame(training_set.load_df(), [...]) without its label"
        problems.append(Problem("training frame", f"the training set has no column {listed(foreign)}", fix))
    elif (order := [name for name in columns if name in features]) != features:
        cause = f"the training set has its columns in another order: {listed(order)}, and they reach the model in it"
        problems.append(Problem("training frame", cause, "train on the training set's own order: X[[...]]"))
    problems += _kind_problems(schema, X)
    problems += lost_zones(rows, X) if not foreign else []
    problems.append(_unused_problem(training_set, columns, features, task))
    return [problem for problem in problems if problem is not None]


def _kind_problems(schema: StructType, X: pd.DataFrame) -> list[Problem]:
    """Columns that are text in one of the two and numbers in the other."""
    problems = []
    for field in schema.fields:
        if field.name not in X.columns:
            continue
        trained = inferred_type(X[field.name])
        ours, theirs = _kind(field.dataType), _kind(trained) if trained is not None else None
        if theirs is not None and ours != theirs:
            cause = f"it is {field.dataType.simpleString().upper()} there, and {X[field.name].dtype} in training"
            fix = "train on spark_scoring.training_frame(training_set.load_df(), [...]), or cast it in its table"
            problems.append(Problem(f"training set column {field.name!r}", cause, fix))
    return problems


def _kind(type_: DataType) -> str:
    name = type_.typeName()
    if name in _NUMBERS:
        return "number"
    return "time" if name in ("date", "timestamp", "timestamp_ntz") else name


def _unused_problem(
    training_set: Any, columns: Sequence[str], features: Sequence[str], task: str | None
) -> Problem | None:
    """Columns that the model was not trained on, beside the label: scoring would give it them."""
    rest = [name for name in columns if name not in features]
    labels = _labels(training_set)
    if labels is None:  # not told
        labels = () if task == "anomaly_detection" else (rest if len(rest) == 1 else None)
    if labels is None:
        cause = f"the model was not trained on its columns {listed(rest)}, of which one may be the label"
        return Problem("training_set", cause, "create_training_set(..., exclude_columns=[all of them but the label])")
    unused = [name for name in rest if name not in labels]
    if not unused:
        return None
    cause = f"the model was not trained on its columns {listed(unused)}, which scoring would give it"
    return Problem("training_set", cause, f"create_training_set(..., exclude_columns={unused!r})")


def _type_problem(name: str, type_: DataType) -> Problem | None:
    """A column that Databricks leaves out of the signature without a word."""
    if type_.typeName() in _SUPPORTED:
        return None
    target = "TIMESTAMP" if type_.typeName() == "timestamp_ntz" else "DOUBLE"
    cause = (
        f"{type_.simpleString().upper()} is not a type of a feature or label: it drops out of the signature silently"
    )
    return Problem(f"training set column {name!r}", cause, f"cast it in its table: CAST({quote(name)} AS {target})")


def _no_outputs(training_set: Any, X: pd.DataFrame) -> str:
    """What would come of neither task nor output schema."""
    labels = _labels(training_set)
    if labels is None and hasattr(training_set, "load_df"):
        labels = [name for name in training_set.load_df().columns if name not in X.columns]
    if labels:
        return "neither task nor output_schema: the outputs would have the label's type, not that of the predictions"
    return (
        "neither task nor output_schema, and the training set has no label: "
        "the signature would include only inputs, which Unity Catalog refuses"
    )


def _signature_problems(signature: ModelSignature | None, input_example: Any, X: pd.DataFrame) -> list[Problem]:
    """Whether a signature of the caller's has both halves, an example beside it, and the frame's columns."""
    if signature is None:
        return []
    halves = {"inputs": signature.inputs, "outputs": signature.outputs}
    lacking = [half for half, schema in halves.items() if schema is None]
    if input_example is None:
        cause = "with a training set the inputs come from it (infer_input_example) and the outputs from the task"
        fix = "leave signature out and give task='...'; or give both signature and input_example (rows of X)"
        return [Problem("signature", cause, fix)]
    fix = "signature=infer_signature(X, model.predict(X))"
    if lacking:
        return [Problem("signature", f"it has no {' and no '.join(lacking)}", fix)]
    given = [(spec.name, spec.type) for spec in signature.inputs.inputs]
    if given != [(spec.name, spec.type) for spec in input_schema(X).inputs]:
        return [Problem("signature", f"its inputs are not the training frame's: {signature.inputs}", fix)]
    return []


def _labels(training_set: Any) -> Sequence[str] | None:
    """The labels' names, empty where there is none; None where the training set does not tell."""
    for attribute in ("label", "_label"):  # ours, and Databricks' own, which keeps it private
        if hasattr(training_set, attribute):
            label = getattr(training_set, attribute)
            return () if label is None else (label,) if isinstance(label, str) else tuple(label)
    return None
