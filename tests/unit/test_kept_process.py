"""What a model's code does to the process that runs it, and what is left of that."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from spark_scoring.cli import main
from spark_scoring.engine.errors import TimeLimitError
from spark_scoring.engine.limit import Deadline
from spark_scoring.engine.process import _KEPT_BYTES, LastPrinted
from spark_scoring.model.errors import ModelError
from spark_scoring.model.kept_process import ProcessEndError, process_kept
from spark_scoring.model.loaded import OwnCode
from spark_scoring.model.raised import kind_of
from spark_scoring.session import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Callable

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the command is another process

_PLATFORM = sys.modules[os.name]


class OwnError(BaseException):
    """Not an Exception."""


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "end",
    [
        lambda: sys.exit(0),
        lambda: os._exit(0),
        lambda: _PLATFORM._exit(0),  # noqa: SLF001
        lambda: os.execv("/bin/true", ["true"]),  # noqa: S606
        lambda: os.execlp("true", "true"),  # noqa: S606, S607
        lambda: _PLATFORM.execve("/bin/true", ["true"], {}),
        lambda: fail(GeneratorExit()),
        lambda: fail(asyncio.CancelledError()),
        lambda: fail(OwnError("a value")),
    ],
)
def test_what_would_end_the_process_is_an_error_of_the_model(end: Callable[[], None]) -> None:
    names = ("_exit", "execv", "execve")
    before = [getattr(module, name) for module in (os, _PLATFORM) for name in names]
    with pytest.raises(ProcessEndError, match=r"^the model ended the process$"), process_kept():
        end()
    assert [getattr(module, name) for module in (os, _PLATFORM) for name in names] == before


def test_errors_and_ctrl_c_are_what_they_are() -> None:
    for error in (ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised, process_kept():
            fail(error)
        assert raised.value is error


@pytest.mark.parametrize("raises", [[], [ValueError("x")]], ids=["returns", "raises"])
def test_a_copy_of_the_process_ends_where_the_models_code_does(tmp_path: Path, raises: list[Exception]) -> None:
    """It went on with the job: everything was done twice."""
    child = -1
    try:
        with process_kept():
            child = os.fork()
            if child == 0 and raises:
                fail(raises[0])
        (tmp_path / str(os.getpid())).touch()
    finally:
        if child == 0:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 70
    assert [file.name for file in tmp_path.iterdir()] == [str(os.getpid())]


def test_a_process_that_the_model_starts_may_end_as_it_likes() -> None:
    with process_kept():
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=False).returncode == 3


def test_handlers_the_alarm_and_standard_input_are_as_before() -> None:
    mine = signal.signal(signal.SIGUSR1, lambda *_: None)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1)]
    try:
        with process_kept():
            for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            assert not sys.stdin.read()
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1)] == before
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    finally:
        signal.signal(signal.SIGUSR1, mine)


def test_an_alarm_of_the_callers_own_goes_on() -> None:
    signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with process_kept():
            pass
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 90
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_a_class_that_no_module_has_tells_the_one_above_it() -> None:
    """The name of one that exec makes can be a value."""
    scope: dict[str, Any] = {}
    exec("kind = type('E' * 9, (ValueError,), {})", scope)  # noqa: S102
    assert kind_of(scope["kind"]("x")) == "ValueError"


def test_of_what_a_process_prints_the_end_is_kept() -> None:
    """All of it was, on the disk and in memory."""
    code = "import sys; [sys.stdout.write('x' * 2**20) for _ in range(30)]; print('the end')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    printed = LastPrinted(process.stdout)
    assert process.wait(60) == 0
    text = printed.text()
    assert len(text) == _KEPT_BYTES
    assert text.endswith("xthe end\n")


def test_a_model_that_was_given_up_is_not_waited_for_without_end() -> None:
    """In a process that lives on, as a notebook's, each later job waited for it."""
    own, going, end = OwnCode([]), threading.Event(), threading.Event()

    def hang() -> None:
        with own.in_force():
            going.set()
            while not end.is_set():
                with contextlib.suppress(BaseException):
                    end.wait(60)

    with pytest.raises(TimeLimitError):
        Deadline(0.5).of_model(hang)
    try:
        assert going.is_set()
        with pytest.raises(ModelError, match="one that was given up when its job's timeout was over still runs"):
            Deadline(None).of_model(lambda: enter(own))
    finally:
        end.set()
    Deadline(30).of_model(lambda: enter(own))


def enter(own: OwnCode) -> None:
    with own.in_force():
        pass


def test_what_the_command_does_not_expect_is_told_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python would show it, and it may hold values of rows."""
    value = "4111111111111111"

    def fail_with_value(*_: object) -> None:
        raise type("Of4111", (KeyError,), {})(value)

    monkeypatch.setattr("spark_scoring.validation.validate_file", fail_with_value)
    with pytest.raises(SystemExit) as ended:
        main(["validate", "job.yml"])
    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert re.search(r"an error that it does not expect: KeyError in cli/jobs\.py line \d+", told)
    assert "4111" not in told
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(SystemExit):
        main(["validate", "job.yml"])
    assert value in capsys.readouterr().err


class Plain(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """MLflow loads what it saves."""

    def predict(self, context: object, model_input: Any, params: object = None) -> object:
        return model_input["x"]


class Stays(Plain):
    """Starts a thread that does not end, and has the process end with status 0; it may raise then."""

    def __init__(self, *, raises: bool) -> None:
        self.raises = raises

    def load_context(self, context: object) -> None:
        threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
        atexit.register(lambda: os._exit(0))
        if self.raises:
            raise ValueError


def command_on(model: Plain, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """``doctor`` in a process of its own."""
    place = str(folder / "model")
    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double")]))
    mlflow.pyfunc.save_model(place, python_model=Plain(), signature=signature, pip_requirements=["mlflow"])
    Path(place, "python_model.pkl").write_bytes(cloudpickle.dumps(model))
    return subprocess.run(
        [sys.executable, "-c", code, "doctor", place],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Crashes(Plain):
    """Ends the process by native code, while it is loaded."""

    def load_context(self, context: object) -> None:
        ctypes.string_at(0)


def test_a_crash_of_native_code_is_told_with_its_place(tmp_path: Path) -> None:
    done = command_on(Crashes(), tmp_path, "from spark_scoring.cli import main; main()")
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr
    assert "in load_context" in done.stderr


@pytest.mark.parametrize("status", [1, 0])
def test_the_command_ends_with_its_own_status_whatever_a_model_has_left_running(tmp_path: Path, status: int) -> None:
    code = "from spark_scoring.cli import main, process; process._LAST_SECONDS = 1.0; main()"
    done = command_on(Stays(raises=status == 1), tmp_path, code)
    assert done.returncode == status
    assert ("not-loadable" in done.stdout) == (status == 1)
    assert "a thread that the model has started does not end; this program does" in done.stderr
