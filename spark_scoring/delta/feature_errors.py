"""Errors of feature tables and of lookups in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.delta.errors import empty_in
from spark_scoring.errors import Problem, RequestError, listed, near_fix

if TYPE_CHECKING:
    from collections.abc import Sequence


class FeatureTableError(RequestError):
    """A feature table, or a lookup in it, is not as it must be."""

    title = "the features cannot be looked up"

    @classmethod
    def missing(cls, name: str, near: Sequence[str]) -> FeatureTableError:
        fix = near_fix(name, near, what="tables here") or "check the name, or create it: feature_client().create_table"
        return cls([Problem(f"feature table {name}", "no such table", fix)])

    @classmethod
    def not_delta(cls, name: str, found: str) -> FeatureTableError:
        cause = f"it is {found}, which has no version to pin"
        return cls([Problem(f"feature table {name}", cause, "make it a Delta table")])

    @classmethod
    def exists(cls, name: str) -> FeatureTableError:
        return cls(
            [Problem(f"feature table {name}", "it exists already", "write to it: write_table(name=..., df=...)")]
        )

    @classmethod
    def failed(cls, name: str, cause: str) -> FeatureTableError:
        return cls([Problem(f"feature table {name}", f"Spark refused it: {cause}", "correct what it names")])

    @classmethod
    def needs_mapping(cls, name: str, names: Sequence[str]) -> FeatureTableError:
        cause = f"the table cannot hold these names as it is: {listed(map(repr, names))}"
        fix = "rename them, or let the table map columns: tags={'delta.columnMapping.mode': 'name'}"
        return cls([Problem(f"feature table {name}", cause, fix)])

    @classmethod
    def cannot_add(cls, name: str, sql: str, names: Sequence[str]) -> FeatureTableError:
        cause = f"the table cannot hold these names as it is: {listed(map(repr, names))}"
        fix = (
            "rename them, or let the table map columns: "
            f"ALTER TABLE {sql} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
        )
        return cls([Problem(f"feature table {name}", cause, fix)])

    @classmethod
    def no_schema(cls, name: str) -> FeatureTableError:
        return cls([Problem(f"feature table {name}", "neither df nor schema says what columns it has", "give one")])

    @classmethod
    def no_keys(cls, name: str) -> FeatureTableError:
        fix = "create it through create_table, or set its property spark_scoring.primary_keys to a JSON list of names"
        return cls([Problem(f"feature table {name}", "nothing says which columns are its primary keys", fix)])

    @classmethod
    def other_keys(cls, name: str, now: str, then: str) -> FeatureTableError:
        cause = f"its keys are now {now}; when the model was logged they were {then}"
        return cls([Problem(f"feature table {name}", cause, "give it those keys again, or log the model again")])

    @classmethod
    def empty_key(cls, name: str) -> FeatureTableError:
        fix = "give primary_keys, with the time among them or not"
        return cls([Problem(f"feature table {name}", "primary_keys names no column beside the time", fix)])

    @classmethod
    def lacks_columns(cls, name: str, lacking: Sequence[str], columns: Sequence[str]) -> FeatureTableError:
        fix = near_fix(lacking[0], columns, what="columns") or "give a DataFrame with columns"
        return cls([Problem(f"feature table {name}", f"the rows lack its columns {listed(lacking)}", fix)])

    @classmethod
    def columns_twice(cls, name: str, columns: Sequence[str]) -> FeatureTableError:
        cause = f"columns of the rows have one name: {listed(columns)}"
        return cls(
            [Problem(f"feature table {name}", cause, "rename all but one; a table does not tell upper from lower case")]
        )

    @classmethod
    def types_differ(cls, name: str, columns: Sequence[tuple[str, str, str]]) -> FeatureTableError:
        shown = "; ".join(f"{column}: rows have {ours}, the table {theirs}" for column, ours, theirs in columns)
        return cls(
            [Problem(f"feature table {name}", f"columns of another type: {shown}", "cast them in the DataFrame")]
        )

    @classmethod
    def null_keys(cls, name: str, keys: Sequence[str], blank: Sequence[str] = ()) -> FeatureTableError:
        empty = f", or are {empty_in(blank)}" if blank else ""
        cause = f"rows have a null in its keys ({listed(keys)}){empty}"
        return cls([Problem(f"feature table {name}", cause, "leave them out: a null key is never found")])

    @classmethod
    def duplicate_keys(cls, name: str, keys: Sequence[str]) -> FeatureTableError:
        cause = f"several rows have the same key ({listed(keys)}), so that a lookup would multiply rows"
        return cls([Problem(f"feature table {name}", cause, "keep one row for each key; nothing was written")])

    @classmethod
    def bad_mode(cls, mode: str) -> FeatureTableError:
        return cls([Problem(f"write_table mode {mode!r}", "no such mode", "give merge or overwrite")])

    @classmethod
    def streaming(cls, thing: str) -> FeatureTableError:
        return cls([Problem(thing, "it is a streaming DataFrame", "give a batch DataFrame, or use foreachBatch")])

    @classmethod
    def no_column(cls, name: str, columns: Sequence[str], *, setting: str) -> FeatureTableError:
        fix = near_fix(name, columns, what="columns") or "leave it out"
        return cls([Problem(f"{setting}: {name}", "there is no such column", fix)])

    @classmethod
    def name_twice(cls, name: str, *, in_table: bool) -> FeatureTableError:
        cause = (
            "a looked-up column and one of df have this name" if in_table else "two looked-up columns have this name"
        )
        fix = f"rename it: rename_outputs={{<feature>: <new name>}}{', or drop it from df' if in_table else ''}"
        return cls([Problem(f"column {name}", cause, fix)])

    @classmethod
    def not_a_lookup(cls, kind: str) -> FeatureTableError:
        fix = "give spark_scoring.FeatureLookup and FeatureFunction"
        return cls([Problem("feature_lookups", f"a {kind} is not a lookup", fix)])

    @classmethod
    def bad_default(cls, feature: str, type_: str) -> FeatureTableError:
        fix = f"log the model again with a default of type {type_}"
        return cls([Problem(f"default of feature {feature!r}", f"it does not fit {type_}", fix)])

    @classmethod
    def bad_function(cls, function: str, feature: str, cause: str) -> FeatureTableError:
        fix = "create it in this session (CREATE FUNCTION), correct its inputs, or give the table the column itself"
        return cls([Problem(f"feature function {function} ({feature})", f"it cannot be called: {cause}", fix)])

    @classmethod
    def no_sql_functions(cls, function: str, feature: str, spark_version: str) -> FeatureTableError:
        cause = f"it is made of SQL, and Spark {spark_version} has no such functions"
        fix = "score with Spark 4.0 or newer, or on Databricks; or give the table the column itself"
        return cls([Problem(f"feature function {function} ({feature})", cause, fix)])

    @classmethod
    def bad_lookup(cls, thing: str, cause: str, fix: str) -> FeatureTableError:
        return cls([Problem(thing, cause, fix)])
