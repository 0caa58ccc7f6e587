"""What is asked of a model and a table besides the two, and what is wrong with it whatever the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import Problem, near_fix
from spark_scoring.model.types import DATA_TYPES, Levels
from spark_scoring.plan.literals import fits
from spark_scoring.plan.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql.types import DataType

    from spark_scoring.model.spec import Feature, ModelSpec, Parameter
    from spark_scoring.plan.lookups import LookupPlan
    from spark_scoring.plan.outputs import PerClass


@dataclass(frozen=True)
class Expression:
    """A feature made by a SQL expression over the table, and the Spark type that it has."""

    sql: str
    type: DataType | None
    """None where Spark finds no type; whoever asked Spark says why."""


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


def request_problems(request: Request, model: ModelSpec, inputs: Sequence[Feature]) -> list[Problem]:
    """Names and values that the model does not know, whatever the table."""
    return [
        *_param_problems(model.params, request.params),
        *_stray_names("columns", request.expressions, inputs),
        *_stray_names("categories", request.categories, inputs),
        *_stray_names("policy", [name for name, _ in request.policy.features], inputs),
    ]


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
        if not is_list or (known_type and not all(fits(v, parameter.type, nullable=False) for v in values)):
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
