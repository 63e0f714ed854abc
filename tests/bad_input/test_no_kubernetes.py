"""A web server that is no Kubernetes API server, and one that answers what no API server would."""

from __future__ import annotations

import json
import threading
import time
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from bad_input.servers import Answer, Server, always, as_json, kubeconfig, reply, sentence
from tasklock import LockApiError, LockClient, LockForbiddenError, TaskLockError
from tasklock.protocol.effects import Next, Watch
from tasklock.transport.clock import clock
from tasklock.transport.driver import Driver

if TYPE_CHECKING:
    import socket
    from pathlib import Path

HTML = "<!DOCTYPE html><html><head><title>\x1b[31mWelcome</title></head><body>" + "<p>hello</p>\n" * 200


def uses(client: LockClient, *, timeout: float = 0.3) -> list[Any]:
    return [
        lambda: client.lock_task("x").acquire(timeout=timeout),
        lambda: client.is_locked("x"),
        lambda: client.clear("x"),
        client.locks,
        client.flush_locks,
    ]


@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 404, 405])
def test_html_is_no_kubernetes(tmp_path: Path, status: int) -> None:
    with Server(always(status, "" if status == 204 else HTML)) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        for use in uses(client):
            with pytest.raises(LockApiError) as caught:
                use()
            assert type(caught.value) is LockApiError
            assert (caught.value.status, caught.value.reason) == (status, "NotKubernetes")
            sentence(caught.value, str(status), "check that the configured address is a Kubernetes API server")
        client.close()


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_html_of_a_proxy_in_trouble(tmp_path: Path, status: int) -> None:
    with Server(always(status, f"<html>{status} Bad Gateway</html>")) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        for use in uses(client, timeout=1):
            with pytest.raises(LockApiError) as caught:
                use()
            assert caught.value.status == status
            sentence(caught.value, str(status), "check")
        client.close()


@pytest.mark.parametrize("status", [401, 403, 407, 429])
def test_html_of_a_gateway_that_wants_a_login(tmp_path: Path, status: int) -> None:
    with Server(always(status, "<html>Please log in</html>")) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        with pytest.raises(LockApiError) as caught:
            client.locks()
        assert caught.value.status == status
        sentence(caught.value, str(status), "check")
        client.close()


JSONS: list[Any] = [
    {},
    {"status": "ok"},
    {"items": []},
    {"items": {}},
    {"items": [None, 5, "x", {}]},
    {"items": [{"metadata": {"name": "tasklock.x"}}]},
    {"metadata": {"resourceVersion": 5}, "items": [{}]},
    {"metadata": {"continue": {"a": 1}}, "items": []},
    {"metadata": {"continue": "\ud800"}, "items": []},
    {"kind": "Lease", "metadata": None, "spec": None},
    {"kind": "Lease", "metadata": {"uid": 5, "resourceVersion": "x"}, "spec": {"holderIdentity": ["x"]}},
    [],
    None,
    "text",
    5,
    True,
]


@pytest.mark.parametrize("body", JSONS, ids=lambda body: json.dumps(body)[:40])
def test_json_that_is_no_lease_raises_nothing_foreign(tmp_path: Path, body: Any) -> None:
    status = 200

    def answer(connection: socket.socket, request: bytes) -> None:
        paged = b"continue=" in request
        as_json(status, {"items": []} if paged else body)(connection, request)

    with Server(answer) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        for status, use in product([200, 201, 404, 409, 422], uses(client)):  # noqa: B007 - answer() reads it
            try:
                result = use()
            except TaskLockError as error:
                sentence(error)
            else:
                assert result in ([], set(), False, None)
        client.close()


def test_json_of_a_web_service_on_a_create_is_told_as_such(tmp_path: Path) -> None:
    for status in (200, 201):
        with Server(as_json(status, {"status": "ok"})) as server:
            client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
            with pytest.raises(LockApiError) as caught:
                client.lock_task("x").acquire()
            sentence(caught.value, "check that it is a Kubernetes API server")
            client.session.api.close()


def test_json_too_deep_or_too_long_to_read(tmp_path: Path) -> None:
    for text in ("[" * 100_000, '{"a":' * 50_000, "9" * 100_000, '{"items": NaN}', "\xff\xfe", '"\\ud800"'):
        with Server(always(200, text, kind="application/json")) as server:
            client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
            with pytest.raises(LockApiError) as caught:
                client.locks()
            sentence(caught.value)
            client.close()


STATUS = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
HOSTILE = "\x1b]0;pwned\x07\n\r" + "A" * 100_000


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (404, "NotFound"), (422, "Invalid"), (500, "x")])
def test_what_a_hostile_server_says_is_shown_safely(tmp_path: Path, status: int, reason: str) -> None:
    with Server(as_json(status, {**STATUS, "reason": reason, "message": HOSTILE})) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        with pytest.raises(LockApiError) as caught:
            client.locks()
        sentence(caught.value)
        client.close()


@pytest.mark.parametrize("message", [5, None, ["x"], {"a": 1}], ids=repr)
def test_a_status_of_the_wrong_types(tmp_path: Path, message: Any) -> None:
    body = {"message": message, "reason": message, "details": message, "code": message}
    with Server(as_json(403, body)) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        with pytest.raises(LockForbiddenError) as caught:
            client.locks()
        sentence(caught.value, "may not list leases", "Role tasklock-client")
        client.close()


@pytest.mark.parametrize(
    "header",
    [
        "Date: nonsense",
        "Date: ",
        "Date: Mon, 23 Nov 2026 15:48:38 -0000",
        "Date: Mon, 23 Nov 99999 15:48:38 GMT",
        "Date: Mon, 99 Nov 2026 99:99:99 +9999",
        "Date: 1",
        "Retry-After: -5",
        "Retry-After: nonsense",
        "Retry-After: \u0665",
        "Retry-After: 999999999999999999999999",
        "Content-Encoding: gzip",
        "Content-Encoding: br",
        "Set-Cookie: a=b",
    ],
)
def test_an_odd_header_is_no_trouble(tmp_path: Path, header: str) -> None:
    item = {
        "metadata": {
            "name": "tasklock.x",
            "uid": "u",
            "resourceVersion": "5",
            "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": "tasklock"},
            "annotations": {"tasklock.dev/name": "x"},
        },
        "spec": {"acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z"},
    }
    body = json.dumps({"metadata": {"resourceVersion": "7"}, "items": [item]})

    def answer(connection: socket.socket, _request: bytes) -> None:
        data = reply(200, body, kind="application/json").replace(b"\r\n\r\n", f"\r\n{header}\r\n\r\n".encode(), 1)
        connection.sendall(data)

    with Server(answer) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        try:
            assert [info.name for info in client.locks()] == ["x"]
        except LockApiError as error:
            assert "Encoding" in header
            sentence(error)
        client.close()


def test_a_redirect_is_not_followed_with_our_credentials(tmp_path: Path) -> None:
    with Server(always(200, "{}")) as elsewhere:
        redirect = always(302, "", headers=f"Location: {elsewhere.url}/apis\r\n")
        with Server(redirect) as server:
            path = kubeconfig(tmp_path, server.url, user={"token": "secret"})
            client = LockClient(kubeconfig=path)
            for use in uses(client):
                with pytest.raises(LockApiError) as caught:
                    use()
                sentence(caught.value, "302")
            client.close()
        assert not elsewhere.requests


def held(then: Answer) -> Answer:
    """Answer as if the lock were held; a watch is answered by ``then``."""
    item = {
        "metadata": {
            "name": "tasklock.x",
            "uid": "u",
            "resourceVersion": "5",
            "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": "tasklock"},
            "annotations": {"tasklock.dev/name": "x"},
        },
        "spec": {"holderIdentity": "somebody"},
    }

    def answer(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"POST"):
            as_json(409, {**STATUS, "reason": "AlreadyExists"})(connection, request)
        elif b"watch=1" in request:
            then(connection, request)
        else:
            as_json(200, {"metadata": {"resourceVersion": "7"}, "items": [item]})(connection, request)

    return answer


def chunked(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")


def chunk(connection: socket.socket, data: bytes) -> None:
    connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))


LINES = [
    b"<html>\n",
    b"{}\n",
    b"[]\n",
    b"null\n",
    b'{"type": "ADDED"}\n',
    b'{"type": "ADDED", "object": 5}\n',
    b'{"type": 5, "object": {}}\n',
    b'{"type": "ERROR", "object": {"code": 410}}\n',
    b'{"type": "ERROR"}\n',
    b"\xff\xfe\n",
    b"[" * 50_000 + b"\n",
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:30]))
def test_nonsense_in_a_watch_is_the_end_of_that_watch_only(tmp_path: Path, line: bytes) -> None:
    def nonsense(connection: socket.socket, _request: bytes) -> None:
        chunked(connection)
        chunk(connection, line)
        time.sleep(0.05)
        raise EOFError

    with Server(held(nonsense)) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        begun = time.monotonic()
        with pytest.raises(TaskLockError) as caught:
            client.lock_task("x").acquire(timeout=0.4)
        assert time.monotonic() - begun < 5
        sentence(caught.value)
        assert len(server.requests) < 30, "never without a rest"
        client.close()


def test_an_endless_line_in_a_watch_is_cut_off_with_bounded_memory(tmp_path: Path) -> None:
    sent = 0

    def flood(connection: socket.socket, _request: bytes) -> None:
        nonlocal sent
        chunked(connection)
        for _ in range(500):
            chunk(connection, b"x" * 65_536)
            sent += 65_536

    with Server(held(flood)) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        with pytest.raises(TaskLockError) as caught:
            client.lock_task("x").acquire(timeout=0.5)
        sentence(caught.value)
        assert max(1, sent) < 500 * 65_536
        client.close()


def watchers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "tasklock-watch"]


def test_a_watch_that_is_never_answered_is_left_at_the_deadline_and_leaves_no_thread(tmp_path: Path) -> None:
    over = threading.Event()
    with Server(held(lambda _connection, _request: over.wait(10) and None)) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        begun = time.monotonic()
        with pytest.raises(TaskLockError) as caught:
            client.lock_task("x").acquire(timeout=0.4)
        assert time.monotonic() - begun < 5
        sentence(caught.value)
        while watchers() and time.monotonic() - begun < 5:
            time.sleep(0.01)
        assert not watchers()
        over.set()
        client.close()


def test_a_watch_in_which_nothing_happens_for_longer_than_its_opening_may_take_stays_open(tmp_path: Path) -> None:
    over = threading.Event()

    def quiet(connection: socket.socket, _request: bytes) -> None:
        chunked(connection)
        over.wait(10)

    with Server(held(quiet)) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        driver = Driver(client.session.api)
        watch = Watch(lease="tasklock.x", version="7", seconds=30, timeout=0.2)
        assert driver._perform(watch).status == 200  # type: ignore[attr-defined]
        event = driver._perform(Next(clock() + 0.6))
        assert event.kind == "QUIET"  # type: ignore[attr-defined]
        driver._close()
        over.set()
        client.close()
