"""The terminal and the notebook: names and texts that others have chosen give them no commands."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment

from spark_scoring.redact import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import ConsoleOptions, RenderableType

_WIDTH = 120
_PAGE_WIDTH = 200
"""Of a notebook, which can be scrolled."""
_PAGE = '<pre style="font-family: ui-monospace, monospace; line-height: 1.3; white-space: pre">{code}</pre>'


class SafeConsole(Console):
    r"""Shows control characters of a text as ``\x1b``; rich's own colours stay.

    In a notebook, and in a task of Databricks, rich would show everything as HTML below the cell, whatever the file is.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"force_jupyter": False, **settings})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is printed, piece by piece."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def as_text(view: RenderableType) -> str:
    """A renderable as plain text, the same wherever it is printed."""
    stream = io.StringIO()
    SafeConsole(file=stream, width=_WIDTH, color_system=None, force_terminal=False).print(view)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def as_html(view: RenderableType) -> str:
    """A renderable as one ``pre`` of HTML, escaped, with its colours; no script, nothing loaded."""
    console = SafeConsole(file=io.StringIO(), width=_PAGE_WIDTH, record=True)
    console.print(view)
    return console.export_html(inline_styles=True, code_format=_PAGE)


class Shown:
    """What has a ``view``: ``print`` shows it as text, and a notebook as HTML."""

    def view(self) -> RenderableType:
        """As a rich renderable."""
        raise NotImplementedError

    def __str__(self) -> str:
        return as_text(self.view())

    def _repr_html_(self) -> str:
        return as_html(self.view())
