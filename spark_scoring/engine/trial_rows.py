"""The rows on which a model is tried. Imports no pyspark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_scoring.engine.inputs import WorkerPlan, build_input
from spark_scoring.model.types import NULLS, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spark_scoring.engine.agreement import Fields
    from spark_scoring.plan.rehearsal import Origin

_WITH_NULLS = 3
"""Rows into which nulls are put."""


@dataclass(frozen=True)
class Rows:
    """Rows as columns that no model has been given."""

    plan: WorkerPlan
    columns: list[NDArray[Any]]
    n: int
    origin: Origin
    only_compare: bool = False
    """Whether the model need not like them: there are others by which it is judged."""

    def input(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Any:
        """What the model takes, made anew."""
        return build_input(self.plan, self.of(rows).columns)

    def of(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Rows:
        """Some of them."""
        chosen = np.asarray(rows, dtype=int)
        return replace(self, columns=[column[chosen] for column in self.columns], n=len(chosen))


@dataclass(frozen=True)
class Sample:
    """Rows of which it is known what ``predict`` must return."""

    rows: Rows
    expected: Fields
    """What it returned for them in the process that trained the model."""
    tolerance: float
    """How much a number of these may differ, relative and absolute."""


@dataclass(frozen=True)
class Given:
    """What a model is rehearsed on."""

    rows: tuple[Rows, ...]
    keeps: tuple[str, ...] = ()
    """Features in which a null may reach the model."""


def with_nulls(keeps: Sequence[str], rows: Rows) -> Rows:
    """The rows with a null in every feature that may have one: of each in another row."""
    rows = rows.of(range(min(rows.n, _WITH_NULLS)))
    types = dict(rows.plan.features)
    row_of = {name: i % rows.n for i, name in enumerate(n for n in keeps if not isinstance(types[n], Tensor))}
    columns = []
    for (type_, names, packed), column in zip(rows.plan.lanes, rows.columns, strict=True):
        own = column.copy()
        for i, name in enumerate(names):
            place = (row_of.get(name), i) if packed else row_of.get(name)
            if name in row_of and (type_ in NULLS or not packed):
                own[place] = NULLS.get(type_)
        columns.append(own)
    return replace(rows, columns=columns, only_compare=True)
