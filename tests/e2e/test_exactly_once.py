"""A run that is repeated does nothing, unless its rows are gone; whatever others did to the table meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import ScoringJob, plan_job, run_job
from spark_scoring.delta.ledger import read_commits
from spark_scoring.delta.names import resolve
from spark_scoring.delta.once import Standing, Written, standing, write_once
from spark_scoring.delta.sink import Rows
from spark_scoring.delta.target import Target, Writing, inspect_target
from spark_scoring.errors import RequestError, RunError
from tests.models import line_rows
from tests.place import BAD, ROWS, Place

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


def test_a_repeated_run_scores_nothing_and_gives_the_same_report(place: Place) -> None:
    first = place.run()
    again = place.run(stage="map")  # the stage does not change the rows
    assert not first.skipped
    assert again == replace(first, skipped=True, seconds=0.0)
    assert (again.rows_in, again.rows_out, again.bad_rows) == (ROWS, ROWS, len(BAD))
    assert (place.ids(), place.versions()) == (list(range(ROWS)), 1)


def test_another_job_source_version_or_plan_is_another_run(place: Place) -> None:
    place.run()
    assert not place.run(name="another").skipped
    assert not place.run(columns={"x": "x + 1"}).skipped
    line_rows(place.spark, range(ROWS, ROWS + 2)).write.format("delta").mode("append").save(place.source)
    assert place.run().rows_out == ROWS + 2
    assert place.run(source={"version": 0}).skipped


def test_force_scores_again(place: Place) -> None:
    place.run()
    assert not place.run(force=True).skipped
    assert place.ids() == sorted(2 * list(range(ROWS)))
    assert place.run().skipped


def test_a_run_whose_rows_are_gone_is_made_again(place: Place) -> None:
    place.run(source={"where": "id < 2"})
    place.run(source={"where": "id >= 2"})
    place.sql("RESTORE TABLE {out} TO VERSION AS OF 0")
    assert not place.run(source={"where": "id >= 2"}).skipped
    assert place.ids() == list(range(ROWS))
    assert place.run(source={"where": "id >= 2"}).skipped


@pytest.mark.long
def test_of_a_run_whose_rows_are_gone_in_part_the_rest_is_replaced(place: Place) -> None:
    place.run()
    place.sql("DELETE FROM {out} WHERE id < 5")
    again = place.run()
    assert (again.skipped, again.rows_out) == (False, ROWS)
    assert place.ids() == list(range(ROWS))


def test_what_leaves_the_rows_there_does_not_matter(place: Place) -> None:
    first = place.run()
    place.run(source={"where": "id < 2"}, name="another")
    place.sql("ALTER TABLE {out} SET TBLPROPERTIES ('a' = 'b')")
    place.sql("OPTIMIZE {out}")
    place.sql("UPDATE {out} SET model_name = NULL WHERE id < 2 AND run_id <> '{run}'".replace("{run}", first.run_id))
    place.sql("DELETE FROM {out} WHERE model_name IS NULL")
    place.sql("UPDATE {out} SET note = 'seen' WHERE id = 1")
    again = place.run()
    assert (again.skipped, again.run_id) == (True, first.run_id)


@pytest.mark.long
def test_an_overwrite_is_made_again_after_another_one(place: Place) -> None:
    over = {"mode": "overwrite"}
    few = {"where": "id < 4"}
    place.run(over)
    assert place.run(over).skipped
    place.run(over, source=few)
    assert not place.run(over).skipped
    assert place.ids() == list(range(ROWS))
    empty = {"where": "id < 0"}
    place.run(over, source=empty)
    place.run(over)
    assert not place.run(over, source=empty).skipped
    assert place.ids() == []


def test_replace_where_replaces_its_part_once(place: Place) -> None:
    part = {"mode": "overwrite", "replace_where": "id < 4"}
    place.run({"mode": "overwrite"})
    first = place.run(part, source={"where": "id < 4"})
    assert (first.rows_out, place.ids()) == (4, list(range(ROWS)))
    assert place.run(part, source={"where": "id < 4"}).skipped
    with pytest.raises(RunError, match="the run has rows that its replace_where does not cover; nothing was committed"):
        place.run(part, source={"where": "id < 5"})
    with pytest.raises(RequestError, match=r"output\.replace_where: 'idd < 4' does not fit the output"):
        plan_job(place.job({"mode": "overwrite", "replace_where": "idd < 4"}))


def test_replace_where_guards_a_table_that_is_new(place: Place) -> None:
    part = {"mode": "overwrite", "replace_where": "id < 4"}
    with pytest.raises(RunError, match="the run has rows that its replace_where does not cover; nothing was committed"):
        place.run(part)
    assert place.run(part, source={"where": "id < 4"}).rows_out == 4


def test_a_run_of_today_is_another_one_tomorrow(place: Place) -> None:
    today = {"where": "id < 2 AND date_add(current_date(), CAST(id AS INT)) > DATE '2020-01-01'"}
    runs = []
    try:
        for zone in ("UTC+14", "UTC-12", "UTC+14"):  # 26 hours lie between: never the same day
            place.spark.conf.set("spark.sql.session.timeZone", zone)
            runs.append(place.run(source=today))
    finally:
        place.spark.conf.unset("spark.sql.session.timeZone")
    assert [run.skipped for run in runs] == [False, False, True]
    assert runs[0].run_id == runs[2].run_id


def test_what_depends_on_the_moment_is_never_the_same_run(place: Place) -> None:
    moment = {"where": "unix_seconds(now()) > id"}
    plan = plan_job(place.job(source=moment))
    note = "a run counts as another one where other values of these change what it writes: now"
    assert note in " ".join(plan.explain().split())
    assert not run_job(plan).skipped
    assert not run_job(plan).skipped


def test_a_mark_that_outlives_the_history_is_not_trusted(place: Place) -> None:
    """The log of commits was cleaned up, the mark in the table's checkpoint stays."""
    place.run()
    rows = place.spark.read.format("delta").load(place.output)
    facts = read_commits(place.spark, resolve(place.spark, path=place.output))[0].facts
    assert facts is not None
    for mode in ("append", "overwrite"):
        mark = {"txnAppId": f"forgotten {mode}", "txnVersion": "7"}
        rows.limit(1).write.format("delta").mode("append").options(**mark).save(place.output)

    def write(mode: Any) -> Written:
        target = inspect_target(place.spark, Writing(mode), table=None, path=place.output)
        again = replace(facts, run_id=mode, idempotency_key=f"forgotten {mode}", mode=mode)

        def look(target: Target, whole_history: bool) -> Standing:  # noqa: FBT001
            return standing(place.spark, target, again, whole_history=whole_history)

        return write_once(Rows(rows.limit(5)), target, again, Standing(), refresh=lambda: target, look=look)

    with pytest.raises(RunError, match="an equal run was committed before the table's history begins"):
        write("append")
    assert (write("overwrite").is_earlier, len(place.ids())) == (False, 5)


@pytest.mark.short
def test_a_catalogs_own_table_is_written_once_too(
    spark: SparkSession, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Databricks, where only the catalog knows where a table lies."""
    line_rows(spark, range(ROWS), BAD).write.format("delta").save(str(tmp_path / "in"))
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    spark.sql("CREATE SCHEMA IF NOT EXISTS once")
    fields: dict[str, Any] = {"model": line, "source": {"path": str(tmp_path / "in")}}
    for mode in ("append", "overwrite"):
        output = {"table": f"once.{mode}", "mode": mode}
        job = ScoringJob.from_dict({**fields, "output": output})
        assert plan_job(job).target.path is None
        runs = [run_job(job) for _ in range(2)]
        assert [run.skipped for run in runs] == [False, True]
        run_job(ScoringJob.from_dict({**fields, "output": output, "name": "another"}))
        assert spark.table(f"once.{mode}").count() == {"append": 2 * ROWS, "overwrite": ROWS}[mode]
