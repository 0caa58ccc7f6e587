"""How an estimator is made and fitted: with weights, groups, early stopping; settled before a row is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.delta.errors import SourceError
from spark_scoring.errors import Gathering, Problem
from spark_scoring.job_problems import JobError
from spark_scoring.model.raised import kind_of
from spark_scoring.registration.errors import TrainingError
from spark_scoring.registration.fit_checks import row_problems, setting_problems
from spark_scoring.registration.fit_keywords import (
    BEST_ITERATION,
    ranker_of,
    row_keywords,
    stopping_keywords,
    way_to_stop,
    without_deprecation,
)
from spark_scoring.registration.search import is_search, named, search_around, what_it_says

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_scoring.registration.examples import Examples
    from spark_scoring.registration.training import TrainingJob


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
        problems = row_problems(self.job, self.core, train, validation)
        if problems:
            raise SourceError(problems)

    def fit(self, train: Examples, validation: Examples) -> Fitted:
        """The trained model, with what its training found.

        Raises:
            TrainingError: ``fit`` raised, or the search has no best estimator.

        """
        keywords = {f"{self._prefix()}{name}": value for name, value in row_keywords(self.core, train).items()}
        if train.groups is not None and ranker_of(self.core) is None:
            keywords["groups"] = train.groups
        if self.rounds is not None:
            keywords |= stopping_keywords(self.core, self.rounds, validation)
        labels = () if train.y is None else (train.y,)
        try:
            with without_deprecation():
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
        name = BEST_ITERATION.get(way_to_stop(self.core) or "")
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
    is_clear = not problems.problems
    core, prefix = _last_step(_inside(searched))
    problems.problems += setting_problems(job, searched, core, prefix, is_clear=is_clear)
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
    return estimator.estimator if is_search(estimator) else estimator


def _last_step(estimator: Any) -> tuple[Any, str]:
    """What learns at the end of a pipeline, and the prefix of its keywords; any other is itself."""
    steps = getattr(estimator, "steps", None)
    if not isinstance(steps, list) or not steps:
        return estimator, ""
    name, step = steps[-1]
    last, prefix = _last_step(step)
    return last, f"{name}__{prefix}"
