"""What scoring will do, decided before a row is read: the plan that explaining and running start from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from spark_scoring.model.types import ANY, Array, Map, Missing, ModelType, Object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spark_scoring.model.spec import ModelSpec
    from spark_scoring.plan.lookups import LookupPlan
    from spark_scoring.plan.outputs import OutputColumn, Returned
    from spark_scoring.plan.policy import Handling
    from spark_scoring.plan.rehearsal import Rehearsal
    from spark_scoring.plan.verdicts import Cell, Conversion, Verdict

Params = tuple[tuple[str, Any], ...]
Engine = Literal["auto", "python", "native"]
_NESTED = (Array, Map, Object)


@dataclass(frozen=True)
class PlannedFeature:
    """One input of the model: where it comes from and what happens to its values."""

    name: str
    type: ModelType
    """The model's type: of the signature, with the levels of a category feature."""
    source: str | None
    """SQL of the source value: a quoted column or the job's expression; None where a default takes its place."""
    source_type: str | None
    """Spark type as a simple string, such as ``decimal(12,2)``."""
    verdict: Verdict
    conversion: Conversion
    handling: Handling
    note: str = ""
    reason: str | None = None
    members: tuple[Cell, ...] = ()
    missing: Missing = "None"
    """What a missing text is to the model."""


@dataclass(frozen=True)
class ScoringPlan:
    """What scoring will do, decided before a row is read; explaining and running start from it."""

    model: ModelSpec
    features: tuple[PlannedFeature, ...]
    """In signature order, which is the order the model receives them in."""
    methods: tuple[str, ...]
    outputs: tuple[OutputColumn, ...]
    returns: tuple[Returned, ...]
    params: Params = ()
    """Inference parameters that the request sets; the model's own defaults hold for the others."""
    ignored: tuple[str, ...] = ()
    """Columns of the table that no feature is made from or looked up by."""
    notes: tuple[str, ...] = ()
    lookups: LookupPlan | None = None
    """What adds the model's features to the table first; the columns of the plan are those of the result."""
    proven: bool = False
    """Whether a rehearsal saw the model score rows."""
    rehearsal: Rehearsal | None = field(default=None, compare=False)
    """What a rehearsal found; None where there was none."""
    engine: Literal["python", "native"] = "python"
    """Who scores: Python workers, or Spark's own expressions."""
    engine_note: str = field(default="", compare=False)
    """Why."""

    @property
    def needs_arrow(self) -> bool:
        """Whether lists, maps or objects travel: pandas UDFs change them, ``mapInArrow`` does not."""
        nested = any(is_nested(feature.type) for feature in self.features)
        return nested or any(returned.is_nested for returned in self.returns)

    @property
    def hash(self) -> str:
        """sha256 over everything that decides the predictions: artifact, conversions, handling, outputs."""
        decisive = {
            "digest": self.model.digest,
            "features": [
                (f.name, repr(f.type), f.source, f.source_type, f.conversion, repr(f.handling)) for f in self.features
            ],
            "methods": self.methods,
            **(
                {"by position": by_position}
                if (by_position := [r.method for r in self.returns if not r.by_index])
                else {}
            ),
            "params": repr(self.params),
            "outputs": [(o.name, o.type) for o in self.outputs],
            **({"lookups": self.lookups.decisive} if self.lookups is not None else {}),
            **({"engine": self.engine} if self.engine != "python" else {}),
            **({"environment": self.model.environment.key} if self.model.environment is not None else {}),
            **({"explained": told} if (told := [repr(r.reasons) for r in self.returns if r.reasons]) else {}),
            **({"codes": codes} if (codes := [o.codes for o in self.outputs if o.codes]) else {}),
        }
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()

    def explain(self) -> str:
        """The plan as plain text: one line per feature, then what is written."""
        from spark_scoring.plan.explain import plan_text

        return plan_text(self)

    def __str__(self) -> str:
        return self.explain()

    def __repr__(self) -> str:
        return f"<ScoringPlan {self.hash[:12]} of {self.model.title}: {len(self.features)} features>"

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_html(self) -> str:
        """The plan as an HTML fragment, escaped."""
        from spark_scoring.plan.explain import plan_html

        return plan_html(self)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        from spark_scoring.plan.explain import plan_dict

        return plan_dict(self)


def is_nested(type_: ModelType) -> bool:
    """Whether values are lists, maps or objects of no fixed width."""
    return isinstance(type_, _NESTED) or type_ == ANY


def with_notes(plan: ScoringPlan, notes: Sequence[str]) -> ScoringPlan:
    """The plan with more lines for the reader; its hash stays."""
    return replace(plan, notes=(*plan.notes, *notes))
