"""Plain HTTP to an API server: one request a connection, JSON in and out, no retries, nothing hidden."""

from __future__ import annotations

import base64
import json
import ssl
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
ANSWER_SECONDS = 30.0


class Reply(NamedTuple):
    """What the API server said; ``body`` is the decoded JSON, or None where the answer was none."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Rest:
    """An API server's address with the credentials of one caller."""

    def __init__(self, url: str, *, token: str | None = None, ca: str | None = None) -> None:
        """``ca`` is PEM text; without it the certificate of an https server is not checked."""
        parts = urlsplit(url)
        if parts.hostname is None:
            message = f"{url!r} names no host"
            raise ValueError(message)
        self.url = url
        self.token = token
        self._host = parts.hostname
        self._port = parts.port
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context(cadata=ca)
            if ca is None:
                self._tls.check_hostname = False
                self._tls.verify_mode = ssl.CERT_NONE

    @classmethod
    def from_kubeconfig(cls, path: str | Path) -> Rest:
        """Read the current context of a kubeconfig that authenticates with a token or not at all."""
        config = yaml.safe_load(Path(path).read_text())

        def named(kind: str, name: str) -> Any:
            return next(entry[kind] for entry in config[f"{kind}s"] if entry["name"] == name)

        context = named("context", config["current-context"])
        cluster = named("cluster", context["cluster"])
        user = named("user", context["user"]) or {} if context.get("user") else {}
        ca = None
        if "certificate-authority-data" in cluster:
            ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        elif "certificate-authority" in cluster:
            ca = (Path(path).parent / cluster["certificate-authority"]).read_text()
        return cls(cluster["server"], token=user.get("token"), ca=ca)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str | None = None,
    ) -> Reply:
        """Send one request and return its answer, whatever it is; ``body`` is JSON unless it is bytes."""
        connection = self._connect(ANSWER_SECONDS)
        try:
            response = self._send(connection, method, path, body, content_type)
            text = response.read()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers, _decoded(text))
        finally:
            connection.close()

    @contextmanager
    def watch(self, path: str, *, answer_seconds: float = ANSWER_SECONDS) -> Iterator[Iterator[Any]]:
        """Open a watch and give its events as they come, ``{"type": …, "object": …}``.

        A refused watch gives one event of type ERROR, as a failing one does, so that a test need not care
        which of the two a server chose. ``TimeoutError`` when nothing comes for ``answer_seconds``.
        """
        connection = self._connect(answer_seconds)
        try:
            separator = "&" if "?" in path else "?"
            response = self._send(connection, "GET", f"{path}{separator}watch=1", None, None)
            yield _events(response)
        finally:
            connection.close()

    def _connect(self, timeout: float) -> HTTPConnection:
        if self._tls is None:
            return HTTPConnection(self._host, self._port, timeout=timeout)
        return HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)

    def _send(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: object,
        content_type: str | None,
    ) -> HTTPResponse:
        headers = {"Accept": JSON}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        payload: bytes | None = None
        if body is not None:
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers["Content-Type"] = content_type or JSON
        connection.request(method, path, body=payload, headers=headers)
        return connection.getresponse()


def _events(response: HTTPResponse) -> Iterator[Any]:
    if response.status != 200:
        yield {"type": "ERROR", "object": _decoded(response.read())}
        return
    for line in response:
        if line.strip():
            yield json.loads(line)


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
