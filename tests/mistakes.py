"""Mistakes that people make by hand, in YAML and in Python, and what each is told: ``tests/golden/mistakes.txt``.

``python -m tests.mistakes`` writes the file; read what changed. ``tests/unit/test_mistakes.py`` holds it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pandas as pd
from pyspark.sql.types import DoubleType, StringType, StructField, StructType, TimestampType

import spark_scoring as ss
from spark_scoring.errors import ScoringError
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy
from spark_scoring.plan.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).with_name("golden") / "mistakes.txt"

YAML = """
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, polcy: lenient
model: models:/main.shop.orders/1, source: shop.orders
model: models:/main.shop.orders/1, source: {tabel: shop.orders}, output: shop.scores
model: models:/main.shop.orders/1, source: {table: shop.orders, path: data/orders}, output: shop.scores
model: models:/main.shop.orders/1, source: [shop.orders], output: shop.scores
model: models:/main.shop.orders/1, source: {table: shop.orders, version: latest}, output: shop.scores
model: models:/main.shop.orders/1, source: {table: shop.orders, version: 3, timestamp: 2026-01-31}, output: shop.scores
model: models:/main.shop.orders/1, source: {path: data/orders.csv, options: {header: true}}, output: shop.scores
model: models:/main.shop.orders/1, source: {table: shop.orders, where: 5}, output: shop.scores
model: models:/main.shop.orders/1, source: shop.orders, output: {table: shop.scores, mode: apend}
model: models:/main.shop.orders/1, source: shop.orders, output: {table: shop.scores, mode: upsert, key: id}
model: models:/main.shop.orders/1, source: shop.orders, output: {table: shop.scores, mode: merge}
model: models:/main.shop.orders/1, source: shop.orders, output: {table: shop.scores, key: id}
model: models:/main.shop.orders/1, source: shop.orders, output: {table: shop.scores, keep: [1, id]}
model: models:/main.shop.orders/1, source: shop.orders, output: {table: shop.scores, replace_where: day = 1}
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, policy: lenientt
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, policy: {visits: {nulls: zero}}
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, policy: {visits: {nulls: {fil: 0}}}
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, policy: {visits: 0}
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, predict: predict_probs
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, predict: []
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, bad_rows: kep
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, max_bad_rows: few
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, max_bad_rows: 1.5
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, bad_rows: fail, max_bad_rows: 1%
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, columns: price * 2
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, columns: {1: price}
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, categories: {carrier: AA}
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, stage: pandas
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, rehearse: "no"
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, expect_digest: abc
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, spark: "local[4]"
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, spark: {master: "yarn"}
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, spark: {sql.extensions: a.b.C}
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, incremental: {changes: folow}
model: models:/main.shop.orders/1, source: shop.orders, output: {table: a.b, mode: overwrite}, incremental: true
model: models:/main.shop.orders/1, source: shop.orders, output: shop.scores, incremental: {interval: 0}
model: models:/main.shop.orders/1, source: {table: shop.orders, where: "day = :day"}, output: shop.scores
model: models:/main.shop.orders/1, source: {table: shop.orders, where: "day = '${day}'"}, output: shop.scores
model: models:/main.shop.orders/1, source: {table: "${STAGE}.orders"}, output: shop.scores
model: models:/main.shop.orders/1, source: {table: ${STAGE}.orders}, output: shop.scores
model: models:/main.shop.orders/1, model: models:/main.shop.orders/2
model: models:/main.shop.orders/1, source: {table: shop.orders
model: , source: , output:
"""
"""One job a line, as ``{...}`` has it."""

SCHEMA = StructType([StructField("price", StringType()), StructField("visit", DoubleType())])
FRAME: Any = pd.DataFrame({"price": [1.0]})
URI = "models:/main.shop.orders/1"
MODEL = ModelSpec(
    uri=URI,
    name="main.shop.orders",
    version="1",
    run_id="r",
    digest="d" * 64,
    path="/models/orders",
    flavor="sklearn",
    inputs=(Feature("price", "double"), Feature("visits", "double")),
    output="double",
    methods=(("predict_proba", "double"),),
)


def planned(*columns: StructField, model: ModelSpec = MODEL, **request: Any) -> object:
    return make_plan(model, StructType(list(columns) or SCHEMA.fields), Request(**request))


def _any(value: object) -> Any:
    return value


PYTHON: dict[str, Callable[[], object]] = {
    "score_batch(pandas_frame, model)": lambda: ss.score_batch(FRAME, URI),
    "score_batch(model, pandas_frame)": lambda: ss.score_batch(_any(URI), FRAME),
    'score_batch("shop.orders", model)': lambda: ss.score_batch(_any("shop.orders"), URI),
    "score_batch(None, model)": lambda: ss.score_batch(_any(None), URI),
    "plan_scoring(df, model)": lambda: ss.plan_scoring(FRAME, _any(URI)),
    "plan_scoring(estimator, schema)": lambda: ss.plan_scoring(_any(object()), SCHEMA),
    'plan_scoring("orders@champion", schema)': lambda: ss.plan_scoring("models:orders@champion", SCHEMA),
    'policy="lenientt"': lambda: ss.plan_scoring(URI, SCHEMA, policy=_any("lenientt")),
    'policy={"visits": {"nulls": "zero"}}': lambda: ss.plan_scoring(URI, SCHEMA, policy={"visits": {"nulls": "zero"}}),
    'policy={"visits": FeaturePolicy(absent=0)}': lambda: ss.plan_scoring(
        URI, SCHEMA, policy={"visits": FeaturePolicy(absent=_any(0))}
    ),
    'predict="predict_probs"': lambda: ss.plan_scoring(URI, SCHEMA, predict="predict_probs"),
    'per_class="array", rehearse="no"': lambda: ss.plan_scoring(URI, SCHEMA, rehearse=_any("no")),
    'categories={"carrier": {"AA", "DL"}}': lambda: ss.plan_scoring(
        URI, SCHEMA, categories={"carrier": _any({"AA", "DL"})}
    ),
    'columns={"price": 2}': lambda: ss.plan_scoring(URI, SCHEMA, columns={"price": _any(2)}),
    'run_job("none.yml")': lambda: ss.run_job("none.yml"),
    "run_job(spark, job)": lambda: ss.run_job(_any(mock.Mock(spec=["sql"])), _any({})),
    "run_job(42)": lambda: ss.run_job(_any(42)),
    'run_job(job, params={"day": 1})': lambda: ss.run_job({}, params={"day": 1}),
    "ScoringJob(modle=...)": lambda: ss.ScoringJob.model_validate({"modle": URI, "source": "a.b", "output": "a.c"}),
    'job.model = "..."': lambda: setattr(
        ss.ScoringJob.from_dict({"model": URI, "source": "a.b", "output": "a.c"}), "model", "x"
    ),
    "a column that is spelt otherwise": planned,
    "a column of a type that a number cannot be made from": lambda: planned(
        StructField("price", TimestampType()), StructField("visits", DoubleType())
    ),
    "a policy for a feature that is not one": lambda: planned(
        *SCHEMA.fields[:1],
        StructField("visits", DoubleType()),
        policy=Policy.of({"visit": FeaturePolicy(nulls=Fill(0))}),
    ),
    "a fill of another type": lambda: planned(
        *SCHEMA.fields[:1],
        StructField("visits", DoubleType()),
        policy=Policy.of({"visits": FeaturePolicy(nulls=Fill("none"))}),
    ),
    "a method that the model does not have": lambda: planned(
        *SCHEMA.fields[:1], StructField("visits", DoubleType()), methods=("decision_function",)
    ),
    "a parameter that the signature does not have": lambda: planned(
        *SCHEMA.fields[:1], StructField("visits", DoubleType()), params={"alpha": 1}
    ),
    "two columns of one name": lambda: planned(
        *SCHEMA.fields[:1], StructField("visits", DoubleType()), StructField("Visits", DoubleType())
    ),
    "a model that was trained on other features": lambda: planned(
        *SCHEMA.fields[:1],
        StructField("visits", DoubleType()),
        model=replace(MODEL, own_names=("price", "visits_30d")),
    ),
}


def told(mistake: Callable[[], object]) -> str:
    """The message of a mistake."""
    try:
        mistake()
    except ScoringError as error:
        return str(error)
    return "(nothing is told)"


def _read(folder: str, text: str) -> ss.ScoringJob:
    file = Path(folder) / "job.yml"
    file.write_text("{" + text + "}", encoding="utf-8")
    return ss.ScoringJob.from_yaml(file)


def rendered() -> str:
    """The page: each mistake, and below it what is told."""
    parts = []
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ):
        for name in ("STAGE", "day"):
            os.environ.pop(name, None)
        for text in YAML.strip().splitlines():
            message = told(lambda text=text: _read(folder, text)).replace(f"{folder}/", "")  # type: ignore[misc]
            parts.append(f"# {text}\n{message}\n")
        parts += [f"# {title}\n{told(mistake)}\n" for title, mistake in PYTHON.items()]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(rendered(), encoding="utf-8")
