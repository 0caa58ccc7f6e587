"""What a process and a model's own say to each other."""

from __future__ import annotations

import datetime as dt
import os
import pickle
import threading
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from spark_scoring.engine.inputs import WorkerPlan, objects
from spark_scoring.engine.isolated.messages import EndedError, packed, receive, send, unpacked
from spark_scoring.errors import Problem, RunError
from spark_scoring.model.types import Category, Levels

_ARRAYS = [
    np.arange(12, dtype="float32").reshape(4, 3),
    np.array([1.5, np.nan, -0.0, np.inf]),
    np.array([-(2**63), 2**63 - 1]),
    np.array([True, False]),
    np.array(["2026-01-01", "NaT"], dtype="datetime64[us]"),
    np.zeros((0, 7)),
    np.arange(20.0).reshape(4, 5)[:, ::2],
]


@pytest.mark.parametrize("array", _ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_come_as_they_went(array: np.ndarray[Any, Any]) -> None:
    found = unpacked(packed(array))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    found[...] = found  # writable: a model may change its input


def test_a_message_makes_memory_of_its_own_each_time() -> None:
    message = packed([np.zeros(3)])
    first, second = unpacked(message)[0], unpacked(message)[0]
    first[0] = 1
    assert second[0] == 0


def test_values_inside_objects_come_as_they_went() -> None:
    values = [None, "é", b"x", [1, [2.5]], {"a": np.float64(1.5)}, [("k", 1)], dt.date(2026, 1, 1), Decimal("1.10")]
    found = unpacked(packed(objects(values)))
    assert found.dtype == object
    assert found.tolist() == values


def test_plans_and_errors_come_as_they_went() -> None:
    plan = WorkerPlan((("c", Category(Levels((1, 2), "double", "the job"))),), (("category", ("c",), True),), ())
    assert unpacked(packed(plan)) == plan
    error = unpacked(packed(RunError([Problem("thing", "cause", "fix")])))
    assert isinstance(error, RunError)
    assert str(error) == "thing: cause\n   fix: fix"


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


@pytest.mark.parametrize("message", [pickle.dumps(_Evil()), pickle.dumps(os.getcwd), pickle.dumps(packed)])
def test_nothing_else_is_made_of_a_message(message: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError):
        unpacked(message)


def test_a_message_of_any_length_passes_and_an_end_is_noticed() -> None:
    reading, writing = os.pipe()
    message = os.urandom(3_000_000)
    sender = threading.Thread(target=send, args=(writing, message))
    sender.start()
    assert receive(reading) == message
    sender.join()
    os.write(writing, b"half")
    os.close(writing)
    with pytest.raises(EndedError):
        receive(reading)
    os.close(reading)
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(EndedError):
        send(writing, b"x")
    os.close(writing)
