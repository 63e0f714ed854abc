"""Where the contract is kept: one namespace of an API server, as locking programs and as its administrator see it."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from cluster.leases import Leases
from cluster.rest import Rest
from tasklock import LockClient
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cluster.control_plane import ControlPlane
    from tasklock.testing import ApiServer

APP = "contract"
WORKER = "tasklock-worker"
MANIFESTS = Path(__file__).parents[2] / "manifests"


class Place:
    """One namespace; what is made here is closed at the end.

    Attributes:
        kubeconfig: of a locking program, which may do no more than the Role of ``manifests/`` allows.
        admin_kubeconfig: of somebody who may do anything.
        leases: the Leases as the administrator sees them, by plain HTTP.
        server: the embedded server; None on a real one.

    """

    def __init__(
        self,
        *,
        kubeconfig: str | Path,
        admin_kubeconfig: str | Path,
        namespace: str,
        server: ApiServer | None = None,
    ) -> None:
        self.kubeconfig = str(kubeconfig)
        self.admin_kubeconfig = str(admin_kubeconfig)
        self.namespace = namespace
        self.leases = Leases(Rest.from_kubeconfig(admin_kubeconfig), namespace)
        self.server = server
        self.ending = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.close()

    def client(self, app: str = APP, **options: Any) -> LockClient:
        """Make a client as a program of its own would: nothing is shared with any other."""
        options = {"kubeconfig": self.kubeconfig, "namespace": self.namespace, **options}
        return self.ending.enter_context(LockClient(app, **options))

    def lease(self, name: str, app: str = APP) -> Any:
        """Return the Lease of a lock as it is now, or None."""
        reply = self.leases.get(lease_name(app, name))
        assert reply.status in {200, 404}, reply
        return reply.body if reply.status == 200 else None

    def delete(self, name: str) -> None:
        """Remove the Lease of a lock as ``kubectl delete lease`` does: without any precondition."""
        reply = self.leases.delete(lease_name(APP, name))
        assert reply.status == 200, reply

    def plant(self, name: str, *, ttl: int, app: str = APP, **annotations: str) -> Any:
        """Create the Lease of somebody who will never be heard of again."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return self.leases.create(
            lease_name(app, name),
            metadata={
                "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": app},
                "annotations": {"tasklock.dev/name": name}
                | {f"tasklock.dev/{key}": text for key, text in annotations.items()},
            },
            holderIdentity="somebody_0badcafe",
            leaseDurationSeconds=ttl,
            acquireTime=now,
            renewTime=now,
        )

    def requests(self) -> list[str]:
        """Return what the embedded server was asked since the last call: ``POST``, ``LIST``, ``WATCH`` and so on."""
        assert self.server is not None
        asked, self.server.requests[:] = list(self.server.requests), []
        return [_verb(request.method, request.path) for request in asked]


def _verb(method: str, path: str) -> str:
    if "watch=1" in path:
        return "WATCH"
    return "LIST" if method == "GET" and path.partition("?")[0].endswith("/leases") else method


def grant_role(control_plane: ControlPlane, namespace: str, *, account: str = WORKER, without: str = "") -> Path:
    """Bind a service account to the Role that ``manifests/`` ships, or to the same without one verb.

    Returns the account's kubeconfig, once the API server acts upon it.
    """
    role, binding = (
        yaml.safe_load((MANIFESTS / "client" / f"{kind}.yaml").read_text()) for kind in ("role", "rolebinding")
    )
    (rule,) = role["rules"]
    rule["verbs"] = [verb for verb in rule["verbs"] if verb != without]
    for thing in (role, binding):
        thing["metadata"] |= {"name": f"for-{account}", "namespace": namespace}
    binding["roleRef"]["name"] = role["metadata"]["name"]
    binding["subjects"] = [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    for kind, thing in (("roles", role), ("rolebindings", binding)):
        reply = control_plane.rest.request("POST", f"{rbac}/{kind}", thing)
        assert reply.status == 201, reply
    kubeconfig = control_plane.service_account_kubeconfig(namespace, account)
    wait_until(lambda: _may(Rest.from_kubeconfig(kubeconfig), rule["verbs"][0], namespace))
    return kubeconfig


def _may(rest: Rest, verb: str, namespace: str) -> bool:
    asked = {"verb": verb, "group": "coordination.k8s.io", "resource": "leases", "namespace": namespace}
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    return bool(rest.request("POST", reviews, {"spec": {"resourceAttributes": asked}}).body["status"]["allowed"])


def real_place(control_plane: ControlPlane, namespace: str) -> Place:
    """Make a place of a namespace on the real API server; its programs have exactly the Role that we ship."""
    return Place(
        kubeconfig=grant_role(control_plane, namespace),
        admin_kubeconfig=control_plane.kubeconfig,
        namespace=namespace,
    )


def kubeconfig_at(original: str | Path, port: int, path: Path) -> Path:
    """Write a kubeconfig like this one, but for the port on 127.0.0.1."""
    config = yaml.safe_load(Path(original).read_text())
    cluster = config["clusters"][0]["cluster"]
    cluster["server"] = f"{cluster['server'].rpartition(':')[0]}:{port}"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


def wait_until(true: Callable[[], object], *, within: float = 20.0, every: float = 0.01) -> None:
    """Wait for something to become true; fail if it does not."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"not so within {within:g} s"
        time.sleep(every)


def process_mark() -> str:
    """Return what a Lease says of this very process: boot id, PID namespace, pid and start time."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}/{os.getpid()}/{started}"


def strictly_increase(tokens: Iterable[int]) -> bool:
    return all(before < after for before, after in pairwise(tokens))
