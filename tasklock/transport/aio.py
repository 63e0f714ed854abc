"""One request to the API server from an event loop: ``http.Api``'s promises, kept by aiohttp.

The official client still reads the configuration: contexts, exec plugins, client certificates, token files, proxies.
Its reading can block, and so happens in a thread. aiohttp carries the requests, each sent at most once. This module is
imported by what runs on a loop and by nobody else: the plain library neither needs nor loads aiohttp.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp

from tasklock.errors import LockApiError
from tasklock.protocol.effects import OK, UNAUTHORIZED, Event, Method, Reply, Send, Watch
from tasklock.transport.clock import clock
from tasklock.transport.config import same_place
from tasklock.transport.discreet import unrepeated
from tasklock.transport.line import KEPT_FOR, Line, load
from tasklock.transport.wire import (
    CHUNK,
    CREDENTIALS_FOR,
    JSON,
    MAX_LINE,
    MAX_REPLY,
    PLAIN,
    SLOW,
    UNVERIFIED,
    USER_AGENT,
    broken,
    content_type,
    event_of,
    leases_path,
    no_answer,
    read_reply,
    speaks_plain,
    unreachable,
    unreadable,
    watch_path,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tasklock.lease import Json
    from tasklock.transport.config import Connection, Source

_log = logging.getLogger("tasklock")
_TROUBLE = (OSError, aiohttp.ClientError, ValueError, asyncio.IncompleteReadError)


class AsyncApi:
    """One cluster, as seen from one event loop. Not for use from several threads."""

    def __init__(self, source: Source) -> None:
        """Prepare; the configuration is read at the first request."""
        self._source = source
        self._line: Line | None = None
        self._retired: list[tuple[float, Line]] = []
        self._place: tuple[str, str] | None = None
        self._warned = ""
        self._lock = asyncio.Lock()
        self._headers: tuple[float, dict[str, str]] = (-CREDENTIALS_FOR, {})

    async def connection(self) -> Connection:
        """Return the configuration, read now if it was not yet. Raises LockApiError."""
        return (await self._connected()).connection

    async def send(self, request: Send, *, namespace: str | None = None) -> Reply:
        """Send one request about Leases, of ``namespace`` if given. Raises LockApiError without a configuration."""
        where = None if request.everywhere else namespace or (await self.connection()).namespace
        path = leases_path(where, request.lease, request.query)
        return await self.request(request.method, path, request.body, timeout=request.timeout)

    async def request(  # noqa: PLR0913 - keyword-only options
        self,
        method: Method,
        path: str,
        body: Json | None = None,
        *,
        timeout: float,  # noqa: ASYNC109 - seconds for all of it: a Reply says when they have passed
        content_type: str | None = None,
        limit: int = MAX_REPLY,
    ) -> Reply:
        """Send one request and read its answer whole, if it has at most ``limit`` bytes.

        A 401 is answered by fresh credentials, once. Network trouble is a Reply of status 0. Raises LockApiError where
        there is no configuration to begin with.
        """
        sent = clock()
        line = await self._connected()
        data = json.dumps(body).encode() if body is not None else None
        for again in (False, True):
            reply = await self._exchange(
                line, method, path, data, kind=content_type, until=sent + timeout, sent=sent, limit=limit
            )
            if reply.status != UNAUTHORIZED or again:
                break
            line = await self._reconnect(line)
        _log.debug("%s %s: %d in %.1f ms", method, path, reply.status, 1e3 * (reply.received - sent))
        return reply

    async def open_watch(self, watch: Watch) -> tuple[Reply, Stream | None]:
        """Open a watch on one Lease; return the answer and, where it is a stream of events, the stream."""
        path = watch_path((await self.connection()).namespace, watch)
        return await self.open(path, timeout=watch.timeout)

    async def open(self, path: str, *, timeout: float) -> tuple[Reply, Stream | None]:  # noqa: ASYNC109 - as above
        """GET what does not end: return the answer, due in ``timeout`` seconds, and the stream if it is one."""
        sent = clock()
        line = await self._connected()
        for again in (False, True):
            reply, response = await self._begin(line, "GET", path, None, until=sent + timeout, sent=sent)
            if response is None:
                return reply, None
            if response.status == OK:
                return Reply(status=OK, sent=sent, received=clock()), Stream(response)
            reply = await _read(
                response, line, self._headers[1], sent=sent, until=sent + timeout, dated=False, limit=MAX_REPLY
            )
            if reply.status != UNAUTHORIZED or again:
                break
            line = await self._reconnect(line)
        return reply, None

    async def close(self) -> None:
        """Close all connections; the next request opens others."""
        lines = [line for _, line in self._retired] + ([self._line] if self._line else [])
        self._line, self._retired = None, []
        for line in lines:
            await line.session.close()

    async def _connected(self) -> Line:
        line = self._line
        if line is None:
            async with self._lock:
                if (line := self._line) is None:
                    line = self._line = await self._connect()
        return line

    async def _connect(self) -> Line:
        """Read the configuration; the cluster and namespace it names first are those of this client for ever."""
        connection, context = await asyncio.to_thread(load, self._source)
        self._place = same_place(connection, self._place)
        return Line(connection, context)

    async def _reconnect(self, refused: Line) -> Line:
        """Read the configuration anew, unless somebody has just done so; keep the old one if that fails."""
        async with self._lock:
            if self._line is refused:
                try:
                    self._line = await self._connect()
                except LockApiError as error:
                    if str(error) != self._warned:  # once, and not at every try
                        self._warned = str(error)
                        _log.warning("the credentials were refused and could not be loaded again: %s", error)
                else:
                    self._warned = ""
                    await self._retire(refused)
            self._headers = (-CREDENTIALS_FOR, {})
            return self._line or refused

    async def _retire(self, refused: Line) -> None:
        """Leave ``refused`` to what is under way on it; close those whose last request has long ended."""
        now = clock()
        for since, line in self._retired:
            if now - since > KEPT_FOR:
                await line.session.close()
        self._retired = [(since, line) for since, line in self._retired if now - since <= KEPT_FOR]
        self._retired.append((now, refused))

    async def _request_headers(self, line: Line) -> dict[str, str]:
        if not self._fresh():
            async with self._lock:
                if not self._fresh():
                    credentials = await asyncio.to_thread(line.connection.credentials)
                    self._headers = (clock(), {"User-Agent": USER_AGENT, "Accept": JSON, **credentials})
        return self._headers[1]

    def _fresh(self) -> bool:
        return 0 <= clock() - self._headers[0] < CREDENTIALS_FOR

    async def _exchange(  # noqa: PLR0913 - one request, spelled out
        self,
        line: Line,
        method: Method,
        path: str,
        data: bytes | None,
        *,
        kind: str | None,
        until: float,
        sent: float,
        limit: int,
    ) -> Reply:
        reply, response = await self._begin(line, method, path, data, kind=kind, until=until, sent=sent)
        if response is None:
            return reply
        return await _read(response, line, self._headers[1], sent=sent, until=until, dated=method == "GET", limit=limit)

    async def _begin(  # noqa: PLR0913 - one request, spelled out
        self,
        line: Line,
        method: Method,
        path: str,
        data: bytes | None,
        *,
        kind: str | None = None,
        until: float,
        sent: float,
    ) -> tuple[Reply, aiohttp.ClientResponse | None]:
        """Send a request; return its response once its headers have come, else what stands for it."""
        try:
            left = max(0.001, until - clock())
            async with asyncio.timeout(left):
                headers = await self._request_headers(line)
                if data is not None:
                    headers = {**headers, "Content-Type": kind or content_type(method)}
                response = await line.request(method, path, data, headers, connect=0.9 * left)
        except LockApiError as error:
            return Reply(status=0, sent=sent, received=clock(), maybe_done=False, error=str(error)), None
        except RuntimeError as error:  # the session was closed under us, by close() or after a 401: nothing was sent
            return no_answer(line.connection.host, *broken(error), sent=sent, maybe_done=False), None
        except _TROUBLE as error:
            return _no_answer(error, line, sent), None
        return Reply(status=0), response


class Stream:
    """An answer that goes on, line by line. Close it, or read it to its end."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._rest = b""

    async def lines(self) -> list[bytes]:
        """Wait for the next whole lines; none at all: the stream has ended, or broke. One too long is its last, cut."""
        while True:
            try:
                data = await self._response.content.readany()
            except _TROUBLE:
                data = b""
            *lines, self._rest = (self._rest + data).split(b"\n")
            if not data or len(self._rest) > MAX_LINE:
                self.close()
                return [b"{"] if data else []  # which nobody can read
            if whole := [line for line in lines if line.strip()]:
                return whole

    async def events(self) -> AsyncIterator[Event]:
        """Yield the changes that a watch tells; its end, however it came, is one event ENDED."""
        with suppress(ValueError, KeyError, TypeError):
            while lines := await self.lines():
                for event in filter(None, map(event_of, lines)):
                    yield event
                    if event.kind == "ENDED":
                        return
        yield Event("ENDED", at=clock())

    def close(self) -> None:
        """End it; the connection is not used again."""
        self._response.close()


async def _read(  # noqa: PLR0913 - keyword-only
    response: aiohttp.ClientResponse,
    line: Line,
    ours: Mapping[str, str],
    *,
    sent: float,
    until: float,
    dated: bool,
    limit: int,
) -> Reply:
    """Read an answer whole, unless it is too large to be one, or drips in for longer than ``until``."""
    data = bytearray()
    try:
        async with asyncio.timeout(max(0.001, until - clock())):
            while chunk := await response.content.read(CHUNK):
                data += chunk
                if len(data) > limit:
                    response.close()
                    return unreadable(len(data), sent=sent, limit=limit)
    except TimeoutError:
        response.close()
        return unreadable(len(data), sent=sent, limit=limit)
    except _TROUBLE as error:
        response.close()
        return _no_answer(error, line, sent)
    except BaseException:
        response.close()  # cancelled: half an answer is of no use to the next request
        raise
    response.release()
    return read_reply(response.status, unrepeated(data, ours), response.headers, sent=sent, dated=dated)


def _no_answer(error: Exception, line: Line, sent: float) -> Reply:
    """Describe a request without an answer: one line, without the headers or bodies that the exception may hold."""
    verification = isinstance(error, aiohttp.ClientConnectorCertificateError)
    plain = isinstance(error, ssl.SSLError) and speaks_plain(error)
    never_sent = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
    if plain:
        why = PLAIN
    elif verification:
        why = UNVERIFIED
    elif isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, ssl.SSLError):
        number = error.os_error.errno  # negative: of the resolver, whose own words tell more
        why = unreachable(os.strerror(number) if number and number > 0 else error.os_error.strerror or "unknown")
    elif isinstance(error, TimeoutError):
        why = SLOW
    else:
        why = broken(error)
    maybe_done = not (never_sent or verification or plain)
    return no_answer(line.connection.host, *why, sent=sent, maybe_done=maybe_done)
