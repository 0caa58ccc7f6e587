"""Scoring by a feature client's own ``score_batch``, with the plan's casts in front of it.

The client looks features up itself, so that only the scored table's own columns can be cast; what it looks up
reaches the model as it is in its table. It is always told the result's type: its default would turn every
prediction into a double.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.feature_errors import FeatureTableError
from spark_scoring.delta.settings import is_case_sensitive
from spark_scoring.engine.columns import extend, plain_columns, row_error
from spark_scoring.errors import Gathering
from spark_scoring.features.client import feature_client
from spark_scoring.model.mlflow_servers import mlflow_at
from spark_scoring.model.types import DATA_TYPES
from spark_scoring.model.uris import LOGGED
from spark_scoring.plan.outputs import ERROR_COLUMN, METHODS
from spark_scoring.sql import free_prefix, quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import DataFrame

    from spark_scoring.plan.scoring_plan import PlannedFeature, ScoringPlan

_PREDICTION = METHODS["predict"]


@dataclass(frozen=True)
class Delegation:
    """A feature client that scores."""

    tracking_uri: str | None = None
    registry_uri: str | None = None
    """MLflow's servers; default: MLflow's own settings."""
    client: Any = None
    """Anything with Databricks' keywords; default: ``feature_client()``."""


def check_delegation(plan: ScoringPlan) -> None:
    """Refuse what a feature client cannot be asked for.

    Raises:
        FeatureTableError: with every reason.

    """
    problems = Gathering()
    thing = "engine: databricks"
    with problems.attempt():
        if plan.model.features is None:
            fix = "leave engine out: this package scores it"
            raise FeatureTableError.bad_lookup(thing, "the model was logged without a training set", fix)
    with problems.attempt():
        if plan.model.version is None and not LOGGED.fullmatch(plan.model.uri):
            cause = "a feature client fetches the model again, and what this URI leads to may be another one by then"
            raise FeatureTableError.bad_lookup(thing, cause, "score a registered version, or leave engine out")
    with problems.attempt():
        if plan.methods != ("predict",):
            cause = f"a feature client only predicts, and predict asks for {', '.join(plan.methods)}"
            raise FeatureTableError.bad_lookup(thing, cause, "leave engine out, or take predict: [predict]")
    own = _own_features(plan)
    for feature in plan.features:
        with problems.attempt():
            if feature not in own and str(feature.source).lower() != quote(feature.name).lower():
                cause = f"columns: {feature.name} would not reach the client, which looks it up or looks up by it"
                raise FeatureTableError.bad_lookup(thing, cause, "leave it out, or leave engine out")
    for feature in own:
        with problems.attempt():
            if feature.type not in DATA_TYPES:
                cause = f"it cannot be given feature {feature.name!r} as {feature.type}"
                raise FeatureTableError.bad_lookup(thing, cause, "leave engine out")
    problems.raise_all(FeatureTableError)


def score_with_client(
    df: DataFrame,
    plan: ScoringPlan,
    delegation: Delegation,
    *,
    keep: Sequence[str],
    names: Mapping[str, str],
) -> DataFrame:
    """The kept columns, ``prediction`` and ``scoring_error``, by a client's ``score_batch``.

    Args:
        df: the table that the plan was made for, without features; its column names are distinct.
        plan: the scoring plan.
        delegation: which client, and where its models are.
        keep: columns of the table, and looked-up ones, to keep in order.
        names: other names for the added columns.

    A row that fails a check gets a null prediction and its reason; the model is given placeholders for it.

    """
    own = _own_features(plan)
    prefix = free_prefix("_scoring", df.columns)
    kept = {column: f"{prefix}_kept{i}" for i, column in enumerate(df.columns) if column in keep}
    error = f"{prefix}_error"
    extended = extend(df, plan, prefix)
    casts = plain_columns(own, extended)
    fold = str if is_case_sensitive(df.sparkSession) else str.lower
    cast = {fold(name) for name in casts}
    passed = [c for c in df.columns if fold(c) not in cast]
    given = extended.frame.select(
        *[F.col(quote(column)) for column in passed],
        *[column.alias(name) for name, column in casts.items()],
        *[F.col(quote(column)).alias(name) for column, name in kept.items()],
        row_error(own, extended).alias(error),
    )
    model = plan.model
    uri = f"models:/{model.name}/{model.version}" if model.name and model.version else model.uri
    options: dict[str, Any] = {"params": dict(plan.params)} if plan.params else {}
    with mlflow_at(delegation.tracking_uri, delegation.registry_uri):
        client = delegation.client or feature_client(model_registry_uri=delegation.registry_uri)
        scored: DataFrame = client.score_batch(model_uri=uri, df=given, result_type=plan.outputs[0].type, **options)
    reasons = [F.col(error), *([F.col(ERROR_COLUMN)] if ERROR_COLUMN in scored.columns else [])]
    return scored.select(
        *[F.col(quote(kept.get(column, column))).alias(column) for column in keep],
        F.when(F.col(error).isNull(), F.col(_PREDICTION)).alias(names.get(_PREDICTION, _PREDICTION)),
        F.coalesce(*reasons).alias(names.get(ERROR_COLUMN, ERROR_COLUMN)),
    )


def _own_features(plan: ScoringPlan) -> list[PlannedFeature]:
    """The features that are made from the scored table's own columns, but for those that are lookup keys."""
    lookups = plan.lookups
    others = frozenset() if lookups is None else frozenset(lookups.columns) | lookups.sources
    return [feature for feature in plan.features if feature.name not in others]
