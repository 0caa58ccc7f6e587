"""What a model requires, against what is installed here."""

from __future__ import annotations

import platform
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Packages = Literal["session", "isolated", "auto"]
"""Which packages a model runs with: those of the session; its own; its own where they differ in what matters."""
PACK = ".zip"
"""How the name of a file ends that holds a model's packages."""

_PACKAGES = {
    "sklearn": ("scikit-learn",),
    "pytorch": ("torch",),
    "onnx": ("onnxruntime", "onnxruntime-gpu"),
    "keras": ("keras", "tensorflow"),
}
"""Flavors whose library's package has another name."""


@dataclass(frozen=True)
class Difference:
    """One requirement that this environment does not meet."""

    package: str
    required: str
    """Version specifiers as the model's requirements.txt has them; empty for any version."""
    installed: str | None
    own: bool
    """Whether it is the model's own library, whose major version decides what its files mean."""
    major: bool
    """Whether even the major version differs, or nothing is installed."""

    def __str__(self) -> str:
        return f"requires {self.package}{self.required}, installed: {self.installed or 'none'}"


@dataclass(frozen=True)
class Environment:
    """A model's requirements, installed into a folder beside the packages of this process."""

    key: str
    """Names the requirements, the Python and the platform that they were installed for."""
    python: str
    """The minor version of its Python, such as ``3.11``."""
    folder: str = field(compare=False)
    """Where its packages lie for this process."""
    interpreter: str = field(default="", compare=False)
    """The program that is its Python; empty: the one that runs this process."""
    library: str = field(default="", compare=False)
    """The model's own library there, with its version; empty where it has none."""

    def __str__(self) -> str:
        return f"Python {self.python}{f', {self.library}' if self.library else ''}"


def differences_of(folder: str, flavor: str, *, own_only: bool = False) -> tuple[Difference, ...]:
    """The requirements of a model in a folder that differ here; if so asked, those of its own library alone."""
    return environment_differences(model_requirements(folder), flavor, own_only=own_only)


def model_requirements(folder: str) -> tuple[str, ...]:
    """The lines of the artifact's requirements.txt."""
    file = Path(folder, "requirements.txt")
    if not file.is_file():
        return ()
    return tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())


def minor_version(version: str = platform.python_version()) -> str:
    """The first two parts of a version of Python, by default of this process's."""
    return ".".join(version.split(".")[:2])


def named_requirements(lines: Sequence[str]) -> Iterator[Requirement]:
    """Those of the lines that name a package: options, URLs and files alone do not."""
    for line in lines:
        with suppress(InvalidRequirement):
            yield Requirement(line.split(" #", maxsplit=1)[0].strip())


def library_in(packages: str, flavor: str) -> str:
    """The library of a flavor in a folder of packages, with its version; empty where there is none."""
    for name in _PACKAGES.get(flavor, (flavor,)):
        for found in distributions(name=name, path=[packages]):
            return f"{name} {found.version}"
    return ""


def model_python(folder: str) -> str | None:
    """The version of Python that logged the model; None where its MLmodel does not say."""
    fields = yaml.safe_load(Path(folder, "MLmodel").read_text(encoding="utf-8"))
    version = fields.get("flavors", {}).get("python_function", {}).get("python_version")
    return None if version is None else str(version)


def environment_differences(
    requirements: Sequence[str], flavor: str, *, own_only: bool = False
) -> tuple[Difference, ...]:
    """The requirements that differ here; lines that are not plain requirements (options, URLs) are skipped."""
    own: set[str] = {canonicalize_name(name) for name in _PACKAGES.get(flavor, (flavor,))}
    found = (_difference(requirement, own, own_only=own_only) for requirement in named_requirements(requirements))
    return tuple(difference for difference in found if difference is not None)


def _difference(requirement: Requirement, own: set[str], *, own_only: bool) -> Difference | None:
    if requirement.url or (requirement.marker is not None and not requirement.marker.evaluate()):
        return None
    name = canonicalize_name(requirement.name)
    if own_only and name not in own:
        return None
    installed = _installed(requirement.name)
    if installed is not None and requirement.specifier.contains(installed, prereleases=True):
        return None
    major = installed is None or _major(installed) not in _required_majors(requirement)
    return Difference(requirement.name, str(requirement.specifier), installed, name in own, major)


def _installed(package: str) -> str | None:
    """The version that an import finds; of the jars on a worker's module path each would be read for each question."""
    path = [entry for entry in sys.path if not entry.endswith(".jar")]
    found = next(iter(distributions(name=package, path=path)), None)
    return None if found is None else found.version


def _required_majors(requirement: Requirement) -> set[int | None]:
    return {_major(part.version) for part in requirement.specifier if part.operator not in ("!=", "<", ">")}


def _major(text: str) -> int | None:
    try:
        return Version(text.rstrip(".*")).major
    except InvalidVersion:
        return None
