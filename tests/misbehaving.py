"""Random PythonModels that misbehave, and what scoring may make of them: a right value, an error, never a wrong value.

A model is a few steps of a grammar: it changes its input, sorts, renumbers, drops rows, prints, raises on some values,
looks at its batch, draws at random, keeps a state, and returns its values in one of many forms. What a row is to get
is what the model, loaded anew, returns for that row alone. Every tenth model is scored by Spark, the others by a
worker's code in this process, batch by batch. ``python -m tests.misbehaving --count 2000`` tries many.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import scipy.sparse
from mlflow.models import Model, ModelSignature
from mlflow.models.utils import _Example
from mlflow.types import ColSpec, Schema
from pyspark.errors import PySparkException

import spark_scoring as ss
from spark_scoring.engine.rehearsal import example_lanes
from spark_scoring.engine.worker import Scorer
from spark_scoring.errors import PlanError, RunError
from spark_scoring.model.loaded import LoadedModel
from spark_scoring.model.sealed import Copy, digest_of
from spark_scoring.plan.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

ROWS, BATCH = 40, 7
INPUTS = Schema([ColSpec("double", "a"), ColSpec("double", "b"), ColSpec("long", "id"), ColSpec("string", "t")])
SCHEMA = "a double, b double, id long, t string"


def changed(x: pd.DataFrame, k: float) -> pd.DataFrame:
    x["a"] -= k
    return x


def changed_in_place(x: pd.DataFrame, k: float) -> pd.DataFrame:
    x.loc[:, "b"] = x["b"].to_numpy() * k
    x.drop(columns=["t"], inplace=True)  # noqa: PD002  what people do
    return x


def renumbered(x: pd.DataFrame, k: float) -> pd.DataFrame:
    x = x.copy()
    x["a"] = x["a"] + pd.Series(np.zeros(len(x)))  # a Series numbered from 0
    return x


def kept_name(x: pd.DataFrame, k: float) -> pd.DataFrame:
    return x.set_index("id", drop=False)


def numbered_by_id(x: pd.DataFrame, k: float) -> pd.DataFrame:
    return x.set_axis(x["id"].to_numpy(), axis="index")


def printing(x: pd.DataFrame, k: float) -> pd.DataFrame:
    print("scoring", len(x))  # noqa: T201
    sys.stdout.write("rows\n")
    return x


def raising(x: pd.DataFrame, k: float) -> pd.DataFrame:
    if (x["b"] > k).any():
        msg = "a value of this row"
        raise ValueError(msg)
    return x


def raising_on_text(x: pd.DataFrame, k: float) -> pd.DataFrame:
    for text in x["t"]:
        if text is not None and text.startswith("no"):
            raise KeyError(text)
    return x


def raising_on_nulls(x: pd.DataFrame, k: float) -> pd.DataFrame:
    if x["a"].isna().any():
        msg = "missing"
        raise RuntimeError(msg)
    return x


def sorted_rows(x: pd.DataFrame, k: float) -> pd.DataFrame:
    return x.sort_values("a", ascending=k > 2, kind="stable")


def shuffled(x: pd.DataFrame, k: float) -> pd.DataFrame:
    return x.sample(frac=1, random_state=int(k * 10))


GOOD_STEPS = [changed, changed_in_place, renumbered, printing, raising, raising_on_text, raising_on_nulls, kept_name]
MOVING_STEPS = [sorted_rows, shuffled]
"""Right where the result keeps their index."""


CLASHES = [{kept_name, renumbered}, {changed_in_place, raising_on_text}]
"""Steps that are right alone: a Series numbered from 0 does not fit rows numbered by id; a dropped column is read."""


def sorted_anew(x: pd.DataFrame, k: float) -> pd.DataFrame:
    return sorted_rows(x, k).reset_index(drop=True)


def dropped(x: pd.DataFrame, k: float) -> pd.DataFrame:
    return x[~(x["b"] > k)]


def dropped_nulls(x: pd.DataFrame, k: float) -> pd.DataFrame:
    return x.dropna(subset=["a"])


def doubled(x: pd.DataFrame, k: float) -> pd.DataFrame:
    return pd.concat([x, x[x["b"] > k]])


def raising_on_many(x: pd.DataFrame, k: float) -> pd.DataFrame:
    if len(x) > 2 + k:
        msg = "too many rows"
        raise ValueError(msg)
    return x


def raising_on_one(x: pd.DataFrame, k: float) -> pd.DataFrame:
    x.iloc[1]
    return x


BAD_STEPS = [sorted_anew, dropped, dropped_nulls, doubled, raising_on_many, raising_on_one, numbered_by_id]

GOOD_VALUES = {
    "line": lambda x, k, _: x["a"] * k + x["b"],
    "clipped": lambda x, k, _: x["a"].clip(lower=0) + k,
    "rounded": lambda x, k, _: (x["b"] * k).round(1),
}
BAD_VALUES = {
    "centred": lambda x, k, _: x["a"] - x["a"].mean(),
    "share": lambda x, k, _: x["b"] / x["b"].abs().max(),
    "rank": lambda x, k, _: x["a"].rank(),
    "running": lambda x, k, _: x["b"].cumsum(),
    "step": lambda x, k, _: x["b"] - x["b"].shift(1, fill_value=0.0),
    "filled": lambda x, k, _: x["a"].fillna(x["a"].mean()),
    "codes": lambda x, k, _: pd.Series(pd.factorize(x["t"])[0] + k, index=x.index),
    "noise": lambda x, k, _: x["a"] + np.random.default_rng().normal(size=len(x)),
    "seeded": lambda x, k, _: x["a"] + np.random.default_rng(3).normal(size=len(x)),
    "counter": lambda x, k, calls: x["a"] + calls,
}

KEEPING_FORMS = {
    "series": lambda v: v,
    "frame": lambda v: v.to_frame("prediction"),
    "odd frame": lambda v: pd.DataFrame({"other": v}),
    "dict of series": lambda v: {"prediction": v},
}
POSITION_FORMS = {
    "array": lambda v: v.to_numpy(),
    "column": lambda v: v.to_numpy().reshape(-1, 1),
    "squeezed": lambda v: np.squeeze(v.to_numpy().reshape(-1, 1)),
    "list": lambda v: v.tolist(),
    "sparse": lambda v: scipy.sparse.csr_matrix(v.to_numpy().reshape(-1, 1)),
    "masked": lambda v: np.ma.masked_invalid(v.to_numpy()),
    "iterator": lambda v: iter(v.tolist()),
    "tuple": lambda v: tuple(v.tolist()),
    "renumbered series": lambda v: v.reset_index(drop=True),
    "records": lambda v: [{"prediction": one} for one in v],
    "matrix": lambda v: np.asmatrix(v.to_numpy()).T,
    "objects": lambda v: v.astype(object).to_numpy(),
}


class Misbehaving(mlflow.pyfunc.PythonModel):
    """Steps, then values, then a form."""

    def __init__(self, steps: list[Any], value: Any, form: Any, k: float) -> None:
        self._steps, self._value, self._form, self._k = steps, value, form, k
        self._calls = 0

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        self._calls += 1
        for step in self._steps:
            model_input = step(model_input, self._k)
        return self._form(self._value(model_input, self._k, self._calls))


@dataclass(frozen=True)
class Case:
    """A model, whether it treats rows one by one, and what it is called where it fails."""

    model: Misbehaving
    is_good: bool
    name: str
    has_example: bool


def cases(seed: int, count: int) -> Iterator[Case]:
    """Models of the grammar, some of which are right however odd they are."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        steps = [GOOD_STEPS[i] for i in rng.permutation(len(GOOD_STEPS))[: rng.integers(0, 4)]]
        k = float(rng.integers(1, 5))
        moves = [MOVING_STEPS[rng.integers(len(MOVING_STEPS))]] if rng.random() < 0.2 else []
        bad = [BAD_STEPS[rng.integers(len(BAD_STEPS))]] if rng.random() < 0.25 else []
        steps = [(steps + moves + bad)[i] for i in rng.permutation(len(steps) + len(moves) + len(bad))]
        values = BAD_VALUES if rng.random() < 0.25 else GOOD_VALUES
        forms = KEEPING_FORMS if rng.random() < 0.4 or moves else POSITION_FORMS
        forms = POSITION_FORMS if moves and rng.random() < 0.3 else forms
        value, form = (list(kinds)[rng.integers(len(kinds))] for kinds in (values, forms))
        if moves and kept_name in steps:
            steps.remove(kept_name)  # the index then says nothing of the order
        good = not bad and values is GOOD_VALUES and not (moves and forms is POSITION_FORMS)
        good = good and not any(pair <= set(steps) for pair in CLASHES)
        name = f"{seed}/{number} {[s.__name__ for s in steps]} {value} {form} k={k:g}"
        yield Case(Misbehaving(steps, values[value], forms[form], k), good, name, bool(rng.random() < 0.5))


def table(seed: int) -> pd.DataFrame:
    """Rows with nulls, ties and values on which models raise."""
    rng = np.random.default_rng([seed, 1])
    return pd.DataFrame(
        {
            "a": np.where(rng.random(ROWS) < 0.1, np.nan, np.round(rng.normal(size=ROWS) * 3, 2)),
            "b": np.where(rng.random(ROWS) < 0.08, 99.0, np.round(rng.normal(size=ROWS), 2)),
            "id": rng.permutation(ROWS),
            "t": rng.choice(np.array(["yes", "no way", "perhaps", None], dtype=object), ROWS, p=[0.4, 0.1, 0.4, 0.1]),
        }
    )


def alone(case: Case, rows: pd.DataFrame) -> dict[int, float | None]:
    """By identifier what a fresh model returns for the row alone; None where it raises or returns no row."""
    found: dict[int, float | None] = {}
    for _, row in rows.iterrows():
        frame = pd.DataFrame([row.to_dict()]).astype({"a": float, "b": float, "id": "int64", "t": object})
        model = cloudpickle.loads(cloudpickle.dumps(case.model))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[int(row["id"])] = plain(model.predict(None, frame))
        except Exception:  # noqa: BLE001  a model may raise anything
            found[int(row["id"])] = None
    return found


def plain(result: Any) -> float:
    """The one value of a result for one row."""
    if scipy.sparse.issparse(result):
        result = result.toarray()
    if isinstance(result, np.ma.MaskedArray):
        result = result.filled(np.nan)
    if isinstance(result, dict):
        result = next(iter(result.values()))
    values = list(result) if isinstance(result, tuple | list) or hasattr(result, "__next__") else result
    if isinstance(values, list) and values and isinstance(values[0], dict):
        values = [values[0]["prediction"]]
    (value,) = np.asarray(values, dtype=float).ravel()
    return float(value)


@dataclass
class Trial:
    """Many models over one table: what became of them, and those that scored wrong or were refused for nothing."""

    df: Any
    rows: pd.DataFrame
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def plan(self, case: Case, path: str) -> bool:
        """Whether the plan lets the model score."""
        try:
            ss.plan_scoring(path, self.df.schema)
        except PlanError as error:
            self.counts["refused"] += 1
            self.wrong += [f"{case.name}: refused: {error}"] if case.is_good else []
            return False
        return True

    def score(self, case: Case, path: str, *, by_spark: bool) -> None:
        """Hold what each row gets against what it is to get."""
        try:
            found = ss.score_batch(self.df, path).toPandas() if by_spark else scored_here(path, self.df, self.rows)
        except (PySparkException, RunError) as error:
            self.counts["failed in the run"] += 1
            self.wrong += [f"{case.name}: the run failed: {str(error)[-600:]}"] if case.is_good else []
            return
        problem = compare(alone(case, self.rows), found)
        self.counts["wrong" if problem else "scored"] += 1
        self.wrong += [f"{case.name}: {problem}"] if problem else []


def scored_here(path: str, df: Any, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows scored by a worker's code: partitions of 14 rows, batches of 7, and a model loaded for it."""
    plan = ss.plan_scoring(path, df.schema)
    parts = []
    model = LoadedModel(Copy(path, digest_of(path)))
    for start in range(0, ROWS, 2 * BATCH):
        part = rows.iloc[start : start + 2 * BATCH]
        scorer = None
        for at in range(0, len(part), BATCH):
            batch = part.iloc[at : at + BATCH]
            worker_plan, columns = example_lanes(plan, batch, Policy())
            scorer = scorer or Scorer(model, replace(worker_plan, proven=plan.proven))
            scored = scorer.score(partial(copies, columns), np.ones(len(batch), dtype=bool))
            values, null = scored.fields[0]
            found = {"prediction": np.where(null, np.nan, values), "scoring_error": scored.errors}
            parts.append(batch.assign(**found))
        assert scorer is not None
        scorer.finish()
    return pd.concat(parts)


def copies(columns: list[Any]) -> list[Any]:
    return [column.copy() for column in columns]


def try_models(spark: SparkSession, folder: Path, seed: int, count: int, by_spark: int = 10) -> Trial:
    """Save, plan and score models of the grammar."""
    rows = table(seed)
    df = spark.createDataFrame(rows.astype(object).where(rows.notna(), None).to_dict("records"), SCHEMA)
    trial = Trial(df.repartition(3).cache(), rows)
    for i, case in enumerate(cases(seed, count)):
        path = str(folder / f"m{i}")
        save(case.model, path, rows.iloc[:6] if case.has_example else None)
        if trial.plan(case, path):
            trial.score(case, path, by_spark=i % by_spark == 0)
    trial.df.unpersist()
    return trial


def save(model: Misbehaving, path: str, example: pd.DataFrame | None) -> None:
    """A saved model; the example is put beside it, as MLflow would call the model with it."""
    signature = ModelSignature(INPUTS, Schema([ColSpec("double", "prediction")]))
    mlflow.pyfunc.save_model(path, python_model=model, signature=signature, pip_requirements=["mlflow"])
    if example is not None:
        mlmodel = Model.load(path)
        saved = _Example(example)
        saved.save(path)
        mlmodel.saved_input_example_info = saved.info
        mlmodel.save(str(Path(path, "MLmodel")))


def compare(expected: dict[int, float | None], found: pd.DataFrame) -> str | None:
    """What is wrong with a model's column; None where each row has what it is to get."""
    if len(found) != ROWS:
        return f"{len(found)} rows"
    for key, value, error in zip(found["id"], found["prediction"], found["scoring_error"], strict=True):
        want = expected[int(key)]
        if want is None:
            if error is None:
                return "a row on which the model raises has a prediction"
        elif error is not None:
            return f"a row that the model scores is bad: {error}"
        elif not (np.isclose(value, want, rtol=1e-9) or (pd.isna(value) and np.isnan(want))):
            return "a wrong value"
    return None


def main() -> int:
    """Try many models, and print what became of them."""
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--count", type=int, default=200)
    options.add_argument("--by-spark", type=int, default=10, help="of how many models one is scored by Spark")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spark = ss.get_session(Path(folder, "warehouse"))
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
        trial = try_models(spark, Path(folder), given.seed, given.count, given.by_spark)
        spark.stop()
    print(dict(trial.counts))  # noqa: T201
    print("\n".join(trial.wrong))  # noqa: T201
    return 1 if trial.wrong else 0


if __name__ == "__main__":
    from tests.misbehaving import main as run  # by its name, so that models are pickled with it

    sys.exit(run())
