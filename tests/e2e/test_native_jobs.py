"""Jobs whose model is scored by Spark's own expressions: their rows are counted before any is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import plan_job
from spark_scoring.errors import RunError
from tests.models import line_rows, save_line
from tests.place import BAD, GOOD, ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pyspark.sql import SparkSession


@pytest.fixture
def native(spark: SparkSession, tmp_path: Path) -> Place:
    """Some of its rows are bad."""
    return Place(spark, save_line(str(tmp_path / "model"), native=True), tmp_path, BAD)


def many(place: Place, bad: Collection[int]) -> None:
    """3,000 rows: a run of Python workers would not count them before it writes."""
    line_rows(place.spark, range(3_000), bad).write.format("delta").mode("overwrite").save(place.source)


def predictions(place: Place) -> dict[int, float | None]:
    rows = place.spark.read.format("delta").load(place.output).collect()
    return {row["id"]: row["prediction"] for row in rows}


@pytest.mark.short
def test_no_worker_takes_part_and_each_row_has_its_value(native: Place) -> None:
    plan = plan_job(native.job(), native.spark)
    assert "scored by Spark's own expressions: on " in plan.explain()
    assert plan.to_dict()["plan"]["engine"]["name"] == "native"
    report = native.run()
    assert (report.rows_in, report.rows_out, report.bad_rows) == (ROWS, ROWS, len(BAD))
    assert predictions(native) == pytest.approx({i: None if i in BAD else 2.0 * i + i % 3 for i in range(ROWS)})
    assert native.run().skipped
    assert not native.run(engine="python").skipped  # its numbers may differ in the last digits


def test_merge_quarantine_and_increments(native: Place) -> None:
    merge: dict[str, Any] = {"mode": "merge", "key": ["id"]}
    settings = {"bad_rows": "quarantine", "incremental": True}
    native.run(merge, **settings)
    assert (native.ids(), native.ids("_quarantine")) == (GOOD, sorted(BAD))
    line_rows(native.spark, range(20, 22), [20]).write.format("delta").mode("append").save(native.source)
    native.run(merge, **settings)
    assert (native.ids(), native.ids("_quarantine")) == ([*GOOD, 21], [*sorted(BAD), 20])


@pytest.mark.parametrize("keep", [["id"], ["id", "note", "x", "n"]], ids=["held", "scored twice"])
def test_more_than_half_of_the_rows_fail_the_run_before_its_commit(native: Place, keep: list[str]) -> None:
    many(native, range(1_501))
    message = r"1,501 of 3,000 rows cannot be scored, max_bad_rows allows 50% of the rows \(n: null in 1,501\)"
    with pytest.raises(RunError, match=message):
        native.run({"keep": keep})
    assert not list(native.folder.glob("out/_delta_log/*.json"))
    many(native, range(1_500))
    report = native.run({"keep": keep})
    assert (report.rows_out, report.bad_rows) == (3_000, 1_500)
    filled = native.run({"keep": keep}, policy={"n": {"nulls": {"fill": 0}}})
    assert (filled.bad_rows, filled.touched) == (0, (("n", 1_500),))
    by_chance = native.run({"keep": keep}, columns={"n": "IF(rand() < 0.3, NULL, coalesce(n, 1))"})
    written = native.spark.read.format("delta").load(native.output).where(f"run_id = '{by_chance.run_id}'")
    assert written.where("scoring_error IS NOT NULL").count() == by_chance.bad_rows > 0
