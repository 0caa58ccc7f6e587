"""The session's settings: what they say, and others for the time of a statement of ours."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from pyspark.errors import PySparkException

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyspark.sql import SparkSession

NEUTRAL: Mapping[str, str | None] = {
    "spark.databricks.delta.write.txnAppId": None,  # Delta passes over a second write of the same mark without a word
    "spark.databricks.delta.write.txnVersion": None,
    "spark.sql.sources.partitionOverwriteMode": "static",
    "spark.databricks.delta.schema.autoMerge.enabled": "false",
    "spark.databricks.delta.properties.defaults.appendOnly": None,  # a new table could not be merged or rolled back
    "spark.databricks.delta.replaceWhere.constraintCheck.enabled": "true",  # else rows come in beside the condition
    "spark.databricks.delta.replaceWhere.dataColumns.enabled": "true",
    "spark.databricks.delta.history.metricsEnabled": "true",  # a commit's rows are counted by it
    "spark.databricks.delta.stats.collect": "true",  # and, where a part is replaced, by the files' statistics
    "spark.sql.parquet.outputTimestampType": None,  # of milliseconds, times would lose digits
}
"""Settings of a session that would change what our statements do -> what they are meanwhile; None: not set.

This is the one place where they are listed. What is not here changes nothing in what is written: tests hold that.
"""
_settings_lock = threading.Lock()
"""Session settings are seen by every thread: two runs of one process must not take each other's."""
_neutral_lock = threading.Lock()
_neutral: dict[int, tuple[int, Mapping[str, str | None]]] = {}
"""By session: how many of our statements are at work in it, and its own settings, for the last of them to restore."""


def setting(spark: SparkSession, key: str) -> str | None:
    """What the session has set, or Spark by default; None where nothing is known of it."""
    try:
        return spark.conf.get(key, None)
    except PySparkException:  # serverless compute has some of them only
        return None


def is_on(spark: SparkSession, key: str) -> bool:
    """Whether a setting that is true or false is true."""
    return str(setting(spark, key)).lower() == "true"


def is_case_sensitive(spark: SparkSession) -> bool:
    """Spark's rule for names."""
    return is_on(spark, "spark.sql.caseSensitive")


@contextmanager
def writing_settings(spark: SparkSession, settings: Mapping[str, str] | None = None) -> Iterator[None]:
    """Settings for a statement of ours that writes; what the session has set for its own writes does not count.

    Those of ``settings`` are for one statement at a time; without any, statements go side by side.
    """
    with _neutralised(spark), session_settings(spark, settings) if settings else nullcontext():
        yield


@contextmanager
def _neutralised(spark: SparkSession) -> Iterator[None]:
    with _neutral_lock:
        count, before = _neutral.get(id(spark), (0, {}))
        if count == 0:
            before = {k: was for k, v in NEUTRAL.items() if (was := setting(spark, k)) not in (None, v)}
            _apply(spark, {key: NEUTRAL[key] for key in before})
        _neutral[id(spark)] = (count + 1, before)
    try:
        yield
    finally:
        with _neutral_lock:
            count, before = _neutral.pop(id(spark))
            if count > 1:
                _neutral[id(spark)] = (count - 1, before)
            else:
                _apply(spark, before)


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
