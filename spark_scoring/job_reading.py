"""How a job of any kind is read, with every problem at once, and written back as YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import yaml
from pydantic import ValidationError, model_validator

from spark_scoring.job_file import read_fields
from spark_scoring.job_problems import JobError, problems_of
from spark_scoring.job_settings import Fields
from spark_scoring.parameters import Parameters, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

    from spark_scoring.errors import Problem


class Job(Fields):
    """What people write as a YAML file: read with every problem at once, and written back."""

    sql_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that hold SQL, such as ``columns.*``: parameters are values there."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, value: Any, read: Callable[[Any], Self]) -> Self:
        try:
            job = read(value)
        except ValidationError as error:
            raise JobError(problems_of(error, cls)) from None  # its text is pydantic's, and holds values
        if conflicts := job.conflicts():
            raise JobError(conflicts)
        return job

    def conflicts(self) -> list[Problem]:
        """Fields that are right by themselves and do not go together."""
        return []

    @classmethod
    def from_yaml(
        cls, path: str | Path, overrides: Sequence[str] = (), params: Mapping[str, Value] | None = None
    ) -> Self:
        """The job of a YAML file.

        Args:
            path: the file.
            overrides: settings of the form ``a.b=value``, laid over it.
            params: values of ``${DAY}`` in names and ``:day`` in SQL; others are of the environment.

        Raises:
            JobError: with every field that is unknown, missing or wrong, and every parameter without a value.

        """
        return cls.from_file_fields(read_fields(path, overrides), params or {})

    @classmethod
    def from_file_fields(cls, fields: dict[str, Any], params: Mapping[str, Value]) -> Self:
        """The job of a file's fields; see ``from_yaml``."""
        parameters = Parameters(params)
        filled = parameters.fill(fields, cls.sql_fields)
        problems = [problem for error in parameters.errors for problem in error.problems]
        try:
            job = cls.from_dict(filled)
        except JobError as error:
            raise JobError([*problems, *error.problems]) from None
        if problems:
            raise JobError(problems)
        return job

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The job of a mapping.

        Raises:
            JobError: with every field that is unknown, missing or wrong.

        """
        return cls.model_validate(fields)

    def to_yaml(self) -> str:
        """The job as YAML, without the settings that are as by default."""
        fields = self.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
