"""The casts of a plan on pandas data, value for value what ``engine.casts`` does in Spark.

For notebooks and for tests of training code: it needs no session and takes some microseconds per value. The text
of a FLOAT or DOUBLE has Java's form with the fewest digits that tell it from its neighbours, as from JDK 19 on;
older ones, Spark's usual 17 among them, write a digit more for a few values, which read back as the same number.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.errors import PySparkTypeError
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import NullType, Row, StructField, StructType

from spark_scoring.engine.casts import LANE_TYPES, MISSING_CODE, MISSING_TIME
from spark_scoring.engine.inputs import NUMPY_TYPES, WorkerPlan, build_input, objects
from spark_scoring.errors import Gathering, JobError, ModelError, PlanError, PolicyError, Problem
from spark_scoring.model.categories import given_levels
from spark_scoring.model.spec import ModelSpec, signature_inputs
from spark_scoring.model.types import ANY, INTEGER_RANGES, Category, Coded, OneOf, Tensor
from spark_scoring.plan.planner import Request, make_plan
from spark_scoring.plan.policy import Fill, Policy
from spark_scoring.plan.rules import kind_of
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlflow.models import ModelSignature
    from numpy.typing import NDArray
    from pyspark.sql.types import DataType

    from spark_scoring.model.types import Level, Levels, ModelType
    from spark_scoring.plan.planner import PlannedFeature, ScoringPlan
    from spark_scoring.plan.policy import FeaturePolicy, Preset
    from spark_scoring.plan.rules import Cell, Conversion

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_NS_MICROS = 9_223_372_036_854_775
"""Nanoseconds in 64 bits reach this many microseconds before and after 1970."""
_MISSING = {"double": math.nan, "float": math.nan, "datetime": MISSING_TIME}
"""What stands for a null in a lane; None in all others."""
_UNSIGNED = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20),
    pa.float16(): pa.float32(),
}
"""Numbers that Spark has no type for, and the smallest that holds them."""
_WHOLE_KINDS = {"byte": "int8", "short": "int16", "integer": "integer", "long": "long"}

_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_SPECIAL = re.compile(r"\s*(nan|[+-]?inf|[+-]?infinity)\s*", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"\s*([+-]?)0*(\d{1,19})(?:\.0*)?\s*", re.ASCII)
_FLAG = re.compile(r"\s*(?:(true)|false)\s*", re.ASCII | re.IGNORECASE)
_TIME = re.compile(
    r"\s*(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?"
    r"\s*(?:Z|([+-])(0\d|1[0-4]):?([0-5]\d))?\s*",
    re.ASCII,
)


@dataclass(frozen=True)
class PreparedFeatures:
    """A frame cut in two: rows that the model can take, and why it cannot take the others."""

    frame: pd.DataFrame
    """The good rows with their index; columns, order and dtypes are the model's own. A tensor feature of more than
    one value holds an array of its inner shape per row."""
    errors: pd.Series[str]
    """The bad rows with their index: the text of Spark's ``scoring_error``, such as ``seats: null``."""


@dataclass(frozen=True)
class _Typed:
    """A conversion between a Spark type and a model's: of a feature, or of a member of one."""

    type: ModelType
    source_type: str
    conversion: Conversion
    members: tuple[_Typed, ...] = ()
    name: str = ""
    source: str = ""
    nullable: bool = True
    codes: Mapping[Level, int] = field(default_factory=dict)
    """Positions of the levels, where there are any."""


@dataclass(frozen=True)
class _Lane:
    """One feature's values, and why rows are bad or the call fails."""

    feature: PlannedFeature
    values: list[Any]
    """A value per row; in rows that are bad by this feature it is of no account."""
    bad: Mapping[int, str]
    """Row -> cause, where it makes a bad row."""
    fatal: frozenset[str]
    """Causes on which the policy is to fail."""


def prepare_features(
    frame: pd.DataFrame,
    signature: ModelSignature,
    policy: Policy | Preset | Mapping[str, FeaturePolicy] = "strict",
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
            row never depend on the others. A NaN of a numpy float column is a null.
        categories: levels in the order of training. Text must be one of them, a number becomes their code; only a
            model itself can say that it takes a pandas Categorical (``prepare_frame`` with its plan).

    Raises:
        PlanError: with everything that keeps the frame from being prepared.
        PolicyError: a value on which the policy of its feature is to fail.

    """
    spec = _spec_of(signature)
    known = _schema_of(frame, schema, {feature.name.lower() for feature in spec.inputs})
    request = Request(policy=Policy.of(policy), categories=_levels(categories or {}), methods=())
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
    lanes = [_lane(feature, values) for feature, values in _sources(frame, plan, schema)]
    if any(lane.fatal for lane in lanes):
        raise PolicyError.fails((lane.feature.name, cause) for lane in lanes for cause in sorted(lane.fatal))
    causes: dict[int, list[str]] = {}
    for lane in lanes:
        for row, cause in lane.bad.items():
            causes.setdefault(row, []).append(f"{lane.feature.name}: {cause}")
    bad = sorted(causes)
    good = np.setdiff1d(np.arange(len(frame)), bad)
    errors = pd.Series(["; ".join(causes[row]) for row in bad], index=frame.index[bad], dtype=object)
    return PreparedFeatures(_model_frame(lanes, good, frame.index[good]), errors.rename("scoring_error"))


def _spec_of(signature: ModelSignature) -> ModelSpec:
    """A model of which only its inputs are known."""
    if signature.inputs is None:
        raise ModelError.no_signature("signature")
    _, inputs = signature_inputs(signature)
    return ModelSpec("signature", None, None, None, "", "", "python_function", inputs, "double")


def _levels(categories: Mapping[str, Sequence[Any]]) -> dict[str, Levels]:
    levels, problems = {}, Gathering()
    for feature, values in categories.items():
        with problems.attempt():
            try:
                levels[feature] = given_levels(values, "the call")
            except ValueError as error:
                raise JobError.bad_levels(feature, str(error)) from error
    problems.raise_all()
    return levels


# What a frame holds, in Spark's terms.


def _schema_of(frame: pd.DataFrame, schema: StructType | None, read: set[str]) -> StructType:
    """The frame's columns with their types, which are inferred only where a feature may read them."""
    given = None if schema is None else {column.name: column.dataType for column in schema.fields}
    fields, problems = [], []
    for i, name in enumerate(frame.columns):
        type_: DataType | None = NullType()
        if given is not None:
            type_ = given.get(name)
        elif str(name).lower() in read:
            type_ = _inferred(frame.iloc[:, i])
            if type_ is None:
                fix = "give the table's schema: schema=StructType([...])"
                problems.append(Problem(f"column {name!r}", "its values are not of one Spark type", fix))
        if type_ is not None:
            fields.append(StructField(str(name), type_))
    if problems:
        raise PlanError(problems)
    return StructType(fields)


def _inferred(series: pd.Series[Any]) -> DataType | None:
    values = series.cat.categories if isinstance(series.dtype, pd.CategoricalDtype) else series
    try:
        found = pa.array(values, from_pandas=True).type
        return from_arrow_type(_UNSIGNED.get(found, found), prefer_timestamp_ntz=True)
    except (pa.ArrowException, PySparkTypeError, TypeError, ValueError, ArithmeticError):
        return None


def _sources(
    frame: pd.DataFrame, plan: ScoringPlan, schema: StructType
) -> Iterable[tuple[PlannedFeature, list[Any] | None]]:
    """Every feature with the values that it is made from, None where a default stands in."""
    columns = {quote(column.name): column for column in schema.fields}
    found, problems = [], []
    for feature in plan.features:
        if feature.source is None:
            found.append((feature, [None] * len(frame)))
            continue
        column = columns.get(feature.source.removeprefix("collate(").removesuffix(", 'UTF8_BINARY')"))
        if column is None or column.name not in frame.columns:
            cause = f"pandas cannot make its source, {feature.source}"
            problems.append(Problem(f"feature {feature.name!r}", cause, "make a column of this name, and plan anew"))
            continue
        try:
            found.append((feature, _read_column(frame[column.name], column.dataType)))
        except (TypeError, ValueError, ArithmeticError):
            cause = f"it holds values that are no {column.dataType.simpleString().upper()}"
            fix = "give the schema of the frame's table; times of a TIMESTAMP have a zone: x.dt.tz_localize('UTC')"
            problems.append(Problem(f"column {column.name!r}", cause, fix))
    if problems:
        raise PlanError(problems)
    return found
