"""What a Delta table makes of the values that are written: CHAR pads a text, a partition holds no empty one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import ArrayType, BinaryType, MapType, StringType, StructType

from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructField

PADDING_SETTING = "spark.sql.readSideCharPadding"
"""Where it is on, no MERGE compares a CHAR column of its table (delta-io/delta#3868)."""
_DECLARED = "__CHAR_VARCHAR_TYPE_STRING"
_CHAR = re.compile(r"\bchar\((\d+)\)")


def is_comparable(type_: DataType) -> bool:
    """Whether two values of the type can be compared: maps and variants cannot, wherever they are in it."""
    match type_:
        case StructType():
            return all(is_comparable(field.dataType) for field in type_.fields)
        case ArrayType():
            return is_comparable(type_.elementType)
        case _:
            return not isinstance(type_, MapType) and type_.typeName() != "variant"


def has_char(schema: StructType) -> bool:
    """Whether a column of a table is CHAR, or holds one."""
    return any(_CHAR.search(_declared(field.metadata)) for field in schema.fields)


def blank_is_null(schema: StructType, partitions: Collection[str]) -> frozenset[str]:
    """Partition columns, in lower case, in which an empty value becomes null."""
    known = {name.lower() for name in partitions}
    texts = (f for f in schema.fields if isinstance(f.dataType, StringType | BinaryType) and not _length(f.metadata))
    return frozenset(field.name.lower() for field in texts if field.name.lower() in known)


def keys_as_stored(
    key: Sequence[str], tables: Sequence[tuple[StructType | None, Collection[str]]]
) -> tuple[list[Column], tuple[str, ...]]:
    """Key columns as tables of these schemas and partitions will hold them; those in which a blank becomes null."""
    columns: list[Column] = []
    blank: set[str] = set()
    for name in key:
        column = F.col(quote(name))
        for schema, partitions in tables:
            if schema is None:
                continue
            column = _stored(column, name, schema)
            if name.lower() in blank_is_null(schema, partitions):
                column, blank = F.when(F.octet_length(column) > 0, column), {*blank, name}
        columns.append(column.alias(name))
    return columns, tuple(sorted(blank))


def _stored(column: Column, name: str, schema: StructType) -> Column:
    length = _lengths(schema).get(name.lower())
    return F.when(F.char_length(column) < length, F.rpad(column, length, " ")).otherwise(column) if length else column


def as_read(column: str, name: str, schema: StructType) -> str:
    """A table's column in SQL as it is read with padding: Delta may have stored a text of a CHAR column without."""
    length = _lengths(schema).get(name.lower())
    return f"rpad({column}, {length}, ' ')" if length else column


def spelled(schema: StructType) -> dict[str, str]:
    """A table's columns as it spells them, by their names in small letters."""
    return {name.lower(): name for name in schema.fieldNames()}


def padded(frame: DataFrame, schema: StructType) -> DataFrame:
    """The frame, whose texts are as long as the table's CHAR columns hold them."""
    if not _lengths(schema):
        return frame
    return frame.select(*[_stored(F.col(quote(name)), name, schema).alias(name) for name in frame.columns])


def of_new_table(frame: DataFrame) -> DataFrame:
    """The frame as columns of a table to be: STRING for CHAR and VARCHAR, no defaults of the table that it is from."""
    return frame.select(*[_plain(field) for field in frame.schema.fields])


def of_table(frame: DataFrame, schema: StructType) -> DataFrame:
    """The frame with a table's comments, and with those of its columns that the frame lacks, as null."""
    known = {field.name.lower(): field for field in schema.fields}
    own = [_commented(F.col(quote(name)), name, known.get(name.lower())) for name in frame.columns]
    ours = {name.lower() for name in frame.columns}
    rest = [field for key, field in known.items() if key not in ours]
    return frame.select(*own, *[_commented(F.lit(None).cast(f.dataType), f.name, f) for f in rest])


def _commented(column: Column, name: str, field: StructField | None) -> Column:
    kept = {} if field is None else _kept(field.metadata)
    return column.alias(name, metadata=kept) if kept else column.alias(name)


def schema_of_new_table(schema: StructType) -> StructType:
    """The columns as ``of_new_table`` makes them."""
    made = StructType()
    for field in schema.fields:
        made = made.add(field.name, field.dataType, field.nullable, _kept(field.metadata))
    return made


def _plain(field: StructField) -> Column:
    column, kept = F.col(quote(field.name)), _kept(field.metadata)
    if kept == field.metadata:
        return column
    value = column.cast(field.dataType)  # of its own type: an alias of a plain column would take on its metadata
    return value.alias(field.name, metadata=kept) if kept else value.alias(field.name)


def _kept(metadata: Mapping[str, object]) -> dict[str, object]:
    """Without what declares a length or a default; a default works in a table that was made for defaults only."""
    lost = (_DECLARED, "CURRENT_DEFAULT", "EXISTS_DEFAULT")
    return {key: value for key, value in metadata.items() if key not in lost}


def _lengths(schema: StructType) -> dict[str, int]:
    """Of a table's CHAR columns, by their names in lower case."""
    found = {field.name.lower(): _length(field.metadata) for field in schema.fields}
    return {name: length for name, length in found.items() if length}


def _length(metadata: Mapping[str, object]) -> int:
    found = _CHAR.fullmatch(_declared(metadata))
    return int(found[1]) if found else 0


def _declared(metadata: Mapping[str, object]) -> str:
    """A text type as it was declared, which Spark keeps beside STRING."""
    return str(metadata.get(_DECLARED, "")).lower()
