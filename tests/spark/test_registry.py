"""Model URIs: what each form pins, and what a wrong one is told."""

from __future__ import annotations

import re
import shlex
import shutil
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

import spark_scoring
from spark_scoring.cli import main
from spark_scoring.model.errors import ModelError
from spark_scoring.model.reading import read_spec
from spark_scoring.model.registered_versions import all_versions
from spark_scoring.model.registry import resolve_model
from spark_scoring.model.sealed import digest_of
from spark_scoring.model.store import cache_folder
from spark_scoring.model.trust import Door
from spark_scoring.registration.errors import RegistrationError
from tests.models import QUICKLY, register, save_line
from tests.needs import in_short
from tests.registering import repair_model
from tests.registration.conftest import server  # noqa: F401  a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

NAME = "main.registry.line"
FRAME = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": [1.0, 0.0, 1.0]})


@pytest.fixture(scope="module")
def versions(registry: str) -> str:
    """Eleven versions, of which the second is the champion, made in another order than their numbers read as text."""
    for slope in range(3):
        register(LinearRegression().fit(FRAME, [0, slope, 2 * slope]), FRAME, NAME)
    third = mlflow.MlflowClient().get_model_version(NAME, "3").source
    for _ in range(8):
        mlflow.register_model(third, NAME)
    mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", "2")
    return registry


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_line(str(tmp_path_factory.mktemp("folder") / "model"))


@pytest.fixture(scope="module")
def logged(registry: str) -> str:
    """A model of a run that any registered model may have versions of."""
    line = LinearRegression().fit(FRAME, [0, 1, 2])
    with mlflow.start_run():
        return str(
            mlflow.sklearn.log_model(line, name="line", signature=infer_signature(FRAME, [0.0]), **QUICKLY).model_uri
        )


@pytest.fixture(scope="module")
def staged(logged: str) -> str:
    """A model with versions 1 to 4: in no stage, Production, Production, Staging."""
    name, client = "main.registry.staged", mlflow.MlflowClient()
    for _ in range(4):
        mlflow.register_model(logged, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MLflow deprecates stages
        for version, stage in (("4", "Staging"), ("3", "Production"), ("2", "Production")):
            client.transition_model_version_stage(name, version, stage)
    client.set_registered_model_alias(name, "Champion", "1")
    return name


def _message(uri: str, **options: Any) -> str:
    with pytest.raises(ModelError) as raised:
        read_spec(resolve_model(uri, **options))
    return str(raised.value)


@pytest.mark.parametrize(
    ("tail", "version"),
    [("/3", "3"), ("@champion", "2"), ("/latest", "11"), ("/Latest", "11"), ("@latest", "11"), ("", "11")],
    ids=lambda v: v or "none",
)
def test_a_uri_is_pinned_to_a_version(versions: str, tail: str, version: str) -> None:
    pinned = resolve_model(f"models:/{NAME}{tail}")
    assert (pinned.name, pinned.version) == (NAME, version)
    assert digest_of(pinned.path) == pinned.digest
    assert resolve_model(f"models:/{NAME}/{version}").path == pinned.path


def test_versions_of_other_content_have_other_digests(versions: str) -> None:
    assert resolve_model(f"models:/{NAME}/1").digest != resolve_model(f"models:/{NAME}/2").digest


def test_the_registrys_own_folder_is_never_handed_out(versions: str) -> None:
    source = mlflow.MlflowClient().get_model_version_download_uri(NAME, "3")
    assert not resolve_model(f"models:/{NAME}/3").path.startswith(source)


def test_runs_logged_models_and_folders_are_models_too(registry: str, tmp_path: Path) -> None:
    model = LinearRegression().fit(FRAME, [0, 1, 2])
    signature = infer_signature(FRAME, model.predict(FRAME))
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(model, name="line", signature=signature, **QUICKLY)
    mlflow.sklearn.save_model(model, tmp_path / "line", signature=signature, **QUICKLY)
    for uri in (info.model_uri, f"runs:/{info.run_id}/line", str(tmp_path / "line"), (tmp_path / "line").as_uri()):
        spec = read_spec(resolve_model(uri))
        assert ([f.name for f in spec.inputs], spec.version) == (["x", "y"], None)


def test_the_registry_of_the_request_wins_and_mlflows_settings_stay(versions: str, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    mlflow.MlflowClient(tracking_uri=other).search_experiments()
    assert f"no registered model '{NAME}'" in _message(f"models:/{NAME}/1", tracking_uri=other, registry_uri=other)
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == (versions, versions)
    assert resolve_model(f"models:/{NAME}/1").version == "1"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/main.registry.lime/1", f"did you mean {NAME}"),
        (f"models:/{NAME}/99", "has no version 99"),
        (f"models:/{NAME}/99", "versions that exist: 1, 2, 3, 4, 5"),
        (f"models:/{NAME}@chamipon", "has no alias 'chamipon'"),
        (f"models:/{NAME}@chamipon", "aliases that exist: champion"),
        ("models:/a/b/c", "not a model URI\n   fix: write models:/name/version"),
        ("models:/a/b/c", "or an artifact URI that MLflow fetches (s3:, gs:, abfss:"),
        ("model:/x/1", "not a model URI\n   fix: did you mean models:/x/1?"),
        ("modles:/x", "did you mean models:/x?"),
        ("Models:/x@champion", "did you mean models:/x@champion?"),
        ("models:x/1", "did you mean models:/x/1?"),
        ("gcs://bucket/model", "did you mean gs://bucket/model?"),
        ("postgres://bucket/model", "not a model URI\n   fix: write models:/name/version"),
        ("/no/such/folder", "there is no folder /no/such/folder"),
        ("runs:/0123456789abcdef/model", "its artifact cannot be fetched"),
        (f"models:/m-{'0' * 32}", "its artifact cannot be fetched"),
    ],
)
def test_a_wrong_uri_is_told_what_exists(versions: str, uri: str, expected: str) -> None:
    assert expected in _message(uri)


@pytest.mark.parametrize("name", ["with space", "été", "a#b", "50% off", "a%20b", "q?x;y"])
def test_a_file_uri_is_decoded_and_a_path_is_not(folder: str, tmp_path: Path, name: str) -> None:
    home = shutil.copytree(folder, tmp_path / name)
    encoded = home.as_uri().removeprefix("file://")
    for uri in (f"file://{encoded}", f"file:{encoded}", f"file://localhost{encoded}", f"FILE://{encoded}", str(home)):
        assert resolve_model(uri, allow_models=[str(home)]).digest == digest_of(folder)


def test_the_text_of_a_file_uri_is_taken_as_it_stands_where_only_that_is_there(folder: str, tmp_path: Path) -> None:
    plain, decoded = tmp_path / "a%20b", tmp_path / "a b"
    shutil.copytree(folder, plain)
    assert resolve_model(f"file://{plain}", allow_models=[str(plain)]).digest == digest_of(folder)
    shutil.copytree(folder, decoded)
    assert resolve_model(f"file://{plain}", allow_models=[str(decoded)]).digest == digest_of(folder)
    assert f"there is no folder {tmp_path}/no where" in _message(f"file://{tmp_path}/no%20where")


def test_a_folder_whose_name_holds_a_colon_is_a_folder(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "sklearn:model")
    monkeypatch.chdir(tmp_path)
    assert resolve_model("sklearn:model", allow_models=[f"{tmp_path}/s*"]).digest == digest_of(folder)
    with pytest.raises(ModelError, match="do not allow it"):
        resolve_model("sklearn:model", allow_models=["sklearn:*"])


@pytest.mark.parametrize(
    "name",
    ["it's", 'say "hi"', 'it\'s "it"', "''", "a b ", "50% off", "%41", "été 模型", "a\\'", "why?", "tab\t", "a@b"],
)
def test_every_name_that_mlflow_takes_is_found(logged: str, name: str) -> None:
    for _ in range(2):
        mlflow.register_model(logged, name)
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1")
    found = {tail: resolve_model(f"models:/{name}{tail}").version for tail in ("/latest", "/1", "@champion")}
    assert found == {"/latest": "2", "/1": "1", "@champion": "1"}
    if "@" not in name:  # what follows the at-sign is an alias there
        newest = resolve_model(f"models:/{name}")
        assert newest.version == "2"
        assert newest.notes == (f"the model's URI names no version: the newest is scored, as by models:/{name}/2",)
    assert resolve_model(f"models:/{name}/latest").notes == ()
    assert {v.name for v in all_versions(mlflow.MlflowClient(), name)} == {name}


def test_a_name_with_an_apostrophe_is_not_taken_for_one_like_it(logged: str) -> None:
    for name in ("o'neil", "o-neil", "o-neil", "O'Neil", "O'Neil", "O'Neil"):
        mlflow.register_model(logged, name)
    assert resolve_model("models:/o'neil").version == "1"
    assert "versions that exist: 1" in _message("models:/o'neil/7")
    mlflow.MlflowClient().create_registered_model("o'nothing")
    assert "has no version yet" in _message("models:/o'nothing")


@pytest.mark.parametrize("stage", ["Production", "production", "PRODUCTION"])
def test_a_stage_is_its_newest_version_with_a_note(staged: str, stage: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # MLflow's own warning is not shown: the note is ours
        pinned = resolve_model(f"models:/{staged}/{stage}", allow_models=[f"models:/{staged}/3"])
    assert (pinned.name, pinned.version) == (staged, "3")
    [note] = read_spec(pinned).notes
    assert "Production is a stage, which MLflow deprecates" in note
    uris = re.findall(r"models:/[\w./@]*\w", note)
    mlflow.MlflowClient().set_registered_model_alias(staged, "production", "3")
    assert [resolve_model(uri).version for uri in uris] == ["3", "3"]
    mlflow.MlflowClient().delete_registered_model_alias(staged, "production")


def test_the_stage_none_is_one_too(staged: str) -> None:
    assert resolve_model(f"models:/{staged}/None").version == "1"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (
            "Archived",
            "has no version in stage Archived\n   fix: stages and their versions: Production: 2, 3; Staging: 4",
        ),
        ("prod", "did you mean models:/main.registry.staged/Production?"),
        ("champion", "did you mean models:/main.registry.staged@Champion?"),
        ("v2", "did you mean models:/main.registry.staged/2?"),
        ("lastest", "did you mean models:/main.registry.staged/latest?"),
        (
            "xyz",
            "'xyz' is not a version number, a stage or 'latest'\n   fix: versions: 1, 2, 3, 4; aliases: Champion; st",
        ),
    ],
)
def test_a_word_without_a_version_is_told_what_is_valid(staged: str, word: str, expected: str) -> None:
    assert expected in _message(f"models:/{staged}/{word}")


@pytest.mark.parametrize("name", ["tracking_uri", "registry_uri"])
def test_a_server_that_is_not_a_uri_is_named_without_its_password(name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} .*: it is not a URI") as raised:
        resolve_model("models:/a/1", **{name: "postgresql://u:hunter2@[bad/db"})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("registry_uri", ["databricks-uc", "databricks-uc://profile", "uc:http://127.0.0.1:1"])
def test_a_registry_without_stages_says_so(registry_uri: str) -> None:
    text = _message("models:/main.ml.delay/Production", registry_uri=registry_uri)
    assert f"Production is a stage, and the registry {registry_uri} has none: Unity Catalog has aliases" in text


def test_a_slash_at_the_end_says_nothing(staged: str, logged: str, folder: str) -> None:
    assert resolve_model(f"models:/{staged}/2/").version == "2"
    assert resolve_model(f"models:/{staged}/").version == "4"
    assert resolve_model(f"models:/{staged}@Champion/").version == "1"
    assert resolve_model(f"{logged}/").uri == logged
    assert resolve_model(f"{folder}/").digest == digest_of(folder)
    run = f"runs:/{mlflow.get_logged_model(logged.removeprefix('models:/')).source_run_id}/line"
    assert resolve_model(f"{run}/", allow_models=[run]).uri == run


def test_an_artifact_uri_is_fetched_each_time(server: str, folder: str, tmp_path: Path) -> None:  # noqa: F811
    client = mlflow.MlflowClient(server)
    run = client.create_run("0").info
    client.log_artifacts(run.run_id, folder, "model")
    uri = f"{run.artifact_uri}/model"
    assert uri.startswith("mlflow-artifacts:/")
    pinned = resolve_model(f"{uri}/", tracking_uri=server, allow_models=["mlflow-artifacts:/*"])
    assert (pinned.uri, pinned.name, pinned.version) == (uri, None, None)
    assert pinned.digest == digest_of(folder)
    assert [f.name for f in read_spec(pinned).inputs] == ["x", "n"]
    client.log_artifacts(run.run_id, save_line(str(tmp_path / "other"), slope=3.0), "model")
    assert resolve_model(uri, tracking_uri=server).digest == digest_of(tmp_path / "other")
    assert "its artifact cannot be fetched" in _message(f"{uri}l", tracking_uri=server)
    assert "the tracking URI must be a valid http or https URI" in _message(uri)


def test_a_pattern_matches_an_artifact_uri_by_its_text_without_secrets(server: str, folder: str) -> None:  # noqa: F811
    client = mlflow.MlflowClient(server)
    run = client.create_run("0").info
    client.log_artifacts(run.run_id, folder, "model")
    path = run.artifact_uri.removeprefix("mlflow-artifacts:/")
    home = server.removeprefix("http://") + "/api/2.0/mlflow-artifacts/artifacts"
    uri = f"http://me:Hunter22222@{home}/{path}/model"
    pinned = resolve_model(uri, allow_models=[f"http://[*][*][*]@{home}/*"])
    assert pinned.uri == f"http://***@{home}/{path}/model"
    for pattern in (f"{cache_folder()}/*", "/*", "http://me:*", f"http://{home}/*"):
        with pytest.raises(ModelError, match="do not allow it") as raised:
            resolve_model(uri, allow_models=[pattern])
        assert "Hunter22222" not in str(raised.value)


@pytest.mark.parametrize("uri", ["s3://bucket/models/churn", "dbfs:/models/churn", "abfss://c@a.dfs.core/churn"])
def test_a_stored_model_is_never_allowed_by_where_it_is_kept(uri: str) -> None:
    with pytest.raises(ModelError, match=f"model '{uri}': the patterns of allow_models do not allow it"):
        resolve_model(uri, allow_models=[f"{cache_folder()}/*", "/*"])
    Door([uri[:-3] + "*"]).check_name([uri])


@pytest.mark.parametrize(
    "uri", ["mlflow-artifacts:/good/../evil", "s3://b/good/%2e%2E/evil", "http://h/good/%252e%252e/evil"]
)
def test_a_uri_that_leads_out_of_its_own_path_is_refused(uri: str) -> None:
    assert "a part of its path is '..'" in _message(uri)


@pytest.mark.parametrize("path", ["models/x", "databricks/mlflow-tracking/1/2/artifacts/m", "Volumes/a/b/c/d"])
def test_databricks_storage_without_credentials_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CONFIG_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    text = _message(f"dbfs:/{path}")
    assert "its artifact cannot be fetched" in text
    assert "fix: check the path and the credentials of its storage" in text


@pytest.mark.skipif(find_spec("botocore") is not None, reason="S3 can be asked here")
@pytest.mark.parametrize("scheme", ["s3", "s3a", "S3"])
def test_a_storage_whose_client_is_not_installed_names_it(scheme: str) -> None:
    assert "No module named 'botocore'\n   fix: pip install boto3" in _message(f"{scheme}://bucket/model")


def test_a_registry_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    assert "there is no registry file" in _message("models:/a.b.c/1", tracking_uri=f"sqlite:///{file}")
    assert not file.exists()


def test_a_model_without_signature_is_refused(tmp_path: Path) -> None:
    mlflow.sklearn.save_model(LinearRegression().fit(FRAME, [0, 1, 2]), tmp_path / "m", **QUICKLY)
    assert "logged without a signature" in _message(str(tmp_path / "m"))


def test_a_signature_with_only_inputs_is_refused(tmp_path: Path) -> None:
    inputs = ModelSignature(inputs=infer_signature(FRAME).inputs)
    mlflow.sklearn.save_model(LinearRegression().fit(FRAME, [0, 1, 2]), tmp_path / "m", signature=inputs, **QUICKLY)
    assert "only inputs, and no input example was saved" in _message(str(tmp_path / "m"))


@pytest.mark.parametrize(
    "half", in_short(1, [None, ModelSignature(inputs=infer_signature(FRAME).inputs)]), ids=["none", "inputs"]
)
def test_the_repair_that_a_refusal_names_works_as_typed(
    registry: str,
    spark: SparkSession,
    tmp_path: Path,
    half: ModelSignature | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first one is verified in a process of its own, as it is typed; the others in this one, which is faster."""
    spark.createDataFrame(FRAME).write.format("delta").save(str(tmp_path / "rows"))
    line = LinearRegression().fit(FRAME, [0, 1, 2])
    mlflow.sklearn.save_model(line, tmp_path / "a model", signature=half, **QUICKLY)
    name = f"main.registry.mended_{'half' if half else 'none'}"
    info = mlflow.sklearn.log_model(line, name="line", signature=half, registered_model_name=name, **QUICKLY)
    for uri, version in ((f"models:/{name}/1", "2"), (info.model_uri, "3"), (str(tmp_path / "a model"), "4")):
        command = re.search(r"spark-scoring (repair .*)", _message(uri))
        assert command is not None
        words = [{"TABLE": str(tmp_path / "rows"), "NAME": name}.get(w, w) for w in shlex.split(command[1])]
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert not stopped.value.code
        mended = read_spec(resolve_model(f"models:/{name}/latest"))
        assert (mended.version, mended.output) == (version, "double")
        monkeypatch.setitem(spark_scoring.repair_model.__kwdefaults__, "verify", "here")


def test_a_pandas_frame_repairs_as_a_table_does(registry: str, spark: SparkSession) -> None:
    frame = pd.DataFrame({"x": [0.0, None, 2.0], "flag": np.array([1, 0, 1], "uint8"), "note": ["a", np.nan, None]})
    frame["kind"] = pd.Categorical(["u", None, "v"])
    tree = HistGradientBoostingRegressor().fit(frame[["x", "flag"]], [0, 1, 2])
    mlflow.sklearn.log_model(tree, name="tree", registered_model_name="main.registry.pandas", **QUICKLY)
    repaired = repair_model("models:/main.registry.pandas/1", frame[["kind", "flag", "x", "note"]])
    assert repaired.inputs == ("x: double (optional)", "flag: double")


def test_a_pandas_frame_that_no_table_can_hold_is_refused_without_its_values(
    registry: str, spark: SparkSession
) -> None:
    line = LinearRegression().fit(FRAME, [0, 1, 2])
    mlflow.sklearn.log_model(line, name="line", registered_model_name="main.registry.mixed", **QUICKLY)
    with pytest.raises(RegistrationError, match="Conversion failed for column x") as raised:
        repair_model("models:/main.registry.mixed/1", pd.DataFrame({"x": [1, "secret"], "y": [1.0, 2.0]}))
    assert "secret" not in str(raised.value)


def test_outputs_are_inferred_from_a_saved_example(tmp_path: Path) -> None:
    inputs = ModelSignature(inputs=infer_signature(FRAME).inputs)
    model = LinearRegression().fit(FRAME, [0, 1, 2])
    mlflow.sklearn.save_model(model, tmp_path / "m", signature=inputs, input_example=FRAME, **QUICKLY)
    spec = read_spec(resolve_model(str(tmp_path / "m")))
    assert str(spec.output) == "double"
    assert "inferred from the saved input example" in spec.notes[0]


def test_a_spark_ml_model_is_refused_with_the_alternative(tmp_path: Path) -> None:
    from mlflow.models import Model

    folder = tmp_path / "model"
    folder.mkdir()
    model = Model(signature=None)
    model.add_flavor("spark", pyspark_version="4.1.4", model_data="sparkml")
    model.add_flavor("python_function", loader_module="mlflow.spark", python_version="3.11")
    model.save(str(folder / "MLmodel"))
    with pytest.raises(ModelError, match=r"(?s)needs a Spark session.*mlflow\.spark\.load_model\(uri\)\.transform"):
        read_spec(resolve_model(str(folder)))
