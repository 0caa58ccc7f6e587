"""prepare: what makes later commands of a machine start sooner."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from spark_scoring.class_archive import archive_place, into_archive, settings_in_the_way
from spark_scoring.cli.options import Verbose, app
from spark_scoring.cli.spark import session_coming_up
from spark_scoring.errors import Problem, RequestError, RunError
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_END_SECONDS = 600
_MEGA = 1_000_000


@app.command(
    epilog="""Examples:

    spark-scoring prepare

    RUN spark-scoring prepare   (in a Dockerfile)"""
)
def prepare(*, verbose: Verbose = False) -> None:
    """Let local Spark sessions start in half of the time, from now on: once per machine, user or image.

    Fetches Delta's jars, and keeps what Spark's Java process loads when it starts: 180 MB in the user's cache folder.
    Takes a minute. Do it again after an update of Java or pyspark.
    """
    from spark_scoring.session import starts_jvm

    if not starts_jvm():
        fix = "run it where Spark is local: pip install 'spark-scoring[local]', without SPARK_REMOTE"
        raise RequestError([Problem("prepare", "no local Spark session would start here", fix)])
    if (folder := settings_in_the_way()) is not None:
        cause = f"Spark's settings folder {folder} holds files, and Java keeps no archive then"
        fix = "move them away, and give a job its settings with spark: in its file; or leave it as it is"
        raise RequestError([Problem("prepare", cause, fix)])
    place = archive_place()
    place.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as fresh:
        file = Path(fresh) / "classes.jsa"
        with into_archive(file), session_coming_up("starting Spark", fresh, None, verbose=verbose) as session:
            spark = session()
            _use(spark, f"{fresh}/table")
            _end(spark)
        if not file.is_file():
            fix = "look at what Spark has printed (-v); sessions start without it, too"
            raise RunError([Problem("prepare", "Java has written no archive of its classes", fix)])
        file.chmod(0o600)
        file.rename(place)
    for other in place.parent.glob("classes-*.jsa"):
        if other != place:
            other.unlink(missing_ok=True)
    typer.echo(f"local Spark sessions start sooner from now on ({place.stat().st_size / _MEGA:.0f} MB in {place})")


def _use(spark: SparkSession, path: str) -> None:
    """Load what a job loads: write a Delta table, look at it, read it, merge into it."""
    rows = spark.range(4).selectExpr("id", "cast(id AS double) AS x", "cast(id AS string) AS note")
    for mode in ("error", "append"):
        rows.write.format("delta").mode(mode).save(path)
    table = f"delta.{quote(path)}"
    for what in ("DETAIL", "HISTORY"):
        spark.sql(f"DESCRIBE {what} {table}").collect()
    spark.read.format("delta").option("versionAsOf", 0).load(path).collect()
    spark.read.format("delta").load(path).groupBy("note").count().persist().collect()
    merge = f"MERGE INTO {table} t USING {{rows}} s ON t.id = s.id + 2 WHEN MATCHED THEN DELETE WHEN NOT MATCHED"
    spark.sql(f"{merge} THEN INSERT *", rows=rows).collect()


def _end(spark: SparkSession) -> None:
    """Stop Spark's Java process and wait until it has written what it has loaded."""
    from pyspark import SparkContext

    process = SparkContext._gateway.proc  # type: ignore[union-attr]  # noqa: SLF001  there is no public way
    spark.stop()
    process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
