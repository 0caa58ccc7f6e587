"""What Python calls are given: checked as a job file is, and told plainly where something else was meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql.types import StructType

from spark_scoring.errors import RequestError
from spark_scoring.job import ScoringJob
from spark_scoring.job_problems import JobError
from spark_scoring.run.plan import JobPlan

if TYPE_CHECKING:
    from spark_scoring.parameters import Value


def choices_of(model: object, names: Mapping[str, str] | None = None, **choices: Any) -> ScoringJob:
    """The arguments of a call as a job without a source or an output, which holds the checked choices.

    Raises:
        RequestError: with every argument that is wrong.

    """
    if not isinstance(model, str | PathLike):
        raise RequestError.not_a_model(_kind(model), has_uri=hasattr(model, "uri"))
    fields = {"source": {"table": "df"}, "output": {"table": "df", "names": names or {}}}
    given = {name: choice for name, choice in choices.items() if choice is not None}
    try:
        return ScoringJob.from_dict({"model": fspath(model), **fields, **given})
    except JobError as error:
        problems = [replace(problem, thing=problem.thing.removeprefix("output.")) for problem in error.problems]
        raise RequestError(problems) from None


def check_order(df: object, model: object, call: str) -> None:
    """Refuse a frame and a model that have each other's place.

    Raises:
        RequestError: they have.

    """
    if isinstance(df, str) and not isinstance(model, str | PathLike) and hasattr(model, "columns"):
        raise RequestError.swapped(call)


def check_frame(df: object, *, schema_too: bool = False) -> None:
    """Refuse what is not a DataFrame of Spark's.

    Raises:
        RequestError: it is something else.

    """
    if (hasattr(df, "sparkSession") and hasattr(df, "schema")) or (schema_too and isinstance(df, StructType)):
        return
    raise RequestError.not_a_frame(*_frame_fix(df))


def _frame_fix(df: object) -> tuple[str, str]:
    """What is given instead of a frame, and how to make one of it."""
    library = type(df).__module__.split(".")[0]
    if type(df).__module__.startswith("pyspark.pandas"):
        return "a pandas-on-Spark frame", "give df.to_spark()"
    if library == "pandas":
        return f"a pandas {type(df).__name__}", (
            "give spark.createDataFrame(df); or stay in pandas: "
            "model.predict(prepare_features(df, model.metadata.signature).frame)"
        )
    if library == "polars":
        return f"a polars {type(df).__name__}", "give spark.createDataFrame(df.to_pandas())"
    if isinstance(df, str | PathLike):
        table = "/" not in str(df)
        return "text", f"give spark.{'table' if table else 'read.load'}({str(df)!r})"
    return _kind(df), "give a DataFrame of Spark's, such as spark.table('shop.orders')"


def job_of(job: object, spark: object, params: Mapping[str, Value] | None) -> ScoringJob:
    """The job itself, of a mapping of its fields, or of a YAML file, whose open places ``params`` fill.

    Raises:
        RequestError: it is none of these.
        JobError: its fields are wrong.

    """
    if isinstance(job, str | Path):
        return ScoringJob.from_yaml(job, params=params)
    if params:
        raise RequestError.params_of_a_file()
    if isinstance(job, Mapping):
        return ScoringJob.from_dict(job)
    if not isinstance(job, ScoringJob):
        is_swapped = hasattr(job, "sql") and isinstance(spark, str | Path | Mapping | ScoringJob | JobPlan)
        raise RequestError.not_a_job(_kind(job), is_swapped=is_swapped)
    return job


def _kind(value: object) -> str:
    if value is None:
        return "None"
    name, library = type(value).__name__, type(value).__module__.split(".")[0]
    article = "an" if name[0] in "aeiouAEIOU" else "a"
    return f"{article} {name}" + ("" if library == "builtins" else f" of {library}")
