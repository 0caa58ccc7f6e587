"""A scoring plan for people and programs: rich in a terminal, plain text in a log, JSON types for tools."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from spark_scoring.plan.policy import Fill
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from spark_scoring.plan.planner import PlannedFeature, ScoringPlan
    from spark_scoring.plan.rules import Verdict

_STYLES: dict[Verdict, str] = {
    "exact": "green",
    "rounds": "cyan",
    "checked": "yellow",
    "renders": "magenta",
    "default": "magenta",
    "refused": "red",
}
_WIDTH = 120


def plan_view(plan: ScoringPlan) -> Group:
    """The plan as a rich renderable."""
    parts: list[Text | Table] = [_headline(plan), _feature_table(plan), Text(), _output_table(plan)]
    parts += [Text(f"note: {note}", style="yellow") for note in plan.notes]
    return Group(*parts)


def plan_text(plan: ScoringPlan) -> str:
    """The plan as plain text."""
    return as_text(plan_view(plan))


def as_text(view: Group) -> str:
    """A renderable as plain text, the same wherever it is printed."""
    stream = io.StringIO()
    Console(file=stream, width=_WIDTH, color_system=None, force_terminal=False).print(view)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


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
        },
        "features": [_feature_dict(feature) for feature in plan.features],
        "outputs": [{"name": o.name, "type": o.type, "note": o.note} for o in plan.outputs],
        "methods": list(plan.methods),
        "params": dict(plan.params),
        "columns_not_read": plan.ignored,
        "notes": list(plan.notes),
    }


def plan_html(plan: ScoringPlan) -> str:
    """The plan as an HTML fragment: one ``section``, escaped, with its own style; no script."""
    environment = Environment(loader=PackageLoader("spark_scoring.plan", "."), autoescape=True, trim_blocks=True)
    headline, summary = _headline(plan).plain.split("\n")
    features = [{**_feature_dict(f), "from": _source_text(f)} for f in plan.features]
    return environment.get_template("plan.html.j2").render(
        headline=headline, summary=summary, features=features, outputs=plan.outputs, notes=plan.notes
    )


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


def _headline(plan: ScoringPlan) -> Text:
    model = plan.model
    version = f" version {model.version}" if model.version else ""
    counts = Counter(f.verdict for f in plan.features)
    verdicts = ", ".join(f"{counts[v]} {v}" for v in _STYLES if counts[v])
    ignored = f"; columns not read: {plan.ignored}" if plan.ignored else ""
    return Text.assemble(
        (f"{model.name or model.uri}{version}", "bold"),
        f" ({model.flavor}, artifact {model.digest[:12]}), plan {plan.hash[:12]}\n",
        f"{len(plan.features)} features: {verdicts}{ignored}",
    )


def _feature_table(plan: ScoringPlan) -> Table:
    table = _table("feature", "model type", "from", "verdict", "null", "invalid", "note")
    for feature in plan.features:
        table.add_row(
            Text(feature.name),
            Text(str(feature.type)),
            Text(_source_text(feature)),
            Text(feature.verdict, style=_STYLES[feature.verdict]),
            _null_text(feature),
            _invalid_text(feature),
            Text(feature.note),
        )
    return table


def _output_table(plan: ScoringPlan) -> Table:
    table = _table("adds", "type", "note")
    for column in plan.outputs:
        table.add_row(column.name, column.type, Text(column.note))
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
