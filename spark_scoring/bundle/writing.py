"""Reads the job files, gathers what is wrong with them for Databricks, and writes the bundle."""

from __future__ import annotations

import re
import shutil
import zipfile
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PathDistribution
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from spark_scoring.bundle.checks import NAME_PARTS, is_whole_name, scoring_problems, training_problems
from spark_scoring.bundle.definition import ENTRY_POINT, FEATURE_CLIENT, MLFLOW, Bundle, Compute, Task, files_of, key_of
from spark_scoring.bundle.errors import BundleError
from spark_scoring.delta.names import split_name
from spark_scoring.errors import Gathering
from spark_scoring.job import ScoringJob
from spark_scoring.job_file import read_fields
from spark_scoring.job_problems import JobError
from spark_scoring.job_reading import Job
from spark_scoring.model.uris import REGISTERED
from spark_scoring.parameters import Parameters
from spark_scoring.redact import redact
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from spark_scoring.registration.training import TrainingJob

_AJob = TypeVar("_AJob", bound=Job)
_HEADER = (
    "# Written by `spark-scoring bundle`, and yours to change: `spark-scoring docs databricks` says what is what.\n"
)
_DAILY, _HOURLY, _WEEKLY = "0 0 5 * * ?", "0 0 * * * ?", "0 0 3 ? * MON"
_BRINGS_SPARK = ("pyspark", "pyspark-client", "databricks-connect", "delta-spark")
_OUR_NAME = "spark-scoring"


@dataclass(frozen=True)
class BundleRequest:
    """What a bundle is made of."""

    job: Path
    """A scoring job's file."""
    folder: Path
    """Where to write; it is made where it is missing."""
    training: Path | None = None
    """A training job's file."""
    compute: Compute = "serverless"
    name: str | None = None
    """Default: the job's name, else its model's."""
    wheel: Path | None = None
    """This package's; None: pip finds the package."""
    volume: str | None = None
    """Name of a volume, of three parts; default: ``spark_scoring`` beside the output."""
    requires: tuple[str, ...] = ()
    """Further packages, as pip takes them."""
    settings: tuple[str, ...] = ()
    """``a.b=value``, laid over the scoring job."""
    training_settings: tuple[str, ...] = ()
    """The same, over the training job."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Values of what the job files leave open, where a run gives none."""
    force: bool = False
    """Whether files that are there are written over."""


@dataclass(frozen=True)
class _Read(Generic[_AJob]):
    """A job file with its settings."""

    file: Path
    job: _AJob
    settings: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]


def write_bundle(request: BundleRequest) -> list[str]:
    """Write the files of a bundle, and say in a few lines what is there and what comes next.

    Raises:
        JobError: a job file is wrong.
        BundleError: with everything that cannot work on Databricks, and every option that is wrong.

    """
    problems = Gathering()
    scoring, training = _read_jobs(request, problems)
    with problems.attempt():
        _check_wheel(request.wheel)
    for text in request.requires:
        with problems.attempt():
            _check_requirement(text)
    for text in (*request.settings, *request.training_settings):
        with problems.attempt():
            _check_setting(text)
    problems.raise_all(BundleError)
    assert scoring is not None  # noqa: S101  raised above
    with problems.attempt():
        name = _name(request.name, scoring.job)
    with problems.attempt():
        volume = _volume(request, scoring.job)
    problems.raise_all(BundleError)
    tasks = {task.key: (task, read.file) for task, read in _tasks(name, scoring, training, volume)}
    bundle = Bundle(
        name=name,
        compute=request.compute,
        tasks=tuple(task for task, _ in tasks.values()),
        requirements=_requirements(request, scoring.job, None if training is None else training.job),
        wheel=None if request.wheel is None else request.wheel.name,
        volume=None if volume is None else "/Volumes/" + "/".join(split_name(volume)),
    )
    copied = {f"jobs/{key}.yml": file for key, (_, file) in tasks.items()}
    if request.wheel is not None:
        copied[f"dist/{request.wheel.name}"] = request.wheel
    written = _write(request, files_of(bundle), copied)
    return [*_notes(scoring, training), *_told(request, bundle, written, volume)]


def _read_jobs(
    request: BundleRequest, problems: Gathering
) -> tuple[_Read[ScoringJob] | None, _Read[TrainingJob] | None]:
    """Both jobs; what is wrong with them is gathered."""
    scoring = training = None
    names: list[str] = []
    with problems.attempt():
        scoring = _read(ScoringJob, request.job, request.settings, request.params, names, problems)
        problems.problems += scoring_problems(scoring.job)
    if request.training is not None:
        from spark_scoring.registration.training import TrainingJob

        with problems.attempt():
            own = request.training_settings
            training = _read(TrainingJob, request.training, own, request.params, names, problems)
            problems.problems += training_problems(training.job)
    for name in request.params:
        if name not in names:
            with problems.attempt():
                raise JobError.unused_parameter(name, names)
    return scoring, training


def _read(
    kind: type[_AJob],
    file: Path,
    settings: Sequence[str],
    params: Mapping[str, str],
    names: list[str],
    problems: Gathering,
) -> _Read[_AJob]:
    """A job file; ``names`` gets what it leaves open."""
    fields = read_fields(file, settings)
    open_places = Parameters({})
    open_places.fill(fields, kind.sql_fields)
    names += open_places.used
    given = {name: params[name] for name in open_places.used if name in params}
    job = kind.from_file_fields(fields, given)
    for name in open_places.used:
        if name not in given:
            with problems.attempt():
                raise BundleError.of_environment(name)
    return _Read(file, job, tuple(settings), tuple(given.items()))


def _check_wheel(file: Path | None) -> None:
    if file is None:
        return
    try:
        with zipfile.ZipFile(file) as archive:
            folders = {name.split("/", maxsplit=1)[0] for name in archive.namelist()}
            info = next(folder for folder in sorted(folders) if folder.endswith(".dist-info"))
            wheel = PathDistribution(zipfile.Path(archive, f"{info}/"))
            name, scripts = wheel.metadata["Name"], [script.name for script in wheel.entry_points]
    except OSError as error:
        raise BundleError.not_our_wheel(str(file), error.strerror or "it cannot be read") from error
    except (zipfile.BadZipFile, StopIteration) as error:
        raise BundleError.not_our_wheel(str(file), "it is not a wheel") from error
    if name != _OUR_NAME or ENTRY_POINT not in scripts:
        raise BundleError.not_our_wheel(str(file), f"it is the wheel of {name}")


def _check_requirement(text: str) -> None:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise BundleError.bad_requirement(text) from error
    if requirement.name.lower().replace("_", "-") in _BRINGS_SPARK:
        raise BundleError.brings_spark(text)


def _check_setting(text: str) -> None:
    if redact(text) != text:
        raise BundleError.secret(text.partition("=")[0])


def _name(given: str | None, job: ScoringJob) -> str:
    model = REGISTERED.fullmatch(job.model)
    name = given or key_of(job.name or (split_name(model["name"])[-1] if model else ""))
    if not re.fullmatch(r"[A-Za-z][\w-]*", name, re.ASCII):
        raise BundleError.bad_name(name)
    return name


def _volume(request: BundleRequest, job: ScoringJob) -> str | None:
    """The name of the volume; None: nothing is kept in one."""
    if request.volume is not None:
        if not is_whole_name(request.volume):
            raise BundleError.bad_volume(request.volume)
        return request.volume
    needs = "the wheel" if request.wheel is not None else "an incremental job" if _wants_checkpoint(job) else None
    if needs is None:
        return None
    parts = split_name(job.output.table) if job.output.table is not None else ()
    if len(parts) != NAME_PARTS:
        raise BundleError.no_volume(needs)
    return ".".join((*map(quote, parts[:2]), "spark_scoring"))


def _wants_checkpoint(job: ScoringJob) -> bool:
    return job.increments is not None and job.increments.checkpoint is None


def _tasks(
    name: str, scoring: _Read[ScoringJob], training: _Read[TrainingJob] | None, volume: str | None
) -> list[tuple[Task, _Read[Any]]]:
    job, settings, prefix = scoring.job, scoring.settings, key_of(name)
    is_incremental = job.increments is not None
    key = f"{prefix}_incremental" if is_incremental else f"{prefix}_score"
    if _wants_checkpoint(job) and volume is not None:
        settings = (*settings, f"incremental.checkpoint=${{var.volume}}/checkpoints/{key}")
    rows = "what is new in" if is_incremental else "the rows of"
    told = redact(f"Scores {rows} {job.source.text} with {job.model}, into {job.output.text}.")
    schedule = _HOURLY if is_incremental else _DAILY
    tasks: list[tuple[Task, _Read[Any]]] = [
        (Task(key, "score", told, schedule, settings, scoring.parameters), scoring),
    ]
    if training is not None:
        told = redact(f"Trains {training.job.name} on {training.job.source.text}, and registers it.")
        task = Task(f"{prefix}_training", "register", told, _WEEKLY, training.settings, training.parameters)
        tasks.append((task, training))
    return tasks


def _requirements(request: BundleRequest, scoring: ScoringJob, training: TrainingJob | None) -> tuple[str, ...]:
    ours = [] if request.wheel is not None else [f"{_OUR_NAME}=={import_module('spark_scoring').__version__}"]
    looks_up = scoring.engine == "databricks" or (training is not None and training.lookups)
    needed = [*ours, MLFLOW, *([FEATURE_CLIENT] if looks_up else [])]
    named = {Requirement(text).name.lower() for text in request.requires}
    return (*(text for text in needed if Requirement(text).name not in named), *request.requires)


def _write(request: BundleRequest, files: Mapping[str, Any], copied: Mapping[str, Path]) -> list[str]:
    """The names of the files, all of which are there now."""
    folder, names = request.folder, [*files, *copied]
    there = [name for name in names if (folder / name).exists()]
    if there and not request.force:
        raise BundleError.files_exist(str(folder), there)
    try:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for name, fields in files.items():
            text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=1000)
            (folder / name).write_text(_HEADER + text, encoding="utf-8")
        for name, file in copied.items():
            if not ((folder / name).exists() and file.samefile(folder / name)):
                shutil.copyfile(file, folder / name)
    except OSError as error:
        raise BundleError.cannot_write(str(folder), error.strerror or type(error).__name__) from error
    return names


def _notes(scoring: _Read[ScoringJob], training: _Read[TrainingJob] | None) -> list[str]:
    """Fields that do nothing on Databricks, where the session is there before the job."""
    notes = []
    reads: list[_Read[Any] | None] = [scoring, training]
    for read in reads:
        idle = [name for name in ("warehouse", "spark") if read is not None and getattr(read.job, name)]
        if read is not None and idle:
            notes.append(f"note: of no effect on Databricks: {', '.join(idle)} of {read.file}")
    return notes


def _told(request: BundleRequest, bundle: Bundle, written: Sequence[str], volume: str | None) -> list[str]:
    lines = [f"wrote {', '.join(written)} to {request.folder}"]
    if volume is not None:
        name = ".".join(map(quote, split_name(volume)))
        lines.append(f"once, in the workspace: CREATE VOLUME IF NOT EXISTS {name}")
    node = " --var node_type=..." if bundle.compute == "job-cluster" else ""
    lines.append(
        f"now: cd {request.folder} && databricks bundle validate{node}, then deploy, then run {bundle.tasks[0].key}"
    )
    return lines
