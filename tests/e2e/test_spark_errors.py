"""What Spark and Delta raise in a run: the condition, its first line without values, and a fix that works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spark_scoring.delta.spark_errors import spark_failure
from spark_scoring.errors import RunError
from tests import needs
from tests.needs import in_short
from tests.place import ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

LENIENT = {"x": {"nulls": {"fill": 0.0}}}
FAILED = """Job aborted due to stage failure: Task 0 failed 4 times: org.apache.spark.SparkException:
[TASK_WRITE_FAILED] Task failed while writing rows to file:/x. SQLSTATE: 58030
Caused by: org.apache.spark.SparkNumberFormatException: """
MALFORMED = """[CAST_INVALID_INPUT] The value 'it's Ann' of the type "STRING" cannot be cast to "INT" because it is \
malformed. SQLSTATE: 22018"""


@pytest.fixture(scope="module")
def filled(spark: SparkSession, line: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place in a session with ANSI's rules, which are Spark 4's default: without them there are nulls, no errors."""
    before = spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", "true")
    yield Place(spark, line, tmp_path_factory.mktemp("errors"), (), rehearse=False)
    spark.conf.set("spark.sql.ansi.enabled", before or "")


@pytest.mark.parametrize(
    ("condition", "wrong", "right"),
    in_short(
        2,
        [
            (
                "CAST_INVALID_INPUT",
                "cast(if(id = 5, note, '1') as double)",
                "try_cast(if(id = 5, note, '1') as double)",
            ),
            ("CAST_OVERFLOW", "cast(id * 1000000000 as int)", "try_cast(id * 1000000000 as int)"),
            ("NUMERIC_VALUE_OUT_OF_RANGE", "cast(id * 100 as decimal(3, 0))", "try_cast(id * 100 as decimal(3, 0))"),
            ("ARITHMETIC_OVERFLOW", "id * 9223372036854775807", "try_multiply(id, 9223372036854775807)"),
            ("BINARY_ARITHMETIC_OVERFLOW", "100Y + tinyint(id * 10)", "100Y + int(id * 10)"),
            ("DIVIDE_BY_ZERO", "1 / (id - 5)", "try_divide(1, id - 5)"),
            ("REMAINDER_BY_ZERO" if needs.IS_SPARK_4 else "DIVIDE_BY_ZERO", "7 % (id - 5)", "7 % nullif(id - 5, 0)"),
            ("INVALID_ARRAY_INDEX", "array(1D, 2D)[int(id)]", "get(array(1D, 2D), int(id))"),
            (
                "INVALID_ARRAY_INDEX_IN_ELEMENT_AT",
                "element_at(array(1D), int(id) + 1)",
                "try_element_at(array(1D), int(id) + 1)",
            ),
            (
                "CANNOT_PARSE_TIMESTAMP",
                "double(unix_seconds(to_timestamp(if(id = 5, note, '2024'), 'yyyy')))",
                "double(unix_seconds(try_to_timestamp(if(id = 5, note, '2024'), 'yyyy')))",
            ),
            (
                "SCALAR_SUBQUERY_TOO_MANY_ROWS",
                "id + (SELECT id FROM {source})",
                "id + (SELECT max(id) FROM {source})",
            ),
        ],
    ),
)
def test_a_row_that_fails_sql_names_the_condition_and_what_helps(
    filled: Place, condition: str, wrong: str, right: str
) -> None:
    def columns(sql: str) -> dict[str, str]:
        return {"x": f"double({sql.format(source=f'delta.`{filled.source}`')})"}

    with pytest.raises(RunError) as raised:
        filled.run({"mode": "overwrite"}, columns=columns(wrong), policy=LENIENT)
    told = str(raised.value)
    assert f"run: Spark failed: [{condition}" in told
    assert "nothing was committed" in told
    assert "row 5" not in told
    assert "chained error" not in told
    assert filled.run({"mode": "overwrite"}, columns=columns(right), policy=LENIENT).rows_out == ROWS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            FAILED + MALFORMED,
            '[CAST_INVALID_INPUT] The value ... of the type "STRING" cannot be cast to "INT" because it is malformed.',
        ),
        (
            "[INVALID_ARRAY_INDEX] The index 712 is out of bounds. The array has -3.5 elements of `c712`. SQLSTATE: 1",
            "[INVALID_ARRAY_INDEX] The index ... is out of bounds. The array has ... elements of `c712`.",
        ),
        (
            "Py4JJavaError: org.apache.spark.SparkException: Aborted\nCaused by: java.lang.OutOfMemoryError: Java heap",
            "java.lang.OutOfMemoryError: Java heap",
        ),
        ('java.lang.NumberFormatException: For input string: "Ann Example"', "java.lang.NumberFormatException"),
        ("java.io.FileNotFoundException: /data/part-1.parquet", "java.io.FileNotFoundException: /data/part-..."),
        ("[USER_RAISED_EXCEPTION] Ann Example is wrong. SQLSTATE: P0001", "[USER_RAISED_EXCEPTION]"),
        (
            "[MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION] Malformed records are detected in parsing: [null,Ann].",
            "[MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION] Malformed records are detected in parsing: ....",
        ),
        ("it went wrong", ""),
    ],
)
def test_values_of_rows_are_left_out(text: str, shown: str) -> None:
    assert spark_failure(text).text == shown
