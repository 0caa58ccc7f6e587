"""A command's job: of its file or a saved plan, with what the options set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.cli.options import values_of
from spark_scoring.cli.spark import with_spark
from spark_scoring.errors import Problem, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spark_scoring.job import ScoringJob
    from spark_scoring.run.saved import SavedPlan


def read_job(
    file: Path,
    settings: Sequence[str] | None,
    params: Sequence[str] | None,
    spark: Sequence[str] | None,
    remote: str | None,
    *,
    show_model_error: bool = False,
) -> tuple[ScoringJob, SavedPlan | None]:
    """The job, and the saved plan that it is of. What is wrong with the file is told before Spark is asked for."""
    from spark_scoring.job import ScoringJob
    from spark_scoring.run.saved import read_saved

    shown = ["show_model_error=true"] if show_model_error else []
    overrides = [*(settings or ()), *shown]
    saved = read_saved(file, overrides)
    if saved is not None and params:
        fix = "leave --param out, or plan anew with it: spark-scoring plan JOB.yml --json"
        raise RequestError([Problem("--param", "a saved plan is run as it is", fix)])
    job = ScoringJob.from_yaml(file, overrides, values_of(params)) if saved is None else saved.job
    return with_spark(job, spark, remote), saved
