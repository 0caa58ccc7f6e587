"""What a rehearsal adds to a plan: seconds with it and without, in turn, in one process.

``make bench``. The model is in memory in both cases, as it is when a job plans.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from mlflow.models import infer_signature
from pyspark.sql.types import DoubleType, StringType, StructField, StructType
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import spark_scoring as ss

ROUNDS = 7


def main() -> None:
    """Print a line per model: milliseconds of a plan without and with a rehearsal, and what it tried."""
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.random((500, 300)) * 1000, columns=[f"f{i}" for i in range(300)])
    narrow = wide.iloc[:, :30]
    mixed = narrow.assign(city=rng.choice(["Graz", "Cork", "Bath"], len(narrow)))
    steps = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["city"]),
        (StandardScaler(), list(narrow.columns)),
    )
    label = (narrow["f0"] + narrow["f4"] > 1000).astype(int)  # noqa: PLR2004
    models = {
        "logistic, 30 features": (LogisticRegression(max_iter=1000).fit(narrow, label), narrow),
        "logistic, 300 features": (LogisticRegression(max_iter=1000).fit(wide, label), wide),
        "LightGBM, 100 trees": (LGBMClassifier(n_estimators=100, verbose=-1).fit(narrow, label), narrow),
        "pipeline with text": (make_pipeline(steps, LogisticRegression(max_iter=1000)).fit(mixed, label), mixed),
    }
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, (model, frame)) in enumerate(models.items()):
            path = str(Path(folder, str(i)))
            signature = infer_signature(frame, model.predict(frame))
            mlflow.sklearn.save_model(
                model,
                path,
                signature=signature,
                input_example=frame.head(),
                serialization_format="cloudpickle",
                pip_requirements=["scikit-learn", "lightgbm"],
            )
            types = [StringType() if frame[c].dtype == object else DoubleType() for c in frame.columns]
            compare(name, path, StructType([StructField(c, t) for c, t in zip(frame.columns, types, strict=True)]))


def compare(name: str, path: str, schema: StructType) -> None:
    """Time plans with and without a rehearsal in turn, and print their medians."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(ROUNDS + 1):
        for rehearse in (False, True):
            begin = time.perf_counter()
            ss.plan_scoring(path, schema, predict=["predict", "predict_proba"], rehearse=rehearse)
            if turn:
                seconds[rehearse].append(time.perf_counter() - begin)
    without, with_ = (1000 * statistics.median(seconds[r]) for r in (False, True))
    print(
        f"{name:24} plan {without:6.0f} ms, with a rehearsal of two methods {with_:6.0f} ms: + {with_ - without:.0f} ms"
    )


if __name__ == "__main__":
    main()
