"""Two runs are the same one exactly where their expressions mean the same, by what Spark says of them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring import plan_job, run_job
from spark_scoring.delta.ledger import read_commits
from spark_scoring.delta.names import resolve
from tests import needs
from tests.models import line_rows, save_line
from tests.needs import in_short
from tests.place import ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

    from spark_scoring import RunReport

OVER = {"mode": "overwrite"}
ALL = list(range(ROWS))


@pytest.fixture(scope="module")
def names(spark: SparkSession) -> Iterator[SparkSession]:
    """A session with a schema of tables, functions and variables of the tests' own."""
    spark.sql("CREATE SCHEMA IF NOT EXISTS ident")
    if needs.IS_SPARK_4:
        spark.sql("DECLARE OR REPLACE VARIABLE lim INT DEFAULT 2")
    spark.udf.register("ident_py", lambda x: x, "double")
    yield spark
    if needs.IS_SPARK_4:
        spark.sql("DROP TEMPORARY VARIABLE IF EXISTS lim")
    spark.sql("DROP SCHEMA ident CASCADE")


@pytest.fixture
def here(names: SparkSession, line: str, tmp_path: Path) -> Place:
    """A place, whose model is not rehearsed."""
    return Place(names, line, tmp_path, (), rehearse=False)


@pytest.fixture(scope="module")
def planned(names: SparkSession, line: str, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place of plans, which change nothing, and of views and functions that they use. Its output is there."""
    table(names, "ident.base", [0, 1])
    names.sql("CREATE VIEW ident.v AS SELECT * FROM ident.base")
    names.range(2).createOrReplaceTempView("ident_temp")
    names.sql("CREATE TABLE ident.files USING parquet AS SELECT 1L AS id")
    if needs.IS_SPARK_4:
        names.sql("CREATE FUNCTION ident.reads(i BIGINT) RETURNS BOOLEAN RETURN i IN (SELECT id FROM ident.base)")
        names.sql("CREATE FUNCTION ident.chance(b DOUBLE) RETURNS DOUBLE RETURN b + rand(42)")
        names.sql("CREATE TEMPORARY FUNCTION ident_variable(i BIGINT) RETURNS BOOLEAN RETURN i < lim")
        names.sql("CREATE TEMPORARY FUNCTION ident_outer(b DOUBLE) RETURNS DOUBLE RETURN ident_py(b) + 1")
    place = Place(names, line, tmp_path_factory.mktemp("planned"), (), rehearse=False)
    place.run(OVER)
    return place


def table(spark: SparkSession, name: str, ids: list[int]) -> None:
    """The table with these ids and no others."""
    values = ", ".join(f"({i}L)" for i in ids)
    make = "INSERT OVERWRITE {}" if spark.catalog.tableExists(name) else "CREATE TABLE {} USING delta AS"
    spark.sql(f"{make.format(name)} SELECT * FROM VALUES {values} AS v(id)")  # noqa: S608


def where(place: Place, condition: str, **fields: Any) -> RunReport:
    return place.run(OVER, source={"where": condition}, **fields)


def noted(place: Place, condition: str, **fields: Any) -> list[str]:
    """What the plan says of the runs' identity."""
    plan = plan_job(place.job(OVER, source={"where": condition}, **fields), place.spark)
    notes = [note for note in plan.to_dict()["plan"]["notes"] if "another one" in note]
    shown = " ".join(plan.explain().split())
    assert all(note[:60] in shown and note[:60] in " ".join(plan.to_html().split()) for note in notes)
    return notes


@pytest.mark.short
def test_a_table_in_a_subquery_is_pinned_and_counts(here: Place) -> None:
    table(here.spark, "ident.act", [0, 1])
    condition = "id IN (SELECT a.id FROM ident.act a /* the active ones */) -- and no others"
    plan = plan_job(here.job(OVER, source={"where": condition}), here.spark)
    assert plan.to_dict()["reads"] == [{"table": "ident.act", "version": 0}]
    assert "ident.act at version 0" in plan.explain()
    assert not noted(here, condition)
    here.spark.sql("INSERT INTO ident.act VALUES (2), (3)")
    run_job(plan, here.spark)
    assert here.ids() == [0, 1]  # as it was when the run was planned
    facts = read_commits(here.spark, resolve(here.spark, path=here.output))[0].facts
    assert facts is not None
    detail = here.spark.sql("DESCRIBE DETAIL ident.act").collect()[0]
    assert facts.read_tables == {"ident.act": {"id": detail["id"], "version": 0}}
    assert not where(here, condition).skipped
    assert here.ids() == [0, 1, 2, 3]
    assert where(here, condition).skipped
    here.spark.sql("DROP TABLE ident.act")
    for _ in range(2):
        table(here.spark, "ident.act", [7])  # another table at the same version
    assert not where(here, condition).skipped
    assert here.ids() == [7]


@pytest.mark.long
def test_tables_by_path_in_columns_and_with_names_of_queries(here: Place, tmp_path: Path) -> None:
    path = f"{tmp_path}/a b"
    here.spark.range(1).write.format("delta").save(path)
    table(here.spark, "ident.`odd`", [1, 2, 3])
    condition = (
        "id IN (WITH q AS (SELECT id FROM ident.`odd`) SELECT q.id FROM q LEFT ANTI JOIN delta.`@` p"
        " ON q.id = p.id) AND note <> 'FROM ident.act'"
    ).replace("@", path)
    columns = {"x": "x + (SELECT count(*) FROM delta.`@`)".replace("@", path)}
    runs = [where(here, condition, columns=columns) for _ in range(2)]
    assert [run.skipped for run in runs] == [False, True]
    assert here.ids() == [1, 2, 3]
    first = predictions(here)
    here.spark.range(10, 12).write.format("delta").mode("append").save(path)
    assert not where(here, condition, columns=columns).skipped
    assert predictions(here) != first
    assert where(here, condition, columns=columns).skipped


def predictions(place: Place) -> list[float]:
    rows = place.spark.read.format("delta").load(place.output).select("prediction").collect()
    return sorted(row[0] for row in rows)


def test_a_version_that_is_asked_for_stays(here: Place) -> None:
    table(here.spark, "ident.fixed", [0, 1])
    table(here.spark, "ident.fixed", [0, 1, 2, 3])
    condition = "id IN (SELECT id FROM ident.fixed VERSION AS OF 0)"
    assert not where(here, condition).skipped
    here.spark.sql("INSERT INTO ident.fixed VALUES (9)")
    assert where(here, condition).skipped
    assert here.ids() == [0, 1]


def made_of_sql(condition: str, cause: str) -> Any:
    return pytest.param(condition, cause, marks=needs.sql_functions)


@pytest.mark.parametrize(
    ("condition", "cause"),
    [
        ("id IN (SELECT id FROM ident.v)", "where reads ident.v, which is a view and not a Delta table"),
        ("id IN (SELECT id FROM ident_temp)", "where reads ident_temp, which is a view and not a Delta table"),
        ("id IN (SELECT id FROM ident.files)", "where reads ident.files, which is a parquet and not a Delta table"),
        ("id IN (SELECT id FROM ident.base TIMESTAMP AS OF '{at}')", "where reads ident.base at a time"),
        ("id IN (SELECT id FROM {out})", "where reads the output itself"),
        ("id IN (SELECT id FROM IDENTIFIER('ident.base'))", "where reads IDENTIFIER, which is not plainly a table"),
        ("id IN (TABLE ident.base)", "where may read tables: its SQL cannot be parsed"),
        ("id IN (SELECT id FROM ident.base LIMIT 2)", "some rows of a table, and not always the same"),
        ("id IN (SELECT id FROM VALUES (1L), (2L) AS v(id))", "function v is not known"),
        made_of_sql("ident.reads(id)", "function ident.reads reads tables"),
        made_of_sql("ident_variable(id)", "function ident_variable reads variables or views of the session"),
        ("rand(42) >= 0", "where depends on chance or on how rows are divided"),
        made_of_sql("ident.chance(x) >= 0", "where depends on chance"),
        ("uuid() <> note", "where depends on chance"),
        ("input_file_name() <> 'a'", "where depends on chance"),
        ("spark_partition_id() >= 0", "where depends on chance"),
        ("ident_py(x) >= -1", "function ident_py is not made of SQL, so that what it does is not known"),
        made_of_sql("ident_outer(x) >= -1", "function ident_py is not made of SQL"),
    ],
)
def test_what_cannot_be_told_makes_every_run_another_one(planned: Place, condition: str, cause: str) -> None:
    at = (
        planned.spark.sql("DESCRIBE HISTORY ident.base LIMIT 1").selectExpr("CAST(timestamp AS STRING)").collect()[0][0]
    )
    notes = noted(planned, condition.replace("{at}", at).replace("{out}", f"delta.`{planned.output}`"))
    assert len(notes) == 1
    assert notes[0].startswith("every run counts as another one: ")
    assert cause in notes[0]


@pytest.mark.long
def test_views_and_the_output_itself_are_read_anew(here: Place) -> None:
    table(here.spark, "ident.seen", [0, 1])
    here.spark.sql("CREATE OR REPLACE VIEW ident.seen_view AS SELECT * FROM ident.seen")
    condition = "id IN (SELECT id FROM ident.seen_view)"
    assert not where(here, condition).skipped
    here.spark.sql("INSERT INTO ident.seen VALUES (2)")
    assert not where(here, condition).skipped
    assert here.ids() == [0, 1, 2]
    new = {"where": "id NOT IN (SELECT id FROM delta.`@`)".replace("@", here.output)}
    assert here.run(source=new).rows_out == ROWS - 3
    here.sql("DELETE FROM {out} WHERE id > 9")
    assert here.run(source=new).rows_out == 2
    assert here.ids() == ALL
    assert not here.run(source=new).skipped


@needs.session_variables
def test_a_session_variable_counts_by_its_value(here: Place) -> None:
    condition = "id < lim"
    here.spark.sql("SET VAR lim = 2")
    notes = noted(here, condition)
    assert notes == [
        "a run counts as another one where other values of these change what it writes: session variable lim"
    ]
    plan = plan_job(here.job(OVER, source={"where": condition}), here.spark)
    here.spark.sql("SET VAR lim = 3")
    run_job(plan, here.spark)
    assert here.ids() == [0, 1, 2]  # its value when the run was made
    assert where(here, condition).skipped
    here.spark.sql("SET VAR lim = 5")
    assert not where(here, condition).skipped
    assert here.ids() == [0, 1, 2, 3, 4]
    here.spark.sql("SET VAR lim = 3")
    assert not where(here, condition).skipped  # an overwrite has taken its rows away
    assert where(here, condition).skipped


@needs.session_variables
def test_texts_that_look_like_ids_of_a_plan_are_told_apart(here: Place) -> None:
    here.spark.sql("DECLARE OR REPLACE VARIABLE word STRING DEFAULT 'a#13'")
    assert not where(here, "note <> word").skipped
    here.spark.sql("SET VAR word = 'a#14'")
    assert not where(here, "note <> word").skipped
    assert where(here, "note <> word").skipped


@needs.sql_functions
def test_sql_functions_count_by_what_they_do(here: Place) -> None:
    make = "CREATE OR REPLACE TEMPORARY FUNCTION ident_low(i BIGINT) RETURNS BOOLEAN RETURN i < {}"
    here.spark.sql(make.format(2))
    assert not where(here, "ident_low(id)").skipped
    here.spark.sql(make.format("1 + 1"))
    assert not where(here, "ident_low(id)").skipped
    here.spark.sql(make.format(3))
    assert not where(here, "ident_low(id)").skipped
    assert here.ids() == [0, 1, 2]
    assert where(here, "ident_low(id)").skipped
    make = "CREATE OR REPLACE TEMPORARY FUNCTION ident_age(b TIMESTAMP) RETURNS BIGINT RETURN {}"
    here.spark.sql(make.format("unix_micros(current_timestamp()) - unix_micros(b)"))
    old = "ident_age(TIMESTAMP '2020-01-01 00:00:00') + id > 0"
    assert "current_timestamp (in function ident_age)" in noted(here, old)[0]
    assert not where(here, old).skipped
    assert not where(here, old).skipped


ORDINARY = [
    ["upper(note) LIKE '%'", "hour(TIMESTAMP '2026-01-01 05:00:00') = 5", "CASE WHEN x > 3 THEN id ELSE 0 END < 4"],
    [
        "date_add(current_date(), CAST(id AS INT)) > DATE '2020-01-01'",
        "current_user() <> note",
        "exists(array(1, 2), q -> q < id)",
        "date_trunc('YEAR', now()) > TIMESTAMP '2020-01-01 00:00:00' + make_dt_interval(CAST(id AS INT))",
    ],
    [
        "id >= (SELECT max(id) FROM ident.kept) - 3",
        "EXISTS (SELECT 1 FROM ident.kept k WHERE k.id = 3)",
        "id >= (SELECT id FROM ident.kept ORDER BY id DESC LIMIT 1) - 3",
    ],
]


@pytest.mark.parametrize(
    "conditions", in_short(1, [[c for some in ORDINARY for c in some], *ORDINARY]), ids=["all", "0", "1", "2"]
)
def test_ordinary_expressions_are_the_same_in_the_next_run(here: Place, conditions: list[str]) -> None:
    condition = " AND ".join(conditions)
    if "ident.kept" in condition and not here.spark.catalog.tableExists("ident.kept"):
        table(here.spark, "ident.kept", [1, 2, 3])
    columns = {"x": "CAST(CASE WHEN x IS NULL THEN 0 ELSE x * 2 + id END AS DOUBLE)"}
    runs = [where(here, condition, columns=columns) for _ in range(2)]
    assert [run.skipped for run in runs] == [False, True]
    assert here.ids()


@pytest.mark.long
def test_the_moment_in_columns_and_what_is_replaced(here: Place) -> None:
    columns = {"x": "x + unix_seconds(now())"}
    notes = noted(here, "id < 3", columns=columns)
    assert notes == ["a run counts as another one where other values of these change what it writes: now"]
    part = {"mode": "overwrite", "replace_where": "id < 4 AND current_date() > DATE '2020-01-01'"}
    runs = [here.run(part, source={"where": "id < 4"}) for _ in range(2)]
    assert [run.skipped for run in runs] == [False, True]
    changing = {"mode": "overwrite", "replace_where": "id < 4 AND unix_seconds(now()) > id"}
    runs = [here.run(changing, source={"where": "id < 4"}) for _ in range(2)]
    assert [run.skipped for run in runs] == [False, False]


def test_plain_jobs_ask_spark_nothing(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("spark_scoring.run.identity.ask", fail)
    for fields in ({}, {"source": {"where": "id < 3 AND x IS NOT NULL"}}, {"columns": {"x": "x * 2 + id"}}):
        assert plan_job(here.job(**fields), here.spark).identity.question.is_any is False


def test_maintenance_of_the_source_makes_no_other_run(here: Place) -> None:
    assert not here.run().skipped
    here.spark.sql(f"OPTIMIZE delta.`{here.source}`")
    here.spark.sql(f"ALTER TABLE delta.`{here.source}` SET TBLPROPERTIES ('k' = 'v')")
    assert here.run().skipped
    assert here.run(source={"version": 0}).skipped, "it reads as the newest one does"
    line_rows(here.spark, range(90, 92)).write.format("delta").mode("append").save(here.source)
    here.spark.sql(f"ALTER TABLE delta.`{here.source}` SET TBLPROPERTIES ('k' = 'w')")
    assert not here.run().skipped
    assert here.run().skipped


def test_settings_count_where_plain_expressions_go_by_them(here: Place) -> None:
    """Columns and operators alone: Spark is not asked, and implies casts that go by the session's zone and rules."""
    here.spark.sql(
        f"CREATE TABLE delta.`{here.source}_times` USING delta AS SELECT id, x, n, note, CAST(n AS int) i, "  # noqa: S608
        f"timestamp_seconds(1735689600 + (id - 2) * 3600) ts, DATE '2025-01-01' d FROM delta.`{here.source}`"
    )
    source = f"{here.source}_times"
    jobs: list[dict[str, Any]] = [
        {"source": {"path": source, "where": "ts >= d"}},
        {"source": {"path": source}, "columns": {"n": "i + i"}},
        {"source": {"path": source, "where": "x >= -1 AND id < 4"}, "columns": {"n": "i"}},
    ]
    outputs = [{"path": f"{here.output}{i}", "mode": "overwrite"} for i, _ in enumerate(jobs)]
    skipped = {}
    try:
        for zone, ansi in (("UTC", "true"), ("America/New_York", "true"), ("America/New_York", "false")):
            here.spark.conf.set("spark.sql.session.timeZone", zone)
            here.spark.conf.set("spark.sql.ansi.enabled", ansi)
            skipped[zone, ansi] = [here.run(o, **job).skipped for o, job in zip(outputs, jobs, strict=True)]
            of_zone = here.spark.read.format("delta").load(outputs[0]["path"]).count()
            assert of_zone == here.spark.read.format("delta").load(source).where("ts >= d").count()
    finally:
        for name in ("spark.sql.session.timeZone", "spark.sql.ansi.enabled"):
            here.spark.conf.unset(name)
    assert list(skipped.values()) == [[False] * 3, [False, True, True], [False, False, True]]


@pytest.mark.long
def test_an_incremental_job_reads_its_tables_as_they_are_now(here: Place) -> None:
    table(here.spark, "ident.wanted", ALL)
    job = {"source": {"where": "id IN (SELECT id FROM ident.wanted)"}, "incremental": True}
    assert here.run(**job).rows_out == ROWS
    table(here.spark, "ident.wanted", [20])
    here.spark.read.format("delta").load(here.source).where("id < 2").withColumn("id", F.col("id") + 20).write.format(
        "delta"
    ).mode("append").save(here.source)
    assert here.run(**job).rows_out == 1
    commit = read_commits(here.spark, resolve(here.spark, path=here.output))[0]
    assert commit.facts is not None
    assert commit.facts.read_tables["ident.wanted"]["version"] == 1
    assert json.loads(commit.facts.to_json())["spark_scoring"]["read_tables"]


@dataclass(frozen=True)
class World:
    """All that a run of the pairs below may depend on."""

    rows: int = 4
    wanted: tuple[int, ...] = (0, 1, 2)
    limit: int = 3
    times: int = 2
    slope: float = 2.0
    touched: bool = False

    def changed(self, draw: random.Random) -> World:
        """Each part changed or not."""
        return World(
            rows=self.rows + draw.choice((0, 0, 2)),
            wanted=tuple(range(draw.choice((0, 1)), draw.randint(3, 5))) if draw.random() < 0.3 else self.wanted,
            limit=draw.choice((self.limit, self.limit, draw.randint(2, 5))),
            times=draw.choice((self.times, self.times, draw.randint(2, 4))),
            slope=draw.choice((2.0, 2.0, 3.0)),
            touched=draw.random() < 0.2,
        )


USES = {
    "wanted": "id IN (SELECT id FROM ident.pairs)",
    "limit": "id < lim",
    "times": "ident_times(x) < 7",
    "day": "current_date() > DATE '2020-01-01'",
}


def set_up(place: Place, before: World | None, now: World) -> None:
    """Make what is not so yet."""
    spark = place.spark
    if before is None or now.wanted != before.wanted:
        table(spark, "ident.pairs", list(now.wanted))
    if before is not None and now.rows != before.rows:
        line_rows(spark, range(before.rows, now.rows)).write.format("delta").mode("append").save(place.source)
    if needs.IS_SPARK_4:
        spark.sql(f"SET VAR lim = {now.limit}")
        spark.sql(
            "CREATE OR REPLACE TEMPORARY FUNCTION ident_times(v DOUBLE) RETURNS DOUBLE"
            f" RETURN v * {now.times} / {now.times} + {now.times} - 2"
        )
    if before is not None and now.touched:
        place.sql("DELETE FROM {out} WHERE id = @".replace("@", str(max(place.ids(), default=-1))))


def rows_of(world: World, uses: set[str], *, in_column: bool) -> dict[int, float]:
    """The predictions that a run must write."""
    times = {i: float(i + world.times - 2) for i in range(world.rows)}
    ids = [
        i
        for i in range(world.rows)
        if ("wanted" not in uses or i in world.wanted)
        and ("limit" not in uses or i < world.limit)
        and ("times" not in uses or times[i] < 7)
    ]
    return {i: world.slope * (times[i] if in_column else i) + i % 3 for i in ids}


def test_pairs_of_runs_are_the_same_where_nothing_that_they_use_has_changed(
    names: SparkSession, line: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As many as ``--pairs`` says. A table counts by its version, also where new rows of it would not matter."""
    seed, pairs = (request.config.getoption(name) for name in ("--seed", "--pairs"))
    hold_pairs(names, line, tmp_path, seed, pairs)


@pytest.mark.long
def test_more_pairs_of_runs_are_the_same(names: SparkSession, line: str, tmp_path: Path) -> None:
    hold_pairs(names, line, tmp_path, seed=2, pairs=12)


def hold_pairs(names: SparkSession, line: str, tmp_path: Path, seed: int, pairs: int) -> None:
    """Spark 3.5 has no variables, and no functions made of SQL: its pairs use neither."""
    draw = random.Random(seed)  # noqa: S311
    models = {2.0: line, 3.0: save_line(str(tmp_path / "steeper"), 3.0)}
    for number in range(pairs):
        place = Place(names, line, tmp_path / str(number), (), rehearse=False)
        line_rows(names, range(4)).write.format("delta").mode("overwrite").save(place.source)
        uses = {use for use in USES if draw.random() < 0.5} - (set() if needs.IS_SPARK_4 else {"limit", "times"})
        in_column = draw.random() < 0.5 and needs.IS_SPARK_4
        fields: dict[str, Any] = {"columns": {"x": "ident_times(x)"}} if in_column else {}
        if uses:
            fields["source"] = {"where": " AND ".join(USES[use] for use in sorted(uses))}
        first = World()
        second = first if draw.random() < 0.3 else first.changed(draw)
        set_up(place, None, first)
        place.run(OVER, **fields)
        set_up(place, first, second)
        place.model = models[second.slope]
        report = place.run(OVER, **fields)
        used = {"rows", "slope", *uses, *(["times"] if in_column else [])} - {"day"}
        unchanged = all(getattr(first, name) == getattr(second, name) for name in used)
        context = (number, uses, in_column, first, second)
        damaged = second.touched and bool(rows_of(first, uses, in_column=in_column))
        assert report.skipped == (unchanged and not damaged), context
        found = place.spark.read.format("delta").load(place.output).collect()
        expected = rows_of(second, uses, in_column=in_column)
        assert {row["id"]: round(row["prediction"], 6) for row in found} == expected, context
