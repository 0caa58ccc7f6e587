"""Two model versions over the same rows: what changes, how much, where; and nothing is written."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMRegressor
from mlflow import MlflowClient
from sklearn.tree import DecisionTreeClassifier

from spark_scoring import (
    CompareError,
    LocalFeatureClient,
    PromoteError,
    RequestError,
    ScoringJob,
    compare_job,
    promote_model,
)
from spark_scoring.cli import main
from spark_scoring.compare.frames import change, difference, has_changed
from spark_scoring.compare.jobs import carry_out_comparison
from spark_scoring.compare.outputs import Output, Part
from spark_scoring.compare.planning import plan_comparison
from tests.features import FLIGHTS, create_tables, flight_rows, model_frame, train
from tests.models import register
from tests.needs import in_short

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from spark_scoring import Comparison

ROWS = 2_000
KM = 1.609344
NAME = "main.compared.delay"
TABLE = (
    "id bigint, distance double, air_time double, hour int, stops int, gusty boolean, day date, "
    "_compare_driver0 string, `odd``name` decimal(9,2)"
)


@dataclass(frozen=True)
class Flights:
    """A table of flights, the same as a frame, and models of it by name and version."""

    table: str
    frame: pd.DataFrame
    uri: str
    warehouse: str
    registry: str

    def job(self, version: int, **fields: Any) -> ScoringJob:
        source = {"table": self.table, **fields.pop("source", {})}
        return ScoringJob.from_dict(
            {
                "model": f"{self.uri}/{version}",
                "source": source,
                "output": {"table": "main.compared.out"},
                "tracking_uri": self.registry,
                "warehouse": self.warehouse,
                **fields,
            }
        )

    def native(self, version: int, flavor: Any = mlflow.lightgbm) -> Any:
        return flavor.load_model(f"{self.uri}/{version}")


def flights_frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    distance = rng.uniform(80, 2_700, ROWS)
    return pd.DataFrame(
        {
            "distance": distance,
            "air_time": distance / 7.5 + rng.normal(15, 12, ROWS),  # correlated: 0.99
            "hour": rng.integers(5, 24, ROWS).astype("float64"),
            "stops": rng.integers(0, 3, ROWS).astype("int32"),
            "gusty": rng.random(ROWS) < 0.2,
        }
    )


@pytest.fixture(scope="module")
def flights(spark: SparkSession, registry: str) -> Flights:
    """Versions 1 and 2 predict minutes; 2 was trained on kilometres. 3 and 4 tell late from early; 4 with another seed.

    Version 1 cannot take a missing number of stops, 2 has no such feature and cannot take a missing hour.
    """
    frame = flights_frame()
    rng = np.random.default_rng(4)
    minutes = frame["air_time"] + 0.02 * frame["distance"] + 3 * (frame["hour"] - 14) + 9 * frame["gusty"]
    minutes += frame["stops"] + rng.normal(0, 3, ROWS)
    first = frame[["distance", "air_time", "hour", "stops", "gusty"]].astype({"gusty": "float64"})
    second = first.drop(columns="stops").astype({"hour": "int32"}).assign(distance=frame["distance"] * KM)
    regressor = LGBMRegressor(n_estimators=40, verbose=-1, n_jobs=1)
    name = NAME
    register(regressor.fit(first, minutes), first, name, mlflow.lightgbm)
    register(LGBMRegressor(n_estimators=40, verbose=-1, n_jobs=1).fit(second, minutes), second, name, mlflow.lightgbm)
    label = np.select([minutes > 250, minutes > 120], ["late", "on time"], "early")
    plain = first[["distance", "air_time", "hour"]]
    for seed, depth in ((1, 4), (2, 3)):
        noisy = np.where(rng.random(ROWS) < 0.05, rng.permutation(label), label)
        tree = DecisionTreeClassifier(max_depth=depth, random_state=seed)
        register(tree.fit(plain, noisy), plain, name)
    spark.sql("CREATE SCHEMA IF NOT EXISTS compared")
    rows = [
        (
            i,
            float(r.distance),
            float(r.air_time),
            None if i in (0, 1, 2) else int(r.hour),
            None if i in (2, 3) else int(r.stops),
            bool(r.gusty),
            dt.date(2013, 1, 1) + dt.timedelta(days=i % 300),
            "text",
            None,
        )
        for i, r in enumerate(frame.itertuples(index=False))
    ]
    spark.createDataFrame(rows, TABLE).repartition(2).write.format("delta").saveAsTable("compared.flights")
    warehouse = str(spark.conf.get("spark.sql.warehouse.dir")).removeprefix("file:")
    return Flights("main.compared.flights", first, f"models:/{name}", warehouse, registry)


@pytest.fixture(scope="module")
def minutes(flights: Flights, spark: SparkSession) -> Comparison:
    return compare_job(flights.job(1), f"{flights.uri}/2", spark)


@pytest.fixture(scope="module")
def labels(flights: Flights, spark: SparkSession) -> Comparison:
    job = flights.job(3, predict=["predict", "predict_proba"], source={"where": "hour IS NOT NULL"})
    return compare_job(job, f"{flights.uri}/4", spark)


def decile(values: np.ndarray[Any, Any], n: int) -> float:
    return float(np.quantile(values, n / 10, method="inverted_cdf"))


def test_numbers_change_by_what_the_native_models_say(flights: Flights, minutes: Comparison) -> None:
    scored = flights.frame.iloc[4:]
    now = flights.native(1).predict(scored)
    then = flights.native(2).predict(scored.drop(columns="stops").astype({"hour": "int32"}))
    (output,) = minutes.outputs
    (part,) = output.parts
    assert (output.changed, part.changed) == ((now != then).sum(),) * 2
    assert part.number is not None
    assert part.number.rows == ROWS - 4
    size = np.abs(then - now)
    expected = [(then - now).mean(), size.mean(), size.max(), now.mean(), then.mean()]
    got = part.number
    np.testing.assert_allclose(
        [got.mean_diff, got.mean_abs_diff, got.max_abs_diff, got.mean_current, got.mean_challenger], expected
    )
    assert got.quantiles_abs_diff == {
        f"p{n}": pytest.approx(np.quantile(size, n / 100, method="inverted_cdf")) for n in (50, 90, 99)
    }
    np.testing.assert_allclose(got.deciles_current, [decile(now, n) for n in range(1, 10)])
    np.testing.assert_allclose(got.deciles_challenger, [decile(then, n) for n in range(1, 10)])
    assert minutes.measures["mean_abs_diff"] == minutes.measures["prediction.mean_abs_diff"] == got.mean_abs_diff


def test_the_feature_whose_unit_changed_is_named_first_among_correlated_ones(minutes: Comparison) -> None:
    drivers = minutes.outputs[0].drivers
    assert drivers[0].feature == "distance"
    effects = {driver.feature: driver.effect for driver in drivers}
    assert effects["distance"] is not None
    assert effects["air_time"] is not None
    assert effects["distance"] > 1.5 * effects["air_time"]
    association = {driver.feature: driver.association for driver in drivers}
    assert abs(association["distance"] - association["air_time"]) < 0.05  # by values alone, the two look alike


def test_the_screen_says_what_its_figures_are(minutes: Comparison) -> None:
    (number,) = [part.number for part in minutes.outputs[0].parts if part.number is not None]
    driver = minutes.outputs[0].drivers[0]
    assert None not in (number.mean_diff, number.mean_abs_diff, driver.effect)
    lines = [line.split() for line in str(minutes).splitlines()]
    heads = ("mean", "up or down by", "deciles", "of the change")
    means, differences, deciles, drivers = (
        next(i for i, line in enumerate(lines) if line[: len(head.split())] == head.split()) for head in heads
    )
    assert lines[means + 1][-1] == f"{number.mean_diff:+,.4g}"
    assert lines[differences][4:] == ["on", "average", "~50%", "~90%", "~99%", "at", "most"]  # quantiles say so
    assert lines[differences + 1][1] == f"{number.mean_abs_diff:,.4g}"
    assert lines[deciles][1:] == [f"~{n}0%" for n in range(1, 10)]
    assert lines[drivers][3:9] == ["comes", "from", "it", "goes", "with", "it"]
    assert lines[drivers + 1][:3] == ["distance", f"{driver.effect:.0%}", f"{driver.association:.0%}"]


def test_rows_that_are_bad_under_one_model_alone_are_counted_with_their_reasons(minutes: Comparison) -> None:
    rows = minutes.rows
    assert (rows.rows, rows.both, rows.bad_both) == (ROWS, ROWS - 4, 1)
    assert [(r.text, r.rows) for r in rows.reasons_current_only] == [("stops: null", 1)]
    assert [(r.text, r.rows) for r in rows.reasons_challenger_only] == [("hour: null", 2)]
    assert (minutes.current.only_features, minutes.challenger.only_features) == (("stops",), ())
    assert minutes.measures["bad_challenger_only_rate"] == 2 / ROWS


def test_labels_flip_as_the_native_models_say(flights: Flights, labels: Comparison) -> None:
    frame = flights.frame.iloc[3:][["distance", "air_time", "hour"]]
    now, then = (flights.native(version, mlflow.sklearn) for version in (3, 4))
    a, b = now.predict(frame), then.predict(frame)
    flips = pd.Series(list(zip(a, b, strict=True)))[a != b].value_counts()
    prediction, probability = labels.outputs
    found = prediction.parts[0].label
    assert found is not None
    assert {(f.current, f.challenger): f.rows for f in found.flips} == flips[flips >= 20].to_dict()
    assert found.other_flips == flips[flips < 20].sum()
    shares = {share.label: (share.current, share.challenger) for share in found.labels}
    assert shares == {name: ((a == name).sum(), (b == name).sum()) for name in ("early", "late", "on time")}
    assert labels.measures["flip_rate"] == (a != b).mean() == prediction.changed_rate
    p, q = now.predict_proba(frame), then.predict_proba(frame)
    assert [part.name for part in probability.parts] == [f"probability.{name}" for name in now.classes_]
    sizes = [part.number.mean_abs_diff for part in probability.parts if part.number is not None]
    np.testing.assert_allclose(sizes, np.abs(q - p).mean(axis=0))
    np.testing.assert_allclose(labels.measures["probability.mean_abs_diff"], np.abs(q - p).mean())


def test_a_comparison_is_json_that_names_what_it_has_compared(flights: Flights, minutes: Comparison) -> None:
    told = json.loads(json.dumps(minutes.to_dict(), allow_nan=False))
    assert [told[side]["version"] for side in ("current", "challenger")] == ["1", "2"]
    assert all(len(told[side]["digest"]) == 64 for side in ("current", "challenger"))
    assert (told["source"]["table"], told["source"]["version"]) == (flights.table, 0)
    assert told["source"]["table_id"]
    assert told["measures"]["rows"] == ROWS
    shown = str(minutes)
    assert "nothing was written" in shown
    assert "2 rows under the challenger model alone: hour: null (2)" in shown
    assert len(shown.splitlines()) < 25
    assert "<pre" in minutes._repr_html_()
    assert repr(minutes).startswith("<Comparison main.compared.delay version 1 (lightgbm, artifact ")


def test_labels_are_shown_on_one_screen(labels: Comparison) -> None:
    shown = str(labels)
    assert "flips  " in shown
    assert len(shown.splitlines()) < 35


@pytest.mark.parametrize(("where", "bad"), in_short(1, [("hour IS NULL AND stops IS NULL", 1), ("id < 0", 0)]))
def test_without_a_row_that_both_score_there_is_nothing_to_measure(
    flights: Flights, spark: SparkSession, where: str, bad: int
) -> None:
    found = compare_job(flights.job(1, source={"where": where}), f"{flights.uri}/2", spark)
    assert (found.rows.rows, found.rows.both, found.rows.bad_both) == (bad, 0, bad)
    assert found.outputs[0].changed_rate is None
    assert found.measures["changed_rate"] is None
    assert found.failed("changed_rate > 0.5") == ("changed_rate > 0.5",)
    assert ("the source has no rows" if not bad else "1, 0 of them scored by both; 1 bad under both") in str(found)


def test_both_models_score_the_version_that_was_planned_and_nothing_is_written(
    flights: Flights, spark: SparkSession
) -> None:
    plan = plan_comparison(flights.job(1, source={"where": "id < 50"}), f"{flights.uri}/2", spark)
    spark.sql("DELETE FROM compared.flights WHERE id = 10")
    try:
        found = carry_out_comparison(plan)
    finally:
        spark.sql("RESTORE TABLE compared.flights TO VERSION AS OF 0")
    assert (found.source.version, found.rows.rows) == (0, 50)
    assert not spark.catalog.tableExists("compared.out")


def test_problems_of_both_models_come_at_once(flights: Flights, spark: SparkSession) -> None:
    job = flights.job(1, columns={"distance": "distanse", "stops": "stopps", "huor": "1"})
    with pytest.raises(CompareError) as raised:
        compare_job(job, f"{flights.uri}/2", spark)
    things = [problem.thing for problem in raised.value.problems]
    assert things == ["columns: distance", "columns: huor", "current: columns: stops"]
    with pytest.raises(RequestError) as raised_too:
        compare_job(flights.job(9, source={"table": "main.compared.fligths"}), f"{flights.uri}/8", spark)
    assert len(raised_too.value.problems) == 3


def test_models_that_return_something_else_are_refused(flights: Flights, spark: SparkSession) -> None:
    with pytest.raises(CompareError, match="prediction is double of the current model and string of the challenger"):
        compare_job(flights.job(1), f"{flights.uri}/3", spark)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return int(stopped.value.code or 0)


def test_fail_if_decides_on_the_exit_status(
    flights: Flights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yml"
    file.write_text(flights.job(3, source={"where": "id < 300"}, rehearse=False).to_yaml())
    command = ["compare", file, "--with", f"{flights.uri}/4", "--json"]
    assert run(*command, "--fail-if", "flip_rate >= 1", "--fail-if", "rows < 297") == 0
    assert json.loads(capsys.readouterr().out)["rows"]["rows"] == 300
    assert run(*command, "--fail-if", "flip_rate >= 0") == 3
    told = capsys.readouterr()
    assert json.loads(told.out)["challenger"]["version"] == "4"
    assert "--fail-if flip_rate >= 0: it holds" in told.err
    assert run(*command, "--fail-if", "flip_rat > 0", "--fail-if", "flip_rate > many") == 2
    told = capsys.readouterr()
    assert "there is no measure flip_rat\n    fix: did you mean flip_rate" in told.err
    assert "--fail-if flip_rate > many: it is not a condition" in told.err
    assert not told.out


def test_nan_is_not_a_change_and_infinities_are_no_difference(spark: SparkSession) -> None:
    inf, nan = float("inf"), float("nan")
    values = [(1.0, 3.5), (nan, nan), (nan, 1.0), (inf, inf), (inf, 1.0), (None, None), (None, 1.0), (0.0, -0.0)]
    part = Part("x", "number", "double")
    frame = spark.createDataFrame(values, "a double, b double").coalesce(1)
    columns = (
        has_changed(part, ("a", "b")),
        difference(part, ("a", "b")),
        change(Output("x", "number", (part,)), ("a", "b")),
    )
    found = [tuple(row) for row in frame.select(*columns).collect()]
    assert [row[0] for row in found] == [True, False, True, False, True, False, True, False]
    assert [row[1] for row in found] == [2.5, None, None, None, None, None, None, 0.0]
    assert [row[2] for row in found] == [2.5, None, None, None, None, None, None, 0.0]
    large = Part("x", "number", "bigint")
    whole = spark.createDataFrame([(2**62, 2**62 + 1), (-(2**63), 2**63 - 1)], "a bigint, b bigint").coalesce(1)
    assert [row[0] for row in whole.select(difference(large, ("a", "b"))).collect()] == [1.0, 2.0**64]


@pytest.mark.long
def test_a_model_with_lookups_is_compared_with_one_that_has_none(spark: SparkSession, registry: str) -> None:
    client = LocalFeatureClient()
    create_tables(spark, client)
    airline = train(client, spark.createDataFrame(flight_rows(), FLIGHTS), "main.compared.looked_up")
    airline.flights.write.format("delta").saveAsTable("compared.departures")
    looked_up = model_frame(airline.training_set.load_df().where("gusty IS NOT NULL").toPandas())
    plain = looked_up[["distance"]]
    tree = DecisionTreeClassifier(max_depth=3, random_state=1).fit(plain, looked_up["late"])
    uri = register(tree, plain, "main.compared.plain")
    fields = {"source": {"table": "main.compared.departures"}, "output": {"table": "main.compared.out"}}
    found = compare_job({"model": airline.uri, **fields}, uri, spark)
    flips = airline.model.predict(looked_up.drop(columns="late")) != tree.predict(plain)
    assert (found.rows.rows, found.rows.both, found.rows.bad_current_only) == (300, len(flips), 300 - len(flips))
    assert found.outputs[0].changed == flips.sum()
    assert found.current.only_features == ("seats", "age", "temperature", "gusty")
    assert {driver.feature for driver in found.outputs[0].drivers} == {"distance", *found.current.only_features}
    assert all(driver.effect is not None for driver in found.outputs[0].drivers)


@dataclass(frozen=True)
class Compared:
    """A comparison of versions 1 and 2 as a file."""

    file: Path
    fields: dict[str, Any]

    def other(self, side: str, **fields: Any) -> dict[str, Any]:
        return {**self.fields, side: {**self.fields[side], **fields}}


@pytest.fixture(scope="module")
def comparison(flights: Flights, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    found = compare_job(flights.job(1, source={"where": "id < 60"}), f"{flights.uri}/2", spark).to_dict()
    file = tmp_path_factory.mktemp("compared") / "comparison.json"
    file.write_text(json.dumps(found, default=str))
    return Compared(file, found)


@pytest.fixture
def compared(comparison: Compared) -> Compared:
    """The alias is version 1's."""
    MlflowClient().set_registered_model_alias(NAME, "champion", "1")
    return comparison


def champion() -> str:
    return str(MlflowClient().get_model_version_by_alias(NAME, "champion").version)


def test_the_alias_moves_with_its_evidence(compared: Compared, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["promote", str(compared.file), "--alias", "champion"])
    assert ended.value.code == 0
    assert f"{NAME}: champion is version 2 now, and was 1" in capsys.readouterr().out
    assert champion() == "2"
    tags = MlflowClient().get_model_version(NAME, "2").tags
    assert tags["spark_scoring.compared_with"] == "version 1"
    version = compared.fields["source"]["version"]
    assert tags["spark_scoring.compared_rows"].endswith(f"rows of main.compared.flights at version {version}")
    assert f"changed_rate {compared.fields['measures']['changed_rate']:.6g}" in tags["spark_scoring.compared_measures"]
    content = json.dumps(json.loads(compared.file.read_text()), sort_keys=True).encode()
    assert tags["spark_scoring.compared_sha256"] == hashlib.sha256(content).hexdigest()
    with pytest.raises(PromoteError, match="it is version 2 now, and version 1 was compared"):
        promote_model(compared.file, "champion")


def test_an_alias_stays_where_something_has_moved(compared: Compared, spark: SparkSession) -> None:
    moved = {
        **compared.other("challenger", digest="0" * 64),
        "source": {**compared.fields["source"], "version": 7},
    }
    with pytest.raises(PromoteError) as refused:
        promote_model(moved, "champio", spark)
    assert [(problem.thing, problem.fix) for problem in refused.value.problems] == [
        (f"model {NAME!r} version 2", "compare again, then promote"),
        ("alias 'champio'", "did you mean champion?"),
        ("source main.compared.flights", "compare again, then promote"),
    ]
    with pytest.raises(PromoteError, match="it is another table than the one that was compared"):
        promote_model(compared.other("source", table_id="another"), "champion", spark)
    assert champion() == "1"


def test_what_is_no_comparison_moves_nothing(compared: Compared, tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("no JSON")
    for wrong, cause in (
        (tmp_path / "none.json", "No such file"),
        (tmp_path / "text.json", "it cannot be read"),
        ({"format": 2}, "it is of another version"),
        ({}, "it cannot be read"),
        (compared.other("challenger", name=None), "it is not of two versions of one registered model"),
        (compared.other("source", table_id=None, version=None), "it is not a Delta table"),
    ):
        with pytest.raises(PromoteError, match=cause):
            promote_model(wrong, "champion")
