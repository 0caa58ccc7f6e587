"""Score a job file: ``spark-submit jobs/score.py JOB.yml [--set a.b=value]``, or a Databricks Python task."""

import sys

from spark_scoring.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "score")
    main()
