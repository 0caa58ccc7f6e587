"""Where Ivy has put the jars of a local session's packages, so that it looks for them once: that takes three seconds.

What is kept here decides which code Spark's Java process loads. It lies in the user's private folder, as models do.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urlparse

from spark_scoring.errors import ScoringError
from spark_scoring.model.store import keep_text, private_folder


def known_jars(packages: str) -> str | None:
    """The jars of these packages, as ``spark.jars`` wants them; None where Ivy has to look for one."""
    with suppress(OSError, ScoringError):
        jars = (private_folder() / _name(packages)).read_text()
        if all(Path(unquote(urlparse(jar).path)).is_file() for jar in jars.split(",")):
            return jars
    return None


def keep_jars(packages: str, jars: str) -> None:
    """Keep what Ivy found. Where nothing can be kept, it looks again next time.

    Ivy puts all into one folder: jars elsewhere are of the user's own settings, which may be others next time.
    """
    if len({Path(jar).parent for jar in jars.split(",")}) > 1:
        return
    with suppress(OSError, ScoringError):
        keep_text(_name(packages), jars)


def _name(packages: str) -> str:
    of = f"{version('pyspark')} {packages}"
    return f"jars-{hashlib.sha256(of.encode()).hexdigest()[:32]}"
