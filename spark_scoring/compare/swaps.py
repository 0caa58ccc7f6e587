"""Which features the change depends on, asked of the models: one feature's value at a time is another row's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import BooleanType, DateType, NumericType, TimestampType

from spark_scoring.compare.frames import Names, difference, has_changed, is_both_scored, pair, scored_side
from spark_scoring.features.join import add_features
from spark_scoring.spark_versions import to_arrow_table
from spark_scoring.sql import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame

    from spark_scoring.compare.outputs import Output
    from spark_scoring.compare.planning import ComparePlan

_MOST_ROWS, _FEWEST_ROWS = 1_000, 200
"""Of the sample."""
_LEAST_CHANGED = 20
"""Rows of the sample in which a label has to change, for what its flips depend on to be more than chance."""
_WIDEST = 20
"""Values of a list that are looked at."""
_SEED = 42
_PARTITIONS = 8
_ROUNDING = 1e-12
_HASHED = (NumericType, BooleanType, DateType, TimestampType)
"""Types whose values every Spark hashes; a text may have a collation."""


def total_effects(plan: ComparePlan, names: Names, features: Sequence[str], rows: int) -> list[dict[str, float]]:
    """For each output, how much its change depends on each feature. Runs two jobs, over a sample of the source.

    The total effect of a feature is the share of the change's variance that is gone with the feature's value: E[(D(x) -
    D(x'))^2] / (2 Var D), where D is the challenger's result minus the current model's (of a label, whether they
    differ), and x' is the row x with the value of another row in that feature (Jansen 1999, Computer Physics
    Communications 117; Saltelli et al. 2010, table 2, f). It is 0 for a feature that neither model treats unlike the
    other, however it is correlated with one that they do. Those of all features may sum up to more than 1, where
    features act together.

    Args:
        plan: the comparison.
        names: its column names.
        features: the features to ask about: up to a dozen.
        rows: of the source.

    Returns:
        By feature; without any where the change has no variance, or there are too few rows to tell.

    """
    size = min(rows, _MOST_ROWS, max(_FEWEST_ROWS, rows // (len(features) + 1)))
    if size < _LEAST_CHANGED or not features:
        return [{} for _ in plan.outputs]
    frame = _swapped(plan, names, features, size)
    for side, scoring in enumerate(plan.sides):
        own = {f.name: _value(names, side, i) for i, f in enumerate(scoring.features)}
        taken = [f if f.source is None else replace(f, source=quote(own[f.name])) for f in scoring.features]
        keep = [name for name in frame.columns if name not in own.values()]
        frame = scored_side(frame, plan, replace(scoring, features=tuple(taken), lookups=None), side, names, keep=keep)
    found = _collected(frame, plan.outputs, names, variants=len(features) + 1)
    return [
        _effects(terms, features, is_label=output.kind not in ("number", "list"))
        for output, terms in zip(plan.outputs, found, strict=True)
    ]


def _value(names: Names, side: int, feature: int) -> str:
    return f"{names.prefix}_value{side}_{feature}"


def _swapped(plan: ComparePlan, names: Names, features: Sequence[str], size: int) -> DataFrame:
    """Sampled rows, each once as it is (variant 0) and once for each feature, with the value of the next row in it."""
    frame, values = _sampled(plan, names, size)
    number = {name: i for i, name in enumerate(features, start=1)}
    listed = frame.agg(F.collect_list(F.struct(*values)).alias("rows"))
    shifted = listed.select("rows", F.expr("concat(slice(rows, 2, size(rows)), slice(rows, 1, 1))").alias("next"))
    both = shifted.select(F.posexplode(F.arrays_zip("rows", "next")).alias("row", "pair"))
    both = both.select("row", F.col("pair.rows").alias("own"), F.col("pair.next").alias("other"))
    variants = F.explode(F.sequence(F.lit(0), F.lit(len(features)))).alias("variant")
    spread = both.select("row", "own", "other", variants).repartition(_PARTITIONS, "row")
    taken = [
        F.when(F.col("variant") == number[feature], F.col(f"other.{name}")).otherwise(F.col(f"own.{name}")).alias(name)
        if feature in number
        else F.col(f"own.{name}")
        for name, feature in values.items()
    ]
    return spread.select("row", "variant", *taken)


def _sampled(plan: ComparePlan, names: Names, size: int) -> tuple[DataFrame, dict[str, str]]:
    """Rows of the source by the hash of their plain values, and the columns with a side's features."""
    frame = plan.source.frame
    plain = [F.col(quote(f.name)) for f in frame.schema.fields if isinstance(f.dataType, _HASHED)]
    if plain:
        frame = frame.orderBy(F.xxhash64(F.lit(_SEED), *plain))
    frame = frame.limit(size)
    values: dict[str, str] = {}
    for side, scoring in enumerate(plan.sides):
        rows = frame if scoring.lookups is None else add_features(frame, scoring.lookups, checked=True)
        own = {_value(names, side, i): f for i, f in enumerate(scoring.features) if f.source is not None}
        made = [F.expr(str(f.source)).alias(name) for name, f in own.items()]
        frame = rows.select(*[F.col(quote(name)) for name in (*plan.source.frame.columns, *values)], *made)
        values |= {name: f.name for name, f in own.items()}
    return frame, values


def _collected(
    frame: DataFrame, outputs: Sequence[Output], names: Names, *, variants: int
) -> list[NDArray[np.float64]]:
    """For each output, its terms as an array of shape (terms, variants, rows); NaN where there is none."""
    terms = [_terms(output, pair(names, i), names) for i, output in enumerate(outputs)]
    columns = [term.alias(f"t{i}_{j}") for i, of_output in enumerate(terms) for j, term in enumerate(of_output)]
    found = to_arrow_table(frame.select("row", "variant", *columns)).to_pandas().sort_values(["variant", "row"])
    return [
        np.stack([found[f"t{i}_{j}"].to_numpy(dtype=float).reshape(variants, -1) for j in range(len(of_output))])
        for i, of_output in enumerate(terms)
    ]


def _terms(output: Output, columns: tuple[str, str], names: Names) -> list[Column]:
    """What the change of an output is made of, as doubles; null in a row that is bad under either model."""
    if output.kind in ("number", "list"):
        return [difference(part, columns) for part in output.parts[:_WIDEST]]
    good = is_both_scored(names)
    return [F.when(good, has_changed(part, columns).cast("double")) for part in output.parts[:_WIDEST]]


def _effects(terms: NDArray[np.float64], features: Sequence[str], *, is_label: bool) -> dict[str, float]:
    """Jansen's estimate, from an array of shape (terms, 1 + features, rows)."""
    known: NDArray[np.bool_] = np.asarray(np.isfinite(terms).all(axis=0))
    base = terms[:, 0, known[0]]
    if base.shape[1] < _LEAST_CHANGED or (is_label and base.sum() < _LEAST_CHANGED):
        return {}
    variance = base.var(axis=1, ddof=1).sum()
    if variance <= _ROUNDING * (base**2).mean(axis=1).sum():
        return {}
    effects = {}
    for i, feature in enumerate(features, start=1):
        rows = known[0] & known[i]
        if rows.any():
            squares = ((terms[:, i, rows] - terms[:, 0, rows]) ** 2).mean(axis=1).sum()
            effects[feature] = float(squares / (2 * variance))
    return effects
