"""Times of a training frame: whether they are in UTC, in which scoring gives a model its times.

``toPandas`` gives times in the zone of the Spark session, and drops the zone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.conversions.table import time_micros
from spark_scoring.errors import Problem, listed
from spark_scoring.sql import quote
from spark_scoring.times import is_utc

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from spark_scoring.registration.frame import Inputs

_SAMPLED = 60
"""Times of a column that are looked for in the training set."""
_TIMES = ("timestamp", "timestamp_ntz", "date")


def zone_note(X: Inputs) -> str:
    """What to know of times without a zone, where a Spark session of this process has another zone than UTC."""
    names = _times(X)
    zone = session_zone()
    if not names or zone is None or is_utc(zone):
        return ""
    return (
        f"scoring gives the model the times of {listed(names)} in UTC; the Spark session's zone is {zone}, and "
        "df.toPandas() gives times in that zone: if X came so, train on spark_scoring.training_frame(df, ...)"
    )


def session_zone() -> str | None:
    """The zone of the active Spark session; None where there is none."""
    pyspark = sys.modules.get("pyspark.sql")
    session = pyspark.SparkSession.getActiveSession() if pyspark is not None else None
    return None if session is None else str(session.conf.get("spark.sql.session.timeZone"))


def lost_zones(df: DataFrame, X: pd.DataFrame) -> list[Problem]:
    """Columns whose times are those of a training set moved by the session's zone. Runs a job where there are times.

    Args:
        df: what the training set's ``load_df`` gives.
        X: the frame that the model was trained on.

    """
    zone = session_zone()
    kinds = {field.name: field.dataType.typeName() for field in df.schema.fields}
    names = [name for name in _times(X) if kinds.get(name) in _TIMES]
    if not names or zone is None or is_utc(zone):
        return []
    wanted = {name: _sampled(X[name], zone) for name in names}
    fields = [_found(name, kinds[name], own | moved) for name, (own, moved) in wanted.items()]
    row = df.select(*fields).first()
    found = {name: set(row[i] or ()) for i, name in enumerate(names)} if row is not None else {}
    lost = [n for n, (own, moved) in wanted.items() if not own <= found[n] and moved <= found[n]]
    cause = f"its times are those of the training set in the session's zone {zone}, and scoring gives a model UTC"
    fix = "train on spark_scoring.training_frame(training_set.load_df(), [...]) in the place of toPandas()"
    return [Problem(f"training frame column {name!r}", cause, fix, "time-zone") for name in lost]


def _times(X: Inputs) -> list[str]:
    """Columns of times without a zone."""
    if not isinstance(X, pd.DataFrame):
        return []
    return [str(name) for name, dtype in X.dtypes.items() if isinstance(dtype, np.dtype) and dtype.kind == "M"]


def _sampled(column: pd.Series[Any], zone: str) -> tuple[set[int], set[int]]:
    """Microseconds of some of its times, the first and the last among them: as they are, and read in the zone."""
    times = column.dropna().drop_duplicates().sort_values()
    some = times.iloc[np.unique(np.linspace(0, len(times) - 1, min(len(times), _SAMPLED)).astype(int))]
    read = some.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").dropna()
    certain = some.loc[read.index]
    return _micros(certain), _micros(read.dt.tz_convert("UTC").dt.tz_localize(None))


def _micros(times: pd.Series[Any]) -> set[int]:
    return {int(micros) for micros in times.astype("datetime64[us]").astype("int64")}


def _found(name: str, kind: str, micros: set[int]) -> Column:
    """Those of the numbers that the column has."""
    from pyspark.sql import functions as F  # noqa: N812

    value = F.expr(time_micros(quote(name), kind))
    return F.collect_set(F.when(value.isin(sorted(micros)), value))
