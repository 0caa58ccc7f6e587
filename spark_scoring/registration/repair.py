"""``repair_model``: an old model again, with a signature that scoring can rely on, as a new version; never in place."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import Gathering
from spark_scoring.model.categories import own_levels
from spark_scoring.model.estimators import own_feature_names
from spark_scoring.model.raised import kind_of
from spark_scoring.model.reading import load_part, native_flavor
from spark_scoring.model.recorded import RECORDED, recorded, recorded_levels
from spark_scoring.model.registry import check_servers, resolve_model
from spark_scoring.model.signature import signature_inputs
from spark_scoring.model.types import Category, Levels, ModelType, is_untyped
from spark_scoring.redact import redact
from spark_scoring.registration.candidate import Candidate
from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.flavors import algorithm_of
from spark_scoring.registration.frame import input_schema
from spark_scoring.registration.record import training_record
from spark_scoring.registration.register import (
    is_elsewhere,
    last_part,
    listed_aliases,
    publish,
    request_problems,
    verified_model,
)
from spark_scoring.registration.tasks import (
    check_count,
    class_labels,
    known_task,
    likely_task,
    output_schema,
    output_type,
)
from spark_scoring.registration.tracking import ask_registry, in_our_words, logging_at, run_of
from spark_scoring.registration.training_rows import read_rows
from spark_scoring.registration.verification import prediction_difference
from spark_scoring.session import get_session
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from mlflow import ActiveRun, MlflowClient
    from mlflow.models import Model
    from pyspark.sql import DataFrame

    from spark_scoring.engine.process import Where
    from spark_scoring.model.loaded import LoadedModel
    from spark_scoring.model.pinned import PinnedModel
    from spark_scoring.registration.register import RegisteredModel

_LEFT_OUT = ("registered_model_meta", "__pycache__", "input_example.json", "serving_input_example.json")
_NUMBERS = ("double", "float", "long", "integer", "boolean")
_EXAMPLE_ROWS = 1000
"""Rows of the table that the repaired signature is read from."""


def repair_model(
    uri: str,
    example: DataFrame | pd.DataFrame,
    *,
    task: str | None = None,
    name: str | None = None,
    types: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    alias: str | Sequence[str] | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    verify: Where = "apart",
) -> RegisteredModel:
    """Register a model's files again with a whole signature, as a new version. Loads the model; runs Spark jobs.

    The trained model is not touched: its files are copied, only the MLmodel file is written anew. The inputs are the
    features that the model was trained on, in its order; their types those that the old signature has, else ones
    that hold nulls by the table's columns. The outputs are those of the task, held against real predictions.

    Args:
        uri: the model as it is.
        example: a table with the model's features, or a pandas DataFrame, whose missing values are then nulls; its
            first 1,000 rows are predicted on.
        task: what the model is for; default: the recorded one, else by its class labels, else a regression.
        name: the registered model of the new version; default: the one of the URI.
        types: MLflow types (or ``category``) of features whose old type is wrong.
        columns: a SQL expression per feature that is not a column of the table.
        alias: for the new version.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings.
        verify: where the new version is loaded and tried, as in ``register_model``.

    Raises:
        ModelError: the model cannot be found or loaded.
        RequestError: the table has not its features, the model does not take them, or with the types that were named
            it would predict otherwise than with its own.
        VerificationError: what was logged does not predict, as a table is scored, what the model predicts.

    """
    aliases = listed_aliases(alias)
    elsewhere = is_elsewhere(tracking_uri)
    check_servers(uri, tracking_uri, registry_uri)
    with logging_at(tracking_uri, registry_uri) as client:
        pinned = resolve_model(uri)
        target = name or pinned.name
        if target is None:
            raise RegistrationError.no_name(uri)
        problems = Gathering()
        problems.problems += request_problems(target, aliases, verify)
        candidate = None
        with problems.attempt():
            candidate = _repaired(pinned, example, task, types or {}, columns or {})
        problems.raise_all(RegistrationError)
        assert candidate is not None  # noqa: S101  else raised above
        ask_registry(client, target)
        origin = f"{pinned.name}/{pinned.version}" if pinned.name else redact(pinned.uri)
        tags = {"spark_scoring.repaired_from": origin}
        with run_of(client, None, f"{last_part(target)}_{candidate.algorithm}", elsewhere=elsewhere) as run:
            with in_our_words("logged model"):
                model_id = _log_again(client, pinned, candidate, run)
            logged = verified_model(client, run, candidate, f"models:/{model_id}", model_id, where=verify)
            return publish(client, run, logged, name=target, aliases=aliases, metrics=None, tags=tags)


def _repaired(
    pinned: PinnedModel,
    example: DataFrame | pd.DataFrame,
    task: str | None,
    types: Mapping[str, str],
    columns: Mapping[str, str],
) -> Candidate:
    """The model with the signature that it should have had."""
    from mlflow.models import Model, ModelSignature

    mlmodel = Model.load(pinned.path)
    loaded = load_part(pinned, pinned.part(Path(pinned.path)))
    raw = loaded.raw
    declared = _declared(mlmodel)
    rows = _table(example)
    wanted = _wanted(pinned, mlmodel, raw, declared, types, rows.columns)
    frame = read_rows(rows, wanted, columns).X
    predictions = _predicted(loaded, frame)
    _check_same(loaded, rows, {n: declared[n] for n in types if n in declared}, wanted, columns)
    labels = class_labels(raw)
    old_record = recorded(mlmodel.metadata)
    chosen = known_task(task or old_record.get("task") or likely_task(raw) or "regression")
    outputs = output_schema(output_type(chosen, predictions, labels))
    old = mlmodel.signature
    record = training_record(frame, task=chosen, classes=labels, categories={}, statistics=False)[RECORDED]
    known = {**(old_record.get("categories") or {}), **record["categories"]}
    return Candidate(
        model=raw,
        flavor=native_flavor(mlmodel),
        algorithm=algorithm_of(raw) if raw is not None else "PythonModel",
        task=chosen,
        example=frame.head(),
        sample=frame,
        predictions=predictions,
        signature=ModelSignature(
            inputs=input_schema(frame), outputs=outputs, params=None if old is None else old.params
        ),
        record={**(mlmodel.metadata or {}), RECORDED: {**old_record, **record, "categories": known}},
        options={},
        notes=("types were read from the example table, not from training",),
    )


def _table(example: DataFrame | pd.DataFrame) -> DataFrame:
    """The first rows of the example as Spark has them; pandas' missing values are nulls, which a table has for them."""
    import pandas as pd
    import pyarrow as pa
    from pyspark.errors import PySparkException

    if not isinstance(example, pd.DataFrame):
        return example.limit(_EXAMPLE_ROWS)
    try:
        rows = pa.Table.from_pandas(example.head(_EXAMPLE_ROWS), preserve_index=False)
        signed = [f.with_type(pa.int64()) if pa.types.is_unsigned_integer(f.type) else f for f in rows.schema]
        return get_session().createDataFrame(rows.cast(pa.schema(signed)))
    except (pa.ArrowException, PySparkException, ValueError) as error:
        told = error.args[-1] if len(error.args) > 1 else type(error).__name__  # Arrow's first words hold the value
        raise RegistrationError.no_table(str(told)) from error


def _predicted(loaded: LoadedModel, frame: pd.DataFrame) -> Any:
    try:
        predictions = loaded.call("predict", frame)
    except Exception as error:
        raise RegistrationError.predict_failed(kind_of(error)) from error
    check_count(predictions, len(frame))
    return predictions


def _check_same(
    loaded: LoadedModel,
    rows: DataFrame,
    changed: Mapping[str, ModelType],
    wanted: Mapping[str, str | ModelType | None],
    columns: Mapping[str, str],
) -> None:
    """Refuse types with which a row is predicted otherwise than with the signature's own.

    Raises:
        RegistrationError: with the number of such rows.

    """
    if not changed:
        return
    both = rows.where(" AND ".join(f"({columns.get(name, quote(name))}\n) IS NOT NULL" for name in changed))
    before, after = (read_rows(both, types, columns).X for types in ({**wanted, **changed}, wanted))
    difference = prediction_difference(_predicted(loaded, before), _predicted(loaded, after))
    if difference is not None:
        raise RegistrationError.types_change_predictions(sorted(changed), difference)


def _declared(mlmodel: Model) -> dict[str, ModelType]:
    """The types of the old signature that say something."""
    signature = mlmodel.signature
    known = signature_inputs(signature)[1] if signature is not None and signature.inputs is not None else ()
    return {feature.name: feature.type for feature in known if feature.name and not is_untyped(feature.type)}


def _wanted(
    pinned: PinnedModel,
    mlmodel: Model,
    raw: Any,
    declared: Mapping[str, ModelType],
    types: Mapping[str, str],
    table: Sequence[str],
) -> dict[str, str | ModelType | None]:
    """The model's features in its order, each with the type that it is to have; None: by the table's column."""
    own = own_feature_names(raw, table) if raw is not None else ()
    names = own or tuple(declared)
    if not names:
        raise RegistrationError.no_features(pinned.uri)
    levels = _levels(mlmodel, raw, names)
    held = {name: Category(found) for name, found in levels.items() if declared.get(name) not in _NUMBERS}
    return {name: types.get(name) or held.get(name) or declared.get(name) for name in names}


def _levels(mlmodel: Model, raw: Any, names: Sequence[str]) -> dict[str, Levels]:
    """Category levels that the model or its metadata hold."""
    held = dict(own_levels(raw, list(names), {}).named) if raw is not None else {}
    return {**recorded_levels(mlmodel.metadata), **held}


def _log_again(client: MlflowClient, pinned: PinnedModel, candidate: Candidate, run: ActiveRun) -> str:
    """A new logged model of the old one's files and the new signature, without the old example; its id."""
    from mlflow.models import Model

    logged = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run.info.run_id)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "model")
        left_out = shutil.ignore_patterns(*_LEFT_OUT)
        shutil.copytree(pinned.path, copy, ignore=left_out, copy_function=shutil.copyfile)  # ours is read-only
        mlmodel = Model.load(str(copy))
        mlmodel.signature = candidate.signature
        mlmodel.metadata = dict(candidate.record)
        mlmodel.run_id, mlmodel.model_id = run.info.run_id, logged.model_id
        mlmodel.model_uuid, mlmodel.artifact_path = logged.model_id, logged.artifact_location
        mlmodel.saved_input_example_info = None
        mlmodel.save(str(copy / "MLmodel"))
        client.log_model_artifacts(logged.model_id, str(copy))
    client.finalize_logged_model(logged.model_id, "READY")
    return str(logged.model_id)
