"""Tables that runs have written: history, report, rollback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spark_scoring.cli.options import Json, Remote, Spark, Table, Verbose, Warehouse, app
from spark_scoring.cli.output import echo, result_console, show_line
from spark_scoring.cli.spark import session_coming_up
from spark_scoring.errors import Problem, RequestError


@app.command(
    epilog="""Examples:

    spark-scoring history main.ml.delay_predictions

    spark-scoring history /data/predictions --limit 10 --json"""
)
def history(
    table: Table,
    *,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Commits to look at; default: all.")] = None,
    warehouse: Warehouse = None,
    spark: Spark = None,
    remote: Remote = None,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """List the runs that a table has seen, newest first: models, rows, times, who."""
    with session_coming_up("reading the table's log", warehouse, spark, remote, verbose=verbose) as session:
        from spark_scoring.run.history import history_view, record_dict, run_history

        records = run_history(table, session(), limit=limit)
    if json_:
        echo(json.dumps([record_dict(record) for record in records], indent=2))
    else:
        result_console().print(history_view(records))


@app.command(
    epilog="""Examples:

    spark-scoring report main.ml.delay_predictions

    spark-scoring report main.ml.delay_predictions 7f65c68b --to reports

    spark-scoring report /data/predictions --json"""
)
def report(
    table: Table,
    run_id: Annotated[
        str | None,
        typer.Argument(metavar="RUN_ID", help="The run, or its first eight characters; default: the newest."),
    ] = None,
    *,
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where the page and the JSON go.")] = Path(),
    warehouse: Warehouse = None,
    spark: Spark = None,
    remote: Remote = None,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Write the page of a run, and the same as JSON: its model, rows, predictions, drift, and the runs before it."""
    with session_coming_up("looking at the run", warehouse, spark, remote, verbose=verbose) as session:
        from spark_scoring.run.pages import run_page

        page = run_page(table, run_id, session())
    if json_:
        echo(json.dumps(page.to_dict(), indent=2))
        return
    try:
        files = page.write(to)
    except OSError as error:
        cause = f"it cannot be written: {error.strerror}"
        raise RequestError([Problem(f"--to {to}", cause, "give a folder that can be written")]) from error
    for file in files:
        show_line(f"wrote {file}")


@app.command(
    epilog="""Examples:

    spark-scoring rollback main.ml.delay_predictions 7f65c68b"""
)
def rollback(
    table: Table,
    run_id: Annotated[
        str, typer.Argument(metavar="RUN_ID", help="The run, or its first eight characters: see history.")
    ],
    *,
    warehouse: Warehouse = None,
    spark: Spark = None,
    remote: Remote = None,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Take one run back: remove its rows, or put back what they replaced. Refused where others changed them since."""
    from dataclasses import asdict

    with session_coming_up("rolling back", warehouse, spark, remote, verbose=verbose) as session:
        from spark_scoring.run.history import roll_back

        done = roll_back(table, run_id, session())
    if json_:
        echo(json.dumps([asdict(step) for step in done], indent=2))
        return
    for step in done:
        result_console().print(str(step), markup=False, soft_wrap=True)
