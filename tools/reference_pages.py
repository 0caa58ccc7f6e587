"""``make docs``: the reference pages of docs/, from fields, commands, docstrings and errors; the jobs' JSON Schemas."""
# ruff: noqa: INP001  a script

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
import yaml
from typer.cli import get_docs_for_click

import spark_scoring as ss
from spark_scoring.cli import app
from spark_scoring.job import ScoringJob
from spark_scoring.job_problems import taken
from spark_scoring.job_settings import (
    DriftSettings,
    FeatureSettings,
    IncrementalSettings,
    OutputSettings,
    SourceSettings,
)
from spark_scoring.registration.findings import CODES
from spark_scoring.registration.pasted import known_texts
from spark_scoring.registration.training import FeatureColumn, LookupSettings, TrainingJob
from tools.made_tables import filled, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

SCHEMAS: dict[str, type[BaseModel]] = {"job.schema.json": ScoringJob, "training.schema.json": TrainingJob}
_FIELDS: dict[str, dict[str, type[BaseModel]]] = {
    "job-file.md": {
        "job": ScoringJob,
        "source": SourceSettings,
        "output": OutputSettings,
        "policy": FeatureSettings,
        "incremental": IncrementalSettings,
        "drift": DriftSettings,
    },
    "training-file.md": {"training job": TrainingJob, "features": FeatureColumn, "lookups": LookupSettings},
}
PUBLIC = {
    "scoring": ("score_batch", "plan_scoring", "ScoringPlan", "prepare_features", "PreparedFeatures"),
    "policies": ("FeaturePolicy", "Fill"),
    "jobs": (
        "run_job",
        "plan_job",
        "JobPlan",
        "RunReport",
        "run_history",
        "RunRecord",
        "run_page",
        "RunPage",
        "roll_back",
        "get_session",
    ),
    "comparing": ("compare_job", "Comparison", "promote_model", "Promotion"),
    "drift": ("measure_drift", "Drift", "FeatureDrift"),
    "evaluating": ("evaluate", "Evaluation"),
    "features": ("feature_client", "LocalFeatureClient", "FeatureLookup", "FeatureFunction"),
    "registration": (
        "register_model",
        "RegisteredModel",
        "log_model_with_feature_engineering",
        "training_frame",
        "run_training",
        "check_model",
        "Diagnosis",
        "Finding",
        "repair_model",
    ),
}
"""The public names by section; those of jobs and errors have pages of their own."""
_OF_FILES = ("ScoringJob", "TrainingJob")
_RESULTS = (
    "ScoringPlan",
    "PreparedFeatures",
    "JobPlan",
    "RunReport",
    "RunRecord",
    "RunPage",
    "Comparison",
    "Promotion",
    "Drift",
    "FeatureDrift",
    "Evaluation",
    "RegisteredModel",
    "Diagnosis",
    "Finding",
)
"""What calls return; readers make none of them."""
_PARAMETER = {"type": "string", "pattern": r"\$\{\w+\}"}
"""What may be written for any value that is not text itself."""
_PAGE = re.compile(r"\bdocs/([\w-]+\.md)\b")
_WIDTH = 88
"""Characters of code that a page shows without a scroll bar."""
_SECTION = re.compile(r"^(Args|Raises|Returns):\n((?:    .*\n?|\n)+)", re.MULTILINE)


def main() -> None:
    """Write the pages anew."""
    for path, text in made().items():
        path.write_text(text, encoding="utf-8")


def made() -> dict[Path, str]:
    """The text of every page and schema, by its path.

    Raises:
        ValueError: a page's marks are not those of its tables; or a field, command or public name says nothing.

    """
    tables: dict[str, dict[str, str]] = {
        "index.md": {"quickstart": quickstart()},
        **{page: {name: fields_table(model) for name, model in models.items()} for page, models in _FIELDS.items()},
        "cli.md": {"commands": commands()},
        "api.md": api(),
        "errors.md": {"classes": classes(), "codes": codes(), "texts": texts()},
    }
    pages = {DOCS / page: filled((DOCS / page).read_text(encoding="utf-8"), parts) for page, parts in tables.items()}
    schemas = {DOCS / name: json.dumps(schema(model), indent=2) + "\n" for name, model in SCHEMAS.items()}
    return {**pages, **schemas}


def quickstart() -> str:
    """The README's section of it, whose code a test runs."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme.split("\n## Your own model, on a laptop\n", 1)[1].split("\n## ", 1)[0].strip().replace("(docs/", "(")


def attribute_docs(of: type) -> dict[str, str]:
    """The strings below the fields of a class and of those that it is made from."""
    found: dict[str, str] = {}
    for base in reversed(of.__mro__):
        if not base.__module__.startswith("spark_scoring"):
            continue
        (made_class,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(made_class, ast.ClassDef)  # noqa: S101
        for field, below in zip(made_class.body, made_class.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = _plain(text)
    return found


class Field(NamedTuple):
    """A field of a job as people write it."""

    name: str
    takes: str
    default: str
    text: str


def fields_of(model: type[BaseModel]) -> Iterator[Field]:
    """The fields of a part of a job.

    Raises:
        ValueError: one has no text below it.

    """
    docs = attribute_docs(model)
    for name, field in model.model_fields.items():
        if name not in docs:
            msg = f"{model.__name__}.{name}: no text below it says what it is"
            raise ValueError(msg)
        default = "required" if field.is_required() else _yaml(field.default)
        yield Field(field.alias or name, field.description or taken(field.annotation), default, docs[name])


def fields_table(model: type[BaseModel]) -> str:
    """A row per field."""
    rows = [(f"`{field.name}`", field.takes, field.default, field.text) for field in fields_of(model)]
    return table(["field", "takes", "default", "meaning"], *(tuple(map(_cell, row)) for row in rows))


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """A JSON Schema for editors: what ``from_yaml`` takes, its short forms and open places included."""
    made = _opened(model.model_json_schema(by_alias=True))
    parts = {part.__name__: part for models in _FIELDS.values() for part in models.values()}
    for name, inner in {model.__name__: made, **made["$defs"]}.items():
        texts_of = {field.name: field for field in fields_of(parts[name])} if name in parts else {}
        for field, what in inner["properties"].items():
            what.pop("title", None)
            if field in texts_of:
                what["description"] = texts_of[field].text
    for name in ("SourceSettings", "OutputSettings"):
        if name in made["$defs"]:
            made["$defs"][name] = {"anyOf": [{"type": "string"}, made["$defs"][name]]}
    if model is ScoringJob:
        made["properties"]["max_bad_rows"]["anyOf"].append({"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%\s*$"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _opened(node: Any) -> Any:
    """A schema whose lists of text take one text, and whose values that are not text take ``${NAME}``."""
    if isinstance(node, list):
        return [_opened(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    if "properties" in node:
        parts = [part for part in ("properties", "$defs") if part in node]
        return {**node, **{part: {name: _opened(inner) for name, inner in node[part].items()} for part in parts}}
    node = {name: inner if name in ("enum", "default") else _opened(inner) for name, inner in node.items()}
    about = {name: node.pop(name) for name in ("title", "description", "default") if name in node}
    items = node.get("items", {})
    if node.get("type") in ("integer", "number", "boolean") or "enum" in node:
        return {"anyOf": [node, _PARAMETER], **about}
    if items.get("type") == "string" or "anyOf" in items:
        return {"anyOf": [node, items], **about}
    return {**node, **about}


def commands() -> str:
    """Every command, as ``--help`` shows it."""
    group = typer.main.get_command(app)
    around = typer.Context(group, info_name="spark-scoring")
    assert isinstance(group, typer.core.TyperGroup)  # noqa: S101
    pages = [
        get_docs_for_click(obj=command, ctx=around, indent=1, name=name, call_prefix="spark-scoring")
        for name, command in group.commands.items()
    ]
    text = "\n\n".join(page.strip() for page in pages)
    return re.sub(r"^```console\n\$ (.*)\n```$", r"```text\n\1\n```", text, flags=re.MULTILINE)


def classes() -> str:
    """The errors by what they derive from, with the exit status of the command line."""
    found = [getattr(ss, name) for name in ss.__all__ if name.endswith("Error")]
    rows = [
        (f"`{each.__name__}`", f"`{each.__bases__[0].__name__}`", str(each.exit_status), _plain(inspect.getdoc(each)))
        for each in sorted(found, key=_line_of_descent)
    ]
    return table(["error", "is a", "exit status", "meaning"], *(tuple(map(_cell, row)) for row in rows))


def _line_of_descent(error: type) -> list[str]:
    """By which an error comes after what it derives from."""
    return [each.__name__ for each in reversed(error.__mro__)]


def codes() -> str:
    """What the doctor finds."""
    rows = [(f"`{code}`", severity, meaning) for code, (severity, meaning) in CODES.items()]
    return table(["code", "severity", "meaning"], *rows)


def texts() -> str:
    """The texts that the doctor explains."""
    rows = [(f"`` {text} ``" if "`" in text else f"`{text}`", cause, fix) for text, cause, fix in known_texts()]
    return table(["text", "cause", "fix"], *(tuple(map(_cell, row)) for row in rows))


def api() -> dict[str, str]:
    """The public names by section.

    Raises:
        ValueError: one is in no section, or in two.

    """
    errors_of = [name for name in ss.__all__ if name.endswith("Error")]
    listed = sorted([*errors_of, *_OF_FILES, *(name for names in PUBLIC.values() for name in names), "__version__"])
    if listed != sorted(ss.__all__):
        msg = f"public names and sections differ: {sorted(set(listed) ^ set(ss.__all__)) or 'one is there twice'}"
        raise ValueError(msg)
    return {
        section: "\n\n".join(_public(name, getattr(ss, name)) for name in names) for section, names in PUBLIC.items()
    }


def _public(name: str, thing: Any) -> str:
    parts = [f"### {name}"]
    if inspect.isfunction(thing):
        return "\n\n".join([*parts, _call(name, thing), _sections(thing)])
    docs = attribute_docs(thing)
    if name not in _RESULTS:
        parts.append(_call(name, thing))
    parts.append(_sections(thing))
    rows = [(f"`{field}`", f"`{kind}`", docs.get(field, "")) for field, kind in _annotations(thing).items()]
    rows += [
        (f"`{member}`", f"`{inspect.signature(value.fget).return_annotation}`", _plain(inspect.getdoc(value)))
        for member, value in _members(thing, inspect.isdatadescriptor)
        if isinstance(value, property)
    ]
    if rows:
        parts.append(table(["attribute", "type", "meaning"], *(tuple(map(_cell, row)) for row in rows)))
    for member, value in _members(thing, inspect.isfunction):
        parts += [f"#### {name}.{member}", _call(member, value), _sections(value)]
    return "\n\n".join(parts)


def _annotations(thing: type) -> dict[str, str]:
    """The types of the public fields."""
    kinds = [item for base in reversed(thing.__mro__) for item in inspect.get_annotations(base).items()]
    return {name: str(kind) for name, kind in kinds if not name.startswith("_")}


def _members(thing: type, wanted: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    """The public members with a docstring, in the order of the code."""
    return [(n, v) for n, v in vars(thing).items() if not n.startswith("_") and wanted(v) and inspect.getdoc(v)]


def _call(name: str, thing: Any) -> str:
    """A call as Python writes it: one argument a line where it is long."""
    made = inspect.signature(thing)
    those = [each for each in made.parameters.values() if each.name != "self"]
    arguments = [_argument(each) for each in those]
    if keyword_only := [n for n, each in enumerate(those) if each.kind is each.KEYWORD_ONLY]:
        arguments.insert(keyword_only[0], "*")
    nothing = inspect.isclass(thing) or made.return_annotation in (made.empty, "None")
    returns = "" if nothing else f" -> {made.return_annotation}"
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) > _WIDTH:
        line = "\n".join([f"{name}(", *(f"    {argument}," for argument in arguments), f"){returns}"])
    return f"```python\n{line}\n```"


def _argument(made: inspect.Parameter) -> str:
    if made.default is made.empty:
        star = "*" if made.kind is made.VAR_POSITIONAL else ""
        return f"{star}{made.name}: {made.annotation}"
    default = "{}" if "<factory>" in repr(made.default) else repr(made.default)
    return f"{made.name}: {made.annotation} = {default}"


def _sections(thing: Any) -> str:
    """A docstring in Markdown: its arguments and errors as lists."""
    text = inspect.getdoc(thing)
    if not text:
        msg = f"{thing}: no docstring"
        raise ValueError(msg)
    return _code(_PAGE.sub(r"[\1](\1)", _SECTION.sub(_as_list, text + "\n"))).strip()


def _as_list(found: re.Match[str]) -> str:
    entries = [_plain(entry) for entry in re.split(r"\n(?=\S)", textwrap.dedent(found[2]).strip())]
    if found[1] == "Returns":
        return f"Returns: {' '.join(entries)}\n\n"
    heading = {"Args": "Arguments:", "Raises": "Errors:"}[found[1]]
    return "\n".join([heading, "", *map(_entry, entries), "", ""])


def _entry(text: str) -> str:
    names, _, rest = text.partition(": ")
    return f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {rest}"


def _plain(text: str | None) -> str:
    """A text in one paragraph."""
    return _code(" ".join((text or "").split()))


def _code(text: str) -> str:
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _yaml(value: Any) -> str:
    """A default as a job file has it."""
    if value is None or value in ((), {}):
        return "-"
    value = list(value) if isinstance(value, tuple) else value
    return "`" + yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip() + "`"


if __name__ == "__main__":
    main()
