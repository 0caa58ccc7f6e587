"""Which of a table's columns each input of a model comes from, and what happens to its values."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql.types import ArrayType, DoubleType, StringType, StructField, StructType

from spark_scoring.errors import Problem, near_fix
from spark_scoring.model.types import ANY, DATA_TYPES, ModelType, Tensor, holds_null
from spark_scoring.plan.literals import fits
from spark_scoring.plan.policy import FeaturePolicy, Fill, Handling, settle
from spark_scoring.plan.rules import rule_for
from spark_scoring.plan.scalar_rules import NONZERO
from spark_scoring.plan.scoring_plan import PlannedFeature, is_nested
from spark_scoring.plan.verdicts import Refusal
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql.types import DataType

    from spark_scoring.model.spec import Feature, ModelSpec
    from spark_scoring.plan.request import Request

_SHOWN_SQL = 200


class Binder:
    """Binds features to a table's columns, by Spark's name rule."""

    def __init__(self, model: ModelSpec, schema: StructType, request: Request) -> None:
        self._model = model
        self._request = request
        self._schema = schema
        self._fold = str if request.case_sensitive else str.lower
        self._by_name: dict[str, list[StructField]] = {}
        for column in schema.fields:
            self._by_name.setdefault(self._fold(column.name), []).append(column)
        self.read: set[str] = set()
        """Names of the columns that features come from by name."""
        self.bound: set[str] = set()
        """Features that come from the column of their name."""
        self.left_out: list[str] = []
        """Optional features that the table has no column for."""
        self.problems: list[Problem] = []

    def bind(self, inputs: Sequence[Feature]) -> list[PlannedFeature]:
        """The plans of those inputs that have one; what is wrong with the others is in ``problems``."""
        features: list[PlannedFeature] = []
        for feature in inputs:
            if not feature.name:
                continue  # no column could be bound to it; input_problems says so
            # MLflow calls every feature with a null in its sample optional; a native model wants all that it was
            # trained on.
            needed = replace(feature, required=feature.required or feature.name in self._model.own_names)
            planned = self._planned(needed)
            if isinstance(planned, Problem):
                self.problems.append(planned)
            elif planned is not None:
                features.append(planned)
            elif feature.name not in self._request.expressions:
                self.left_out.append(feature.name)
        return features

    def _planned(self, feature: Feature) -> PlannedFeature | Problem | None:
        """The feature's plan, or its problem; None for an optional feature that is not there."""
        thing = f"feature {feature.name!r} ({feature.type})"
        choice = self._request.policy.for_feature(feature.name)
        nullable = feature.nullable and (holds_null(feature.type) or (_is_optional(feature)))
        handling = settle(choice, feature.type, nullable=nullable)
        if problem := _unknown_type(thing, feature.type) or _fill_problem(thing, feature, handling, nullable=nullable):
            return problem
        expression = self._request.expressions.get(feature.name)
        if expression is not None:
            typed = expression.type
            return (
                None if typed is None else self._convert(feature, _bracketed(expression.sql), typed, choice, handling)
            )
        found = self._by_name.get(self._fold(feature.name), [])
        if len(found) > 1:
            names = ", ".join(column.name for column in found)
            fix = f'name one: columns: {{{feature.name}: "<expression>"}}, or set spark.sql.caseSensitive'
            if len({column.name for column in found}) == 1:
                fix = "rename or drop one of them first: of a join, select the columns that are meant"
            return Problem(thing, f"more than one column has this name: {names}", fix)
        if found:
            self.read.add(found[0].name)
            self.bound.add(feature.name)
            return self._convert(feature, quote(found[0].name), found[0].dataType, choice, handling)
        if isinstance(feature.type, Tensor) and (columns := self._columns_of_matrix(feature.type)):
            self.read.update(column.name for column in columns)
            sql = f"struct({', '.join(quote(column.name) for column in columns)})"
            return self._convert(feature, sql, StructType(columns), choice, handling)
        return self._absent(thing, feature, handling)

    def _columns_of_matrix(self, tensor: Tensor) -> list[StructField]:
        """The columns of a matrix whose features the trained model knows by name; else none."""
        names = self._model.own_names if self._model.takes == "tensor" else ()
        columns = [found[0] for name in names if len(found := self._by_name.get(self._fold(name), [])) == 1]
        return columns if len(columns) == len(names) == tensor.width else []

    def _absent(self, thing: str, feature: Feature, handling: Handling) -> PlannedFeature | Problem | None:
        if handling.absent is not None:
            shown = "missing" if handling.absent.value is None else json.dumps(handling.absent.value)
            note = f"no such column: {shown} in every row"
            return PlannedFeature(
                feature.name, feature.type, None, None, "default", "same", handling, note, missing=feature.missing
            )
        if not feature.required:
            return None
        if isinstance(feature.type, Tensor) and self._model.takes == "tensor":
            width = feature.type.width
            fix = f'say which: columns: {{{feature.name}: "<array column>"}}, or "struct(...)" of {width} columns'
            return Problem(thing, "the model takes one unnamed array, which no column can be bound to by name", fix)
        near = near_fix(feature.name, self._schema.fieldNames(), what="the table has") or "the table has no columns"
        fix = f'map it: columns: {{{feature.name}: "<column or SQL expression>"}}'
        return Problem(
            thing, "the table has no such column", f"{near} {fix}" if near.endswith("?") else f"{near}; {fix}"
        )

    def _convert(
        self, feature: Feature, sql: str, type_: DataType, choice: FeaturePolicy, handling: Handling
    ) -> PlannedFeature | Problem:
        thing = f"feature {feature.name!r} ({feature.type})"
        readable, plain = _readable(sql, type_)
        rule = rule_for(plain, feature.type, case_sensitive=self._request.case_sensitive)
        if isinstance(rule, Refusal):
            shown = type_.simpleString() if len(sql) > _SHOWN_SQL else sql
            fix = rule.fix or f'write one: columns: {{{feature.name}: "<SQL expression>"}}'
            if rule.fix and isinstance(feature.type, str) and len(sql) <= _SHOWN_SQL:
                fix = re.sub(r"\bx\b", lambda _: sql, rule.fix)  # the rule of a type calls its column x
            return Problem(thing, f"{rule.cause} {shown if shown.startswith('(') else f'({shown})'}", fix)
        if rule.conversion == "void" and not (handling.nulls == "keep" or isinstance(handling.nulls, Fill)):
            written = f"policy: {{{feature.name}: {{nulls: {{fill: <value>}}}}}}"
            fix = f"map another column, or say what to take instead: {written}"
            return Problem(thing, f"the column {sql} is null in every row, and the feature cannot be", fix)
        if self._needs_levels(feature, plain):
            cause = f"it was trained on category codes, and the model does not hold the levels that {sql} has"
            fix = f"give them in the order of training: categories: {{{feature.name}: [...]}}"
            return Problem(thing, cause, fix)
        if rule.conversion == "zero_one" and choice.preset == "lenient":
            rule = NONZERO
        return PlannedFeature(
            name=feature.name,
            type=feature.type,
            source=readable,
            source_type=type_.simpleString(),
            verdict=rule.verdict,
            conversion=rule.conversion,
            handling=handling,
            note=rule.note,
            reason=rule.reason,
            members=rule.members,
            missing=feature.missing,
        )

    def _needs_levels(self, feature: Feature, type_: DataType) -> bool:
        """Text or a flag for a number that stands for a category."""
        is_code = feature.name in self._model.levels.coded and isinstance(feature.type, str)
        return is_code and type(type_).__name__ in ("StringType", "CharType", "VarcharType", "BooleanType")


def _bracketed(sql: str) -> str:
    """An expression as part of a larger one; a comment at its end stays its own."""
    return f"({sql}\n)" if "--" in sql else f"({sql})"


def _is_optional(feature: Feature) -> bool:
    """Whether a list, map or object may be missing."""
    return not feature.required and is_nested(feature.type)


def _readable(sql: str, type_: DataType) -> tuple[str, DataType]:
    """Types that SQL cannot convert value by value, as ones that it can.

    A VARIANT's values go by their text, whose rules never drop a digit. Texts lose their collation, which could make
    two levels equal. An ML vector becomes an array before anything else (``engine.columns.extend``).
    """
    match type(type_).__name__:
        case "VariantType":
            return f"try_variant_get({sql}, '$', 'string')", StringType()
        case "StringType" if type_.simpleString() != "string":
            return f"collate({sql}, 'UTF8_BINARY')", StringType()
        case "VectorUDT":
            return sql, ArrayType(DoubleType())
        case _:
            return sql, type_


def _unknown_type(thing: str, type_: ModelType) -> Problem | None:
    """A scalar type that no rule makes, such as one that a later MLflow brings."""
    if not isinstance(type_, str) or type_ in (*DATA_TYPES, ANY):
        return None
    fix = f"log the model with inputs of the types {', '.join(DATA_TYPES)}, lists, maps, objects or tensors"
    return Problem(thing, f"this version does not support inputs of type {type_}", fix)


def _fill_problem(thing: str, feature: Feature, handling: Handling, *, nullable: bool) -> Problem | None:
    """The first choice that the feature's type cannot hold: a fill value, or a null that is to be kept."""
    if handling.nulls == "keep" and not nullable:
        cause = f"policy nulls: a {feature.type} cannot keep a null"
        if not feature.nullable:
            cause = "policy nulls: the model's library refuses a null here"
        return Problem(thing, cause, "give bad_row, fail or {fill: <value>}")
    choices = {"nulls": handling.nulls, "invalid": handling.invalid, "absent": handling.absent}
    for when, action in choices.items():
        if isinstance(action, Fill) and not fits(action.value, feature.type, nullable=nullable):
            cause = f"policy {when}: the value {json.dumps(action.value)} does not fit {feature.type}"
            levels = getattr(feature.type, "levels", None)
            wanted = (
                f"a value of type {feature.type}" if levels is None else "one of the values that it had in training"
            )
            return Problem(thing, cause, f"give {wanted}")
    return None
