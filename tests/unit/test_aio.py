"""The asynchronous transport keeps the promises of the other: one request, one Reply, nothing foreign, 401 once."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from kubernetes.config import kube_config

from bad_input.servers import Server, always, as_json, kubeconfig
from tasklock import LockApiError
from tasklock.lease import Claim, parse_time
from tasklock.protocol.effects import Reply, Send, Watch
from tasklock.protocol.release import deletion
from tasklock.testing import ApiServer
from tasklock.transport import line as line_module
from tasklock.transport.aio import AsyncApi, Stream
from tasklock.transport.config import Connection, Source, connect
from tasklock.transport.wire import MAX_LINE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

STATUS = {"kind": "Status", "status": "Failure", "reason": "Unauthorized", "message": "Unauthorized", "code": 401}


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBECONFIG", "TASKLOCK_NAMESPACE", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "no" / "config"))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """Count how often the configuration is loaded."""
    loaded: list[Source] = []

    def counted(source: Source) -> Connection:
        loaded.append(source)
        return connect(source)

    monkeypatch.setattr(line_module, "connect", counted)
    return loaded


def use(path: object, steps: Callable[[AsyncApi], Awaitable[Any]], **source: Any) -> Any:
    """Run ``steps`` with an api of a kubeconfig."""

    async def run() -> Any:
        api = AsyncApi(Source(kubeconfig=str(path), **source))
        try:
            return await steps(api)
        finally:
            await api.close()

    return asyncio.run(run())


def get(path: object, *, timeout: float = 5.0) -> Reply:
    reply: Reply = use(path, lambda api: api.send(Send(method="GET", timeout=timeout)))
    return reply


def lease(name: str) -> dict[str, Any]:
    moment = parse_time("2026-01-01T00:00:00Z")
    assert moment is not None
    return Claim(lease=name, app="a", name="n", holder="me_1", ttl=30, annotations={}).body(moment)


def test_create_refused_create_list_patch_and_delete(api: ApiServer) -> None:
    async def steps(client: AsyncApi) -> None:
        created = await client.send(Send(method="POST", body=lease("aio.x"), timeout=5))
        assert (created.status, created.error) == (201, "")
        assert created.received >= created.sent > 0
        refused = await client.send(Send(method="POST", body=lease("aio.x"), timeout=5))
        assert (refused.status, refused.reason) == (409, "AlreadyExists")
        found = await client.send(Send(method="GET", query=(("fieldSelector", "metadata.name=aio.x"),), timeout=5))
        assert [item["metadata"]["name"] for item in found.body["items"]] == ["aio.x"]
        assert found.date is not None
        patch = {"spec": {"leaseDurationSeconds": 7}}
        patched = await client.send(Send(method="PATCH", lease="aio.x", body=patch, timeout=5))
        assert patched.body["spec"]["leaseDurationSeconds"] == 7
        deleted = await client.send(deletion("aio.x", uid=created.body["metadata"]["uid"]))
        assert deleted.status == 200

    use(api.kubeconfig, steps)


def test_another_namespace_than_the_configured_one(api: ApiServer) -> None:
    async def steps(client: AsyncApi) -> None:
        made = await client.request("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}}, timeout=5)
        assert made.status == 201
        body = lease("aio.y")
        assert (await client.send(Send(method="POST", body=body, timeout=5), namespace="other")).status == 201
        assert (await client.send(Send(method="GET", lease="aio.y", timeout=5))).status == 404
        everywhere = await client.send(Send(method="GET", everywhere=True, timeout=5))
        (found,) = [one["metadata"] for one in everywhere.body["items"] if one["metadata"]["name"] == "aio.y"]
        assert found["namespace"] == "other"
        uid = found["uid"]
        assert (await client.send(deletion("aio.y", uid=uid), namespace="other")).status == 200

    use(api.kubeconfig, steps)


def test_a_watch_tells_events_and_its_end(api: ApiServer) -> None:
    async def steps(client: AsyncApi) -> list[str]:
        listed = await client.send(Send(method="GET", timeout=5))
        version = listed.body["metadata"]["resourceVersion"]
        reply, stream = await client.open_watch(Watch(lease="aio.w", version=version, seconds=2, timeout=5))
        assert (reply.status, stream is None) == (200, False)
        created = await client.send(Send(method="POST", body=lease("aio.w"), timeout=5))
        await client.send(deletion("aio.w", uid=created.body["metadata"]["uid"]))
        return [event.kind async for event in stream.events()]

    assert use(api.kubeconfig, steps) == ["ADDED", "DELETED", "ENDED"]


def test_a_watch_from_too_old_a_version_ends(api: ApiServer) -> None:
    async def steps(client: AsyncApi) -> list[str]:
        reply, stream = await client.open_watch(Watch(lease="aio.w", version="99999999", seconds=1, timeout=5))
        return [reply.status] if stream is None else [event.kind async for event in stream.events()]

    assert use(api.kubeconfig, steps) in (["ENDED"], [504], [410], [400])


def test_401_once_reloads_exactly_once_however_many_ask(tmp_path: Path, loads: list[Source]) -> None:
    with ApiServer(token="fresh", latency=0.05) as server:
        path = kubeconfig(tmp_path, server.url, user={"token": "old"})

        async def steps(client: AsyncApi) -> list[int]:
            assert (await client.connection()).namespace == "default"
            kubeconfig(tmp_path, server.url, user={"token": "fresh"})
            replies = await asyncio.gather(*(client.send(Send(method="GET", timeout=5)) for _ in range(8)))
            return [reply.status for reply in replies]

        assert use(path, steps) == [200] * 8
    assert len(loads) == 2


def test_401_to_a_watch_reloads_too(tmp_path: Path, loads: list[Source]) -> None:
    with ApiServer(token="one") as server:
        path = kubeconfig(tmp_path, server.url, user={"token": "one"})

        async def steps(client: AsyncApi) -> int:
            version = (await client.send(Send(method="GET", timeout=5))).body["metadata"]["resourceVersion"]
            kubeconfig(tmp_path, server.url, user={"token": "two"})
            server.token = "two"
            reply, stream = await client.open_watch(Watch(lease="x", version=version, seconds=1, timeout=5))
            assert stream is not None
            stream.close()
            return reply.status

        assert use(path, steps) == 200
    assert len(loads) == 2


def test_401_always_is_asked_twice(tmp_path: Path, loads: list[Source]) -> None:
    with Server(as_json(401, STATUS)) as server:
        reply = get(kubeconfig(tmp_path, server.url, user={"token": "old"}))
        assert (reply.status, reply.reason) == (401, "Unauthorized")
        assert len(server.requests) == len(loads) == 2


def test_a_reload_never_leads_to_another_cluster(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Server(as_json(401, STATUS)) as server, Server(as_json(200, {})) as other:
        path = kubeconfig(tmp_path, server.url, user={"token": "old"})

        async def steps(client: AsyncApi) -> Reply:
            await client.connection()
            kubeconfig(tmp_path, other.url, user={"token": "new"})
            return await client.send(Send(method="GET", timeout=5))

        assert use(path, steps).status == 401
        assert not other.requests
    assert "make a new LockClient for the other place" in caplog.text


def test_a_slow_exec_plugin_does_not_stop_the_loop(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "made"},
    }
    plugin.write_text(f"#!/bin/sh\nsleep 2\necho '{json.dumps(credential)}'\n")
    plugin.chmod(0o755)
    asked = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - begun)

    async def steps(client: AsyncApi) -> Reply:
        await client.connection()  # what the official client's import costs is not the question
        ticking = asyncio.create_task(tick())
        reply = await client.send(Send(method="GET", timeout=5))
        ticking.cancel()
        return reply

    with ApiServer(token="made") as server:
        assert use(kubeconfig(tmp_path, server.url, user={"exec": asked}), steps).status == 200
    assert longest < 1.5


def test_credentials_that_cannot_be_read_are_no_answer(tmp_path: Path) -> None:
    with ApiServer() as server:
        reply = get(kubeconfig(tmp_path, server.url, user={"token": "a\nX-Evil: 1"}))
    assert reply.status == 0
    assert "X-Evil" not in reply.error


def test_no_configuration_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(LockApiError, match="no Kubernetes configuration"):
        get(tmp_path / "missing")


def test_a_socks_proxy_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(options={"_socks_options": {}}, host="https://there", namespace="default")
    monkeypatch.setattr(line_module, "connect", lambda _source: found)
    with pytest.raises(LockApiError, match="SOCKS proxy"):
        get("whatever")


def test_a_proxy_is_used_unless_it_is_to_be_bypassed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(as_json(200, {"items": []})) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert get(kubeconfig(tmp_path, "http://far.example:8001/gate")).status == 200
        assert proxy.requests[0].startswith("GET http://far.example:8001/gate/apis/coordination.k8s.io/v1/namespaces/")
        assert get(kubeconfig(tmp_path, "https://far.example:6443")).status == 0
        assert proxy.requests[1].startswith("CONNECT far.example:6443 ")
        monkeypatch.setenv("NO_PROXY", "far.example")
        assert get(kubeconfig(tmp_path, "http://far.example:8001"), timeout=0.5).status == 0
        assert sum(request.startswith("GET") for request in proxy.requests) == 1


# ---- servers that are away, mute, or something else


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


@pytest.fixture
def black_hole() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def failed(reply: Reply, *words: str, maybe_done: bool) -> None:
    assert reply.status == 0
    assert reply.maybe_done is maybe_done
    assert reply.error.isascii()
    assert "aiohttp" not in reply.error
    for word in ("API server", *words):
        assert word in reply.error


def test_a_refused_connection(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        reply = get(kubeconfig(tmp_path, f"https://127.0.0.1:{held.getsockname()[1]}"))
    failed(reply, "refused", "check that the cluster is up", maybe_done=False)


def test_a_host_that_does_not_exist(tmp_path: Path) -> None:
    failed(get(kubeconfig(tmp_path, "https://no-such-host.invalid")), "no-such-host.invalid", maybe_done=False)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_black_hole_is_left_in_time(tmp_path: Path, black_hole: str, scheme: str) -> None:
    begun = time.monotonic()
    reply = get(kubeconfig(tmp_path, f"{scheme}://{black_hole}"), timeout=0.4)
    failed(reply, "no answer in time", maybe_done=scheme == "http")
    assert time.monotonic() - begun < 3


def test_a_reply_that_drips_in_is_left_in_time(tmp_path: Path) -> None:
    def drip(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)

    with Server(drip) as server:
        failed(get(kubeconfig(tmp_path, server.url), timeout=0.4), "no whole reply in time", maybe_done=True)


def test_garbage_and_a_server_that_hangs_up(tmp_path: Path) -> None:
    def hang_up(connection: socket.socket, _request: bytes) -> None:
        connection.shutdown(socket.SHUT_RDWR)
        raise EOFError

    with Server(lambda connection, _: connection.sendall(b"\x1b[2JSSH-2.0-OpenSSH\r\n" * 3)) as server:
        failed(get(kubeconfig(tmp_path, server.url), timeout=1), "connection broke", maybe_done=True)
    with Server(hang_up) as server:
        failed(get(kubeconfig(tmp_path, server.url), timeout=1), "connection broke", maybe_done=True)


def test_tls_to_a_plain_port(tmp_path: Path) -> None:
    with Server(always(400, "This is no TLS")) as server:
        failed(get(kubeconfig(tmp_path, f"https://{server.address}")), "does not speak TLS", maybe_done=False)


def test_a_certificate_of_an_unknown_authority_or_for_another_host(
    tmp_path: Path, authority: trustme.CA, ca_file: str
) -> None:
    with Server(always(200, "{}"), tls=serving(authority)) as server:
        failed(get(kubeconfig(tmp_path, server.url)), "certificate cannot be verified", maybe_done=False)
        assert get(kubeconfig(tmp_path, server.url, **{"certificate-authority": ca_file})).status == 200
        assert len(server.requests) == 1
    with Server(always(200, "{}"), tls=serving(authority, "elsewhere.example")) as server:
        options: dict[str, Any] = {"certificate-authority": ca_file}
        failed(get(kubeconfig(tmp_path, server.url, **options)), "cannot be verified", maybe_done=False)
        assert not server.requests
        assert (
            get(kubeconfig(tmp_path, server.url, **options, **{"tls-server-name": "elsewhere.example"})).status == 200
        )
        unverified: dict[str, Any] = {"insecure-skip-tls-verify": True}
        assert get(kubeconfig(tmp_path, server.url, **unverified)).status == 200


def test_a_client_certificate_is_shown(tmp_path: Path, authority: trustme.CA, ca_file: str) -> None:
    context = serving(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca_file)
    issued = authority.issue_cert("somebody@example.com")
    user = {"client-certificate": str(tmp_path / "c.pem"), "client-key": str(tmp_path / "k.pem")}
    issued.cert_chain_pems[0].write_to_path(user["client-certificate"])
    issued.private_key_pem.write_to_path(user["client-key"])
    with Server(always(200, "{}"), tls=context) as server:
        path = kubeconfig(tmp_path, server.url, user=user, **{"certificate-authority": ca_file})
        assert get(path).status == 200


def test_too_much_and_a_compressed_flood_are_refused(tmp_path: Path) -> None:
    import zlib  # noqa: PLC0415

    with Server(always(200, b" " * (17 * 2**20))) as server:
        failed(get(kubeconfig(tmp_path, server.url)), "more than 16,777,216 bytes", maybe_done=True)
    small = zlib.compress(b"x" * (64 * 2**20))
    with Server(always(200, small, headers="Content-Encoding: deflate\r\n")) as server:
        assert get(kubeconfig(tmp_path, server.url)).body is None


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with Server(always(200, "{}")) as other:
        headers = f"Location: {other.url}/\r\n"
        with Server(always(307, "", headers=headers)) as server:
            assert get(kubeconfig(tmp_path, server.url)).status == 307
        assert not other.requests


def test_the_wait_that_the_server_asks_for_is_told(tmp_path: Path) -> None:
    with Server(as_json(429, {"kind": "Status"}, headers="Retry-After: 3\r\n")) as server:
        assert get(kubeconfig(tmp_path, server.url)).retry_after == 3.0


def test_the_library_does_not_load_aiohttp() -> None:
    code = "import sys, tasklock, tasklock.transport.http; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_line_that_is_too_long_is_cut_and_the_last_of_its_stream() -> None:
    closed: list[bool] = []
    pieces = iter([b'{"type":"ADDED"}\n{"object"', b":" * MAX_LINE, b"\n{}\n"])

    async def readany() -> bytes:
        return b"" if closed else next(pieces)

    response: Any = SimpleNamespace(content=SimpleNamespace(readany=readany), close=lambda: closed.append(True))

    async def read() -> list[list[bytes]]:
        stream = Stream(response)
        return [await stream.lines() for _ in range(3)]

    assert asyncio.run(read()) == [[b'{"type":"ADDED"}'], [b"{"], []]
