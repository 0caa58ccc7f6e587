"""A model's requirements against what is installed: notes in the plan, an error for its own library's major version."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import pytest

from spark_scoring.engine.isolated.building import needed_beside
from spark_scoring.engine.isolated.errors import IsolationError
from spark_scoring.errors import PlanError
from spark_scoring.model.environment import Difference, environment_differences
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import Policy
from spark_scoring.plan.request import Request
from tests.unit.test_categories import MODEL, SCHEMA

PANDAS = version("pandas")
SKLEARN = version("scikit-learn")


def test_what_is_installed_as_required_is_no_difference() -> None:
    lines = [f"pandas=={PANDAS}", "numpy", "scikit-learn>=1,<9", "# a comment", "-r other.txt", ""]
    assert environment_differences(lines, "sklearn") == ()


def test_differences_say_what_is_required_and_what_there_is() -> None:
    found = environment_differences(["pandas==1.0.5", "Scikit_Learn==1.0", "no-such-package==3"], "sklearn")
    assert found == (
        Difference("pandas", "==1.0.5", PANDAS, own=False, major=True),
        Difference("Scikit_Learn", "==1.0", SKLEARN, own=True, major=False),
        Difference("no-such-package", "==3", None, own=False, major=True),
    )
    assert str(found[2]) == "requires no-such-package==3, installed: none"


@pytest.mark.parametrize(
    "line", ["x @ file:///tmp/x.whl", "git+ssh://somewhere", 'pandas==1; python_version < "3"', "--no-binary :all:"]
)
def test_lines_that_are_no_plain_requirement_are_skipped(line: str) -> None:
    assert environment_differences([line], "sklearn") == ()


def test_differences_are_notes_of_the_plan() -> None:
    other = Difference("pandas", "==1.0", PANDAS, own=False, major=True)
    plan = make_plan(replace(MODEL, differences=(other,)), SCHEMA, Request())
    assert f"the model requires pandas==1.0, installed: {PANDAS}" in plan.notes


def test_another_major_version_of_the_models_own_library_is_an_error_unless_lenient() -> None:
    model = replace(MODEL, differences=(Difference("lightgbm", "==3.3.5", "4.7.0", own=True, major=True),))
    with pytest.raises(PlanError, match=r"requires lightgbm==3\.3\.5, installed: 4\.7\.0"):
        make_plan(model, SCHEMA, Request())
    plan = make_plan(model, SCHEMA, Request(policy=Policy.of("lenient")))
    assert "the model requires lightgbm==3.3.5, installed: 4.7.0" in plan.notes


@pytest.mark.parametrize(
    ("lines", "more"),
    [
        (["scikit-learn"], ["pandas", "pyarrow", "setuptools<81", "mlflow-skinny"]),
        (["MLflow==2.9.2", "pandas", "PyArrow==14.0.2"], ["setuptools<81"]),
        (["mlflow-skinny", "setuptools==70", "numpy==1.26.4"], ["pandas", "pyarrow<18"]),
        (["mlflow", "numpy<2,>=1.20"], ["pandas", "pyarrow<18", "setuptools<81"]),
        (["mlflow", "numpy~=1.26"], ["pandas", "pyarrow<18", "setuptools<81"]),
        (["mlflow", "numpy==2.2.6"], ["pandas", "pyarrow", "setuptools<81"]),
        (["mlflow", "numpy<2.3"], ["pandas", "pyarrow", "setuptools<81"]),
        (
            ["-c constraints.txt", "code/own-1.0-py3-none-any.whl"],
            ["pandas", "pyarrow", "setuptools<81", "mlflow-skinny"],
        ),
    ],
)
def test_a_model_s_process_is_given_what_it_needs_and_the_model_does_not_list(
    lines: list[str], more: list[str]
) -> None:
    assert needed_beside(lines, [], "a model") == more


def test_constraints_say_which_numpy_it_is_and_comments_are_no_requirements() -> None:
    assert "pyarrow<18" in needed_beside(["mlflow", "numpy"], ["numpy==1.26.4"], "a model")
    for nothing in ([], ["# all is in the image"]):
        with pytest.raises(IsolationError, match=r"no requirements\.txt"):
            needed_beside(nothing, [], "a model")
