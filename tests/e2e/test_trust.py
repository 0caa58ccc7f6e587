"""What a shared job may load, and that no secret of a path is kept or shown.

The cases of what must not load are models that leave a mark when their code runs.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from pyspark.sql.types import DoubleType, StructField, StructType

from spark_scoring import TrainingJob, plan_job, plan_scoring, run_job, run_training
from spark_scoring.engine.shipping import ModelPlace
from spark_scoring.errors import RequestError
from spark_scoring.job_problems import JobError
from spark_scoring.model.errors import ModelError
from spark_scoring.model.kept_process import ProcessEndError
from spark_scoring.model.loaded import LoadedModel
from spark_scoring.model.reading import read_spec
from spark_scoring.model.registry import resolve_model
from spark_scoring.model.sealed import digest_of
from spark_scoring.model.store import archive_of, cache_folder
from spark_scoring.model.trust import ESTIMATORS, MODELS, REGISTRIES, Door
from spark_scoring.model.uris import hides_host, named_server
from spark_scoring.registration.search import named
from spark_scoring.sql import literal, text
from tests.models import in_order, line_rows, save_line
from tests.place import Place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

SIGNATURE = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")]))


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
    path, mark = marked(tmp_path)
    folder = str(path)
    digest = resolve_model(folder).digest
    place = Place(spark, folder, tmp_path, ())

    def refusal(**fields: Any) -> str:
        with pytest.raises(RequestError) as raised:
            plan_job(place.job(**fields))
        return str(raised.value)

    assert f"digest is {digest}, not {'0' * 12}; it was not loaded" in refusal(expect_digest="0" * 12)
    assert "the patterns of allow_models do not allow it; it was not loaded" in refusal(allow_models=["main.*"])
    assert "the patterns of allow_models do not allow it" in refusal(allow_models=[])
    monkeypatch.setenv(MODELS, "main.ml.*, models:/other/*")
    assert f"the patterns of {MODELS} do not allow it" in refusal(allow_models=["*"])
    with pytest.raises(ModelError, match="do not allow it"):
        plan_scoring(folder, line_rows(spark, range(1)))
    assert not mark.exists()
    monkeypatch.setenv(MODELS, f"{tmp_path}/*")
    plan_job(place.job(expect_digest=digest[:12].upper(), allow_models=["*/model"]))
    assert mark.exists()
    with pytest.raises(JobError, match="expect_digest"):
        place.job(expect_digest="abc")


def marked(tmp_path: Path, name: str = "model", **options: Any) -> tuple[Path, Path]:
    """A model's folder, and the mark that it leaves where it is loaded."""
    folder, mark = tmp_path / name, tmp_path / f"{name}-ran"
    leaves = Leaves(str(mark))
    mlflow.pyfunc.save_model(folder, python_model=leaves, signature=SIGNATURE, pip_requirements=["mlflow"], **options)
    mark.unlink(missing_ok=True)
    return folder, mark


def own_registry(tmp_path: Path, folder: Path, name: str) -> str:
    """A registry of its own, with the folder as version 1 of the name."""
    uri = f"sqlite:///{tmp_path}/other.db"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model(name)
    client.create_model_version(name, f"file://{folder}")
    return uri


def test_patterns_match_the_name_the_version_or_the_real_folder(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("main.ml.delay", "models:/main.ml.delay/3")
    for pattern in ("main.ml.*", "models:/main.ml.delay/3", "*"):
        Door(["none", pattern]).check_name(names)
    for pattern in ("main.ml.delay@champion", "/cache/*"):
        with pytest.raises(ModelError, match="do not allow it"):
            Door([pattern]).check_name(names)
    shutil.copytree(line, tmp_path / "evil")
    (tmp_path / "main.ml.delay").symlink_to(tmp_path / "evil")
    (tmp_path / "good").mkdir()
    monkeypatch.chdir(tmp_path)
    for uri in ("main.ml.delay", f"{tmp_path}/good/../main.ml.delay"):
        assert resolve_model(uri, allow_models=[f"{tmp_path}/evil"]).digest == digest_of(line)
        for pattern in ("main.ml.*", f"{tmp_path}/good/*", f"{tmp_path}/main*"):
            with pytest.raises(ModelError, match="do not allow it"):
                resolve_model(uri, allow_models=[pattern])


def test_a_name_is_one_of_the_environments_registry(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T1: the pattern is for a name, and the job asks another registry for it."""
    folder, mark = marked(tmp_path)
    other = own_registry(tmp_path, folder, "main.ml.delay")
    monkeypatch.setenv(MODELS, "main.ml.*")
    for field in ("tracking_uri", "registry_uri"):
        with pytest.raises(ModelError, match="not a registry of this environment; nothing was fetched"):
            resolve_model("models:/main.ml.delay/1", **{field: other})
    with pytest.raises(ModelError, match=r"no registered model 'main\.ml\.delay'"):
        resolve_model("models:/main.ml.delay/1", tracking_uri=registry)
    with pytest.raises(ModelError, match=r"asked for at mlflow-artifacts://evil:5000"):
        resolve_model("mlflow-artifacts://evil:5000/main.ml.x")
    assert not mark.exists()
    monkeypatch.setenv(REGISTRIES, f"sqlite:///{tmp_path}/*.db")
    read_spec(resolve_model("models:/main.ml.delay/1", tracking_uri=other, registry_uri=other))
    assert mark.exists()
    with pytest.raises(ModelError, match="nothing was fetched"):
        resolve_model("models:/main.ml.delay/1", tracking_uri=f"sqlite:///{tmp_path}/../{tmp_path.name}/other.db")
    monkeypatch.delenv(MODELS)
    monkeypatch.setenv(REGISTRIES, "http://good")
    with pytest.raises(ModelError, match="nothing was fetched"):
        resolve_model("models:/main.ml.delay/1", tracking_uri=other)


@pytest.mark.parametrize(
    "server",
    ["http://good:5901@evil", "http://u:p@evil:5902/@good:5901", "http://evil\\@good:5901", "http://u@v@good:5901"],
)
def test_a_registry_is_known_by_the_host_that_is_asked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REGISTRIES, "http://good:5901*")
    Door().check_servers("models:/m/1", ["http://good:5901", "http://svc:pw@good:5901"], [])
    monkeypatch.setenv(REGISTRIES, "http://good:5901*, http://*good:5901")
    with pytest.raises(ModelError, match="not a registry of this environment"):
        Door().check_servers("models:/m/1", [server], [])


def test_an_artifact_uri_whose_host_is_not_what_it_seems_is_refused() -> None:
    """T4: what is shown without its secret, and matched, must lead where the URI leads."""
    uri = "http://u:p@evil:5902/@good:5901/api/2.0/mlflow-artifacts/artifacts/m"
    assert hides_host(uri)
    assert not any(map(hides_host, ("http://u:p@good/m", "abfss://c@a.dfs.core/m", "s3://b/me@home/m")))
    with pytest.raises(ModelError, match=r"at-sign behind its host.*nothing was fetched"):
        resolve_model(uri, allow_models=["http://[*][*][*]@good:5901/*"])


@pytest.mark.parametrize(
    "path",
    [
        "../../{other}/artifacts/mod", "%2e%2e/%2e%2e/{other}/artifacts/mod", "..%2f..%2f{other}/artifacts/mod",
        "mod?x=../..", "mod?x=..", "/mod", "a//b", "./mod", "a/./b", "a\\..\\b", "mod#x", "..",
    ],
)  # fmt: skip
def test_a_path_in_a_run_is_of_plain_names(path: str, registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T2: the pattern is for one run, and the path leads into another."""
    monkeypatch.setenv(MODELS, f"runs:/{'0a' * 16}/*")
    with pytest.raises(ModelError, match="so it may lead out of the run"):
        resolve_model(f"runs:/{'0a' * 16}/{path.format(other='0b' * 16)}")


def test_the_copy_of_one_registry_is_not_anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T4: two registries whose URIs are the same without their secrets; and what was refused is not fetched."""
    shared, mark = marked(tmp_path)
    uris = []
    for side in "ab":
        home = tmp_path / f"r;token={side}"
        home.mkdir()
        uris.append(own_registry(home, shared, "main.ml.delay"))
    first = resolve_model("models:/main.ml.delay/1", tracking_uri=uris[0])
    (shared / "more.txt").write_text("what the second one has")
    second = resolve_model("models:/main.ml.delay/1", tracking_uri=uris[1])
    assert (first.digest == second.digest, second.digest) == (False, digest_of(shared))
    kept = set(cache_folder().rglob("MLmodel"))
    for uri in (f"models:/{'m-' + '0' * 32}", "models:/main.ml.delay/1"):
        with pytest.raises(ModelError, match="do not allow it"):
            resolve_model(uri, tracking_uri=uris[0], allow_models=["main.other.*"])
    assert set(cache_folder().rglob("MLmodel")) == kept
    assert not mark.exists()


@pytest.mark.parametrize("text", ["", " , ", ","])
@pytest.mark.parametrize("variable", [MODELS, REGISTRIES])
def test_a_list_that_is_set_and_empty_is_an_error(variable: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T7."""
    monkeypatch.setenv(variable, text)
    with pytest.raises(ModelError, match=f"{variable}: it is set and holds no pattern"):
        resolve_model("models:/main.ml.delay/1")


def test_by_products_are_not_what_runs(tmp_path: Path) -> None:
    """T5: compiled code beside the source is not hashed, and Python would run it in its place."""
    own = tmp_path / "own_code_of_trust"
    own.mkdir()
    (own / "__init__.py").write_text("WHO = 'good'\n")
    folder, _ = marked(tmp_path, code_paths=[str(own)])
    before = digest_of(folder)
    source = folder / "code" / own.name / "__init__.py"
    evil = tmp_path / "__init__.py"
    evil.write_text("WHO = 'evil'\n")
    os.utime(evil, (source.stat().st_mtime,) * 2)
    import py_compile

    compiled = source.parent / "__pycache__" / f"__init__.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(evil), cfile=str(compiled), dfile=str(source))
    (folder / "registered_model_meta").write_text("model_name: x")
    assert digest_of(folder) == before
    pinned = resolve_model(str(folder))
    model = LoadedModel(pinned.part(Path(pinned.path)))
    with model.running():
        import own_code_of_trust  # type: ignore[import-not-found]

        assert own_code_of_trust.WHO == "good"
    assert not (Path(pinned.path) / "registered_model_meta").exists()
    (source.parent / "late.pyc").write_bytes(b"runs without a source")
    assert digest_of(folder) != before


def test_links_and_paths_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    """T5: what the digest is not of could run."""
    outside, mark = marked(tmp_path, "outside")
    for i, (flavor, entries) in enumerate(
        [
            ("python_function", {"python_model": "../outside/python_model.pkl"}),
            ("python_function", {"python_model": str(outside / "python_model.pkl")}),
            ("python_function", {"code": "../evcode"}),
            ("python_function", {"artifacts": {"a": {"path": "x/../../y", "uri": "y"}}}),
            ("sklearn", {"pickled_model": "../outside/model.pkl"}),
        ]
    ):
        folder, _ = marked(tmp_path, f"m{i}")
        fields = yaml.safe_load((folder / "MLmodel").read_text())
        fields["flavors"].setdefault(flavor, {}).update(entries)
        (folder / "MLmodel").write_text(yaml.safe_dump(fields))
        with pytest.raises(ModelError, match="which is not in its folder, so no digest is of it; it was not loaded"):
            resolve_model(str(folder))
    folder, _ = marked(tmp_path, "linked")
    (folder / "code").symlink_to(tmp_path)
    with pytest.raises(ModelError, match="code in its folder is a link"):
        resolve_model(str(folder))
    (folder / "code").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(ModelError, match="pipe in its folder is neither a file nor a folder"):
        resolve_model(str(folder))
    assert not mark.exists()


def test_what_an_mlmodel_says_of_its_origin_is_not_a_path_that_is_opened(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    folder, _ = marked(tmp_path, artifacts={"notes": str(tmp_path / "notes.txt")})
    assert str(tmp_path) in (folder / "MLmodel").read_text()
    read_spec(resolve_model(str(folder)))


def test_a_model_exchanged_after_it_was_checked_is_not_what_runs(spark: SparkSession, tmp_path: Path) -> None:
    """T6: between the check and loading, and between plan and run."""
    folder, mark = marked(tmp_path, "evil")
    place = Place(spark, save_line(str(tmp_path / "line")), tmp_path, ())
    digest = digest_of(place.model)
    plan = plan_job(place.job(expect_digest=digest))
    shutil.rmtree(place.model)
    folder.rename(place.model)
    report = run_job(plan)
    assert report.rows_out == 12
    assert [row.prediction for row in in_order(spark.read.format("delta").load(place.output))] == [
        pytest.approx(2.0 * i + i % 3) for i in range(12)
    ]
    assert not mark.exists()


def test_a_worker_loads_only_what_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T3: what the executors unpack is held against the digest; it lies in a folder of this user's."""
    folder, _ = marked(tmp_path)
    pinned = resolve_model(str(folder))
    copy = pinned.part(Path(pinned.path))
    archive = archive_of(copy)
    assert archive.read_bytes() == archive_of(copy).read_bytes()
    for private in (archive, *archive.parents[:2]):
        assert (private.stat().st_mode & 0o077, private.stat().st_uid) == (0, os.getuid())
    unpacked = tmp_path / "executor" / "model"
    shutil.unpack_archive(archive, unpacked)
    monkeypatch.setattr("pyspark.SparkFiles.getRootDirectory", lambda: str(unpacked.parent))
    place = ModelPlace(copy, archive=unpacked.name)
    LoadedModel(place.in_worker())
    (unpacked / "code").mkdir()
    (unpacked / "code" / "evil.py").write_text("")
    with pytest.raises(ModelError, match="its files are not those that were checked"):
        LoadedModel(place.in_worker())


def test_a_copy_is_read_only(tmp_path: Path) -> None:
    copy = Path(resolve_model(str(marked(tmp_path)[0])).path)
    assert {p.stat().st_mode & 0o277 for p in (copy, *copy.rglob("*"))} == {0}


class Leaver(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Ends the process, while it loads or while it predicts; a process that it starts itself may end."""

    def __init__(self, way: str, when: str) -> None:
        self.way, self.when = way, when

    def leave(self, when: str) -> None:
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        if when == self.when:
            if self.way == "sys.exit":
                sys.exit(0)
            os._exit(0)

    def load_context(self, context: Any) -> None:
        self.leave("loading")

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        self.leave("predicting")
        return model_input["x"]


def leaver(tmp_path: Path, way: str, when: str) -> str:
    folder = str(tmp_path / "leaver")
    model = Leaver(way, when)
    mlflow.pyfunc.save_model(folder, python_model=model, signature=SIGNATURE, pip_requirements=["mlflow"])
    return folder


@pytest.mark.parametrize("way", ["sys.exit", "os._exit"])
def test_a_model_that_ends_the_process_is_named(tmp_path: Path, way: str) -> None:
    """T10: the command line ended with status 0, and nothing was done."""
    real = os._exit
    with pytest.raises(ModelError, match="while it loads, it ends the process that loads it"):
        read_spec(resolve_model(leaver(tmp_path, way, "loading")))
    schema = StructType([StructField("x", DoubleType())])
    shutil.rmtree(tmp_path / "leaver")
    plan = plan_scoring(leaver(tmp_path, way, "predicting"), schema)
    assert re.search(r"predict raises ProcessEndError \(test_trust\.py line \d+\) on every row", plan.explain())
    with pytest.raises(ProcessEndError):
        LoadedModel(plan.model.copy).call("predict", pd.DataFrame({"x": [1.0]}))
    assert os._exit is real


def test_names_that_spark_would_replace_are_refused(clean: Place) -> None:
    """T12: rows went to one folder and the commit was looked for in another."""
    clean.spark.conf.set("a", "b")
    try:
        for fields in (
            {"output": {"path": f"{clean.folder}/${{a}}"}},
            {"source": {"path": f"{clean.folder}/${{env:HOME}}"}},
        ):
            with pytest.raises(RequestError, match=r"Spark puts a variable's value in the place of \$\{\.\.\.\}"):
                plan_job(clean.job(**fields))
        for given in ("${a}", "it's ${a}\\", "$ {a}"):
            assert clean.spark.sql(f"SELECT {text(given)} AS t").first().t == given
            assert clean.spark.sql(f"SELECT {literal(given)} AS t").first().t == given
    finally:
        clean.spark.conf.unset("a")


@pytest.mark.parametrize("path", ["subprocess:getoutput", "sklearn.datasets._base:os.system", "sklearn_evil:x"])
def test_a_training_job_takes_estimators_of_the_modules_that_are_allowed(
    path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """T8."""
    (tmp_path / "sklearn_evil.py").write_text("x = print")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert callable(named(path, "estimator"))
    monkeypatch.setenv(ESTIMATORS, "sklearn, lightgbm")
    with pytest.raises(JobError, match=f"{ESTIMATORS} does not allow it"):
        named(path, "estimator")
    with pytest.raises(JobError, match="code_paths is code of the job's own"):
        named("sklearn.linear_model:Ridge", "estimator", [str(tmp_path)])
    assert named("sklearn.linear_model.Ridge", "estimator") is named("sklearn.linear_model:Ridge", "estimator")
    assert named("sklearn.model_selection:GroupKFold", "search: cv", method="split")


def test_of_an_allowed_package_only_what_is_fitted_is_called(
    spark: SparkSession, registry: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """scikit-learn has a function that runs a program: its parameter."""
    mark = tmp_path / "ran"
    fields = {
        "name": "main.trust.line", "task": "regression", "source": save_rows(spark, tmp_path), "label": "x",
        "features": ["x"], "estimator": "sklearn.utils._testing:assert_run_python_script_without_output",
        "params": {"source_code": f"open({str(mark)!r}, 'w')"},
    }  # fmt: skip
    monkeypatch.setenv(ESTIMATORS, "sklearn, lightgbm")
    with pytest.raises(RequestError, match="does not allow it: it is not a class with fit; it was not called"):
        run_training(TrainingJob.from_dict(fields), spark)
    assert not mark.exists()
    monkeypatch.delenv(ESTIMATORS)
    with pytest.raises(RequestError, match="which has no fit"):
        run_training(TrainingJob.from_dict(fields), spark)
    assert mark.exists()


def test_a_training_job_logs_to_the_environments_servers(
    spark: SparkSession, registry: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it has logged is loaded again: from a server of the job's own that could be anything."""
    fields = {
        "name": "main.trust.line", "task": "regression", "source": save_rows(spark, tmp_path), "label": "x",
        "features": ["x"], "estimator": "sklearn.linear_model:LinearRegression",
        "verify": "here", "pip_requirements": ["mlflow"],
    }  # fmt: skip
    monkeypatch.setenv(MODELS, "main.*")
    for name in ("tracking_uri", "registry_uri"):
        job = TrainingJob.from_dict({**fields, name: f"sqlite:///{tmp_path}/other.db"})
        with pytest.raises(ModelError, match=rf"(?s)other\.db.*{REGISTRIES}"):
            run_training(job, spark)
    assert not (tmp_path / "other.db").exists()
    assert run_training(TrainingJob.from_dict({**fields, "tracking_uri": registry}), spark).version


def save_rows(spark: SparkSession, folder: Path) -> str:
    """A table of x."""
    spark.range(20).selectExpr("double(id) AS x").write.format("delta").save(str(folder / "rows"))
    return str(folder / "rows")


@pytest.mark.parametrize(
    ("uri", "server"),
    [
        ("dbfs://mine@databricks/models/x", "databricks://mine"),
        ("dbfs://scope:key@databricks/models/x", "databricks://scope:key"),
        ("DBFS://mine@databricks/x", "databricks://mine"),
        ("dbfs://databricks/x", "databricks"),
        ("dbfs:/models/x", None),
        ("s3://mine@databricks/x", None),
        ("mlflow-artifacts://u@host:5000/x", "mlflow-artifacts://host:5000"),
        ("mlflow-artifacts:/x", None),
    ],
)
def test_a_uri_that_names_a_workspace_or_a_server_is_asked_there(
    uri: str, server: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow asks the workspace of a profile that a dbfs URI names, whatever the environment's own is."""
    assert named_server(uri) == server
    monkeypatch.setenv(MODELS, "*")
    door = Door()
    if server is not None:
        with pytest.raises(ModelError, match=REGISTRIES):
            resolve_model(uri)
        door.check_servers(uri, [server], [server])
        monkeypatch.setenv(REGISTRIES, f"*{server.rpartition('@')[2]}")
        door.check_servers(uri, [server], ["databricks-uc"])


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
