"""CPU seconds of the processes that a benchmark has started: the JVM and its Python workers."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_seconds(command: str = "") -> float:
    """Of all processes below this one whose command line holds a text, ended ones included."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text, line = stat.read_text(), stat.with_name("cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        fields = text.rsplit(")", 1)[1].split()
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        if command.encode() in line:
            used[pid] = sum(map(int, fields[11:15]))
    own = os.getpid()
    below = (ticks for pid, ticks in used.items() if pid != own and _is_below(pid, own, parents))
    return sum(below) / os.sysconf("SC_CLK_TCK")


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        if pid == ancestor:
            return True
        pid = parents[pid]
    return False
