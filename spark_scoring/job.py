"""A scoring job as people write it: what to score, with what, where to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, field_validator

from spark_scoring.errors import Gathering, Problem, near_fix
from spark_scoring.job_problems import JobError, refuse
from spark_scoring.job_reading import Job
from spark_scoring.job_settings import (
    MOST_REASONS,
    DriftSettings,
    ExplainSettings,
    FeatureSettings,
    IncrementalSettings,
    Listed,
    OutputSettings,
    SourceSettings,
    SparkSettings,
)
from spark_scoring.model.environment import PACK, Packages
from spark_scoring.model.levels import given_levels
from spark_scoring.plan.outputs import PerClass  # noqa: TC001  pydantic wants it when the class is made
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy, Preset
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spark_scoring.model.types import Levels
    from spark_scoring.plan.scoring_plan import Engine


Method = Literal["predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples"]
"""Of ``spark_scoring.plan.outputs.METHODS``."""
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


class ScoringJob(Job):
    """A whole job. Every field can be set on the command line: ``--set output.mode=overwrite``."""

    sql_fields = ("source.where", "output.replace_where", "columns.*")

    name: str | None = None
    """What the job is called in the ledger; two jobs of other names never count as each other's runs."""
    model: str = Field(description="the model's URI, such as models:/main.ml.delay@champion")
    """``models:/name/3``, ``@alias``, ``/latest``, ``/Production``, ``models:/m-<id>``, ``runs:/...``, the URI of an
    artifact (``s3:``, ``dbfs:``, ...) or a folder. It is pinned to one version when the job is planned."""
    expect_digest: str | None = None
    """What the digest of the model's artifact must begin with: another artifact is refused before it is loaded."""
    allow_models: Annotated[tuple[str, ...] | None, Listed] = None
    """Patterns of names or URIs; the job loads no other model. ``SPARK_SCORING_ALLOW_MODELS`` must allow it, too."""
    source: SourceSettings
    """What is scored."""
    output: OutputSettings
    """Where the predictions go."""
    columns: dict[str, str] = Field(default={}, description='SQL per feature, such as {dep_hour: "hour(dep_time)"}')
    """A SQL expression per feature whose column has another name or needs work."""
    policy: Preset | dict[str, Preset | FeatureSettings] = Field(
        default="strict", description="strict, lenient, or a choice per feature, such as {visits: {nulls: {fill: 0}}}"
    )
    """A preset, or a choice per feature; ``"*"`` names all others."""
    categories: dict[str, tuple[Any, ...]] = Field(
        default={}, description="the levels of each feature in the order of training, such as {carrier: [AA, DL]}"
    )
    """Levels in the order of training, per category feature whose levels the model does not hold."""
    predict: Annotated[tuple[Method, ...], Listed] = Field(
        default=("predict",), min_length=1, description=f"one or more of {', '.join(get_args(Method))}"
    )
    """Methods of the model; all are called in one pass over the rows."""
    params: dict[str, Any] = Field(default={})
    """Inference parameters of the model's signature."""
    per_class: PerClass = "array"
    """Probabilities as one array column, or as one column for each class."""
    explain: StrictBool | StrictInt | ExplainSettings = Field(
        default=False, description="true, a number of features, or a mapping such as {top: 3}"
    )
    """Whether each row tells why it got its prediction, in the columns ``contributions``, ``raw_score`` and
    ``base_score``: of linear models and boosters (docs/explain.md)."""
    bad_rows: Literal["keep", "quarantine", "fail"] = "keep"
    """``keep``: written with a null prediction and the reason in ``scoring_error``; ``quarantine``: the same, but to
    ``<output>_quarantine``; ``fail``: the first one stops the run."""
    max_bad_rows: StrictInt | StrictFloat | None = Field(
        default=None, description="a number of rows (100), or a share of them (0.01, or 1%)"
    )
    """Rows, or a share of them (0.01), above which the run stops before anything is committed. Default: half of
    the rows; of an incremental job, half of each micro-batch that has 100 rows or more. A run in which every row is bad
    stops in any case. A micro-batch in which every row is bad is judged by this limit."""
    force: bool = False
    """Score again although the same run was made before and its rows are there; incremental: from the beginning."""
    incremental: StrictBool | IncrementalSettings = False
    """Score only what is new in the source since the last run."""
    drift: StrictBool | DriftSettings = False
    """Whether what the model is given is held against its training rows, as registration has recorded them, and against
    the run before. It costs one pass over the source."""
    rehearse: StrictBool = True
    """Whether the plan calls the model on a few rows of its input example, to see that it treats each by itself."""
    batch_dependent: StrictBool = False
    """Whether a row's result may depend on other rows of its batch or on chance, on purpose."""
    show_model_error: StrictBool = False
    """Whether the traceback of the model's first error, whose text may hold values, goes to the log."""
    report: str | None = None
    """A folder, or a volume's path, for the page of each run and its JSON: ``run_<id>.html``, ``run_<id>.json``."""
    track: StrictBool | StrictStr = Field(default=False, description="true, or the name of an experiment")
    """Whether each run is logged to MLflow, linked to the model's version: ``true``, or the experiment's name."""
    timeout: StrictInt | StrictFloat | StrictStr | None = None
    """How long planning and the run may take together; of an incremental job, each batch: seconds, or a text such as
    ``90s``, ``30m`` or ``1h30m``. What is longer is stopped. None: as long as it takes."""
    stage: Literal["udf", "map"] = "udf"
    """How rows reach the model: through a pandas UDF, or through ``mapInArrow``, with the same result."""
    engine: Literal["auto", "native", "python", "databricks", "spark_scoring"] = "auto"
    """Who scores. ``auto``: Spark's own expressions where they are proven to give what the model gives, else Python
    workers. ``native``: Spark's expressions or an error. ``python``: Python workers. ``databricks``: the feature
    client's own ``score_batch``, for models logged with a training set. ``spark_scoring`` is an older name of
    ``auto``."""
    environment: str = Field(default="session", description=f"{', '.join(get_args(Packages))}, or a pack (*{PACK})")
    """The packages with which the model runs. ``session``: those that are installed for Spark. ``isolated``: what the
    model's requirements.txt lists, installed once and run in a process of its own, on the driver and for each worker
    (docs/environments.md). ``auto``: the latter where the session lacks one of them, or has the model's library in
    another version. A path such as ``packs/delay.zip``: the latter, from a file that ``spark-scoring pack`` made."""
    tracking_uri: str | None = None
    """MLflow's tracking server; default: MLflow's own setting."""
    registry_uri: str | None = None
    """MLflow's registry; default: MLflow's own setting."""
    warehouse: str | None = None
    """Folder of a local session's tables; of no effect where a session exists."""
    spark: SparkSettings = Field(default={})
    """Settings of a session that the job starts; ``{driver.memory: 8g}`` is ``{spark.driver.memory: 8g}``. Where a
    session exists, those that could change a result must be as in it, and the others are told to have no effect."""

    @property
    def scorer(self) -> Engine:
        """Who scores where this package does."""
        match self.engine:
            case "native" | "python":
                return self.engine
            case "databricks":
                return "python"
            case _:
                return "auto"

    def __repr__(self) -> str:
        return redact(f"<ScoringJob {self.model} on {self.source.text}, to {self.output.text}>")

    __str__ = __repr__

    @field_validator("expect_digest")
    @classmethod
    def _is_digest(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch("[0-9a-fA-F]{12,64}", value):
            refuse("it is not a digest", "give 12 to 64 of the characters 0-9 and a-f, in quotes; the plan shows it")
        return value

    @field_validator("policy", mode="before")
    @classmethod
    def _from_policy(cls, value: object) -> object:
        return policy_fields(value)

    @field_validator("categories", mode="before")
    @classmethod
    def _from_arrays(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        if any(isinstance(levels, set | frozenset) for levels in value.values()):
            refuse("a set has no order", "give lists, in the order of training, such as {carrier: [AA, DL]}")
        return {name: levels.tolist() if hasattr(levels, "tolist") else levels for name, levels in value.items()}

    @field_validator("report")
    @classmethod
    def _is_folder(cls, value: str | None) -> str | None:
        if value is not None and ("://" in value or value.startswith("dbfs:")):
            refuse("it is a URI, and pages are written as files", "give a folder, or a volume's path: /Volumes/...")
        return value

    @field_validator("track")
    @classmethod
    def _is_named(cls, value: bool | str) -> bool | str:  # noqa: FBT001
        if isinstance(value, str) and not value.strip():
            refuse("the name of the experiment is empty", "write track: true, or the name of an experiment")
        return value

    @field_validator("environment")
    @classmethod
    def _is_known(cls, value: str) -> str:
        choices = get_args(Packages)
        if value not in choices and not value.endswith(PACK):
            near = near_fix(value, choices, what="choices")
            refuse("it is neither a choice nor a pack", f"{near}; or the path of a pack, such as packs/delay{PACK}")
        return value

    @field_validator("explain")
    @classmethod
    def _some_features(cls, value: bool | int | ExplainSettings) -> bool | int | ExplainSettings:  # noqa: FBT001
        if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= MOST_REASONS:
            refuse(f"it is not a number from 1 to {MOST_REASONS}", "give a number of features, such as 3")
        return value

    @field_validator("max_bad_rows", mode="before")
    @classmethod
    def _from_percent(cls, value: object) -> object:
        percent = _PERCENT.fullmatch(value) if isinstance(value, str) else None
        return float(percent[1]) / 100 if percent else value

    @field_validator("timeout")
    @classmethod
    def _some_time(cls, value: float | str | None) -> float | str | None:
        if value is not None and not _seconds(value):
            refuse("it is not a time", "give a number of seconds above 0, or a text such as 90s, 30m or 1h30m")
        return value

    @field_validator("max_bad_rows")
    @classmethod
    def _rows_or_share(cls, value: float | None) -> float | None:
        if value is not None and not (value >= 0 and (isinstance(value, int) or value <= 1)):
            refuse("it is neither a number of rows nor a share of them", "give rows (100), or a share (0.01, or 1%)")
        return value

    def conflicts(self) -> list[Problem]:
        """Fields that are right by themselves and do not go together."""
        found = (*self._limit_conflicts(), *self._increment_conflicts(), *self._client_conflicts())
        return [Problem(*conflict) for conflict in found]

    def _client_conflicts(self) -> Iterator[tuple[str, str, str]]:
        settings, is_client = self.drift_settings, self.engine == "databricks"
        if settings is not None and settings.fail is not None and settings.fail < settings.warn:
            yield "drift", "it stops a run before it warns: fail is below warn", "give a fail that is not below warn"
        if self.explain is not False and is_client:
            yield "explain", "a feature client scores, and it tells no contributions", "leave explain or engine out"
        if self.environment != "session" and is_client:
            yield "environment", "a feature client scores, with the packages that it finds", "leave it or engine out"
        if settings is not None and is_client:
            yield "drift", "a feature client looks features up, and they are not seen here", "leave drift out"

    def _limit_conflicts(self) -> Iterator[tuple[str, str, str]]:
        if self.bad_rows == "fail" and self.max_bad_rows is not None:
            yield "max_bad_rows", "bad_rows: fail allows none", "leave max_bad_rows out, or write bad_rows: keep"

    def _increment_conflicts(self) -> Iterator[tuple[str, str, str]]:
        settings = self.increments
        if settings is None:
            return
        if self.output.mode == "overwrite":
            yield "incremental", "it adds to its output, which an overwrite replaces", "take mode: append or merge"
        if self.source.format is not None:
            fix = "leave source.format out, or write a Delta table first"
            yield "incremental", "it reads what is new in a Delta table, and no other format", fix
        if self.source.version is not None or self.source.timestamp is not None:
            fix = "leave source.version and source.timestamp out"
            yield "incremental", "it reads whatever is new, and not one version", fix
        if settings.changes == "follow" and self.output.mode == "append":
            fix = "take mode: merge with a key, such as key: order_id"
            yield "incremental", "changes: follow finds the rows that it changes by a key", fix

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

    @property
    def explained(self) -> ExplainSettings | None:
        """What is told of contributions; None: nothing."""
        match self.explain:
            case ExplainSettings():
                return self.explain
            case bool():
                return ExplainSettings() if self.explain else None
            case _:
                return ExplainSettings(top=self.explain)

    @property
    def drift_settings(self) -> DriftSettings | None:
        """How drift is measured; None where it is not."""
        if isinstance(self.drift, DriftSettings):
            return self.drift
        return DriftSettings() if self.drift else None

    def scoring_policy(self) -> Policy:
        """The policy as the planner takes it."""
        if isinstance(self.policy, str):
            return Policy.of(self.policy)
        choices = {
            name: FeaturePolicy(preset=choice) if isinstance(choice, str) else choice.policy()
            for name, choice in self.policy.items()
        }
        return Policy.of(choices)


def checked_levels(categories: Mapping[str, Sequence[Any]], origin: str) -> dict[str, Levels]:
    """Category levels by feature, as ``origin`` (the job, the call) gives them.

    Raises:
        JobError: with every feature whose levels are not of one type, or are there twice.

    """
    levels, problems = {}, Gathering()
    for feature, values in categories.items():
        with problems.attempt():
            try:
                levels[feature] = given_levels(values, origin)
            except ValueError as error:
                raise JobError.bad_levels(feature, str(error)) from error
    problems.raise_all()
    return levels


def checked_policy(policy: object) -> Policy:
    """A policy in any of its forms.

    Raises:
        JobError: with every choice that is not one.

    """
    return ScoringJob.from_dict({"model": "m", "source": "s", "output": "o", "policy": policy}).scoring_policy()


def policy_fields(policy: object) -> object:
    """A policy of Python's values as the fields that YAML has for it; what is not one stays as it is."""
    match policy:
        case Policy():
            return policy_fields({"*": policy.default, **dict(policy.features)})
        case FeaturePolicy():
            choices = {name: getattr(policy, name) for name in ("preset", "nulls", "invalid", "absent")}
            return {name: policy_fields(choice) for name, choice in choices.items() if choice is not None}
        case Fill():
            value: Any = policy.value
            return {"fill": value.item() if hasattr(value, "item") else value}
        case Mapping():
            return {name: policy_fields(choice) for name, choice in policy.items()}
        case _:
            return policy


def _seconds(timeout: float | str) -> float | None:
    """A time in seconds; None where it is not one."""
    if not isinstance(timeout, str):
        return float(timeout) if 0 < timeout < math.inf else None
    found = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?", "".join(timeout.split()), re.ASCII)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return float(3600 * hours + 60 * minutes + seconds) or None
