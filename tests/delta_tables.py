"""Delta tables as their builder makes them: Spark 3.5 has no SQL for identities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from delta.tables import DeltaTable, IdentityGenerator

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

IDENTITY = {"generatedAlwaysAs": IdentityGenerator()}


def make_table(
    spark: SparkSession, name: str, columns: dict[str, str | dict[str, Any]], layout: str, properties: dict[str, str]
) -> None:
    """Make an empty table.

    Args:
        spark: the session.
        name: of the table, or its path.
        columns: name -> type, or type and what else the builder takes of a column, or its default.
        layout: ``clusterBy`` or ``partitionedBy``, and the column.
        properties: of the table.

    """
    builder = DeltaTable.create(spark)
    builder = builder.location(name) if "/" in name else builder.tableName(name)
    defaults = {}
    for column, given in columns.items():
        rest = {"dataType": given} if isinstance(given, str) else dict(given)
        defaults[column] = rest.pop("default", None)
        builder = builder.addColumn(column, **rest)
    for key, value in {**properties, "delta.feature.allowColumnDefaults": "supported"}.items():
        builder = builder.property(key, value)
    how, column = layout.split()
    getattr(builder, how)(column).execute()
    for column, default in defaults.items():
        if default is not None:
            sql = f"delta.`{name}`" if "/" in name else name
            spark.sql(f"ALTER TABLE {sql} ALTER COLUMN {column} SET DEFAULT {default}")
