"""Errors of registration: what is given, what was logged, and training jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import SHOWN, Problem, RequestError, RunError, listed, near_fix
from spark_scoring.model.errors import SILENT_FIX

if TYPE_CHECKING:
    from collections.abc import Sequence


EACH_TARGET = (
    "register a model for each target: fit it on Y[:, 0], and so on; "
    "of a MultiOutputClassifier, register model.estimators_[0], and so on"
)
"""What to do about a model of several targets."""


class RegistrationError(RequestError):
    """The model cannot be registered as it stands; nothing was registered."""

    title = "this model cannot be registered"

    @classmethod
    def outputs_differ(cls, task: str, wanted: str, got: str, cause: str, fix: str = "") -> RegistrationError:
        fix = fix or "give the task that the model was trained for, or the predictions that the task has"
        text = f"the task says {wanted}; the model returned {got} for rows of the training frame: {cause}"
        return cls([Problem(f"task {task}", text, fix, "outputs-differ")])

    @classmethod
    def schema_differs(cls, schema: str, got: str) -> RegistrationError:
        fix = "give the schema of what the model returns: infer_signature(X, model.predict(X)).outputs; or give task"
        cause = f"it says {schema}; the model returned {got} for rows of the training frame"
        return cls([Problem("output schema", cause, fix)])

    @classmethod
    def no_outputs(cls, cause: str) -> RegistrationError:
        fix = "give task='...' (such as regression or anomaly_detection), or output_schema=Schema([...])"
        return cls([Problem("output schema", cause, fix)])

    @classmethod
    def example_is_other_object(cls, given: str, trained: str) -> RegistrationError:
        fix = "leave it out: the head of the training frame is the example"
        return cls([Problem("input example", f"it is a {given}, the model was trained on a {trained}", fix)])

    @classmethod
    def example_differs(cls, differences: Sequence[str]) -> RegistrationError:
        shown = "\n      ".join(differences[:SHOWN])
        fix = (
            "leave it out: the head of the training frame is the example; or take rows of that frame: X.iloc[[...]]. "
            "A frame built anew from values loses its dtypes"
        )
        return cls([Problem("input example", f"it is not of the training frame's dtypes:\n      {shown}", fix)])

    @classmethod
    def no_table(cls, cause: str) -> RegistrationError:
        fix = "give a Spark DataFrame, or pandas columns of numbers, text, booleans and times, each of one type"
        return cls([Problem("input example", f"Spark cannot hold the pandas DataFrame: {cause}", fix)])

    @classmethod
    def no_flavor(cls, kind: str, flavors: Sequence[str]) -> RegistrationError:
        fix = f"give it: flavor='...' (one of {', '.join(flavors)}), or wrap the model in an mlflow.pyfunc.PythonModel"
        return cls([Problem("flavor", f"none was given, and MLflow has none for a {kind}", fix, "no-flavor")])

    @classmethod
    def unknown_flavor(cls, flavor: str, flavors: Sequence[str]) -> RegistrationError:
        fix = near_fix(flavor, flavors, what="flavors") or "leave it out"
        return cls([Problem(f"flavor {flavor!r}", "MLflow has no such flavor", fix)])

    @classmethod
    def spark_ml(cls, kind: str) -> RegistrationError:
        fix = "log it with mlflow.spark.log_model, and score it in Spark itself: mlflow.spark.load_model(uri).transform"
        cause = f"it is a {kind}, which needs a Spark session to predict"
        return cls([Problem("model", cause, fix, "not-registrable")])

    @classmethod
    def predict_failed(cls, kind: str) -> RegistrationError:
        if kind.endswith("NotFittedError"):
            return cls.not_trained("it")
        fix = (
            "give the frame that the model was trained on; its own text, which may hold values, is in the chained error"
        )
        return cls([Problem("training frame", f"the model raised {kind} on rows of it", fix, "example-fails")])

    @classmethod
    def not_trained(cls, kind: str) -> RegistrationError:
        fix = "train it first, model.fit(X, y); of statsmodels, register the results that fit() returns"
        return cls([Problem("model", f"{kind} is not trained", fix, "not-registrable")])

    @classmethod
    def is_class(cls, name: str) -> RegistrationError:
        fix = f"train an object of it: {name}().fit(X, y)"
        return cls([Problem("model", f"{name} is a class and not a trained model", fix, "not-registrable")])

    @classmethod
    def no_rows(cls, kind: str) -> RegistrationError:
        cause = f"{kind} goes on with the series that it was trained on, and does not predict rows of a table"
        fix = "write the forecast to a table with pandas; or wrap it in an mlflow.pyfunc.PythonModel that takes rows"
        return cls([Problem("model", cause, fix, "not-registrable")])

    @classmethod
    def no_method(cls, kind: str, method: str, others: Sequence[str], fix: str) -> RegistrationError:
        has = f"; it has {listed(others)}" if others else ""
        only = ", for the rows that it was trained on" if others == ["fit_predict"] else ""
        return cls([Problem("model", f"{kind} has no {method}{has}{only}", fix, "not-registrable")])

    @classmethod
    def no_predict_fn(cls, method: str, known: Sequence[str]) -> RegistrationError:
        cause = f"MLflow's loaded model calls {listed(known)} only"
        fix = (
            f"register a function: register_model(lambda X: model.{method}(X), X, flavor='pyfunc', "
            "task='regression', name=...)"
        )
        return cls([Problem(f"options: pyfunc_predict_fn {method!r}", cause, fix)])

    @classmethod
    def flavor_loses(cls, flavor: str, lost: str) -> RegistrationError:
        cause = f"it does not write {lost}, so that the loaded model would be another"
        return cls([Problem(f"flavor {flavor!r}", cause, "leave it out, or give flavor='sklearn', which writes all")])

    @classmethod
    def not_for_skops(cls) -> RegistrationError:
        cause = "skops cannot hold the model: a function or class in it is of a script, or is not written whole"
        fix = "leave serialization_format out; or import what the model uses from a module that code_paths logs along"
        return cls([Problem("options: serialization_format", cause, fix)])

    @classmethod
    def several_targets(cls, count: int, rows: int) -> RegistrationError:
        cause = f"it returned a list of {count} arrays of {rows} rows each, as of several targets"
        return cls([Problem("model", cause, EACH_TARGET, "outputs-differ")])

    @classmethod
    def takes_series(cls, name: str) -> RegistrationError:
        cause = "the model takes a Series, and scoring gives it a DataFrame, as a table has columns"
        return cls([Problem("training frame", cause, column_fix(name), "example-fails")])

    @classmethod
    def types_change_predictions(cls, features: Sequence[str], difference: str) -> RegistrationError:
        cause = (
            f"with this type of {listed(features)} the model predicts other values than with its own type: {difference}"
        )
        return cls([Problem("types", cause, "name a type that holds all its values, such as double")])

    @classmethod
    def secret_location(cls, place: str) -> RegistrationError:
        cause = "it holds a secret, and MLflow shows it to whoever may look at the experiment"
        fix = "leave the secret out: the storage's own variables (such as AWS_SECRET_ACCESS_KEY) or files have it"
        return cls([Problem(f"artifact_location {place}", cause, fix)])

    @classmethod
    def run_elsewhere(cls, server: str) -> RegistrationError:
        fix = "end it first (mlflow.end_run()), or leave tracking_uri out"
        return cls([Problem("run", f"one is active on another tracking server than {server}", fix)])

    @classmethod
    def tracking_failed(cls, what: str, cause: str) -> RegistrationError:
        fix = "check the tracking URI, its credentials and the names and values given; no version was made"
        return cls([Problem(what, f"MLflow answered: {cause}", fix)])

    @classmethod
    def registry_failed(cls, registry: str, cause: str) -> RegistrationError:
        fix = "check the registry URI and the credentials"
        return cls([Problem(f"registry {registry}", f"it answered: {cause}", fix)])

    @classmethod
    def silent(cls, what: str, server: str, cause: str) -> RegistrationError:
        return cls([Problem(f"{what} {server}", cause, f"{SILENT_FIX}; no version was made")])

    @classmethod
    def not_saved(cls, flavor: str, kind: str, cause: str = "", fix: str = "") -> RegistrationError:
        text = f"saving it with MLflow's flavor {flavor} raised {kind}{f': {cause}' if cause else ''}"
        fix = fix or (
            "its own text, which may hold values, is in the chained error; give what the flavor needs in options={...}"
        )
        return cls([Problem("model", text, fix, "not-registrable")])

    @classmethod
    def predict_count(cls, predictions: int, rows: int) -> RegistrationError:
        cause = f"the model returned {predictions} predictions for {rows} rows"
        fix = (
            "predict must return one for each row; a step that takes a Series (such as text) wants a "
            "ColumnTransformer in front, so that it takes a frame"
        )
        return cls([Problem("training frame", cause, fix, "outputs-differ")])

    @classmethod
    def loaded_model(cls) -> RegistrationError:
        cause = "it is a model that MLflow loaded, not the trained one"
        fix = "give the trained model (loaded.get_raw_model()), or register its files again: repair_model(uri, ...)"
        return cls([Problem("model", cause, fix, "not-registrable")])

    @classmethod
    def type_hint(cls, hint: str) -> RegistrationError:
        cause = f"its predict takes {hint} by its type hint, and is given a DataFrame"
        fix = "write predict(self, context, model_input: pd.DataFrame), or log it with mlflow.pyfunc.log_model"
        return cls([Problem("model", cause, fix, "not-registrable")])

    @classmethod
    def bad_option(cls, name: str, flavor: str, *, reserved: bool) -> RegistrationError:
        cause = "register_model sets it itself" if reserved else f"log_model of the flavor {flavor} has no such keyword"
        return cls([Problem(f"options: {name}", cause, "leave it out")])

    @classmethod
    def has_training_set(cls, tables: Sequence[str]) -> RegistrationError:
        cause = f"it was trained on features looked up in {listed(tables)}, which a model logged without it forgets"
        fix = "use log_model_with_feature_engineering(client, model, X, training_set=training_set, ...)"
        return cls([Problem("training set", cause, fix)])

    @classmethod
    def no_name(cls, uri: str) -> RegistrationError:
        fix = "say under which one: --name catalog.schema.model (name=...)"
        return cls([Problem(f"model {uri!r}", "it is not a registered model", fix)])

    @classmethod
    def no_features(cls, uri: str) -> RegistrationError:
        cause = "neither its signature nor the trained model names its features"
        return cls(
            [Problem(f"model {uri!r}", cause, "register it again where it was trained: register_model(model, X, ...)")]
        )


class VerificationError(RunError):
    """The model was logged, but is not the model in memory, or the registry failed; no version, unless it says so."""

    title = "the model was logged, and not registered"

    @classmethod
    def not_scorable(cls, problems: Sequence[Problem]) -> VerificationError:
        return cls(
            [Problem(p.thing, f"{p.cause}; the model was logged, no version was registered", p.fix) for p in problems]
        )

    @classmethod
    def registry_failed(cls, name: str, version: str | None, registry: str, cause: str) -> VerificationError:
        made = (
            "no version was registered" if version is None else f"version {version} was registered, without its alias"
        )
        fix = "check the registry and tracking URI, the credentials and the right to write there"
        return cls([Problem(f"model name {name!r}", f"the registry {registry} answered: {cause}; {made}", fix)])

    @classmethod
    def no_raw_model(cls, place: str) -> VerificationError:
        cause = f"the artifact has no {place}; no version was registered"
        return cls([Problem("logged model", cause, "update the feature engineering client")])

    @classmethod
    def raises(cls, kind: str) -> VerificationError:
        cause = f"loaded back, it ended in {kind} on rows of the training frame; no version was registered"
        fix = (
            "its own text, which may hold values, is in the chained error; does it need a file, a package, a global "
            "variable or a setting of the training script?"
        )
        return cls([Problem("logged model", cause, fix)])

    @classmethod
    def differs(cls, wrong: int, rows: int, shared: str) -> VerificationError:
        difference = f"{wrong:,} of {rows:,} rows differ{f', {shared}' if shared else ''}"
        cause = f"loaded back, it predicts other values than in memory: {difference}; no version was registered"
        fix = (
            "does it read globals or settings of the training script, which are not logged with it? "
            "is it still training, or random in predict?"
        )
        return cls([Problem("logged model", cause, fix)])


class TrainingError(RunError):
    """The estimator could not be fitted; nothing was logged."""

    @classmethod
    def fit(cls, estimator: str, kind: str) -> TrainingError:
        fix = (
            "its own text, which may hold values, is in the chained error; look for text and nulls that it cannot take"
        )
        return cls([Problem(f"estimator {estimator}", f"fit raised {kind}", fix)])

    @classmethod
    def no_best(cls, search: str) -> TrainingError:
        cause = "after fit it has no best_estimator_: it did not fit the best parameters again"
        return cls([Problem(f"search {search}", cause, "leave refit out of search, or take another class of search")])


def column_fix(name: str) -> str:
    """What to type around a model that takes a Series and no frame."""
    return (
        f"let a step in front take the column: make_pipeline(FunctionTransformer(lambda X: X[{name!r}]), model), "
        "and give a frame: X.to_frame() of a Series"
    )
