"""The command line: ``spark-scoring plan JOB.yml`` and ``spark-scoring score JOB.yml``.

Exit status: 0 done, 1 the run failed, 2 the request is wrong, 3 a ``--fail-if`` of ``compare`` or
``evaluate`` holds, or ``drift`` is above its limit. Results go to standard output, progress and errors to standard
error. So does whatever a model, a library or Spark's own process prints.
"""

from spark_scoring.cli import jobs, compare, drift, evaluate, shipped, bundle, models, tables, prepare, pack  # noqa: I001  in this order --help lists them
from spark_scoring.cli.options import app
from spark_scoring.cli.process import main

__all__ = [
    "app",
    "bundle",
    "compare",
    "drift",
    "evaluate",
    "jobs",
    "main",
    "models",
    "pack",
    "prepare",
    "shipped",
    "tables",
]
