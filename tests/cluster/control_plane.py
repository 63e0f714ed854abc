"""etcd, kube-apiserver and, if asked, kube-controller-manager on loopback ports, in a temporary folder.

A real control plane without nodes: pods can be created but nothing runs them, so a test plays the kubelet
by patching ``pods/status``. Without the controller-manager nothing garbage-collects, no namespace is ever
gone for good and no service account appears by itself; ``create_namespace`` makes the one that pods need.
With it, allow some five seconds after the start until it acts.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import signal
import subprocess
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Self

import trustme

from cluster.build import Binaries, ensure_binaries
from cluster.processes import FOLDER_PREFIX, ControlPlaneError, Process, free_ports, owned_folder
from cluster.rest import Rest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class ControlPlane:
    """A running control plane: ``with ControlPlane() as cp: cp.kubectl("get", "leases", "-A")``.

    Attributes:
        url: ``https://127.0.0.1:<port>``, the same after a restart of the API server.
        kubeconfig: a file for the administrator (group ``system:masters``), namespace ``default``.
        ca_file: the PEM file that verifies the API server.
        admin_token: the administrator's bearer token.
        rest: plain HTTP as the administrator.
        binaries: the programs; ``binaries.kubectl`` for a test that starts its own.
        folder: data, logs, kubeconfigs; gone after the end.

    Only with ``durable`` does etcd wait for the disk: a killed one loses nothing either way, and a busy disk stalls it.

    """

    folder_prefix = FOLDER_PREFIX
    service_network = "10.0.0.0/24"
    users: tuple[tuple[str, str], ...] = ()  # who besides the administrator gets a token: (name, group)
    more_api_args: tuple[str, ...] = ()
    more_manager_args: tuple[str, ...] = ()

    def __init__(
        self,
        binaries: Binaries | None = None,
        *,
        controller_manager: bool = False,
        address: str = "127.0.0.1",
        durable: bool = False,
    ) -> None:
        self.binaries = binaries or ensure_binaries()
        self.controller_manager = controller_manager
        self.address = address
        self.durable = durable
        self._cleanup = ExitStack()
        self.folder = self._cleanup.enter_context(owned_folder(self.folder_prefix))
        self._api_port, self._etcd_port, self._peer_port = free_ports(3)
        self.url = f"https://{address}:{self._api_port}"
        self.admin_token = secrets.token_hex(16)
        self.kubeconfig = self.folder / "admin.kubeconfig"
        self.ca_file = self.folder / "ca.crt"
        self._processes: dict[str, Process] = {}
        self._write_credentials()
        self.rest = Rest(self.url, token=self.admin_token, ca=self.ca_file.read_text())

    def __enter__(self) -> Self:
        try:
            self._start_etcd()
            self.start_api()
            if self.controller_manager:
                self.start_controller_manager()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything and remove the folder; a second call does nothing."""
        for process in self._processes.values():  # the data is thrown away: no orderly end
            process.end(signal.SIGKILL)
        self._processes.clear()
        self._cleanup.close()

    # ---- outages

    def stop_api(self, *, kill: bool = False) -> None:
        """Stop the API server, by SIGTERM or at once; etcd, and with it all data, stays."""
        self._processes.pop("kube-apiserver").end(signal.SIGKILL if kill else signal.SIGTERM)

    def start_api(self) -> None:
        """Start the API server, on the same port each time, and wait until it is ready."""
        process = self._start(
            "kube-apiserver",
            self.binaries.kube_apiserver,
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--secure-port={self._api_port}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--cert-dir={self.folder}",
            f"--tls-cert-file={self.folder}/apiserver.crt",
            f"--tls-private-key-file={self.folder}/apiserver.key",
            f"--service-cluster-ip-range={self.service_network}",
            "--authorization-mode=Node,RBAC",
            f"--token-auth-file={self.folder}/tokens.csv",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={self.folder}/service-account.key",
            f"--service-account-key-file={self.folder}/service-account.key",
            "--allow-privileged=true",
            *self.more_api_args,
        )
        process.wait_until(self._is_ready)

    def start_controller_manager(self) -> None:
        """Start what deletes a deleted namespace's objects and collects those without owners; not waited for."""
        self._start(
            "kube-controller-manager",
            self.binaries.kube_controller_manager,
            f"--kubeconfig={self.kubeconfig}",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.folder}/service-account.key",
            f"--root-ca-file={self.ca_file}",
            "--leader-elect=false",
            "--secure-port=0",
            "--concurrent-gc-syncs=4",
            *self.more_manager_args,
        )

    def api_paused(self) -> AbstractContextManager[None]:
        """Freeze the API server: connections are accepted by the kernel and nothing is ever answered."""
        return self._paused("kube-apiserver")

    @contextmanager
    def _paused(self, program: str) -> Iterator[None]:
        process = self._processes[program]
        process.send(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send(signal.SIGCONT)

    # ---- for tests

    def kubectl(self, *args: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess.run calls it
        """Run kubectl as the administrator and return its stdout; CalledProcessError carries its stderr."""
        done = subprocess.run(
            [self.binaries.kubectl, f"--cache-dir={self.folder}/kubectl", *args],
            env={"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder), "PATH": os.environ["PATH"]},
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            error = subprocess.CalledProcessError(done.returncode, ["kubectl", *args], done.stdout, done.stderr)
            error.add_note(done.stderr.strip())
            raise error
        return done.stdout

    def create_namespace(self, prefix: str = "test") -> str:
        """Make a namespace of a fresh name, with its service account ``default``, for leases and pods."""
        manifest = {"metadata": {"generateName": f"{prefix}-"}}
        name: str = self._create("/api/v1/namespaces", manifest)["metadata"]["name"]
        self.create_service_account(name, "default")
        return name

    def create_service_account(self, namespace: str, name: str) -> None:
        """Make a service account; one that exists already is left as it is."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self._create(path, {"metadata": {"name": name}}, existing_is_fine=True)

    def service_account_token(self, namespace: str, name: str, *, pod: str | None = None) -> str:
        """Return a real token of a service account, made if missing; bound to a pod if one is named."""
        self.create_service_account(namespace, name)
        spec: dict[str, object] = {"expirationSeconds": 3600}
        if pod is not None:
            found = self.rest.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}")
            if found.status != 200:
                raise ControlPlaneError(found.body["message"])
            uid = found.body["metadata"]["uid"]
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        token: str = self._create(path, {"spec": spec})["status"]["token"]
        return token

    def service_account_kubeconfig(self, namespace: str, name: str, *, pod: str | None = None) -> Path:
        """Write a kubeconfig with a real token of a service account, its namespace the default one."""
        token = self.service_account_token(namespace, name, pod=pod)
        path = self.folder / f"{namespace}.{name}.{pod or ''}.kubeconfig"
        self._write_kubeconfig(path, name, token, namespace)
        return path

    def service_account_rest(self, namespace: str, name: str, *, pod: str | None = None) -> Rest:
        """Return plain HTTP with a real token of a service account."""
        token = self.service_account_token(namespace, name, pod=pod)
        return Rest(self.url, token=token, ca=self.ca_file.read_text())

    def admin_kubeconfig(self, namespace: str) -> Path:
        """Write the administrator's kubeconfig with another default namespace."""
        path = self.folder / f"{namespace}.admin.kubeconfig"
        self._write_kubeconfig(path, "admin", self.admin_token, namespace)
        return path

    def user_kubeconfig(self, name: str) -> Path:
        """Return the kubeconfig of one of ``users``."""
        return self.folder / f"{name}.kubeconfig"

    def log(self, program: str) -> Path:
        """Return the log file of one program, as ``kube-apiserver``."""
        return self.folder / f"{program}.log"

    # ---- private

    def _create(self, path: str, body: dict[str, Any], *, existing_is_fine: bool = False) -> Any:
        reply = self.rest.request("POST", path, body)
        if reply.status == 201 or (existing_is_fine and reply.status == 409):
            return reply.body
        message = f"POST {path}: {reply.status} {reply.body and reply.body.get('message')}"
        raise ControlPlaneError(message)

    def _write_credentials(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        first_service = str(ipaddress.ip_network(self.service_network)[1])  # what pods call the API server
        names = {"127.0.0.1", self.address, first_service, "localhost", "kubernetes.default.svc"}
        serving = authority.issue_cert(*sorted(names))
        (self.folder / "apiserver.crt").write_bytes(b"".join(pem.bytes() for pem in serving.cert_chain_pems))
        serving.private_key_pem.write_to_path(self.folder / "apiserver.key")
        # Any EC key will do to sign service account tokens.
        authority.issue_cert("service-account").private_key_pem.write_to_path(
            self.folder / "service-account.key",
        )
        self._issue_more(authority)
        tokens = {("admin", "system:masters"): self.admin_token}
        for name, group in self.users:
            tokens[name, group] = token = secrets.token_hex(16)
            self._write_kubeconfig(self.user_kubeconfig(name), name, token, "default")
        lines = [f'{token},{name},{name},"{group}"\n' for (name, group), token in tokens.items()]
        (self.folder / "tokens.csv").write_text("".join(lines))
        self._write_kubeconfig(self.kubeconfig, "admin", self.admin_token, "default")

    def _issue_more(self, authority: trustme.CA) -> None:
        """Issue what a subclass needs besides."""

    def _write_kubeconfig(self, path: Path, user: str, token: str, namespace: str) -> None:
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        context = {"cluster": "test", "user": user, "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": context}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=2))  # JSON is YAML

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._peer_port))
        self._start(
            "etcd",
            self.binaries.etcd,
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--heartbeat-interval=10",
            "--election-timeout=100",
            f"--unsafe-no-fsync={str(not self.durable).lower()}",
        )

    def _start(self, name: str, binary: Path, *args: str) -> Process:
        self._processes[name] = process = Process(name, self.log(name), binary, *args)
        return process

    def _is_ready(self) -> bool:
        try:
            return self.rest.request("GET", "/readyz").status == 200
        except (OSError, HTTPException):
            return False
