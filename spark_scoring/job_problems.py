"""What is wrong with the fields of a job, in plain words: which field, why, and what to write. No text of pydantic."""

from __future__ import annotations

import difflib
import re
from datetime import timedelta
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from spark_scoring.errors import Problem, RequestError, listed, near_fix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails
    from typing_extensions import LiteralString

_WORD = re.compile(r"[\w .@-]{1,40}")
_OURS: LiteralString = "ours"
_TYPES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping, such as {name: value}",
    tuple: "a list, such as [a, b]",
    timedelta: "a duration, such as PT3H, or seconds",
}
_KINDS = (
    (bool, "true or false"),
    (str, "text"),
    (int, "a number"),
    (float, "a number"),
    (list | tuple, "a list"),
    (dict, "a mapping"),
)


class JobError(RequestError):
    """The job file or a setting of it is wrong."""

    title = "the job is not valid"

    @classmethod
    def unreadable(cls, path: str, cause: str) -> JobError:
        fix = "give the path of a job file; spark-scoring init MODEL TABLE writes one"
        return cls([Problem(f"job file {path}", cause, fix)])

    @classmethod
    def not_yaml(cls, path: str, cause: str) -> JobError:
        return cls([Problem(f"job file {path}", f"it is not YAML: {cause}", "correct the file at that place")])

    @classmethod
    def no_fields(cls, path: str) -> JobError:
        fix = "write model: ..., source: ... and output: ... into it; spark-scoring init MODEL TABLE does"
        return cls([Problem(f"job file {path}", "it holds no fields", fix)])

    @classmethod
    def not_allowed(cls, thing: str, why: str, origin: str, patterns: Sequence[str]) -> JobError:
        cause = f"{origin} does not allow it{why and f': {why}'}; it was not called"
        return cls([Problem(thing, cause, f"take one of {listed(patterns)}, or ask whoever set them")])

    @classmethod
    def file_exists(cls, file: str) -> JobError:
        return cls(
            [Problem(f"job file {file}", "it is there already", "give another --file, or --force to write over it")]
        )

    @classmethod
    def frozen(cls, name: str) -> JobError:
        fix = f"make another: ScoringJob.from_dict({{**job.model_dump(by_alias=True), {name!r}: ...}})"
        return cls([Problem(name, "a job does not change once it is made", fix)])

    @classmethod
    def restricted(cls, thing: str, cause: str, switch: str) -> JobError:
        fix = (
            "write it with columns and Spark's own functions alone, or let a view or a table have what it computes; "
            "spark-scoring docs trust --show says what is allowed"
        )
        return cls([Problem(thing, f"{cause}: {switch} does not allow it", fix)])

    @classmethod
    def bad_switch(cls, switch: str, known: Sequence[str]) -> JobError:
        return cls([Problem(switch, "its value is not one that it knows", f"set it to one of {listed(known)}")])

    @classmethod
    def bad_setting(cls, text: str) -> JobError:
        """The value is not told: it may be a secret, whatever the field is called."""
        name, equals, _ = text.partition("=")
        cause = "its value is not YAML" if equals and name.strip(". ") else "not of the form field=value"
        fix = "write --set field=value, such as --set source.table=main.gold.flights; a text with marks in quotes"
        return cls([Problem(f"--set {name}", cause, fix)])

    @classmethod
    def undefined_parameter(cls, place: str, written: str, name: str, switch: str | None) -> JobError:
        fix = f"give --param {name}=VALUE (in Python: params={{{name!r}: ...}})"
        if switch is not None:
            cause = f"{written} has no value: {switch} does not let jobs read the environment"
            return cls([Problem(place, cause, fix)])
        return cls([Problem(place, f"{written} has no value", f"{fix}, or set the environment variable {name}")])

    @classmethod
    def unused_parameter(cls, name: str, used: Sequence[str]) -> JobError:
        fix = (
            near_fix(name, used, what="its parameters")
            or f"write :{name} in SQL, without quotes, or ${{{name}}} in names; or leave it out"
        )
        return cls([Problem(f"parameter {name}", "the job has no place for it", fix)])

    @classmethod
    def variable_in_sql(cls, place: str, name: str) -> JobError:
        cause = f"${{{name}}} would become a part of the SQL, whatever its text is"
        return cls([Problem(place, cause, f"write :{name}, without quotes around it: SQL then takes it as a value")])

    @classmethod
    def bad_parameter(cls, name: str, cause: str) -> JobError:
        fix = "give text, a number, true or false, a date (2026-11-25) or a time (2026-11-25T10:00:00, UTC)"
        return cls([Problem(f"parameter {name}", cause, fix)])

    @classmethod
    def bad_levels(cls, feature: str, cause: str) -> JobError:
        fix = f"write categories: {{{feature}: [<the values in the order of training>]}}"
        return cls([Problem(f"categories: {feature}", cause, fix)])


def refuse(cause: str, fix: str) -> NoReturn:
    """What a validator does with a value that is wrong; both texts are shown as they are."""
    raise PydanticCustomError(_OURS, "{cause}", {"cause": cause, "fix": fix})


def problems_of(error: ValidationError, job: type[BaseModel]) -> list[Problem]:
    """Pydantic's findings, one per field: of the branches of a union only what says most."""
    found: dict[tuple[str, ...], Problem] = {}
    for detail in error.errors(include_url=False):
        path, problem = _problem(detail, job)
        found.setdefault(path, problem)
    deeper = {path[:length] for path in found for length in range(len(path))}
    return [problem for path, problem in found.items() if path not in deeper or not path]


def _problem(detail: ErrorDetails, job: type[BaseModel]) -> tuple[tuple[str, ...], Problem]:
    place = _Place(job, detail["loc"])
    return place.path, Problem(place.text, *_cause_and_fix(detail, place))


def _cause_and_fix(detail: ErrorDetails, place: _Place) -> tuple[str, str]:
    limits: Mapping[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case kind if kind == _OURS:
            return limits["cause"], limits["fix"]
        case "extra_forbidden":
            return "there is no such field", _field_fix(place)
        case "missing":
            return "this field is missing", f"add {place.last} to {place.around}"
        case "greater_than_equal":
            return "the number is too small", f"give {limits['ge']} or more"
        case "greater_than":
            return "the number is too small", f"give more than {limits['gt']:g}"
        case "too_short":
            return "it is empty", f"give {place.takes}"
        case _ if place.is_key:
            return "a name here is not text", 'write it in quotes: "1"'
        case _:
            return _wrong_value(detail["input"], place.type, place.takes)


def _field_fix(place: _Place) -> str:
    """A field of this name that is elsewhere in the job, else one of a like name here."""
    if place.elsewhere:
        return f"did you mean {' or '.join(place.elsewhere)}?"
    return near_fix(place.last, place.known, what="fields") or "leave it out"


def _wrong_value(value: object, type_: Any, takes: str) -> tuple[str, str]:
    """A value that the field does not take: of choices, the nearest."""
    choices = [choice for member in _members(type_) if get_origin(member) is Literal for choice in get_args(member)]
    near = None
    cause = f"it is {_kind(value)}, which this field does not take"
    if isinstance(value, str) and choices:
        if _WORD.fullmatch(value):
            cause = f"{value!r} is not one of its values"
        near = next(iter(difflib.get_close_matches(value.strip().lower(), choices, n=1, cutoff=0.6)), None)
    if isinstance(value, bool | int | float) and takes == _TYPES[str]:
        takes += ', in quotes: "..."'
    hint = "" if near is None else f"did you mean {near}? "
    return cause, f"{hint}give {takes}"


def _kind(value: object) -> str:
    """What a value is, and never the value."""
    if value is None:
        return "empty"
    if isinstance(value, float) and not value.is_integer():
        return "a number with a fraction"
    known = next((text for kind, text in _KINDS if isinstance(value, kind)), None)
    return known or f"a {type(value).__name__}"


def taken(type_: Any) -> str:
    """What to write for a value of a type, in words."""
    words = list(dict.fromkeys(text for member in _members(type_) for text in _taken(member)))
    return ", ".join(words[:-1]) + (" or " if words[:-1] else "") + words[-1] if words else "another value"


def _taken(member: Any) -> Iterator[str]:
    if get_origin(member) is Literal:
        yield from map(str, get_args(member))
    elif _is_model(member):
        yield getattr(member, "takes", "") or f"a mapping of: {', '.join(_names(member))}"
    else:
        yield _TYPES.get(get_origin(member) or member, "another value")


class _Place:
    """Where in a job a finding of pydantic is.

    Pydantic's location names the branches of unions, too; which of its parts do is told by the type that they are in,
    as a feature may be called like a branch.
    """

    def __init__(self, job: type[BaseModel], location: Sequence[int | str]) -> None:
        self._job = job
        self.path: tuple[str, ...] = ()
        """The fields and keys that lead there, with the places in lists."""
        self.type: Any = job
        """What may be there, with all branches."""
        self.is_key = False
        """Whether the finding is about the last key, and not about its value."""
        self._home: Any = job
        self._of_list: str | None = None
        self._shown: list[str] = []
        type_: Any = job
        for part in location:
            members = _members(type_)
            if part == "[key]":
                self.is_key = True
            elif len(members) > 1:
                type_ = next((member for member in members if _is_branch(member, str(part))), None)
            else:
                self._of_list = self.takes if members and get_origin(members[0]) is tuple else None
                self._home = members[0] if members else None
                self.type = type_ = _inner_type(self._home, part)
                self.path = (*self.path, str(part))
                if get_origin(self._home) is not tuple:
                    self._shown.append(str(part))

    @property
    def text(self) -> str:
        """For people; the places in lists are not counted."""
        return ".".join(self._shown) or "job"

    @property
    def last(self) -> str:
        """The last name."""
        return self._shown[-1]

    @property
    def around(self) -> str:
        """What holds the last name."""
        return ".".join(self._shown[:-1]) or "the job"

    @property
    def takes(self) -> str:
        """What to write there, in words: the field's own, else those of its type; of a list, the list's."""
        fields = self._home.model_fields if _is_model(self._home) else {}
        own = fields[self.path[-1]].description if self.path and self.path[-1] in fields else self._of_list
        return own or taken(self.type)

    @property
    def known(self) -> list[str]:
        """The names of all fields beside it."""
        return _names(self._home) if _is_model(self._home) else []

    @property
    def elsewhere(self) -> list[str]:
        """Where in the job there is a field of the last name: in the job itself, or one level down."""
        parts = {name: _members(field.annotation) for name, field in self._job.model_fields.items()}
        inner = [f"{name}.{self.last}" for name, types in parts.items() for type_ in types if self._is_in(type_)]
        return ([self.last] if self._is_in(self._job) else []) + inner

    def _is_in(self, type_: Any) -> bool:
        return _is_model(type_) and self.last in _names(type_)


def _members(type_: Any) -> list[Any]:
    """The branches of a union, or the type alone; without null."""
    if get_origin(type_) is Annotated:
        return _members(get_args(type_)[0])
    if get_origin(type_) in (Union, UnionType):
        return [inner for member in get_args(type_) if member is not type(None) for inner in _members(member)]
    return [] if type_ is None else [type_]


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_branch(member: Any, label: str) -> bool:
    """Whether pydantic calls a member of a union so."""
    if _is_model(member):
        return member.__name__ in label
    origin = get_origin(member)
    name = str(getattr(origin or member, "__name__", member)).lower()
    return label.split("[", maxsplit=1)[0].lower() == name


def _inner_type(type_: Any, part: int | str) -> Any:
    """The type of a field of a model, or of what a list, tuple or mapping holds."""
    if _is_model(type_):
        found = [field for name, field in type_.model_fields.items() if str(part) in (name, field.alias)]
        return found[0].annotation if found else None
    inside = [argument for argument in get_args(type_) if argument is not Ellipsis]
    return inside[-1] if inside else None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
