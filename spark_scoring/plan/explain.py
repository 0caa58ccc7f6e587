"""A scoring plan for people and programs: rich in a terminal, plain text in a log, HTML, JSON types for tools."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from spark_scoring.html import html_of
from spark_scoring.plan.policy import Fill
from spark_scoring.plan.verdicts import VERDICT_WORDS
from spark_scoring.redact import all_shown
from spark_scoring.screen import as_text
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spark_scoring.model.environment import Environment
    from spark_scoring.plan.lookups import LookupPlan
    from spark_scoring.plan.scoring_plan import PlannedFeature, ScoringPlan
    from spark_scoring.plan.verdicts import Verdict

_STYLES: dict[Verdict, str] = {
    "exact": "green",
    "rounds": "cyan",
    "checked": "yellow",
    "renders": "magenta",
    "default": "magenta",
    "refused": "red",
}
_SHOWN_TYPE = 28
_WIDTH = 62
"""Characters for the names of columns that are not read: with the words before them, a line of 80."""
_SHOWN_SQL = 40
"""Characters of a type or an expression in the table of the text; what is longer is written out below it."""


def plan_view(plan: ScoringPlan) -> Group:
    """The plan as a rich renderable."""
    parts: list[Text | Table] = [
        *_headlines(plan),
        _feature_table(plan),
        Text(),
        _output_table(plan),
    ]
    if plan.lookups is not None and plan.lookups.columns:
        parts[-3:-3] = [_lookup_table(plan.lookups), Text()]
    if (details := _detail_table(plan)).row_count:
        parts += [Text(), details]
    return Group(*parts, *_notes(plan))


def _notes(plan: ScoringPlan) -> list[Text]:
    return [Text(f"note: {note}", style="yellow") for note in plan.notes]


def plan_summary(plan: ScoringPlan) -> Group:
    """The plan without its list of features, as a rich renderable."""
    added = ", ".join(f"{column.name} {column.type}" for column in plan.outputs)
    parts = [*_headlines(plan), Text(f"adds {added}")]
    if plan.rehearsal is not None and plan.rehearsal.origin is not None:
        parts.append(Text(f"rehearsed on {plan.rehearsal.rows} rows ({plan.rehearsal.origin})"))
    return Group(*parts, *_notes(plan))


def plan_text(plan: ScoringPlan) -> str:
    """The plan as plain text."""
    return as_text(plan_view(plan))


def plan_dict(plan: ScoringPlan) -> dict[str, Any]:
    """The plan as JSON types; the model's types as text."""
    model = plan.model
    return {
        "hash": plan.hash,
        "model": {
            "uri": model.uri,
            "name": model.name,
            "version": model.version,
            "run_id": model.run_id,
            "digest": model.digest,
            "flavor": model.flavor,
            "classes": list(model.classes),
            "differences": [asdict(difference) for difference in model.differences],
            "environment": None if model.environment is None else _environment_dict(model.environment),
        },
        "features": [_feature_dict(feature) for feature in plan.features],
        "outputs": [{"name": o.name, "type": o.type, "note": o.note} for o in plan.outputs],
        "methods": list(plan.methods),
        "params": all_shown(dict(plan.params)),
        "columns_not_read": len(plan.ignored),
        "lookups": [] if plan.lookups is None else plan.lookups.to_dict(),
        "notes": list(plan.notes),
        "engine": {"name": plan.engine, "why": plan.engine_note},
        "rehearsal": None if plan.rehearsal is None else plan.rehearsal.to_dict(),
    }


def _environment_dict(environment: Environment) -> dict[str, Any]:
    return {"key": environment.key, "python": environment.python, "library": environment.library}


def plan_html(plan: ScoringPlan, places: Mapping[str, str] | None = None) -> str:
    """The plan as an HTML fragment: one ``section``, escaped, with its own style; no script, nothing loaded.

    Args:
        plan: the plan.
        places: what is shown above it, by label: where the rows come from and go to.

    """
    return _rendered(plan, places or {}, whole=False)


def plan_page(plan: ScoringPlan, places: Mapping[str, str]) -> str:
    """The plan as a whole HTML page; see ``plan_html``."""
    return _rendered(plan, places, whole=True)


def _rendered(plan: ScoringPlan, places: Mapping[str, str], *, whole: bool) -> str:
    values = {
        "whole": whole,
        "places": places,
        "plan": plan,
        "title": plan.model.title,
        "words": VERDICT_WORDS,
        "counts": _counts(plan),
        "features": [_shown(f) for f in plan.features],
        "ignored": _first(plan.ignored) if plan.ignored else "",
    }
    return html_of("spark_scoring.plan", "plan.html.j2", values)


def _shown(feature: PlannedFeature) -> dict[str, Any]:
    """A feature's row in HTML, with the short forms of what is long."""
    short = {"short_type": _short_type(str(feature.type)), "short_from": _short_source(feature)}
    return {**_feature_dict(feature), "from": _source_text(feature), **short}


def _feature_dict(feature: PlannedFeature) -> dict[str, Any]:
    return {
        "name": feature.name,
        "type": str(feature.type),
        "source": feature.source,
        "source_type": feature.source_type,
        "verdict": feature.verdict,
        "nulls": _null_text(feature),
        "invalid": _invalid_text(feature),
        "reason": feature.reason,
        "note": feature.note,
    }


def _headlines(plan: ScoringPlan) -> list[Text]:
    """The model, what is done with its features, and who scores where it is not a Python worker."""
    native = [Text(f"scored by Spark's own expressions: {plan.engine_note}")] if plan.engine == "native" else []
    own = plan.model.environment
    isolated = [] if own is None else [Text(f"the model runs with packages of its own: {own}")]
    return [_headline(plan), *native, *isolated]


def _headline(plan: ScoringPlan) -> Text:
    model = plan.model
    verdicts = ", ".join(f"{n} {VERDICT_WORDS[verdict]}" for verdict, n in _counts(plan).items())
    unread = f"\ncolumns not read: {_first(plan.ignored)}" if plan.ignored else ""
    return Text.assemble(
        (model.title, "bold"),
        f" ({model.flavor}, artifact {model.digest[:12]}), plan {plan.hash[:12]}\n",
        f"{len(plan.features)} features: {verdicts}{unread}",
    )


def _first(names: Sequence[str]) -> str:
    """Names as far as they fit on a line, and how many more there are; one at least."""
    cut = [", ".join(names[:n]) + f" and {len(names) - n} more" for n in range(1, min(len(names), _WIDTH))]
    return next((text for text in [", ".join(names), *reversed(cut)] if len(text) <= _WIDTH), [*cut, *names][0])


def _counts(plan: ScoringPlan) -> dict[Verdict, int]:
    counts = Counter(f.verdict for f in plan.features)
    return {verdict: counts[verdict] for verdict in _STYLES if counts[verdict]}


def _feature_table(plan: ScoringPlan) -> Table:
    table = _table("feature", "model type", "from", "verdict", "null", "invalid", "note")
    for feature in plan.features:
        table.add_row(
            Text(feature.name),
            Text(_short_type(str(feature.type))),
            Text(_short_source(feature)),
            Text(VERDICT_WORDS[feature.verdict], style=_STYLES[feature.verdict]),
            Text(_null_text(feature)),
            Text(_invalid_text(feature)),
            Text(feature.note),
        )
    return table


def _lookup_table(lookups: LookupPlan) -> Table:
    """Where the columns come from that the source does not have."""
    table = _table("looked up", "in", "by", "as of", "else")
    for origin in lookups.origins:
        table.add_row(
            Text(origin.name), Text(origin.source), Text(origin.keys), Text(origin.as_of), Text(origin.otherwise)
        )
    return table


def _detail_table(plan: ScoringPlan) -> Table:
    """The types and expressions that the table of features has in short."""
    table = _table("in full", "", "")
    for feature in plan.features:
        type_, source = str(feature.type), _source_text(feature)
        if _short_type(type_) != type_:
            table.add_row(Text(feature.name), "model type", Text(type_))
        if _short_source(feature) != source:
            table.add_row(Text(feature.name), "from", Text(source))
    return table


def _output_table(plan: ScoringPlan) -> Table:
    table = _table("adds", "type", "note")
    for column in plan.outputs:
        table.add_row(Text(column.name), Text(column.type), Text(column.note))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _source_text(feature: PlannedFeature) -> str:
    """The column's type, with its name or the expression in front where that is not the feature's name."""
    if feature.source is None:
        return "-"
    if feature.source == quote(feature.name):
        return str(feature.source_type)
    return f"{feature.source}: {feature.source_type}"


def _short_source(feature: PlannedFeature) -> str:
    """As ``_source_text``, short enough for a table."""
    if feature.source is None or feature.source_type is None:
        return "-"
    type_ = _short_type(feature.source_type)
    if feature.source == quote(feature.name):
        return type_
    sql = " ".join(feature.source.split())
    return f"{sql if len(sql) <= _SHOWN_SQL else f'{sql[: _SHOWN_SQL - 1]}…'}: {type_}"


def _short_type(text: str) -> str:
    """A nested type without its inner ones, where it is long: ``array<struct<…>>``."""
    depth = text.count("<")
    while depth and len(text) > _SHOWN_TYPE:
        depth -= 1
        text = _to_depth(text, depth)
    return text


def _to_depth(text: str, depth: int) -> str:
    shown, level = "", 0
    for character in text:
        level -= character == ">"
        shown += character if level <= depth else ""
        level += character == "<"
        if character == "<" and level == depth + 1:
            shown += "…"
    return shown


def _null_text(feature: PlannedFeature) -> str:
    if feature.source is None:
        return "-"
    return _action_text(feature.handling.nulls, missing="stays missing")


def _invalid_text(feature: PlannedFeature) -> str:
    """What becomes of a value that does not fit; nothing where every value does."""
    if feature.source is None or feature.reason is None:
        return "-"
    return _action_text(feature.handling.invalid, missing="missing")


def _action_text(action: Fill | str, *, missing: str) -> str:
    if isinstance(action, Fill):
        return missing if action.value is None else f"becomes {action.value!r}"
    return {"keep": missing, "bad_row": "bad row", "fail": "run fails"}[action]
