"""Category levels: read from trained models, settled with what is recorded or given, refused where ambiguous."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from spark_scoring.errors import PlanError
from spark_scoring.model.categories import ListedLevels, OwnLevels, given_levels, own_levels, recorded_levels
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import Category, Coded, Levels, OneOf
from spark_scoring.plan.planner import Request, ScoringPlan, make_plan
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy

ROWS = 200
CITIES = ["Bath", "Cork", "Graz"]
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "num": RNG.normal(size=ROWS),
        "city": pd.Categorical(RNG.choice(CITIES, ROWS), categories=CITIES[::-1]),
        "size": pd.Categorical(RNG.choice([10, 20], ROWS)),
        "flag": pd.Categorical(RNG.choice([True, False], ROWS)),
        "half": pd.Categorical(RNG.choice([0.5, 1.5], ROWS)),
        "code": RNG.integers(0, 4, ROWS),
    }
)
LABEL = ((FRAME["city"] == "Graz") | (FRAME["code"] == 1)).astype(int)
TYPES = {"num": "double", "city": "string", "size": "long", "flag": "boolean", "half": "double", "code": "long"}
CITY = Levels("string", ("Graz", "Cork", "Bath"))


def lgbm(columns: list[str], frame: pd.DataFrame = FRAME, **options: Any) -> Any:
    return lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(frame[columns], LABEL, **options)


def read(model: Any, columns: list[str]) -> OwnLevels:
    return own_levels(model, columns, TYPES)


def test_lightgbm_levels_of_every_type_have_their_features() -> None:
    columns = ["num", "city", "size", "flag", "half", "code"]
    model = lgbm(columns)
    named = {
        "city": CITY,
        "size": Levels("long", (10, 20)),
        "flag": Levels("boolean", (False, True)),
        "half": Levels("double", (0.5, 1.5)),
    }
    assert dict(read(model, columns).named) == named
    assert dict(read(model.booster_, columns).named) == named
    assert dict(read(make_pipeline("passthrough", model), columns).named) == named


def test_lightgbm_text_levels_are_found_beside_ordered_and_coded_features() -> None:
    """Ordered categories are held like others and split like numbers: only the text columns can be meant."""
    frame = FRAME.assign(city=FRAME["city"].cat.as_ordered())
    found = read(lgbm(["num", "city", "code"], frame, categorical_feature=["code"]), ["num", "city", "code"])
    assert dict(found.named) == {"city": CITY}
    assert found.coded == ("code",)


def test_lightgbm_levels_that_could_be_of_two_features_are_not_guessed() -> None:
    frame = FRAME.assign(size=FRAME["size"].cat.as_ordered())
    found = read(lgbm(["num", "size", "code"], frame, categorical_feature=["code"]), ["num", "size", "code"])
    assert found == OwnLevels(unassigned=(Levels("long", (10, 20)),), coded=("code",))


def test_lightgbm_on_codes_holds_no_levels() -> None:
    assert read(lgbm(["num", "code"], categorical_feature=["code"]), ["num", "code"]) == OwnLevels(coded=("code",))


def test_lightgbm_names_with_spaces_are_the_signatures() -> None:
    frame = FRAME.rename(columns={"city": "home city"})
    found = own_levels(lgbm(["num", "home city"], frame), ["num", "home city"], {"home city": "string"})
    assert dict(found.named) == {"home city": CITY}


def test_xgboost_levels_have_their_features() -> None:
    model = xgboost.XGBClassifier(n_estimators=2, enable_categorical=True).fit(FRAME[["num", "city", "size"]], LABEL)
    named = {"city": CITY, "size": Levels("long", (10, 20))}
    assert dict(read(model, ["num", "city", "size"]).named) == named
    assert dict(read(model.get_booster(), ["num", "city", "size"]).named) == named


def test_xgboost_levels_beyond_ascii_are_cut_and_so_unknown() -> None:
    frame = pd.DataFrame({"city": FRAME["city"].cat.rename_categories({"Bath": "Łódź"})})
    model = xgboost.XGBClassifier(n_estimators=2, enable_categorical=True).fit(frame, LABEL)
    assert read(model, ["city"]) == OwnLevels(unknown=("city",))


def test_hist_gradient_boosting_levels_have_their_features() -> None:
    days = pd.Categorical([dt.date(2026, 1, 1 + int(i)) for i in RNG.integers(0, 3, ROWS)])
    frame = FRAME[["num", "city"]].assign(day=days)
    model = HistGradientBoostingClassifier(max_iter=2).fit(frame, LABEL)
    named = dict(read(model, ["num", "city", "day"]).named)
    assert named["city"] == Levels("string", ("Bath", "Cork", "Graz"))
    assert named["day"] == Levels("date", ("2026-01-01", "2026-01-02", "2026-01-03"))


@pytest.mark.parametrize("missing", [None, np.nan])
def test_encoders_that_raise_list_their_levels(missing: Any) -> None:
    text = FRAME[["city"]].astype(object)
    text.loc[0, "city"] = missing
    columns = ColumnTransformer([("text", OneHotEncoder(), ["city"]), ("rest", "passthrough", ["num"])])
    model = make_pipeline(columns, RandomForestClassifier(2)).fit(FRAME[["num"]].join(text), LABEL)
    found = read(model, ["num", "city"])
    assert [(x.feature, x.levels.values, x.null) for x in found.listed] == [("city", tuple(CITIES), True)]
    assert found.nan == (() if missing is None else ("city",))


def test_encoders_that_take_unknown_values_list_nothing() -> None:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(encoder, RandomForestClassifier(2)).fit(FRAME[["city"]].astype(object), LABEL)
    assert read(model, ["city"]) == OwnLevels()


def test_an_imputer_before_the_encoder_takes_nulls() -> None:
    text = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    model = make_pipeline(ColumnTransformer([("text", text, ["city"])]), RandomForestClassifier(2))
    found = read(model.fit(FRAME[["city"]].astype(object), LABEL), ["city"])
    assert [(x.feature, x.null) for x in found.listed] == [("city", True)]
    assert found.nan == ("city",)


def test_recorded_levels_are_read_from_the_metadata() -> None:
    metadata = {"spark_scoring": {"categories": {"city": ["b", "a"], "day": [dt.date(2026, 1, 1)], "half": [0.5, 1]}}}
    assert recorded_levels(metadata) == {
        "city": Levels("string", ("b", "a"), "its metadata"),
        "day": Levels("date", ("2026-01-01",), "its metadata"),
        "half": Levels("double", (0.5, 1.0), "its metadata"),
    }
    assert recorded_levels(None) == recorded_levels({"spark_scoring": "other"}) == {}


@pytest.mark.parametrize("values", [[], "abc", ["a", 1], ["a", "a"], ["a", None], [True, 1], [float("nan")]])
def test_what_is_no_list_of_levels_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="levels are"):
        given_levels(values, "the job")


MODEL = ModelSpec(
    uri="models:/m/1",
    name="m",
    version="1",
    run_id=None,
    digest="d" * 64,
    path="/m",
    flavor="lightgbm",
    inputs=(Feature("city", "string"), Feature("code", "long")),
    output="long",
)
SCHEMA = StructType([StructField("city", StringType()), StructField("code", LongType())])
GIVEN = Levels("string", ("x", "y"), "the job")


def plan(model: ModelSpec = MODEL, schema: StructType = SCHEMA, **options: Any) -> ScoringPlan:
    options["policy"] = Policy.of(options.pop("policy", "strict"))
    return make_plan(model, schema, Request(**options))


def problems(*args: Any, **options: Any) -> list[str]:
    with pytest.raises(PlanError) as raised:
        plan(*args, **options)
    return [str(problem) for problem in raised.value.problems]


def test_levels_come_from_the_model_then_its_metadata_then_the_job() -> None:
    own = replace(MODEL, levels=OwnLevels(named=(("city", CITY),)), recorded=(("code", GIVEN),))
    assert [f.type for f in plan(own).features] == [Category(CITY), Coded("long", GIVEN)]
    job = Levels("string", ("z",), "the job")
    assert plan(MODEL, categories={"code": job}).features[1].type == Coded("long", job)
    assert plan(categories={"city": GIVEN}).features[0].type == OneOf("string", GIVEN, null=True)


def test_levels_that_contradict_the_models_are_refused() -> None:
    own = replace(MODEL, levels=OwnLevels(named=(("city", CITY),)))
    assert "the model holds other levels (3 string levels)" in problems(own, categories={"city": GIVEN})[0]
    listed = replace(MODEL, levels=OwnLevels(listed=(ListedLevels("city", CITY, null=False),)))
    assert "the model holds other levels" in problems(listed, categories={"city": GIVEN})[0]
    recorded = replace(MODEL, recorded=(("city", replace(CITY, origin="its metadata")),))
    assert "its metadata holds other levels" in problems(recorded, categories={"city": GIVEN})[0]


def test_levels_without_features_are_settled_by_the_job_alone() -> None:
    held = replace(MODEL, levels=OwnLevels(unassigned=(replace(GIVEN, origin="the model"),)))
    assert "holds category levels (2 string levels) and does not say of which features" in problems(held)[0]
    assert plan(held, categories={"city": GIVEN}).features[0].type == Category(GIVEN)
    assert problems(held, categories={"city": Levels("string", ("y", "x"))})


def test_category_columns_whose_levels_nobody_knows_are_refused() -> None:
    lost = replace(MODEL, levels=OwnLevels(unknown=("city",)))
    assert "whose levels it does not hold: city" in problems(lost)[0]
    assert plan(lost, categories={"city": GIVEN}).features[0].type == Category(GIVEN)


def test_codes_take_numbers_as_they_are_and_text_only_with_levels() -> None:
    coded = replace(MODEL, levels=OwnLevels(coded=("code",)))
    assert plan(coded).features[1].conversion == "same"
    text = StructType([StructField("city", StringType()), StructField("code", StringType())])
    (problem,) = problems(coded, text)
    assert "trained on category codes, and the model does not hold the levels that `code` has" in problem
    assert "categories: {code: [...]}" in problem
    assert plan(coded, text, categories={"code": GIVEN}).features[1].conversion == "level"


def test_a_level_is_matched_on_its_own_type() -> None:
    numbers = replace(MODEL, levels=OwnLevels(named=(("code", Levels("long", (3, 1))),)))
    schema = StructType([StructField("city", StringType()), StructField("code", DoubleType())])
    feature = plan(numbers, schema).features[1]
    assert (feature.verdict, feature.members[0].rule.conversion, feature.reason) == (
        "checked",
        "whole",
        "unknown level",
    )
    text = replace(MODEL, levels=OwnLevels(named=(("city", CITY),)))
    schema = StructType([StructField("city", LongType()), StructField("code", LongType())])
    assert plan(text, schema).features[0].verdict == "renders"


def test_policies_of_levels() -> None:
    own = replace(MODEL, levels=OwnLevels(named=(("city", CITY),)))
    strict = plan(own).features[0].handling
    assert (strict.nulls, strict.invalid, strict.absent) == ("keep", "bad_row", None)
    lenient = plan(own, policy="lenient").features[0].handling
    assert (lenient.nulls, lenient.invalid, lenient.absent) == ("keep", Fill(None), Fill(None))
    missing = plan(own, policy={"city": FeaturePolicy(invalid="missing")}).features[0].handling
    assert missing.invalid == Fill(None)
    assert plan(own, policy={"city": FeaturePolicy(nulls=Fill("Cork"))}).features[0].handling.nulls == Fill("Cork")
    (problem,) = problems(own, policy={"city": FeaturePolicy(nulls=Fill("Oslo"))})
    assert 'the value "Oslo" is no category of 3 string levels' in problem


def test_a_library_that_refuses_null_text_makes_bad_rows_of_it() -> None:
    text = replace(MODEL, inputs=(Feature("city", "string", nullable=False), MODEL.inputs[1]))
    assert plan(text).features[0].handling.nulls == "bad_row"
    (problem,) = problems(text, policy={"city": FeaturePolicy(nulls="keep")})
    assert "the model's library refuses a null here" in problem
