"""Holders that die, in every way that one node can show: their locks are freed at once, and nobody else's.

All their pods run side by side. Each lock would expire after a minute; what is gone within seconds was freed on the
kubelet's evidence.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest

from node.pods import container, dies, holds, is_terminated, job, lease_of, pod, spec

if TYPE_CHECKING:
    from cluster.node import Node
    from node.watcher import Change, Watcher

SOON: Final = 20.0  # seconds; some 0.4 to 1.2 where the machine has nothing else to do, and 44 for one that expires
START: Final = 60.0

OBJECTS: Final = (
    pod("killed", spec(container(holds("killed")))),
    pod("several", spec(container(holds("several-a"), "a"), container(holds("several-b"), "b"))),
    pod(
        "sidecar",
        spec(
            container(["sleep", "1000000"]),
            initContainers=[container(holds("sidecar"), "beside", restartPolicy="Always")],
        ),
    ),
    pod("init", spec(container(["sleep", "1000000"]), initContainers=[container(dies("init", 0), "before")])),
    pod("oom", spec(container(dies("oom", "memory"), memory="96Mi"), restart="Never")),
    pod("loop", spec(container(dies("loop", 1)))),
    pod("deaf", spec(container(dies("deaf", "never")), grace=1)),
    pod("guest", spec(container(["sleep", "1000000"]))),
    job("good", spec(container(dies("good", 0)), restart="Never")),
    job("bad", spec(container(dies("bad", 3)), restart="Never")),
)


@pytest.fixture(scope="module", autouse=True)
def gallery(node: Node, jobs: str, leases: Watcher, pod_changes: Watcher) -> None:
    assert leases is not pod_changes
    node.apply(*OBJECTS, namespace=jobs)


def was_held(leases: Watcher, lock: str) -> Change:
    return leases.wait(lease_of(lock), "ADDED", seconds=START)


def is_provable(held: Change) -> None:
    """Outlive the second in which the lock was taken: the kubelet tells whole seconds."""
    time.sleep(max(0.0, held.moment + 2.1 - time.monotonic()))


def test_a_killed_container_loses_its_lock_and_takes_it_again_when_it_is_back(
    node: Node,
    jobs: str,
    leases: Watcher,
) -> None:
    held = was_held(leases, "killed")
    is_provable(held)
    moment = node.kill(jobs, "killed")
    gone = leases.wait(lease_of("killed"), "DELETED", after=moment, seconds=SOON)
    assert gone.uid == held.uid
    assert leases.wait(lease_of("killed"), "ADDED", after=gone.moment).annotation("pod") == "killed"


def test_one_container_of_several_dies_and_the_other_one_keeps_its_lock(
    node: Node,
    jobs: str,
    leases: Watcher,
) -> None:
    first, second = was_held(leases, "several-a"), was_held(leases, "several-b")
    assert (first.annotation("container"), second.annotation("container")) == ("a", "b")
    is_provable(first)
    moment = node.kill(jobs, "several", "a")
    leases.wait(lease_of("several-a"), "DELETED", after=moment, seconds=SOON)
    leases.wait(lease_of("several-a"), "ADDED", after=moment)
    kept = leases.holder(lease_of("several-b"))
    assert kept is not None
    assert kept.uid == second.uid


def test_a_native_sidecar_that_dies_loses_its_lock(node: Node, jobs: str, leases: Watcher) -> None:
    held = was_held(leases, "sidecar")
    assert held.annotation("container") == "beside"
    is_provable(held)
    moment = node.kill(jobs, "sidecar", "beside")
    assert leases.wait(lease_of("sidecar"), "DELETED", after=moment, seconds=SOON).uid == held.uid


def test_an_init_container_that_ends_with_a_lock_loses_it_while_its_pod_runs_on(
    node: Node,
    jobs: str,
    leases: Watcher,
) -> None:
    held = was_held(leases, "init")
    leases.wait(lease_of("init"), "DELETED", after=held.moment, seconds=2 + SOON)
    node.wait_ready(jobs, "init")


def test_a_container_that_wants_too_much_memory_is_killed_and_loses_its_lock(
    node: Node,
    jobs: str,
    leases: Watcher,
) -> None:
    held = was_held(leases, "oom")
    leases.wait(lease_of("oom"), "DELETED", after=held.moment, seconds=2 + SOON)
    ended = node.container_status(jobs, "oom")["state"]["terminated"]
    assert ended["exitCode"] == 137, "killed; the reason is not always told"


def test_a_container_in_a_crash_loop_loses_its_lock_each_time(node: Node, jobs: str, leases: Watcher) -> None:
    """The kubelet shows what became of it only in ``lastState``, for most of the time."""
    moment = was_held(leases, "loop").moment
    for _ in range(2):
        moment = leases.wait(lease_of("loop"), "DELETED", after=moment, seconds=2 + SOON).moment
        moment = leases.wait(lease_of("loop"), "ADDED", after=moment).moment
    assert node.container_status(jobs, "loop")["lastState"]["terminated"]["exitCode"] == 1


@pytest.mark.parametrize(("name", "phase"), [("good", "Succeeded"), ("bad", "Failed")])
def test_the_pod_of_a_job_that_ends_with_a_lock_loses_it(
    node: Node,
    jobs: str,
    leases: Watcher,
    name: str,
    phase: str,
) -> None:
    held = was_held(leases, name)
    leases.wait(lease_of(name), "DELETED", after=held.moment, seconds=2 + SOON)
    node.wait(f"the pod {phase}", lambda: node.pod(jobs, held.annotation("pod"))["status"]["phase"] == phase)


def test_a_deleted_pod_that_does_not_listen_loses_its_lock_when_it_has_been_killed(
    node: Node,
    jobs: str,
    leases: Watcher,
    pod_changes: Watcher,
) -> None:
    held = was_held(leases, "deaf")
    is_provable(held)
    moment = time.monotonic()
    node.kubectl("delete", "pod", "deaf", f"--namespace={jobs}", "--wait=false")
    gone = leases.wait(lease_of("deaf"), "DELETED", after=moment, seconds=2 + SOON)
    assert gone.moment - moment > 1.0, "freed while the process had its grace period"
    ended = pod_changes.wait("deaf", "MODIFIED", after=moment, where=is_terminated)
    assert pod_changes.wait("deaf", "DELETED", after=moment).moment > ended.moment, "no evidence before the object went"


def test_an_ephemeral_container_that_ends_with_a_lock_loses_it(node: Node, jobs: str, leases: Watcher) -> None:
    node.wait_ready(jobs, "guest")
    host = node.pod(jobs, "guest")["spec"]["containers"][0]
    guest = container(dies("guest", 0), "guest", volumeMounts=host["volumeMounts"])  # nobody mounts the token by itself
    del guest["resources"]  # nor may it have any
    reply = node.rest.request(
        "PATCH",
        f"/api/v1/namespaces/{jobs}/pods/guest/ephemeralcontainers",
        {"spec": {"ephemeralContainers": [guest]}},
        "application/strategic-merge-patch+json",
    )
    assert reply.status == 200, reply.body
    held = was_held(leases, "guest")
    assert held.annotation("container") == "guest"
    leases.wait(lease_of("guest"), "DELETED", after=held.moment, seconds=2 + SOON)


def test_every_freed_lock_left_an_event_on_the_lease_and_on_the_pod(node: Node, jobs: str, leases: Watcher) -> None:
    moment = was_held(leases, "oom").moment
    leases.wait(lease_of("oom"), "DELETED", after=moment, seconds=2 + SOON)

    def told() -> set[str]:
        events = node.rest.request("GET", f"/apis/events.k8s.io/v1/namespaces/{jobs}/events").body["items"]
        ours = [event for event in events if event["reason"] == "LockReaped"]
        return {f"{event['regarding']['kind']} {event['regarding']['name']}" for event in ours}

    node.wait("two Events", lambda: {f"Lease {lease_of('oom')}", "Pod oom"} <= told())
