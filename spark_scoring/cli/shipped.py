"""What comes with the package: job-script, docs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spark_scoring.cli.options import app
from spark_scoring.errors import Problem, RequestError, near_fix


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
    here = Path(__file__).parents[1]
    found = next((place for place in (here / folder, here.parent / folder) if place.is_dir()), None)
    files = sorted(found.iterdir()) if found is not None else []
    return {file.stem: file for file in files if file.suffix in endings}
