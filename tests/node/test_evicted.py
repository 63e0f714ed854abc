"""Holders that others want gone: evicted through the API and by their kubelet, and preempted by the scheduler.

None of them listens to SIGTERM: only the kubelet's report of their end can free their locks before they expire.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from node.pods import container, dies, is_over, lease_of, pod, spec

if TYPE_CHECKING:
    from cluster.node import Node
    from node.watcher import Change, Watcher

START: Final = 60.0
SOON: Final = 15.0
TTL: Final = 30
EXPIRY: Final = TTL * 1.1  # less what has gone by since the last renewal, ten seconds at most
HOUSEKEEPING: Final = 60.0  # the kubelet looks at the volumes every few seconds, and every ten at what is too large

# Holds its lock, is deaf, and fills more of its scratch space than it asked for.
HOLD_AND_FILL: Final = """
import signal, time
from tasklock import LockClient
signal.signal(signal.SIGTERM, signal.SIG_IGN)
LockClient(ttl={ttl}).lock_task("full", timeout=None).acquire()
time.sleep(2.1)
with open("/scratch/file", "wb") as file:
    file.write(bytes(16_000_000))
time.sleep(1_000_000)
"""


def held_for_two_seconds(leases: Watcher, lock: str) -> Change:
    """Wait until its end can be proved: the kubelet tells whole seconds."""
    held = leases.wait(lease_of(lock), "ADDED", seconds=START)
    time.sleep(max(0.0, held.moment + 2.1 - time.monotonic()))
    return held


def deaf(name: str, **fields: Any) -> dict[str, Any]:
    return pod(name, spec(container(dies(name, "never", ttl=86_400), **fields), grace=1))


def test_a_pod_that_is_evicted_as_for_a_drain_loses_its_lock_when_it_has_ended(
    node: Node, jobs: str, leases: Watcher
) -> None:
    node.apply(deaf("evicted"), namespace=jobs)
    held_for_two_seconds(leases, "evicted")
    moment = time.monotonic()
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted", "namespace": jobs}}
    reply = node.rest.request("POST", f"/api/v1/namespaces/{jobs}/pods/evicted/eviction", eviction)
    assert reply.status == 201, reply.body
    gone = leases.wait(lease_of("evicted"), "DELETED", after=moment, seconds=2 + SOON)
    assert gone.moment - moment > 1.0, "freed while the process had its grace period"


def test_a_pod_that_its_kubelet_evicts_loses_its_lock(
    node: Node, jobs: str, leases: Watcher, pod_changes: Watcher
) -> None:
    """At once on its kubelet's evidence; when the lock expires where the kubelet lost that.

    It removes the containers of what it evicts so eagerly that now and then it finds none when it looks how they
    ended: their status is ``ContainerStatusUnknown`` then, without times.
    """
    scratch = {"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}
    mount = [{"name": "scratch", "mountPath": "/scratch"}]
    one = container(["python3", "-c", HOLD_AND_FILL.format(ttl=TTL)], volumeMounts=mount)
    node.apply(pod("full", spec(one, restart="Never", grace=1, volumes=[scratch])), namespace=jobs)
    held = held_for_two_seconds(leases, "full")
    over = pod_changes.wait("full", "MODIFIED", after=held.moment, seconds=HOUSEKEEPING, where=is_over)
    status = over.object["status"]
    assert status["reason"] == "Evicted"
    proved = status["containerStatuses"][0]["state"]["terminated"]["finishedAt"] is not None
    gone = leases.wait(lease_of("full"), "DELETED", after=held.moment, seconds=SOON if proved else EXPIRY + SOON)
    assert gone.uid == held.uid


def test_a_pod_that_a_more_important_one_displaces_loses_its_lock(node: Node, jobs: str, leases: Watcher) -> None:
    important = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "important"}}
    node.apply(important | {"value": 1000})
    room = int(node.rest.request("GET", "/api/v1/nodes").body["items"][0]["status"]["allocatable"]["memory"][:-2])
    most = {"requests": {"memory": f"{room * 6 // 10}Ki"}, "limits": {"memory": f"{room * 6 // 10}Ki"}}
    node.apply(deaf("displaced", resources=most), namespace=jobs)
    held_for_two_seconds(leases, "displaced")
    moment = time.monotonic()
    urgent = spec(container(["sleep", "1000000"], resources=most), priorityClassName="important")
    node.apply(pod("urgent", urgent), namespace=jobs)
    leases.wait(lease_of("displaced"), "DELETED", after=moment, seconds=START)
    node.wait_ready(jobs, "urgent")
