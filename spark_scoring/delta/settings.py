"""The session's settings: what they say, and others for the time of a statement of ours."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyspark.sql import SparkSession

_NEUTRAL: Mapping[str, str | None] = {
    "spark.databricks.delta.write.txnAppId": None,  # Delta passes over a second write of the same mark without a word
    "spark.databricks.delta.write.txnVersion": None,
    "spark.sql.sources.partitionOverwriteMode": "static",
    "spark.databricks.delta.schema.autoMerge.enabled": "false",
}
"""Settings of a session that would change what our statements do -> what they are meanwhile; None: not set."""
_settings_lock = threading.Lock()
"""Session settings are seen by every thread: two runs of one process must not take each other's."""


def is_case_sensitive(spark: SparkSession) -> bool:
    """Spark's rule for names."""
    return str(spark.conf.get("spark.sql.caseSensitive", "false")).lower() == "true"


@contextmanager
def writing_settings(spark: SparkSession, settings: Mapping[str, str] | None = None) -> Iterator[None]:
    """Settings for a statement of ours that writes; what the session has set for its own writes does not count."""
    theirs = {key: value for key, value in _NEUTRAL.items() if spark.conf.get(key, None) not in (None, value)}
    with session_settings(spark, {**theirs, **(settings or {})}):
        yield


@contextmanager
def session_settings(spark: SparkSession, settings: Mapping[str, str | None]) -> Iterator[None]:
    """Settings of the session for what takes no options; as before afterwards. One run at a time has them."""
    with _settings_lock:
        before = {key: spark.conf.get(key, None) for key in settings}
        try:
            _apply(spark, settings)
            yield
        finally:
            _apply(spark, before)


def _apply(spark: SparkSession, settings: Mapping[str, str | None]) -> None:
    for key, value in settings.items():
        if value is None:
            spark.conf.unset(key)
        else:
            spark.conf.set(key, value)
