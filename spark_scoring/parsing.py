"""What SQL that people wrote names: tables, functions, columns. By sqlglot; nothing is ever written from its trees."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

_DIALECT = "databricks"
_SELECT = "SELECT "
"""In front of an expression: without it some first words, such as ``replace(``, begin a statement."""
_PLAIN = frozenset(
    {
        "NUMBER",
        "L_PAREN",
        "R_PAREN",
        "COMMA",
        "AND",
        "OR",
        "NOT",
        "IN",
        "IS",
        "NULL",
        "BETWEEN",
        "TRUE",
        "FALSE",
        "EQ",
        "NEQ",
        "NULLSAFE_EQ",
        "LT",
        "LTE",
        "GT",
        "GTE",
        "PLUS",
        "DASH",
        "STAR",
        "SLASH",
        "MOD",
    }
)
"""Token types of an expression that means the same whenever and wherever it is asked, over plain columns."""
_NAMES = ("VAR", "IDENTIFIER")
_COMPUTES = ("PLUS", "DASH", "STAR", "SLASH", "MOD")
_ENDS_A_VALUE = (*_NAMES, "NUMBER", "R_PAREN")
"""In front of a minus: it takes one value off another; any other minus is a sign."""
_WITHOUT_MEANING = frozenset(
    {
        "array",
        "e",
        "map",
        "pi",
        "struct",
        "named_struct",
        "count",
        "row_number",
        "rank",
        "dense_rank",
        "percent_rank",
        "cume_dist",
    }
)
"""Functions that may be called without arguments and yet have no value of the moment, so that none is told of."""
_SPECIAL = ("now", "today", "tomorrow", "yesterday")


_PIECE = re.compile(
    r"\s+|(?!r\')\w+|`(?:[^`]|``)+`|\'(?:[^\'\\]|\\.)*\'|-(?!-)|/(?!\*)|[(),.\[\]+*%<>=!|&^~:]",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)
"""What plain SQL is made of: a piece that Spark and sqlglot both end where this does. No comment, no raw string."""
_OF_QUERIES = frozenset(
    {"select", "values", "table", "with", "using", "join", "lateral", "union", "intersect", "except"}
)
"""Words that no plain expression has: of subqueries, and of what reads tables or starts programs in them."""


class UnreadableSqlError(ValueError):
    """The text is not understood here, whether Spark understands it or not."""


@dataclass(frozen=True)
class NamedTable:
    """A table that a subquery reads."""

    parts: tuple[str, ...]
    end: int
    """Where its name ends in the text; -1 where that is not known."""
    version: int | None = None
    """The version that the text asks for."""
    is_fixed: bool = False
    """Whether the text asks for a version or a time."""

    @property
    def name(self) -> str:
        """For people."""
        return ".".join(self.parts)


@dataclass(frozen=True)
class Names:
    """What an expression names."""

    tables: tuple[NamedTable, ...]
    functions: tuple[tuple[str, ...], ...]
    """Each once, as the parts of its name."""
    words: tuple[str, ...]
    """Words of SQL's own before a parenthesis: some, such as ``IF``, are functions."""
    momentary: tuple[str, ...]
    """What has a value without any argument, such as ``now`` and ``current_date``; for people."""


def can_be_parsed(sql: str) -> bool:
    """Whether an expression looks like one; Spark knows some that do not."""
    try:
        _tree(sql)
    except UnreadableSqlError:
        return False
    return True


def read_names(sql: str) -> Names:
    """The tables and functions that an expression names.

    Args:
        sql: one expression, such as a filter or a column.

    Raises:
        UnreadableSqlError: it cannot be parsed.

    """
    from sqlglot.errors import SqlglotError

    try:
        tokens = _tokens(sql)
    except SqlglotError as error:
        raise UnreadableSqlError(str(error)) from error
    tables = tuple(_named_tables(sql, _tree(sql))) if _may_read(tokens) else ()
    called = list(dict.fromkeys(_called(tokens)))
    return Names(
        tables,
        tuple(parts for parts, is_word in called if not is_word),
        tuple(parts[0] for parts, is_word in called if is_word),
        tuple(dict.fromkeys(_momentary(tokens))),
    )


@dataclass(frozen=True)
class Call:
    """A word in front of a parenthesis."""

    name: str
    """In small letters, without quotes; with what qualifies it."""
    is_qualified: bool


@dataclass(frozen=True)
class PlainSql:
    """What an expression without subqueries, variables and comments is made of."""

    calls: tuple[Call, ...]
    """Functions, and words of SQL's own such as ``in``; each once."""
    columns: tuple[str, ...]
    """First parts of the names that are no function's; each once."""


class NotPlainSqlError(UnreadableSqlError):
    """The text says more than an expression over columns does, or cannot be understood; says what, for people."""


def read_plain(sql: str) -> PlainSql:
    """The functions and columns of an expression in which nothing else can be hidden.

    Only text is taken that Spark cannot read in another way: what it calls is told from its words, whatever their
    place in a tree.

    Raises:
        NotPlainSqlError: it has a subquery, a comment, a variable or a parameter, or cannot be parsed.

    """
    if "${" in sql:
        msg = "${...}, in the place of which Spark puts a variable's value"
        raise NotPlainSqlError(msg)
    words = [word for word in _pieces(sql) if not word.isspace()]
    for before, word in pairwise(["(", *words]):
        if word.lower() in _OF_QUERIES or (before == "(" and word.lower() == "from"):
            msg = f"{word.upper()}, as of a subquery (a column of this name: in backticks)"
            raise NotPlainSqlError(msg)
    tree = _plain_tree(sql)
    return PlainSql(tuple(dict.fromkeys(_calls(words))), tuple(dict.fromkeys(_roots(tree))))


def _pieces(sql: str) -> Iterator[str]:
    place = 0
    while place < len(sql):
        found = _PIECE.match(sql, place)
        if found is None:
            comment = sql.startswith(("--", "/*"), place)
            what = "a comment" if comment else f"{sql[place]!r} at character {place + 1}, which is not plain SQL"
            raise NotPlainSqlError(what)
        yield found[0]
        place = found.end()


def _plain_tree(sql: str) -> Any:
    from sqlglot import exp

    try:
        tree = _tree(sql)
    except UnreadableSqlError as error:
        msg = "SQL that cannot be parsed as one expression"
        raise NotPlainSqlError(msg) from error
    if len(tree.expressions) != 1 or any(value for name, value in tree.args.items() if name != "expressions"):
        msg = "more than one expression"
        raise NotPlainSqlError(msg)
    for node in tree.walk():
        if isinstance(node, (exp.Query, exp.Table)) and node is not tree:
            msg = "a subquery"
            raise NotPlainSqlError(msg)
        if isinstance(node, (exp.Placeholder, exp.Parameter, exp.SessionParameter, exp.Command)):
            msg = "a parameter or a variable"
            raise NotPlainSqlError(msg)
    return tree


def _calls(words: Sequence[str]) -> Iterator[Call]:
    for i, word in enumerate(words[:-1]):
        if words[i + 1] == "(" and (word[0] == "`" or word.replace("_", "a").isalnum()):
            first = i
            while first >= 2 and words[first - 1] == ".":  # noqa: PLR2004
                first -= 2
            name = ".".join(_unquoted(part).lower() for part in words[first : i + 1 : 2])
            yield Call(name, first < i)


def _unquoted(word: str) -> str:
    return word[1:-1].replace("``", "`") if word[0] == "`" else word


def _roots(tree: Any) -> Iterator[str]:
    from sqlglot import exp

    for column in tree.find_all(exp.Column):
        if not isinstance(column.this, exp.Star):
            yield column.parts[0].name


def is_plain(sql: str, columns: Collection[str]) -> bool:
    """Whether an expression has columns, numbers and operators alone: no function, subquery, variable, text or type."""
    from sqlglot.errors import SqlglotError

    own = {name.lower() for name in columns}
    try:
        tokens = _tokens(sql)
    except SqlglotError:
        return False
    kinds = [token.token_type.name for token in tokens]
    calls = any(kind in _NAMES and after == "L_PAREN" for kind, after in pairwise(kinds))
    return not calls and all(
        token.text.lower() in own if kind in _NAMES else kind in _PLAIN
        for token, kind in zip(tokens, kinds, strict=True)
    )


class Operators(NamedTuple):
    """What is in a plain expression."""

    names: frozenset[str]
    """Columns, in small letters."""
    has_numbers: bool
    computes: bool
    """Whether it adds, multiplies or the like."""


def read_operators(sql: str) -> Operators:
    """What is in an expression that ``is_plain``."""
    tokens = _tokens(sql)
    kinds = [token.token_type.name for token in tokens]
    return Operators(
        frozenset(token.text.lower() for token in tokens if token.token_type.name in _NAMES),
        "NUMBER" in kinds,
        any(kind in _COMPUTES and before in _ENDS_A_VALUE for before, kind in pairwise(kinds)),
    )


def _tokens(sql: str) -> list[Any]:
    from sqlglot import tokenize

    return list(tokenize(sql, read=_DIALECT))


def _may_read(tokens: list[Any]) -> bool:
    """Whether there is a word without which no table is read. sqlglot parses less than Spark does: why ask it else."""
    return any(token.token_type.name in ("SELECT", "FROM", "TABLE", "JOIN", "WITH", "VALUES") for token in tokens)


def _tree(sql: str) -> Any:
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError

    try:
        tree = parse_one(_SELECT + sql, dialect=_DIALECT)
    except (SqlglotError, RecursionError) as error:
        raise UnreadableSqlError(str(error)) from error
    if not isinstance(tree, exp.Select):
        raise UnreadableSqlError(sql)
    return tree


def _named_tables(sql: str, tree: Any) -> Iterator[NamedTable]:
    from sqlglot import exp

    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            if table.this.name.lower() != "range":  # a function that makes a table, or a name that is computed
                yield NamedTable((table.this.name or "a table",), -1)
            continue
        parts = tuple(part.name for part in table.parts)
        if len(parts) == 1 and _is_of_query(table, parts[0]):
            continue
        asked = table.args.get("version")
        number = asked.expression if asked is not None and asked.name.upper() == "VERSION" else None
        is_number = isinstance(number, exp.Literal) and not number.is_string and number.this.isdigit()
        fixed = asked is not None or table.args.get("when") is not None
        yield NamedTable(parts, _end(sql, table), int(number.this) if number is not None and is_number else None, fixed)


def _is_of_query(table: Any, name: str) -> bool:
    """Whether a name is that of a WITH above the table, and not the table that the WITH itself is made from."""
    from sqlglot import exp

    inside = {id(parent) for parent in _parents(table)}
    for parent in _parents(table):
        clause = parent.args.get("with_") or parent.args.get("with")
        for query in clause.expressions if isinstance(clause, exp.With) else ():
            if query.alias.lower() == name.lower() and id(query) not in inside:
                return True
    return False


def _parents(node: Any) -> Iterator[Any]:
    while (node := node.parent) is not None:
        yield node


def _end(sql: str, table: Any) -> int:
    """The end of a table's name in the text without the word in front of it; -1 where it is not found there."""
    last = table.parts[-1]
    start, end = last.meta.get("start"), last.meta.get("end")
    if start is None or end is None:
        return -1
    start, end = start - len(_SELECT), end - len(_SELECT) + 1
    written = sql[start:end]
    return end if written in (last.name, "`" + last.name.replace("`", "``") + "`") else -1


def _called(tokens: list[Any]) -> Iterable[tuple[tuple[str, ...], bool]]:
    """Names in front of a parenthesis, with what qualifies them, and whether they may be words of SQL's own."""
    for i, token in enumerate(tokens[:-1]):
        if tokens[i + 1].token_type.name == "L_PAREN" and _is_name(token):
            parts, place = [token.text], i
            while place >= 2 and tokens[place - 1].token_type.name == "DOT" and _is_name(tokens[place - 2]):  # noqa: PLR2004
                place -= 2
                parts.insert(0, tokens[place].text)
            yield tuple(parts), len(parts) == 1 and token.token_type.name not in _NAMES


def _is_name(token: Any) -> bool:
    kind = token.token_type.name
    return kind == "IDENTIFIER" or (not kind.endswith(("STRING", "NUMBER")) and token.text.replace("_", "a").isalnum())


def _momentary(tokens: list[Any]) -> Iterable[str]:
    for i, token in enumerate(tokens):
        after = [other.token_type.name for other in tokens[i + 1 : i + 3]]
        before = tokens[i - 1].token_type.name if i else ""
        text = token.text.lower()
        if token.token_type.name == "STRING":
            as_time = before.startswith(("DATE", "TIMESTAMP")) or after[:1] in (["ALIAS"], ["DCOLON"])
            if as_time and text.strip().startswith(_SPECIAL):
                yield f"'{text.strip().split()[0]}'"
        elif token.token_type.name.startswith(("CURRENT_", "LOCALTIME", "SESSION_USER")) or (
            after == ["L_PAREN", "R_PAREN"] and _is_name(token) and text not in _WITHOUT_MEANING
        ):
            yield text
