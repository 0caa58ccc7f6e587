"""A session of a Spark Connect server: what the client needs, and whether the server is there."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from spark_scoring.delta.session_errors import SessionError
from spark_scoring.errors import first_line
from spark_scoring.model.waiting import LEFT_AFTER_SECONDS, TOLD_AFTER_SECONDS, tell_of_silence
from spark_scoring.redact import redact

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_KNOCK_SECONDS = 3.0
_PORT = 15002
_PARAMETER = re.compile(r"[\w-]+=[^=]*")


def is_client_alone() -> bool:
    """Whether the installed pyspark is the client of Spark Connect without Spark itself (``pyspark-client``)."""
    try:
        from pyspark.util import is_remote_only
    except ImportError:  # Spark 3.5
        return False
    return is_remote_only()


def check_server(server: str) -> None:
    """Look at the form of a server's URL, and ask nobody. PySpark's own errors show whatever secrets it holds.

    Raises:
        SessionError: it is neither ``sc://host:port/;key=value`` nor ``local[...]``.

    """
    if not server.startswith("local") and (cause := _fault(server)) is not None:
        raise SessionError.bad_server(redact(server), cause)


def _fault(server: str) -> str | None:
    scheme, mark, rest = server.partition("://")
    if not mark or scheme != "sc":
        return "it does not begin with sc://"
    address, _, parameters = rest.partition("/")
    try:
        parts = urlsplit(f"http://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return "its port is not a number from 1 to 65535"
    if not host or parts.netloc != address or re.search(r"[\s@;=]", address):
        return "it names no host" if not host else "its host is followed by something else than :port and /;key=value"
    if port == 0:
        return "its port is not a number from 1 to 65535"
    first, *given = parameters.split(";")
    if first or not all(map(_PARAMETER.fullmatch, given)):
        return "what follows its host is not of the form /;key=value"
    return None


def session_of(server: str) -> SparkSession:
    """The session of a server.

    Args:
        server: ``sc://host:port``, with whatever follows; or ``local[...]``, for which PySpark starts one.

    Raises:
        SessionError: it is not such a URL, the client lacks packages, or the server does not answer within 30 seconds;
            it is told of after 5.

    """
    check_server(server)
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
