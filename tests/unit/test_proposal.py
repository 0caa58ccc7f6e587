"""What ``init`` proposes: columns for features, a key, what to keep; and a file that is a job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml
from pyspark.sql.types import DataType, DoubleType, LongType, StringType, StructField, StructType, TimestampType

from spark_scoring.job import ScoringJob
from spark_scoring.job_file import place_of
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.request import Expression, Request
from spark_scoring.proposal import Proposal, job_text, propose
from tests.unit.test_explain import HOSTILE, MODEL

if TYPE_CHECKING:
    from pathlib import Path

NUMBER, TEXT, TIME, WHOLE = DoubleType(), StringType(), TimestampType(), LongType()


def model(*names: str, required: bool = True) -> ModelSpec:
    return replace(MODEL, inputs=tuple(Feature(name, "double", required) for name in names))


def table(**columns: DataType) -> StructType:
    return StructType([StructField(name, type_) for name, type_ in columns.items()])


def proposed(spec: ModelSpec, columns: StructType, name: str = "shop.orders") -> Proposal:
    return propose(spec, columns, columns.fields, name, None)


def test_features_take_columns_of_like_names() -> None:
    columns = table(order_id=WHOLE, price=NUMBER, DepHour=NUMBER, seat_count=NUMBER, note=TEXT)
    found = proposed(model("PRICE", "dep_hour", "seats_count", "wind_speed"), columns)
    assert found.by_name == 1
    assert found.near == (("dep_hour", "DepHour"), ("seats_count", "seat_count"))
    assert found.open == ("wind_speed",)


@pytest.mark.parametrize(
    "name", ["Customer ID", "customer_id", "customerId", "CUSTOMER_ID", "customer.key", "customerID"]
)
def test_keys_are_known_however_they_are_spelt(name: str) -> None:
    columns = table(**{"paid": WHOLE, "squid": WHOLE, "IDENT": WHOLE, "price": NUMBER, name: WHOLE})
    assert proposed(model("price"), columns, "shop.orders").key == name


def test_a_column_is_proposed_once_and_only_if_it_fits() -> None:
    found = proposed(model("price_1", "price_2"), table(price_3=TIME, price1=NUMBER))
    assert dict(found.near) == {"price_1": "price1"}
    assert found.open == ("price_2",)


def test_a_feature_that_may_be_absent_stays_away() -> None:
    found = proposed(model("wind", required=False), table(id=WHOLE))
    assert (found.near, found.open) == ((), ())


@pytest.mark.parametrize(
    ("columns", "name", "key"),
    [
        (["user_id", "id"], "shop.orders", "id"),
        (["user_id", "order_id"], "shop.orders", "order_id"),
        (["user_id", "order_id"], "data/orders/", "order_id"),
        (["note", "userId"], "shop.orders", "userId"),
        (["note", "paid", "grid"], "shop.orders", None),
    ],
)
def test_a_key_is_known_by_its_name(columns: list[str], name: str, key: str | None) -> None:
    schema = table(**dict.fromkeys(columns, TEXT), price=NUMBER)
    found = proposed(model("price"), schema, name)
    assert found.key == key
    assert found.keep == ((key,) if key else tuple(columns))


def test_a_feature_is_no_key() -> None:
    assert proposed(model("id"), table(id=NUMBER, note=TEXT)).key is None


def test_only_what_is_unsure_is_asked() -> None:
    asked: dict[str, str] = {}

    def ask(question: str, answer: str) -> str:
        asked[question] = answer
        return "price * 2" if "wind" in question else answer

    columns = table(id=WHOLE, price=NUMBER, DepHour=NUMBER, seat_count=NUMBER)
    found = propose(model("price", "dep_hour", "seats_count", "wind"), columns, columns.fields, "a", ask)
    assert list(asked.values()) == ["seat_count", "", "id"]
    assert dict(found.near) == {"dep_hour": "DepHour", "seats_count": "seat_count", "wind": "price * 2"}


def test_the_file_is_a_job_whatever_the_names_are(tmp_path: Path) -> None:
    odd = "a: #`${b}`\n'\""
    columns = table(
        **{"on": TEXT, HOSTILE: NUMBER, "x,y: z": NUMBER, odd + "1": NUMBER, "null": WHOLE, "plain": NUMBER}
    )
    spec = model(HOSTILE, "x,y: zz", "yes", "plain")
    found = proposed(spec, columns)
    fields = {"model": "models:/m@a", "source": place_of("`a: b`.c"), "output": place_of("out/${x}"), "warehouse": "1"}
    (tmp_path / "job.yml").write_text(job_text(spec, fields, found, "job.yml"), encoding="utf-8")
    job = ScoringJob.from_yaml(tmp_path / "job.yml")
    assert (job.model, job.source.table, job.output.path, job.warehouse) == ("models:/m@a", "`a: b`.c", "out/${x}", "1")
    assert job.columns == {"x,y: zz": "`x,y: z`"}
    assert job.output.keep == found.keep
    assert set(found.keep) >= {"on", "null"}
    assert found.open == ("yes",)


def test_the_file_is_planned_where_all_features_are_found() -> None:
    columns = table(id=WHOLE, price=NUMBER, DepHour=NUMBER)
    spec = replace(model("price", "dep_hour"), methods=MODEL.methods)
    found = proposed(spec, columns)
    text = job_text(spec, {"model": "m", "source": place_of("a.b"), "output": place_of("a.c")}, found, "job.yml")
    job = ScoringJob.from_dict(yaml.safe_load(text))
    assert (job.output.keep, job.output.mode, job.policy) == (("id",), "append", "strict")
    assert "# this model also has predict_proba" in text
    assert "# key: id" in text
    expressions = {name: Expression(sql, NUMBER) for name, sql in job.columns.items()}
    assert make_plan(spec, columns, Request(expressions=expressions)).features[1].source == "(DepHour)"
