"""People with kubectl, while a lock is held."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from contract.place import APP, wait_until
from tasklock import LockLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.control_plane import ControlPlane
    from contract.place import Place
    from tasklock import Hold, LockClient

LEASE = f"{APP}.report"


@pytest.fixture
def kubectl(control_plane: ControlPlane, place: Place) -> Callable[..., str]:
    return lambda *args: control_plane.kubectl(f"-n{place.namespace}", *args)


@pytest.fixture
def losses() -> list[tuple[float, Hold]]:
    return []


def test_a_deleted_lock_is_noticed_by_the_next_renewal_and_never_comes_back(
    place: Place,
    client: LockClient,
    kubectl: Callable[..., str],
) -> None:
    hold = client.lock_task("report", ttl=3).acquire()
    kubectl("delete", "lease", LEASE)
    wait_until(lambda: hold.lost)
    assert hold.lost is not None
    assert hold.lost.reason == "deleted"
    time.sleep(3)
    assert place.lease("report") is None
    with pytest.raises(LockLostError):
        hold.release()
    assert place.lease("report") is None


def test_a_deleted_lock_that_is_watched_is_noticed_at_once(
    place: Place,
    kubectl: Callable[..., str],
    losses: list[tuple[float, Hold]],
    record_property: Callable[[str, object], None],
) -> None:
    client = place.client(watch_holds=True)
    lock = client.lock_task("report", ttl=600, on_lost=lambda hold: losses.append((time.monotonic(), hold)))
    hold = lock.acquire()
    time.sleep(1)  # the watch is open
    before = time.monotonic()
    place.delete("report")
    wait_until(lambda: losses)
    record_property("noticed_after_ms", round(1e3 * (losses[0][0] - before), 1))
    assert losses[0][0] - before < 1 + 4  # milliseconds, and a busy machine; the next renewal is minutes away
    with pytest.raises(LockLostError) as lost:
        hold.release()
    assert lost.value.reason == "deleted"
    with lock:  # and it is free
        pass
    assert "No resources found" in kubectl("get", "leases") or not kubectl("get", "leases", "-oname")


def test_annotating_labelling_and_patching_metadata_loses_nothing(
    place: Place,
    kubectl: Callable[..., str],
) -> None:
    hold = place.client(watch_holds=True).lock_task("report", ttl=3).acquire()
    kubectl("annotate", "lease", LEASE, "team=billing")
    kubectl("label", "lease", LEASE, "team=billing")
    kubectl("patch", "lease", LEASE, "--type=merge", "-p", '{"metadata":{"annotations":{"tasklock.dev/note":"mine"}}}')
    kubectl("patch", "lease", LEASE, "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels/team"}]')
    kubectl("annotate", "lease", LEASE, "tasklock.dev/token=1", "--overwrite")
    renewed = place.lease("report")["spec"]["renewTime"]
    wait_until(lambda: place.lease("report")["spec"]["renewTime"] > renewed)
    hold.ensure_held()
    assert place.lease("report")["metadata"]["annotations"]["team"] == "billing"
    hold.release()
    assert place.lease("report") is None


@pytest.mark.parametrize("watch_holds", [False, True], ids=["by a renewal", "by a watch"])
def test_a_changed_holder_is_a_loss(place: Place, kubectl: Callable[..., str], *, watch_holds: bool) -> None:
    client = place.client(watch_holds=watch_holds)
    hold = client.lock_task("report", ttl=600 if watch_holds else 3).acquire()
    time.sleep(0.5)
    kubectl("patch", "lease", LEASE, "--type=merge", "-p", '{"spec":{"holderIdentity":"somebody-else"}}')
    wait_until(lambda: hold.lost)
    assert hold.lost is not None
    assert hold.lost.reason == "overwritten"
    with pytest.raises(LockLostError, match="somebody changed the spec of its Lease"):
        hold.release()
    left = place.lease("report")
    assert left["spec"]["holderIdentity"] == "somebody-else"  # theirs now: not deleted
    time.sleep(1.2)
    assert place.lease("report") == left  # and renewed no more


def test_editing_or_applying_the_lease_of_another_time_does_not_bring_a_lock_back(
    place: Place,
    control_plane: ControlPlane,
    client: LockClient,
) -> None:
    """The holder's part of it: what kubectl recreates under the same name is not the lock that was held."""
    hold = client.lock_task("report", ttl=12).acquire()  # renewed after 4 s: it has been recreated by then
    saved = control_plane.kubectl(f"-n{place.namespace}", "get", "lease", LEASE, "-oyaml")
    place.delete("report")
    kept = "\n".join(line for line in saved.splitlines() if "uid:" not in line and "resourceVersion:" not in line)
    control_plane.kubectl(f"-n{place.namespace}", "create", "-f-", input=kept)
    recreated = place.lease("report")
    wait_until(lambda: hold.lost)
    assert hold.lost is not None
    assert hold.lost.reason == "replaced"
    with pytest.raises(LockLostError):
        hold.release()
    assert place.lease("report") == recreated
