"""What a task says of a model's output, and what contradicts it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from spark_scoring.engine.errors import ModelOutputError
from spark_scoring.model.types import Tensor
from spark_scoring.registration.errors import RegistrationError
from spark_scoring.registration.tasks import check_count, check_returned, known_task, output_schema, output_type

F64 = np.array([0.25, 0.5, 0.75])
PER_CLASS = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("task", "predictions", "classes", "expected"),
    [
        ("regression", F64, None, "double"),
        ("regression", F64.astype("float32"), None, "double"),
        ("regression", F64.reshape(3, 1), None, "double"),
        ("regression", pd.Series(F64), None, "double"),
        ("regression", PER_CLASS, None, Tensor("double", (-1, 2))),
        ("binary_classification", np.array([0, 1, 1]), [0, 1], "long"),
        ("binary_classification", np.array([0, 1, 1], dtype="uint8"), None, "long"),
        ("binary_classification", np.array([True, False, True]), [False, True], "long"),
        ("binary_classification", np.array(["late", "ok", "ok"]), ["late", "ok"], "string"),
        ("binary_classification", np.array(["late", "ok", "ok"], dtype=object), None, "string"),
        ("binary_classification", np.array([0.0, 1.0, 1.0]), [0.0, 1.0], "long"),
        ("multiclass_classification", np.array([[0], [1], [2]]), [0, 1, 2], "long"),
        ("multiclass_classification", np.array([0, 1, 1]), [0, 1], "long"),
        ("anomaly_detection", np.array([1, -1, 1]), None, "long"),
        ("probability", F64, None, "double"),
        ("probability", PER_CLASS, [0, 1], Tensor("double", (-1, 2))),
    ],
)
def test_the_type_comes_from_the_task(task: Any, predictions: Any, classes: Any, expected: Any) -> None:
    assert output_type(task, predictions, classes) == expected
    check_returned(expected, predictions, len(predictions))


@pytest.mark.parametrize(
    ("task", "predictions", "classes", "expected"),
    [
        ("regression", np.array([0, 1]), None, "int64 of shape (2,) for rows of the training frame: they are whole"),
        ("regression", np.array(["a", "b"]), None, "text of shape (2,) for rows of the training frame: they are text"),
        ("binary_classification", F64, [0, 1], "they are not labels; probabilities are the task probability"),
        ("binary_classification", np.array([0, 1]), [0, 1, 2], "it knows 3 classes, the task has two"),
        ("binary_classification", PER_CLASS, [0, 1], "it returns 2 values per row, the task has one"),
        ("multiclass_classification", np.array([0.0, 1.0]), None, "they are not labels"),
        ("anomaly_detection", np.array([0, 1, 1]), None, "they are 0 and 1 (PyOD's way)"),
        ("anomaly_detection", F64, None, "is this a score"),
        ("anomaly_detection", np.array(["a"]), None, "neither -1 nor 1"),
        ("probability", F64 * 2, None, "some are outside 0 to 1"),
        ("probability", np.array([0, 1]), None, "they are whole numbers; are these labels?"),
    ],
)
def test_what_contradicts_the_task_is_shown_beside_it(task: Any, predictions: Any, classes: Any, expected: str) -> None:
    with pytest.raises(RegistrationError) as raised:
        output_type(task, predictions, classes)
    text = str(raised.value)
    assert text.startswith(f"task {task}: the task says ")
    assert expected in text


@pytest.mark.parametrize("predictions", [F64, PER_CLASS, 0.5, [0.5], {"a": F64}, pd.DataFrame({"a": F64})])
def test_as_many_predictions_as_rows(predictions: Any) -> None:
    rows = 1 if isinstance(predictions, float) else 4
    with pytest.raises(RegistrationError, match=f"predictions for {rows} rows"):
        check_count(predictions, rows)
    check_count(F64, 3)


def test_an_unknown_task_is_told_the_nearest() -> None:
    with pytest.raises(RegistrationError, match="task 'regresion': no such task\n   fix: did you mean regression"):
        known_task("regresion")


def test_the_schema_has_one_named_column() -> None:
    assert str(output_schema("long")) == "['prediction': long (required)]"
    assert str(output_schema(Tensor("double", (-1, 3)))) == "['prediction': Tensor('float64', (-1, 3))]"


@pytest.mark.parametrize(("type_", "predictions"), [("long", F64), ("double", np.array(["a"])), ("string", F64)])
def test_a_declared_type_that_cannot_take_the_predictions_is_refused(type_: Any, predictions: Any) -> None:
    with pytest.raises(ModelOutputError):
        check_returned(type_, predictions, len(predictions))
