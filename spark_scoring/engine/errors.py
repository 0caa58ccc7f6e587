"""Errors of scoring: what a model returns or raises, time limits, and the outputs that are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError, RunError, listed, near_fix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spark_scoring.model.environment import Difference


class OutputError(RequestError):
    """The output cannot take the predictions."""

    @classmethod
    def is_source(cls, text: str) -> OutputError:
        fix = "give another table: a run must never change what it reads"
        return cls([Problem(f"output {text}", "it is the source table itself", fix)])

    @classmethod
    def not_delta(cls, text: str, found: str) -> OutputError:
        fix = "give a Delta table, or a name or empty folder where one can be created"
        return cls([Problem(f"output {text}", f"it is {found}, not a Delta table", fix)])

    @classmethod
    def foreign_folder(cls, text: str, folder: str) -> OutputError:
        cause = f"the folder {folder} holds files but no Delta table"
        return cls([Problem(f"output {text}", cause, "give an empty or new folder, or an existing Delta table")])

    @classmethod
    def schema(
        cls,
        text: str,
        rows: Sequence[str],
        unwritten: Sequence[str],
        fate: str,
        *,
        can_evolve: bool,
        lacking: str | None = None,
    ) -> OutputError:
        """``lacking``: the column by which a table is known as one of predictions, where it has none."""
        table = "\n      ".join(rows)
        fix = (
            "write to another table, or let the run write this one's columns (keep, names, predict)"
            if lacking is None
            else f"write to another table: this one has no column {lacking}, "
            "so it holds something else than predictions"
        )
        if can_evolve:
            stays = f"; of {listed(unwritten)}, which the run does not write, the column stays, {fate}"
            fix += f"; or let the table take the run's: output.evolve: true{stays if unwritten else ''}"
        return cls([Problem(f"output {text}", f"its columns differ from the run's:\n      {table}", fix)])

    @classmethod
    def types(cls, text: str, rows: Sequence[str]) -> OutputError:
        table = "\n      ".join(rows)
        cause = f"evolve adds columns, but the types of these differ:\n      {table}"
        fix = (
            "write to another table; or overwrite the whole table, where it has no clustering, no NOT NULL and no "
            "columns that it fills itself"
        )
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def lacks(cls, text: str, columns: Sequence[str]) -> OutputError:
        cause = (
            f"the run does not write {listed(columns)}, which the table cannot do without (NOT NULL, or a partition)"
        )
        return cls([Problem(f"output {text}", cause, "keep such a column of the source, or write to another table")])

    @classmethod
    def not_predictions(cls, text: str, column: str) -> OutputError:
        cause = f"it has no column {column}, so it holds something else than predictions: evolve leaves it alone"
        return cls([Problem(f"output {text}", cause, "write to another table")])

    @classmethod
    def constraint(cls, text: str, constraint: str, column: str, *, is_null: bool = True) -> OutputError:
        refused = f"a null {column}" if is_null else f"a row that has a {column}"
        cause = f"its constraint {constraint} refuses {refused}, and the run may write such rows"
        fix = "drop the constraint" if constraint == "NOT NULL" else "drop the constraint, or let it accept such rows"
        fix += f": ... OR {column} IS {'' if is_null else 'NOT '}NULL" if constraint != "NOT NULL" else ""
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def append_only(cls, text: str) -> OutputError:
        return cls([Problem(f"output {text}", "the table is append-only", "use mode: append, or another table")])

    @classmethod
    def bad_condition(cls, condition: str, cause: str) -> OutputError:
        fix = "write a SQL condition on the columns that the run writes"
        return cls([Problem("output.replace_where", f"{condition!r} does not fit the output: {cause}", fix)])

    @classmethod
    def no_key(cls, name: str, columns: Sequence[str]) -> OutputError:
        near = near_fix(name, columns, what="columns written") or ""
        fix = f"{near} Or add" if near.endswith("?") else "add"
        return cls([Problem(f"output.key: {name}", "the run does not write this column", f"{fix} it to output.keep")])

    @classmethod
    def key_of_run(cls, name: str) -> OutputError:
        cause = "it is made by the run, and the rows of a key are counted before one is scored"
        fix = "name kept columns of the source; mode: append writes a row for each model version"
        return cls([Problem(f"output.key: {name}", cause, fix)])

    @classmethod
    def key_type(cls, name: str, type_: str) -> OutputError:
        return cls([Problem(f"output.key: {name}", f"a {type_} cannot be compared", "give another column")])

    @classmethod
    def name_taken(cls, column: str) -> OutputError:
        fix = f"rename what the run adds (names: {{{column}: <another name>}}), or leave the table's own column out"
        return cls([Problem(f"output column {column}", "two columns would have this name", fix)])

    @classmethod
    def no_such_output(cls, name: str, columns: Sequence[str]) -> OutputError:
        fix = near_fix(name, columns, what="added columns") or "leave it out"
        return cls([Problem(f"names: {name}", "the run adds no such column", fix)])

    @classmethod
    def cannot_travel(cls, column: str, type_: str, *, nested: bool) -> OutputError:
        why = "the model's lists, maps or objects need it" if nested else "stage: map asks for it"
        cause = f"a column of type {type_} cannot go through mapInArrow, and {why}"
        fix = "leave it out of keep, or keep its text: cast it to STRING in the source"
        return cls([Problem(f"keep: {column}", cause, fix if nested else f"{fix}; or leave stage out")])

    @classmethod
    def needs_mapping(cls, text: str, sql: str, names: Sequence[str]) -> OutputError:
        cause = f"the table cannot hold these names as it is: {listed(map(repr, names))}"
        fix = (
            "rename them (what the run adds: names:; a kept column: in a view of the source), "
            "or let the table map columns: "
            f"ALTER TABLE {sql} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
        )
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def keep_missing(cls, column: str, columns: Sequence[str]) -> OutputError:
        fix = near_fix(column, columns, what="source columns") or "leave it out of keep"
        return cls([Problem(f"keep: {column}", "the source has no such column", fix)])


class ModelOutputError(RunError):
    """The model returned something else than its signature says."""

    @classmethod
    def differs(cls, method: str, declared: str, returned: str) -> ModelOutputError:
        fix = "log the model again with the signature of what it returns: infer_signature(X, model.predict(X))"
        return cls([Problem(f"model output of {method}", f"the signature says {declared}, the model {returned}", fix)])

    @classmethod
    def count(cls, method: str, returned: int, rows: int) -> ModelOutputError:
        fix = (
            "let the model return one result for each row, in their order, and None or NaN where it has none; "
            "or leave the rows out that it drops: source.where"
        )
        cause = f"the model returned {returned:,} results for {rows:,} rows"
        return cls([Problem(f"model output of {method}", cause, fix)])

    @classmethod
    def names(cls, method: str, declared: Sequence[str], returned: Sequence[str]) -> ModelOutputError:
        fix = (
            "log the model again with the signature of what it returns (infer_signature(X, model.predict(X))), "
            "or let it return the names that its signature has"
        )
        cause = f"the signature has outputs named {listed(declared)}, the model returned {listed(returned)}"
        return cls([Problem(f"model output of {method}", cause, fix)])


class ModelLoadError(RunError):
    """The model does not load where it is to score."""

    @classmethod
    def in_worker(cls, place: str, why: str, differences: Sequence[Difference]) -> ModelLoadError:
        cause = f"it does not load on an executor ({place}): {why}"
        if differences:
            cause += f"; it {'; '.join(map(str, differences))}"
        return cls([Problem("model", cause, f"install on the executors what it requires{_installing(differences)}")])

    @classmethod
    def other_library(cls, place: str, differences: Sequence[Difference]) -> ModelLoadError:
        cause = f"on an executor ({place}), it {'; '.join(map(str, differences))}"
        return cls([Problem("model", cause, f"install it on the executors{_installing(differences)}")])


def _installing(differences: Sequence[Difference]) -> str:
    wanted = " ".join(f"'{difference.package}{difference.required}'" for difference in differences)
    return f": pip install {wanted}" if wanted else ", as its requirements.txt lists it"


class ModelFailedError(RunError):
    """The model raised on every row that was tried, or too often."""

    @classmethod
    def on_every_row(cls, kind: str, rows: int) -> ModelFailedError:
        cause = f"it raised {kind} on every row that was tried ({rows:,})"
        fix = "--show-model-error (show_model_error=True) shows its own text, which may hold values"
        return cls([Problem("model", cause, fix)])

    @classmethod
    def uncommitted(cls, kind: str, rows: int) -> ModelFailedError:
        cause = f"it raised {kind} on every row that was tried: none of {rows:,} was scored; nothing was committed"
        fix = "--show-model-error (show_model_error=True) shows its own text, which may hold values"
        return cls([Problem("model", cause, fix)])

    @classmethod
    def committed(cls, rows: int, text: str, version: int) -> ModelFailedError:
        cause = f"it scored none of the {rows:,} rows; {text} has them without predictions, as its version {version}"
        fix = "take the run back (spark-scoring rollback); --show-model-error shows what the model raises"
        return cls([Problem("model", cause, fix)])

    @classmethod
    def too_slow(cls, kind: str, raised: int, tried: int, seconds: int) -> ModelFailedError:
        cause = (
            f"it raised {kind} on {raised:,} of {tried:,} rows of failing batches, and telling such rows from the "
            f"others took {seconds:,} s"
        )
        fix = "leave such rows out (source.where), or let the model return None for them instead of raising"
        return cls([Problem("model", cause, fix)])


class TimeLimitError(RunError):
    """The job's time was over."""

    title = "the job took too long"

    @classmethod
    def of_model(cls, seconds: float) -> TimeLimitError:
        cause = f"it was not loaded and rehearsed within the job's timeout of {seconds:g} s; nothing was committed"
        return cls([Problem("model", cause, "look at what its code waits for, or raise timeout")])

    @classmethod
    def of_run(cls, seconds: float) -> TimeLimitError:
        cause = f"it did not finish within its timeout of {seconds:g} s, and was stopped; nothing was committed"
        fix = "raise timeout; if other runs are faster, look at what the model or the source waits for"
        return cls([Problem("run", cause, fix)])


class PolicyError(RunError):
    """A value on which the policy of its feature is to fail."""

    @classmethod
    def fails(cls, found: Iterable[tuple[str, str]]) -> PolicyError:
        fix = "fix the rows, or let the policy be bad_row or a fill value"
        return cls([Problem(name, f"{reason}, and the feature's policy is to fail", fix) for name, reason in found])


class ManyBadRowsError(RunError):
    """Of a task, for the driver: it is to count the bad rows of all tasks before anything is committed."""

    @classmethod
    def in_task(cls, bad: int, rows: int) -> ManyBadRowsError:
        cause = f"{bad:,} of the {rows:,} rows that one task has seen cannot be scored; nothing was committed"
        return cls([Problem("bad rows", cause, "run again, with max_bad_rows set to what you allow")])


class NoContributionsError(Exception):
    """Why a model's contributions are not known; the plan makes a ``Problem`` of it."""

    def __init__(
        self, cause: str, fix: str = "leave explain out, or score a model whose contributions are known"
    ) -> None:
        super().__init__(cause)
        self.fix = fix

    @classmethod
    def without_shap(cls, estimator: object) -> NoContributionsError:
        cause = (
            f"the contributions of its {type(estimator).__name__} are made by the package shap, which is not installed"
        )
        return cls(cause, "install it here and on the workers: pip install 'spark-scoring[explain]'")

    @classmethod
    def splits_by_category(cls, estimator: object) -> NoContributionsError:
        cause = f"its {type(estimator).__name__} splits by category, which shap does not read"
        return cls(cause, "train it on encoded categories (OrdinalEncoder, OneHotEncoder), or leave explain out")

    @classmethod
    def unread_trees(cls, estimator: object, why: str) -> NoContributionsError:
        return cls(f"shap does not read the trees of its {type(estimator).__name__}: {why}")

    @classmethod
    def not_its_score(cls, estimator: object) -> NoContributionsError:
        return cls(f"what shap reads in its {type(estimator).__name__} does not add up to the model's own score")
