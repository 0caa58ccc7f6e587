"""Codes of the reasons for which rows are bad."""

from __future__ import annotations

from pyspark.sql.types import ArrayType, DecimalType, DoubleType, LongType, StringType

from spark_scoring.model.types import Array, Category, Levels, Tensor
from spark_scoring.plan.reasons import SEPARATOR, check_reasons, code_of, reason_text
from spark_scoring.plan.rules import rule_for
from spark_scoring.plan.scalar_rules import SCALAR_RULES
from spark_scoring.plan.verdicts import Rule


def test_every_reason_of_a_rule_has_a_code_of_its_own() -> None:
    rules = [rule for cells in SCALAR_RULES.values() for rule in cells.values()]
    rules += [
        found
        for found in (
            rule_for(DecimalType(38, 3), "long"),
            rule_for(LongType(), "int8"),
            rule_for(StringType(), Category(Levels(("a",), "string", "the job"))),
            rule_for(ArrayType(StringType()), Array("long")),
        )
        if isinstance(found, Rule)
    ]
    reasons = {rule.reason for rule in rules if rule.reason is not None}
    assert len({code_of(reason) for reason in reasons}) == len(reasons)
    assert "wrong_shape" not in {code_of(reason) for reason in reasons}
    tensor = rule_for(ArrayType(DoubleType()), Tensor("double", (-1, 3)))
    assert isinstance(tensor, Rule)
    assert code_of(str(tensor.reason)) == "wrong_shape"


def test_a_name_never_holds_the_separator() -> None:
    for name in ("a; b", '"a"', "a", "; ", "a: null"):
        text = reason_text(name, "null")
        assert SEPARATOR not in text
        assert check_reasons([(name, None)])[text].feature == name
    assert len({reason_text(name, "null") for name in ("a; b", '"a; b"', '"a\\u003b b"')}) == 3
