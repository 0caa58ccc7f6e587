"""Values of parameters are literals of their own type, whatever their text is and however the session reads text."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from spark_scoring.parameters import literal_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_scoring.parameters import Value

UTC = dt.timezone.utc
NASTY = ["it's", "'; DROP TABLE x --", "\\", "a\\'b", "${spark.app.name}", "ünï\n\t\0", "", "`", '"', "01234", "1e5"]


@pytest.mark.parametrize("rule", ["false", "true"])
def test_a_value_is_what_spark_reads(spark: SparkSession, rule: str) -> None:
    moment = dt.datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
    expected: list[tuple[Value, str, object]] = [
        *((text, "string", text) for text in NASTY),
        ("7", "int", 7),
        ("-7", "int", -7),
        ("9999999999", "bigint", 9999999999),
        ("0.50", "decimal(2,2)", Decimal("0.50")),
        ("true", "boolean", True),
        ("2026-11-25", "date", dt.date(2026, 11, 25)),
        ("2026-11-25T11:30:00+01:00", "timestamp", moment),
        ("2026-11-25T10:30:00Z", "timestamp", moment),
        (-7, "int", -7),
        (False, "boolean", False),
        (1e-7, "double", 1e-7),
        (Decimal("-1.5"), "decimal(2,1)", Decimal("-1.5")),
        (dt.date(2026, 11, 25), "date", dt.date(2026, 11, 25)),
        (moment.replace(tzinfo=None), "timestamp", moment),
    ]
    spark.conf.set("spark.sql.parser.escapedStringLiterals", rule)
    try:
        frame = spark.range(1).selectExpr(*(f"{literal_of(v)} AS c{n}" for n, (v, *_) in enumerate(expected)))
        rows = spark.range(1).selectExpr(
            *(
                f"unix_micros({literal_of(v)}) AS c{n}" if kind == "timestamp" else f"{literal_of(v)} AS c{n}"
                for n, (v, kind, _) in enumerate(expected)
            ),
            f"10 -{literal_of(-7)} AS minus",
        )
        row = rows.first()
    finally:
        spark.conf.unset("spark.sql.parser.escapedStringLiterals")
    assert [f.dataType.simpleString() for f in frame.schema] == [kind for _, kind, _ in expected]
    assert row is not None
    wanted = [int(v.timestamp() * 1_000_000) if isinstance(v, dt.datetime) else v for *_, v in expected]
    assert list(row) == [*wanted, 17]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), Decimal("NaN"), None, [1], "2026-02-30", "2026-01-01T25:00"]
)
def test_a_value_that_is_none_is_refused(value: Value) -> None:
    with pytest.raises(ValueError, match=r"it is (not text|written like)"):
        literal_of(value)
