"""``make docs``: the table of docs/registration.md, from the tasks."""
# ruff: noqa: INP001  a script

from __future__ import annotations

from pathlib import Path

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
    """The page with its table.

    Raises:
        ValueError: a table has no marks, or marks have no table.

    """
    tasks = [(f"`{task}`", predictions, _OUTPUTS[task]) for task, predictions in WANTED.items()]
    return filled(page, {"tasks": table(["task", "predictions", "output type"], *tasks)})


if __name__ == "__main__":
    main()
