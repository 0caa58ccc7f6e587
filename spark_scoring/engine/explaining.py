"""The plan of a job that asks why a row got its prediction: which columns tell it, if the model allows for it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spark_scoring.engine.contributions import check_contributions, tree_kind
from spark_scoring.engine.errors import NoContributionsError
from spark_scoring.engine.isolated.errors import IsolationError
from spark_scoring.errors import PlanError, Problem, listed
from spark_scoring.model.lineage import UnknownLineageError, last_estimator, names_behind
from spark_scoring.model.loaded import loaded_model
from spark_scoring.model.types import Tensor
from spark_scoring.plan.outputs import Reasons, RowCondition, contribution_outputs
from spark_scoring.plan.reason_codes import codes_of
from spark_scoring.plan.scoring_plan import with_notes

if TYPE_CHECKING:
    from spark_scoring.job_settings import ExplainSettings
    from spark_scoring.plan.scoring_plan import ScoringPlan

_COST = (
    "explain: the contributions of a row cost a hundred times its prediction and more, for TreeSHAP; "
    'explain: {only_if: "prediction = 1"} tells of some rows alone'
)
_FORM = re.compile(r"\s*(?P<name>[^<>=!]+?)\s*(?P<operator><=|>=|<>|!=|==|=|<|>)\s*(?P<value>.+?)\s*")
_SAME = {"==": "=", "!=": "<>"}


def with_contributions(plan: ScoringPlan, asked: ExplainSettings) -> ScoringPlan:
    """The plan with the columns ``contributions``, ``raw_score`` and ``base_score``.

    Args:
        plan: the plan, whose model is loaded.
        asked: what is to be told.

    Raises:
        IsolationError: the model runs with packages of its own.
        PlanError: the model's contributions cannot be had, the condition is not one on the plan's outputs, or the
            codes are not those of the model's features.

    """
    if plan.model.environment is not None:
        raise IsolationError.no_reasons(plan.model.title)
    only_if = None if asked.only_if is None else _condition(plan, asked.only_if)
    model = loaded_model(plan.model.copy)
    try:
        with model.running():
            names = _names_of_columns(plan, model.raw)
            is_dear = only_if is None and bool(tree_kind(last_estimator(model.raw)[1]))
    except UnknownLineageError as error:
        raise _no_reasons(plan, NoContributionsError(str(error))) from error
    except NoContributionsError as error:
        raise _no_reasons(plan, error) from error
    labels = list(dict.fromkeys(names))
    groups = tuple(labels.index(name) for name in names)
    codes = () if asked.codes is None else codes_of(asked.codes, labels)
    columns, returned = contribution_outputs(Reasons(min(asked.top, len(labels)), groups, only_if), labels, codes)
    *results, error_column = plan.outputs
    explained = replace(plan, outputs=(*results, *columns, error_column), returns=(*plan.returns, returned))
    lacking = [label for label, code in zip(labels, codes, strict=False) if code is None]
    notes = [f"explain.codes: there is none for {listed(lacking)}: their code is null"] if lacking else []
    return with_notes(explained, [*notes, _COST] if is_dear else notes)


def _no_reasons(plan: ScoringPlan, error: NoContributionsError) -> PlanError:
    return PlanError([Problem("explain", f"model {plan.model.title}: {error}", error.fix)])


def _condition(plan: ScoringPlan, text: str) -> RowCondition:
    """A condition on one of the plan's results: the worker checks it, so that it is not SQL.

    Raises:
        PlanError: it is of another form, or names what is not a single value, or one of another type.

    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise _refused(text, "it is not of the form COLUMN = VALUE", "write one such as prediction = 1")
    fields = _single_values(plan)
    field = fields.get(found["name"])
    if field is None:
        raise _refused(text, f"there is no single value {found['name']}", f"give {listed(fields)}")
    returned = [one for of_method in plan.returns for one in of_method.fields]
    place = [name for name, _ in returned].index(field)
    type_ = str(returned[place][1])
    try:
        value = _value(found["value"], type_)
    except ValueError:
        raise _refused(text, f"{found['name']} is a {type_}", "give a value of this type") from None
    return RowCondition(place, _SAME.get(found["operator"], found["operator"]), value)  # type: ignore[arg-type]


def _single_values(plan: ScoringPlan) -> dict[str, str]:
    """The worker's field of each result that a condition may name: a column, or a place of a list."""
    found = {}
    for output in plan.outputs:
        if output.form == "value":
            found[output.name] = output.fields[0][0]
        elif output.form == "array":
            found |= {f"{output.name}[{i}]": field for i, (field, _) in enumerate(output.fields)}
    return found


def _value(text: str, type_: str) -> bool | float | str:
    """A value as it is compared.

    Raises:
        ValueError: it is of another type.

    """
    match type_:
        case "string":
            if len(text) < 2 or text[0] != text[-1] or text[0] not in "\"'":  # noqa: PLR2004
                raise ValueError(text)
            return text[1:-1]
        case "boolean":
            if text.lower() not in ("true", "false"):
                raise ValueError(text)
            return text.lower() == "true"
        case "double" | "float" | "long" | "integer":
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        case _:
            raise ValueError(text)


def _refused(text: str, cause: str, fix: str) -> PlanError:
    return PlanError([Problem(f"explain.only_if {text}", cause, fix)])


def _names_of_columns(plan: ScoringPlan, raw: Any) -> list[str]:
    """A feature for each column that the last estimator is given.

    Raises:
        NoContributionsError, UnknownLineageError: it cannot be told.

    """
    if raw is None:
        cause = "it is a Python function: what is inside it cannot be seen"
        raise NoContributionsError(cause)
    names = names_behind(last_estimator(raw)[0], _names(plan))
    check_contributions(raw, len(names))
    return names


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
