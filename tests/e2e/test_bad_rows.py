"""Rows that cannot be scored: kept, moved to a quarantine, or the end of the run; counted by reason."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from spark_scoring import ScoringJob
from spark_scoring.errors import RequestError, RunError
from spark_scoring.job_problems import JobError
from spark_scoring.screen import as_text
from tests.models import QUICKLY, line_rows
from tests.needs import in_short
from tests.place import BAD, GOOD, ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pyspark.sql import SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


class Counting(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Writes down every row that it is given, and raises on the one whose x is 5."""

    def __init__(self, log: str) -> None:
        self.log = log

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        if (model_input["x"] == 5).any():
            msg = "5"
            raise ValueError(msg)
        with open(self.log, "a") as file:  # noqa: PTH123
            file.writelines(f"{x:.0f}\n" for x in model_input["x"])
        return model_input["x"]


def test_a_quarantine_takes_the_bad_rows_once(place: Place) -> None:
    report = place.run(bad_rows="quarantine")
    assert (report.rows_in, report.rows_out, report.quarantined, report.bad_rows) == (ROWS, len(GOOD), 2, 2)
    assert report.quarantine == f"{place.output}_quarantine"
    assert [(r.feature, r.code, r.text, r.rows) for r in report.reasons] == [("n", "null", "n: null", 2)]
    assert (place.ids(), place.ids("_quarantine")) == (GOOD, sorted(BAD))
    moved = place.spark.read.format("delta").load(f"{place.output}_quarantine").collect()
    assert {(r["prediction"], r["scoring_error"], r["run_id"]) for r in moved} == {(None, "n: null", report.run_id)}
    again = place.run(bad_rows="quarantine")
    assert again.skipped
    assert (again.quarantined, again.rows_out, again.reasons) == (2, len(GOOD), report.reasons)
    assert (place.versions(), place.versions("_quarantine")) == (1, 1)


def test_a_run_that_died_between_its_two_commits_is_completed(place: Place) -> None:
    """The output's own constraint lets the second commit fail."""
    place.run(bad_rows="quarantine", source={"where": "id IN (0, 3)"})
    place.sql("ALTER TABLE {out} ADD CONSTRAINT small CHECK (id < 5)")
    with pytest.raises(RunError) as raised:
        place.run(bad_rows="quarantine", source={"where": "id > 3"})
    assert "its version 1 has the bad rows of this run, whose output was not written" in str(raised.value)
    assert (place.ids(), place.ids("_quarantine")) == ([0], [3, 7])
    place.sql("ALTER TABLE {out} DROP CONSTRAINT small")
    report = place.run(bad_rows="quarantine", source={"where": "id > 3"})
    assert not report.skipped
    assert (place.ids(), place.ids("_quarantine")) == ([i for i in GOOD if i not in {1, 2}], [3, 7])
    last = place.spark.read.format("delta").load(f"{place.output}_quarantine").where("id = 7").collect()
    assert [row["run_id"] for row in last] == [report.run_id]


@pytest.mark.short
def test_a_quarantine_follows_the_mode_of_its_output(place: Place) -> None:
    over = {"mode": "overwrite"}
    place.run(over, bad_rows="quarantine")
    place.run(over, bad_rows="quarantine", source={"where": "id < 5"})
    assert (place.ids(), place.ids("_quarantine")) == ([0, 1, 2, 4], [3])
    place.run(over, bad_rows="quarantine", source={"where": "id < 3"})
    assert (place.ids(), place.ids("_quarantine")) == ([0, 1, 2], [])
    place.run(bad_rows="quarantine", force=True, source={"where": "id IN (6, 7)"})
    place.run(bad_rows="quarantine", force=True, source={"where": "id IN (6, 7)"})
    assert (place.ids(), place.ids("_quarantine")) == ([0, 1, 2, 6, 6], [7, 7])


def test_replaced_values_are_counted_once(place: Place) -> None:
    policy = {"n": {"nulls": {"fill": 0}}}
    assert place.run(policy=policy, max_bad_rows=0).touched == (("n", 2),)
    merge = {"mode": "merge", "key": ["id"]}
    assert place.run(merge, policy=policy, bad_rows="quarantine").touched == (("n", 2),)


def test_an_output_with_other_columns_than_its_quarantine_is_refused(place: Place) -> None:
    place.spark.range(1).write.format("delta").save(f"{place.output}_quarantine")
    with pytest.raises(RequestError, match=r"(?s)out_quarantine: its columns differ from the run's"):
        place.run(bad_rows="quarantine")


def test_more_bad_rows_than_allowed_stop_the_run_before_its_commit(place: Place) -> None:
    message = r"bad rows: 2 of 12 rows cannot be scored, max_bad_rows allows {} \(n: null in 2\); nothing was committed"
    with pytest.raises(RunError, match=message.format("1 rows")):
        place.run(bad_rows="quarantine", max_bad_rows=1)
    with pytest.raises(RunError, match=message.format("16% of the rows")):
        place.run(max_bad_rows=0.16)
    assert not list(place.folder.glob("out*"))
    report = place.run(max_bad_rows=0.17)
    assert (report.rows_in, report.bad_rows, report.reasons[0].rows) == (ROWS, 2, 2)


def many(place: Place, bad: Collection[int]) -> None:
    """3,000 rows in two files, by id: too many for a run that counts before it writes. Each file is a task."""
    rows = line_rows(place.spark, range(3_000), bad).repartitionByRange(2, "id")
    rows.write.format("delta").mode("overwrite").save(place.source)


@pytest.mark.parametrize("stage", in_short(1, ["udf", "map"]))
def test_a_run_without_a_good_row_fails_and_the_table_stays(place: Place, stage: str) -> None:
    place.run()
    before = place.versions()
    over = {"mode": "overwrite"}
    with pytest.raises(RunError, match=r"bad rows: none of the 2 rows can be scored \(n: null in 2\); nothing was"):
        place.run(over, source={"where": "id IN (3, 7)"}, max_bad_rows=1.0, stage=stage)
    many(place, range(3_000))
    with pytest.raises(RunError, match=r"none of the 3,000 rows can be scored \(n: null in 3,000\); nothing"):
        place.run(over, stage=stage)
    assert (place.versions(), len(place.ids())) == (before, ROWS)


def test_more_than_half_of_the_rows_fail_the_run_unless_it_allows_them(place: Place) -> None:
    many(place, range(1_501))
    message = r"1,501 of 3,000 rows cannot be scored, max_bad_rows allows 50% of the rows \(n: null in 1,501\)"
    with pytest.raises(RunError, match=message):
        place.run()
    assert not list(place.folder.glob("out/_delta_log/*.json"))
    assert place.run(max_bad_rows=0.6).bad_rows == 1_501


def test_one_task_of_bad_rows_does_not_fail_a_run_of_good_ones(place: Place) -> None:
    """The task that finds them ends the first attempt; counted over all tasks, they are fewer than half."""
    many(place, range(1_400))
    policy = {"n": {"nulls": "bad_row"}, "x": {"nulls": {"fill": 0.0}}}
    report = place.run(policy=policy)
    assert (report.rows_in, report.rows_out, report.bad_rows) == (3_000, 3_000, 1_400)
    assert (place.ids(), place.versions()) == (list(range(3_000)), 1)
    assert place.run(policy=policy).skipped


@pytest.mark.long
def test_a_micro_batch_of_few_rows_may_hold_bad_ones_alone(place: Place) -> None:
    merge: dict[str, Any] = {"mode": "merge", "key": ["id"]}
    settings = {"bad_rows": "quarantine", "incremental": True}
    place.run(merge, **settings)
    line_rows(place.spark, range(20, 22), [20, 21]).write.format("delta").mode("append").save(place.source)
    assert place.run(merge, **settings).quarantined == 2  # its merge into the output has nothing to do
    assert (place.ids(), place.ids("_quarantine")) == (GOOD, [*sorted(BAD), 20, 21])
    line_rows(place.spark, range(100, 200), range(100, 200)).write.format("delta").mode("append").save(place.source)
    with pytest.raises(RunError, match=r"100 of 100 rows cannot be scored, max_bad_rows allows 50% of the rows"):
        place.run(merge, **settings)
    assert place.run(merge, **settings, max_bad_rows=1.0).quarantined == 100


def test_the_report_shows_the_share_and_that_a_row_has_several_reasons(place: Place) -> None:
    place.spark.sql(f"UPDATE delta.`{place.source}` SET x = NULL WHERE id IN (3, 4, 5)")  # noqa: S608
    report = place.run(policy={"x": {"nulls": "bad_row"}})
    text = as_text(report.view())
    assert report.rows_text() == "12 in, 12 out, 4 bad (33.3%)"
    assert "a row with several reasons is counted for each" in text
    assert sum(reason.rows for reason in report.reasons) == 5


def test_the_first_bad_row_fails_the_run_where_it_should(place: Place) -> None:
    with pytest.raises(RunError, match=r"a row cannot be scored \(n: null\), and bad_rows is fail; nothing was comm"):
        place.run(bad_rows="fail")
    assert place.run(bad_rows="fail", source={"where": "n IS NOT NULL"}).rows_out == len(GOOD)


@pytest.mark.parametrize("settings", in_short(1, [{"bad_rows": "quarantine"}, {"bad_rows": "keep", "max_bad_rows": 3}]))
def test_rows_that_are_counted_first_are_scored_once(
    spark: SparkSession, tmp_path: Path, settings: dict[str, Any]
) -> None:
    signature = ModelSignature(Schema([ColSpec("double", "x"), ColSpec("long", "n")]), Schema([ColSpec("double")]))
    folder, log = str(tmp_path / "model"), tmp_path / "log"
    mlflow.pyfunc.save_model(folder, python_model=Counting(str(log)), signature=signature, pip_requirements=["mlflow"])
    place = Place(spark, folder, tmp_path, BAD, rehearse=False)
    place.run(source={"where": "id <> 5"}, **settings)
    assert sorted(int(x) for x in log.read_text().split()) == [i for i in GOOD if i != 5]
    report = place.run(**settings)
    assert [(r.feature, r.code, r.text.partition(" (")[0], r.rows) for r in report.reasons] == [
        ("n", "null", "n: null", 2),
        (None, "model_error", "model: ValueError", 1),
    ]
    assert report.reasons[1].text.startswith("model: ValueError (test_bad_rows.py line ")


@pytest.mark.long
def test_reasons_of_odd_names_are_told_apart(spark: SparkSession, tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    names = ["a; b", "a", "b: null", '"q"']
    frame = pd.DataFrame([[1, 2, 3, 4], [4, 3, 2, 1]], columns=names)
    line = LinearRegression().fit(frame, [1, 2])
    signature = mlflow.models.infer_signature(frame, line.predict(frame))
    mlflow.sklearn.save_model(line, tmp_path / "m", signature=signature, **QUICKLY)
    columns = {name: f"IF(id IN ({i}, 9), NULL, 1)" for i, name in enumerate(names)}
    line_rows(spark, range(ROWS)).write.format("delta").save(str(tmp_path / "in"))
    place = {"source": {"path": str(tmp_path / "in")}, "output": {"path": str(tmp_path / "out"), "keep": ["id"]}}
    from spark_scoring import run_job

    report = run_job(ScoringJob.from_dict({"model": str(tmp_path / "m"), "columns": columns, **place}))
    assert {(r.feature, r.code, r.rows) for r in report.reasons} == {(name, "null", 2) for name in names}
    assert report.bad_rows == 5


def test_a_limit_is_rows_or_a_share(place: Place) -> None:
    for limit in (-1, 1.5, "many"):
        with pytest.raises(JobError, match="max_bad_rows"):
            place.job(max_bad_rows=limit)
    with pytest.raises(JobError, match="max_bad_rows: bad_rows: fail allows none"):
        place.job(bad_rows="fail", max_bad_rows=3)
