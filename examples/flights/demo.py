"""The demo, from raw data to scored months: ``python -m examples.flights.demo`` in the checkout's root."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

import spark_scoring as ss
from examples.flights.prepare import DEPARTURES, LATE, WAREHOUSE, write_tables
from examples.flights.train import ALIAS, REGISTRY, train, training_job, use_registry
from spark_scoring.cli.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame, SparkSession

JOB = Path(__file__).with_name("score.yml")
_FIRST = 3
_SHOWN = (
    "flight_id",
    "concat_ws(' ', carrier, flight) AS flight",
    "concat_ws(' ', origin, dest) AS route",
    "date_format(to_utc_timestamp(sched_dep, current_timezone()), 'MM-dd HH:mm') AS sched_dep_utc",
    "arr_delay",
    "prediction",
    "round(probability[1], 4) AS probability",
)

console = Console() if sys.stdout.isatty() else Console(width=120)


def main() -> None:
    """Prepare and train what is not there yet, score, and show the outcome."""
    spark = ss.get_session(WAREHOUSE)
    spark.sparkContext.setLogLevel("ERROR")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    prepare_once(spark)
    train_once(spark)
    report = score(spark)
    scored = spark.read.format("delta").load(report.output_location)
    show_quality(scored)
    show_first_rows(scored)
    show_places()


def prepare_once(spark: SparkSession) -> None:
    """Write the tables unless an earlier run has."""
    if not spark.catalog.tableExists(DEPARTURES):
        with _timed("writing nycflights13 to Delta tables"):
            write_tables(spark)


def train_once(spark: SparkSession) -> None:
    """Train and register the model unless an earlier run has."""
    use_registry()
    name = training_job().name
    if not _has_champion(name):
        with _timed(f"training {name} on January to September"):
            registered = train(spark)
        alias = ", ".join(f"@{name}" for name, _ in registered.aliases)
        console.print(f"registered  {registered.uri} {alias}, {registered.algorithm}", markup=False, highlight=False)
        console.print(f"verified    {registered.verified}", markup=False, highlight=False)


def score(spark: SparkSession) -> ss.RunReport:
    """Plan the job, print the plan with its features summed up, run it, print the report."""
    plan = ss.plan_job(ss.ScoringJob.from_yaml(JOB), spark)
    console.print(plan.summary())
    with progress_bar() as on_progress:
        report = ss.run_job(plan, spark, on_progress=on_progress)
    console.print(report.view())
    return report


def show_quality(scored: DataFrame) -> None:
    """Print the AUC over the scored flights whose arrival is known: cancelled and diverted ones have no label."""
    known = scored.where("arr_delay IS NOT NULL").selectExpr(f"{LATE} AS late", "probability[1] AS probability")
    frame = known.toArrow().to_pandas()
    auc = roc_auc_score(frame["late"], frame["probability"])
    late = frame["late"].mean()
    console.print(
        f"\nAUC {auc:.4f} on the {len(frame):,} scored flights with a known arrival, {late:.1%} of them late\n"
    )


def show_first_rows(scored: DataFrame) -> None:
    """Print the first scored flights."""
    first = scored.selectExpr(*_SHOWN).orderBy("flight_id").limit(_FIRST)
    table = Table(*first.columns, box=None, pad_edge=False)
    for row in first.collect():
        table.add_row(*[str(value) for value in row])
    console.print(table)


def show_places() -> None:
    """Print where the tables, the registry and the job lie."""
    for what, where in {"tables": WAREHOUSE / "flights", "MLflow": REGISTRY, "job": JOB}.items():
        console.print(f"{what:<7} {where}", markup=False, highlight=False, soft_wrap=True)


def _has_champion(name: str) -> bool:
    models = mlflow.MlflowClient().search_registered_models(f"name = '{name}'")
    return any(ALIAS in model.aliases for model in models)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    console.print(f"{what} ...", highlight=False)
    begin = time.perf_counter()
    yield
    console.print(f"  done in {time.perf_counter() - begin:.0f} s", highlight=False)


if __name__ == "__main__":
    main()
