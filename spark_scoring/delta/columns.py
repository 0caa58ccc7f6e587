"""How the columns of a table and of a run differ, and what evolving does to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from spark_scoring.delta.filled import filled_columns
from spark_scoring.delta.target import Writing
from spark_scoring.engine.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructField, StructType

    from spark_scoring.delta.target import Target


@dataclass(frozen=True)
class ColumnChange:
    """What evolving does to a column of the output, once the run has written."""

    change: Literal["added", "retyped", "unwritten"]
    column: str
    type: str
    """What the run writes; of a column that it does not write, what the table has."""
    was: str | None = None
    """Of another type: the one before."""
    fate: str = ""
    """Of a column that the run does not write: what becomes of its values."""

    @property
    def text(self) -> str:
        """For people, as a line of a diff."""
        match self.change:
            case "added":
                return f"+ {self.column} {self.type}"
            case "retyped":
                return f"~ {self.column} {self.was} -> {self.type}"
            case _:
                return f"- {self.column} {self.type}: the column stays, {self.fate}"


@dataclass(frozen=True)
class ColumnDrift:
    """How the columns of a table and of a run differ."""

    rows: tuple[tuple[str, str, str, str], ...]
    """Mark, column, what the run writes, what the table has; one for each column."""
    new: frozenset[str]
    gone: frozenset[str]
    changed: frozenset[str]

    @property
    def is_any(self) -> bool:
        """Whether they do."""
        return bool(self.new or self.gone or self.changed)


def column_drift(existing: StructType, written: StructType) -> ColumnDrift:
    """How they differ; names are compared without their case, as Delta has it."""
    ours = {f.name.lower(): f for f in written.fields}
    theirs = {f.name.lower(): f for f in existing.fields}
    rows = []
    for key in [*theirs, *[k for k in ours if k not in theirs]]:
        new, old = _type_text(ours.get(key)), _type_text(theirs.get(key))
        rows.append(("x" if new != old else " ", (theirs.get(key) or ours[key]).name, new, old))
    both = ours.keys() & theirs.keys()
    changed = {key for key in both if _type_text(ours[key]) != _type_text(theirs[key])}
    return ColumnDrift(
        tuple(rows), frozenset(ours.keys() - theirs.keys()), frozenset(theirs.keys() - ours.keys()), frozenset(changed)
    )


def schema_changes(
    target: Target, existing: StructType, written: DataFrame, run_column: str
) -> tuple[ColumnChange, ...]:
    """What evolving does to the output's columns.

    Raises:
        OutputError: the columns differ, and ``evolve`` is not asked for or does not take them.

    """
    drift = column_drift(existing, written.schema)
    if not drift.is_any:
        return ()
    filled = filled_columns(written, target.ref.sql, existing, drift.gone) if drift.gone else frozenset()
    if not (drift.new or drift.changed or drift.gone - filled):
        return ()
    rows = [("", "column", "run writes", "table has"), *[_told(row, filled) for row in drift.rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    refusal = _why_not_evolve(target, existing, drift, filled, lines, run_column)
    fate = _fate(target.writing)
    if not target.writing.evolve:
        lost = [f.name for f in existing if f.name.lower() in drift.gone - filled]
        lacking = run_column if _holds_others(existing, run_column) else None
        raise OutputError.schema(target.ref.text, lines, lost, fate, can_evolve=refusal is None, lacking=lacking)
    if refusal is not None:
        raise refusal
    added = [ColumnChange("added", f.name, _type_text(f)) for f in written.schema if f.name.lower() in drift.new]
    ours = {f.name.lower(): f for f in written.schema}
    changed = [
        ColumnChange("retyped", f.name, _type_text(ours[f.name.lower()]), was=_type_text(f))
        for f in existing
        if f.name.lower() in drift.changed
    ]
    left = [
        ColumnChange("unwritten", f.name, _type_text(f), fate=fate)
        for f in existing
        if f.name.lower() in drift.gone - filled
    ]
    return (*added, *changed, *left)


def _fate(writing: Writing) -> str:
    """What becomes of the values of columns that the run does not write."""
    match writing:
        case Writing(mode="overwrite", replace_where=None):
            return "its values go: null in every row"
        case Writing(mode="overwrite"):
            return "its values in the replaced rows go: null in the rows of the run"
        case _:
            return "null in new rows"


def _why_not_evolve(
    target: Target, existing: StructType, drift: ColumnDrift, filled: Collection[str], lines: list[str], run_column: str
) -> OutputError | None:
    """Why ``evolve`` does not take these columns; None: it does."""
    if _holds_others(existing, run_column):
        return OutputError.not_predictions(target.ref.text, run_column)
    gone = drift.gone.difference(filled)
    partitions = {name.lower() for name in target.partitions} if target.writing.mode != "merge" else set()
    if needed := [
        f.name for f in existing if f.name.lower() in gone and (not f.nullable or f.name.lower() in partitions)
    ]:
        return OutputError.lacks(target.ref.text, needed)
    if drift.changed and (not _replaces_table(target) or filled or not all(map(_is_plain, existing))):
        return OutputError.types(target.ref.text, lines)
    return None


def _holds_others(existing: StructType, run_column: str) -> bool:
    """Whether a table holds something else than predictions: it has columns, and none for the run's id."""
    return bool(existing.fields) and run_column.lower() not in {name.lower() for name in existing.names}


def _told(row: tuple[str, str, str, str], filled: Collection[str]) -> tuple[str, str, str, str]:
    return (" ", row[1], "(the table fills it)", row[3]) if row[1].lower() in filled else row


def _is_plain(field: StructField) -> bool:
    """Whether a column can be made again with another type and lose nothing but that."""
    return field.nullable and "CURRENT_DEFAULT" not in field.metadata


def _replaces_table(target: Target) -> bool:
    """Whether an overwrite may bring columns of its own: Delta would forget a clustering with the old ones."""
    return target.writing.mode == "overwrite" and target.writing.replace_where is None and not target.clustered


def _type_text(field: Any) -> str:
    return "-" if field is None else field.dataType.simpleString()
