"""How an estimator is made and fitted: with weights, groups, early stopping; settled before a row is read."""

from __future__ import annotations

import inspect
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.delta.errors import SourceError
from spark_scoring.errors import Gathering, Problem
from spark_scoring.job_problems import JobError
from spark_scoring.model.raised import kind_of
from spark_scoring.registration.errors import TrainingError
from spark_scoring.registration.search import named, parameter_names, search_around, what_it_says

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from spark_scoring.registration.training import TrainingJob
    from spark_scoring.registration.training_rows import Examples

_STOPPING = {
    ("lightgbm", "LGBMModel"): "lightgbm",
    ("xgboost", "XGBModel"): "xgboost",
    ("catboost", "CatBoost"): "catboost",
    ("sklearn", "BaseHistGradientBoosting"): "sklearn",
}
"""Package and name of a class -> whose way of stopping on validation rows it has."""
_BEST_ITERATION = {"lightgbm": "best_iteration_", "xgboost": "best_iteration", "catboost": "best_iteration_"}
_RANKERS = ("LGBMRanker", "XGBRanker", "CatBoostRanker")
_MOST_FLOAT32 = 2**24
_WEIGH_GROUPS = ("XGBRanker", "CatBoostRanker")
"""Rankers that take one weight for each group."""


@dataclass(frozen=True)
class Fitting:
    """An estimator, and all that its fit is given beside rows and labels."""

    estimator: Any
    """With the search around it, if there is one."""
    core: Any
    """What learns in the end: the estimator, that of a search, the last step of a pipeline."""
    prefix: str
    """Of the keywords that a pipeline's fit hands on to its last step."""
    rounds: int | None
    """Without a better result on the validation rows, after which it stops."""
    keeps_best: bool
    """Whether what is registered is the search's best estimator, not the search."""
    job: TrainingJob

    def check(self, train: Examples, validation: Examples) -> None:
        """Refuse rows that the estimator cannot be fitted on, or would be fitted on wrongly without a word.

        Raises:
            SourceError: with every reason.

        """
        problems = _class_problems(self.core, self.job.label, train)
        if self.rounds is not None:
            problems += _stopping_rows(train, validation)
        problems += _group_problems(self.core, self.job, train, validation)
        if problems:
            raise SourceError(problems)

    def fit(self, train: Examples, validation: Examples) -> Fitted:
        """The trained model, with what its training found.

        Raises:
            TrainingError: ``fit`` raised, or the search has no best estimator.

        """
        keywords = {f"{self._prefix()}{name}": value for name, value in _row_keywords(self.core, train).items()}
        if train.groups is not None and _ranker(self.core) is None:
            keywords["groups"] = train.groups
        if self.rounds is not None:
            keywords |= _stopping_keywords(self.core, self.rounds, validation)
        labels = () if train.y is None else (train.y,)
        try:
            with _without_deprecation():
                model = self.estimator.fit(train.X, *labels, **keywords)
        except Exception as error:
            raise TrainingError.fit(type(self.estimator).__name__, kind_of(error)) from error
        model = self.estimator if model is None else model
        if not self.keeps_best:
            return Fitted(model, {}, self._best_iteration(model))
        best = getattr(model, "best_estimator_", None)
        if best is None:
            raise TrainingError.no_best(type(self.estimator).__name__)
        score = getattr(model, "best_score_", None)
        metrics = {} if score is None else {"best_score": float(score)}
        return Fitted(best, dict(getattr(model, "best_params_", {})), {**metrics, **self._best_iteration(best)})

    def _prefix(self) -> str:
        """Nothing where scikit-learn routes metadata: a step then asks for it by its own name."""
        if not self.prefix:
            return ""
        from sklearn import get_config

        return "" if get_config().get("enable_metadata_routing") else self.prefix

    def _best_iteration(self, model: Any) -> dict[str, float]:
        name = _BEST_ITERATION.get(_way_to_stop(self.core) or "")
        best = getattr(getattr(model, "best_estimator_", model), name, None) if self.rounds and name else None
        return {} if best is None else {"best_iteration": float(best)}


@dataclass(frozen=True)
class Fitted:
    """A trained model, with what its training found."""

    model: Any
    params: Mapping[str, Any]
    """Of the search."""
    metrics: Mapping[str, float]
    """best_score of a search; best_iteration of early stopping, as the library counts it."""


def fitting_of(job: TrainingJob) -> Fitting:
    """The job's estimator, and how it will be fitted. Runs the estimator's own code.

    Raises:
        JobError: with every setting that the estimator cannot follow.

    """
    problems = Gathering()
    estimator = _estimator(job)
    searched = estimator
    if job.search is not None:
        with problems.attempt():
            searched = search_around(estimator, job.search)
    is_clear = not problems.problems  # else the search is not there to be asked
    core, prefix = _last_step(_inside(searched))
    problems.problems += _unpredictable(core, job)
    if job.weights is not None:
        problems.problems += _weights_problem(core)
    if is_clear:
        problems.problems += _groups_problem(job, searched, core)
    if job.early_stopping is not None:
        problems.problems += _stopping_problem(job, searched, core, prefix)
    problems.raise_all(JobError)
    return Fitting(searched, core, prefix, job.early_stopping, job.search is not None, job)


def _estimator(job: TrainingJob) -> Any:
    """What is to be fitted, made with its parameters."""
    thing = f"estimator {job.estimator}"
    make = named(job.estimator, thing, [str(Path(path).absolute().parent) for path in job.code_paths])
    try:
        estimator = make(**job.params)
    except Exception as error:  # its own code
        raise JobError([Problem(thing, what_it_says(error, job.params), "correct params")]) from error
    if not hasattr(estimator, "fit"):
        cause = f"it gives a {type(estimator).__name__}, which has no fit"
        raise JobError([Problem(thing, cause, "name one that is fitted with fit(X, y)")])
    return estimator


def _inside(estimator: Any) -> Any:
    """The estimator that a search tries; any other is itself."""
    return estimator.estimator if _is_search(estimator) else estimator


def _is_search(estimator: Any) -> bool:
    return hasattr(estimator, "estimator") and hasattr(estimator, "refit")


def _last_step(estimator: Any) -> tuple[Any, str]:
    """What learns at the end of a pipeline, and the prefix of its keywords; any other is itself."""
    steps = getattr(estimator, "steps", None)
    if not isinstance(steps, list) or not steps:
        return estimator, ""
    name, step = steps[-1]
    last, prefix = _last_step(step)
    return last, f"{name}__{prefix}"


def _ranker(core: Any) -> str | None:
    """The ranker of LightGBM, XGBoost or CatBoost that it is, or derives from."""
    return next((cls.__name__ for cls in type(core).__mro__ if cls.__name__ in _RANKERS), None)


def _way_to_stop(core: Any) -> str | None:
    kinds = [(cls.__module__.split(".", maxsplit=1)[0], cls.__name__) for cls in type(core).__mro__]
    return next((_STOPPING[kind] for kind in kinds if kind in _STOPPING), None)


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
    ranker, name = _ranker(core), type(core).__name__
    cutter = _cuts_by_groups(estimator)
    if ranker is not None and _is_search(estimator):
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
    return cutter.__name__ if by_groups and _is_search(estimator) else None


def _stopping_problem(job: TrainingJob, estimator: Any, core: Any, prefix: str) -> list[Problem]:
    """Why the estimator cannot stop on the validation rows."""
    name, way = type(core).__name__, _way_to_stop(core)
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
    elif way == "sklearn" and _is_search(estimator):
        cause = f"scikit-learn's searches may split the validation rows of {name} as if they were rows to train on"
        fix = f"{fix}; params: {{early_stopping: true}} stops on a part of the rows that are trained on"
    else:
        return []
    return [Problem("early_stopping", cause, fix)]


def _row_keywords(core: Any, rows: Examples) -> dict[str, Any]:
    """Weights, and a ranker's groups, as the fit of the core takes them."""
    weights, groups = rows.weights, rows.groups
    found: dict[str, Any] = {} if weights is None else {"sample_weight": weights}
    if groups is None:
        return found
    match _ranker(core):
        case "LGBMRanker":
            return {**found, "group": _sizes(groups)}
        case "XGBRanker":
            return {**({} if weights is None else {"sample_weight": weights[_firsts(groups)]}), "qid": groups}
        case "CatBoostRanker":
            return {**({} if weights is None else {"group_weight": weights}), "group_id": groups}
        case _:
            return found


def _stopping_keywords(core: Any, rounds: int, rows: Examples) -> dict[str, Any]:
    """What makes the core stop on the validation rows; sets its parameters where that is their place.

    Frames stand in a list: scikit-learn's searches cut whatever has as many rows as there are to train on.
    """
    given = _row_keywords(core, rows)
    match _way_to_stop(core):
        case "lightgbm":
            import lightgbm

            # not eval_X and eval_y: LightGBM 4.7 compares their labels without encoding them (its issue 7400)
            names = {"sample_weight": "eval_sample_weight", "group": "eval_group"}
            stop = [lightgbm.early_stopping(rounds, verbose=False)]
            more: dict[str, Any] = {"eval_set": [(rows.X, rows.y)], "callbacks": stop}
        case "xgboost":
            core.set_params(early_stopping_rounds=rounds)
            names = {"sample_weight": "sample_weight_eval_set", "qid": "eval_qid"}
            more = {"eval_set": [(rows.X, rows.y)], "verbose": False}
        case "catboost":
            return {"eval_set": [_pool(core, rows, given)], "early_stopping_rounds": rounds}
        case _:
            core.set_params(early_stopping=True, n_iter_no_change=rounds)
            weights = {} if rows.weights is None else {"sample_weight_val": rows.weights}
            return {"X_val": rows.X, "y_val": rows.y, **weights}
    return {**more, **{names[name]: [value] for name, value in given.items()}}


def _pool(core: Any, rows: Examples, given: Mapping[str, Any]) -> Any:
    """Validation rows as CatBoost takes them with weights and groups."""
    from catboost import Pool

    kinds = {name: core.get_params().get(name) for name in ("cat_features", "text_features", "embedding_features")}
    beside = {"weight" if name == "sample_weight" else name: value for name, value in given.items()}
    return Pool(rows.X, rows.y, **kinds, **beside)


@contextmanager
def _without_deprecation() -> Iterator[None]:
    """LightGBM warns of the keyword that works; see ``_stopping_keywords``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The argument 'eval_set' is deprecated")
        yield


def _sizes(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of each group, in their order."""
    return np.unique(groups, return_counts=True)[1]


def _firsts(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each group begins."""
    return np.unique(groups, return_index=True)[1]


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
    if train.groups is None or validation.groups is None or _ranker(core) is None:
        return []
    problems = []
    both = np.intersect1d(train.groups, validation.groups)
    if len(both):
        cause = (
            f"{len(both):,} groups have rows that it holds in and rows that it does not; a group is ranked as a whole"
        )
        fix = f"let it hold for whole groups: validation: pmod(hash({job.groups}), 5) = 0"
        problems.append(Problem("validation", cause, fix))
    uneven = _uneven(train) + _uneven(validation) if _ranker(core) in _WEIGH_GROUPS else 0
    if uneven:
        cause = f"{type(core).__name__} takes one weight for each group, and within {uneven:,} groups they differ"
        fix = f"weights: AVG({job.weights}) OVER (PARTITION BY {job.groups})"
        problems.append(Problem("weights", cause, fix))
    return problems


def _uneven(rows: Examples) -> int:
    """Groups within which weights differ."""
    if rows.weights is None or rows.groups is None:
        return 0
    even = np.repeat(rows.weights[_firsts(rows.groups)], _sizes(rows.groups))
    return len(np.unique(rows.groups[rows.weights != even]))
