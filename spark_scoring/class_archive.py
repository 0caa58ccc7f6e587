"""Java's archive of the classes that a local session loads: with one, Spark is up in half of the time.

Java checks by itself that an archive fits: the same Java, the same jars at the same places. One that does not fit is
passed over. What is in it is code that Spark's Java process runs, so it lies in the user's private folder, as models
do. It takes 180 MB.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spark_scoring.errors import ScoringError
from spark_scoring.model.store import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_OPTIONS = "SPARK_SUBMIT_OPTS"
"""An environment variable with options of Spark's Java process; the user's own stay."""
_READ, _WRITE = "-XX:SharedArchiveFile", "-XX:ArchiveClassesAtExit"
_SILENT = "-Xlog:cds=off -Xlog:cds+dynamic=off -Xlog:class+path=off"
"""An archive that does not fit is no reason to print anything."""
_SOON = "-XX:TieredStopAtLevel=1"
"""Java's thorough compiler is of no use to a process that only loads."""


def archive_place() -> Path:
    """Where the archive of this Spark and this Java belongs, whether it is there or not.

    Raises:
        ModelError: there is no private folder.

    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java") or ""
    of = f"{_spark_home()} {Path(java).resolve()}"
    return private_folder() / f"classes-{hashlib.sha256(of.encode()).hexdigest()[:32]}.jsa"


def settings_in_the_way() -> Path | None:
    """Spark's folder of settings if it holds files: Java keeps no archive where a folder with files is on its path."""
    folder = Path(os.environ.get("SPARK_CONF_DIR") or _spark_home() / "conf")
    return folder if folder.is_dir() and any(folder.iterdir()) else None


def _spark_home() -> Path:
    from pyspark.find_spark_home import _find_spark_home

    return Path(str(_find_spark_home()))  # type: ignore[no-untyped-call]


@contextmanager
def from_archive() -> Iterator[None]:
    """Let a Java process that is launched meanwhile use the archive, if there is one."""
    place = None
    with suppress(OSError, ScoringError):
        place = archive_place()
    is_there = place is not None and place.is_file()
    with _with_options(f"{_READ}={place} {_SILENT}") if is_there else nullcontext():
        yield


def into_archive(file: Path) -> AbstractContextManager[None]:
    """Let a Java process that is launched meanwhile write what it has loaded into a new file when it ends."""
    return _with_options(f"{_WRITE}={file} {_SILENT} {_SOON}")


@contextmanager
def _with_options(options: str) -> Iterator[None]:
    before = os.environ.get(_OPTIONS)
    if before is not None and (_READ in before or _WRITE in before):  # Java takes one of them, once
        yield
        return
    os.environ[_OPTIONS] = f"{before or ''} {options}".strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ[_OPTIONS]
        else:
            os.environ[_OPTIONS] = before
