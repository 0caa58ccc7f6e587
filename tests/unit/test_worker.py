"""The worker without Spark: frames, output types, rows on which the model raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from spark_scoring.engine.inputs import WorkerPlan, build_input
from spark_scoring.engine.worker import LoadedModel, Scored, score
from spark_scoring.errors import ModelFailedError, ModelOutputError
from spark_scoring.plan.outputs import Returned

if TYPE_CHECKING:
    from collections.abc import Callable


class Model(LoadedModel):
    """A model in place of a loaded one: counts its calls."""

    def __init__(self, predict: Callable[[pd.DataFrame], Any], *, has_scored: bool = True) -> None:
        self._predict = predict
        self.has_scored = has_scored
        self.calls = 0

    def call(self, method: str, data: Any, params: Any = None) -> Any:
        self.calls += 1
        return self._predict(data)


def plan(type_: str = "double", width: int = 1) -> WorkerPlan:
    returned = Returned("predict", tuple((f"p{i}", type_) for i in range(width)))
    return WorkerPlan("d", (("x", "double"),), (("double", ("x",), True),), (returned,))


def run(predict: Callable[[pd.DataFrame], Any], x: list[float], type_: str = "double", **options: Any) -> Scored:
    ok = np.array(options.pop("ok", [True] * len(x)))
    return score(Model(predict, **options), plan(type_), [np.array(x).reshape(-1, 1)], ok)


def fails_on(bad: set[float]) -> Callable[[pd.DataFrame], Any]:
    def predict(frame: pd.DataFrame) -> Any:
        if set(frame["x"]) & bad:
            msg = "a value of this row"
            raise ValueError(msg)
        return frame["x"].to_numpy() * 2

    return predict


def test_lanes_become_a_frame_in_the_signatures_order_and_dtypes() -> None:
    lanes = (("double", ("b", "d"), True), ("long", ("a",), True), ("string", ("c",), False))
    types = (("a", "long"), ("b", "double"), ("c", "string"), ("d", "double"))
    worker_plan = WorkerPlan("d", types, lanes, ())
    columns = [np.array([[1.5, 2.5]]), np.array([[7]]), np.array(["t"], dtype=object)]
    frame = build_input(worker_plan, columns)
    assert frame.to_dict("records") == [{"a": 7, "b": 1.5, "c": "t", "d": 2.5}]
    assert [str(t) for t in frame.dtypes] == ["int64", "float64", "object", "float64"]


def test_rows_that_failed_a_check_never_reach_the_model() -> None:
    scored = run(fails_on({2.0}), [1.0, 2.0, 3.0], ok=[True, False, True])
    values, null = scored.fields[0]
    assert (values[~null].tolist(), null.tolist()) == ([2.0, 6.0], [False, True, False])
    assert scored.errors.tolist() == [None, None, None]


def test_a_batch_without_a_good_row_calls_no_model() -> None:
    model = Model(fails_on(set()))
    score(model, plan(), [np.zeros((2, 1))], np.array([False, False]))
    assert model.calls == 0


@pytest.mark.parametrize("bad", [{0.0}, {99.0}, {50.0}, {0.0, 99.0}, {0.0, 50.0, 99.0}, {3.0, 4.0, 5.0, 77.0}])
def test_rows_on_which_the_model_raises_are_told_apart(bad: set[float]) -> None:
    scored = run(fails_on(bad), [float(i) for i in range(100)])
    values, null = scored.fields[0]
    assert set(np.flatnonzero(null).astype(float)) == bad
    assert values[~null].tolist() == [2.0 * i for i in range(100) if i not in bad]
    assert {e for e in scored.errors if e is not None} == {"model: ValueError"}


def test_the_calls_around_bad_rows_are_bounded() -> None:
    model = Model(fails_on({float(i) for i in range(0, 10_000, 3)}))
    scored = score(model, plan(), [np.arange(10_000.0).reshape(-1, 1)], np.ones(10_000, dtype=bool))
    assert model.calls <= 310
    assert all(e == "model: ValueError" for e, n in zip(scored.errors, scored.fields[0][1], strict=True) if n)
    assert all(e is None for e, n in zip(scored.errors, scored.fields[0][1], strict=True) if not n)


def test_a_model_that_fails_on_every_row_stops_the_run() -> None:
    with pytest.raises(ModelFailedError, match="it raised ValueError on every row that was tried"):
        run(fails_on({float(i) for i in range(10)}), [float(i) for i in range(10)], has_scored=False)


def test_a_model_that_has_scored_before_does_not_stop_the_run() -> None:
    scored = run(fails_on({1.0, 2.0, 3.0, 4.0}), [1.0, 2.0, 3.0, 4.0])
    assert scored.fields[0][1].all()


@pytest.mark.parametrize(
    ("type_", "returned", "expected"),
    [
        ("long", np.array([2**53 + 1, -(2**63)]), [2**53 + 1, -(2**63)]),
        ("long", np.array([1.0, np.nan]), [1, None]),
        ("long", [None, 2**53 + 1], [None, 2**53 + 1]),
        ("integer", np.array([True, False]), [1, 0]),
        ("boolean", np.array([True, False]), [True, False]),
        ("boolean", pd.Series([True, None], dtype=object), [True, None]),
        ("string", np.array(["a", "bc"]), ["a", "bc"]),
        ("string", ["a", None], ["a", None]),
        ("double", np.array([[1.5], [2.5]]), [1.5, 2.5]),
        ("double", pd.DataFrame({"y": [1, 2]}), [1.0, 2.0]),
        ("float", np.array([0.5, 1.5], dtype="float32"), [0.5, 1.5]),
    ],
)
def test_results_take_the_type_of_the_signature(type_: str, returned: Any, expected: list[Any]) -> None:
    values, null = run(lambda _: returned, [1.0, 2.0], type_).fields[0]
    assert [None if n else v for v, n in zip(values.tolist(), null, strict=True)] == expected


def test_a_nan_of_the_model_stays_one() -> None:
    values, null = run(lambda _: np.array([np.nan, 1.0]), [1.0, 2.0]).fields[0]
    assert np.isnan(values[0])
    assert not null.any()


@pytest.mark.parametrize(
    ("type_", "returned", "message"),
    [
        ("long", np.array([1.5, 2.0]), "returned float64 values that are no long"),
        ("integer", np.array([2**31, 0]), "returned int64 values that are no integer"),
        ("long", np.array([2.0**63, 0]), "returned float64 values that are no long"),
        ("double", np.array(["a", "b"]), "returned <U1"),
        ("boolean", np.array([0, 1]), "returned int64"),
        ("string", np.array([0, 1]), "returned int64"),
        ("double", np.zeros((2, 3)), r"returned shape \(2, 3\) for 2 rows"),
        ("double", np.zeros(3), r"returned shape \(3,\) for 2 rows"),
    ],
)
def test_a_result_that_contradicts_the_signature_is_an_error(type_: str, returned: Any, message: str) -> None:
    with pytest.raises(ModelOutputError, match=message):
        run(lambda _: returned, [1.0, 2.0], type_)
