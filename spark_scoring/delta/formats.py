"""Sources that are not Delta tables: how they are read, and what tells two states of one apart."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import functions as F  # noqa: N812

from spark_scoring.delta.errors import SourceError
from spark_scoring.delta.names import without_file_scheme
from spark_scoring.delta.settings import is_on, setting
from spark_scoring.delta.spark_errors import spark_failure
from spark_scoring.errors import first_line
from spark_scoring.redact import redact
from spark_scoring.spark_versions import condition_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_AS_TEXT = ("csv", "json", "xml")
"""Formats whose values Spark parses: one that does not fit its type would be a null without a word."""
_OF_FILES = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".orc": "orc",
    ".avro": "avro",
    ".xml": "xml",
    ".txt": "text",
}
_COMPRESSED = (".gz", ".bz2", ".zst", ".lz4", ".snappy", ".deflate")
_TEXT_RULES = ("spark.sql.session.timeZone", "spark.sql.legacy.timeParserPolicy")
"""Settings of the session that change what a text means."""
_OF_LISTS = ("pathglobfilter", "modifiedbefore", "modifiedafter", "basepath", "recursivefilelookup", "path", "paths")
"""Options that choose among files: the list has all of them."""
_LOSES_FILES = ("spark.sql.files.ignoreMissingFiles", "spark.sql.files.ignoreCorruptFiles")

Options = Mapping[str, bool | int | float | str]


@dataclass(frozen=True)
class Files:
    """The files that a source reads, as they were when it was planned."""

    count: int
    size: int
    """In bytes."""
    digest: str
    """sha256 over their paths, sizes and times, and how they are read."""


@dataclass(frozen=True)
class Reading:
    """How a source that is not a Delta table is read."""

    text: str
    """What people call it."""
    format: str
    place: str | None
    """Its path, or the folder of its table; None where it has none."""
    ddl: str | None = None
    options: tuple[tuple[str, bool | int | float | str], ...] = ()

    @property
    def parses_text(self) -> bool:
        """Whether its values are texts that Spark parses."""
        return self.format.lower() in _AS_TEXT

    def option(self, name: str) -> bool | int | float | str | None:
        """A reader's option; their names know no case."""
        return next((value for key, value in self.options if key.lower() == name.lower()), None)

    @property
    def note(self) -> str | None:
        """What a plan says about its types."""
        infers = str(self.option("inferSchema")).lower() == "true" or self.format.lower() in ("json", "xml")
        if self.ddl is None and self.parses_text and infers:
            return f"Spark guesses the types of {self.text} from its rows, anew for each run: source.schema fixes them"
        return None

    def hint(self, frame: DataFrame) -> str | None:
        """What may be wrong with how it is read, where features have no column."""
        names = [f"_c{i}" for i in range(len(frame.columns))]
        if self.format.lower() == "csv" and self.option("header") is None and frame.columns == names:
            return "options: {header: true} takes the columns' names from the first line"
        return None


def check_reads_all(spark: SparkSession) -> None:
    """Refuse a session that passes over files which it cannot read: their rows would be lost without a word.

    Delta reads by these settings, too, and takes no others with a table.

    Raises:
        SourceError: names the setting.

    """
    for key in _LOSES_FILES:
        if is_on(spark, key):
            raise SourceError.loses_files(key)


def read_format(spark: SparkSession, reading: Reading) -> DataFrame:
    """The source's rows. Of texts, one that does not fit its type stops the run, unless an option says otherwise.

    Raises:
        SourceError: Spark cannot read it, or it would leave out rows.

    """
    options = {"ignoreMissingFiles": False, "ignoreCorruptFiles": False, **dict(reading.options)}
    if str(reading.option("mode")).upper() == "DROPMALFORMED":
        raise SourceError.drops_rows(reading.text)
    table = _delta_table_around(spark, reading)
    if table is not None:
        raise SourceError.files_of_delta(reading.text, redact(table))
    if reading.parses_text and reading.option("mode") is None:
        options["mode"] = "FAILFAST"
    header = str(reading.option("header")).lower() == "true"
    if reading.ddl is not None and header and reading.option("enforceSchema") is None:
        options["enforceSchema"] = False  # else Spark names columns by their place, whatever the header says
    try:
        reader = spark.read.format(reading.format).options(**options)
        if reading.ddl is not None:
            reader = reader.schema(reading.ddl)
        frame = reader.load() if reading.place is None else reader.load(reading.place)
        _ = frame.schema
    except Exception as error:  # a source's own classes raise what they like
        if condition_of(error) == "PATH_NOT_FOUND":
            raise SourceError.no_path(reading.text) from error
        cause = redact(spark_failure(str(error)).text or type(error).__name__)
        raise SourceError.not_read(reading.text, reading.format, cause) from error
    return frame


def _delta_table_around(spark: SparkSession, reading: Reading) -> str | None:
    """The Delta table whose files a path of Parquet files leads to; None where they are not of one."""
    if reading.place is None or reading.format.lower() != "parquet":
        return None
    folder = re.split(r"[*?{\[]", reading.place, maxsplit=1)[0].rstrip("/")
    while folder and not folder.endswith(":"):
        if _holds_log(spark, folder):
            return folder
        folder = folder.rpartition("/")[0].rstrip("/")
    return None


def _holds_log(spark: SparkSession, folder: str) -> bool:
    try:
        spark.read.format("text").load(f"{folder}/_delta_log/*.json")
    except PySparkException:  # there is none, or nobody may look there
        return False
    return True


def list_files(frame: DataFrame, reading: Reading) -> Files | None:
    """The files that a frame reads and how they are now; None where it does not read files, or not just listed ones."""
    read = {without_file_scheme(path) for path in frame.inputFiles()}
    if not read or reading.place is None:
        return None
    states = _states(frame.sparkSession, reading.place, dict(reading.options))
    found = {path: (size, time) for path, size, time in states}
    if not read <= found.keys():
        return None
    listed = sorted((path, *found[path]) for path in read)
    rules = [setting(frame.sparkSession, key) for key in _TEXT_RULES] if reading.parses_text else []
    options = sorted((key.lower(), str(value)) for key, value in reading.options)
    decisive = [listed, reading.format.lower(), reading.ddl, options, rules]
    digest = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
    return Files(len(listed), sum(size for _, size, _ in listed), digest)


def format_at(spark: SparkSession, path: str) -> str | None:
    """The format of most files at a path, by their names; an empty text where that is not known; None: no such path."""
    try:
        found = [name for name, _, _ in _states(spark, path, {})]
    except AnalysisException as error:
        if condition_of(error) == "PATH_NOT_FOUND":
            return None
        raise SourceError.no_storage(redact(path), first_line(error)) from error
    kinds = Counter(format_of(name) for name in found)
    return kinds.most_common(1)[0][0] if kinds else ""


def format_of(file: str) -> str:
    """The format of a file by its name; an empty text where that is not known."""
    return _OF_FILES.get(_suffix(file), "")


def _states(spark: SparkSession, place: str, options: Options) -> list[tuple[str, int, int]]:
    """Path, size and time of all files below a place that Spark does not pass over. Reads none of them."""
    given = {key: value for key, value in options.items() if key.lower() not in _OF_LISTS}
    files = spark.read.format("binaryFile").options(**{**given, "recursiveFileLookup": True}).load(place)
    columns = [F.col(f"_metadata.{name}") for name in ("file_path", "file_size", "file_modification_time")]
    rows = files.select(columns[0], columns[1], F.unix_micros(columns[2])).collect()
    return [(without_file_scheme(path), int(size), int(time)) for path, size, time in rows]


def _suffix(path: str) -> str:
    suffixes = [s for s in PurePosixPath(path.lower()).suffixes if s not in _COMPRESSED]
    return suffixes[-1] if suffixes else ""
