"""Counts of bins -> what has drifted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.drift.measures import distance, is_above, psi_between
from spark_scoring.drift.result import Drift, FeatureDrift

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_scoring.drift.baseline import Baseline, Baselines
    from spark_scoring.drift.measures import Distance
    from spark_scoring.drift.result import Verdict


def measured(
    baselines: Baselines,
    counts: Mapping[str, Sequence[int]],
    *,
    warn: float,
    fail: float | None,
    before: Drift | None = None,
) -> Drift:
    """What the counted rows say of drift. Runs no job.

    Args:
        baselines: what was recorded of training.
        counts: of ``count_bins``.
        warn: the PSI above which a feature is told.
        fail: the PSI above which a run stops.
        before: of the run before; of other bins, it is passed over.

    """
    is_alike = before is not None and before.bins == baselines.fingerprint
    earlier = {f.feature: f.counts for f in before.features} if before is not None and is_alike else {}
    n = len(baselines.features)
    features = []
    for baseline in baselines.features:
        own = counts[baseline.feature]
        found = distance(baseline.shares, baselines.rows, own, features=n)
        features.append(
            _feature(baseline, own, found, _verdict(found, warn, fail), _to_before(own, earlier.get(baseline.feature)))
        )
    features.sort(key=lambda f: (-(f.psi or 0.0), f.feature))
    rows = max((sum(own) for own in counts.values()), default=0)
    return Drift(rows, baselines.rows, warn, fail, baselines.fingerprint, tuple(features), baselines.notes)


def _to_before(counts: Sequence[int], earlier: Sequence[int] | None) -> float | None:
    if earlier is None or len(earlier) != len(counts):
        return None
    return psi_between(earlier, counts)


def _verdict(found: Distance | None, warn: float, fail: float | None) -> Verdict:
    if found is None:
        return "few rows"
    if is_above(fail, found.psi, found.chance):
        return "fail"
    return "warn" if is_above(warn, found.psi, found.chance) else "ok"


def _feature(
    baseline: Baseline, counts: Sequence[int], found: Distance | None, verdict: Verdict, psi_before: float | None
) -> FeatureDrift:
    rows = max(sum(counts), 1)
    bins, nulls, unfit = counts[:-2], counts[-2], counts[-1]
    is_range, is_level = baseline.kind in ("number", "time"), baseline.kind == "level"
    return FeatureDrift(
        feature=baseline.feature,
        kind=baseline.kind,
        verdict=verdict,
        psi=None if found is None else found.psi,
        js=None if found is None else found.js,
        chance=None if found is None else found.chance,
        psi_before=psi_before,
        nulls=nulls / rows,
        nulls_in_training=baseline.shares[-2],
        out_of_range=(bins[0] + bins[-1]) / rows if is_range else None,
        unknown=(unfit + (0 if baseline.is_closed else bins[-1])) / rows if is_level else None,
        unfit=unfit / rows,
        counts=tuple(counts),
    )
