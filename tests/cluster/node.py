"""A whole node on this machine: the control plane, containerd, kubelet, scheduler and kube-proxy, and real pods.

About twelve seconds from nothing, and a second back to nothing; see `cluster.sandbox` for why nothing can stay
behind. Pods run images that the node was given, for nothing is ever pulled: ``localhost/pause:1`` and those of
`Node.load_image`. There is no DNS; pods find the API server by its environment variables, as client libraries do.
NetworkPolicies are accepted and not enforced.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from cluster import settings
from cluster.build import NodeBinaries, ensure_node_binaries
from cluster.control_plane import ControlPlane
from cluster.oci import Layer, write_image
from cluster.processes import ControlPlaneError, Process
from cluster.sandbox import FOLDER_PREFIX, Network, Sandbox, check_machine, children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trustme

    from cluster.build import Binaries

READY_SECONDS: Final = 60.0
KUBELET: Final = f"system:node:{settings.NODE_NAME}"
SCHEDULER: Final = "system:kube-scheduler"
PROXY: Final = "system:kube-proxy"


class Node(ControlPlane):
    """A running node: ``with Node(images=[path]) as node: node.apply(pod)``, and all that a `ControlPlane` has.

    Attributes:
        network: the machine reaches the pods at their own addresses.
        name: the Node object's.

    """

    folder_prefix = FOLDER_PREFIX
    name = settings.NODE_NAME
    users = (
        (KUBELET, "system:nodes"),
        (SCHEDULER, "system:authenticated"),
        (PROXY, "system:authenticated"),
    )

    def __init__(
        self,
        binaries: Binaries | None = None,
        node_binaries: NodeBinaries | None = None,
        *,
        images: tuple[Path, ...] = (),
        restart_seconds: int = 1,
    ) -> None:
        check_machine()
        self.network = Network.free()
        super().__init__(binaries, controller_manager=True, address=self.network.machine)
        self.node_binaries = node_binaries or ensure_node_binaries()
        self.images = images
        self.restart_seconds = restart_seconds
        self.more_api_args = (
            "--enable-admission-plugins=NodeRestriction",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={self.folder}/kubelet-client.crt",
            f"--kubelet-client-key={self.folder}/kubelet-client.key",
        )
        self.more_manager_args = ("--kube-api-qps=200", "--kube-api-burst=400")
        self._sandbox = Sandbox(self.folder, self.network, self.node_binaries.pause)
        self._cleanup.callback(self._sandbox.stop)

    def __enter__(self) -> Self:
        try:
            self._sandbox.start()
            self._write_settings()
            self._start_inside("containerd", "containerd", f"--config={self.folder}/containerd.toml")
            with ThreadPoolExecutor(1) as importer:
                imported = importer.submit(self._import_images)
                super().__enter__()
                imported.result()  # its passing mounts are gone before the kubelet reads, once, what is mounted
            self._start_node()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End everything; the programs' logs are kept in the folder that ``TASKLOCK_TEST_LOGS`` names, if it does."""
        if (kept := os.environ.get("TASKLOCK_TEST_LOGS")) and self.folder.exists():
            Path(kept).mkdir(parents=True, exist_ok=True)
            for log in self.folder.glob("*.log"):
                shutil.copy(log, kept)
        self._sandbox.stop()
        super().stop()

    def create_namespace(self, prefix: str = "test") -> str:
        name = super().create_namespace(prefix)
        self.wait_namespace(name)
        return name

    def wait_namespace(self, name: str) -> None:
        """Wait until pods can be made in a namespace."""
        path = f"/api/v1/namespaces/{name}"
        wanted = [f"{path}/serviceaccounts/default", f"{path}/configmaps/kube-root-ca.crt"]
        self.wait(
            f"pods can be made in the namespace {name}",
            lambda: all(self.rest.request("GET", one).status == 200 for one in wanted),
        )

    # ---- images

    def load_image(self, archive: Path) -> None:
        """Give the node an image, an OCI archive in a tar file."""
        self._ctr("images", "import", str(archive))

    # ---- violence

    def kill(self, namespace: str, pod: str, container: str | None = None) -> float:
        """Kill -9 the main process of a container, the pod's only one if none is named; returns the moment."""
        pid = self.main_process(namespace, pod, container)
        moment = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return moment

    def main_process(self, namespace: str, pod: str, container: str | None = None) -> int:
        """Return a running container's process 1, as this machine numbers it."""
        status = self.container_status(namespace, pod, container)
        identity = status.get("containerID", "").removeprefix("containerd://")
        for pid in self._sandbox.processes(identity) if identity else []:
            if _number_inside(pid) == 1:
                return pid
        message = f"{namespace}/{pod}: the container {status['name']} runs no process"
        raise ControlPlaneError(message)

    def is_alive(self, process: int) -> bool:
        """Tell whether a process of a container, as this machine numbers it, has not ended yet."""
        return _number_inside(process) != 0

    def running_containers(self, pod_uid: str) -> set[str]:
        """Return the ids of a pod's containers, its sandbox among them, as the kernel knows and nobody reports."""
        return self._sandbox.containers(pod_uid)

    @contextmanager
    def kubelet_paused(self) -> Iterator[None]:
        """Freeze the kubelet: containers live on, and nothing that becomes of them is reported."""
        process = self._processes["kubelet"]
        (pid,) = children(process.pid)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
            process.send(signal.SIGCONT)  # nsenter stops when its child does

    # ---- pods

    def apply(self, *manifests: dict[str, Any], namespace: str = "default") -> None:
        """Apply objects of any kind, with kubectl."""
        everything = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", f"--namespace={namespace}", "--filename=-", input=json.dumps(everything))

    def pod(self, namespace: str, name: str) -> dict[str, Any]:
        """Return a Pod as the API server has it; empty when there is none."""
        reply = self.rest.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
        found: dict[str, Any] = reply.body if reply.status == 200 else {}
        return found

    def pods(self, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        reply = self.rest.request("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")
        found: list[dict[str, Any]] = reply.body["items"]
        return found

    def container_status(self, namespace: str, pod: str, container: str | None = None) -> dict[str, Any]:
        """Return the status of a container of any sort, the first one if none is named."""
        status = self.pod(namespace, pod).get("status", {})
        lists = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
        for found in (entry for name in lists for entry in status.get(name, ())):
            if container in (None, found["name"]):
                entry: dict[str, Any] = found
                return entry
        message = f"{namespace}/{pod} has no status of a container {container or ''}".rstrip()
        raise ControlPlaneError(message)

    def wait_ready(self, namespace: str, *pods: str, seconds: float = READY_SECONDS) -> None:
        for name in pods:
            self.wait(f"{name} ready", lambda name=name: is_ready(self.pod(namespace, name)), seconds=seconds)

    def logs(self, namespace: str, pod: str, *args: str) -> str:
        return self.kubectl("logs", f"--namespace={namespace}", pod, *args)

    def wait(self, what: str, ready: Callable[[], object], *, seconds: float = READY_SECONDS) -> Any:
        """Return the first truthy answer."""
        deadline = time.monotonic() + seconds
        while not (answer := ready()):
            if time.monotonic() > deadline:
                message = f"not within {seconds:.0f} s: {what}"
                raise ControlPlaneError(message)
            time.sleep(0.05)
        return answer

    # ---- private

    def _issue_more(self, authority: trustme.CA) -> None:
        client = authority.issue_cert("kube-apiserver", common_name="kube-apiserver")
        (self.folder / "kubelet-client.crt").write_bytes(client.cert_chain_pems[0].bytes())
        client.private_key_pem.write_to_path(self.folder / "kubelet-client.key")

    def _write_settings(self) -> None:
        (self.folder / "containerd.toml").write_text(settings.containerd(self.folder))
        (self.folder / "cni").mkdir()
        (self.folder / "cni" / "10-pods.conflist").write_text(settings.pod_network(self.folder, self.network))
        (self.folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        kubelet = settings.kubelet(self.folder, self.network, restart_seconds=self.restart_seconds)
        (self.folder / "kubelet.yaml").write_text(kubelet)
        proxy = settings.kube_proxy(self.network, self.user_kubeconfig(PROXY))
        (self.folder / "kube-proxy.yaml").write_text(proxy)
        write_image(
            self.folder / "pause.tar",
            settings.PAUSE_IMAGE,
            [Layer.of_file(self.node_binaries.pause, "pause", self.folder / "pause.layer")],
            {"Entrypoint": ["/pause"]},
        )

    def _start_node(self) -> None:
        self._start(
            "kube-scheduler",
            self.node_binaries.kube_scheduler,
            f"--kubeconfig={self.user_kubeconfig(SCHEDULER)}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        self._start_inside(
            "kubelet",
            self.node_binaries.kubelet,
            f"--config={self.folder}/kubelet.yaml",
            f"--kubeconfig={self.user_kubeconfig(KUBELET)}",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/kubelet/pki",
            f"--hostname-override={self.name}",
            f"--node-ip={self.network.node}",
        )
        self._start_inside("kube-proxy", self.node_binaries.kube_proxy, f"--config={self.folder}/kube-proxy.yaml")
        self._processes["kubelet"].wait_until(self._is_node_ready)
        self._processes["kube-proxy"].wait_until(self._is_proxy_ready)
        self.wait_namespace("default")

    def _import_images(self) -> None:
        self._processes["containerd"].wait_until((self.folder / "containerd.sock").exists)
        for archive in (self.folder / "pause.tar", *self.images):
            self.load_image(archive)

    def _start_inside(self, name: str, program: str | Path, *args: str) -> Process:
        enter, *rest = self._sandbox.inside(program, *args)
        return self._start(name, _which(enter), *rest)

    def _ctr(self, *args: str) -> str:
        command = ["ctr", f"--address={self.folder}/containerd.sock", "--namespace=k8s.io", *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            message = f"{' '.join(command)}: {done.stderr.strip()}"
            raise ControlPlaneError(message)
        return done.stdout

    def _is_node_ready(self) -> bool:
        reply = self.rest.request("GET", f"/api/v1/nodes/{self.name}")
        return reply.status == 200 and is_ready(reply.body)

    def _is_proxy_ready(self) -> bool:
        address = f"http://{self.network.node}:{settings.PROXY_HEALTH_PORT}/healthz"
        try:
            with urllib.request.urlopen(address, timeout=1) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


def is_ready(thing: dict[str, Any]) -> bool:
    """Tell whether a Pod's or a Node's condition ``Ready`` is true."""
    conditions = thing.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _number_inside(pid: int) -> int:
    """Return the number that a process has in its innermost namespace; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status") as lines:  # noqa: PTH123 - read as it is, and quickly
            return next(int(line.split()[-1]) for line in lines if line.startswith("NSpid:"))
    except (OSError, StopIteration):
        return 0


def _which(name: str) -> Path:
    return Path(shutil.which(name) or name)
