"""What a shared job may load, and that no secret of a path is kept or shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from spark_scoring import plan_job, plan_scoring, run_job
from spark_scoring.errors import JobError, ModelError, RequestError
from spark_scoring.model.registry import PinnedModel, resolve_model
from spark_scoring.model.trust import VARIABLE, check_trust
from tests.models import line_rows, save_line
from tests.place import Place

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


class Leaves(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Leaves a mark where it is loaded."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def load_context(self, context: Any) -> None:
        Path(self.mark).touch()

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return model_input["x"]


def test_a_model_that_is_not_allowed_or_another_is_not_loaded(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")]))
    folder, mark = str(tmp_path / "model"), tmp_path / "mark"
    mlflow.pyfunc.save_model(folder, python_model=Leaves(str(mark)), signature=signature, pip_requirements=["mlflow"])
    mark.unlink(missing_ok=True)
    digest = resolve_model(folder).digest
    place = Place(spark, folder, tmp_path, ())

    def refusal(**fields: Any) -> str:
        with pytest.raises(RequestError) as raised:
            plan_job(place.job(**fields))
        return str(raised.value)

    assert f"digest is {digest}, not {'0' * 12}; it was not loaded" in refusal(expect_digest="0" * 12)
    assert "the patterns of allow_models do not allow it; it was not loaded" in refusal(allow_models=["main.*"])
    assert "the patterns of allow_models do not allow it" in refusal(allow_models=[])
    monkeypatch.setenv(VARIABLE, "main.ml.*, models:/other/*")
    assert f"the patterns of {VARIABLE} do not allow it" in refusal(allow_models=["*"])
    with pytest.raises(ModelError, match="do not allow it"):
        plan_scoring(folder, line_rows(spark, range(1)))
    assert not mark.exists()
    monkeypatch.setenv(VARIABLE, f"{tmp_path}/*")
    plan_job(place.job(expect_digest=digest[:12].upper(), allow_models=["*/model"]))
    assert mark.exists()
    with pytest.raises(JobError, match="expect_digest"):
        place.job(expect_digest="abc")


def test_patterns_match_the_name_the_version_or_the_real_folder(tmp_path: Path) -> None:
    registered = PinnedModel("models:/main.ml.delay@champion", "main.ml.delay", "3", "/cache/x", "d" * 64)
    for pattern in ("main.ml.*", "models:/main.ml.delay/3", "*"):
        check_trust(registered, allow_models=["none", pattern], expect_digest=None)
    (tmp_path / "evil").mkdir()
    (tmp_path / "main.ml.delay").symlink_to(tmp_path / "evil")
    folder = PinnedModel("main.ml.delay", None, None, str(tmp_path / "good" / ".." / "main.ml.delay"), "d" * 64)
    logged = PinnedModel("models:/m-" + "0" * 32, None, None, "/cache/y", "d" * 64)
    for model, pattern in (
        (registered, "main.ml.delay@champion"),
        (registered, "/cache/*"),
        (folder, "main.ml.*"),
        (folder, f"{tmp_path}/good/*"),
        (folder, f"{tmp_path}/main*"),
        (logged, "main.*"),
    ):
        with pytest.raises(ModelError, match="do not allow it"):
            check_trust(model, allow_models=[pattern], expect_digest=None)


def test_no_secret_of_a_path_is_kept_or_shown(spark: SparkSession, tmp_path: Path) -> None:
    secret = "Hunter22222"  # noqa: S105
    place = Place(spark, save_line(str(tmp_path / f"m;token={secret}")), tmp_path, ())
    for name in ("source", "output"):
        setattr(place, name, str(tmp_path / f"{name};token={secret}"))
    with pytest.raises(RequestError) as raised:
        plan_job(place.job())
    assert secret not in str(raised.value)
    line_rows(spark, range(3)).write.format("delta").save(place.source)
    plan = plan_job(place.job())
    report = run_job(plan)
    history = spark.sql(f"DESCRIBE HISTORY delta.`{place.output}`").collect()[0]["userMetadata"]
    names = spark.read.format("delta").load(place.output).first()["model_name"]
    for shown in (plan.explain(), plan.to_html(), str(plan.to_dict()), str(report.to_dict()), history, names):
        assert secret not in shown
        assert ";token=***" in shown
