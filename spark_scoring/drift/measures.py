"""How far two counted distributions are apart, and how far they would be by chance alone. Numbers in, numbers out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Numbers = np.ndarray[Any, np.dtype[np.float64]]

FEWEST_ROWS = 50
"""Rows of which ten bins hold five each: with fewer, counts are no distribution (Cochran 1954, Some methods for
strengthening the common chi-squared tests, Biometrics 10: five expected in a bin)."""
_FEWEST_EXPECTED = 5
_FALSE_ALARMS = 0.01
"""The share of runs without drift in which any feature is told to drift, at most, as the formula has it."""


@dataclass(frozen=True)
class Distance:
    """How far two distributions are apart."""

    psi: float
    """Population stability index: 0 where they are equal, without an upper limit."""
    js: float
    """Jensen-Shannon distance, 0 to 1."""
    chance: float
    """The PSI that two samples of one distribution exceed hardly ever, for as many rows and bins."""


def distance(
    expected: Sequence[float], expected_rows: int, counts: Sequence[int], *, features: int = 1
) -> Distance | None:
    """How far counted rows are from expected shares; None where there are too few rows of either to tell.

    Bins in which fewer than five rows are expected, but some, are taken together first.

    Args:
        expected: the share of each bin; they sum to 1.
        expected_rows: rows that these shares were counted in.
        counts: rows in each bin.
        features: features of the run that are measured; the more, the greater the distance that chance explains.

    """
    rows = sum(counts)
    if min(rows, expected_rows) < FEWEST_ROWS:
        return None
    e, c = np.asarray(expected, dtype="float64"), np.asarray(counts, dtype="float64")
    rare = (e > 0) & (e * min(rows, expected_rows) < _FEWEST_EXPECTED)
    if rare.sum() > 1:
        e, c = (np.append(x[~rare], x[rare].sum()) for x in (e, c))
    used = (e > 0) | (c > 0)
    e, c = e[used], c[used]
    return Distance(
        psi=_psi(e * expected_rows, c),
        js=_jensen_shannon(e / e.sum(), c / rows),
        chance=chance_psi(len(e), expected_rows, rows, features=features),
    )


def is_above(limit: float | None, psi: float | None, chance: float | None) -> bool:
    """Whether a PSI is above a limit, and not by chance. Without a limit or a PSI, it is not."""
    return limit is not None and psi is not None and chance is not None and psi > max(limit, chance)


def psi_between(before: Sequence[int], counts: Sequence[int]) -> float | None:
    """The PSI of two counts of the same bins; None where there are too few rows of either to tell."""
    rows = sum(before)
    found = distance([n / rows for n in before], rows, counts) if rows else None
    return None if found is None else found.psi


def _psi(before: Numbers, now: Numbers) -> float:
    """The population stability index of two counts: sum of (q - p) ln(q / p) over the bins, p and q their shares.

    Lewis, An Introduction to Credit Scoring (1994); Siddiqi, Credit Risk Scorecards (2006), with the rule of thumb:
    below 0.1 nothing, from 0.25 on a shift. It is Jeffreys' divergence (1946). Half a row is added to each bin of both,
    as in Haldane's and Anscombe's estimate of log odds (1955, 1956): an empty bin would make it infinite.

    """
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (before, now))
    return float(((q - p) * np.log(q / p)).sum())


def _jensen_shannon(p: Numbers, q: Numbers) -> float:
    """The Jensen-Shannon distance of two lists of shares: the root of the divergence to base 2 (Lin 1991).

    As ``scipy.spatial.distance.jensenshannon(p, q, base=2)``; a distance by Endres and Schindelin (2003).

    """
    middle = (p + q) / 2
    divergence = sum(
        float((x[x > 0] * np.log2(x[x > 0] / middle[x > 0])).sum()) / 2  # 0 log 0 is 0
        for x in (p, q)
    )
    return math.sqrt(min(max(divergence, 0.0), 1.0))


def chance_psi(bins: int, rows_before: int, rows: int, *, features: int = 1) -> float:
    """The PSI that two samples of one distribution exceed with a probability of 1% in one of ``features`` features.

    PSI of small samples is biased upward: of samples of n and m rows in B bins it is distributed as (1/n + 1/m) times
    chi-squared with B - 1 degrees of freedom (Yurdakul, Statistical Properties of Population Stability Index, Western
    Michigan University 2018). The probability is divided among the features (Bonferroni). The quantile of chi-squared
    is Wilson's and Hilferty's (1931): k (1 - 2/(9k) + z sqrt(2/(9k)))^3.

    """
    k = max(bins - 1, 1)
    z = NormalDist().inv_cdf(1 - _FALSE_ALARMS / max(features, 1))
    quantile = k * (1 - 2 / (9 * k) + z * math.sqrt(2 / (9 * k))) ** 3
    return quantile * (1 / rows_before + 1 / rows)
