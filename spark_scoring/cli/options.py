"""The command line's frame, and the options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spark_scoring import __version__
from spark_scoring.errors import Problem, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Score any MLflow model over a Delta table. Loading a model runs its code: score only models you trust.",
)

JobOrPlan = Annotated[
    Path, typer.Argument(metavar="JOB.yml", help="The job file, or a plan that plan --json has written.")
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="a.b=value", help="Set a field of the job.")]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="A value for ${NAME} in the job's names and :NAME in its SQL."),
]
Spark = Annotated[
    list[str] | None,
    typer.Option("--spark", metavar="KEY=VALUE", help="Set Spark's spark.KEY for a new local session: master, memory."),
]
Remote = Annotated[
    str | None,
    typer.Option("--remote", metavar="sc://HOST:PORT", help="A Spark Connect server; default: $SPARK_REMOTE."),
]
Warehouse = Annotated[str | None, typer.Option("--warehouse", help="Folder of a local session's tables.")]
TrackingUri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow's tracking server.")]
RegistryUri = Annotated[str | None, typer.Option("--registry-uri", help="MLflow's registry.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
ShowModelError = Annotated[
    bool, typer.Option("--show-model-error", help="Show the model's first traceback, with whatever values it holds.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show all: every feature, and what Spark prints.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the plan as an HTML page, too.")]
Table = Annotated[str, typer.Argument(metavar="TABLE", help="The output's name, or its path (with a slash).")]


@app.callback(invoke_without_command=True)
def _version(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def values_of(params: Sequence[str] | None) -> dict[str, str]:
    """What ``--param`` gives, by name."""
    return dict(pair_of("--param", text, "name=value", "day=2026-11-25") for text in params or ())


def pair_of(option: str, text: str, form: str = "feature=value", example: str = "age=double") -> tuple[str, str]:
    """Name and value of an option."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise RequestError([Problem(f"{option} {text}", f"not of the form {form}", f"write {option} {example}")])
    return name.strip(), value.strip()
