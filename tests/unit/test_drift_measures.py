"""The measures of drift as numbers: held against scipy, and against chance."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2

from spark_scoring import JobError, ScoringJob
from spark_scoring.drift.baseline import Baseline, Baselines
from spark_scoring.drift.measured import measured
from spark_scoring.drift.measures import chance_psi, distance
from spark_scoring.drift.result import Drift, FeatureDrift
from spark_scoring.registration.record import training_record

_SAMPLES = 200
_TRAINED = 2_000


def sample(kind: str, rows: int, rng: np.random.Generator, *, drifted: bool) -> pd.Series[Any]:
    """A column of a kind; the drifted one is from another distribution."""
    match kind:
        case "normal":
            return pd.Series(rng.normal(float(drifted), 1, rows))
        case "mostly zero":
            return pd.Series(np.where(rng.random(rows) < (0.4 if drifted else 0.7), 0.0, rng.exponential(1, rows)))
        case "count":
            return pd.Series(rng.poisson(4 if drifted else 2, rows))
        case "nulls":
            return pd.Series(np.where(rng.random(rows) < (0.5 if drifted else 0.1), np.nan, rng.normal(0, 1, rows)))
        case "levels":
            weights = 1 / np.arange(1, 31) ** (0.2 if drifted else 1.2)
            return pd.Series(rng.choice([f"l{i}" for i in range(30)], rows, p=weights / weights.sum()))
        case "flag":
            return pd.Series(rng.random(rows) < (0.45 if drifted else 0.05))
        case _:
            return pd.Series(np.where(drifted & (rng.random(rows) < 0.5), 4.0, 3.0))


def recorded(column: pd.Series[Any]) -> dict[str, Any]:
    record = training_record(column.to_frame("c"), task=None, classes=None, categories={})["spark_scoring"]
    found: dict[str, Any] = json.loads(record["statistics"])["c"]
    return found


def binned(statistics: dict[str, Any], column: pd.Series[Any]) -> tuple[list[float], list[int]]:
    """Shares of training, and counts of the column, in the recorded bins; nulls behind them."""
    nulls, present = int(column.isna().sum()), column.dropna()
    if "bounds" in statistics:
        shares = statistics["shares"]
        places = np.digitize(present.to_numpy("float64"), statistics["bounds"], right=True)
        counts = pd.Series(np.bincount(places, minlength=len(shares)))
    else:
        names = [level for level, _ in statistics["levels"]]
        shares = [share for _, share in statistics["levels"]]
        shares.append(max(0.0, 1 - sum(shares)))
        counts = present.value_counts().reindex(names, fill_value=0)
        counts = pd.concat([counts, pd.Series([len(present) - counts.sum()])])
    return [*(s * (1 - statistics["nulls"]) for s in shares), statistics["nulls"]], [*map(int, counts), nulls]


@pytest.mark.parametrize("rows", [pytest.param(100, marks=pytest.mark.long), 1_000])
@pytest.mark.parametrize("kind", ["normal", "mostly zero", "count", "nulls", "levels", "flag", "constant"])
def test_a_sample_of_the_same_rows_does_not_warn_and_one_of_others_does(kind: str, rows: int) -> None:
    rng = np.random.default_rng(1)
    warned = {False: 0, True: 0}
    for i in range(_SAMPLES):
        if i % 20 == 0:
            statistics = recorded(sample(kind, _TRAINED, rng, drifted=False))
        for drifted in warned:
            found = distance(*_beside(statistics, sample(kind, rows, rng, drifted=drifted)), features=20)
            assert found is not None
            warned[drifted] += found.psi > max(0.25, found.chance)
    assert warned[False] <= 1  # one in 2,000 is expected
    assert warned[True] > 0.8 * _SAMPLES


def _beside(statistics: dict[str, Any], column: pd.Series[Any]) -> tuple[list[float], int, list[int]]:
    shares, counts = binned(statistics, column)
    return shares, _TRAINED, counts


def test_without_the_part_of_chance_small_samples_would_warn() -> None:
    rng = np.random.default_rng(2)
    statistics = recorded(sample("normal", _TRAINED, rng, drifted=False))
    found = [distance(*_beside(statistics, sample("normal", 60, rng, drifted=False))) for _ in range(_SAMPLES)]
    assert sum(one is not None and one.psi > 0.25 for one in found) > 5


_COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=12).filter(lambda counts: sum(counts) >= 50)


@given(st.data(), _COUNTS)
def test_the_measures_are_what_others_compute(data: st.DataObject, counts: list[int]) -> None:
    of_training = data.draw(st.lists(st.integers(200, 500), min_size=len(counts), max_size=len(counts)))
    rows = sum(of_training)
    shares = [n / rows for n in of_training]
    found = distance(shares, rows, counts)
    assert found is not None
    pooled = [share * min(rows, sum(counts)) < 5 for share in shares]
    if sum(pooled) > 1:
        return
    assert found.js == pytest.approx(jensenshannon(shares, np.array(counts) / sum(counts), base=2), abs=1e-9)
    p, q = ([(n + 0.5) / (sum(of) + len(of) / 2) for n in of] for of in (of_training, counts))
    assert found.psi == pytest.approx(math.fsum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True)))


@pytest.mark.parametrize("bins", [2, 3, 11, 60])
@pytest.mark.parametrize("features", [1, 200])
def test_chance_is_the_quantile_of_chi_squared(bins: int, features: int) -> None:
    exact = chi2.ppf(1 - 0.01 / features, bins - 1) * (1 / 300 + 1 / 1000)
    assert chance_psi(bins, 300, 1000, features=features) == pytest.approx(exact, rel=0.09)


def test_few_rows_say_nothing() -> None:
    assert distance([0.5, 0.5], 1000, [0, 49]) is None
    assert distance([0.5, 0.5], 49, [0, 1000]) is None
    assert distance([0.5, 0.5], 50, [0, 50]) is not None


def test_bins_of_ties_constants_and_times_tell_their_shares() -> None:
    mostly = recorded(pd.Series([0.0] * 90 + [5.0] * 10))
    assert dict(zip(mostly["bounds"], mostly["shares"], strict=False))[0.0] == 0.9
    assert sum(mostly["shares"]) == pytest.approx(1)
    constant = recorded(pd.Series([7.0] * 30))
    assert (constant["bounds"][1], constant["shares"]) == (7.0, [0.0, 1.0, 0.0])
    times = recorded(pd.Series(pd.date_range("2024-01-01", periods=11, freq="D")))
    assert times["bounds"][-1] == pd.Timestamp("2024-01-11").value / 1000
    assert times["shares"] == pytest.approx([0, 2 / 11, *[1 / 11] * 9, 0])  # the first bin has the first two
    assert recorded(pd.Series([np.nan] * 5)) == {"nulls": 1.0}


@pytest.mark.parametrize(
    ("drift", "cause"),
    [
        ({"warn": 0.3, "fail": 0.2}, "fail is below warn"),
        ({"warn": 0}, "warn"),
        ({"max": 1}, "max"),
        ("yes please", "drift"),
    ],
)
def test_a_wrong_setting_is_refused(drift: Any, cause: str) -> None:
    with pytest.raises(JobError) as caught:
        ScoringJob.from_dict({"model": "m", "source": "s", "output": "o", "drift": drift})
    assert cause in str(caught.value)


def test_the_ledger_gives_back_what_it_was_given_in_short() -> None:
    features = tuple(
        FeatureDrift(f"f{i}", "number", "ok", 0.123456789, 0.1, 0.2, None, 0.0, 0.0, 0.0, None, 0.0, (1, 2, 3))
        for i in range(60)
    )
    drift = Drift(6, 100, 0.25, None, "abc", features, ("a note",))
    back = Drift.of_ledger(drift.for_ledger())
    assert back is not None
    assert (len(back.features), back.left_out, back.notes) == (50, 10, ("a note",))
    assert (back.features[0].psi, back.features[0].unknown, back.features[0].counts) == (0.12346, None, (1, 2, 3))
    assert Drift.of_ledger({"features": [{"of": "another version"}]}) is None
    assert Drift.of_ledger(None) is None


def of_counts(counts: tuple[int, ...], before: Drift | None = None, **limits: float) -> Drift:
    shares = (0.0, *[0.1] * 10, 0.0, 0.0, 0.0)
    baselines = Baselines(2_000, (Baseline("x", "number", shares, tuple(map(float, range(11)))),))
    return measured(baselines, {"x": counts}, warn=0.25, fail=limits.get("fail"), before=before)


def test_a_psi_above_the_limit_is_told_only_if_chance_does_not_explain_it() -> None:
    by_chance = of_counts((0, 10, 10, 9, 8, 7, 6, 4, 3, 2, 1, 0, 0, 0))  # of 60 rows
    (found,) = by_chance.features
    assert found.psi is not None
    assert found.chance is not None
    assert 0.25 < found.psi < found.chance
    assert (found.verdict, by_chance.above(0.25)) == ("ok", ())
    same_shares = of_counts((0, 100, 100, 90, 80, 70, 60, 40, 30, 20, 10, 0, 0, 0), fail=0.26)
    assert (same_shares.features[0].verdict, len(same_shares.above(0.25))) == ("fail", 1)
    assert same_shares.greatest == same_shares.features[0].psi


def test_the_run_before_counts_if_it_has_the_same_bins() -> None:
    first = of_counts((5, *[10] * 10, 5, 80, 0))
    assert (first.features[0].nulls, first.features[0].out_of_range) == (80 / 190, 10 / 190)
    assert first.features[0].psi_before is None
    assert of_counts((5, *[10] * 10, 5, 80, 0), first).features[0].psi_before == pytest.approx(0)
    assert of_counts((5, *[10] * 10, 5, 80, 0), replace(first, bins="other")).features[0].psi_before is None
