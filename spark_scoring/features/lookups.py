"""What a training set is made of, as people write it: lookups in feature tables, and functions of features.

The names, the order and the defaults of the arguments are those of Databricks' feature engineering client.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from spark_scoring.delta.feature_errors import FeatureTableError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class FeatureLookup:
    """Columns of a feature table, found by the values of columns of the training set's table.

    Raises:
        FeatureTableError: a default of a feature that is not looked up, or a lookback without a time.

    """

    table_name: str
    lookup_key: str | Sequence[str]
    """Columns of the table to be enriched, in the order of the feature table's primary keys, without its time."""
    _: KW_ONLY
    feature_names: str | Sequence[str] | None = None
    """Default: all of the table's columns but its keys."""
    rename_outputs: Mapping[str, str] = field(default_factory=dict)
    """New names of features, by their own."""
    timestamp_lookup_key: str | Sequence[str] | None = None
    """A time column of the table to be enriched: the latest feature row at or before it is taken."""
    lookback_window: dt.timedelta | None = None
    """How old that row may be, inclusive."""
    default_values: Mapping[str, Any] = field(default_factory=dict)
    """Values that take the place of a null, by the feature's own name."""

    def __post_init__(self) -> None:
        thing = f"lookup in {self.table_name}"
        if not self.keys:
            raise FeatureTableError.bad_lookup(thing, "it has no lookup_key", "give the columns of the key")
        if len(_names(self.timestamp_lookup_key) or ()) > 1:
            cause = "timestamp_lookup_key names several columns"
            raise FeatureTableError.bad_lookup(thing, cause, "name the one that is the time")
        if self.lookback_window is not None:
            if self.time is None:
                cause = "lookback_window needs timestamp_lookup_key"
                raise FeatureTableError.bad_lookup(thing, cause, "name the column of the row's time")
            if self.lookback_window.total_seconds() < 0:
                raise FeatureTableError.bad_lookup(thing, "lookback_window is negative", "give a positive timedelta")
        known = self.names
        for stray in [n for n in self.default_values if known is not None and n not in known]:
            cause = f"default_values names {stray!r}, which it does not look up"
            raise FeatureTableError.bad_lookup(thing, cause, "give a feature's own name, as the table has it")

    @property
    def keys(self) -> tuple[str, ...]:
        """The lookup key's columns."""
        return _names(self.lookup_key) or ()

    @property
    def time(self) -> str | None:
        """The time column."""
        return next(iter(_names(self.timestamp_lookup_key) or ()), None)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The features; None: all."""
        return _names(self.feature_names)


@dataclass(frozen=True)
class FeatureFunction:
    """A column computed by a SQL function from columns of the table, looked-up ones among them."""

    _: KW_ONLY
    udf_name: str
    input_bindings: Mapping[str, str] = field(default_factory=dict)
    """The function's parameters, each with the column bound to it."""
    output_name: str | None = None
    """Default: the function's name."""

    @property
    def name(self) -> str:
        """The computed column's name."""
        return self.output_name or self.udf_name


def _names(value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(value)
