"""What the kubelet does not report is no evidence: a lock stays while its holder may live."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

import pytest

from node.pods import container, dies, holds, lease_of, pod, spec

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.node import Node
    from node.watcher import Change, Watcher

WATCH_SECONDS: Final = 3.0
TRIES: Final = 5
TTL: Final = 10


@pytest.fixture(scope="module", autouse=True)
def pods(node: Node, jobs: str, leases: Watcher) -> None:
    node.apply(
        pod("restarted", spec(container(holds("restarted")))),
        pod("forced", spec(container(dies("forced", "never", ttl=TTL)))),
        namespace=jobs,
    )
    for name in ("restarted", "forced"):
        leases.wait(lease_of(name), "ADDED", seconds=60.0)
    time.sleep(2.1)  # from now on a death can be proved


def test_a_container_that_is_back_and_took_the_lock_again_keeps_it_though_its_pods_news_is_old(
    node: Node,
    jobs: str,
    leases: Watcher,
) -> None:
    name = lease_of("restarted")
    for _ in range(TRIES):
        moment = time.monotonic()
        restart(node, jobs, "restarted")  # the kubelet tells of it a moment later
        with node.kubelet_paused():
            taken = taken_within(10.0, leases, name, moment)
            stale = node.container_status(jobs, "restarted")
            if taken is not None and "running" not in stale["state"]:
                time.sleep(WATCH_SECONDS)
                assert leases.of(name)[-1].uid == taken.uid
                break
        leases.wait(name, "ADDED", after=moment)  # it had told of the end not yet, or of the restart already
        time.sleep(2.1)
    else:
        pytest.fail("the kubelet was not once between its two reports")
    node.wait("its news", lambda: node.container_status(jobs, "restarted") != stale)
    time.sleep(WATCH_SECONDS)
    assert leases.of(name)[-1].uid == taken.uid
    assert leases.of(name)[-1].type != "DELETED"


def test_a_pod_deleted_by_force_keeps_its_lock_until_it_expires_and_its_process_knows_before(
    node: Node,
    jobs: str,
    leases: Watcher,
    pod_changes: Watcher,
) -> None:
    """As on a node that is cut off: the object goes, the process does not, and nobody tells.

    With the object goes the pod's token, so the process can renew no more, some ten seconds later at the latest.
    """
    name = lease_of("forced")
    process = node.main_process(jobs, "forced")
    (log,) = (node.folder / "pods").glob(f"{jobs}_forced_*/main/*.log")
    moment = time.monotonic()
    with node.kubelet_paused():
        node.kubectl("delete", "pod", "forced", f"--namespace={jobs}", "--force", "--grace-period=0", "--wait=false")
        pod_changes.wait("forced", "DELETED", after=moment)
        gone = leases.wait(name, "DELETED", after=moment, seconds=60.0)
        last = [change for change in leases.of(name) if change.type != "DELETED"][-1]
        assert node.is_alive(process)
        assert gone.moment - last.moment > TTL, "freed before it expired, without any evidence"
        assert said(log, "lost") < gone.moment
    node.wait("the kubelet killed it", lambda: not node.is_alive(process))


def restart(node: Node, namespace: str, name: str) -> None:
    """Kill a pod's container, and return as soon as the next one runs."""
    uid = node.pod(namespace, name)["metadata"]["uid"]
    before = node.running_containers(uid)
    node.kill(namespace, name)
    while not node.running_containers(uid) - before:
        time.sleep(0.001)


def taken_within(seconds: float, leases: Watcher, name: str, moment: float) -> Change | None:
    try:
        return leases.wait(name, "ADDED", after=moment, seconds=seconds)
    except AssertionError:
        return None


def said(log: Path, word: str) -> float:
    """Return when a container said something, on this machine's monotonic clock; containerd notes the time."""
    (stamp,) = [line.split()[0] for line in log.read_text().splitlines() if line.split()[3] == word]
    said_at = datetime.fromisoformat(stamp[:26] + "+00:00").timestamp()
    return said_at - time.time() + time.monotonic()
