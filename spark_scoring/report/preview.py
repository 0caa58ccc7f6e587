"""A few scored rows, for the screen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Row

_WIDEST = 40
"""Characters of a value on the screen."""


def preview_view(rows: Sequence[Row]) -> Group:
    """Rows as a rich renderable; numbers and times in full, long texts cut."""
    if not rows:
        return Group(Text("the source has no rows"))
    table = Table(box=None, header_style="bold")
    for name in rows[0].__fields__:
        table.add_column(Text(name), no_wrap=True)
    for row in rows:
        values = row.asDict(recursive=True).values()
        table.add_row(*[Text(_shown(value), style="dim" if value is None else "") for value in values])
    return Group(table, Text(f"{len(rows)} {'row' if len(rows) == 1 else 'rows'}; nothing was written", style="dim"))


def preview_text(rows: Sequence[Row]) -> str:
    """Rows as a JSON list; times as text."""
    return json.dumps([row.asDict(recursive=True) for row in rows], indent=2, default=str)


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case dict():
            return f"{{{', '.join(f'{name}: {_shown(inner)}' for name, inner in value.items())}}}"
        case list():
            return f"[{', '.join(map(_shown, value))}]"
        case str() if len(value) > _WIDEST:
            return f"{value[: _WIDEST - 3]}..."
        case _:
            return str(value)
