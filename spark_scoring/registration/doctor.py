"""``check_model``: what is wrong with a model, before it is registered or with any that is in a registry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from spark_scoring.errors import RequestError
from spark_scoring.model.registry import resolve_model
from spark_scoring.registration.candidate import prepare_candidate
from spark_scoring.registration.file_findings import file_findings, read_files
from spark_scoring.registration.findings import Diagnosis, Finding, gravest_first
from spark_scoring.registration.loaded_findings import loaded_findings
from spark_scoring.registration.tasks import likely_task

if TYPE_CHECKING:
    from types import ModuleType

    from spark_scoring.engine.process import Where
    from spark_scoring.model.pinned import PinnedModel
    from spark_scoring.registration.file_findings import ModelFiles


def check_model(
    model: Any,
    example: Any = None,
    *,
    task: str | None = None,
    flavor: str | ModuleType | None = None,
    load: bool = True,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    verify: Where = "apart",
) -> Diagnosis:
    """What is wrong with a model: findings with cause and fix, the gravest first.

    Args:
        model: a model URI or folder; or a trained model in memory, with the example that it is to be logged with.
        example: rows as the model was trained on; for a model in memory the frame of training or its head. For a
            URI, default is the example that was saved with the model (whose dtypes are lost, as it is JSON).
        task: what the model is for (see ``register_model``); default for a URI: what its registration recorded.
        flavor: of a model in memory; default: found from its class.
        load: whether to load a model of a URI, which runs its code; without, only its files are read.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings.
        verify: where a model of a URI is rehearsed, as in ``register_model``.

    Raises:
        ModelError: a URI that cannot be found or read.

    """
    if isinstance(model, str | os.PathLike):
        pinned = resolve_model(os.fspath(model), tracking_uri=tracking_uri, registry_uri=registry_uri)
        return _check_pinned(pinned, example, task=task, load=load, where=verify)
    return _check_in_memory(model, example, task=task, flavor=flavor)


def _check_pinned(pinned: PinnedModel, example: Any, *, task: str | None, load: bool, where: Where) -> Diagnosis:
    files = read_files(pinned)
    if example is None:
        example = _saved_example(files)
        given = None
    else:
        given = example
    findings = file_findings(files, given)
    loads = load and files.flavor != "spark"
    if loads:
        is_clear = all(finding.severity != "error" for finding in findings)
        findings += loaded_findings(files, example, task or files.record.get("task"), where, is_clear=is_clear)
    title = f"{pinned.name} version {pinned.version}" if pinned.name else pinned.uri
    return Diagnosis(title, gravest_first(findings), loaded=loads)


def _saved_example(files: ModelFiles) -> Any:
    try:
        return files.mlmodel.load_input_example(files.pinned.path)
    except Exception:  # noqa: BLE001  an example that cannot be read is as none
        return None


def _check_in_memory(model: Any, example: Any, *, task: str | None, flavor: str | ModuleType | None) -> Diagnosis:
    """A model before it is registered: what ``register_model`` would refuse, as findings."""
    findings: list[Finding] = []
    try:
        prepare_candidate(model, example, task=task or likely_task(model), no_outputs=None, flavor=flavor)
    except RequestError as error:
        findings += [Finding(p.code or "not-registrable", p.thing, p.cause, p.fix) for p in error.problems]
    return Diagnosis(f"{type(model).__name__} in memory", gravest_first(findings), loaded=True)
