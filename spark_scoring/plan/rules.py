"""(Spark type, model type) -> how a value is converted, as data.

A rule holds for the type, never for the values that a batch happens to have, and depends neither on
``spark.sql.ansi.enabled`` nor on the session time zone nor on the Spark version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spark_scoring.model.types import (
    ANY,
    INTEGER_RANGES,
    Array,
    Category,
    Coded,
    Levels,
    Map,
    ModelType,
    Object,
    OneOf,
    Tensor,
    holds_null,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql.types import DataType, StructType

Verdict = Literal["exact", "rounds", "checked", "renders", "default", "refused"]

VERDICT_WORDS: dict[Verdict, str] = {
    "exact": "exact",
    "rounds": "nearest",
    "checked": "checked",
    "renders": "as text",
    "default": "default",
    "refused": "refused",
}
"""What people read; JSON keeps the verdicts themselves."""

Conversion = Literal[
    "same",
    "cast",
    "narrow",
    "whole",
    "zero_one",
    "nonzero",
    "parse_number",
    "parse_whole",
    "parse_flag",
    "decimal_text",
    "instant_text",
    "date_micros",
    "instant_micros",
    "wall_clock_micros",
    "parse_instant",
    "void",
    "level",
    "listed",
    "elements",
    "entries",
    "members",
    "tensor",
]
"""How the value is made; the names are keys of ``conversions.table``."""


@dataclass(frozen=True)
class Rule:
    """One cell of the table."""

    verdict: Verdict
    conversion: Conversion
    note: str = ""
    """What a person should know of the conversion."""
    reason: str | None = None
    """What a value that does not fit is called; None where every value fits."""
    members: tuple[Cell, ...] = ()
    """Of nested types: how their elements, values, members are converted; of levels: how they are matched."""


@dataclass(frozen=True)
class Cell:
    """A pair of types with its rule, inside a nested one."""

    source_type: str
    """Spark type as a simple string."""
    type: ModelType
    rule: Rule
    name: str = ""
    """The member's name to the model."""
    source: str = ""
    """The struct's field that it comes from; ``[]`` for each level of arrays in a tensor's source."""
    nullable: bool = True
    """Whether a null inside is a value of its own, or keeps the whole from fitting."""


@dataclass(frozen=True)
class Refusal:
    """Why there is no meaningful conversion."""

    cause: str
    fix: str | None = None


_EXACT = Rule("exact", "cast")
_SAME = Rule("exact", "same")
_FLAG = Rule("exact", "cast", "true is 1, false is 0")
_RENDERS = Rule("renders", "cast", "text form of a non-text value")
_ROUNDS_53 = Rule("rounds", "cast", "the nearest double above 2^53")
_ROUNDS_24 = Rule("rounds", "cast", "the nearest float above 2^24")
_TO_DOUBLE = Rule("rounds", "cast", "the nearest double")
_TO_FLOAT = Rule("rounds", "cast", "the nearest float")
_NARROW = Rule("rounds", "narrow", "the nearest float, only within its range", "too large")
_RANGE = Rule("checked", "whole", "only values in range", "out of range")
_WHOLE = Rule("checked", "whole", "only whole numbers in range", "not a whole number in range")
_ZERO_ONE = Rule("checked", "zero_one", "only 0 and 1", "not 0 or 1")
_NUMBER_TEXT = Rule("checked", "parse_number", "only text of a number", "not a number")
_WHOLE_TEXT = Rule("checked", "parse_whole", "only text of a whole number in range", "not a whole number in range")
_FLAG_TEXT = Rule("checked", "parse_flag", "only true and false, in any case", "not true or false")
_NANOSECONDS = "only 1677-09-21 to 2262-04-11: the model's times are nanoseconds"
_TIME_TEXT = f"only ISO 8601 text, UTC without an offset; {_NANOSECONDS}"

_RULES: dict[str, dict[str, Rule]] = {
    "double": {
        "boolean": _FLAG,
        "byte": _EXACT,
        "short": _EXACT,
        "integer": _EXACT,
        "long": _ROUNDS_53,
        "float": _EXACT,
        "double": _SAME,
        "decimal": _TO_DOUBLE,
        "string": _NUMBER_TEXT,
    },
    "float": {
        "boolean": _FLAG,
        "byte": _EXACT,
        "short": _EXACT,
        "integer": _ROUNDS_24,
        "long": _ROUNDS_24,
        "float": _SAME,
        "double": _NARROW,
        "decimal": _TO_FLOAT,  # DECIMAL(38, 0) ends below 1e38, the largest float is 3.4e38
        "string": _NUMBER_TEXT,
    },
    "long": {
        "boolean": _FLAG,
        "byte": _EXACT,
        "short": _EXACT,
        "integer": _EXACT,
        "long": _SAME,
        "float": _WHOLE,
        "double": _WHOLE,
        "decimal": _WHOLE,
        "string": _WHOLE_TEXT,
    },
    "integer": {
        "boolean": _FLAG,
        "byte": _EXACT,
        "short": _EXACT,
        "integer": _SAME,
        "long": _RANGE,
        "float": _WHOLE,
        "double": _WHOLE,
        "decimal": _WHOLE,
        "string": _WHOLE_TEXT,
    },
    "boolean": {
        "boolean": _SAME,
        "byte": _ZERO_ONE,
        "short": _ZERO_ONE,
        "integer": _ZERO_ONE,
        "long": _ZERO_ONE,
        "float": _ZERO_ONE,
        "double": _ZERO_ONE,
        "decimal": _ZERO_ONE,
        "string": _FLAG_TEXT,
    },
    "string": {
        "boolean": _RENDERS,
        "byte": _RENDERS,
        "short": _RENDERS,
        "integer": _RENDERS,
        "long": _RENDERS,
        "float": _RENDERS,
        "double": _RENDERS,
        "decimal": Rule("renders", "decimal_text", "plain digits with the column's scale"),
        "string": _SAME,
        "date": _RENDERS,
        "timestamp": Rule("renders", "instant_text", "UTC, as 2026-01-31 23:59:59"),
        "timestamp_ntz": _RENDERS,
    },
    "binary": {
        "binary": _SAME,
    },
    "datetime": {
        "date": Rule("exact", "date_micros", f"midnight; {_NANOSECONDS}", "out of range"),
        "timestamp": Rule("exact", "instant_micros", f"in UTC; {_NANOSECONDS}", "out of range"),
        "timestamp_ntz": Rule("exact", "wall_clock_micros", f"taken as UTC; {_NANOSECONDS}", "out of range"),
        "string": Rule("checked", "parse_instant", _TIME_TEXT, "not a time in range"),
    },
}
"""By MLflow type, then by kind of the Spark type; what is not here is refused."""

NONZERO = Rule("checked", "nonzero", "0 is false, any other number true")
"""Numbers to boolean under the lenient policy."""

_WHOLE_DIGITS = {"long": 18, "integer": 9}
"""Decimal digits that always fit: 10^18 - 1 < 2^63, 10^9 - 1 < 2^31."""

WHOLE_RANGES = {
    "byte": INTEGER_RANGES["int8"],
    "short": INTEGER_RANGES["int16"],
    "integer": INTEGER_RANGES["integer"],
    "long": INTEGER_RANGES["long"],
}
"""The values of Spark's integer types, by their kind."""
_SOURCE_RANGES = {"boolean": (0, 2), **WHOLE_RANGES}

_KINDS = {
    "BooleanType": "boolean",
    "ByteType": "byte",
    "ShortType": "short",
    "IntegerType": "integer",
    "LongType": "long",
    "FloatType": "float",
    "DoubleType": "double",
    "DecimalType": "decimal",
    "StringType": "string",
    "CharType": "string",
    "VarcharType": "string",
    "BinaryType": "binary",
    "DateType": "date",
    "TimestampType": "timestamp",
    "TimestampNTZType": "timestamp_ntz",
    "NullType": "void",
    "ArrayType": "array",
    "MapType": "map",
    "StructType": "struct",
}

VOID = Rule("exact", "void", "the column is null in every row")
"""The rule of a column without a type."""

_TAKEN_AS_IT_IS = ("boolean", "byte", "short", "integer", "long", "float", "double", "string", "binary")
"""What a model without an input type gets as it is."""

_GRAVITY: tuple[Verdict, ...] = ("exact", "rounds", "checked", "renders")
_INSIDE = "a value inside does not fit"
_UNKNOWN_LEVEL = "unknown level"

_NUMBERS = ("integer", "long", "float", "double")
_HINTS = {
    "binary": "say what the text or the bytes are: unbase64(x), encode(x, 'UTF-8'), decode(x, 'UTF-8')",
    "variant": "take a typed value out of it: variant_get(x, '$.path', 'double')",
    "map": "take values out of it: x['key']; or struct(x['a'] AS a, ...)",
}


def kind_of(source: DataType) -> str:
    """The source type's key in the table; a type that is not in it is its own simple string."""
    return _KINDS.get(type(source).__name__, source.simpleString())


def rule_for(source: DataType, target: ModelType, *, case_sensitive: bool = False) -> Rule | Refusal:
    """The cell for a Spark type and a model's type, or why there is none.

    Args:
        source: the column's type.
        target: the model's type; nested ones go by the same rules, member by member.
        case_sensitive: Spark's rule for the names of a struct's fields.

    """
    if kind_of(source) == "void":
        return VOID
    match target:
        case Array():
            return _array_rule(source, target, case_sensitive)
        case Map():
            return _map_rule(source, target, case_sensitive)
        case Object():
            return _object_rule(source, target, case_sensitive)
        case Tensor():
            return _tensor_rule(source, target, case_sensitive)
        case Category() | Coded() | OneOf():
            return _level_rule(source, target)
        case _:
            return _scalar_rule(source, target)


def _scalar_rule(source: DataType, target: str) -> Rule | Refusal:
    kind = kind_of(source)
    if target == ANY:
        return _any_rule(source)
    if kind == "decimal" and target in _WHOLE_DIGITS:
        return _decimal_to_whole(source, target)
    rule = _small_whole_rule(kind, target) if target not in _RULES else _RULES[target].get(kind)
    return _refused(source, target) if rule is None else rule


def _decimal_to_whole(source: DataType, target: str) -> Rule:
    precision, scale = source.precision, source.scale  # type: ignore[attr-defined]
    if scale == 0 and precision <= _WHOLE_DIGITS[target]:
        return _EXACT
    return _RANGE if scale == 0 else _WHOLE


def _small_whole_rule(kind: str, target: str) -> Rule | None:
    """Numpy's smaller integers: as ``integer``, but for what lies outside of their range."""
    if kind in _SOURCE_RANGES:
        low, high = INTEGER_RANGES[target]
        source_low, source_high = _SOURCE_RANGES[kind]
        return _EXACT if low <= source_low and source_high <= high else _RANGE
    return _RULES["integer"].get(kind)


def _any_rule(source: DataType) -> Rule | Refusal:
    """Values as they are; what has no plain Python value is refused."""
    kind = kind_of(source)
    inner: Iterable[DataType] = ()
    match kind:
        case "array":
            inner = (source.elementType,)  # type: ignore[attr-defined]
        case "struct":
            inner = [field.dataType for field in source.fields]  # type: ignore[attr-defined]
        case _ if kind not in _TAKEN_AS_IT_IS:
            fix = "the model names no type for it; give one: CAST(x AS double), CAST(x AS string)"
            return Refusal(_refused(source, ANY).cause, fix)
    for type_ in inner:
        if isinstance(rule := _any_rule(type_), Refusal):
            return rule
    return Rule("exact", "same", "as it is: the model names no type")


def _array_rule(source: DataType, target: Array, case_sensitive: bool) -> Rule | Refusal:  # noqa: FBT001
    element = _element_of(source)
    if element is None:
        return _refused(source, target)
    rule = rule_for(element, target.element, case_sensitive=case_sensitive)
    if isinstance(rule, Refusal):
        return rule
    return _nested(
        "elements",
        (Cell(element.simpleString(), target.element, rule, nullable=holds_null(target.element)),),
        "each element",
    )


def _map_rule(source: DataType, target: Map, case_sensitive: bool) -> Rule | Refusal:  # noqa: FBT001
    if kind_of(source) != "map" or kind_of(source.keyType) != "string":  # type: ignore[attr-defined]
        return _refused(source, target)
    value = source.valueType  # type: ignore[attr-defined]
    rule = rule_for(value, target.value, case_sensitive=case_sensitive)
    if isinstance(rule, Refusal):
        return rule
    return _nested(
        "entries", (Cell(value.simpleString(), target.value, rule, nullable=holds_null(target.value)),), "each value"
    )


def _object_rule(source: DataType, target: Object, case_sensitive: bool) -> Rule | Refusal:  # noqa: FBT001
    if kind_of(source) != "struct":
        return _refused(source, target)
    cells = []
    for member in target.members:
        found = _fields_named(source, member.name, case_sensitive)
        if len(found) > 1:
            return Refusal(f"more than one field of the struct has the name {member.name!r}")
        if not found and member.required:
            names = ", ".join(source.names)  # type: ignore[attr-defined]
            return Refusal(f"the struct has no field {member.name!r}", f"its fields: {names}")
        if not found:
            continue
        name, type_ = found[0]
        rule = rule_for(type_, member.type, case_sensitive=case_sensitive)
        if isinstance(rule, Refusal):
            return Refusal(f"member {member.name!r}: {rule.cause}", rule.fix)
        nullable = holds_null(member.type) or not member.required
        cells.append(Cell(type_.simpleString(), member.type, rule, member.name, name, nullable))
    if not cells:
        return Refusal("the struct has none of the object's members")
    return _nested("members", tuple(cells), "each member")


def _fields_named(source: DataType, name: str, case_sensitive: bool) -> list[tuple[str, DataType]]:  # noqa: FBT001
    fields: StructType = source  # type: ignore[assignment]
    return [
        (field.name, field.dataType)
        for field in fields.fields
        if field.name == name or (not case_sensitive and field.name.lower() == name.lower())
    ]


def _tensor_rule(source: DataType, target: Tensor, case_sensitive: bool) -> Rule | Refusal:  # noqa: FBT001
    """One array (nested ones are laid flat), a struct with a field per value, or a number where the width is one."""
    if target.width < 0:
        return Refusal(
            f"{target} has an open inner dimension, so rows of one batch could differ",
            "log the model with a fixed shape, such as (-1, 128), and pad the rows to it",
        )
    if kind_of(source) == "struct":
        return _tensor_of_struct(source, target, case_sensitive)
    inner, depth = source, 0
    while (element := _element_of(inner)) is not None:
        inner, depth = element, depth + 1
    if depth not in (0, 1, len(target.shape) - 1) or (depth == 0 and target.width != 1):
        return _refused(source, target)
    rule = _tensor_value_rule(inner, target)
    if isinstance(rule, Refusal):
        return rule
    cell = Cell(inner.simpleString(), target.dtype, rule, source="[]" * depth, nullable=holds_null(target.dtype))
    return _tensor_of((cell,), target, f"exactly {_values(target.width)}" if depth else "one value")


def _tensor_of_struct(source: DataType, target: Tensor, case_sensitive: bool) -> Rule | Refusal:  # noqa: FBT001
    fields: StructType = source  # type: ignore[assignment]
    if len(fields.fields) != target.width:
        return Refusal(f"{len(fields.fields)} columns for {target}, which takes {target.width}")
    cells = []
    for field in fields.fields:
        if len(_fields_named(source, field.name, case_sensitive)) > 1:
            return Refusal(f"more than one field of the struct has the name {field.name!r}")
        rule = _tensor_value_rule(field.dataType, target)
        if isinstance(rule, Refusal):
            return Refusal(f"{field.name}: {rule.cause}", rule.fix)
        cells.append(
            Cell(
                field.dataType.simpleString(), target.dtype, rule, source=field.name, nullable=holds_null(target.dtype)
            )
        )
    return _tensor_of(tuple(cells), target, f"the {_values(target.width)} of a struct, in its order")


def _tensor_value_rule(source: DataType, target: Tensor) -> Rule | Refusal:
    if target.dtype == "datetime" or (target.dtype not in _RULES and target.dtype not in INTEGER_RANGES):
        fix = "log the model with a tensor of float64, float32, int64, int32 or a smaller integer"
        return Refusal(f"this version makes no tensors of {target.dtype}", fix)
    return rule_for(source, target.dtype)


def _tensor_of(cells: tuple[Cell, ...], target: Tensor, what: str) -> Rule:
    nested = _nested("tensor", cells, what)
    can_fail = nested.reason is not None or cells[0].source.startswith("[]")
    reason = f"not {_values(target.width)} of the tensor's type" if can_fail else None
    return Rule(nested.verdict, "tensor", nested.note, reason, cells)


def _values(count: int) -> str:
    return "one value" if count == 1 else f"{count} values"


def _level_rule(source: DataType, target: Category | Coded | OneOf) -> Rule | Refusal:
    """Matched on the level's own type; dates by their ISO text."""
    levels = target.levels
    kind = kind_of(source)
    if levels.type == "date" and kind not in ("date", "string"):
        return _refused(source, target)
    if isinstance(target, OneOf) and not _are_held(levels, target.type):
        cause = f"its levels ({levels}) are not values of type {target.type}"
        return Refusal(cause, f"give levels of type {target.type}, or leave them out")
    own = "string" if levels.type == "date" else levels.type
    rule = _scalar_rule(source, own)
    if isinstance(rule, Refusal):
        return _refused(source, target)
    verdict: Verdict = "renders" if rule.verdict == "renders" and levels.type != "date" else "checked"
    conversion: Conversion = "listed" if isinstance(target, OneOf) else "level"
    cell = Cell(source.simpleString(), own, rule)
    return Rule(verdict, conversion, f"one of {levels}, from {levels.origin}", _UNKNOWN_LEVEL, (cell,))


def _are_held(levels: Levels, type_: str) -> bool:
    """Whether a type has a value for each of the levels."""
    if type_ == "string" or levels.type in ("string", "date"):
        return type_ == "string"
    numbers = [value for value in levels.values if not isinstance(value, str)]
    if type_ == "boolean":
        return all(number in (0, 1) for number in numbers)
    if type_ in INTEGER_RANGES:
        low, high = INTEGER_RANGES[type_]
        return all(number % 1 == 0 and low <= number < high for number in numbers)
    return type_ in ("double", "float")


def _element_of(source: DataType) -> DataType | None:
    element: DataType | None = getattr(source, "elementType", None)
    return element


def _nested(conversion: Conversion, cells: tuple[Cell, ...], what: str) -> Rule:
    """A nested rule: as grave as the gravest of its members, with their distinct notes."""
    verdict: Verdict = max((cell.rule.verdict for cell in cells), key=_GRAVITY.index, default="exact")
    notes = dict.fromkeys(cell.rule.note for cell in cells if cell.rule.note)
    note = f"{what}: {'; '.join(notes)}" if notes else what
    can_fail = any(cell.rule.reason is not None or not cell.nullable for cell in cells)
    return Rule(verdict, conversion, note, _INSIDE if can_fail else None, cells)


def _refused(source: DataType, target: ModelType) -> Refusal:
    kind = kind_of(source)
    hint = _HINTS["binary"] if target == "binary" else _HINTS.get(kind)
    if kind == "date" and target in _NUMBERS:
        hint = "say which number: datediff(DATE '2026-01-01', x), unix_date(x), year(x), month(x), dayofweek(x)"
    shown = "a model without input types" if target == ANY else target
    return Refusal(f"no meaningful conversion from {source.simpleString().upper()} to {shown}", hint)
