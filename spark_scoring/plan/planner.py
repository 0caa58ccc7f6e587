"""Model spec x table schema x policy -> a scoring plan, or every problem at once."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pyspark.sql.types import ArrayType, DoubleType, StringType, StructField, StructType

from spark_scoring.errors import PlanError, Problem, near_fix
from spark_scoring.model.types import (
    ANY,
    DATA_TYPES,
    INTEGER_RANGES,
    Array,
    Category,
    Coded,
    Levels,
    Map,
    Missing,
    ModelType,
    Object,
    OneOf,
    Tensor,
    holds_null,
)
from spark_scoring.plan.features import with_levels
from spark_scoring.plan.names import input_problems, output_problems, own_name_problems, shared_column_problems
from spark_scoring.plan.outputs import OutputColumn, PerClass, Returned, method_problems, planned_outputs
from spark_scoring.plan.policy import FeaturePolicy, Fill, Handling, Policy, settle
from spark_scoring.plan.rules import NONZERO, Cell, Conversion, Refusal, Verdict, rule_for
from spark_scoring.sql import quote
from spark_scoring.times import from_iso

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pyspark.sql.types import DataType

    from spark_scoring.model.spec import Feature, ModelSpec, Parameter
    from spark_scoring.plan.lookups import LookupPlan
    from spark_scoring.plan.rehearsal import Rehearsal

Params = tuple[tuple[str, Any], ...]
Engine = Literal["auto", "python", "native"]
_NESTED = (Array, Map, Object)
_SHOWN_SQL = 200


@dataclass(frozen=True)
class Expression:
    """A feature made by a SQL expression over the table, and the Spark type that it has."""

    sql: str
    type: DataType | None
    """None where Spark finds no type; whoever asked Spark says why."""


@dataclass(frozen=True)
class PlannedFeature:
    """One input of the model: where it comes from and what happens to its values."""

    name: str
    type: ModelType
    """The model's type: of the signature, with the levels of a category feature."""
    source: str | None
    """SQL of the source value: a quoted column or the job's expression; None where a default takes its place."""
    source_type: str | None
    """Spark type as a simple string, such as ``decimal(12,2)``."""
    verdict: Verdict
    conversion: Conversion
    handling: Handling
    note: str = ""
    reason: str | None = None
    members: tuple[Cell, ...] = ()
    missing: Missing = "None"
    """What a missing text is to the model."""


@dataclass(frozen=True)
class ScoringPlan:
    """What scoring will do, decided before a row is read; explaining and running start from it."""

    model: ModelSpec
    features: tuple[PlannedFeature, ...]
    """In signature order, which is the order the model receives them in."""
    methods: tuple[str, ...]
    outputs: tuple[OutputColumn, ...]
    returns: tuple[Returned, ...]
    params: Params = ()
    """Inference parameters that the request sets; the model's own defaults hold for the others."""
    ignored: tuple[str, ...] = ()
    """Columns of the table that no feature is made from or looked up by."""
    notes: tuple[str, ...] = ()
    lookups: LookupPlan | None = None
    """What adds the model's features to the table first; the columns of the plan are those of the result."""
    proven: bool = False
    """Whether a rehearsal saw the model score rows."""
    rehearsal: Rehearsal | None = field(default=None, compare=False)
    """What a rehearsal found; None where there was none."""
    engine: Literal["python", "native"] = "python"
    """Who scores: Python workers, or Spark's own expressions."""
    engine_note: str = field(default="", compare=False)
    """Why."""

    @property
    def needs_arrow(self) -> bool:
        """Whether lists, maps or objects travel: pandas UDFs change them, ``mapInArrow`` does not."""
        nested = any(is_nested(feature.type) for feature in self.features)
        return nested or any(returned.is_nested for returned in self.returns)

    @property
    def hash(self) -> str:
        """sha256 over everything that decides the predictions: artifact, conversions, handling, outputs."""
        decisive = {
            "digest": self.model.digest,
            "features": [
                (f.name, repr(f.type), f.source, f.source_type, f.conversion, repr(f.handling)) for f in self.features
            ],
            "methods": self.methods,
            **(
                {"by position": by_position}
                if (by_position := [r.method for r in self.returns if not r.by_index])
                else {}
            ),
            "params": repr(self.params),
            "outputs": [(o.name, o.type) for o in self.outputs],
            **({"lookups": self.lookups.decisive} if self.lookups is not None else {}),
            **({"engine": self.engine} if self.engine != "python" else {}),
            **({"environment": self.model.environment.key} if self.model.environment is not None else {}),
            **({"explained": told} if (told := [repr(r.reasons) for r in self.returns if r.reasons]) else {}),
            **({"codes": codes} if (codes := [o.codes for o in self.outputs if o.codes]) else {}),
        }
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()

    def explain(self) -> str:
        """The plan as plain text: one line per feature, then what is written."""
        from spark_scoring.plan.explain import plan_text

        return plan_text(self)

    def __str__(self) -> str:
        return self.explain()

    def __repr__(self) -> str:
        return f"<ScoringPlan {self.hash[:12]} of {self.model.title}: {len(self.features)} features>"

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_html(self) -> str:
        """The plan as an HTML fragment, escaped."""
        from spark_scoring.plan.explain import plan_html

        return plan_html(self)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        from spark_scoring.plan.explain import plan_dict

        return plan_dict(self)


@dataclass(frozen=True)
class Request:
    """What is asked of the model and the table, besides the two."""

    policy: Policy = field(default_factory=Policy)
    expressions: Mapping[str, Expression] = field(default_factory=dict)
    """Features that come from an expression instead of the column of their name."""
    categories: Mapping[str, Levels] = field(default_factory=dict)
    """Levels of category features, where the model does not hold them."""
    methods: tuple[str, ...] = ("predict",)
    params: Mapping[str, Any] = field(default_factory=dict)
    per_class: PerClass = "array"
    case_sensitive: bool = False
    """Spark's rule for names (``spark.sql.caseSensitive``)."""
    lookups: LookupPlan | None = None
    """The lookups whose result the schema describes."""


def make_plan(model: ModelSpec, schema: StructType, request: Request) -> ScoringPlan:
    """Decide for each input of the model what happens to its values. Reads no row and needs no session.

    Args:
        model: the pinned model.
        schema: the table's columns; the model's inputs bind to them by name, others are ignored.
        request: the policy and whatever else is asked for.

    Raises:
        PlanError: with every problem of the whole request.

    """
    inputs, problems = with_levels(model, request.categories)
    unknown = method_problems(model, request.methods)
    problems = [
        *_model_problems(model, inputs, strict=request.policy.is_strict),
        *problems,
        *unknown,
        *_param_problems(model.params, request.params),
        *_stray_names("columns", request.expressions, inputs),
        *_stray_names("categories", request.categories, inputs),
        *_stray_names("policy", [name for name, _ in request.policy.features], inputs),
    ]
    binder = _Binder(model, schema, request)
    features: list[PlannedFeature] = []
    left_out: set[str] = set()
    notes = [*model.notes, *(f"the model {difference}" for difference in model.differences)]
    for feature in inputs:
        if not feature.name:
            continue  # no column could be bound to it; input_problems says so
        # MLflow calls every feature with a null in its sample optional; a native model wants all that it was trained on
        needed = replace(feature, required=feature.required or feature.name in model.own_names)
        planned = binder.plan(needed)
        if isinstance(planned, Problem):
            problems.append(planned)
        elif planned is not None:
            features.append(planned)
        elif feature.name not in request.expressions:
            left_out.add(feature.name)
            notes.append(f"optional feature {feature.name!r} is left out: the table has no such column")
    if not features and not problems:
        fix = "map them: columns: {<feature>: <column or SQL expression>}"
        problems.append(Problem(f"model {model.uri!r}", "the table has none of its inputs", fix))
    problems += own_name_problems(model, [f.name for f in inputs if f.name not in left_out])
    problems += shared_column_problems(features, binder.bound)
    outputs, returns = planned_outputs(model, request.methods, request.per_class) if not unknown else ((), ())
    problems += output_problems(model.output, outputs)
    if problems:
        raise PlanError(problems)
    notes += [_guessed_null(f) for f in features if f.name in model.unsure_nulls and f.handling.nulls == "keep"]
    plan = ScoringPlan(
        model=model,
        features=tuple(features),
        methods=request.methods,
        outputs=outputs,
        returns=returns,
        params=tuple(sorted(request.params.items())),
        ignored=_ignored(schema.fieldNames(), binder.read, request),
        notes=tuple(notes),
        lookups=request.lookups,
    )
    if not plan.needs_arrow:
        return plan
    return with_notes(plan, ["lists, maps and objects travel through mapInArrow, whatever stage is asked for"])


def _ignored(columns: Sequence[str], read: Collection[str], request: Request) -> tuple[str, ...]:
    """Columns that are not read by name, that nothing is looked up by, and that no expression may name."""
    keys = frozenset() if request.lookups is None else request.lookups.sources
    written = "\n".join(expression.sql.lower() for expression in request.expressions.values())
    return tuple(name for name in columns if name not in read and name not in keys and not _names(written, name))


def _names(sql: str, column: str) -> bool:
    """Whether text in small letters may name a column."""
    name = column.lower().replace("`", "``")
    return name in sql and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql) is not None


def _guessed_null(feature: PlannedFeature) -> str:
    return (
        f"feature {feature.name!r}: a null reaches the model as {feature.missing}, by its imputer; what a missing text "
        "was in training is not recorded (register_model records it)"
    )


def is_nested(type_: ModelType) -> bool:
    """Whether values are lists, maps or objects of no fixed width."""
    return isinstance(type_, _NESTED) or type_ == ANY


class _Binder:
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

    def plan(self, feature: Feature) -> PlannedFeature | Problem | None:
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
        if isinstance(action, Fill) and not _fits(action.value, feature.type, nullable=nullable):
            cause = f"policy {when}: the value {json.dumps(action.value)} does not fit {feature.type}"
            levels = getattr(feature.type, "levels", None)
            wanted = (
                f"a value of type {feature.type}" if levels is None else "one of the values that it had in training"
            )
            return Problem(thing, cause, f"give {wanted}")
    return None


def _fits(value: Any, type_: ModelType, *, nullable: bool) -> bool:
    if value is None:
        return nullable
    match type_:
        case "double" | "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "long" | "integer":
            low, high = INTEGER_RANGES[type_]
            return isinstance(value, int) and not isinstance(value, bool) and low <= value < high
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "datetime":
            return isinstance(value, str) and _is_iso_time(value)
        case Category() | Coded() | OneOf():
            return value in type_.levels.values
        case _:
            return False


def _is_iso_time(value: str) -> bool:
    try:
        from_iso(value)
    except ValueError:
        return False
    return True


def _model_problems(model: ModelSpec, inputs: Sequence[Feature], *, strict: bool) -> list[Problem]:
    """What is wrong with the model whatever the table."""
    thing = f"model {model.uri!r}"
    problems = input_problems(model, inputs)
    for difference in model.differences:
        if strict and difference.own and difference.major:
            fix = (
                f"install {difference.package}{difference.required} on driver and workers, or let the job do so for "
                "this model: environment: isolated; policy: lenient scores with what is installed"
            )
            problems.append(Problem(thing, f"it {difference}", fix))
    return problems


def _param_problems(known: Sequence[Parameter], given: Mapping[str, Any]) -> list[Problem]:
    """Parameters that the signature does not have, or whose values are of another type."""
    by_name = {parameter.name: parameter for parameter in known}
    problems = []
    for name, value in given.items():
        parameter = by_name.get(name)
        if parameter is None:
            fix = near_fix(name, by_name, what="parameters") or "the model takes none: leave it out"
            problems.append(Problem(f"params: {name}", "the model's signature has no such parameter", fix))
            continue
        values = value if parameter.listed else [value]
        is_list = isinstance(values, list | tuple)
        known_type = parameter.type in DATA_TYPES
        if not is_list or (known_type and not all(_fits(v, parameter.type, nullable=False) for v in values)):
            wanted = f"a list of {parameter.type}" if parameter.listed else f"a {parameter.type}"
            problems.append(Problem(f"params: {name}", f"its value is not {wanted}", f"give {wanted}"))
    return problems


def _stray_names(setting: str, names: Mapping[str, Any] | Sequence[str], inputs: Sequence[Feature]) -> list[Problem]:
    known = [f.name for f in inputs]
    return [
        Problem(f"{setting}: {name}", "the model has no such feature", near_fix(name, known, what="features") or "")
        for name in names
        if name not in known
    ]


def with_notes(plan: ScoringPlan, notes: Sequence[str]) -> ScoringPlan:
    """The plan with more lines for the reader; its hash stays."""
    return replace(plan, notes=(*plan.notes, *notes))
