"""A model's environment: what its requirements.txt lists, installed into a folder by uv or pip, once per machine.

Or brought along as a pack: the same folder as a zip, made elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import Version

from spark_scoring.engine.isolated.errors import IsolationError
from spark_scoring.model.environment import (
    Environment,
    minor_version,
    model_python,
    model_requirements,
    named_requirements,
)
from spark_scoring.model.sealed import file_digest
from spark_scoring.model.store import archive_in, kept_folder
from spark_scoring.model.trust import MODELS, patterns_of
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packaging.requirements import Requirement

    from spark_scoring.model.sealed import Copy

PACKAGES = "site-packages"
"""The folder of the packages in that of an environment: errors in them are not of the model's own code."""
_MADE_FOR = "environment.json"
_NEEDED = {"pandas": "pandas", "pyarrow": "pyarrow", "setuptools": "setuptools<81"}
"""What the model's process needs beside MLflow, and a model may not list, by name. MLflow 2 and many libraries of its
time import pkg_resources, which later versions of setuptools do not have."""
_OF_NUMPY_1 = {"pyarrow": "pyarrow<18"}
"""Later ones want NumPy 2, and say so only when they are imported."""
_MLFLOW = ("mlflow", "mlflow-skinny")
_LAYOUT = 1
"""To be raised where the same requirements are to be installed in another way."""
_WORDS = 400
"""Characters of an installer's last words."""


def environment_of(title: str, copy: Copy, pack: str | None = None) -> Environment:
    """The environment of a model, installed where it is not there yet: minutes, and some hundred megabytes.

    Its Python is of the minor version that the model was logged with where this machine has one, else this process's.
    Installing runs code of the packages that the model lists.

    Args:
        title: what errors call the model.
        copy: the model that predicts, without lookups around it.
        pack: a zip that ``spark-scoring pack`` made, from which the packages are taken.

    Raises:
        IsolationError: the model lists no requirements, they cannot be installed, or the pack is of others; or packs
            are not allowed.

    """
    if pack is not None and patterns_of(MODELS) is not None:
        raise IsolationError.pack_not_allowed(pack, MODELS)
    lines = model_requirements(copy.folder)
    constraints = _constraints(copy.folder)
    more = needed_beside(lines, constraints, title)
    interpreter, python = _python(copy)
    made_for = {
        "python": python,
        "platform": sysconfig.get_platform(),
        "requirements": [*lines, *more],
        "constraints": constraints,
    }
    key = hashlib.sha256(json.dumps([_LAYOUT, made_for]).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        if pack is None:
            (folder / _MADE_FOR).write_text(json.dumps(made_for), encoding="utf-8")
            _install(title, more, interpreter or sys.executable, Path(copy.folder), folder)
        else:
            _unpack(pack, made_for, folder)

    folder = kept_folder(f"environment.{key}{'' if pack is None else _digest(pack)}", make)
    return Environment(key, python, str(folder / PACKAGES), interpreter)


def archive_of_environment(environment: Environment) -> Path:
    """The environment's folder as a zip in it."""
    return archive_in(Path(environment.folder).parent)


def needed_beside(lines: Sequence[str], constraints: Sequence[str], title: str) -> list[str]:
    """What the model's process needs and the model's requirements do not name."""
    if all(line.startswith("#") for line in lines):
        raise IsolationError.no_requirements(title)
    named = {canonicalize_name(requirement.name) for requirement in named_requirements(lines)}
    of_numpy_1 = any(_is_numpy_1(requirement) for requirement in named_requirements([*lines, *constraints]))
    needed = {**_NEEDED, **(_OF_NUMPY_1 if of_numpy_1 else {})}
    more = [line for name, line in needed.items() if name not in named]
    return more if named & {*_MLFLOW} else [*more, _MLFLOW[1]]


def _is_numpy_1(requirement: Requirement) -> bool:
    """Whether no NumPy from 2 on fits."""
    if canonicalize_name(requirement.name) != "numpy" or not requirement.specifier:
        return False
    named = (part.version.rstrip(".*") for part in requirement.specifier)
    return not any(
        Version(version).major > 1 and requirement.specifier.contains(version)
        for version in ("2.0.0", "99.0.0", *named)
    )


def _constraints(folder: str) -> list[str]:
    """The lines of a constraints.txt, which MLflow keeps where a requirement names it: ``-c constraints.txt``."""
    file = Path(folder, "constraints.txt")
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _python(copy: Copy) -> tuple[str, str]:
    """The program of the model's Python, empty for this process's, and its minor version."""
    here = minor_version()
    wanted = minor_version(model_python(copy.folder) or here)
    found = None if wanted == here else shutil.which(f"python{wanted}")
    return ("", here) if found is None else (found, wanted)


def _install(title: str, more: Sequence[str], python: str, model: Path, folder: Path) -> None:
    """By uv where it is there; by pip where it is not, or fails: only pip heeds pip's own settings.

    The model's file stays where it is, as it may name others beside it.
    """
    listed = ["--requirement", str(model / "requirements.txt")]
    tools = {"pip": [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install"]}
    if uv := _uv():
        tools = {"uv": [uv, "pip", "install", "--python", python], **tools}
    for tool, command in tools.items():
        shutil.rmtree(folder / PACKAGES, ignore_errors=True)
        done = subprocess.run(  # noqa: S603  an installer, given files
            [*command, "--quiet", "--target", str(folder / PACKAGES), *listed, *more],
            cwd=model,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            shutil.rmtree(folder / PACKAGES / "bin", ignore_errors=True)
            return
        if tool == "pip":
            raise IsolationError.not_built(title, tool, _last_words(done.stderr))


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def _last_words(text: str) -> str:
    """The end of what an installer says, on one line, without secrets of an index."""
    return redact(" ".join(text.split())[-_WORDS:])


def _digest(pack: str) -> str:
    """Of the file's bytes: what a pack holds is not what was installed here, whatever it says of itself."""
    try:
        return f".{file_digest(Path(pack))[:16]}"
    except OSError as error:
        raise IsolationError.no_pack(pack, error.strerror or str(error)) from error


def _unpack(pack: str, made_for: Mapping[str, object], folder: Path) -> None:
    try:
        with zipfile.ZipFile(pack) as archive:
            found = json.loads(archive.read(_MADE_FOR))
            others = [name for name, value in made_for.items() if found.get(name) != value]
            if others:
                raise IsolationError.other_pack(pack, others)
            archive.extractall(folder)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise IsolationError.no_pack(pack, "it is not a pack") from error
