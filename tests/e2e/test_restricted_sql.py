"""``SPARK_SCORING_RESTRICT_SQL``: SQL of a job's author has the source's columns and Spark's own functions alone.

The attempts are run without the switch, too, so that it is known that each would do something. What calls Java leaves
a mark there.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from spark_scoring import RequestError, TrainingJob, plan_job, plan_scoring, run_training
from spark_scoring.delta.restricted import _FUNCTIONS, check_sql
from spark_scoring.job_problems import JobError
from spark_scoring.model.trust import RESTRICT_SQL
from spark_scoring.run.history import roll_back
from tests.needs import SPARK, session_variables, sql_functions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

    from tests.place import Place

MARK = "spark_scoring.restricted.mark"
CALL = f"('java.lang.System', 'setProperty', '{MARK}', 'ran')"


@pytest.fixture(autouse=True)
def marks(spark: SparkSession) -> Iterator[Any]:
    java = spark.sparkContext._jvm.java.lang.System  # type: ignore[union-attr]  # noqa: SLF001
    java.clearProperty(MARK)
    yield lambda: java.getProperty(MARK)
    java.clearProperty(MARK)


@pytest.fixture
def restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RESTRICT_SQL, "1")


@pytest.fixture(scope="module")
def others(spark: SparkSession) -> SparkSession:
    """A session that holds more than Spark's own."""
    session = spark.newSession()
    session.range(3).createOrReplaceTempView("restricted_view")
    session.udf.register("restricted_udf", lambda: 1.0, "double")
    session.udf.register("soundex", lambda text: text, "string")  # in the place of Spark's own
    if SPARK >= (4, 0):
        session.sql("CREATE TEMPORARY FUNCTION restricted_function() RETURNS DOUBLE RETURN 1.0D")
        session.sql("CREATE TEMPORARY FUNCTION varchar(x DOUBLE) RETURNS DOUBLE RETURN 1.0D")
        session.sql("DECLARE VARIABLE restricted_variable DOUBLE DEFAULT 1.0D")
    return session


ATTEMPTS = {
    f"reflect{CALL} IS NULL": "it calls reflect",
    f"`Reflect`\n {CALL} IS NULL": "it calls reflect",
    f"java_method{CALL} IS NULL": "it calls java_method",
    f"try_reflect{CALL} IS NULL": "it calls try_reflect",
    f"IDENTIFIER('ref' || 'lect'){CALL} IS NULL": "it has SQL that cannot be parsed",
    "IDENTIFIER('restricted_udf') = x": "it calls identifier",
    f"exists(array(x), y -> reflect{CALL} IS NULL OR y > 1)": "it calls reflect",
    f"reflect /* x */ {CALL} IS NULL": "it has a comment",
    f"x > 1 OR r'\\' = '' OR reflect{CALL} = '": "at character 10",
    "x IN (SELECT id FROM restricted_view)": "it has SELECT",
    "EXISTS (FROM restricted_view)": "it has FROM",
    "x IN (TABLE restricted_view)": "it has TABLE",
    "x < (WITH q AS (SELECT 9.0 AS n) SELECT max(n) FROM q)": "it has WITH",
    "x IN (SELECT id FROM range(5))": "it has SELECT",
    "EXISTS (SELECT * FROM text.`/etc/hostname`)": "it has SELECT",
    "'${env:HOME}' LIKE '/%'": "Spark puts a variable's value",
    "restricted_udf() = x": "it calls restricted_udf",
    "soundex('a') = 'a'": "it calls soundex",
    "raise_error(note) IS NULL": "it calls raise_error",
    "from_xml(note, 'a INT') IS NULL": "it calls from_xml",
    "from_json(note, 'a INT') IS NULL": "it calls from_json",
    "from_csv(note, 'a INT') IS NULL": "it calls from_csv",
    "spark_catalog.default.f(x) > 1": "it calls spark_catalog.default.f",
    "system.builtin.abs(x) > 1": "it calls system.builtin.abs",
    "ai_query('m', note) = ''": "it calls ai_query",
    "secret('scope', 'key') = ''": "it calls secret",
    "http_request(conn => 'c') IS NULL": "it calls http_request",
    "_metadata.file_path LIKE '/%'": "it names _metadata",
}


@pytest.mark.parametrize(("sql", "cause"), ATTEMPTS.items())
def test_what_the_switch_refuses(others: SparkSession, restricted: None, sql: str, cause: str) -> None:
    with pytest.raises(JobError, match=f"here: .*{re.escape(cause)}.*{RESTRICT_SQL} does not allow it"):
        check_sql(others, "here", sql, ["id", "x", "note"])


def test_it_is_refused_wherever_a_job_has_sql_before_spark_is_given_the_text(
    clean: Place, restricted: None, marks: Any
) -> None:
    sql = f"reflect{CALL} IS NULL"
    fields = {"output": {"mode": "overwrite", "replace_where": sql}}
    with pytest.raises(RequestError, match=r"output\.replace_where: it calls reflect"):
        plan_job(clean.job(**fields))  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"source\.where: it calls reflect"):
        plan_job(clean.job(source={"where": sql}))
    with pytest.raises(RequestError) as raised:
        plan_job(clean.job(columns={"x": f"if({sql}, 1.0D, 2.0D)", "n": "(SELECT 1)"}))
    assert [problem.thing for problem in raised.value.problems] == ["columns: x", "columns: n"]
    assert marks() is None


def test_without_the_switch_it_does_what_spark_lets_it(clean: Place, marks: Any) -> None:
    clean.spark.range(3).createOrReplaceTempView("restricted_view")
    clean.run(source={"where": f"reflect{CALL} IS NULL OR x >= 0"})
    assert marks() == "ran"
    assert clean.run({"mode": "overwrite"}, source={"where": "'${env:HOME}' LIKE '/%'"}).rows_in == 12
    assert clean.run({"mode": "overwrite"}, source={"where": "x IN (SELECT id FROM restricted_view)"}).rows_in == 3


def test_sql_in_the_text_of_a_schema_is_refused(others: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field's default is SQL that Spark runs, and no check has seen it."""
    metadata = r'{"CURRENT_DEFAULT": "1", "EXISTS_DEFAULT": "upper(\'a\')"}'
    field = f'{{"name": "y", "type": "string", "nullable": true, "metadata": {metadata}}}'
    sql = f"""from_json('{{}}', '{{"type": "struct", "fields": [{field}]}}').y"""
    assert others.range(1).selectExpr(f"{sql} AS y").collect()[0].y == "A"
    monkeypatch.setenv(RESTRICT_SQL, "1")
    with pytest.raises(JobError, match="it calls from_json"):
        check_sql(others, "here", f"{sql} = ''", ["x"])


@sql_functions
@session_variables
@pytest.mark.parametrize(
    ("sql", "cause"),
    [
        ("restricted_function() = x", "it calls restricted_function"),
        ("varchar(x) = 1", "it calls varchar"),
        ("restricted_variable = x", "it names restricted_variable, which is not a column here"),
        ("session.restricted_variable = x", "it names session, which is not a column here"),
        ("system.session.restricted_variable = x", "it names system, which is not a column here"),
    ],
)
def test_what_the_session_holds_is_refused(
    others: SparkSession, monkeypatch: pytest.MonkeyPatch, sql: str, cause: str
) -> None:
    assert others.range(3).selectExpr("double(id) AS x").where(sql).count() <= 3
    monkeypatch.setenv(RESTRICT_SQL, "true")
    with pytest.raises(JobError, match=cause):
        check_sql(others, "here", sql, ["x"])


def test_a_job_of_columns_and_functions_of_spark_runs(clean: Place, restricted: None) -> None:
    where = "id BETWEEN 2 AND 8 AND (note LIKE 'n%' OR note IS NULL OR length(note) >= 0) AND NOT (id IN (3, 4))"
    sql = "aggregate(transform(array(x, 1), y -> CAST(y AS DECIMAL(10, 2)) * 2), 0.0D, (a, y) -> a + y) / 2"
    replaced = {"mode": "overwrite", "replace_where": "id < 100"}
    report = clean.run(replaced, source={"where": where}, columns={"x": sql})
    assert report.rows_in == 5
    assert clean.ids() == [2, 5, 6, 7, 8]
    assert roll_back(clean.output, str(report.run_id), clean.spark)


def test_the_call_without_a_job_is_restricted_too(clean: Place, restricted: None) -> None:
    df = clean.spark.read.format("delta").load(clean.source)
    with pytest.raises(JobError, match="columns: x: it calls reflect"):
        plan_scoring(clean.model, df, columns={"x": "double(reflect('java.lang.Math', 'random'))"})
    assert plan_scoring(clean.model, df, columns={"x": "x * 2"})


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ({"format": "jdbc", "options": {"url": "jdbc:h2:mem:x", "query": "SELECT 1"}}, "format jdbc reads more"),
        ({"format": "org.apache.spark.sql.jdbc", "options": {}}, "format org.apache.spark.sql.jdbc reads more"),
        ({"format": "csv", "options": {"fs.evil.impl": "evil.FileSystem"}}, "option fs.evil.impl is a setting"),
        ({"format": "xml", "options": {"rowValidationXSDPath": "/etc/x"}}, "option rowValidationXSDPath is"),
        ({"format": "avro", "options": {"avroSchemaUrl": "/etc/x"}}, "option avroSchemaUrl is"),
    ],
)
def test_sources_that_take_more_than_a_path(clean: Place, restricted: None, source: dict[str, Any], cause: str) -> None:
    with pytest.raises(RequestError, match=cause):
        plan_job(clean.job(source=source))


def test_a_training_job_is_restricted_too(clean: Place, restricted: None, registry: str) -> None:
    fields: dict[str, Any] = {
        "name": "main.restricted.line", "task": "regression", "source": {"path": clean.source},
        "features": {"x": {"sql": "x + 1"}}, "label": "x", "estimator": "sklearn.linear_model:LinearRegression",
    }  # fmt: skip
    bad = f"double(reflect{CALL})"
    for change, label in (
        ({"features": {"x": {"sql": bad}}}, "x"),
        ({"label": bad}, "label"),
        ({"weights": bad}, "weights"),
        ({"validation": f"{bad} > 1"}, "validation"),
        ({"order_by": [bad]}, f"order_by {bad}"),
        ({"source": {"path": clean.source, "where": f"{bad} > 1"}}, "source.where"),
    ):
        with pytest.raises(RequestError) as raised:
            run_training(TrainingJob.from_dict({**fields, **change}), clean.spark)
        assert [(p.thing, p.cause.partition(":")[0]) for p in raised.value.problems] == [(label, "it calls reflect")]


def test_a_condition_in_a_tables_history_is_restricted_too(clean: Place, restricted: None, marks: Any) -> None:
    """Whoever may write a table may write into its history what a rollback of it asks Spark."""
    report = clean.run({"mode": "overwrite", "replace_where": "id < 100"})
    history = clean.spark.sql(f"DESCRIBE HISTORY delta.`{clean.output}`").where("version = 0").first()
    facts = json.loads(history["userMetadata"])  # type: ignore[index]
    planted = json.loads(json.dumps(facts).replace("id < 100", f"id < 100 OR reflect{CALL} IS NULL"))
    assert planted != facts
    planted = json.loads(json.dumps(planted).replace(str(report.run_id), "f" * 32))
    rows = clean.spark.read.format("delta").load(clean.output)
    rows.write.format("delta").mode("append").option("userMetadata", json.dumps(planted)).save(clean.output)
    with pytest.raises(JobError, match=f"replace_where of run {'f' * 32}: it calls reflect"):
        roll_back(clean.output, "f" * 32, clean.spark)
    assert marks() is None


@pytest.mark.parametrize("value", ["maybe", "", " "])
def test_a_switch_that_is_not_understood_is_an_error(clean: Place, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(RESTRICT_SQL, value)
    with pytest.raises(RequestError, match=f"{RESTRICT_SQL}: its value is not one .*\n.*set it to one of 1, "):
        plan_job(clean.job())


@pytest.mark.parametrize("value", ["0", "false", "OFF"])
def test_the_switch_can_be_off(spark: SparkSession, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(RESTRICT_SQL, value)
    check_sql(spark, "here", f"reflect{CALL} IS NULL", ["x"])


@pytest.mark.skipif(SPARK < (4, 1), reason="the list is of this version and earlier ones")
def test_the_functions_that_are_allowed_are_sparks_own(spark: SparkSession) -> None:
    own = {row[0] for row in spark.sql("SHOW SYSTEM FUNCTIONS").collect()}
    assert own >= _FUNCTIONS
    assert not _FUNCTIONS & {
        "reflect",
        "java_method",
        "try_reflect",
        "from_avro",
        "from_protobuf",
        "xpath",
        "raise_error",
    }
