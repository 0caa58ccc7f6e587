"""Columns that a request names: expressions of features, columns to keep, names of what is added."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from spark_scoring.delta.errors import SourceError
from spark_scoring.delta.pinning import PinnedSql, pin_tables
from spark_scoring.delta.restricted import check_sql
from spark_scoring.delta.settings import is_case_sensitive
from spark_scoring.delta.spark_errors import sql_fault
from spark_scoring.engine.errors import OutputError
from spark_scoring.errors import Gathering
from spark_scoring.job import checked_levels
from spark_scoring.job_problems import JobError
from spark_scoring.plan.request import Expression, Request
from spark_scoring.session import get_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql.types import DataType

    from spark_scoring.job import ScoringJob
    from spark_scoring.plan.lookups import LookupPlan


def frame_of(table: StructType | DataFrame) -> DataFrame:
    """The table, or an empty one of its columns."""
    return get_session().createDataFrame([], table) if isinstance(table, StructType) else table


def check_columns(frame: DataFrame, columns: Mapping[str, str], problems: Gathering) -> None:
    """Raise what is gathered where the environment does not allow an expression: Spark is not given such a text."""
    before = len(problems.problems)
    for feature, sql in columns.items():
        with problems.attempt():
            check_sql(frame.sparkSession, f"columns: {feature}", sql, frame.columns)
    if len(problems.problems) > before:
        problems.raise_all(JobError)


def pinned_columns(frame: DataFrame, columns: Mapping[str, str]) -> dict[str, PinnedSql]:
    """The features' expressions, with the tables that they read pinned where Spark takes that."""
    found = {}
    for feature, sql in columns.items():
        pinned = pin_tables(frame.sparkSession, f"column {feature}", sql)
        found[feature] = pinned if pinned.sql == sql or _fits(frame, pinned.sql) else pinned.as_written()
    return found


def _fits(frame: DataFrame, sql: str) -> bool:
    try:
        _ = frame.select(F.expr(sql)).schema
    except (AnalysisException, ParseException):
        return False
    return True


def typed_expressions(frame: DataFrame, columns: Mapping[str, str], problems: Gathering) -> dict[str, Expression]:
    """The job's expressions with the types that Spark gives them over the table."""
    expressions = {}
    for feature, sql in columns.items():
        type_ = None
        with problems.attempt():
            type_ = _type_of(frame, feature, sql)
        expressions[feature] = Expression(sql, type_)
    return expressions


def _type_of(frame: DataFrame, feature: str, sql: str) -> DataType:
    """The type of a per-row expression; one that makes or joins rows is refused."""
    try:
        # in a struct beside the other columns, an aggregate or a generator fails here and not in the run; in brackets,
        # as a part of other expressions, so does a name that is given to it
        struct = frame.select("*", F.struct(F.expr(f"({sql}\n)").alias("v")).alias("s")).schema[-1].dataType
    except (AnalysisException, ParseException) as error:
        cause, fix = sql_fault(error, sql, frame.columns)
        if isinstance(error, ParseException) and "backticks" not in fix and _is_whole(frame, sql):
            cause, fix = "it gives its value a name", "leave the name out: the feature has one"
        raise SourceError.bad_expression(feature, sql, cause, fix) from error
    return cast("StructType", struct)["v"].dataType


def _is_whole(frame: DataFrame, sql: str) -> bool:
    """Whether SQL that cannot be a part of an expression is one as a whole: it gives its value a name."""
    try:
        _ = frame.select(F.expr(sql)).schema
    except (AnalysisException, ParseException):
        return False
    return True


def kept_columns(frame: DataFrame, keep: Sequence[str]) -> tuple[str, ...]:
    """The columns to keep, in the job's order and the table's spelling."""
    fold = str if is_case_sensitive(frame.sparkSession) else str.lower
    by_name = {fold(c): c for c in frame.columns}
    problems = Gathering()
    for name in keep:
        with problems.attempt():
            if fold(name) not in by_name:
                raise OutputError.keep_missing(name, frame.columns)
    problems.raise_all()
    return tuple(by_name[fold(name)] for name in keep)


def renamed(columns: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """The names under which added columns are written; a rename of a column that is not added is refused."""
    problems = Gathering()
    for name in names:
        with problems.attempt():
            if name not in columns:
                raise OutputError.no_such_output(name, columns)
    problems.raise_all()
    return [names.get(column, column) for column in columns]


def check_names(kept: Sequence[str], added: Sequence[str], *, case_sensitive: bool = False) -> None:
    """Refuse two columns of one name; Delta's names know no case."""
    fold = str if case_sensitive else str.lower
    problems = Gathering()
    seen: set[str] = set()
    for name in (*kept, *added):
        with problems.attempt():
            if fold(name) in seen:
                raise OutputError.name_taken(name)
        seen.add(fold(name))
    problems.raise_all()


def request_of(
    job: ScoringJob, expressions: Mapping[str, Expression], lookups: LookupPlan | None, *, case_sensitive: bool
) -> Request:
    """What a job asks of a plan.

    Raises:
        JobError: its policy or its category levels are wrong.

    """
    return Request(
        policy=job.scoring_policy(),
        expressions=expressions,
        categories=checked_levels(job.categories, "the job"),
        methods=job.predict,
        params=job.params,
        per_class=job.per_class,
        case_sensitive=case_sensitive,
        lookups=lookups,
    )
