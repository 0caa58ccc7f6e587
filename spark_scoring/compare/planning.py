"""Plan a comparison: two models and one pinned source meet, and whatever is wrong is told at once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.arguments import job_of
from spark_scoring.compare.errors import CompareError
from spark_scoring.compare.labelled import LabelPlan, LabelRequest, pinned_labels, plan_labels
from spark_scoring.compare.outputs import Output, paired_outputs
from spark_scoring.delta.source import PinnedSource, pin_source
from spark_scoring.engine.limit import Deadline
from spark_scoring.errors import Gathering, RequestError
from spark_scoring.model.spec import ModelSpec
from spark_scoring.run.model_plan import frame_for, model_of, plan_model
from spark_scoring.run.saved import read_saved
from spark_scoring.session import get_session, launch_early, unheeded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.errors import Problem
    from spark_scoring.job import ScoringJob
    from spark_scoring.parameters import Value
    from spark_scoring.plan.scoring_plan import ScoringPlan


@dataclass(frozen=True)
class ComparePlan:
    """A comparison that can be made: one pinned source, a plan of each model over it, and what they both return."""

    source: PinnedSource
    current: ScoringPlan
    """Of the job's model."""
    challenger: ScoringPlan
    outputs: tuple[Output, ...]
    job: ScoringJob
    labels: LabelPlan | None = None
    """Where labels were asked for."""
    planned_in: float = 0.0
    """Seconds that planning took."""

    @property
    def session(self) -> SparkSession:
        """The session that its source is read with."""
        return self.source.frame.sparkSession

    @property
    def sides(self) -> tuple[ScoringPlan, ScoringPlan]:
        """The current model's plan, then the challenger's."""
        return self.current, self.challenger


def plan_comparison(
    job: ScoringJob | Mapping[str, Any] | str | Path,
    with_model: str,
    spark: SparkSession | None = None,
    *,
    params: Mapping[str, Value] | None = None,
    labels: LabelRequest | None = None,
) -> ComparePlan:
    """Plan a comparison: pin both models, the source once for both, and the labels. Reads no row, looks at no output.

    Raises:
        RequestError: with every problem of the source and of either model that can be known at once.

    """
    asked = labels or LabelRequest()
    saved = read_saved(job) if isinstance(job, str | Path) else None
    job = job_of(job, spark, params) if saved is None else saved.job
    if job.engine == "databricks":
        raise CompareError.delegated()
    deadline = Deadline(job.seconds)
    if spark is None:
        launch_early(job.warehouse, settings=job.spark)
    job = job.model_copy(update={"explain": False})  # reasons are not compared
    jobs = job, job.model_copy(update={"model": with_model, "expect_digest": None})
    found = [_spec(of_side, deadline) for of_side in jobs]
    spark = spark or get_session(job.warehouse, job.spark)
    with deadline.of_spark(spark, f"compare_{uuid.uuid4().hex}"):
        problems, source = Gathering(), None
        asked.check(problems)
        with problems.attempt():
            unheeded(spark, job.spark)
        with problems.attempt():
            source = pin_source(spark, **job.source.model_dump())
        table = pinned_labels(asked, spark, problems)
        plan = _planned(jobs, found, source, problems, deadline)
        if asked.is_asked:
            classes = plan.current.model.classes
            plan = replace(plan, labels=plan_labels(asked, plan.source, table, plan.outputs, classes, problems))
            problems.raise_all(CompareError)
    return replace(plan, planned_in=deadline.spent)


_Found = tuple[ModelSpec | None, "list[Problem]"]


def _spec(job: ScoringJob, deadline: Deadline) -> _Found:
    """The spec of a job's model, or its problems."""
    problems, spec = Gathering(), None
    with problems.attempt():
        spec = deadline.of_model(partial(model_of, job))
    return spec, problems.problems


def _planned(
    jobs: Sequence[ScoringJob],
    found: Sequence[_Found],
    source: PinnedSource | None,
    problems: Gathering,
    deadline: Deadline,
) -> ComparePlan:
    specs = [spec for spec, _ in found if spec is not None]
    if source is None or len(specs) < len(jobs):
        raise RequestError([*problems.problems, *(p for _, of_side in found for p in of_side)])
    problems.raise_all()
    plans, faults = [], []
    for job, spec in zip(jobs, specs, strict=True):
        of_side = Gathering()
        with of_side.attempt():
            plans.append(_side(_for_one(job, spec, specs), spec, source, deadline, of_side))
        faults.append(of_side.problems)
    if any(faults):
        raise CompareError.of_sides(*faults)
    current, challenger = (plan for plan in plans if plan is not None)
    return ComparePlan(source, current, challenger, paired_outputs(current, challenger), jobs[0])


def _side(
    job: ScoringJob, spec: ModelSpec, source: PinnedSource, deadline: Deadline, problems: Gathering
) -> ScoringPlan | None:
    frame, lookups = frame_for(source.frame, spec)
    plan, _ = plan_model(job, spec, frame, lookups, deadline, problems)
    return plan


def _for_one(job: ScoringJob, spec: ModelSpec, specs: Sequence[ModelSpec]) -> ScoringJob:
    """The job without what it says of features that the other model alone has."""
    own = {feature.name for feature in spec.inputs}
    others = {feature.name for one in specs for feature in one.inputs} - own

    def of_own(said: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in said.items() if name not in others}

    policy = job.policy if isinstance(job.policy, str) else of_own(job.policy)
    said = {"columns": of_own(job.columns), "categories": of_own(job.categories), "policy": policy}
    return job.model_copy(update=said)
