"""Why a bundle cannot be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError, listed

if TYPE_CHECKING:
    from collections.abc import Sequence


class BundleError(RequestError):
    """The job cannot run on Databricks as it stands, or an option of the bundle is wrong; nothing was written."""

    title = "this bundle cannot be made"

    @classmethod
    def files_exist(cls, folder: str, files: Sequence[str]) -> BundleError:
        fix = "give another --folder, or --force to write over them"
        return cls([Problem(f"--folder {folder}", f"it holds {listed(files)} already", fix)])

    @classmethod
    def cannot_write(cls, folder: str, cause: str) -> BundleError:
        fix = "give a folder that can be written"
        return cls([Problem(f"--folder {folder}", f"its files cannot be written: {cause}", fix)])

    @classmethod
    def not_our_wheel(cls, file: str, cause: str) -> BundleError:
        fix = (
            "give the wheel of spark_scoring: pip download --no-deps spark-scoring, or python -m build in its checkout"
        )
        return cls([Problem(f"--wheel {file}", cause, fix)])

    @classmethod
    def bad_requirement(cls, text: str) -> BundleError:
        cause = "it is not a requirement as pip takes it"
        return cls([Problem(f"--requires {text}", cause, "write --requires lightgbm==4.6.0")])

    @classmethod
    def brings_spark(cls, text: str) -> BundleError:
        cause = "Databricks brings its own Spark, which another one would break"
        return cls([Problem(f"--requires {text}", cause, "leave it out")])

    @classmethod
    def secret(cls, name: str) -> BundleError:
        cause = "its value seems to hold a secret, which everyone could read in the bundle's files"
        return cls([Problem(f"setting {name}", cause, "leave it out; the workspace knows who runs the job")])

    @classmethod
    def bad_volume(cls, text: str) -> BundleError:
        cause = "it is not the name of a volume, of three parts"
        return cls([Problem(f"--volume {text}", cause, "write --volume CATALOG.SCHEMA.VOLUME")])

    @classmethod
    def no_volume(cls, what: str) -> BundleError:
        cause = f"{what} needs one, and the output's path does not say in which schema"
        return cls([Problem("--volume", cause, "give --volume CATALOG.SCHEMA.VOLUME")])

    @classmethod
    def bad_name(cls, name: str) -> BundleError:
        cause = "a bundle's name has letters, digits, - and _ alone"
        return cls([Problem(f"--name {name}", cause, "write --name flight_delay")])

    @classmethod
    def of_environment(cls, name: str) -> BundleError:
        cause = "its value is of this machine's environment, which the job does not see"
        fix = (
            f"give --param {name}=VALUE; of a date, --param '{name}={{{{job.start_time.iso_date}}}}' is each run's own"
        )
        return cls([Problem(f"parameter {name}", cause, fix)])
