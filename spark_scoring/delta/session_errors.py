"""Errors of the Spark session that tables are read and written with."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from spark_scoring.errors import Problem, RequestError, listed
from spark_scoring.redact import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class SessionError(RequestError):
    """No usable Spark session."""

    @classmethod
    def no_pyspark(cls) -> SessionError:
        return cls([Problem("Spark", "pyspark is not installed here", "pip install 'spark-scoring[local]'")])

    @classmethod
    def no_server_named(cls) -> SessionError:
        cause = "only the client of Spark Connect is installed here (pyspark-client), and no server is named"
        fix = (
            "give --remote sc://<host>:15002, or set SPARK_REMOTE to it; "
            "or pip install 'spark-scoring[local]' for Spark on this machine"
        )
        return cls([Problem("Spark", cause, fix)])

    @classmethod
    def no_server(cls, server: str, cause: str) -> SessionError:
        fix = (
            "check --remote or SPARK_REMOTE, whether a Spark Connect server runs there, "
            "and what lies between (firewall, proxy)"
        )
        return cls([Problem(f"Spark Connect server {server}", cause, fix)])

    @classmethod
    def bad_server(cls, server: str, cause: str) -> SessionError:
        fix = "write sc://<host>:15002, or sc://<host>:443/;use_ssl=true;token=<token>"
        return cls([Problem(f"Spark Connect server {server}", cause, fix)])

    @classmethod
    def remote_and_master(cls) -> SessionError:
        cause = "one says that Spark runs on a server, the other that it runs on this machine"
        return cls([Problem("--remote and --spark master", cause, "leave one of them out")])

    @classmethod
    def remote_in_task(cls) -> SessionError:
        cause = "a task on Databricks has the session of its own compute"
        return cls([Problem("--remote", cause, "leave it out")])

    @classmethod
    def no_connect_client(cls, cause: str) -> SessionError:
        fix = "pip install 'spark-scoring[connect]'; or leave out --remote and SPARK_REMOTE for Spark on this machine"
        return cls([Problem("Spark Connect", f"its client needs more than is installed here: {cause}", fix)])

    @classmethod
    def no_delta_package(cls) -> SessionError:
        return cls([Problem("Delta", "delta-spark is not installed here", "pip install 'spark-scoring[local]'")])

    @classmethod
    def no_java(cls, settings: Sequence[str] = ()) -> SessionError:
        cause = "the Java process of Spark did not start"
        fix = "install a Java 17 (or newer) runtime and set JAVA_HOME to it, or put its java on PATH"
        home = os.environ.get("JAVA_HOME")
        if home and not (Path(home) / "bin" / "java").is_file():
            cause += f": JAVA_HOME is {home}, and there is no bin/java in it"
            fix = "set JAVA_HOME to a Java 17 (or newer); or unset it: the java on PATH is taken then"
        elif settings:
            fix += f"; or look at the settings that it was started with (spark): {listed(settings)}"
        return cls([Problem("Spark", cause, fix)])

    @classmethod
    def settings_fail(cls, settings: Sequence[str]) -> SessionError:
        cause = "the session could not be made with its settings"
        return cls([Problem("spark", cause, f"look at the values of {listed(settings)}")])

    @classmethod
    def bad_setting(cls, key: str, cause: str, fix: str) -> SessionError:
        return cls([Problem(f"spark: {key}", cause, fix)])

    @classmethod
    def restricted_settings(cls, settings: Sequence[str], switch: str) -> SessionError:
        cause = f"it may load code, read files or ask servers: {switch} is set, which restricts what jobs may do"
        fix = (
            "leave it out, or let the administrator set it in spark-defaults.conf (docs/job-file.md says what is free)"
        )
        return cls([Problem(f"spark: {key}", cause, fix) for key in settings])

    @classmethod
    def too_late(cls, settings: Sequence[str]) -> SessionError:
        cause = "Spark's Java process is up already, and it can only be started with it"
        fix = "set it before the first session of this Python process: start a new process (in a notebook, the kernel)"
        return cls([Problem(f"spark: {key}", cause, fix) for key in settings])

    @classmethod
    def other_settings(cls, settings: Mapping[str, str]) -> SessionError:
        cause = "the Spark session was there before the job and has another value, which could change the result"
        problems = []
        for key, value in settings.items():
            told = shown(key, value)
            fix = (
                f"where the session is made: spark-submit --conf {shlex.quote(f'{key}={told}')}, or in a notebook "
                f"spark.conf.set({key!r}, {told!r}); or leave it out of the job"
            )
            problems.append(Problem(f"spark: {key}", cause, fix))
        return cls(problems)

    @classmethod
    def no_delta_jars(cls, spark_version: str, package: str) -> SessionError:
        fix = (
            f"spark-submit --packages {package} ..., "
            "with Delta's spark.sql.extensions and spark.sql.catalog.spark_catalog settings on a cluster; "
            "spark-defaults.conf can hold all three"
        )
        return cls([Problem("Delta", f"the Spark {spark_version} session was started without Delta", fix)])
