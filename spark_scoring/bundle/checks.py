"""What of a job cannot work on Databricks: files of this machine, and names that Unity Catalog does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.delta.names import split_name
from spark_scoring.errors import Problem, RequestError
from spark_scoring.model.environment import PACK
from spark_scoring.model.uris import LOGGED, REGISTERED, scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_scoring.job import ScoringJob
    from spark_scoring.job_settings import OutputSettings, SourceSettings
    from spark_scoring.registration.training import TrainingJob

NAME_PARTS = 3
"""Of a name of Unity Catalog: catalog, schema, and the table, model or volume."""
_OLD_CATALOGS = ("hive_metastore", "spark_catalog")
_SERVERS = {"tracking_uri": "databricks", "registry_uri": "databricks-uc"}
"""What a job may name there, besides nothing."""


_VOLUMES = "/Volumes/"
_SET, _SET_TRAINING = "--set", "--train-set"


def scoring_problems(job: ScoringJob) -> Iterator[Problem]:
    """Everything that keeps a scoring job from running on Databricks."""
    yield from _model_problems(job.model)
    yield from _place_problems("source", job.source, _SET)
    yield from _place_problems("output", job.output, _SET)
    yield from _server_problems(job, _SET)
    increments = job.increments
    if increments is not None and increments.checkpoint is not None and not _is_there(increments.checkpoint):
        fix = "let the bundle give it a folder in the volume: --set incremental.checkpoint=null"
        yield Problem(f"incremental.checkpoint {increments.checkpoint}", _NOT_THERE, fix)
    if job.report is not None and not job.report.startswith(_VOLUMES):
        fix = f"{_SET} report={_VOLUMES}CATALOG/SCHEMA/VOLUME/FOLDER"
        yield Problem(
            f"report {job.report}", "pages are written as files: a job there keeps them in a volume alone", fix
        )
    if job.environment.endswith(PACK) and not job.environment.startswith(_VOLUMES):
        fix = f"{_SET} environment={_VOLUMES}CATALOG/SCHEMA/VOLUME/FILE{PACK}"
        yield Problem(f"environment {job.environment}", "a job there finds a pack in a volume", fix)
    if job.track is True:
        cause = "a job on Databricks has no experiment of its own"
        yield Problem("track true", cause, f"name one: {_SET} track=/Shared/scoring")
    elif job.track:
        yield from _experiment_problems("track", job.track, _SET)


def training_problems(job: TrainingJob) -> Iterator[Problem]:
    """Everything that keeps a training job from running on Databricks."""
    if not is_whole_name(job.name):
        yield Problem(f"name {job.name}", _NOT_WHOLE, f"{_SET_TRAINING} name={_whole(job.name)}")
    yield from _place_problems("source", job.source, _SET_TRAINING)
    for lookup in job.lookups:
        if not is_whole_name(lookup.table):
            yield Problem(f"lookups: table {lookup.table}", _NOT_WHOLE, f"write table: {_whole(lookup.table)} there")
    yield from _server_problems(job, _SET_TRAINING)
    if job.experiment is not None:
        yield from _experiment_problems("experiment", job.experiment, _SET_TRAINING)
    if job.artifact_location is not None and not _is_there(job.artifact_location):
        fix = f"let the workspace keep the artifacts: {_SET_TRAINING} artifact_location=null"
        yield Problem(f"artifact_location {job.artifact_location}", _NOT_THERE, fix)
    for path in job.code_paths:
        if not _is_there(path):
            fix = f"copy it into a volume, and write /Volumes/CATALOG/SCHEMA/VOLUME/{path.strip('./') or 'code'} there"
            yield Problem(f"code_paths: {path}", _NOT_THERE, fix)


def is_whole_name(name: str) -> bool:
    """Whether it is a name of Unity Catalog."""
    try:
        parts = split_name(name)
    except RequestError:
        return False
    return len(parts) == NAME_PARTS and parts[0].lower() not in _OLD_CATALOGS


_NOT_WHOLE = "it is not a name of Unity Catalog, which has three parts: catalog.schema.name"
_NOT_THERE = "a job on Databricks does not see it: it is neither in a volume nor in a cloud storage"


def _model_problems(uri: str) -> Iterator[Problem]:
    thing, named = f"model {uri}", None if LOGGED.fullmatch(uri) else REGISTERED.fullmatch(uri)
    if named is None:
        fix = (
            "register it there, with spark-scoring register or mlflow.register_model, "
            "and give --set model=models:/CATALOG.SCHEMA.MODEL@champion"
        )
        yield Problem(thing, "it is not a registered model of Unity Catalog", fix)
        return
    name, version, alias = named["name"], named["version"], named["alias"]
    is_stage = version is not None and not version.isdecimal() and version.lower() != "latest"
    ending = f"@{alias or version.lower()}" if alias or is_stage else f"/{version}" if version else ""
    fix = f"--set model=models:/{name if is_whole_name(name) else _whole(name)}{ending}"
    if not is_whole_name(name):
        yield Problem(thing, _NOT_WHOLE, f"register it there, and give {fix}")
    if is_stage:
        yield Problem(thing, "Unity Catalog has aliases, and no stages", f"give the version the alias, and {fix}")


def _place_problems(field: str, place: SourceSettings | OutputSettings, option: str) -> Iterator[Problem]:
    if place.table is not None and not is_whole_name(place.table):
        yield Problem(f"{field}.table {place.table}", _NOT_WHOLE, f"{option} {field}.table={_whole(place.table)}")
    if place.path is not None and not _is_there(place.path):
        fix = f"{option} {field}.table=CATALOG.SCHEMA.TABLE {option} {field}.path=null"
        if getattr(place, "format", None) is not None:  # files, and no table
            fix = f"put the files into a volume: {option} {field}.path=/Volumes/CATALOG/SCHEMA/VOLUME/FOLDER"
        yield Problem(f"{field}.path {place.path}", _NOT_THERE, fix)


def _server_problems(job: ScoringJob | TrainingJob, option: str) -> Iterator[Problem]:
    for field, meant in _SERVERS.items():
        uri = getattr(job, field)
        if uri not in (None, meant):
            what = "the workspace's tracking server" if field == "tracking_uri" else "Unity Catalog's registry"
            yield Problem(f"{field} {uri}", f"a job on Databricks asks {what}", f"{option} {field}={meant}")


def _experiment_problems(field: str, name: str, option: str) -> Iterator[Problem]:
    if not name.startswith("/"):
        cause = "an experiment's name is a path in the workspace on Databricks"
        yield Problem(f"{field} {name}", cause, f"{option} {field}=/Shared/{name}")


def _whole(name: str) -> str:
    """A name with places for the parts that it lacks."""
    try:
        parts = split_name(name)
    except RequestError:
        parts = ()
    if len(parts) == NAME_PARTS:  # its catalog is not of Unity Catalog
        return name.replace(name.split(".", maxsplit=1)[0], "CATALOG", 1)
    return {1: f"CATALOG.SCHEMA.{name}", 2: f"CATALOG.{name}"}.get(len(parts), "CATALOG.SCHEMA.NAME")


def _is_there(path: str) -> bool:
    """Whether a job on Databricks can see a path."""
    scheme = scheme_of(path)
    if scheme is None or scheme == "dbfs":
        return path.removeprefix("dbfs:").startswith("/Volumes/")
    return scheme != "file" and len(scheme) > 1  # of one letter it is a drive
