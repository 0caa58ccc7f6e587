"""A job's file as fields: YAML, with settings of the command line laid over it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import yaml

from spark_scoring.job_problems import JobError
from spark_scoring.spark_settings import SettingError, spark_settings

if TYPE_CHECKING:
    from collections.abc import Sequence


class Place(TypedDict):
    """A table by name, or by path."""

    table: str | None
    path: str | None


def place_of(text: str) -> Place:
    """A table's name, or its path if it has a slash, as ``resolve`` takes it."""
    is_path = ("/" in text or "\\" in text) and not text.startswith("`")
    return {"table": None if is_path else text, "path": text if is_path else None}


class _Loader(yaml.SafeLoader):
    """YAML whose times stay text: they are read with their time zone rule where they are used.

    A key that is written twice is an error: YAML would take the second one without a word.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


_YAML_FAULTS = {
    r"expected ',' or '.'": (
        "the list or mapping that begins in line {line} is not closed, or lacks a comma; noticed {place}"
    ),
    r"found character '\\t'": "a tab, and YAML takes spaces, {place}",
    r"found character '.' that cannot start": "a value that begins with {mark} needs quotes, {place}",
    r"found undefined alias": "a value that begins with * needs quotes, {place}",
    r"mapping values are not allowed": (
        "a colon where none can be: a space is missing behind an earlier one, or a text needs quotes, {place}"
    ),
    r"found unexpected end of stream": "the quotes that begin in line {line} are not closed; noticed {place}",
}
"""What YAML's reader says of the faults that people make, by its beginning, and what they are told instead."""


def _yaml_cause(error: Exception) -> str:
    """What is wrong, and where; not the line itself, which may hold a secret."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"its byte {error.start + 1} is not UTF-8"
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{type(error).__name__}, such as a character that YAML does not take"
    place = f"in line {mark.line + 1}, column {mark.column + 1}"
    if (mark.buffer or "")[: mark.pointer + 1].rstrip("\0").endswith("${"):
        return f'a value with ${{...}} needs quotes inside {{...}}, such as "${{ENV}}.gold.flights", {place}'
    problem, begun = getattr(error, "problem", None) or "it cannot be read", getattr(error, "context_mark", None)
    told = next((text for pattern, text in _YAML_FAULTS.items() if re.match(pattern, problem)), "{problem}, {place}")
    first = re.search(r"'(.)'", problem)
    line = (begun or mark).line + 1
    return told.format(problem=problem, place=place, line=line, mark=first and first[1])


def read_fields(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a YAML file, with settings of the form ``a.b=value`` laid over them.

    Raises:
        JobError: it cannot be read, or holds no fields.

    """
    try:
        fields = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  a safe loader
    except OSError as error:
        raise JobError.unreadable(str(path), error.strerror or str(error)) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise JobError.not_yaml(str(path), _yaml_cause(error)) from error
    if not isinstance(fields, dict):
        raise JobError.no_fields(str(path))
    for text in overrides:
        lay_over(fields, text)
    return fields


def lay_over(fields: dict[str, Any], text: str) -> None:
    """One ``a.b=value`` setting; the value is read as YAML."""
    path, equals, value = text.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise JobError.bad_setting(text)
    if names[0] == "spark" and names[1:]:  # whose keys have dots of their own
        fields["spark"] = _with_spark(fields.get("spark"), path.strip())
        names = ["spark", path.strip()]
    for name in names[:-1]:
        inner = fields.get(name)
        if isinstance(inner, str) and path.strip().startswith("policy."):  # a preset stays where a part is set
            inner = {"*" if name == "policy" else "preset": inner}
        elif isinstance(inner, str) and name in ("source", "output"):  # so does a place that is a text alone
            inner = {key: value for key, value in place_of(inner).items() if value is not None}
        inner = dict(inner) if isinstance(inner, dict) else {}
        fields[name] = inner
        fields = inner
    try:
        fields[names[-1]] = yaml.load(value, Loader=_Loader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise JobError.bad_setting(text) from error


def _with_spark(settings: object, key: str) -> dict[str, object]:
    """Settings of Spark's with whole keys where they can be read, ready for one more."""
    try:
        whole: dict[str, object] = dict(spark_settings(settings)) if isinstance(settings, Mapping) else {}
    except SettingError:  # is told when the whole job is read
        return {str(name): value for name, value in settings.items()} if isinstance(settings, Mapping) else {}
    return {name: value for name, value in whole.items() if name != key}
