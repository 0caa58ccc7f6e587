"""Errors of evaluating predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError, RunError, listed, near_fix
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_VIEW = "read it into a Delta table, or make a view of it, and give the name of that"


class EvaluateError(RequestError):
    """These predictions cannot be evaluated as it was asked."""

    title = "these predictions cannot be evaluated"

    @classmethod
    def of_table(cls, role: str, problems: Sequence[Problem]) -> EvaluateError:
        """What keeps a table from being read, in the words of this request, which takes no formats."""
        told = []
        for problem in problems:
            fix = _VIEW if "format" in problem.fix else problem.fix
            told.append(Problem(f"{role} {problem.thing.removeprefix('source ')}", problem.cause, fix))
        return cls(told)

    @classmethod
    def not_a_name(cls, role: str, kind: str) -> EvaluateError:
        cause = f"it is a {kind}, and not the name or path of a table"
        return cls([Problem(role, cause, f"df.createOrReplaceTempView({role!r}) gives a DataFrame a name: {role!r}")])

    @classmethod
    def no_column(cls, option: str, name: str, table: str, columns: Iterable[str]) -> EvaluateError:
        fix = near_fix(name, columns, what="its columns") or "give one that is there"
        return cls([Problem(f"{option} {name}", f"{table} has no such column", fix)])

    @classmethod
    def no_key(cls) -> EvaluateError:
        cause = "nothing says which columns match a prediction with its label"
        return cls([Problem("--key", cause, "give the columns that both tables have: --key id")])

    @classmethod
    def key_twice(cls, name: str) -> EvaluateError:
        return cls([Problem(f"--key {name}", "it is named twice", "name it once")])

    @classmethod
    def key_types(cls, name: str, of_table: str, of_labels: str, *, is_rounded: bool) -> EvaluateError:
        cause = f"it is {of_table} among the predictions and {of_labels} among the labels"
        side, type_ = "labels", of_table
        if is_rounded:
            cause += "; a float or a double does not hold all whole numbers, so that two keys may become one"
            if of_table in ("float", "double"):
                side, type_ = "predictions", of_labels
        fix = f"give a view of the {side} with CAST({quote(name)} AS {type_.upper()}) AS {quote(name)}"
        return cls([Problem(f"--key {name}", cause, fix)])

    @classmethod
    def key_type(cls, name: str, kind: str) -> EvaluateError:
        return cls([Problem(f"--key {name}", f"it is {kind}, which is not a key", "give columns of single values")])

    @classmethod
    def no_label(cls, table: str, candidates: Sequence[str]) -> EvaluateError:
        if not candidates:
            fix = "give a table with the keys and the label"
            return cls([Problem("--label", f"{table} has no column beside the keys", fix)])
        cause = f"{table} has several columns beside the keys, and any of them may be the label"
        return cls([Problem("--label", cause, f"give one of them: {listed(candidates)}")])

    @classmethod
    def label_is_prediction(cls, name: str) -> EvaluateError:
        cause = "it is the prediction itself: both tables are the same"
        return cls([Problem(f"--label {name}", cause, "give the column, or the table, of what came true")])

    @classmethod
    def no_prediction(cls, name: str, table: str, columns: Iterable[str]) -> EvaluateError:
        cause = f"{table} has no column {name}"
        return cls([Problem("--prediction", cause, f"say which column it is: {listed(columns)}")])

    @classmethod
    def value_type(cls, option: str, name: str, kind: str) -> EvaluateError:
        cause = f"it is {kind}, and neither a number nor a text nor a flag"
        return cls([Problem(f"{option} {name}", cause, "give a column with one such value a row; a view can make one")])

    @classmethod
    def text_and_number(cls, prediction: str, of_prediction: str, label: str, of_label: str) -> EvaluateError:
        cause = f"it is {of_label}, and the prediction {prediction} is {of_prediction}"
        fix = f"make a view of the labels, with the label as the model predicts it: CAST({label} AS ...) or CASE WHEN"
        return cls([Problem(f"--label {label}", cause, fix)])

    @classmethod
    def task_type(cls, task: str, option: str, name: str, kind: str) -> EvaluateError:
        wants = "numbers" if task == "regression" else "numbers from 0 to 1, and labels of 0 and 1 or flags"
        cause = f"{option} {name} is {kind}, and this task takes {wants}"
        return cls([Problem(f"--task {task}", cause, "give another task, or a view with the column in that type")])

    @classmethod
    def probability_type(cls, name: str, kind: str) -> EvaluateError:
        fix = "give a list of numbers, a number, or one column of numbers for each class"
        return cls([Problem(f"--probability {name}", f"it is {kind}, and not a probability", fix)])

    @classmethod
    def classes(cls, given: int, found: int) -> EvaluateError:
        cause = f"it names {given}, and the rows have probabilities of {found} classes"
        return cls([Problem("--classes", cause, "name each class once, in the model's order: --classes no,yes")])

    @classmethod
    def not_a_split(cls, name: str, kind: str) -> EvaluateError:
        return cls([Problem(f"--by {name}", f"it is {kind}, which has no levels", "give a column of single values")])

    @classmethod
    def no_split(cls, name: str, table: str, columns: Iterable[str]) -> EvaluateError:
        fix = near_fix(name, columns, what="its columns") or "give one that is there"
        if "did you mean" not in fix:
            fix = f"{fix}; to have one of the source's there, name it in output.keep of the job, and score again"
        return cls([Problem(f"--by {name}", f"{table} has no such column", fix)])

    @classmethod
    def no_time(cls, table: str, candidates: Sequence[str]) -> EvaluateError:
        fix = f"give --time, one of {listed(candidates)}" if candidates else "leave --window out"
        return cls([Problem("--window", f"{table} has no column that says when a row was scored", fix)])

    @classmethod
    def time_type(cls, name: str, kind: str) -> EvaluateError:
        return cls([Problem(f"--time {name}", f"it is {kind}, and neither a date nor a time", "give one that is")])

    @classmethod
    def choice(cls, option: str, value: str, choices: Sequence[str]) -> EvaluateError:
        return cls([Problem(f"{option} {value}", "there is no such choice", f"give one of {', '.join(choices)}")])

    @classmethod
    def keys_twice(cls, table: str, keys: int, columns: Sequence[str]) -> EvaluateError:
        occur = "key occurs" if keys == 1 else "keys occur"
        cause = f"{keys:,} {occur} in several of its rows, so that a prediction would have several labels"
        fix = f"give a view with one row for each {', '.join(columns)}, such as the newest; or name more --key columns"
        return cls([Problem(f"labels {table}", cause, fix)])

    @classmethod
    def undecided(cls, prediction: str, label: str) -> EvaluateError:
        cause = f"the prediction {prediction} has numbers outside 0 to 1, and the label {label} is a flag"
        fix = "say --task regression with the label as a number, or name the column that holds the probability"
        return cls([Problem("--task", cause, fix)])

    @classmethod
    def not_a_probability(cls, prediction: str) -> EvaluateError:
        cause = f"the prediction {prediction} has numbers outside 0 to 1"
        return cls([Problem("--task probability", cause, "say --task regression, or give another --prediction")])

    @classmethod
    def not_zero_or_one(cls, label: str) -> EvaluateError:
        cause = f"the label {label} has other values than 0 and 1"
        return cls([Problem("--task probability", cause, "make a view with 1 where it came true, and 0 elsewhere")])

    @classmethod
    def many_classes(cls, most: int) -> EvaluateError:
        cause = f"prediction or label has more than {most:,} different values"
        fix = "if they are numbers, say --task regression; texts of so many values are not classes"
        return cls([Problem("--task classification", cause, fix)])

    @classmethod
    def measure(cls, text: str, name: str, task: str, known: Iterable[str]) -> EvaluateError:
        cause = f"{name} is not a measure of this task, {task}"
        return cls([Problem(f"--fail-if {text}", cause, f"its measures are {', '.join(known)}")])


class EvaluationLogError(RunError):
    """Metrics could not be written to MLflow; what could be is there."""

    title = "not all metrics were logged"

    @classmethod
    def no_versions(cls, table: str) -> EvaluationLogError:
        cause = "no version of a registered model is known of its rows"
        fix = "evaluate a table that this package has scored with a model of the registry (models:/name/version)"
        return cls([Problem(f"table {table}", cause, fix)])

    @staticmethod
    def no_run(name: str, version: str) -> Problem:
        cause = "it is neither of a run nor of a logged model, which could hold metrics; its tag was written"
        return Problem(f"model {name!r} version {version}", cause, "register what log_model has logged")

    @staticmethod
    def refused(name: str, version: str, cause: str) -> Problem:
        fix = "check --tracking-uri, --registry-uri and what you may write there"
        return Problem(f"model {name!r} version {version}", cause, fix)
