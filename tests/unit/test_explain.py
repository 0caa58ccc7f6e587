"""What people and programs read of a plan: text, JSON, HTML, from one plan that has some of everything."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import Row
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DecimalType,
    DoubleType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from spark_scoring.model.environment import Difference
from spark_scoring.model.spec import Feature, ModelSpec
from spark_scoring.model.types import Array, Category, Coded, Levels, Map, Member, Object, OneOf, Tensor
from spark_scoring.plan.explain import plan_html, plan_page, plan_view
from spark_scoring.plan.planner import make_plan
from spark_scoring.plan.policy import FeaturePolicy, Fill, Policy
from spark_scoring.plan.request import Expression, Request
from spark_scoring.report.preview import preview_view
from spark_scoring.screen import SafeConsole, as_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from spark_scoring.plan.scoring_plan import ScoringPlan

GOLDEN = Path(__file__).with_name("golden")
HOSTILE = "<script>alert(1)</script>"
QUOTED = 'say "it\'s" & `be`'
LEVELS = Levels("string", ("AA", "DL", "UA"))
SIZE = Object((Member("width", "double"), Member("height", "double"), Member("unit", "string", required=False)))
ITEM = Object((Member("sku", "string"), Member("price", "double"), Member("size", SIZE)))
SHARE = (
    "CASE WHEN arrival_delay_minutes > 15 AND carrier_code NOT IN ('ZZ', '<b>') THEN 1.0 / greatest(1, flights) "
    "ELSE coalesce(delay_share_last_30_days, delay_share_last_365_days, 0.0) END"
)
MODEL = ModelSpec(
    uri="models:/main.ml.delay@champion",
    name="main.ml.delay",
    version="3",
    run_id="r",
    digest="d" * 64,
    path="/models/delay",
    flavor="sklearn",
    inputs=(
        Feature("distance", "double"),
        Feature("plane_age", "float"),
        Feature("seats", "long"),
        Feature("weekend", "boolean"),
        Feature("tail", "string"),
        Feature("departed", "datetime"),
        Feature("carrier", Category(LEVELS)),
        Feature("operator", Coded("integer", LEVELS)),
        Feature("origin", OneOf("string", Levels("string", ("EWR", "JFK"), "the job"), null=False)),
        Feature("wind", "double"),
        Feature("humid", "double", required=False),
        Feature("embedding", Tensor("float", (-1, 3))),
        Feature("basket", Array(ITEM)),
        Feature("weights", Map("double")),
        Feature("late_share", "double"),
        Feature(HOSTILE, "double"),
        Feature(QUOTED, "string"),
    ),
    output="long",
    methods=(("predict_proba", Tensor("double", (-1, 2))),),
    classes=("on time", "<late>"),
    differences=(Difference("scikit-learn", "==1.4.2", "1.7.0", own=True, major=False),),
)


def struct(**fields: DataType) -> StructType:
    return StructType([StructField(name, type_) for name, type_ in fields.items()])


TEXT, DOUBLE = StringType(), DoubleType()
SCHEMA = struct(
    distance=DecimalType(7, 1),
    plane_age=DOUBLE,
    seats=DOUBLE,
    weekend=BooleanType(),
    tail=LongType(),
    departed=TimestampType(),
    carrier=TEXT,
    operator=TEXT,
    origin=TEXT,
    embedding=ArrayType(DOUBLE),
    basket=ArrayType(struct(sku=TEXT, price=DecimalType(12, 2), size=struct(width=DOUBLE, height=DOUBLE, unit=TEXT))),
    weights=MapType(TEXT, LongType()),
    **{HOSTILE: DOUBLE, QUOTED: TEXT},
    not_read=TEXT,
)
POLICY = {
    "seats": FeaturePolicy(nulls=Fill(150), invalid="fail"),
    "carrier": FeaturePolicy(invalid="missing"),
    "wind": FeaturePolicy(absent=Fill(None)),
    QUOTED: FeaturePolicy(nulls=Fill(f"[bold] {HOSTILE}")),
}


@pytest.fixture(scope="module")
def plan() -> ScoringPlan:
    expressions = {"late_share": Expression(SHARE, DecimalType(38, 18))}
    request = Request(Policy.of(POLICY), expressions, methods=("predict", "predict_proba"))
    return make_plan(MODEL, SCHEMA, request)


def page_of(plan: ScoringPlan) -> str:
    places = {"source": f"main.flights at version 0 where name <> '{HOSTILE}'", "keeps": HOSTILE}
    return plan_page(plan, places)


class Seen(HTMLParser):
    """What a browser would make of a page: its tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.cells: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("input", "meta"):
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self.open:
            self.cells[-1] += data


def test_the_plan_has_some_of_everything(plan: ScoringPlan) -> None:
    assert {f.verdict for f in plan.features} == {"exact", "rounds", "checked", "renders", "default"}


@pytest.mark.parametrize(
    ("suffix", "shown"),
    [
        ("txt", lambda plan: plan.explain() + "\n"),
        ("json", lambda plan: json.dumps(plan.to_dict(), indent=2) + "\n"),
        ("html", page_of),
    ],
)
def test_a_plan_with_some_of_everything_reads_as_agreed(
    plan: ScoringPlan, suffix: str, shown: Callable[[ScoringPlan], str]
) -> None:
    assert shown(plan) == (GOLDEN / f"plan_everything.{suffix}").read_text(encoding="utf-8")


@pytest.mark.parametrize("shown", [plan_html, page_of])
def test_what_people_named_is_text_and_never_markup(plan: ScoringPlan, shown: Callable[[ScoringPlan], str]) -> None:
    page = shown(plan)
    seen = Seen(page)
    assert seen.open == []
    assert "script" not in seen.tags
    assert seen.attributes <= {"class", "data-label", "type", "checked", "lang", "charset", "name", "content"}
    assert {HOSTILE, QUOTED, f"becomes {f'[bold] {HOSTILE}'!r}"} <= set(seen.cells)
    assert f"({SHARE}): decimal(38,18)" in seen.text
    assert "of classes on time, <late>" in seen.text


def test_the_fragment_is_one_section_and_loads_nothing(plan: ScoringPlan) -> None:
    page = plan_html(plan)
    assert page.startswith('<section class="scoring-plan">')
    assert page.rstrip().endswith("</section>")
    assert not [word for word in ("http", "src=", "href=", "url(", "@import") if word in page]


def test_long_types_and_expressions_are_cut_in_the_table_and_whole_below(plan: ScoringPlan) -> None:
    text = plan.explain()
    assert max(map(len, text.splitlines())) <= 120
    table, details = text.split("\nin full", maxsplit=1)
    assert "array<object<…>>" in table
    below = "".join(details.split())
    assert "".join(str(Array(ITEM)).split()) in below
    assert "".join(f"({SHARE}): decimal(38,18)".split()) in below


def test_a_plan_without_long_types_has_nothing_to_write_out() -> None:
    model = replace(MODEL, inputs=MODEL.inputs[:1])
    assert "in full" not in make_plan(model, SCHEMA, Request()).explain()


def test_text_of_users_is_no_markup_of_rich(plan: ScoringPlan) -> None:
    assert "[bold]" in plan.explain()


def test_no_form_of_a_plan_gives_a_terminal_commands() -> None:
    """Names of features come from the model, names of columns and expressions from the job."""
    esc, osc = "a\x1b[31m", "b\x1b]0;title\x07"
    spec = replace(MODEL, inputs=(Feature(esc, "double"), Feature(osc, "double")), uri=f"models:/m\x1b[2J{osc}")
    request = Request(expressions={osc: Expression(f"'{esc}'", DoubleType())})
    plan = make_plan(spec, StructType([StructField(esc, DoubleType())]), request)
    shown = io.StringIO()
    SafeConsole(file=shown, force_terminal=True, color_system=None, width=200).print(plan_view(plan))
    for form in (plan.explain(), plan_page(plan, {"source": osc}), json.dumps(plan.to_dict()), shown.getvalue()):
        assert "\x1b" not in form
        assert "\x07" not in form
    assert r"a\x1b[31m" in shown.getvalue()
    assert r"a\x1b[31m" in plan.explain()


def test_a_preview_shows_as_many_features_as_fit() -> None:
    row = Row(id=1, amount=310.0, items=7, express=True, prediction="kept")
    features = {"amount": "amount", "n": "items", "express": "express", "day": None}
    for width, shown, more in ((80, ["amount", "items", "express"], 1), (32, ["amount", "items"], 2), (10, [], 4)):
        [names, _, count] = as_text(preview_view([row], ["id"], features, width)).splitlines()
        assert names.split() == ["id", *shown, "prediction"]
        assert count.endswith(f"; {more} of the model's 4 features {'is' if more == 1 else 'are'} not shown")


def test_a_preview_shows_what_is_inside_of_lists_and_structs() -> None:
    row = Row(id=1, told=[Row(feature="late", contribution=-0.5)], shares={"a": 1.0}, none=None, text="x" * 60)
    [names, values, _] = as_text(preview_view([row])).splitlines()
    assert names.split() == ["id", "told", "shares", "none", "text"]
    cells = ["1", "[{feature: late, contribution: -0.5}]", "{a: 1.0}", "null", f"{'x' * 37}..."]
    assert re.split(r"\s{2,}", values.strip()) == cells


def test_columns_that_are_not_read_are_named_as_far_as_they_fit() -> None:
    spec = replace(MODEL, inputs=(Feature("price", "double"), Feature("late", "double")), own_names=())
    many = {f"unread_{i:02}": DOUBLE for i in range(30)}
    columns = struct(price=DOUBLE, DepHour=DOUBLE, **{"arr`hour": DOUBLE}, note=TEXT, **many)
    request = Request(expressions={"late": Expression("`arr``hour` - dephour", DOUBLE)})
    plan = make_plan(spec, columns, request)
    assert plan.ignored == ("note", *many)  # and not what the expression reads
    (line,) = [line for line in plan.explain().splitlines() if "columns not read" in line]
    assert line == "columns not read: note, unread_00, unread_01, unread_02, unread_03 and 26 more"
    assert len(line) <= 80
    assert f"; {line}</p>" in plan.to_html()
    few = make_plan(spec, struct(price=DOUBLE, late=DOUBLE, note=TEXT), Request())
    assert "\ncolumns not read: note\n" in few.explain()
