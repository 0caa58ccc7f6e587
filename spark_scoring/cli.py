"""The command line: ``spark-scoring plan JOB.yml`` and ``spark-scoring score JOB.yml``.

Exit status: 0 done, 1 the run failed, 2 the request is wrong. Results go to standard output, progress and
errors to standard error.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from spark_scoring import __version__
from spark_scoring.errors import Problem, RequestError, ScoringError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from spark_scoring.job_plan import JobPlan

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Score any MLflow model over a Delta table. Loading a model runs its code: score only models you trust.",
)

_JobFile = Annotated[Path, typer.Argument(metavar="JOB.yml", help="The job file.")]
_Set = Annotated[list[str] | None, typer.Option("--set", metavar="a.b=value", help="Set a field of the job.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
_Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the plan as an HTML page, too.")]


@app.callback(invoke_without_command=True)
def _version(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def plan(job: _JobFile, set_: _Set = None, *, json_: _Json = False, html: _Html = None) -> None:
    """Show what scoring would do, or all that is wrong. Reads no rows, writes no table."""
    planned = _planned(job, set_)
    if html is not None:
        _write(html, planned.to_html())
    if json_:
        typer.echo(json.dumps(planned.to_dict(), indent=2))
    else:
        _console().print(planned.view())


@app.command()
def score(job: _JobFile, set_: _Set = None, *, json_: _Json = False) -> None:
    """Score the source and write the predictions, in one commit."""
    planned = _planned(job, set_)
    from spark_scoring.pipeline import run_job

    if not json_:
        _console().print(planned.view())
    with progress_bar() as on_progress:
        report = run_job(planned, on_progress=on_progress)
    if json_:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _console().print(report.view())


_Table = Annotated[str, typer.Argument(metavar="TABLE", help="The output's name, or its path (with a slash).")]
_Warehouse = Annotated[str | None, typer.Option("--warehouse", help="Folder of a local session's tables.")]


@app.command()
def history(
    table: _Table,
    *,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Commits to look at; default: all.")] = None,
    warehouse: _Warehouse = None,
    json_: _Json = False,
) -> None:
    """List the runs that a table has seen, newest first: models, rows, times, who."""
    from spark_scoring.session import get_session, require_spark

    require_spark()
    from spark_scoring.runs import history_view, record_dict, run_history

    records = run_history(table, get_session(warehouse), limit=limit)
    if json_:
        typer.echo(json.dumps([record_dict(record) for record in records], indent=2))
    else:
        _console().print(history_view(records))


@app.command()
def rollback(
    table: _Table,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The run; its first eight characters will do.")],
    *,
    warehouse: _Warehouse = None,
    json_: _Json = False,
) -> None:
    """Take one run back: remove its rows, or put back what they replaced. Refused where others changed them since."""
    from dataclasses import asdict

    from spark_scoring.session import get_session, require_spark

    require_spark()
    from spark_scoring.runs import roll_back

    done = roll_back(table, run_id, get_session(warehouse))
    if json_:
        typer.echo(json.dumps([asdict(step) for step in done], indent=2))
        return
    for step in done:
        text = f"run {step.run_id} rolled back in {step.table} ({step.way}), version {step.version}"
        _console().print(text, markup=False, soft_wrap=True)


def _write(file: Path, page: str) -> None:
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        cause = f"it cannot be written: {error.strerror}"
        raise RequestError([Problem(f"--html {file}", cause, "give a file in a folder that can be written")]) from error


def _planned(file: Path, settings: Sequence[str] | None) -> JobPlan:
    """The job's plan; what is wrong with the file is told before Spark is asked for."""
    from spark_scoring.job import ScoringJob
    from spark_scoring.session import require_spark

    job = ScoringJob.from_yaml(file, settings or ())
    require_spark()
    from spark_scoring.pipeline import plan_job

    return plan_job(job)


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of finished tasks on standard error; in a log, where there is no terminal, a line each ten percent."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LineProgress(console)
        return
    tasks = TextColumn("{task.completed}/{task.total} tasks")
    with Progress(TextColumn("scoring"), BarColumn(), tasks, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("scoring", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _LineProgress:
    """Progress as plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 0
        if tenth > self._shown:
            self._shown = tenth
            self._console.print(f"scoring: {done} of {total} tasks")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    try:
        app(args=list(arguments) if arguments is not None else None)
    except ScoringError as error:
        Console(stderr=True, soft_wrap=True).print(str(error), markup=False, highlight=False, style="red")
        sys.exit(error.exit_status)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=120, color_system=None)
