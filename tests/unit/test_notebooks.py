"""What a notebook shows of results: HTML in which names are text, a short repr, and ``print`` for reading."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring.delta.names import TableRef
from spark_scoring.delta.source import PinnedSource
from spark_scoring.delta.target import Target, Writing
from spark_scoring.job import ScoringJob
from spark_scoring.plan.explain import plan_html
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import Policy
from spark_scoring.plan.request import Request
from spark_scoring.registration.findings import Diagnosis, Finding
from spark_scoring.registration.register import RegisteredModel
from spark_scoring.report.bad_rows import ReasonCount
from spark_scoring.report.run import RunReport
from spark_scoring.run.history import RunHistory, RunRecord
from spark_scoring.run.plan import JobPlan
from spark_scoring.screen import SafeConsole, as_text
from tests.unit.test_explain import HOSTILE, MODEL, SCHEMA, Seen

if TYPE_CHECKING:
    from spark_scoring.plan.scoring_plan import ScoringPlan

ESCAPE = "\x1b]0;title\x07"
FINDING = Finding("unpinned", f"model {HOSTILE}", f"a cause {HOSTILE}", "a fix", ESCAPE)


def scoring_plan() -> ScoringPlan:
    return make_plan(MODEL, SCHEMA, Request(policy=Policy.of("lenient")))


def job_plan() -> JobPlan:
    frame: Any = None  # never looked at
    source = PinnedSource(TableRef(HOSTILE, ""), None, 3, f"a <> '{HOSTILE}'", frame, frame)
    target = Target(TableRef("out", ""), Writing("append"), None, None, None)
    job = ScoringJob.from_dict({"model": HOSTILE, "source": {"table": "a"}, "output": {"table": "out"}})
    return JobPlan(scoring_plan(), source, target, None, ("id", HOSTILE), (), "udf", job)


def report() -> RunReport:
    return RunReport(
        run_id="7f65c68b",
        skipped=False,
        job="job",
        model=HOSTILE,
        model_version="3",
        plan_hash="h",
        source=HOSTILE,
        source_state=ESCAPE,
        source_version=3,
        output="out",
        output_version=4,
        output_location="/out",
        rows_in=1000,
        rows_out=999,
        bad_rows=1,
        quarantine="bad",
        quarantined=1,
        reasons=(ReasonCount("price", "code", HOSTILE, 1),),
        changes=None,
        touched=(),
        scored_at="2026-11-25T10:00:00+00:00",
        seconds=1.0,
    )


def registered() -> RegisteredModel:
    return RegisteredModel(
        name="main.ml.delay",
        version="3",
        run_id="r",
        run_name=HOSTILE,
        model_id=None,
        flavor="lightgbm",
        algorithm="LGBMClassifier",
        task=None,
        inputs=(HOSTILE,),
        outputs=(ESCAPE,),
        aliases=(("champion", "3"),),
        metrics=(("auc", 0.7),),
        verified="10 rows",
        notes=(),
    )


def history() -> RunHistory:
    record = RunRecord(
        run_id="7f65c68b",
        version=4,
        committed="2026-11-25T10:00:00+00:00",
        seconds=1.0,
        user=HOSTILE,
        job=ESCAPE,
        mode="append",
        model="m",
        model_version="3",
        source="in",
        source_version=3,
        rows_in=1000,
        rows_written=999,
        quarantined=1,
        rolled_back=True,
    )
    return RunHistory([record])


SHOWN = {
    "plan": (scoring_plan, "<ScoringPlan "),
    "job": (job_plan, "<JobPlan "),
    "report": (report, "<RunReport 7f65c68b: scored, 1,000 in, 999 out, 1 quarantined (0.1%), to out version 4>"),
    "registered": (registered, "<RegisteredModel models:/main.ml.delay/3 (lightgbm, LGBMClassifier)>"),
    "diagnosis": (lambda: Diagnosis("it", (FINDING,), loaded=True), "<Diagnosis of it: 1 warning>"),
    "finding": (lambda: FINDING, "<Finding unpinned (warning) of model "),
    "history": (history, "<RunHistory of 1 run>"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_shows_names_as_text(name: str) -> None:
    make, _ = SHOWN[name]
    page = make()._repr_html_()
    seen = Seen(page)
    assert seen.open == []
    assert "script" not in seen.tags
    assert {"html", "body", "link", "img"}.isdisjoint(seen.tags)
    assert name == "plan" or HOSTILE in seen.text
    assert not {"\x1b", "\x07"} & set(page)


@pytest.mark.parametrize("name", SHOWN)
def test_a_repr_is_a_short_line(name: str) -> None:
    make, begins = SHOWN[name]
    text = repr(make())
    assert text.startswith(begins)
    assert "\n" not in text
    assert len(text) < 200


@pytest.mark.parametrize("name", ["plan", "job", "diagnosis"])
def test_what_is_printed_is_what_is_explained(name: str) -> None:
    shown: Any = SHOWN[name][0]()
    assert str(shown) == shown.explain()


def test_a_history_is_a_list() -> None:
    records = history()
    assert [record.version for record in records] == [4]
    assert "7f65c68b" in str(records)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_history_shows_on_any_terminal_what_rollback_takes_of_a_run(width: int) -> None:
    console = SafeConsole(file=io.StringIO(), width=width, record=True)
    console.print(history().view())
    assert history()[0].run_id[:8] in console.export_text()


def test_places_of_a_job_are_in_its_fragment() -> None:
    page = plan_html(scoring_plan(), {"source": "main.flights at version 0"})
    assert page.startswith('<section class="scoring-plan">')
    assert "<dt>source</dt><dd>main.flights at version 0</dd>" in page


def test_in_a_notebook_a_text_is_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = type("ZMQInteractiveShell", (), {})  # rich asks for its name, and would show all below the cell
    monkeypatch.setattr("builtins.get_ipython", kernel, raising=False)
    assert "a cause" in str(FINDING)
    assert "7f65c68b" in as_text(report().view())
