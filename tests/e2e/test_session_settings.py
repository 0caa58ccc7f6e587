"""What a session has set for its own writes does not change what ours do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spark_scoring import feature_client
from spark_scoring.delta.names import resolve
from spark_scoring.delta.rollback import roll_back
from tests.models import line_rows, save_line
from tests.place import GOOD, ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

SETTINGS = {
    "spark.databricks.delta.write.txnAppId": "theirs",
    "spark.databricks.delta.write.txnVersion": "7",
    "spark.sql.sources.partitionOverwriteMode": "dynamic",
    "spark.databricks.delta.schema.autoMerge.enabled": "true",
}


@pytest.fixture
def odd_session(spark: SparkSession) -> Iterator[SparkSession]:
    for key, value in SETTINGS.items():
        spark.conf.set(key, value)
    yield spark
    found = {key: spark.conf.get(key, None) for key in SETTINGS}
    for key in SETTINGS:
        spark.conf.unset(key)
    assert found == SETTINGS  # as they were


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_line(tmp_path_factory.mktemp("line") / "model"))


def test_merges_and_a_rollback(odd_session: SparkSession, model: str, tmp_path: Path) -> None:
    place = Place(odd_session, model, tmp_path)
    merge = {"mode": "merge", "key": ["id"]}
    place.run(merge)
    more = line_rows(odd_session, range(ROWS, ROWS + 3), []).write.format("delta").mode("append")
    more.option("txnAppId", "another").option("txnVersion", "1").save(place.source)
    second = place.run(merge)
    assert second.rows_in == ROWS + 3
    assert place.ids() == list(range(ROWS + 3))
    roll_back(odd_session, resolve(odd_session, path=place.output), str(second.run_id))
    assert place.ids() == list(range(ROWS))


def test_appends_overwrites_and_partitions(odd_session: SparkSession, model: str, tmp_path: Path) -> None:
    place = Place(odd_session, model, tmp_path)
    place.run({"mode": "append"})
    assert place.ids() == list(range(ROWS))
    place.sql("DELETE FROM {out} WHERE id = 0")
    place.run({"mode": "overwrite"}, source={"where": f"id IN ({', '.join(map(str, GOOD))})"})
    assert place.ids() == GOOD


def test_feature_tables_are_made_and_written(odd_session: SparkSession) -> None:
    client = feature_client()
    odd_session.sql("CREATE SCHEMA IF NOT EXISTS odd_session")
    rows = odd_session.sql("SELECT id, CAST(id AS DOUBLE) AS a, id % 2 AS part FROM range(4)")
    client.create_table(name="main.odd_session.t", primary_keys=["id"], df=rows, partition_columns=["part"])
    assert odd_session.table("odd_session.t").count() == 4
    client.write_table(name="main.odd_session.t", df=rows.selectExpr("id + 2 AS id", "a", "part"), mode="merge")
    assert odd_session.table("odd_session.t").count() == 6
    client.write_table(name="main.odd_session.t", df=rows.where("part = 0"), mode="overwrite")
    assert odd_session.table("odd_session.t").count() == 2
