"""What a run writes, as a frame: kept columns, predictions, the row's error and the run's own columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Observation
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.fitting import check_target
from spark_scoring.engine.errors import OutputError
from spark_scoring.engine.stage import score_frame
from spark_scoring.errors import Gathering
from spark_scoring.features.delegate import score_with_client
from spark_scoring.features.join import add_features, schema_with_features
from spark_scoring.plan.outputs import ERROR_COLUMN
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

    from spark_scoring.delta.columns import ColumnChange
    from spark_scoring.delta.target import Target
    from spark_scoring.run.plan import JobPlan


def check_output(plan: JobPlan, target: Target) -> tuple[ColumnChange, ...]:
    """How the columns of an output, or of its quarantine, change; refuse one that cannot take what the run writes.

    Raises:
        OutputError: with every reason.

    """
    is_apart = plan.quarantine is not None and target.ref == plan.quarantine.ref
    error = plan.added[ERROR_COLUMN]
    good = {error: True}
    bad = {**{plan.added[o.name]: True for o in plan.scoring.outputs}, error: False}
    kinds = [*([] if is_apart else [good]), *([bad] if is_apart or plan.bad_rows == "keep" else [])]
    problems = Gathering()
    changes: tuple[ColumnChange, ...] = ()
    with problems.attempt():
        changes = check_target(target, plan.source, _schema_frame(plan), kinds, plan.added["run_id"])
    own = set(plan.source.frame.columns)
    made = {name.lower() for name in (*plan.added.values(), *(kept for kept in plan.keep if kept not in own))}
    for name in target.writing.key:
        with problems.attempt():
            if name.lower() in made:  # rows per key are counted before they are scored
                raise OutputError.key_of_run(name)
    problems.raise_all(OutputError)
    return changes


class Observed:
    """Counts of the values that the policy replaced, made while the rows pass."""

    def __init__(self, run_id: str) -> None:
        self._observation = Observation(f"spark_scoring_{run_id}")
        self._names: list[str] = []

    def watch(self, df: DataFrame, touched: Mapping[str, Column]) -> DataFrame:
        """The frame, whose rows are counted while they are written: where a policy touched a value of a feature."""
        self._names = list(touched)
        if not touched:
            return df
        counts = [F.count(F.when(c, F.lit(1))).alias(f"c{i}") for i, c in enumerate(touched.values())]
        return df.observe(self._observation, *counts)

    def counts(self) -> tuple[tuple[str, int], ...]:
        """After the commit was found: before, asking would block for ever."""
        if not self._names:
            return ()
        found = self._observation.get
        return tuple((name, int(n)) for i, name in enumerate(self._names) if (n := found.get(f"c{i}")))


def written_frame(
    plan: JobPlan, run_id: str, started: float, observed: Observed, *, most_bad: float | None = None
) -> DataFrame:
    """The columns that the run writes: kept, predicted, lineage."""
    frame, lookups, names = plan.source.frame, plan.scoring.lookups, dict(plan.names)
    if plan.client is not None:
        scored = score_with_client(frame, plan.scoring, plan.client, keep=plan.keep, names=names)
    else:
        scored = score_frame(
            frame if lookups is None else add_features(frame, lookups, checked=True),
            plan.scoring,
            stage=plan.stage,
            keep=plan.keep,
            names=names,
            observe=observed.watch,
            show_model_error=plan.show_model_error,
            most_bad=most_bad,
        )
    if plan.bad_rows == "fail":
        scored = _failing(scored, plan.added[ERROR_COLUMN])
    return scored.select("*", *_lineage(plan, run_id, started))


def _failing(scored: DataFrame, error_column: str) -> DataFrame:
    """The frame, which fails in a bad row."""
    error = quote(error_column)
    message = f"concat('spark_scoring: a row cannot be scored (', {error}, '), and bad_rows is fail')"
    guard = F.expr(f"CASE WHEN {error} IS NOT NULL THEN raise_error({message}) END").cast("string")
    return scored.withColumn(error_column, guard)


def written_schema(plan: JobPlan) -> StructType:
    """The columns that the run writes. Runs no job."""
    return _schema_frame(plan).schema


def _schema_frame(plan: JobPlan) -> DataFrame:
    """The columns of ``written_frame`` without a model: planning ships nothing to the workers."""
    kept = [F.col(quote(name)) for name in plan.keep]
    outputs = [F.lit(None).cast(o.type).alias(plan.added[o.name]) for o in plan.scoring.outputs]
    frame, lookups = plan.source.frame, plan.scoring.lookups
    if lookups is not None:
        frame = plan.session.createDataFrame([], schema_with_features(frame, lookups))
    return frame.select(*kept, *outputs, *_lineage(plan, "", 0.0))


def _lineage(plan: JobPlan, run_id: str, started: float) -> list[Column]:
    """Which model made a row, when and in which run."""
    model = plan.scoring.model
    lineage = {
        "model_name": F.lit(model.name or model.uri),
        "model_version": F.lit(model.version).cast("string"),
        "scored_at": F.timestamp_micros(F.lit(int(started * 1e6))),
        "run_id": F.lit(run_id),
    }
    return [column.alias(plan.added[name]) for name, column in lineage.items()]
