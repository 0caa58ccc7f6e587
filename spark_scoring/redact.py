"""Takes secrets out of URIs before anyone sees them: errors, plans, reports, and what is kept in table histories."""

from __future__ import annotations

import re

HIDDEN = "***"

_USER = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<user>[^\s/?#:@]*):(?!\d{1,5}(?:[/?#]|$))\S*@", re.IGNORECASE)
"""``scheme://user:password@``. A secret may hold slashes and at-signs, so the last at-sign ends it; a port is none."""
_TOKEN_USER = re.compile(r"(?P<scheme>\b(?:git\+)?(?:https?|ftps?|ssh)://)[^\s/?#@]+@", re.IGNORECASE)
_PARAMETER = re.compile(
    r"(?P<name>[?&;](?:[\w.-]|%[0-9a-f]{2})*(?:sig|token|secret|passw|pwd|credential|key|auth|jwt)(?:[\w.-]|%[0-9a-f]{2})*=)"
    r"[^&;\s#'\"]+",
    re.IGNORECASE,
)
_KNOWN = re.compile(r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|dapi[0-9a-f]{32}(?:-\d+)?|gh[pousr]_[A-Za-z0-9]{20,})\b")
"""Access keys and tokens that are known by their form: AWS, Databricks, GitHub."""


def redact(text: str) -> str:
    """The text without passwords, tokens and signatures: what a URI's user part and parameters may hold.

    What it takes for a secret is replaced by ``***``; a URI without one, such as ``abfss://container@account/path``
    or ``hdfs://host:8020/path``, stays as it is.
    """
    text = _USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _TOKEN_USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _PARAMETER.sub(rf"\g<name>{HIDDEN}", text)
    return _KNOWN.sub(HIDDEN, text)
