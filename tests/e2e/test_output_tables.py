"""Runs into tables that others made: their keys, types, constraints, layout and names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import plan_job, run_job
from spark_scoring.errors import RequestError, RunError
from tests.delta_tables import IDENTITY, make_table
from tests.models import in_order
from tests.needs import in_short
from tests.place import ROWS, Place

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

ADDED = "prediction DOUBLE, scoring_error STRING, model_name STRING, model_version STRING, scored_at TIMESTAMP"
MERGE = {"mode": "merge", "key": ["note"]}


@pytest.fixture
def table(spark: SparkSession, line: str, tmp_path: Path) -> Place:
    """A place without bad rows, whose model is not rehearsed."""
    return Place(spark, line, tmp_path, (), rehearse=False)


def make_output(place: Place, kept: str, rest: str = "", *, added: str = ADDED) -> None:
    place.sql(f"CREATE TABLE {{out}} ({kept}, {added}, run_id STRING) USING delta {rest}")


def retype(place: Place, **expressions: str) -> None:
    """Give the source's columns other values, or other types."""
    source = place.spark.read.format("delta").load(place.source)
    changed = source.selectExpr(*[f"{expressions.get(name, name)} AS {name}" for name in source.columns])
    place.source = f"{place.source}_retyped"
    changed.write.format("delta").save(place.source)


def output(place: Place) -> list[Any]:
    return in_order(place.spark.read.format("delta").load(place.output))


def layout(place: Place) -> Any:
    return place.spark.sql(f"DESCRIBE DETAIL delta.`{place.output}`").collect()[0]


def refusal(place: Place, **kwargs: Any) -> str:
    with pytest.raises(RequestError) as raised:
        plan_job(place.job(**kwargs), place.spark)
    return str(raised.value)


@pytest.mark.parametrize(("type_", "empty"), in_short(1, [("STRING", "''"), ("BINARY", "X''")]))
def test_an_empty_key_in_a_partition_column_stops_the_run(table: Place, type_: str, empty: str) -> None:
    """Delta stores it as null: each run would add another copy."""
    make_output(table, f"id BIGINT, note {type_}", "PARTITIONED BY (note)")
    retype(
        table,
        note=f"IF(id < 2, {empty}, CAST(id AS {type_}))"
        if type_ == "STRING"
        else f"IF(id < 2, {empty}, encode(CAST(id AS STRING), 'UTF-8'))",
    )
    with pytest.raises(RunError) as raised:
        table.run(MERGE)
    assert raised.value.problems[0].cause == (
        "it is null in 2 rows, or empty in note, a partition column, where Delta stores an empty value as null; "
        "nothing was committed"
    )
    assert len(raised.value.problems) == 1
    assert table.versions() == 1
    for _ in range(2):
        table.run(MERGE, source={"where": "id >= 2"}, force=True)
    assert table.ids() == list(range(2, ROWS))


def test_zero_and_nan_are_found_again_by_a_merge(table: Place) -> None:
    """As Spark joins and groups: NaN is NaN, and zero is zero whatever its sign."""
    merge = {"mode": "merge", "key": ["x"], "keep": ["id", "x", "note"]}
    columns = {"x": "double(id)"}
    retype(table, x="IF(id = 0, double('NaN'), IF(id = 1, 0.0D, double(id)))")
    table.run(merge, columns=columns)
    retype(table, x="IF(id = 1, -0.0D, x)", note="'new'")
    report = table.run(merge, columns=columns)
    assert vars(report.changes) == {"inserted": 0, "updated": ROWS, "deleted": 0, "unchanged": 0}
    retype(table, x="IF(id = 2, double('NaN'), x)")
    with pytest.raises(RunError, match="1 of its values occur in more than one row, 2 rows in all"):
        table.run(merge, columns=columns)


@pytest.mark.long
def test_char_columns_of_the_source_are_text_in_a_new_output(table: Place) -> None:
    table.spark.sql(
        f"CREATE TABLE delta.`{table.folder / 'chars'}` (id BIGINT COMMENT 'the id', x DOUBLE, n INT, note CHAR(8),"
        " short VARCHAR(9), state STRING DEFAULT 'x') USING delta"
        " TBLPROPERTIES ('delta.feature.allowColumnDefaults' = 'supported')"
    )
    table.spark.sql(
        f"INSERT INTO delta.`{table.folder / 'chars'}` SELECT id, x, n, note, note, note FROM delta.`{table.source}`"  # noqa: S608
    )
    table.source = str(table.folder / "chars")
    merge = {**MERGE, "keep": ["id", "note", "short", "state"]}
    table.run(merge, source={"where": "id < 6"})
    report = table.run(merge)
    assert vars(report.changes) == {"inserted": ROWS - 6, "updated": 0, "deleted": 0, "unchanged": 6}
    fields = table.spark.read.format("delta").load(table.output).schema
    assert [fields[name].metadata for name in merge["keep"]] == [{"comment": "the id"}, {}, {}, {}]


def test_char_columns_of_the_output_are_merged(table: Place) -> None:
    """As Delta itself does not where it pads what it reads (delta-io/delta#3868)."""
    make_output(table, "id BIGINT, note CHAR(6)")
    retype(table, note="concat('n', id)")
    table.run(MERGE, source={"where": "id < 6"})
    report = table.run(MERGE)
    assert vars(report.changes) == {"inserted": ROWS - 6, "updated": 0, "deleted": 0, "unchanged": 6}
    by_id = {"mode": "merge", "key": ["id"]}
    assert vars(table.run(by_id).changes) == {"inserted": 0, "updated": 0, "deleted": 0, "unchanged": ROWS}
    assert {len(row["note"]) for row in output(table)} == {6}
    retype(table, note="IF(id = 1, 'n0 ', note)")
    with pytest.raises(RunError, match="1 of its values occur in more than one row, 2 rows in all"):
        table.run(MERGE)


def test_a_key_that_cannot_be_compared_is_refused_by_its_type_not_by_its_name(table: Place) -> None:
    retype(table, note="named_struct('m', map('a', id))")
    assert "a struct<m:map<string,bigint>> cannot be compared" in refusal(table, output=MERGE)
    retype(table, note="named_struct('variant', id)")
    assert table.run(MERGE).rows_out == ROWS


def test_case_is_decided_in_the_plan(table: Place) -> None:
    spark = table.spark
    make_output(table, "Id BIGINT, note STRING", added=ADDED.replace("prediction", "Prediction"))
    merge = {"mode": "merge", "key": ["id"]}
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        assert "output.key: ID: the run does not write this column" in refusal(
            table, output={"mode": "merge", "key": ["ID"]}
        )
        table.run(merge, source={"where": "id < 6"})
        assert vars(table.run(merge).changes) == {"inserted": ROWS - 6, "updated": 0, "deleted": 0, "unchanged": 6}
    finally:
        spark.conf.unset("spark.sql.caseSensitive")
    table.sql("DELETE FROM {out}")
    table.sql("DROP TABLE IF EXISTS {out}")
    table.output = str(table.folder / "strict")
    make_output(table, "id BIGINT, note STRING", added=ADDED.replace("prediction DOUBLE", "Prediction DOUBLE NOT NULL"))
    assert "its constraint NOT NULL refuses a null Prediction" in refusal(table)


@pytest.mark.parametrize(
    ("check", "refused"),
    in_short(
        2,
        [
            ("prediction >= 0", "a null prediction"),
            ("id >= 0 AND (prediction IS NULL OR prediction >= 0)", None),
            ("scoring_error IS NOT NULL OR prediction >= 0", None),
            ("model_name <> 'prediction'", None),
            ("id >= 0 AND NOT prediction < 0", "a null prediction"),
            ("scoring_error IS NULL", "a row that has a scoring_error"),
            ("scoring_error <> '{x}'", "a null scoring_error"),
        ],
    ),
)
def test_a_check_is_refused_only_if_such_rows_must_fail_it(
    spark: SparkSession, line: str, tmp_path: Path, check: str, refused: str | None
) -> None:
    place = Place(spark, line, tmp_path, {3, 7}, rehearse=False)
    make_output(place, "id BIGINT, note STRING")
    spark.sql(f"ALTER TABLE delta.`{place.output}` ADD CONSTRAINT c CHECK ({check})")
    if refused is None:
        assert place.run().rows_out == ROWS
        return
    text = refusal(place)
    assert f"its constraint CHECK ({check}) refuses {refused}" in text
    fix = text.partition("let it accept such rows: ... ")[2].splitlines()[0]
    spark.sql(f"ALTER TABLE delta.`{place.output}` DROP CONSTRAINT c")
    spark.sql(f"ALTER TABLE delta.`{place.output}` ADD CONSTRAINT c CHECK ({check} {fix})")
    assert place.run().rows_out == ROWS


def test_good_rows_alone_may_be_bound_to_have_predictions(table: Place) -> None:
    make_output(table, "id BIGINT, note STRING")
    table.sql("ALTER TABLE {out} ADD CONSTRAINT c CHECK (prediction >= 0)")
    assert table.run(bad_rows="quarantine").rows_out == ROWS


@pytest.mark.parametrize("mode", in_short(1, ["merge", "append", "overwrite"]))
def test_columns_that_the_output_fills_itself_are_no_drift(table: Place, mode: str) -> None:
    laid_out = "partitionedBy day" if mode == "append" else "clusterBy id"
    own = {
        "id": {"dataType": "BIGINT", "nullable": False, "comment": "the id"},
        "day": {"dataType": "DATE", "generatedAlwaysAs": "CAST(scored_at AS DATE)"},
        "half": {"dataType": "DOUBLE", "generatedAlwaysAs": "prediction / 2"},
        "n": {"dataType": "BIGINT", **IDENTITY},
        "state": {"dataType": "STRING", "default": "'new'"},
    }
    added = dict(column.split() for column in f"{ADDED}, run_id STRING".split(", "))
    make_table(table.spark, table.output, {**own, **added}, laid_out, {"own": "kept"})
    table.sql("ALTER TABLE {out} ADD CONSTRAINT c CHECK (id >= 0)")
    writing = {"mode": mode, "key": ["id"]} if mode == "merge" else {"mode": mode}
    for evolve, keep in ((False, ["id"]), (True, ["id", "note"])):
        table.run({**writing, "keep": keep, "evolve": evolve}, force=True)
    rows = output(table)
    assert len(rows) == ROWS * (2 if mode == "append" else 1)
    assert all((r["half"], r["day"], r["state"]) == (r["prediction"] / 2, r["scored_at"].date(), "new") for r in rows)
    assert len({row["n"] for row in rows}) == len(rows)
    assert {row["note"] is None for row in rows} == ({True, False} if mode == "append" else {False})
    detail = layout(table)
    assert [*detail["clusteringColumns"], *detail["partitionColumns"]] == laid_out.split()[1:]
    assert (detail["properties"]["own"], detail["properties"]["delta.constraints.c"]) == ("kept", "id >= 0")
    id_ = table.spark.read.format("delta").load(table.output).schema["id"]
    assert (id_.nullable, id_.metadata) == (False, {"comment": "the id"})


def test_evolve_takes_away_no_column(table: Place) -> None:
    make_output(
        table, "id BIGINT, theirs INT COMMENT 'ours'", added=ADDED.replace("prediction DOUBLE", "prediction INT")
    )
    over = {"mode": "overwrite", "keep": ["id"]}
    assert "theirs         -           int" in refusal(table, output=over)
    table.run({**over, "evolve": True})
    schema = table.spark.read.format("delta").load(table.output).schema
    assert (schema["prediction"].dataType.simpleString(), schema["theirs"].metadata) == ("double", {"comment": "ours"})
    table.sql("ALTER TABLE {out} ADD COLUMN part STRING")
    table.partition("part")
    assert "the run does not write part, which the table cannot do without" in refusal(
        table, output={**over, "evolve": True}
    )


@pytest.mark.parametrize(
    ("writing", "fate"),
    in_short(
        1,
        [
            ({"mode": "overwrite"}, "its values go: null in every row"),
            (
                {"mode": "overwrite", "replace_where": "id >= 0"},
                "its values in the replaced rows go: null in the rows of the",
            ),
            ({"mode": "append"}, "null in new rows"),
            ({"mode": "merge", "key": ["id"]}, "null in new rows"),
        ],
    ),
)
def test_the_plan_shows_what_evolve_changes_before_it_happens(table: Place, writing: dict[str, Any], fate: str) -> None:
    is_whole = writing == {"mode": "overwrite"}
    added = ADDED.replace("prediction DOUBLE", "prediction INT") if is_whole else ADDED
    make_output(table, "id BIGINT, `their own` INT", "TBLPROPERTIES ('delta.columnMapping.mode' = 'name')", added=added)
    table.sql("INSERT INTO {out} (id, `their own`) VALUES (0, 7), (100, 8)")
    wider = {**writing, "keep": ["id", "note"]}
    told = " ".join(refusal(table, output=wider).split())
    assert f"output.evolve: true; of their own, which the run does not write, the column stays, {fate}" in told
    planned = plan_job(table.job({**wider, "evolve": True}), table.spark)
    retyped = ["~ prediction int -> double"] if is_whole else []
    diff = ["+ note string", *retyped, f"- their own int: the column stays, {fate}"]
    assert f"evolves {' '.join(diff)}" in " ".join(planned.explain().split())
    assert "\n".join(diff[:-1]).replace(">", "&gt;") in planned.to_html()
    changes = planned.to_dict()["output"]["schema_changes"]
    assert [(c["change"], c["column"], c["type"], c["was"]) for c in changes] == [
        ("added", "note", "string", None),
        *([("retyped", "prediction", "double", "int")] if is_whole else []),
        ("unwritten", "their own", "int", None),
    ]
    run_job(planned, table.spark)
    theirs = {row["id"]: row["their own"] for row in output(table)}
    replaced = {"overwrite": [], "append": [7, 8], "merge": [7, 8]}[writing["mode"]]
    assert sorted(v for v in theirs.values() if v is not None) == replaced
    again = plan_job(table.job({**wider, "evolve": True}), table.spark)
    assert [c["change"] for c in again.to_dict()["output"]["schema_changes"]] == ["unwritten"]


def test_evolve_is_advised_only_where_it_helps(table: Place) -> None:
    make_output(table, "id BIGINT", added=ADDED.replace("prediction DOUBLE", "prediction INT"))
    assert "output.evolve: true" not in refusal(table, output={"mode": "append"})
    assert "output.evolve: true" in refusal(table, output={"mode": "overwrite"})


@pytest.mark.parametrize("name", ["`ml-prod`.preds", "ml.`my table`", "prédictions", "main.`a.b`.t"])
def test_a_name_that_the_catalog_does_not_take_is_refused_when_planned(table: Place, name: str) -> None:
    """Spark refuses it after it has written the rows."""
    text = refusal(table, output={"table": name, "path": None})
    assert "Spark's own catalog takes names of plain letters (a-z), digits and underscores only" in text


def test_nothing_was_committed_is_said_only_after_a_look(table: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        if list(table.folder.glob("out/_delta_log/*.json")):
            msg = "no catalog"
            raise OSError(msg)

    monkeypatch.setattr("spark_scoring.delta.sink.register_table", fail)
    monkeypatch.setattr("spark_scoring.delta.target.register_table", fail)
    plan = plan_job(table.job(), table.spark)
    with pytest.raises(RunError, match="predictions were committed as its version 0"):
        run_job(plan)
    monkeypatch.setattr("spark_scoring.run.execute.find_commit", fail)
    with pytest.raises(
        RunError, match=r"the run may have committed to it: its history could not be read \(OSError\)"
    ) as told:
        run_job(plan)
    assert "nothing was committed" not in str(told.value)
