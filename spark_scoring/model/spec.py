"""What the planner needs to know of a model, as plain values; no handle on the model itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from spark_scoring.model.categories import OwnLevels
from spark_scoring.model.sealed import Copy

if TYPE_CHECKING:
    from spark_scoring.model.environment import Difference, Environment
    from spark_scoring.model.feature_spec import FeatureSpec
    from spark_scoring.model.recorded import TrainingStatistics
    from spark_scoring.model.types import Levels, Missing, ModelType

Takes = Literal["frame", "tensor", "tensors", "records", "values", "texts"]

UNNAMED = "input"
"""What an input without a name is called in a plan, a job's ``columns`` and ``policy``."""


@dataclass(frozen=True)
class Feature:
    """One input of the model: its name, its type and whether it must be there."""

    name: str
    type: ModelType
    required: bool = True
    nullable: bool = True
    """False where the library refuses a null in a type that could hold one."""
    missing: Missing = "None"
    """What a missing text is to the model."""


@dataclass(frozen=True)
class Parameter:
    """One inference parameter of the signature."""

    name: str
    type: str
    """MLflow's data type."""
    listed: bool
    """Whether it takes a list of them."""


@dataclass(frozen=True)
class ModelSpec:
    """A pinned model, all that the planner needs to know of it; no handle on the model itself."""

    uri: str
    """The URI as the user wrote it."""
    name: str | None
    version: str | None
    run_id: str | None
    digest: str
    """sha256 of the artifact's files."""
    path: str
    """The folder of the model that predicts: in a copy that is ours."""
    flavor: str
    """The native flavor, such as ``lightgbm``; ``python_function`` where there is none."""
    inputs: tuple[Feature, ...]
    output: ModelType
    """What ``predict`` returns per row; several named outputs are an object, of tensors where MLflow says so."""
    takes: Takes = "frame"
    """What the model is called with: a DataFrame, a matrix, a dict of arrays, a list of dicts or values, a Series."""
    methods: tuple[tuple[str, ModelType], ...] = ()
    """Predict methods of the native model besides ``predict``, with what they return per row."""
    own_names: tuple[str, ...] = ()
    """The feature names in the trained model's own order, where it holds them."""
    classes: tuple[str, ...] = ()
    """The class labels of ``predict_proba``'s columns, as text; empty where the model has no ``predict_proba``."""
    levels: OwnLevels = field(default_factory=OwnLevels)
    """What the trained model says of its category features."""
    recorded: tuple[tuple[str, Levels], ...] = ()
    """Levels that registration wrote into the model's metadata."""
    params: tuple[Parameter, ...] = ()
    differences: tuple[Difference, ...] = ()
    """Requirements of the model that this environment does not meet."""
    notes: tuple[str, ...] = ()
    features: FeatureSpec | None = None
    """Where its inputs come from, for a model trained with feature lookups; ``path`` is then its raw model's."""
    labels: tuple[tuple[str, int], ...] = ()
    """Inputs that the model's frame calls by a number: columns that had no names in training."""
    documents: bool = False
    """Whether its first step takes texts, one for each row, and no frame of columns."""
    selects: bool = False
    """Whether its first step chooses columns by name, so that it does not mind others."""
    batch_dependent: bool = False
    """Whether its registration recorded that a row's result depends on other rows or on chance, on purpose."""
    unsure_nulls: tuple[str, ...] = ()
    """Text features of which it is guessed, by an imputer in the model, what a missing one was in training."""
    ordered: tuple[str, ...] = ()
    """Category features whose levels were ordered in training."""
    part_digest: str = ""
    """sha256 of the files in ``path``, where that is a part of the artifact."""
    statistics: TrainingStatistics | None = field(default=None, repr=False)
    """What registration recorded of the training rows; None where it recorded nothing of them."""
    environment: Environment | None = None
    """The packages with which it runs, in a process of its own; None: those of the session."""

    @property
    def title(self) -> str:
        """For people: the name, or the URI of a model that has none, with the version."""
        return f"{self.name or self.uri}{f' version {self.version}' if self.version else ''}"

    @property
    def copy(self) -> Copy:
        """What is loaded, with the digest that it is held against."""
        return Copy(self.path, self.part_digest or self.digest)
