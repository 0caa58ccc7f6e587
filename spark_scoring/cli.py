"""The command line: ``spark-scoring plan JOB.yml`` and ``spark-scoring score JOB.yml``.

Exit status: 0 done, 1 the run failed, 2 the request is wrong. Results go to standard output, progress and
errors to standard error. So does whatever a model, a library or Spark's own process prints.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
import traceback
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, TypeVar

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from spark_scoring import __version__
from spark_scoring.errors import Problem, RequestError, ScoringError, near_fix
from spark_scoring.job_problems import JobError
from spark_scoring.redact import printable, redact
from spark_scoring.screen import SafeConsole
from spark_scoring.session import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.job import ScoringJob
    from spark_scoring.registration.register import RegisteredModel
    from spark_scoring.registration.training import TrainingJob
    from spark_scoring.report.run import RunReport
    from spark_scoring.run.plan import JobPlan

_AJob = TypeVar("_AJob", "ScoringJob", "TrainingJob")
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Score any MLflow model over a Delta table. Loading a model runs its code: score only models you trust.",
)

_JobOrPlan = Annotated[
    Path, typer.Argument(metavar="JOB.yml", help="The job file, or a plan that plan --json has written.")
]
_Set = Annotated[list[str] | None, typer.Option("--set", metavar="a.b=value", help="Set a field of the job.")]
_Param = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="A value for ${NAME} in the job's names and :NAME in its SQL."),
]
_Spark = Annotated[
    list[str] | None,
    typer.Option("--spark", metavar="KEY=VALUE", help="Set Spark's spark.KEY for a new local session: master, memory."),
]
_Warehouse = Annotated[str | None, typer.Option("--warehouse", help="Folder of a local session's tables.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
_ShowModelError = Annotated[
    bool, typer.Option("--show-model-error", help="Show the model's first traceback, with whatever values it holds.")
]
_Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show all: every feature, and what Spark prints.")]
_Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the plan as an HTML page, too.")]


@app.callback(invoke_without_command=True)
def _version(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command(
    epilog="""Examples:

    spark-scoring init models:/main.ml.delay@champion main.gold.flights

    spark-scoring init models:/main.ml.delay/3 data/flights --output data/scored --file delay.yml --yes"""
)
def init(
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
    tracking_uri: Annotated[str | None, typer.Option("--tracking-uri", help="MLflow's tracking server.")] = None,
    registry_uri: Annotated[str | None, typer.Option("--registry-uri", help="MLflow's registry.")] = None,
    warehouse: _Warehouse = None,
    spark: _Spark = None,
    verbose: _Verbose = False,
) -> None:
    """Write a job file for a model and a table, with comments. Reads no rows; loads the model, which runs its code."""
    if file is not None and file.exists() and not force:
        raise JobError.file_exists(str(file))
    from spark_scoring.session import require_spark

    require_spark()
    _keep_results_apart()
    ask = None if yes or not (sys.stdin.isatty() and sys.stderr.isatty()) else _ask
    settings = {"tracking_uri": tracking_uri, "registry_uri": registry_uri, "warehouse": warehouse}
    of_spark = _spark_settings(spark)
    with _spark_coming_up("looking at the model and the table", warehouse, of_spark, verbose=verbose, asks=bool(ask)):
        from spark_scoring.proposal import propose_job

        file, text, told = propose_job(model, table, output, file, ask, settings, of_spark=of_spark)
    if file.exists() and not force:
        raise JobError.file_exists(str(file))
    _write(file, text, "--file")
    for line in (*told, f"wrote {file}; now: spark-scoring plan {shlex.quote(str(file))}"):
        _console().print(line, markup=False, highlight=False, soft_wrap=True)


def _ask(question: str, proposed: str) -> str:
    return str(typer.prompt(printable(question), default=proposed, show_default=bool(proposed), err=True))


@app.command(
    epilog="""Examples:

    spark-scoring validate delay.yml

    spark-scoring validate delay.yml --set output.mode=overwrite"""
)
def validate(job: _JobOrPlan, set_: _Set = None, param: _Param = None) -> None:
    """Look for mistakes in a job file, or a training job's. Asks neither Spark nor the registry."""
    from spark_scoring.validation import validate_file

    for line in validate_file(job, set_ or (), _values(param)):
        _console().print(line, markup=False, highlight=False, soft_wrap=True)


@app.command(
    epilog="""Examples:

    spark-scoring plan delay.yml

    spark-scoring plan delay.yml --set source.version=12 --html plan.html

    spark-scoring plan delay.yml --json > plan.json"""
)
def plan(
    job: _JobOrPlan,
    set_: _Set = None,
    param: _Param = None,
    spark: _Spark = None,
    *,
    json_: _Json = False,
    html: _Html = None,
    show_model_error: _ShowModelError = False,
) -> None:
    """Show what scoring would do, or all that is wrong. Reads no rows, writes no table."""
    planned = _planned(job, set_, param, spark, show_model_error=show_model_error)
    if html is not None:
        _write(html, planned.to_html(), "--html")
    if json_:
        _echo(json.dumps(planned.to_dict(), indent=2))
    else:
        _console().print(planned.view())


@app.command(
    epilog="""Examples:

    spark-scoring preview delay.yml

    spark-scoring preview delay.yml --limit 5 --json"""
)
def preview(
    job: _JobOrPlan,
    set_: _Set = None,
    param: _Param = None,
    spark: _Spark = None,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows to score.")] = 20,
    json_: _Json = False,
    show_model_error: _ShowModelError = False,
) -> None:
    """Score a few rows of the source and show them. Writes nothing. The rows are those that Spark finds first."""
    planned = _planned(job, set_, param, spark, show_model_error=show_model_error)
    from spark_scoring.report.preview import preview_text, preview_view
    from spark_scoring.run.execute import preview_rows

    rows = preview_rows(planned, limit)
    if json_:
        _echo(preview_text(rows))
    else:
        _console().print(preview_view(rows))


@app.command(
    epilog="""Examples:

    spark-scoring score delay.yml

    spark-scoring score delay.yml --set output.mode=overwrite --set 'source.where=month = 12'

    spark-scoring score delay.yml --param day=2026-11-25

    spark-scoring score plan.json

    spark-scoring score delay.yml --spark master='local[4]' --spark driver.memory=8g

    spark-scoring score delay.yml --continuous"""
)
def score(
    job: _JobOrPlan,
    set_: _Set = None,
    param: _Param = None,
    spark: _Spark = None,
    *,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Of an incremental job: go on until Ctrl-C or SIGTERM.")
    ] = False,
    plan_: Annotated[bool, typer.Option("--plan", help="Show every feature of the plan, not their number.")] = False,
    verbose: _Verbose = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and nothing else.")] = False,
    json_: _Json = False,
    show_model_error: _ShowModelError = False,
) -> None:
    """Score the source and write the predictions, in one commit; of an incremental job, what is new in the source."""
    planned = _planned(job, set_, param, spark, show_model_error=show_model_error, verbose=verbose, quiet=quiet)
    from spark_scoring.run.jobs import run_job

    if not (json_ or quiet):
        _console().print(planned.view() if plan_ or verbose else planned.summary())
    if continuous:
        with _until_told() as until:
            report = run_job(planned, on_batch=None if quiet else _show_batch, until=until)
    elif quiet:
        report = run_job(planned)
    else:
        with progress_bar() as on_progress:
            report = run_job(planned, on_progress=on_progress)
    if json_:
        _echo(json.dumps(report.to_dict(), indent=2))
    elif not quiet:
        _console().print(report.view())
        further = f"more    spark-scoring history {shlex.quote(_place_text(planned))}"
        _console().print(further, markup=False, highlight=False, soft_wrap=True)


def _place_text(planned: JobPlan) -> str:
    """The output as ``history`` takes it: a name, or a path."""
    ref = planned.target.ref
    return ref.text if ref.path is None else redact(ref.path)


@app.command(
    "job-script",
    epilog="""Examples:

    spark-submit $(spark-scoring job-script) delay.yml

    spark-submit $(spark-scoring job-script register) train.yml

    spark-submit --deploy-mode cluster --py-files $(spark-scoring job-script package) \\
      $(spark-scoring job-script) delay.yml""",
)
def job_script(
    name: Annotated[
        str, typer.Argument(metavar="[score|register|package]", help="What the script is to do; or this package.")
    ] = "score",
) -> None:
    """Print where the script lies that spark-submit, or a Databricks Python task, takes.

    package: where a zip of this package lies, for spark-submit's --py-files. It is made if need be.
    """
    if name == "package":
        from spark_scoring.engine.shipping import package_archive

        typer.echo(package_archive())
        return
    scripts = _shipped("jobs", ".py")
    if name not in scripts:
        fix = "give score, register or package"
        raise RequestError([Problem(f"job-script {name}", "there is no such script", fix)])
    typer.echo(scripts[name])


@app.command(
    epilog="""Examples:

    spark-scoring docs

    spark-scoring docs merge --show"""
)
def docs(
    page: Annotated[str | None, typer.Argument(metavar="PAGE", help="The page's name, such as merge.")] = None,
    *,
    show: Annotated[bool, typer.Option("--show", help="Print the page's text.")] = False,
) -> None:
    """Print where a page of the documentation lies, or list all pages. They come with the package."""
    pages = _shipped("docs", ".md", ".json")
    if page is None:
        for name, file in pages.items():
            title = file.read_text(encoding="utf-8").splitlines()[0].strip("# {")
            typer.echo(f"{name:<16}{title}".rstrip())
        return
    name = page.removeprefix("docs/").removesuffix(".md").removesuffix(".json")
    if name not in pages:
        fix = near_fix(name, pages, what="pages") or "spark-scoring docs lists them"
        raise RequestError([Problem(f"docs {page}", "there is no such page", fix)])
    typer.echo(pages[name].read_text(encoding="utf-8") if show else pages[name])


def _shipped(folder: str, *endings: str) -> dict[str, Path]:
    """The files of a folder that the wheel holds in the package and a checkout beside it, by name without ending."""
    here = Path(__file__).parent
    found = next((place for place in (here / folder, here.parent / folder) if place.is_dir()), None)
    files = sorted(found.iterdir()) if found is not None else []
    return {file.stem: file for file in files if file.suffix in endings}


@app.command(
    epilog="""Examples:

    spark-scoring doctor models:/main.ml.delay@champion

    spark-scoring doctor runs:/0123456789abcdef0123456789abcdef/model --no-load

    spark-scoring doctor --error "text that MLflow, Spark or Databricks printed"

    spark-scoring doctor --error - < log.txt"""
)
def doctor(
    model: Annotated[
        str | None, typer.Argument(metavar="URI", help="The model: models:/..., runs:/... or a folder.")
    ] = None,
    *,
    error: Annotated[
        str | None, typer.Option("--error", metavar="TEXT", help="Explain an error text; -: from standard input.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="What the model is for, such as regression.")] = None,
    load: Annotated[bool, typer.Option("--load/--no-load", help="Load the model, which runs its code.")] = True,
    tracking_uri: Annotated[str | None, typer.Option("--tracking-uri", help="MLflow's tracking server.")] = None,
    registry_uri: Annotated[str | None, typer.Option("--registry-uri", help="MLflow's registry.")] = None,
    json_: _Json = False,
) -> None:
    """Say what is wrong with a model, or what an error text means. Exit status 1 where a finding is an error."""
    if (model is None) == (error is None):
        raise RequestError([Problem("doctor", "give either a model's URI or --error TEXT", "see --help")])
    if model is not None and " " in model and not Path(model).exists():
        fix = 'spark-scoring doctor --error "..." says what an error text means'
        raise RequestError([Problem("doctor", "what is given is a text, and not a model's URI or folder", fix)])
    if error is not None:
        from spark_scoring.registration.findings import Diagnosis
        from spark_scoring.registration.pasted import recognise

        text = sys.stdin.read() if error == "-" else error
        diagnosis = Diagnosis("this text", (recognise(text),), loaded=True)
    else:
        from spark_scoring.session import require_spark

        require_spark()
        _keep_results_apart()
        from spark_scoring.registration.doctor import check_model

        diagnosis = check_model(str(model), task=task, load=load, tracking_uri=tracking_uri, registry_uri=registry_uri)
    if json_:
        _echo(json.dumps(diagnosis.to_dict(), indent=2))
    else:
        _console().print(diagnosis.view())
    if error is None and not diagnosis.ok:
        raise typer.Exit(1)


@app.command(
    epilog="""Examples:

    spark-scoring register train.yml

    spark-scoring register train.yml --set alias=challenger"""
)
def register(
    job: Annotated[Path, typer.Argument(metavar="TRAIN.yml", help="The training job.")],
    set_: _Set = None,
    param: _Param = None,
    spark: _Spark = None,
    *,
    verbose: _Verbose = False,
    json_: _Json = False,
) -> None:
    """Train a model as a training job says, and register it once it predicts, loaded back, what it did in memory."""
    from spark_scoring.session import get_session, require_spark

    require_spark()
    _keep_results_apart()
    from spark_scoring.registration.training import TrainingJob, run_training

    training = TrainingJob.from_yaml(job, set_ or (), _values(param))
    training = _with_spark(training, spark)
    with _spark_coming_up(
        "training, logging and checking the model", training.warehouse, training.spark, verbose=verbose
    ):
        registered = run_training(training, get_session(training.warehouse, training.spark))
    _show_registered(registered, json_=json_)


@app.command(
    epilog="""Examples:

    spark-scoring repair models:/main.ml.delay/3 --example main.gold.flights

    spark-scoring repair models:/main.ml.delay/3 --example main.gold.flights --where 'month < 10'

    spark-scoring repair ./model --example /data/flights --name main.ml.delay --type seats=double"""
)
def repair(  # noqa: PLR0913  options
    model: Annotated[
        str, typer.Argument(metavar="URI", help="The model as it is: models:/..., runs:/... or a folder.")
    ],
    *,
    example: Annotated[str, typer.Option("--example", metavar="TABLE", help="A table (or path) with its features.")],
    where: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="Rows of the table to take; default: all.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="What the model is for, such as regression.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Registered model; default: the URI's.")] = None,
    type_: Annotated[list[str] | None, typer.Option("--type", metavar="FEATURE=TYPE", help="Another type.")] = None,
    column: Annotated[list[str] | None, typer.Option("--column", metavar="FEATURE=SQL", help="An expression.")] = None,
    alias: Annotated[list[str] | None, typer.Option("--alias", help="An alias for the new version.")] = None,
    tracking_uri: Annotated[str | None, typer.Option("--tracking-uri", help="MLflow's tracking server.")] = None,
    registry_uri: Annotated[str | None, typer.Option("--registry-uri", help="MLflow's registry.")] = None,
    warehouse: _Warehouse = None,
    spark: _Spark = None,
    verbose: _Verbose = False,
    json_: _Json = False,
) -> None:
    """Register a model again with a whole signature, as a new version; the old one stays as it is. Loads the model."""
    from spark_scoring.session import require_spark

    require_spark()
    _keep_results_apart()
    settings = _spark_settings(spark)
    types, columns = (
        dict(_pair(o, text) for text in given or ()) for o, given in (("--type", type_), ("--column", column))
    )
    with _spark_coming_up("registering the model again", warehouse, settings, verbose=verbose):
        from spark_scoring.delta.source import pin_source
        from spark_scoring.job import place_of
        from spark_scoring.registration.repair import repair_model

        source = pin_source(_session(warehouse, settings), **place_of(example), where=where)
        registered = repair_model(
            model,
            source.frame,
            task=task,
            name=name,
            types=types,
            columns=columns,
            alias=alias or (),
            tracking_uri=tracking_uri,
            registry_uri=registry_uri,
        )
    _show_registered(registered, json_=json_)


def _show_registered(registered: RegisteredModel, *, json_: bool) -> None:
    if json_:
        _echo(json.dumps(registered.to_dict(), indent=2))
    else:
        _console().print(registered.view())


def _values(params: Sequence[str] | None) -> dict[str, str]:
    return dict(_pair("--param", text, "name=value", "day=2026-11-25") for text in params or ())


def _pair(option: str, text: str, form: str = "feature=value", example: str = "age=double") -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise RequestError([Problem(f"{option} {text}", f"not of the form {form}", f"write {option} {example}")])
    return name.strip(), value.strip()


_Table = Annotated[str, typer.Argument(metavar="TABLE", help="The output's name, or its path (with a slash).")]


@app.command(
    epilog="""Examples:

    spark-scoring history main.ml.delay_predictions

    spark-scoring history /data/predictions --limit 10 --json"""
)
def history(
    table: _Table,
    *,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Commits to look at; default: all.")] = None,
    warehouse: _Warehouse = None,
    spark: _Spark = None,
    verbose: _Verbose = False,
    json_: _Json = False,
) -> None:
    """List the runs that a table has seen, newest first: models, rows, times, who."""
    from spark_scoring.session import require_spark

    require_spark()
    settings = _spark_settings(spark)
    with _spark_coming_up("reading the table's log", warehouse, settings, verbose=verbose):
        from spark_scoring.run.history import history_view, record_dict, run_history

        records = run_history(table, _session(warehouse, settings), limit=limit)
    if json_:
        _echo(json.dumps([record_dict(record) for record in records], indent=2))
    else:
        _console().print(history_view(records))


@app.command(
    epilog="""Examples:

    spark-scoring rollback main.ml.delay_predictions 7f65c68b"""
)
def rollback(
    table: _Table,
    run_id: Annotated[
        str, typer.Argument(metavar="RUN_ID", help="The run, or its first eight characters: see history.")
    ],
    *,
    warehouse: _Warehouse = None,
    spark: _Spark = None,
    verbose: _Verbose = False,
    json_: _Json = False,
) -> None:
    """Take one run back: remove its rows, or put back what they replaced. Refused where others changed them since."""
    from dataclasses import asdict

    from spark_scoring.session import require_spark

    require_spark()
    settings = _spark_settings(spark)
    with _spark_coming_up("rolling back", warehouse, settings, verbose=verbose):
        from spark_scoring.run.history import roll_back

        done = roll_back(table, run_id, _session(warehouse, settings))
    if json_:
        _echo(json.dumps([asdict(step) for step in done], indent=2))
        return
    for step in done:
        text = f"run {step.run_id} rolled back in {step.table} ({step.way}), version {step.version}"
        _console().print(text, markup=False, soft_wrap=True)


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


def _write(file: Path, text: str, option: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        cause = f"it cannot be written: {error.strerror}"
        raise RequestError(
            [Problem(f"{option} {file}", cause, "give a file in a folder that can be written")]
        ) from error


def _planned(
    file: Path,
    settings: Sequence[str] | None,
    params: Sequence[str] | None,
    spark: Sequence[str] | None,
    *,
    show_model_error: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> JobPlan:
    """The job's plan; what is wrong with the file is told before Spark is asked for."""
    from spark_scoring.job import ScoringJob
    from spark_scoring.run.saved import read_saved
    from spark_scoring.session import require_spark

    _keep_results_apart()
    shown = ["show_model_error=true"] if show_model_error else []
    overrides = [*(settings or ()), *shown]
    saved = read_saved(file, overrides)
    if saved is not None and params:
        fix = "leave --param out, or plan anew with it: spark-scoring plan JOB.yml --json"
        raise RequestError([Problem("--param", "a saved plan is run as it is", fix)])
    job = ScoringJob.from_yaml(file, overrides, _values(params)) if saved is None else saved.job
    job = _with_spark(job, spark)
    require_spark()
    begin, console = time.perf_counter(), SafeConsole(stderr=True, soft_wrap=True)
    waited_for = "planning: the model, Spark, the tables"
    with _spark_coming_up(waited_for, job.warehouse, job.spark, verbose=verbose, quiet=quiet):
        from spark_scoring.run.planning import plan_job

        planned = plan_job(job if saved is None else replace(saved, job=job))
    if not quiet:
        seconds, version = time.perf_counter() - begin, planned.source.frame.sparkSession.version
        console.print(f"planned in {seconds:.1f} s with Spark {version}", style="dim", highlight=False)
    return planned


def _with_spark(job: _AJob, texts: Sequence[str] | None) -> _AJob:
    """The job with the settings of ``--spark`` laid over its own."""
    return job.model_copy(update={"spark": {**job.spark, **_spark_settings(texts)}})


def _spark_settings(texts: Sequence[str] | None) -> dict[str, str]:
    """Settings of ``--spark``, by their whole keys. Their values are not told."""
    from spark_scoring.spark_settings import SettingError, spark_settings

    settings: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise RequestError([Problem(f"--spark {key}", "it has no value", "write --spark driver.memory=8g")])
        try:
            settings |= spark_settings({key: value})
        except SettingError as error:
            raise RequestError([Problem(f"--spark {error.key}", error.cause, error.fix)]) from None
    return settings


def _session(warehouse: str | None, settings: Mapping[str, str]) -> SparkSession:
    """The session, and a line on each setting that it does not have."""
    from spark_scoring.session import get_session, unheeded

    spark = get_session(warehouse, settings)
    for note in unheeded(spark, settings):
        SafeConsole(stderr=True, soft_wrap=True).print(f"note: {note}", markup=False, highlight=False)
    return spark


@contextmanager
def _spark_coming_up(
    what: str,
    warehouse: str | None,
    settings: Mapping[str, str],
    *,
    verbose: bool = False,
    quiet: bool = False,
    asks: bool = False,
) -> Iterator[None]:
    """Start Spark's Java process, where none is, beside what the command does; say on a terminal what is waited for.

    What Spark prints goes into a file, unless all is to be shown.
    """
    from spark_scoring.session import launch_early, starts_jvm

    console = SafeConsole(stderr=True, soft_wrap=True)
    if starts_jvm():
        log = None if verbose else _log_file()
        launch_early(warehouse, log, settings, shows_all=verbose)
        if log is not None and not quiet:
            console.print(f"what Spark prints is in {log}", style="dim", highlight=False)
    if quiet or not console.is_terminal:
        waiting: AbstractContextManager[object] = nullcontext()
    elif verbose or asks:  # other lines, or questions, come meanwhile
        console.print(what)
        waiting = nullcontext()
    else:
        waiting = console.status(what)
    with waiting:
        yield


def _log_file() -> Path:
    """A new file that nobody else can read: what Spark prints may hold values of rows."""
    number, path = tempfile.mkstemp(prefix="spark-scoring-", suffix=".log")
    os.close(number)
    return Path(path)


_BAR_WIDTH = 20
"""So that a line fits a terminal of 80 characters."""
_WRITTEN_OUT = 10_000


class _TimeLeft(TimeRemainingColumn):
    """A guess of the time left. Spark tells of its stages one by one: at the end of each, there is none."""

    def render(self, task: Task) -> Text:
        left = super().render(task)
        return Text.assemble("left ", left) if task.time_remaining else Text("")


class _Rows(ProgressColumn):
    """Rows so far, and how many in a second: ``1.2M of 9.0M rows, 23.4k/s``."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("")
        done, speed = task.completed, task.finished_speed or task.speed
        rows = f"{task.total:,.0f} rows" if task.finished else f"{_short(done)} of {_short(task.total)} rows"
        return Text(f"{rows}, {_short(speed)}/s" if speed and speed >= 1 else rows, no_wrap=True)


def _short(number: float) -> str:
    if number < _WRITTEN_OUT:
        return f"{number:,.0f}"
    unit, name = next((unit, name) for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if number >= unit)
    return f"{number / unit:.1f}{name}"


def progress_columns() -> tuple[ProgressColumn, ...]:
    """What the bar shows: rows so far and their rate, the time since the start, and a guess of the time left."""
    return TextColumn("scoring"), BarColumn(_BAR_WIDTH), _Rows(), TimeElapsedColumn(), _TimeLeft()


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of rows on standard error; in a log, where there is no terminal, a line each ten percent."""
    console = SafeConsole(stderr=True)
    if not console.is_terminal:
        yield _LineProgress(console)
        return
    with Progress(*progress_columns(), console=console) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
        end_bar(bar)


def end_bar(bar: Progress) -> None:
    """Fill the bar of a run that came to its end: Spark does not tell of its last tasks. Without any, it goes."""
    (task,) = bar.tasks
    if task.total is None:
        bar.update(task.id, visible=False)
    else:
        bar.update(task.id, completed=task.total)


class _LineProgress:
    """Progress as plain lines."""

    def __init__(self, console: SafeConsole) -> None:
        self._console = console
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 0
        if tenth > self._shown:
            self._shown = tenth
            self._console.print(f"scoring: {done:,} of {total:,} rows")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status.

    Args:
        arguments: of a call inside of another program; None: those of this program, which has nothing to do afterwards.

    """
    status: object = 0
    try:
        with _streams:
            app(args=list(arguments) if arguments is not None else None)
    except ScoringError as error:
        status = _show_error(error)
    except Exception as error:  # noqa: BLE001  Python would show its text, which may hold values of rows
        unexpected = ScoringError.unexpected(_where(error), TRACEBACK)
        unexpected.__cause__ = error
        status = _show_error(unexpected)
    except SystemExit as ended:
        status = ended.code
    if arguments is None:
        _end_with(status)
    raise SystemExit(status)


def _end_with(status: object) -> None:
    """See to it that the program ends, and with this status: what a model has left running may keep it, or end it."""
    kept = sys.modules.get("spark_scoring.model.kept_process")
    if kept is None or "DATABRICKS_RUNTIME_VERSION" in os.environ:  # no model; a task there is part of another program
        return
    end = os._exit
    number = status if isinstance(status, int) else int(status is not None)

    def end_at_last() -> None:
        time.sleep(_LAST_SECONDS)
        sys.stderr.write("a thread that the model has started does not end; this program does\n")
        end(number)

    watch = threading.Thread(target=end_at_last, daemon=True)
    threading._register_atexit(watch.start)  # type: ignore[attr-defined]  # noqa: SLF001  before threads are waited for
    kept.keep_to_the_end()


def _show_error(error: ScoringError) -> int:
    """Its exit status."""
    console = SafeConsole(stderr=True, soft_wrap=True)
    console.print(str(error), markup=False, highlight=False, style="red")
    if error.__cause__ is not None:
        _show_cause(console, error, error.__cause__)
    return error.exit_status


def _where(error: Exception) -> str:
    """The kind of an error, and the line of ours that it came through last."""
    from spark_scoring.model.raised import kind_of

    frames, here = traceback.extract_tb(error.__traceback__), Path(__file__).parent
    last = next(frame for frame in reversed(frames) if Path(frame.filename).is_relative_to(here))
    return f"{kind_of(error)} in {Path(last.filename).name} line {last.lineno}"


def _show_cause(console: SafeConsole, error: ScoringError, cause: BaseException) -> None:
    """The chained error, where the environment asks for it: its text is not ours and may hold row values."""
    if os.environ.get(TRACEBACK):
        console.print("".join(traceback.format_exception(error)), markup=False, highlight=False)
        return
    from spark_scoring.model.raised import kind_of

    text = f"({kind_of(cause)} behind it; {TRACEBACK}=1 shows it, with whatever values its text holds)"
    console.print(text, style="dim")


_LAST_SECONDS = 20.0
"""What the end of the program may take: threads and exit functions of libraries have work to finish, too."""
_streams = ExitStack()
_results: TextIO | None = None
"""Where results go while models may print; None: to standard output as it is."""


def _keep_results_apart() -> None:
    """From now on, until ``main`` ends, standard output gets results alone; what else is printed goes to errors."""
    global _results  # noqa: PLW0603  one standard output in a process
    if _results is not None:
        return
    _results = out = sys.stdout
    _streams.callback(_forget_results)
    try:
        number, errors = out.fileno(), sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        number = errors = -1
    if number >= 0:  # also what native code and child processes write
        out.flush()
        own = os.dup(number)
        _results = os.fdopen(own, "w", encoding=out.encoding, errors=out.errors, closefd=False)
        os.dup2(errors, number)
        _streams.callback(os.close, own)
        _streams.callback(os.dup2, own, number)
    _streams.enter_context(redirect_stdout(sys.stderr))


def _forget_results() -> None:
    global _results  # noqa: PLW0603
    _results = None


def _echo(text: str) -> None:
    typer.echo(text, file=_results)


def _console() -> SafeConsole:
    console = SafeConsole(file=_results)
    return console if console.is_terminal else SafeConsole(file=_results, width=120, color_system=None)
