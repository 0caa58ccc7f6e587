"""A process of its own in which a logged model is loaded and tried, without anything of the process that trained it.

It has this interpreter and the packages that are installed for it. The training script's folders on the module path,
its globals, its settings and its working directory are not there, as they are not in a Spark worker. Imports no
pyspark.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from spark_scoring.engine.trial import Trial, rehearse
from spark_scoring.model.loaded import LoadedModel
from spark_scoring.model.raised import kind_and_line, missing_module
from spark_scoring.plan.rehearsal import RehearsalFinding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_scoring.engine.trial_rows import Given, Sample
    from spark_scoring.model.sealed import Copy

Where = Literal["apart", "here"]
"""apart: in a process of its own, which has nothing of the training script. here: in this process, which is faster."""

LONGEST = 900.0
"""Seconds after which a model is given up."""
_HOLDS = 30.0
"""Seconds for the sample's rows in other orders."""
_KEPT_BYTES = 2**16
"""Of what the process prints: its traceback is at the end."""
_LAST_WORDS_SECONDS = 2.0
_LEFT_OUT = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONINSPECT")
FIND_PACKAGE = """
import importlib.util
if package.endswith("__init__.py"):
    spec = importlib.util.spec_from_file_location("spark_scoring", package)
    sys.modules["spark_scoring"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["spark_scoring"])
else:
    sys.path.append(package)
"""
"""Of a program that has ``sys`` and ``package``, which is where this very package lies: it finds nothing else there."""
_BOOT = f"""
import json, os, sys
package, folders, task, result = json.loads(sys.argv[1])
sys.path += [folder for folder in folders if folder not in sys.path]
{FIND_PACKAGE}
from spark_scoring.engine.process import answer
answer(task, result)
os._exit(0)
"""
"""Waits for no thread of a model."""


@dataclass(frozen=True)
class Task:
    """A model, and the rows that it is tried on."""

    model: Copy
    """The model's folder, and what is in it."""
    given: Given
    """What it is rehearsed on."""
    sample: Sample | None = None
    """Rows of which it is known what the model must predict."""


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    seconds: float
    failure: str = ""
    """Why there is no result, never a value; empty where there is one."""
    missing_module: str = ""
    """A module that the model needs and that is not there."""
    text: str = ""
    """The traceback, which may hold values."""
    wrong: tuple[int, ...] = ()
    """Rows of the sample that get another prediction."""
    findings: tuple[RehearsalFinding, ...] = ()


def tried(task: Task, where: Where) -> Outcome:
    """Load the model and try it, which runs its code. In a process of its own, the imports alone take some seconds."""
    return _tried_apart(task) if where == "apart" else _tried_here(task)


def _tried_here(task: Task) -> Outcome:
    begin = time.perf_counter()
    try:
        model = LoadedModel(task.model)
        trial = Trial(model, time.perf_counter() + _HOLDS)
        wrong = () if task.sample is None else tuple(int(row) for row in trial.hold(task.sample))
        found = rehearse(model, task.given).findings
    except BaseException as error:  # noqa: BLE001  a model's code may also exit
        text = "".join(traceback.format_exception(error))
        return Outcome(time.perf_counter() - begin, kind_and_line(error), missing_module(error), text)
    findings = {f.code: f for f in (*trial.findings.values(), *found)}
    return Outcome(time.perf_counter() - begin, wrong=wrong, findings=tuple(findings.values()))


def _tried_apart(task: Task) -> Outcome:
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="spark_scoring-") as folder:
        place, empty = Path(folder), Path(folder, "empty")
        empty.mkdir()
        (place / "task").write_bytes(pickle.dumps(task))
        ended, told = _run(place, empty)
        seconds = time.perf_counter() - begin
        if (place / "result").is_file():
            found = json.loads((place / "result").read_text(encoding="utf-8"))
            findings = tuple(RehearsalFinding(**finding) for finding in found["findings"])
            return Outcome(**{**found, "findings": findings, "wrong": tuple(found["wrong"]), "seconds": seconds})
        return Outcome(seconds, ended, text=told)


def _run(place: Path, empty: Path) -> tuple[str, str]:
    """Run the process to its end; how it ended, and the last that it printed."""
    arguments = json.dumps([package_place(), list(_installed()), str(place / "task"), str(place / "result")])
    environment = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    process = subprocess.Popen(  # noqa: S603  this interpreter, our own code
        [sys.executable, "-c", _BOOT, arguments],
        cwd=empty,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101  it is a pipe
    printed = LastPrinted(process.stdout)
    try:
        status = process.wait(LONGEST)
    except subprocess.TimeoutExpired:
        return f"no end after {LONGEST:g} s", printed.text()
    finally:
        _end(process)
    if status < 0:
        return f"the end of its process by signal {-status} ({signal.Signals(-status).name})", printed.text()
    return f"the end of its process with exit status {status}", printed.text()


def package_place() -> str:
    """Where this package lies, for ``FIND_PACKAGE``: a file of it, or the zip that holds it."""
    own = Path(__file__).parents[1]
    return str(own / "__init__.py") if own.is_dir() else str(own.parent)


class LastPrinted:
    """The end of what a process prints, of which there may be any amount.

    Args:
        stream: what it prints to.
        pass_on: whether it is also printed to this process's standard error.

    """

    def __init__(self, stream: IO[bytes], *, pass_on: bool = False) -> None:
        self._stream = stream
        self._pass_on = pass_on
        self._end = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def text(self) -> str:
        """Once the process is over; what it has started may print on."""
        self._reader.join(_LAST_WORDS_SECONDS)
        return self._end.decode("utf-8", errors="replace")

    def _read(self) -> None:
        with self._stream as stream:
            while part := os.read(stream.fileno(), _KEPT_BYTES):
                self._end = (self._end + part)[-_KEPT_BYTES:]
                if self._pass_on:
                    with contextlib.suppress(OSError, ValueError):
                        sys.stderr.write(part.decode("utf-8", errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of it goes on, nor of what it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _installed() -> Iterator[str]:
    """Folders of installed packages on this process's module path, wherever they came from."""
    for folder in sys.path:
        place = Path(folder)
        if folder and place.is_dir() and any(place.glob("*.dist-info")):
            yield str(place.absolute())


def answer(task: str, result: str) -> None:
    """What the process does."""
    outcome = _tried_here(pickle.loads(Path(task).read_bytes()))  # noqa: S301  the parent's, in its private folder
    unfinished = Path(result).with_suffix(".unfinished")
    unfinished.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    unfinished.replace(result)


def module_place(name: str) -> str | None:
    """The file or folder of a top-level module of this process; None where it has none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    module: Any = sys.modules.get(name)
    origin = (spec.origin if spec is not None else None) or getattr(module, "__file__", None)
    if origin is not None and origin != "namespace" and Path(origin).exists():
        return str(Path(origin).parent if Path(origin).name == "__init__.py" else Path(origin))
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return str(Path(folders[0])) if folders else None
