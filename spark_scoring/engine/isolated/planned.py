"""A model that is read and tried for a plan, with the packages of the session or with its own."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from spark_scoring.engine.isolated.building import environment_of
from spark_scoring.engine.isolated.errors import IsolationError, ModelProcessError
from spark_scoring.engine.isolated.process import process_of
from spark_scoring.engine.process import LONGEST
from spark_scoring.engine.trial import rehearse
from spark_scoring.model.environment import PACK, library_in
from spark_scoring.model.loaded import loaded_model
from spark_scoring.model.reading import lacks_much, raw_part, read_spec
from spark_scoring.model.saved import SavedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spark_scoring.engine.trial_rows import Given
    from spark_scoring.model.environment import Environment
    from spark_scoring.model.loaded import LoadedModel
    from spark_scoring.model.pinned import PinnedModel
    from spark_scoring.model.spec import ModelSpec
    from spark_scoring.plan.rehearsal import Rehearsal


def read_model(pinned: PinnedModel, packages: str) -> ModelSpec:
    """``read_spec`` with the packages of the session, or with the model's own, which are then installed.

    Args:
        pinned: the model.
        packages: ``session``; ``isolated``: its own; ``auto``: its own where the session lacks one of them, or has
            the model's library in another version; or the path of a pack that holds them.

    Raises:
        ModelError: as of ``read_spec``.
        IsolationError: its packages cannot be installed, or it does not load with them.

    """
    if packages == "session":
        return read_spec(pinned)
    part = raw_part(pinned)[1]
    if packages == "auto" and not lacks_much(pinned, part):
        return read_spec(pinned)
    environment = environment_of(pinned.uri, part, packages if packages.endswith(PACK) else None)
    with _in_words_of_plan():
        spec: ModelSpec = process_of(part, environment).ask("spec", pinned, limit=LONGEST)
    return replace(spec, environment=replace(environment, library=library_in(environment.folder, spec.flavor)))


def own_environment(pinned: PinnedModel) -> Environment:
    """What a model's requirements.txt lists, installed; see ``environment_of``."""
    return environment_of(pinned.uri, raw_part(pinned)[1])


def saved_model(spec: ModelSpec) -> LoadedModel | SavedModel:
    """What holds a model's example and statistics: the loaded one, which has read them, or its folder."""
    return loaded_model(spec.copy) if spec.environment is None else SavedModel(spec.path)


def rehearse_model(spec: ModelSpec, given: Given, tell: Callable[[str], None] | None) -> Rehearsal:
    """``rehearse`` where the model is loaded.

    Raises:
        IsolationError: its process ends meanwhile.

    """
    if spec.environment is None:
        return rehearse(loaded_model(spec.copy), given, tell)
    with _in_words_of_plan():
        process = process_of(spec.copy, spec.environment)
        found: Rehearsal = process.ask("rehearse", spec.copy, given, limit=LONGEST, tell=tell)
    return found


@contextmanager
def _in_words_of_plan() -> Iterator[None]:
    """What keeps the process from its work is a fault of the request, as nothing has run yet."""
    try:
        yield
    except ModelProcessError as error:
        raise IsolationError(error.problems) from error
