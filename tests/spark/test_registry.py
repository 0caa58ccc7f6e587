"""Model URIs: what each form pins, and what a wrong one is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from sklearn.linear_model import LinearRegression

from spark_scoring.errors import ModelError
from spark_scoring.model.registry import digest_of, resolve_model
from spark_scoring.model.spec import read_spec
from tests.models import register

if TYPE_CHECKING:
    from pathlib import Path

NAME = "main.registry.line"
FRAME = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": [1.0, 0.0, 1.0]})


@pytest.fixture(scope="module")
def versions(registry: str) -> str:
    """Three versions, of which the second is the champion, made in another order than their numbers read as text."""
    for slope in range(11):
        register(LinearRegression().fit(FRAME, [0, slope, 2 * slope]), FRAME, NAME)
    mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", "2")
    return registry


def _message(uri: str, **options: Any) -> str:
    with pytest.raises(ModelError) as raised:
        read_spec(resolve_model(uri, **options))
    return str(raised.value)


@pytest.mark.parametrize(
    ("tail", "version"), [("/3", "3"), ("@champion", "2"), ("/latest", "11"), ("", "11")], ids=lambda v: v or "none"
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
        info = mlflow.sklearn.log_model(model, name="line", signature=signature)
    mlflow.sklearn.save_model(model, tmp_path / "line", signature=signature)
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
        (f"models:/{NAME}/Production", "give an alias instead: models:/name@production"),
        ("models:/a/b/c", "not a model URI"),
        ("s3://bucket/model", "not a model URI"),
        ("/no/such/folder", "there is no folder /no/such/folder"),
        ("runs:/0123456789abcdef/model", "its artifact cannot be fetched"),
        (f"models:/m-{'0' * 32}", "its artifact cannot be fetched"),
    ],
)
def test_a_wrong_uri_is_told_what_exists(versions: str, uri: str, expected: str) -> None:
    assert expected in _message(uri)


def test_a_registry_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    assert "there is no registry file" in _message("models:/a.b.c/1", tracking_uri=f"sqlite:///{file}")
    assert not file.exists()


def test_a_model_without_signature_is_refused(tmp_path: Path) -> None:
    mlflow.sklearn.save_model(LinearRegression().fit(FRAME, [0, 1, 2]), tmp_path / "m")
    assert "logged without a signature" in _message(str(tmp_path / "m"))


def test_a_signature_with_only_inputs_is_refused(tmp_path: Path) -> None:
    inputs = ModelSignature(inputs=infer_signature(FRAME).inputs)
    mlflow.sklearn.save_model(LinearRegression().fit(FRAME, [0, 1, 2]), tmp_path / "m", signature=inputs)
    assert "only inputs, and no input example was saved" in _message(str(tmp_path / "m"))


def test_outputs_are_inferred_from_a_saved_example(tmp_path: Path) -> None:
    inputs = ModelSignature(inputs=infer_signature(FRAME).inputs)
    model = LinearRegression().fit(FRAME, [0, 1, 2])
    mlflow.sklearn.save_model(model, tmp_path / "m", signature=inputs, input_example=FRAME)
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
