"""What a session has set for its own writes, and how it reads SQL, does not change what ours write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spark_scoring import feature_client
from spark_scoring.delta.names import resolve
from spark_scoring.delta.rollback import roll_back
from spark_scoring.delta.settings import NEUTRAL
from spark_scoring.errors import RunError
from tests.models import line_rows, save_line
from tests.place import BAD, GOOD, ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

DELTA = "spark.databricks.delta"
SESSIONS = {
    "writes": {
        f"{DELTA}.write.txnAppId": "theirs",
        f"{DELTA}.write.txnVersion": "7",
        "spark.sql.sources.partitionOverwriteMode": "dynamic",
        f"{DELTA}.schema.autoMerge.enabled": "true",
        f"{DELTA}.properties.defaults.appendOnly": "true",
        f"{DELTA}.replaceWhere.constraintCheck.enabled": "false",
        f"{DELTA}.replaceWhere.dataColumns.enabled": "false",
        f"{DELTA}.history.metricsEnabled": "false",
        f"{DELTA}.stats.collect": "false",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MILLIS",
    },
    "rules": {
        "spark.sql.ansi.enabled": "false",
        "spark.sql.caseSensitive": "true",
        "spark.sql.storeAssignmentPolicy": "STRICT",
        "spark.sql.session.timeZone": "Asia/Kolkata",
        "spark.sql.parser.escapedStringLiterals": "true",
        "spark.sql.legacy.charVarcharAsString": "true",
    },
    "layout": {
        f"{DELTA}.optimizeWrite.enabled": "true",
        f"{DELTA}.autoCompact.enabled": "true",
        f"{DELTA}.autoCompact.minNumFiles": "2",
        f"{DELTA}.commitInfo.userMetadata": "theirs",
        f"{DELTA}.properties.defaults.columnMapping.mode": "id",
        f"{DELTA}.properties.defaults.enableChangeDataFeed": "true",
        f"{DELTA}.skipRecordingEmptyCommits": "true",
        "spark.sql.sources.default": "csv",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.ansi.doubleQuotedIdentifiers": "true",
        "spark.sql.ansi.enforceReservedKeywords": "true",
        "spark.sql.storeAssignmentPolicy": "LEGACY",
        "spark.sql.timestampType": "TIMESTAMP_NTZ",
        "spark.sql.parquet.datetimeRebaseModeInWrite": "LEGACY",
    },
}
KEEP = ["id", "note", "seen"]
MERGE = {"mode": "merge", "key": ["id"], "keep": KEEP}
SEEN = 1_577_836_800_123_456  # microseconds


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_line(str(tmp_path_factory.mktemp("line") / "model")))


@pytest.fixture(params=SESSIONS)
def odd(spark: SparkSession, model: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place whose source is there before the session is set otherwise; its settings are as they were afterwards."""
    place = Place(spark, model, tmp_path, rehearse=False)
    place.source += "_seen"
    add(place, range(ROWS))
    settings = SESSIONS[request.param]
    before = {key: spark.conf.get(key, None) for key in settings}
    for key, value in settings.items():
        spark.conf.set(key, value)
    yield place
    found = {key: spark.conf.get(key, None) for key in settings}
    restore(spark, before)
    assert found == settings


def restore(spark: SparkSession, settings: dict[str, str | None]) -> None:
    for key, value in settings.items():
        if value is None:
            spark.conf.unset(key)
        else:
            spark.conf.set(key, value)


def add(place: Place, ids: range) -> None:
    rows = line_rows(place.spark, ids, BAD).selectExpr("*", f"timestamp_micros({SEEN} + id) AS seen")
    rows.write.format("delta").mode("append").options(txnAppId="another", txnVersion=str(ids.start)).save(place.source)


def written(place: Place, suffix: str = "") -> list[tuple[object, ...]]:
    """Ids, predictions and the microseconds of a kept time."""
    rows = place.spark.read.format("delta").load(place.output + suffix)
    value = "prediction" if "prediction" in rows.columns else "null"
    found = rows.selectExpr("id", f"round({value}, 6)", "unix_micros(CAST(seen AS TIMESTAMP_LTZ))").collect()
    return sorted(map(tuple, found))


def expected(ids: range | list[int]) -> list[tuple[object, ...]]:
    """The model is 2x + n; n is null in bad rows."""
    return [(i, None if i in BAD else 2.0 * i + i % 3, SEEN + i) for i in ids]


def test_every_neutral_setting_is_set_otherwise_here() -> None:
    assert SESSIONS["writes"].keys() == NEUTRAL.keys()


def test_a_merge_with_a_quarantine_and_a_rollback(odd: Place) -> None:
    apart = {"bad_rows": "quarantine"}
    odd.run(MERGE, **apart)
    assert written(odd) == expected(GOOD)
    assert [row[0] for row in written(odd, "_quarantine")] == sorted(BAD)
    add(odd, range(ROWS, ROWS + 3))
    second = odd.run(MERGE, **apart)
    assert (second.rows_in, vars(second.changes)["inserted"]) == (ROWS + 3, 3)
    assert odd.run(MERGE, **apart).skipped
    assert written(odd)[: len(GOOD)] == expected(GOOD)
    assert odd.ids() == [*GOOD, *range(ROWS, ROWS + 3)]
    roll_back(odd.spark, resolve(odd.spark, path=odd.output), str(second.run_id))
    assert odd.ids() == GOOD


@pytest.mark.long
def test_appends_and_overwrites_of_a_part(odd: Place) -> None:
    append, over = {"mode": "append", "keep": KEEP}, {"mode": "overwrite", "keep": KEEP}
    assert [odd.run(append).skipped, odd.run(append).skipped] == [False, True]
    assert written(odd) == expected(range(ROWS))
    part = {**over, "replace_where": "id < 4"}
    with pytest.raises(RunError, match="rows that its replace_where does not cover; nothing was committed"):
        odd.run(part, source={"where": "id < 6"})
    assert odd.run(part, source={"where": "id < 4"}).rows_out == 4
    assert written(odd) == expected(range(ROWS))
    assert odd.run(over, source={"where": f"id IN ({', '.join(map(str, GOOD))})"}).rows_out == len(GOOD)
    assert written(odd) == expected(GOOD)


def test_feature_tables_are_made_and_written(odd: Place) -> None:
    client, spark = feature_client(), odd.spark
    spark.sql("CREATE SCHEMA IF NOT EXISTS odd_session")
    spark.sql("DROP TABLE IF EXISTS odd_session.t")
    rows = spark.sql(f"SELECT id, double(id) AS a, id % 2 AS part, timestamp_micros({SEEN}) AS at FROM range(4)")  # noqa: S608

    def held() -> list[tuple[object, ...]]:
        found = spark.sql("SELECT id, a, unix_micros(CAST(at AS TIMESTAMP_LTZ)) FROM odd_session.t")
        return sorted(map(tuple, found.collect()))

    client.create_table(name="main.odd_session.t", primary_keys=["id"], df=rows, partition_columns=["part"])
    assert held() == [(i, float(i), SEEN) for i in range(4)]
    client.write_table(name="main.odd_session.t", df=rows.selectExpr("id + 2 AS id", "a", "part", "at"), mode="merge")
    assert held() == [(i, float(i if i < 2 else i - 2), SEEN) for i in range(6)]
    client.write_table(name="main.odd_session.t", df=rows.where("part = 0"), mode="overwrite")
    assert held() == [(0, 0.0, SEEN), (2, 2.0, SEEN)]
