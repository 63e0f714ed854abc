"""A server that is not there, does not answer, or speaks another language."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import trustme

from bad_input.servers import Server, always, kubeconfig, sentence
from tasklock import LockApiError, LockClient, TaskLockedException

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def free_port() -> Iterator[int]:
    """Reserve a port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Listen, and never answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def full_queue() -> Iterator[str]:
    """Listen with no room left for those who wait to be accepted: the kernel swallows what would open a connection."""
    with ExitStack() as ending:
        listener = ending.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        with suppress(TimeoutError):
            for _ in range(16):
                ending.enter_context(socket.create_connection(listener.getsockname(), timeout=0.2))
            pytest.fail("the kernel queues more connections than it was told to")
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def refused(path: str, *words: str, timeout: float = 0, within: float = 4.5) -> LockApiError:
    """Acquire a lock in vain, and sooner than the 5 s after which a request is given up."""
    begun = time.monotonic()
    client = LockClient(kubeconfig=path)
    with pytest.raises(LockApiError) as caught:
        client.lock_task("x").acquire(timeout=timeout)
    assert time.monotonic() - begun < within
    assert not isinstance(caught.value, TaskLockedException)
    sentence(caught.value, "lock 'x'", *words)
    client.session.api.close()
    return caught.value


def test_a_refused_connection_is_told_at_once(tmp_path: Path, free_port: int) -> None:
    error = refused(kubeconfig(tmp_path, f"https://127.0.0.1:{free_port}"), "127.0.0.1", "check that the cluster is up")
    assert (error.status, error.reason) == (0, "Unreachable")


def test_a_refused_connection_leaves_nothing_to_clean_up(tmp_path: Path, free_port: int) -> None:
    client = LockClient(kubeconfig=kubeconfig(tmp_path, f"http://127.0.0.1:{free_port}"))
    with pytest.raises(LockApiError):
        client.lock_task("x").acquire()
    assert not client.session.abandoned


def test_every_other_use_is_told_too(tmp_path: Path, free_port: int) -> None:
    client = LockClient(kubeconfig=kubeconfig(tmp_path, f"http://127.0.0.1:{free_port}"))
    for use in (lambda: client.is_locked("x"), lambda: client.clear("x"), client.flush_locks, client.locks):
        with pytest.raises(LockApiError) as caught:
            use()
        sentence(caught.value, "no answer from the API server", "check that the cluster is up")


def test_a_host_name_that_does_not_exist(tmp_path: Path) -> None:
    refused(kubeconfig(tmp_path, "https://no-such-host.invalid:6443"), "no-such-host.invalid", within=10)


def test_a_black_hole_is_left_at_the_deadline(tmp_path: Path, black_hole: str) -> None:
    error = refused(kubeconfig(tmp_path, f"http://{black_hole}"), "no answer in time", timeout=0.5)
    assert error.status == 0


def test_a_black_hole_behind_tls_is_left_at_the_deadline(tmp_path: Path, black_hole: str) -> None:
    refused(kubeconfig(tmp_path, f"https://{black_hole}"), "check the network", timeout=0.5)


def test_an_address_that_swallows_everything_is_left_at_the_deadline(tmp_path: Path, full_queue: str) -> None:
    refused(kubeconfig(tmp_path, f"https://{full_queue}"), full_queue, "no answer in time", timeout=0.5)


def test_a_reply_that_drips_in_is_left_soon_after_the_deadline(tmp_path: Path) -> None:
    def drip(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)

    with Server(drip) as server:
        refused(kubeconfig(tmp_path, server.url), "in time", timeout=0.5)


def test_plain_tcp_garbage(tmp_path: Path) -> None:
    with Server(lambda connection, _: connection.sendall(b"\x1b[2JSSH-2.0-OpenSSH\r\n" * 3)) as server:
        refused(kubeconfig(tmp_path, server.url), "connection broke", "check", timeout=0.5)


def test_a_server_that_hangs_up(tmp_path: Path) -> None:
    def hang_up(connection: socket.socket, _request: bytes) -> None:
        connection.shutdown(socket.SHUT_RDWR)
        raise EOFError

    with Server(hang_up) as server:
        refused(kubeconfig(tmp_path, server.url), "connection broke", timeout=0.5)


def test_tls_to_a_plain_port_says_so_at_once(tmp_path: Path) -> None:
    with Server(always(400, "This is no TLS")) as server:
        error = refused(kubeconfig(tmp_path, f"https://{server.address}"), "does not speak TLS", "https or http")
    assert error.status == 0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_plain_http_to_a_tls_port(tmp_path: Path, tls: ssl.SSLContext) -> None:
    with Server(always(200, "{}"), tls=tls) as server:
        refused(kubeconfig(tmp_path, f"http://{server.address}"), "check", timeout=0.5)


def test_what_a_go_server_says_to_plain_http_on_its_tls_port(tmp_path: Path) -> None:
    with Server(always(400, "Client sent an HTTP request to an HTTPS server.\n", kind="text/plain")) as server:
        error = refused(kubeconfig(tmp_path, server.url), "400", "HTTPS server", "check that the configured address")
    assert error.status == 400


def test_an_unknown_certificate_authority(tmp_path: Path, tls: ssl.SSLContext) -> None:
    with Server(always(200, "{}"), tls=tls) as server:
        refused(kubeconfig(tmp_path, server.url), "certificate cannot be verified", "certificate authority")
        assert not server.requests, "nothing was sent to whom we do not trust"


def test_a_certificate_for_another_host(tmp_path: Path, authority: trustme.CA) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    file = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(str(file))
    with Server(always(200, "{}"), tls=context) as server:
        refused(kubeconfig(tmp_path, server.url, **{"certificate-authority": str(file)}), "cannot be verified")
        assert not server.requests


def test_a_hundred_megabytes_are_refused_with_bounded_memory(tmp_path: Path) -> None:
    sent = 0

    def flood(connection: socket.socket, _request: bytes) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n")
        for _ in range(1600):
            connection.sendall(b"x" * 65_536)
            sent += 65_536

    import tracemalloc  # noqa: PLC0415

    with Server(flood) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        _ = client.namespace  # what the official client's import needs is not the question
        tracemalloc.start()
        try:
            with pytest.raises(LockApiError) as caught:
                client.locks()
            assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
        finally:
            tracemalloc.stop()
        sentence(caught.value, "more than 16,777,216 bytes", "check")
        assert sent < 60 * 2**20
        client.close()


def test_a_compressed_reply_that_grows_is_refused_too(tmp_path: Path) -> None:
    import zlib  # noqa: PLC0415

    small = zlib.compress(b"x" * (64 * 2**20))
    with Server(always(200, small, headers="Content-Encoding: deflate\r\n")) as server:
        client = LockClient(kubeconfig=kubeconfig(tmp_path, server.url))
        with pytest.raises(LockApiError) as caught:
            client.locks()
        sentence(caught.value)
        client.close()


def test_threads_do_not_pile_up_behind_a_black_hole(tmp_path: Path, black_hole: str) -> None:
    client = LockClient(kubeconfig=kubeconfig(tmp_path, f"http://{black_hole}"))
    for number in range(5):
        with pytest.raises(LockApiError):
            client.lock_task(f"x{number}").acquire(timeout=0.1)
    owners = [getattr(getattr(one, "_target", None), "__self__", None) for one in threading.enumerate()]
    assert 1 <= owners.count(client.session.keeper) <= 6, "one that keeps time, and one look for each abandoned attempt"
