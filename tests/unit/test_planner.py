"""The planner: names, presence, order, policies; and that every problem comes at once."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from spark_scoring.errors import PlanError
from spark_scoring.model.categories import OwnLevels
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import Tensor
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy
from spark_scoring.plan.request import Expression, Request

if TYPE_CHECKING:
    from spark_scoring.plan.scoring_plan import ScoringPlan

GOLDEN = Path(__file__).with_name("golden")
MODEL = ModelSpec(
    uri="models:/main.ml.delay@champion",
    name="main.ml.delay",
    version="3",
    run_id="r",
    digest="d" * 64,
    path="/models/delay",
    flavor="lightgbm",
    inputs=(Feature("distance", "double"), Feature("seats", "long"), Feature("weekend", "boolean")),
    output="long",
    methods=(("predict_proba", Tensor("double", (-1, 2))),),
    own_names=("distance", "seats", "weekend"),
    classes=("0", "1"),
)


def table(**columns: type[DataType] | DataType) -> StructType:
    """A schema by column names; without a session DDL cannot be parsed."""
    return StructType([StructField(n, t() if isinstance(t, type) else t) for n, t in columns.items()])


SCHEMA = table(flight=LongType, distance=DecimalType(7, 1), seats=DoubleType, weekend=IntegerType)


def plan(model: ModelSpec = MODEL, schema: StructType = SCHEMA, policy: Any = "strict", **options: Any) -> ScoringPlan:
    return make_plan(model, schema, Request(policy=Policy.of(policy), **options))


def test_two_columns_of_one_name_are_told_apart_before_they_are_scored() -> None:
    twice = StructType([*SCHEMA.fields, StructField("seats", DoubleType())])
    told = problems(schema=twice)["feature 'seats' (long)"]
    assert told.startswith("more than one column has this name: seats, seats | rename or drop one of them first")


def problems(*args: Any, **options: Any) -> dict[str, str]:
    with pytest.raises(PlanError) as raised:
        plan(*args, **options)
    return {p.thing: f"{p.cause} | {p.fix}" for p in raised.value.problems}


def test_features_keep_the_order_of_the_signature() -> None:
    shuffled = table(weekend=IntegerType, seats=DoubleType, distance=DoubleType)
    assert [f.name for f in plan(schema=shuffled).features] == ["distance", "seats", "weekend"]


def test_every_problem_of_a_plan_comes_at_once() -> None:
    schema = table(distanze=DoubleType, seats=DateType, weekend=IntegerType, Weekend=IntegerType)
    found = problems(schema=schema, methods=("predict", "shap"), policy={"seat": FeaturePolicy()})
    assert found == {
        "feature 'distance' (double)": (
            "the table has no such column | did you mean distanze? "
            'map it: columns: {distance: "<column or SQL expression>"}'
        ),
        "feature 'seats' (long)": (
            "no meaningful conversion from DATE to long (`seats`) | say which number: datediff(DATE '2026-01-01', "
            "`seats`), unix_date(`seats`), year(`seats`), month(`seats`), dayofweek(`seats`)"
        ),
        "feature 'weekend' (boolean)": (
            "more than one column has this name: weekend, Weekend | "
            'name one: columns: {weekend: "<expression>"}, or set spark.sql.caseSensitive'
        ),
        "predict: shap": (
            "no such method | give one of predict, predict_proba, predict_log_proba, decision_function, score_samples"
        ),
        "policy: seat": "the model has no such feature | did you mean seats?",
    }


def test_names_match_by_sparks_case_rule() -> None:
    schema = table(DISTANCE=DoubleType, Seats=LongType, weekend=BooleanType)
    assert plan(schema=schema).features[0].source == "`DISTANCE`"
    assert "feature 'distance' (double)" in problems(schema=schema, case_sensitive=True)


def test_an_expression_takes_the_place_of_a_column() -> None:
    expressions = {"seats": Expression("CAST(seats AS BIGINT)", LongType())}
    seats = plan(expressions=expressions).features[1]
    assert (seats.source, seats.verdict) == ("(CAST(seats AS BIGINT))", "exact")


def test_an_optional_feature_may_be_absent() -> None:
    optional = replace(MODEL, inputs=(*MODEL.inputs, Feature("wind", "double", required=False)))
    assert [f.name for f in plan(optional).features] == ["distance", "seats", "weekend"]


def test_an_optional_feature_that_a_native_model_was_trained_on_must_be_there() -> None:
    """MLflow calls every feature optional that has a null in the sample."""
    optional = replace(MODEL, inputs=(Feature("distance", "double", required=False), *MODEL.inputs[1:]))
    schema = table(seats=DoubleType, weekend=IntegerType)
    assert "the table has no such column" in problems(optional, schema)["feature 'distance' (double)"]
    left_out = plan(replace(optional, own_names=()), schema)
    assert left_out.notes == ("optional feature 'distance' is left out: the table has no such column",)


def test_a_table_with_none_of_the_inputs_is_refused() -> None:
    model = replace(MODEL, inputs=(Feature("wind", "double", required=False),), own_names=())
    assert "none of its inputs" in problems(model)["model 'models:/main.ml.delay@champion'"]


@pytest.mark.parametrize(("feature", "refused"), [("distance", False), ("seats", True), ("weekend", True)])
def test_a_null_is_kept_only_where_the_type_can_hold_one(feature: str, *, refused: bool) -> None:
    policy = {feature: FeaturePolicy(nulls="keep")}
    if refused:
        assert any("cannot keep a null" in text for text in problems(policy=policy).values())
    else:
        plan(policy=policy)


def test_a_default_stands_in_only_where_the_policy_says_so() -> None:
    schema = table(seats=DoubleType, weekend=IntegerType)
    assert "feature 'distance' (double)" in problems(schema=schema)
    filled = plan(schema=schema, policy={"distance": FeaturePolicy(absent=Fill(100.0))}).features[0]
    assert (filled.verdict, filled.note) == ("default", "no such column: 100.0 in every row")
    assert plan(schema=schema, policy="lenient").features[0].handling.absent == Fill(0.0)


@pytest.mark.parametrize(
    ("feature", "value"),
    [("distance", "far"), ("seats", 1.5), ("seats", 2**63), ("seats", None), ("weekend", 1), ("seats", True)],
)
def test_a_fill_value_must_be_of_the_features_type(feature: str, value: Any) -> None:
    assert any("policy nulls" in text for text in problems(policy={feature: FeaturePolicy(nulls=Fill(value))}).values())


def test_models_that_would_score_wrong_are_refused() -> None:
    reordered = problems(replace(MODEL, own_names=("seats", "distance", "weekend")))
    assert "in another order" in reordered["model 'models:/main.ml.delay@champion'"]
    unknown = problems(replace(MODEL, levels=OwnLevels(unknown=("seats",))))
    assert "whose levels it does not hold: seats" in unknown["model 'models:/main.ml.delay@champion'"]


def test_input_types_of_a_later_mlflow_are_refused() -> None:
    model = replace(MODEL, inputs=(Feature("distance", "duration"), *MODEL.inputs[1:]))
    assert "inputs of type duration" in problems(model)["feature 'distance' (duration)"]


def test_probabilities_need_a_classifier() -> None:
    assert "predict: predict_proba" in problems(replace(MODEL, methods=()), methods=("predict_proba",))


def test_odd_names_are_quoted() -> None:
    name = "a.b `c` d"
    model = replace(MODEL, inputs=(Feature(name, "double"),), own_names=())
    schema = StructType([StructField(name, DoubleType()), StructField("x", StringType())])
    assert plan(model, schema).features[0].source == "`a.b ``c`` d`"


def test_the_hash_follows_what_decides_the_predictions() -> None:
    first = plan()
    assert first.hash == plan().hash
    assert first.hash == plan(schema=StructType([*SCHEMA.fields, StructField("more", LongType())])).hash
    assert first.hash != plan(policy="lenient").hash
    assert first.hash != plan(replace(MODEL, digest="e" * 64)).hash
    assert hash(first) == hash(plan())


def test_two_thousand_features_are_planned_quickly() -> None:
    names = [f"f{i}" for i in range(2000)]
    model = replace(MODEL, inputs=tuple(Feature(n, "double") for n in names), own_names=tuple(names))
    schema = StructType([StructField(n, DecimalType(12, 2)) for n in names])
    begin = time.perf_counter()
    planned = plan(model, schema)
    assert len(planned.features) == len(names)
    assert time.perf_counter() - begin < 60  # against quadratic work; the benchmark has the figure


@pytest.mark.parametrize("preset", ["strict", "lenient"])
def test_the_explanation_reads_as_agreed(preset: str) -> None:
    text = plan(policy=preset, methods=("predict", "predict_proba")).explain()
    assert text == (GOLDEN / f"plan_{preset}.txt").read_text()


def test_a_plan_is_json() -> None:
    import json

    found = json.loads(json.dumps(plan().to_dict()))
    assert found["features"][0]["source_type"] == "decimal(7,1)"
    assert found["hash"] == plan().hash
