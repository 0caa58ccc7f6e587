"""What a job's model is given, beside what it was trained on: counted in Spark, held against pandas."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from spark_scoring import DriftError, ScoringJob, measure_drift, plan_job, run_history, run_job
from spark_scoring.cli import main
from tests.place import Place
from tests.registering import register_model

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from spark_scoring import Drift, FeatureDrift

ROWS = 1_000
NUMBERS = ["<script>", "a.b", "co`st", "stops", "constant", "Filled"]
TABLE = (
    "id bigint, `<script>` double, `a.b` decimal(9,3), `co``st` float, stops int, constant double, filled double, "
    "flag boolean, carrier string, word string, name string, day date, at timestamp"
)


def rows_like_training(rows: int, seed: int, *, drifted: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "<script>": rng.normal(1.5 if drifted else 0, 1, rows),
            "a.b": np.round(rng.exponential(5, rows), 3),
            "co`st": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(50, 9, rows)).astype("float32"),
            "stops": rng.poisson(1, rows).astype("int32"),
            "constant": np.full(rows, 3.0),
            "Filled": np.where(rng.random(rows) < 0.3, 0.0, rng.uniform(10, 20, rows)),
            "flag": rng.random(rows) < 0.2,
            "carrier": pd.Categorical(rng.choice(["AA", "DL", "UA"], rows, p=[0.6, 0.3, 0.1]), ["UA", "AA", "DL"]),
            "word": rng.choice(["yes", "no", "it's"], rows).astype(object),
            "name": np.array([f"person {i}" for i in range(rows)], dtype=object),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D"),
            "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**7, rows), unit="s"),
        }
    )
    frame.loc[rng.random(rows) < 0.05, "word"] = None
    return frame


@dataclass(frozen=True)
class Trained:
    """A registered model of odd features, and tables for it."""

    uri: str
    frame: pd.DataFrame
    spark: SparkSession
    folder: Path

    def table(self, frame: pd.DataFrame, name: str) -> str:
        """The rows as a warehouse holds them: decimals, dates, nulls where training had a filled 0."""
        from decimal import Decimal

        columns = [*frame.columns]
        rows = [
            (
                i,
                *(_plain(row[columns.index(name)], name, Decimal) for name in columns),
            )
            for i, row in enumerate(frame.itertuples(index=False, name=None))
        ]
        path = str(self.folder / name)
        self.spark.createDataFrame(rows, TABLE).repartition(2).write.format("delta").mode("append").save(path)
        return path

    def job(self, source: str, **fields: Any) -> ScoringJob:
        output = fields.pop("output", {"path": f"{source}_out", "keep": ["id"]})
        where = fields.pop("where", None)
        return ScoringJob.from_dict(
            {
                "model": self.uri,
                "source": {"path": source, "where": where},
                "output": output,
                "policy": {"Filled": {"nulls": {"fill": 0}}},
                "drift": {"ignore": ["day", "AT"]},
                **fields,
            }
        )


def _plain(value: Any, name: str, decimal: Any) -> Any:
    if pd.isna(value) or (name == "Filled" and value == 0):
        return None
    match name:
        case "a.b":
            return decimal(f"{value:.3f}")
        case "stops":
            return int(value)
        case "flag":
            return bool(value)
        case "day":
            return value.date()
        case "at":
            return value.to_pydatetime().replace(tzinfo=dt.timezone.utc)
        case "carrier" | "word" | "name":
            return str(value)
        case _:
            return float(value)


@pytest.fixture(scope="module")
def trained(spark: SparkSession, registry: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    X = rows_like_training(ROWS, 1)
    numbers = ColumnTransformer([("numbers", "passthrough", NUMBERS)])
    model = make_pipeline(numbers, SimpleImputer(), LinearRegression())
    model.fit(X, X["<script>"] + X["a.b"])
    registered = register_model(model, X, name="main.drift.odd", task="regression")
    return Trained(registered.uri, X, spark, tmp_path_factory.mktemp("drift"))


@pytest.fixture(scope="module")
def alike(trained: Trained) -> tuple[str, pd.DataFrame]:
    frame = rows_like_training(600, 2)
    return trained.table(frame, "alike"), frame


@pytest.fixture(scope="module")
def drifted(trained: Trained) -> tuple[str, pd.DataFrame]:
    frame = rows_like_training(600, 3, drifted=True)
    return trained.table(frame, "drifted"), frame


def by_name(drift: Drift) -> dict[str, FeatureDrift]:
    return {feature.feature: feature for feature in drift.features}


def histograms(trained: pd.Series[Any], given: pd.Series[Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Counts of both by numpy: of levels each one; of numbers between deciles, ties and ranges apart; nulls."""
    if trained.dtype == object or str(trained.dtype) in ("category", "bool"):
        levels = sorted(map(str, trained.dropna().unique()))
        counts = [
            of.dropna().astype(str).value_counts().reindex(levels).fillna(0).to_numpy() for of in (trained, given)
        ]
    else:
        of_both = [of.dropna() for of in (trained, given)]
        if of_both[0].dtype.kind == "M":
            of_both = [of.astype("int64") for of in of_both]
        numbers, others = (of.to_numpy("float64") for of in of_both)
        deciles = np.quantile(numbers, np.arange(11) / 10)
        values, times = np.unique(deciles, return_counts=True)
        edges = {np.nextafter(values[0], -np.inf), *values[1:]}
        for tied in values[times > 1]:
            edges |= {tied, np.nextafter(tied, -np.inf)}
        ordered = np.sort(list(edges))
        counts = [
            np.histogram(x, [-np.inf, *(np.nextafter(e, np.inf) for e in ordered), np.inf])[0]
            for x in (numbers, others)
        ]
    return tuple(np.append(c, of.isna().sum()) for c, of in zip(counts, (trained, given), strict=True))


def psi(before: np.ndarray[Any, Any], now: np.ndarray[Any, Any]) -> float:
    seen = (before > 0) | (now > 0)
    before, now = before[seen], now[seen]
    p, q = ((n + 0.5) / (n.sum() + len(n) / 2) for n in (before, now))
    return float(np.sum((q - p) * np.log(q / p)))


def test_every_feature_has_the_distance_that_numpy_finds(
    trained: Trained, drifted: tuple[str, pd.DataFrame], spark: SparkSession
) -> None:
    path, frame = drifted
    found = by_name(measure_drift(trained.job(path, drift=True), spark))
    assert found.keys() == set(frame.columns)
    for name, feature in found.items():
        before, now = histograms(trained.frame[name], frame[name])
        if name == "name":  # of text with many values, nulls alone
            assert (feature.kind, feature.psi, feature.counts) == ("nulls", 0.0, (600, 0, 0))
            continue
        rare = (before > 0) & (before * 600 / ROWS < 5)
        assert rare.sum() < 2, name
        assert feature.psi == pytest.approx(psi(before, now)), name
        assert feature.js == pytest.approx(jensenshannon(before, now, base=2), abs=1e-7), name
        assert sum(feature.counts) == 600
        assert feature.nulls == pytest.approx(frame[name].isna().mean())
        assert feature.nulls_in_training == pytest.approx(trained.frame[name].isna().mean())
        if feature.kind in ("number", "time"):
            low, high = trained.frame[name].min(), trained.frame[name].max()
            assert feature.out_of_range == pytest.approx(((frame[name] < low) | (frame[name] > high)).mean()), name
    assert [name for name, feature in found.items() if feature.verdict != "ok"] == ["<script>"]
    assert next(iter(found)) == "<script>"
    assert (found["carrier"].unknown, found["word"].unknown, found["constant"].psi) == (0.0, 0.0, 0.0)


def test_what_the_model_does_not_know_is_told(
    trained: Trained, alike: tuple[str, pd.DataFrame], spark: SparkSession
) -> None:
    columns = {
        "carrier": "if(id < 60, 'ZZ', carrier)",
        "word": "if(id < 120, 'new', word)",
        "stops": "if(id < 180, -1, stops)",
        "constant": "if(id < 300, constant + 1, constant)",
        "co`st": "if(id < 240, double('NaN'), if(id < 241, double('Infinity'), `co``st`))",
    }
    found = by_name(measure_drift(trained.job(alike[0], columns=columns), spark))
    carrier, cost = found["carrier"], found["co`st"]
    assert (carrier.unknown, carrier.unfit, found["word"].unknown) == (0.1, 0.1, pytest.approx(0.2, abs=0.01))
    assert (found["stops"].out_of_range, found["constant"].out_of_range) == (pytest.approx(0.3, abs=0.005), 0.5)
    assert cost.nulls == pytest.approx(0.4 + 0.6 * 0.1, abs=0.03)
    assert cost.out_of_range is not None
    assert cost.out_of_range >= 1 / 600
    assert {name for name, f in found.items() if f.verdict == "warn"} >= {"carrier", "stops", "constant", "co`st"}
    assert found.keys().isdisjoint({"day", "at"})


def test_a_run_tells_of_drift_and_the_next_one_is_held_against_it(
    trained: Trained, alike: tuple[str, pd.DataFrame], drifted: tuple[str, pd.DataFrame], spark: SparkSession
) -> None:
    output = {"path": f"{alike[0]}_both", "keep": ["id"]}
    first = run_job(trained.job(alike[0], output=output), spark)
    assert first.drift is not None
    assert {f.verdict for f in first.drift.features} == {"ok"}
    second = run_job(trained.job(drifted[0], output=output), spark)
    assert second.drift is not None
    told = second.drift.features[0]
    before, now = (histograms(trained.frame["<script>"], frame["<script>"])[1] for _, frame in (alike, drifted))
    assert (told.feature, told.psi_before) == ("<script>", pytest.approx(psi(before, now), rel=1e-6))
    assert "1 of 10 features has a PSI above 0.25: <script>" in str(second)
    again = run_job(trained.job(drifted[0], output=output), spark)
    assert again.skipped
    assert again.drift is not None
    assert again.drift.features[0].psi == pytest.approx(told.psi, abs=1e-5)
    assert [record.drift for record in run_history(output["path"])] == [
        pytest.approx(found.greatest, abs=1e-5) for found in (second.drift, first.drift)
    ]


def test_a_run_that_has_drifted_too_far_writes_nothing(
    trained: Trained, drifted: tuple[str, pd.DataFrame], spark: SparkSession, tmp_path: Path
) -> None:
    job = trained.job(drifted[0], drift={"fail": 0.5}, output={"path": str(tmp_path / "out"), "keep": ["id"]})
    assert "stops above 0.5" in plan_job(job, spark).explain()
    with pytest.raises(DriftError) as caught:
        run_job(job, spark)
    assert "<script> (" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_few_rows_none_and_rows_without_a_record_say_so(
    trained: Trained, alike: tuple[str, pd.DataFrame], spark: SparkSession, tmp_path: Path, line: str
) -> None:
    few = measure_drift(trained.job(alike[0], where="id < 20"), spark)
    assert ({f.verdict for f in few.features}, few.rows) == ({"few rows"}, 20)
    assert "too few rows to tell" in str(few)
    none = measure_drift(trained.job(alike[0], where="id < 0"), spark)
    assert (none.rows, none.above(none.warn)) == (0, ())
    place = Place(spark, line, tmp_path)
    report = place.run(drift={"fail": 0.3})
    assert report.drift is not None
    assert report.drift.notes == ("the model's training rows were not recorded (register_model records them)",)
    assert report.rows_out == 12


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


def test_the_command_ends_with_3_above_the_limit(
    trained: Trained,
    alike: tuple[str, pd.DataFrame],
    drifted: tuple[str, pd.DataFrame],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "job.yml"
    file.write_text(trained.job(alike[0]).to_yaml(), encoding="utf-8")
    assert command("drift", str(file)) == 0
    assert "0 of 10 features have a PSI above 0.25" in capsys.readouterr().out
    elsewhere = ("drift", str(file), "--set", f"source.path={drifted[0]}", "--json")
    assert command(*elsewhere) == 3
    shown = capsys.readouterr()
    assert "the PSI is above 0.25 of <script>" in shown.err
    assert json.loads(shown.out)["features"][0]["feature"] == "<script>"
    assert command(*elsewhere, "--max-drift", "9") == 0
    assert not (tmp_path / "drifted_out").exists()


@pytest.mark.long
def test_each_batch_of_an_incremental_job_is_measured(trained: Trained, spark: SparkSession) -> None:
    path = trained.table(rows_like_training(300, 5), "growing")
    job = trained.job(path, incremental=True)
    first = run_job(job, spark)
    trained.table(rows_like_training(200, 6, drifted=True), "growing")
    second = run_job(job, spark)
    assert first.drift is not None
    assert second.drift is not None
    assert (first.drift.rows, first.drift.above(0.25)) == (300, ())
    assert (second.drift.rows, [f.feature for f in second.drift.above(0.25)]) == (200, ["<script>"])
    assert second.drift.features[0].psi_before is not None
    trained.table(rows_like_training(200, 7, drifted=True), "growing")
    with pytest.raises(DriftError):
        run_job(trained.job(path, incremental=True, drift={"fail": 0.5}), spark)
    assert spark.read.format("delta").load(f"{path}_out").count() == 500
