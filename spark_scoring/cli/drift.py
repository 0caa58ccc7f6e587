"""What a model is given, beside what it was trained on: drift."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from spark_scoring.cli.options import JobOrPlan, Json, Param, Remote, Set, Spark, Verbose, app
from spark_scoring.cli.output import FAILED, keep_results_apart, show, show_failed
from spark_scoring.cli.reading import read_job
from spark_scoring.cli.spark import show_planned, spark_coming_up
from spark_scoring.errors import listed


@app.command(
    epilog="""Examples:

    spark-scoring drift delay.yml

    spark-scoring drift delay.yml --max-drift 0.5 --json

    spark-scoring drift delay.yml --set 'source.where=month = 12'"""
)
def drift(
    job: JobOrPlan,
    set_: Set = None,
    param: Param = None,
    spark: Spark = None,
    remote: Remote = None,
    *,
    max_drift: Annotated[
        float | None,
        typer.Option("--max-drift", metavar="PSI", min=0, help="Limit; default: the job's drift.fail, else its warn."),
    ] = None,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Hold a job's rows against its model's training rows. Scores and writes nothing; status 3 if above the limit."""
    from spark_scoring.session import require_spark

    keep_results_apart()
    of_file, _ = read_job(job, set_, param, spark, remote)
    require_spark()
    begin = time.perf_counter()
    with spark_coming_up("planning: the model, Spark, the tables", of_file.warehouse, of_file.spark, verbose=verbose):
        from spark_scoring.run.jobs import measure_drift
        from spark_scoring.run.planning import plan_job

        planned = plan_job(of_file)
    show_planned(begin, planned.session)
    found = measure_drift(planned)
    show(found, json_=json_)
    limit = max_drift if max_drift is not None else found.fail if found.fail is not None else found.warn
    if above := found.above(limit):
        text = f"the PSI is above {limit:g} of {listed(feature.feature for feature in above)}"
        show_failed([text])
        raise typer.Exit(FAILED)
