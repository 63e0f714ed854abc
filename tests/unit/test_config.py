"""Where the API server is: in-cluster, else kubeconfig; and what is said where there is neither."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import incluster_config

from tasklock.errors import LockApiError
from tasklock.testing import ApiServer
from tasklock.transport import config as module
from tasklock.transport.config import Connection, Source, connect

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start from an environment that says nothing of any cluster."""
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG", "TASKLOCK_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    from kubernetes.config import kube_config  # noqa: PLC0415

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "no" / "config"))


def config(*, server: str = "https://one:6443", name: str = "one", user: Json | None = None, **context: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": user or {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, **context}}],
        "current-context": name,
    }


def write(path: Path, *configs: Json) -> Path:
    merged: Json = {**configs[0]}
    for other in configs[1:]:
        for key in ("clusters", "users", "contexts"):
            merged[key] = merged[key] + other[key]
    path.write_text(json.dumps(merged))
    return path


def authorization(connection: Connection) -> str | None:
    return {key.lower(): value for key, value in connection.credentials().items()}.get("authorization")


def test_a_kubeconfig_by_its_path(tmp_path: Path) -> None:
    path = write(tmp_path / "k", config(server="https://there:6443/", user={"token": "t"}))
    for given in (path, str(path)):
        connection = connect(Source(kubeconfig=given))
        assert connection.host == "https://there:6443"
        assert connection.namespace == "default"
        assert authorization(connection) == "Bearer t"


def test_an_address_with_a_path_keeps_it(tmp_path: Path) -> None:
    connection = connect(Source(kubeconfig=write(tmp_path / "k", config(server="https://gate/k8s/clusters/c-1"))))
    assert connection.prefix == "/k8s/clusters/c-1"


def test_kubeconfig_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(write(tmp_path / "k", config())))
    assert connect(Source()).host == "https://one:6443"


def test_a_list_of_kubeconfigs_in_which_some_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "1", config(name="one"))
    second = config(name="two", server="https://two:6443", namespace="ns-two")
    del second["current-context"]
    two = write(tmp_path / "2", second)
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(tmp_path / "missing"), str(one), str(two)]))
    assert connect(Source()).host == "https://one:6443"
    connection = connect(Source(context="two"))
    assert (connection.host, connection.namespace) == ("https://two:6443", "ns-two")


def test_of_several_kubeconfigs_the_first_current_context_counts_as_for_kubectl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write(tmp_path / "1", config(server="https://one:6443", name="one"))
    two = write(tmp_path / "2", config(server="https://two:6443", name="two"))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(one), str(two)]))
    assert connect(Source()).host == "https://one:6443"
    assert connect(Source(context="two")).host == "https://two:6443"


def test_a_context_by_its_name(tmp_path: Path) -> None:
    other = config(name="two", server="https://two:6443", namespace="two-ns")
    path = write(tmp_path / "k", config(namespace="one-ns"), other)
    assert connect(Source(kubeconfig=path)).namespace == "one-ns"
    assert connect(Source(kubeconfig=path, context="two")).namespace == "two-ns"


def test_the_namespace_is_the_explicit_one_then_the_environments_then_the_contexts_then_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "k", config(namespace="of-context"))
    assert connect(Source(kubeconfig=path)).namespace == "of-context"
    monkeypatch.setenv("TASKLOCK_NAMESPACE", "of-environment")
    assert connect(Source(kubeconfig=path)).namespace == "of-environment"
    assert connect(Source(kubeconfig=path, namespace="explicit")).namespace == "explicit"
    monkeypatch.setenv("TASKLOCK_NAMESPACE", "")
    assert connect(Source(kubeconfig=write(path, config()))).namespace == "default"


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    path = write(tmp_path / "k", config(user={"tokenFile": str(token)}))
    assert authorization(connect(Source(kubeconfig=path))) == "Bearer first"
    token.write_text("second\n")
    assert authorization(connect(Source(kubeconfig=path))) == "Bearer second"
    del monkeypatch


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def exec_user(command: Path) -> Json:
    return {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(command), "interactiveMode": "Never"}
    }


def test_an_exec_plugin_gives_the_token(tmp_path: Path) -> None:
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    plugin = script(tmp_path / "plugin", f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    connection = connect(Source(kubeconfig=write(tmp_path / "k", config(user=exec_user(plugin)))))
    assert authorization(connection) == "Bearer from-plugin"


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\necho 'log in first' >&2; exit 3\n", "#!/bin/sh\necho nonsense\n", "#!/bin/sh\necho '{}'\n"]
)
def test_an_exec_plugin_that_fails_leaks_nothing_foreign(tmp_path: Path, text: str) -> None:
    plugin = script(tmp_path / "plugin", text)
    path = write(tmp_path / "k", config(user=exec_user(plugin)))
    try:
        assert authorization(connect(Source(kubeconfig=path))) is None
    except LockApiError as error:
        assert error.reason == "BadConfiguration"  # noqa: PT017 - either is right: no credentials, or an error of ours


def test_client_certificates_are_used(tmp_path: Path) -> None:
    import trustme  # noqa: PLC0415

    authority = trustme.CA()
    mine = authority.issue_cert("me@example.org")
    data = {
        "client-certificate-data": base64.b64encode(mine.cert_chain_pems[0].bytes()).decode(),
        "client-key-data": base64.b64encode(mine.private_key_pem.bytes()).decode(),
    }
    connection = connect(Source(kubeconfig=write(tmp_path / "k", config(user=data))))
    for file, whole in (
        (connection.pool.cert_file, mine.cert_chain_pems[0]),
        (connection.pool.key_file, mine.private_key_pem),
    ):
        assert file
        assert Path(file).read_bytes() == whole.bytes()


def test_the_certificate_authority_of_the_kubeconfig_is_trusted_and_no_other() -> None:
    with ApiServer(tls=True) as api:
        connection = connect(Source(kubeconfig=api.kubeconfig))
        assert connection.pool.urlopen("GET", f"{api.url}/version", retries=False).status == 200
        connection.pool.close()


# in the cluster


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a service account's folder, and this a pod."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("pod-token")
    (folder / "namespace").write_text("pod-namespace\n")
    with ApiServer(tls=True) as api:
        (folder / "ca.crt").write_text(Path(str(api.ca_file)).read_text())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(module, "NAMESPACE_FILE", folder / "namespace")
    loader = incluster_config.InClusterConfigLoader
    real = loader.__init__

    def with_files(self: object, token_filename: str, cert_filename: str, *rest: object, **more: object) -> None:
        del token_filename, cert_filename
        real(self, str(folder / "token"), str(folder / "ca.crt"), *rest, **more)

    monkeypatch.setattr(loader, "__init__", with_files)
    return folder


@pytest.mark.usefixtures("account")
def test_in_a_pod_it_is_the_service_account() -> None:
    connection = connect(Source())
    assert connection.host == "https://10.96.0.1:443"
    assert connection.namespace == "pod-namespace"
    assert (authorization(connection) or "").lower() == "bearer pod-token"


@pytest.mark.usefixtures("account")
def test_in_a_pod_what_the_caller_says_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "k", config(), config(name="two", server="https://two:6443"))
    assert connect(Source(kubeconfig=path)).host == "https://one:6443"
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert connect(Source(context="two")).host == "https://two:6443"
    assert connect(Source()).host == "https://10.96.0.1:443"
    assert connect(Source(namespace="explicit")).namespace == "explicit"
    monkeypatch.setenv("TASKLOCK_NAMESPACE", "of-environment")
    assert connect(Source()).namespace == "of-environment"


def test_in_a_pod_a_rotated_token_is_picked_up(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect(Source())
    assert (authorization(connection) or "").lower() == "bearer pod-token"
    (account / "token").write_text("rotated")
    real = incluster_config.datetime.datetime

    class Later(real):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            moment: dt.datetime = real.now(tz) + dt.timedelta(minutes=2)
            return moment

    monkeypatch.setattr(incluster_config.datetime, "datetime", Later)
    assert (authorization(connection) or "").lower() == "bearer rotated"


def test_in_a_pod_without_a_token_it_is_an_error_of_ours(account: Path) -> None:
    (account / "token").unlink()
    with pytest.raises(LockApiError) as caught:
        connect(Source())
    assert caught.value.reason == "BadConfiguration"


def test_in_a_pod_without_a_namespace_file_it_is_default(account: Path) -> None:
    (account / "namespace").unlink()
    assert connect(Source()).namespace == "default"


def test_the_headers_and_the_body_of_a_request_are_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    send = HTTPConnection.send

    def note(connection: HTTPConnection, data: bytes) -> None:
        written.append(data)
        send(connection, data)

    monkeypatch.setattr(HTTPConnection, "send", note)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as other:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        pool = connect(Source(kubeconfig=write(tmp_path / "k", config(server=url)))).pool
        sending = other.submit(pool.urlopen, "POST", "/", body=b"{}", retries=False)
        peer, _ = server.accept()
        with peer:
            assert peer.recv(65_536).endswith(b"{}")
            peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            assert sending.result(5).status == 204
    assert [data[:4] + data[-6:] for data in written] == [b"POST\r\n\r\n{}"]


CONNECTING_AT_ONCE = """
import sys, threading
from tasklock import LockClient

def look():
    found.append(LockClient(kubeconfig=sys.argv[1]).locks())

found = []
threads = [threading.Thread(target=look) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(found))
"""


def test_clients_that_connect_first_in_several_threads_at_once_do_not_see_half_of_what_is_imported() -> None:
    with ApiServer() as server:
        command = [sys.executable, "-c", CONNECTING_AT_ONCE, server.kubeconfig]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "8", done.stderr
