"""The worker without Spark: frames, output types, rows on which the model raises."""

from __future__ import annotations

import datetime as dt
import gc
import re
import sys
import time
import zipfile
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from spark_scoring.engine.errors import ModelFailedError, ModelOutputError
from spark_scoring.engine.inputs import WorkerPlan, build_input
from spark_scoring.engine.worker import Scored, Scorer
from spark_scoring.engine.worker_job import _ease_next_task
from spark_scoring.model.loaded import LoadedModel
from spark_scoring.plan.outputs import Returned

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Model(LoadedModel):
    """A model in place of a loaded one: counts its calls."""

    def __init__(self, predict: Callable[[pd.DataFrame], Any], *, has_scored: bool = True) -> None:
        self._predict = predict
        self.has_scored = has_scored
        self.calls = 0

    def call(self, method: str, data: Any, params: Any = None) -> Any:
        self.calls += 1
        return self._predict(data)


def plan(type_: str = "double", width: int = 1, **options: Any) -> WorkerPlan:
    returned = Returned("predict", tuple((f"p{i}", type_) for i in range(width)))
    return WorkerPlan((("x", "double"),), (("double", ("x",), True),), (returned,), **options)


def score(model: Model, worker_plan: WorkerPlan, x: list[float], ok: list[bool] | None = None) -> Scored:
    """A task of one batch."""
    scorer = Scorer(model, worker_plan)
    scored = scorer.score(lambda: [np.array(x).reshape(-1, 1)], np.array(ok or [True] * len(x)))
    scorer.finish()
    return scored


def run(predict: Callable[[pd.DataFrame], Any], x: list[float], type_: str = "double", **options: Any) -> Scored:
    ok = options.pop("ok", None)
    return score(Model(predict, **options), plan(type_), x, ok)


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
    worker_plan = WorkerPlan(types, lanes, ())
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
    score(model, plan(), [0.0, 0.0], [False, False])
    assert model.calls == 0


@pytest.mark.parametrize("bad", [{0.0}, {99.0}, {50.0}, {0.0, 99.0}, {0.0, 50.0, 99.0}, {3.0, 4.0, 5.0, 77.0}])
def test_rows_on_which_the_model_raises_are_told_apart(bad: set[float]) -> None:
    scored = run(fails_on(bad), [float(i) for i in range(100)])
    values, null = scored.fields[0]
    assert set(np.flatnonzero(null).astype(float)) == bad
    assert values[~null].tolist() == [2.0 * i for i in range(100) if i not in bad]
    reasons = {e for e in scored.errors if e is not None}
    assert len(reasons) == 1
    assert re.fullmatch(r"model: ValueError \(test_worker.py line \d+\)", reasons.pop())


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_no_row_is_blamed_that_was_not_tried_alone(share: float) -> None:
    bad = set(np.flatnonzero(np.random.default_rng(3).random(5_000) < share).astype(float))
    model = Model(fails_on(bad))
    scored = score(model, plan(), np.arange(5_000.0).tolist())
    assert set(np.flatnonzero(scored.fields[0][1]).astype(float)) == bad
    assert model.calls <= 5_000 * 1.35, "more calls than rows and a little"


def test_rows_that_fail_in_a_stretch_cost_few_calls_elsewhere() -> None:
    model = Model(fails_on({float(i) for i in range(300)}))
    score(model, plan(), np.arange(10_000.0).tolist())
    assert model.calls <= 600


def test_the_time_for_bad_rows_is_bounded_and_none_is_blamed_untried() -> None:
    def slow(frame: pd.DataFrame) -> Any:
        time.sleep(0.01)
        return fails_on({float(i) for i in range(0, 1000, 2)})(frame)

    with pytest.raises(ModelFailedError, match=r"telling such rows from the others took \d+ s"):
        score(Model(slow), plan(isolation_seconds=0.3), np.arange(1000.0).tolist())


def test_a_model_that_fails_on_every_row_stops_the_run() -> None:
    with pytest.raises(ModelFailedError, match=r"it raised ValueError \(test_worker.py line \d+\) on every row"):
        run(fails_on({float(i) for i in range(10)}), [float(i) for i in range(10)], has_scored=False)


def test_a_model_that_fails_on_every_row_of_a_large_batch_is_not_tried_on_all() -> None:
    model = Model(fails_on({float(i) for i in range(5000)}), has_scored=False)
    with pytest.raises(ModelFailedError, match=r"on every row that was tried \(32\)"):
        score(model, plan(), [float(i) for i in range(5000)])
    assert model.calls == 33


def test_a_first_batch_of_bad_rows_does_not_stop_a_task_that_scores_others() -> None:
    model = Model(fails_on({0.0, 1.0}), has_scored=False)
    scorer = Scorer(model, plan())
    first = scorer.score(lambda: [np.array([[0.0], [1.0]])], np.array([True, True]))
    second = scorer.score(lambda: [np.array([[2.0], [3.0]])], np.array([True, True]))
    scorer.finish()
    assert first.fields[0][1].all()
    assert not second.fields[0][1].any()


def test_a_model_that_was_seen_to_score_does_not_stop_the_run() -> None:
    model = Model(fails_on({float(i) for i in range(50)}), has_scored=False)
    scored = score(model, plan(proven=True), [float(i) for i in range(50)])
    assert scored.fields[0][1].all()


def test_every_call_gets_rows_that_no_call_before_has_changed() -> None:
    def change(frame: pd.DataFrame) -> Any:
        frame["x"] += 100
        frame.index += 7
        if (frame["x"] == 103.0).any():
            msg = "a value of this row"
            raise ValueError(msg)
        return frame["x"].to_numpy()

    scored = run(change, [float(i) for i in range(8)])
    values, null = scored.fields[0]
    assert values[~null].tolist() == [100.0 + i for i in range(8) if i != 3]


def test_every_call_gets_a_frame_numbered_from_0() -> None:
    seen = []

    def look(frame: pd.DataFrame) -> Any:
        seen.append(frame.index.tolist())
        return fails_on({3.0})(frame)

    run(look, [float(i) for i in range(8)])
    assert all(index == list(range(len(index))) for index in seen)


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
        ("double", pd.Series([1.5, 2.5], index=[1, 0]), [2.5, 1.5]),
        ("double", pd.DataFrame({"y": [1.5, 2.5]}, index=[1, 0]), [2.5, 1.5]),
        ("double", {"y": pd.Series([1.5, 2.5], index=[1, 0])}, [2.5, 1.5]),
        ("double", pd.Series([1.5, 2.5], index=[7, 3]), [1.5, 2.5]),
        ("double", pd.Series([1.5, 2.5], index=pd.Index([1, 0], name="id")), [1.5, 2.5]),
        ("double", scipy.sparse.csr_matrix([[0.0], [2.5]]), [0.0, 2.5]),
        ("double", pd.DataFrame({"y": pd.arrays.SparseArray([0.0, 2.5])}), [0.0, 2.5]),
        ("double", np.ma.masked_array([1.5, 2.5], [False, True]), [1.5, None]),
        ("double", (1.5, 2.5), [1.5, 2.5]),
        ("double", iter([1.5, 2.5]), [1.5, 2.5]),
        ("double", [[1.5], [2.5]], [1.5, 2.5]),
        ("long", pd.Series([1, None], dtype="Int64"), [1, None]),
        ("long", pd.Series([2**53 + 1, None], dtype="Int64"), [2**53 + 1, None]),
        ("long", pd.array([None, 2**53 + 1], dtype="int64[pyarrow]"), [None, 2**53 + 1]),
        ("long", pd.DataFrame({"y": pd.array([2**53 + 1, None], dtype="Int64")}), [2**53 + 1, None]),
        ("long", [2**53 + 1, 2.0], [2**53 + 1, 2]),
        ("double", [2**53 + 1, 2.5], [2.0**53, 2.5]),
        ("string", ["a", float("nan")], ["a", None]),
        ("datetime", [dt.datetime(9999, 12, 31), dt.date(1, 1, 1)], [253402214400000000, -62135596800000000]),  # noqa: DTZ001
        ("datetime", [pd.Timestamp("2025-01-01 01:00", tz="Europe/Berlin"), None], [1735689600000000, None]),
        ("string", np.array([["a"], ["b"]], dtype=object), ["a", "b"]),
    ],
)
def test_results_take_the_type_of_the_signature(type_: str, returned: Any, expected: list[Any]) -> None:
    values, null = run(lambda _: returned, [1.0, 2.0], type_).fields[0]
    assert [None if n else v for v, n in zip(values.tolist(), null, strict=True)] == expected


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_has_two_dimensions_whatever_is_taken_of_it() -> None:
    values, null = run(lambda _: np.asmatrix([[1.5], [2.5]]), [1.0, 2.0]).fields[0]
    assert (values.tolist(), null.any()) == ([1.5, 2.5], False)


def test_a_nan_of_the_model_stays_one() -> None:
    values, null = run(lambda _: np.array([np.nan, 1.0]), [1.0, 2.0]).fields[0]
    assert np.isnan(values[0])
    assert not null.any()


@pytest.mark.parametrize(
    ("type_", "returned", "message"),
    [
        ("long", np.array([1.5, 2.0]), "returned float64 values that do not fit long"),
        ("integer", np.array([2**31, 0]), "returned int64 values that do not fit integer"),
        ("long", np.array([2.0**63, 0]), "returned float64 values that do not fit long"),
        ("double", np.array(["a", "b"]), "returned <U1"),
        ("boolean", np.array([0, 1]), "returned int64"),
        ("string", np.array([0, 1]), "returned int64"),
        ("string", ["a", 5], "returned object"),
        ("long", [None, float("inf")], "returned float64 values that do not fit long"),
        ("long", [2**53 + 1, 2.5], "returned float64 values that do not fit long"),
        ("float", np.array([1e300, 1.0]), "returned float64 values too large for float"),
        ("double", np.zeros((2, 3)), r"returned shape \(2, 3\) for 2 rows"),
        ("double", np.zeros(3), r"returned 3 results for 2 rows"),
        ("double", np.zeros((1, 1)), r"returned 1 results for 2 rows"),
        ("double", 5.0, r"returned a float for 2 rows"),
        ("double", [[1.0], [1.0, 2.0]], r"returned a list of 2 list for 2 rows"),
    ],
)
def test_a_result_that_contradicts_the_signature_is_an_error(type_: str, returned: Any, message: str) -> None:
    with pytest.raises(ModelOutputError, match=message):
        run(lambda _: returned, [1.0, 2.0], type_)


@pytest.mark.parametrize("returned", [np.float64(2.5), np.array(2.5), 2.5, [2.5], np.array([[2.5]]), {"y": 2.5}])
def test_one_rows_result_may_be_the_bare_value(returned: Any) -> None:
    values, null = run(lambda _: returned, [1.0]).fields[0]
    assert (values.tolist(), null.tolist()) == ([2.5], [False])


@pytest.mark.parametrize("returned", [np.array([1.5, 2.5]), [[1.5, 2.5]], pd.DataFrame([[1.5, 2.5]])])
def test_one_rows_values_may_be_a_flat_array(returned: Any) -> None:
    fields = score(Model(lambda _: returned), plan(width=2), [1.0]).fields
    assert [values.tolist() for values, _ in fields] == [[1.5], [2.5]]


@pytest.mark.parametrize(
    "returned",
    [
        pd.DataFrame({"hi": [1.0], "low": [2.0]}),
        {"hi": [1.0], "low": [2.0]},
        [{"hi": 1.0, "low": 2.0}],
        pd.DataFrame({"lo": [1.0], "other": [2.0]}),
    ],
)
def test_other_names_than_the_signatures_are_told(returned: Any) -> None:
    named = Returned("predict", (("p0", "double"), ("p1", "double")), ("lo", "hi"))
    worker_plan = WorkerPlan((("x", "double"),), (("double", ("x",), True),), (named,))
    with pytest.raises(ModelOutputError, match="the signature has outputs named lo, hi, the model returned"):
        score(Model(lambda _: returned), worker_plan, [1.0])


@pytest.mark.parametrize("returned", [{"Ann Example": [1.0], "lo": [2.0]}, [{"Ann Example": 1.0, "lo": 2.0}]])
def test_keys_that_may_be_values_are_counted_and_not_told(returned: Any) -> None:
    named = Returned("predict", (("p0", "double"), ("p1", "double")), ("lo", "hi"))
    worker_plan = WorkerPlan((("x", "double"),), (("double", ("x",), True),), (named,))
    with pytest.raises(ModelOutputError, match="the model returned lo, 1 other name"):
        score(Model(lambda _: returned), worker_plan, [1.0])
    with pytest.raises(ModelOutputError) as raised:
        score(Model(lambda _: {"Ann Example": 1.0, "b": 2.0}), plan("double"), [1.0, 2.0])
    assert "Ann" not in str(raised.value)


def test_a_class_that_is_made_of_a_value_is_told_as_the_one_above_it() -> None:
    def predict(frame: pd.DataFrame) -> Any:
        made = type(f"Bad{frame['x'][0]:.0f}", (LookupError,), {})
        raise made

    scored = run(predict, [4711.0, 1.0], has_scored=True)
    assert all(error.startswith("model: LookupError (test_worker.py line ") for error in scored.errors)


@pytest.mark.parametrize(
    "returned",
    [
        pd.DataFrame({"hi": [1.0], "more": [0.0], "lo": [2.0]}),
        {"hi": [1.0], "lo": [2.0]},
        [{"hi": 1.0, "lo": 2.0}],
        pd.DataFrame([[2.0, 1.0]]),
    ],
)
def test_results_with_the_signatures_names_are_taken_by_name(returned: Any) -> None:
    named = Returned("predict", (("p0", "double"), ("p1", "double")), ("lo", "hi"))
    worker_plan = WorkerPlan((("x", "double"),), (("double", ("x",), True),), (named,))
    fields = score(Model(lambda _: returned), worker_plan, [1.0]).fields
    assert [values.tolist() for values, _ in fields] == [[2.0], [1.0]]


def test_between_tasks_spark_does_not_read_archives_again_nor_look_at_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = tmp_path / "with_python.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("in_a_jar/__init__.py", "")
        archive.writestr("in_a_jar/inner.py", "VALUE = 1")
    monkeypatch.syspath_prepend(str(jar))
    import_module("in_a_jar.inner")

    def cached() -> list[str]:
        return [path for path in sys.path_importer_cache if path.startswith(str(jar))]

    assert len(cached()) == 2
    before = gc.get_freeze_count()
    try:
        _ease_next_task(is_new=True)
        assert not cached()
        assert gc.get_freeze_count() > before + 10_000
        del sys.modules["in_a_jar.inner"]
        assert import_module("in_a_jar.inner").VALUE == 1
        _ease_next_task(is_new=False)
        assert not cached()
    finally:
        gc.unfreeze()
        for name in ("in_a_jar", "in_a_jar.inner"):
            sys.modules.pop(name)
