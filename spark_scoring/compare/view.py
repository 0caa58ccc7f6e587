"""A comparison on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_scoring.compare.comparison import Comparison
    from spark_scoring.compare.result import (
        ComparedRows,
        DriverResult,
        LabelChange,
        LabelResult,
        OutputResult,
        PartResult,
    )
    from spark_scoring.report.bad_rows import ReasonCount

_SHOWN_FLIPS = 5
_SHOWN_LABELS = 5
_SHOWN_DRIVERS = 3
_SHOWN_PARTS = 6
_SHOWN_REASONS = 3
_SHOWN_NAMES = 8


def headline(rows: ComparedRows, outputs: Sequence[OutputResult]) -> str:
    """What changes, in a line."""
    if not rows.rows:
        return "the source has no rows"
    if not rows.both:
        return f"no row of {rows.rows:,} is scored by both"
    return ", ".join(f"{output.name} {_changed(output.changed, output.changed_rate)}" for output in outputs)


def comparison_view(comparison: Comparison) -> Group:
    """A comparison as a rich renderable."""
    current, challenger, source, rows = comparison.current, comparison.challenger, comparison.source, comparison.rows
    table = Table.grid(padding=(0, 2))
    table.add_row("current", Text(current.title))
    table.add_row("challenger", Text(challenger.title))
    where = f" where {source.where}" if source.where else ""
    table.add_row("source", Text(f"{source.table} {source.state}{where}"))
    for side, facts in (("current", current), ("challenger", challenger)):
        if facts.only_features:
            table.add_row("", Text(f"the {side} model alone takes {_listed(facts.only_features)}"))
    _add_rows(table, rows)
    parts: list[Text | Table] = [Text("compared; nothing was written", style="bold green"), table]
    if comparison.labelled is not None:
        _add_labels(table, comparison.labelled)
        if comparison.labelled.measured:
            parts += [Text(), _metrics(comparison.labelled)]
    if rows.both:
        for output in comparison.outputs:
            parts += [Text(), *_output(output, rows.both)]
    return Group(*parts, *(Text(f"note: {note}", style="yellow") for note in comparison.notes))


def _add_labels(table: Table, labelled: LabelResult) -> None:
    """Where the labels are, and how many rows have one."""
    of = labelled.table
    where = f"column {labelled.label} of the source" if of is None else f"{labelled.label} of {of.table} {of.state}"
    table.add_row("labels", Text(f"{where}; {labelled.task}: {labelled.task_reason}"))
    told = f"{labelled.measured:,} of the {labelled.rows:,} {_rows(labelled.rows)} that both have scored are measured"
    left_out = {"without a label": labelled.unlabelled, "without a number": labelled.not_finite}
    reasons = [f"{count:,} {reason}" for reason, count in left_out.items() if count]
    text = "; ".join([told, *reasons])
    table.add_row("", Text(text, style="" if labelled.measured else "yellow"))


def _metrics(labelled: LabelResult) -> Table:
    """The metrics side by side. Which of two is better is for the reader: errors fall, areas and shares rise."""
    table = _table("against labels", "current", "challenger", "change")
    for name, change in labelled.changes.items():
        current, challenger = labelled.current[name], labelled.challenger[name]
        if current is not None or challenger is not None:
            told = "-" if change is None else f"{change:+,.4g}"
            table.add_row(f"  {name}", _number(current), _number(challenger), told)
    return table


def _add_rows(table: Table, rows: ComparedRows) -> None:
    if not rows.rows:
        table.add_row("rows", Text("none: the source has no rows, so there is nothing to compare", style="yellow"))
        return
    bad = f"; {rows.bad_both:,} bad under both" if rows.bad_both else ""
    both = "all" if rows.both == rows.rows else f"{rows.both:,} of them"
    table.add_row("rows", Text(f"{rows.rows:,}, {both} scored by both{bad}"))
    sides = (
        ("current", rows.bad_current_only, rows.reasons_current_only),
        ("challenger", rows.bad_challenger_only, rows.reasons_challenger_only),
    )
    for side, count, reasons in sides:
        if count:
            text = f"{count:,} {_rows(count)} under the {side} model alone: {_reasons(reasons)}"
            table.add_row("bad", Text(text, style="yellow"))


def _reasons(reasons: Sequence[ReasonCount]) -> str:
    told = [f"{reason.text} ({reason.rows:,})" for reason in reasons[:_SHOWN_REASONS]]
    rest = len(reasons) - _SHOWN_REASONS
    return "; ".join([*told, *([f"and {rest} more reasons"] if rest > 0 else [])])


def _output(output: OutputResult, both: int) -> list[Text | Table]:
    """A column: what changes, side by side, and where."""
    text = Text.assemble((output.name, "bold"), f"  {_changed(output.changed, output.changed_rate)}")
    shown: list[Text | Table] = [text]
    numbers = [part for part in output.parts if part.number is not None]
    if numbers:
        shown += [_means(numbers[:_SHOWN_PARTS]), _differences(numbers[:_SHOWN_PARTS])]
        if len(numbers) > _SHOWN_PARTS:
            shown.append(Text(f"  and {len(numbers) - _SHOWN_PARTS} more values: --json has them", style="dim"))
        if output.kind == "number":
            shown += _deciles(numbers[0])
    for part in output.parts[:_SHOWN_PARTS]:
        if part.label is not None:
            shown += _labels(part, part.label, both, is_alone=len(output.parts) == 1)
    return shown if not output.changed else [*shown, *_drivers(output.drivers)]


def _means(parts: Sequence[PartResult]) -> Table:
    """Means side by side, a row for each number."""
    table = _table("mean", "current", "challenger", "change")
    for part in parts:
        number = part.number
        if number is not None:
            change = "-" if number.mean_diff is None else f"{number.mean_diff:+,.4g}"
            means = (_number(number.mean_current), _number(number.mean_challenger))
            table.add_row(Text(f"  {part.name}"), *means, change)
    return table


def _differences(parts: Sequence[PartResult]) -> Table:
    """By how much rows change, whether up or down; a row for each number. Quantiles are approximate, and say so."""
    table = _table("up or down by", "on average", "~50%", "~90%", "~99%", "at most")
    for part in parts:
        number = part.number
        if number is not None:
            quantiles = number.quantiles_abs_diff or {}
            values = [number.mean_abs_diff, *(quantiles.get(p) for p in ("p50", "p90", "p99")), number.max_abs_diff]
            table.add_row(Text(f"  {part.name}"), *[_number(value) for value in values])
            if number.not_finite:
                table.add_row(Text(f"    {number.not_finite:,} {_rows(number.not_finite)} without a number"))
    return table


def _deciles(part: PartResult) -> list[Text | Table]:
    number = part.number
    if number is None or number.deciles_current is None or number.deciles_challenger is None:
        return []
    table = _table("deciles", *[f"~{n}0%" for n in range(1, 10)])
    for side, deciles in (("current", number.deciles_current), ("challenger", number.deciles_challenger)):
        table.add_row(f"  {side}", *[_number(value) for value in deciles])
    return [table]


def _labels(part: PartResult, label: LabelChange, both: int, *, is_alone: bool) -> list[Text | Table]:
    """Flips, and the shares of both models."""
    shown: list[Text | Table] = []
    if not is_alone:
        shown.append(Text(f"  {part.name}: {_changed(part.changed, part.changed_rate)}"))
    flips = [f"{_label(flip.current)} -> {_label(flip.challenger)} {flip.rows:,}" for flip in label.flips]
    other = label.other_flips + sum(flip.rows for flip in label.flips[_SHOWN_FLIPS:])
    told = [*flips[:_SHOWN_FLIPS], *([f"other {other:,}"] if other else [])]
    if told:
        shown.append(Text(f"  flips  {', '.join(told)}"))
    table = _table("shares", "current", "challenger")
    for share in label.labels[:_SHOWN_LABELS]:
        table.add_row(Text(f"  {_label(share.label)}"), _share(share.current, both), _share(share.challenger, both))
    rest = label.labels[_SHOWN_LABELS:]
    others = [
        label.other_current + sum(s.current for s in rest),
        label.other_challenger + sum(s.challenger for s in rest),
    ]
    if any(others):
        table.add_row("  other", *[_share(count, both) for count in others])
    return [*shown, table]


def _drivers(drivers: Sequence[DriverResult]) -> list[Text | Table]:
    """The features that explain most."""
    told = [driver for driver in drivers if driver.effect or driver.association][:_SHOWN_DRIVERS]
    if not told:
        return [Text("  no feature explains where it changes")] if drivers else []
    table = _table("of the change", "comes from it", "goes with it", "most where it is")
    table.columns[-1].justify = "left"
    for driver in told:
        most = "" if driver.most is None else f"{driver.most.text} ({_number(driver.most.mean_change)} on average)"
        effect = "" if driver.effect is None else f"{driver.effect:.0%}"
        table.add_row(Text(f"  {driver.feature}"), effect, f"{driver.association:.0%}", Text(most))
    return [table]


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(f"  {first}", no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _changed(changed: int, rate: float | None) -> str:
    return f"changes in {changed:,} {_rows(changed)}" + ("" if rate is None else f" ({_percent(rate)})")


def _share(part: int, whole: int) -> str:
    return _percent(part / whole)


def _percent(share: float) -> str:
    """A share that is above 0 never reads as 0, and one below 1 never as 100 %."""
    if 0 < share < 0.0005:  # noqa: PLR2004
        return "under 0.1%"
    return "over 99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"  # noqa: PLR2004


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}"


def _label(label: str | None) -> str:
    return "null" if label is None else label


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")
