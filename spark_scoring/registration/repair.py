"""``repair_model``: an old model again, with a signature that scoring can rely on, as a new version; never in place."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.engine.worker import LoadedModel
from spark_scoring.errors import Gathering, ModelError, RegistrationError, first_line
from spark_scoring.model.categories import own_levels, recorded_levels
from spark_scoring.model.registry import mlflow_at, pin_model, resolve_model
from spark_scoring.model.spec import own_feature_names, signature_inputs
from spark_scoring.model.types import Category, Levels, is_untyped
from spark_scoring.registration.candidate import Candidate
from spark_scoring.registration.flavors import algorithm_of, class_labels
from spark_scoring.registration.frame import input_schema
from spark_scoring.registration.record import training_record
from spark_scoring.registration.register import last_part, publish, quiet_mlflow, request_problems, run_of
from spark_scoring.registration.tasks import known_task, output_schema, output_type
from spark_scoring.registration.training import read_rows
from spark_scoring.registration.verification import verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from mlflow.models import Model
    from pyspark.sql import DataFrame

    from spark_scoring.model.registry import PinnedModel
    from spark_scoring.registration.register import RegisteredModel

_EXAMPLE_ROWS = 1000
"""Rows of the table that the repaired signature is read from."""


def repair_model(
    uri: str,
    example: DataFrame,
    *,
    task: str | None = None,
    name: str | None = None,
    types: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    alias: str | Sequence[str] = (),
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> RegisteredModel:
    """Register a model's files again with a whole signature, as a new version. Loads the model; runs Spark jobs.

    The trained model is not touched: its files are copied, only the MLmodel file is written anew. The inputs are the
    features that the model was trained on, in its order; their types those that the old signature has, else ones
    that hold nulls by the table's columns. The outputs are those of the task, held against real predictions.

    Args:
        uri: the model as it is.
        example: a table with the model's features; its first 1,000 rows are predicted on.
        task: what the model is for; default: by its class labels, else a regression by what it returns.
        name: the registered model of the new version; default: the one of the URI.
        types: MLflow types (or ``category``) of features whose old type is wrong.
        columns: a SQL expression per feature that is no column of the table.
        alias: for the new version.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings.

    Raises:
        ModelError: the model cannot be found or loaded.
        RequestError: the table has not its features, or the model does not take them.
        VerificationError: with the new signature the model does not predict what it predicted before.

    """
    aliases = (alias,) if isinstance(alias, str) else tuple(alias)
    with mlflow_at(tracking_uri, registry_uri), quiet_mlflow():
        pinned = resolve_model(uri)
        target = name or pinned.name
        if target is None:
            raise RegistrationError.no_name(uri)
        problems = Gathering()
        problems.problems += request_problems(target, aliases)
        candidate = None
        with problems.attempt():
            candidate = _repaired(pinned, example, task, types or {}, columns or {})
        problems.raise_all(RegistrationError)
        assert candidate is not None  # noqa: S101  else raised above
        tags = {
            "spark_scoring.repaired_from": pinned.uri if pinned.version is None else f"{pinned.name}/{pinned.version}"
        }
        with run_of(None, f"{last_part(target)}_{candidate.algorithm}") as run:
            model_id = _log_again(pinned, candidate, run)
            new_uri = f"models:/{model_id}"
            verify(pin_model(new_uri), candidate.example, candidate.predictions)
            return publish(
                candidate, run, new_uri, name=target, aliases=aliases, model_id=model_id, metrics=None, tags=tags
            )


def _repaired(
    pinned: PinnedModel,
    example: DataFrame,
    task: str | None,
    types: Mapping[str, str],
    columns: Mapping[str, str],
) -> Candidate:
    """The model with the signature that it should have had."""
    from mlflow.models import Model, ModelSignature

    mlmodel = Model.load(pinned.path)
    try:
        loaded = LoadedModel(pinned.path)
    except Exception as error:  # loading runs the model's code
        raise ModelError.not_loadable(pinned.uri, f"{type(error).__name__}: {first_line(error)}") from error
    raw = loaded.raw
    frame = _frame(pinned, mlmodel, raw, example, types, columns)
    try:
        predictions = loaded.call("predict", frame)
    except Exception as error:
        raise RegistrationError.predict_failed(type(error).__name__) from error
    labels = class_labels(raw)
    chosen = known_task(task or _likely_task(labels))
    outputs = output_schema(output_type(chosen, predictions, labels))
    old = mlmodel.signature
    record = training_record(frame, task=chosen, classes=labels, categories={}, statistics=False)
    return Candidate(
        model=raw,
        flavor=next(iter(mlmodel.flavors)),
        algorithm=algorithm_of(raw) if raw is not None else "PythonModel",
        task=chosen,
        example=frame,
        predictions=predictions,
        signature=ModelSignature(
            inputs=input_schema(frame), outputs=outputs, params=None if old is None else old.params
        ),
        record={**(mlmodel.metadata or {}), **record},
        options={},
        notes=("types and levels were read from the example table, not from training",),
    )


def _likely_task(labels: Sequence[Any] | None) -> str:
    if labels is None:
        return "regression"
    return "binary_classification" if len(labels) == 2 else "multiclass_classification"  # noqa: PLR2004


def _frame(
    pinned: PinnedModel,
    mlmodel: Model,
    raw: Any,
    example: DataFrame,
    types: Mapping[str, str],
    columns: Mapping[str, str],
) -> pd.DataFrame:
    """The table's first rows as the model takes them."""
    signature = mlmodel.signature
    known = signature_inputs(signature)[1] if signature is not None and signature.inputs is not None else ()
    declared = {f.name: f.type for f in known if f.name and not is_untyped(f.type)}
    own = own_feature_names(raw, example.columns) if raw is not None else ()
    names = own or tuple(declared)
    if not names:
        raise RegistrationError.no_features(pinned.uri)
    levels = _levels(mlmodel, raw, names)
    wanted = {
        name: types.get(name) or (Category(levels[name]) if name in levels else declared.get(name)) for name in names
    }
    return read_rows(example.limit(_EXAMPLE_ROWS), wanted, columns).X


def _levels(mlmodel: Model, raw: Any, names: Sequence[str]) -> dict[str, Levels]:
    """Category levels that the model or its metadata hold."""
    held = dict(own_levels(raw, list(names), {}).named) if raw is not None else {}
    return {**recorded_levels(mlmodel.metadata), **held}


def _log_again(pinned: PinnedModel, candidate: Candidate, run: Any) -> str:
    """A new logged model of the old one's files and the new signature; its id."""
    import mlflow
    from mlflow.models import Model

    client = mlflow.MlflowClient()
    logged = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run.info.run_id)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "model")
        shutil.copytree(pinned.path, copy, ignore=shutil.ignore_patterns("registered_model_meta", "__pycache__"))
        mlmodel = Model.load(str(copy))
        mlmodel.signature = candidate.signature
        mlmodel.metadata = dict(candidate.record)
        mlmodel.run_id, mlmodel.model_id = run.info.run_id, logged.model_id
        mlmodel.model_uuid, mlmodel.artifact_path = logged.model_id, logged.artifact_location
        mlmodel.save(str(copy / "MLmodel"))
        client.log_model_artifacts(logged.model_id, str(copy))
    client.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)
