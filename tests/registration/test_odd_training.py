"""Random frames and pipelines, registered and scored: equal to the native prediction, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.odd_training import try_models

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.filterwarnings("ignore")
def test_no_registered_model_scores_otherwise_than_where_it_was_trained(spark: SparkSession, registry: str) -> None:
    """Sixty of them, as each takes a second and more; ``python -m tests.odd_training --count 1000`` takes others."""
    trial = try_models(spark, seed=1, count=60, apart=30)
    assert trial.wrong == []
    assert trial.counts["scored"] > 40
    assert trial.counts["refused"] > 2
