"""Train and register: ``spark-submit jobs/register.py TRAIN.yml [--set a.b=value]``, or a Databricks Python task."""

import sys

from spark_scoring.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "register")
    main()
