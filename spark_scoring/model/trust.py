"""Which models may be loaded: loading one runs its code."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from spark_scoring.errors import ModelError
from spark_scoring.model.uris import is_asked_of_mlflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_scoring.model.registry import PinnedModel

VARIABLE = "SPARK_SCORING_ALLOW_MODELS"
"""Patterns for every job of an environment, with commas between; not set or empty: no restriction."""


def check_trust(model: PinnedModel, *, allow_models: Sequence[str] | None, expect_digest: str | None) -> None:
    """Refuse a model before its code runs.

    Args:
        model: as it was pinned; nothing of it has been loaded.
        allow_models: patterns (``fnmatch``) of which one must match the registered name, ``models:/name/version``,
            the URI of a run's or a logged model or of a storage, without its secrets, or the absolute path of a
            folder; None: all. The environment's patterns hold besides.
        expect_digest: what the artifact's digest begins with; None: any.

    Raises:
        ModelError: it is not among those allowed, or another artifact than expected.

    """
    for origin, patterns in (("allow_models", allow_models), (VARIABLE, _of_environment())):
        if patterns is not None and not any(fnmatchcase(name, p) for name in _names(model) for p in patterns):
            raise ModelError.not_allowed(_names(model)[0], origin, patterns)
    if expect_digest is not None and not model.digest.startswith(expect_digest.lower()):
        raise ModelError.other_digest(_names(model)[0], expect_digest, model.digest)


def _of_environment() -> list[str] | None:
    patterns = [p for p in re.split(r"[,\s]+", os.environ.get(VARIABLE, "")) if p]
    return patterns or None


def _names(model: PinnedModel) -> list[str]:
    """What a pattern may match; a folder only by where it really is, whatever its URI looks like."""
    if model.name is not None:
        return [model.name, f"models:/{model.name}/{model.version}"]
    if is_asked_of_mlflow(model.uri):
        return [model.uri]
    return [str(Path(model.path).resolve())]
