"""What is said of Spark's versions; what they do, the tests of tools/versions.sh show."""

from __future__ import annotations

import pytest

from spark_scoring.delta.session_errors import SessionError
from spark_scoring.spark_versions import delta_package


@pytest.mark.parametrize(
    ("spark", "package"),
    [
        ("3.5.2", "delta-spark_2.12:3.3.3"),
        ("4.0.0", "delta-spark_2.13:4.0.1"),
        ("4.1.4", "delta-spark_4.1_2.13:4.4.0"),
        ("4.2.0-SNAPSHOT", "delta-spark_4.2_2.13:4.4.0"),
    ],
)
def test_a_session_without_delta_is_told_the_jars_of_its_spark(spark: str, package: str) -> None:
    """As Maven Central has them."""
    text = str(SessionError.no_delta_jars(spark, delta_package(spark)))
    assert f"spark-submit --packages io.delta:{package} ..." in text
