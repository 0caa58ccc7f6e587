"""Columns that a table fills by itself where a write leaves them out: generated ones, identities, defaults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spark_scoring.delta.explained import explain
from spark_scoring.sql import quote, unformatted

if TYPE_CHECKING:
    from collections.abc import Collection

    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

_DEFAULT = "CURRENT_DEFAULT"


def filled_columns(rows: DataFrame, table: str, schema: StructType, left_out: Collection[str]) -> frozenset[str]:
    """Of the columns that a write of these rows leaves out, those that the table fills itself. Runs no job.

    A table's schema tells of its defaults. Of generated columns and identities Delta tells only what it would insert:
    the plan of a MERGE says it.

    Args:
        rows: what would be written.
        table: as SQL addresses it.
        schema: its columns.
        left_out: names in lower case.

    """
    asked = [field.name for field in schema.fields if field.name.lower() in left_out]
    defaults = {f.name.lower() for f in schema.fields if f.name in asked and _DEFAULT in f.metadata}
    given = [name for name in rows.columns if name.lower() in {n.lower() for n in schema.fieldNames()}]
    if not asked or not given:
        return frozenset(defaults)
    statement = [
        f"MERGE INTO {unformatted(table)} AS t USING",
        unformatted(f"AS s ON false WHEN NOT MATCHED THEN INSERT ({', '.join(map(quote, given))})"),
        unformatted(f"VALUES ({', '.join(f's.{quote(name)}' for name in given)})"),
    ]
    plans = explain(rows.sparkSession, "{} {{rows}} {} {}".format(*statement), {"rows": rows})
    inserted = plans.analyzed.partition("[Insert [actions: [")[2]  # an error is for the write to tell
    return frozenset(defaults | {name.lower() for name in asked if _is_filled(name, inserted)})


def _is_filled(name: str, inserted: str) -> bool:
    found = re.search(rf"(?:^|, ){re.escape(quote(name))} = (null[,\]])?", inserted)
    return found is not None and found[1] is None
