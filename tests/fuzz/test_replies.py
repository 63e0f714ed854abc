"""Bytes of any kind in place of an HTTP reply, or of a watch: our errors, or an answer, and never anything else."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bad_input.servers import Server, kubeconfig, reply
from fuzz.strategies import CODES, EVENTS, NESTED, RAW, encoded
from tasklock import LockClient, TaskLockError
from tasklock.protocol.effects import Event, Reply, Send, Watch
from tasklock.transport.aio import AsyncApi
from tasklock.transport.config import Source
from tasklock.transport.driver import Driver
from tasklock.transport.http import Api
from tasklock.transport.wire import event_of, read_reply

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Date", "X"]),
    st.sampled_from(["1", "-1", "1" * 400, "Thu, 99 Foo 99999 99:99:99 +9999", "\u0663", "", "nan", "1e5"]),
    max_size=3,
)


@given(status=st.integers(0, 999), data=RAW, headers=HEADERS)
def test_what_was_read_whole_is_a_reply(status: int, data: bytes, headers: dict[str, str]) -> None:
    found = read_reply(status, data, headers, sent=0.0, dated=True)
    assert found.status == status
    assert found.body is None or isinstance(found.body, dict)
    assert found.retry_after is None or 0 <= found.retry_after <= 60
    assert isinstance(found.message, str)
    assert isinstance(found.reason, str)
    found.blames("metadata.uid")
    found.caused_by("x")


@given(line=RAW | EVENTS.map(encoded))
@example(line=NESTED)
@example(line=b'{"type": [], "object": {}}')
def test_a_line_of_a_watch_is_an_event_or_none(line: bytes) -> None:
    with suppress(ValueError, KeyError, TypeError):
        event = event_of(line)
        assert event is None or isinstance(event, Event)


class Bytes:
    """A server that answers with whatever is put here."""

    def __init__(self) -> None:
        self.answer = b""

    def __call__(self, connection: socket.socket, _request: bytes) -> None:
        connection.sendall(self.answer)
        raise EOFError


@pytest.fixture(scope="module")
def wire() -> Iterator[tuple[Bytes, str]]:
    answers = Bytes()
    with Server(answers) as server:
        yield answers, server.url


HEAD = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br, x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"HTTP/9.9 200\r\n: \r\n\r\n",
        b"HTTP/1.1 99999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=\xff\x00\r\n folded\r\n\r\n",
    ]
)
ANSWERS = st.one_of(
    st.binary(max_size=100),
    st.builds(bytes.__add__, HEAD, RAW),
    st.builds(lambda status, data: reply(status, data, kind="application/json"), CODES, RAW),
)


@settings(max_examples=25)
@given(answer=ANSWERS)
def test_bytes_of_any_kind_are_an_answer_or_an_error_of_ours(wire: Any, answer: bytes, tmp_path: Any) -> None:
    wire[0].answer = answer
    path = kubeconfig(tmp_path, wire[1])
    api = Api(Source(kubeconfig=path))
    assert isinstance(api.send(Send(method="GET", timeout=2)), Reply)
    with LockClient(kubeconfig=path) as client, suppress(TaskLockError):
        client.locks()

    def watched() -> Any:
        opened = yield Watch(lease="x", version="1", seconds=2, timeout=2)
        return opened

    assert isinstance(Driver(api).run(watched()), Reply)
    api.close()


@settings(max_examples=25)
@given(answer=ANSWERS)
def test_so_they_are_on_an_event_loop(wire: Any, answer: bytes, tmp_path: Any) -> None:
    wire[0].answer = answer

    async def asked() -> None:
        api = AsyncApi(Source(kubeconfig=kubeconfig(tmp_path, wire[1])))
        assert isinstance(await api.send(Send(method="GET", timeout=2)), Reply)
        opened, stream = await api.open_watch(Watch(lease="x", version="1", seconds=2, timeout=2))
        assert isinstance(opened, Reply)
        if stream is not None:
            assert [event async for event in stream.events()][-1].kind == "ENDED"
        await api.close()

    asyncio.run(asked())
