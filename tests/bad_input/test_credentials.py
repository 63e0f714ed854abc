"""Expired credentials: loaded again once; then the user is told to log in."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bad_input.servers import Server, as_json, kubeconfig, sentence
from tasklock import LockApiError, LockClient
from tasklock.testing import ApiServer
from tasklock.transport import http as module
from tasklock.transport.config import Connection, Source, connect

if TYPE_CHECKING:
    import socket

STATUS = {"kind": "Status", "status": "Failure", "reason": "Unauthorized", "message": "Unauthorized", "code": 401}


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """Count how often the configuration is loaded."""
    loaded: list[Source] = []

    def counted(source: Source) -> Connection:
        loaded.append(source)
        return connect(source)

    monkeypatch.setattr(module, "connect", counted)
    return loaded


def test_401_always(tmp_path: Path, loads: list[Source]) -> None:
    with Server(as_json(401, STATUS)) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url, user={"token": "old"}))
        with pytest.raises(LockApiError) as caught:
            client.lock_task("x").acquire()
        assert (caught.value.status, caught.value.reason) == (401, "Unauthorized")
        sentence(caught.value, "does not accept these credentials", "log in again", "kubeconfig")
        assert len(server.requests) == 2, "once more with fresh credentials, and not again"
        assert len(loads) == 2
        assert not client.session.abandoned
        client.close()


def test_401_once_reloads_exactly_once_and_goes_on(tmp_path: Path, loads: list[Source]) -> None:
    with ApiServer(token="fresh") as api:
        path = kubeconfig(tmp_path, api.url, user={"token": "old"})
        client = LockClient(kubeconfig=path)
        assert client.namespace == "default"
        kubeconfig(tmp_path, api.url, user={"token": "fresh"})
        with client.lock_task("x"):
            pass
        assert [request.method for request in api.requests] == ["POST", "POST", "DELETE"]
        assert len(loads) == 2
        client.close()


def test_401_to_a_watch_reloads_too(tmp_path: Path, loads: list[Source]) -> None:
    with ApiServer(token="one") as api:
        path = kubeconfig(tmp_path, api.url, user={"token": "one"})
        with LockClient(kubeconfig=path) as holder, LockClient(kubeconfig=path) as waiter:
            hold = holder.lock_task("x").acquire()
            assert waiter.namespace
            kubeconfig(tmp_path, api.url, user={"token": "two"})
            watched = threading.Event()

            def rotate(_method: str, path: str) -> None:
                if "watch=1" in path:
                    api.token = "two"
                    watched.set()

            api.fault = rotate
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(waiter.lock_task("x").acquire, 30)
                assert watched.wait(30)
                hold.release()
                waiting.result().release()
        assert len(loads) == 4, "each client once at first, and once when its token was refused"


def test_a_reload_that_fails_keeps_the_old_credentials_and_says_401(tmp_path: Path) -> None:
    with Server(as_json(401, STATUS)) as server:
        path = kubeconfig(tmp_path, server.url)
        client = LockClient(kubeconfig=path)
        assert client.namespace
        Path(path).unlink()
        with pytest.raises(LockApiError) as caught:
            client.lock_task("x").acquire()
        sentence(caught.value, "401", "log in again")
        client.close()


def test_many_threads_that_meet_401_reload_once(tmp_path: Path, loads: list[Source]) -> None:
    with ApiServer(token="fresh", latency=0.1) as api:
        path = kubeconfig(tmp_path, api.url, user={"token": "old"})
        client = LockClient(kubeconfig=path)
        assert client.namespace
        kubeconfig(tmp_path, api.url, user={"token": "fresh"})
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(client.is_locked, [f"x{n}" for n in range(8)])) == [False] * 8
        assert len(loads) == 2
        client.close()


def test_an_exec_plugin_that_fails_is_told_as_refused_credentials(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text("#!/bin/sh\necho 'your login has expired' >&2\nexit 1\n")
    plugin.chmod(0o755)
    user: dict[str, Any] = {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    }
    with ApiServer(token="t") as api:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, api.url, user=user))
        with pytest.raises(LockApiError) as caught:
            client.lock_task("x").acquire()
        sentence(caught.value)
        client.close()


def test_credentials_are_never_shown(tmp_path: Path) -> None:
    def echo(connection: socket.socket, request: bytes) -> None:
        assert b"s3cr3t" in request
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        raise EOFError

    with Server(echo) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url, user={"token": "s3cr3t"}))
        with pytest.raises(LockApiError) as caught:
            client.locks()
        assert "s3cr3t" not in sentence(caught.value)
        assert "s3cr3t" not in repr(client)
        assert "s3cr3t" not in repr(caught.value.__cause__)
        client.close()


def test_a_token_with_a_line_break_is_an_error_of_ours(tmp_path: Path) -> None:
    with ApiServer() as api:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, api.url, user={"token": "a\nX-Evil: 1"}))
        with pytest.raises(LockApiError) as caught:
            client.lock_task("x").acquire(timeout=0.3)
        sentence(caught.value)
        client.close()
