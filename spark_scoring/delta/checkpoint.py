"""A stream's checkpoint: the folder that keeps how far an incremental job has come in its source."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException

from spark_scoring.delta.names import resolve, without_file_scheme
from spark_scoring.delta.stream_errors import StreamError
from spark_scoring.delta.target import CHECKPOINTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import SparkSession

    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.delta.target import Target

_FEED = "-feed"
"""Ends the folder's name of a checkpoint that counts what the change data feed holds, and not the table's files."""


@dataclass(frozen=True)
class Checkpoint:
    """A stream's state: its folder, and how far it has come in its source."""

    folder: str
    id: str
    """Of the streaming query."""
    source_id: str | None
    """Delta's id of the table that it has read; None where it has read none."""
    version: int
    """The oldest version of the source of which something may not be in a finished batch."""
    has_batches: bool
    """Whether a batch is finished."""


def checkpoint_home(spark: SparkSession, target: Target, chosen: str | None, source: PinnedSource) -> str:
    """The folder of an output's checkpoints.

    Raises:
        StreamError: the output's folder is its catalog's own and no other was chosen, or tables would lose it.

    """
    if chosen is None:
        if target.path is None:
            raise StreamError.no_checkpoint_home(target.ref.text)
        return f"{target.path.rstrip('/')}/{CHECKPOINTS}"
    home = str(resolve(spark, path=chosen).path).rstrip("/")
    for table in (target.path, source.ref.path):
        inside = home.removeprefix(without_file_scheme(table).rstrip("/")) if table is not None else home
        if inside != home and not inside.startswith(("/_", "/.")) and inside[:1] in ("", "/"):
            raise StreamError.checkpoint_in_table(chosen)
    return home


def next_checkpoint(spark: SparkSession, home: str, *, feed: bool) -> str:
    """The folder of a new checkpoint. They are numbered, so that starting over needs nothing deleted."""
    number = max((_number(folder) for folder in _begun(spark, home)), default=-1) + 1
    return f"{home}/{number}{_FEED if feed else ''}"


def newest_checkpoint(spark: SparkSession, home: str) -> Checkpoint | None:
    """The newest checkpoint below a folder, and how far it has come; None where none was begun.

    Raises:
        StreamError: what is there is not a checkpoint.

    """
    begun = _begun(spark, home)
    if not begun:
        return None
    folder = f"{home}/{max(begun, key=_number)}"
    texts = _texts(spark, folder, "{offsets,commits}")
    offsets, finished = _by_batch(texts, "offsets"), _by_batch(texts, "commits")
    try:
        known = {number: json.loads(text.strip().splitlines()[-1]) for number, text in offsets.items()}
        done = [number for number in finished if number in known]
        last = known[max(done)] if done else known[min(known)] if known else {}
        source_id = str(known[max(known)]["reservoirId"]) if known else None
        version = int(last.get("reservoirVersion", 0)) + int(bool(last.get("isStartingVersion")))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise StreamError.bad_checkpoint(folder) from error
    return Checkpoint(folder, str(checkpoint_id(spark, folder)), source_id, version, bool(done))


def streams_beside(spark: SparkSession, home: str, prefix: str) -> list[str]:
    """The folders of streams whose names begin so."""
    return sorted({file.split("/")[-3] for file in _texts(spark, home, f"{prefix}*/*/metadata")})


def reads_feed(checkpoint: str) -> bool:
    """Whether a checkpoint's stream reads the source's change data feed."""
    return checkpoint.endswith(_FEED)


def checkpoint_id(spark: SparkSession, folder: str) -> str | None:
    """The id of the streaming query that a checkpoint belongs to; None where there is none.

    Raises:
        StreamError: what is there is not a checkpoint.

    """
    lines = _lines(spark, f"{folder}/metadata")
    if lines is None:
        return None
    try:
        return str(json.loads("".join(lines))["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise StreamError.bad_checkpoint(folder) from error


def newest_version(spark: SparkSession, folder: str, batch: int) -> int:
    """The newest version of the source that a micro-batch holds rows of, by the checkpoint.

    Its offset is of the next file to read: an index below 0 means that no file of its version was read.

    Raises:
        StreamError: the checkpoint does not tell.

    """
    lines = _lines(spark, f"{folder}/offsets/{batch}") or [""]
    try:
        offset = json.loads(lines[-1])
        return int(offset["reservoirVersion"]) - int(offset["index"] < 0)
    except (ValueError, KeyError, TypeError) as error:
        raise StreamError.bad_checkpoint(folder) from error


def _begun(spark: SparkSession, home: str) -> list[str]:
    """The names of a stream's checkpoints that were begun."""
    names = {file.split("/")[-2] for file in _texts(spark, home, "*/metadata")}
    return [name for name in names if re.fullmatch(rf"\d+({_FEED})?", name)]


def _number(name: str) -> int:
    return int(name.removesuffix(_FEED))


def _by_batch(texts: Mapping[str, str], kind: str) -> dict[int, str]:
    """Files of a checkpoint by the number of their batch."""
    parts = {file: file.split("/") for file in texts}
    return {int(p[-1]): texts[file] for file, p in parts.items() if p[-2] == kind and p[-1].isdecimal()}


def _lines(spark: SparkSession, file: str) -> list[str] | None:
    """A text file's lines, wherever it is; None where it is not."""
    folder, _, name = file.rpartition("/")
    texts = _texts(spark, folder, name)
    return next(iter(texts.values())).strip().splitlines() if texts else None


def _texts(spark: SparkSession, folder: str, pattern: str) -> dict[str, str]:
    """The small text files that a pattern finds below a folder, wherever it is: path -> text."""
    below = re.sub(r"([\[\]{}*?\\])", r"\\\1", folder)
    try:
        files = spark.read.text(f"{below}/{pattern}", wholetext=True).select("_metadata.file_path", "value")
        return {row["file_path"]: row["value"] for row in files.coalesce(1).collect()}
    except AnalysisException as error:
        if "PATH_NOT_FOUND" in str(error):
            return {}
        raise
