"""Errors of models that run in an environment of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError, RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WITHOUT = "or leave environment out: the model then runs with the packages of the session"


class IsolationError(RequestError):
    """A model's environment cannot be made, or the model does not load and answer in it."""

    title = "this model's environment cannot be used"

    @classmethod
    def no_requirements(cls, title: str) -> IsolationError:
        cause = "the model has no requirements.txt, so nothing says which packages it needs"
        fix = f"log the model again with pip_requirements=[...]; {_WITHOUT}"
        return cls([Problem(f"environment of {title}", cause, fix)])

    @classmethod
    def not_built(cls, title: str, tool: str, words: str) -> IsolationError:
        cause = f"its requirements cannot be installed; {tool} says: {words}"
        fix = f"correct the model's requirements (mlflow.models.update_model_requirements); {_WITHOUT}"
        return cls([Problem(f"environment of {title}", cause, fix)])

    @classmethod
    def no_pack(cls, pack: str, cause: str) -> IsolationError:
        fix = "give a zip that spark-scoring pack MODEL --to FILE.zip has made"
        return cls([Problem(f"environment {pack}", f"it cannot be read: {cause}", fix)])

    @classmethod
    def pack_not_allowed(cls, pack: str, variable: str) -> IsolationError:
        cause = f"{variable} says which models may run, and a pack may hold any code"
        fix = "write environment: isolated, which installs what the model itself lists; or ask whoever set the variable"
        return cls([Problem(f"environment {pack}", cause, fix)])

    @classmethod
    def other_pack(cls, pack: str, differing: Sequence[str]) -> IsolationError:
        cause = f"it was made for another model or machine: {' and '.join(differing)} differ"
        fix = "pack this model on a machine of this platform and Python: spark-scoring pack MODEL --to FILE.zip"
        return cls([Problem(f"environment {pack}", cause, fix)])

    @classmethod
    def no_reasons(cls, title: str) -> IsolationError:
        cause = f"model {title} runs in an environment of its own, and its contributions are asked of it here"
        return cls([Problem("explain", cause, f"leave explain out; {_WITHOUT}")])


class ModelProcessError(RunError):
    """The process that a model has for itself does not start or does not answer."""

    @classmethod
    def other_python(cls, place: str, wanted: str, found: str) -> ModelProcessError:
        cause = f"its packages are of Python {wanted}, and an executor ({place}) has Python {found}"
        fix = f"let PYSPARK_PYTHON (spark.pyspark.python) name a Python {wanted}, there for every executor"
        return cls([Problem("environment", cause, fix)])

    @classmethod
    def no_interpreter(cls, python: str, place: str, cause: str) -> ModelProcessError:
        cause = f"{python} does not start there ({place}): {cause}"
        return cls([Problem("environment", cause, "install this Python there, in the same place")])

    @classmethod
    def not_started(cls, how: str, last: str) -> ModelProcessError:
        cause = f"the model's process ended before it was ready, by {how}{f': {last}' if last else ''}"
        fix = f"let the model's requirements hold what is missing; {_WITHOUT}"
        return cls([Problem("environment", cause, fix)])

    @classmethod
    def ended(cls, how: str) -> ModelProcessError:
        cause = f"the model's process ended by {how} while it was at work"
        fix = (
            "SIGKILL is often a lack of memory: give the executors more memory beside the JVM's, or score in smaller "
            "Arrow batches (spark.sql.execution.arrow.maxRecordsPerBatch); what it printed is in the workers' "
            "standard error"
        )
        return cls([Problem("environment", cause, fix)])

    @classmethod
    def silent(cls, seconds: float) -> ModelProcessError:
        cause = f"the model was not loaded and tried within {seconds:g} s, and its process was ended"
        return cls([Problem("environment", cause, f"let it load faster; {_WITHOUT}")])

    @classmethod
    def raised(cls, what: str) -> ModelProcessError:
        cause = f"the model's process raised {what}"
        return cls([Problem("environment", cause, "what it printed is in the workers' standard error")])
