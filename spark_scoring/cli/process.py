"""The command line as a process: it shows errors in our words, and ends with its own exit status."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spark_scoring.cli.options import app
from spark_scoring.cli.output import is_task, streams
from spark_scoring.errors import ScoringError
from spark_scoring.screen import SafeConsole
from spark_scoring.session import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAST_SECONDS = 20.0
"""What the end of the program may take: threads and exit functions of libraries have work to finish, too."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status.

    A task of Databricks runs inside of another program, which takes any ``SystemExit`` for a failure: a command that is
    done returns there.

    Args:
        arguments: of a call inside of another program; None: those of this program, which has nothing to do afterwards.

    """
    status: object = 0
    if arguments is None:
        _tell_of_crashes()
    try:
        with streams:
            app(args=list(arguments) if arguments is not None else None)
    except ScoringError as error:
        status = _show_error(error)
    except Exception as error:  # noqa: BLE001  Python would show its text, which may hold values of rows
        unexpected = ScoringError.unexpected(_where(error), TRACEBACK)
        unexpected.__cause__ = error
        status = _show_error(unexpected)
    except SystemExit as ended:
        status = ended.code
    if arguments is None:
        _end_with(status)
    if status or not is_task():
        raise SystemExit(status)


def _tell_of_crashes() -> None:
    """Where a model's native code crashes, the lines of Python that led there go to standard error, without values."""
    with suppress(OSError, ValueError, RuntimeError, AttributeError):  # of a notebook's task it may be no file
        faulthandler.enable(sys.__stderr__ or sys.stderr)


def _end_with(status: object) -> None:
    """See to it that the program ends, and with this status: what a model has left running may keep it, or end it."""
    kept = sys.modules.get("spark_scoring.model.kept_process")
    if kept is None or is_task():
        return
    end = os._exit
    number = status if isinstance(status, int) else int(status is not None)

    def end_at_last() -> None:
        time.sleep(_LAST_SECONDS)
        sys.stderr.write("a thread that the model has started does not end; this program does\n")
        end(number)

    watch = threading.Thread(target=end_at_last, daemon=True)
    threading._register_atexit(watch.start)  # type: ignore[attr-defined]  # noqa: SLF001  before threads are waited for
    kept.keep_to_the_end()


def _show_error(error: ScoringError) -> int:
    """Its exit status."""
    console = SafeConsole(stderr=True, soft_wrap=True)
    console.print(str(error), markup=False, highlight=False, style="red")
    if error.__cause__ is not None:
        _show_cause(console, error, error.__cause__)
    return error.exit_status


def _where(error: Exception) -> str:
    """The kind of an error, and the line of ours that it came through last."""
    from spark_scoring.model.raised import kind_of

    frames, here = traceback.extract_tb(error.__traceback__), Path(__file__).parents[1]
    last = next(frame for frame in reversed(frames) if Path(frame.filename).is_relative_to(here))
    return f"{kind_of(error)} in {Path(last.filename).relative_to(here).as_posix()} line {last.lineno}"


def _show_cause(console: SafeConsole, error: ScoringError, cause: BaseException) -> None:
    """The chained error, where the environment asks for it: its text is not ours and may hold row values."""
    if os.environ.get(TRACEBACK):
        console.print("".join(traceback.format_exception(error)), markup=False, highlight=False)
        return
    from spark_scoring.model.raised import kind_of

    text = f"({kind_of(cause)} behind it; {TRACEBACK}=1 shows it, with whatever values its text holds)"
    console.print(text, style="dim")
