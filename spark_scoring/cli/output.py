"""Results go to standard output, and whatever else is printed to standard error."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack, redirect_stdout
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import typer

from spark_scoring.errors import Problem, RequestError
from spark_scoring.screen import SafeConsole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import RenderableType

FAILED = 3
"""The exit status where a ``--fail-if`` holds, or drift is above its limit."""

streams = ExitStack()
_results: TextIO | None = None
"""Where results go while models may print; None: to standard output as it is."""


def is_task() -> bool:
    """Whether this is a task of Databricks: a part of another program, which shows what goes to ``sys.stdout``."""
    return "DATABRICKS_RUNTIME_VERSION" in os.environ


def keep_results_apart() -> None:
    """From now on, until ``main`` ends, standard output gets results alone; what else is printed goes to errors."""
    global _results  # noqa: PLW0603  one standard output in a process
    if _results is not None:
        return
    _results = out = sys.stdout
    streams.callback(_forget_results)
    try:
        number, errors = out.fileno(), sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        number = errors = -1
    if number >= 0 and not is_task():  # also what native code and child processes write
        out.flush()
        own = os.dup(number)
        _results = os.fdopen(own, "w", encoding=out.encoding, errors=out.errors, closefd=False)
        os.dup2(errors, number)
        streams.callback(os.close, own)
        streams.callback(os.dup2, own, number)
    streams.enter_context(redirect_stdout(sys.stderr))


def _forget_results() -> None:
    global _results  # noqa: PLW0603
    _results = None


class _Result(Protocol):
    def view(self) -> RenderableType: ...

    def to_dict(self) -> dict[str, Any]: ...


def show(result: _Result, *, json_: bool) -> None:
    """A result, for people or as JSON."""
    if json_:
        echo(json.dumps(result.to_dict(), indent=2))
    else:
        result_console().print(result.view())


def show_line(text: str) -> None:
    """A line of a result, however long it is, as it is."""
    result_console().print(text, markup=False, highlight=False, soft_wrap=True)


def show_failed(texts: Sequence[str]) -> None:
    """Conditions that hold, a line each, beside the result."""
    for text in texts:
        SafeConsole(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False, style="red")


def echo(text: str) -> None:
    """A result, as it is."""
    typer.echo(text, file=_results)


def result_console() -> SafeConsole:
    """Where results are shown for people."""
    console = SafeConsole(file=_results)
    return console if console.is_terminal else SafeConsole(file=_results, width=120, color_system=None)


def write_text(file: Path, text: str, option: str) -> None:
    """Write the file that an option names."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        cause = f"it cannot be written: {error.strerror}"
        raise RequestError(
            [Problem(f"{option} {file}", cause, "give a file in a folder that can be written")]
        ) from error
