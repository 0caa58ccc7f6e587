"""Every problem that the package words, as text: ``python -m tests.messages`` writes tests/golden/messages.txt.

A message is read from the code: what each ``Problem(...)`` is given, with names that the function has set above it, and
``{...}`` where a value comes in. Two forms of a part are shown as ``one / other``.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = Path(__file__).parent.parent / "spark_scoring"
PAGE = Path(__file__).with_name("golden") / "messages.txt"
_LONGEST = 40
"""Characters of an expression in braces."""


def rendered() -> str:
    """The messages of each file that has some: thing, cause and fix, in their order."""
    parts = []
    for path in sorted(PACKAGE.rglob("*.py")):
        found = sorted(set(_of_module(ast.parse(path.read_text(encoding="utf-8")))))
        if found:
            parts.append("\n".join([f"# {path.relative_to(PACKAGE.parent)}", *(text for _, text in found)]))
    return "\n\n".join(parts) + "\n"


def _of_module(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each."""
    constants = _assigned(module.body)
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef):
            names = constants + _assigned(ast.walk(function))
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem":
                    yield node.lineno, _Wording(names, node.lineno).of_problem(node)


def _assigned(nodes: Iterable[ast.AST]) -> list[tuple[str, ast.expr]]:
    """Each name, with what is assigned to it."""
    pairs = [(node.targets[0], node.value) for node in nodes if isinstance(node, ast.Assign)]
    return [(name.id, value) for name, value in pairs if isinstance(name, ast.Name)]


@dataclass(frozen=True)
class _Wording:
    """How a message reads: a name is what was last assigned to it above the line."""

    names: list[tuple[str, ast.expr]]
    line: int

    def of_problem(self, call: ast.Call) -> str:
        thing, *rest = [self.text(part) for part in (*call.args, *(keyword.value for keyword in call.keywords))]
        return f"{thing}: {' | '.join(rest)}"

    def text(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values):
                return "".join(map(self.text, values))
            case ast.FormattedValue(value=ast.IfExp() as value):
                return self.text(value)
            case ast.FormattedValue(value=value):
                return _in_braces(value)
            case ast.IfExp(body=body, orelse=other):
                return f"{self.text(body)} / {self.text(other)}"
            case ast.Name(id=name):
                return self._named(name) or _in_braces(node)
            case _:
                return _in_braces(node)

    def _named(self, name: str) -> str | None:
        above = [value for own, value in self.names if own == name and value.lineno < self.line]
        if not above:
            return None
        last = max(above, key=lambda value: value.lineno)
        return _Wording(self.names, last.lineno).text(last)


def _in_braces(node: ast.expr) -> str:
    text = " ".join(ast.unparse(node).split())
    return f"{{{text}}}" if len(text) <= _LONGEST else f"{{{text[: _LONGEST - 1]}…}}"


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
