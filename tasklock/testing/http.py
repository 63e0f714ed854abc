"""The thin HTTP side: one aiohttp handler that reads a request, lets `api.handle` answer it, and streams watches."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from .api import Reply, WatchReply, handle
from .options import MAX_BODY, Request
from .status import unauthorized
from .watch import ERROR, WatchEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .faults import Fault
    from .store import Store

_BOOKMARK_EVERY = 60.0
_DEFAULT_WATCH = 1800.0


class Settings(Protocol):
    """What the handler asks of the server at each request."""

    token: str | None
    latency: float
    fault: Callable[[str, str], Fault | None] | None
    requests: list[Any]


class Handler:
    """Answers requests on the loop's thread; the store is touched nowhere else."""

    def __init__(self, settings: Settings, store: Store, record: Callable[[str, str], Any]) -> None:
        self._settings = settings
        self._store = store
        self._record = record
        self._watches: set[asyncio.Queue[WatchEvent | None]] = set()

    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        """Serve one request, with the latency and the fault that it is to meet."""
        settings = self._settings
        settings.requests.append(self._record(http.method, http.path_qs))
        fault = settings.fault(http.method, http.path_qs) if settings.fault else None
        if settings.latency:
            await asyncio.sleep(settings.latency)
        if fault is not None and fault.delay_before:
            await asyncio.sleep(fault.delay_before)
        if fault is not None and fault.drop == "before":
            return _drop(http)
        try:
            body = await _read(http)
        except ConnectionResetError:  # the client gave up
            return _drop(http)
        answer: Reply | WatchReply
        if fault is not None and fault.status is not None:
            answer = Reply(status=fault.status, body=fault.body, headers=dict(fault.headers))
        else:
            answer = self._answer(http, body)
        if fault is not None and fault.delay_after:
            await asyncio.sleep(fault.delay_after)
        if fault is not None and fault.drop == "after":
            return _drop(http)
        cut = fault.cut if fault is not None else None
        if isinstance(answer, WatchReply):
            return await self._stream(http, answer, cut=cut)
        return await _send(http, answer, cut=cut)

    def drop_watches(self) -> None:
        """Cut every watch."""
        for queue in self._watches:
            queue.put_nowait(None)

    def _answer(self, http: web.BaseRequest, body: bytes) -> Reply | WatchReply:
        token = self._settings.token
        if token is not None and http.headers.get("Authorization") != f"Bearer {token}":
            error = unauthorized()
            return Reply(status=error.code, body=error.json)
        query = {key: http.query.getone(key) for key in http.query}
        request = Request(
            method=http.method,
            path=http.path,
            query=query,
            body=body,
            content_type=http.headers.get("Content-Type", ""),
            accept=http.headers.get("Accept", ""),
            user_agent=http.headers.get("User-Agent", ""),
        )
        return handle(self._store, request)

    async def _stream(self, http: web.BaseRequest, watch: WatchReply, *, cut: int | None) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        queue: asyncio.Queue[WatchEvent | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        end = loop.time() + (watch.timeout or _DEFAULT_WATCH)
        stop = watch.start(queue.put_nowait)
        self._watches.add(queue)
        try:
            await response.prepare(http)
            async for text in self._lines(watch, queue, end):
                await response.write(text[:cut])
                if cut is not None:
                    cut -= len(text[:cut])
                    if not cut:
                        return _drop(http)
        except ConnectionError:
            return _drop(http)
        finally:
            stop()
            self._watches.discard(queue)
        return response

    async def _lines(
        self, watch: WatchReply, queue: asyncio.Queue[WatchEvent | None], end: float
    ) -> AsyncIterator[bytes]:
        """Yield what to write next, as soon as there is something, until the watch is over."""
        loop = asyncio.get_running_loop()
        first, over = True, False
        next_bookmark = loop.time() + _BOOKMARK_EVERY
        while not over:
            due = min(end, next_bookmark) if watch.bookmarks else end
            try:
                events = [await _wait(queue, due - loop.time())]
                timed_out = False
            except TimeoutError:
                events, timed_out = [], True
            while not queue.empty():
                events.append(queue.get_nowait())
            if timed_out:
                over = loop.time() >= end
                next_bookmark += _BOOKMARK_EVERY
                events += [watch.bookmark()] if watch.bookmarks else []  # after all that it vouches for
            lines = []
            for event in events:
                if event is None:
                    raise ConnectionAbortedError
                lines.append(_line(watch, event, first=first))
                first, over = False, over or event.type == ERROR
            if lines:
                yield b"".join(lines)


async def _wait(queue: asyncio.Queue[WatchEvent | None], seconds: float) -> WatchEvent | None:
    if not queue.empty():
        return queue.get_nowait()
    async with asyncio.timeout(max(0.0, seconds)):
        return await queue.get()


def _line(watch: WatchReply, event: WatchEvent, *, first: bool) -> bytes:
    if not watch.render.form:
        return event.line
    return json.dumps(watch.render.event(event, first=first)).encode() + b"\n"


async def _read(http: web.BaseRequest) -> bytes:
    """Read the body; where it is longer than the server takes, give something as long."""
    return await http.content.read() if (http.content_length or 0) <= MAX_BODY else bytes(MAX_BODY + 1)


def _drop(http: web.BaseRequest) -> web.StreamResponse:
    """Reset the connection, so that no client takes it for a proper end."""
    transport = http.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def _send(http: web.BaseRequest, reply: Reply, *, cut: int | None) -> web.StreamResponse:
    text = isinstance(reply.body, str)
    body = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode() + b"\n"
    response = web.Response(status=reply.status, body=body)
    response.content_type = "text/plain" if text else "application/json"
    for name, value in reply.headers.items():
        response.headers[name] = value
    for warning in reply.warnings:
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    if cut is None:
        return response
    partial = web.StreamResponse(status=reply.status, headers=response.headers)
    partial.content_length = len(body)
    await partial.prepare(http)
    await partial.write(body[:cut])
    return _drop(http)
