"""A source, or an output, that is not the one of last time: nothing is lost, doubled or half written."""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import plan_job, roll_back, run_job
from spark_scoring.errors import RequestError, RunError
from tests import needs
from tests.models import line_rows
from tests.needs import in_short
from tests.place import BAD, ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pyspark.sql import SparkSession

    from spark_scoring import RunReport

MERGE = {"mode": "merge", "key": ["id"]}
FOLLOW = {"changes": "follow"}
IGNORE = {"changes": "ignore"}
FEED = "ALTER TABLE {source} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)"
UPSERT = """MERGE INTO {source} AS t USING (SELECT id, 1000D AS x, 1L AS n, 'new' AS note FROM range(11, 14)) AS s
    ON t.id = s.id WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"""
"""Updates the row 11, inserts 12 and 13."""
OLD = list(range(ROWS))


@pytest.fixture
def clean(spark: SparkSession, line: str, tmp_path: Path) -> Place:
    """A place without bad rows, whose plans are not rehearsed."""
    return Place(spark, line, tmp_path, (), rehearse=False)


def on_source(place: Place, *statements: str) -> None:
    for statement in statements:
        place.spark.sql(statement.format(source=f"delta.`{place.source}`"))


def write(place: Place, ids: range, bad: Collection[int] = (), mode: str = "append") -> None:
    line_rows(place.spark, ids, bad).coalesce(1).write.format("delta").mode(mode).save(place.source)


def make_anew(place: Place, ids: range, bad: Collection[int] = (), *, feed: bool = False) -> None:
    shutil.rmtree(place.source)
    write(place, ids, bad)
    if feed:
        on_source(place, FEED)


def predictions(place: Place) -> dict[int, int]:
    rows = place.spark.read.format("delta").load(place.output).collect()
    return {row["id"]: round(row["prediction"]) for row in rows}


def refusal(place: Place, output: dict[str, Any] | None = None, **fields: Any) -> str:
    """The text of the error that a run raises before it reads anything; nothing is committed to the output."""
    before = place.versions()
    with pytest.raises(RequestError) as raised:
        place.run(output, **fields)
    assert place.versions() == before
    return str(raised.value)


@pytest.mark.parametrize("name", in_short(1, [None, "job"]))
def test_a_source_that_was_dropped_and_made_again_is_refused_until_forced(clean: Place, name: str | None) -> None:
    clean.run(incremental=True, name=name)
    make_anew(clean, range(10, 15))
    text = refusal(clean, incremental=True, name=name)
    assert "it is not the table that this job has read so far" in text
    assert "all its rows would be added again" in text
    assert "force: true" in text
    assert clean.run(incremental=True, name=name, force=True).rows_in == 5
    assert clean.run(incremental=True, name=name).batches == 0
    assert clean.ids() == [10, 11, 12, 13, 14]


@pytest.mark.long
@needs.replaced_tables
def test_a_table_that_was_replaced_is_refused(clean: Place) -> None:
    clean.run(incremental=IGNORE)
    on_source(clean, "CREATE OR REPLACE TABLE {source} USING delta AS SELECT 50L AS id, 5D AS x, 1L AS n, '' AS note")
    assert "it is not the table that this job has read so far" in refusal(clean, incremental=IGNORE)
    clean.run(incremental=IGNORE, force=True)
    assert predictions(clean) == {50: 11}


@pytest.mark.long
def test_a_table_that_was_replaced_by_an_empty_one_is_refused(clean: Place) -> None:
    table = f"replaced_{uuid.uuid4().hex}"
    clean.spark.read.format("delta").load(clean.source).write.format("delta").saveAsTable(table)
    named = {"table": table, "path": None}
    clean.run(incremental=IGNORE, source=named)
    clean.sql(f"CREATE OR REPLACE TABLE {table} (id LONG, x DOUBLE, n LONG, note STRING) USING delta")
    line_rows(clean.spark, range(50, 51)).write.format("delta").mode("append").saveAsTable(table)
    assert "it is not the table that this job has read so far" in refusal(clean, incremental=IGNORE, source=named)
    clean.run(incremental=IGNORE, source=named, force=True)
    assert clean.ids() == [50]


@pytest.mark.long
def test_a_name_that_leads_to_another_table_is_refused(clean: Place) -> None:
    clean.run(incremental=True, name="job")
    other = f"{clean.source}_2"
    line_rows(clean.spark, range(30, 32)).write.format("delta").save(other)
    assert "the job now names another one" in refusal(clean, incremental=True, name="job", source={"path": other})
    clean.run(incremental=True, name="another", source={"path": other})
    assert clean.ids() == [*OLD, 30, 31]


@pytest.mark.long
def test_a_source_that_was_moved_is_the_same_one(clean: Place) -> None:
    clean.run(incremental=True)
    moved = f"{clean.source}_moved"
    shutil.move(clean.source, moved)
    assert clean.run(incremental=True, source={"path": moved}).batches == 0
    clean.source = moved
    write(clean, range(20, 22))
    assert clean.run(incremental=True).rows_in == 2
    assert clean.ids() == [*OLD, 20, 21]


@pytest.mark.long
def test_an_older_copy_in_the_place_of_the_source_is_refused(clean: Place) -> None:
    backup = f"{clean.source}_backup"
    shutil.copytree(clean.source, backup)
    for i in (20, 21):
        write(clean, range(i, i + 1))
    clean.run(incremental=True)
    shutil.rmtree(clean.source)
    shutil.move(backup, clean.source)
    assert "it is not the table that this job has read so far" in refusal(clean, incremental=True)


@pytest.mark.parametrize("changes", in_short(1, ["refuse", "ignore"]))
def test_a_source_that_was_overwritten_is_refused_until_forced(clean: Place, changes: str) -> None:
    increments = {"changes": changes}
    clean.run(incremental=increments)
    write(clean, range(10, 13), mode="overwrite")
    text = refusal(clean, incremental=increments)
    assert "its version 1 (WRITE) put rows in the place of others" in text
    clean.run(incremental=increments, force=True)
    assert clean.ids() == [10, 11, 12]


@pytest.mark.long
@pytest.mark.parametrize("feed", [False, True])
def test_rows_that_a_restore_brings_back_are_not_added_again(clean: Place, feed: bool) -> None:  # noqa: FBT001
    if feed:
        on_source(clean, FEED)
    clean.run(incremental=IGNORE)
    on_source(clean, "DELETE FROM {source} WHERE true")
    assert clean.run(incremental=IGNORE).batches == 0
    on_source(clean, f"RESTORE TABLE {{source}} TO VERSION AS OF {int(feed)}")
    assert "(RESTORE) put rows in the place of others" in refusal(clean, incremental=IGNORE)


@pytest.mark.long
def test_what_a_source_was_before_a_job_began_is_no_concern(clean: Place) -> None:
    line_rows(clean.spark, range(30, 34)).write.format("delta").mode("overwrite").save(clean.source)
    one_file = {"files_per_batch": 1}

    def die(_: RunReport) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        run_job(clean.job(incremental=one_file), clean.spark, on_batch=die)
    assert clean.run(incremental=one_file).batches == 2
    assert clean.ids() == [30, 31, 32, 33]


@pytest.mark.long
def test_a_partition_that_was_empty_is_not_replaced_by_an_overwrite(clean: Place) -> None:
    clean.run(incremental=True)
    rows = line_rows(clean.spark, range(20, 22))
    rows.write.format("delta").mode("overwrite").option("replaceWhere", "id >= 20").save(clean.source)
    assert clean.run(incremental=True).rows_in == 2


def test_a_merge_that_follows_is_reconciled_with_a_source_that_was_made_anew(
    spark: SparkSession, line: str, tmp_path: Path
) -> None:
    place = Place(spark, line, tmp_path, BAD, rehearse=False)
    on_source(place, FEED)
    place.run(MERGE, incremental=FOLLOW, bad_rows="quarantine", name="job")
    row = spark.read.format("delta").load(place.output).where("id = 4")
    another_jobs = row.selectExpr("50L AS id", "'another run' AS run_id", "* EXCEPT (id, run_id)")
    another_jobs.write.format("delta").mode("append").save(place.output)
    make_anew(place, range(2, 14), {2, 3}, feed=True)
    write(place, range(14, 15))
    again = plan_job(place.job(MERGE, incremental=FOLLOW, bad_rows="quarantine", name="job"), spark)
    assert "does not go on from its last checkpoint: everything is scored again" in again.explain()
    report = place.run(MERGE, incremental={**FOLLOW, "files_per_batch": 1}, bad_rows="quarantine", name="job")
    assert (report.rows_in, report.batches) == (13, 2)
    assert predictions(place) == {**{i: 2 * i + i % 3 for i in range(4, 15)}, 50: 9}
    assert place.ids("_quarantine") == [2, 3]
    assert place.run(MERGE, incremental=FOLLOW, bad_rows="quarantine", name="job").batches == 0


@pytest.mark.long
def test_a_merge_that_does_not_follow_is_refused_as_rows_that_are_gone_would_stay(clean: Place) -> None:
    clean.run(MERGE, incremental=True)
    make_anew(clean, range(10, 14), feed=True)
    text = refusal(clean, MERGE, incremental=True)
    assert "predictions of rows that are gone would stay" in text
    assert "changes: follow" in text
    clean.run(MERGE, incremental=FOLLOW)
    assert clean.ids() == [10, 11, 12, 13]


def test_ignoring_changes_never_loses_a_row_that_a_commit_inserts_beside_them(clean: Place) -> None:
    clean.run(incremental=IGNORE)
    on_source(clean, "UPDATE {source} SET x = 7 WHERE id = 1", "DELETE FROM {source} WHERE id = 2")
    assert clean.run(incremental=IGNORE).batches == 0
    on_source(clean, UPSERT)
    text = refusal(clean, incremental=IGNORE)
    assert "1 of its commits insert rows beside those that they update or delete (versions 3; 2 rows inserted)" in text
    fix = text[text.index("ALTER TABLE") : text.index(", then force: true")]
    clean.spark.sql(fix)
    assert "fix: force: true" in refusal(clean, incremental=IGNORE)
    clean.run(incremental=IGNORE, force=True)
    assert predictions(clean)[11] == 2001
    on_source(clean, UPSERT.replace("range(11, 14)", "range(13, 16)").replace("1000D", "9D"))
    assert clean.run(incremental=IGNORE).rows_in == 2
    after = predictions(clean)
    assert (after[13], after[14], after[15]) == (2001, 19, 19)
    assert clean.ids() == [0, 1, *range(3, 16)]


@pytest.mark.long
def test_what_a_job_in_progress_meets_is_refused_too(clean: Place) -> None:
    clean.run(incremental=IGNORE)
    plan = plan_job(clean.job(incremental=IGNORE), clean.spark)
    on_source(clean, UPSERT)
    with pytest.raises(RunError, match="2 rows inserted"):
        run_job(plan)
    assert "2 rows inserted" in refusal(clean, incremental=IGNORE)


@pytest.mark.long
def test_a_merge_may_ignore_changes_of_an_overwritten_source_by_its_feed(clean: Place) -> None:
    on_source(clean, FEED)
    clean.run(MERGE, incremental=IGNORE)
    on_source(clean, UPSERT, "DELETE FROM {source} WHERE id = 13")
    write(clean, range(13, 15), mode="overwrite")
    assert clean.run(MERGE, incremental=IGNORE).rows_in == 3
    after = predictions(clean)
    assert sorted(after) == list(range(15))
    assert {i: after[i] for i in (11, 12, 13)} == {11: 24, 12: 2001, 13: 27}


@pytest.mark.long
def test_changes_that_are_no_longer_ignored_stop_the_job(clean: Place) -> None:
    on_source(clean, FEED)
    clean.run(incremental=IGNORE)
    write(clean, range(20, 22))
    assert clean.run(incremental=True).rows_in == 2
    on_source(clean, "UPDATE {source} SET x = 7 WHERE id = 1")
    with pytest.raises(RunError, match="updated, deleted or overwritten in it, and changes: refuse stops"):
        clean.run(incremental=True)
    assert clean.run(incremental=IGNORE).rows_in == 0
    assert clean.ids() == [*OLD, 20, 21]


@pytest.mark.long
def test_a_job_that_no_longer_follows_adds_nothing_twice(clean: Place) -> None:
    on_source(clean, FEED)
    clean.run(MERGE, incremental=FOLLOW, name="job")
    write(clean, range(20, 22))
    assert clean.run(incremental=True, name="job").rows_in == 2
    assert clean.ids() == [*OLD, 20, 21]


@pytest.mark.parametrize("feed", in_short(1, [False, True]))
def test_a_renamed_column_is_refused_until_forced(clean: Place, feed: bool) -> None:  # noqa: FBT001
    if feed:
        on_source(clean, FEED)
    on_source(clean, "ALTER TABLE {source} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    output, increments = {"keep": ["id"]}, IGNORE if feed else True
    clean.run(output, incremental=increments)
    on_source(
        clean,
        "ALTER TABLE {source} ADD COLUMNS (y DOUBLE)",
        "UPDATE {source} SET y = 100" if feed else "INSERT INTO {source} VALUES (20, 1, 1, '', 100)",
        "ALTER TABLE {source} RENAME COLUMN x TO z",
        "ALTER TABLE {source} RENAME COLUMN y TO x",
    )
    text = refusal(clean, output, incremental=increments)
    assert "(RENAME COLUMN) altered columns in a way that a stream does not read over" in text
    on_source(clean, "UPDATE {source} SET x = 3 WHERE x IS NULL")
    clean.run(output, incremental=increments, force=True)
    assert predictions(clean)[1] == (201 if feed else 7)


@pytest.mark.long
def test_a_column_of_a_wider_type_is_read_right_or_refused(clean: Place) -> None:
    make_anew(clean, range(3))
    on_source(
        clean,
        "ALTER TABLE {source} SET TBLPROPERTIES ('delta.enableTypeWidening' = 'true')",
        "ALTER TABLE {source} ADD COLUMNS (k INT)",
        "UPDATE {source} SET k = 1",
    )
    kept, without = {"keep": ["id", "k"]}, {"path": f"{clean.output}_2", "keep": ["id"]}
    clean.run(kept, incremental=True)
    clean.run(without, incremental=True)
    on_source(clean, "ALTER TABLE {source} ALTER COLUMN k TYPE BIGINT", "INSERT INTO {source} VALUES (7, 7, 1, '', 1)")
    assert "k" in refusal(clean, kept, incremental=True)
    assert clean.run(without, incremental=True).rows_in == 1
    assert clean.ids("_2") == [0, 1, 2, 7]


def test_batches_that_an_output_has_lost_by_a_restore_are_missed(clean: Place) -> None:
    clean.run(incremental=True)
    write(clean, range(20, 22))
    clean.run(incremental=True)
    clean.sql("RESTORE TABLE {out} TO VERSION AS OF 1")
    assert clean.run(incremental=True).batches == 0  # nothing is missing
    moment = clean.spark.sql(f"DESCRIBE HISTORY delta.`{clean.output}`").where("version = 0").collect()[0]["timestamp"]
    clean.sql(f"RESTORE TABLE {{out}} TO TIMESTAMP AS OF '{moment}'")
    text = refusal(clean, incremental=True)
    assert "it no longer holds all that this job has written" in text
    assert "force: true" in text
    clean.run(incremental=True, force=True)
    assert clean.run(incremental=True).batches == 0
    assert clean.ids() == [*OLD, 20, 21]


@pytest.mark.long
def test_a_merge_makes_what_its_output_has_lost_by_a_restore_again(clean: Place) -> None:
    clean.run(MERGE, incremental=True)
    write(clean, range(20, 22))
    clean.run(MERGE, incremental=True)
    clean.sql("RESTORE TABLE {out} TO VERSION AS OF 0")
    clean.run(MERGE, incremental=True)
    assert clean.ids() == [*OLD, 20, 21]
    assert clean.run(MERGE, incremental=True).batches == 0


@pytest.mark.parametrize("made_again", in_short(1, [False, True]))
def test_an_output_that_was_dropped_is_made_again_though_its_checkpoint_is_elsewhere(
    clean: Place,
    made_again: bool,  # noqa: FBT001
) -> None:
    elsewhere = {"checkpoint": str(clean.folder / "checkpoints")}
    clean.run(incremental=elsewhere)
    schema = clean.spark.read.format("delta").load(clean.output).schema
    shutil.rmtree(clean.output)
    if made_again:
        clean.spark.createDataFrame([], schema).write.format("delta").save(clean.output)
    write(clean, range(20, 22))
    assert clean.run(incremental=elsewhere).rows_in == ROWS + 2
    assert clean.ids() == [*OLD, 20, 21]


@pytest.mark.long
def test_rows_that_were_taken_from_an_output_on_purpose_stay_away(clean: Place) -> None:
    for output in (None, {**MERGE, "path": f"{clean.output}_2"}):
        clean.run(output, incremental=True)
    write(clean, range(20, 22))
    for output, suffix in ((None, ""), ({**MERGE, "path": f"{clean.output}_2"}, "_2")):
        run = clean.run(output, incremental=True).run_id
        assert run is not None
        roll_back(clean.output + suffix, run, clean.spark)
        clean.sql(f"DELETE FROM delta.`{clean.output}{suffix}` WHERE id = 1")  # noqa: S608  of the test's own
        assert clean.run(output, incremental=True).batches == 0
        assert clean.ids(suffix) == [i for i in OLD if i != 1]
