"""Random frames and pipelines, registered and scored: equal to the native prediction, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.needs import in_short
from tests.odd_training import try_models

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("count", "scored", "refused"), in_short(1, [(10, 5, 0), (60, 40, 2)]))
def test_no_registered_model_scores_otherwise_than_where_it_was_trained(
    spark: SparkSession, registry: str, count: int, scored: int, refused: int
) -> None:
    """Each takes a second and more; ``python -m tests.odd_training --count 1000`` takes others."""
    trial = try_models(spark, seed=1, count=count, apart=count // 2)
    assert trial.wrong == []
    assert trial.counts["scored"] > scored
    assert trial.counts["refused"] > refused
