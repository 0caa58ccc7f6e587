"""Scoring what is new: nothing lost and nothing doubled, whatever happens between two batches."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pytest
from mlflow import MlflowClient

from spark_scoring import ScoringJob, plan_job, run_history, run_job
from spark_scoring.cli import main
from spark_scoring.delta.ledger import read_commits
from spark_scoring.delta.names import resolve
from spark_scoring.errors import RequestError, RunError
from spark_scoring.job_problems import JobError
from tests.models import line_rows, save_line
from tests.needs import environment_apart, in_short
from tests.place import BAD, ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from spark_scoring import RunReport

ONE_FILE = {"files_per_batch": 1}
MERGE = {"mode": "merge", "key": ["id"]}
FOLLOW = {"changes": "follow"}
LASTING = 300
"""Seconds after which a process that does not answer has failed."""


class Crash(Exception):  # noqa: N818
    """The process dies."""


def add(place: Place, ids: range, bad: Collection[int] = ()) -> None:
    line_rows(place.spark, ids, bad).coalesce(1).write.format("delta").mode("append").save(place.source)


def on_source(place: Place, statement: str) -> None:
    place.spark.sql(statement.format(source=f"delta.`{place.source}`"))


def crash(report: RunReport) -> None:
    raise Crash


def checkpoints(place: Place) -> Path:
    return Path(place.output, "_spark_scoring")


def predictions(place: Place) -> dict[int, float | None]:
    return {row["id"]: row["prediction"] for row in place.spark.read.format("delta").load(place.output).collect()}


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
    assert [run.seconds for run in run_history(place.output)] == [second.seconds, first.seconds]
    assert place.ids() == [*range(ROWS), *range(20, 25)]


def test_what_brings_no_new_rows_makes_no_commit(place: Place) -> None:
    place.run(incremental=True, source={"where": "id < 100"})
    on_source(place, "OPTIMIZE {source}")
    on_source(place, "ALTER TABLE {source} SET TBLPROPERTIES ('a' = 'b')")
    add(place, range(100, 103))
    report = place.run(incremental=True, source={"where": "id < 100"})
    assert (report.rows_in, report.batches, place.versions()) == (0, 0, 1)


@pytest.mark.long
def test_batches_add_up_in_one_report(place: Place) -> None:
    add(place, range(20, 23), {21})
    seen: list[RunReport] = []
    report = run_job(place.job(incremental=ONE_FILE), place.spark, on_batch=seen.append)
    assert len(seen) == report.batches == place.versions() == 3
    assert (report.rows_in, report.bad_rows) == (ROWS + 3, len(BAD) + 1) == (sum(r.rows_in for r in seen), 3)
    assert [(r.text, r.rows) for r in report.reasons] == [("n: null", 3)]
    assert len({r.run_id for r in seen}) == 3


@pytest.mark.parametrize("output", in_short(1, [MERGE, {}]), ids=["merge", "append"])
def test_a_crash_between_the_outputs_commit_and_the_checkpoints_does_no_harm(
    place: Place, output: dict[str, Any]
) -> None:
    job = place.job(output, incremental=ONE_FILE)
    with pytest.raises(Crash):
        run_job(job, place.spark, on_batch=crash)
    assert place.versions() == 1
    add(place, range(20, 22))
    report = run_job(job, place.spark)
    assert (report.batches, report.recovered, report.rows_in) == (3, 1, ROWS + 2)
    assert (place.ids(), place.versions()) == ([*range(ROWS), 20, 21], 3)


def test_a_batch_that_fails_commits_nothing_and_comes_again(place: Place) -> None:
    place.run(incremental=True, max_bad_rows=len(BAD))
    add(place, range(20, 23), {20, 21, 22})
    for _ in range(2):
        with pytest.raises(RunError, match="3 of 3 rows cannot be scored"):
            place.run(incremental=True, max_bad_rows=len(BAD))
        assert place.versions() == 1
    report = place.run(incremental=True)
    assert (report.rows_in, report.bad_rows) == (3, 3)
    assert place.ids() == [*range(ROWS), 20, 21, 22]


def test_bad_rows_go_apart(place: Place) -> None:
    place.run(incremental=True, bad_rows="quarantine")
    add(place, range(20, 23), {21})
    report = place.run(incremental=True, bad_rows="quarantine")
    assert (report.rows_in, report.rows_out, report.quarantined) == (3, 2, 1)
    assert place.ids("_quarantine") == [*sorted(BAD), 21]
    assert sorted([*place.ids(), *place.ids("_quarantine")]) == [*range(ROWS), 20, 21, 22]


def test_an_update_in_the_source_stops_the_job_unless_told_otherwise(clean: Place) -> None:
    clean.run(incremental=True)
    on_source(clean, "UPDATE {source} SET x = x + 100 WHERE id = 3")
    add(clean, range(20, 22))
    with pytest.raises(RunError) as raised:
        clean.run(incremental=True)
    assert "rows that were scored have been updated, deleted or overwritten in it" in str(raised.value)
    assert "incremental: {changes: ignore} leaves their predictions as they are" in str(raised.value)
    assert clean.versions() == 1
    before = predictions(clean)
    report = clean.run(incremental={"changes": "ignore"})
    assert report.rows_in == 2
    assert {i: p for i, p in predictions(clean).items() if i < 20} == before


@pytest.mark.short
def test_changes_are_followed(clean: Place) -> None:
    on_source(clean, "ALTER TABLE {source} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    filtered = {"source": {"where": "x < 1000"}, "incremental": FOLLOW}
    clean.run(MERGE, **filtered)
    on_source(clean, "UPDATE {source} SET x = x + 100 WHERE id IN (3, 4)")
    on_source(clean, "UPDATE {source} SET x = 50 WHERE id = 4")
    on_source(clean, "DELETE FROM {source} WHERE id IN (5, 6)")
    on_source(clean, "UPDATE {source} SET x = 5000 WHERE id = 7")  # the filter no longer lets it through
    on_source(clean, "UPDATE {source} SET id = 80 WHERE id = 8")
    add(clean, range(6, 7))  # deleted, and there again
    add(clean, range(20, 21))
    on_source(clean, "DELETE FROM {source} WHERE id = 20")  # comes and goes between two runs
    report = clean.run(MERGE, **filtered)
    assert vars(report.changes) == {"inserted": 1, "updated": 2, "deleted": 3, "unchanged": 1}
    after = predictions(clean)
    assert sorted(after) == [0, 1, 2, 3, 4, 6, 9, 10, 11, 80]
    assert {i: round(after[i] or 0) for i in (3, 4, 6, 80)} == {3: 206, 4: 101, 6: 12, 80: 18}
    assert clean.run(MERGE, **filtered).batches == 0


@pytest.mark.long
def test_a_deleted_row_leaves_the_quarantine_too(place: Place) -> None:
    on_source(place, "ALTER TABLE {source} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    fields = {"incremental": FOLLOW, "bad_rows": "quarantine"}
    place.run(MERGE, **fields)
    on_source(place, "DELETE FROM {source} WHERE id IN (0, 3)")
    on_source(place, "UPDATE {source} SET n = 1 WHERE id = 7")
    on_source(place, "UPDATE {source} SET n = NULL WHERE id = 1")
    report = place.run(MERGE, **fields)
    assert (report.rows_in, report.rows_out, report.quarantined) == (2, 1, 1)
    assert place.ids("_quarantine") == [1]
    assert place.ids() == [2, *range(4, ROWS)]


@pytest.mark.long
def test_no_column_of_the_source_is_taken_for_one_of_ours(clean: Place) -> None:
    on_source(clean, "ALTER TABLE {source} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    on_source(clean, "ALTER TABLE {source} ADD COLUMNS (_rank INT)")
    on_source(clean, "UPDATE {source} SET _rank = 7")
    clean.run({**MERGE, "keep": ["id", "_rank"]}, incremental=FOLLOW)
    rows = clean.spark.read.format("delta").load(clean.output).collect()
    assert [row["_rank"] for row in rows] == [7] * ROWS


@pytest.mark.long
def test_two_new_rows_of_one_key_are_refused_and_nothing_is_written(clean: Place) -> None:
    on_source(clean, "ALTER TABLE {source} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    clean.run(MERGE, incremental=FOLLOW)
    line_rows(clean.spark, range(20, 21)).union(line_rows(clean.spark, range(20, 21))).write.format("delta").mode(
        "append"
    ).save(clean.source)
    with pytest.raises(RunError, match="1 of its values occur in more than one row"):
        clean.run(MERGE, incremental=FOLLOW)
    assert clean.versions() == 1


def test_following_needs_the_sources_change_data_feed(clean: Place) -> None:
    with pytest.raises(RequestError) as raised:
        clean.run(MERGE, incremental=FOLLOW)
    assert "it has no change data feed" in str(raised.value)
    assert "delta.enableChangeDataFeed = true" in str(raised.value)


def test_a_lost_checkpoint_is_no_reason_to_add_rows_twice(place: Place) -> None:
    place.run(incremental=True)
    place.run(name="another job on the same output")
    shutil.rmtree(checkpoints(place))
    with pytest.raises(RequestError, match="its checkpoint is gone: everything would be added again") as raised:
        place.run(incremental=True)
    assert "force: true" in str(raised.value)
    add(place, range(20, 22))
    again = place.run(incremental=True, force=True)
    assert again.rows_in == ROWS + 2
    assert place.ids() == sorted([*range(ROWS), *range(ROWS), 20, 21])  # the other job's are still there
    assert place.run(incremental=True).batches == 0


def test_rows_that_a_whole_run_has_added_are_not_added_again(place: Place) -> None:
    first = place.run()
    assert first.run_id is not None
    with pytest.raises(RequestError, match=rf"version 0 has {ROWS} rows of this job") as raised:
        place.run(incremental=True)
    command = f"spark-scoring rollback {place.output} {first.run_id[:8]}"
    assert command in str(raised.value)
    with pytest.raises(SystemExit) as ended:
        main([*command.split()[1:]])
    assert ended.value.code == 0
    assert place.run(incremental=True).rows_in == ROWS
    add(place, range(20, 22))
    assert place.run(incremental=True).rows_in == 2
    assert place.ids() == [*range(ROWS), 20, 21]


def test_rows_of_a_whole_run_that_are_gone_do_not_matter(place: Place) -> None:
    place.run()
    place.sql("DELETE FROM {out}")
    assert place.run(incremental=True).rows_in == ROWS
    assert place.ids() == list(range(ROWS))


@pytest.mark.long
def test_to_a_merge_a_lost_checkpoint_does_no_harm(place: Place) -> None:
    place.run(MERGE, incremental=True)
    shutil.rmtree(checkpoints(place))
    add(place, range(20, 22))
    report = place.run(MERGE, incremental=True)
    assert (report.rows_in, report.bad_rows) == (ROWS + 2, len(BAD))
    assert place.ids() == [*range(ROWS), 20, 21]


@pytest.mark.long
def test_force_replaces_all_rows_of_the_job_although_its_first_batch_is_empty(place: Place) -> None:
    add(place, range(20, 22))
    everything = {"incremental": ONE_FILE, "bad_rows": "quarantine", "name": "job"}
    place.run(**everything)
    first = place.run(**everything, force=True, source={"where": "id >= 20"})
    assert (first.rows_in, place.ids(), place.ids("_quarantine")) == (2, [20, 21], [])
    assert place.run(**everything).batches == 0


@pytest.mark.long
def test_a_crash_in_a_forced_run_is_mended_by_the_next_one(place: Place) -> None:
    add(place, range(20, 22))
    place.run(incremental=ONE_FILE)
    with pytest.raises(Crash):
        run_job(place.job(incremental=ONE_FILE, force=True), place.spark, on_batch=crash)
    place.run(incremental=ONE_FILE)
    assert place.ids() == [*range(ROWS), 20, 21]


@pytest.mark.long
def test_vacuum_leaves_the_checkpoint(place: Place) -> None:
    place.run(incremental=True)
    before = sorted(checkpoints(place).rglob("*"))
    settings = {
        "spark.databricks.delta.retentionDurationCheck.enabled": "false",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",  # else it lists a few files by 200 tasks
    }
    for key, value in settings.items():
        place.spark.conf.set(key, value)
    try:
        place.sql("VACUUM {out} RETAIN 0 HOURS")
    finally:
        for key in settings:
            place.spark.conf.unset(key)
    assert before
    assert sorted(checkpoints(place).rglob("*")) == before
    assert place.run(incremental=True).batches == 0


@pytest.mark.long
def test_a_new_column_of_the_source_is_no_concern(place: Place) -> None:
    output = {"keep": None}
    place.run(output, incremental=True)
    on_source(place, "ALTER TABLE {source} ADD COLUMNS (more STRING)")
    add_more = line_rows(place.spark, range(20, 22)).selectExpr("*", "'m' AS more")
    add_more.write.format("delta").mode("append").save(place.source)
    assert place.run(output, incremental=True).rows_in == 2
    assert "more" not in place.spark.read.format("delta").load(place.output).columns


def test_a_column_that_is_gone_stops_the_job_before_anything_is_read(place: Place) -> None:
    place.run(incremental=True)
    on_source(place, "ALTER TABLE {source} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    on_source(place, "ALTER TABLE {source} DROP COLUMN n")
    with pytest.raises(RequestError, match="n"):
        place.run(incremental=True)
    assert place.versions() == 1


def test_rows_that_an_older_model_has_scored_are_told(clean: Place) -> None:
    """A job of this name goes on with another model: what is scored stays as it is."""
    clean.run(incremental=True, name="told")
    clean.model = save_line(str(clean.folder / "steeper"), 3.0)
    plan = plan_job(clean.job(incremental=True, name="told"), clean.spark)
    (note,) = [note for note in plan.scoring.notes if "keep their predictions of another model" in note]
    assert "force: true" in note
    assert run_job(plan).skipped
    clean.run(incremental=True, name="told", force=True)
    again = plan_job(clean.job(incremental=True, name="told"), clean.spark)
    assert not [note for note in again.scoring.notes if "keep their predictions" in note]
    rows = clean.spark.read.format("delta").load(clean.output).collect()
    assert all(round(row["prediction"]) == 3 * row["id"] + row["id"] % 3 for row in rows)


@pytest.mark.long
def test_another_model_goes_on_where_the_first_one_stopped(clean: Place, registry: str) -> None:
    """An alias that moves while a job keeps going is followed at the next batch, and each row says who made it."""
    name, client = "main.ml.increments", MlflowClient(registry)
    for slope in (2.0, 3.0):
        folder = save_line(str(clean.folder / f"slope {slope}"), slope)
        mlflow.register_model(f"file://{folder}", name)
    client.set_registered_model_alias(name, "champion", "1")
    add(clean, range(20, 22))
    until, moved = threading.Event(), []

    def move(report: RunReport) -> None:
        moved.append(report.model_version)
        client.set_registered_model_alias(name, "champion", "2")
        if report.rows_in == 2:
            until.set()

    job = ScoringJob.from_dict(
        {**clean.job(incremental=ONE_FILE).model_dump(exclude_unset=True), "model": f"models:/{name}@champion"}
    )
    report = run_job(job, clean.spark, on_batch=move, until=until)
    assert moved == ["1", "2", "2"]
    assert report.rows_in == ROWS + 2
    rows = clean.spark.read.format("delta").load(clean.output).collect()
    slopes = {"1": 2.0, "2": 3.0}
    assert {row["model_version"] for row in rows} == {"1", "2"}
    assert all(round(row["prediction"]) == slopes[row["model_version"]] * row["id"] + row["id"] % 3 for row in rows)


@pytest.mark.long
def test_a_job_that_is_told_to_stop_ends_with_its_batch(place: Place) -> None:
    add(place, range(20, 22))
    until = threading.Event()
    report = run_job(place.job(incremental=ONE_FILE), place.spark, on_batch=lambda _: until.set(), until=until)
    assert (report.batches, place.versions()) == (1, 1)
    assert place.run(incremental=ONE_FILE).batches == 2
    assert place.ids() == [*range(ROWS), 20, 21]


@pytest.mark.long
def test_its_runs_are_in_the_ledger(place: Place) -> None:
    place.run(incremental=True)
    add(place, range(20, 22))
    place.run(incremental=True)
    facts = [commit.facts for commit in read_commits(place.spark, resolve(place.spark, path=place.output))]
    assert [(f.batch, f.source_version, f.rows_in) for f in facts if f] == [(1, 1, 2), (0, 0, ROWS)]
    assert len({(f.stream, f.idempotency_key) for f in facts if f}) == 1


@pytest.mark.long
def test_the_plan_says_where_it_goes_on(place: Place) -> None:
    assert "no checkpoint yet: everything is new" in plan_job(place.job(incremental=True), place.spark).explain()
    place.run(incremental=True)
    forced = plan_job(place.job(incremental=True, force=True), place.spark)
    assert "does not go on from its last checkpoint: everything is scored again; begins" in forced.explain()
    planned = plan_job(place.job(incremental=True), place.spark)
    assert "goes on from" in planned.explain()
    told = planned.to_dict()["incremental"]
    assert (told["begun"], told["changes"]) == (True, "refuse")
    assert str(told["checkpoint"]).startswith(str(checkpoints(place)))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"output": {"mode": "overwrite"}, "incremental": True}, "take mode: append or merge"),
        ({"source": {"version": 0}, "incremental": True}, "leave source.version and source.timestamp out"),
        ({"incremental": FOLLOW}, "take mode: merge"),
        ({"incremental": {"change": "follow"}}, "did you mean changes?"),
        ({"incremental": {"files_per_batch": 0}}, "files_per_batch"),
    ],
)
def test_what_does_not_go_together_is_said(place: Place, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(JobError) as raised:
        place.job(**fields)
    assert text in str(raised.value)


@pytest.mark.long
def test_a_checkpoint_in_the_reach_of_vacuum_is_refused(place: Place) -> None:
    for table in (place.output, place.source):
        with pytest.raises(RequestError, match="whose VACUUM would delete it"):
            place.run(incremental={"checkpoint": f"{table}/checkpoint"})
    elsewhere = place.folder / "my checkpoints [1]"
    assert place.run(incremental={"checkpoint": str(elsewhere)}).batches == 1
    assert place.run(incremental={"checkpoint": str(elsewhere)}).batches == 0
    assert any(elsewhere.iterdir())


@pytest.mark.long
def test_two_outputs_may_share_a_folder_of_checkpoints(place: Place) -> None:
    shared = {"checkpoint": str(place.folder / "checkpoints")}
    for output in (place.output, f"{place.output}_2"):
        assert place.run({"path": output}, incremental=shared, name="job").rows_in == ROWS
        assert place.run({"path": output}, incremental=shared, name="job").batches == 0


def test_only_an_incremental_job_keeps_going(place: Place) -> None:
    with pytest.raises(RequestError, match="only an incremental job keeps going"):
        run_job(place.job(), place.spark, until=threading.Event())
    assert not Path(place.output).exists()


class Process:
    """``spark-scoring score --continuous`` as a user starts it in a terminal."""

    def __init__(self, job_file: Path) -> None:
        environment = environment_apart(PYSPARK_PYTHON=sys.executable, PYTHONUNBUFFERED="1")
        command = [str(Path(sys.executable).with_name("spark-scoring")), "score", str(job_file), "--continuous"]
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=job_file.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip())
        self._queue.put(None)

    def wait_for(self, seen: Callable[[str], bool]) -> str:
        while (line := self._queue.get(timeout=LASTING)) is not None:
            self.lines.append(line)
            if seen(line):
                return line
        raise AssertionError("\n".join(self.lines[-40:]))

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, as Ctrl-C does."""
        os.killpg(self.process.pid, number)


@pytest.fixture
def started() -> Iterator[Callable[[Path], Process]]:
    """Starts processes, of which none outlives the test."""
    processes: list[Process] = []

    def start(job_file: Path) -> Process:
        processes.append(Process(job_file))
        return processes[-1]

    yield start
    for process in processes:
        with suppress(ProcessLookupError):
            process.signal(signal.SIGKILL)


@pytest.mark.parametrize("begun_by", in_short(1, ["this session", "a process that is killed"]))
def test_the_command_line_keeps_going_until_it_is_told_to_stop_and_survives_a_kill(
    place: Place, started: Callable[[Path], Process], begun_by: str
) -> None:
    job = place.job(incremental={"interval": 0.5})
    job_file = place.folder / "job.yml"
    job_file.write_text(job.to_yaml())
    if begun_by == "this session":
        assert run_job(job, place.spark).rows_text() == "12 in, 12 out, 2 bad (16.7%)"
    else:
        killed = started(job_file)
        assert "12 in, 12 out, 2 bad" in killed.wait_for(lambda line: " in, " in line)
        killed.signal(signal.SIGKILL)
        killed.process.wait(LASTING)
    add(place, range(20, 23))
    running = started(job_file)
    running.wait_for(lambda line: "3 in, 3 out, 0 bad" in line)
    add(place, range(23, 25), {24})
    running.wait_for(lambda line: "2 in, 2 out, 1 bad" in line)
    running.signal(signal.SIGINT)
    running.wait_for(lambda line: "stopping once the batch is committed" in line)
    assert running.process.wait(LASTING) == 0, running.lines
    assert place.ids() == [*range(ROWS), *range(20, 25)]
