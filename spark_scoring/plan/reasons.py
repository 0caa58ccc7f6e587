"""Why a row is bad: the texts of ``scoring_error``, and the feature and code behind each.

A row's text is one ``feature: reason`` or more, between ``; ``. No text holds a value.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SEPARATOR = "; "
MODEL = "model"
"""What is in the place of a feature where the model raised; its reason is the kind of the error."""

_CODES = {
    "null": "null",
    "too large": "too_large",
    "out of range": "out_of_range",
    "not a whole number in range": "not_whole",
    "not 0 or 1": "not_zero_or_one",
    "not a number": "not_a_number",
    "not true or false": "not_a_flag",
    "not a time in range": "not_a_time",
    "a value inside does not fit": "inside",
    "unknown level": "unknown_level",
}
"""Reason of a rule -> its code."""
_SHAPE_CODE = "wrong_shape"
_MODEL_CODE = "model_error"


@dataclass(frozen=True)
class Reason:
    """One reason for which rows are bad."""

    feature: str | None
    """None where the model raised."""
    code: str
    """Such as ``null``, ``unknown_level``, ``model_error``."""
    text: str
    """As ``scoring_error`` has it: the feature, then the cause."""

    @property
    def cause(self) -> str:
        """Without the feature."""
        return self.text if self.feature is None else self.text.removeprefix(reason_text(self.feature, ""))


def reason_text(feature: str, reason: str) -> str:
    """``seats: null``; a name that holds a separator is written as a JSON string without it."""
    if ";" in feature or feature.startswith('"'):
        feature = json.dumps(feature, ensure_ascii=False).replace(";", "\\u003b")
    return f"{feature}: {reason}"


def code_of(reason: str) -> str:
    """The code of a rule's reason."""
    return _CODES.get(reason, _SHAPE_CODE)


def check_reasons(features: Iterable[tuple[str, str | None]]) -> dict[str, Reason]:
    """Every reason that a plan's checks can give, by its text; of features with what a wrong value is called."""
    found = {}
    for feature, invalid in features:
        for reason in ("null", invalid):
            if reason is not None:
                text = reason_text(feature, reason)
                found[text] = Reason(feature, code_of(reason), text)
    return found


def model_reason(text: str) -> Reason:
    """The reason of a row on which the model raised."""
    return Reason(None, _MODEL_CODE, text)
