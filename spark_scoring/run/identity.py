"""What a job's written expressions mean: two runs are the same one only where Spark says that they mean the same.

Spark is asked with EXPLAIN. In its optimized plan, ``now()``, session variables and the like are values, and SQL
functions are their bodies: a hash of the plan's text is part of a run's key. An aggregate around each expression lets
the analyzer refuse those that depend on chance. The plan is of made-up columns without rows: that of the source
would hold its files.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyspark.errors import PySparkException
from pyspark.sql.types import NumericType

from spark_scoring.delta.explained import explain, unknown_columns
from spark_scoring.delta.functions import describe_function
from spark_scoring.delta.settings import setting
from spark_scoring.features.functions import call_sql
from spark_scoring.parsing import UnreadableSqlError, is_plain, read_names, read_operators
from spark_scoring.plan.lookups import FunctionCall
from spark_scoring.sql import unformatted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType

    from spark_scoring.delta.explained import Plans
    from spark_scoring.delta.pinning import PinnedSql, PinnedTable
    from spark_scoring.plan.lookups import LookupPlan

_ZONE, _ANSI = "spark.sql.session.timeZone", "spark.sql.ansi.enabled"
_SESSION_RULES = (
    _ZONE,
    _ANSI,
    "spark.sql.caseSensitive",
    "spark.sql.legacy.timeParserPolicy",
    "spark.sql.mapKeyDedupPolicy",
)
"""Settings that change what an expression gives and that a plan's text does not always show."""
_CHANCE = "AGGREGATE_FUNCTION_WITH_NONDETERMINISTIC_EXPRESSION"
_CONDITION = re.compile(r"(?:^|Exception: )\[([A-Z][A-Z0-9_.]+)\]", re.MULTILINE)
_NODE = re.compile(r"((?:[ :] {2})*(?:[+:]- )?)(\w+)")
_IDS = re.compile(r"#\d+L?|(?<=CTERelationDef )\d+|(?<=CTERelationRef )\d+|_pyspark_\w+")
"""What differs between two plans of one meaning."""
_VARIABLE = re.compile(r"variablereference\(((?:`(?:[^`]|``)+`|[^`=()]+)(?:\.(?:`(?:[^`]|``)+`|[^`=().]+))*)=")


@dataclass(frozen=True)
class Question:
    """What Spark is asked about a job's expressions."""

    expressions: tuple[tuple[str, str], ...] = ()
    """Over the source's columns and the features: what people call each, and its SQL."""
    columns: StructType | None = None
    on_output: tuple[tuple[str, str], ...] = ()
    """Over the output's columns."""
    output: StructType | None = None
    calls: tuple[FunctionCall, ...] = ()
    """Feature functions, which are expressions over the columns, too."""
    settings: tuple[str, ...] = ()
    """Settings of the session that the job sets for them."""
    plain: tuple[str, ...] = ()
    """Settings of the session that change what expressions give which Spark need not be asked about."""

    @property
    def is_any(self) -> bool:
        """Whether there is anything to ask."""
        return bool(self.expressions or self.on_output or self.calls)


@dataclass(frozen=True)
class Answer:
    """What Spark says."""

    meaning: str | None = None
    """A hash that is equal for equal meanings; None where there is nothing to ask, or a cause."""
    causes: tuple[str, ...] = ()
    """Why every run is another one."""
    values: tuple[str, ...] = ()
    """Names of what has a value at the time of the run that is part of the meaning."""


@dataclass(frozen=True)
class Identity:
    """What a job's expressions add to the identity of its runs."""

    tables: tuple[PinnedTable, ...] = ()
    """Tables that they read, each once."""
    question: Question = Question()
    unpinned: tuple[str, ...] = ()
    """Why every run is another one, whatever Spark says."""
    planned: Answer = Answer()
    """What Spark said when the job was planned: for people. The run asks again."""
    places: int = 0
    """In how many places the expressions read a pinned table."""

    @property
    def causes(self) -> tuple[str, ...]:
        """Why every run is another one; empty where equal ones are the same."""
        return tuple(dict.fromkeys((*self.unpinned, *self.planned.causes)))

    @property
    def notes(self) -> list[str]:
        """For the plan."""
        if self.causes:
            return [f"every run counts as another one: {'; '.join(self.causes)}"]
        if self.planned.values:
            named = ", ".join(self.planned.values)
            return [f"a run counts as another one where other values of these change what it writes: {named}"]
        return []

    def decisive(self, spark: SparkSession) -> tuple[list[tuple[str, int]], str | None, bool]:
        """For a run's key: tables and versions, the meaning as it is now, and whether the run is like no other."""
        tables = sorted((table.table_id, table.version) for table in self.tables)
        answer = Answer() if self.unpinned or not self.question.is_any else ask(spark, self.question, self.places)
        meaning = answer.meaning
        if self.question.plain:
            rules = [f"{key}={setting(spark, key)}" for key in self.question.plain]
            meaning = hashlib.sha256(json.dumps([meaning, rules]).encode()).hexdigest()
        return tables, meaning, bool(self.unpinned or answer.causes)


def find_identity(
    spark: SparkSession,
    *,
    expressions: Sequence[PinnedSql],
    columns: StructType,
    lookups: LookupPlan | None,
    replace_where: str | None,
    output: StructType,
    output_id: str | None,
    unpinned: str | None = None,
    settings: Sequence[str] = (),
) -> Identity:
    """What a job's expressions add to the identity of its runs. Runs no job of its own; EXPLAIN may list Delta's files.

    Args:
        spark: the session.
        expressions: the source's filter and the features' expressions, with their tables pinned.
        columns: the source's, and those of the features that are looked up.
        lookups: their feature functions are asked about, too.
        replace_where: the output's condition.
        output: the columns that the run writes.
        output_id: Delta's id of the output; None where it does not exist yet.
        unpinned: why each run reads other rows, where the source is so.
        settings: the session's that the job sets and that could change what an expression gives. Others of its
            settings, such as a master or memory, do not count: they change how fast it is.

    """
    places = tuple(table for expression in expressions for table in expression.tables)
    reasons = [] if unpinned is None else [unpinned]
    reasons += [why for expression in expressions for why in expression.unpinned]
    reasons += [
        f"{expression.label} reads the output itself"
        for expression in expressions
        if output_id is not None and any(table.table_id == output_id for table in expression.tables)
    ]
    on_output: tuple[tuple[str, str], ...] = ()
    if replace_where is not None and not is_plain(replace_where, output.fieldNames()):
        on_output = (("replace_where", replace_where),)
    plain = [e for e in expressions if is_plain(e.sql, columns.fieldNames())]
    rules = {rule for e in plain for rule in _rules_of_plain(e.sql, columns)}
    if replace_where is not None and not on_output:
        rules |= _rules_of_plain(replace_where, output)
    question = Question(
        expressions=tuple((e.label, e.sql) for e in expressions if e not in plain),
        columns=columns,
        on_output=on_output,
        output=output,
        calls=() if lookups is None else tuple(step for step in lookups.steps if isinstance(step, FunctionCall)),
        settings=tuple(sorted(settings)),
        plain=tuple(sorted(rules)),
    )
    found = Identity(tuple(dict.fromkeys(places)), question, tuple(dict.fromkeys(reasons)), places=len(places))
    return replace(found, planned=ask(spark, question, len(places))) if question.is_any else found


def _rules_of_plain(sql: str, columns: StructType) -> set[str]:
    """Settings that change what columns and operators give: by overflow, or by a cast that they imply."""
    plain = read_operators(sql)
    kinds = {_kind(field.dataType) for field in columns.fields if field.name.lower() in plain.names}
    kinds |= {"number"} if plain.has_numbers else set()
    if len(kinds - {"boolean"}) > 1:
        return {_ZONE, _ANSI}
    return {_ANSI} if plain.computes else set()


def _kind(type_: DataType) -> str:
    return "number" if isinstance(type_, NumericType) else type_.simpleString()


def ask(spark: SparkSession, question: Question, places: int) -> Answer:
    """What the expressions mean now. Whatever is not understood is a cause, never an error.

    Args:
        spark: the session.
        question: the expressions.
        places: in how many places they read a pinned table.

    """
    expressions = [*question.expressions, *question.on_output]
    try:
        expressions += [(f"feature function {call.function}", call_sql(spark, call)) for call in question.calls]
    except PySparkException as error:
        return Answer(causes=(f"a feature function cannot be called ({_condition(str(error))})",))
    bodies = _Bodies(spark)
    for label, sql in expressions:
        bodies.read(label, sql)
    if bodies.causes:
        return Answer(causes=tuple(dict.fromkeys(bodies.causes)))
    plan = _explained(spark, question, expressions)
    causes = _by_chance(spark, question, expressions) if _is_chance(plan) else _causes(plan, places)
    variables, known = _variables(spark, plan.analyzed)
    if known is None:
        causes.append("a session variable cannot be read")
    if causes:
        return Answer(causes=tuple(causes))
    rules = [setting(spark, key) for key in _SESSION_RULES]
    rules += [f"{key}={setting(spark, key)}" for key in question.settings if key not in _SESSION_RULES]
    decisive = [_IDS.sub("#", plan.analyzed), _IDS.sub("#", plan.optimized), sorted(bodies.definitions), known, rules]
    meaning = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
    named = (f"session variable {name}" for name in variables)
    return Answer(meaning, (), tuple(dict.fromkeys((*bodies.momentary, *named))))


class _Bodies:
    """What functions do, and what is in the SQL of those that have some, again and again."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
        self.definitions: list[str] = []
        self.causes: list[str] = []
        self.momentary: list[str] = []

    def read(self, label: str, sql: str, home: tuple[str, ...] = (), *, is_body: bool = False) -> None:
        """Take in an expression, or the body of a function that is kept in a schema."""
        try:
            names = read_names(sql)
        except UnreadableSqlError:
            self.causes.append(
                f"the SQL of {label} cannot be parsed, so that the functions that it calls are not known"
            )
            return
        if is_body and names.tables:
            self.causes.append(f"{label} reads tables")
        self.momentary += [f"{name} (in {label})" if is_body else name for name in names.momentary]
        for function in [*names.functions, *((word,) for word in names.words)]:
            if (function, home) not in self._seen:
                self._seen.add((function, home))
                self._judge(function, home, is_word=function[0] in names.words)

    def _judge(self, parts: tuple[str, ...], home: tuple[str, ...], *, is_word: bool) -> None:
        found = describe_function(self._spark, parts)
        name = ".".join(parts)
        if home and len(parts) == 1 and (found is None or not found.is_of_spark):
            found = describe_function(self._spark, (*home, *parts))
        if found is None:
            if not is_word:
                self.causes.append(f"function {name} is not known")
        elif found.body is not None:
            self.definitions.append(found.text)
            if found.reads_session:
                self.causes.append(f"function {name} reads variables or views of the session")
            self.read(f"function {name}", found.body, found.home, is_body=True)
        elif not found.is_of_spark:
            self.causes.append(f"function {name} is not made of SQL, so that what it does is not known")


def _explained(spark: SparkSession, question: Question, expressions: Sequence[tuple[str, str]]) -> Plans:
    """Spark's plans of the expressions. An error of analysis comes as text."""
    on_output = set(question.on_output)
    frames: dict[str, DataFrame] = {}
    parts = []
    sides: Mapping[str, StructType | None] = {"columns": question.columns, "output": question.output}
    for name, schema in sides.items():
        own = [sql for label, sql in expressions if ((label, sql) in on_output) == (name == "output")]
        if own and schema is not None:
            frames[name] = unknown_columns(spark, schema)
            firsts = ", ".join(f"first({unformatted(sql)}\n) AS {name}{i}" for i, sql in enumerate(own))
            parts.append(f"(SELECT {firsts} FROM {{{name}}})")  # noqa: S608  the job's own SQL
    return explain(spark, f"SELECT * FROM {' CROSS JOIN '.join(parts)}", frames)  # noqa: S608  likewise


def _causes(plan: Plans, places: int) -> list[str]:
    """Why Spark's plan does not tell all that the expressions mean."""
    if plan.error is not None:
        return [f"Spark does not tell what its expressions mean ({_condition(plan.error)})"]
    found = []
    nodes = list(_nodes(plan.analyzed))
    leaves = [name for i, (depth, name) in enumerate(nodes) if i + 1 == len(nodes) or nodes[i + 1][0] <= depth]
    read = [name for name in leaves if name not in ("Range", "OneRowRelation", "CTERelationRef")]
    if read != ["Relation"] * places:
        found.append("its expressions read what cannot be told from their text, such as views or rows of the session")
    elif any("LocalRelation" in line and "<empty>" not in line for line in plan.optimized.splitlines()):
        found.append("its expressions read rows that Spark's plan does not show")
    if any(name in ("Sample", "Offset", "Tail") for _, name in nodes) or _has_unordered_limit(nodes):
        found.append("its expressions take some rows of a table, and not always the same (LIMIT, TABLESAMPLE)")
    if " more fields" in plan.analyzed or " more fields" in plan.optimized:
        found.append("Spark's plan of its expressions is too long to be told in full")
    return found


def _nodes(plan: str) -> Iterator[tuple[int, str]]:
    """Depth and name of a plan's operators; a line that a text in the plan has broken counts as one, too."""
    for line in plan.strip().splitlines()[1:]:  # the first one has the columns
        if match := _NODE.match(line):
            yield len(match[1]), match[2]


def _has_unordered_limit(nodes: Sequence[tuple[int, str]]) -> bool:
    names = [name for _, name in nodes]
    below = [
        [n for n in names[i + 1 :] if n not in ("LocalLimit", "Project")] for i, n in enumerate(names) if "Limit" in n
    ]
    return any(rest[:1] != ["Sort"] for rest in below)


def _is_chance(plan: Plans) -> bool:
    return plan.error is not None and _CHANCE in plan.error


def _by_chance(spark: SparkSession, question: Question, expressions: Sequence[tuple[str, str]]) -> list[str]:
    """Which of the expressions depend on chance."""
    found = [label for label, sql in expressions if _is_chance(_explained(spark, question, [(label, sql)]))]
    return [f"{label} depends on chance or on how rows are divided" for label in found] or ["it depends on chance"]


def _variables(spark: SparkSession, analyzed: str) -> tuple[list[str], str | None]:
    """Names of the session variables that a plan holds, and a hash of their values; None where it cannot be had."""
    names = list(dict.fromkeys(_VARIABLE.findall(analyzed)))
    if len(_VARIABLE.findall(analyzed)) < analyzed.count("variablereference("):
        return names, None
    if not names:
        return names, ""
    values = ", ".join(f"'{i}', {name}" for i, name in enumerate(names))
    try:
        row = spark.sql(f"SELECT sha2(to_json(named_struct({unformatted(values)})), 256)").collect()[0]
    except PySparkException:
        return names, None
    return [name.rpartition(".")[2] for name in names], str(row[0])


def _condition(error: str) -> str:
    """The name of an error that Spark gives as text: it holds no values."""
    found = _CONDITION.search(error)
    return found[1] if found else "no reason given"
