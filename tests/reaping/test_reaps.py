"""What the operator frees and what it leaves alone, on the real API server; the tests play the kubelet."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

import pytest

from reaping.running import Grounds, Operator, running, seconds, terminated, wait_until
from tasklock import LockClient
from tasklock.lease import parse_time

if TYPE_CHECKING:
    from cluster.control_plane import ControlPlane

pytestmark = pytest.mark.usefixtures("operator")


def known(operator: Operator, grounds: Grounds) -> dict[str, dict[str, Any]]:
    return {lock["name"]: lock for lock in operator.locks() if lock["namespace"] == grounds.namespace}


def test_a_lock_that_nobody_renews_is_freed_when_its_time_is_over_and_not_before(grounds: Grounds) -> None:
    begun = time.monotonic()
    grounds.hold("expires", ttl=1)
    wait_until(lambda: not grounds.held("expires"))
    assert time.monotonic() - begun >= 2.0, "1 s, and at least 1 s more"


def test_a_lock_that_is_renewed_is_never_freed(
    operator: Operator, grounds: Grounds, control_plane: ControlPlane
) -> None:
    kubeconfig = control_plane.admin_kubeconfig(grounds.namespace)
    with LockClient("reaping", kubeconfig=kubeconfig, ttl=6) as client, client.lock_task("renewed") as hold:
        time.sleep(9)
        hold.ensure_held()
        assert known(operator, grounds)["renewed"]["token"] == hold.token
    wait_until(lambda: "renewed" not in known(operator, grounds))


def test_the_lock_of_a_container_that_died_is_freed_at_once(operator: Operator, grounds: Grounds) -> None:
    pod = grounds.pod("worker-0")
    grounds.hold("killed", ttl=600, of=pod)
    wait_until(lambda: "killed" in known(operator, grounds))
    time.sleep(1.1)  # times of the kubelet are whole seconds
    grounds.report("worker-0", {"name": "worker", "state": running(0), "lastState": terminated(-60, 0)})
    wait_until(lambda: not grounds.held("killed"))
    wait_until(lambda: len(grounds.events()) == 2)
    lease, holder = (grounds.events(kind)[0] for kind in ("Lease", "Pod"))
    assert lease["reason"] == holder["reason"] == "LockReaped"
    assert (holder["regarding"]["name"], holder["regarding"]["uid"]) == ("worker-0", pod["metadata"]["uid"])
    assert "container has terminated" in lease["note"]
    assert "'killed'" in lease["note"]
    assert "holder-of-killed_1" in lease["note"]
    assert operator.metric("tasklock_reaped_total", namespace=grounds.namespace, reason="container-terminated") == 1


def test_the_lock_of_a_pod_that_finished_is_freed_at_once(grounds: Grounds) -> None:
    pod = grounds.pod("job-0")
    grounds.hold("finished", ttl=600, of=pod)
    time.sleep(1.1)
    done = {"name": "worker", "state": terminated(-60, 0, code=0)}
    grounds.report("job-0", done, phase="Succeeded")
    wait_until(lambda: not grounds.held("finished"))


def test_a_lock_that_was_taken_after_the_report_of_a_death_is_not_the_dead_ones(grounds: Grounds) -> None:
    """Its times say so: the clock of the node was set back, and the container that was restarted took the lock."""
    pod = grounds.pod("worker-1")
    grounds.report("worker-1", {"name": "worker", "state": running(5), "lastState": terminated(-60, 4)})
    grounds.hold("late", ttl=600, of=pod)
    time.sleep(1.5)
    assert grounds.held("late")
    grounds.release("late")


def test_a_restarted_container_that_took_the_lock_again_keeps_it(operator: Operator, grounds: Grounds) -> None:
    pod = grounds.pod("worker-2")
    grounds.report("worker-2", {"name": "worker", "state": running(-2), "lastState": terminated(-60, -3)})
    grounds.hold("again", ttl=600, of=pod)
    grounds.report(
        "worker-2", {"name": "worker", "state": running(-2), "lastState": terminated(-60, -3), "ready": True}
    )
    wait_until(lambda: "again" in known(operator, grounds))
    time.sleep(0.5)
    assert grounds.held("again")
    grounds.release("again")


def test_a_pod_that_is_gone_by_force_is_no_proof(operator: Operator, grounds: Grounds) -> None:
    pod = grounds.pod("worker-3")
    grounds.hold("unknown", ttl=600, of=pod)
    wait_until(lambda: "unknown" in known(operator, grounds))
    reply = grounds.rest.request("DELETE", f"{grounds.pods}/worker-3", {"gracePeriodSeconds": 0})
    assert reply.status == 200
    time.sleep(1)
    assert grounds.held("unknown")
    grounds.release("unknown")


def test_leases_of_others_are_left_alone(grounds: Grounds) -> None:
    """Without our label, or with our label on a name that does not follow from what it says it is."""
    body = {
        "metadata": {"name": "kube-controller-manager"},
        "spec": {"holderIdentity": "elsewhere", "leaseDurationSeconds": 1, "renewTime": seconds(0)[:19] + ".000000Z"},
    }
    forged = copy.deepcopy(body)
    forged["metadata"] = {
        "name": "forged",
        "labels": {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": "reaping"},
        "annotations": {"tasklock.dev/name": "something-else"},
    }
    for one in (body, forged):
        assert grounds.rest.request("POST", grounds.leases, one).status == 201
    grounds.hold("ours", ttl=1)
    wait_until(lambda: not grounds.held("ours"))
    time.sleep(0.5)
    left = grounds.rest.request("GET", grounds.leases).body["items"]
    assert {lease["metadata"]["name"] for lease in left} == {"kube-controller-manager", "forged"}


def test_nothing_is_ever_written_to_leases_or_pods(operator: Operator, grounds: Grounds) -> None:
    pod = grounds.pod("worker-4")
    grounds.hold("untouched", ttl=600, of=pod)
    before = grounds.lease("untouched"), grounds.get_pod("worker-4")
    wait_until(lambda: "untouched" in known(operator, grounds))
    grounds.renew("untouched")
    grounds.report("worker-4", {"name": "worker", "state": running(-60), "ready": True})
    time.sleep(0.5)
    for was, now in zip(before, (grounds.lease("untouched"), grounds.get_pod("worker-4")), strict=True):
        for key in ("annotations", "labels", "finalizers", "ownerReferences"):
            assert now["metadata"].get(key) == was["metadata"].get(key)
        managers = {entry["manager"] for entry in now["metadata"]["managedFields"]}
        assert not any("kopf" in name or "aiohttp" in name for name in managers)
        assert managers == {entry["manager"] for entry in was["metadata"]["managedFields"]}
    grounds.release("untouched")


@pytest.mark.parametrize("finalizer", ["kopf.zalando.org/KopfFinalizerMarker", "example.com/other"])
def test_finalizers_of_others_stay(grounds: Grounds, finalizer: str) -> None:
    """The library kopf removes its own default one from whatever it watches, unless it is told of another."""
    pod = grounds.pod("worker-5")
    path = f"{grounds.pods}/worker-5"
    patch = {"metadata": {"finalizers": [finalizer]}}
    assert grounds.rest.request("PATCH", path, patch, "application/merge-patch+json").status == 200
    time.sleep(0.3)
    assert grounds.get_pod("worker-5")["metadata"]["finalizers"] == [finalizer]
    assert pod


def test_hostile_text_reaches_events_and_the_log_as_plain_ascii(operator: Operator, grounds: Grounds) -> None:
    note = "\x1b[2J\u202e<script>" + "x" * 60_000
    grounds.hold("e\u0301vil\n\x1b[31m" + "y" * 5_000, ttl=1, note=note, pod="Not A Pod\n", pod_uid="<uid>")
    wait_until(lambda: grounds.events("Lease"))
    event = grounds.events("Lease")[0]
    assert event["note"].isascii()
    assert event["note"].isprintable()
    assert len(event["note"]) <= 1024
    assert not grounds.events("Pod"), "no Pod can be called that"
    assert "\x1b" not in operator.said()


def test_an_event_says_who_lost_what_and_how_late(grounds: Grounds) -> None:
    lease = grounds.hold("told", ttl=1)
    wait_until(lambda: grounds.events("Lease"))
    event = grounds.events("Lease")[0]
    assert event["type"] == "Warning"
    assert (event["reportingController"], event["action"]) == ("tasklock.dev/operator", "Reap")
    assert event["regarding"]["uid"] == lease["metadata"]["uid"]
    assert "not renewed for" in event["note"]
    assert "overdue" in event["note"]
    assert parse_time(event["eventTime"]) is not None
    time.sleep(0.3)
    assert len(grounds.events()) == 1


def test_a_lease_that_a_finalizer_keeps_is_said_once_and_not_reported_as_freed(
    operator: Operator, grounds: Grounds
) -> None:
    grounds.hold("kept", ttl=1)
    path = f"{grounds.leases}/reaping.kept"
    patch = {"metadata": {"finalizers": ["example.com/keep"]}}
    assert grounds.rest.request("PATCH", path, patch, "application/merge-patch+json").status == 200
    wait_until(lambda: "has finalizers" in operator.said())
    time.sleep(1)
    assert not grounds.events()
    patch = {"metadata": {"finalizers": None}}
    assert grounds.rest.request("PATCH", path, patch, "application/merge-patch+json").status == 200
    wait_until(lambda: not grounds.held("kept"))


def test_all_that_was_said_in_this_module_was_expected(operator: Operator) -> None:
    assert all("has finalizers" in line for line in operator.complaints()), operator.complaints()
    assert operator.get("/healthz")[0] == 200
    assert operator.metric("tasklock_api_errors_total") == operator.metric(
        "tasklock_api_errors_total", verb="delete", status="200"
    )
