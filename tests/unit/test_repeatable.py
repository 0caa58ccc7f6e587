"""What makes a run another one, and what a commit may have done to the rows before it."""

from __future__ import annotations

import pytest

from spark_scoring.delta.ledger import Commit
from spark_scoring.delta.names import with_suffix
from spark_scoring.job_file import place_of
from spark_scoring.parsing import UnreadableSqlError, is_plain, read_names


@pytest.mark.parametrize(
    ("expression", "tables"),
    [
        ("id IN (SELECT id FROM act)", ["act"]),
        (
            "id IN (SELECT a.id FROM m.`b c`.act a JOIN delta.`/x y` b ON a.id = b.id, d)",
            ["m.b c.act", "delta./x y", "d"],
        ),
        ("id IN (WITH q AS (SELECT id FROM act) SELECT id FROM q)", ["act"]),
        ("id IN (WITH act AS (SELECT id FROM act) SELECT id FROM act)", ["act"]),
        ("note = 'FROM act' AND id IN (SELECT id FROM range(3)) -- FROM act", []),
        ("replace(note, 'a', 'b') = \"it's\" /* FROM act */", []),
        ("x > (SELECT max(a.x) FROM act a WHERE a.id = (SELECT min(id) FROM b.c))", ["act", "b.c"]),
    ],
)
def test_tables_of_subqueries_are_found_where_they_are_written(expression: str, tables: list[str]) -> None:
    found = read_names(expression).tables
    assert sorted(table.name for table in found) == sorted(tables)
    for table in found:
        assert expression[: table.end].replace("`", "").endswith(table.name)


def test_versions_that_are_asked_for() -> None:
    asked = "id IN (SELECT id FROM a VERSION AS OF 3) OR id IN (SELECT id FROM b TIMESTAMP AS OF '2026-01-01')"
    found = {table.name: (table.version, table.is_fixed) for table in read_names(asked).tables}
    assert found == {"a": (3, True), "b": (None, True)}
    assert [table.end for table in read_names("id IN (SELECT id FROM IDENTIFIER('a'))").tables] == [-1]


@pytest.mark.parametrize(
    ("expression", "momentary"),
    [
        ("day = current_date() - 1 AND day = CURRENT_DATE", ["current_date"]),
        ("day >= DATE 'yesterday' OR at > CAST('now' AS TIMESTAMP)", ["'yesterday'", "'now'"]),
        ("at > now() - INTERVAL 1 DAY AND who = current_user()", ["now", "current_user"]),
        ("note = 'now() current_date' AND `rand(` > pi() -- uuid()", []),
        ("unix_timestamp(at) > 5 AND now > 3 AND to_date(at) = DATE '2026-01-31'", []),
    ],
)
def test_what_has_a_value_of_the_moment_is_named(expression: str, momentary: list[str]) -> None:
    assert list(read_names(expression).momentary) == momentary


def test_functions_are_named_with_what_qualifies_them() -> None:
    names = read_names("main.ml.`my f`(x) > upper(y) AND IF(x IN (1), true, false)")
    assert names.functions[:2] == (("main", "ml", "my f"), ("upper",))
    assert {*names.functions[2:], *((word,) for word in names.words)} == {("IF",), ("IN",)}


@pytest.mark.parametrize("expression", ["id IN (TABLE act)", "id = 'a", "id IN (SELECT"])
def test_what_cannot_be_parsed_is_said_so(expression: str) -> None:
    with pytest.raises(UnreadableSqlError):
        read_names(expression)


@pytest.mark.parametrize(
    ("expression", "plain"),
    [
        ("id < 3", True),
        ("ID IN (1, 2) AND (`x` * 2 >= 1.5 OR x IS NOT NULL)", True),
        ("id < lim", False),
        ("note = 'a'", False),
        ("at > '2026-01-01'", False),
        ("abs(x) > 1", False),
        ("id(3)", False),
        ("id IN (SELECT x)", False),
        ("s.a > 1", False),
        ("id = 'a", False),
    ],
)
def test_plain_expressions_are_of_columns_numbers_and_operators(expression: str, plain: bool) -> None:  # noqa: FBT001
    assert is_plain(expression, ["id", "x", "note", "at", "s"]) is plain


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
