"""Sources that are not Delta tables: files of other formats, tables of them, views, what has no files at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import plan_job, run_job
from spark_scoring.errors import RequestError, RunError
from tests import needs
from tests.needs import in_short
from tests.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

    from spark_scoring import RunReport, ScoringJob

ROWS = 12


def letters() -> Any:
    """A data source of rows that are made up where they are read."""
    from pyspark.sql.datasource import DataSource, DataSourceReader

    class Reader(DataSourceReader):
        def __init__(self, rows: int) -> None:
            self.rows = rows

        def read(self, partition: Any) -> Iterator[tuple[Any, ...]]:
            yield from ((i, float(i), i % 3, f"row {i}") for i in range(self.rows))

    class Letters(DataSource):
        @classmethod
        def name(cls) -> str:
            return "letters"

        def schema(self) -> str:
            return "id BIGINT, x DOUBLE, n BIGINT, note STRING"

        def reader(self, schema: Any) -> Reader:
            return Reader(int(self.options["rows"]))

    return Letters


FORMATS: dict[str, dict[str, Any]] = {
    "parquet": {"format": "parquet"},
    "csv with types": {
        "format": "csv",
        "options": {"header": True},
        "schema": "id BIGINT, x DOUBLE, n BIGINT, note STRING",
    },
    "json": {"format": "json", "schema": "id BIGINT, x DOUBLE, n BIGINT, note STRING"},
    "json, guessed": {"format": "json"},
    "orc": {"format": "orc"},
    "csv": {"format": "csv", "options": {"header": True}},
}


@pytest.fixture
def place(spark: SparkSession, line: str, tmp_path: Path) -> Place:
    return Place(spark, line, tmp_path, (), rehearse=False)


def job(place: Place, output: dict[str, Any] | None = None, **source: Any) -> ScoringJob:
    """A job of the source that is given, and of no other."""
    fields = place.job(output).model_dump(exclude_defaults=True, by_alias=True)
    return type(place.job()).from_dict({**fields, "source": source})


def run(place: Place, output: dict[str, Any] | None = None, **source: Any) -> RunReport:
    return run_job(job(place, output, **source), place.spark)


def plan_text(place: Place, **source: Any) -> str:
    return " ".join(plan_job(job(place, **source), place.spark).explain().split())


def refusal(place: Place, **source: Any) -> str:
    with pytest.raises(RequestError) as raised:
        plan_job(job(place, **source), place.spark)
    return str(raised.value)


def write(place: Place, kind: str, folder: str = "other", rows: str = "true", mode: str = "errorifexists") -> str:
    path = str(place.folder / folder)
    frame = place.spark.read.format("delta").load(place.source).where(rows)
    header = {"header": True} if kind == "csv" else {}
    frame.coalesce(1).write.format(kind).options(**header).mode(mode).save(path)
    return path


def sql(place: Place, statement: str, **names: str) -> None:
    place.spark.sql(statement.format(source=place.source, **names))


def predictions(place: Place) -> dict[int, float]:
    rows = place.spark.read.format("delta").load(place.output).collect()
    return {int(row["id"]): row["prediction"] for row in rows}


def expected(place: Place) -> dict[int, float]:
    """What the same rows give from a Delta table."""
    other = Place(place.spark, place.model, place.folder / "same", (), rehearse=False)
    other.run()
    return predictions(other)


@pytest.mark.parametrize("kind", in_short(1, FORMATS))
def test_files_are_scored_once(place: Place, kind: str) -> None:
    path = write(place, FORMATS[kind]["format"])
    source = {"path": path, **FORMATS[kind]}
    first = run(place, **source)
    assert (first.rows_in, first.rows_out, first.bad_rows) == (ROWS, ROWS, 0)
    assert predictions(place) == expected(place)
    assert run(place, **source).skipped
    write(place, source["format"], "other", "id < 3", "append")
    again = run(place, **source)
    assert (again.skipped, again.rows_in) == (False, ROWS + 3)


def test_a_file_that_is_written_anew_counts(place: Place) -> None:
    path = place.folder / "rows.csv"
    frame = place.spark.read.format("delta").load(place.source).toPandas()
    frame.to_csv(path, index=False)
    source = {"path": str(path), "format": "csv", "options": {"header": True}}
    overwrite = {"mode": "overwrite"}
    assert not run(place, overwrite, **source).skipped
    assert run(place, overwrite, **source).skipped
    before = path.stat()
    frame.sort_values("id", ascending=False).to_csv(path, index=False)
    assert path.stat().st_size == before.st_size
    assert not run(place, overwrite, **source).skipped
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert not run(place, overwrite, **source).skipped


def test_how_files_are_read_counts(place: Place) -> None:
    path = write(place, "csv")
    source = {"path": path, "format": "csv", "options": {"header": True}}
    run(place, **source)
    assert not run(place, **{**source, "options": {"header": True, "nullValue": "row 1"}}).skipped


def test_the_plan_says_what_is_read(place: Place) -> None:
    path = write(place, "parquet", "a folder, é")
    text = plan_text(place, path=path, format="parquet", where="id < 5")
    assert "as 1 file of" in text
    assert "where id < 5" in text
    assert "every run counts" not in text
    assert run(place, path=path, format="parquet", where="id < 5").rows_in == 5
    assert run(place, path=path, format="parquet", where="id < 5").skipped


@pytest.mark.long
def test_files_in_partitions_and_by_a_pattern(place: Place) -> None:
    path = str(place.folder / "parts")
    frame = place.spark.read.format("delta").load(place.source).selectExpr("*", "id % 2 AS p")
    frame.write.partitionBy("p").parquet(path)
    assert run(place, path=path, format="parquet", where="p = 1").rows_in == ROWS // 2
    assert run(place, path=path, format="parquet", where="p = 1").skipped
    by_pattern = {"path": f"{path}/p=0/*.parquet", "format": "parquet"}
    assert run(place, **by_pattern).rows_in == ROWS // 2
    assert run(place, **by_pattern).skipped


def test_files_that_are_gone_or_new_after_the_plan_stop_the_run(place: Place) -> None:
    path = write(place, "parquet")
    plan = plan_job(job(place, path=path, format="parquet"), place.spark)
    write(place, "parquet", mode="overwrite")
    with pytest.raises((RequestError, RunError), match="removed or written anew"):
        run_job(plan, place.spark)
    assert not Path(place.output).exists()
    plan = plan_job(job(place, path=path, format="parquet"), place.spark)
    write(place, "parquet", mode="append")  # of these, the plan knows nothing
    assert run_job(plan, place.spark).rows_in == ROWS
    assert run(place, path=path, format="parquet").rows_in == 2 * ROWS


@pytest.fixture
def tables(place: Place) -> Iterator[Place]:
    place.spark.sql("CREATE SCHEMA IF NOT EXISTS others")
    yield place
    place.spark.sql("DROP SCHEMA others CASCADE")


@pytest.mark.long
def test_a_table_of_another_format(tables: Place) -> None:
    sql(tables, "CREATE TABLE others.rows USING parquet AS SELECT * FROM delta.`{source}`")
    assert "as 2 files of" in plan_text(tables, table="others.rows")
    assert run(tables, table="others.rows").rows_in == ROWS
    assert run(tables, table="OTHERS.ROWS").skipped
    sql(tables, "INSERT INTO others.rows SELECT * FROM delta.`{source}` WHERE id = 1")
    assert run(tables, table="others.rows").rows_in == ROWS + 1


@pytest.mark.parametrize("kind", in_short(1, ["VIEW others.v", "TEMPORARY VIEW v"]))
def test_each_run_of_a_view_is_another_one(tables: Place, kind: str) -> None:
    name = kind.rsplit(maxsplit=1)[-1]
    sql(tables, "CREATE {kind} AS SELECT * FROM delta.`{source}` WHERE id < 4", kind=kind)
    text = plan_text(tables, table=name)
    assert f"every run counts as another one: the source {name} is a view" in text
    assert "a repeated run adds its rows again" in text
    assert [run(tables, {"mode": "merge", "key": ["id"]}, table=name).skipped for _ in range(2)] == [False, False]
    assert sorted(predictions(tables)) == [0, 1, 2, 3]
    sql(tables, "DROP VIEW {name}", name=name)
    assert "no such table" in refusal(tables, table=name)


def test_rows_of_a_view_that_differ_each_time_are_scored_once(tables: Place) -> None:
    """They are counted and scored apart, and would not be as many, or not the same."""
    sql(tables, "CREATE VIEW others.chance AS SELECT uuid() AS note, id, x, n FROM delta.`{source}`")
    report = run(tables, table="others.chance")
    assert (report.rows_in, report.rows_out) == (ROWS, ROWS)


@needs.data_sources
@pytest.mark.long
def test_a_source_without_files(place: Place) -> None:
    """As databases are: here a data source of Spark's own."""
    assert "Spark cannot read it as nonsense" in refusal(place, format="nonsense")
    place.spark.dataSource.register(letters())
    source = {"format": "letters", "options": {"rows": 3, "password": "secret-word"}}
    text = plan_text(place, **source)
    assert "read as letters, of which no version is known" in text
    assert "secret-word" not in text
    assert [run(place, **source).rows_in for _ in range(2)] == [3, 3]
    assert sorted(predictions(place)) == [0, 1, 2]


def test_what_a_path_holds_is_said(place: Place) -> None:
    path = write(place, "parquet")
    assert "its files look like parquet" in refusal(place, path=path)
    assert "source.format: parquet" in refusal(place, path=path)
    assert "source.format: csv" in refusal(place, path=write(place, "csv", "texts"))
    assert "there is no such file or folder" in refusal(place, path=str(place.folder / "nothing"))
    assert "there is no such file or folder" in refusal(place, path=str(place.folder / "nothing"), format="csv")
    (place.folder / "empty").mkdir()
    assert "it is not a Delta table" in refusal(place, path=str(place.folder / "empty"))
    assert "Spark cannot read it as parquet" in refusal(place, path=str(place.folder / "empty"), format="parquet")


WITHOUT_DELTA = """
import sys
from pyspark.sql import SparkSession
from spark_scoring import ScoringJob, plan_job
from spark_scoring.errors import RequestError

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
fields = {"model": sys.argv[1], "source": {"path": sys.argv[2]}, "output": {"path": "out"}}
try:
    plan_job(ScoringJob.from_dict(fields), spark)
except RequestError as error:
    print(error)
"""


def test_a_session_without_delta_is_named_as_the_cause(place: Place) -> None:
    command = [sys.executable, "-c", WITHOUT_DELTA, place.model, place.source]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, cwd=place.folder)
    assert "session was started without Delta" in shown.stdout
    assert "no such table" not in shown.stdout


def test_parquet_files_of_a_delta_table_are_not_its_rows(place: Place) -> None:
    sql(place, "DELETE FROM delta.`{source}` WHERE id < 6")
    for path in (place.source, f"{place.source}/*.parquet"):
        assert "they are files of a Delta table" in refusal(place, path=path, format="parquet")
    assert run(place, path=place.source, format="DELTA").rows_in == ROWS - 6


def test_a_csv_file_without_names(place: Place) -> None:
    path = write(place, "csv")
    assert "options: {header: true}" in refusal(place, path=path, format="csv")


def test_columns_of_a_csv_file_go_by_its_header(place: Place) -> None:
    """Spark's own default gives a schema's names to columns by their places, whatever the header says."""
    path = write(place, "csv")
    source = {"path": path, "format": "csv", "options": {"header": True}}
    swapped = {**source, "schema": "id BIGINT, n BIGINT, x DOUBLE, note STRING"}
    with pytest.raises(RunError, match="Spark failed"):
        run(place, **swapped)
    assert not Path(place.output).exists()


def test_a_value_that_does_not_fit_its_type_stops_the_run(place: Place) -> None:
    """Spark's own default makes nulls of the whole row."""
    path = place.folder / "rows.csv"
    path.write_text("id,x,n,note\n1,1.0,2,a\n2,secret-value,2,b\n")
    source = {"path": str(path), "format": "csv", "options": {"header": True}}
    with pytest.raises(RunError) as raised:
        run(place, **source, schema="id BIGINT, x DOUBLE, n BIGINT, note STRING")
    assert "secret-value" not in str(raised.value)
    assert "source.schema" in str(raised.value)
    assert not Path(place.output).exists()
    report = run(place, **source)  # as texts, they are cast by the plan: the row is a bad one
    assert (report.rows_in, report.bad_rows) == (2, 1)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ({"table": "a", "format": "csv"}, "format, schema and options go with a path"),
        ({"path": "a", "options": {"header": True}}, "schema and options go with a format"),
        ({"path": "a", "format": "csv", "version": 3}, "version and timestamp are of Delta tables"),
        ({"path": "a", "table": "b", "format": "csv"}, "it has both table and path"),
        ({"path": "a", "format": "csv", "shema": "x INT"}, "did you mean schema?"),
    ],
)
def test_settings_that_do_not_go_together(place: Place, source: dict[str, Any], cause: str) -> None:
    with pytest.raises(RequestError, match=r"(?s).*") as raised:
        job(place, **source)
    assert cause in str(raised.value)


def test_a_version_of_what_has_none(tables: Place) -> None:
    tables.spark.sql("CREATE VIEW others.v AS SELECT 1 AS id")
    assert "it is a view and not a Delta table, so it has no versions" in refusal(tables, table="others.v", version=1)


def test_dropped_rows_are_refused(place: Place) -> None:
    path = write(place, "csv")
    assert "leaves rows out" in refusal(place, path=path, format="csv", options={"mode": "dropMalformed"})


@pytest.mark.parametrize("setting", in_short(1, ["ignoreMissingFiles", "ignoreCorruptFiles"]))
def test_a_session_that_passes_over_files_is_refused(place: Place, setting: str) -> None:
    """A Delta table whose files are gone would lose their rows without a word."""
    place.spark.conf.set(f"spark.sql.files.{setting}", "true")
    try:
        assert "rows would be lost" in refusal(place, path=place.source)
    finally:
        place.spark.conf.unset(f"spark.sql.files.{setting}")
    assert place.run().rows_in == ROWS


def test_only_delta_is_incremental(tables: Place) -> None:
    sql(tables, "CREATE VIEW others.v AS SELECT * FROM delta.`{source}`")
    with pytest.raises(RequestError, match="reads what is new in a Delta table"):
        plan_job(job(tables, table="others.v").model_copy(update={"incremental": True}), tables.spark)


def test_the_file_of_a_job_comes_back_as_it_was(place: Place, tmp_path: Path) -> None:
    written = job(place, path="a", format="csv", schema="x INT", options={"header": True, "sep": ";"})
    (tmp_path / "job.yml").write_text(written.to_yaml())
    assert "schema: x INT" in written.to_yaml()
    assert type(written).from_yaml(tmp_path / "job.yml") == written


def test_a_file_given_as_a_name_is_told_how_files_are_read(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("id,x,n,note\n1,1.0,1,a\n")
    with pytest.raises(RequestError) as raised:
        plan_job(job(place, table="rows.csv"))
    assert "there is a file of this name" in str(raised.value)
    found = re.search(r"source: \{path: (\S+), format: (\w+), options: \{header: true\}\}", str(raised.value))
    assert found is not None
    given = {"path": str(tmp_path / found[1]), "format": found[2], "options": {"header": True}}
    assert plan_job(job(place, **given)).source.frame.columns == ["id", "x", "n", "note"]
