"""What a run is told when columns drift, constraints hold, files are gone, or the storage refuses it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring import plan_job, run_job
from spark_scoring.errors import RequestError, RunError
from tests.needs import in_short
from tests.place import ROWS, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MERGE = {"mode": "merge", "key": ["id"]}


def columns(place: Place) -> dict[str, str]:
    return dict(place.spark.read.format("delta").load(place.output).dtypes)


def refusal(place: Place, output: dict[str, Any], **fields: Any) -> str:
    with pytest.raises(RequestError) as raised:
        plan_job(place.job(output, **fields))
    return str(raised.value)


@pytest.mark.parametrize(
    ("mode", "bad_rows"),
    in_short(
        2,
        [
            ({"mode": "append"}, "keep"),
            pytest.param(MERGE, "quarantine", marks=pytest.mark.short),
            ({"mode": "overwrite"}, "keep"),
            (MERGE, "keep"),
        ],
    ),
)
def test_evolve_lets_the_table_take_columns_that_it_lacks(clean: Place, mode: dict[str, Any], bad_rows: str) -> None:
    clean.run({**mode, "keep": ["id"]}, source={"where": "id < 2"}, bad_rows=bad_rows)
    before = columns(clean)
    wider = {**mode, "keep": ["id", "note"]}
    assert "or let the table take the run's: output.evolve: true" in refusal(clean, wider)
    clean.run({**wider, "evolve": True}, bad_rows=bad_rows)
    assert columns(clean) == {**before, "note": "string"}
    notes = clean.spark.read.format("delta").load(clean.output).where("note IS NOT NULL")
    assert notes.count() == ROWS


def test_evolve_replaces_columns_only_with_all_rows_and_only_of_predictions(clean: Place) -> None:
    wide = {"mode": "overwrite", "keep": ["id", "note", "x"]}
    clean.run(wide)
    clean.partition("note")
    names = {"prediction": "model_name", "model_name": "prediction"}
    other = {"mode": "append", "keep": ["id", "note"], "names": names, "evolve": True}
    assert "evolve adds columns, but the types of these differ" in refusal(clean, other)
    clean.run({**other, "mode": "overwrite"})
    assert columns(clean) == {
        "id": "bigint",
        "note": "string",
        "model_name": "double",
        "scoring_error": "string",
        "prediction": "string",
        "x": "double",
        "model_version": "string",
        "scored_at": "timestamp",
        "run_id": "string",
    }
    detail = clean.spark.sql(f"DESCRIBE DETAIL delta.`{clean.output}`").collect()[0]
    assert detail["partitionColumns"] == ["note"]
    clean.spark.range(1).write.format("delta").save(str(clean.folder / "theirs"))
    theirs = {"path": str(clean.folder / "theirs"), "mode": "overwrite", "evolve": True}
    assert "it has no column run_id, so it holds something else than predictions" in refusal(clean, theirs)


def test_a_constraint_that_a_row_violates_is_named_without_its_value(clean: Place) -> None:
    clean.run(source={"where": "id < 2"})
    clean.sql("ALTER TABLE {out} ADD CONSTRAINT few CHECK (id < 11)")
    with pytest.raises(RunError) as raised:
        clean.run(source={"where": "id >= 2"})
    cause = raised.value.problems[0].cause
    assert cause == "a row of the run violates its constraint few (id < 11); nothing was committed"
    clean.sql("ALTER TABLE {out} DROP CONSTRAINT few")
    table = "id BIGINT, note STRING NOT NULL, prediction DOUBLE, scoring_error STRING, model_name STRING"
    strict = str(clean.folder / "strict")
    clean.spark.sql(
        f"CREATE TABLE delta.`{strict}` ({table}, model_version STRING, scored_at TIMESTAMP, run_id STRING) USING delta"
    )
    with pytest.raises(
        RunError, match=r"a row of the run has no note, which the table wants \(NOT NULL\); nothing was"
    ):
        clean.run({"path": strict}, columns={"x": "id"}, source={"path": no_notes(clean)})


def no_notes(place: Place) -> str:
    folder = str(place.folder / "no_notes")
    place.spark.read.format("delta").load(place.source).withColumn("note", F.lit(None).cast("string")).write.format(
        "delta"
    ).save(folder)
    return folder


def test_a_source_whose_files_are_gone_is_told_so(clean: Place) -> None:
    """As after a VACUUM; Delta still counts the rows, from its log."""
    plan = plan_job(clean.job())
    for file in clean.folder.glob("in/*.parquet"):
        file.unlink()
    with pytest.raises(
        RunError, match=r"files of the version that is read are gone: it was vacuumed.*nothing was comm"
    ):
        run_job(plan)
    assert not list(clean.folder.glob("out/_delta_log/*.json"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of half a megabyte with the options given; who may not mount skips the test."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False)  # noqa: S607
        if done.returncode:
            pytest.skip("mounting is not allowed here")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], check=False, capture_output=True)  # noqa: S607


def test_a_full_disk_commits_nothing(clean: Place, small_disk: Callable[[str], Path]) -> None:
    full = small_disk("size=16k")
    with pytest.raises(RunError, match=r"there is no space left where the run writes.*nothing was committed"):
        clean.run({"path": str(full / "out")})
    assert not list(full.glob("out/_delta_log/*.json"))


def test_storage_that_cannot_be_written_is_told_so(clean: Place, small_disk: Callable[[str], Path]) -> None:
    with pytest.raises(RunError, match="its folder cannot be made: the storage is read-only"):
        clean.run({"path": str(small_disk("ro") / "out")})
