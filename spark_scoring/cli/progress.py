"""How far a run is, in rows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from spark_scoring.screen import SafeConsole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BAR_WIDTH = 20
"""So that a line fits a terminal of 80 characters."""
_WRITTEN_OUT = 10_000


class _TimeLeft(TimeRemainingColumn):
    """A guess of the time left. Spark tells of its stages one by one: at the end of each, there is none."""

    def render(self, task: Task) -> Text:
        left = super().render(task)
        return Text.assemble("left ", left) if task.time_remaining else Text("")


class _Rows(ProgressColumn):
    """Rows so far, and how many in a second: ``1.2M of 9.0M rows, 23.4k/s``."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("")
        done, speed = task.completed, task.finished_speed or task.speed
        rows = f"{task.total:,.0f} rows" if task.finished else f"{_short(done)} of {_short(task.total)} rows"
        return Text(f"{rows}, {_short(speed)}/s" if speed and speed >= 1 else rows, no_wrap=True)


def _short(number: float) -> str:
    if number < _WRITTEN_OUT:
        return f"{number:,.0f}"
    unit, name = next((unit, name) for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if number >= unit)
    return f"{number / unit:.1f}{name}"


def progress_columns() -> tuple[ProgressColumn, ...]:
    """What the bar shows: rows so far and their rate, the time since the start, and a guess of the time left."""
    return TextColumn("scoring"), BarColumn(_BAR_WIDTH), _Rows(), TimeElapsedColumn(), _TimeLeft()


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of rows on standard error; in a log, where there is no terminal, a line each ten percent."""
    console = SafeConsole(stderr=True)
    if not console.is_terminal:
        yield _LineProgress(console)
        return
    with Progress(*progress_columns(), console=console) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
        end_bar(bar)


def end_bar(bar: Progress) -> None:
    """Fill the bar of a run that came to its end: Spark does not tell of its last tasks. Without any, it goes."""
    (task,) = bar.tasks
    if task.total is None:
        bar.update(task.id, visible=False)
    else:
        bar.update(task.id, completed=task.total)


class _LineProgress:
    """Progress as plain lines."""

    def __init__(self, console: SafeConsole) -> None:
        self._console = console
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 0
        if tenth > self._shown:
            self._shown = tenth
            self._console.print(f"scoring: {done:,} of {total:,} rows")
