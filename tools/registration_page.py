"""``make docs``: the tables of docs/registration.md, from the doctor's codes and the tasks."""
# ruff: noqa: INP001  a script

from __future__ import annotations

from pathlib import Path

from spark_scoring.registration.findings import CODES
from spark_scoring.registration.pasted import known_texts
from spark_scoring.registration.tasks import WANTED
from tools.made_tables import filled, table

PAGE = Path(__file__).parents[1] / "docs" / "registration.md"

_OUTPUTS = {
    "regression": "double; several targets: an array of double",
    "binary_classification": "long; string for text labels",
    "multiclass_classification": "long; string for text labels",
    "anomaly_detection": "long",
    "ranking": "double",
    "clustering": "long",
    "probability": "double; an array of double with one per class",
}


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def rendered(page: str) -> str:
    """The page with its tables.

    Raises:
        ValueError: a table has no marks, or marks have no table.

    """
    codes = [(f"`{code}`", severity, meaning) for code, (severity, meaning) in CODES.items()]
    texts = [(f"`{text}`", cause, fix) for text, cause, fix in known_texts()]
    tasks = [(f"`{task}`", predictions, _OUTPUTS[task]) for task, predictions in WANTED.items()]
    tables = {
        "tasks": table(["task", "predictions", "output type"], *tasks),
        "codes": table(["code", "severity", "meaning"], *codes),
        "texts": table(["text", "cause", "fix"], *texts),
    }
    return filled(page, tables)


if __name__ == "__main__":
    main()
