"""``spark:`` of a job: settings of a session that we start ourselves; which may be set, and which decide a result.

Keys and reasons are told, values never: they may be secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_KEY = re.compile(r"spark\.[\w./-]+")
_MASTER = re.compile(r"local(?:\[(?:\*|[1-9]\d{0,3})(?:,\s*\d{1,3})?\])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SUBMIT = "spark-submit --master ... $(spark-scoring job-script) JOB.yml"
_CONNECT = ("a session of Spark Connect is taken as it is", "give --remote sc://<host>:15002, or set SPARK_REMOTE")
_OURS = {
    "spark.sql.extensions": ("Delta needs it as it is", "leave it out; spark-submit can start a session with more"),
    "spark.sql.catalog.spark_catalog": ("Delta needs it as it is", "leave it out; other catalogs have other names"),
    "spark.sql.catalogImplementation": ("the warehouse folder is the catalog", "leave it out"),
    "spark.sql.warehouse.dir": ("it has a field of its own", "write warehouse: <folder>"),
    "spark.log.level": (
        "Spark would log the errors of tasks, which hold values of rows",
        "leave it out; the environment variable SPARK_SCORING_TRACEBACK=1 shows them",
    ),
    "spark.submit.deployMode": ("the session is one of this machine", f"leave it out, or {_SUBMIT}"),
    "spark.remote": _CONNECT,
    "spark.api.mode": _CONNECT,
}
"""What a local session needs as it is, or has from elsewhere -> why, and what to do."""
_AT_LAUNCH = ("spark.driver.memory", "spark.driver.extra", "spark.driver.default", "spark.jars")
"""Beginnings of settings that Spark's Java process must be started with; a session can be given all others."""
_SPEED = (
    "spark.sql.adaptive.",
    "spark.sql.autoBroadcastJoinThreshold",
    "spark.sql.broadcastTimeout",
    "spark.sql.codegen.",
    "spark.sql.execution.arrow.maxRecordsPerBatch",
    "spark.sql.files.maxPartitionBytes",
    "spark.sql.files.maxPartitionNum",
    "spark.sql.files.minPartitionNum",
    "spark.sql.files.openCostInBytes",
    "spark.sql.inMemoryColumnarStorage.",
    "spark.sql.parquet.compression.codec",
    "spark.sql.shuffle.partitions",
    "spark.sql.ui.",
)
"""Beginnings of SQL settings that change how long a result takes, and not the result."""
_RULES = (
    "spark.sql.ansi.enabled",
    "spark.sql.caseSensitive",
    "spark.sql.legacy.timeParserPolicy",
    "spark.sql.mapKeyDedupPolicy",
    "spark.sql.session.timeZone",
    "spark.sql.timestampType",
)
_HARMLESS = (
    *_RULES,
    *(key for key in _SPEED if not key.endswith(".")),
    "spark.app.name",
    "spark.databricks.delta.snapshotPartitions",
    "spark.default.parallelism",
    "spark.driver.maxResultSize",
    "spark.driver.memory",
    "spark.executor.heartbeatInterval",
    "spark.kryoserializer.buffer.max",
    "spark.master",
    "spark.memory.fraction",
    "spark.memory.offHeap.enabled",
    "spark.memory.offHeap.size",
    "spark.memory.storageFraction",
    "spark.network.timeout",
    "spark.rpc.message.maxSize",
    "spark.sql.adaptive.coalescePartitions.enabled",
    "spark.sql.adaptive.enabled",
    "spark.sql.adaptive.skewJoin.enabled",
    "spark.task.cpus",
)
"""What may be set where an environment restricts jobs: it loads no code, reads no file and asks no server."""


class SettingError(ValueError):
    """A setting that cannot be; with its key, the cause and a fix, and never its value."""

    def __init__(self, key: str, cause: str, fix: str) -> None:
        super().__init__(key, cause, fix)
        self.key, self.cause, self.fix = key, cause, fix


def spark_settings(given: Mapping[Any, object]) -> dict[str, str]:
    """Settings by their whole keys, values as Spark takes them.

    ``{driver.memory: 8g}`` and ``{driver: {memory: 8g}}`` are ``{spark.driver.memory: 8g}``.

    Raises:
        SettingError: a key or a value is none of Spark's, is there twice, or is not a job's to set.

    """
    settings: dict[str, str] = {}
    for key, value in _flat(given, ()):
        if key in settings:
            raise SettingError(key, "it is there twice", "write it once")
        settings[key] = _value(key, value)
        _check(key, settings[key])
    return settings


def _flat(given: Mapping[Any, object], before: tuple[str, ...]) -> Iterable[tuple[str, object]]:
    for name, value in given.items():
        path = (*before, str(name).strip())
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        else:
            key = ".".join(path)
            yield (key if key.startswith("spark.") else f"spark.{key}"), value


def _value(key: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise SettingError(key, "its value is not text, a number, true or false", "give one of these, such as 8g")
    if _CONTROL.search(str(value)):
        raise SettingError(key, "its value has a line end or another control character", "write it in one line")
    return str(value)


def _check(key: str, value: str) -> None:
    if not _KEY.fullmatch(key):
        raise SettingError(key, "it is not a setting of Spark's", "write it like spark.driver.memory: 8g")
    if key in _OURS:
        raise SettingError(key, *_OURS[key])
    if key.startswith("spark.connect."):
        raise SettingError(key, *_OURS["spark.remote"])
    if key == "spark.master" and not _MASTER.fullmatch(value):
        raise SettingError(key, "it is not a master of this machine", f"write local[4] or local[*]; else {_SUBMIT}")


def at_launch(settings: Mapping[str, str]) -> dict[str, str]:
    """Those that Spark's Java process must be started with: its command line, which other users see, has no more."""
    return {key: value for key, value in settings.items() if key.startswith(_AT_LAUNCH)}


def decides(key: str) -> bool:
    """Whether a setting can change what is written, and not only how fast."""
    return key.startswith("spark.sql.") and not key.startswith(_SPEED)


def not_harmless(settings: Iterable[str]) -> list[str]:
    """Settings that could load code, read files or ask servers, or of which nothing is known."""
    return [key for key in settings if key not in _HARMLESS]
