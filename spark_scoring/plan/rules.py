"""(Spark type, model type) -> how a value is converted, as data; lists, levels and the like by the rules of scalars.

A rule holds for the type, never for the values that a batch happens to have, and depends neither on
``spark.sql.ansi.enabled`` nor on the session time zone nor on the Spark version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.model.types import (
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
from spark_scoring.plan.scalar_rules import SCALAR_RULES, VOID, kind_of, refused, scalar_rule
from spark_scoring.plan.verdicts import Cell, Conversion, Refusal, Rule, Verdict

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

_GRAVITY: tuple[Verdict, ...] = ("exact", "rounds", "checked", "renders")
_INSIDE = "a value inside does not fit"
_UNKNOWN_LEVEL = "unknown level"


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
            return scalar_rule(source, target)


def _array_rule(source: DataType, target: Array, case_sensitive: bool) -> Rule | Refusal:  # noqa: FBT001
    element = _element_of(source)
    if element is None:
        return refused(source, target)
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
        return refused(source, target)
    value = source.valueType  # type: ignore[attr-defined]
    rule = rule_for(value, target.value, case_sensitive=case_sensitive)
    if isinstance(rule, Refusal):
        return rule
    return _nested(
        "entries", (Cell(value.simpleString(), target.value, rule, nullable=holds_null(target.value)),), "each value"
    )


def _object_rule(source: DataType, target: Object, case_sensitive: bool) -> Rule | Refusal:  # noqa: FBT001
    if kind_of(source) != "struct":
        return refused(source, target)
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
        return refused(source, target)
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
    if target.dtype == "datetime" or (target.dtype not in SCALAR_RULES and target.dtype not in INTEGER_RANGES):
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
        return refused(source, target)
    if isinstance(target, OneOf) and not _are_held(levels, target.type):
        cause = f"its levels ({levels}) are not values of type {target.type}"
        return Refusal(cause, f"give levels of type {target.type}, or leave them out")
    own = "string" if levels.type == "date" else levels.type
    rule = scalar_rule(source, own)
    if isinstance(rule, Refusal):
        return refused(source, target)
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
