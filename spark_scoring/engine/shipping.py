"""What the executors get where they are not this process's: the model's copy, and this very package."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from spark_scoring.engine.errors import ModelLoadError
from spark_scoring.engine.isolated.building import PACKAGES, archive_of_environment
from spark_scoring.engine.isolated.errors import ModelProcessError
from spark_scoring.engine.isolated.process import IsolatedScorer
from spark_scoring.engine.worker import Scorer
from spark_scoring.errors import ScoringError
from spark_scoring.model.environment import differences_of, minor_version
from spark_scoring.model.loaded import is_loaded, loaded_model
from spark_scoring.model.raised import kind_and_line, missing_module
from spark_scoring.model.sealed import Copy
from spark_scoring.model.store import archive_of, kept_archive

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession

    from spark_scoring.engine.inputs import WorkerPlan
    from spark_scoring.model.environment import Environment
    from spark_scoring.model.loaded import LoadedModel

_PACKAGE = Path(__file__).parents[1]
_sent: WeakKeyDictionary[SparkSession, set[str]] = WeakKeyDictionary()
"""The archives that sessions of Spark Connect have got from this process."""


@dataclass(frozen=True)
class ModelPlace:
    """Where a worker finds the model's copy: in a folder it can read, or in an archive that Spark unpacked for it."""

    copy: Copy
    archive: str | None = None
    environment: Environment | None = None
    """The packages with which it runs, in a process of its own; None: those of the worker."""

    def in_worker(self) -> Copy:
        """The copy, as a worker finds it."""
        return self.copy if self.archive is None else Copy(_unpacked(self.archive), self.copy.digest)

    def is_loaded(self) -> bool:
        """Whether this process, a worker's, has the model."""
        return is_loaded(self.in_worker())

    def scorer(
        self, flavor: str, known: tuple[str, ...], plan: WorkerPlan, tell: Callable[[str], None] | None
    ) -> Scorer | IsolatedScorer:
        """What scores the batches of one task, in a worker; see ``loaded``.

        Raises:
            ModelLoadError: the model does not load.
            ModelProcessError: it does not load in its environment, whose Python may not be there.

        """
        if self.environment is None:
            return Scorer(self.loaded(flavor, known), plan, tell)
        here = minor_version()
        if not self.environment.interpreter and here != self.environment.python:
            raise ModelProcessError.other_python(_here(), self.environment.python, here)
        environment = self.environment
        if self.archive is not None:
            environment = replace(environment, folder=str(Path(_unpacked(_archive_of_packages(environment)), PACKAGES)))
        return IsolatedScorer(self.in_worker(), environment, plan, tell)

    def loaded(self, flavor: str, known: tuple[str, ...]) -> LoadedModel:
        """The model, in a worker.

        Args:
            flavor: the model's own, such as ``lightgbm``.
            known: what differs from its requirements where the run was planned, as text: it was told there.

        Raises:
            ModelLoadError: it does not load, or its library has another major version than the model requires.

        """
        copy = self.in_worker()
        if self.archive is None or is_loaded(copy):
            return loaded_model(copy)  # where the run was planned it has been loaded from the same folder
        own = differences_of(copy.folder, flavor, own_only=True)
        if wrong := [difference for difference in own if difference.major and str(difference) not in known]:
            raise ModelLoadError.other_library(_here(), wrong)
        try:
            return loaded_model(copy)
        except ScoringError:
            raise
        except Exception as error:
            missing = missing_module(error)
            cause = f"there is no module {missing}" if missing else kind_and_line(error)
            raise ModelLoadError.in_worker(_here(), cause, differences_of(copy.folder, flavor)) from error


def _unpacked(archive: str) -> str:
    from pyspark import SparkFiles

    return str(Path(SparkFiles.getRootDirectory(), archive))


def _archive_of_packages(environment: Environment) -> str:
    return f"spark_scoring_environment_{environment.key}"


def _here() -> str:
    return f"{socket.gethostname()}, Python {platform.python_version()}"


def place_model(spark: SparkSession, copy: Copy, environment: Environment | None = None) -> ModelPlace:
    """Make the copy readable for workers: as it is where they are this user on this machine, else as an archive.

    So are the packages of its environment.

    The archive lives as long as the copy: executors fetch it when their first task starts. A copy without a folder
    has been sent to the session's executors before, by the process that planned the run.
    """
    if _is_this_process(spark):
        return ModelPlace(copy, environment=environment)
    name = f"spark_scoring_{copy.digest}"
    if copy.folder:
        _send_package(spark)
        _send_archive(spark, name, lambda: archive_of(copy))
        if environment is not None:
            _send_archive(spark, _archive_of_packages(environment), lambda: archive_of_environment(environment))
    return ModelPlace(copy, archive=name, environment=environment)


def _send_archive(spark: SparkSession, name: str, archive: Callable[[], Path]) -> None:
    """Let the executors have an archive, unpacked in a folder of this name; once for a session."""
    if not hasattr(spark, "_sc"):  # Spark Connect, which does not tell what it has
        if name not in (sent := _sent.setdefault(spark, set())):
            spark.addArtifacts(f"{archive()}#{name}", archive=True)
            sent.add(name)
    elif not any(known.endswith(f"#{name}") for known in spark.sparkContext.listArchives):
        spark.sparkContext.addArchive(f"{archive()}#{name}")


def _is_this_process(spark: SparkSession) -> bool:
    """Whether the session's workers are started by this very process; a server's may be another user's."""
    return hasattr(spark, "_sc") and str(spark.sparkContext.master).partition("[")[0] == "local"


def _send_package(spark: SparkSession) -> None:
    """Let the executors have this package as it is here, whatever is installed there; Databricks installs libraries."""
    if "DATABRICKS_RUNTIME_VERSION" in os.environ or (package := package_archive()) is None:
        return
    if not hasattr(spark, "_sc"):
        spark.addArtifacts(str(package), pyfile=True)
    elif not any(file.endswith(f"/{package.name}") for file in spark.sparkContext.listFiles):
        path = list(sys.path)
        spark.sparkContext.addPyFile(str(package))
        sys.path[:] = path  # it puts its copy in front in this process, too


def package_archive() -> Path | None:
    """A zip of this package for Python's module path, the same bytes each time; None where it lies in one already."""
    if not _PACKAGE.is_dir():
        return None
    name, files = _package_files()
    return kept_archive(name, _PACKAGE.parent, files)


@functools.cache
def _package_files() -> tuple[str, list[Path]]:
    """The zip's name, which tells its content, and the files: read once, as they do not change under a process."""
    files = sorted(file for kind in ("*.py", "*.j2") for file in _PACKAGE.rglob(kind))
    digest = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
    return f"spark_scoring-{digest[:12]}.zip", files
