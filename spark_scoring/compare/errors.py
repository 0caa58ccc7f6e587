"""Errors of comparing two models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError, RunError, listed, near_fix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_AGAIN = "compare again, then promote"


class CompareError(RequestError):
    """These two models cannot be compared as it was asked."""

    title = "these models cannot be compared"

    @classmethod
    def of_sides(cls, current: Sequence[Problem], challenger: Sequence[Problem]) -> CompareError:
        """All that keeps either model from being scored; what both have is told once."""
        both = [problem for problem in current if problem in challenger]
        told = list(both)
        for side, problems in (("current", current), ("challenger", challenger)):
            own = [problem for problem in problems if problem not in both]
            told += [Problem(f"{side}: {p.thing}", p.cause, p.fix, p.code) for p in own]
        return cls(told)

    @classmethod
    def outputs(cls, differences: Sequence[str]) -> CompareError:
        cause = "the two models do not return the same: " + "; ".join(differences)
        fix = "compare two models of one task, logged in the same way; or let predict: name what both return alike"
        return cls([Problem("predict", cause, fix)])

    @classmethod
    def delegated(cls) -> CompareError:
        cause = "a feature client scores this job, and a comparison is scored by this package"
        return cls([Problem("engine", cause, "set engine: auto (--set engine=auto)")])

    @classmethod
    def key_alone(cls) -> CompareError:
        cause = "it says how labels of another table belong to the rows, and no such table is named"
        return cls([Problem("--key", cause, "name the table: --labels TABLE; or leave --key out")])

    @classmethod
    def task_alone(cls) -> CompareError:
        cause = "it says how predictions are held against labels, and there are no labels"
        fix = "name them: --labels TABLE --key COLUMN, or --label COLUMN for a column of the source"
        return cls([Problem("--task", cause, fix)])

    @classmethod
    def no_prediction(cls, outputs: Iterable[str]) -> CompareError:
        cause = f"labels are held against a single prediction for each row, and the models return {listed(outputs)}"
        fix = "let predict: name predict, too (--set 'predict=[predict, predict_proba]'); or leave the labels out"
        return cls([Problem("labels", cause, fix)])

    @classmethod
    def measure_of_labels(cls, text: str, name: str) -> CompareError:
        fix = "name them: --labels TABLE --key COLUMN, or --label COLUMN for a column of the source"
        return cls([Problem(f"--fail-if {text}", f"{name} is measured against labels, and there are none", fix)])


class PromoteError(RequestError):
    """An alias cannot be moved on this comparison; nothing was changed."""

    title = "the alias stays where it is"

    @classmethod
    def not_a_comparison(cls, thing: str, cause: str) -> PromoteError:
        fix = "write one: spark-scoring compare JOB.yml --with MODEL --json > comparison.json"
        return cls([Problem(thing, f"not a comparison: {cause}", fix)])

    @classmethod
    def two_names(cls, thing: str) -> PromoteError:
        cause = "it is not of two versions of one registered model"
        return cls([Problem(thing, cause, "compare models:/NAME@ALIAS with models:/NAME/VERSION")])

    @classmethod
    def unversioned(cls, table: str) -> PromoteError:
        cause = "it is not a Delta table, so nobody can tell whether it still has the rows that were compared"
        return cls([Problem(f"source {table}", cause, "compare on a Delta table; or move the alias with MLflow")])

    @classmethod
    def other_files(cls, side: str, name: str, version: str) -> PromoteError:
        cause = f"its files are not those that were compared ({side})"
        return cls([Problem(f"model {name!r} version {version}", cause, _AGAIN)])

    @classmethod
    def no_alias(cls, name: str, alias: str, aliases: Iterable[str]) -> PromoteError:
        fix = near_fix(alias, aliases, what="its aliases") or "set it with MLflow the first time"
        return cls([Problem(f"alias {alias!r}", f"model {name!r} has no such alias", fix)])

    @classmethod
    def alias_moved(cls, name: str, alias: str, version: str, compared: str) -> PromoteError:
        cause = f"of model {name!r} it is version {version} now, and version {compared} was compared"
        return cls([Problem(f"alias {alias!r}", cause, _AGAIN)])

    @classmethod
    def other_table(cls, table: str) -> PromoteError:
        return cls([Problem(f"source {table}", "it is another table than the one that was compared", _AGAIN)])

    @classmethod
    def source_moved(cls, table: str, compared: int, version: int | None) -> PromoteError:
        cause = f"it is at version {version} now, and version {compared} was compared"
        return cls([Problem(f"source {table}", cause, _AGAIN)])


class RowsMovedError(RunError):
    """The source has had other rows each time that it was read."""

    @classmethod
    def differs(cls, source: str, counted: int, scored: int) -> RowsMovedError:
        cause = f"it had {counted:,} rows when they were counted and {scored:,} when they were scored"
        return cls([Problem(f"source {source}", cause, "compare on a Delta table, which is read at one version")])
