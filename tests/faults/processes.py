"""Processes of this machine, as seen and killed from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """A living process."""

    pid: int
    parent: int
    session: int
    command: str


def living() -> list[Process]:
    """All of them, but for dead ones that their parents have not seen yet."""
    columns = "pid=,ppid=,sess=,stat=,args="
    listed = subprocess.run(["ps", "-eo", columns], capture_output=True, text=True, check=True)  # noqa: S607
    rows = [line.split(None, 4) for line in listed.stdout.splitlines()]
    return [
        Process(int(pid), int(parent), int(session), " ".join(command))
        for pid, parent, session, state, *command in rows
        if not state.startswith("Z")
    ]


def kill(pid: int) -> None:
    """SIGKILL, to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
