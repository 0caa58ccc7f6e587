"""What happens to a null, to a value that does not fit, and to a column that is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from spark_scoring.model.types import ModelType

Scalar = float | int | bool | str
Preset = Literal["strict", "lenient"]


@dataclass(frozen=True)
class Fill:
    """Put this value in place; None is the model's own missing value (NaN, None, NaT, no level)."""

    value: Scalar | None


NullAction = Literal["keep", "bad_row", "fail"] | Fill
InvalidAction = Literal["bad_row", "missing", "fail"] | Fill


@dataclass(frozen=True)
class FeaturePolicy:
    """The choices for one feature; None is the preset's choice for the feature's type.

    A NaN of a FLOAT or DOUBLE column counts as a null: a float lane cannot tell them apart, nor can pandas.
    ``invalid`` is also for levels that training has not seen; ``missing`` is short for ``Fill(None)``.
    """

    preset: Preset | None = None
    """None is the preset of all others (``"*"``), which is strict unless it is said to be lenient."""
    nulls: NullAction | None = None
    invalid: InvalidAction | None = None
    absent: Fill | None = None


@dataclass(frozen=True)
class Policy:
    """One preset for all features, and the features that differ."""

    default: FeaturePolicy = FeaturePolicy()
    features: tuple[tuple[str, FeaturePolicy], ...] = ()

    @classmethod
    def of(cls, policy: Policy | Preset | Mapping[str, FeaturePolicy]) -> Policy:
        """A policy from its short forms: a preset's name, or a mapping per feature (``"*"``: all others)."""
        if isinstance(policy, Policy):
            return policy
        if isinstance(policy, str):
            return cls(FeaturePolicy(preset=policy))
        rest = {name: choice for name, choice in policy.items() if name != "*"}
        return cls(policy.get("*", FeaturePolicy()), tuple(sorted(rest.items(), key=lambda item: item[0])))

    @property
    def is_strict(self) -> bool:
        """Whether the preset of all features without their own is the strict one."""
        return self.default.preset != "lenient"

    def for_feature(self, name: str) -> FeaturePolicy:
        """The feature's own choice, else the default one; with a preset in any case."""
        choice = dict(self.features).get(name, self.default)
        return replace(choice, preset=choice.preset or self.default.preset or "strict")


PolicyLike: TypeAlias = Policy | Preset | Mapping[str, FeaturePolicy | Preset | Mapping[str, Any]]
"""A policy in its forms: with mappings, as a job file has it, or with ``FeaturePolicy``."""


@dataclass(frozen=True)
class Handling:
    """A feature's policy with every choice made."""

    nulls: NullAction
    invalid: Literal["bad_row", "fail"] | Fill
    absent: Fill | None


_ZERO: dict[str, Scalar] = {"double": 0.0, "float": 0.0, "long": 0, "integer": 0, "boolean": False}
_MISSING = Fill(None)


def settle(choice: FeaturePolicy, type_: ModelType, *, nullable: bool) -> Handling:
    """The preset's choices for the type, where the feature's policy names none.

    strict: a null stays one where the feature can hold it and makes a bad row where it cannot; a value that does
    not fit makes a bad row; a missing column is refused. lenient: missing columns, nulls and values that do not
    fit become 0, 0.0 or false; features that can hold a null and have no zero take it instead; the others (lists
    and the like) are as under strict.

    Args:
        choice: what the policy says of the feature.
        type_: the model's type.
        nullable: whether the feature can hold a null.

    """
    zero = Fill(_ZERO[type_]) if isinstance(type_, str) and type_ in _ZERO else None
    stand_in = zero or (_MISSING if nullable else None)
    if choice.preset == "lenient" and stand_in is not None:
        nulls: NullAction = zero or "keep"
        invalid: InvalidAction = stand_in
        absent: Fill | None = stand_in
    else:
        nulls = "keep" if nullable else "bad_row"
        invalid = "bad_row"
        absent = None
    chosen = invalid if choice.invalid is None else choice.invalid
    return Handling(
        nulls=nulls if choice.nulls is None else choice.nulls,
        invalid=_MISSING if chosen == "missing" else chosen,
        absent=absent if choice.absent is None else choice.absent,
    )
