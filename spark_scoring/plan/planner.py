"""Model spec x table schema x policy -> a scoring plan, or every problem at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spark_scoring.errors import PlanError, Problem
from spark_scoring.plan.binding import Binder
from spark_scoring.plan.features import with_levels
from spark_scoring.plan.literals import written
from spark_scoring.plan.names import input_problems, output_problems, own_name_problems, shared_column_problems
from spark_scoring.plan.outputs import method_problems, planned_outputs
from spark_scoring.plan.request import request_problems
from spark_scoring.plan.scoring_plan import ScoringPlan, with_notes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pyspark.sql.types import StructType

    from spark_scoring.model.spec import Feature, ModelSpec
    from spark_scoring.plan.request import Request
    from spark_scoring.plan.scoring_plan import PlannedFeature


def make_plan(model: ModelSpec, schema: StructType, request: Request) -> ScoringPlan:
    """Decide for each input of the model what happens to its values. Reads no row and needs no session.

    Args:
        model: the pinned model.
        schema: the table's columns; the model's inputs bind to them by name, others are ignored.
        request: the policy and whatever else is asked for.

    Raises:
        PlanError: with every problem of the whole request.

    """
    inputs, level_problems = with_levels(model, request.categories)
    unknown = method_problems(model, request.methods)
    binder = Binder(model, schema, request)
    features = binder.bind(inputs)
    problems = [
        *_model_problems(model, inputs, strict=request.policy.is_strict),
        *level_problems,
        *unknown,
        *request_problems(request, model, inputs),
        *binder.problems,
    ]
    if not features and not problems:
        fix = "map them: columns: {<feature>: <column or SQL expression>}"
        problems.append(Problem(f"model {model.uri!r}", "the table has none of its inputs", fix))
    problems += own_name_problems(model, [f.name for f in inputs if f.name not in binder.left_out])
    problems += shared_column_problems(features, binder.bound)
    outputs, returns = planned_outputs(model, request.methods, request.per_class) if not unknown else ((), ())
    problems += output_problems(model.output, outputs)
    if problems:
        raise PlanError(problems)
    plan = ScoringPlan(
        model=model,
        features=tuple(features),
        methods=request.methods,
        outputs=outputs,
        returns=returns,
        params=tuple(sorted((name, written(value)) for name, value in request.params.items())),
        ignored=_ignored(schema.fieldNames(), binder.read, request),
        notes=tuple(_notes(model, features, binder.left_out)),
        lookups=request.lookups,
    )
    if not plan.needs_arrow:
        return plan
    return with_notes(plan, ["lists, maps and objects travel through mapInArrow, whatever stage is asked for"])


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


def _ignored(columns: Sequence[str], read: Collection[str], request: Request) -> tuple[str, ...]:
    """Columns that are not read by name, that nothing is looked up by, and that no expression may name."""
    keys = frozenset() if request.lookups is None else request.lookups.sources
    written = "\n".join(expression.sql.lower() for expression in request.expressions.values())
    return tuple(name for name in columns if name not in read and name not in keys and not _names(written, name))


def _names(sql: str, column: str) -> bool:
    """Whether text in small letters may name a column."""
    name = column.lower().replace("`", "``")
    return name in sql and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql) is not None


def _notes(model: ModelSpec, features: Sequence[PlannedFeature], left_out: Sequence[str]) -> Iterator[str]:
    """What a reader of the plan should know of the model and of its features."""
    yield from model.notes
    yield from (f"the model {difference}" for difference in model.differences)
    yield from (f"optional feature {name!r} is left out: the table has no such column" for name in left_out)
    for feature in features:
        if feature.name in model.unsure_nulls and feature.handling.nulls == "keep":
            yield _guessed_null(feature)


def _guessed_null(feature: PlannedFeature) -> str:
    return (
        f"feature {feature.name!r}: a null reaches the model as {feature.missing}, by its imputer; what a missing text "
        "was in training is not recorded (register_model records it)"
    )
