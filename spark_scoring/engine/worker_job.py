"""What travels to the workers: where the model is, and what they need to know of the plan."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zipimport import zipimporter

from spark_scoring.engine.inputs import WorkerPlan
from spark_scoring.engine.model_log import told_texts
from spark_scoring.engine.shipping import ModelPlace, place_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.accumulators import Accumulator
    from pyspark.sql import SparkSession

    from spark_scoring.engine.columns import Lane
    from spark_scoring.engine.isolated.process import IsolatedScorer
    from spark_scoring.engine.worker import Scorer
    from spark_scoring.plan.scoring_plan import ScoringPlan


@dataclass(frozen=True)
class WorkerJob:
    """What travels to the workers."""

    place: ModelPlace
    plan: WorkerPlan
    flavor: str
    differences: tuple[str, ...] = ()
    """What the plan says that the model requires and the driver does not have."""
    show_model_error: bool = False
    told: Accumulator[str] | None = None
    """Takes the model's first traceback to the driver; None where there is no way for it."""

    def scorer(self) -> Scorer | IsolatedScorer:
        """For the batches of one task."""
        is_new = not self.place.is_loaded()
        tell = self._tell if self.show_model_error else None
        scorer = self.place.scorer(self.flavor, self.differences, self.plan, tell)
        _ease_next_task(is_new=is_new and self.place.is_loaded())
        return scorer

    def _tell(self, text: str) -> None:
        if self.told is not None:
            self.told.add(text)
        else:
            sys.stderr.write(text)


def _ease_next_task(*, is_new: bool) -> None:
    """Keep two chores of Spark's between the tasks of a worker short: half a second of CPU for each on a slow machine.

    Spark collects garbage: it need not look at the libraries and the model. It has Python look again at all importers
    in its cache, for which Python before 3.12 reads the directory of each archive, 5,000 entries in Spark's own jar:
    the importers of archives that do not change leave the cache, and come back when one is needed.

    Args:
        is_new: whether this task has loaded the model.

    """
    for path, importer in list(sys.path_importer_cache.items()):
        if isinstance(importer, zipimporter) and importer.archive.endswith((".jar", "/pyspark.zip")):
            del sys.path_importer_cache[path]
    if is_new:
        gc.unfreeze()  # what earlier models have left
        gc.collect()
        gc.freeze()


def worker_job(
    spark: SparkSession, plan: ScoringPlan, lanes: Sequence[Lane], most_bad: float | None, *, show_model_error: bool
) -> WorkerJob:
    """What travels for a plan. Sends the model's copy to executors that have none."""
    place = place_model(spark, plan.model.copy, plan.model.environment)
    told = told_texts(spark) if show_model_error else None
    known = replace(worker_plan(plan, lanes), most_bad=most_bad)
    accepted = tuple(str(difference) for difference in plan.model.differences)
    return WorkerJob(place, known, plan.model.flavor, accepted, show_model_error, told)


def worker_plan(plan: ScoringPlan, lanes: Sequence[Lane]) -> WorkerPlan:
    """What the workers need of a plan whose features travel in these lanes."""
    return WorkerPlan(
        features=tuple((f.name, f.type) for f in plan.features),
        lanes=tuple((lane.type, lane.features, lane.packed) for lane in lanes),
        returns=plan.returns,
        takes=plan.model.takes,
        params=plan.params,
        missing=tuple((f.name, f.missing) for f in plan.features if f.missing != "None"),
        labels=plan.model.labels,
        proven=plan.proven,
    )
