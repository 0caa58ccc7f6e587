"""Makes docs/screen_*.svg: what the commands of the README's quickstart show, as pictures of a terminal. Needs Java.

python tools/screens.py
"""
# ruff: noqa: INP001  a script

from __future__ import annotations

import io
import os
import re
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.progress import Progress
from rich.text import Text
from sklearn.linear_model import LogisticRegression

import spark_scoring as ss
from spark_scoring.cli.progress import end_bar, progress_columns
from spark_scoring.errors import RequestError
from spark_scoring.screen import SafeConsole

if TYPE_CHECKING:
    from rich.console import RenderableType

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 110
_FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
"""Of a web font, which a page that fetches nothing has no use for: a reader's own monospace does."""
TABLE = """
    CREATE TABLE shop.orders USING delta AS SELECT * FROM VALUES
    (1, 12.50, 1, false), (2, 310.00, 7, true), (3, 48.99, 2, false), (4, 189.90, NULL, true)
    AS rows (order_id, amount, items, express)
"""
JOB = {
    "model": "models:/returns/1",
    "source": {"table": "shop.orders"},
    "output": {"table": "shop.orders_scored", "keep": ["order_id"]},
}


def main() -> None:
    """Train, score and draw in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="shop-") as folder, chdir(folder):
        os.environ["SPARK_SCORING_WAREHOUSE"] = "spark-warehouse"
        mlflow.set_tracking_uri("sqlite:///mlflow.db")
        _make_table_and_model()
        draw("plan", "spark-scoring plan returns.yml", ss.plan_job(JOB).view())
        with Progress(*progress_columns(), console=SafeConsole(file=io.StringIO(), width=WIDTH)) as bar:
            task = bar.add_task("", total=None)
            planned = ss.plan_job(JOB)

            def show(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            report = ss.run_job(planned, on_progress=show)
            end_bar(bar)
        draw("score", "spark-scoring score returns.yml", planned.summary(), bar.get_renderable(), report.view())
        again = ss.plan_job(JOB)
        draw("skipped", "spark-scoring score returns.yml", again.summary(), ss.run_job(again).view())
        columns = {"amount": "price", "items": "current_date()"}
        try:
            ss.plan_job({**JOB, "columns": columns})
        except RequestError as error:
            command = "spark-scoring score returns.yml " + " ".join(
                f"--set 'columns.{name}={sql}'" for name, sql in columns.items()
            )
            draw("refused", command, Text(str(error), style="red"))


def _make_table_and_model() -> None:
    spark = ss.get_session()
    spark.sql("CREATE SCHEMA IF NOT EXISTS shop")
    spark.sql(TABLE)
    frame = pd.DataFrame(
        {"amount": [12.5, 310.0, 45.0, 220.0], "items": [1.0, 7.0, 2.0, 5.0], "express": [0.0, 1.0, 0.0, 1.0]}
    )
    model = LogisticRegression().fit(frame, ["kept", "returned", "kept", "returned"])
    signature = mlflow.models.infer_signature(frame, model.predict(frame))
    mlflow.sklearn.log_model(
        model, name="model", signature=signature, input_example=frame, registered_model_name="returns"
    )


def draw(name: str, command: str, *shown: RenderableType) -> None:
    """A picture of a command and of what it shows."""
    console = SafeConsole(file=io.StringIO(), record=True, width=WIDTH, force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "dim"), (command, "bold")))
    for part in (*shown, ""):  # the last line's underscores would be cut off
        console.print(part)
    svg = console.export_svg(title="", code_format=_FONTS.sub("", CONSOLE_SVG_FORMAT), unique_id=name)
    (DOCS / f"screen_{name}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
