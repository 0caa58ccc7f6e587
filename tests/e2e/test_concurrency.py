"""Two writers at once: what waits, what is tried again, what is refused; never a row lost or doubled."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from spark_scoring.delta import once
from spark_scoring.errors import RunError
from spark_scoring.run import execute
from tests.models import save_line
from tests.place import ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from pyspark.sql import SparkSession

    from spark_scoring import RunReport

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


class Waiting(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Says that it has begun, and waits until it may go on; writes down every row."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        folder = Path(self.folder)
        (folder / "begun").touch()
        until = time.monotonic() + 120
        while not (folder / "go").exists() and time.monotonic() < until:
            time.sleep(0.02)
        with (folder / "log").open("a") as file:
            file.writelines(f"{x:.0f}\n" for x in model_input["x"])
        return model_input["x"] * 2


@pytest.fixture
def place(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose model waits, in one task: the other core is for what happens meanwhile.

    It scores while it commits, as runs of many rows do.
    """
    monkeypatch.setattr(execute, "_FEW_ROWS", 0)
    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")]))
    folder = str(tmp_path / "model")
    model = Waiting(str(tmp_path))
    mlflow.pyfunc.save_model(folder, python_model=model, signature=signature, pip_requirements=["mlflow"])
    place = Place(spark, folder, tmp_path, (), rehearse=False)
    spark.read.format("delta").load(place.source).coalesce(1).write.format("delta").save(str(tmp_path / "one"))
    place.source = str(tmp_path / "one")
    return place


def meanwhile(place: Place, action: Callable[[], object], output: dict[str, Any], **fields: Any) -> RunReport:
    """A run during whose scoring something else happens."""
    for name in ("begun", "go", "log"):
        (place.folder / name).unlink(missing_ok=True)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(place.run, output, **fields)
        while not (place.folder / "begun").exists() and not run.done():
            time.sleep(0.02)
        try:
            action()
        finally:
            (place.folder / "go").touch()
        return run.result()


def scored(place: Place) -> list[int]:
    return sorted(int(x) for x in (place.folder / "log").read_text().split())


def foreign_append(place: Place) -> None:
    rows = place.spark.read.format("delta").load(place.output).limit(1).selectExpr("* EXCEPT (id)", "-1L AS id")
    rows.write.format("delta").mode("append").save(place.output)


def seed(place: Place) -> None:
    """The output as another job has left it."""
    (place.folder / "go").touch()
    place.run(source={"where": "id < 2"}, name="seed")


@pytest.mark.long
def test_an_overwrite_that_another_append_gets_in_the_way_of_is_tried_again(place: Place) -> None:
    seed(place)
    report = meanwhile(place, lambda: foreign_append(place), {"mode": "overwrite"})
    assert (report.rows_out, place.ids()) == (ROWS, list(range(ROWS)))


def test_a_merge_is_tried_again_without_scoring_again(place: Place) -> None:
    seed(place)
    report = meanwhile(place, lambda: foreign_append(place), {"mode": "merge", "key": ["id"]})
    assert (report.rows_out, place.ids()) == (ROWS, [-1, *range(ROWS)])
    assert scored(place) == list(range(ROWS))


def test_conflicts_without_end_are_an_error_that_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(place)
    monkeypatch.setattr(once, "_PAUSES", ())
    message = r"other writers changed the table whenever the run tried to commit \(DELTA_CONCURRENT_APPEND.*nothing was"
    with pytest.raises(RunError, match=message):
        meanwhile(place, lambda: foreign_append(place), {"mode": "overwrite"})
    assert place.ids() == [-1, 0, 1]


def test_two_equal_runs_at_once_write_once(place: Place) -> None:
    """The second begins and ends while the first scores."""
    seed(place)
    other: list[RunReport] = []

    def run_other() -> None:
        (place.folder / "go").touch()
        other.append(place.run())

    report = meanwhile(place, run_other, {})
    assert (place.ids(), report.run_id) == (sorted([0, 1, *range(ROWS)]), other[0].run_id)
    assert sorted([report.skipped, other[0].skipped]) == [False, True]


def test_an_output_made_meanwhile_is_joined(place: Place) -> None:
    seed(place)
    elsewhere = place.output.replace("/out", "/elsewhere")
    Path(place.output).rename(elsewhere)

    def make() -> None:
        place.spark.read.format("delta").load(elsewhere).write.format("delta").save(place.output)

    report = meanwhile(place, make, {"mode": "merge", "key": ["id"]})
    assert (report.rows_out, place.ids()) == (ROWS, list(range(ROWS)))
    assert report.changes is not None


def test_columns_that_change_meanwhile_are_refused(place: Place) -> None:
    seed(place)
    with pytest.raises(RunError, match=r"(?s)during the run: its columns differ from the run's.*nothing was committed"):
        meanwhile(place, lambda: place.sql("ALTER TABLE {out} ADD COLUMNS (extra STRING)"), {})
    assert place.ids() == [0, 1]


@pytest.mark.long
def test_jobs_at_once_append_side_by_side(spark: SparkSession, tmp_path: Path) -> None:
    place = Place(spark, save_line(str(tmp_path / "line")), tmp_path, {3})
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(place.run, name=name, bad_rows="quarantine") for name in ("a", "b")]
        reports = [run.result() for run in runs]
    assert [report.rows_out for report in reports] == [ROWS - 1, ROWS - 1]
    assert place.ids() == sorted(2 * [i for i in range(ROWS) if i != 3])
    assert place.ids("_quarantine") == [3, 3]


@pytest.mark.long
def test_columns_that_change_while_few_rows_are_counted_are_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(place)
    monkeypatch.undo()

    with pytest.raises(RunError, match=r"(?s)during the run: its columns differ from the run's.*nothing was committed"):
        meanwhile(place, lambda: place.sql("ALTER TABLE {out} ADD COLUMNS (extra STRING)"), {})
    assert place.ids() == [0, 1]
