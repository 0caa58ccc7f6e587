"""Models: doctor, register, repair."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from spark_scoring.cli.options import (
    Json,
    Param,
    RegistryUri,
    Remote,
    Set,
    Spark,
    TrackingUri,
    Verbose,
    Warehouse,
    app,
    pair_of,
    values_of,
)
from spark_scoring.cli.output import keep_results_apart, show
from spark_scoring.cli.spark import session_coming_up, spark_coming_up, with_spark
from spark_scoring.errors import Problem, RequestError


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
    tracking_uri: TrackingUri = None,
    registry_uri: RegistryUri = None,
    json_: Json = False,
) -> None:
    """Say what is wrong with a model, or what an error text means. Exit status 1 where the model has an error."""
    if (model is None) == (error is None):
        raise RequestError([Problem("doctor", "give either a model's URI or --error TEXT", "see --help")])
    if model is not None and " " in model and not Path(model).exists():
        model, error = None, model  # a text, and not a model's URI or folder
    if error is not None:
        from spark_scoring.registration.findings import Diagnosis
        from spark_scoring.registration.pasted import recognise

        text = sys.stdin.read() if error == "-" else error
        diagnosis = Diagnosis("this text", (recognise(text),), loaded=True)
    else:
        from spark_scoring.session import require_spark

        require_spark()
        keep_results_apart()
        from spark_scoring.registration.doctor import check_model

        diagnosis = check_model(str(model), task=task, load=load, tracking_uri=tracking_uri, registry_uri=registry_uri)
    show(diagnosis, json_=json_)
    if error is None and not diagnosis.ok:
        raise typer.Exit(1)


@app.command(
    epilog="""Examples:

    spark-scoring register train.yml

    spark-scoring register train.yml --set alias=challenger"""
)
def register(
    job: Annotated[Path, typer.Argument(metavar="TRAIN.yml", help="The training job.")],
    set_: Set = None,
    param: Param = None,
    spark: Spark = None,
    remote: Remote = None,
    *,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Train a model as a training job says, and register it once it predicts, loaded back, what it did in memory."""
    from spark_scoring.session import get_session, require_spark

    require_spark()
    keep_results_apart()
    from spark_scoring.registration.training import TrainingJob, run_training

    training = TrainingJob.from_yaml(job, set_ or (), values_of(param))
    training = with_spark(training, spark, remote)
    with spark_coming_up(
        "training, logging and checking the model", training.warehouse, training.spark, verbose=verbose
    ):
        registered = run_training(training, get_session(training.warehouse, training.spark))
    show(registered, json_=json_)


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
    tracking_uri: TrackingUri = None,
    registry_uri: RegistryUri = None,
    warehouse: Warehouse = None,
    spark: Spark = None,
    remote: Remote = None,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Register a model again with a whole signature, as a new version; the old one stays as it is. Loads the model."""
    keep_results_apart()
    types, columns = (
        dict(pair_of(o, text) for text in given or ()) for o, given in (("--type", type_), ("--column", column))
    )
    with session_coming_up("registering the model again", warehouse, spark, remote, verbose=verbose) as session:
        from spark_scoring.delta.source import pin_source
        from spark_scoring.job_file import place_of
        from spark_scoring.registration.repair import repair_model

        source = pin_source(session(), **place_of(example), where=where)
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
    show(registered, json_=json_)
