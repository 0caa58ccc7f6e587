"""Merging on a key: what is updated, inserted, left alone and refused; the model runs once per row."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from pyspark.errors import AnalysisException

from spark_scoring import roll_back
from spark_scoring.errors import RequestError, RunError
from spark_scoring.job_problems import JobError
from spark_scoring.run import execute
from tests.models import line_rows
from tests.place import ROWS, Place

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

MERGE = {"mode": "merge", "key": ["id"]}


class Counting(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Doubles x, and writes down every row that it is given."""

    def __init__(self, log: str) -> None:
        self.log = log

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        with open(self.log, "a") as file:  # noqa: PTH123
            file.writelines(f"{x:.0f}\n" for x in model_input["x"])
        return model_input["x"] * 2


def rows(place: Place, suffix: str = "") -> dict[int, Any]:
    return {row["id"]: row for row in place.spark.read.format("delta").load(place.output + suffix).collect()}


def change(place: Place, assignment: str, where: str) -> None:
    place.spark.sql(f"UPDATE delta.`{place.source}` SET {assignment} WHERE {where}")  # noqa: S608


def test_a_merge_updates_what_differs_and_inserts_what_is_new(clean: Place) -> None:
    first = clean.run(MERGE)
    assert (first.rows_out, first.changes) == (ROWS, None)
    change(clean, "x = x + 100", "id < 3")
    change(clean, "n = NULL", "id = 4")
    line_rows(clean.spark, range(ROWS, ROWS + 2)).write.format("delta").mode("append").save(clean.source)
    second = clean.run(MERGE)
    assert (second.rows_in, second.rows_out, second.bad_rows) == (ROWS + 2, ROWS + 2, 1)
    assert vars(second.changes) == {"inserted": 2, "updated": 4, "deleted": 0, "unchanged": ROWS - 4}
    after = rows(clean)
    assert sorted(after) == list(range(ROWS + 2))
    assert {i for i, row in after.items() if row["run_id"] == second.run_id} == {0, 1, 2, 4, ROWS, ROWS + 1}
    assert [round(after[i]["prediction"]) for i in (0, 5)] == [200, 12]
    assert (after[4]["prediction"], after[4]["scoring_error"]) == (None, "n: null")
    again = clean.run(MERGE)
    assert (again.skipped, again.changes, again.bad_rows) == (True, second.changes, 1)


def test_a_merge_is_made_again_after_someone_changed_the_table(clean: Place) -> None:
    clean.run(MERGE)
    clean.sql("UPDATE {out} SET prediction = 0 WHERE id = 1")
    clean.sql("DELETE FROM {out} WHERE id = 2")
    again = clean.run(MERGE)
    assert not again.skipped
    assert vars(again.changes) == {"inserted": 1, "updated": 1, "deleted": 0, "unchanged": ROWS - 2}
    assert round(rows(clean)[1]["prediction"]) == 3


def test_a_key_is_in_the_output_or_in_the_quarantine(clean: Place) -> None:
    """A prediction does not outlive the row that it was made from."""
    change(clean, "n = NULL", "id IN (3, 7)")
    clean.run(MERGE, bad_rows="quarantine")
    assert clean.ids("_quarantine") == [3, 7]
    change(clean, "n = 1", "id = 3")
    change(clean, "n = NULL", "id = 5")
    report = clean.run(MERGE, bad_rows="quarantine")
    assert (report.rows_out, report.quarantined) == (ROWS - 2, 2)
    assert vars(report.changes) == {"inserted": 1, "updated": 0, "deleted": 1, "unchanged": ROWS - 3}
    assert (clean.ids(), clean.ids("_quarantine")) == ([i for i in range(ROWS) if i not in (5, 7)], [5, 7])


@pytest.mark.parametrize("held", [True, False])
def test_each_row_is_scored_once(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    held: bool,  # noqa: FBT001
) -> None:
    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")]))
    folder, log = str(tmp_path / "model"), tmp_path / "log"
    mlflow.pyfunc.save_model(folder, python_model=Counting(str(log)), signature=signature, pip_requirements=["mlflow"])
    place = Place(spark, folder, tmp_path, (), rehearse=False)
    place.run(MERGE, source={"where": "id < 5"})
    log.unlink()
    if not held:
        _refuse_caching(spark, monkeypatch)
    report = place.run(MERGE)
    assert sorted(int(x) for x in log.read_text().split()) == list(range(ROWS))
    assert vars(report.changes) == {"inserted": ROWS - 5, "updated": 0, "deleted": 0, "unchanged": 5}
    if not held:
        with pytest.raises(RunError, match="this compute cannot hold scored rows until they are counted"):
            place.run(MERGE, max_bad_rows=3, force=True)


def _refuse_caching(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """As serverless compute does, which is not to be had here."""

    def persist(self: DataFrame) -> DataFrame:
        msg = "[NOT_SUPPORTED_WITH_SERVERLESS] PERSIST TABLE is not supported on serverless compute."
        raise AnalysisException(msg)

    monkeypatch.setattr(type(spark.range(1)), "persist", persist)


def test_keys_that_do_not_tell_rows_apart_stop_the_run_before_its_commit(clean: Place) -> None:
    change(clean, "note = 'same'", "id IN (1, 2, 3)")
    change(clean, "note = NULL", "id = 4")
    with pytest.raises(RunError) as raised:
        clean.run({"mode": "merge", "key": ["note"]})
    assert [p.cause for p in raised.value.problems] == [
        "it is null in 1 rows; nothing was committed",
        "1 of its values occur in more than one row, 3 rows in all; nothing was committed",
    ]
    assert not (clean.folder / "out").exists()
    assert clean.run({"mode": "merge", "key": ["id", "note"]}, source={"where": "id <> 4"}).rows_out == ROWS - 1


def test_a_key_must_be_kept_and_goes_with_merge_only(clean: Place) -> None:
    with pytest.raises(RequestError, match=r"output\.key: x: the run does not write this column"):
        clean.run({"mode": "merge", "key": ["x"]})
    for made in ("model_version", "PREDICTION"):
        with pytest.raises(RequestError, match=rf"output\.key: {made}: it is made by the run"):
            clean.run({"mode": "merge", "key": ["id", made]})
    with pytest.raises(JobError, match="mode: merge has no key"):
        clean.job({"mode": "merge"})
    with pytest.raises(JobError, match="key goes with mode: merge"):
        clean.job({"key": ["id"]})


@pytest.mark.long
def test_odd_names_and_nested_columns_are_merged(clean: Place, spark: SparkSession, tmp_path: Path) -> None:
    place = clean
    odd = (
        spark.read.format("delta")
        .load(place.source)
        .selectExpr("id AS `k {``é}`", "x", "n", "map('a', id) AS `m.m`", "array(struct(id AS i)) AS s")
    )
    odd.write.format("delta").option("delta.columnMapping.mode", "name").save(str(tmp_path / "odd"))
    place.source = str(tmp_path / "odd")
    merge = {"mode": "merge", "key": ["k {`é}"], "keep": ["k {`é}", "m.m", "s"]}
    place.run(merge, source={"where": "x < 6"})
    report = place.run(merge)
    assert vars(report.changes) == {"inserted": ROWS - 6, "updated": 0, "deleted": 0, "unchanged": 6}


def test_an_output_whose_rows_the_key_does_not_tell_apart_is_refused(clean: Place) -> None:
    """A merge would update both rows of a key, and say that all is well."""
    clean.run({"mode": "append"})
    change(clean, "x = x + 1", "id = 1")
    second = clean.run({"mode": "append"})
    with pytest.raises(RunError, match=f"{ROWS} values of the key id occur in several of its rows, {2 * ROWS} rows"):
        clean.run(MERGE)
    assert clean.versions() == 2
    roll_back(clean.output, second.run_id or "", clean.spark)
    assert vars(clean.run(MERGE).changes) == {"inserted": 0, "updated": 1, "deleted": 0, "unchanged": ROWS - 1}
    clean.sql("INSERT INTO {out} SELECT * FROM {out} WHERE id = 1")
    change(clean, "x = x + 1", "id = 2")
    with pytest.raises(RunError, match="1 values of the key id occur in several of its rows, 2 rows in all"):
        clean.run(MERGE)


def test_the_output_of_a_merge_is_not_counted_again(clean: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    clean.run(MERGE)
    clean.sql("DELETE FROM {out} WHERE id = 3")
    change(clean, "x = x + 1", "id = 1")
    monkeypatch.setattr(execute, "check_output_keys", lambda plan: pytest.fail(f"{plan} is counted"))
    assert vars(clean.run(MERGE).changes) == {"inserted": 1, "updated": 1, "deleted": 0, "unchanged": ROWS - 2}
