"""What the doctor can find: a code, how grave it is, and what it means; a finding names the thing that has it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spark_scoring.screen import Shown, as_text

Severity = Literal["error", "warning", "note"]
"""error: scoring or registering it fails or is wrong. warning: it can. note: to know."""

CODES: dict[str, tuple[Severity, str]] = {
    "no-signature": ("error", "it was logged without a signature"),
    "only-inputs": ("error", "the signature has no outputs; Unity Catalog refuses it"),
    "no-inputs": ("error", "the signature has no inputs"),
    "outputs-differ": ("error", "the predictions are not what the output schema says"),
    "any-type": ("error", "a column has no type: one of an unknown type turned the whole half into AnyType"),
    "integer-nulls": ("error", "nulls were seen in a column whose integer or boolean type holds none"),
    "integer-may-see-nulls": ("warning", "an integer or boolean input, and nothing says that no null will come"),
    "object-column": ("error", "a column of Decimals or other objects, which models and signatures cannot take"),
    "category-as-text": ("warning", "a category column is recorded as the type of its levels"),
    "category-levels-unknown": ("error", "a category column whose levels neither model nor metadata hold"),
    "dtype-differs": ("error", "the example or the training frame has other dtypes than the signature"),
    "dtype-widens": ("note", "the example has float32 where the signature has double"),
    "not-scorable": ("error", "scoring would refuse its own example"),
    "foreign-input": ("error", "the signature has inputs that the model was not trained on, such as lookup keys"),
    "missing-input": ("error", "the model was trained on features that the signature lacks"),
    "input-order": ("error", "the signature has the features in another order than the model"),
    "name-levels": ("note", "the name has not three levels, as Unity Catalog wants"),
    "unpinned": ("warning", "a requirement names no version"),
    "environment": ("warning", "a requirement is not met here"),
    "own-library": ("error", "the model's own library is missing here or of another major version"),
    "pickle": ("note", "a pickled file: loading it runs whatever code it names"),
    "not-loadable": ("error", "it does not load here"),
    "needs-module": ("error", "it needs a module that it does not carry, which no Spark worker finds"),
    "null-kind": ("warning", "nothing says whether a missing text was NaN or None in training"),
    "time-zone": ("error", "a time column had a zone in training that is not UTC, in which scoring gives times"),
    "example-fails": ("error", "it raises on its own example"),
    "batch-dependent": ("error", "a row's result depends on the other rows that it is given with"),
    "random": ("error", "the same rows get another result when the model is called again"),
    "row-order": ("error", "it returns its rows in another order than it was given them"),
    "one-row": ("error", "it raises on one row alone that it takes among others"),
    "changes-input": ("note", "it changes its input; scoring gives each call input of its own"),
    "result-index": ("note", "it returns its rows in another order; scoring puts them back by the result's index"),
    "not-rehearsed": ("note", "there was no row, or no time, to see whether it treats each row by itself"),
    "no-flavor": ("error", "MLflow has no flavor for a model of its class, and none was given"),
    "not-registrable": ("error", "the frame or the model cannot be registered as they stand"),
    "spark-ml": ("note", "a Spark ML model, which only Spark itself can score"),
    "unknown-category": ("error", "a row has a category that training did not know"),
    "session": ("error", "Spark does not start, or the session does not offer what the code asks of it"),
    "libraries": ("error", "two libraries, or Spark and a library, do not go together"),
    "memory": ("error", "a process had too little memory"),
    "access": ("error", "the registry or the catalog does not let the user do it"),
    "not-found": ("error", "the registry that was asked has no such model, version or run"),
    "table": ("error", "Delta or Spark does not take the names or values of columns"),
}
"""Every code with its severity and meaning, the source of ``docs/errors.md``."""

_STYLES: dict[Severity, str] = {"error": "red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True)
class Finding(Shown):
    """One thing that is wrong, or that is good to know."""

    code: str
    thing: str
    cause: str
    fix: str
    evidence: str = ""
    """What was seen: types, names, versions; never values of rows."""

    @property
    def severity(self) -> Severity:
        """Of the code."""
        return CODES[self.code][0]

    def __repr__(self) -> str:
        return f"<Finding {self.code} ({self.severity}) of {self.thing}>"

    def view(self) -> Group:
        """The finding as a rich renderable."""
        return Group(*_finding_blocks(self))


@dataclass(frozen=True)
class Diagnosis(Shown):
    """What the doctor found, the gravest first."""

    subject: str
    findings: tuple[Finding, ...]
    loaded: bool
    """Whether the model was loaded, which runs its code; what needs that was not looked at otherwise."""

    @property
    def ok(self) -> bool:
        """Whether nothing is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def __repr__(self) -> str:
        return f"<Diagnosis of {self.subject}: {_counted(self.findings)}>"

    def explain(self) -> str:
        """The findings as plain text."""
        return as_text(self.view())

    def view(self) -> Group:
        """The findings as a rich renderable."""
        return findings_view(self.subject, self.findings, self.loaded)

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON types."""
        findings = [{"severity": f.severity, **asdict(f)} for f in self.findings]
        return {"subject": self.subject, "ok": self.ok, "loaded": self.loaded, "findings": findings}


def gravest_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """By severity, then in the order found."""
    order = list(_STYLES)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def findings_view(subject: str, findings: tuple[Finding, ...], loaded: bool) -> Group:  # noqa: FBT001
    """A block per finding."""
    unloaded = "" if loaded else " (not loaded: what needs that was not looked at)"
    blocks: list[Text | Table] = [Text.assemble((subject, "bold"), f": {_counted(findings)}{unloaded}")]
    for finding in findings:
        blocks += _finding_blocks(finding)
    return Group(*blocks)


def _counted(findings: tuple[Finding, ...]) -> str:
    counts = {severity: sum(f.severity == severity for f in findings) for severity in _STYLES}
    return ", ".join(f"{n} {severity}{'s' if n > 1 else ''}" for severity, n in counts.items() if n) or "nothing found"


def _finding_blocks(finding: Finding) -> list[Text | Table]:
    details = Table.grid(padding=(0, 2))
    for label, text in (("  cause", finding.cause), ("  fix", finding.fix), ("  seen", finding.evidence)):
        if text:
            details.add_row(label, Text(text))
    title = Text.assemble((finding.severity, _STYLES[finding.severity]), f" {finding.code}: {finding.thing}")
    return [title, details]
