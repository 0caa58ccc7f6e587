"""Whether an output can take the rows of a run: what Delta would refuse late, or accept silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql.types import ArrayType, MapType, StructType

from spark_scoring.delta.columns import schema_changes
from spark_scoring.delta.constraints import RowKind, must_fail
from spark_scoring.delta.restricted import check_sql
from spark_scoring.delta.settings import is_case_sensitive
from spark_scoring.delta.stored import is_comparable
from spark_scoring.engine.errors import OutputError
from spark_scoring.errors import Gathering, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType

    from spark_scoring.delta.columns import ColumnChange
    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.delta.target import Target

_NEEDS_MAPPING = frozenset(" ,;{}()\n\t=")


def check_target(
    target: Target, source: PinnedSource, written: DataFrame, kinds: Sequence[RowKind], run_column: str
) -> tuple[ColumnChange, ...]:
    """How the output's columns will change; refuse an output that cannot take the run's.

    Args:
        target: the output before the run.
        source: what is read.
        written: the columns that the run writes, with any rows.
        kinds: of rows that it may write: which of these columns are null in all of them, and which in none.
        run_column: the one with the run's id, by which a table is known as one of predictions.

    Raises:
        OutputError: with every reason.

    """
    if target.table_id is not None and target.table_id == source.table_id:  # how else it does not fit is of no interest
        raise OutputError.is_source(target.ref.text)
    problems = Gathering()
    changes: tuple[ColumnChange, ...] = ()
    with problems.attempt():
        _check_properties(target, source.frame.sparkSession, kinds)
    with problems.attempt():
        _check_key(target.writing.key, written)
    if target.writing.replace_where is not None:
        with problems.attempt():
            _check_condition(target.writing.replace_where, written)
    if target.schema is not None:
        with problems.attempt():
            changes = schema_changes(target, target.schema, written, run_column)
        with problems.attempt():
            _check_mapping(target, target.schema, written.schema)
    problems.raise_all(OutputError)
    return changes


def _check_properties(target: Target, spark: SparkSession, kinds: Sequence[RowKind]) -> None:
    properties = dict(target.properties)
    if target.writing.mode != "append" and properties.get("delta.appendOnly", "").lower() == "true":
        raise OutputError.append_only(target.ref.text)
    if target.schema is None:
        return
    nulls = {name.lower() for kind in kinds for name, is_null in kind.items() if is_null}
    for field in target.schema.fields:
        if not field.nullable and field.name.lower() in nulls:
            raise OutputError.constraint(target.ref.text, "NOT NULL", field.name)
    for key, expression in properties.items():
        if key.startswith("delta.constraints."):
            _check_constraint(target, target.schema, spark, expression, kinds)


def _check_key(key: tuple[str, ...], written: DataFrame) -> None:
    problems = Gathering()
    fold = str if is_case_sensitive(written.sparkSession) else str.lower
    columns = {fold(field.name): field for field in written.schema.fields}
    for name in key:
        with problems.attempt():
            if fold(name) not in columns:
                raise OutputError.no_key(name, written.columns)
            type_ = columns[fold(name)].dataType
            if not is_comparable(type_):
                raise OutputError.key_type(name, type_.simpleString())
    problems.raise_all()


def _check_condition(condition: str, written: DataFrame) -> None:
    check_sql(written.sparkSession, "output.replace_where", condition, written.columns)
    try:
        _ = written.where(f"({condition}\n)").schema
    except (AnalysisException, ParseException) as error:
        raise OutputError.bad_condition(condition, first_line(error)) from error


def _check_constraint(
    target: Target, schema: StructType, spark: SparkSession, expression: str, kinds: Sequence[RowKind]
) -> None:
    """Refuse a constraint that all rows of a kind must violate, because of what is null in them."""
    for kind in kinds:
        named = [name for name, is_null in kind.items() if name.lower() in expression.lower()]
        if named and must_fail(spark, expression, schema, kind):
            null = next((name for name in named if kind[name]), named[0])
            raise OutputError.constraint(target.ref.text, f"CHECK ({expression})", null, is_null=kind[null])


def _check_mapping(target: Target, existing: StructType, written: StructType) -> None:
    """Names that Parquet cannot hold come into a table only where it maps columns to other names."""
    if dict(target.properties).get("delta.columnMapping.mode", "none") != "none":
        return
    known = set(_all_names(existing))
    odd = [name for name in needing_mapping(written) if name not in known]
    if odd:
        raise OutputError.needs_mapping(target.ref.text, target.ref.sql, odd)


def needing_mapping(schema: StructType) -> list[str]:
    """Names of columns, and of what is inside them, that Parquet cannot hold."""
    return [name for name in _all_names(schema) if _NEEDS_MAPPING & set(name)]


def _all_names(type_: DataType) -> list[str]:
    """Names of columns and of what is inside them."""
    match type_:
        case StructType():
            return [name for f in type_.fields for name in (f.name, *_all_names(f.dataType))]
        case ArrayType():
            return _all_names(type_.elementType)
        case MapType():
            return _all_names(type_.valueType)
        case _:
            return []
