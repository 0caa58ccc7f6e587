"""A scoring job as people write it: what to score, with what, where to. Loads and dumps YAML."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from spark_scoring.errors import JobError, Problem, near_fix
from spark_scoring.plan.outputs import PerClass  # noqa: TC001  pydantic wants it when the class is made
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy, Preset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails
    from typing_extensions import Self


Method = Literal["predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples"]
"""Of ``spark_scoring.plan.outputs.METHODS``."""


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


def _yaml_cause(error: Exception) -> str:
    """What is wrong, and where; not the line itself, which may hold a secret."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"its byte {error.start + 1} is not UTF-8"
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{type(error).__name__}, such as a character that YAML does not take"
    return (
        f"{getattr(error, 'problem', None) or 'it cannot be read'}, in line {mark.line + 1}, column {mark.column + 1}"
    )


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
        raise JobError.unreadable(str(path), f"not YAML: {_yaml_cause(error)}") from error
    if not isinstance(fields, dict):
        raise JobError.unreadable(str(path), "it holds no fields")
    for text in overrides:
        _lay_over(fields, text)
    return fields


class Fields(BaseModel):
    """A part of a job: unknown fields are refused, and it does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Place(Fields):
    """A table by name or by path."""

    table: str | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> _Place:
        if not self._names_place():
            msg = "give either table or path"
            raise ValueError(msg)
        return self

    def _names_place(self) -> bool:
        return (self.table is None) != (self.path is None)

    @property
    def text(self) -> str:
        """The name or path as written."""
        return str(self.table or self.path)


class SourceSettings(_Place):
    """What is scored: a Delta table at its newest version unless one is given, or whatever else Spark reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    where: str | None = None
    """SQL condition; rows that it does not pass are not scored."""
    version: int | None = Field(default=None, ge=0)
    timestamp: str | None = None
    """ISO 8601, UTC unless it has an offset: the version that was the newest then."""
    format: str | None = None
    """Of a path that is not a Delta table: as ``spark.read.format`` takes it, such as parquet, csv, json, orc, jdbc."""
    ddl: str | None = Field(default=None, alias="schema")
    """With a format: columns and types as in SQL, such as ``id BIGINT, price DOUBLE``."""
    options: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = {}
    """With a format: what ``spark.read.options`` takes, such as ``{header: true}``. Their values are never shown."""

    def _names_place(self) -> bool:
        return super()._names_place() or (self.format is not None and self.table is None)  # jdbc and others have none

    @property
    def text(self) -> str:
        """The name, path or format as written."""
        return str(self.table or self.path or self.format)

    @model_validator(mode="after")
    def _fits_format(self) -> SourceSettings:
        wrong = []
        if self.version is not None and self.timestamp is not None:
            wrong.append("give version or timestamp, not both")
        if self.table is not None and (self.format or self.ddl or self.options):
            wrong.append("format, schema and options go with a path: a table has its own")
        elif self.format is None and (self.ddl or self.options):
            wrong.append("schema and options go with a format, such as format: csv")
        elif self.format is not None and (self.version is not None or self.timestamp is not None):
            wrong.append("version and timestamp are of Delta tables: leave format out, or these")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class OutputSettings(_Place):
    """Where the predictions go."""

    mode: Literal["append", "overwrite", "merge"] = "append"
    key: tuple[str, ...] = ()
    """Columns whose values tell the rows apart, for a merge; they are kept ones."""
    replace_where: str | None = None
    """SQL condition on the output's columns: what an overwrite replaces; default: the whole table."""
    evolve: bool = False
    """Whether the table takes columns of the run that it lacks; overwritten as a whole, any other columns."""
    keep: tuple[str, ...] | None = None
    """Source columns written beside the predictions; default: all."""
    naming: Literal["spark_scoring", "databricks"] = "spark_scoring"
    """``databricks``: model_id and timestamp, as its monitoring expects."""
    names: dict[str, str] = {}
    """Other names for columns that the run adds, such as ``{prediction: delay}``."""

    @model_validator(mode="after")
    def _fits_mode(self) -> OutputSettings:
        if self.replace_where is not None and self.mode != "overwrite":
            msg = "replace_where goes with mode: overwrite"
            raise ValueError(msg)
        if bool(self.key) != (self.mode == "merge"):
            msg = (
                "mode: merge needs a key: the columns that tell rows apart"
                if not self.key
                else "key goes with mode: merge"
            )
            raise ValueError(msg)
        return self


class FillSettings(Fields):
    """A value that stands in; null is the model's own missing value."""

    fill: StrictBool | StrictInt | StrictFloat | StrictStr | None


class FeatureSettings(Fields):
    """The policy of one feature; what is left out follows the preset."""

    preset: Preset | None = None
    nulls: Literal["keep", "bad_row", "fail"] | FillSettings | None = None
    invalid: Literal["bad_row", "missing", "fail"] | FillSettings | None = None
    absent: FillSettings | None = None

    def policy(self) -> FeaturePolicy:
        """As the planner takes it."""
        fills = {
            name: Fill(value.fill) if isinstance(value, FillSettings) else value
            for name, value in ((n, getattr(self, n)) for n in ("nulls", "invalid", "absent"))
        }
        return FeaturePolicy(preset=self.preset, **fills)


class IncrementalSettings(Fields):
    """How a job scores only what is new in its source; ``incremental: true`` takes the defaults."""

    checkpoint: str | None = None
    """Folder of the stream's own state; default: ``_spark_scoring`` in the output's folder."""
    changes: Literal["refuse", "ignore", "follow"] = "refuse"
    """Of rows that the source updates or deletes: ``refuse`` stops; ``ignore`` leaves their predictions as they are;
    ``follow`` scores updated rows again and deletes predictions of deleted ones, by the source's change data feed."""
    files_per_batch: int = Field(default=1000, ge=1)
    """Files of the source that one micro-batch takes at most, where one version of it does not hold more changes."""
    interval: float = Field(default=10.0, gt=0)
    """Seconds between two looks at the source, of a job that keeps going."""


class Job(Fields):
    """What people write as a YAML file: read with every problem at once, and written back."""

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """The job of a YAML file, with settings of the form ``a.b=value`` laid over it.

        Raises:
            JobError: with every field that is unknown, missing or wrong.

        """
        return cls.from_dict(read_fields(path, overrides))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """The job of a mapping.

        Raises:
            JobError: with every field that is unknown, missing or wrong.

        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise JobError(_problems(error, cls)) from error

    def to_yaml(self) -> str:
        """The job as YAML, without the settings that are as by default."""
        fields = self.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


class ScoringJob(Job):
    """A whole job. Every field can be set on the command line: ``--set output.mode=overwrite``."""

    name: str | None = None
    """What the job is called in the ledger; two jobs of other names never stand in for each other."""
    model: str
    expect_digest: Annotated[str, Field(pattern="^[0-9a-fA-F]{12,64}$")] | None = None
    """What the digest of the model's artifact must begin with: another artifact is refused before it is loaded."""
    allow_models: tuple[str, ...] | None = None
    """Patterns of names or URIs; the job loads no other model. ``SPARK_SCORING_ALLOW_MODELS`` holds besides."""
    source: SourceSettings
    output: OutputSettings
    columns: dict[str, str] = {}
    """A SQL expression per feature whose column has another name or needs work."""
    policy: Preset | dict[str, Preset | FeatureSettings] = "strict"
    """A preset, or a choice per feature; ``"*"`` names all others."""
    categories: dict[str, tuple[Any, ...]] = {}
    """Levels in the order of training, per category feature whose levels the model does not hold."""
    predict: tuple[Method, ...] = Field(default=("predict",), min_length=1)
    params: dict[str, Any] = {}
    """Inference parameters of the model's signature."""
    per_class: PerClass = "array"
    """Probabilities as one array column, or as one column for each class."""
    bad_rows: Literal["keep", "quarantine", "fail"] = "keep"
    """``keep``: written with a null prediction and the reason in ``scoring_error``; ``quarantine``: the same, but to
    ``<output>_quarantine``; ``fail``: the first one stops the run."""
    max_bad_rows: StrictInt | StrictFloat | None = None
    """Rows, or a share of them (0.01), above which the run stops before anything is committed. Default: half of
    the rows; of an incremental job, half of each micro-batch that has 100 rows or more. A run in which every row is bad
    stops in any case. A micro-batch in which every row is bad is judged by this limit."""
    force: bool = False
    """Score again although the same run was made before and its rows are there; incremental: from the beginning."""
    incremental: StrictBool | IncrementalSettings = False
    """Score only what is new in the source since the last run."""
    rehearse: StrictBool = True
    """Whether the plan calls the model on a few rows of its input example, to see that it treats each by itself."""
    batch_dependent: StrictBool = False
    """Whether a row's result may depend on other rows of its batch or on chance, on purpose."""
    show_model_error: StrictBool = False
    """Whether the traceback of the model's first error, whose text may hold values, goes to the log."""
    timeout: StrictInt | StrictFloat | StrictStr | None = None
    """How long planning and the run may take together; of an incremental job, each batch: seconds, or a text such as
    ``90s``, ``30m`` or ``1h30m``. What is longer is stopped. None: as long as it takes."""
    stage: Literal["udf", "map"] = "udf"
    engine: Literal["spark_scoring", "databricks"] = "spark_scoring"
    """``databricks``: the feature client's own ``score_batch``, for models logged with a training set."""
    tracking_uri: str | None = None
    registry_uri: str | None = None
    warehouse: str | None = None
    """Folder of a local session's tables; of no effect where a session exists."""

    @field_validator("timeout")
    @classmethod
    def _some_time(cls, value: float | str | None) -> float | str | None:
        if value is not None and not _seconds(value):
            msg = "give a number of seconds above 0, or a text such as 90s, 30m or 1h30m"
            raise ValueError(msg)
        return value

    @field_validator("max_bad_rows")
    @classmethod
    def _rows_or_share(cls, value: float | None) -> float | None:
        if value is not None and (value < 0 or (isinstance(value, float) and value > 1)):
            msg = "give a number of rows, or a share of them between 0.0 and 1.0"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_limit(self) -> ScoringJob:
        if self.bad_rows == "fail" and self.max_bad_rows is not None:
            msg = "max_bad_rows goes with bad_rows: keep or quarantine; fail allows none"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _fits_incremental(self) -> ScoringJob:
        settings = self.increments
        if settings is None:
            return self
        wrong = []
        if self.output.mode == "overwrite":
            wrong.append("it adds to its output: take mode: append or merge")
        if self.source.format is not None:
            wrong.append("it reads what is new in a Delta table: leave source.format out, or write a Delta table first")
        if self.source.version is not None or self.source.timestamp is not None:
            wrong.append("it reads whatever is new: leave source.version and source.timestamp out")
        if settings.changes == "follow" and self.output.mode == "append":
            wrong.append("changes: follow finds the rows that it changes by a key: take mode: merge")
        if wrong:
            msg = f"incremental does not go with this: {'; '.join(wrong)}"
            raise ValueError(msg)
        return self

    @property
    def seconds(self) -> float | None:
        """The timeout; None: there is none."""
        return None if self.timeout is None else _seconds(self.timeout)

    @property
    def increments(self) -> IncrementalSettings | None:
        """How the job is incremental; None where it is not."""
        if isinstance(self.incremental, IncrementalSettings):
            return self.incremental
        return IncrementalSettings() if self.incremental else None

    def scoring_policy(self) -> Policy:
        """The policy as the planner takes it."""
        if isinstance(self.policy, str):
            return Policy.of(self.policy)
        choices = {
            name: FeaturePolicy(preset=choice) if isinstance(choice, str) else choice.policy()
            for name, choice in self.policy.items()
        }
        return Policy.of(choices)


def _seconds(timeout: float | str) -> float | None:
    """A time in seconds; None where it is not one."""
    if not isinstance(timeout, str):
        return float(timeout) if 0 < timeout < math.inf else None
    found = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?", "".join(timeout.split()), re.ASCII)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return float(3600 * hours + 60 * minutes + seconds) or None


def _lay_over(fields: dict[str, Any], text: str) -> None:
    """One ``a.b=value`` setting; the value is read as YAML."""
    path, equals, value = text.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise JobError.bad_setting(text)
    for name in names[:-1]:
        inner = fields.get(name)
        if isinstance(inner, str) and path.strip().startswith("policy."):  # a preset stays where a part is set
            inner = {"*" if name == "policy" else "preset": inner}
        inner = dict(inner) if isinstance(inner, dict) else {}
        fields[name] = inner
        fields = inner
    try:
        fields[names[-1]] = yaml.load(value, Loader=_Loader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise JobError.bad_setting(text) from error


def _problems(error: ValidationError, job: type[Job]) -> list[Problem]:
    """Pydantic's findings, one per field: of the branches of a union only what says most."""
    found: dict[str, Problem] = {}
    for detail in error.errors(include_url=False, include_input=False):
        thing, problem = _problem(detail, job)
        found.setdefault(thing, problem)
    return [problem for thing, problem in found.items() if not any(other.startswith(f"{thing}.") for other in found)]


def _problem(detail: ErrorDetails, job: type[Job]) -> tuple[str, Problem]:
    names, home = _place(job, detail["loc"])
    thing = ".".join(names) or "job"
    match detail["type"]:
        case "extra_forbidden":
            known = [field.alias or name for name, field in home.model_fields.items()] if _is_model(home) else []
            return thing, Problem(thing, "no such field", near_fix(names[-1], known, what="fields") or "leave it out")
        case "missing":
            home = ".".join(names[:-1]) or "the job"
            return thing, Problem(thing, "this field is missing", f"add {names[-1]} to {home}")
        case "literal_error":
            return thing, Problem(thing, "not one of its values", f"give {detail['ctx']['expected']}")
        case _:
            cause = detail["msg"].removeprefix("Value error, ")
            return thing, Problem(thing, cause, "see the job file's fields in the README")


def _place(job: type[Job], location: Sequence[int | str]) -> tuple[list[str], Any]:
    """The names of the fields and keys that lead to a place of the job, and the model that holds the last one.

    Pydantic's location names the branches of unions, too; which of its parts do is told by the type they stand in,
    as a feature may be called like a branch.
    """
    names: list[str] = []
    home: Any = job
    type_: Any = job
    for part in location:
        members = [member for member in get_args(type_) if member is not type(None)] if _is_union(type_) else []
        if len(members) > 1:
            type_ = next((m for m in members if _is_branch(m, str(part))), None)
            continue
        type_ = members[0] if members else type_
        names.append(str(part))
        home = type_
        type_ = _inner_type(type_, part)
    return names, home


def _is_union(type_: Any) -> bool:
    return get_origin(type_) in (Union, UnionType)


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
