"""pack: a model's own packages, installed ahead of the runs that use them."""

from __future__ import annotations

import shutil
from pathlib import Path  # noqa: TC003  typer reads it
from typing import Annotated

import typer

from spark_scoring.cli.options import RegistryUri, TrackingUri, app
from spark_scoring.errors import Problem, RequestError
from spark_scoring.model.environment import PACK

_MEGA = 1_000_000


@app.command(
    epilog="""Examples:

    spark-scoring pack models:/main.ml.delay/3

    spark-scoring pack models:/main.ml.delay/3 --to /Volumes/main/ml/packs/delay.zip"""
)
def pack(
    model: Annotated[str, typer.Argument(metavar="URI", help="The model: models:/..., runs:/... or a folder.")],
    *,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE.zip", help="Write the packages into this file, too.")
    ] = None,
    tracking_uri: TrackingUri = None,
    registry_uri: RegistryUri = None,
) -> None:
    """Install what a model's requirements.txt lists, for jobs with environment: isolated. Does not load the model.

    With --to, a job of the same platform and Python takes them from the file, without a network:
    environment: FILE.zip.
    """
    from spark_scoring.engine.isolated.building import archive_of_environment
    from spark_scoring.engine.isolated.planned import own_environment
    from spark_scoring.model.registry import resolve_model

    if to is not None and (to.suffix != PACK or to.is_dir()):
        raise RequestError(
            [Problem(f"--to {to}", "it is not a file that ends with .zip", "give one such as delay.zip")]
        )
    environment = own_environment(resolve_model(model, tracking_uri=tracking_uri, registry_uri=registry_uri))
    if to is None:
        typer.echo(f"Python {environment.python}, in {environment.folder}; a job uses it with environment: isolated")
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(archive_of_environment(environment), to)
    size = to.stat().st_size / _MEGA
    typer.echo(f"Python {environment.python}, {size:.0f} MB in {to}; a job uses it with environment: {to}")
