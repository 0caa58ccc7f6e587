"""Whether everything that a bundle's files name is there: what ``databricks bundle validate`` would ask first."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from typing import TYPE_CHECKING, Any

import typer
import yaml

from spark_scoring.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# As libs/dyn/dynvar/ref.go of the command line of Databricks reads them; what is written otherwise stays as it is.
_SEGMENT = r"[a-zA-Z]+(?:[-_]?[a-zA-Z0-9]+)*"
REFERENCE = re.compile(rf"\$\{{({_SEGMENT}(?:\.{_SEGMENT})*)\}}")
_OF_THE_TOOL = {"bundle.name", "bundle.target", "workspace.current_user.userName", "workspace.file_path"}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time
_OF_THE_JOB = re.compile(r"\{\{job\.parameters\.([\w.-]+)\}\}")


def read(folder: Path) -> dict[Path, dict[str, Any]]:
    """The fields of a bundle's files, without the job files."""
    files = [folder / "databricks.yml", *sorted(folder.glob("resources/*.yml"))]
    return {
        file: yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506  a safe one
        for file in files
    }


def jobs(files: dict[Path, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A bundle's jobs, by key."""
    found: dict[str, dict[str, Any]] = {}
    for fields in files.values():
        found |= fields.get("resources", {}).get("jobs", {})
    return found


def dangling(folder: Path) -> list[str]:
    """Everything that is named and not there, or there and not used."""
    files = read(folder)
    root = files[folder / "databricks.yml"]
    of_jobs = [problem for key, job in jobs(files).items() for problem in _job(key, job)]
    return [*_variables(root, files), *_files(folder, root, files), *of_jobs]


def _texts(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
        case str():
            yield value


def _variables(root: dict[str, Any], files: dict[Path, dict[str, Any]]) -> Iterator[str]:
    texts = [text for fields in files.values() for text in _texts(fields)]
    named = {name for text in texts for name in REFERENCE.findall(text)}
    yield from (f"{text} is not a reference" for text in texts if text.count("${") != len(REFERENCE.findall(text)))
    known = {f"var.{name}" for name in root["variables"]} | _OF_THE_TOOL
    yield from (f"{name} is not declared" for name in named - known)
    yield from (f"{name} is not used" for name in root["variables"] if f"var.{name}" not in named)


def _files(folder: Path, root: dict[str, Any], files: dict[Path, dict[str, Any]]) -> Iterator[str]:
    included = {file for pattern in root["include"] for file in folder.glob(pattern)}
    yield from (f"{file.name} is not included" for file in files.keys() - included if file.parent != folder)
    defaults = [str(variable.get("default")) for variable in root["variables"].values()]
    named = {folder / d.removeprefix("${workspace.file_path}/") for d in defaults if d.startswith("${workspace.file")}
    for file, fields in files.items():
        named |= {(file.parent / text).resolve() for text in _texts(fields) if text.startswith("..")}
    yield from (f"{file.name} is not there" for file in named if not file.is_file())
    there = {file.resolve() for kind in ("jobs/*", "dist/*") for file in folder.glob(kind)}
    yield from (f"{file.name} is not used" for file in there - {file.resolve() for file in named})


def _job(key: str, job: dict[str, Any]) -> Iterator[str]:
    places = {"environment_key": "environments", "job_cluster_key": "job_clusters"}
    parameters = {parameter["name"] for parameter in job.get("parameters", [])}
    for task in job["tasks"]:
        computes = [(link, task[link]) for link in places if link in task]
        if len(computes) != 1:
            yield f"{key}: {len(computes)} computes"
        for link, name in computes:
            if name not in {place[link] for place in job.get(places[link], [])}:
                yield f"{key}: {link} {name} is not defined"
        yield from (f"{key}: {problem}" for problem in _wheel_task(task["python_wheel_task"], parameters))


def _wheel_task(task: dict[str, Any], parameters: set[str]) -> Iterator[str]:
    scripts = {
        script.name for script in distribution(task["package_name"]).entry_points.select(group="console_scripts")
    }
    if task["entry_point"] not in scripts:
        yield f"entry point {task['entry_point']} is not in the package"
    command, *arguments = task["parameters"]
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if command not in known:
        yield f"{command} is not a command"
    else:
        known[command].make_context(command, list(arguments))  # parses, and runs nothing
    named = {name for text in arguments for name in _OF_THE_JOB.findall(text)}
    yield from (f"parameter {name} is not declared" for name in named - parameters)
    yield from (f"parameter {name} is not used" for name in parameters - named)
