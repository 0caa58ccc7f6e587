"""Pages whose tables are made from the code: what stands between ``<!-- made: name -->`` and ``<!-- end -->``.

The prose of a page is written in the page itself.
"""
# ruff: noqa: INP001  for scripts

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MADE = re.compile(r"(<!-- made: ([^\n]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, tables: Mapping[str, str]) -> str:
    """The page with the tables that belong between its marks.

    Raises:
        ValueError: a table has no marks, or marks have no table.

    """
    marked = [match[2] for match in _MADE.finditer(page)]
    if sorted(marked) != sorted(tables):
        msg = f"marks and tables differ: {sorted(set(marked) ^ set(tables)) or 'a mark is there twice'}"
        raise ValueError(msg)
    return _MADE.sub(lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}", page)


def table(headings: Sequence[str], *rows: Sequence[str]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *rows))
