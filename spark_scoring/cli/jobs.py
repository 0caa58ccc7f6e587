"""Jobs: init, validate, plan, preview, score."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path  # noqa: TC003  typer asks for it when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from spark_scoring.cli.options import (
    Html,
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
    values_of,
)
from spark_scoring.cli.output import echo, keep_results_apart, result_console, show, show_line, write_text
from spark_scoring.cli.progress import progress_bar
from spark_scoring.cli.reading import read_job
from spark_scoring.cli.spark import settings_of, show_planned, spark_coming_up
from spark_scoring.job_problems import JobError
from spark_scoring.redact import printable, redact
from spark_scoring.screen import SafeConsole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spark_scoring.report.run import RunReport
    from spark_scoring.run.plan import JobPlan


@app.command(
    epilog="""Examples:

    spark-scoring init models:/main.ml.delay@champion main.gold.flights

    spark-scoring init models:/main.ml.delay/3 data/flights --output data/scored --file delay.yml --yes

    spark-scoring init models:/main.ml.delay/3 flights.csv --yes"""
)
def init(  # noqa: PLR0913  options
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model: models:/..., runs:/... or a folder.")],
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The source's name, or its path (with a slash).")],
    *,
    output: Annotated[
        str | None, typer.Option("--output", metavar="TABLE", help="Where to write; default: TABLE_scored.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="JOB.yml", help="The file; default: named after the model.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take what is proposed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    environment: Annotated[
        str | None, typer.Option("--environment", help="isolated: the model runs with what its requirements.txt lists.")
    ] = None,
    tracking_uri: TrackingUri = None,
    registry_uri: RegistryUri = None,
    warehouse: Warehouse = None,
    spark: Spark = None,
    remote: Remote = None,
    verbose: Verbose = False,
) -> None:
    """Write a job file for a model and a table or a file, with comments. Loads the model, which runs its code."""
    from spark_scoring.proposal import file_of_model, propose_job
    from spark_scoring.session import require_spark

    file = file or file_of_model(model)
    if file is not None and file.exists() and not force:
        raise JobError.file_exists(str(file))

    require_spark()
    keep_results_apart()
    ask = None if yes or not (sys.stdin.isatty() and sys.stderr.isatty()) else _ask
    settings = {"tracking_uri": tracking_uri, "registry_uri": registry_uri, "warehouse": warehouse}
    settings["environment"] = environment
    of_spark = settings_of(spark, remote)
    with spark_coming_up("looking at the model and the table", warehouse, of_spark, verbose=verbose, asks=bool(ask)):
        file, text, told = propose_job(model, table, output, file, ask, settings, of_spark=of_spark)
    if file.exists() and not force:
        raise JobError.file_exists(str(file))
    write_text(file, text, "--file")
    for line in (*told, f"wrote {file}; now: spark-scoring plan {shlex.quote(str(file))}"):
        show_line(line)


def _ask(question: str, proposed: str) -> str:
    return str(typer.prompt(printable(question), default=proposed, show_default=bool(proposed), err=True))


@app.command(
    epilog="""Examples:

    spark-scoring validate delay.yml

    spark-scoring validate delay.yml --set output.mode=overwrite"""
)
def validate(job: JobOrPlan, set_: Set = None, param: Param = None) -> None:
    """Look for mistakes in a job file, or a training job's. Asks neither Spark nor the registry."""
    from spark_scoring.validation import validate_file

    for line in validate_file(job, set_ or (), values_of(param)):
        show_line(line)


@app.command(
    epilog="""Examples:

    spark-scoring plan delay.yml

    spark-scoring plan delay.yml --set source.version=12 --html plan.html

    spark-scoring plan delay.yml --json > plan.json"""
)
def plan(
    job: JobOrPlan,
    set_: Set = None,
    param: Param = None,
    spark: Spark = None,
    remote: Remote = None,
    *,
    json_: Json = False,
    html: Html = None,
    show_model_error: ShowModelError = False,
) -> None:
    """Show what scoring would do, or all that is wrong. Reads no rows, writes no table."""
    planned = _planned(job, set_, param, spark, remote, show_model_error=show_model_error)
    if html is not None:
        write_text(html, planned.to_html(), "--html")
    show(planned, json_=json_)


@app.command(
    epilog="""Examples:

    spark-scoring preview delay.yml

    spark-scoring preview delay.yml --limit 5 --json"""
)
def preview(
    job: JobOrPlan,
    set_: Set = None,
    param: Param = None,
    spark: Spark = None,
    remote: Remote = None,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows to score.")] = 20,
    json_: Json = False,
    show_model_error: ShowModelError = False,
) -> None:
    """Score a few rows of the source and show them, with the first features. Writes nothing.

    The rows are those that Spark finds first. JSON has what score would write.
    """
    planned = _planned(job, set_, param, spark, remote, show_model_error=show_model_error)
    from spark_scoring.report.preview import preview_text, preview_view
    from spark_scoring.run.preview import preview_rows, with_features

    if json_:
        echo(preview_text(preview_rows(planned, limit)))
        return
    seen, features = with_features(planned)
    console, rows = result_console(), preview_rows(seen, limit)
    console.print(preview_view(rows, planned.keep, features, console.width))


@app.command(
    epilog="""Examples:

    spark-scoring score delay.yml

    spark-scoring score delay.yml --set output.mode=overwrite --set 'source.where=month = 12'

    spark-scoring score delay.yml --param day=2026-11-25

    spark-scoring score plan.json

    spark-scoring score delay.yml --spark master='local[4]' --spark driver.memory=8g

    spark-scoring score delay.yml --remote sc://spark.example.com:15002

    spark-scoring score delay.yml --continuous"""
)
def score(
    job: JobOrPlan,
    set_: Set = None,
    param: Param = None,
    spark: Spark = None,
    remote: Remote = None,
    *,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Of an incremental job: go on until Ctrl-C or SIGTERM.")
    ] = False,
    plan_: Annotated[bool, typer.Option("--plan", help="Show every feature of the plan, not their number.")] = False,
    verbose: Verbose = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and nothing else.")] = False,
    json_: Json = False,
    show_model_error: ShowModelError = False,
) -> None:
    """Score the source and write the predictions, in one commit; of an incremental job, what is new in the source."""
    planned = _planned(job, set_, param, spark, remote, show_model_error=show_model_error, verbose=verbose, quiet=quiet)
    from spark_scoring.run.jobs import run_job

    if not (json_ or quiet):
        result_console().print(planned.view() if plan_ or verbose else planned.summary())
    if continuous:
        with _until_told() as until:
            report = run_job(planned, on_batch=None if quiet else _show_batch, until=until)
    elif quiet:
        report = run_job(planned)
    else:
        with progress_bar() as on_progress:
            report = run_job(planned, on_progress=on_progress)
    if json_ or not quiet:
        show(report, json_=json_)
    if not (json_ or quiet):
        show_line(f"more    spark-scoring history {shlex.quote(_place_text(planned))}")


def _place_text(planned: JobPlan) -> str:
    """The output as ``history`` takes it: a name, or a path."""
    ref = planned.target.ref
    return ref.text if ref.path is None else redact(ref.path)


@contextmanager
def _until_told() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one stops the process as it would anyway."""
    told = threading.Event()
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def tell(number: int, _: object) -> None:
        told.set()
        SafeConsole(stderr=True).print("stopping once the batch is committed")
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, tell)
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_batch(report: RunReport) -> None:
    """A line on standard error for each batch."""
    text = f"{report.scored_at[:19]} {report.rows_text()}: {report.output} version {report.output_version}"
    version = "" if report.model_version is None else f" by version {report.model_version}"
    SafeConsole(stderr=True, soft_wrap=True).print(f"{text}{version}", markup=False, highlight=False)


def _planned(
    file: Path,
    settings: Sequence[str] | None,
    params: Sequence[str] | None,
    spark: Sequence[str] | None,
    remote: str | None,
    *,
    show_model_error: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> JobPlan:
    """The job's plan; what is wrong with the file is told before Spark is asked for."""
    from spark_scoring.session import require_spark

    keep_results_apart()
    job, saved = read_job(file, settings, params, spark, remote, show_model_error=show_model_error)
    require_spark()
    begin = time.perf_counter()
    waited_for = "planning: the model, Spark, the tables"
    with spark_coming_up(waited_for, job.warehouse, job.spark, verbose=verbose, quiet=quiet):
        from spark_scoring.run.planning import plan_job

        planned = plan_job(job if saved is None else replace(saved, job=job))
    if not quiet:
        show_planned(begin, planned.session)
    return planned
