"""The traceback of a model's first error, on its way from a worker to the driver's log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pyspark.accumulators import AccumulatorParam

if TYPE_CHECKING:
    from pyspark.accumulators import Accumulator
    from pyspark.sql import SparkSession


def log_model_error(text: str) -> None:
    """Write a model's traceback, whose text may hold values, to the log."""
    logging.getLogger("spark_scoring").error("the model's first error; its text may hold values\n%s", text)


def told_texts(spark: SparkSession) -> Accumulator[str] | None:
    """What takes texts from workers to the driver's log, which gets the first; None over Spark Connect."""
    return spark.sparkContext.accumulator("", _LoggedText()) if hasattr(spark, "_sc") else None


class _FirstText(AccumulatorParam[str]):
    """Keeps the first text that arrives; in the driver it is logged."""

    def zero(self, value: str) -> str:  # noqa: ARG002  the accumulator's protocol
        return ""

    def addInPlace(self, value1: str, value2: str) -> str:  # noqa: N802  likewise
        return value1 or value2


class _LoggedText(_FirstText):
    def addInPlace(self, value1: str, value2: str) -> str:  # noqa: N802
        if value2 and not value1:
            log_model_error(value2)
        return super().addInPlace(value1, value2)

    def __reduce__(self) -> tuple[type[_FirstText], tuple[()]]:
        """In a worker it logs nothing."""
        return _FirstText, ()
