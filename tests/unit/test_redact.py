"""No secret of a URI is seen; what is none stays."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_scoring.errors import Problem
from spark_scoring.model.errors import ModelError
from spark_scoring.redact import HIDDEN, all_shown, redact, shown

TEMPLATES = (
    "s3a://AKIDEXAMPLE:{}@bucket/table",
    "postgresql://user:{}@db.example:5432/mlflow",
    "https://user:{}@mlflow.example/path?x=1",
    "https://{}@git.example/repo",
    "abfss://c@account.dfs.example/t?sv=2020&sig={}",
    "https://host/t?sig={}&se=2030",
    "https://host/t?X-Amz-Security-Token={}",
    "https://host/t?X-Amz-Credential={}&X-Amz-Signature=a",
    "https://host/t?access_token={}#part",
    "jdbc:sqlserver://host;user=u;password={};encrypt=true",
    "jdbc:postgresql://host/db?user=u&password={}",
    "DefaultEndpointsProtocol=https;AccountName=n;AccountKey={};Suffix=x",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3DODBC%3BUID%3Du%3BPWD%3D{}",
    "mssql+pyodbc:///?odbc_connect=DRIVER%253DODBC%253BPWD%253D{}",
    "https://host/t?pass={}",
    "https://host/t?code={}&x=1",
    "https://host/t?pat={}",
    "https://host/t?%70assword={}",
    "https://host/t#access_token={}",
    "jdbc:oracle:thin:user/{}@host:1521/db",
    "jdbc:sqlserver://host;user=u;password={{{}}};encrypt=true",
    "fs.s3a.secret.key={}",
    "spark.hadoop.fs.azure.account.key.me.dfs.example={}",
    "MLFLOW_TRACKING_PASSWORD={}",
    "connect(user='u', password='{}')",
    '{{"user": "u", "password": "{}"}}',
    "Authorization: Bearer {}",
    "Authorization: Basic {}",
    "3a://AKIDEXAMPLE:{}@bucket/table",
    "https://host/t?sig=a'{}",
)
SECRETS = st.text(string.ascii_letters + string.digits + "+/=_-.~%!", min_size=12, max_size=60).filter(
    lambda secret: not secret[:6].isdigit() and "/" not in secret[:6]
)


@given(
    st.sampled_from(TEMPLATES), SECRETS, st.sampled_from(("", "model ", "cannot read ")), st.sampled_from(("", ": x"))
)
def test_a_secret_is_never_seen(template: str, secret: str, before: str, behind: str) -> None:
    if template.startswith("https://{}") or ";" in template:
        secret = secret.replace("/", "-")
    shown = redact(before + template.format(secret) + behind)
    assert secret not in shown
    assert secret[-8:] not in shown
    assert redact(shown) == shown


@given(st.from_regex(r"(AKIA|ASIA)[A-Z0-9]{16}", fullmatch=True))
def test_access_keys_are_known_by_their_form(key: str) -> None:
    assert key not in redact(f"s3a://{key}@bucket and {key}")


@pytest.mark.parametrize(
    "text",
    [
        "models:/main.ml.delay@champion",
        "models:/main.ml.delay/3",
        "abfss://container@account.dfs.example/table",
        "hdfs://namenode:8020/data/user@corp/table",
        "sqlite:////tmp/a@b/mlflow.db",
        "dbfs:/mnt/key=1/table",
        "s3://bucket/partition=2026-01-31/sig=4",
        "token: null; api_key: unknown level",
        "where: 'key = 5 AND month >= 10' does not fit it",
        "http://localhost:5000/?page=2&sort=name",
        "did you mean price? columns: ratio",
        "3/4 @ 5:00",
        "note: Basic statistics are missing",
        "https://host/docs?code_page=1252&path=a%20b",
        "column p=1/token=3 and x=key",
        "monkeys=3 in a note",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("\x1b]8;;http://x\x07name", "\\x1b]8;;http://x\\x07name"),
        ("\u202eevil", "\\u202eevil"),
        ("a\r\x08b", "a\\r\\x08b"),
        ("tab\tand\nline, Łódź ✈", "tab\tand\nline, Łódź ✈"),
    ],
)
def test_a_terminal_is_given_no_commands(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_no_error_shows_a_secret() -> None:
    uri = "postgresql://me:hunter22222@db/mlflow"
    for error in (ModelError.registry_failed("models:/a/1", uri, f"no {uri}"), ModelError([Problem(uri, uri, uri)])):
        assert "hunter22222" not in str(error) + repr(error) + repr(error.problems)


@pytest.mark.parametrize("name", ["password", "api_key", "clf__access_token", "Client_Secret", "hf_token"])
def test_a_parameter_whose_name_means_a_secret_is_hidden(name: str) -> None:
    assert (shown(name, "hunter2"), shown(name, 12345)) == (HIDDEN, HIDDEN)


@pytest.mark.parametrize(
    ("name", "value"),
    [("token_pattern", r"(?u)\b\w+"), ("vect__tokenizer", "words"), ("max_tokens", 512), ("key", "x"), ("alpha", 0.5)],
)
def test_other_parameters_are_shown(name: str, value: object) -> None:
    """Of readers of texts, and numbers of tokens."""
    assert shown(name, value) == value


def test_a_secret_under_another_name_is_hidden_too() -> None:
    values = {"api_key": "hunter22", "solver": "hunter22", "url": "https://host/hunter22/x", "alpha": 0.5}
    assert all_shown(values) == {"api_key": HIDDEN, "solver": HIDDEN, "url": HIDDEN, "alpha": 0.5}


def test_a_short_value_under_a_secret_name_is_under_others_by_chance() -> None:
    values = {"password": 1, "depth": 10, "trees": 1, "use_token": True, "header": True, "token": None, "none": "None"}
    hidden = dict.fromkeys(("password", "use_token", "token"), HIDDEN)
    assert all_shown(values) == {**values, **hidden}
