"""An evaluation on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_scoring.evaluation.evaluation import Evaluation
    from spark_scoring.evaluation.result import CalibrationBin, EvaluatedRows, Slice, Split
    from spark_scoring.report.measures import Measures

_SHOWN_SLICES = 12
_SHOWN_CLASSES = 6
_SHOWN_PAIRS = 4
_IN_THE_LINE = 3
_WIDEST_LEVEL, _INDENT = 14, 2
"""With them, all metrics of a classification fit into 80 characters."""
_FEWEST_DIGITS, _MOST_DIGITS = 4, 15


def headline(metrics: Measures) -> str:
    """The first metrics in a line."""
    told = [f"{name} {value:.4g}" for name, value in metrics.items() if value is not None]
    return ", ".join(told[:_IN_THE_LINE]) or "nothing measured"


def evaluation_view(found: Evaluation) -> Group:
    """An evaluation as a rich renderable."""
    grid = Table.grid(padding=(0, 2))
    where = f" where {found.where}" if found.where else ""
    grid.add_row("predictions", Text(f"{found.table.table} {found.table.state}{where}"))
    grid.add_row("labels", Text(f"{found.labels.table} {found.labels.state}: {found.label}, by {', '.join(found.key)}"))
    grid.add_row("task", Text(f"{found.task}: {found.task_reason}"))
    grid.add_row("rows", Text(_rows(found.rows), style="" if found.rows.measured else "yellow"))
    parts: list[Text | Table] = [Text("evaluated; nothing was written", style="bold green"), grid]
    if found.rows.measured:
        parts += [Text(), *_metrics(found), *_classes(found), *_calibration(found)]
    return Group(*parts, *(Text(f"note: {note}", style="yellow") for note in found.notes))


def _rows(rows: EvaluatedRows) -> str:
    """What became of them."""
    apart = {"bad": rows.bad, "without a label": rows.unlabelled, "null or not finite": rows.not_finite}
    told = [f"{count:,} {what}" for what, count in apart.items() if count]
    return f"{rows.measured:,} measured" + (f" of {rows.rows:,}: {', '.join(told)}" if told else "")


def _metrics(found: Evaluation) -> list[Text | Table]:
    """A line for all rows, and one for each slice: tables of equal widths, with lines of their own between them."""
    names = [name for name in found.metrics if _is_shown(name, found)]
    heads = ["", "rows", *names]
    blocks = [("", [["all", *_cells(found.rows.measured, found.metrics, names)]])]
    told = [split for split in found.splits if split.kind != "version" or len(split.slices) > 1]
    blocks += [_split(split, names) for split in told]
    lines = [heads, *(line for _, of_block in blocks for line in of_block)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    parts: list[Text | Table] = []
    for title, of_block in blocks:
        parts += [Text(title, style="dim")] if title else []
        parts.append(_block(heads if not title else None, of_block, widths))
    return parts


def _split(split: Split, names: Sequence[str]) -> tuple[str, list[list[str]]]:
    """Its title, and a line for each slice that is shown."""
    window = f"{split.window} of " if split.window else ""
    shown = split.slices[-_SHOWN_SLICES:] if split.kind == "window" else split.slices[:_SHOWN_SLICES]
    rest = len(split.slices) - len(shown)
    more = f"; {rest} more: --json has them" if rest > 0 else ""
    lines = [[f"  {_level(one, split)}", *_cells(one.rows, one.metrics, names)] for one in shown]
    return f"  by {window}{split.by}{more}", lines


def _block(heads: Sequence[str] | None, lines: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 1, 0, 0), show_header=heads is not None)
    table.add_column("", overflow="fold", width=min(widths[0], _WIDEST_LEVEL) + _INDENT)
    for i, width in enumerate(widths[1:], start=1):
        table.add_column(heads[i] if heads else "", justify="right", no_wrap=True, min_width=width)
    for level, *cells in lines:
        table.add_row(Text(f"  {level}"), *cells)
    return table


def _is_shown(name: str, found: Evaluation) -> bool:
    """Metrics that no slice has a value of are not."""
    every = [found.metrics, *(one.metrics for split in found.splits for one in split.slices)]
    return any(metrics.get(name) is not None for metrics in every)


def _level(one: Slice, split: Split) -> str:
    if one.is_other:
        return "other"
    models = {other.model for other in split.slices if other.model}
    name = f"{one.model} " if one.model and len(models) > 1 else ""
    return f"{name}{'null' if one.level is None else one.level}"


def _cells(rows: int, metrics: Measures, names: Sequence[str]) -> list[str]:
    return [f"{rows:,}", *[_number(metrics.get(name)) for name in names]]


def _classes(found: Evaluation) -> list[Text | Table]:
    """Classes, and what is most often taken for something else."""
    if not found.classes:
        return []
    table = _table("class", "rows", "predicted", "precision", "recall", "f1")
    for one in found.classes[:_SHOWN_CLASSES]:
        numbers = [_number(value) for value in (one.precision, one.recall, one.f1)]
        table.add_row(Text(f"  {one.label}"), f"{one.rows:,}", f"{one.predicted:,}", *numbers)
    rest = found.other_classes + sum(one.rows for one in found.classes[_SHOWN_CLASSES:])
    if rest:
        table.add_row("  other", f"{rest:,}")
    wrong = [one for one in found.confusion if one.label != one.prediction][:_SHOWN_PAIRS]
    told = ", ".join(f"{one.label} as {one.prediction} {one.rows:,}" for one in wrong)
    return [Text(), table, *([Text(f"  wrong  {told}")] if told else [])]


def _calibration(found: Evaluation) -> list[Text | Table]:
    """What was predicted beside what came true."""
    bins = [one for one in found.calibration if one.predicted is not None]
    if not bins:
        return []
    digits = _FEWEST_DIGITS
    if found.task == "regression":
        table = _table("prediction", "rows", "mean prediction", "mean label")
        digits = _digits([one.high for one in bins if one.high is not None])
    else:
        of = f"probability of {found.positive}" if found.positive is not None else "greatest probability"
        table = _table(of, "rows", "mean", "came true")
    for one in bins:
        means = (_number(one.predicted, digits), _number(one.observed, digits))
        table.add_row(f"  {_between(one, digits)}", f"{one.rows:,}", *means)
    if rest := sum(one.rows for one in found.calibration) - sum(one.rows for one in bins):
        table.add_row("  other", f"{rest:,}")
    return [Text(), table]


def _digits(bounds: Sequence[float]) -> int:
    """As few as tell the bounds apart."""
    counts = range(_FEWEST_DIGITS, _MOST_DIGITS)
    told = (digits for digits in counts if len({_number(b, digits) for b in bounds}) == len(bounds))
    return next(told, _MOST_DIGITS)


def _between(one: CalibrationBin, digits: int) -> str:
    low, high = (_number(bound, digits) for bound in (one.low, one.high))
    if one.low is None:
        return "all" if one.high is None else f"up to {high}"
    return f"above {low}" if one.high is None else f"{low} to {high}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(f"  {first}", overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _number(value: float | None, digits: int = 4) -> str:
    text = "-" if value is None else f"{value:,.{digits}g}"
    return text if "e+" not in text else f"{value:,.0f}"
