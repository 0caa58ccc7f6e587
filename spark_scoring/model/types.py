"""The types of a model's inputs and outputs as plain values: MLflow's, tensors and category levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

DATA_TYPES = ("double", "float", "long", "integer", "boolean", "string", "binary", "datetime")
"""MLflow's data types: what one value of a column can be."""

INTEGER_RANGES = {
    "long": (-(2**63), 2**63),
    "integer": (-(2**31), 2**31),
    "int16": (-(2**15), 2**15),
    "int8": (-(2**7), 2**7),
    "uint32": (0, 2**32),
    "uint16": (0, 2**16),
    "uint8": (0, 2**8),
}
"""The values of integer types, MLflow's and numpy's: from the first up to, not including, the second."""

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
