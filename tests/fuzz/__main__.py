"""``make fuzz``: many cases from a seed, in rounds with new models each."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from spark_scoring import get_session
from tests.fuzz.cases import fuzz

_PER_ROUND = 40


def main() -> None:
    """Print what came of each round; an error with the smallest case found where one does not hold."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--shrink", action="store_true", help="search for a smaller case; takes minutes")
    chosen = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        os.environ["SPARK_SCORING_CACHE"] = str(Path(folder, "cache"))
        spark = get_session(Path(folder, "warehouse"))
        for n in range(0, chosen.count, _PER_ROUND):
            count = min(_PER_ROUND, chosen.count - n)
            start = chosen.seed + n
            counts = fuzz(spark, Path(folder, str(n)), start=start, count=count, models=5, shrink=chosen.shrink)
            told = ", ".join(f"{value} {name}" for name, value in counts.items())
            print(f"seed {start}, {count} cases: {told}; {time.monotonic() - begin:.0f} s", flush=True)
        spark.stop()


if __name__ == "__main__":
    sys.exit(main())
