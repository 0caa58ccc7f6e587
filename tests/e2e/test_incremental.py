"""Scoring what is new: nothing lost and nothing doubled, whatever happens between two batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring.errors import RunError
from tests.models import line_rows
from tests.place import BAD, ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Collection

    from spark_scoring import RunReport

ONE_FILE = {"files_per_batch": 1}


class Crash(Exception):  # noqa: N818
    """The process dies."""


def add(place: Place, ids: range, bad: Collection[int] = ()) -> None:
    line_rows(place.spark, ids, bad).coalesce(1).write.format("delta").mode("append").save(place.source)


def crash(report: RunReport) -> None:
    raise Crash


def test_only_what_is_new_is_scored(place: Place) -> None:
    first = place.run(incremental=True)
    assert (first.rows_in, first.rows_out, first.bad_rows, first.batches) == (ROWS, ROWS, len(BAD), 1)
    nothing = place.run(incremental=True)
    assert (nothing.rows_in, nothing.batches, nothing.skipped, nothing.run_id) == (0, 0, True, None)
    assert place.versions() == 1
    add(place, range(20, 23), {21})
    add(place, range(23, 25))
    second = place.run(incremental=True)
    assert (second.rows_in, second.rows_out, second.bad_rows, second.batches) == (5, 5, 1, 1)
    assert (second.source_version, second.output_version) == (2, 1)
    assert place.ids() == [*range(ROWS), *range(20, 25)]


def test_batches_add_up_in_one_report(place: Place) -> None:
    add(place, range(20, 23), {21})
    seen: list[RunReport] = []
    from spark_scoring import run_job

    report = run_job(place.job(incremental=ONE_FILE), place.spark, on_batch=seen.append)
    assert len(seen) == report.batches == place.versions() == 3
    assert (report.rows_in, report.bad_rows) == (ROWS + 3, len(BAD) + 1) == (sum(r.rows_in for r in seen), 3)
    assert [(r.text, r.rows) for r in report.reasons] == [("n: null", 3)]
    assert len({r.run_id for r in seen}) == 3


def test_a_crash_between_the_outputs_commit_and_the_checkpoints_does_no_harm(place: Place) -> None:
    from spark_scoring import run_job

    job = place.job(incremental=ONE_FILE)
    with pytest.raises(Crash):
        run_job(job, place.spark, on_batch=crash)
    assert place.versions() == 1
    add(place, range(20, 22))
    report = run_job(job, place.spark)
    assert (report.batches, report.recovered, report.rows_in) == (3, 1, ROWS + 2)
    assert (place.ids(), place.versions()) == ([*range(ROWS), 20, 21], 3)
