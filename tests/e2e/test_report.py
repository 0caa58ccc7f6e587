"""The page of a run: what its table's history and rows tell, held against the rows; safe to open with any names."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spark_scoring import HistoryError, JobError, RunPage, run_history, run_page
from spark_scoring.cli import main
from spark_scoring.report.predictions import describe_predictions
from tests.models import line_rows
from tests.place import ROWS

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from tests.place import Place


_VOID = ("meta", "input", "br")


class Tags(HTMLParser):
    """The elements of a page, with what they would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.loads: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.loads += [(k, v) for k, v in attrs if k in ("src", "href", "action") and not str(v).startswith("#")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)


def in_full(place: Place, run_id: str | None = None) -> RunPage:
    return run_page(place.output, run_id, place.spark)


def more_rows(place: Place, ids: range) -> None:
    line_rows(place.spark, ids).write.format("delta").mode("overwrite").save(place.source)


def test_a_page_tells_what_the_rows_are(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = place.run(name="<script>alert(1)</script>", report=str(tmp_path / "pages" / "new"))
    more_rows(place, range(100, 400))
    second = place.run({"names": {"prediction": "<b>minutes"}, "path": place.output, "evolve": True}, name="more")
    page = in_full(place)
    assert (page.run_id, page.rows_in, page.rows_scored, page.bad_rows) == (second.run_id, 300, 300, 0)
    assert [run.run_id for run in page.runs] == [second.run_id, first.run_id]
    assert [run.seconds for run in page.runs] == [run.seconds for run in run_history(place.output, place.spark)]
    for run, told in ((first, in_full(place, first.run_id)), (second, page)):
        assert (run.seconds, run.rows_per_second) == (told.seconds, told.rows_per_second)
    (prediction,) = page.predictions
    rows = place.spark.read.format("delta").load(place.output).where(f"run_id = '{second.run_id}'").toPandas()
    values = np.sort(rows["<b>minutes"].to_numpy())
    assert prediction.deciles == tuple(np.quantile(values, np.arange(1, 10) / 10, method="inverted_cdf"))
    assert (prediction.name, prediction.mean) == ("prediction", pytest.approx(values.mean()))
    assert not {values[0], values[-1]} & set(prediction.deciles)
    with pytest.raises(SystemExit) as end:
        main(["report", place.output, str(first.run_id)[:8], "--to", str(tmp_path / "pages")])
    assert (end.value.code, capsys.readouterr().out.count("wrote ")) == (0, 2)
    written = {
        file.suffix: file.read_text(encoding="utf-8") for file in (tmp_path / "pages").iterdir() if file.is_file()
    }
    earlier = json.loads(written[".json"])
    assert (earlier["run_id"], earlier["rows_in"], earlier["bad_rows"]) == (first.run_id, ROWS, 2)
    assert [(reason["text"], reason["rows"]) for reason in earlier["reasons"]] == [("n: null", 2)]
    assert earlier["predictions"][0]["deciles"] == []  # of so few rows
    assert earlier["model"]["digest"] == page.model.digest
    _is_safe(written[".html"])
    assert "Quantiles are approximate." in page.to_html()
    (with_plan,) = (tmp_path / "pages" / "new").glob("*.html")
    text = with_plan.read_text(encoding="utf-8")
    _is_safe(text)
    assert "&lt;script&gt;alert(1)" in text
    assert 'class="scoring-plan"' in text
    assert 'class="scoring-plan"' not in written[".html"]
    assert json.loads(next((tmp_path / "pages" / "new").glob("*.json")).read_text())["plan"]["keep"] == ["id", "note"]


def _is_safe(page: str) -> None:
    tags = Tags(page)
    assert {"script", "img", "iframe", "link", "b", "form"}.isdisjoint(tags.names)
    assert (tags.loads, tags.open) == ([], [])
    assert "default-src 'none'" in page
    assert re.findall(r"@import|url\(", page) == []
    assert page.count("<svg") <= page.count('aria-hidden="true" focusable="false"') + page.count('role="img"')


def test_a_page_of_no_run_is_refused_and_one_that_cannot_be_written_is_told(place: Place, tmp_path: Path) -> None:
    with pytest.raises(HistoryError):
        in_full(place)
    (tmp_path / "file").write_text("", encoding="utf-8")
    report = place.run(report=str(tmp_path / "file" / "pages"))
    assert report.rows_out == ROWS
    assert "the page of the run was not written" in report.notes[0]
    assert "was not written" in str(report)
    with pytest.raises(HistoryError, match="0000"):
        in_full(place, "0000")
    with pytest.raises(JobError, match="it is a URI"):
        place.job(report="s3://bucket/pages")


@pytest.mark.parametrize("kind", ["labels", "whole numbers", "lists"])
def test_labels_are_counted_and_rare_ones_folded(kind: str, spark: SparkSession) -> None:
    made: dict[str, tuple[str, Any]] = {
        "labels": ("if(id < 150, 'late', if(id < 170, 'early', concat('rare ', id)))", ["late", "early"]),
        "whole numbers": ("if(id < 150, 1, if(id < 190, 0, 2))", ["1", "0"]),
        "lists": ("array(id / 200D, double('NaN'))", []),
    }
    sql, labels = made[kind]
    rows = spark.range(200).selectExpr(f"{sql} AS `odd``name`")
    found = describe_predictions(rows, rows.where("false"), {"prediction": "odd`name", "gone": "gone"})
    (part,) = found
    assert [label.label for label in part.labels] == labels
    assert part.rows_before == 0
    if labels:
        assert (part.rows, part.other + sum(label.rows for label in part.labels)) == (200, 200)
        assert part.labels[0].rows == 150
    else:
        assert (part.name, part.deciles[4]) == ("prediction[0]", 0.495)


def test_numbers_have_their_distance_to_the_run_before(spark: SparkSession) -> None:
    before, now = (spark.range(0, 1000).selectExpr(f"sqrt(id) + {shift} AS p") for shift in (0, 5))
    (part,) = describe_predictions(now, before, {"prediction": "p"})
    values = [np.sqrt(np.arange(1000)), np.sqrt(np.arange(1000)) + 5]
    edges = [-np.inf, *np.quantile(values[0], np.arange(1, 10) / 10, method="inverted_cdf"), np.inf]
    p, q = (((np.histogram(v, np.nextafter(edges, np.inf))[0]) + 0.5) / 1005 for v in values)
    assert part.psi == pytest.approx(float(((q - p) * np.log(q / p)).sum()))
    (alone,) = describe_predictions(now, None, {"prediction": "p"})
    assert (alone.psi, alone.deciles) == (None, part.deciles)
