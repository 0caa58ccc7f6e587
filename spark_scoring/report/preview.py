"""A few scored rows, for the screen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pyspark.sql import Row

_WIDEST = 40
"""Characters of a value on the screen."""
_GAP = 2
"""Characters between two columns."""


def preview_view(
    rows: Sequence[Row], kept: Collection[str] = (), features: Mapping[str, str | None] | None = None, width: int = 0
) -> Group:
    """Rows as a rich renderable; numbers and times in full, long texts cut.

    Args:
        rows: the scored rows.
        kept: the columns that a run keeps: these are shown, whether there is room for them or not.
        features: the column of each feature, if it has one; as many are shown as there is room for.
        width: of the screen, in characters.

    """
    if not rows:
        return Group(Text("the source has no rows"))
    told = [{name: (value, _shown(value)) for name, value in row.asDict(recursive=True).items()} for row in rows]
    widths = {name: _GAP + max(map(cell_len, (name, *(row[name][1] for row in told)))) for name in told[0]}
    columns = {} if features is None else features
    extra = {name for name in columns.values() if name not in kept}
    room = width - sum(widths[name] for name in widths if name not in extra)
    names = []
    for name, needed in widths.items():
        room -= needed if name in extra else 0
        if name not in extra or room >= 0:
            names.append(name)
    table = Table(box=None, header_style="bold")
    for name in names:
        table.add_column(Text(name), no_wrap=True)
    for row in told:
        table.add_row(*[Text(row[name][1], style="dim" if row[name][0] is None else "") for name in names])
    count = f"{len(rows)} {'row' if len(rows) == 1 else 'rows'}; nothing was written"
    more = sum(name not in names for name in columns.values())
    if more:
        count += f"; {more} of the model's {len(columns)} features {'is' if more == 1 else 'are'} not shown"
    return Group(table, Text(count, style="dim"))


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
