"""A planned job: everything that its run will do, and how that is shown. Decided before a row is read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spark_scoring.plan.explain import plan_html, plan_page, plan_summary, plan_view
from spark_scoring.redact import HIDDEN, holds_secret, redact, secret_values, shown
from spark_scoring.run.identity import Identity
from spark_scoring.run.saved import SAVED, SAVED_FORMAT
from spark_scoring.screen import Shown, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyspark.sql import SparkSession

    from spark_scoring.delta.columns import ColumnChange
    from spark_scoring.delta.source import PinnedSource
    from spark_scoring.delta.stream import Changes
    from spark_scoring.delta.target import Target
    from spark_scoring.engine.stage import StageName
    from spark_scoring.features.delegate import Delegation
    from spark_scoring.job import ScoringJob
    from spark_scoring.plan.lookups import FeatureTable
    from spark_scoring.plan.scoring_plan import ScoringPlan

BadRows = Literal["keep", "quarantine", "fail"]

LINEAGE = ("model_name", "model_version", "scored_at", "run_id")
"""Columns beside the predictions: which model made a row, when and in which run."""


@dataclass(frozen=True)
class Increments:
    """How an incremental job goes on from its last run."""

    stream: str
    """What tells the job apart from others on the same tables."""
    checkpoint: str
    """Folder of the stream's own state."""
    checkpoint_id: str | None
    """None where it was not begun: everything is new."""
    changes: Changes
    files_per_batch: int
    interval: float
    """Seconds between two looks at the source."""
    is_anew: bool = False
    """Whether there is an earlier checkpoint from which the job does not go on."""

    @property
    def text(self) -> str:
        """For people."""
        changes = {"refuse": "", "ignore": ", updates and deletes ignored", "follow": ", updates and deletes followed"}
        begun = "no checkpoint yet: everything is new; begins"
        if self.is_anew:
            begun = "does not go on from its last checkpoint: everything is scored again; begins"
        if self.checkpoint_id:
            begun = "goes on from"
        return f"{begun} {redact(self.checkpoint)}{changes[self.changes]}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        begun = self.checkpoint_id is not None
        told = {"begun": begun, "anew": self.is_anew, "changes": self.changes, "stream": self.stream}
        return {"checkpoint": redact(self.checkpoint), **told}


@dataclass(frozen=True)
class JobPlan(Shown):
    """A job that can run: its scoring plan, its pinned source and its checked output."""

    scoring: ScoringPlan
    source: PinnedSource
    target: Target
    quarantine: Target | None
    """Where bad rows go, if not to the output."""
    keep: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    stage: StageName
    job: ScoringJob = field(compare=False, repr=False)
    """What was planned: to plan it anew, and to save it."""
    client: Delegation | None = None
    """Where a feature client scores, instead of this package."""
    identity: Identity = field(default_factory=Identity)
    """What its expressions add to what makes two runs the same."""
    name: str | None = None
    """What the job is called."""
    force: bool = False
    """Whether it runs although the same run was made before."""
    bad_rows: BadRows = "keep"
    max_bad_rows: float | None = None
    """Rows, or a share of them if it is a float, above which nothing is committed."""
    timeout: float | None = None
    """Seconds that planning and the run may take; None: as many as they take."""
    planned_in: float = 0.0
    """Seconds that planning took."""
    increments: Increments | None = None
    """Where only what is new is scored."""
    batch: int | None = None
    """Of the plan of a micro-batch: its number."""
    show_model_error: bool = False
    """Whether the traceback of the model's first error goes to the log."""
    schema_changes: tuple[ColumnChange, ...] = ()
    """What ``evolve`` does to the output's columns."""
    quarantine_changes: tuple[ColumnChange, ...] = ()

    @property
    def session(self) -> SparkSession:
        """The session that its source is read with."""
        return self.source.frame.sparkSession

    @property
    def title(self) -> str:
        """What people and the ledger call the job: its name, else what it scores."""
        model = self.scoring.model
        return self.name or f"{model.name or model.uri} on {self.source.ref.text}"

    @property
    def added(self) -> dict[str, str]:
        """Names under which added columns are written, by their own names."""
        own = [*(output.name for output in self.scoring.outputs), *LINEAGE]
        return {name: dict(self.names).get(name, name) for name in own}

    @property
    def feature_tables(self) -> Sequence[FeatureTable]:
        """Those that the run looks features up in."""
        return () if self.scoring.lookups is None else self.scoring.lookups.tables

    def explain(self) -> str:
        """What the run will read, do and write, as plain text."""
        return as_text(self.view())

    def view(self) -> Group:
        """What the run will read, do and write, as a rich renderable."""
        return Group(self._places_view(), plan_view(self.scoring))

    def summary(self) -> Group:
        """As ``view``, with the features summed up."""
        return Group(self._places_view(), plan_summary(self.scoring))

    def _places_view(self) -> Table:
        places = Table.grid(padding=(0, 2))
        for label, text in self._places().items():
            places.add_row(label, Text(text))
        return places

    def __repr__(self) -> str:
        return f"<JobPlan {self.source.ref.text} to {self.target.ref.text} by {self.scoring!r}>"

    def _repr_html_(self) -> str:
        return plan_html(self.scoring, self._places())

    def to_html(self) -> str:
        """What the run will read, do and write, as a whole HTML page, escaped."""
        return plan_page(self.scoring, self._places())

    def _places(self) -> dict[str, str]:
        """Where the rows come from and go to."""
        source, target = self.source, self.target
        condition = f" where {source.where}" if source.where else ""
        existing = "the table is new" if target.schema is None else "the table exists"
        increments = {"incremental": self.increments.text} if self.increments is not None else {}
        return {
            "source": redact(f"{source.ref.text} {source.state}{condition}"),
            **self._read_places(),
            **increments,
            "output": f"{target.ref.text}, {target.writing.text} ({existing})",
            **_diff("evolves", self.schema_changes),
            **_diff("quarantine evolves", self.quarantine_changes),
            "keeps": ", ".join(self.keep),
            **self._bad_row_places(),
            **self._drift_places(),
            **({} if self.timeout is None else {"timeout": f"{self.timeout:g} s"}),
        }

    def _read_places(self) -> dict[str, str]:
        """Tables that the job's expressions read."""
        tables = ", ".join(f"{table.name} at version {table.version}" for table in self.identity.tables)
        return {"reads": tables} if tables else {}

    def _bad_row_places(self) -> dict[str, str]:
        """What becomes of bad rows, where it is not the default."""
        limit = "" if self.max_bad_rows is None else f", no more than {allowed_text(self.max_bad_rows)}"
        match self.bad_rows:
            case "quarantine" if self.quarantine is not None:
                return {"bad rows": f"to {self.quarantine.ref.text}{limit}"}
            case "fail":
                return {"bad rows": "the first one stops the run"}
            case _:
                return {"bad rows": f"kept{limit}"} if limit else {}

    def _drift_places(self) -> dict[str, str]:
        """Whether drift is measured."""
        settings = self.job.drift_settings
        if settings is None:
            return {}
        stops = "" if settings.fail is None else f", and stops above {settings.fail:g}"
        return {"drift": f"held against training; tells of a PSI above {settings.warn:g}{stops}"}

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        source, target = self.source, self.target
        return {
            "plan": self.scoring.to_dict(),
            "source": {
                "table": source.ref.text,
                "version": source.version,
                "files": source.files and asdict(source.files),
                "where": source.where and redact(source.where),
            },
            "reads": [{"table": table.name, "version": table.version} for table in self.identity.tables],
            "output": {
                "table": target.ref.text,
                "mode": target.writing.mode,
                "replace_where": target.writing.replace_where,
                "key": target.writing.key,
                "exists": target.schema is not None,
                "evolve": target.writing.evolve,
                "schema_changes": [asdict(change) for change in self.schema_changes],
            },
            "keep": self.keep,
            "bad_rows": self.bad_rows,
            "max_bad_rows": self.max_bad_rows,
            "quarantine": self.quarantine and self.quarantine.ref.text,
            "quarantine_schema_changes": [asdict(change) for change in self.quarantine_changes],
            "timeout": self.timeout,
            "incremental": self.increments and self.increments.to_dict(),
            SAVED: self._saved(),
        }

    def _saved(self) -> dict[str, Any]:
        """What lets the plan be run later: its job, on what the plan has pinned, and the pins.

        Secrets of the job are left out; ``left_out`` names their fields.
        """
        model, fields = self.scoring.model, self.job.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        uri = f"models:/{model.name}/{model.version}" if model.name and model.version else model.uri
        fields |= {"model": uri, "expect_digest": model.digest}
        if self.source.version is not None and self.increments is None:
            place = {name: value for name, value in fields["source"].items() if name != "timestamp"}
            fields["source"] = {**place, "version": self.source.version}
        left_out: list[str] = []
        kept = _without_secrets(fields, secret_values(_leaves(fields)), "", left_out)
        return {"format": SAVED_FORMAT, "job": kept, "left_out": left_out, "pins": self.pins}

    @property
    def pins(self) -> dict[str, Any]:
        """What the plan has decided on, as JSON types: equal for plans whose runs read and write the same."""
        model, source = self.scoring.model, self.source
        moves_on = self.increments is not None  # an incremental job reads whatever is there when it runs
        pins = {
            "model": [model.name, model.version, model.digest],
            "source": [source.ref.text, source.table_id, None if moves_on else source.version],
            "source files": None if source.files is None else source.files.digest,
            "feature tables": None if moves_on else {t.name: [t.table_id, t.version] for t in self.feature_tables},
            "tables that SQL reads": None
            if moves_on
            else {t.name: [t.table_id, t.version] for t in self.identity.tables},
            "what SQL means": self.identity.planned.meaning,
            "output": self.target.table_id,
            "schema changes": [asdict(change) for change in (*self.schema_changes, *self.quarantine_changes)],
            "columns": [self.keep, sorted(self.added.items())],
            "plan": self.scoring.hash,
        }
        found: dict[str, Any] = json.loads(json.dumps(pins))
        return found


def _leaves(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values, but for mappings, of a mapping and those in it."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield str(name), value


def _without_secrets(fields: dict[str, Any], secrets: Sequence[str], path: str, left_out: list[str]) -> dict[str, Any]:
    """The fields but for those that hold a secret, or one of these, whose places are added to a list."""
    kept = {}
    for name, value in fields.items():
        place = f"{path}{name}"
        if isinstance(value, dict):
            kept[name] = _without_secrets(value, secrets, f"{place}.", left_out)
        elif (
            redact(text := json.dumps(value)) != text
            or shown(str(name), value) == HIDDEN
            or holds_secret(value, secrets)
        ):
            left_out.append(place)
        else:
            kept[name] = value
    return kept


def _diff(label: str, changes: Sequence[ColumnChange]) -> dict[str, str]:
    return {label: "\n".join(change.text for change in changes)} if changes else {}


def allowed_text(limit: float) -> str:
    """``max_bad_rows`` for people: ``100 rows``, ``1% of the rows``."""
    return f"{limit:.4%}".rstrip("0%").rstrip(".") + "% of the rows" if isinstance(limit, float) else f"{limit:,} rows"


def read_text(plan: JobPlan) -> str:
    """The tables that a run reads."""
    looked_up = ", ".join(table.name for table in plan.feature_tables)
    return f"{plan.source.ref.text} (or a feature table: {looked_up})" if looked_up else plan.source.ref.text
