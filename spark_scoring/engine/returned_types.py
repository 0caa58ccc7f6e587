"""What a model returns, as types of Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from spark_scoring.model.types import Array, Map, ModelType, Object, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_scoring.plan.outputs import Returned

_FIELD_TYPES: dict[str, DataType] = {
    "double": DoubleType(),
    "float": FloatType(),
    "long": LongType(),
    "integer": IntegerType(),
    "boolean": BooleanType(),
    "string": StringType(),
    "binary": BinaryType(),
    "datetime": LongType(),  # microseconds on their way, a timestamp at the end
}
"""MLflow type -> Spark's of a returned field."""


def flat_fields(returns: Sequence[Returned]) -> list[tuple[str, ModelType]]:
    """Flat fields with their types: an array inside the result would cost five times the rest."""
    return [field for returned in returns for field in returned.fields]


def field_type(type_: ModelType) -> DataType:
    """A returned field's type in Spark."""
    match type_:
        case Array():
            return ArrayType(spark_type_of(type_.element))
        case Map():
            return MapType(StringType(), spark_type_of(type_.value))
        case Object():
            return StructType([StructField(m.name, spark_type_of(m.type)) for m in type_.members])
        case Tensor():
            inner = spark_type_of(type_.dtype)
            for _ in type_.shape[1:]:
                inner = ArrayType(inner)
            return inner
        case _:
            return _FIELD_TYPES[str(type_)]


def spark_type_of(type_: ModelType) -> DataType:
    """The Spark type that holds a model's values as they are."""
    return TimestampType() if type_ == "datetime" else field_type(type_)
