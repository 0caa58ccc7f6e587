"""The door that every model comes through: loading one runs its code.

Its registry and its name are checked before anything is fetched, its digest on the copy that is then loaded
(``model.store``). What an administrator sets for an environment holds for every job of it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from spark_scoring.job_problems import JobError
from spark_scoring.model.errors import ModelError
from spark_scoring.model.uris import is_plain_server, leads_elsewhere, server_of, without_user
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

MODELS = "SPARK_SCORING_ALLOW_MODELS"
"""Patterns of the models that every job of an environment may load, with commas between; not set: all."""
ESTIMATORS = "SPARK_SCORING_ALLOW_ESTIMATORS"
"""Packages and modules that training jobs may take estimators and searches from; not set: all."""
REGISTRIES = "SPARK_SCORING_ALLOW_REGISTRIES"
"""Patterns of tracking servers and registries that a job may name besides the environment's own."""
RESTRICT_SQL = "SPARK_SCORING_RESTRICT_SQL"
"""A switch for every job of an environment: 1 or 0."""
_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Door:
    """What may be loaded.

    Args:
        allow_models: patterns (``fnmatch``) of which one must match the registered name, ``models:/name/version``,
            the URI of a run's or a logged model or of a storage, without its secrets, or the absolute path of a
            folder; None: all. The environment's patterns hold besides.
        expect_digest: what the artifact's digest begins with; None: any.

    """

    allow_models: Sequence[str] | None = None
    expect_digest: str | None = None

    def check_servers(self, uri: str, chosen: Sequence[str | None], own: Sequence[str]) -> None:
        """Refuse a registry that is not the environment's, where patterns hold: names mean nothing in another.

        Args:
            uri: the model's.
            chosen: servers that the job names; None: none.
            own: the environment's.

        """
        patterns, others = patterns_of(MODELS), patterns_of(REGISTRIES)
        if patterns is None and others is None:
            return
        hosts = {f"mlflow-artifacts://{server_of(server)}" for server in own}
        for server in [s for s in chosen if s is not None and s not in own and s not in hosts]:
            plain = is_plain_server(server) and not leads_elsewhere(server)
            if not (plain and any(fnmatchcase(without_user(server), p) for p in others or ())):
                raise ModelError.other_registry(redact(uri), redact(server), REGISTRIES)

    def check_name(self, names: Sequence[str]) -> None:
        """Refuse a model of which no name is allowed; the first one is what errors call it."""
        for origin, patterns in (("allow_models", self.allow_models), (MODELS, patterns_of(MODELS))):
            if patterns is not None and not any(fnmatchcase(name, p) for name in names for p in patterns):
                raise ModelError.not_allowed(names[0], origin, patterns)

    def check_digest(self, name: str, digest: str) -> None:
        """Refuse another artifact than was expected."""
        if self.expect_digest is not None and not digest.startswith(self.expect_digest.lower()):
            raise ModelError.other_digest(name, self.expect_digest, digest)


def patterns_of(variable: str) -> list[str] | None:
    """What an environment's list allows; None where it is not set.

    Raises:
        ModelError: it is set and names nothing.

    """
    text = os.environ.get(variable)
    if text is None:
        return None
    patterns = [p for p in re.split(r"[,\s]+", text) if p]
    if not patterns:
        raise ModelError.no_patterns(variable)
    return patterns


def is_restricted() -> bool:
    """Whether the environment restricts what SQL a job may have, and with it where its parameters come from.

    Raises:
        JobError: the switch is set to something that it does not know.

    """
    text = os.environ.get(RESTRICT_SQL)
    if text is None:
        return False
    if text.strip().lower() not in _SWITCH:
        raise JobError.bad_switch(RESTRICT_SQL, list(_SWITCH))
    return _SWITCH[text.strip().lower()]
