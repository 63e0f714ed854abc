"""One request to the API server, sent at most once, and its answer as a ``Reply``.

The official client's urllib3 pool carries it, with retries off: that client would otherwise re-send a DELETE or a GET
behind our back. Credentials are read at most once a second, and again, once, after a 401.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from tasklock.errors import LockApiError
from tasklock.protocol.effects import OK, UNAUTHORIZED, Reply, Send, Watch
from tasklock.transport.clock import clock
from tasklock.transport.config import Connection, Source, connect, same_place
from tasklock.transport.discreet import unrepeated
from tasklock.transport.fork import survive_fork
from tasklock.transport.wire import (
    CHUNK,
    CREDENTIALS_FOR,
    JSON,
    MAX_REPLY,
    PLAIN,
    SLOW,
    UNVERIFIED,
    USER_AGENT,
    broken,
    content_type,
    leases_path,
    no_answer,
    read_reply,
    speaks_plain,
    unreachable,
    unreadable,
    watch_path,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3 import BaseHTTPResponse

_log = logging.getLogger("tasklock")


class Api:
    """The Leases of one namespace of one cluster; safe to use from many threads, and after a fork."""

    def __init__(self, source: Source) -> None:
        """Prepare; the configuration is read at the first request."""
        self._source = source
        self._connection: Connection | None = None
        self._place: tuple[str, str] | None = None
        self._lock = threading.RLock()  # a signal handler, or the collector, may close or release while we connect
        self._headers: tuple[float, dict[str, str]] = (-CREDENTIALS_FOR, {})
        survive_fork(self)

    def connection(self) -> Connection:
        """Return the configuration, read now if it was not yet. Raises LockApiError."""
        connection = self._connection
        if connection is None:
            with self._lock:
                fresh = self._connection or self._connect()
                connection = self._connection = self._connection or fresh
        return connection

    def send(self, request: Send) -> Reply:
        """Send one request and read its answer; a 401 is answered by fresh credentials, once."""
        connection = self.connection()
        sent = clock()
        path = leases_path(None if request.everywhere else connection.namespace, request.lease, request.query)
        body = json.dumps(request.body).encode() if request.body is not None else None
        reply = self._exchange(connection, request, path, body, sent)
        if reply.status == UNAUTHORIZED:
            left = replace(request, timeout=max(0.001, sent + request.timeout - clock()))
            reply = self._exchange(self._reconnect(connection), left, path, body, sent)
        _log.debug("%s %s: %d in %.1f ms", request.method, path, reply.status, 1e3 * (reply.received - sent))
        return reply

    def open_watch(self, watch: Watch) -> tuple[Reply, BaseHTTPResponse | None]:
        """Open a watch; return the answer and, where it is a stream of events, the stream."""
        import urllib3  # noqa: PLC0415 - imported with the configuration

        connection = self.connection()
        sent = clock()
        path = watch_path(connection.namespace, watch)
        for again in (False, True):
            try:
                response = connection.watches.urlopen(
                    "GET",
                    connection.prefix + path,
                    headers=self._request_headers(connection, None),
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                    timeout=urllib3.Timeout(connect=watch.timeout, read=watch.timeout),
                )
                if response.status == OK:
                    if (sock := getattr(response.connection, "sock", None)) is not None:  # events may be far between
                        sock.settimeout(watch.seconds + watch.timeout)
                    return Reply(status=response.status, sent=sent, received=clock()), response
                reply = _reply(response, self._headers[1], sent, sent + watch.timeout)
            except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
                return _no_answer(error, connection, sent), None
            if reply.status != UNAUTHORIZED or again:
                break
            connection = self._reconnect(connection)
        return reply, None

    def close(self) -> None:
        """Close the connections that are idle; the next request, of a renewal for example, opens others."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Connection:
        """Read the configuration; the cluster and namespace it names first are those of this client for ever."""
        connection = connect(self._source)
        self._place = same_place(connection, self._place)
        return connection

    def _exchange(self, connection: Connection, request: Send, path: str, body: bytes | None, sent: float) -> Reply:
        import urllib3  # noqa: PLC0415 - imported with the configuration

        until = clock() + request.timeout
        try:
            response = connection.pool.urlopen(
                request.method,
                connection.prefix + path,
                body=body,
                headers=self._request_headers(connection, request),
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                timeout=urllib3.Timeout(total=request.timeout),
            )
            return _reply(response, self._headers[1], sent, until, dated=request.method == "GET")
        except LockApiError as error:
            return Reply(status=0, sent=sent, received=clock(), maybe_done=False, error=str(error))
        except urllib3.exceptions.ClosedPoolError:  # by another thread, just now: nothing was sent
            return self._exchange(self.connection(), request, path, body, sent)
        except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
            return _no_answer(error, connection, sent)

    def _request_headers(self, connection: Connection, request: Send | None) -> dict[str, str]:
        read_at, headers = self._headers
        if not 0 <= clock() - read_at < CREDENTIALS_FOR:
            headers = {"User-Agent": USER_AGENT, "Accept": JSON, **connection.credentials()}
            self._headers = (clock(), headers)
        if request is None or request.body is None:
            return headers
        return {**headers, "Content-Type": content_type(request.method)}

    def _reconnect(self, refused: Connection) -> Connection:
        """Read the configuration anew, unless another thread has just done so; keep the old one if that fails."""
        with self._lock:
            if self._connection is refused:
                try:
                    self._connection = self._connect()
                    refused.close()
                except LockApiError as error:
                    _log.warning("the credentials were refused and could not be loaded again: %s", error)
            self._headers = (-CREDENTIALS_FOR, {})
            return self._connection or refused

    def after_fork(self) -> None:
        """Forget the parent's sockets without touching them."""
        self._lock = threading.RLock()
        self._connection = None
        self._headers = (-CREDENTIALS_FOR, {})


def _reply(
    response: BaseHTTPResponse, ours: Mapping[str, str], sent: float, until: float, *, dated: bool = False
) -> Reply:
    """Read an answer whole, unless it is too large to be one, or drips in for longer than ``until``."""
    data = bytearray()
    while chunk := response.read1(CHUNK):
        data += chunk
        if len(data) > MAX_REPLY or (clock() > until and response.length_remaining != 0):
            response.close()
            return unreadable(len(data), sent=sent)
    return read_reply(response.status, unrepeated(data, ours), response.headers, sent=sent, dated=dated)


def _no_answer(error: Exception, connection: Connection, sent: float) -> Reply:
    """Describe a request without an answer: one line, without the headers or bodies that the exception may hold."""
    import urllib3  # noqa: PLC0415 - imported with the configuration

    never_sent = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    tls = isinstance(error, urllib3.exceptions.SSLError)
    verification = tls and "CERTIFICATE_VERIFY_FAILED" in str(error)
    plain = tls and speaks_plain(error)
    if plain:
        why = PLAIN
    elif verification:
        why = UNVERIFIED
    elif isinstance(error, urllib3.exceptions.NewConnectionError):
        why = unreachable(str(error).rpartition(": ")[2])
    elif isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError)):
        why = SLOW
    else:
        why = broken(error)
    maybe_done = not (isinstance(error, never_sent) or verification or plain)
    return no_answer(connection.host, *why, sent=sent, maybe_done=maybe_done)
