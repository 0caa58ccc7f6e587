"""Errors of tables: names, sources, keys and commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import SHOWN, Problem, RequestError, RunError, listed, near_fix

if TYPE_CHECKING:
    from collections.abc import Sequence


class TableNameError(RequestError):
    """A name that is not a table's name here."""

    @classmethod
    def malformed(cls, name: str) -> TableNameError:
        fix = "write table, schema.table or catalog.schema.table; parts with other characters in `backticks`"
        return cls([Problem(f"table {name!r}", "not a table name of one to three parts", fix)])

    @classmethod
    def unknown_catalog(cls, name: str, catalog: str) -> TableNameError:
        fix = "SHOW CATALOGS lists those that exist and that you may use"
        return cls([Problem(f"table {name!r}", f"this session knows no catalog {catalog!r}", fix)])

    @classmethod
    def unusual(cls, name: str) -> TableNameError:
        cause = "Spark's own catalog takes names of plain letters (a-z), digits and underscores only"
        fix = "give it such a name; a job's source and output may have a path instead, of any characters"
        return cls([Problem(f"table {name!r}", cause, fix)])


class SourceError(RequestError):
    """The source cannot be read."""

    @classmethod
    def missing(cls, text: str, near: Sequence[str] = (), *, is_like_file: bool = False) -> SourceError:
        cause = "no such file in the working directory, and no such table" if is_like_file else "no such table"
        fix = near_fix(text, near, what="tables here") or "check the name or path"
        return cls([Problem(f"source {text}", cause, fix)])

    @classmethod
    def file_as_name(cls, text: str, kind: str) -> SourceError:
        names = ", options: {header: true}" if kind == "csv" else ""
        fix = f"a job reads files by their path: source: {{path: ./{text}, format: {kind}{names}}}"
        return cls([Problem(f"source {text}", "no such table; there is a file of this name", fix)])

    @classmethod
    def no_path(cls, text: str) -> SourceError:
        is_absolute = text.startswith("/") or ":" in text
        fix = "check the path" if is_absolute else "check the path, which begins in the working directory"
        return cls([Problem(f"source {text}", "there is no such file or folder", fix)])

    @classmethod
    def needs_format(cls, text: str, found: str) -> SourceError:
        cause = "it is not a Delta table" + (f": its files look like {found}" if found else "")
        fix = f"say how to read it: source.format: {found or 'parquet (or csv, json, orc, ...)'}"
        return cls([Problem(f"source {text}", cause, fix)])

    @classmethod
    def not_read(cls, text: str, kind: str, cause: str) -> SourceError:
        fix = "check source.path, source.format, source.schema and source.options" if kind != "view" else "fix the view"
        return cls([Problem(f"source {text}", f"Spark cannot read it as {kind}: {cause}", fix)])

    @classmethod
    def no_versions(cls, text: str, kind: str) -> SourceError:
        cause = f"it is {_kind_text(kind)} and not a Delta table, so it has no versions"
        return cls([Problem(f"source {text}", cause, "leave source.version and source.timestamp out")])

    @classmethod
    def files_of_delta(cls, text: str, table: str) -> SourceError:
        cause = f"they are files of a Delta table, {table}, and some of them may hold rows that are no longer in it"
        return cls([Problem(f"source {text}", cause, "give the table's path, and leave source.format out")])

    @classmethod
    def drops_rows(cls, text: str) -> SourceError:
        cause = "its option mode: DROPMALFORMED leaves rows out silently"
        fix = "leave it out, so that such a row stops the run; mode: PERMISSIVE makes nulls of its values"
        return cls([Problem(f"source {text}", cause, fix)])

    @classmethod
    def loses_files(cls, setting: str) -> SourceError:
        cause = "the session skips files that it cannot read, so that their rows would be lost silently"
        return cls([Problem(setting, cause, f"set it to false: spark.conf.set({setting!r}, 'false')")])

    @classmethod
    def files_changed(cls, text: str) -> SourceError:
        cause = "some of its files were removed or written anew after the job was planned"
        return cls([Problem(f"source {text}", cause, "plan and run again, when nobody writes to it")])

    @classmethod
    def guess(cls, text: str, hint: str) -> SourceError:
        return cls([Problem(f"source {text}", "its columns have no names of their own", hint)])

    @classmethod
    def only_delta_is_incremental(cls, text: str, kind: str) -> SourceError:
        cause = f"it is {_kind_text(kind)}, and an incremental job reads what is new in a Delta table"
        fix = "leave incremental out, or write its rows to a Delta table first"
        return cls([Problem(f"source {text}", cause, fix)])

    @classmethod
    def no_storage(cls, text: str, cause: str) -> SourceError:
        fix = "check the path's scheme, the credentials, and that the session has the storage's jars"
        return cls([Problem(f"table {text}", f"its storage cannot be asked: {cause}", fix)])

    @classmethod
    def no_version(cls, text: str, asked: str, oldest: int, newest: int) -> SourceError:
        fix = f"versions {oldest} to {newest} are in its history"
        return cls([Problem(f"source {text}", f"it has no {asked}", fix)])

    @classmethod
    def unreadable(cls, text: str, version: int, cause: str) -> SourceError:
        return cls(
            [Problem(f"source {text}", f"its version {version} cannot be read: {cause}", "give a newer version")]
        )

    @classmethod
    def no_change_feed(cls, text: str, sql: str) -> SourceError:
        fix = f"ALTER TABLE {sql} SET TBLPROPERTIES (delta.enableChangeDataFeed = true), which records from then on"
        return cls([Problem(f"source {text}", "it has no change data feed, which the job reads", fix)])

    @classmethod
    def columns_changed(cls, text: str, columns: Sequence[str]) -> SourceError:
        cause = f"its columns {listed(columns)} are gone or of another type since the job was planned"
        return cls([Problem(f"source {text}", cause, "run again: the job is then planned on the columns that it has")])

    @classmethod
    def bad_filter(cls, text: str, where: str, cause: str, fix: str) -> SourceError:
        return cls([Problem(f"source {text}", f"where: {where!r} does not fit it: {cause}", fix)])

    @classmethod
    def bad_expression(cls, feature: str, expression: str, cause: str, fix: str) -> SourceError:
        return cls([Problem(f"columns: {feature}", f"{expression!r} does not fit the source: {cause}", fix)])


class DuplicateKeyError(RunError):
    """Rows that a merge cannot tell apart."""

    @classmethod
    def not_unique(
        cls, key: Sequence[str], nulls: int, repeated: int, rows: int, blank: Sequence[str] = ()
    ) -> DuplicateKeyError:
        thing = f"key {', '.join(key)}"
        found = []
        if nulls:
            fix = "leave them out: source.where, or give another key"
            empty = f", or {empty_in(blank)}" if blank else ""
            cause = f"it is null in {nulls:,} rows{empty}; nothing was committed"
            found.append(Problem(thing, cause, fix))
        if repeated:
            cause = (
                f"{repeated:,} of its values occur in more than one row, {rows:,} rows in all; nothing was committed"
            )
            found.append(Problem(thing, cause, "add the column that tells the rows apart, or leave all but one out"))
        return cls(found)

    @classmethod
    def not_unique_there(cls, text: str, key: Sequence[str], repeated: int, rows: int) -> DuplicateKeyError:
        cause = (
            f"{repeated:,} values of the key {', '.join(key)} occur in several of its rows, {rows:,} rows in all, and "
            "a merge would keep them all; nothing was committed"
        )
        fix = "take back the run that added them (spark-scoring history, rollback), or write to another table"
        return cls([Problem(f"output {text}", cause, fix)])


class BadRowsError(RunError):
    """Rows that cannot be scored, more of them than the job allows."""

    @classmethod
    def too_many(cls, bad: int, rows: int, allowed: str, reasons: Sequence[tuple[str, int]]) -> BadRowsError:
        cause = f"{bad:,} of {rows:,} rows cannot be scored, max_bad_rows allows {allowed} ({_reasons(reasons)})"
        fix = f"{_fix_of_nulls(reasons)}fix the rows, or raise max_bad_rows"
        return cls([Problem("bad rows", f"{cause}; nothing was committed", fix)])

    @classmethod
    def all_of_them(cls, rows: int, reasons: Sequence[tuple[str, int]]) -> BadRowsError:
        cause = f"none of the {rows:,} rows can be scored ({_reasons(reasons)}); nothing was committed"
        fix = (
            f"{_fix_of_nulls(reasons)}look at the first reason: its column may be another one than in training, or "
            'wants an expression (columns: {<feature>: "<SQL>"})'
        )
        return cls([Problem("bad rows", cause, fix)])

    @classmethod
    def first(cls, reasons: str) -> BadRowsError:
        fix = "fix the rows, or set bad_rows to keep or quarantine"
        cause = f"a row cannot be scored ({reasons}), and bad_rows is fail"
        return cls([Problem("bad rows", f"{cause}; nothing was committed", fix)])


class CommitError(RunError):
    """The predictions were not committed, or not as many rows as were read."""

    @classmethod
    def rows_differ(cls, text: str, rows_in: int, rows_out: int, version: int) -> CommitError:
        cause = f"{rows_in} rows were read, {rows_out} written in its version {version}"
        undo = f"RESTORE TABLE ... TO VERSION AS OF {version - 1}" if version else "drop the table"
        fix = f"inspect it, then {undo}; a where with rand() or now() causes this"
        return cls([Problem(f"output {text}", cause, fix)])

    @classmethod
    def counted(cls, text: str, rows_in: int, rows: int) -> CommitError:
        cause = f"{rows_in} rows were read, but {rows} when they were scored; nothing was committed"
        return cls([Problem(f"output {text}", cause, "a where with rand() or now() causes this")])

    @classmethod
    def parts_differ(cls, text: str, rows: int, quarantine: str, quarantined: int, rows_in: int) -> CommitError:
        cause = f"{rows_in} rows were read; {rows} are in the output and {quarantined} in {quarantine}"
        return cls([Problem(f"output {text}", cause, "roll the run back (spark-scoring rollback) and run again")])

    @classmethod
    def quarantined_only(cls, problems: Sequence[Problem], quarantine: str, version: int) -> CommitError:
        cause = f"its version {version} has the bad rows of this run, whose output was not written"
        more = Problem(f"quarantine {quarantine}", cause, "run again: the next run replaces them")
        return cls([*_untold(problems), more])

    @classmethod
    def unseen(cls, problems: Sequence[Problem], text: str, kind: str) -> CommitError:
        cause = f"the run may have committed to it: its history could not be read ({kind})"
        more = Problem(f"output {text}", cause, "look at DESCRIBE HISTORY before you run again")
        return cls([*_untold(problems), more])

    @classmethod
    def not_found(cls, text: str) -> CommitError:
        cause = "the write ended, yet the table's history does not hold this run"
        return cls([Problem(f"output {text}", cause, "look at DESCRIBE HISTORY before you run again")])

    @classmethod
    def before_history(cls, text: str) -> CommitError:
        cause = "an equal run was committed before the table's history begins, so its rows cannot be told from others"
        fix = "look whether its rows are there; force: true appends them again"
        return cls([Problem(f"output {text}", f"{cause}; nothing was committed", fix)])

    @classmethod
    def after_commit(cls, text: str, version: int, kind: str) -> CommitError:
        cause = f"the predictions were committed as its version {version}, but what follows failed with {kind}"
        return cls([Problem(f"output {text}", cause, "do not append again; DESCRIBE HISTORY shows the run")])

    @classmethod
    def conflict(cls, text: str, code: str) -> CommitError:
        cause = f"other writers changed the table whenever the run tried to commit ({code}); nothing was committed"
        return cls([Problem(f"output {text}", cause, "run again when they have finished")])

    @classmethod
    def failed(cls, thing: str, cause: str, fix: str) -> CommitError:
        return cls([Problem(thing, f"{cause}; nothing was committed", fix)])


def empty_in(blank: Sequence[str]) -> str:
    """Of key columns in which Delta stores an empty value as null."""
    return f"empty in {listed(blank)}, a partition column, where Delta stores an empty value as null"


def _reasons(reasons: Sequence[tuple[str, int]]) -> str:
    return "; ".join(f"{text} in {n:,}" for text, n in reasons[:SHOWN])


def _fix_of_nulls(reasons: Sequence[tuple[str, int]]) -> str:
    """What to write for nulls, where they make rows bad."""
    of_nulls = [text.removesuffix(": null") for text, _ in reasons if text.endswith(": null")]
    return f"say what a null is, policy: {{{of_nulls[0]}: {{nulls: {{fill: <value>}}}}}}; or " if of_nulls else ""


def _untold(problems: Sequence[Problem]) -> list[Problem]:
    """The problems without the words that nothing was committed."""
    return [Problem(p.thing, p.cause.replace("; nothing was committed", ""), p.fix) for p in problems]


def _kind_text(kind: str) -> str:
    return "a view" if kind == "view" else f"a table of format {kind}"
