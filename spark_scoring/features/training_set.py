"""A table with its features: what a model is trained on and logged with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.features.join import add_features
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from spark_scoring.model.feature_spec import FeatureSpec
    from spark_scoring.plan.lookups import LookupPlan

_EXAMPLE_ROWS = 5
_WIDENED = ("tinyint", "smallint", "int", "bigint", "decimal")


@dataclass(frozen=True)
class TrainingSet:
    """A table with its features: what a model is trained on and logged with."""

    df: DataFrame
    spec: FeatureSpec
    plan: LookupPlan
    label: tuple[str, ...] = ()

    def load_df(self) -> DataFrame:
        """The table's columns but the excluded ones, then features in the order of the lookups, then the label.

        Rows in are rows out. Small feature tables are read now, all tables at the versions that the training set
        was made with.
        """
        names = [*[column.name for column in self.spec.included], *self.label]
        return add_features(self.df, self.plan).select(*[F.col(quote(name)) for name in names])


def example_rows(training_set: TrainingSet) -> Any:
    """The first rows that the model was trained on; numbers that may be missing are doubles, as pandas makes them.

    A flag that is missing would be an object to pandas, which no model was trained on: such rows are left out.
    """
    features = training_set.load_df().drop(*training_set.label)
    types = {f.name: f.dataType.simpleString().partition("(")[0] for f in features.schema.fields}
    columns = [_as_example(name, type_) for name, type_ in types.items()]
    for name in (n for n, t in types.items() if t == "boolean"):
        features = features.where(F.col(quote(name)).isNotNull())
    return features.select(*columns).limit(_EXAMPLE_ROWS).toPandas()


def _as_example(name: str, type_: str) -> Column:
    """A column as it goes into the example; an instant in UTC, as models are given it."""
    column = F.col(quote(name))
    if type_ == "timestamp":
        return F.to_utc_timestamp(column, F.current_timezone()).alias(name)
    return column.cast("double").alias(name) if type_ in _WIDENED else column
