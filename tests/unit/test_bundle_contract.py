"""Bundles against the typed models of Databricks' ``databricks-bundles``; ``make contract`` installs and runs this.

The models refuse unknown fields and values. What they do not look at, the links between the parts, is ``dangling``'s.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring.bundle import BundleRequest, write_bundle
from tests.bundles import dangling, jobs, read

if TYPE_CHECKING:
    from spark_scoring.bundle.definition import Compute

Job = pytest.importorskip("databricks.bundles.jobs", reason="databricks-bundles is not installed: make contract").Job

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights" / "bundle"
JOB = """\
model: models:/main.ml.delay@champion
source: {{table: main.gold.flights, where: day = :day}}
output: {{table: main.ml.delay_scored}}
incremental: {incremental}
"""


def made(folder: Path, compute: Compute, *, incremental: bool) -> Path:
    (folder / "job.yml").write_text(JOB.format(incremental=str(incremental).lower()), encoding="utf-8")
    request = BundleRequest(
        folder / "job.yml",
        folder / "made",
        compute=compute,
        requires=("lightgbm==4.6.0",),
        params={"day": "2026-11-25"},
    )
    write_bundle(request)
    return folder / "made"


def has_all(read: Any, written: Any) -> bool:
    """Whether the models have kept everything that was written."""
    match written:
        case dict():
            return all(name in read and has_all(read[name], value) for name, value in written.items())
        case list():
            return len(read) == len(written) and all(map(has_all, read, written))
        case _:
            return bool(read == written)


@pytest.mark.parametrize("compute", ["serverless", "job-cluster"])
@pytest.mark.parametrize("incremental", [False, True])
def test_databricks_own_models_take_every_job(tmp_path: Path, compute: Compute, *, incremental: bool) -> None:
    folder = made(tmp_path, compute, incremental=incremental)
    assert dangling(folder) == []
    for job in jobs(read(folder)).values():
        assert has_all(Job.from_dict(job).as_dict(), job)


def test_databricks_own_models_take_the_example() -> None:
    taken = {key: has_all(Job.from_dict(job).as_dict(), job) for key, job in jobs(read(FLIGHTS)).items()}
    assert taken == {"delay_score": True, "delay_training": True}


@pytest.mark.parametrize("compute", ["serverless", "job-cluster"])
def test_databricks_own_models_refuse_what_they_do_not_know(tmp_path: Path, compute: Compute) -> None:
    (job,) = jobs(read(made(tmp_path, compute, incremental=False))).values()
    for path, name in (((), "schedules"), (("tasks", 0), "python_wheel"), (("schedule",), "cron")):
        wrong = copy.deepcopy(job)
        part = wrong
        for step in path:
            part = part[step]
        part[name] = {}
        with pytest.raises(Exception, match=name):
            Job.from_dict(wrong)
