"""The short form of ``make test-faults``, in a process of its own: it has a session of another kind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_after_a_fault_the_same_job_makes_the_output_whole(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK", "SPARK", "MLFLOW"))}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults", "--short"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    table = done.stdout[-3000:]
    print(table)  # noqa: T201  worth reading where it fails
    assert done.returncode == 0, table + done.stderr[-2000:]
    kills = re.search(r"^(\d+) kills of a driver", table, re.MULTILINE)
    assert kills is not None
    assert int(kills[1]) > 0, "runs end before they are killed"
