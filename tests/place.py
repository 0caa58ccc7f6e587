"""A source and an output of a test's own, and runs between them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring import ScoringJob, run_job
from tests.models import line_rows

if TYPE_CHECKING:
    from collections.abc import Collection

    from pyspark.sql import SparkSession

    from spark_scoring import RunReport

ROWS = 12
BAD = {3, 7}
GOOD = [i for i in range(ROWS) if i not in BAD]


class Place:
    """Folders of a source table with ``ROWS`` rows for a model of ``save_line``, and of its output.

    ``rehearse=False`` is for models that write down what they are called with.
    """

    def __init__(
        self, spark: SparkSession, model: str, folder: Path, bad: Collection[int] = BAD, *, rehearse: bool = True
    ) -> None:
        self.spark, self.model, self.folder, self.rehearse = spark, model, folder, rehearse
        self.source, self.output = str(folder / "in"), str(folder / "out")
        shutil.copytree(_rows(spark, bad), self.source)

    def job(self, output: dict[str, Any] | None = None, **fields: Any) -> ScoringJob:
        place = {"path": self.output, "keep": ["id", "note"], **(output or {})}
        source = {"path": self.source, **fields.pop("source", {})}
        return ScoringJob.from_dict(
            {"model": self.model, "source": source, "output": place, "rehearse": self.rehearse, **fields}
        )

    def run(self, output: dict[str, Any] | None = None, **fields: Any) -> RunReport:
        return run_job(self.job(output, **fields), self.spark)

    def sql(self, statement: str) -> None:
        self.spark.sql(statement.format(out=f"delta.`{self.output}`"))

    def partition(self, column: str) -> None:
        """Divide the output by a column."""
        rows = self.spark.read.format("delta").load(self.output).write.format("delta").mode("overwrite")
        rows.partitionBy(column).option("overwriteSchema", "true").save(self.output)

    def ids(self, suffix: str = "") -> list[int]:
        return sorted(row["id"] for row in self.spark.read.format("delta").load(self.output + suffix).collect())

    def versions(self, suffix: str = "") -> int:
        return len(list(Path(self.output + suffix, "_delta_log").glob("*.json")))


def _rows(spark: SparkSession, bad: Collection[int]) -> Path:
    """A Delta table of the rows, which a session writes once: its folder may be copied to any place."""
    warehouse = str(spark.conf.get("spark.sql.warehouse.dir")).removeprefix("file:")
    folder = Path(f"{warehouse}_places", "-".join(map(str, sorted(bad))) or "clean")
    if not folder.exists():
        line_rows(spark, range(ROWS), bad).write.format("delta").save(str(folder))
    return folder
