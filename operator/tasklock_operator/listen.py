"""The operator's listeners. Anybody in the cluster can reach one: connections must not starve the kubelet's probes.

A connection ends that is silent for a while, or whose other end does not read. Where there are too many, the oldest
gives way to the newest: a probe is answered long before that many others have come after it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from tasklock_operator.settings import Listen

IDLE: Final = 15.0  # seconds until the next request has come, or the first, in whole
SLOW: Final = 15.0  # seconds to read what does not fit into the buffers
MOST: Final = 128  # connections of one listener
MOST_SLOW: Final = 8  # of these, with a rest of up to some MB to be read


class Door(web.BaseSite):
    """A listener of an AppRunner. Port 0 is any that is free; ``port`` is the one."""

    def __init__(self, runner: web.AppRunner, where: Listen, *, most: int = MOST, idle: float = IDLE) -> None:
        super().__init__(runner)
        self.port = where.port
        self._where, self._most, self._idle = where, most, idle
        self._open: dict[_Connection, asyncio.Transport] = {}  # the oldest first
        self._slow: dict[_Connection, asyncio.TimerHandle] = {}

    @property
    def name(self) -> str:
        """Return its address."""
        return f"http://{self._where}"

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._connection, self._where.host, self._where.port)
        self._server = server
        self.port = server.sockets[0].getsockname()[1]

    def _connection(self) -> _Connection:
        server = self._runner.server
        if server is None:
            msg = "the listener has been closed"
            raise ConnectionAbortedError(msg)
        return _Connection(self, server, idle=self._idle)

    def opened(self, connection: _Connection, transport: asyncio.Transport) -> None:
        """Let it in; the oldest must go where there are too many."""
        self._open[connection] = transport
        for old in list(self._open)[: max(0, len(self._open) - self._most)]:
            self._end(old)

    def closed(self, connection: _Connection) -> None:
        """Forget it."""
        self._open.pop(connection, None)
        self.flows(connection)

    def stalls(self, connection: _Connection) -> None:
        """Give its other end some time to read what was written; the one that has had the most must go for another."""
        if len(self._slow) >= MOST_SLOW:
            self._end(next(iter(self._slow)))
        self._slow[connection] = asyncio.get_running_loop().call_later(SLOW, self._end, connection)

    def flows(self, connection: _Connection) -> None:
        """Take notice that it has read."""
        if timer := self._slow.pop(connection, None):
            timer.cancel()

    def _end(self, connection: _Connection) -> None:
        self.flows(connection)
        if transport := self._open.pop(connection, None):
            transport.abort()  # to close it would be to wait until all is read


class _Connection(web.RequestHandler):
    __slots__ = ("_door",)

    def __init__(self, door: Door, server: web.Server, *, idle: float) -> None:
        no_log: Any = None  # which its annotation does not know
        super().__init__(server, loop=asyncio.get_running_loop(), keepalive_timeout=idle, access_log=no_log)
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(transport, asyncio.Transport):
            self._door.opened(self, transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.closed(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._door.stalls(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._door.flows(self)


async def listen(pages: web.Application, where: Listen) -> web.AppRunner:
    """Serve an application. Raises OSError with a sentence."""
    runner = web.AppRunner(pages, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await Door(runner, where).start()
    except OSError as error:
        await runner.cleanup()
        raise OSError(error.errno, f"cannot listen on {where}: {os.strerror(error.errno or 0)}") from None
    return runner
