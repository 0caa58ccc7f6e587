"""Predictions beside labels that came later: evaluate."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_scoring.cli.options import (
    Json,
    RegistryUri,
    Remote,
    Spark,
    Table,
    TrackingUri,
    Verbose,
    Warehouse,
    app,
)
from spark_scoring.cli.output import FAILED, keep_results_apart, show, show_failed, show_line
from spark_scoring.cli.spark import session_coming_up
from spark_scoring.screen import SafeConsole

_Texts = list[str] | None


@app.command(
    epilog="""Examples:

    spark-scoring evaluate main.ml.delay_predictions --labels main.ml.arrivals --key flight_id --key day

    spark-scoring evaluate /data/predictions --labels /data/outcomes --key id --label returned --window week

    spark-scoring evaluate main.ml.churn --labels main.ml.left --key id --fail-if 'auc < 0.7' --log"""
)
def evaluate(  # noqa: PLR0913  options
    table: Table,
    labels: Annotated[str, typer.Option("--labels", metavar="TABLE", help="The labels: one row for each key.")],
    key: Annotated[list[str], typer.Option("--key", metavar="COLUMN", help="A column of both, by which they belong.")],
    *,
    label: Annotated[
        str | None, typer.Option("--label", metavar="COLUMN", help="Default: the only one beside the keys.")
    ] = None,
    where: Annotated[str | None, typer.Option("--where", metavar="SQL", help="Which predictions.")] = None,
    by: Annotated[_Texts, typer.Option("--by", metavar="COLUMN", help="Split by a column of the predictions.")] = None,
    window: Annotated[
        str | None,
        typer.Option("--window", metavar="day|week|month", help="Split by time, as the session's zone has it."),
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="Of --window; default: when a row was scored.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", metavar="TASK", help="regression, classification, probability; default: as the values tell."
        ),
    ] = None,
    prediction: Annotated[
        str | None, typer.Option("--prediction", metavar="COLUMN", help="Default: that of the newest run.")
    ] = None,
    probability: Annotated[
        _Texts,
        typer.Option("--probability", metavar="COLUMN", help="A list, or one column per class; default: as above."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="A,B", help="Of the probabilities, in order; default: as the rows tell."),
    ] = None,
    fail_if: Annotated[
        _Texts, typer.Option("--fail-if", metavar="'NAME < NUMBER'", help="End with exit status 3 if this holds.")
    ] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Write the metrics of each model version to its run, and tag the version.")
    ] = False,
    tracking_uri: TrackingUri = None,
    registry_uri: RegistryUri = None,
    warehouse: Warehouse = None,
    spark: Spark = None,
    remote: Remote = None,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Hold predictions against labels that came later: metrics, calibration, by version, time and group.

    Writes nothing, but with --log.
    """
    keep_results_apart()
    with session_coming_up("evaluating", warehouse, spark, remote, verbose=verbose) as session:
        from spark_scoring.evaluation import gate
        from spark_scoring.evaluation.jobs import evaluate as evaluated

        conditions = gate.read(fail_if or ())  # what is wrong with them is told before Spark is up
        found = evaluated(
            table,
            labels,
            key,
            session(),
            label=label,
            where=where,
            by=by or (),
            window=window,
            time=time,
            task=task,
            prediction=prediction,
            probability=probability or (),
            classes=[name.strip() for name in classes.split(",")] if classes else (),
        )
    show(found, json_=json_)
    measures = found.measures
    held = [c.told(measures) for c in gate.checked(conditions, found.task, measures) if c.holds(measures)]
    show_failed(held)
    if log:
        for version in found.log(tracking_uri=tracking_uri, registry_uri=registry_uri):
            _tell(f"logged  {version}", is_json=json_)
    if held:
        raise typer.Exit(FAILED)


def _tell(text: str, *, is_json: bool) -> None:
    """A line of the result; beside JSON, on standard error."""
    if is_json:
        SafeConsole(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False)
    else:
        show_line(text)
