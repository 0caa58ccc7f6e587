"""Takes secrets out of texts before anyone sees them: errors, plans, reports, and what is kept in table histories."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HIDDEN = "***"
_LONG = 6
"""So many characters are no other value by chance."""

_USER = re.compile(
    r"(?P<scheme>\b[a-z0-9][a-z0-9+.-]*://)(?P<user>[^\s/?#:@]*):(?!\d{1,5}(?:[/?#]|$))\S*@", re.IGNORECASE
)
"""``scheme://user:password@``. A secret may hold slashes and at-signs, so the last at-sign ends it; a port is none."""
_TOKEN_USER = re.compile(r"(?P<scheme>\b(?:git\+)?(?:https?|ftps?|ssh)://)[^\s/?#@]+@", re.IGNORECASE)
_ORACLE_USER = re.compile(r"(?P<scheme>\bjdbc:[a-z0-9:]+:)[^\s/?#:@;]+/[^\s@]+@", re.IGNORECASE)
"""``jdbc:oracle:thin:user/password@``."""
_CLOSES = r"['\"](?=[.:!?]{0,2}(?:[\s,)\]}<>&;#'\"]|$))"
"""A quote behind which a text goes on in its own words, or ends; any other one may be part of a value."""
_VALUE = rf"(?:\*{{3}}|\"[^\"]*\"|'[^']*'|\{{[^}}\s]*\}}|(?:(?!{_CLOSES})[^&;\s#])+)"
_PARAMETER = re.compile(rf"(?P<before>[?&;#](?P<name>[^\s=&;?#'\"/]+)=)(?P<value>{_VALUE})")
"""Of a URI, or of a connection string."""
_SETTING = re.compile(rf"(?P<before>(?<![\w/?&;#%.-])(?P<name>[A-Za-z][\w.-]*)=)(?P<value>{_VALUE})")
"""``fs.s3a.secret.key=...``, ``password='...'``; in a path, ``key=1`` is a partition."""
_MEMBER = re.compile(r"(?P<before>(?P<quote>[\"'])(?P<name>[\w.-]+)(?P=quote)\s*[:=]\s*)(?P<value>\"[^\"]*\"|'[^']*')")
"""``"password": "..."``."""
_HEADER = re.compile(r"(?P<before>\bauthorization[\"']?\s*[:=]\s*[\"']?\s*)[^\"'\n,}]+", re.IGNORECASE)
_BEARER = re.compile(r"(?P<before>\bbearer\s+)(?=\S*\d|\S{20})[\w.~+/=-]{8,}", re.IGNORECASE)
_KNOWN = re.compile(
    r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|dapi[0-9a-f]{32}(?:-\d+)?|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|xox[abprs]-[\w-]{10,}|sk-[\w-]{20,}|AIza[\w-]{35}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)
"""Keys and tokens that are known by their form: AWS, Databricks, GitHub, Slack, OpenAI, Google, JWT, PEM."""
_SECRET_NAME = re.compile(
    r"sig|token|secret|passw|passphrase|pwd|credential|key|auth|jwt|(?:^|[._-])(?:pass|pat|pw|code|sas)$"
)
_SURELY_SECRET = re.compile(
    r"secret|passw|passphrase|pwd|token(?!iz|_pattern)|credential|(?:access|account|api|private|shared).?key"
)
"""Of a setting or a member, whose name may as well be that of a column, or a parameter of a text's reader."""
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that turn the direction of a text."""


def redact(text: str) -> str:
    """The text without passwords, tokens and signatures, and without characters that a terminal takes for commands.

    What it takes for a secret is replaced by ``***``: the user part of a URI that has a password, values of parameters
    and settings whose names mean one, also where a parameter's value holds others in escaped form, and keys that are
    known by their form. A URI without a secret, such as ``abfss://container@account/path`` or ``hdfs://host:8020/path``,
    stays as it is.
    """
    return printable(_hide(text))


def shown(name: str, value: object) -> object:
    """A value as it may be told; hidden where its name means a secret."""
    is_count = isinstance(value, int | float) and name.lower().endswith("tokens")
    if _SURELY_SECRET.search(name.lower()) and not is_count:
        return HIDDEN
    return redact(value) if isinstance(value, str) else value


def all_shown(values: Mapping[str, object]) -> dict[str, object]:
    """Values as they may be told: what is a secret under one name is hidden under the others, too."""
    secrets = secret_values(values.items())
    return {name: HIDDEN if holds_secret(value, secrets) else shown(name, value) for name, value in values.items()}


def secret_values(values: Iterable[tuple[str, object]]) -> list[str]:
    """The texts under names that mean a secret. Short ones, such as 1 or true, are other values by chance."""
    return [str(value) for name, value in values if shown(name, value) == HIDDEN and len(str(value)) >= _LONG]


def holds_secret(value: object, secrets: Sequence[str]) -> bool:
    """Whether a value is one of these secrets, or has one in it."""
    return any(secret in str(value) for secret in secrets)


def printable(text: str) -> str:
    r"""The text, control characters written as ``\x1b``."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _hide(text: str) -> str:
    for pattern in (_USER, _TOKEN_USER, _ORACLE_USER):
        text = pattern.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _PARAMETER.sub(lambda found: _hidden_value(found, _SECRET_NAME), text)
    text = _SETTING.sub(lambda found: _hidden_value(found, _SURELY_SECRET), text)
    text = _MEMBER.sub(lambda found: _hidden_value(found, _SURELY_SECRET), text)
    text = _HEADER.sub(rf"\g<before>{HIDDEN}", text)
    text = _BEARER.sub(rf"\g<before>{HIDDEN}", text)
    return _KNOWN.sub(HIDDEN, text)


def _hidden_value(found: re.Match[str], secret: re.Pattern[str]) -> str:
    """A name and its value; without the value where the name means a secret, or the value holds one in escaped form."""
    value = found["value"]
    if secret.search(unquote(found["name"]).lower()):
        return found["before"] + HIDDEN
    while (plain := unquote(value)) != value:
        if _hide(f";{plain}") != f";{plain}":
            return found["before"] + HIDDEN
        value = plain
    return found[0]
