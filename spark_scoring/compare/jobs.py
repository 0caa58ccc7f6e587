"""Compare two models over a job's rows: score both in one pass, measure, write nothing."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spark_scoring.compare.comparison import Comparison
from spark_scoring.compare.drivers import associations
from spark_scoring.compare.errors import RowsMovedError
from spark_scoring.compare.frames import Names, both_scored, drivers_of
from spark_scoring.compare.labelled import LabelRequest
from spark_scoring.compare.labels import with_labels
from spark_scoring.compare.metrics import label_result
from spark_scoring.compare.planning import plan_comparison
from spark_scoring.compare.result import ModelFacts, OutputResult, SourceFacts
from spark_scoring.compare.swaps import total_effects
from spark_scoring.compare.totals import count_totals, part_result, row_counts
from spark_scoring.delta.failures import explain_failure
from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.source import check_as_planned
from spark_scoring.engine.limit import Deadline
from spark_scoring.engine.progress import watch_rows
from spark_scoring.evaluation.errors import EvaluateError
from spark_scoring.evaluation.joined import check_labels
from spark_scoring.evaluation.request import as_names
from spark_scoring.features.join import check_keys
from spark_scoring.redact import redact
from spark_scoring.report.bad_rows import ReasonCount, count_rows
from spark_scoring.report.measures import rate
from spark_scoring.run.held import held

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

    from spark_scoring.compare.planning import ComparePlan
    from spark_scoring.compare.result import ComparedRows, DriverResult, LabelResult
    from spark_scoring.job import ScoringJob
    from spark_scoring.parameters import Value
    from spark_scoring.plan.scoring_plan import ScoringPlan

_ASKED = 12
"""Features of most association that the models are asked about."""


def compare_job(
    job: ScoringJob | Mapping[str, Any] | str | Path,
    with_model: str,
    spark: SparkSession | None = None,
    *,
    params: Mapping[str, Value] | None = None,
    labels: str | None = None,
    key: str | Sequence[str] = (),
    label: str | None = None,
    task: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Score a job's source with its model and with another one, and measure what changes. Writes nothing.

    Both models score the same rows of the same version of the source, with the job's ``where``, ``columns``, policies
    and ``predict``. Of an incremental job, the whole source is compared, and not only what is new in it.

    Args:
        job: the job, a mapping of its fields, the path of its YAML file, or of a plan that was saved as JSON.
        with_model: the challenger: ``models:/name@alias``, or another URI as a job's ``model``.
        spark: the session; default: the active one, else a new local one.
        params: of a YAML file: the values of ``${DAY}`` in names and ``:day`` in SQL.
        labels: a table of what came true, by name or path, with one row for each key: both models' metrics are told.
        key: the columns, of one name in the source and in ``labels``, by which a row and its label belong together.
        label: the label's column in ``labels``; default: the only one beside the keys. Without ``labels``: a column
            of the source.
        task: of the metrics, as ``evaluate`` takes it; default: as models, types and values tell.
        on_progress: called now and then from another thread with (rows so far, all rows), as told by finished tasks.

    Raises:
        RequestError: with every problem of the source and of either model; no row was read.
        RunError: a model or Spark failed.
        TimeLimitError: it took longer than the job's timeout.

    """
    asked = LabelRequest(labels, as_names(key), label, task)
    return carry_out_comparison(plan_comparison(job, with_model, spark, params=params, labels=asked), on_progress)


def carry_out_comparison(plan: ComparePlan, on_progress: Callable[[int, int], None] | None = None) -> Comparison:
    """Make a planned comparison.

    Raises:
        RunError: a model or Spark failed.
        TimeLimitError: it took longer than the job's timeout.

    """
    run_id, begin = uuid.uuid4().hex, time.perf_counter()
    started = dt.datetime.now(tz=dt.timezone.utc)
    try:
        with Deadline(plan.job.seconds, plan.planned_in).of_spark(plan.session, run_id):
            check_as_planned(plan.source)
            for side in plan.sides:
                if side.lookups is not None:
                    check_keys(plan.source.frame, side.lookups)
            if plan.labels is not None and plan.labels.table is not None:
                check_labels(plan.labels.table, [own for _, own in plan.labels.key], plan.labels.values.label)
            rows, outputs, labelled = _measured(plan, run_id, on_progress)
    except (FeatureTableError, EvaluateError):  # told as they are
        raise
    except Exception as error:
        output = plan.job.output
        explained = explain_failure(error, str(output.table or output.path), plan.source.ref.text)
        if explained is error:
            raise
        raise explained from error
    current, challenger = _facts(plan.current, plan.challenger), _facts(plan.challenger, plan.current)
    seconds = time.perf_counter() - begin
    return Comparison(
        current=current,
        challenger=challenger,
        source=_source(plan),
        rows=rows,
        outputs=outputs,
        compared_at=started.isoformat(),
        seconds=seconds,
        labelled=labelled,
        notes=_notes(plan, labelled),
    )


def _notes(plan: ComparePlan, labelled: LabelResult | None) -> tuple[str, ...]:
    """Of the source, and of the two plans; what both say is told once."""
    of_source = [note for note in (plan.source.ref.note, plan.source.note) if note]
    of_labels = () if labelled is None else labelled.notes
    current, challenger = plan.current.notes, plan.challenger.notes
    both = [note for note in current if note in challenger]
    sides = (("current", current), ("challenger", challenger))
    own = [f"{side}: {note}" for side, notes in sides for note in notes if note not in both]
    return tuple(dict.fromkeys([*of_source, *both, *own, *of_labels]))


def _measured(
    plan: ComparePlan, run_id: str, on_progress: Callable[[int, int], None] | None
) -> tuple[ComparedRows, tuple[OutputResult, ...], LabelResult | None]:
    counted = plan.source.frame.count()
    names, drivers = Names.free(plan), drivers_of(plan)
    with held(both_scored(plan, names, drivers)) as scored:
        with watch_rows(plan.session, run_id, counted, on_progress):
            totals = count_totals(scored, plan.outputs, drivers, names)
        rows = _with_reasons(row_counts(totals), scored, plan, names)
        if rows.rows != counted:
            raise RowsMovedError.differs(plan.source.ref.text, counted, rows.rows)
        parts = [
            [part_result(part, totals, f"{i}_{j}") for j, part in enumerate(output.parts)]
            for i, output in enumerate(plan.outputs)
        ]
        results = with_labels(parts, scored, plan.outputs, names) if rows.both else [tuple(of) for of in parts]
        explained = associations(scored, plan.outputs, drivers, names, totals)
        labelled = None if plan.labels is None else label_result(plan, plan.labels, scored, names)
    is_changed = any(totals[f"changed_{i}"] for i in range(len(plan.outputs)))
    ranked = _ranked(plan, names, explained, rows.rows) if is_changed else explained
    found = [
        OutputResult(
            name=output.name,
            kind=output.kind,
            changed=totals[f"changed_{i}"],
            changed_rate=rate(totals[f"changed_{i}"], rows.both),
            mean_change=totals[f"mean_{i}"],
            parts=results[i],
            drivers=ranked[i],
        )
        for i, output in enumerate(plan.outputs)
    ]
    return rows, tuple(found), labelled


def _with_reasons(rows: ComparedRows, scored: DataFrame, plan: ComparePlan, names: Names) -> ComparedRows:
    """The counts, with the reasons of rows that are bad under one model alone. Runs a job for each model with some."""
    reasons: list[tuple[ReasonCount, ...]] = [(), ()]
    for side, bad in enumerate((rows.bad_current_only, rows.bad_challenger_only)):
        if bad:
            alone = scored.where(scored[names.error(1 - side)].isNull())
            reasons[side] = count_rows(alone, names.error(side), plan.sides[side]).reasons
    return replace(rows, reasons_current_only=reasons[0], reasons_challenger_only=reasons[1])


def _ranked(
    plan: ComparePlan, names: Names, explained: Sequence[tuple[DriverResult, ...]], rows: int
) -> list[tuple[DriverResult, ...]]:
    """The features, those first on which the change depends most; those that were not asked about by association."""
    best = {name: 0.0 for of_output in explained for name in (driver.feature for driver in of_output)}
    for of_output in explained:
        for driver in of_output:
            best[driver.feature] = max(best[driver.feature], driver.association)
    asked = sorted(best, key=lambda name: (-best[name], name))[:_ASKED]
    effects = total_effects(plan, names, asked, rows)
    return [
        tuple(
            sorted(
                (replace(driver, effect=of_output.get(driver.feature)) for driver in drivers),
                key=lambda d: (-1.0 if d.effect is None else d.effect, d.association),
                reverse=True,
            )
        )
        for drivers, of_output in zip(explained, effects, strict=True)
    ]


def _facts(own: ScoringPlan, other: ScoringPlan) -> ModelFacts:
    model = own.model
    others = {feature.name for feature in other.features}
    only = tuple(feature.name for feature in own.features if feature.name not in others)
    return ModelFacts(redact(model.uri), model.name, model.version, model.digest, model.flavor, own.hash, only)


def _source(plan: ComparePlan) -> SourceFacts:
    source = plan.source
    files = None if source.files is None else source.files.digest
    where = None if source.where is None else redact(source.where)
    return SourceFacts(redact(source.ref.text), source.table_id, source.version, files, where, source.state)
