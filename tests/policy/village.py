"""A namespace under the ownership policy, and who lives there: pods with tokens of their own, people, the operator."""

from __future__ import annotations

import json
import secrets
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chart.render import NAMESPACE, RELEASE
from cluster.leases import Leases
from cluster.rest import Rest
from contract.place import wait_until
from tasklock.lease import POD_UID, Claim
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from cluster.control_plane import ControlPlane
    from cluster.rest import Reply

CHART: Final = Path(__file__).parents[2] / "charts" / "tasklock"
APP: Final = "village"
WORKER: Final = "worker"  # a lock client that the policy knows
POLICY: Final = f"{RELEASE}-ownership"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, and Leases as its programs write them."""

    name: str
    uid: str
    leases: Leases


class Village:
    """One namespace of an API server on which the chart is installed."""

    def __init__(self, control_plane: ControlPlane, namespace: str = "jobs") -> None:
        self.control_plane = control_plane
        self.namespace = namespace
        self.leases = Leases(control_plane.rest, namespace)

    def pod(self, account: str = WORKER) -> Pod:
        """Make a pod that nothing runs, with a token that is bound to it."""
        name = f"{account}-{secrets.token_hex(4)}"
        self.control_plane.create_service_account(self.namespace, account)
        spec = {"serviceAccountName": account, "containers": [{"name": "main", "image": "none"}]}
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        made = self.control_plane.rest.request("POST", path, {"metadata": {"name": name}, "spec": spec})
        assert made.status == 201, made
        rest = self.control_plane.service_account_rest(self.namespace, account, pod=name)
        return Pod(name, made.body["metadata"]["uid"], Leases(rest, self.namespace))

    def person(self, name: str, role: str) -> Leases:
        """Give somebody, in no pod, a ClusterRole in the namespace."""
        self.bind(name, role)
        return Leases(self.control_plane.service_account_rest(self.namespace, name), self.namespace)

    def bind(self, account: str, role: str, *, of: str | None = None) -> None:
        """Bind a ClusterRole to an account of the namespace, or ``of`` another; returns when that is in force."""
        self.control_plane.create_service_account(of or self.namespace, account)
        subject = {"kind": "ServiceAccount", "name": account, "namespace": of or self.namespace}
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}/rolebindings"
        binding = {
            "metadata": {"name": f"{account}-{role}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }
        if self.control_plane.rest.request("POST", path, binding).status == 409:
            return
        asked = {"namespace": self.namespace, "verb": "delete", "group": "coordination.k8s.io", "resource": "leases"}
        if role == "edit":
            asked["verb"] = "update"
        review = {
            "spec": {"resourceAttributes": asked, "user": f"system:serviceaccount:{subject['namespace']}:{account}"}
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        wait_until(lambda: self.control_plane.rest.request("POST", path, review).body["status"]["allowed"])

    def held(self, pod: Pod, name: str | None = None) -> Any:
        """Let a pod take a lock; returns its Lease."""
        reply = create(pod.leases, lock(name or secrets.token_hex(4), pod.uid))
        assert reply.status == 201, reply.body
        return reply.body


def lock(name: str, uid: str | None, *, ttl: int = 30) -> dict[str, Any]:
    """Return the Lease of a lock as the library would write it in the pod of that uid."""
    claim = Claim(
        lease=lease_name(APP, name),
        app=APP,
        name=name,
        holder=f"somebody_{secrets.token_hex(4)}",
        ttl=ttl,
        annotations={POD_UID: uid} if uid else {},
    )
    return claim.body(datetime.now(UTC))


def create(leases: Leases, body: object, *, query: str = "") -> Reply:
    return leases.rest.request("POST", leases.path + (f"?{query}" if query else ""), body)


def renewal() -> dict[str, Any]:
    return {"spec": {"renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}}


def refused(reply: Reply, sentence: str) -> None:
    """Assert that the policy, and not RBAC, has refused with 403 and a sentence that holds these words."""
    assert (reply.status, reply.body["reason"]) == (403, "Forbidden"), reply.body
    message = reply.body["message"]
    assert f"ValidatingAdmissionPolicy '{POLICY}'" in message, message
    assert sentence in message, message


def install(helm: Path, control_plane: ControlPlane, values: dict[str, Any]) -> None:
    """``helm install`` the chart, with values, on a control plane that has no nodes."""
    command = [helm, "install", RELEASE, CHART, "--namespace", NAMESPACE, "--create-namespace", "--values", "-"]
    subprocess.run(
        command,
        env={"KUBECONFIG": str(control_plane.kubeconfig), "HOME": str(control_plane.folder)},
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=True,
    )


def operator(village: Village) -> Leases:
    """Leases as the operator's service account writes them."""
    rest = village.control_plane.service_account_rest(NAMESPACE, RELEASE)
    return Leases(Rest(rest.url, token=rest.token, ca=village.control_plane.ca_file.read_text()), village.namespace)
