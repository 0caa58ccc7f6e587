"""What a model raised: its kind and its place, never its text, which may hold values of rows."""

from __future__ import annotations

import re
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIBRARIES = (
    *{sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    str(Path(__file__).parents[1]),
)
_NO_FILE = re.compile(r"<(frozen|string|__array)")


def kind_and_line(error: BaseException | None) -> str:
    """What a model raised and where in its own code: ``ValueError (churn.py line 12)``."""
    if error is None:
        return "an error"
    own = _own_frames(error)
    if not own:
        return kind_of(error)
    file = re.sub(r"[^\w.<>-]+", "_", Path(own[-1].filename).name)
    return f"{kind_of(error)} ({file} line {own[-1].lineno})"


def kind_and_text(error: BaseException) -> str:
    """Like ``kind_and_line``; of an error that a library raised in no code of the model's own, the first line, too.

    A library may put the text of the model's error into its own: what it handles counts, too.
    """
    if any(_own_frames(each) for each in chain_of(error)):
        return kind_and_line(error)
    first = str(error).strip().split("\n", maxsplit=1)[0]
    return f"{kind_of(error)}: {first}" if first else kind_of(error)


def kind_of(error: BaseException) -> str:
    """The name of an error's class, or of the nearest one above it that a module holds: others may tell values."""
    return next(kind.__name__ for kind in type(error).__mro__ if _is_written(kind))


def kind_and_place(error: Exception) -> str:
    """What a parser of a file raised, and in which line: its text may hold that line, and values."""
    mark = getattr(error, "problem_mark", None)
    return kind_of(error) if mark is None else f"{kind_of(error)} in line {mark.line + 1}"


def _is_written(kind: type) -> bool:
    place: object = sys.modules.get(getattr(kind, "__module__", ""))  # one that exec made may have none
    for name in kind.__qualname__.split("."):
        place = getattr(place, name, None)
    return place is kind


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it was raised from or while they were handled; each once."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def missing_module(error: BaseException) -> str:
    """The module that an import did not find, however deep in the chain of errors; empty where it is another error."""
    missing = (each.name for each in chain_of(error) if isinstance(each, ModuleNotFoundError) and each.name)
    return next(missing, "")


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Of the model's own code."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame.filename)]


def _is_library(file: str) -> bool:
    """Whether code of Python, of an installed package or of this one."""
    if _NO_FILE.match(file):
        return True
    place = Path(file)  # which makes "./package.zip/x.py", as a worker sees it, the path that is in the tuple
    return "site-packages" in place.parts or "dist-packages" in place.parts or str(place).startswith(_LIBRARIES)
