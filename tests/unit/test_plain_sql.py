"""``read_plain``: what an expression calls and names, or what keeps it from being taken where SQL is restricted."""

from __future__ import annotations

import pytest

from spark_scoring.parsing import NotPlainSqlError, read_plain


@pytest.mark.parametrize(
    ("sql", "calls", "columns"),
    [
        ("month >= 10 AND `sched dep` IS NOT NULL", [], ["month", "sched dep"]),
        ("sched_dep_time div 100", [], ["sched_dep_time"]),
        ("CAST(a AS DECIMAL(10, 2)) * -1", ["cast", "decimal"], ["a"]),
        ("a::double + b", [], ["a", "b"]),
        ("CASE WHEN (a) > 1 THEN (2) ELSE (b) END", ["when", "then", "else"], ["a", "b"]),
        ("transform(xs, x -> x + y)", ["transform"], ["xs", "y"]),
        ("aggregate(xs, 0, (acc, x) -> acc + x)", ["aggregate"], ["xs"]),
        ("extract(YEAR FROM d) = 2024", ["extract"], ["d"]),
        ("trim(BOTH 'x' FROM t)", ["trim"], ["t"]),
        ("a IS DISTINCT FROM b", [], ["a", "b"]),
        ("a IN (1, 2) OR a IN ('select', 'from')", ["in"], ["a"]),
        ("s.x.y[0] > 1 OR m['k'] = 2", [], ["s", "m"]),
        ("struct(a, b AS c, *)", ["struct"], ["a", "b"]),
        ("t = 'it''s -- no /* comment' AND t <> 'a\\'b(c'", [], ["t"]),
        ("d > DATE'2024-01-01' - INTERVAL 3 DAYS", [], ["d"]),
        ("t LIKE ANY ('a%', 'b%')", ["any"], ["t"]),
        ("date_trunc('month', ts)", ["date_trunc"], ["ts"]),
        ("(map('a', a))['a']", ["map"], ["a"]),
        ("`Reflect` ('x')", ["reflect"], []),
        ("f\n(a) + g . H ( b )", ["f", "g.h"], ["a", "b"]),
        ("`a``b`(1)", ["a`b"], []),
    ],
)
def test_calls_and_columns(sql: str, calls: list[str], columns: list[str]) -> None:
    found = read_plain(sql)
    assert [call.name for call in found.calls] == calls
    assert sorted(found.columns) == sorted(columns)


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("a IN (SELECT x FROM t)", "SELECT"),
        ("a = (select max(x) from t)", "SELECT"),
        ("EXISTS (FROM t)", "FROM"),
        ("a IN (TABLE t)", "TABLE"),
        ("a IN (VALUES 1, 2)", "VALUES"),
        ("a IN ((FROM t))", "FROM"),
        ("(WITH q AS (SELECT 1) SELECT * FROM q) = 1", "WITH"),
        ("(MAP a USING 'cat' FROM t) = 1", "USING"),
        ("a FROM t", "more than one expression|cannot be parsed"),
        ("a, b", "more than one expression"),
        ("a) OR (b", "cannot be parsed"),
        ("DISTINCT a", "more than one expression"),
        ("a LIMIT 1", "more than one expression|cannot be parsed"),
        ("reflect -- x\n('a')", "a comment"),
        ("reflect/**/('a')", "a comment"),
        ("a > 1 /* hidden */", "a comment"),
        ("a > 1 -- hidden", "a comment"),
        ("'${env:HOME}' = a", "variable's value"),
        ("`${x}` = a", "variable's value"),
        ("a = $x", r"'\$' at character 5"),
        ("a = :x", "a parameter|cannot be parsed"),
        ("a = ?", r"'\?' at character 5"),
        ("a = @@x", "'@' at character 5"),
        ("a; DROP TABLE t", "';' at character 2"),
        ("r'\\' OR reflect('a') = '", "at character 1"),
        ("R'\\' OR reflect('a') = '", "at character 1"),
        ('a = "x"', "'\"' at character 5"),
        ("reflect\u00a0('a')", "at character 8"),
        ("a = 'open", "at character 5"),
        ("a = `open", "at character 5"),
        ("ünder > 1", "at character 1"),
        ("", "cannot be parsed|more than one"),
        ("(" * 5000 + "a" + ")" * 5000, "cannot be parsed"),
    ],
)
def test_what_is_not_plain(sql: str, what: str) -> None:
    with pytest.raises(NotPlainSqlError, match=what):
        read_plain(sql)
