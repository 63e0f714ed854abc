"""No kubeconfig, a broken one, or one that means nothing: what the user is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bad_input.servers import kubeconfig, sentence
from tasklock import InvalidLockError, LockApiError, LockClient

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {
    "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "a", "user": {}}],
    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    "current-context": "a",
}


def refused(client: LockClient, *words: str, reason: str) -> str:
    """Check that every use of a lock says so, with nothing left behind."""
    text = ""
    for use in (
        client.lock_task("x").acquire,
        lambda: client.is_locked("x"),
        lambda: client.clear("x"),
        client.flush_locks,
        client.locks,
        client.flush_stale,
        lambda: client.namespace,
    ):
        with pytest.raises(LockApiError) as caught:
            use()
        assert type(caught.value) is LockApiError
        assert (caught.value.status, caught.value.reason) == (0, reason)
        text = sentence(caught.value, *words)
    assert not client.session.abandoned, "there is nothing to clean up, and nothing that could"
    client.close()
    return text


def test_no_kubeconfig_at_all() -> None:
    refused(LockClient(), "no Kubernetes configuration", "set KUBECONFIG", "kubeconfig=", reason="NoConfiguration")


def test_making_a_client_and_a_lock_needs_none() -> None:
    assert LockClient().lock_task("x").name == "x"


def test_a_kubeconfig_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(LockClient(kubeconfig=tmp_path / "missing"), "no kubeconfig at", "missing", reason="NoConfiguration")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/one:{tmp_path}/two")
    refused(LockClient(), "no kubeconfig at", reason="NoConfiguration")


@pytest.mark.parametrize("path", ["", "\x00", "a\nb", "x" * 5000], ids=lambda path: ascii(path)[:10])
def test_a_kubeconfig_path_that_is_none(path: str) -> None:
    client = LockClient(kubeconfig=path)
    with pytest.raises(LockApiError) as caught:
        client.locks()
    sentence(caught.value, "kubeconfig" if caught.value.reason == "NoConfiguration" else "configuration")


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    refused(LockClient(kubeconfig=tmp_path), "no kubeconfig at", reason="NoConfiguration")


@pytest.mark.parametrize("path", [5, {"clusters": []}, b"\xff"], ids=repr)
def test_a_kubeconfig_that_is_no_path(path: Any) -> None:
    client = LockClient(kubeconfig=path)
    with pytest.raises(LockApiError) as caught:
        client.locks()
    sentence(caught.value, "onfiguration")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just words",
        "a: [b",
        "- 1\n- 2",
        "null",
        "\x00\x01\x02",
        "\tapiVersion: v1",
        "!!python/object/apply:os.system ['touch /tmp/pwned']",
        "clusters: 5\ncontexts: 6\nusers: 7\ncurrent-context: 8",
        "a: &a [*a]",
        json.dumps({**GOOD, "clusters": []}),
        json.dumps({**GOOD, "contexts": []}),
        json.dumps({**GOOD, "current-context": None}),
        json.dumps({**GOOD, "contexts": [{"name": "a"}]}),
        json.dumps({**GOOD, "contexts": "abc"}),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_a_kubeconfig_that_is_malformed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    refused(
        LockClient(kubeconfig=path), "configuration cannot be used", "kubectl config view", reason="BadConfiguration"
    )


def test_a_kubeconfig_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(b"\xff\xfe\x80")
    refused(LockClient(kubeconfig=path), "configuration cannot be used", reason="BadConfiguration")


@pytest.mark.parametrize(
    "server", ["", "nonsense", "ftp://x", "http://", "https://[::1", "http://x:99999", "a b", "://"]
)
def test_a_server_address_that_is_none(tmp_path: Path, server: str) -> None:
    client = LockClient(kubeconfig=kubeconfig(tmp_path, server))
    with pytest.raises(LockApiError) as caught:
        client.lock_task("x").acquire(timeout=0.2)
    sentence(caught.value)
    client.close()


def test_a_context_that_is_missing_is_named(tmp_path: Path) -> None:
    client = LockClient(kubeconfig=kubeconfig(tmp_path, "https://x"), context="production")
    refused(client, "production", "kubectl config get-contexts", reason="BadConfiguration")


@pytest.mark.parametrize("context", [5, "", "\x1b[2J"], ids=repr)
def test_a_context_that_is_none(tmp_path: Path, context: Any) -> None:
    client = LockClient(kubeconfig=kubeconfig(tmp_path, "https://127.0.0.1:1"), context=context)
    with pytest.raises(LockApiError) as caught:
        client.locks()
    sentence(caught.value)


def test_certificates_that_are_missing_or_nonsense(tmp_path: Path) -> None:
    (tmp_path / "nonsense").write_text("no certificate")
    for file in ("missing.crt", "nonsense"):
        path = kubeconfig(tmp_path, "https://127.0.0.1:1", **{"certificate-authority": str(tmp_path / file)})
        client = LockClient(kubeconfig=path)
        with pytest.raises(LockApiError) as caught:
            client.lock_task("x").acquire()
        sentence(caught.value)
        client.close()


@pytest.mark.parametrize(
    "namespace", ["..", "../kube-system", "a/b", "A", "a b", "\x1b[2J", "x" * 64, 5, ["x"]], ids=repr
)
def test_a_namespace_that_no_cluster_has(namespace: Any) -> None:
    with pytest.raises(InvalidLockError) as caught:
        LockClient(namespace=namespace)
    sentence(caught.value, "namespace must be a DNS label")


@pytest.mark.parametrize("namespace", ["..", "a/../../nodes", "\x1b[2J"], ids=repr)
def test_a_namespace_of_the_environment_that_no_cluster_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str
) -> None:
    monkeypatch.setenv("TASKLOCK_NAMESPACE", namespace)
    client = LockClient(kubeconfig=kubeconfig(tmp_path, "https://127.0.0.1:1"))
    refused(client, "TASKLOCK_NAMESPACE", "DNS label", reason="BadConfiguration")


def test_an_empty_namespace_is_found_out(tmp_path: Path) -> None:
    assert LockClient(kubeconfig=kubeconfig(tmp_path, "https://127.0.0.1:1"), namespace="").namespace == "default"
