"""A DataFrame in, a DataFrame with predictions out; and the plan of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql.types import StructType

from spark_scoring.arguments import check_frame, check_order, choices_of
from spark_scoring.delta.settings import is_case_sensitive
from spark_scoring.engine.rehearsal import rehearsed
from spark_scoring.engine.stage import StageName, score_frame
from spark_scoring.errors import Gathering
from spark_scoring.features.join import add_features
from spark_scoring.features.planning import plan_features
from spark_scoring.model.registry import resolve_model
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.zone import with_zone_note
from spark_scoring.run.columns import check_columns, check_names, frame_of, renamed, request_of, typed_expressions
from spark_scoring.run.model_plan import model_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import DataFrame

    from spark_scoring.job import ScoringJob
    from spark_scoring.plan.outputs import PerClass
    from spark_scoring.plan.policy import PolicyLike
    from spark_scoring.plan.scoring_plan import Engine, ScoringPlan


def plan_scoring(  # noqa: PLR0913  keyword-only
    model: str,
    table: StructType | DataFrame,
    *,
    policy: PolicyLike = "strict",
    columns: Mapping[str, str] | None = None,
    categories: Mapping[str, Sequence[Any]] | None = None,
    predict: str | Sequence[str] = "predict",
    params: Mapping[str, Any] | None = None,
    per_class: PerClass = "array",
    explain: bool | int | Mapping[str, Any] | None = None,
    rehearse: bool = True,
    batch_dependent: bool = False,
    show_model_error: bool = False,
    engine: Engine = "auto",
    environment: str = "session",
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> ScoringPlan:
    """Plan the scoring of a table with a registered model. Reads no rows.

    Loads the model once on the driver, which runs its code: score only models whose origin you trust.

    Args:
        model: ``models:/name/version``, ``models:/name@alias``, ``runs:/...``, an artifact's URI (``s3:``, ``dbfs:``,
            ...) or a model folder; see ``model.registry.resolve_model``.
        table: the DataFrame, or its schema.
        policy: ``strict``, ``lenient``, or a policy per feature (``"*"``: all others), as a job file has it
            (``{"visits": {"nulls": {"fill": 0}}}``) or as ``FeaturePolicy``.
        columns: a SQL expression per feature whose column has another name or needs work; needs a session, as does
            a model with feature lookups.
        categories: levels in the order of training, per category feature whose levels the model does not hold.
        predict: ``predict`` and other methods of the native model: ``predict_proba``, ``predict_log_proba``,
            ``decision_function``, ``score_samples``; all in one pass over the data. One name, or several.
        params: inference parameters of the model's signature.
        per_class: probabilities as one ``array`` column, or as ``columns``, one for each class.
        explain: whether each row tells why it got its prediction: the features that contribute most, as many as the
            number says, True: three; ``{"top": 3, "only_if": "prediction = 1"}`` tells of some rows (docs/explain.md).
        rehearse: whether the model is called on a few rows of its saved input example, or on made-up ones, to see
            that it treats each row by itself (docs/rehearsal.md).
        batch_dependent: whether a row's result may depend on other rows or on chance, on purpose.
        show_model_error: whether the traceback of the model's first error, whose text may hold values, is logged.
        engine: ``auto``: Spark's own expressions where they are proven to give what the model gives (linear models of
            scikit-learn and statsmodels with the usual steps in front; numbers within 1e-12, the same labels), else
            Python workers; ``native``: the former or an error; ``python``: the latter.
        environment: the packages with which the model runs: those of the ``session``; ``isolated``: what its
            requirements.txt lists, installed once and run in a process of its own (docs/environments.md); ``auto``: the
            latter where the session lacks one of them, or has the model's library in another version; or the path of a
            pack of them.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings.

    Raises:
        RequestError: an argument is wrong; it is checked as a job file's field is.
        ModelError: the model cannot be found, read or loaded.
        IsolationError: its own packages cannot be installed, or it does not load with them.
        PlanError: with everything that keeps it from scoring this table; or that it would score wrong, by the
            rehearsal (under ``lenient`` a note).

    """
    check_order(table, model, "plan_scoring(model, df)")
    check_frame(table, schema_too=True)
    choices = choices_of(
        model,
        policy=policy,
        columns=columns,
        categories=categories,
        predict=predict,
        params=params,
        per_class=per_class,
        explain=explain,
        rehearse=rehearse,
        batch_dependent=batch_dependent,
        show_model_error=show_model_error,
        engine=engine,
        environment=environment,
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
    )
    return _plan_of_choices(choices, table)


def _plan_of_choices(choices: ScoringJob, table: StructType | DataFrame) -> ScoringPlan:
    """The plan of a table with what a job says of the model and the features."""
    pinned = resolve_model(choices.model, tracking_uri=choices.tracking_uri, registry_uri=choices.registry_uri)
    spec = model_of(choices, pinned)
    schema = table if isinstance(table, StructType) else table.schema
    problems = Gathering()
    expressions = {}
    lookups = None
    if spec.features is not None:
        lookups, schema = plan_features(frame_of(table), spec.features)
    if choices.columns:
        frame = frame_of(table if lookups is None else schema)
        check_columns(frame, choices.columns, problems)
        expressions = typed_expressions(frame, choices.columns, problems)
    problems.raise_all()
    case_sensitive = not isinstance(table, StructType) and is_case_sensitive(table.sparkSession)
    request = request_of(choices, expressions, lookups, case_sensitive=case_sensitive)
    plan = rehearsed(
        make_plan(spec, schema, request),
        policy=request.policy,
        rehearse=choices.rehearse,
        batch_dependent=choices.batch_dependent,
        show_model_error=choices.show_model_error,
        engine=choices.scorer,
        explain=choices.explained,
    )
    if isinstance(table, StructType):
        return plan
    return with_zone_note(plan, str(table.sparkSession.conf.get("spark.sql.session.timeZone")))


def score_batch(  # noqa: PLR0913  keyword-only
    df: DataFrame,
    model: str,
    *,
    policy: PolicyLike = "strict",
    columns: Mapping[str, str] | None = None,
    categories: Mapping[str, Sequence[Any]] | None = None,
    predict: str | Sequence[str] = "predict",
    params: Mapping[str, Any] | None = None,
    per_class: PerClass = "array",
    explain: bool | int | Mapping[str, Any] | None = None,
    stage: StageName = "udf",
    names: Mapping[str, str] | None = None,
    rehearse: bool = True,
    batch_dependent: bool = False,
    show_model_error: bool = False,
    engine: Engine = "auto",
    environment: str = "session",
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> DataFrame:
    """The DataFrame with ``prediction`` (``probability``) and ``scoring_error`` added; scored on its first action.

    Every row stays. In a row that fails a check or on which the model raises, the prediction is null and
    ``scoring_error`` names features and reasons, never values; elsewhere ``scoring_error`` is null. The
    prediction has the type of the model's output signature.

    Args:
        df: the table; its columns are kept as they are.
        stage: ``udf`` (pandas UDF, the default) or ``map`` (``mapInArrow``), with the same result.
        names: other names for the added columns.

    See ``plan_scoring`` for the other arguments and the errors.

    Raises:
        OutputError: ``df`` already has a column of an added one's name.

    """
    check_order(df, model, "score_batch(df, model)")
    check_frame(df)
    choices = choices_of(
        model,
        names,
        policy=policy,
        columns=columns,
        categories=categories,
        predict=predict,
        params=params,
        per_class=per_class,
        explain=explain,
        stage=stage,
        rehearse=rehearse,
        batch_dependent=batch_dependent,
        show_model_error=show_model_error,
        engine=engine,
        environment=environment,
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
    )
    plan = _plan_of_choices(choices, df)
    added = renamed([o.name for o in plan.outputs], names or {})
    check_names(df.columns, added, case_sensitive=is_case_sensitive(df.sparkSession))
    rows = df if plan.lookups is None else add_features(df, plan.lookups)
    return score_frame(
        rows, plan, stage=choices.stage, keep=df.columns, names=names, show_model_error=choices.show_model_error
    )
