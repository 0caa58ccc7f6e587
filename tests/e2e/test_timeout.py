"""``timeout``: a job that takes too long is stopped and says so, and nothing of it goes on."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from spark_scoring import plan_job, run_job
from spark_scoring.cli import main
from spark_scoring.engine.errors import TimeLimitError
from spark_scoring.errors import RunError
from spark_scoring.run.preview import preview_rows
from tests.models import line_rows
from tests.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

SIGNATURE = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")]))
SOON = 300.0
"""Seconds after a timeout in which all has to be over; a machine may be busy."""


class Waits(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Twice x; for an hour it does not answer where it is told so. The processes in which it waits are written down."""

    def __init__(self, notes: str, *, loading: bool = False, above: float | None = None) -> None:
        self.notes, self.loading, self.above = notes, loading, above

    def wait(self) -> None:
        Path(self.notes, str(os.getpid())).touch()
        until = time.monotonic() + 3600
        while time.monotonic() < until:
            time.sleep(0.01)

    def load_context(self, context: Any) -> None:
        if self.loading:
            self.wait()

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        if self.above is not None and (model_input["x"] > self.above).any():
            self.wait()
        return model_input["x"] * 2


@pytest.fixture
def waiting(spark: SparkSession, tmp_path: Path) -> Callable[..., Place]:
    """A place whose model waits."""

    def make(*, rehearse: bool = False, **settings: Any) -> Place:
        (tmp_path / "notes").mkdir()
        folder = str(tmp_path / "model")
        model = Waits(str(tmp_path / "notes"), **settings)
        example = pd.DataFrame({"x": [0.5, 1.5]})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Waits, "wait", lambda self: None)  # MLflow calls it with its example as it is saved
            mlflow.pyfunc.save_model(
                folder, python_model=model, signature=SIGNATURE, pip_requirements=["mlflow"], input_example=example
            )
        (Path(folder) / "python_model.pkl").write_bytes(cloudpickle.dumps(model))
        return Place(spark, folder, tmp_path, (), rehearse=rehearse)

    return make


def waiters(place: Place) -> list[int]:
    """Processes that the model waits in, as long as they are there."""
    return [int(f.name) for f in (place.folder / "notes").iterdir() if Path("/proc", f.name).exists()]


def is_gone(place: Place) -> bool:
    """Whether no other process than this one has a model that waits, at the latest soon."""
    until = time.monotonic() + SOON
    while any(pid != os.getpid() for pid in waiters(place)) and time.monotonic() < until:
        time.sleep(0.2)
    return not any(pid != os.getpid() for pid in waiters(place))


@pytest.mark.parametrize(
    "settings", [{"loading": True}, {"above": 1.0, "rehearse": True}], ids=["loading", "rehearsal"]
)
def test_a_model_that_hangs_when_it_is_planned(
    waiting: Callable[..., Place], settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    place = waiting(**settings)
    job = place.folder / "job.yml"
    job.write_text(place.job(timeout="20s").to_yaml())
    begin = time.monotonic()
    with pytest.raises(SystemExit) as stopped:
        main(["plan", str(job)])
    assert time.monotonic() - begin < 20 + SOON
    assert stopped.value.code == 1
    assert "model: it was not loaded and rehearsed within the job's timeout of 20 s" in capsys.readouterr().err
    assert waiters(place) == [os.getpid()]  # where jobs are planned; its thread is ended


def test_a_model_that_hangs_when_it_scores(waiting: Callable[..., Place]) -> None:
    place = waiting(above=5.0)
    few = {"mode": "overwrite", "replace_where": "id < 100"}
    assert place.run(few, source={"where": "x < 5"}, timeout="10m").rows_out == 5
    plan = plan_job(place.job(few, timeout=25))
    begin = time.monotonic()
    with pytest.raises(TimeLimitError) as raised:
        run_job(plan)
    assert time.monotonic() - begin < 25 + SOON
    told = "run: it did not finish within its timeout of 25 s, and was stopped; nothing was committed"
    assert str(raised.value).startswith(f"{told}\n   fix: raise timeout")
    assert any((place.folder / "notes").iterdir())
    assert is_gone(place)
    assert (place.versions(), place.ids()) == (1, [0, 1, 2, 3, 4])
    with pytest.raises(TimeLimitError):
        preview_rows(plan_job(place.job(few, timeout=15)), 12)
    assert is_gone(place)


@pytest.mark.long
def test_a_batch_that_hangs_ends_an_incremental_job(waiting: Callable[..., Place]) -> None:
    place = waiting(above=11.0)
    assert place.run(incremental=True, timeout="5m").rows_out == 12
    line_rows(place.spark, range(12, 13)).write.format("delta").mode("append").save(place.source)
    with pytest.raises(RunError, match="did not finish within its timeout of 20 s"):
        place.run(incremental=True, timeout=20)
    assert is_gone(place)
    assert place.ids() == list(range(12))
