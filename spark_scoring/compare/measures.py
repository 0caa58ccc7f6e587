"""The measures of a comparison by name: what ``--fail-if`` may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.compare.totals import rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_scoring.compare.outputs import Output, Part
    from spark_scoring.compare.result import ComparedRows, NumberChange, OutputResult, PartResult

Measures = dict[str, float | None]

_OF_ROWS = ("rows", "bad_both_rate", "bad_current_only_rate", "bad_challenger_only_rate")
_OF_NUMBERS = ("mean_diff", "mean_abs_diff", "max_abs_diff", "p50_abs_diff", "p90_abs_diff", "p99_abs_diff")


def measure_names(outputs: Sequence[Output]) -> tuple[str, ...]:
    """The measures that a comparison of these outputs has; known before a row is read."""
    own = [f"{of}.{name}" for output in outputs for of, names in _of_output(output) for name in names]
    return (*_OF_ROWS, *dict.fromkeys(name.rpartition(".")[2] for name in own), *own)


def _of_output(output: Output) -> list[tuple[str, tuple[str, ...]]]:
    """Of an output as a whole, and of its parts, where there are several."""
    if output.kind in ("list", "record"):
        whole = ("changed_rate", "mean_abs_diff") if output.kind == "list" else ("changed_rate",)
        return [(output.name, whole), *((part.name, _of_part(part)) for part in output.parts)]
    return [(part.name, _of_part(part)) for part in output.parts]


def _of_part(part: Part) -> tuple[str, ...]:
    match part.kind:
        case "number":
            return ("changed_rate", *_OF_NUMBERS)
        case "label":
            return ("changed_rate", "flip_rate")
        case "value":
            return ("changed_rate",)


def measured(rows: ComparedRows, outputs: Sequence[OutputResult]) -> Measures:
    """The values, by name; None where nothing could be measured.

    A name without the output's, such as ``flip_rate``, is that of the first output that has it.
    """
    found: Measures = {
        "rows": rows.rows,
        "bad_both_rate": rate(rows.bad_both, rows.rows),
        "bad_current_only_rate": rate(rows.bad_current_only, rows.rows),
        "bad_challenger_only_rate": rate(rows.bad_challenger_only, rows.rows),
    }
    own: Measures = {}
    for output in outputs:
        if output.kind in ("list", "record"):
            own[f"{output.name}.changed_rate"] = output.changed_rate
        if output.kind == "list":
            own[f"{output.name}.mean_abs_diff"] = output.mean_change
        for part in output.parts:
            own |= {f"{part.name}.{name}": value for name, value in _part_measures(part).items()}
    for name, value in own.items():
        found.setdefault(name.rpartition(".")[2], value)
    return {**found, **own}


def _part_measures(part: PartResult) -> Measures:
    measures: Measures = {"changed_rate": part.changed_rate}
    if part.kind == "label":
        measures["flip_rate"] = part.changed_rate
    if part.number is not None:
        measures |= _number_measures(part.number)
    return measures


def _number_measures(number: NumberChange) -> Measures:
    quantiles = number.quantiles_abs_diff or {}
    return {
        "mean_diff": number.mean_diff,
        "mean_abs_diff": number.mean_abs_diff,
        "max_abs_diff": number.max_abs_diff,
        **{f"{name}_abs_diff": quantiles.get(name) for name in ("p50", "p90", "p99")},
    }
