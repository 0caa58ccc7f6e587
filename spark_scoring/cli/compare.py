"""Models against each other: compare, promote."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spark_scoring.cli.options import (
    JobOrPlan,
    Json,
    Param,
    RegistryUri,
    Remote,
    Set,
    ShowModelError,
    Spark,
    TrackingUri,
    Verbose,
    Warehouse,
    app,
)
from spark_scoring.cli.output import FAILED, echo, keep_results_apart, show, show_failed, show_line
from spark_scoring.cli.progress import progress_bar
from spark_scoring.cli.reading import read_job
from spark_scoring.cli.spark import session_coming_up, show_planned, spark_coming_up

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_scoring.compare.planning import ComparePlan
    from spark_scoring.job import ScoringJob

Saved = Annotated[Path, typer.Argument(metavar="FILE", help="What compare --json has written.")]


@app.command(
    epilog="""Examples:

    spark-scoring compare delay.yml --with models:/main.ml.delay@challenger

    spark-scoring compare delay.yml --with models:/main.ml.delay/4 --fail-if 'flip_rate > 0.02' --json

    spark-scoring compare delay.yml --with models:/main.ml.delay/4 --set 'source.where=month = 12'

    spark-scoring compare delay.yml --with models:/main.ml.delay/4 --labels main.ml.arrivals --key flight_id"""
)
def compare(  # noqa: PLR0913  options
    job: JobOrPlan,
    with_: Annotated[str, typer.Option("--with", metavar="MODEL", help="The challenger: models:/..., runs:/...")],
    set_: Set = None,
    param: Param = None,
    spark: Spark = None,
    remote: Remote = None,
    *,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="TABLE", help="What came true, one row a key: metrics of both.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="COLUMN", help="A column of the source and of --labels, by which they belong."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="COLUMN",
            help="Of --labels; default: the only one beside the keys. Without --labels: of the source.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="TASK", help="regression, classification, probability; default: as found."),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option("--fail-if", metavar="'NAME > NUMBER'", help="End with exit status 3 if this holds."),
    ] = None,
    verbose: Verbose = False,
    json_: Json = False,
    show_model_error: ShowModelError = False,
) -> None:
    """Score a job's rows with its model and with another one, and show what would change. Writes nothing."""
    keep_results_apart()
    of_file, _ = read_job(job, set_, param, spark, remote, show_model_error=show_model_error)
    asked = {"labels": labels, "key": tuple(key or ()), "label": label, "task": task}
    planned = _planned(of_file, with_, asked, fail_if or (), verbose=verbose)
    from spark_scoring.compare.jobs import carry_out_comparison
    from spark_scoring.compare.measures import conditions_on

    with progress_bar() as on_progress:
        found = carry_out_comparison(planned, on_progress)
    show(found, json_=json_)
    measures = found.measures
    told = [c.told(measures) for c in conditions_on(fail_if or (), measures) if c.holds(measures)]
    show_failed(told)
    if told:
        raise typer.Exit(FAILED)
    if not json_:
        show_line("more    the same with --json: every figure, and the measures that --fail-if takes")


@app.command(
    epilog="""Examples:

    spark-scoring promote comparison.json --alias champion"""
)
def promote(
    comparison: Saved,
    alias: Annotated[str, typer.Option("--alias", metavar="ALIAS", help="The alias of the current model.")],
    *,
    tracking_uri: TrackingUri = None,
    registry_uri: RegistryUri = None,
    warehouse: Warehouse = None,
    spark: Spark = None,
    remote: Remote = None,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Give the challenger the alias of the current model, if all is still as it was compared, and note the evidence.

    Both versions, the alias and the source's version are looked at. The version's tags then tell of the comparison.
    """
    with session_coming_up("looking at what was compared", warehouse, spark, remote, verbose=verbose) as session:
        from spark_scoring.compare.promote import promote_model, read_evidence

        read_evidence(comparison)  # what is wrong with it is told before Spark is up
        servers = {"tracking_uri": tracking_uri, "registry_uri": registry_uri}
        done = promote_model(comparison, alias, session(), **servers)
    if json_:
        echo(json.dumps(done.to_dict(), indent=2))
    else:
        show_line(str(done))


def _planned(
    job: ScoringJob, with_model: str, labels: Mapping[str, Any], fail_if: Sequence[str], *, verbose: bool
) -> ComparePlan:
    """The plan of the comparison. What is wrong with it, or with the conditions, is told before a row is read."""
    from spark_scoring.session import require_spark

    require_spark()
    begin = time.perf_counter()
    with spark_coming_up("planning: both models, Spark, the source", job.warehouse, job.spark, verbose=verbose):
        from spark_scoring.compare.labelled import LabelRequest
        from spark_scoring.compare.measures import conditions_on, measure_names
        from spark_scoring.compare.planning import plan_comparison

        planned = plan_comparison(job, with_model, labels=LabelRequest(**labels))
        conditions_on(fail_if, measure_names(planned.outputs, planned.labels))
    show_planned(begin, planned.session)
    return planned
