"""feature_spec.yaml beside a raw model: where each input of a model with feature lookups comes from.

The layout is that of Databricks' feature engineering client: ``data/feature_store/feature_spec.yaml`` and
``data/feature_store/raw_model/``. It is read leniently (unknown keys, both spellings of types) and written as
that client parses it; what only this package knows stands under a key of its own, which the client ignores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from spark_scoring.model.errors import ModelError
from spark_scoring.model.raised import kind_and_place
from spark_scoring.model.types import Array, Map, Member, ModelType, Object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FOLDER = Path("data", "feature_store")
SPEC_FILE = "feature_spec.yaml"
RAW_MODEL = "raw_model"

_OURS = "spark_scoring"
_SERIALIZATION = 9
"""The format's version: 9 to 11 parse alike, nothing of what the later ones add is written."""
_CLIENT_VERSION = "0.18.2"
"""The client whose format is written."""

_SPELLINGS = {"byte": "tinyint", "short": "smallint", "integer": "int", "long": "bigint"}
"""The client's names of types as Spark's simple strings."""

_MODEL_TYPES = {
    "boolean": "boolean",
    "tinyint": "double",
    "smallint": "double",
    "int": "double",
    "bigint": "double",
    "float": "float",
    "double": "double",
    "decimal": "double",
    "string": "string",
    "binary": "binary",
    "date": "datetime",
    "timestamp": "datetime",
    "timestamp_ntz": "datetime",
}
"""What a column of a Spark type is to a model whose signature lacks inputs.

An integer is a double: a lookup that finds nothing is a null, with which pandas makes an integer column one of
doubles, and that is what such a model was trained on.
"""
_INNER_TYPES = {**_MODEL_TYPES, "tinyint": "integer", "smallint": "integer", "int": "integer", "bigint": "long"}
"""Inside lists, maps and structs, where pandas changes nothing."""


@dataclass(frozen=True)
class SourceColumn:
    """A column of the scored table itself: an input of the model, a key, or both."""

    name: str
    type: str | None = None
    """Spark's simple string, as in training."""
    include: bool = True
    """Whether the model takes it; keys are often needed for lookups alone."""


@dataclass(frozen=True)
class LookupColumn:
    """A column looked up in a feature table."""

    name: str
    """What the model calls it."""
    table: str
    feature: str
    """The table's own name of it."""
    lookup_key: tuple[str, ...]
    """Columns of the scored table, in the order of the table's primary keys."""
    timestamp_lookup_key: str | None = None
    """The scored table's time, for the latest row of the feature table at or before it."""
    default: str | None = None
    """Stands in for a null, as text."""
    type: str | None = None
    include: bool = True


@dataclass(frozen=True)
class FunctionColumn:
    """A column computed by a SQL function from others."""

    name: str
    function: str
    bindings: tuple[tuple[str, str], ...]
    """The function's parameters, each with the column bound to it."""
    type: str | None = None
    include: bool = True


SpecColumn: TypeAlias = SourceColumn | LookupColumn | FunctionColumn


@dataclass(frozen=True)
class InputTable:
    """A feature table as the spec names it."""

    name: str
    table_id: str | None = None
    lookback_seconds: float | None = None
    """How old a looked-up row may be, both ends inclusive; None: any age."""
    primary_keys: tuple[str, ...] = ()
    """The table's key columns without its time, as registered here; empty where another client wrote the spec."""
    timeseries_column: str | None = None


@dataclass(frozen=True)
class FunctionDefinition:
    """A SQL function's text, so that scoring does not depend on the session knowing the function."""

    name: str
    parameters: str
    """``a DOUBLE, b DOUBLE``."""
    returns: str
    body: str


@dataclass(frozen=True)
class FeatureSpec:
    """All inputs of a model with feature lookups, in the model's order."""

    columns: tuple[SpecColumn, ...]
    tables: tuple[InputTable, ...] = ()
    definitions: tuple[FunctionDefinition, ...] = ()

    @property
    def included(self) -> tuple[SpecColumn, ...]:
        """The columns that the model takes."""
        return tuple(column for column in self.columns if column.include)

    def table(self, name: str) -> InputTable:
        """The entry of a table."""
        return next((table for table in self.tables if table.name == name), InputTable(name))

    def definition(self, name: str) -> FunctionDefinition | None:
        """The text of a function, where it was recorded."""
        return next((known for known in self.definitions if known.name == name), None)

    def to_yaml(self) -> str:
        """The spec as the feature engineering client parses it: values as text, lookbacks in seconds."""
        functions = dict.fromkeys(c.function for c in self.columns if isinstance(c, FunctionColumn))
        tables = dict.fromkeys(c.table for c in self.columns if isinstance(c, LookupColumn))
        fields = {
            "input_columns": [{c.name: _column_fields(c, order)} for order, c in enumerate(self.columns)],
            "input_tables": [{name: _table_fields(self.table(name))} for name in tables],
            "input_functions": [{name: {}} for name in functions],
            "workspace_id": 0,
            "feature_store_client_version": _CLIENT_VERSION,
            "serialization_version": _SERIALIZATION,
            _OURS: {
                "tables": {name: _own_table_fields(self.table(name)) for name in tables},
                "functions": {
                    d.name: {"parameters": d.parameters, "returns": d.returns, "body": d.body} for d in self.definitions
                },
            },
        }
        return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def feature_folder(model: str | Path) -> Path | None:
    """The folder of a model's feature spec and raw model; None for a model without lookups."""
    folder = Path(model, FOLDER)
    return folder if (folder / SPEC_FILE).is_file() else None


def read_feature_spec(folder: Path, uri: str) -> FeatureSpec:
    """The feature spec in a folder.

    Raises:
        ModelError: not YAML, or not of the format; names the entry.

    """
    try:
        fields = yaml.safe_load((folder / SPEC_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ModelError.bad_feature_spec(uri, f"it is not YAML: {kind_and_place(error)}") from error
    if not (folder / RAW_MODEL / "MLmodel").is_file():
        raise ModelError.bad_feature_spec(uri, f"there is no {RAW_MODEL} beside it")
    try:
        return _spec(fields)
    except _FormatError as error:
        raise ModelError.bad_feature_spec(uri, str(error)) from error


def column_model_type(column: SpecColumn) -> ModelType | None:
    """What a column is to a model whose own signature lacks inputs; None where its type is unknown or has none."""
    return None if column.type is None else _model_type(column.type, _MODEL_TYPES)


class _FormatError(Exception):
    """An entry that is not of the format."""


def _spec(fields: Any) -> FeatureSpec:
    if not isinstance(fields, dict):
        msg = "it holds no fields"
        raise _FormatError(msg)
    entries = list(_named(fields.get("input_columns"), "input_columns"))
    if not entries:
        msg = "input_columns is missing or empty"
        raise _FormatError(msg)
    ours = fields.get(_OURS) or {}
    columns = [_column(name, entry) for name, entry in entries]
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        msg = "input_columns names a column twice"
        raise _FormatError(msg)
    own_tables = ours.get("tables") or {}
    tables = [_table(n, e, own_tables.get(n) or {}) for n, e in _named(fields.get("input_tables"), "input_tables")]
    definitions = [
        FunctionDefinition(name, str(d.get("parameters")), str(d.get("returns")), str(d.get("body")))
        for name, d in (ours.get("functions") or {}).items()
    ]
    return FeatureSpec(tuple(columns), tuple(tables), tuple(definitions))


def _named(entries: Any, where: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Lists of ``{name: fields}``."""
    for entry in entries or []:
        if not isinstance(entry, dict) or len(entry) != 1:
            msg = f"an entry of {where} is not one name with its fields"
            raise _FormatError(msg)
        ((name, fields),) = entry.items()
        yield str(name), fields if isinstance(fields, dict) else {}


def _column(name: str, entry: Mapping[str, Any]) -> SpecColumn:
    type_ = None if entry.get("data_type") is None else _simple(str(entry["data_type"]))
    include = bool(entry.get("include", True))
    match entry.get("source"):
        case "training_data":
            return SourceColumn(name, type_, include)
        case "feature_store":
            return LookupColumn(
                name=name,
                table=str(_required(name, entry, "table_name")),
                feature=str(_required(name, entry, "feature_name")),
                lookup_key=_texts(_required(name, entry, "lookup_key")),
                timestamp_lookup_key=next(iter(_texts(entry.get("timestamp_lookup_key"))), None),
                default=None if entry.get("default_value") is None else str(entry["default_value"]),
                type=type_,
                include=include,
            )
        case "on_demand_feature":
            bindings = entry.get("input_bindings") or {}
            pairs = tuple((str(parameter), str(column)) for parameter, column in bindings.items())
            return FunctionColumn(name, str(_required(name, entry, "udf_name")), pairs, type_, include)
        case other:
            msg = f"column {name!r} has the source {other!r}, which is not known"
            raise _FormatError(msg)


def _required(name: str, entry: Mapping[str, Any], field: str) -> Any:
    if not entry.get(field):
        msg = f"column {name!r} has no {field}"
        raise _FormatError(msg)
    return entry[field]


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(str(v) for v in value) if isinstance(value, list) else (str(value),)


def _table(name: str, entry: Mapping[str, Any], ours: Mapping[str, Any]) -> InputTable:
    lookback = entry.get("lookback_window")
    try:
        seconds = None if lookback is None else float(lookback)
    except (TypeError, ValueError) as error:
        msg = f"lookback_window of table {name!r} is not a number of seconds"
        raise _FormatError(msg) from error
    time = ours.get("timeseries_column")
    return InputTable(
        name=name,
        table_id=None if entry.get("table_id") is None else str(entry["table_id"]),
        lookback_seconds=seconds,
        primary_keys=_texts(ours.get("primary_keys")),
        timeseries_column=None if time is None else str(time),
    )


def _column_fields(column: SpecColumn, order: int) -> dict[str, Any]:
    match column:
        case SourceColumn():
            fields: dict[str, Any] = {"source": "training_data"}
        case LookupColumn():
            fields = {
                "source": "feature_store",
                "table_name": column.table,
                "feature_name": column.feature,
                "lookup_key": list(column.lookup_key),
            }
            if column.timestamp_lookup_key is not None:
                fields["timestamp_lookup_key"] = [column.timestamp_lookup_key]
            if column.default is not None:
                fields["default_value"] = column.default
        case FunctionColumn():
            fields = {
                "source": "on_demand_feature",
                "udf_name": column.function,
                "input_bindings": dict(column.bindings),
            }
    if column.type is not None:
        fields["data_type"] = column.type
    if not column.include:
        fields["include"] = False
    return {**fields, "topological_ordering": order}


def _table_fields(table: InputTable) -> dict[str, Any]:
    fields = {"table_id": table.table_id, "lookback_window": table.lookback_seconds}
    return {name: value for name, value in fields.items() if value is not None}


def _own_table_fields(table: InputTable) -> dict[str, Any]:
    fields: dict[str, Any] = {"primary_keys": list(table.primary_keys)}
    if table.timeseries_column is not None:
        fields["timeseries_column"] = table.timeseries_column
    return fields


def _simple(type_: str) -> str:
    """A type of either spelling as Spark's simple string."""
    text = type_.strip()
    return _SPELLINGS.get(text.lower(), text.lower()) if "<" not in text else text


def _model_type(text: str, scalars: Mapping[str, str]) -> ModelType | None:
    """A simple string as a model's type, None where no model type holds it."""
    head, _, inner = text.partition("<")
    inner = inner.removesuffix(">")
    match head.strip().lower():
        case "array" if inner:
            element = _model_type(inner, _INNER_TYPES)
            return None if element is None else Array(element)
        case "map" if inner:
            key, value = (_model_type(part, _INNER_TYPES) for part in (*_parts(inner), "", "")[:2])
            return None if key != "string" or value is None else Map(value)
        case "struct" if inner:
            return _object_type([part.partition(":") for part in _parts(inner)])
        case scalar:
            return scalars.get(_simple(scalar.partition("(")[0]))


def _object_type(fields: Iterable[tuple[str, str, str]]) -> Object | None:
    members = []
    for name, _, type_ in fields:
        inner = _model_type(type_, _INNER_TYPES)
        if inner is None:
            return None
        members.append(Member(name.strip().strip("`"), inner, required=False))
    return Object(tuple(members))


def _parts(text: str) -> list[str]:
    """Split at commas outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "<(") - (character in ">)")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def with_types(spec: FeatureSpec, types: Mapping[str, str]) -> FeatureSpec:
    """The spec with the Spark types of its columns, by name."""
    return replace(spec, columns=tuple(replace(c, type=types.get(c.name, c.type)) for c in spec.columns))
