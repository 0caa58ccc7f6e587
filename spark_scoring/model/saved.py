"""What a model's folder says of it without loading it: its example and what its registration recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_scoring.model.recorded import statistics_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class SavedModel:
    """A model in a folder, of which nothing is run.

    Args:
        folder: the model's.

    """

    def __init__(self, folder: str) -> None:
        from mlflow.models import Model

        self._folder = folder
        self._mlmodel = Model.load(folder)

    @property
    def input_example(self) -> Any | None:
        """The example that was saved with it; None where there is none, or it cannot be read."""
        try:
            return self._mlmodel.load_input_example(self._folder)
        except Exception:  # noqa: BLE001  MLflow raises what its readers raise
            return None

    @property
    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """What its registration recorded of each feature; empty where that is nothing, or cannot be read."""
        return statistics_of(self._mlmodel)
