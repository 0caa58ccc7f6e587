"""What makes a run another one, and what a commit may have done to the rows before it."""

from __future__ import annotations

import pytest

from spark_scoring.delta.ledger import Commit
from spark_scoring.delta.names import place_of, with_suffix
from spark_scoring.sql import changing_functions


@pytest.mark.parametrize(
    ("expression", "daily", "always"),
    [
        ("day = current_date() - 1", {"current_date"}, set()),
        ("day = CURRENT_DATE", {"current_date"}, set()),
        ("day >= DATE 'yesterday'", {"yesterday"}, set()),
        ("at > now() - INTERVAL 1 DAY AND day = curdate()", {"curdate"}, {"now"}),
        ("at < current_timestamp", set(), {"current_timestamp"}),
        ("rand(7) < 0.1 OR unix_timestamp() > 5", set(), {"rand", "unix_timestamp"}),
        ("note = 'now() current_date' AND `rand(` > 1 -- uuid()", set(), set()),
        ("note = \"it's now()\" AND 'a\\'now()' = x /* rand() */", set(), set()),
        ("unix_timestamp(at) > 5 AND brand(x) AND now > 3 AND to_date(at) = DATE '2026-01-31'", set(), set()),
        ("at > TIMESTAMP 'now'", set(), {"now"}),
    ],
)
def test_functions_of_the_day_and_of_the_moment_are_known(expression: str, daily: set[str], always: set[str]) -> None:
    assert changing_functions(expression) == (daily, always)


@pytest.mark.parametrize(
    ("operation", "parameters", "metrics", "changes"),
    [
        ("WRITE", {"mode": "Append"}, {}, False),
        ("WRITE", {"mode": "Overwrite"}, {}, True),
        ("STREAMING UPDATE", {"outputMode": "Append"}, {}, False),
        ("STREAMING UPDATE", {"outputMode": "Complete"}, {}, True),
        ("MERGE", {}, {"numTargetRowsInserted": "5"}, False),
        ("MERGE", {}, {"numTargetRowsUpdated": "1"}, True),
        ("MERGE", {}, {"numTargetRowsDeleted": "1"}, True),
        ("DELETE", {}, {"numDeletedRows": "0"}, False),
        ("DELETE", {}, {}, True),
        ("UPDATE", {}, {"numUpdatedRows": "0"}, False),
        ("UPDATE", {}, {"numUpdatedRows": "2"}, True),
        ("RESTORE", {}, {}, True),
        ("OPTIMIZE", {}, {}, False),
        ("SET TBLPROPERTIES", {}, {}, False),
        ("CREATE OR REPLACE TABLE AS SELECT", {}, {}, True),
        ("SOMETHING NEW", {}, {}, True),
    ],
)
def test_a_commit_that_may_have_changed_rows_is_known(
    operation: str,
    parameters: dict[str, str],
    metrics: dict[str, str],
    changes: bool,  # noqa: FBT001
) -> None:
    assert Commit(1, 0.0, operation, parameters, metrics, None, None).changes_rows is changes


def test_rows_that_were_only_copied_do_not_count() -> None:
    write = {"numOutputRows": "17", "numCopiedRows": "7"}
    assert Commit(1, 0.0, "WRITE", {}, write, None, None).rows == 10
    merge = {"numOutputRows": "10", "numTargetRowsInserted": "2", "numTargetRowsUpdated": "3", "numSourceRows": "9"}
    commit = Commit(1, 0.0, "MERGE", {}, merge, None, None)
    assert (commit.rows, commit.rows_seen) == (5, 9)


def test_places_beside_a_table_or_a_path() -> None:
    assert with_suffix("_q", table="main.ml.delay") == {"table": "main.ml.delay_q", "path": None}
    assert with_suffix("_q", table="`a b`.`x``y`") == {"table": "`a b`.`x``y_q`", "path": None}
    assert with_suffix("_q", path="/data/out/") == {"table": None, "path": "/data/out_q"}
    assert place_of("main.ml.delay") == {"table": "main.ml.delay", "path": None}
    assert place_of("data/out") == {"table": None, "path": "data/out"}
