"""The files of a bundle as data: ``databricks.yml``, and a job of Databricks for each of our jobs.

The fields are those of ``databricks bundle schema``; the tests hold them against the typed models of
``databricks-bundles``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

Compute = Literal["serverless", "job-cluster"]

PACKAGE = "spark_scoring"
ENTRY_POINT = "spark-scoring"
"""Of the wheel, as its metadata has it."""
MLFLOW = "mlflow>=3.1,<4"
"""As the extra ``local`` has it: runtimes bring an older one, or a part of it."""
FEATURE_CLIENT = "databricks-feature-engineering>=0.8"
"""As the extra ``databricks`` has it."""
_KEY = "default"
_Fields = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A command of ours over a job file, which one job of Databricks runs."""

    key: str
    """Of the resource; its job file is ``jobs/<key>.yml``, its definition ``resources/<key>.yml``."""
    command: Literal["score", "register"]
    description: str
    schedule: str
    """Quartz: seconds, minutes, hours, day of the month, month, day of the week."""
    settings: tuple[str, ...] = ()
    """Of ``--set``."""
    parameters: tuple[tuple[str, str], ...] = ()
    """What the job file leaves open, with its value where a run gives none."""


@dataclass(frozen=True)
class Bundle:
    """A bundle, before it is written."""

    name: str
    compute: Compute
    tasks: tuple[Task, ...]
    requirements: tuple[str, ...]
    """What pip installs; the wheel of this package apart."""
    wheel: str | None
    """File in ``dist/``; None: this package is one of the requirements."""
    volume: str | None
    """The volume's path; None: the bundle needs none."""


def files_of(bundle: Bundle) -> dict[str, _Fields]:
    """The fields of each YAML file, by its path in the bundle."""
    resources = {f"resources/{task.key}.yml": _resource(bundle, task) for task in bundle.tasks}
    return {"databricks.yml": _root(bundle), **resources}


def variable_of(parameter: str) -> str:
    """The bundle's variable for a parameter. The command line of Databricks reads no other form of a name."""
    return f"param_{key_of(parameter)}"


def key_of(name: str) -> str:
    """A name as a resource or a part of a variable may have it: words with one underscore between them."""
    return re.sub(r"[\W_]+", "_", name, flags=re.ASCII).strip("_")


def _root(bundle: Bundle) -> _Fields:
    home = "/Workspace/Users/${workspace.current_user.userName}/.bundle/${bundle.name}/${bundle.target}"
    workspace = {"root_path": home}
    if bundle.wheel is not None:
        workspace["artifact_path"] = "${var.volume}/bundles/${bundle.name}/${bundle.target}"
    return {
        "bundle": {"name": bundle.name},
        "include": ["resources/*.yml"],
        "variables": _variables(bundle),
        "workspace": workspace,
        "targets": {"dev": {"mode": "development", "default": True}, "prod": {"mode": "production"}},
    }


def _variables(bundle: Bundle) -> _Fields:
    variables: _Fields = {}
    if bundle.volume is not None:
        what = "Path of a volume, which must be there: the wheel, and checkpoints of incremental jobs."
        variables["volume"] = _variable(what, bundle.volume)
    for task in bundle.tasks:
        what = f"The job file of {task.key}, as it was deployed; or a copy of it in a volume."
        variables[f"{task.key}_file"] = _variable(what, f"${{workspace.file_path}}/jobs/{task.key}.yml")
        what = f"When {task.key} runs, once it is not paused; a Quartz expression."
        variables[f"{task.key}_schedule"] = _variable(what, task.schedule)
    variables["timezone"] = _variable("Time zone of the schedules.", "UTC")
    variables["pause_status"] = _variable("PAUSED or UNPAUSED, for the schedules.", "PAUSED")
    for task in bundle.tasks:
        for name, default in task.parameters:
            variables[variable_of(name)] = _variable(
                f"What {name} of the job file is where a run does not say.", default
            )
    what = "Who may do what with the jobs: [{group_name: analysts, level: CAN_MANAGE_RUN}]."
    variables["permissions"] = _variable(what, [])
    variables["alert_emails"] = _variable("Addresses that are told of a failed run: [a@example.com].", [])
    variables["alert_webhooks"] = _variable("Notification destinations of a failed run: [{id: ...}].", [])
    return {**variables, **_compute_variables(bundle.compute)}


def _compute_variables(compute: Compute) -> _Fields:
    if compute == "serverless":
        what = "Serverless environment: 5 is the client of Spark 4.1, with Python 3.12."
        return {"environment_version": _variable(what, "5")}
    kind = "i3.xlarge on AWS, Standard_DS3_v2 on Azure, n2-highmem-4 on Google Cloud."
    return {
        "spark_version": _variable("Databricks Runtime.", "17.3.x-scala2.13"),
        "node_type": {"description": f"Machine of the cluster, such as {kind}"},  # without a default: clouds differ
        "workers": _variable("Machines beside the driver's.", 2),
    }


def _variable(description: str, default: object) -> _Fields:
    kind = {"type": "complex"} if isinstance(default, list) else {}
    return {"description": description, **kind, "default": default}


def _resource(bundle: Bundle, task: Task) -> _Fields:
    job: _Fields = {
        "name": task.key,
        "description": task.description,
        "max_concurrent_runs": 1,
        "queue": {"enabled": True},
        "schedule": {
            "quartz_cron_expression": f"${{var.{task.key}_schedule}}",
            "timezone_id": "${var.timezone}",
            "pause_status": "${var.pause_status}",
        },
        "email_notifications": {"on_failure": "${var.alert_emails}"},
        "webhook_notifications": {"on_failure": "${var.alert_webhooks}"},
        "permissions": "${var.permissions}",
    }
    if task.parameters:
        job["parameters"] = [{"name": name, "default": f"${{var.{variable_of(name)}}}"} for name, _ in task.parameters]
    job["tasks"] = [{"task_key": task.command, "python_wheel_task": _wheel_task(task), **_task_compute(bundle)}]
    return {"resources": {"jobs": {task.key: {**job, **_job_compute(bundle)}}}}


def _wheel_task(task: Task) -> _Fields:
    settings = [part for text in task.settings for part in ("--set", text)]
    values = [part for name, _ in task.parameters for part in ("--param", f"{name}={{{{job.parameters.{name}}}}}")]
    arguments = [task.command, f"${{var.{task.key}_file}}", *settings, *values]
    return {"package_name": PACKAGE, "entry_point": ENTRY_POINT, "parameters": arguments}


def _task_compute(bundle: Bundle) -> _Fields:
    if bundle.compute == "serverless":
        return {"environment_key": _KEY}
    wheels = [{"whl": f"../dist/{bundle.wheel}"}] if bundle.wheel is not None else []
    packages = [{"pypi": {"package": text}} for text in bundle.requirements]
    return {"job_cluster_key": _KEY, "libraries": [*wheels, *packages]}


def _job_compute(bundle: Bundle) -> _Fields:
    if bundle.compute == "serverless":
        wheels = [f"../dist/{bundle.wheel}"] if bundle.wheel is not None else []
        spec = {"environment_version": "${var.environment_version}", "dependencies": [*wheels, *bundle.requirements]}
        return {"environments": [{"environment_key": _KEY, "spec": spec}]}
    cluster = {
        "spark_version": "${var.spark_version}",
        "node_type_id": "${var.node_type}",
        "num_workers": "${var.workers}",
        "data_security_mode": "SINGLE_USER",
    }
    return {"job_clusters": [{"job_cluster_key": _KEY, "new_cluster": cluster}]}
