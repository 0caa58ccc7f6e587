"""Small real models on one set of features, trained where a test needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

QUICKLY: dict[str, Any] = {"pip_requirements": ["mlflow"], "serialization_format": "cloudpickle"}
"""How scikit-learn's models are logged: to find requirements, MLflow starts a process; for skops, each process that
loads the model imports torch, where it is installed. Both take ten seconds. And skops refuses some of its own types."""
FEATURES = {
    "price": "float64",  # from DECIMAL(12,2)
    "ratio": "float64",
    "rate": "float32",
    "member": "bool",
    "tiny": "float64",  # from TINYINT
    "small": "float64",  # from SMALLINT
    "count": "int32",
    "total": "int64",
}
TABLE = (
    "id bigint, price decimal(12,2), ratio double, rate float, member boolean, "
    "tiny tinyint, small smallint, count int, total bigint, note string"
)


def training_frame(rows: int = 400, seed: int = 7) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Right-typed features with nulls in the floating ones, and a binary label that depends on them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "price": rng.integers(0, 100_000, rows) / 100,
            "ratio": rng.normal(size=rows),
            "rate": rng.normal(size=rows),
            "member": rng.integers(0, 2, rows),
            "tiny": rng.integers(-128, 128, rows),
            "small": rng.integers(-30_000, 30_000, rows),
            "count": rng.integers(0, 1_000_000, rows),
            "total": rng.integers(0, 2**40, rows),
        }
    ).astype(FEATURES)
    label = (frame["price"] / 500 + frame["ratio"] + frame["member"] + rng.normal(size=rows) > 2).to_numpy()
    for name in ("price", "ratio", "rate", "tiny", "small"):
        frame.loc[rng.random(rows) < 0.1, name] = np.nan
    return frame, label.astype("int64")


def register(model: Any, frame: pd.DataFrame, name: str, flavor: Any = mlflow.sklearn, **options: Any) -> str:
    """Log and register a model with a full signature; its ``models:/name/version``."""
    own = QUICKLY if flavor.__name__ == "mlflow.sklearn" else {"pip_requirements": QUICKLY["pip_requirements"]}
    options = {**own, **options}
    info = flavor.log_model(
        model,
        name="model",
        signature=infer_signature(frame, model.predict(frame)),
        registered_model_name=name,
        **options,
    )
    return f"models:/{name}/{info.registered_model_version}"


def table_rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The features as a warehouse holds them: DECIMAL, small integers, nulls; an id in front, text behind."""
    from decimal import Decimal

    def value(name: str, v: Any) -> Any:
        if pd.isna(v):
            return None
        if name == "price":
            return Decimal(f"{v:.2f}")
        if name in ("tiny", "small", "count", "total"):
            return int(v)
        return bool(v) if name == "member" else float(v)

    return [
        (i, *(value(n, v) for n, v in zip(FEATURES, row, strict=True)), f"row {i}")
        for i, row in enumerate(frame.itertuples(index=False, name=None))
    ]


def save_line(folder: str, slope: float = 2.0, *, native: bool = False) -> str:
    """A model folder of ``slope * x + n``: x double, n long, of which a null makes a bad row.

    Python workers score it, unless it is to be one that Spark's own expressions score.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.linear_model import LinearRegression

    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 5.0], "n": [0, 3, 1, 2]})
    line = LinearRegression() if native else TransformedTargetRegressor(LinearRegression())
    line.fit(frame, slope * frame["x"] + frame["n"])
    signature = infer_signature(frame, line.predict(frame))
    mlflow.sklearn.save_model(line, folder, signature=signature, **QUICKLY)
    return folder


def line_rows(spark: Any, ids: range, bad: Any = ()) -> Any:
    """Rows for ``save_line``'s model: an id, the features, text; in those of ``bad``, n is null."""
    rows = [(i, float(i), None if i in bad else i % 3, f"row {i}") for i in ids]
    return spark.createDataFrame(rows, "id bigint, x double, n bigint, note string").repartition(2)


def in_order(rows: DataFrame, key: str = "id") -> list[Row]:
    """Rows by a column. Spark would compute them twice to sort them: first to find its ranges."""
    return sorted(rows.collect(), key=lambda row: row[key])


def frame_in_order(rows: DataFrame, key: str = "id") -> pd.DataFrame:
    return rows.toPandas().sort_values(key, ignore_index=True)
