"""Codes of reasons: a short code for each feature, such as a bank has to give with a refusal."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from spark_scoring.errors import PlanError, Problem, listed, near_fix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLUMNS = ("feature", "code")


def codes_of(given: Mapping[str, str] | str, labels: Sequence[str]) -> tuple[str | None, ...]:
    """The code of each feature, None where it has none.

    Args:
        given: a code for each feature; or the path of a CSV file in UTF-8 with the columns ``feature`` and ``code``. A
            file may be of several models: its other features are skipped.
        labels: the model's features, as contributions name them.

    Raises:
        PlanError: the file cannot be read as one of codes, has two for a feature, or none for all; or a feature that
            was named in the job is not one of the model's.

    """
    codes = _read(given) if isinstance(given, str) else given
    unknown = [] if isinstance(given, str) else [name for name in codes if name not in labels]
    if unknown or not any(label in codes for label in labels):
        raise PlanError([_unknown(name, labels) for name in unknown] or [_of_none(labels)])
    return tuple(codes.get(label) for label in labels)


def _read(path: str) -> dict[str, str]:
    thing = f"explain.codes {path}"
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # as Excel writes it
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not a text in UTF-8"
        raise PlanError([Problem(thing, f"{cause}", "give a CSV file with the columns feature and code")]) from error
    head = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=";" if ";" in head and "," not in head else ",")
    if lacking := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
        raise PlanError([Problem(thing, f"it has no column {listed(lacking)}", "begin it with the line feature,code")])
    codes: dict[str, str] = {}
    for row in rows:
        feature, code = row["feature"], row["code"]
        if not feature or not code:
            cause, fix = f"its line {rows.line_num} has no feature or no code", "complete the line, or take it out"
            raise PlanError([Problem(thing, cause, fix)])
        if codes.setdefault(feature, code) != code:
            cause = f"its line {rows.line_num} has another code for a feature that has one"
            raise PlanError([Problem(thing, cause, "leave one of the two out")])
    return codes


def _unknown(name: str, labels: Sequence[str]) -> Problem:
    fix = near_fix(name, labels, what="features") or "leave it out"
    return Problem(f"explain.codes: {name}", "the model has no such feature", fix)


def _of_none(labels: Sequence[str]) -> Problem:
    return Problem("explain.codes", "there is none for any of the model's features", f"features: {listed(labels)}")
