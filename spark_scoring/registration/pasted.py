"""Error texts of MLflow, Databricks and models, as people paste them: what they mean and what fixes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError
from spark_scoring.registration.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAN = "spark-scoring plan JOB.yml shows the verdict of every feature"
_VERDICTS = {
    ("bool", "float"): "exact: true is 1, false is 0",
    ("int", "float64"): "exact up to 32 bits; of BIGINT rounds above 2^53",
    ("int", "float32"): "exact up to 16 bits, above rounds to the nearest float",
    ("float64", "float32"): "rounds to the nearest float; checked for overflow",
    ("float", "bool"): "checked: 0 is false, 1 is true, any other value makes a bad row",
    ("int", "bool"): "checked: 0 is false, 1 is true, any other value makes a bad row",
    ("float", "int"): "checked: only whole numbers in range; a null makes a bad row",
    ("int", "int"): "exact where the range is wider, else checked",
    ("object", "float"): "of DECIMAL rounds to the nearest number; of text checked",
    ("object", "int"): "of DECIMAL exact where it has no places and fits, else checked; of text checked",
    ("object", "bool"): "checked: true or false, 1 or 0",
    ("category", "object"): "checked: a level that training knew, taken from the model",
}
"""(dtype from, dtype to), by the start of their names -> the plan's verdict on it."""
_NUMPY = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32", "boolean": "bool"}
"""MLflow's types by numpy's names, which other texts use."""


def recognise(text: str) -> Finding:
    """What a pasted error text means.

    Raises:
        RequestError: it is none that is known; names those that are.

    """
    plain = " ".join(text.split())
    for pattern, explain in _KNOWN:
        if found := re.search(pattern, plain, re.IGNORECASE):
            return explain(found, plain)
    fix = "run spark-scoring doctor URI on the model itself; texts that are known: spark-scoring docs errors --show"
    raise RequestError([Problem("--error", "this text is none that the doctor knows", fix)])


def known_texts() -> list[tuple[str, str, str]]:
    """Every text that is recognised, with its cause and fix: for ``docs/errors.md``."""
    return [(text, found.cause, found.fix) for text in EXAMPLES if (found := recognise(text))]


EXAMPLES = (
    "Model passed for registration contained a signature that includes only inputs",
    "Model passed for registration did not contain any signature metadata",
    "Model signature must contain both input and output",
    "log_model() missing 1 required keyword-only argument: 'flavor'",
    "unsupported operand type(s) for -: 'decimal.Decimal' and 'float'",
    "Incompatible input types for column price. Can not safely convert object to float64.",
    "Cannot safely convert bool to float64",
    "Cannot safely convert int64 to float64",
    "Cannot safely convert float64 to float32",
    "Cannot safely convert float64 to bool",
    "Failed to convert column price from type object to DataType.double.",
    "Model is missing inputs ['age']",
    "train and valid dataset categorical_feature do not match",
    "Input X contains NaN",
    "The feature names should match those that were passed during fit",
    "Registered model alias champion not found",
    "The saved sklearn model references untrusted types",
)


def _only_inputs(_: re.Match[str], __: str) -> Finding:
    cause = (
        "no output schema: the label is None, or it is DECIMAL or TINYINT and dropped out silently; "
        "or infer_signature was given no predictions"
    )
    fix = "give output_schema (log_model_with_feature_engineering and register_model make it from task='...')"
    return Finding("only-inputs", "signature", cause, fix)


def _no_signature(_: re.Match[str], __: str) -> Finding:
    cause = "neither half: no signature and no example, or a DECIMAL column of the training set made it drop out"
    fix = "give both output_schema and infer_input_example=True; without a training set, register_model gives both"
    return Finding("no-signature", "signature", cause, fix)


def _both_halves(_: re.Match[str], __: str) -> Finding:
    cause = "the signature was inferred without predictions"
    return Finding("only-inputs", "signature", cause, "signature=infer_signature(X, model.predict(X))")


def _no_flavor(_: re.Match[str], __: str) -> Finding:
    cause = "the feature engineering client's log_model was called without the MLflow flavor of the model"
    fix = "flavor=mlflow.sklearn (or the model's own); log_model_with_feature_engineering finds it"
    return Finding("no-flavor", "log_model", cause, fix)


def _decimal(_: re.Match[str], __: str) -> Finding:
    cause = "a DECIMAL column reached the model as decimal.Decimal objects"
    fix = f"train on float64 and score with spark_scoring, which casts DECIMAL to DOUBLE (verdict: rounds); {_PLAN}"
    return Finding("object-column", "a DECIMAL column", cause, fix)


def _conversion(found: re.Match[str], text: str) -> Finding:
    """MLflow refuses per batch, by what the values happen to be; the plan decides per type."""
    source, target = found["source"], _NUMPY.get(found["target"], found["target"])
    named = re.search(r"types for column (?P<column>.+?)\. Can ?not|convert column (?P<other>.+?) from type", text)
    column = f"column {named['column'] or named['other']}" if named else "the column that MLflow's full text names"
    verdict = next((v for (a, b), v in _VERDICTS.items() if _starts(source, a) and _starts(target, b)), None)
    settled = f"the plan's verdict: {verdict}" if verdict else "the plan has a verdict for it, or refuses it by name"
    cause = f"the table has {source}, the signature {target}, and mlflow.pyfunc converts only what it calls safe"
    fix = f"score with spark_scoring, which casts in Spark ({settled}); {_PLAN}. Or train on what the table has"
    code = "category-as-text" if source.startswith("category") else "dtype-differs"
    return Finding(code, column, cause, fix, f"{source} to {target}")


def _starts(dtype: str, prefix: str) -> bool:
    return dtype.lower().lstrip("u").startswith(prefix)


def _incompatible(_: re.Match[str], text: str) -> Finding:
    named = re.search(r"types for column (?P<column>.+?)(?:\.(?:\s|$)|$)", text)
    cause = "the table's type is not the signature's, and mlflow.pyfunc converts only what it calls safe"
    fix = f"score with spark_scoring, which casts in Spark or says why not; {_PLAN}"
    return Finding("dtype-differs", f"column {named['column']}" if named else "a column", cause, fix)


def _missing_inputs(found: re.Match[str], _: str) -> Finding:
    cause = "the table lacks features of the signature, or has them under other names"
    fix = f'map them in the job: columns: {{<feature>: "<column or SQL expression>"}}; {_PLAN}'
    return Finding("missing-input", f"feature {found['names']}", cause, fix)


def _categories(_: re.Match[str], __: str) -> Finding:
    cause = "LightGBM was trained on category columns and given codes or text"
    fix = "score with spark_scoring, which takes the levels from the model and gives it a category"
    return Finding("category-as-text", "category columns", cause, fix)


def _not_a_number(_: re.Match[str], __: str) -> Finding:
    cause = "a null reached a model that takes none; often training filled nulls outside the model"
    fix = "put the imputer into the logged pipeline; or fill in the job: policy: {<feature>: {nulls: {fill: 0.0}}}"
    return Finding("example-fails", "a feature with nulls", cause, fix)


def _feature_names(_: re.Match[str], __: str) -> Finding:
    cause = "the frame has other columns, or another order, than the one that the model was fitted on"
    fix = "log the model with the frame of fit(): register_model(model, X, ...) checks names and order"
    return Finding("input-order", "signature", cause, fix)


def _no_alias(found: re.Match[str], _: str) -> Finding:
    fix = "spark-scoring names the aliases that exist; set one: register_model(..., alias='...')"
    return Finding("not-registrable", f"alias {found['alias']}", "the registered model has no such alias", fix)


def _untrusted(_: re.Match[str], __: str) -> Finding:
    cause = "MLflow saves scikit-learn models as skops, which takes only types that it knows, or that are named to it"
    fix = "register_model(model, X, name='...') names the model's own types; in plain MLflow: skops_trusted_types=[...]"
    return Finding("not-registrable", "log_model", cause, fix)


_KNOWN: tuple[tuple[str, Callable[[re.Match[str], str], Finding]], ...] = (
    (r"signature that includes only inputs", _only_inputs),
    (r"did not contain any signature metadata", _no_signature),
    (r"signature must contain both input and output", _both_halves),
    (r"missing \d+ required keyword-only arguments?:.*\bflavor\b", _no_flavor),
    (r"failed to convert column .+? from type (?P<source>\w+) to DataType\.(?P<target>\w+)", _conversion),
    (r"(?:can ?not) safely convert `?(?P<source>[\w\[\], ]+?)`? to `?(?P<target><?\w+)", _conversion),
    (r"unsupported operand type\(s\).*decimal\.Decimal", _decimal),
    (r"incompatible input types", _incompatible),
    (r"missing inputs (?P<names>\[[^\]]*\])", _missing_inputs),
    (r"categorical_feature do not match", _categories),
    (r"Input \w+ contains NaN", _not_a_number),
    (r"feature names should match those that were passed during fit", _feature_names),
    (r"Registered model alias (?P<alias>[\w-]+) not found", _no_alias),
    (r"references untrusted types|UntrustedTypesFound", _untrusted),
)
"""Patterns over the text on one line, the most telling first."""
