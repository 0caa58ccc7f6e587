"""A raw model and its feature spec as one MLflow model: written, and loaded by ``mlflow.pyfunc.load_model``.

This module is the loader that such an artifact names. It scores rows that have all features already; lookups
need Spark and the feature tables.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.model.errors import ModelError
from spark_scoring.model.feature_spec import (
    FOLDER,
    RAW_MODEL,
    SPEC_FILE,
    LookupColumn,
    SourceColumn,
    column_model_type,
    read_feature_spec,
)
from spark_scoring.model.types import Array, Map, ModelType, Object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.models.model import ModelInfo
    from mlflow.types import Schema

    from spark_scoring.model.feature_spec import FeatureSpec, SpecColumn

_LABELS = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), "long"),
    **dict.fromkeys(("float", "double"), "double"),
    "boolean": "boolean",
    "string": "string",
}
"""What a model trained on a label of a Spark type predicts."""


def log_feature_model(
    model: Any,
    *,
    artifact_path: str,
    flavor: ModuleType,
    spec: FeatureSpec,
    label_type: str | None,
    output_schema: Schema | None,
    logging: Mapping[str, Any],
    saving: Mapping[str, Any],
) -> ModelInfo:
    """Log a model with its feature spec beside it, in the layout of Databricks' feature engineering client.

    Args:
        model: what the flavor's ``save_model`` takes.
        artifact_path: the logged model's name.
        flavor: an MLflow flavor's module, such as ``mlflow.lightgbm``.
        spec: where the model's inputs come from.
        label_type: the label's Spark type, which says what the model returns where nothing else does.
        output_schema: what it returns; default: its own signature's outputs, else the label's type.
        logging: further arguments of ``mlflow.pyfunc.log_model``.
        saving: further arguments of the flavor's ``save_model``, for the raw model.

    Raises:
        ModelError: nothing says what the model returns.

    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature, set_signature

    with tempfile.TemporaryDirectory(prefix="spark_scoring_") as folder:
        store = Path(folder, FOLDER.name)
        raw = store / RAW_MODEL
        store.mkdir()
        if flavor.__name__ == "mlflow.pyfunc":
            flavor.save_model(path=str(raw), python_model=model, **saving)
        else:
            flavor.save_model(model, path=str(raw), **saving)
        own = Model.load(str(raw)).signature
        outputs = output_schema or (own.outputs if own is not None else None) or _label_schema(label_type)
        if outputs is None:
            raise ModelError.outputs_unknown(artifact_path)
        if own is not None and output_schema is not None:
            set_signature(str(raw), ModelSignature(inputs=own.inputs, outputs=output_schema, params=own.params))
        (store / SPEC_FILE).write_text(spec.to_yaml(), encoding="utf-8")
        return mlflow.pyfunc.log_model(
            name=artifact_path,
            loader_module=__name__,
            data_path=str(store),
            signature=ModelSignature(_inputs(spec, own), outputs, own.params if own is not None else None),
            pip_requirements=_requirements(raw),
            **logging,
        )


def log_plain_model(model: Any, *, artifact_path: str, flavor: ModuleType, options: Mapping[str, Any]) -> ModelInfo:
    """Log a model that has no lookups, by its own flavor."""
    if flavor.__name__ == "mlflow.pyfunc":
        return flavor.log_model(name=artifact_path, python_model=model, **options)
    return flavor.log_model(model, name=artifact_path, **options)


class FeatureModel:
    """A loaded model with lookups, over rows that have its features."""

    def __init__(self, folder: Path) -> None:
        import mlflow.pyfunc

        self._spec = read_feature_spec(folder, str(folder))
        self._raw = mlflow.pyfunc.load_model(str(folder / RAW_MODEL))

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """What the raw model returns for rows with all of its inputs, in their order.

        Raises:
            ModelError: features are missing; names them and where they are looked up.

        """
        names = [column.name for column in self._spec.included]
        missing = [column for column in self._spec.included if column.name not in data.columns]
        if missing:
            raise ModelError.needs_lookups([f"{c.name} ({_origin(c)})" for c in missing])
        return self._raw.predict(data[names], params=params)

    def get_raw_model(self) -> Any:
        """The native model."""
        return self._raw.get_raw_model()


def _load_pyfunc(path: str) -> FeatureModel:
    """MLflow's entry point: the model in an artifact's data folder."""
    return FeatureModel(Path(path))


def _origin(column: SpecColumn) -> str:
    match column:
        case SourceColumn():
            return "a column of the scored table"
        case LookupColumn():
            time = f" as of {column.timestamp_lookup_key}" if column.timestamp_lookup_key else ""
            return f"from {column.table} by {', '.join(column.lookup_key)}{time}"
        case _:
            return f"computed by {column.function}"


def _inputs(spec: FeatureSpec, own: ModelSignature | None) -> Schema:
    """All columns of the spec: the scored table's are required, the looked-up ones may come along."""
    from mlflow.types import ColSpec, Schema

    known = {}
    if own is not None and own.inputs is not None and not own.inputs.is_tensor_spec():
        known = {column.name: column.type for column in own.inputs.inputs}
    columns = []
    for column in spec.columns:
        type_ = known.get(column.name) if column.include else None
        if type_ is None and (model_type := column_model_type(column)) is not None:
            type_ = _mlflow_type(model_type)
        if type_ is not None:
            required = column.include and isinstance(column, SourceColumn)
            columns.append(ColSpec(type_, column.name, required=required))
    return Schema(columns)


def _mlflow_type(type_: ModelType) -> Any:
    from mlflow.types import DataType
    from mlflow.types import schema as mlflow_schema

    match type_:
        case Array():
            return mlflow_schema.Array(_mlflow_type(type_.element))
        case Map():
            return mlflow_schema.Map(_mlflow_type(type_.value))
        case Object():
            members = [mlflow_schema.Property(m.name, _mlflow_type(m.type), m.required) for m in type_.members]
            return mlflow_schema.Object(members)
        case _:
            return DataType[str(type_)]


def _label_schema(type_: str | None) -> Schema | None:
    from mlflow.types import ColSpec, Schema

    known = _LABELS.get(str(type_))
    return None if known is None else Schema([ColSpec(known)])


def _requirements(raw: Path) -> list[str]:
    """The raw model's, and this package, which loads it."""
    file = raw / "requirements.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [*[line for line in lines if line.strip()], f"spark-scoring=={_own_version()}"]


def _own_version() -> str:
    """Of this package, which may not be installed but come from a zip."""
    return str(import_module("spark_scoring").__version__)
