"""A job that tells why each row got its prediction: beside the predictions, in the quarantine, and as another run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spark_scoring import JobError, run_page
from tests.models import in_order, save_line
from tests.place import BAD, GOOD, Place

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


def test_reasons_are_written_beside_predictions(spark: SparkSession, tmp_path: Path) -> None:
    place = Place(spark, save_line(str(tmp_path / "model"), native=True), tmp_path, BAD)
    merged = {"mode": "merge", "key": "id", "names": {"contributions": "why"}}
    report = place.run(merged, explain={"top": 1}, bad_rows="quarantine")
    rows = in_order(spark.read.format("delta").load(place.output))
    assert [row["id"] for row in rows] == GOOD
    for row in rows:
        x, n = float(row["id"]), row["id"] % 3  # the model is 2 x + n
        largest = ("x", 2 * x) if 2 * x >= n else ("n", n)
        assert [(one["feature"], one["contribution"]) for one in row["why"]] == (
            [(largest[0], pytest.approx(largest[1]))] if largest[1] else []
        )
        assert row["raw_score"] == pytest.approx(row["prediction"])
        assert row["base_score"] == pytest.approx(0.0, abs=1e-9)
    (bad,) = {
        (row["why"], row["raw_score"])
        for row in spark.read.format("delta").load(f"{place.output}_quarantine").collect()
    }
    assert bad == (None, None)
    assert [part.name for part in run_page(place.output, spark=spark).predictions][:1] == ["prediction"]
    again = place.run(merged, explain={"top": 1}, bad_rows="quarantine")
    assert (again.skipped, again.run_id) == (True, report.run_id)
    assert not place.run(merged, explain=2, bad_rows="quarantine").skipped
    some = place.run(merged, explain={"top": 2, "only_if": "prediction > 10"}, bad_rows="quarantine")
    assert not some.skipped
    rows = in_order(spark.read.format("delta").load(place.output))
    assert [row["id"] for row in rows if row["why"] is not None] == [i for i in GOOD if 2 * i + i % 3 > 10]
    with pytest.raises(JobError, match="a feature client scores"):
        place.job(explain=True, engine="databricks")
    with pytest.raises(JobError, match="not a number from 1 to 100"):
        place.job(explain=0)
