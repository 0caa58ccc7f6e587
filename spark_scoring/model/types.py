"""The types of a model's inputs and outputs as plain values: MLflow's, tensors and category levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

MISSING_TIME = -(2**63)
"""numpy's NaT, as the number that it is: a null time in a lane."""
MISSING_CODE = -1
"""A null among category codes."""


@dataclass(frozen=True)
class Scalar:
    """One value's type, by the names that others have for it."""

    lane: str
    """Spark's type on the way to a worker."""
    numpy: str
    """The dtype of a worker's array, and of a returned field."""
    range: tuple[int, int] | None = None
    """Of an integer type: the first value, and the first one above the last."""
    spark: str | None = None
    """Spark's type of a result. None: MLflow has no such data type, only tensors hold it."""


SCALARS = {
    "double": Scalar("double", "float64", spark="double"),
    "float": Scalar("float", "float32", spark="float"),
    "long": Scalar("bigint", "int64", (-(2**63), 2**63), spark="bigint"),
    "integer": Scalar("int", "int32", (-(2**31), 2**31), spark="int"),
    "boolean": Scalar("boolean", "bool", spark="boolean"),
    "string": Scalar("string", "object", spark="string"),
    "binary": Scalar("binary", "object", spark="binary"),
    "datetime": Scalar("bigint", "int64", spark="timestamp"),  # microseconds since the epoch, in UTC
    "int16": Scalar("int", "int16", (-(2**15), 2**15)),
    "int8": Scalar("int", "int8", (-(2**7), 2**7)),
    "uint32": Scalar("bigint", "uint32", (0, 2**32)),
    "uint16": Scalar("int", "uint16", (0, 2**16)),
    "uint8": Scalar("int", "uint8", (0, 2**8)),
}
"""MLflow's data types, and numpy's that MLflow has none for."""

SPARK_TYPES = {name: scalar.spark for name, scalar in SCALARS.items() if scalar.spark is not None}
"""MLflow's data types as Spark's, in results; a model's times are UTC."""
DATA_TYPES = tuple(SPARK_TYPES)
"""MLflow's data types: what one value of a column can be."""
NUMPY_TYPES = {name: SCALARS[name].numpy for name in DATA_TYPES}
"""MLflow type -> dtype of a lane and of a returned field; numpy's other types go by their own names."""
INTEGER_RANGES = {name: scalar.range for name, scalar in SCALARS.items() if scalar.range is not None}
"""The values of integer types, MLflow's and numpy's: from the first up to, not including, the second."""
NULLS = {"double": math.nan, "float": math.nan, "datetime": MISSING_TIME, "category": MISSING_CODE}
"""What a null is in a lane; other types have none."""

ANY = "any"
"""MLflow's AnyType: the model takes whatever the table holds."""


@dataclass(frozen=True)
class Array:
    """A list of any length."""

    element: ModelType

    def __str__(self) -> str:
        return f"array<{self.element}>"


@dataclass(frozen=True)
class Map:
    """Text keys, values of one type."""

    value: ModelType

    def __str__(self) -> str:
        return f"map<string, {self.value}>"


@dataclass(frozen=True)
class Member:
    """One property of an object."""

    name: str
    type: ModelType
    required: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"


@dataclass(frozen=True)
class Object:
    """Named members, each with its own type: a dict to the model."""

    members: tuple[Member, ...]

    def __str__(self) -> str:
        return f"object<{', '.join(map(str, self.members))}>"


@dataclass(frozen=True)
class Tensor:
    """A numpy array whose first dimension are the rows: shape (-1,) is a number per row, (-1, 3) are three."""

    dtype: str
    """Of ``DATA_TYPES``, or numpy's name where MLflow has none (``int8``, ``float16``)."""
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Values per row; negative where an inner dimension is open."""
        width = 1
        for size in self.shape[1:]:
            width = -1 if size < 0 or width < 0 else width * size
        return width

    def __str__(self) -> str:
        return f"tensor<{self.dtype}>({', '.join(map(str, self.shape))})"


LevelType: TypeAlias = Literal["string", "long", "double", "boolean", "date"]
Level: TypeAlias = str | int | float | bool
"""A level's value; a date is its ISO text."""


@dataclass(frozen=True)
class Levels:
    """The known values of a feature, in the order that training gave them."""

    type: LevelType
    values: tuple[Level, ...]
    origin: str = "the model"
    """Where they are written: the model itself, its metadata, the job."""

    def __str__(self) -> str:
        return f"{len(self.values):,} {self.type} levels"


Missing: TypeAlias = Literal["None", "NaN", "NA", "string"]
"""What a missing text is to a model: None, NaN or pandas' NA among objects; or the NA of pandas' string dtype."""


@dataclass(frozen=True)
class Category:
    """A pandas Categorical with these levels; a missing one is a null."""

    levels: Levels
    ordered: bool = False

    def __str__(self) -> str:
        return f"category of {self.levels}"


@dataclass(frozen=True)
class Coded:
    """A level's position as a number, for models trained on ``.cat.codes``; -1 is a missing one, as in training."""

    type: str
    levels: Levels

    def __str__(self) -> str:
        return f"{self.type} code of {self.levels}"


@dataclass(frozen=True)
class OneOf:
    """A value of the type that must be one of the levels: an encoder in the model raises on any other."""

    type: str
    levels: Levels
    null: bool
    """Whether a null may be among them."""

    def __str__(self) -> str:
        return f"{self.type} of {self.levels}"


ModelType: TypeAlias = str | Array | Map | Object | Tensor | Category | Coded | OneOf
"""A data type by name, or a type made of others."""


def holds_null(type_: ModelType) -> bool:
    """Whether a model's type can carry a null: NaN, None, NaT, a missing level."""
    match type_:
        case OneOf():
            return type_.null and holds_null(type_.type)
        case str():
            return type_ in ("double", "float", "string", "datetime", "binary", ANY)
        case Category() | Coded():
            return True
        case Tensor():
            return type_.width == 1 and type_.dtype in ("double", "float")
        case _:
            return False


def is_untyped(type_: ModelType) -> bool:
    """Whether it is AnyType, or something inside it is."""
    match type_:
        case Array():
            return is_untyped(type_.element)
        case Map():
            return is_untyped(type_.value)
        case Object():
            return any(is_untyped(member.type) for member in type_.members)
        case _:
            return type_ == ANY
