"""Move an alias to a model that was compared, where what was compared is still so."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_scoring.compare.comparison import FORMAT, Comparison
from spark_scoring.compare.errors import PromoteError
from spark_scoring.delta.source import pin_source
from spark_scoring.errors import Gathering
from spark_scoring.job_file import place_of
from spark_scoring.model.registry import resolve_model
from spark_scoring.redact import redact
from spark_scoring.registration.tracking import logging_at
from spark_scoring.registration.versions import LONGEST_TAG, aliases_of, hand_over_alias
from spark_scoring.session import get_session, launch_early

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import SparkSession

_TAG = "spark_scoring.compared_"


@dataclass(frozen=True)
class Promotion:
    """An alias that was moved, and on what evidence."""

    name: str
    alias: str
    version: str
    previous: str
    """The version that had the alias before."""
    tags: dict[str, str]
    """Of the version: the evidence."""

    def __str__(self) -> str:
        moved = f"{self.name}: {self.alias} is version {self.version} now, and was {self.previous}"
        return f"{moved}\nevidence  {self.tags[_TAG + 'rows']}; the version's tags {_TAG}* hold it"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Evidence:
    """What a comparison says of itself."""

    name: str
    current: tuple[str, str]
    """Version and digest."""
    challenger: tuple[str, str]
    table: str
    table_id: str
    version: int
    tags: dict[str, str]


def promote_model(
    comparison: Comparison | Mapping[str, Any] | str | Path,
    alias: str,
    spark: SparkSession | None = None,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    warehouse: str | None = None,
) -> Promotion:
    """Give the challenger of a comparison the alias that the current model has, and tag its version with the evidence.

    Nothing is moved unless all of this holds: both versions have the files that were compared; the alias is still that
    of the current version; the source is a Delta table and still at the version that was compared.

    Args:
        comparison: the comparison, or the path of its JSON (``compare --json``).
        alias: such as ``champion``.
        spark: the session that reads the source's version; default: the active one, else a new local one.
        tracking_uri, registry_uri: MLflow's; default: MLflow's own settings.
        warehouse: folder of a new local session's tables.

    Raises:
        PromoteError: with everything that does not hold any more; nothing was changed.
        RegistrationError: the registry does not answer, or refuses.

    """
    saved = read_evidence(comparison)
    if spark is None:
        launch_early(warehouse)
    problems = Gathering()
    servers = {"tracking_uri": tracking_uri, "registry_uri": registry_uri}
    for side, (version, digest) in (("current", saved.current), ("challenger", saved.challenger)):
        with problems.attempt():
            found = resolve_model(f"models:/{saved.name}/{version}", **servers)
            if found.digest != digest:
                raise PromoteError.other_files(side, saved.name, version)
    with logging_at(tracking_uri, registry_uri) as client:
        with problems.attempt():
            _check_alias(aliases_of(client, saved.name), saved, alias)
        with problems.attempt():
            _check_source(spark or get_session(warehouse), saved)
        problems.raise_all(PromoteError)
        tags = {
            **saved.tags,
            f"{_TAG}promoted": f"{alias} at {dt.datetime.now(tz=dt.timezone.utc).isoformat(timespec='seconds')}",
        }
        hand_over_alias(client, saved.name, alias, saved.challenger[0], tags)
    return Promotion(saved.name, alias, saved.challenger[0], saved.current[0], tags)


def read_evidence(comparison: Comparison | Mapping[str, Any] | str | Path) -> Evidence:
    """What a comparison says of itself, as far as an alias may move on it.

    Raises:
        PromoteError: it is not one, or not of two versions of one model over a Delta table.

    """
    thing = str(comparison) if isinstance(comparison, str | Path) else "comparison"
    try:
        if isinstance(comparison, str | Path):
            comparison = json.loads(Path(comparison).read_text(encoding="utf-8"))
        fields: Any = comparison.to_dict() if isinstance(comparison, Comparison) else comparison
        if fields["format"] != FORMAT:
            raise PromoteError.not_a_comparison(thing, "it is of another version of spark_scoring")
        return _saved(thing, fields)
    except OSError as error:
        raise PromoteError.not_a_comparison(thing, error.strerror or type(error).__name__) from None
    except (ValueError, KeyError, TypeError) as error:
        raise PromoteError.not_a_comparison(thing, f"it cannot be read ({type(error).__name__})") from None


def _saved(thing: str, fields: Mapping[str, Any]) -> Evidence:
    current, challenger, source = fields["current"], fields["challenger"], fields["source"]
    problems = Gathering()
    with problems.attempt():
        if not current["name"] or current["name"] != challenger["name"]:
            raise PromoteError.two_names(thing)
    with problems.attempt():
        if source["table_id"] is None or source["version"] is None:
            raise PromoteError.unversioned(str(source["table"]))
    problems.raise_all(PromoteError)
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()
    measures = ", ".join(f"{n} {v:.6g}" for n, v in fields["measures"].items() if "." not in n and v is not None)
    tags = {
        "with": f"version {current['version']}",
        "at": str(fields["compared_at"]),
        "rows": f"{fields['rows']['both']:,} rows of {source['table']} at version {source['version']}",
        "measures": measures if len(measures) <= LONGEST_TAG else measures[:LONGEST_TAG].rpartition(", ")[0],
        "sha256": digest,
    }
    return Evidence(
        name=str(current["name"]),
        current=(str(current["version"]), str(current["digest"])),
        challenger=(str(challenger["version"]), str(challenger["digest"])),
        table=str(source["table"]),
        table_id=str(source["table_id"]),
        version=int(source["version"]),
        tags={f"{_TAG}{key}": redact(value)[:LONGEST_TAG] for key, value in tags.items()},
    )


def _check_alias(aliases: Mapping[str, str], saved: Evidence, alias: str) -> None:
    if alias not in aliases:
        raise PromoteError.no_alias(saved.name, alias, aliases)
    if aliases[alias] != saved.current[0]:
        raise PromoteError.alias_moved(saved.name, alias, aliases[alias], saved.current[0])


def _check_source(spark: SparkSession, saved: Evidence) -> None:
    source = pin_source(spark, **place_of(saved.table))
    if source.table_id != saved.table_id:
        raise PromoteError.other_table(saved.table)
    if source.version != saved.version:
        raise PromoteError.source_moved(saved.table, saved.version, source.version)
