"""A fault proxy before an API server: toxiproxy, which passes TLS on and does to its bytes what it is told.

==============  ============================================================================================
``latency``     each piece is so many ms late, give or take a jitter
``bandwidth``   so many kB/s
``slicer``      in small pieces, each a little late
``timeout``     nothing passes, nothing is closed: a half-open connection, and replies that are dropped
``reset_peer``  reset at the first byte: downstream that is the reply to a request that was carried out
``limit_data``  so many bytes pass, then the connection is closed: half a reply
==============  ============================================================================================
"""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from cluster.processes import Process, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Stream = Literal["upstream", "downstream"]


class Toxiproxy:
    """The program, on loopback, in a process of its own."""

    def __init__(self, program: Path, folder: Path) -> None:
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self._names = 0
        self._process = Process("toxiproxy", folder / "toxiproxy.log", program, "-host=127.0.0.1", f"-port={port}")

    def __enter__(self) -> Self:
        self._process.wait_until(self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end(signal.SIGTERM)

    def proxy(self, url: str) -> Proxy:
        """Make a proxy before the API server at ``url``, on a port of its own."""
        self._names += 1
        (port,) = free_ports(1)
        name = f"proxy-{self._names}"
        upstream = urlsplit(url).netloc
        self.ask("POST", "/proxies", {"name": name, "listen": f"127.0.0.1:{port}", "upstream": upstream})
        return Proxy(self, name, port)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def _answers(self) -> bool:
        try:
            return bool(self.ask("GET", "/proxies") == {})
        except (urllib.error.URLError, ConnectionError):
            return False


class Proxy:
    """One way to the API server; whose kubeconfig names ``port`` has what is poured into it."""

    def __init__(self, owner: Toxiproxy, name: str, port: int) -> None:
        self._owner = owner
        self._path = f"/proxies/{name}/toxics"
        self.port = port

    @contextmanager
    def toxic(self, kind: str, *streams: Stream, **attributes: int) -> Iterator[None]:
        """Have a fault on the connections that are open, and on new ones, for as long as the block lasts."""
        names = [f"{kind}_{stream}" for stream in streams or ("downstream",)]
        for name in names:
            toxic = {"name": name, "type": kind, "stream": name.rpartition("_")[2], "attributes": attributes}
            self._owner.ask("POST", self._path, toxic)
        try:
            yield
        finally:
            for name in names:
                self._owner.ask("DELETE", f"{self._path}/{name}")
