"""Linear models as Spark's own expressions: their rows never leave the JVM.

A fitted model is written down once, as operations on columns (``steps``, ``estimators``). The operations make SQL text,
which Spark runs, or numpy arrays, which the plan compares with what the model itself returns (``proof``).
"""
