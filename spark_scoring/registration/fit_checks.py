"""Why an estimator cannot be fitted as a job says: by its settings, before a row is read, and by the rows."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.errors import Problem
from spark_scoring.registration.fit_keywords import firsts_of, ranker_of, sizes_of, way_to_stop
from spark_scoring.registration.search import is_search, parameter_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_scoring.registration.examples import Examples
    from spark_scoring.registration.training import TrainingJob

_MOST_FLOAT32 = 2**24
_WEIGH_GROUPS = ("XGBRanker", "CatBoostRanker")
"""Rankers that take one weight for each group."""


def setting_problems(job: TrainingJob, estimator: Any, core: Any, prefix: str, *, is_clear: bool) -> list[Problem]:
    """Every setting that the estimator cannot follow.

    Args:
        job: with the settings.
        estimator: what is fitted, with the search around it, if there is one.
        core: what learns in the end.
        prefix: of the keywords that a pipeline's fit hands on to it.
        is_clear: whether the search could be made; else it is not there to be asked.

    """
    problems = _unpredictable(core, job)
    if job.weights is not None:
        problems += _weights_problem(core)
    if is_clear:
        problems += _groups_problem(job, estimator, core)
    if job.early_stopping is not None:
        problems += _stopping_problem(job, estimator, core, prefix)
    return problems


def row_problems(job: TrainingJob, core: Any, train: Examples, validation: Examples) -> list[Problem]:
    """Why these rows cannot be fitted, or would be fitted wrongly without a word."""
    problems = _class_problems(core, job.label, train)
    if job.early_stopping is not None:
        problems += _stopping_rows(train, validation)
    return problems + _group_problems(core, job, train, validation)


def _fit_parameters(estimator: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(estimator.fit).parameters if hasattr(estimator, "fit") else {}


def _unpredictable(core: Any, job: TrainingJob) -> list[Problem]:
    """An estimator of scikit-learn that labels the rows of fit, and has no predict for others."""
    if hasattr(core, "predict") or not type(core).__module__.startswith("sklearn."):
        return []
    cause = f"a {type(core).__name__} has no predict: it only labels the rows that it was fitted on"
    fix = "take one that has, such as sklearn.cluster:KMeans"
    if "novelty" in parameter_names(core):
        fix = "params: {novelty: true}"
    return [Problem(f"estimator {job.estimator}", cause, fix)]


def _weights_problem(core: Any) -> list[Problem]:
    parameters = _fit_parameters(core)
    is_open = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if "sample_weight" in parameters or is_open:
        return []
    cause = f"the fit of {type(core).__name__} takes no sample_weight"
    return [Problem("weights", cause, "leave weights out, or take another estimator")]


def _groups_problem(job: TrainingJob, estimator: Any, core: Any) -> list[Problem]:
    """Groups that nothing takes, or that are lacking where something needs them."""
    ranker, name = ranker_of(core), type(core).__name__
    cutter = _cuts_by_groups(estimator)
    if ranker is not None and is_search(estimator):
        cause = f"a search splits rows without regard to the groups that {name} ranks, and its scores ignore groups"
        return [Problem("search", cause, "leave search out, and compare jobs by validation_ndcg")]
    wants = f"{name} ranks the rows of a group" if ranker else f"{cutter} cuts by groups" if cutter else ""
    if job.groups is None:
        return [Problem("groups", f"{wants}, and there are none", "add groups: <SQL expression>")] if wants else []
    if wants:
        return []
    cause = f"nothing uses them: {name} is not a ranker, and no search splits by groups"
    fix = (
        "leave groups out; or take lightgbm:LGBMRanker, xgboost:XGBRanker or catboost:CatBoostRanker; "
        "or search: {space: {...}, cv: {class: GroupKFold, n_splits: 5}}"
    )
    return [Problem("groups", cause, fix)]


def _cuts_by_groups(estimator: Any) -> str | None:
    """The class that cuts a search's rows, if it keeps groups together."""
    cutter = type(getattr(estimator, "cv", None))
    by_groups = "Group" in cutter.__name__ or any(cls.__name__ == "GroupsConsumerMixin" for cls in cutter.__mro__)
    return cutter.__name__ if by_groups and is_search(estimator) else None


def _stopping_problem(job: TrainingJob, estimator: Any, core: Any, prefix: str) -> list[Problem]:
    """Why the estimator cannot stop on the validation rows."""
    name, way = type(core).__name__, way_to_stop(core)
    fix = "leave early_stopping out"
    if job.validation is None:
        return [Problem("early_stopping", "validation is missing: there are no rows to stop on", "add validation")]
    if prefix:
        cause = f"a pipeline gives the validation rows to {name} as they are, without its earlier steps"
        fix = f"{fix}; or make the steps in SQL (features: {{x: {{sql: ...}}}}) and take {name} alone"
    elif way is None:
        cause = f"{name} does not stop on validation rows"
        fix = f"{fix}; or take an estimator of LightGBM, XGBoost or CatBoost, or scikit-learn's HistGradientBoosting"
    elif way == "lightgbm" and "dart" in (core.get_params().get(key) for key in ("boosting_type", "boosting", "boost")):
        cause = "LightGBM does not stop early with boosting_type dart, as later trees change earlier ones"
    elif way == "sklearn" and "X_val" not in _fit_parameters(core):
        cause = f"the fit of {name} takes no X_val in the scikit-learn that is installed"
        fix = "pip install 'scikit-learn>=1.7', or leave early_stopping out"
    elif way == "sklearn" and is_search(estimator):
        cause = f"scikit-learn's searches may split the validation rows of {name} as if they were rows to train on"
        fix = f"{fix}; params: {{early_stopping: true}} stops on a part of the rows that are trained on"
    else:
        return []
    return [Problem("early_stopping", cause, fix)]


def _class_problems(core: Any, label: str | None, train: Examples) -> list[Problem]:
    """Classes that the core would refuse, or confuse."""
    kinds = {cls.__name__ for cls in type(core).__mro__}
    name = type(core).__name__
    if train.y is None:
        return []
    if "XGBClassifier" in kinds:
        classes = np.unique(np.asarray(train.y))
        if train.y.dtype.kind not in "iu" or classes.tolist() != list(range(len(classes))):
            cause = f"{name} takes only the classes 0 to {len(classes) - 1}; those of the rows to train on are others"
            whens = " ".join(f"WHEN ... THEN {i}" for i in range(min(len(classes), 3)))
            more = " ..." if len(classes) > 3 else ""  # noqa: PLR2004
            fix = (
                f"number them: label: CASE {label} {whens}{more} END; or take an estimator that keeps them as they "
                "are: lightgbm:LGBMClassifier, catboost:CatBoostClassifier, or one of scikit-learn"
            )
            return [Problem("label", cause, fix)]
    if "CatBoostClassifier" in kinds and train.y.dtype.kind in "iu" and (train.y.abs() > _MOST_FLOAT32).any():
        cause = f"{name} keeps whole numbers as float32, in which those above {_MOST_FLOAT32:,} become others"
        return [Problem("label", cause, f"label: CAST({label} AS STRING)")]
    return []


def _stopping_rows(train: Examples, validation: Examples) -> list[Problem]:
    """Validation rows that cannot be stopped on."""
    if not len(validation.X):
        cause = "it holds in no row, and early_stopping needs some"
        return [Problem("validation", cause, "widen it, or leave early_stopping out")]
    if train.y is None or train.y.dtype.kind == "f":
        return []
    new = ~np.isin(np.asarray(validation.y), np.asarray(train.y))
    if not new.any():
        return []
    cause = f"{int(new.sum()):,} of its rows are of classes that no row to train on has; early_stopping compares them"
    return [Problem("validation", cause, "leave such rows out (source.where), or leave early_stopping out")]


def _group_problems(core: Any, job: TrainingJob, train: Examples, validation: Examples) -> list[Problem]:
    """Groups with rows on both sides, whose validation rows the model would know; weights that differ within one."""
    if train.groups is None or validation.groups is None or ranker_of(core) is None:
        return []
    problems = []
    both = np.intersect1d(train.groups, validation.groups)
    if len(both):
        cause = (
            f"{len(both):,} groups have rows that it holds in and rows that it does not; a group is ranked as a whole"
        )
        fix = f"let it hold for whole groups: validation: pmod(hash({job.groups}), 5) = 0"
        problems.append(Problem("validation", cause, fix))
    uneven = _uneven(train) + _uneven(validation) if ranker_of(core) in _WEIGH_GROUPS else 0
    if uneven:
        cause = f"{type(core).__name__} takes one weight for each group, and within {uneven:,} groups they differ"
        fix = f"weights: AVG({job.weights}) OVER (PARTITION BY {job.groups})"
        problems.append(Problem("weights", cause, fix))
    return problems


def _uneven(rows: Examples) -> int:
    """Groups within which weights differ."""
    if rows.weights is None or rows.groups is None:
        return 0
    even = np.repeat(rows.weights[firsts_of(rows.groups)], sizes_of(rows.groups))
    return len(np.unique(rows.groups[rows.weights != even]))
