"""Who scores: Python workers, or Spark's own expressions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spark_scoring.engine.native.operations import NotLinearError, NotNativeError, refuse
from spark_scoring.engine.native.proof import prove
from spark_scoring.errors import PlanError, Problem
from spark_scoring.model.loaded import loaded_model
from spark_scoring.plan.scoring_plan import with_notes

if TYPE_CHECKING:
    from spark_scoring.engine.native.proof import MadeRows
    from spark_scoring.plan.scoring_plan import Engine, ScoringPlan

_FLAVORS = ("sklearn", "statsmodels")


def with_engine(plan: ScoringPlan, wanted: Engine, made: MadeRows) -> ScoringPlan:
    """The plan with who scores, and why.

    Args:
        plan: a plan after its rehearsal.
        wanted: ``auto``: expressions where the model is proven to be the same as they are; ``native``: nothing else.
        made: see ``proof.prove``.

    Raises:
        PlanError: ``native`` is wanted, and the model cannot be scored so.

    """
    if wanted == "python":
        return replace(plan, engine_note="the job asks for it")
    try:
        _check_plan(plan)
        proven = prove(plan, loaded_model(plan.model.copy), made)
    except NotNativeError as error:
        if wanted == "native":
            fix = "leave engine out: Python workers then score it"
            raise PlanError([Problem("engine: native", f"model {plan.model.title}: {error}", fix)]) from error
        own = replace(plan, engine_note=str(error))
        is_told = plan.proven and not isinstance(error, NotLinearError)
        return with_notes(own, [f"Python workers score the model: {error}"]) if is_told else own
    note = f"on {proven} rows they give what the model gives"
    return replace(plan, engine="native", engine_note=note)


def _check_plan(plan: ScoringPlan) -> None:
    """What the proof does not see."""
    if plan.model.environment is not None:
        cause = "it runs with packages of its own"
        raise NotLinearError(cause)
    if plan.model.flavor not in _FLAVORS:
        cause = f"its flavor is {plan.model.flavor}"
        raise NotLinearError(cause)
    if plan.rehearsal is None or not plan.proven:
        refuse("no rehearsal saw it score rows")
    if any(finding.is_error for finding in plan.rehearsal.findings):
        refuse("its rehearsal has found something")
    if any(returned.reasons is not None for returned in plan.returns):
        refuse("the job asks for contributions")
    if plan.params:
        refuse("the job sets parameters of it")
    if plan.model.takes != "frame" or plan.needs_arrow:
        refuse("it takes or returns more than columns of plain values")
    if len(plan.features) != len(plan.model.inputs):
        refuse("features are left out")
