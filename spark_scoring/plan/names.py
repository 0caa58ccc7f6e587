"""Everything that can be wrong with names: of inputs, of the trained model's features, of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, listed
from spark_scoring.model.errors import repair_command
from spark_scoring.model.types import Array, Map, ModelType, Object

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spark_scoring.model.spec import Feature, ModelSpec
    from spark_scoring.plan.outputs import OutputColumn
    from spark_scoring.plan.scoring_plan import PlannedFeature


def input_problems(model: ModelSpec, inputs: Sequence[Feature]) -> list[Problem]:
    """What is wrong with the names of the signature's inputs by themselves."""
    thing = f"model {model.uri!r}"
    names = [feature.name for feature in inputs]
    problems = []
    if not all(names):
        fix = f"log it with a pandas DataFrame as its example{_or_repair(model)}"
        problems.append(Problem(thing, "its signature has inputs without a name", fix))
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        fix = f"log it again with distinct names{_or_repair(model)}"
        problems.append(Problem(thing, "its signature names an input twice", fix))
    if model.documents:
        cause = f"its first step takes texts, one for each row, and its signature has {len(names)} inputs"
        fix = (
            "let its first step choose the text column: "
            "ColumnTransformer([('text', TfidfVectorizer(), '<column>'), ...]); then log it again"
        )
        problems.append(Problem(thing, cause, fix))
    return problems


def _or_repair(model: ModelSpec) -> str:
    """A repair takes the names from the trained model, so one without names has none."""
    return f"; or have its signature made from a table: {repair_command(model.uri)}" if model.own_names else ""


def own_name_problems(model: ModelSpec, names: Sequence[str]) -> list[Problem]:
    """Inputs, of those that the model is given, that it was not trained on; those that it lacks; another order."""
    thing, own = f"model {model.uri!r}", model.own_names
    if not own or tuple(names) == own or not all(names) or model.takes != "frame":
        return []
    if sorted(names) == sorted(own):
        cause = "its signature lists the features in another order than the trained model holds them"
        fix = (
            "log it again with the columns in the order of training, as some libraries score a reordered frame wrong"
            f"{_or_repair(model)}"
        )
        return [Problem(thing, cause, fix)]
    foreign, missing = [n for n in names if n not in own], [n for n in own if n not in names]
    if model.selects or (len(foreign) == len(names) and len(own) == len(names)):
        return []  # its first step chooses columns by name; or it was trained on a matrix, whose columns it numbers
    problems = []
    if foreign:
        cause = f"its signature has inputs that it was not trained on: {listed(foreign)} (trained on {listed(own)})"
        fix = f"log it again without them, with the very frame that fit() was given{_or_repair(model)}"
        problems.append(Problem(thing, cause, fix))
    if missing:
        cause = f"it was trained on features that its signature does not name: {listed(missing)}"
        fix = f"log it again with the very frame that fit() was given{_or_repair(model)}"
        problems.append(Problem(thing, cause, fix))
    return problems


def shared_column_problems(features: Sequence[PlannedFeature], by_name: Iterable[str]) -> list[Problem]:
    """Features that would read one column because their names differ by case only; ``by_name``: bound so."""
    bound = set(by_name)
    readers: dict[str, list[str]] = {}
    for feature in features:
        if feature.name in bound and feature.source is not None:
            readers.setdefault(feature.source, []).append(feature.name)
    problems = []
    for source, names in readers.items():
        if len(names) > 1:
            cause = f"they differ by case only, and all would be read from column {source}"
            fix = f'say where each comes from: columns: {{{names[-1]}: "<column or SQL expression>"}}'
            problems.append(Problem(f"features {listed(map(repr, names))}", cause, fix))
    return problems


def output_problems(output: ModelType, columns: Sequence[OutputColumn]) -> list[Problem]:
    """Names of results that a table cannot hold: Spark and Delta do not tell them apart by case."""
    problems = []
    for names in (_names_inside(output), [column.name for column in columns]):
        twice = [name for name in names if sum(name.lower() == other.lower() for other in names) > 1]
        if twice:
            cause = f"results whose names differ by case only cannot be told apart in a table: {listed(twice)}"
            fix = "let the model return other names, and log it again with them"
            problems.append(Problem("model output", cause, fix))
    return problems


def _names_inside(type_: ModelType) -> list[str]:
    """Names of an object's members, those of the first object inside where it has none that clash."""
    match type_:
        case Object():
            own = [member.name for member in type_.members]
            clash = len({name.lower() for name in own}) < len(own)
            inner = [_names_inside(member.type) for member in type_.members]
            return own if clash else next((names for names in inner if names), own)
        case Array():
            return _names_inside(type_.element)
        case Map():
            return _names_inside(type_.value)
        case _:
            return []
