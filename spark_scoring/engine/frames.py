"""The casts of a plan on pandas data, value for value what ``engine.columns`` does in Spark.

For notebooks and for tests of training code: it needs no session and takes some microseconds per value. The text
of a FLOAT or DOUBLE has Java's form with the fewest digits that tell it from its neighbours, as from JDK 19 on;
older ones, Spark's usual 17 among them, write a digit more for a few values, which read back as the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from spark_scoring.conversions.lanes import filled_in_python, is_missing_in_python, value_type, width_of
from spark_scoring.conversions.table import pair_of
from spark_scoring.engine.errors import PolicyError
from spark_scoring.engine.frame_values import frame_schema, read_column
from spark_scoring.engine.inputs import WorkerPlan, build_input, objects
from spark_scoring.errors import Gathering, PlanError, Problem
from spark_scoring.job import checked_levels, checked_policy
from spark_scoring.model.signature import signature_inputs
from spark_scoring.model.spec import ModelSpec
from spark_scoring.model.types import ANY, NUMPY_TYPES
from spark_scoring.plan.outputs import ERROR_COLUMN
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.reasons import SEPARATOR, reason_text
from spark_scoring.plan.request import Request
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlflow.models import ModelSignature
    from numpy.typing import NDArray
    from pyspark.sql.types import StructType

    from spark_scoring.conversions.base import Pair
    from spark_scoring.model.types import ModelType
    from spark_scoring.plan.policy import Fill, PolicyLike
    from spark_scoring.plan.scoring_plan import PlannedFeature, ScoringPlan


@dataclass(frozen=True)
class PreparedFeatures:
    """A frame cut in two: rows that the model can take, and why it cannot take the others."""

    frame: pd.DataFrame
    """The good rows with their index; columns, order and dtypes are the model's own. A tensor feature of more than
    one value holds an array of its inner shape per row."""
    errors: pd.Series[str]
    """The bad rows with their index: the text of Spark's ``scoring_error``, such as ``seats: null``."""


@dataclass(frozen=True)
class _Lane:
    """One feature's values, a row each, and what is wrong with the row: the policy's action and the cause."""

    feature: PlannedFeature
    values: list[Any]
    faults: list[tuple[str, str] | None]


def prepare_features(
    frame: pd.DataFrame,
    signature: ModelSignature,
    policy: PolicyLike = "strict",
    *,
    schema: StructType | None = None,
    categories: Mapping[str, Sequence[Any]] | None = None,
) -> PreparedFeatures:
    """What a model with this signature is given for a frame: the same as ``score_batch`` gives it for the table.

    Args:
        frame: the data; columns bind by name as in Spark, others are ignored.
        signature: MLflow's, such as ``infer_signature(X, model.predict(X))``.
        policy: ``strict``, ``lenient``, or a policy per feature (``"*"``: all others).
        schema: the table's schema. Without it each column's Spark type comes from its dtype (times without a zone
            are TIMESTAMP_NTZ), that of an object column from its values: only with a schema does the result of one
            row never depend on the others. A NaN is a null, but for one in a column of objects.
        categories: levels in the order of training. Text must be one of them, a number becomes their code; only a
            model itself can say that it takes a pandas Categorical (``prepare_frame`` with its plan).

    Raises:
        JobError: a choice of the policy is not one.
        PlanError: with everything that keeps the frame from being prepared.
        PolicyError: a value on which the policy of its feature is to fail.

    """
    spec = _spec_of(signature)
    known = frame_schema(frame, schema, {feature.name.lower() for feature in spec.inputs})
    request = Request(
        policy=checked_policy(policy), categories=checked_levels(categories or {}, "the call"), methods=()
    )
    return prepare_frame(frame, make_plan(spec, known, request), known)


def prepare_frame(frame: pd.DataFrame, plan: ScoringPlan, schema: StructType) -> PreparedFeatures:
    """What the plan's model is given for a frame.

    Args:
        frame: the data.
        plan: a plan whose features come from columns, not from SQL expressions.
        schema: the schema that the plan was made for.

    Raises:
        PlanError: the frame lacks a column, or its values are not of the schema's types.
        PolicyError: a value on which the policy of its feature is to fail.

    """
    given = frame_columns(frame, plan, schema)
    made = build_input(given.plan, given.columns)
    own = {name: values if values.ndim == 1 else objects(list(values)) for name, values in made.items()}
    return PreparedFeatures(pd.DataFrame(own, frame.index[given.rows]), given.errors)


@dataclass(frozen=True)
class FrameColumns:
    """A frame as a worker is given it: a lane for each feature."""

    plan: WorkerPlan
    """Whose input is a dict of the features' values."""
    columns: list[NDArray[Any]]
    rows: NDArray[np.int_]
    """Positions in the frame of the rows that the model can take."""
    errors: pd.Series[str]
    """Why it cannot take the others."""


def frame_columns(frame: pd.DataFrame, plan: ScoringPlan, schema: StructType) -> FrameColumns:
    """What a worker is given for a frame; see ``prepare_frame``.

    Raises:
        PlanError: the frame lacks a column, or its values are not of the schema's types.
        PolicyError: a value on which the policy of its feature is to fail.

    """
    sources = _sources(frame, plan, schema)
    lanes = [_lane(feature, values) for feature, values in zip(plan.features, sources, strict=True)]
    fatal = dict.fromkeys((name, cause) for _, name, action, cause in _faults(lanes) if action == "fail")
    if fatal:
        raise PolicyError.fails(fatal)
    texts: dict[int, list[str]] = {}
    for row, name, _, cause in _faults(lanes):
        texts.setdefault(row, []).append(reason_text(name, cause))
    bad = np.array(sorted(texts), dtype=int)
    good = np.setdiff1d(np.arange(len(frame)), bad)
    errors = pd.Series([SEPARATOR.join(texts[row]) for row in bad], frame.index[bad], dtype=object, name=ERROR_COLUMN)
    columns = [model_column(lane.feature.type, [lane.values[row] for row in good]) for lane in lanes]
    return FrameColumns(single_lanes(plan.features), columns, good, errors)


def single_lanes(features: Sequence[PlannedFeature]) -> WorkerPlan:
    """A worker's plan with a lane for each feature."""
    return WorkerPlan(
        features=tuple((f.name, f.type) for f in features),
        lanes=tuple((value_type(f.type), (f.name,), width_of(f.type) > 0) for f in features),
        returns=(),
        takes="tensors",
        missing=tuple((f.name, f.missing) for f in features if f.missing != "None"),
    )


def _spec_of(signature: ModelSignature) -> ModelSpec:
    """A model of which only its inputs are known."""
    if signature.inputs is None:
        fix = "infer it from the frame of training: infer_signature(X, model.predict(X))"
        raise PlanError([Problem("signature", "it has no inputs", fix)])
    _, inputs = signature_inputs(signature)
    return ModelSpec("signature", None, None, None, "", "", "python_function", inputs, "double")


def _sources(frame: pd.DataFrame, plan: ScoringPlan, schema: StructType) -> list[list[Any]]:
    """The values that each feature is made from; nulls where a default takes its place."""
    columns = {quote(column.name): column for column in schema.fields if column.name in frame.columns}
    found, problems = [], Gathering()
    for feature in plan.features:
        if feature.source is None:
            found.append([None] * len(frame))
            continue
        column = columns.get(feature.source.removeprefix("collate(").removesuffix(", 'UTF8_BINARY')"))
        if column is None:
            cause = f"it is made of {feature.source}, which the frame does not have"
            fix = "make it a column of the feature's name"
            problems.problems.append(Problem(f"feature {feature.name!r}", cause, fix))
            continue
        with problems.attempt():
            found.append(read_column(frame, column))
    problems.raise_all(PlanError)
    return found


def _lane(feature: PlannedFeature, values: Sequence[Any]) -> _Lane:
    if feature.source is None:
        default = filled_in_python(feature.handling.absent, feature.type)
        return _Lane(feature, [default] * len(values), [None] * len(values))
    pair = pair_of(feature)
    settled = [_settled(value, feature, pair) for value in values]
    return _Lane(feature, [value for value, _ in settled], [fault for _, fault in settled])


def _settled(value: Any, feature: PlannedFeature, pair: Pair) -> tuple[Any, tuple[str, str] | None]:
    """The value that the policy gives the model, and the row's fault; one of the two is None, or the value a null."""
    handling = feature.handling
    action: str | Fill
    if is_missing_in_python(value, feature):
        action, cause = handling.nulls, "null"
    else:
        converted, fits = pair.in_python(value)
        if fits:
            return converted, None
        action, cause = handling.invalid, str(feature.reason)
    if action in ("bad_row", "fail"):
        return None, (str(action), cause)
    if action == "keep" and feature.type == ANY:
        return value, None  # a NaN stays one
    return filled_in_python(action, feature.type), None


def _faults(lanes: Sequence[_Lane]) -> Iterable[tuple[int, str, str, str]]:
    """Row, feature, action and cause, in the order of the features."""
    for lane in lanes:
        for row, fault in enumerate(lane.faults):
            if fault is not None:
                yield row, lane.feature.name, *fault


def model_column(type_: ModelType, values: Sequence[Any]) -> NDArray[Any]:
    """A lane of one feature: (n, width) values of its dtype, or (n,) objects."""
    width = width_of(type_)
    if width == 0:
        return objects(values)
    lane = value_type(type_)
    dtype = "int32" if lane == "category" else NUMPY_TYPES.get(lane, lane)
    return np.array(values, dtype=dtype).reshape(len(values), width)
