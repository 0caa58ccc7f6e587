"""The measures of a comparison by name: what ``--fail-if`` may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.compare.errors import CompareError
from spark_scoring.errors import Gathering
from spark_scoring.evaluation.measures import OF_ANY_TASK
from spark_scoring.report.measures import name_in, rate, read_conditions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from spark_scoring.compare.labelled import LabelPlan
    from spark_scoring.compare.outputs import Output, Part
    from spark_scoring.compare.result import ComparedRows, LabelResult, NumberChange, OutputResult, PartResult
    from spark_scoring.report.measures import Condition, Measures

_OF_ROWS = ("rows", "bad_both_rate", "bad_current_only_rate", "bad_challenger_only_rate")
_OF_NUMBERS = ("mean_diff", "mean_abs_diff", "max_abs_diff", "p50_abs_diff", "p90_abs_diff", "p99_abs_diff")


def measure_names(outputs: Sequence[Output], labels: LabelPlan | None = None) -> tuple[str, ...]:
    """The measures that a comparison of these outputs, and of these labels, has; known before a row is read."""
    own = [f"{of}.{name}" for output in outputs for of, names in _of_output(output) for name in names]
    of_labels = () if labels is None else _of_labels(OF_ANY_TASK)
    return (*_OF_ROWS, *dict.fromkeys(name.rpartition(".")[2] for name in own), *own, *of_labels)


def conditions_on(texts: Sequence[str], known: Collection[str]) -> tuple[Condition, ...]:
    """The conditions of these texts, on measures of these names.

    Raises:
        CompareError: with every text that is not a condition, or that names no measure.

    """
    problems = Gathering()
    found: list[Condition] = []
    of_labels = set(_of_labels(OF_ANY_TASK))
    for text in texts:
        with problems.attempt():
            name = name_in(text)
            if name is not None and name in of_labels and of_labels.isdisjoint(known):
                raise CompareError.measure_of_labels(text, name)
            found += read_conditions([text], known, CompareError)
    problems.raise_all(CompareError)
    return tuple(found)


def _of_labels(metrics: Iterable[str]) -> tuple[str, ...]:
    """The measures of the metrics: of both models, and the challenger's beyond the current one's."""
    return tuple(
        name for metric in metrics for name in (f"current.{metric}", f"challenger.{metric}", f"{metric}_change")
    )


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


def measured(rows: ComparedRows, outputs: Sequence[OutputResult], labelled: LabelResult | None) -> Measures:
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
    return {**found, **own, **({} if labelled is None else _label_measures(labelled))}


def _label_measures(labelled: LabelResult) -> Measures:
    found: Measures = {}
    for metric, change in labelled.changes.items():
        values = labelled.current[metric], labelled.challenger[metric], change
        found |= dict(zip(_of_labels([metric]), values, strict=True))
    return found


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
