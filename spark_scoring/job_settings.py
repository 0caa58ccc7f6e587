"""The parts of a scoring job: what each field may hold, and in which shorter forms people write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from spark_scoring.job_file import place_of
from spark_scoring.job_problems import JobError, refuse
from spark_scoring.plan.policy import FeaturePolicy, Fill, Preset
from spark_scoring.spark_settings import SettingError, spark_settings

if TYPE_CHECKING:
    from collections.abc import Sequence


def _listed(value: object) -> object:
    """One name where a list of one is meant."""
    return (value,) if isinstance(value, str) else value


Listed = BeforeValidator(_listed)
"""Of a field that takes a list of names: one name will do."""


def _of_spark(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    try:
        return spark_settings(value)
    except SettingError as error:
        refuse(f"{error.key}: {error.cause}", error.fix)


SparkSettings = Annotated[
    dict[str, str],
    BeforeValidator(_of_spark),
    Field(description="settings of Spark's, such as {spark.driver.memory: 8g}", repr=False),
]
"""Settings of a local session that the job starts, by their whole keys."""
NAMES = 'names of columns, such as [id, day]; one that is not text to YAML in quotes, such as "1"'
MOST_REASONS = 100
"""Features that a row can tell of: each takes two fields of what a worker returns."""


class Fields(BaseModel):
    """A part of a job: unknown fields are refused, and it does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    takes: ClassVar[str] = ""
    """What to write, for people; default: the names of its fields."""

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise JobError.frozen(name)


class _Place(Fields):
    """A table by name or by path; a text alone is either."""

    takes = "a table's name, a path with a slash, or a mapping such as {table: shop.orders}"

    table: str | None = None
    """Its name: catalog.schema.table, schema.table or table."""
    path: str | None = None
    """Its folder or URI; of a source also a file or a pattern of files, with ``format``."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return place_of(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_both(self) -> _Place:
        if not self._names_place():
            cause = "it has neither table nor path" if self.table is None else "it has both table and path"
            refuse(cause, "give one of them, such as table: shop.orders or path: data/orders")
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

    where: str | None = Field(default=None, description='SQL, such as "month >= 10"')
    """SQL condition; rows that it does not pass are not scored."""
    version: int | None = Field(
        default=None, ge=0, description="a whole number, such as 3; without it, the newest version is read"
    )
    """The table's version; default: the newest one when the job is planned."""
    timestamp: str | None = None
    """ISO 8601, UTC unless it has an offset: the version that was the newest then."""
    format: str | None = None
    """Of a path that is not a Delta table: as ``spark.read.format`` takes it, such as parquet, csv, json, orc, jdbc."""
    ddl: str | None = Field(default=None, alias="schema")
    """With a format: columns and types as in SQL, such as ``id BIGINT, price DOUBLE``."""
    options: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(default={}, repr=False)
    """With a format: what ``spark.read.options`` takes, such as ``{header: true}``. Their values are never shown."""

    def _names_place(self) -> bool:
        return super()._names_place() or (self.format is not None and self.table is None)  # jdbc and others have none

    @property
    def text(self) -> str:
        """The name, path or format as written."""
        return str(self.table or self.path or self.format)

    @model_validator(mode="after")
    def _fits_format(self) -> SourceSettings:
        found = []
        if self.version is not None and self.timestamp is not None:
            found.append(("it has both version and timestamp", "give one of them"))
        if self.table is not None and (self.format or self.ddl or self.options):
            found.append(("format, schema and options go with a path: a table has its own", "leave them out"))
        elif self.format is None and (self.ddl or self.options):
            found.append(("schema and options go with a format", "add it, such as format: csv"))
        elif self.format is not None and (self.version is not None or self.timestamp is not None):
            found.append(("version and timestamp are of Delta tables", "leave them out, or leave format out"))
        _raise_all(found)
        return self


def _raise_all(found: Sequence[tuple[str, str]]) -> None:
    """Causes and fixes of one place as one finding."""
    if found:
        causes, fixes = zip(*found, strict=True)
        refuse("; ".join(causes), "; ".join(fixes))


class OutputSettings(_Place):
    """Where the predictions go."""

    mode: Literal["append", "overwrite", "merge"] = "append"
    """``append`` adds rows, ``overwrite`` replaces them, ``merge`` updates known keys and inserts the others."""
    key: Annotated[tuple[str, ...], Listed] = Field(default=(), description=NAMES)
    """Columns whose values tell the rows apart, for a merge; they are kept ones."""
    replace_where: str | None = Field(default=None, description='SQL, such as "month = 10"')
    """SQL condition on the output's columns: what an overwrite replaces; default: the whole table."""
    evolve: bool = False
    """Whether the table takes columns of the run that it lacks; overwritten as a whole, any other columns."""
    keep: Annotated[tuple[str, ...] | None, Listed] = Field(default=None, description=NAMES)
    """Source columns written beside the predictions; default: all."""
    naming: Literal["spark_scoring", "databricks"] = "spark_scoring"
    """``databricks``: model_id and timestamp, as its monitoring expects."""
    names: dict[str, str] = {}
    """Other names for columns that the run adds, such as ``{prediction: delay}``."""

    @model_validator(mode="after")
    def _fits_mode(self) -> OutputSettings:
        if self.replace_where is not None and self.mode != "overwrite":
            refuse("replace_where goes with mode: overwrite", "add mode: overwrite, or leave replace_where out")
        if self.mode == "merge" and not self.key:
            refuse("mode: merge has no key", "add the columns that tell rows apart, such as key: order_id")
        if self.key and self.mode != "merge":
            refuse("key goes with mode: merge", "add mode: merge, or leave key out")
        return self


class FillSettings(Fields):
    """A value that takes the place of another; null is the model's own missing value."""

    takes = "{fill: <value>}"

    fill: StrictBool | StrictInt | StrictFloat | StrictStr | None
    """The value."""


class FeatureSettings(Fields):
    """The policy of one feature; what is left out follows the preset."""

    takes = "a mapping such as {nulls: {fill: 0}, invalid: missing}"

    preset: Preset | None = None
    """What holds where the choices below say nothing; default: the job's for ``"*"``, else strict."""
    nulls: Literal["keep", "bad_row", "fail"] | FillSettings | None = None
    """Of a null: give it to the model, make the row a bad one, stop the run, or put a value in its place."""
    invalid: Literal["bad_row", "missing", "fail"] | FillSettings | None = None
    """Of a value that does not fit, and of a category level that training has not seen."""
    absent: FillSettings | None = None
    """Of a feature that the source has no column for: the value of every row."""

    def policy(self) -> FeaturePolicy:
        """As the planner takes it."""
        fills = {
            name: Fill(value.fill) if isinstance(value, FillSettings) else value
            for name, value in ((n, getattr(self, n)) for n in ("nulls", "invalid", "absent"))
        }
        return FeaturePolicy(preset=self.preset, **fills)


class IncrementalSettings(Fields):
    """How a job scores only what is new in its source; ``incremental: true`` takes the defaults."""

    takes = "a mapping such as {changes: follow}"

    checkpoint: str | None = None
    """Folder of the stream's own state; default: ``_spark_scoring`` in the output's folder."""
    changes: Literal["refuse", "ignore", "follow"] = "refuse"
    """Of rows that the source updates or deletes: ``refuse`` stops; ``ignore`` leaves their predictions as they are;
    ``follow`` scores updated rows again and deletes predictions of deleted ones, by the source's change data feed."""
    files_per_batch: int = Field(default=1000, ge=1)
    """Files of the source that one micro-batch takes at most, where one version of it does not hold more changes."""
    interval: float = Field(default=10.0, gt=0)
    """Seconds between two looks at the source, of a job that keeps going."""


class DriftSettings(Fields):
    """How a run is held against training; ``drift: true`` takes the defaults."""

    takes = "a mapping such as {warn: 0.25, fail: 0.5}"

    warn: float = Field(default=0.25, gt=0, description="a PSI, such as 0.25")
    """The population stability index (PSI) of a feature above which the report tells of it."""
    fail: float | None = Field(default=None, gt=0, description="a PSI, such as 0.5")
    """The PSI of a feature above which the run stops before anything is written; default: none."""
    ignore: Annotated[tuple[str, ...], Listed] = Field(default=(), description="names of features, such as [day]")
    """Features that are not held against training, such as a date, which goes on."""


class ExplainSettings(Fields):
    """What is told of why a row got its prediction; ``explain: true`` takes the defaults."""

    takes = "a mapping such as {top: 3}"

    top: int = Field(default=3, ge=1, le=MOST_REASONS, description="a number of features, such as 3")
    """The features that are told of each row, those that contribute most."""
    only_if: str | None = Field(default=None, description="a condition, such as prediction = 1")
    """Of which rows it is told: a result of the model beside a value, such as ``prediction = 1``,
    ``probability[1] >= 0.8`` or ``prediction = 'fraud'``; default: of all."""
    codes: dict[str, str] | str | None = Field(
        default=None, description="a mapping such as {age: R01}, or the path of a CSV file"
    )
    """A code for each feature, shown beside its contribution; or a CSV file with the columns ``feature`` and
    ``code``, relative to the working directory."""
