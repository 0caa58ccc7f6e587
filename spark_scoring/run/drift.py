"""A job's drift: its rows as the model is given them, beside training and the run before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.delta.ledger import kept_runs, read_commits
from spark_scoring.delta.tables import is_delta
from spark_scoring.drift.baseline import baselines_of
from spark_scoring.drift.counts import count_bins
from spark_scoring.drift.errors import DriftError
from spark_scoring.drift.measured import measured
from spark_scoring.drift.result import Drift
from spark_scoring.features.join import add_features

if TYPE_CHECKING:
    from spark_scoring.run.plan import JobPlan

_LOOKED_AT = 20
"""Commits in which the run before is looked for."""


def drift_of_plan(plan: JobPlan) -> Drift | None:
    """What the model would be given of the plan's rows, beside training; None where the job does not ask for it.

    Runs one job that reads the source once, and looks into the output's history. The keys of lookups have to be
    checked.
    """
    settings = plan.job.drift_settings
    if settings is None:
        return None
    baselines = baselines_of(plan.scoring, settings.ignore)
    frame, lookups = plan.source.frame, plan.scoring.lookups
    rows = frame if lookups is None or not baselines.features else add_features(frame, lookups, checked=True)
    counts = count_bins(rows, plan.scoring, baselines.features)
    return measured(
        baselines, counts, warn=settings.warn, fail=settings.fail, before=_before(plan, baselines.fingerprint)
    )


def check_drift(plan: JobPlan, drift: Drift) -> None:
    """Refuse rows that have drifted too far.

    Raises:
        DriftError: names the features that are above the job's limit.

    """
    if drift.above(drift.fail):
        raise DriftError.too_far(plan.source.ref.text, drift)


def _before(plan: JobPlan, bins: str) -> Drift | None:
    """Of the newest run of the output that has counted the same bins and was not taken back."""
    if plan.target.schema is None or not is_delta(plan.session, plan.target.ref):
        return None
    commits = read_commits(plan.session, plan.target.ref, _LOOKED_AT)
    found = (Drift.of_ledger(facts.drift) for _, facts in kept_runs(commits))
    return next((drift for drift in found if drift is not None and drift.bins == bins), None)
