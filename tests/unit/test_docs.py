"""docs/: what is made from the code is what the code says now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pyspark.sql.types import DecimalType

from spark_scoring.model.types import DATA_TYPES, Category
from spark_scoring.plan.planner import PlannedFeature
from tools import registration_page
from tools.conversions_page import DECIMALS, LEVELS, PAGE, planned, rendered

if TYPE_CHECKING:
    from spark_scoring.errors import Problem
    from spark_scoring.model.types import ModelType


def decimals_like(label: str) -> list[DecimalType]:
    """Every decimal type that a label of the page speaks of."""
    if label == "decimal with a scale":
        return [DecimalType(p, s) for p in range(1, 39) for s in range(1, p + 1)]
    first, last = label.removeprefix("decimal(").removesuffix(", 0)").split("..")
    return [DecimalType(p, 0) for p in range(int(first), int(last) + 1)]


def test_the_committed_page_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == rendered(page), "it is not: make docs, and look at what changed"


def test_the_page_on_registration_is_current() -> None:
    page = registration_page.PAGE.read_text(encoding="utf-8")
    assert page == registration_page.rendered(page), "it is not: make docs, and look at what changed"


def test_a_table_without_its_marks_is_an_error() -> None:
    page = PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="presets"):
        rendered(page.replace("<!-- made: presets -->", ""))


@pytest.mark.parametrize("label", DECIMALS)
def test_a_decimal_stands_for_all_of_its_label(label: str) -> None:
    targets: list[ModelType] = [*DATA_TYPES, *map(Category, LEVELS.values())]
    for target in targets:
        stands = shown(planned(DECIMALS[label], target))
        assert {shown(planned(type_, target)) for type_ in decimals_like(label)} == {stands}, target


def shown(found: PlannedFeature | Problem) -> tuple[str, str, str | None] | None:
    """What the page says of a conversion; None of one that is refused."""
    return (found.verdict, found.note, found.reason) if isinstance(found, PlannedFeature) else None
