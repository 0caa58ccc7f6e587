"""The ledger: what a table's runs were, and taking one back."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import roll_back, run_history
from spark_scoring.cli import main
from spark_scoring.delta.history_errors import HistoryError
from spark_scoring.run.history import RunRecord, history_view
from spark_scoring.screen import SafeConsole, as_text
from tests.models import line_rows
from tests.place import BAD, GOOD, ROWS

if TYPE_CHECKING:
    from tests.place import Place

MERGE = {"mode": "merge", "key": ["id"]}


def refusal(place: Place, run_id: str) -> str:
    with pytest.raises(HistoryError) as raised:
        roll_back(place.output, run_id)
    return raised.value.problems[0].cause


def predictions(place: Place) -> dict[int, Any]:
    rows = place.spark.read.format("delta").load(place.output).collect()
    return {row["id"]: (row["prediction"], row["run_id"]) for row in rows}


def test_an_appended_run_is_removed_with_its_quarantine(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    first = place.run(bad_rows="quarantine", source={"where": "id < 5"})
    second = place.run(bad_rows="quarantine", source={"where": "id >= 5"}, name="nightly")
    place.run(bad_rows="quarantine", source={"where": "id = 0"})
    with pytest.raises(SystemExit) as stopped:
        main(["rollback", place.output, second.run_id[:8]])
    assert (stopped.value.code, capsys.readouterr().out.count("(delete)")) == (0, 2)
    assert (place.ids(), place.ids("_quarantine")) == ([0, 0, 1, 2, 4], [3])
    assert refusal(place, second.run_id) == "it was rolled back before"
    place.sql("DELETE FROM {out} WHERE id = 4")
    assert refusal(place, first.run_id) == "others changed, removed or replaced rows of it since"
    with pytest.raises(SystemExit):
        main(["history", place.output, "--json"])
    shown = json.loads(capsys.readouterr().out)
    names = ("rows_written", "quarantined", "bad_rows", "rolled_back")
    assert [tuple(run[name] for name in names) for run in shown] == [
        (1, 0, 0, False),
        (len(GOOD) - 4, 1, 1, True),
        (4, 1, 1, False),
    ]
    assert (shown[1]["job"], shown[1]["rows_in"], shown[1]["user"] is not None) == ("nightly", ROWS - 5, True)
    assert 0 < shown[1]["seconds"] < 1000
    again = place.run(bad_rows="quarantine", source={"where": "id >= 5"}, name="nightly")
    assert (again.skipped, place.ids("_quarantine")) == (False, [3, 7])


def test_an_overwrite_is_undone_until_others_build_on_it(place: Place) -> None:
    over = {"mode": "overwrite"}
    first = place.run(over, source={"where": "id < 5"})
    second = place.run(over)
    told = [line.split() for line in as_text(run_history(place.output).view()).splitlines()[1:]]
    assert [(line[5], bad[:2]) for line, bad in zip(told[::2], told[1::2], strict=True)] == [
        (str(ROWS), [str(len(BAD)), "bad"]),
        ("5", ["1", "bad"]),
    ]
    place.sql("OPTIMIZE {out}")
    roll_back(place.output, second.run_id)
    assert {run for _, run in predictions(place).values()} == {first.run_id}
    assert not place.run(over).skipped
    third = run_history(place.output)[0].run_id
    place.run(source={"where": "id = 0"})
    assert refusal(place, third).startswith("what it replaced cannot be put back without losing what came later: versi")


def test_the_first_overwrite_leaves_an_empty_table(place: Place) -> None:
    first = place.run({"mode": "overwrite"})
    assert [step.way for step in roll_back(place.output, first.run_id)] == ["empty"]
    assert place.ids() == []


@pytest.mark.long
@pytest.mark.short
def test_a_replaced_part_is_put_back_though_others_wrote_elsewhere(place: Place) -> None:
    whole = place.run({"mode": "overwrite"})
    parts = [
        place.run({"mode": "overwrite", "replace_where": where}, source={"where": where}, columns={"x": "x + 1"})
        for where in ("id < 4", "id >= 8")
    ]
    assert [step.way for step in roll_back(place.output, parts[0].run_id)] == ["replace"]
    runs = {i: run for i, (_, run) in predictions(place).items()}
    assert {i for i, run in runs.items() if run == whole.run_id} == set(range(8))
    assert len(runs) == ROWS


def test_a_merge_is_undone_row_by_row(place: Place) -> None:
    place.run(MERGE, source={"where": "id < 6"})
    before = predictions(place)
    second = place.run(MERGE, columns={"x": "x + 1"}, source={"where": "id > 3 AND id < 9"})
    line_rows(place.spark, range(20, 22)).write.format("delta").mode("append").save(place.source)
    third = place.run(MERGE, source={"where": "id >= 20"})
    assert [step.way for step in roll_back(place.output, second.run_id)] == ["merge"]
    assert {i: row for i, row in predictions(place).items() if i < 20} == before
    assert [step.way for step in roll_back(place.output, third.run_id)] == ["merge"]
    assert predictions(place) == before


@pytest.mark.long
@pytest.mark.short
def test_a_column_that_a_merge_brought_is_empty_again(place: Place) -> None:
    place.run({**MERGE, "keep": ["id"]})
    second = place.run({**MERGE, "evolve": True})
    place.sql("INSERT INTO {out} (id, note) VALUES (100, 'another writer')")
    assert [step.way for step in roll_back(place.output, second.run_id)] == ["merge"]
    rows = place.spark.read.format("delta").load(place.output).where("note IS NOT NULL").collect()
    assert [row["id"] for row in rows] == [100]


def test_neither_times_nor_numbers_are_broken_at_80_characters() -> None:
    wide = RunRecord(
        run_id="7f65c68b" * 4,
        version=12_345,
        committed="2026-11-28T13:25:59.123456+00:00",
        seconds=12_345.678,
        user="somebody.with.a.long.name@example.com",
        job="the nightly job of the whole department",
        mode="overwrite",
        model="main.machine_learning.delay_of_departures",
        model_version="17",
        source="main.gold.flights",
        source_version=3,
        rows_in=123_456_789,
        rows_written=111_111_111,
        quarantined=12_345_678,
        rolled_back=True,
    )
    usual = replace(wide, rows_in=84_292, rows_written=84_292, quarantined=0, job=f"{wide.model} on {wide.source}")
    shown = io.StringIO()
    SafeConsole(file=shown, width=80, color_system=None).print(history_view([wide, usual]))
    words = shown.getvalue().split()
    assert max(map(len, shown.getvalue().splitlines())) <= 80
    assert {"111,111,111", "123,456,789", "12,345,678", "84,292"} <= set(words)
    for part in ("2026-11-28", "13:25", "7f65c68b", "12345", "12345.7"):
        assert words.count(part) == 2
    assert words.count("nightly") == 1  # the other one is called by its model, which is there already


def test_a_wrong_table_or_run_is_told_what_exists(place: Place) -> None:
    with pytest.raises(HistoryError, match="there is no such Delta table"):
        run_history(place.output)
    first = place.run()
    with pytest.raises(HistoryError, match=f"holds no such run\n   fix: give eight .* of its runs: {first.run_id}"):
        roll_back(place.output, "0" * 12)
    with pytest.raises(HistoryError, match="several run ids begin with this"):
        roll_back(place.output, first.run_id[:3])
