"""What MLflow needs to write a model, checked before anything is logged; and why it could not, in our words."""

from __future__ import annotations

import re
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import Problem, listed, near_fix
from spark_scoring.model.raised import chain_of
from spark_scoring.registration.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_OF_PIP = re.compile(r"\s*(#|-|$)|.*(/|@ |\\$)")
"""Lines that are pip's: comments, options, paths and addresses, continued lines."""


def environment_problems(
    requirements: Any, extra_requirements: Any, options: Mapping[str, Any] | None
) -> list[Problem]:
    """What of requirements and files MLflow would refuse while it logs, and would leave a failed run of.

    Args:
        requirements: ``pip_requirements``: requirements, or the path of a file of them.
        extra_requirements: ``extra_pip_requirements``, likewise.
        options: further keywords of ``log_model``; of them ``conda_env`` and ``code_paths`` are looked at.

    """
    given = {"pip_requirements": requirements, "extra_pip_requirements": extra_requirements}
    known = {name: value for name, value in given.items() if value is not None}
    conda = ["conda_env"] if (options or {}).get("conda_env") is not None else []
    problems = []
    if len([*known, *conda]) > 1:
        cause = "MLflow takes only one of them"
        fix = "put all into pip_requirements; or leave that out, and MLflow adds the extra ones to what it finds itself"
        fix = f"leave {listed(known)} out, and say it in conda_env" if conda else fix
        problems.append(Problem(listed([*known, *conda]), cause, fix))
    for name, value in known.items():
        problems += _requirement_problems(name, value)
    return [*problems, *_path_problems((options or {}).get("code_paths"))]


def _requirement_problems(name: str, value: Any) -> Iterator[Problem]:
    if isinstance(value, str):
        if not Path(value).is_file():
            yield Problem(name, f"a text names a file, and {value!r} is not a file", "give a list of them")
        return
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(line, str) for line in value):
        yield Problem(name, "it is not a list of texts", f"give a list: {name}=['scikit-learn==1.7.2']")
        return
    for line in value:
        if not _is_requirement(line):
            yield Problem(f"{name}: {line}", "it is not a requirement as pip reads them", "write name==version")


def _is_requirement(line: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    if _OF_PIP.match(line):
        return True
    try:
        Requirement(line.split(" #", 1)[0].split(" --", 1)[0])
    except InvalidRequirement:
        return False
    return True


def _path_problems(paths: Any) -> Iterator[Problem]:
    if paths is None:
        return
    if isinstance(paths, str) or not hasattr(paths, "__iter__"):
        yield Problem("options: code_paths", "it is not a list", "give a list: ['src/own_code.py', 'src/folder']")
        return
    yield from missing_paths("options: code_paths", paths)


def missing_paths(thing: str, paths: Iterable[str]) -> Iterator[Problem]:
    """Paths at which there is nothing, each with the nearest that there is."""
    for path in paths:
        if not Path(path).exists():
            folder = Path(path).parent
            there = [str(found) for found in folder.iterdir()] if folder.is_dir() else []
            fix = near_fix(str(path), there, what="there are") or f"paths are relative to {Path.cwd()}"
            yield Problem(f"{thing}: {path}", "there is no such file or folder", fix)


def not_saved(flavor: str, error: Exception) -> RegistrationError:
    """The error of a model that MLflow could not write: its type, and its cause where that is known.

    Its own text is told only where it is known to name types, modules or files, and no values.
    """
    chain = list(islice(takewhile(lambda each: isinstance(each, Exception), chain_of(error)), 10))
    kinds = " from ".join(dict.fromkeys(type(one).__name__ for one in chain))
    for one in chain:
        for pattern, explain in _CAUSES:
            if found := pattern.search(f"{type(one).__name__}: {one}"):
                return RegistrationError.not_saved(flavor, kinds, *explain(found))
    return RegistrationError.not_saved(flavor, kinds)


_AS_CODE = (
    "make it where it is needed, in a function of the model, and leave it out of what is kept; "
    "or wrap the model in an mlflow.pyfunc.PythonModel that makes it in load_context"
)
_CAUSES: Sequence[tuple[re.Pattern[str], Callable[[re.Match[str]], tuple[str, str]]]] = (
    (
        re.compile(r"(?i)cannot pickle '?([\w.]+)'? (object|instances)"),
        lambda found: (f"it holds a {found[1]}, which cannot be written to a file", _AS_CODE),
    ),
    (
        re.compile(
            r"Can't (?:pickle|get local) (?:attribute |local object |object )?<?(?:function |class )?'?([\w.<>]+)"
        ),
        lambda found: (f"it holds {found[1].strip('<>')}, which pickle does not find by name", "define it in a module"),
    ),
    (
        re.compile(r"Untrusted types found in the file: (\[[\w., '<>]*\])"),
        lambda found: (
            f"skops does not trust types of it: {found[1]}",
            "leave skops_trusted_types out: the types of the model are then named",
        ),
    ),
    (
        re.compile(r"No module named '([\w.]+)'"),
        lambda found: (f"the module {found[1]} is not installed here", f"pip install {found[1].split('.')[0]}"),
    ),
    (
        re.compile(r"(?:OSError|PermissionError|FileNotFoundError|IsADirectoryError): \[Errno \d+\] ([\w ]+)"),
        lambda found: (f"the system said: {found[1]}", "check that the folder of the artifacts can be written"),
    ),
)
"""What is found in an error's text -> cause and fix."""
