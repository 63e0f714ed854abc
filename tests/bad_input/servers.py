"""Servers that are no Kubernetes API server, or a bad one; and the rules that each error's sentence has to keep."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from tasklock import TaskLockError

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

Answer = Callable[[socket.socket, bytes], None]  # answers one request; the connection is closed where it raises
FOREIGN = (
    "urllib3",
    "kubernetes.client",
    "kubernetes.config",
    "HTTPConnection",
    "Traceback",
    "object at 0x",
    "yaml.scanner",
)


def sentence(error: BaseException, *words: str) -> str:
    """Check that an error's text is a sentence for people: one short line, our words, with what to do next."""
    text = str(error)
    assert isinstance(error, TaskLockError)
    assert text
    assert text.isascii()
    assert text.isprintable(), "one line, and nothing that a terminal would act upon"
    assert len(text) <= 600
    for name in FOREIGN:
        assert name not in text
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    assert error.__suppress_context__ or error.__context__ is None or isinstance(error.__context__, TaskLockError)
    return text


class Server:
    """Answers each request on each connection as ``answer`` says; ``requests`` are the first lines of what came."""

    def __init__(self, answer: Answer, *, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.headers: list[bytes] = []
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._closing = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.address}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with suppress(OSError):
            socket.create_connection(self._listener.getsockname()).close()
        self._threads[0].join()
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing:
                connection.close()
                return
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, EOFError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._connections.append(connection)
            with connection:
                while True:
                    self.answer(connection, self._request(connection))

    def _request(self, connection: socket.socket) -> bytes:
        """Read one request, headers and body."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65_536)
            if not more:
                raise EOFError
            data += more
            if not data[:1].isalpha():  # no HTTP: a TLS hello, for example
                break
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            body += connection.recv(65_536)
        self.requests.append(head.split(b"\r\n")[0].decode(errors="replace"))
        self.headers.append(head)
        return head + b"\r\n\r\n" + body


def reply(status: int, body: str | bytes, *, kind: str = "text/html", headers: str = "") -> bytes:
    data = body if isinstance(body, bytes) else body.encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    return head.encode() + data


def always(status: int, body: str | bytes, **options: str) -> Answer:
    """Answer every request with the same."""
    return lambda connection, _request: connection.sendall(reply(status, body, **options))


def as_json(status: int, body: object, *, headers: str = "") -> Answer:
    return always(status, json.dumps(body), kind="application/json", headers=headers)


def kubeconfig(folder: Path, url: str, *, user: dict[str, Any] | None = None, **cluster: str) -> str:
    """Write a kubeconfig for ``url``; return its path."""
    path = folder / "kubeconfig"
    named = {"name": "a"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{**named, "cluster": {"server": url, **cluster}}],
        "users": [{**named, "user": user or {}}],
        "contexts": [{**named, "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    path.write_text(json.dumps(config))
    return str(path)
