"""The Spark session of a job: the one that is there, else a local one with Delta.

A session that exists (Databricks, spark-submit, a notebook, Spark Connect) is taken as it is. A local one
gets Delta's jars from Maven (cached by Ivy), this interpreter for its workers, and a warehouse folder whose
Delta tables are registered by name, so that they survive restarts.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from spark_scoring.delta.names import register_warehouse
from spark_scoring.errors import SessionError
from spark_scoring.spark_versions import delta_package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

_Settings = dict[str, bool | float | int | str | None]
TRACEBACK = "SPARK_SCORING_TRACEBACK"
"""An environment variable: set, errors are shown with those behind them, whose texts may hold values of rows."""
_STDERR = 2
_was_launched = threading.Event()
"""Whether a JVM was launched in the background, whatever became of it."""
_is_up = threading.Event()
"""Whether the local session is there: what its JVM prints before is a hundred lines of Ivy's and Spark's."""
_LOCAL_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.sources.default": "delta",  # as on Databricks
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.databricks.delta.snapshotPartitions": "2",  # the default of 50 is made for clusters
    "spark.sql.shuffle.partitions": "8",
}


def get_session(warehouse: str | Path | None = None) -> SparkSession:
    """The active session, untouched; else the runtime's; else a new local one with Delta.

    Args:
        warehouse: folder of a new local session's tables; default: ``$SPARK_SCORING_WAREHOUSE``, else
            ``spark-warehouse`` below the working directory. Of no effect where a session exists.

    Raises:
        SessionError: pyspark or Java is missing, or the session does not know Delta.

    """
    require_spark()
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    if not _is_local():
        return SparkSession.builder.getOrCreate()
    return _local_session(_folder(warehouse))


def launch_early(warehouse: str | Path | None = None, log: Path | None = None, *, shows_all: bool = False) -> None:
    """Start the JVM of a new local session in the background: a model can be loaded while it comes up.

    Does nothing where ``starts_jvm`` says no. What goes wrong comes again from ``get_session``, which waits for it.

    Args:
        warehouse: as of ``get_session``, which must be called with the same one.
        log: file for whatever the JVM prints, its own words and those of its workers; default: standard error, once
            the session is there, and before that only which files are downloaded.
        shows_all: whether standard error gets the rest of it, too: a hundred lines.

    """
    if not starts_jvm():
        return
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway

    settings, begun = _new_settings(_folder(warehouse)), threading.Event()
    conf = SparkConf(loadDefaults=False).setAll([(key, str(value)) for key, value in settings.items()])

    def launch() -> None:
        with SparkContext._lock, suppress(Exception):  # noqa: SLF001  there is no public way to start the JVM alone
            begun.set()
            if SparkContext._gateway is None:  # noqa: SLF001
                with _forwarded(shows_all=shows_all) if log is None else log.open("ab") as out:
                    gateway = launch_gateway(conf, {"stdout": out, "stderr": out})  # type: ignore[no-untyped-call]
                SparkContext._ensure_initialized(gateway=gateway)  # noqa: SLF001

    _was_launched.set()
    threading.Thread(target=launch, name="spark_scoring-jvm", daemon=True).start()
    begun.wait()  # the lock is held: whoever wants a session now waits for this JVM


@contextmanager
def _forwarded(*, shows_all: bool) -> Iterator[int | None]:
    """A pipe to standard error that is shut until the session is there; None where all is to be shown."""
    if shows_all or os.environ.get(TRACEBACK):
        yield None
        return
    reading, writing = os.pipe()
    threading.Thread(target=_forward, args=(reading,), name="spark_scoring-stderr", daemon=True).start()
    try:
        yield writing
    finally:
        os.close(writing)  # the JVM has its own


def _forward(reading: int) -> None:
    with os.fdopen(reading, "rb") as printed:
        for line in printed:
            if _is_up.is_set() or line.startswith(b"downloading "):
                os.write(_STDERR, line)


def starts_jvm() -> bool:
    """Whether ``get_session`` would start a JVM: no session is there, or will come from elsewhere or from a launch."""
    if find_spec("pyspark") is None or not _is_local() or "PYSPARK_GATEWAY_PORT" in os.environ:
        return False
    from pyspark.sql import SparkSession

    if SparkSession.getActiveSession() is not None:  # of Connect, too, which has no SparkContext
        return False
    from pyspark import SparkContext

    return SparkContext._gateway is None and not _was_launched.is_set()  # noqa: SLF001


def require_spark() -> None:
    """Refuse to go on without pyspark, which the base install does not bring.

    Raises:
        SessionError: it is not installed.

    """
    if find_spec("pyspark") is None:
        raise SessionError.no_pyspark()


def _is_local() -> bool:
    """Whether a new session would run on this machine."""
    return not (os.environ.get("DATABRICKS_RUNTIME_VERSION") or os.environ.get("SPARK_REMOTE"))


def _folder(warehouse: str | Path | None) -> Path:
    return Path(warehouse or os.environ.get("SPARK_SCORING_WAREHOUSE") or "spark-warehouse")


def _local_session(warehouse: Path) -> SparkSession:
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    launch_early(warehouse)  # where that fails, it is tried again below, and Java's own words are shown
    try:
        if "PYSPARK_GATEWAY_PORT" in os.environ:
            builder = _submitted(SparkSession.builder, _settings(warehouse))
        else:
            builder = SparkSession.builder.config(map=_new_settings(warehouse))
        spark = builder.appName("spark_scoring").getOrCreate()
    except PySparkRuntimeError as error:  # the JVM did not come up: nearly always no Java, or one too old
        raise SessionError.no_java() from error
    _is_up.set()
    _keep_jars_from_workers(spark)
    if not os.environ.get(TRACEBACK):
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)  # PySpark's own copy of such an error
    _check_delta(spark)
    register_warehouse(spark)
    return spark


def _settings(warehouse: Path) -> _Settings:
    """Of a session on this machine, whoever starts its JVM."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    shows_all = bool(os.environ.get(TRACEBACK))  # else tasks' errors, which hold values, come as exceptions alone
    return {
        **_LOCAL_SETTINGS,
        "spark.log.level": "ERROR" if shows_all else "FATAL",
        "spark.sql.warehouse.dir": str(warehouse.absolute()),
    }


def _new_settings(warehouse: Path) -> _Settings:
    """Of a session whose JVM we start."""
    try:
        from delta import configure_spark_with_delta_pip
    except ImportError as error:
        raise SessionError.no_delta_package() from error
    from pyspark.sql import SparkSession

    packages = configure_spark_with_delta_pip(SparkSession.builder)._options  # noqa: SLF001  as a builder tells nothing
    return {**_settings(warehouse), **packages, "spark.master": "local[*]", "spark.driver.memory": _driver_memory()}


def _submitted(builder: SparkSession.Builder, settings: _Settings) -> SparkSession.Builder:
    """Under spark-submit its settings stand; ours fill gaps, and only where it runs on this machine alone."""
    from pyspark import SparkConf, SparkContext

    SparkContext._ensure_initialized()  # noqa: SLF001  connects to spark-submit's JVM, whose settings we ask for
    conf = SparkConf()
    if not str(conf.get("spark.master", "")).startswith("local"):
        return builder
    return builder.config(map={key: value for key, value in settings.items() if not conf.contains(key)})


def _keep_jars_from_workers(spark: SparkSession) -> None:
    """Take the jars of ``spark.jars.packages`` off the workers' module path, where each task reads them, for 0.2 s."""
    context = spark.sparkContext
    files = context._python_includes or []  # noqa: SLF001  there is no public way
    context._python_includes = [file for file in files if not file.endswith(".jar")]  # noqa: SLF001


def _check_delta(spark: SparkSession) -> None:
    if "DeltaSparkSessionExtension" not in str(spark.conf.get("spark.sql.extensions", "")):
        raise SessionError.no_delta_jars(spark.version, delta_package(spark.version))
    try:
        spark.catalog.listDatabases()  # loads the session's catalog, which is Delta's
    except Exception as error:
        raise SessionError.no_delta_jars(spark.version, delta_package(spark.version)) from error


def _driver_memory() -> str:
    """A quarter of the machine, 1 to 8 GiB: a local session's driver is its executor too."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{min(8192, max(1024, total // 4 // 2**20))}m"
