"""What is told of a run elsewhere once it is committed: its page in a folder, and a run of MLflow."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spark_scoring.errors import first_line
from spark_scoring.redact import redact
from spark_scoring.registration.scored import ScoredRun, log_scored_run
from spark_scoring.run.pages import page_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spark_scoring.report.page import RunPage
    from spark_scoring.report.run import RunReport
    from spark_scoring.run.plan import JobPlan


def tell(plan: JobPlan, report: RunReport) -> RunReport:
    """Write the page of a run and log it to MLflow, as far as the job asks for it.

    The run is committed: it does not fail for what goes wrong here. The report's notes tell of it.
    """
    folder, is_tracked = plan.job.report, plan.job.track is not False and not report.skipped
    if report.run_id is None or (folder is None and not is_tracked):
        return report
    notes: list[str] = []
    page = mlflow_run = None
    with _noted(notes, "the page of the run was not made"):
        page = page_of(plan, report)
    if folder is not None and page is not None:
        with _noted(notes, f"the page of the run was not written to {folder}"):
            page.write(folder)
    if is_tracked:
        with _noted(notes, "not all of the run was logged to MLflow"):
            mlflow_run = _logged(plan, report, page)
    return replace(report, notes=(*report.notes, *notes), mlflow_run=mlflow_run)


@contextmanager
def _noted(notes: list[str], what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  the rows are there, and the report tells of it
        notes.append(redact(f"{what}: {type(error).__name__}: {first_line(error)}"))


def _logged(plan: JobPlan, report: RunReport, page: RunPage | None) -> str:
    """The id of the MLflow run."""
    job, model = plan.job, plan.scoring.model
    with tempfile.TemporaryDirectory(prefix="spark-scoring-") as folder:
        (Path(folder) / "plan.json").write_text(json.dumps(plan.to_dict(), indent=2) + "\n", encoding="utf-8")
        (Path(folder) / "plan.html").write_text(plan.to_html(), encoding="utf-8")
        if page is not None:
            page.write(folder)
        scored = ScoredRun(
            name=f"scoring {report.job}",
            run_id=str(report.run_id),
            model_name=model.name,
            model_version=model.version,
            params=_params(plan, report),
            metrics=_metrics(report),
            files=Path(folder),
            scored_at=report.scored_at,
            rows=report.rows_in - report.bad_rows,
            table=report.output,
        )
        experiment = job.track if isinstance(job.track, str) else None
        return log_scored_run(scored, experiment, tracking_uri=job.tracking_uri, registry_uri=job.registry_uri)


def _params(plan: JobPlan, report: RunReport) -> dict[str, object]:
    return {
        "model": plan.scoring.model.uri,
        "model_digest": plan.scoring.model.digest,
        "source": report.source,
        "source_version": report.source_version,
        "where": plan.source.where,
        "output": report.output,
        "output_version": report.output_version,
        "mode": plan.target.writing.mode,
        "engine": plan.scoring.engine,
        "plan_hash": report.plan_hash,
    }


def _metrics(report: RunReport) -> dict[str, float]:
    counts = {name: float(getattr(report, name)) for name in ("rows_in", "rows_out", "bad_rows", "quarantined")}
    found = {**counts, "seconds": report.seconds, "rows_per_second": report.rows_per_second}
    measured = [] if report.drift is None else [f.psi for f in report.drift.features if f.psi is not None]
    if report.drift is not None and measured:
        found |= {"drift_max_psi": max(measured), "drift_features": float(len(report.drift.above(report.drift.warn)))}
    return found
