"""Pods, Jobs and Deployments of the operator's image, as restricted namespaces want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cluster.image import NAME

if TYPE_CHECKING:
    from node.watcher import Change

ACCOUNT: Final = "worker"
APP: Final = "tasklock"

# Started once it speaks to the API server: it waits for the lock then, or has it. 01 is ESTABLISHED.
SPEAKS: Final = {
    "exec": {"command": ["grep", "-q", " 01 ", "/proc/net/tcp"]},
    "periodSeconds": 1,
    "failureThreshold": 60,
}

# A holder that ends without a word: nothing in it releases, so whoever frees its lock does it by evidence. The
# kubelet tells times in whole seconds: only what outlived the second in which it took its lock can be proved dead.
HOLD_AND_DIE: Final = """
import os, signal, sys, time
from tasklock import LockClient
name, status, ttl = sys.argv[1:]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
hold = LockClient(ttl=int(ttl)).lock_task(name, timeout=None).__enter__()
print("held", hold.token, flush=True)
time.sleep(2.1)
if status == "memory":
    ballast = [bytearray(b"x" * 1_000_000) for _ in range(1_000)]
if status == "never":
    while not hold.lost:
        time.sleep(0.02)
    print("lost", hold.lost, flush=True)
    time.sleep(1_000_000)
os._exit(int(status))
"""


def lease_of(lock: str) -> str:
    return f"{APP}.{lock}"


def holds(lock: str, *, ttl: int = 60) -> list[str]:
    """Return the command of a container that takes a lock and keeps it for good."""
    return ["tasklock", "run", lock, f"--ttl={ttl}", "--wait", "--grace=1", "--", "sleep", "1000000"]


def dies(lock: str, status: int | str, *, ttl: int = 60) -> list[str]:
    """Return the command of a container that takes a lock and ends with it two seconds later.

    ``status`` is the exit code, or ``memory``: killed for wanting too much of it, or ``never``: deaf to SIGTERM.
    """
    return ["python3", "-c", HOLD_AND_DIE, lock, str(status), str(ttl)]


def container(command: list[str], name: str = "main", *, memory: str = "256Mi", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": NAME,
        "imagePullPolicy": "Never",
        "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": memory}},
        **fields,
    }


def spec(*containers: dict[str, Any], restart: str = "Always", grace: int = 30, **fields: Any) -> dict[str, Any]:
    return {
        "serviceAccountName": ACCOUNT,
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": grace,
        "enableServiceLinks": False,
        "dnsPolicy": "Default",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers),
        **fields,
    }


def pod(name: str, pod_spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": pod_spec}


def job(name: str, pod_spec: dict[str, Any]) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template},
    }


def deployment(name: str, replicas: int, pod_spec: dict[str, Any]) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": replicas, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec},
        },
    }


def is_over(change: Change) -> bool:
    """Tell whether this Pod is over, as the kubelet reports."""
    return is_terminated(change) and change.object["status"]["phase"] in {"Succeeded", "Failed"}


def is_terminated(change: Change) -> bool:
    """Tell whether a container of this Pod has ended, as the kubelet reports."""
    statuses = change.object.get("status", {}).get("containerStatuses", ())
    return any("terminated" in status["state"] for status in statuses)
