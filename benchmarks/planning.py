"""Seconds to plan and to show thousands of features, once the model's metadata and the table's schema are there.

``make bench``. Half of the features are DECIMAL, the others take turns through the other conversions, levels,
tensors and nested types among them.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING

from pyspark.sql import types as T  # noqa: N812

from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import Array, Category, Levels, Member, ModelType, Object, Tensor
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import FeaturePolicy, Policy
from spark_scoring.plan.request import Expression, Request

if TYPE_CHECKING:
    from collections.abc import Callable

FEATURES = 2000
ROUNDS = 5

_ITEM = T.StructType([T.StructField("sku", T.StringType()), T.StructField("price", T.DecimalType(12, 2))])
KINDS: tuple[tuple[T.DataType, ModelType], ...] = (
    (T.LongType(), "double"),
    (T.StringType(), "double"),
    (T.DoubleType(), "float"),
    (T.BooleanType(), "boolean"),
    (T.TimestampType(), "datetime"),
    (T.IntegerType(), "string"),
    (T.StringType(), Category(Levels("string", tuple(f"level {i}" for i in range(100))))),
    (T.ArrayType(T.DoubleType()), Tensor("float", (-1, 128))),
    (T.ArrayType(_ITEM), Array(Object((Member("sku", "string"), Member("price", "double"))))),
)


def main() -> None:
    """Print a line per step: median and slowest seconds."""
    model, schema = wide_model()
    plan = make_plan(model, schema, Request())
    busy = Request(
        policy=Policy.of({f.name: FeaturePolicy(nulls="bad_row") for f in model.inputs}),
        expressions={c.name: Expression(f"coalesce({c.name}, other_{c.name})", c.dataType) for c in schema.fields},
    )
    steps: dict[str, Callable[[], object]] = {
        "make_plan": lambda: make_plan(model, schema, Request()),
        "make_plan, a policy and an expression for each": lambda: make_plan(model, schema, busy),
        "hash": lambda: plan.hash,
        "explain, text": plan.explain,
        "explain, JSON": lambda: json.dumps(plan.to_dict()),
        "explain, HTML": plan.to_html,
    }
    print(f"{FEATURES:,} features, {ROUNDS} rounds")
    for name, step in steps.items():
        seconds = [timed(step) for _ in range(ROUNDS)]
        print(f"{name:46} {statistics.median(seconds):6.3f} s  (slowest {max(seconds):.3f} s)")


def wide_model() -> tuple[ModelSpec, T.StructType]:
    """A model of many features, and the table that has them."""
    decimal: tuple[T.DataType, ModelType] = (T.DecimalType(12, 2), "double")
    kinds = [decimal if i % 2 else KINDS[i // 2 % len(KINDS)] for i in range(FEATURES)]
    names = [f"feature_{i}" for i in range(FEATURES)]
    model = ModelSpec(
        uri="models:/main.bench.wide/1",
        name="main.bench.wide",
        version="1",
        run_id=None,
        digest="0" * 64,
        path="",
        flavor="lightgbm",
        inputs=tuple(Feature(name, type_) for name, (_, type_) in zip(names, kinds, strict=True)),
        output="double",
        own_names=tuple(names),
    )
    return model, T.StructType([T.StructField(name, source) for name, (source, _) in zip(names, kinds, strict=True)])


def timed(step: Callable[[], object]) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
