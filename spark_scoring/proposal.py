"""A job file for a model and a table: features matched with columns by name and near name, keep and key proposed."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pyspark.sql.types import DateType, IntegralType, StringType, StructField, StructType

from spark_scoring.arguments import choices_of
from spark_scoring.delta.csv_types import all_texts, fitting_types
from spark_scoring.delta.formats import format_of
from spark_scoring.delta.ledger import read_commits
from spark_scoring.delta.names import resolve, with_suffix
from spark_scoring.delta.source import pin_source
from spark_scoring.delta.tables import is_delta
from spark_scoring.engine.isolated.planned import read_model
from spark_scoring.errors import Gathering, PlanError, RequestError
from spark_scoring.features.planning import plan_features
from spark_scoring.job import ScoringJob
from spark_scoring.job_file import place_of
from spark_scoring.model.registry import resolve_model
from spark_scoring.model.spec import ModelSpec
from spark_scoring.model.types import Tensor
from spark_scoring.model.uris import LOGGED, REGISTERED
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.request import Expression, Request
from spark_scoring.redact import printable
from spark_scoring.session import get_session, unheeded
from spark_scoring.sql import in_sql, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.model.spec import Feature, ModelSpec

    Ask = Callable[[str, str], str]
    """A question and the answer that is proposed, to what a person says."""

_NEAR = 0.75
"""How alike two names are at least, so that one is proposed for the other."""
_OF_SCHEMA = "source.schema: the types that all values of the file have now; one that does not fit stops a run"
_URI = re.compile(r"[a-z]+:[\w/.@-]+")
"""Which YAML's writer would put in quotes."""


@dataclass(frozen=True)
class Proposal:
    """What a job file says of a model's features and a table's columns."""

    by_name: int
    """Features that have a column of their name."""
    near: tuple[tuple[str, str], ...]
    """Features with the SQL of a column of a like name, or what a person gave."""
    open: tuple[str, ...]
    """Features that must be there, and that no column is like."""
    key: str | None
    """The column that seems to tell the rows apart; by its name and type, no row was read."""
    keep: tuple[str, ...]
    """Source columns beside the predictions."""

    def told(self) -> list[str]:
        """What a person should look at."""
        lines = [f"feature {name}: {sql}, by a like name; look at it" for name, sql in self.near]
        lines += [f"feature {name}: no column is like it; add it to columns" for name in self.open]
        if self.key is None:
            lines.append("no column seems to tell the rows apart: look at keep")
        return [printable(line) for line in lines]


def propose(spec: ModelSpec, columns: StructType, kept: Sequence[StructField], table: str, ask: Ask | None) -> Proposal:
    """Match a model's features with columns. Reads no rows.

    Args:
        spec: the model.
        columns: what its features come from: the table's columns, and those that are looked up.
        kept: the table's own columns.
        table: its name, which a key may bear.
        ask: asks a person; None: nobody is asked.

    """
    fields = {field.name.lower(): field for field in columns.fields}
    found = {feature.name for feature in spec.inputs if feature.name.lower() in fields or _is_matrix(spec, feature)}
    free = [field for name, field in fields.items() if name not in {n.lower() for n in found}]
    near: dict[str, str] = {}
    unmatched = []
    for feature in spec.inputs:
        if feature.name in found:
            continue
        column = _nearest(spec, feature, free)
        sql = "" if column is None else _sql(column.name)
        if ask is not None and (column is None or not _same(column.name, feature.name)):
            sql = ask(f"feature {feature.name!r} ({feature.type}): which column, or SQL?", sql).strip()
        if sql:
            near[feature.name] = sql
            free = [field for field in free if field is not column or sql != _sql(column.name)]
        elif feature.required or feature.name in spec.own_names:
            unmatched.append(feature.name)
    read = {name.lower() for name in found} | {sql.strip("`").lower() for sql in near.values()}
    key = _key([field for field in kept if field.name.lower() not in read], table)
    if ask is not None:
        asked = ask("which column tells the rows apart? (leave it empty if none does)", key or "").strip()
        key = next((field.name for field in kept if field.name.lower() == asked.lower()), None)
    unread = [field.name for field in kept if field.name.lower() not in read and field.name != key]
    return Proposal(
        len(found),
        tuple(near.items()),
        tuple(unmatched),
        key,
        (key,) if key else tuple(unread or [f.name for f in kept]),
    )


def _is_matrix(spec: ModelSpec, feature: Feature) -> bool:
    """Whether the planner finds the columns of a matrix by the trained model's own names."""
    return isinstance(feature.type, Tensor) and spec.takes == "tensor" and bool(spec.own_names)


def _nearest(spec: ModelSpec, feature: Feature, free: Sequence[StructField]) -> StructField | None:
    """The column of the most alike name, of those that the feature can be made from."""
    if isinstance(feature.type, Tensor):
        return None
    like = {field: difflib.SequenceMatcher(None, _bare(feature.name), _bare(field.name)).ratio() for field in free}
    for field, ratio in sorted(like.items(), key=lambda item: -item[1]):
        if ratio >= _NEAR and _fits(spec, feature, field):
            return field
    return None


def _fits(spec: ModelSpec, feature: Feature, field: StructField) -> bool:
    request = Request(expressions={feature.name: Expression(quote(field.name), field.dataType)})
    try:
        make_plan(replace(spec, inputs=(feature,), own_names=()), StructType([field]), request)
    except PlanError as error:
        return not any(problem.thing.startswith(f"feature {feature.name!r}") for problem in error.problems)
    return True


def _bare(name: str) -> str:
    """Without what spellings differ in: ``Dep_Hour`` and ``depHour`` are alike."""
    return re.sub(r"[^a-z0-9]", "", name.lower()) or name


def _same(name: str, other: str) -> bool:
    return _bare(name) == _bare(other)


def _sql(name: str) -> str:
    return name if in_sql(name) == name else quote(name)


def _key(fields: Iterable[StructField], table: str) -> str | None:
    """A column of a key's name and type: ``id``, ``order_id`` of ``orders``, else the first that ends in ``id``."""
    last = _bare(re.split(r"[./\\]", table.rstrip("/"))[-1])
    wanted = ["id", f"{last}id", f"{last.removesuffix('s')}id", "key", "uuid"]
    fit = [f.name for f in fields if isinstance(f.dataType, IntegralType | StringType | DateType)]
    exact = [name for bare in wanted for name in fit if _bare(name) == bare]
    ends = [name for name in fit if re.search(r"(?i:[ _.-](id|key)$)|[a-z]I[dD]$", name)]
    return next(iter([*exact, *ends]), None)


_NEWS = "each run scores what is new in the source since the last one; say it before the first run"


def job_text(spec: ModelSpec, fields: Mapping[str, Any], proposal: Proposal, file: str) -> str:
    """The file, with comments.

    Args:
        spec: the model.
        fields: ``model``, ``source`` and ``output`` as places, and settings such as ``tracking_uri``.
        proposal: of ``propose``.
        file: what it will be called.

    """
    keep = [_name(name) for name in proposal.keep]
    key = _name(proposal.key) if proposal.key else "<the columns that tell the rows apart>"
    methods = ", ".join(name for name, _ in spec.methods)
    lines = [
        f"# What it would do:  spark-scoring plan {_value(file)}",
        f"# A few scored rows: spark-scoring preview {_value(file)}",
        f"model: {_name(fields['model'])}",
        "source:",
        *_place(fields["source"]),
        _line('  # where: "day = :day"', "which rows; --param day=2026-11-25 gives the value"),
        "output:",
        *_place(fields["output"]),
        _line("  mode: append", "adds rows; overwrite replaces all rows; merge updates rows by a key"),
        _line(f"  # key: {key}", "for mode: merge"),
        _line(f"  keep: {keep[0] if len(keep) == 1 else _listed(keep)}", "columns beside the predictions"),
        *([] if "format" in fields["source"] else [_line("# incremental: true", _NEWS)]),
        *_columns(proposal),
        _line("policy: strict", "lenient: nulls and missing columns become 0"),
        _line("predict: predict", f"this model also has {methods}") if methods else "predict: predict",
        _line("bad_rows: keep", "a row that cannot be scored: keep, quarantine or fail"),
        *(f"{name}: {_name(value)}" for name, value in fields.items() if isinstance(value, str) and name != "model"),
    ]
    text = "\n".join(lines) + "\n"
    ScoringJob.from_file_fields(yaml.safe_load(text), {})  # what is written is a job
    return text


def _columns(proposal: Proposal) -> list[str]:
    total = proposal.by_name + len(proposal.near) + len(proposal.open)
    count = f"{proposal.by_name} of {total} features have a column of their name"
    near = [_line(f"  {_value(name)}: {_value(sql)}", "of a like name: look at it") for name, sql in proposal.near]
    missing = [f"# {_value(name)}: no column is like it; add it to columns" for name in proposal.open]
    head = _line("columns:" if near else '# columns: {feature: "SQL"}', count)
    return [*missing, head, *near]


def _line(text: str, comment: str) -> str:
    return f"{text:<31} # {comment}"


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"


def _place(place: Mapping[str, Any]) -> list[str]:
    texts = {
        name: _name(value) if isinstance(value, str) else json.dumps(value) for name, value in place.items() if value
    }
    return [f"  {name}: {text}" for name, text in texts.items()]


def source_of(text: str) -> dict[str, Any]:
    """A table's place; or a file, with the format that its name tells, and the first line of a CSV as names."""
    kind = format_of(text) if Path(text).is_file() else ""
    if not kind:
        return {**place_of(text)}
    options = {"header": True, **({"sep": "\t"} if ".tsv" in Path(text).suffixes else {})} if kind == "csv" else {}
    return {"path": text if "/" in text else f"./{text}", "format": kind, "options": options}


def _name(text: str) -> str:
    """A name or path as YAML has it in a line; ``${`` in it is not a parameter."""
    return _value(text.replace("${", "$${"))


def _value(text: str) -> str:
    """A text as YAML has it in one line, inside a list, too."""
    if not text.isprintable():
        return json.dumps(text)
    listed = str(yaml.safe_dump([text], default_flow_style=True, width=1_000_000, allow_unicode=True)).strip()
    return text if _URI.fullmatch(text) else listed[1:-1]


def propose_job(
    model: str,
    table: str,
    output: str | None,
    file: Path | None,
    ask: Ask | None,
    settings: Mapping[str, str | None],
    *,
    of_spark: Mapping[str, str],
) -> tuple[Path, str, list[str]]:
    """A job file's path and text for a model and a table or file, and what to tell of it. Writes nothing.

    The settings of Spark's are of this session alone: they may hold secrets, and are not written.

    Raises:
        RequestError: with every problem of the model and the table.

    """
    given = {name: value for name, value in settings.items() if value is not None}
    uris = {name: given.get(name) for name in ("tracking_uri", "registry_uri")}
    problems = Gathering()
    source = spec = None
    with problems.attempt():
        environment = choices_of(model, environment=given.get("environment")).environment
        spec = read_model(resolve_model(model, **uris), environment)
    spark = get_session(given.get("warehouse"), of_spark)
    told = unheeded(spark, of_spark)
    place = source_of(table)
    with problems.attempt():
        source = pin_source(spark, **place)
    if source is None or spec is None:
        raise RequestError(problems.problems)
    if place.get("format") == "csv" and (types := _csv_types(spark, source, spec, place)):
        source = pin_source(spark, **place, ddl=types)
        place["schema"] = types
        told.append(_OF_SCHEMA)
    columns = source.frame.schema if spec.features is None else plan_features(source.frame, spec.features)[1]
    proposal = propose(spec, columns, source.frame.schema.fields, table, ask)
    places = {
        "source": place,
        "output": place_of(output) if output else _free_output(spark, spec, place),
    }
    if file is None:
        file = Path(_word(spec.name or place.get("table") or "job") + ".yml")
    return file, job_text(spec, {"model": model, **places, **given}, proposal, str(file)), [*told, *proposal.told()]


def file_of_model(uri: str) -> Path | None:
    """What the job file of a registered model is called; None where the model must be looked at first."""
    found = None if LOGGED.fullmatch(uri) else REGISTERED.fullmatch(uri)
    return None if found is None else Path(_word(found["name"]) + ".yml")


def _csv_types(spark: SparkSession, source: PinnedSource, spec: ModelSpec, place: Mapping[str, Any]) -> str | None:
    """A schema for a CSV file, in which what the model takes as text is text; None where its names are not the file's.

    Spark names a column that has no name, or that of another one. A schema has to have the names of the file. Reads
    all rows.
    """
    texts = {feature.name for feature in spec.inputs if feature.type == "string"}
    try:
        frame = pin_source(spark, **place, ddl=all_texts(source.frame.columns)).frame
        return fitting_types(frame, texts)
    except Exception:  # noqa: BLE001  of a header that does not fit Spark raises what Java does
        return None


def _free_output(spark: SparkSession, spec: ModelSpec, place: Mapping[str, Any]) -> dict[str, str | None]:
    """``<source>_scored``; where another model has written to it, ``<source>_<model>_scored``. Reads Delta's log."""
    source = {"table": place.get("table"), "path": place["path"]}
    if "format" in place:  # a file: beside it, without the ending of its name
        file = Path(place["path"])
        source["path"] = f"{place['path'].removesuffix(file.name)}{file.name.partition('.')[0]}"
    output = with_suffix("_scored", **source)
    ref = resolve(spark, **output)
    others = is_delta(spark, ref) and any(
        commit.facts is not None and commit.facts.model_name != spec.name for commit in read_commits(spark, ref, None)
    )
    return with_suffix(f"_{_word(spec.name)}_scored", **source) if others and spec.name else output


def _word(name: str) -> str:
    """The last part of a name, as it can be a file's name or part of a table's."""
    return re.sub(r"[^\w-]+", "_", name.rpartition(".")[2])
