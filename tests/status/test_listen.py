"""Connections that starve others, on a listener as the operator has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from status.crowd import Fakes
from status.visit import app_of, until
from tasklock_operator import listen as listen_module
from tasklock_operator.listen import Door, listen
from tasklock_operator.settings import Listen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Test = Callable[[Door], Awaitable[None]]

PROBE = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LARGE = 16 * 1024 * 1024  # bytes: more than the kernel's buffers take
HERE = Listen("127.0.0.1", 0)


def with_door(test: Test, **options: float) -> None:
    async def go() -> None:
        app = app_of(Fakes())
        app.router.add_get("/large", large)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        door = Door(runner, HERE, **options)  # type: ignore[arg-type] # the test's own
        await door.start()
        try:
            async with asyncio.timeout(20):
                await test(door)
        finally:
            await runner.cleanup()

    asyncio.run(go())


async def large(_: web.Request) -> web.Response:
    return web.Response(body=b"x" * LARGE)


async def send(door: Door, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
    writer.write(data)
    return reader, writer


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Read until the other end closes, in whatever way."""
    read = b""
    try:
        while data := await reader.read(1 << 20):
            read += data
    except ConnectionError:
        pass
    return read


async def answered(door: Door) -> bool:
    reader, writer = await send(door, PROBE)
    status = await reader.readline()
    writer.close()
    return b" 200 " in status


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", id="half a request"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", id="served, and silent since"),
    ],
)
def test_a_connection_that_is_silent_ends(sent: bytes) -> None:
    async def test(door: Door) -> None:
        reader, writer = await send(door, sent)
        await rest(reader)
        writer.close()

    with_door(test, idle=0.2)


def test_a_probe_is_answered_however_many_connections_idle_and_the_oldest_of_these_end() -> None:
    async def test(door: Door) -> None:
        idle = [await send(door, b"GET / HTTP/1.1\r\n") for _ in range(40)]
        assert all([await answered(door) for _ in range(5)])
        for reader, _ in idle[:24]:
            assert not await rest(reader)
        assert not idle[-1][0].at_eof()
        for _, writer in idle:
            writer.close()

    with_door(test, most=16)


def test_who_does_not_read_is_cut_off_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_module, "SLOW", 0.3)

    async def test(door: Door) -> None:
        reader, writer = await send(door, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: door._slow)
        await until(lambda: not door._open)
        assert not door._slow
        assert len(await rest(reader)) < LARGE
        writer.close()

    with_door(test)


def test_few_hold_much_memory_at_a_time_by_not_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_module, "MOST_SLOW", 2)

    async def test(door: Door) -> None:
        slow = []
        for number in range(1, 5):
            slow.append(await send(door, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"))
            at_least = min(number, 2)
            await until(lambda least=at_least: len(door._slow) >= least)
        await until(lambda: len(door._open) <= 2)
        assert len(await rest(slow[0][0])) < LARGE
        assert len(await rest(slow[-1][0])) > LARGE  # it reads now, and gets all
        assert await answered(door)
        for _, writer in slow:
            writer.close()

    with_door(test, idle=0.5)


def test_a_port_that_is_taken_is_said_in_a_sentence() -> None:
    async def test(door: Door) -> None:
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{door.port}: Address already in use"):
            await listen(app_of(Fakes()), Listen("127.0.0.1", door.port))

    with_door(test)
