"""A server that drips: each byte comes in time, and the answer never does. The request ends with its own timeout."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from bad_input.servers import Server, kubeconfig
from tasklock.protocol.effects import Send, Watch
from tasklock.transport.aio import AsyncApi
from tasklock.transport.config import Source
from tasklock.transport.http import Api

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from bad_input.servers import Answer

HEAD = b"HTTP/1.1 200 OK\r\n"
STARTS = {
    "the status line": b"HTTP/1.1 ",
    "a header": HEAD + b"X: ",
    "ever more headers": HEAD,
    "the body": HEAD + b"Content-Length: 100000\r\n\r\n",
    "the length of a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
}


def dripping(start: bytes) -> Answer:
    drop = b"X: y\r\n" if start == HEAD else b"0"

    def answer(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_request_ends_with_its_timeout(start: bytes, tmp_path: Path) -> None:
    with Server(dripping(start)) as server:
        api = Api(Source(kubeconfig=kubeconfig(tmp_path, server.url)))
        api.connection()
        begun = time.monotonic()
        reply = api.send(Send(method="GET", timeout=0.3))
        assert reply.status == 0
        assert "in time" in reply.error
        assert 0.25 < time.monotonic() - begun < 5
        api.close()


@pytest.mark.parametrize("start", [STARTS["a header"], STARTS["ever more headers"]], ids=["one", "many"])
def test_so_does_the_opening_of_a_watch(start: bytes, tmp_path: Path) -> None:
    with Server(dripping(start)) as server:
        api = Api(Source(kubeconfig=kubeconfig(tmp_path, server.url)))
        api.connection()
        begun = time.monotonic()
        reply, stream = api.open_watch(Watch(lease="x", version="1", seconds=60, timeout=0.3))
        assert (reply.status, stream) == (0, None)
        assert time.monotonic() - begun < 5
        api.close()


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_so_does_a_request_on_an_event_loop(start: bytes, tmp_path: Path) -> None:
    async def asked(url: str) -> float:
        api = AsyncApi(Source(kubeconfig=kubeconfig(tmp_path, url)))
        await api.connection()
        begun = time.monotonic()
        assert (await api.send(Send(method="GET", timeout=0.3))).status == 0
        await api.close()
        return time.monotonic() - begun

    with Server(dripping(start)) as server:
        assert asyncio.run(asked(server.url)) < 5


def test_the_events_of_a_watch_may_be_far_between(tmp_path: Path) -> None:
    def rarely(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(2):
            time.sleep(0.5)
            connection.sendall(b'22\r\n{"type": "BOOKMARK", "object": {}}\r\n')
        raise EOFError

    with Server(rarely) as server:
        api = Api(Source(kubeconfig=kubeconfig(tmp_path, server.url)))
        api.connection()
        reply, stream = api.open_watch(Watch(lease="x", version="1", seconds=60, timeout=0.3))
        assert reply.status == 200
        assert stream is not None
        assert stream.read1(100).startswith(b'{"type"'), "longer after the headers than they were allowed to take"
        stream.close()
        api.close()
