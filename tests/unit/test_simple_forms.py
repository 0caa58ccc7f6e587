"""What may be said shortly, in YAML and Python alike; and that no misspelt choice is ever taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from pyspark.sql.types import StructType

import spark_scoring as ss
from spark_scoring.arguments import choices_of
from spark_scoring.errors import RequestError
from spark_scoring.job_problems import JobError
from spark_scoring.model.trust import RESTRICT_SQL
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy
from spark_scoring.registration.register import request_problems

if TYPE_CHECKING:
    from pathlib import Path

BASE: dict[str, Any] = {"model": "models:/m/1", "source": "shop.orders", "output": "shop.scores"}


def job(**fields: Any) -> ss.ScoringJob:
    return ss.ScoringJob.from_dict({**BASE, **fields})


def told(**fields: Any) -> str:
    with pytest.raises(JobError) as raised:
        job(**fields)
    return str(raised.value)


def from_file(tmp_path: Path, text: str, **params: Any) -> ss.ScoringJob:
    (tmp_path / "job.yml").write_text(text)
    return ss.ScoringJob.from_yaml(tmp_path / "job.yml", params=params)


def test_a_text_is_a_table_or_a_path() -> None:
    assert (job().source.table, job().output.table) == ("shop.orders", "shop.scores")
    for path in ("data/orders", "/data/orders", "./orders", "s3://bucket/orders", "C:\\data\\orders"):
        assert job(source=path).source.path == path
    assert job(source="`a/b`.orders").source.table == "`a/b`.orders"


def test_a_name_is_a_list_of_one() -> None:
    short = job(
        output={"table": "a.b", "mode": "merge", "key": "id", "keep": "id"}, predict="predict_proba", allow_models="m*"
    )
    assert (short.output.key, short.output.keep) == (("id",), ("id",))
    assert (short.predict, short.allow_models) == (("predict_proba",), ("m*",))
    assert short == ss.ScoringJob.from_dict(short.model_dump(by_alias=True))


@pytest.mark.parametrize(("written", "share"), [("1%", 0.01), (" 12.5 % ", 0.125), ("100%", 1.0), (7, 7), (0.5, 0.5)])
def test_a_share_may_be_a_percentage(written: object, share: float) -> None:
    limit = job(max_bad_rows=written).max_bad_rows
    assert limit == share
    assert isinstance(limit, type(share))


@pytest.mark.parametrize("written", ["101%", "one", -1, 1.5, float("nan"), True])
def test_a_limit_that_is_none_is_refused(written: object) -> None:
    assert "max_bad_rows: " in told(max_bad_rows=written)


@pytest.mark.parametrize(
    "policy",
    [
        {"visits": {"nulls": {"fill": 0}}, "*": "lenient"},
        {"visits": FeaturePolicy(nulls=Fill(0)), "*": FeaturePolicy(preset="lenient")},
        {"visits": {"nulls": Fill(np.int64(0))}, "*": "lenient"},
        Policy(FeaturePolicy(preset="lenient"), (("visits", FeaturePolicy(nulls=Fill(0))),)),
    ],
)
def test_a_policy_is_the_same_in_every_form(policy: object) -> None:
    found = choices_of("models:/m/1", policy=policy).scoring_policy()
    assert found.for_feature("visits") == FeaturePolicy("lenient", nulls=Fill(0))
    assert found.for_feature("other") == FeaturePolicy("lenient")


@pytest.mark.parametrize(
    ("argument", "value", "near"),
    [
        ("policy", "lenientt", "did you mean lenient?"),
        ("policy", {"x": "Strict"}, "did you mean strict?"),
        ("policy", {"x": FeaturePolicy(nulls="keeep")}, "did you mean keep?"),  # type: ignore[arg-type]
        ("stage", "pandas", "give udf or map"),
        ("predict", "predict_prob", "did you mean predict_proba?"),
        ("predict", ["predict", "predictt"], "did you mean predict?"),
        ("per_class", "arrays", "did you mean array?"),
        ("rehearse", "yes", "give true or false"),
        ("batch_dependent", 1, "give true or false"),
        ("columns", {"x": 3}, "give text"),
        ("columns", "x", "give SQL per feature"),
        ("categories", {"c": {"a", "b"}}, "give lists"),
        ("names", {"prediction": 1}, "names.prediction: it is a number"),
    ],
)
def test_no_misspelt_choice_is_taken(argument: str, value: object, near: str) -> None:
    with pytest.raises(RequestError) as raised:
        ss.plan_scoring("models:/m/1", StructType(), **{argument: value}) if argument not in (
            "stage",
            "names",
        ) else choices_of("models:/m/1", **{argument: value})
    assert near in str(raised.value)
    assert argument in str(raised.value)


def test_a_pandas_frame_is_prepared_by_a_checked_policy() -> None:
    frame = pd.DataFrame({"x": [1.0, None]})
    signature = infer_signature(frame.fillna(0.0), np.zeros(2))
    made = ss.prepare_features(frame, signature, {"x": {"nulls": {"fill": 7}}})
    assert made.frame["x"].tolist() == [1.0, 7.0]
    with pytest.raises(JobError, match="did you mean lenient"):
        ss.prepare_features(frame, signature, "lenientt")  # type: ignore[arg-type]


def test_the_place_where_a_model_is_tried_is_checked() -> None:
    (problem,) = request_problems("main.ml.delay", (), "aprt")
    assert str(problem) == "verify 'aprt': there is no such choice\n   fix: give apart or here"


def test_levels_may_be_an_array() -> None:
    levels = choices_of("models:/m/1", categories={"c": np.array(["b", "a"]), "d": pd.Series([2, 1])}).categories
    assert levels == {"c": ("b", "a"), "d": (2, 1)}


def test_no_text_of_pydantic_is_shown() -> None:
    wrong = {
        "name": ["a"],
        "model": None,
        "source": 3,
        "output": ["a"],
        "columns": {1: "x", "y": None},
        "policy": {"a": {"nulls": {"fil": 0}}, "b": 4, "c": {"absent": 1}},
        "categories": {"c": "AA"},
        "predict": [],
        "params": 1,
        "per_class": None,
        "max_bad_rows": "lots",
        "force": "maybe",
        "incremental": "yes",
        "rehearse": "no",
        "expect_digest": "xyz",
        "tracking_uri": 5,
        "allow_models": {"a": 1},
    }
    with pytest.raises(JobError) as raised:
        ss.ScoringJob(**wrong)
    shown = str(raised.value)
    for word in ("Input should", "a valid", "instance", "pydantic", "unable", "literal", "str_", "Value error"):
        assert word not in shown.removeprefix("the job is not valid")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    named = {problem.thing for problem in raised.value.problems}
    assert named >= {*wrong} - {"columns", "policy", "categories"}
    assert named >= {"columns.1", "columns.y", "policy.a.nulls.fil", "policy.b", "policy.c.absent", "categories.c"}


def test_a_job_that_is_changed_tells_how() -> None:
    with pytest.raises(JobError, match="a job does not change"):
        job().model = "models:/m/2"
    again = ss.ScoringJob.from_dict({**job().model_dump(by_alias=True), "model": "models:/m/2"})
    assert again.model == "models:/m/2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models:/m/1", pd.DataFrame({"x": [1]})), "write score_batch(df, model)"),
        ((pd.DataFrame({"x": [1]}), "models:/m/1"), "it is a pandas DataFrame, and not a DataFrame of Spark's"),
        (("shop.orders", "models:/m/1"), "give spark.table('shop.orders')"),
        (([1], "models:/m/1"), "it is a list, and not a DataFrame of Spark's"),
    ],
)
def test_another_frame_is_told(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(RequestError) as raised:
        ss.score_batch(*arguments)
    assert message in str(raised.value)


def test_swapped_arguments_of_a_plan_are_told() -> None:
    with pytest.raises(RequestError, match=r"write plan_scoring\(model, df\)"):
        ss.plan_scoring(pd.DataFrame({"x": [1]}), "models:/m/1")  # type: ignore[arg-type]


def test_a_model_in_memory_is_told() -> None:
    with pytest.raises(RequestError, match="it is a dict, and not the URI of a model"):
        ss.plan_scoring({}, StructType())  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [ss.plan_job, ss.run_job])
def test_a_job_may_be_a_file_or_a_mapping(call: Any, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="No such file"):
        call(str(tmp_path / "none.yml"))
    with pytest.raises(JobError, match="modle"):
        call({"modle": 1})
    with pytest.raises(RequestError, match="it is a list, and not a job"):
        call([])
    with pytest.raises(RequestError, match="run_job"):
        call(BASE, params={"day": 1})


def test_parameters_fill_names_and_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGE_OF_TEST", "prod")
    found = from_file(
        tmp_path,
        'model: models:/m@${ALIAS}\nsource: {table: "${STAGE_OF_TEST}.orders", where: "day = :day AND note <> \':day\' '
        'AND s = :STAGE_OF_TEST AND a::int > :low"}\noutput: "out/$${day}/${day}"\ncolumns: {x: "f(:word)"}',
        ALIAS="champion",
        day="2026-11-25",
        low=-5,
        word="it's",
    )
    assert (found.model, found.source.table, found.output.path) == (
        "models:/m@champion",
        "prod.orders",
        "out/${day}/2026-11-25",
    )
    assert found.source.where == "day = DATE '2026-11-25' AND note <> ':day' AND s = 'prod' AND a::int > (-5)"
    assert found.columns["x"] == "f(decode(X'69742773', 'UTF-8'))"


def test_where_sql_is_restricted_no_parameter_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the secrets of the cluster, which a name or a filter would show."""
    monkeypatch.setenv("PRIVATE_OF_TEST", "hunter2")
    text = 'model: m\nsource: {table: "a.b", where: "note = :PRIVATE_OF_TEST"}\noutput: "out/${PRIVATE_OF_TEST}"'
    assert "hunter2" in str(from_file(tmp_path, text).output.path)
    monkeypatch.setenv(RESTRICT_SQL, "1")
    with pytest.raises(JobError) as raised:
        from_file(tmp_path, text)
    assert [(p.thing, p.cause) for p in raised.value.problems] == [
        ("source.where", f":PRIVATE_OF_TEST has no value: {RESTRICT_SQL} does not let jobs read the environment"),
        ("output", f"${{PRIVATE_OF_TEST}} has no value: {RESTRICT_SQL} does not let jobs read the environment"),
    ]
    assert from_file(tmp_path, text, PRIVATE_OF_TEST="given").output.path == "out/given"
    monkeypatch.setenv(RESTRICT_SQL, "perhaps")
    with pytest.raises(JobError, match=f"{RESTRICT_SQL}: its value is not one"):
        from_file(tmp_path, text)


def test_every_parameter_that_is_wrong_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    text = "model: ${NOWHERE}\nsource: {table: a, where: 'd = :dya AND e = ${day} AND f > :feb'}\noutput: 5"
    with pytest.raises(JobError) as raised:
        from_file(tmp_path, text, daay="x", feb="2026-02-30")
    shown = str(raised.value)
    assert "model: ${NOWHERE} has no value\n    fix: give --param NOWHERE=VALUE" in shown
    assert "source.where: :dya has no value" in shown
    assert "source.where: ${day} would become a part of the SQL" in shown
    assert "parameter feb: it is written like a date or a time, and is not one of the calendar" in shown
    assert "parameter daay: the job has no place for it\n    fix: did you mean day" in shown
    assert "output: it is a number" in shown


def test_a_brace_inside_braces_asks_for_quotes(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="needs quotes"):
        from_file(tmp_path, "source: {table: ${ENV}.orders}")


def test_a_setting_is_laid_over_a_place_that_is_a_text_alone(tmp_path: Path) -> None:
    file = tmp_path / "job.yml"
    file.write_text("model: models:/m/1\nsource: crm.customers\noutput: data/scored\n")
    job = ss.ScoringJob.from_yaml(file, ["source.where=age > 3", "output.mode=overwrite"])
    assert (job.source.table, job.source.where) == ("crm.customers", "age > 3")
    assert (job.output.path, job.output.mode) == ("data/scored", "overwrite")
    assert ss.ScoringJob.from_yaml(file, ["source.table=crm.others"]).source.table == "crm.others"
