"""The Spark session of a job: the one that is there, else a local one with Delta.

A session that exists (Databricks, spark-submit, a notebook, Spark Connect) is taken as it is; ``unheeded`` says which
of a job's settings it does not have. A local one gets the job's settings, Delta's jars from Maven (cached by Ivy), this
interpreter for its workers, and a warehouse folder whose Delta tables are registered by name, so that they survive
restarts.
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

from spark_scoring import connect
from spark_scoring.class_archive import from_archive
from spark_scoring.delta.names import register_warehouse
from spark_scoring.delta.session_errors import SessionError
from spark_scoring.jars import keep_jars, known_jars
from spark_scoring.model.trust import ESTIMATORS, MODELS, REGISTRIES, RESTRICT_SQL, is_restricted
from spark_scoring.spark_settings import SettingError, at_launch, decides, not_harmless, spark_settings
from spark_scoring.spark_versions import delta_package

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyspark import SparkConf
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


_JARS = "spark.jars"
_PACKAGES = f"{_JARS}.packages"


def get_session(
    warehouse: str | Path | None = None, settings: Mapping[str, str | float | bool] | None = None
) -> SparkSession:
    """The active session, untouched; else the runtime's; else a new local one with Delta.

    Args:
        warehouse: folder of a new local session's tables; default: ``$SPARK_SCORING_WAREHOUSE``, else
            ``spark-warehouse`` below the working directory. Of no effect where a session exists.
        settings: Spark's, of a new local session, such as ``{"spark.driver.memory": "8g"}``; a job's ``spark``. Of no
            effect where a session exists.

    Raises:
        SessionError: pyspark or Java is missing, the session does not know Delta, a setting cannot be, or the server
            that ``SPARK_REMOTE`` names cannot be reached.

    """
    require_spark()
    wanted = _checked(settings)
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return SparkSession.builder.getOrCreate()
    if server := os.environ.get("SPARK_REMOTE"):
        return connect.session_of(server)
    if connect.is_client_alone():
        raise SessionError.no_server_named()
    return _local_session(_folder(warehouse), wanted)


def launch_early(
    warehouse: str | Path | None = None,
    log: Path | None = None,
    settings: Mapping[str, str | float | bool] | None = None,
    *,
    shows_all: bool = False,
) -> None:
    """Start the JVM of a new local session in the background: a model can be loaded while it comes up.

    Does nothing where ``starts_jvm`` says no. What goes wrong comes again from ``get_session``, which waits for it.

    Args:
        warehouse, settings: as of ``get_session``, which must be called with the same ones.
        log: file for whatever the JVM prints, its own words and those of its workers; default: standard error, once
            the session is there, and before that only which files are downloaded.
        shows_all: whether standard error gets the rest of it, too: a hundred lines.

    Raises:
        SessionError: a setting cannot be.

    """
    wanted = _checked(settings)
    if not starts_jvm():
        return
    from pyspark import SparkContext
    from pyspark.java_gateway import launch_gateway

    conf, begun = _launch_conf(_folder(warehouse), wanted), threading.Event()

    def launch() -> None:
        with SparkContext._lock, suppress(Exception):  # noqa: SLF001  there is no public way to start the JVM alone
            begun.set()
            if SparkContext._gateway is None:  # noqa: SLF001
                with from_archive(), _forwarded(shows_all=shows_all) if log is None else log.open("ab") as out:
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
    if connect.is_client_alone():
        return False
    from pyspark.sql import SparkSession

    if SparkSession.getActiveSession() is not None:  # of Connect, too, which has no SparkContext
        return False
    from pyspark import SparkContext

    return SparkContext._gateway is None and not _was_launched.is_set()  # noqa: SLF001


def unheeded(spark: SparkSession, settings: Mapping[str, str | float | bool]) -> list[str]:
    """What to tell of a job's settings that a session does not have; empty where it has them all.

    Raises:
        SessionError: such a setting could change what is written.

    """
    from spark_scoring.delta.settings import setting

    wanted = _checked(settings)
    missed = [key for key, value in wanted.items() if not _has(key, value, setting(spark, key))]
    if deciding := [key for key in missed if decides(key)]:
        raise SessionError.other_settings({key: wanted[key] for key in deciding})
    if not missed:
        return []
    named = ", ".join(missed)
    return [f"the Spark session was there before the job, so that these settings have no effect (spark): {named}"]


def _has(key: str, wanted: str, found: str | None) -> bool:
    if found is None:
        return False
    if key in (_PACKAGES, _JARS):  # to which Spark adds others, and makes paths whole
        names = ({Path(part.strip()).name for part in text.split(",")} for text in (wanted, found))
        return next(names) <= next(names)
    return wanted == found


def _checked(settings: Mapping[str, str | float | bool] | None) -> dict[str, str]:
    """Settings as Spark takes them, each of which may be set here."""
    try:
        wanted = spark_settings(dict(settings or {}))
    except SettingError as error:
        raise SessionError.bad_setting(error.key, error.cause, error.fix) from None
    refused = not_harmless(wanted)
    if refused and (switch := _restriction()) is not None:
        raise SessionError.restricted_settings(refused, switch)
    return wanted


def _restriction() -> str | None:
    """The environment variable by which jobs of this environment are restricted, if one is set."""
    lists = (name for name in (MODELS, REGISTRIES, ESTIMATORS) if name in os.environ)
    return RESTRICT_SQL if is_restricted() else next(lists, None)


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


def _local_session(warehouse: Path, wanted: Mapping[str, str]) -> SparkSession:
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException, PySparkRuntimeError
    from pyspark.sql import SparkSession

    # Where that fails, it is tried again below, and Java's own words are shown.
    launch_early(warehouse, settings=wanted)
    try:
        if "PYSPARK_GATEWAY_PORT" in os.environ:
            builder = _submitted(SparkSession.builder, _settings(warehouse))
        else:
            _launch(_launch_conf(warehouse, wanted), wanted)
            builder = SparkSession.builder.config(map=_new_settings(warehouse, wanted))
        spark = builder.appName(wanted.get("spark.app.name", "spark_scoring")).getOrCreate()
    except PySparkRuntimeError as error:  # the JVM did not come up: nearly always no Java, or one too old
        raise SessionError.no_java(sorted(at_launch(wanted))) from error
    except (PySparkException, Py4JError) as error:
        if wanted:
            raise SessionError.settings_fail(sorted(wanted)) from error
        raise
    _is_up.set()
    _keep_found_jars(spark, wanted)
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


def _launch(conf: SparkConf, wanted: Mapping[str, str]) -> None:
    """Spark's Java process, unless it is up: one that is up must have what it can only be started with.

    The session's other settings come later: the command line of the process is seen by every user of the machine.
    """
    from pyspark import SparkConf, SparkContext

    SparkContext._ensure_initialized(conf=conf)  # noqa: SLF001  there is no public way to start the JVM alone
    has = SparkConf()
    missed = [key for key, value in at_launch(wanted).items() if not _has(key, value, has.get(key, None))]
    if missed:
        raise SessionError.too_late(missed)
    _check_values(wanted)


def _conf_of(settings: _Settings) -> SparkConf:
    from pyspark import SparkConf

    return SparkConf(loadDefaults=False).setAll([(key, str(value)) for key, value in settings.items()])


def _check_values(wanted: Mapping[str, str]) -> None:
    """Let Spark read the values of its SQL settings: in a session with a wrong one, PySpark's errors never end."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext
    from pyspark.errors import PySparkException

    conf = SparkContext._jvm.org.apache.spark.sql.internal.SQLConf()  # type: ignore[union-attr]  # noqa: SLF001

    def is_wrong(key: str) -> bool:
        try:
            conf.setConfString(key, wanted[key])
        except (PySparkException, Py4JError):
            return True
        return False

    if wrong := [key for key in wanted if key.startswith("spark.sql.") and is_wrong(key)]:
        raise SessionError.settings_fail(wrong)


def _new_settings(warehouse: Path, wanted: Mapping[str, str]) -> _Settings:
    """Of a session whose JVM we start."""
    try:
        from delta import configure_spark_with_delta_pip
    except ImportError as error:
        raise SessionError.no_delta_package() from error
    from pyspark.sql import SparkSession

    packages = configure_spark_with_delta_pip(SparkSession.builder)._options  # noqa: SLF001  as a builder tells nothing
    own = {**_settings(warehouse), **packages, "spark.master": "local[*]", "spark.driver.memory": _driver_memory()}
    both = ",".join(str(part) for part in (own.get(_PACKAGES), wanted.get(_PACKAGES)) if part)
    return {**own, **wanted, _PACKAGES: both}


def _submitted(builder: SparkSession.Builder, settings: _Settings) -> SparkSession.Builder:
    """Under spark-submit its settings stand; ours fill gaps, and only where it runs on this machine alone."""
    from pyspark import SparkConf, SparkContext

    SparkContext._ensure_initialized()  # noqa: SLF001  connects to spark-submit's JVM, whose settings we ask for
    conf = SparkConf()
    if not str(conf.get("spark.master", "")).startswith("local"):
        return builder
    return builder.config(map={key: value for key, value in settings.items() if not conf.contains(key)})


def _launch_conf(warehouse: Path, wanted: Mapping[str, str]) -> SparkConf:
    """What Spark's Java process is started with: Delta's jars by name, where Ivy has found all of them before."""
    settings = _new_settings(warehouse, at_launch(wanted))
    if not _asks_for_jars(wanted) and (jars := known_jars(str(settings[_PACKAGES]))):
        settings |= {_PACKAGES: "", _JARS: jars}
    return _conf_of(settings)


def _asks_for_jars(wanted: Mapping[str, str]) -> bool:
    """Whether a session's jars are others than Delta's, or come from elsewhere."""
    return any(key.startswith(_JARS) for key in wanted)


def _keep_found_jars(spark: SparkSession, wanted: Mapping[str, str]) -> None:
    """Note where Ivy has found Delta's jars for a session whose JVM we started, for the next one."""
    if _asks_for_jars(wanted) or "PYSPARK_GATEWAY_PORT" in os.environ:
        return
    has = spark.sparkContext.getConf()
    packages, jars = has.get(_PACKAGES, ""), has.get(_JARS, "")
    if packages and jars and known_jars(packages) is None:
        keep_jars(packages, jars)


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
