"""Hyperparameter search of a training job: scikit-learn's own search objects, checked before a row is read."""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import Gathering, Problem, first_line, near_fix
from spark_scoring.job_problems import JobError
from spark_scoring.model.raised import kind_of
from spark_scoring.model.trust import ESTIMATORS, patterns_of
from spark_scoring.redact import HIDDEN, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")


def search_around(estimator: Any, settings: Mapping[str, Any]) -> Any:
    """A search object around the estimator.

    Raises:
        JobError: with every field that the search, and every parameter that the estimator does not have.

    """
    given = dict(settings)
    path, space = given.pop("class", "GridSearchCV"), given.pop("space", None)
    problems = Gathering()
    problems.problems += _space_problems(space, estimator)
    make = None
    with problems.attempt():
        make = _search_class(path)
    if make is not None:
        with problems.attempt():
            given = _search_settings(make, given)
    problems.raise_all(JobError)
    assert make is not None  # noqa: S101  else raised above
    try:
        return make(estimator, space, **given)
    except Exception as error:  # its own code
        cause = what_it_says(error, given)
        raise JobError([Problem(f"search: {path}", cause, "correct the fields of search")]) from error


def is_search(estimator: Any) -> bool:
    """Whether it is a search around another estimator."""
    return hasattr(estimator, "estimator") and hasattr(estimator, "refit")


def _search_class(path: str) -> Any:
    if ":" in path or "." in path:
        return named(path, "search: class")
    if path not in _SEARCHES:
        fix = f"{near_fix(path, _SEARCHES, what='searches')}; or write package.module:name"
        raise JobError([Problem(f"search: class {path}", "no such search", fix)])
    if path.startswith("Halving"):
        import sklearn.experimental.enable_halving_search_cv  # noqa: F401
    return named(f"sklearn.model_selection:{path}", "search: class")


def _search_settings(make: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The search's keywords, ``cv`` as the object that it names; wrong names and scores are told."""
    problems = Gathering()
    parameters = list(inspect.signature(make).parameters.values())
    names = [p.name for p in parameters[2:]]  # after the estimator and the space
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        for name in given.keys() - set(names):
            fix = near_fix(name, ["class", "space", *names], what="fields") or "leave it out"
            problems.problems.append(Problem(f"search: {name}", f"{make.__name__} has no such field", fix))
    if given.get("refit", True) is False:
        cause = "the search then leaves no model to register"
        problems.problems.append(Problem("search: refit", cause, "leave it out"))
    problems.problems += _scoring_problem(given.get("scoring"))
    settled = dict(given)
    if isinstance(given.get("cv"), str | Mapping):
        with problems.attempt():
            settled["cv"] = _cutter(given["cv"])
    problems.raise_all(JobError)
    return settled


def _cutter(setting: str | Mapping[str, Any]) -> Any:
    """What cuts rows into parts: ``GroupKFold``, or ``{class: GroupKFold, n_splits: 3}``."""
    given = {"class": setting} if isinstance(setting, str) else dict(setting)
    path = str(given.pop("class", "KFold"))
    make = named(
        path if ":" in path or "." in path else f"sklearn.model_selection:{path}", "search: cv", method="split"
    )
    try:
        return make(**given)
    except Exception as error:  # its own code
        cause = what_it_says(error, given)
        raise JobError([Problem(f"search: cv {path}", cause, "correct its fields")]) from error


def _scoring_problem(scoring: Any) -> list[Problem]:
    from sklearn.metrics import get_scorer_names

    if not isinstance(scoring, str) or scoring in get_scorer_names():
        return []
    fix = near_fix(scoring, get_scorer_names(), what="scores") or "leave it out"
    return [Problem(f"search: scoring {scoring}", "scikit-learn has no such score", fix)]


def _space_problems(space: Any, estimator: Any) -> list[Problem]:
    """A space of parameters that the estimator does not have, or without values."""
    if not isinstance(space, Mapping) or not space:
        fix = "add space: {<parameter>: [<values to try>]} to search"
        return [Problem("search: space", "it does not say what to try", fix)]
    if not hasattr(estimator, "get_params"):
        cause = f"a search sets parameters by scikit-learn's get_params, which {type(estimator).__name__} has not"
        return [Problem("search", cause, "leave it out, or take an estimator of scikit-learn's form")]
    names, problems = parameter_names(estimator), []
    for name, values in space.items():
        if name not in names:
            near = near_fix(str(name), names, what="parameters") or "leave it out"
            cause = f"{type(estimator).__name__} has no such parameter"
            fix = f"{near} (one by another name that its library knows: give it in params, too)"
            problems.append(Problem(f"search: space.{name}", cause, fix))
        if isinstance(values, str | int | float | None) or (hasattr(values, "__len__") and not len(values)):
            fix = f"{name}: [<values to try>]"
            problems.append(Problem(f"search: space.{name}", "it is not a list of values", fix))
    return problems


def parameter_names(estimator: Any) -> set[str]:
    """Of ``get_params``, and of the constructor: CatBoost's ``get_params`` has only those that were set."""
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    made = inspect.signature(type(estimator)).parameters.values()
    return {*estimator.get_params(deep=True), *(p.name for p in made if p.kind not in variadic)}


def what_it_says(error: Exception, given: Mapping[str, Any]) -> str:
    """What code that was called with these parameters raised; without the values of those that mean a secret."""
    text = first_line(error)
    for name, value in given.items():
        if shown(name, value) == HIDDEN and str(value):
            text = text.replace(str(value), HIDDEN)
    return f"{kind_of(error)}: {text}"


def named(path: str, thing: str, folders: Sequence[str] = (), *, method: str = "fit") -> Any:
    """The class or function of a dotted path; folders and the working directory are looked in, too.

    Where the environment says which modules are allowed, only what is installed is, and only classes with the method:
    packages hold functions that run a program which a parameter names.

    Raises:
        JobError: it is not allowed, cannot be imported, or is not to be called.

    """
    allowed = patterns_of(ESTIMATORS)
    if allowed is None:
        for folder in (*folders, str(Path.cwd())):
            if folder not in sys.path:
                sys.path.insert(0, folder)
    elif folders or not _is_allowed(path.partition(":")[0], allowed):
        raise JobError.not_allowed(thing, "code_paths is code of the job's own" if folders else "", ESTIMATORS, allowed)
    fix = "write package.module:name of a class or function that is installed or lies in the working directory"
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise JobError([Problem(thing, first_line(error), fix)]) from error
    if not callable(found):
        raise JobError([Problem(thing, "it is not a class or function", fix)])
    home = str(getattr(found, "__module__", None))
    if allowed is not None and not _is_allowed(home, allowed):  # a module also has what it imports itself
        raise JobError.not_allowed(thing, f"it is of {home}", ESTIMATORS, allowed)
    if allowed is not None and not (isinstance(found, type) and hasattr(found, method)):  # some run their parameters
        raise JobError.not_allowed(thing, f"it is not a class with {method}", ESTIMATORS, allowed)
    return found


def _is_allowed(module: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern names the module, or a package that it is in."""
    return any(fnmatchcase(module, p) or fnmatchcase(module, f"{p}.*") for p in patterns)
