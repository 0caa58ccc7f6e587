"""The errors that people meet around scoring, as a table: how each is recognised, what it means, what fixes it.

A finding repeats names of columns, types, modules and libraries, and never a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from spark_scoring.registration.findings import Finding

_PLAN = "spark-scoring plan JOB.yml shows the verdict of every feature"
_LOG_FRAME = "log the model with the frame of fit(): register_model(model, X, ...) checks names and order"
_VERDICTS = {
    ("bool", "float"): "exact: true is 1, false is 0",
    ("int", "float64"): "exact up to 32 bits; of BIGINT the nearest double above 2^53",
    ("int", "float32"): "exact up to 16 bits, above them the nearest float",
    ("float64", "float32"): "the nearest float; checked for overflow",
    ("float", "bool"): "checked: 0 is false, 1 is true, any other value makes a bad row",
    ("int", "bool"): "checked: 0 is false, 1 is true, any other value makes a bad row",
    ("float", "int"): "checked: only whole numbers in range; a null makes a bad row",
    ("int", "int"): "exact where the range is wider, else checked",
    ("object", "float"): "of DECIMAL the nearest number; of text checked",
    ("object", "int"): "of DECIMAL exact where it has no places and fits, else checked; of text checked",
    ("object", "bool"): "checked: true or false, 1 or 0",
    ("category", "object"): "checked: a level that training knew, taken from the model",
}
"""(dtype from, dtype to), by the start of their names -> the plan's verdict on it."""
_NUMPY = {
    "double": "float64",
    "float": "float32",
    "long": "int64",
    "integer": "int32",
    "boolean": "bool",
    "<U0": "object",
}
"""MLflow's types by numpy's names, which other texts use."""

Explain = Callable[[re.Match[str], str], Finding]
"""What a text means, by what its pattern found and the whole of it on one line."""


@dataclass(frozen=True)
class KnownError:
    """One error that people meet."""

    texts: tuple[str, ...]
    """As its library words it; each has a line in docs/registration.md."""
    pattern: str
    """Over the text on one line, whatever its case."""
    means: Finding | Explain


def _conversion(found: re.Match[str], text: str) -> Finding:
    """MLflow refuses per batch, by what the values happen to be; the plan decides per type."""
    source, target = found["source"], _NUMPY.get(found["target"], found["target"])
    named = re.search(
        r"types for column (?P<column>.{1,80}?)\. Can ?not|convert column (?P<other>.{1,80}?) from type", text
    )
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
    named = re.search(r"types for column (?P<column>.{1,80}?)(?:\.(?:\s|$)|$)", text)
    cause = "the table's type is not the signature's, and mlflow.pyfunc converts only what it calls safe"
    fix = f"score with spark_scoring, which casts in Spark or says why not; {_PLAN}"
    return Finding("dtype-differs", f"column {named['column']}" if named else "a column", cause, fix)


def _missing_inputs(found: re.Match[str], _: str) -> Finding:
    cause = "the table lacks features of the signature, or has them under other names"
    fix = f'map them in the job: columns: {{<feature>: "<column or SQL expression>"}}; {_PLAN}'
    return Finding("missing-input", f"feature {found['names']}", cause, fix)


def _no_alias(found: re.Match[str], _: str) -> Finding:
    fix = "spark-scoring names the aliases that exist; set one: register_model(..., alias='...')"
    return Finding("not-registrable", f"alias {found['alias']}", "the registered model has no such alias", fix)


def _counts(found: re.Match[str], _: str) -> Finding:
    """Of libraries that know how many columns they were trained on."""
    groups = found.groupdict()
    given, wanted = (next(int(v) for k, v in groups.items() if v and k.startswith(name)) for name in ("had", "want"))
    code = "missing-input" if given < wanted else "foreign-input"
    cause = f"the model was trained on {wanted} columns and was given {given}"
    return Finding(code, "the model's input", cause, f"{_LOG_FRAME}; spark_scoring then takes the columns by name")


def _old_package(found: re.Match[str], _: str) -> Finding:
    library, version = found["library"].lower(), found["version"]
    cause = f"Spark's pandas functions need {library} {version} or newer, on the driver and on every worker"
    return Finding("libraries", library, cause, f"pip install '{library}>={version}' on all of them, then start anew")


def _unpickled(found: re.Match[str], _: str) -> Finding:
    version = found.groupdict().get("trained")
    pinned = f"scikit-learn=={version}" if version else "the scikit-learn that its requirements.txt names"
    cause = "the model was saved with another version of scikit-learn: it may fail, or predict otherwise"
    fix = f"install {pinned} on the driver and on every worker, or train it again here"
    return Finding("own-library", "scikit-learn", cause, f"{fix}; spark-scoring doctor URI names both versions")


def _not_there(found: re.Match[str], _: str) -> Finding:
    module = found["module"]
    cause = "neither the model nor the Python that loads it has this module; on a cluster each worker needs it"
    fix = (
        "code of your own: log it with the model, code_paths=['<file or folder>'] (register_model: "
        "options={'code_paths': [...]}; a training job: code_paths). A package: install it where the workers run. "
        "spark-scoring doctor URI says which it is"
    )
    return Finding("needs-module", f"module {module}", cause, fix)


_MEMORY = (
    "on a cluster more spark.executor.memoryOverhead, fewer spark.executor.cores, or a smaller "
    "spark.sql.execution.arrow.maxRecordsPerBatch; on one machine fewer tasks at once: spark-scoring score JOB.yml "
    "--spark master='local[2]'"
)

KNOWN: tuple[KnownError, ...] = (
    # --- signatures, as registries and MLflow see them
    KnownError(
        ("Model passed for registration contained a signature that includes only inputs",),
        r"signature that includes only inputs",
        Finding(
            "only-inputs",
            "signature",
            "no output schema: the label is None, or it is DECIMAL or TINYINT and dropped out silently; "
            "or infer_signature was given no predictions",
            "give output_schema (log_model_with_feature_engineering and register_model make it from task='...')",
        ),
    ),
    KnownError(
        ("Model passed for registration did not contain any signature metadata",),
        r"did not contain any signature metadata",
        Finding(
            "no-signature",
            "signature",
            "neither half: no signature and no example, or a DECIMAL column of the training set made it drop out",
            "give both output_schema and infer_input_example=True; without a training set, register_model gives both",
        ),
    ),
    KnownError(
        ("Model signature must contain both input and output",),
        r"signature must contain both input and output",
        Finding(
            "only-inputs",
            "signature",
            "the signature was inferred without predictions",
            "signature=infer_signature(X, model.predict(X))",
        ),
    ),
    KnownError(
        ("log_model() missing 1 required keyword-only argument: 'flavor'",),
        r"missing \d+ required keyword-only arguments?:.{0,200}\bflavor\b",
        Finding(
            "no-flavor",
            "log_model",
            "the feature engineering client's log_model was called without the MLflow flavor of the model",
            "flavor=mlflow.sklearn (or the model's own); log_model_with_feature_engineering finds it",
        ),
    ),
    # --- what a model is given
    KnownError(
        (
            "Incompatible input types for column price. Can not safely convert object to float64.",
            "Cannot safely convert bool to float64",
            "Cannot safely convert int64 to float64",
            "Cannot safely convert float64 to float32",
            "Cannot safely convert float64 to bool",
            "Failed to convert column price from type object to DataType.double.",
        ),
        r"(?:failed to convert column .{1,80}? from type|can ?not safely convert) `?(?P<source>[\w\[\], ]{1,60}?)`? "
        r"to (?:DataType\.)?`?(?P<target><?\w+)",
        _conversion,
    ),
    KnownError(
        ("unsupported operand type(s) for -: 'decimal.Decimal' and 'float'",),
        r"unsupported operand type\(s\).{0,80}decimal\.Decimal",
        Finding(
            "object-column",
            "a DECIMAL column",
            "a DECIMAL column reached the model as decimal.Decimal objects",
            f"train on float64 and score with spark_scoring, which casts DECIMAL to the nearest DOUBLE; {_PLAN}",
        ),
    ),
    KnownError((), r"incompatible input types", _incompatible),
    KnownError(
        (
            "Model is missing inputs ['age']",
            "Model input is missing required columns. Expected 2 required input columns ['age', 'visits']",
        ),
        r"(?:missing inputs|missing required columns\. Expected \d+ required input columns)"
        r" (?P<names>\[[^\]]{0,500}\])",
        _missing_inputs,
    ),
    KnownError(
        ("dtype of input float32 does not match expected dtype float64",),
        r"dtype of input \w+ does not match expected dtype|shape of input \([\d, ]*\) does not match expected shape",
        Finding(
            "dtype-differs",
            "the model's matrix",
            "the signature is one of a matrix (numpy), and what came has another number type, or other columns",
            f"score with spark_scoring, which makes the matrix in the signature's type; {_PLAN}",
        ),
    ),
    KnownError(
        ("train and valid dataset categorical_feature do not match",),
        r"categorical_feature do not match",
        Finding(
            "category-as-text",
            "category columns",
            "LightGBM was trained on category columns and given codes or text",
            "score with spark_scoring, which takes the levels from the model and gives it a category",
        ),
    ),
    KnownError(
        (
            "DataFrame.dtypes for data must be int, float, bool or category.",
            "the experimental DMatrix parameter`enable_categorical` must be set to `True`.",
        ),
        r"DataFrame\.dtypes for data must be int, float, bool or category|`enable_categorical` must be set",
        Finding(
            "category-as-text",
            "text or category columns",
            "XGBoost was given text, or a category without enable_categorical=True",
            "train on category columns, with XGBRegressor(enable_categorical=True) or its like, and register that: "
            "spark_scoring gives it a category with the levels of training. Or put an encoder into the pipeline",
        ),
    ),
    KnownError(
        ("Invalid type for cat_feature: cat_features must be integer or string",),
        r"cat_features must be integer or string",
        Finding(
            "category-as-text",
            "a category column",
            "CatBoost was given a number with a fraction, or a missing one, where it was trained on categories",
            f"train on text, missing ones as a text of their own; {_LOG_FRAME}",
        ),
    ),
    KnownError(
        (
            "Found unknown categories ['XX'] in column 0 during transform",
            "y contains previously unseen labels: 'XX'",
            "Found a category not in the training set for the `0`th (0-based) column",
        ),
        r"found unknown categories|contains previously unseen labels|found a category not in the training set",
        Finding(
            "unknown-category",
            "a category feature",
            "a row has a category that training did not have, and the whole batch fails for it",
            "score with spark_scoring: the row stays, with a null prediction and the reason in scoring_error, and all "
            "others are scored. Or train again with OneHotEncoder(handle_unknown='ignore')",
        ),
    ),
    KnownError(
        ("could not convert string to float: 'XX'", "Bad value for num_feature: Cannot convert 'XX' to float"),
        r"could not convert string to float|bad value for num_feature|invalid literal for int\(\) with base",
        Finding(
            "dtype-differs",
            "a feature",
            "text reached a model that takes numbers: the column is text, or its encoder is not in the logged model",
            "put the encoder into the logged pipeline. Where the text holds numbers, score with spark_scoring, which "
            f"casts it, and marks the rows that hold none; {_PLAN}",
        ),
    ),
    KnownError(
        ("Input X contains NaN",),
        r"Input \w+ contains NaN",
        Finding(
            "example-fails",
            "a feature with nulls",
            "a null reached a model that takes none; often training filled nulls outside the model",
            "put the imputer into the logged pipeline; or fill in the job: policy: {<feature>: {nulls: {fill: 0.0}}}",
        ),
    ),
    KnownError(
        (
            "The feature names should match those that were passed during fit",
            "feature_names mismatch: ['age'] ['years'] expected age in input data",
        ),
        r"feature names should match those that were passed during fit|feature_names mismatch",
        Finding(
            "input-order",
            "signature",
            "the frame has other columns, or another order, than the one that the model was fitted on",
            _LOG_FRAME,
        ),
    ),
    KnownError(
        (
            "X has 3 features, but LinearRegression is expecting 4 features as input",
            "Feature shape mismatch, expected: 4, got 3",
            "The number of features in data (3) is not the same as it was in training data (4).",
        ),
        r"X has (?P<had>\d+) features?, but \w+ is expecting (?P<want>\d+)"
        r"|Feature shape mismatch, expected: (?P<want_x>\d+), got:? (?P<had_x>\d+)"
        r"|number of features in data \((?P<had_l>\d+)\) is not the same as it was in training data "
        r"\((?P<want_l>\d+)\)",
        _counts,
    ),
    KnownError(
        ("columns are missing: {'age'}", "KeyError: 'age'", "\"None of [Index(['age'])] are in the [columns]\""),
        r"columns are missing: \{|None of \[Index\(\[|\] not in index\b|in get_loc\b.{0,2000}KeyError:|^KeyError: ['\"]"
        r"|KeyError: [\"'](?:None of|\[)",
        Finding(
            "missing-input",
            "the column in its last line",
            "a step of the model takes a column by its name, and the frame has no such column",
            f"{_LOG_FRAME}. Where the table calls it otherwise: columns: {{<feature>: <column>}} in the job; {_PLAN}",
        ),
    ),
    KnownError(
        (
            "ArrowInvalid: Could not convert 'XX' with type str: tried to convert to double",
            "Failed to convert the value of the column 'None' with type 'object' to Arrow type 'double'.",
            "Exception thrown when converting pandas.Series (object) to Arrow Array (double).",
        ),
        r"with type \w+: tried to convert to|was truncated converting to \w+|ArrowTypeError: "
        r"|to Arrow type '|Exception thrown when converting pandas\.Series",
        Finding(
            "outputs-differ",
            "values of mixed types",
            "pandas held values that are not of the column's type: a model that returns other types than result_type "
            "or the output schema says, or a frame of mixed types that was given to Spark",
            "let the model return one type, and sign that: register_model(model, X, task=...) holds the output schema "
            "against real predictions; training_frame and score_batch keep the types of the table",
        ),
    ),
    # --- loading a model
    KnownError(
        (
            "Untrusted types found in the file: ['__main__.half'].",
            "The saved sklearn model references untrusted types.",
        ),
        r"untrusted types found|references untrusted types",
        Finding(
            "not-loadable",
            "types that skops does not know",
            "skops holds what is known to be harmless, and the model has a function or a class besides that",
            "where you trust them: import skops.io; log_model(..., skops_trusted_types=skops.io.get_untrusted_types("
            "data=skops.io.dumps(model))); register_model takes cloudpickle for such a model by itself",
        ),
    ),
    KnownError(
        ("[DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES] Found invalid character(s) among ' ,;{}()' in the column names.",),
        r"DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES|invalid character\(s\) among",
        Finding(
            "table",
            "names of columns",
            "Parquet files hold no such names (spaces, commas, brackets), unless Delta writes other ones",
            "df.write.option('delta.columnMapping.mode', 'name'); of a table that exists: ALTER TABLE ... SET"
            " TBLPROPERTIES ('delta.columnMapping.mode' = 'name')",
        ),
    ),
    KnownError(
        ('[CAST_OVERFLOW] The value NaN of the type "DOUBLE" cannot be cast to "INT" due to an overflow.',),
        r"CAST_OVERFLOW\b",
        Finding(
            "table",
            "a cast in Spark",
            "a value does not fit the type: often a NaN, which pandas puts where an integer column has nulls",
            "make NaN a null before the cast: nullif(column, double('NaN')); or give the column to the model as double",
        ),
    ),
    KnownError(
        ("Deserializing this model is disallowed because 'MLFLOW_ALLOW_PICKLE_DESERIALIZATION' is not set to 'true'.",),
        r"MLFLOW_ALLOW_PICKLE_DESERIALIZATION",
        Finding(
            "not-loadable",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION",
            "the environment forbids models whose loading may run code, which nearly all models are",
            "where you trust the model, set MLFLOW_ALLOW_PICKLE_DESERIALIZATION=true on the driver and on the workers",
        ),
    ),
    KnownError(
        (
            "Trying to unpickle estimator LinearRegression from version 1.2.2 when using version 1.9.1.",
            "Can't get attribute '_RemainderColsList' on <module 'sklearn.compose._column_transformer'",
        ),
        r"Trying to unpickle estimator \w+ from version (?P<trained>\d[\w.]*?)\.? when using"
        r"|Can't get attribute '\w+' on <module 'sklearn|No module named ['\"]sklearn\.",
        _unpickled,
    ),
    KnownError(
        ("Can't get attribute 'Ratio' on <module '__main__'", "module '__main__' has no attribute 'ratio'"),
        r"Can't get attribute '\w+' on <module '(?:\w+\.)?__(?:main|mp_main)__"
        r"|module '(?:\w+\.)?__(?:main|mp_main)__' has no attribute",
        Finding(
            "needs-module",
            "a class or a function of a script",
            "the model was pickled with something that is defined in the script or notebook, which nobody else has",
            "move it to a file, import it from there, and log that file with the model: code_paths=['own_code.py']",
        ),
    ),
    KnownError(
        ("unsupported pickle protocol: 5",),
        r"unsupported pickle protocol: \d|code\(\) (?:argument \d+ must be|takes at most)"
        r"|code expected at (?:least|most)",
        Finding(
            "not-loadable",
            "the pickled model",
            "it was pickled by another version of Python than the one that loads it",
            "run with the Python that python_env.yaml in the model's folder names, on the driver and on every worker",
        ),
    ),
    KnownError(
        ("No module named 'numpy._core'",),
        r"No module named ['\"]numpy\._core",
        Finding(
            "libraries",
            "NumPy",
            "the model was pickled with NumPy 2, and an older one is here",
            "pip install 'numpy>=2' on the driver and on every worker ('numpy>=1.26' can load it, too)",
        ),
    ),
    KnownError(
        ("numpy.dtype size changed, may indicate binary incompatibility.",),
        r"numpy\.(?:dtype|ufunc|ndarray) size changed|numpy\.core\.multiarray failed to import|_ARRAY_API not found"
        r"|compiled using NumPy 1\.x cannot be run in",
        Finding(
            "libraries",
            "NumPy",
            "a library was built for another NumPy than the one that is here: mostly one for NumPy 1, beside NumPy 2",
            "pip install -U the library that the line above names (pandas, scikit-learn, pyarrow, ...), or "
            "pip install 'numpy<2'; on the driver and on every worker",
        ),
    ),
    KnownError(
        ("No module named 'pkg_resources'",),
        r"No module named ['\"]pkg_resources",
        Finding(
            "libraries",
            "setuptools",
            "a library takes pkg_resources, which setuptools brought along until its version 81",
            "pip install 'setuptools<81' on the driver and on every worker, or a newer version of that library",
        ),
    ),
    KnownError(("No module named 'own_code'",), r"No module named ['\"](?P<module>\w[\w.]{0,100})", _not_there),
    # --- Spark
    KnownError(
        ("[JAVA_GATEWAY_EXITED] Java gateway process exited before sending its port number.",),
        r"JAVA_GATEWAY_EXITED|Java gateway process exited before sending|UnsupportedClassVersionError"
        r"|JAVA_HOME is not set|Unable to locate a Java Runtime",
        Finding(
            "session",
            "Java",
            "Spark's Java process did not start: mostly there is no Java, JAVA_HOME leads elsewhere, or it is too old",
            "install a Java 17 (or newer) runtime and set JAVA_HOME to it; java -version then says so. Otherwise the "
            "lines above hold what Java said of a setting, such as too much memory",
        ),
    ),
    KnownError(
        (
            "[DATA_SOURCE_NOT_FOUND] Failed to find the data source: delta.",
            "[DELTA_CONFIGURE_SPARK_SESSION_WITH_EXTENSION_AND_CATALOG]",
            "This Delta operation requires the SparkSession to be configured with the DeltaSparkSessionExtension",
        ),
        r"failed to find (?:the )?data ?source: delta\b|DELTA_CONFIGURE_SPARK_SESSION_WITH_EXTENSION"
        r"|requires the SparkSession to be configured with the DeltaSparkSessionExtension"
        r"|ClassNotFoundException: (?:delta\.|io\.delta\.|org\.apache\.spark\.sql\.delta)"
        r"|Cannot find catalog plugin class .{0,60}DeltaCatalog",
        Finding(
            "session",
            "Delta",
            "the Spark session was started without Delta's jar, or without its two settings",
            "let spark-scoring start the session (get_session() gives it); or, before yours starts, "
            "configure_spark_with_delta_pip(builder) of delta-spark for the jar, and "
            "spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension, "
            "spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog",
        ),
    ),
    KnownError(
        (
            "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11",
            "Python in worker has different version 3.9 than that in driver 3.11",
        ),
        r"PYTHON_VERSION_MISMATCH|Python in worker has different version",
        Finding(
            "session",
            "the workers' Python",
            "the workers run another Python than the driver",
            "before the session starts: os.environ['PYSPARK_PYTHON'] = sys.executable; on a cluster set it to a Python "
            "of the driver's version that every node has. A session that spark-scoring starts has it set",
        ),
    ),
    KnownError(
        ("[UNSUPPORTED_PACKAGE_VERSION] PyArrow >= 15.0.0 must be installed; however, your version is 1.0.",),
        r"\b(?P<library>[A-Za-z][\w-]{1,30}) >= (?P<version>\d[\d.]*\d) must be installed",
        _old_package,
    ),
    KnownError(
        ("[NOT_SUPPORTED_WITH_SERVERLESS] PERSIST TABLE is not supported on serverless compute.",),
        r"NOT_SUPPORTED_WITH_SERVERLESS|is not supported on serverless compute",
        Finding(
            "session",
            "serverless compute",
            "Databricks' serverless compute does not offer what the code asks of it, such as cache() and persist()",
            "leave cache() and persist() out, or write the frame to a table and go on from there; or take a cluster. "
            "spark_scoring asks whether a frame can be kept, and goes without",
        ),
    ),
    KnownError(
        (
            "[JVM_ATTRIBUTE_NOT_SUPPORTED] Attribute `sparkContext` is not supported in Spark Connect",
            "[NOT_IMPLEMENTED] rdd is not implemented.",
        ),
        r"JVM_ATTRIBUTE_NOT_SUPPORTED|is not supported in Spark Connect"
        r"|\b(?:rdd|sparkContext|_jvm|_jsc|_jdf)(?:\(\))? is not (?:implemented|supported)",
        Finding(
            "session",
            "Spark Connect",
            "the code reaches into Spark's Java process (sparkContext, rdd, _jvm), which Spark Connect, serverless "
            "compute and shared clusters do not let it",
            "write it with DataFrame calls; plan_job, score_batch and run_job do without. Where a library needs it, "
            "take a cluster of dedicated access mode, or a session of your own machine (unset SPARK_REMOTE)",
        ),
    ),
    KnownError(
        ("Total size of serialized results of 9 tasks (1024.1 MiB) is bigger than spark.driver.maxResultSize",),
        r"is bigger than spark\.driver\.maxResultSize",
        Finding(
            "memory",
            "the driver",
            "more rows were brought to the driver (collect, toPandas) than spark.driver.maxResultSize allows",
            "write the predictions to a table (spark-scoring score JOB.yml) and read from it what you need; or set "
            "spark.driver.maxResultSize higher, with a spark.driver.memory that holds them",
        ),
    ),
    KnownError(
        ("java.lang.OutOfMemoryError: Java heap space",),
        r"OutOfMemoryError",
        Finding(
            "memory",
            "Spark's Java process",
            "Java's memory was used up; on one machine the driver is the executor, too",
            "on one machine spark-scoring score JOB.yml --spark driver.memory=8g, on a cluster spark.executor.memory; "
            "do not collect rows",
        ),
    ),
    KnownError(
        (
            "ExecutorLostFailure (executor 7 exited caused by one of the running tasks)",
            "Command exited with code 137",
            "Python worker exited unexpectedly (crashed)",
        ),
        r"ExecutorLostFailure|(?:exit\W?|with )(?:code|status)\W{1,4}(?:is )?137\b|OOMKilled"
        r"|Container killed by YARN|Python worker exited unexpectedly",
        Finding(
            "memory",
            "a worker",
            "a process was killed, mostly because it took more memory than it may: the model in each Python worker, "
            "and its batches, are outside of Spark's own memory",
            _MEMORY,
        ),
    ),
    # --- registries
    KnownError(
        ("Registered model alias champion not found",),
        r"Registered model alias (?P<alias>[\w-]{1,100}) not found",
        _no_alias,
    ),
    KnownError(
        (
            "PERMISSION_DENIED: User does not have EXECUTE on Routine or Model 'main.ml.delay'.",
            "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User does not have USE CATALOG on Catalog 'main'.",
        ),
        r"PERMISSION_DENIED|INSUFFICIENT_PERMISSIONS|User does not have (?:[A-Z]+ ){1,3}on ",
        Finding(
            "access",
            "the user's rights",
            "whoever runs the job lacks a right of the catalog: a model takes EXECUTE, a source SELECT, an output "
            "MODIFY, a new one CREATE TABLE; each besides USE CATALOG and USE SCHEMA",
            "ask the owner of what the text names to grant it to the user or the service principal that runs the job",
        ),
    ),
    KnownError(
        (
            "RESOURCE_DOES_NOT_EXIST: Registered Model 'delay' does not exist",
            "Registered Model with name=main.ml.delay not found",
            "Model Version (name=main.ml.delay, version=3) not found",
            "Run with id=0123456789abcdef0123456789abcdef not found",
        ),
        r"RESOURCE_DOES_NOT_EXIST|Registered Model with name=\S+ not found|Model Version \([^)]{1,300}\) not found"
        r"|Run with id=\S+ not found|No Experiment with id=",
        Finding(
            "not-found",
            "the model, version, run or experiment",
            "the server that was asked does not have it: it is elsewhere, was deleted, or is named otherwise",
            "look at MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI (a job's tracking_uri and registry_uri): Unity "
            "Catalog is databricks-uc, with names of three levels; spark-scoring plan JOB.yml names what exists",
        ),
    ),
)
"""The most telling first: a stack trace may hold several."""
