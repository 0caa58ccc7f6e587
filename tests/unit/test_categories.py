"""Category levels: read from trained models, settled with what is recorded or given, refused where ambiguous."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomTreesEmbedding,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from spark_scoring.errors import PlanError
from spark_scoring.model.categories import OwnLevels, own_levels
from spark_scoring.model.levels import given_levels
from spark_scoring.model.library_levels import ListedLevels
from spark_scoring.model.recorded import recorded_levels
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import Category, Coded, Levels, OneOf
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy
from spark_scoring.plan.request import Request

if TYPE_CHECKING:
    from spark_scoring.plan.scoring_plan import ScoringPlan

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


# Levels of what is inside a model.

TWO = ["num", "city"]
LOST = FRAME[TWO].assign(city=FRAME["city"].cat.rename_categories({"Bath": "Łódź"}))
"""XGBoost cuts its levels at the wrong places, and so has lost them."""


def booster() -> Any:
    return lightgbm.LGBMClassifier(n_estimators=2, num_leaves=3, verbose=-1, n_jobs=1)


def extreme() -> Any:
    return xgboost.XGBClassifier(n_estimators=2, max_depth=2, enable_categorical=True)


def histogram() -> Any:
    return HistGradientBoostingClassifier(max_iter=2, categorical_features="from_dtype")


def voting(*models: Any) -> Any:
    return VotingClassifier([(str(i), model) for i, model in enumerate(models)])


@pytest.mark.parametrize("make", [booster, extreme, histogram])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: GridSearchCV(model, {"max_depth": [2]}, cv=2),
        lambda model: CalibratedClassifierCV(model, cv=2),
        lambda model: CalibratedClassifierCV(FrozenEstimator(model.fit(FRAME[TWO], LABEL))),
        lambda model: voting(model, model),
        lambda model: StackingClassifier([("a", model)], cv=2),
        OneVsRestClassifier,
        lambda model: Pipeline([("none", None), ("inner", make_pipeline("passthrough", model))]),
    ],
    ids=["search", "calibration", "frozen", "voting", "stacking", "one vs rest", "pipeline"],
)
def test_levels_inside_a_meta_estimator_are_the_models(make: Any, wrap: Any) -> None:
    found = read(wrap(make()).fit(FRAME[TWO], LABEL), TWO)
    assert [(name, set(levels.values)) for name, levels in found.named] == [("city", set(CITIES))]
    assert found.seen == (("city",) if make is histogram else ())


def test_levels_that_several_models_inside_hold_are_in_the_dtypes_order() -> None:
    assert dict(read(voting(histogram(), booster()).fit(FRAME[TWO], LABEL), TWO).named) == {"city": CITY}
    found = read(voting(histogram(), extreme()).fit(FRAME[TWO], LABEL), TWO)
    assert (dict(found.named), found.seen) == ({"city": CITY}, ())


def test_a_level_that_any_of_the_models_inside_knows_is_one_where_others_take_it_as_missing() -> None:
    few = FRAME[FRAME["city"] != "Bath"][TWO]
    few = few.assign(city=few["city"].cat.remove_unused_categories())
    known = [FrozenEstimator(booster().fit(frame, LABEL[frame.index])) for frame in (few, FRAME[TWO])]
    assert dict(read(voting(*known).fit(FRAME[TWO], LABEL), TWO).named) == {"city": CITY}


def test_whole_numbers_that_a_model_inside_holds_as_floats_are_the_same_levels() -> None:
    """A column with a missing value is one of floats to an encoder."""
    tens = FRAME.loc[FRAME["size"] == 10, ["size"]]
    some = FRAME[["size"]].where(FRAME["num"] > 0)
    known = [FrozenEstimator(histogram().fit(frame, LABEL[frame.index])) for frame in (tens, some)]
    found = dict(read(voting(*known).fit(tens, LABEL[tens.index]), ["size"]).named)
    assert found == {"size": Levels("double", (10.0, 20.0))}


def test_a_level_that_a_model_inside_refuses_is_not_one() -> None:
    few = FRAME[FRAME["city"] != "Bath"][TWO]
    few = few.assign(city=few["city"].cat.remove_unused_categories())
    known = [FrozenEstimator(booster().fit(FRAME[TWO], LABEL)), FrozenEstimator(extreme().fit(few, LABEL[few.index]))]
    model = voting(*known).fit(few, LABEL[few.index])
    assert dict(read(model, TWO).named) == {"city": Levels("string", ("Graz", "Cork"))}


def test_levels_that_one_model_inside_has_lost_are_those_of_another_that_keeps_the_dtypes_order() -> None:
    assert read(GridSearchCV(extreme(), {}, cv=2).fit(LOST, LABEL), TWO).unknown == ("city",)
    found = read(voting(extreme(), booster()).fit(LOST, LABEL), TWO)
    assert dict(found.named) == {"city": Levels("string", ("Graz", "Cork", "Łódź"))}
    found = read(voting(extreme(), histogram()).fit(LOST, LABEL), TWO)
    assert (found.named, found.unknown) == ((), ("city",))


def test_levels_that_the_models_inside_hold_twice_without_names_are_one() -> None:
    frame = FRAME.assign(size=FRAME["size"].cat.as_ordered())[["num", "size", "code"]]
    model = OneVsRestClassifier(booster()).fit(frame, FRAME["code"])
    assert read(model, list(frame)).unassigned == (Levels("long", (10, 20)),)


def test_an_encoder_beside_a_model_of_categories_leaves_the_feature_a_category() -> None:
    encoded = make_pipeline(make_column_transformer((OneHotEncoder(), ["city"])), DecisionTreeClassifier(max_depth=2))
    found = read(voting(encoded, booster()).fit(FRAME[TWO], LABEL), TWO)
    assert (dict(found.named), found.listed) == ({"city": CITY}, ())


def test_values_are_those_that_every_encoder_inside_knows() -> None:
    text = FRAME[["city"]].astype(object)
    few = text[text["city"] != "Bath"]
    encoders = [
        FrozenEstimator(make_pipeline(OneHotEncoder(), DecisionTreeClassifier()).fit(frame, LABEL[frame.index]))
        for frame in (text, few)
    ]
    (found,) = read(voting(*encoders).fit(few, LABEL[few.index]), ["city"]).listed
    assert found == ListedLevels("city", Levels("string", ("Cork", "Graz")), null=False)


def test_an_encoder_behind_a_function_may_see_other_values_and_lists_none() -> None:
    text = FRAME[["city"]].astype(object)
    upper = FunctionTransformer(lambda frame: frame.apply(lambda column: column.str.upper()))
    model = make_pipeline(upper, OneHotEncoder(), DecisionTreeClassifier()).fit(text, LABEL)
    assert read(model, ["city"]) == OwnLevels()


def test_an_encoder_behind_imputers_of_nested_pipelines_lists_its_values() -> None:
    text = FRAME[["city"]].astype(object)
    imputers = Pipeline([("inner", make_pipeline("passthrough", SimpleImputer(strategy="most_frequent")))])
    found = read(make_pipeline(imputers, OneHotEncoder(), DecisionTreeClassifier()).fit(text, LABEL), ["city"])
    assert [(x.feature, x.levels.values, x.null) for x in found.listed] == [("city", tuple(CITIES), True)]


def test_categories_that_a_step_makes_are_its_own_business() -> None:
    """Codes of an encoder and bins of a number: the table has the text and the number."""
    text = FRAME[TWO].astype({"city": object})
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    first = make_column_transformer((encoder, ["city"]), remainder="passthrough", verbose_feature_names_out=False)
    first.set_output(transform="pandas")
    coded = make_pipeline(first, booster()).fit(text, LABEL, lgbmclassifier__categorical_feature=["city"])
    assert read(coded, TWO) == OwnLevels()
    named = make_pipeline(first, HistGradientBoostingClassifier(max_iter=2, categorical_features=["city"]))
    assert read(named.fit(text, LABEL), TWO) == OwnLevels()
    codes = FunctionTransformer(lambda frame: frame.assign(city=frame["city"].map({"Bath": 0, "Cork": 1, "Graz": 2})))
    coded = make_pipeline(codes, booster()).fit(text, LABEL, lgbmclassifier__categorical_feature=["city"])
    assert read(coded, TWO) == OwnLevels()
    bins = FunctionTransformer(lambda frame: frame.assign(bin=pd.cut(frame["num"], [-9, 0, 9], labels=["low", "high"])))
    assert read(make_pipeline(bins, booster()).fit(FRAME[["num"]], LABEL), ["num"]) == OwnLevels()


def test_categories_that_steps_pass_on_under_another_name_are_the_models() -> None:
    first = make_column_transformer(("drop", ["num"]), remainder="passthrough").set_output(transform="pandas")
    assert dict(read(make_pipeline(first, booster()).fit(FRAME[TWO], LABEL), TWO).named) == {"city": CITY}


def test_columns_without_names_are_those_of_the_signature_in_order() -> None:
    frame = FRAME[TWO].set_axis([0, 1], axis=1)
    for make in (booster, extreme, histogram):
        found = own_levels(GridSearchCV(make(), {}, cv=2).fit(frame, LABEL), ["0", "1"], {"0": "double", "1": "string"})
        assert [name for name, _ in found.named] == ["1"]


def test_catboosts_text_inside_a_search_takes_no_null() -> None:
    text = FRAME[TWO].astype({"city": object})
    model = catboost.CatBoostClassifier(iterations=2, verbose=False, allow_writing_files=False)
    search = GridSearchCV(model, {"depth": [2]}, cv=2).fit(text, LABEL, cat_features=["city"])
    assert read(search, TWO) == OwnLevels(text=("city",))


def test_a_model_that_is_not_trained_holds_nothing() -> None:
    for model in (booster(), extreme(), histogram(), GridSearchCV(booster(), {}), make_pipeline(OneHotEncoder())):
        assert read(model, TWO) == OwnLevels()


# Which missing value training had.

NAN_TEXT = FRAME[TWO].astype({"city": object}).mask(RNG.random((ROWS, 2)) < 0.1, np.nan)
IMPUTED = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
NAN_LEVEL = OneHotEncoder(handle_unknown="ignore")
FLAGGED = make_union(MissingIndicator(), IMPUTED)


@pytest.mark.parametrize("text", [IMPUTED, NAN_LEVEL, FLAGGED], ids=["imputer", "encoder", "flags"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda steps: GridSearchCV(make_pipeline(steps, Ridge()), {}, cv=2),
        lambda steps: TransformedTargetRegressor(make_pipeline(steps, Ridge())),
        lambda steps: Pipeline([("first", Pipeline([("inner", steps)])), ("ridge", Ridge())]),
        lambda steps: make_pipeline(FunctionTransformer(lambda frame: frame.copy()), steps, Ridge()),
        lambda steps: make_pipeline(FunctionTransformer(), steps, Ridge()),
        lambda steps: CalibratedClassifierCV(make_pipeline(steps, LogisticRegression()), cv=2),
    ],
    ids=["search", "target", "nested", "function", "no function", "calibration"],
)
def test_text_whose_missing_value_was_nan_is_found_wherever_it_goes(wrap: Any, text: Any) -> None:
    steps = ColumnTransformer([("text", text, ["city"])])
    assert read(wrap(steps).fit(NAN_TEXT, LABEL), TWO).nan == ("city",)


def test_text_that_a_function_picks_into_a_matrix_keeps_its_nan() -> None:
    picks = FunctionTransformer(lambda frame: frame[["city"]].to_numpy())
    for text in (IMPUTED, NAN_LEVEL):
        assert read(make_pipeline(picks, text, Ridge()).fit(NAN_TEXT, LABEL), TWO).nan == ("city",)


def test_text_whose_missing_value_was_none_is_not_among_those_of_nan() -> None:
    text = NAN_TEXT[["city"]].astype(object).where(NAN_TEXT[["city"]].notna(), None)
    imputer = SimpleImputer(strategy="constant", missing_values=None, fill_value="none")
    filled = make_pipeline(imputer, SimpleImputer(strategy="most_frequent"), NAN_LEVEL)
    for steps in (make_pipeline(NAN_LEVEL), make_pipeline(imputer, NAN_LEVEL), filled):
        assert read(GridSearchCV(make_pipeline(steps, Ridge()), {}, cv=2).fit(text, LABEL), ["city"]).nan == ()


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


def test_the_same_levels_in_another_order_are_the_same_where_the_model_looks_them_up_by_value() -> None:
    other = Levels("string", ("Bath", "Graz", "Cork"), "its metadata")
    named = replace(MODEL, levels=OwnLevels(named=(("city", CITY),)), recorded=(("city", other),))
    assert plan(named, categories={"city": replace(other, origin="the job")}).features[0].type == Category(CITY)
    listed = OwnLevels(listed=(ListedLevels("city", CITY, null=True),))
    known = replace(MODEL, levels=listed, recorded=(("city", other),))
    assert plan(known).features[0].type == OneOf("string", CITY, null=True)
    unnamed = replace(MODEL, levels=OwnLevels(unassigned=(CITY,)), recorded=(("city", other),))
    assert plan(unnamed).features[0].type == Category(replace(CITY, origin="its metadata"))


def test_the_order_of_levels_that_are_known_by_their_codes_only_is_compared() -> None:
    coded = replace(MODEL, recorded=(("code", replace(GIVEN, origin="its metadata")),))
    assert "its metadata holds other levels" in problems(coded, categories={"code": Levels("string", ("y", "x"))})[0]
    lost = replace(MODEL, levels=OwnLevels(unknown=("city",)), recorded=(("city", GIVEN),))
    assert "holds other levels" in problems(lost, categories={"city": Levels("string", ("y", "x"))})[0]
    text = replace(MODEL, recorded=(("city", GIVEN),))
    assert plan(text, categories={"city": Levels("string", ("y", "x"))}).features[0].type == OneOf(
        "string", GIVEN, null=True
    )


def test_recorded_levels_that_no_row_of_training_had_are_levels_of_a_model_that_keeps_those_of_rows() -> None:
    dtype = Levels("string", (*CITY.values, "Oslo"), "its metadata")
    rows = OwnLevels(named=(("city", CITY),), seen=("city",))
    model = replace(MODEL, levels=rows, recorded=(("city", dtype),))
    assert plan(model).features[0].type == Category(dtype)
    assert "holds other levels" in problems(model, categories={"city": replace(CITY, origin="the job")})[0]
    encoder = OwnLevels(listed=(ListedLevels("city", CITY, null=False),))
    assert plan(replace(model, levels=encoder)).features[0].type == OneOf("string", CITY, null=False)


def test_recorded_levels_that_are_more_or_fewer_than_a_dtypes_are_others() -> None:
    for values in [(*CITY.values, "Oslo"), CITY.values[:2]]:
        recorded = (("city", Levels("string", values, "its metadata")),)
        model = replace(MODEL, levels=OwnLevels(named=(("city", CITY),)), recorded=recorded)
        assert "the model holds other levels" in problems(model)[0]
    fewer = replace(MODEL, levels=OwnLevels(named=(("city", CITY),), seen=("city",)), recorded=recorded)
    assert "the model holds other levels" in problems(fewer)[0]


def test_levels_without_features_are_settled_by_the_job_alone() -> None:
    held = replace(MODEL, levels=OwnLevels(unassigned=(replace(GIVEN, origin="the model"),)))
    assert "holds category levels (2 string levels) and does not say of which features" in problems(held)[0]
    assert plan(held, categories={"city": GIVEN}).features[0].type == Category(GIVEN)
    assert problems(held, categories={"city": Levels("string", ("y", "z"))})


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
    assert 'the value "Oslo" does not fit category of 3 string levels' in problem


def test_a_library_that_refuses_null_text_makes_bad_rows_of_it() -> None:
    text = replace(MODEL, inputs=(Feature("city", "string", nullable=False), MODEL.inputs[1]))
    assert plan(text).features[0].handling.nulls == "bad_row"
    (problem,) = problems(text, policy={"city": FeaturePolicy(nulls="keep")})
    assert "the model's library refuses a null here" in problem


class Signs(StandardScaler):  # type: ignore[misc]
    """A scaler that keeps an encoder of something else than its input."""

    def fit(self, X: Any, y: Any = None) -> Signs:
        super().fit(X, y)
        self.signs_ = OneHotEncoder().fit(np.asarray(X) > 0)
        return self


@pytest.mark.parametrize(
    "step",
    [
        KBinsDiscretizer(3, quantile_method="linear"),
        make_pipeline(SimpleImputer(), KBinsDiscretizer(3, encode="onehot-dense", quantile_method="linear")),
        RandomTreesEmbedding(n_estimators=2, max_depth=2),
        Signs(),
    ],
    ids=str,
)
def test_what_an_estimator_encodes_of_its_own_making_is_no_level_of_a_feature(step: Any) -> None:
    numbers = FRAME[["num", "half"]].astype(float)
    model = make_pipeline(step, LogisticRegression()).fit(numbers, LABEL)
    assert read(model, ["num", "half"]) == OwnLevels()
    bagged = BaggingClassifier(model, n_estimators=2).fit(numbers, LABEL)
    assert read(bagged, ["num", "half"]) == OwnLevels()
