"""The plan of a job that asks why a row got its prediction: which columns tell it, if the model allows for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spark_scoring.engine.contributions import NoContributionsError, check_contributions
from spark_scoring.errors import PlanError, Problem
from spark_scoring.model.lineage import UnknownLineageError, last_estimator, names_behind
from spark_scoring.model.loaded import loaded_model
from spark_scoring.model.types import Tensor
from spark_scoring.plan.outputs import Reasons, contribution_outputs
from spark_scoring.plan.planner import with_notes

if TYPE_CHECKING:
    from spark_scoring.plan.planner import ScoringPlan

_COST = (
    "explain: the contributions of a row cost more than its prediction; of boosters several to many times as much, "
    "with the depth of their trees"
)


def with_contributions(plan: ScoringPlan, top: int) -> ScoringPlan:
    """The plan with the columns ``contributions``, ``raw_score`` and ``base_score``.

    Args:
        plan: the plan, whose model is loaded.
        top: features that are told of each row, at most.

    Raises:
        PlanError: the model's contributions cannot be had.

    """
    try:
        groups, labels = _groups(plan)
    except (NoContributionsError, UnknownLineageError) as error:
        fix = "leave explain out, or score a model whose contributions are known"
        raise PlanError([Problem("explain", f"model {plan.model.title}: {error}", fix)]) from error
    columns, returned = contribution_outputs(Reasons(min(top, len(labels)), groups), labels)
    *results, error_column = plan.outputs
    outputs, returns = (*results, *columns, error_column), (*plan.returns, returned)
    return with_notes(replace(plan, outputs=outputs, returns=returns), [_COST])


def _groups(plan: ScoringPlan) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """For each column of the last estimator the place of its feature among the names, and the names.

    Raises:
        NoContributionsError, UnknownLineageError: it cannot be told.

    """
    model = loaded_model(plan.model.copy)
    if model.raw is None:
        cause = "it is a Python function: what is inside it cannot be seen"
        raise NoContributionsError(cause)
    with model.running():
        steps, _ = last_estimator(model.raw)
        names = names_behind(steps, _names(plan))
        check_contributions(model.raw, len(names))
    labels = list(dict.fromkeys(names))
    return tuple(labels.index(name) for name in names), tuple(labels)


def _names(plan: ScoringPlan) -> list[str]:
    """A name for each column that the model is given."""
    match plan.model.takes:
        case "frame":
            return [feature.name for feature in plan.features]
        case "tensor" if isinstance(matrix := plan.features[0].type, Tensor) and len(matrix.shape) == 2:  # noqa: PLR2004
            own = list(plan.model.own_names)
            return own if len(own) == matrix.width else [f"{plan.features[0].name}[{i}]" for i in range(matrix.width)]
        case _:
            cause = "it takes neither columns of plain values nor one matrix"
            raise NoContributionsError(cause)
