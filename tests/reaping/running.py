"""A started operator, as a test sees it: a process, its pages, its log; and the kubelet that the test plays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Self

from cluster.processes import free_ports
from cluster.rest import MERGE_PATCH
from faults.metering import total
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster.control_plane import ControlPlane
    from cluster.rest import Rest

STRATEGIC = "application/strategic-merge-patch+json"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
RULES: list[dict[str, list[str]]] = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
]
EVENTS_API = "events.k8s.io/v1"


class Operator:
    """``python -m tasklock_operator``, started; ended at the latest by ``with``."""

    def __init__(self, kubeconfig: str | Path, folder: Path, *, command: tuple[str, ...] = (), **settings: str) -> None:
        self.port = free_port()
        self.log = folder / f"operator-{self.port}.log"
        names = {f"TASKLOCK_OPERATOR_{name.upper()}": value for name, value in settings.items()}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TASKLOCK")},
            "KUBECONFIG": str(kubeconfig),
            "TASKLOCK_OPERATOR_LISTEN": f"127.0.0.1:{self.port}",
            **names,
        }
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command or (sys.executable, "-m", "tasklock_operator"),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self, *, within: float = 30.0) -> Self:
        wait_until(self._is_ready, within=within, what=lambda: f"not ready; {self.said()}")
        return self

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.said()
        return self.get("/readyz")[0] == 200

    def locks(self) -> list[dict[str, Any]]:
        status, text = self.get("/locks?limit=10000")
        assert status == 200, text
        found: list[dict[str, Any]] = json.loads(text)["locks"]
        return found

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over all series that carry ``labels``."""
        return total(self.get("/metrics")[1], name, **labels)

    def slowest_reap(self) -> float:
        """Return an upper bound, in seconds, of the time from deadline or evidence to the DELETE's answer."""
        text = self.get("/metrics")[1]
        found = re.findall(r'^tasklock_reap_delay_seconds_bucket\{.*?le="([^"]+)".*?\} (\S+)$', text, re.MULTILINE)
        counts: dict[float, float] = {}
        for bound, count in found:
            counts[float(bound)] = counts.get(float(bound), 0.0) + float(count)
        total = max(counts.values(), default=0.0)
        return min((bound for bound, count in counts.items() if count == total), default=0.0)

    def said(self) -> str:
        return self.log.read_text()

    def complaints(self) -> list[str]:
        """Return what it logged as a warning or worse."""
        return [line for line in self.said().splitlines() if re.search(r" (warning|error|critical)\b|Traceback", line)]

    def end(self, *, within: float = 20.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)


def free_port() -> int:
    """Return one that nobody is given by chance."""
    (port,) = free_ports(1)
    return port


def wait_until(
    condition: Callable[[], object],
    *,
    within: float = 30.0,
    every: float = 0.02,
    what: Callable[[], str] = lambda: "it did not come true",
) -> float:
    """Wait until ``condition()`` is true; return how many seconds that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < within, what()
        time.sleep(every)
    return time.monotonic() - begun


class Grounds:
    """One namespace: Leases as holders write them, Pods as the kubelet reports them."""

    def __init__(self, rest: Rest, namespace: str, app: str = "reaping") -> None:
        self.rest = rest
        self.namespace = namespace
        self.app = app
        self.leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self.pods = f"/api/v1/namespaces/{namespace}/pods"

    def hold(self, name: str, *, ttl: int = 30, of: dict[str, Any] | None = None, **annotations: str) -> Any:
        """Create the Lease of a lock; ``of`` is the holder's Pod, whose container ``worker`` it is."""
        if of is not None:
            annotations = {
                "pod": of["metadata"]["name"],
                "pod-uid": of["metadata"]["uid"],
                "container": "worker",
                **annotations,
            }
        return self._done("POST", self.leases, self.lease_of(name, ttl=ttl, **annotations))

    def lease_of(self, name: str, *, ttl: int, **annotations: str) -> dict[str, Any]:
        """Return the Lease that a holder would create now."""
        now = stamp()
        return {
            "metadata": {
                "name": lease_name(self.app, name),
                "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": self.app},
                "annotations": {"tasklock.dev/name": name}
                | {f"tasklock.dev/{key.replace('_', '-')}": value for key, value in annotations.items()},
            },
            "spec": {
                "holderIdentity": f"holder-of-{name}_1",
                "leaseDurationSeconds": ttl,
                "acquireTime": now,
                "renewTime": now,
            },
        }

    def renew(self, name: str) -> Any:
        path = f"{self.leases}/{lease_name(self.app, name)}"
        return self._done("PATCH", path, {"spec": {"renewTime": stamp()}}, MERGE_PATCH)

    def lease(self, name: str) -> Any:
        reply = self.rest.request("GET", f"{self.leases}/{lease_name(self.app, name)}")
        assert reply.status in {200, 404}, reply
        return reply.body if reply.status == 200 else None

    def held(self, name: str) -> bool:
        return self.lease(name) is not None

    def release(self, name: str) -> None:
        self._done("DELETE", f"{self.leases}/{lease_name(self.app, name)}")

    def pod(self, name: str, *containers: str) -> Any:
        """Create a Pod and report its containers as running."""
        spec = {"containers": [{"name": one, "image": "none"} for one in containers or ("worker",)]}
        self._done("POST", self.pods, {"metadata": {"name": name}, "spec": spec})
        return self.report(name, *({"name": one, "state": running(-60)} for one in containers or ("worker",)))

    def report(self, name: str, *statuses: dict[str, Any], phase: str = "Running") -> Any:
        """Say what the kubelet would say of the containers of a Pod."""
        full = [{"image": "none", "imageID": "", "ready": False, "restartCount": 0, **one} for one in statuses]
        return self._done(
            "PATCH", f"{self.pods}/{name}/status", {"status": {"phase": phase, "containerStatuses": full}}, STRATEGIC
        )

    def get_pod(self, name: str) -> Any:
        return self._done("GET", f"{self.pods}/{name}")

    def events(self, kind: str | None = None) -> list[Any]:
        reply = self._done("GET", f"/apis/{EVENTS_API}/namespaces/{self.namespace}/events?limit=5000")
        return [one for one in reply["items"] if kind in {None, one["regarding"]["kind"]}]

    def _done(self, method: str, path: str, body: Any = None, kind: str | None = None) -> Any:
        reply = self.rest.request(method, path, body, kind)
        assert reply.status in {200, 201}, reply
        return reply.body


def stamp(offset: float = 0.0) -> str:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - here alone

    moment = datetime.now(UTC) + timedelta(seconds=offset)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def seconds(offset: float) -> str:
    """Return a time as the kubelet writes it: cut to seconds."""
    return stamp(offset)[:19] + "Z"


def running(since: float) -> dict[str, Any]:
    return {"running": {"startedAt": seconds(since)}}


def terminated(since: float, until: float, code: int = 137) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "startedAt": seconds(since), "finishedAt": seconds(until)}}


def bind(cp: ControlPlane, account: str, home: str, *, namespaces: tuple[str, ...] = (), rules: Any = None) -> Path:
    """Make a service account in ``home`` with exactly the operator's rules; return its kubeconfig."""
    kubeconfig = cp.service_account_kubeconfig(home, account)
    grant(cp, account, home, namespaces=namespaces, rules=RULES if rules is None else rules)
    return kubeconfig


def grant(cp: ControlPlane, account: str, home: str, *, namespaces: tuple[str, ...] = (), rules: Any = None) -> None:
    subject = {"kind": "ServiceAccount", "name": account, "namespace": home}
    for where, kind in [(f"/namespaces/{one}", "Role") for one in namespaces] or [("", "ClusterRole")]:
        name = f"{home}-{account}"
        made = cp.rest.request(
            "POST", f"{RBAC}{where}/{kind.lower()}s", {"metadata": {"name": name}, "rules": rules or RULES}
        )
        assert made.status == 201, made
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        body = {"metadata": {"name": name}, "subjects": [subject], "roleRef": reference}
        made = cp.rest.request("POST", f"{RBAC}{where}/{kind.lower()}bindings", body)
        assert made.status == 201, made


def revoke(cp: ControlPlane, account: str, home: str) -> None:
    """Take the cluster-wide rules of an account away again."""
    for kind in ("clusterrolebindings", "clusterroles"):
        assert cp.rest.request("DELETE", f"{RBAC}/{kind}/{home}-{account}").status == 200
