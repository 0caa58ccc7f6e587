"""Conversions of arrays, maps, structs and tensors: value by value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from spark_scoring.conversions.base import Conversion
from spark_scoring.conversions.lanes import constant, spark_lane
from spark_scoring.conversions.plain import Cast, Same
from spark_scoring.conversions.times import wall_clock, wall_clock_time
from spark_scoring.model.types import DATA_TYPES, Tensor
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_scoring.conversions.base import Pair


class Elements(Conversion):
    """Every element of an array."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        member = pair.members[0]
        value, fits = _inside_in_spark("x", member)
        whole = f"transform({source}, x -> {value})"
        if type(member.conversion) in (Same, Cast) and member.type in DATA_TYPES and member.type != "datetime":
            whole = f"CAST({source} AS array<{spark_lane(member.scalar)}>)"  # generated code, where lambdas have none
        return whole, None if fits is None else f"forall({source}, x -> {fits})"

    def in_python(self, value: Sequence[Any], pair: Pair) -> tuple[list[Any], bool]:
        inside = [_inside_in_python(v, pair.members[0]) for v in value]
        return [v for v, _ in inside], all(fits for _, fits in inside)


class Entries(Conversion):
    """Every value of a map."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        value, fits = _inside_in_spark("x", pair.members[0])
        checked = None if fits is None else f"forall(map_values({source}), x -> {fits})"
        return f"transform_values({source}, (k, x) -> {value})", checked

    def in_python(self, value: Sequence[tuple[str, Any]], pair: Pair) -> tuple[list[tuple[str, Any]], bool]:
        inside = [(key, *_inside_in_python(v, pair.members[0])) for key, v in value]
        return [(key, v) for key, v, _ in inside], all(fits for *_, fits in inside)


class Members(Conversion):
    """The fields of a struct that the model takes."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        found = [(member, *_inside_in_spark(_field(source, member), member)) for member in pair.members]
        struct = f"struct({', '.join(f'{value} AS {quote(member.name)}' for member, value, _ in found)})"
        return struct, _all_of([fits for *_, fits in found])

    def in_python(self, value: Mapping[str, Any], pair: Pair) -> tuple[dict[str, Any], bool]:
        inside = {member.name: _inside_in_python(value[member.source], member) for member in pair.members}
        return {name: v for name, (v, _) in inside.items()}, all(fits for _, fits in inside.values())


class TensorValues(Conversion):
    """As many values as the tensor is wide: of an array, nested ones laid flat, of a struct, or the value itself."""

    def in_spark(self, source: str, pair: Pair) -> tuple[str, str | None]:
        depth = _depth(pair)
        if depth == 0:
            fields = [_field(source, member) if member.source else source for member in pair.members]
            found = [_inside_in_spark(field, member) for field, member in zip(fields, pair.members, strict=True)]
            return f"array({', '.join(value for value, _ in found)})", _all_of([fits for _, fits in found])
        flat = source
        for _ in range(depth - 1):
            flat = f"flatten({flat})"
        value, fits = Elements().in_spark(flat, pair)
        return value, _all_of([_has_shape_in_spark(source, _shape(pair)), fits])

    def in_python(self, value: Any, pair: Pair) -> tuple[list[Any], bool]:
        depth = _depth(pair)
        if depth == 0:
            inside = [_inside_in_python(value[m.source] if m.source else value, m) for m in pair.members]
            return [v for v, _ in inside], all(fits for _, fits in inside)
        if not _has_shape_in_python(value, _shape(pair)):
            return [], False
        for _ in range(depth - 1):
            value = [v for inner in value for v in inner]
        return Elements().in_python(value, pair)


def _depth(pair: Pair) -> int:
    """Levels of arrays in a tensor's source."""
    source = pair.members[0].source
    return source.count("[]") if source.startswith("[]") else 0


def _shape(pair: Pair) -> tuple[int, ...]:
    """Sizes of the arrays in a tensor's source; one array holds all values."""
    assert isinstance(pair.type, Tensor)  # noqa: S101  the rule of no other type
    return pair.type.shape[1:] if _depth(pair) > 1 else (pair.type.width,)


def _field(source: str, member: Pair) -> str:
    return f"{source}.{quote(member.source)}"


def _all_of(conditions: Sequence[str | None]) -> str | None:
    found = [condition for condition in conditions if condition is not None]
    return f"({' AND '.join(found)})" if found else None


# Two forms of each, as the conversions have them.


def _inside_in_spark(source: str, pair: Pair) -> tuple[str, str | None]:
    """A value inside another: NaN for a null where numbers have one, else a null if it may be one; a time as a time."""
    plain = f"collate({source}, 'UTF8_BINARY')" if pair.source_type.startswith("string collate") else source
    value, fits = pair.in_spark(plain)
    if pair.type == "datetime":
        value = wall_clock(value)
    null = constant(math.nan, pair.scalar) if pair.type in ("double", "float") else "NULL"
    cases = f"WHEN {source} IS NULL THEN {null}" + (f" WHEN NOT {fits} THEN {null}" if fits else "")
    present = f"{source} IS NULL OR" if pair.nullable else f"{source} IS NOT NULL AND"
    if fits is None:
        return f"CASE {cases} ELSE {value} END", None if pair.nullable else f"({source} IS NOT NULL)"
    return f"CASE {cases} ELSE {value} END", f"({present} {fits})"


def _inside_in_python(value: Any, pair: Pair) -> tuple[Any, bool]:
    null = math.nan if pair.type in ("double", "float") else None
    if value is None:
        return null, pair.nullable
    converted, fits = pair.in_python(value)
    if pair.type == "datetime" and fits:
        converted = wall_clock_time(converted)
    return (converted, True) if fits else (null, False)


def _has_shape_in_spark(source: str, shape: Sequence[int]) -> str:
    """Whether arrays have these sizes at every level; a null array has none."""
    size, *inner = shape
    own = f"coalesce(size({source}) = {size}, false)"
    return f"{own} AND forall({source}, x -> {_has_shape_in_spark('x', inner)})" if inner else own


def _has_shape_in_python(value: Sequence[Any] | None, shape: Sequence[int]) -> bool:
    size, *inner = shape
    return value is not None and len(value) == size and all(_has_shape_in_python(v, inner) for v in value if inner)
