"""Databricks: bundle."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spark_scoring.cli.options import Param, Set, app, values_of
from spark_scoring.cli.output import show_line

if TYPE_CHECKING:
    from spark_scoring.bundle.definition import Compute


class _Compute(str, Enum):
    serverless = "serverless"
    job_cluster = "job-cluster"


_COMPUTE: dict[_Compute, Compute] = {_Compute.serverless: "serverless", _Compute.job_cluster: "job-cluster"}


@app.command(
    epilog="""Examples:

    spark-scoring bundle delay.yml

    spark-scoring bundle delay.yml --requires lightgbm==4.6.0 --wheel dist/spark_scoring-0.1.0-py3-none-any.whl

    spark-scoring bundle delay.yml --train train.yml --compute job-cluster --folder databricks"""
)
def bundle(
    job: Annotated[Path, typer.Argument(metavar="JOB.yml", help="The job file.")],
    *,
    train: Annotated[
        Path | None, typer.Option("--train", metavar="TRAIN.yml", help="A training job, for a job of its own.")
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where to write.")] = Path("bundle"),
    compute: Annotated[_Compute, typer.Option("--compute", help="What the jobs run on.")] = _Compute.serverless,
    name: Annotated[
        str | None, typer.Option("--name", help="The bundle's; default: the job's, or the model's.")
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option("--wheel", metavar="FILE", help="This package's, to upload; default: pip finds it.")
    ] = None,
    volume: Annotated[
        str | None,
        typer.Option("--volume", metavar="NAME", help="catalog.schema.volume; default: spark_scoring by the output."),
    ] = None,
    requires: Annotated[
        list[str] | None, typer.Option("--requires", metavar="PACKAGE", help="What pip is to install, too.")
    ] = None,
    set_: Set = None,
    train_set: Annotated[
        list[str] | None, typer.Option("--train-set", metavar="a.b=value", help="Set a field of the training job.")
    ] = None,
    param: Param = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
) -> None:
    """Write a Databricks bundle for a job file. Asks neither Spark, nor the registry, nor Databricks."""
    from spark_scoring.bundle import BundleRequest, write_bundle
    from spark_scoring.session import require_spark

    if train is not None:  # whose fields know Spark's types
        require_spark()
    request = BundleRequest(
        job=job,
        folder=folder,
        training=train,
        compute=_COMPUTE[compute],
        name=name,
        wheel=wheel,
        volume=volume,
        requires=tuple(requires or ()),
        settings=tuple(set_ or ()),
        training_settings=tuple(train_set or ()),
        params=values_of(param),
        force=force,
    )
    for line in write_bundle(request):
        show_line(line)
