"""docs/: what is made from the code is what the code says now."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import fastjsonschema
import pytest
import yaml
from pyspark.sql.types import DecimalType

from spark_scoring.cli import main
from spark_scoring.errors import RequestError
from spark_scoring.job import ScoringJob
from spark_scoring.model.types import DATA_TYPES, Category
from spark_scoring.plan.scoring_plan import PlannedFeature
from spark_scoring.registration.training import TrainingJob
from tools import reference_pages, registration_page
from tools.conversions_page import DECIMALS, LEVELS, PAGE, planned, rendered

if TYPE_CHECKING:
    from pathlib import Path

    from spark_scoring.errors import Problem
    from spark_scoring.model.types import ModelType


def decimals_like(label: str) -> list[DecimalType]:
    """Every decimal type that a label of the page speaks of."""
    if label == "decimal with a scale":
        return [DecimalType(p, s) for p in range(1, 39) for s in range(1, p + 1)]
    first, last = label.removeprefix("decimal(").removesuffix(", 0)").split("..")
    return [DecimalType(p, 0) for p in range(int(first), int(last) + 1)]


def test_the_committed_page_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == rendered(page), "it is not: make docs, and look at what changed"


def test_the_page_on_registration_is_current() -> None:
    page = registration_page.PAGE.read_text(encoding="utf-8")
    assert page == registration_page.rendered(page), "it is not: make docs, and look at what changed"


def test_the_reference_pages_and_schemas_are_current() -> None:
    for path, text in reference_pages.made().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is not: make docs, and look at what changed"


def test_the_page_on_architecture_names_what_is_there() -> None:
    page = (reference_pages.ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_]+/|(?:[a-z_]+/)*[a-z_]+\.(?:py|md))`", page)
    places = [reference_pages.ROOT, reference_pages.ROOT / "spark_scoring"]
    assert len(named) > 30
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_a_table_without_its_marks_is_an_error() -> None:
    page = PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="presets"):
        rendered(page.replace("<!-- made: presets -->", ""))


@pytest.mark.parametrize("label", DECIMALS)
def test_a_decimal_stands_for_all_of_its_label(label: str) -> None:
    targets: list[ModelType] = [*DATA_TYPES, *map(Category, LEVELS.values())]
    for target in targets:
        stands = shown(planned(DECIMALS[label], target))
        assert {shown(planned(type_, target)) for type_ in decimals_like(label)} == {stands}, target


def shown(found: PlannedFeature | Problem) -> tuple[str, str, str | None] | None:
    """What the page says of a conversion; None of one that is refused."""
    return (found.verdict, found.note, found.reason) if isinstance(found, PlannedFeature) else None


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=reference_pages.ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.glob("*.html"))
    assert len(pages) > len(list(reference_pages.DOCS.glob("*.md")))  # 404.html besides
    fetched = r"""<(?:script|img|iframe|link)[^>]*\s(?:src|href)=["']?(?:https?:)?//[^"'>]*"""
    assert [found for page in pages for found in re.findall(fetched, page.read_text(encoding="utf-8"))] == []
    drawn = {file.name: file.read_text(encoding="utf-8") for file in PAGE.parent.glob("*.svg")}
    assert drawn
    assert [name for name, text in drawn.items() if re.search(r"@font-face|@import|url\((?!#)|href=", text)] == []


def test_the_readme_leads_to_files_that_are_there() -> None:
    readme = (reference_pages.ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)", readme)
    assert "docs/concepts.md" in links
    assert [link for link in links if not (reference_pages.ROOT / link).is_file()] == []


def schema(name: str) -> Any:
    return fastjsonschema.compile(json.loads((reference_pages.DOCS / name).read_text(encoding="utf-8")))


def written_jobs() -> list[Any]:
    """The job files of the examples and of all pages."""
    examples = [path for path in reference_pages.ROOT.glob("examples/**/*.yml") if path.parent.name != "resources"]
    files = [(path.name, path.read_text(encoding="utf-8")) for path in examples if path.name != "databricks.yml"]
    for page in reference_pages.DOCS.glob("*.md"):
        blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        files += [(page.name, block) for block in blocks if re.search("^(model|estimator):", block, re.MULTILINE)]
    return [pytest.param(text, id=f"{name}-{number}") for number, (name, text) in enumerate(files)]


@pytest.mark.parametrize("text", written_jobs())
def test_the_jobs_of_examples_and_pages_are_jobs_and_fit_their_schema(text: str) -> None:
    fields = yaml.safe_load(text)
    if "estimator" not in fields:
        ScoringJob.from_dict(fields)
        schema("job.schema.json")(fields)
    elif "name" in fields:
        TrainingJob.from_dict(fields)
        schema("training.schema.json")(fields)
    else:  # a part of one, to show some of its fields
        whole = {"name": "m", "task": "ranking", "source": "t", "features": "x", **fields}
        TrainingJob.from_dict(whole)
        schema("training.schema.json")(whole)


_JOB: dict[str, Any] = {"model": "models:/m/1", "source": "t", "output": "o"}
_SHORT: list[dict[str, Any]] = [
    {"source": {"path": "x", "format": "csv", "schema": "id BIGINT", "options": {"header": True}}},
    {"output": {"table": "o", "mode": "merge", "key": "id", "keep": ["id"]}},
    {"predict": "predict_proba"},
    {"allow_models": "main.ml.*"},
    {"max_bad_rows": "1%"},
    {"policy": {"seats": {"nulls": {"fill": None}}, "*": "lenient"}},
    {"incremental": {"changes": "ignore", "interval": 2.5}},
    {"timeout": "1h30m"},
    {"columns": {"hour": "hour(t)"}},
    {"categories": {"carrier": ["AA", "DL"]}},
]
_WRONG: list[dict[str, Any]] = [
    {"polcy": "strict"},
    {"policy": "strikt"},
    {"source": {"tabel": "t"}},
    {"output": {"table": "o", "mode": "upsert"}},
    {"predict": "proba"},
    {"max_bad_rows": "some"},
    {"rehearse": "often"},
    {"incremental": {"changes": "maybe"}},
    {"model": 7},
]


@pytest.mark.parametrize("fields", _SHORT)
def test_the_schema_takes_the_forms_that_a_job_takes(fields: dict[str, Any]) -> None:
    whole = {**_JOB, **fields}
    ScoringJob.from_dict(whole)
    schema("job.schema.json")(whole)


def test_the_schema_takes_parameters() -> None:
    output = {"table": "${STAGE}.o", "mode": "${MODE}", "evolve": "${EVOLVE}"}
    fields = {**_JOB, "source": {"table": "${STAGE}.t", "version": "${VERSION}"}, "output": output}
    ScoringJob.from_file_fields(fields, {"STAGE": "prod", "MODE": "append", "EVOLVE": True, "VERSION": 3})
    schema("job.schema.json")(fields)


@pytest.mark.parametrize("fields", _WRONG)
def test_the_schema_refuses_what_a_job_refuses(fields: dict[str, Any]) -> None:
    whole = {**_JOB, **fields}
    with pytest.raises(RequestError):
        ScoringJob.from_dict(whole)
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        schema("job.schema.json")(whole)


def test_the_schema_wants_what_a_job_wants() -> None:
    for name in _JOB:
        with pytest.raises(fastjsonschema.JsonSchemaValueException, match=name):
            schema("job.schema.json")({field: value for field, value in _JOB.items() if field != name})


def test_the_page_on_testing_models_shows_a_test_that_passes() -> None:
    page = (reference_pages.DOCS / "testing.md").read_text(encoding="utf-8")
    code, *_ = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, "testing.md", "exec"), {})  # noqa: S102  it is ours


def test_the_page_on_errors_shows_one_as_it_is() -> None:
    page = (reference_pages.DOCS / "errors.md").read_text(encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        ScoringJob.from_dict({**_JOB, "output": {"table": "o", "mode": "upsert"}, "nmae": "daily"})
    assert f"```text\n{caught.value}\n```" in page


def docs(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["docs", *arguments])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_docs_prints_where_a_page_lies_or_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    page = reference_pages.DOCS / "merge.md"
    assert docs(capsys, "merge") == docs(capsys, "docs/merge.md") == f"{page}\n"
    assert docs(capsys, "merge", "--show").rstrip() == page.read_text(encoding="utf-8").rstrip()
    assert docs(capsys, "job.schema.json") == f"{reference_pages.DOCS / 'job.schema.json'}\n"


def test_docs_lists_all_pages(capsys: pytest.CaptureFixture[str]) -> None:
    listed = docs(capsys).splitlines()
    assert {path.stem for path in reference_pages.DOCS.glob("*.md")} <= {line.split()[0] for line in listed}
    assert any(re.fullmatch(r"trust +Trust: what may run, and who says so", line) for line in listed)


def test_docs_of_a_page_that_is_not_there_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["docs", "merg"])
    assert end.value.code == RequestError.exit_status
    assert "docs merg: there is no such page\n   fix: did you mean merge?" in capsys.readouterr().err


def test_every_page_that_the_code_names_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (reference_pages.ROOT / "spark_scoring").rglob("*.py"))
    named = {*re.findall(r"\bdocs/([\w-]+)\.md", code), *re.findall(r"spark-scoring docs ([\w-]+) --show", code)}
    assert {"trust", "errors", "rehearsal"} <= named
    for name in named:
        docs(capsys, name)
