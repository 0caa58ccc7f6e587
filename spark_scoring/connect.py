"""A session of a Spark Connect server: what the client needs, and whether the server is there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from spark_scoring.delta.errors import SessionError
from spark_scoring.errors import first_line
from spark_scoring.model.waiting import LEFT_AFTER_SECONDS, TOLD_AFTER_SECONDS, tell_of_silence
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_KNOCK_SECONDS = 3.0
_PORT = 15002


def is_client_alone() -> bool:
    """Whether the installed pyspark is the client of Spark Connect without Spark itself (``pyspark-client``)."""
    try:
        from pyspark.util import is_remote_only
    except ImportError:  # Spark 3.5
        return False
    return is_remote_only()


def session_of(server: str) -> SparkSession:
    """The session of a server.

    Args:
        server: ``sc://host:port``, with whatever follows; or ``local[...]``, for which PySpark starts one.

    Raises:
        SessionError: the client lacks packages, or the server does not answer within 30 seconds; it is told of after 5.

    """
    from pyspark.errors import PySparkException, PySparkImportError
    from pyspark.sql import SparkSession

    try:
        if not server.startswith("local"):
            _wait_for(server)
        return SparkSession.builder.remote(server).getOrCreate()
    except PySparkImportError as error:
        raise SessionError.no_connect_client(first_line(error)) from error
    except PySparkException as error:
        raise SessionError.no_server(redact(server), first_line(error)) from error


def _wait_for(server: str) -> None:
    """Until the server answers as one of Spark Connect does: the client alone would ask for minutes in silence."""
    from pyspark.sql.connect import client

    builder: Any = getattr(client, "DefaultChannelBuilder", None) or client.ChannelBuilder  # the latter is Spark 3.5's
    import grpc  # type: ignore[import-untyped]

    with builder(server).toChannel() as channel:
        is_ready = grpc.channel_ready_future(channel)
        try:
            is_ready.result(TOLD_AFTER_SECONDS)
        except grpc.FutureTimeoutError:
            tell_of_silence(server)
        else:
            return
        try:
            is_ready.result(LEFT_AFTER_SECONDS - TOLD_AFTER_SECONDS)
        except grpc.FutureTimeoutError:
            why = f"it did not answer for {LEFT_AFTER_SECONDS} seconds: {_knock(server)}"
            raise SessionError.no_server(redact(server), why) from None
        finally:
            is_ready.cancel()


def _knock(server: str) -> str:
    """Why no connection can be made."""
    parts = urlsplit(server)
    try:
        socket.create_connection((parts.hostname or "", parts.port or _PORT), _KNOCK_SECONDS).close()
    except OSError as error:
        return str(error.strerror or error)
    return "something else than a Spark Connect server listens there"
