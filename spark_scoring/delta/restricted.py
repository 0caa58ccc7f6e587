"""What a job's author may write in SQL where an administrator restricts it: the source's columns, Spark's functions.

Checked while planning, before Spark is given the text. Names decide: a new function of a platform is refused until it
is in the list below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.delta.functions import describe_function
from spark_scoring.job_problems import JobError
from spark_scoring.model.trust import RESTRICT_SQL, is_restricted
from spark_scoring.parsing import NotPlainSqlError, read_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyspark.sql import SparkSession

_NAMES = """
    abs acos acosh add_months aes_decrypt aes_encrypt aggregate and array array_append array_compact array_contains
    array_distinct array_except array_insert array_intersect array_join array_max array_min array_position
    array_prepend array_remove array_repeat array_size array_sort array_union arrays_overlap arrays_zip ascii asin
    asinh atan atan2 atanh base64 between bigint bin binary bit_count bit_get bit_length bitmap_bit_position
    bitmap_bucket_number bitmap_count boolean bround btrim cardinality case cast cbrt ceil ceiling char char_length
    character_length chr coalesce collate collation concat concat_ws contains conv convert_timezone cos cosh cot crc32
    csc curdate current_catalog current_database current_date current_schema current_time current_timestamp
    current_timezone current_user date date_add date_diff date_format date_from_unix_date date_part date_sub
    date_trunc dateadd datediff datepart day dayname dayofmonth dayofweek dayofyear decimal decode degrees div double
    e element_at elt encode endswith equal_null exists exp expm1 extract factorial filter find_in_set flatten float
    floor forall format_number format_string from_unixtime from_utc_timestamp get get_json_object
    getbit greatest hash hex hll_sketch_estimate hll_union hour hypot if ifnull ilike in initcap
    input_file_block_length input_file_block_start input_file_name instr int is_valid_utf8 is_variant_null isnan
    isnotnull isnull json_array_length json_object_keys last_day lcase least left len length levenshtein like ln
    localtimestamp locate log log10 log1p log2 lower lpad ltrim luhn_check make_date make_dt_interval make_interval
    make_time make_timestamp make_timestamp_ltz make_timestamp_ntz make_valid_utf8 make_ym_interval map map_concat
    map_contains_key map_entries map_filter map_from_arrays map_from_entries map_keys map_values map_zip_with mask md5
    minute mod monotonically_increasing_id month monthname months_between named_struct nanvl negative next_day not now
    nullif nullifzero nvl nvl2 octet_length or overlay parse_json parse_url pi pmod position positive pow power printf
    quarter quote radians rand randn random randstr reduce regexp regexp_count regexp_extract regexp_extract_all
    regexp_instr regexp_like regexp_replace regexp_substr repeat replace reverse right rint rlike round rpad rtrim
    schema_of_csv schema_of_json schema_of_variant sec second sentences sequence session_user sha sha1 sha2 shiftleft
    shiftright shiftrightunsigned shuffle sign signum sin sinh size slice smallint sort_array soundex space
    spark_partition_id split split_part sqrt startswith str_to_map string struct substr substring substring_index tan
    tanh time time_diff time_trunc timestamp timestamp_micros timestamp_millis timestamp_seconds tinyint to_binary
    to_char to_csv to_date to_json to_number to_time to_timestamp to_timestamp_ltz to_timestamp_ntz to_unix_timestamp
    to_utc_timestamp to_varchar to_variant_object transform transform_keys transform_values translate trim trunc
    try_add try_aes_decrypt try_divide try_element_at try_make_interval try_make_timestamp try_make_timestamp_ltz
    try_make_timestamp_ntz try_mod try_multiply try_parse_json try_parse_url try_subtract try_to_binary try_to_date
    try_to_number try_to_time try_to_timestamp try_url_decode try_validate_utf8 try_variant_get typeof ucase unbase64
    unhex uniform unix_date unix_micros unix_millis unix_seconds unix_timestamp upper url_decode url_encode user uuid
    validate_utf8 variant_get version weekday weekofyear when width_bucket xxhash64 year zeroifnull zip_with
"""
_FUNCTIONS = frozenset(_NAMES.split())
"""Functions of Spark 3.5 to 4.1 that give a value for a row from the values of the row.

Left out are those that call Java (``reflect``), that read files or ask servers (``from_avro``, ``from_protobuf``, XML),
that raise errors with values in them (``raise_error``), and those over several rows. So are those that take a schema as
text (``from_json``, ``from_csv``): a field of it may have a default, which is SQL that nobody has looked at.
"""
_WORDS = frozenset(
    {"all", "any", "character", "dec", "distinct", "div", "else", "escape", "from", "in", "interval", "is", "numeric"}
    | {"of", "some", "then", "timestampadd", "timestampdiff", "try_cast", "varchar"}
)
"""Words of SQL's own that stand in front of a parenthesis and are not functions."""
_FORMATS = frozenset(["avro", "binaryfile", "csv", "delta", "json", "orc", "parquet", "text", "xml"])
"""Sources that are files at the job's path; others take SQL, addresses or names of classes in their options."""
_READS_FILES = ("avroschemaurl", "rowvalidationxsdpath")
"""Options that name a further file."""


def check_sql(spark: SparkSession, label: str, sql: str, columns: Iterable[str]) -> None:
    """Refuse an expression that says more than the environment allows. Asks the session's catalog, runs nothing.

    Args:
        spark: the session: a function that it has put in the place of one of Spark's is refused, too.
        label: what people call the expression.
        sql: the expression, as its author wrote it.
        columns: what it may name.

    Raises:
        JobError: names the construct.

    """
    if not is_restricted():
        return
    try:
        written = read_plain(sql)
    except NotPlainSqlError as error:
        raise JobError.restricted(label, f"it has {error}", RESTRICT_SQL) from error
    for call in written.calls:
        if call.is_qualified or not _is_allowed(spark, call.name):
            raise JobError.restricted(label, f"it calls {call.name}", RESTRICT_SQL)
    known = {name.lower() for name in columns}
    for name in written.columns:
        if name.lower() not in known:
            cause = f"it names {name}, which is not a column here and may be a variable"
            raise JobError.restricted(label, cause, RESTRICT_SQL)


def _is_allowed(spark: SparkSession, name: str) -> bool:
    if name not in _FUNCTIONS | _WORDS:
        return False
    found = describe_function(spark, [name])
    return name in _WORDS if found is None else found.is_of_spark


def check_reading(label: str, kind: str, options: Sequence[str]) -> None:
    """Refuse a source that is more than files at a path, or options that lead elsewhere.

    Raises:
        JobError: names the format or the option.

    """
    if not is_restricted():
        return
    thing = f"source {label}"
    if kind.lower() not in _FORMATS:
        raise JobError.restricted(thing, f"format {kind} reads more than files at a path", RESTRICT_SQL)
    for name in options:
        if "." in name or name.lower() in _READS_FILES:
            cause = f"option {name} is a setting of the storage, or leads to another file"
            raise JobError.restricted(thing, cause, RESTRICT_SQL)
