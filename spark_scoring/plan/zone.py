"""Times of a table in a session of another zone than UTC, in which a model is given them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import listed
from spark_scoring.plan.scoring_plan import with_notes
from spark_scoring.times import is_utc

if TYPE_CHECKING:
    from spark_scoring.plan.scoring_plan import PlannedFeature, ScoringPlan
    from spark_scoring.plan.verdicts import Rule

_OF_INSTANTS = ("instant_micros", "instant_text")
"""Conversions of TIMESTAMP, which Spark shows, and gives to pandas, in the session's zone."""


def with_zone_note(plan: ScoringPlan, zone: str) -> ScoringPlan:
    """The plan, which says so where the session shows times otherwise than the model is given them."""
    names = [feature.name for feature in plan.features if _has_instants(feature)]
    if not names or is_utc(zone):
        return plan
    note = (
        f"the model is given the times of {listed(names)} in UTC, and this session shows them in {zone}: a model that "
        "was trained on df.toPandas() saw other hours, one trained on spark_scoring.training_frame(df, ...) did not"
    )
    return with_notes(plan, [note])


def _has_instants(converted: PlannedFeature | Rule) -> bool:
    """Whether instants are converted, perhaps in a list, a map or an object."""
    inside = any(_has_instants(cell.rule) for cell in converted.members)
    return inside or converted.conversion in _OF_INSTANTS
