"""Why the official client's calls are not used for the lock: facts about it, on a server that hangs up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
from kubernetes import client

Call = Callable[[client.CoordinationV1Api], object]
LEASE = client.V1Lease(metadata=client.V1ObjectMeta(name="a"))
CALLS: dict[str, Call] = {
    "GET": lambda api: api.read_namespaced_lease("a", "default"),
    "PUT": lambda api: api.replace_namespaced_lease("a", "default", LEASE),
    "DELETE": lambda api: api.delete_namespaced_lease("a", "default"),
    "POST": lambda api: api.create_namespaced_lease("default", LEASE),
    "PATCH": lambda api: api.patch_namespaced_lease("a", "default", {"spec": {}}),
}


class HangingUp:
    """A server that reads each request and closes the connection without an answer."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                request = connection.recv(65536)
                if not request:  # close() knocks
                    return
                self.methods.append(request.split(b" ")[0].decode())

    def close(self) -> None:
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def server() -> Iterator[HangingUp]:
    server = HangingUp()
    yield server
    server.close()


@pytest.fixture
def api(server: HangingUp) -> Iterator[client.CoordinationV1Api]:
    """Make the official client as anybody configures it."""
    official = client.ApiClient(client.Configuration(host=server.url))
    yield client.CoordinationV1Api(official)
    official.rest_client.pool_manager.clear()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_the_official_client_sends_a_request_four_times_and_says_nothing(
    server: HangingUp,
    api: client.CoordinationV1Api,
    method: str,
) -> None:
    """A DELETE that was done and whose answer was lost comes back as 404, or deletes the next holder's lock."""
    with pytest.raises(urllib3.exceptions.MaxRetryError):
        CALLS[method](api)
    assert server.methods == [method] * 4


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_the_official_client_sends_a_post_or_patch_once(
    server: HangingUp,
    api: client.CoordinationV1Api,
    method: str,
) -> None:
    with pytest.raises(urllib3.exceptions.ProtocolError):
        CALLS[method](api)
    assert server.methods == [method]


@pytest.mark.parametrize("method", CALLS)
def test_a_network_error_of_the_official_client_is_no_api_exception(
    api: client.CoordinationV1Api,
    method: str,
) -> None:
    with pytest.raises(urllib3.exceptions.HTTPError) as caught:
        CALLS[method](api)
    assert not isinstance(caught.value, client.ApiException)


def test_the_official_client_has_no_timeout_unless_told(
    api: client.CoordinationV1Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeouts: list[float | None] = []
    getresponse = urllib3.connection.HTTPConnection.getresponse

    def recording(connection: Any) -> Any:
        timeouts.append(connection.sock.gettimeout())
        return getresponse(connection)

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "getresponse", recording)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        CALLS["POST"](api)
    assert timeouts == [None]
