"""Model spec x table schema x policy -> a scoring plan, or every problem at once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import PlanError, Problem, near_fix
from spark_scoring.model.spec import INTEGER_RANGES, SCALARS, Feature, ModelSpec, Output
from spark_scoring.plan.policy import FeaturePolicy, Fill, Handling, Policy, holds_null, settle
from spark_scoring.plan.rules import NONZERO, Conversion, Reason, Verdict, rule_for
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql.types import DataType, StructType

METHODS = {"predict": "prediction", "predict_proba": "probability"}
"""Predict methods and the output column of each."""

ERROR_COLUMN = "scoring_error"

SPARK_TYPES = {
    "double": "double",
    "float": "float",
    "long": "bigint",
    "integer": "int",
    "boolean": "boolean",
    "string": "string",
}


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
    type: str
    """MLflow type of the signature."""
    source: str | None
    """SQL of the source value: a quoted column or the job's expression; None where a default stands in."""
    source_type: str | None
    """Spark type as a simple string, such as ``decimal(12,2)``."""
    verdict: Verdict
    conversion: Conversion
    handling: Handling
    note: str = ""
    reason: Reason | None = None


@dataclass(frozen=True)
class OutputColumn:
    """A column that scoring adds: its name, Spark type, and what it holds."""

    name: str
    type: str
    note: str = ""


@dataclass(frozen=True)
class ScoringPlan:
    """What scoring will do, decided before a row is read; explaining and running start from it."""

    model: ModelSpec
    features: tuple[PlannedFeature, ...]
    """In signature order, which is the order the model receives them in."""
    methods: tuple[str, ...]
    outputs: tuple[OutputColumn, ...]
    ignored: int = 0
    """Columns of the table that the model does not read."""
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """sha256 over everything that decides the predictions: artifact, conversions, handling, outputs."""
        decisive = {
            "digest": self.model.digest,
            "features": [asdict(f) for f in self.features],
            "methods": self.methods,
            "outputs": [(o.name, o.type) for o in self.outputs],
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def explain(self) -> str:
        """The plan as plain text: one line per feature, then what is written."""
        from spark_scoring.plan.explain import plan_text

        return plan_text(self)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        from spark_scoring.plan.explain import plan_dict

        return plan_dict(self)


def make_plan(
    model: ModelSpec,
    schema: StructType,
    *,
    policy: Policy,
    expressions: Mapping[str, Expression] | None = None,
    methods: Sequence[str] = ("predict",),
    case_sensitive: bool = False,
) -> ScoringPlan:
    """Decide for each input of the model what happens to its values. Reads no row and needs no session.

    Args:
        model: the pinned model.
        schema: the table's columns; the model's inputs bind to them by name, others are ignored.
        policy: what happens to nulls, to values that do not fit, and to columns that are not there.
        expressions: features that come from an expression instead of the column of their name.
        methods: predict methods, of ``METHODS``.
        case_sensitive: Spark's rule for names (``spark.sql.caseSensitive``).

    Raises:
        PlanError: with every problem of the whole request.

    """
    expressions = expressions or {}
    problems = [
        *_model_problems(model),
        *_method_problems(model, methods),
        *_stray_names("columns", expressions, model),
        *_stray_names("policy", [name for name, _ in policy.features], model),
    ]
    columns = _Columns(schema, case_sensitive=case_sensitive)
    features: list[PlannedFeature] = []
    notes = list(model.notes)
    for feature in model.inputs:
        # MLflow calls every feature with a null in its sample optional; a native model wants all that it was trained on
        needed = replace(feature, required=feature.required or feature.name in model.own_names)
        planned = _plan_feature(needed, columns, expressions.get(feature.name), policy.for_feature(feature.name))
        if isinstance(planned, Problem):
            problems.append(planned)
        elif planned is not None:
            features.append(planned)
        else:
            notes.append(f"optional feature {feature.name!r} is left out: the table has no such column")
    if not features and not problems:
        fix = "map them: columns: {<feature>: <column or SQL expression>}"
        problems.append(Problem(f"model {model.uri!r}", "the table has none of its inputs", fix))
    if problems:
        raise PlanError(problems)
    read = {f.source for f in features}
    return ScoringPlan(
        model=model,
        features=tuple(features),
        methods=tuple(methods),
        outputs=_outputs(model, methods),
        ignored=sum(quote(name) not in read for name in schema.fieldNames()),
        notes=tuple(notes),
    )


class _Columns:
    """A table's columns by Spark's name rule."""

    def __init__(self, schema: StructType, *, case_sensitive: bool) -> None:
        self._fold = str if case_sensitive else str.lower
        self.names = schema.fieldNames()
        self._by_name: dict[str, list[tuple[str, DataType]]] = {}
        for field in schema.fields:
            self._by_name.setdefault(self._fold(field.name), []).append((field.name, field.dataType))

    def named(self, name: str) -> list[tuple[str, DataType]]:
        return self._by_name.get(self._fold(name), [])


def _plan_feature(
    feature: Feature, columns: _Columns, expression: Expression | None, choice: FeaturePolicy
) -> PlannedFeature | Problem | None:
    """The feature's plan, or its problem; None for an optional feature that is not there."""
    thing = f"feature {feature.name!r} ({feature.type})"
    if feature.type not in SCALARS:
        cause = f"this version does not make inputs of type {feature.type}"
        return Problem(thing, cause, f"log the model with inputs of the types {', '.join(SCALARS)}")
    handling = settle(choice, feature.type)
    if problem := _fill_problem(thing, feature, handling):
        return problem
    if expression is not None:
        typed = expression.type
        return None if typed is None else _convert(feature, f"({expression.sql})", typed, choice, handling)
    found = columns.named(feature.name)
    if len(found) > 1:
        names = ", ".join(name for name, _ in found)
        fix = f'name one: columns: {{{feature.name}: "<expression>"}}, or set spark.sql.caseSensitive'
        return Problem(thing, f"more than one column has this name: {names}", fix)
    if found:
        name, type_ = found[0]
        return _convert(feature, quote(name), type_, choice, handling)
    return _absent(thing, feature, columns, handling)


def _absent(thing: str, feature: Feature, columns: _Columns, handling: Handling) -> PlannedFeature | Problem | None:
    if handling.absent is not None:
        shown = "missing" if handling.absent.value is None else json.dumps(handling.absent.value)
        note = f"no such column: {shown} in every row"
        return PlannedFeature(feature.name, feature.type, None, None, "default", "same", handling, note)
    if not feature.required:
        return None
    near = near_fix(feature.name, columns.names, what="columns")
    fix = f'map it: columns: {{{feature.name}: "<column or SQL expression>"}}'
    return Problem(thing, "the table has no such column", f"{near or 'the table has no columns'}; {fix}")


def _convert(
    feature: Feature, sql: str, type_: DataType, choice: FeaturePolicy, handling: Handling
) -> PlannedFeature | Problem:
    rule = rule_for(type_, feature.type)
    if rule is not None and rule.conversion == "zero_one" and choice.preset == "lenient":
        rule = NONZERO
    if rule is None:
        thing = f"feature {feature.name!r} ({feature.type})"
        cause = f"no meaningful conversion from {type_.simpleString().upper()} ({sql})"
        fix = f'write one: columns: {{{feature.name}: "<SQL expression>"}}'
        return Problem(thing, cause, fix)
    return PlannedFeature(
        name=feature.name,
        type=feature.type,
        source=sql,
        source_type=type_.simpleString(),
        verdict=rule.verdict,
        conversion=rule.conversion,
        handling=handling,
        note=rule.note,
        reason=rule.reason,
    )


def _fill_problem(thing: str, feature: Feature, handling: Handling) -> Problem | None:
    """The first choice that the feature's type cannot hold: a fill value, or a null that is to be kept."""
    if handling.nulls == "keep" and not holds_null(feature.type):
        return Problem(
            thing, f"policy nulls: a {feature.type} cannot keep a null", "give bad_row, fail or {fill: <value>}"
        )
    choices = {"nulls": handling.nulls, "invalid": handling.invalid, "absent": handling.absent}
    for when, action in choices.items():
        if isinstance(action, Fill) and not _fits(action.value, feature.type):
            cause = f"policy {when}: the value {json.dumps(action.value)} is no {feature.type}"
            return Problem(thing, cause, f"give a value of type {feature.type}")
    return None


def _fits(value: Any, model_type: str) -> bool:
    match model_type:
        case "double" | "float":
            return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        case "long" | "integer":
            low, high = INTEGER_RANGES[model_type]
            return isinstance(value, int) and not isinstance(value, bool) and low <= value < high
        case "boolean":
            return isinstance(value, bool)
        case _:
            return value is None or isinstance(value, str)


def _model_problems(model: ModelSpec) -> list[Problem]:
    """What is wrong with the model whatever the table."""
    thing = f"model {model.uri!r}"
    names = [f.name for f in model.inputs]
    problems = []
    if not all(names):
        fix = "log the model with a pandas DataFrame as its example, so that the inputs have names"
        problems.append(Problem(thing, "its signature has inputs without a name", fix))
    if len(set(names)) < len(names):
        problems.append(Problem(thing, "its signature names an input twice", "log it again with distinct names"))
    if model.categorical:
        cause = f"it was trained on category columns, whose codes this version does not make for {model.flavor}"
        problems.append(Problem(thing, cause, "train on encoded numbers, or in a pipeline that encodes text itself"))
    if _same_names_other_order(names, model.own_names):
        cause = "its signature lists the features in another order than the trained model holds them"
        fix = "log it again with the columns in the order of training; some libraries score a reordered frame wrong"
        problems.append(Problem(thing, cause, fix))
    if model.output.type not in SCALARS:
        cause = f"this version does not write outputs of the type {model.output}"
        problems.append(Problem(thing, cause, "log it with one output per row, or score it through a wrapper"))
    return problems


def _same_names_other_order(signature: Sequence[str], own: Sequence[str]) -> bool:
    plain = [name.replace(" ", "_") for name in signature]  # as LightGBM stores them
    other = [name.replace(" ", "_") for name in own]
    return plain != other and sorted(plain) == sorted(other)


def _method_problems(model: ModelSpec, methods: Sequence[str]) -> list[Problem]:
    fix = f"give one of {', '.join(METHODS)}"
    problems = [Problem(f"predict: {m}", "no such method", fix) for m in methods if m not in METHODS]
    if "predict_proba" in methods and not model.classes:
        cause = f"the model ({model.flavor}) has no predict_proba with known classes"
        problems.append(Problem("predict: predict_proba", cause, "leave it out, or log the classifier itself"))
    if len(set(methods)) < len(methods):
        problems.append(Problem("predict", "a method is named twice", "name each method once"))
    return problems


def _stray_names(setting: str, names: Mapping[str, Any] | Sequence[str], model: ModelSpec) -> list[Problem]:
    inputs = [f.name for f in model.inputs]
    return [
        Problem(f"{setting}: {name}", "the model has no such feature", near_fix(name, inputs, what="features") or "")
        for name in names
        if name not in inputs
    ]


def _outputs(model: ModelSpec, methods: Sequence[str]) -> tuple[OutputColumn, ...]:
    columns = {
        "predict": OutputColumn("prediction", _prediction_type(model.output), "null in a bad row"),
        "predict_proba": OutputColumn("probability", "array<double>", f"of classes {', '.join(model.classes)}"),
    }
    error = OutputColumn(ERROR_COLUMN, "string", "null where all is well")
    return (*(columns[m] for m in methods), error)


def _prediction_type(output: Output) -> str:
    scalar = SPARK_TYPES[output.type]
    return scalar if output.width is None else f"array<{scalar}>"


def with_notes(plan: ScoringPlan, notes: Sequence[str]) -> ScoringPlan:
    """The plan with more lines for the reader; its hash stays."""
    return replace(plan, notes=(*plan.notes, *notes))
