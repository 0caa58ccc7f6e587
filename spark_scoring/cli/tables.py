"""Tables that runs have written: history, rollback."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from spark_scoring.cli.options import Json, Remote, Spark, Table, Verbose, Warehouse, app
from spark_scoring.cli.output import echo, result_console
from spark_scoring.cli.spark import session_coming_up


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
        text = f"run {step.run_id} rolled back in {step.table} ({step.way}), version {step.version}"
        result_console().print(text, markup=False, soft_wrap=True)
