"""What can be told of a job's file without Spark and without a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.job import ScoringJob
from spark_scoring.job_file import read_fields
from spark_scoring.parsing import can_be_parsed
from spark_scoring.redact import redact
from spark_scoring.run.saved import read_saved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from spark_scoring.parameters import Value


def validate_file(path: Path, overrides: Sequence[str] = (), params: Mapping[str, Value] | None = None) -> list[str]:
    """Read a scoring or a training job, and say in a few lines what was read.

    Raises:
        JobError: with every field that is unknown, missing or wrong.

    """
    fields = read_fields(path, overrides)
    if "estimator" in fields:
        from spark_scoring.registration.training import TrainingJob

        training = TrainingJob.from_file_fields(fields, params or {})
        return [redact(f"{path} is a training job: {training.name} from {training.source.text}")]
    saved = read_saved(path, overrides)
    job = ScoringJob.from_file_fields(fields, params or {}) if saved is None else saved.job
    written = {"source.where": job.source.where, "output.replace_where": job.output.replace_where}
    written |= {f"columns.{feature}": sql for feature, sql in job.columns.items()}
    doubts = [
        f"note: the SQL of {name} does not look right; `spark-scoring plan` asks Spark"
        for name, sql in written.items()
        if sql is not None and not can_be_parsed(sql)
    ]
    kind = "a scoring job" if saved is None else "a saved plan"
    read = f"{path} is {kind}: {job.model} on {job.source.text}, to {job.output.text}"
    rest = f"not looked at: the table's columns and types, and the model; spark-scoring plan {path} does so"
    return [redact(line) for line in (read, *doubts, rest)]
