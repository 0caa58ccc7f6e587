"""Error texts of MLflow, Spark, Databricks and models, as people paste them: what they mean and what fixes them."""

from __future__ import annotations

import html
import re
from dataclasses import fields, replace

from spark_scoring.errors import Problem, RequestError
from spark_scoring.redact import redact
from spark_scoring.registration.findings import Finding
from spark_scoring.registration.known_errors import KNOWN

_ESCAPE = r"(?:\x1b|\\x1b|\\u001b|\\033|&#27;|&#x1b;)"
_COLOURS = re.compile(
    rf"{_ESCAPE}?\[\d{{1,3}}(?:;\d{{1,3}}){{0,5}}m|{_ESCAPE}\[[0-?]*[ -/]*[@-~]|{_ESCAPE}\][^\x07\x1b]*(?:\x07|\x1b\\)",
    re.IGNORECASE,
)
"""ANSI's sequences; also as Python, JSON and HTML write them, and as a terminal leaves them that drops the escape."""
_INLINE = re.compile(r"</?(?:a|b|code|em|font|i|samp|span|strong|tt)(?:\s[^<>]*)?>", re.IGNORECASE)
_BLOCKS = re.compile(r"</?(?:br|div|li|p|pre|table|tbody|td|tr|ul)(?:\s[^<>]*)?/?>", re.IGNORECASE)
"""HTML's tags, by name: a text may hold ``<U0`` and ``<module 'x'>``."""
_LINE_ENDS = re.compile(r"\\[nrt]")
_ESCAPED_QUOTES = re.compile(r"\\(['\"])")
"""As Python and JSON write them."""
_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d\u00b4", "''\"\"'")
_TIMES_ESCAPED = 3


def recognise(text: str) -> Finding:
    """What a pasted error text means.

    Raises:
        RequestError: it is none that is known; names those that are.

    """
    plain = _plain(text)
    for known in KNOWN:
        if found := re.search(known.pattern, plain, re.IGNORECASE):
            means = known.means if isinstance(known.means, Finding) else known.means(found, plain)
            return replace(means, **{field.name: redact(getattr(means, field.name)) for field in fields(means)})
    fix = "run spark-scoring doctor URI on the model itself; texts that are known: spark-scoring docs errors --show"
    raise RequestError([Problem("--error", "the doctor does not know this text", fix)])


def known_texts() -> list[tuple[str, str, str]]:
    """Every text that is recognised, with its cause and fix: for ``docs/errors.md``."""
    return [(text, found.cause, found.fix) for text in EXAMPLES if (found := recognise(text))]


EXAMPLES = tuple(text for known in KNOWN for text in known.texts)


def _plain(text: str) -> str:
    """The text on one line: without colours, without HTML, with straight quotes."""
    text = _COLOURS.sub("", text)
    for _ in range(_TIMES_ESCAPED):  # a page that shows a page escapes it again
        text = html.unescape(_BLOCKS.sub(" ", _INLINE.sub("", text)))
    return " ".join(_ESCAPED_QUOTES.sub(r"\1", _LINE_ENDS.sub(" ", text)).translate(_QUOTES).split())
