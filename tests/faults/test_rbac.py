"""The Role that ``manifests/`` ships is enough, each verb of it is needed, and a missing one is named."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from contract.place import grant_role, wait_until
from faults.roles import without_role
from tasklock import LockForbiddenError, LockLostError, TaskLockedException

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.control_plane import ControlPlane
    from contract.place import Place
    from tasklock import LockClient

LACKING = {
    "create": {"acquiring": lambda client: client.lock_task("free").acquire()},
    "list": {
        "acquiring what is held": lambda client: client.lock_task("held").acquire(),
        "locks": lambda client: client.locks(),
        "flushing all": lambda client: client.flush_locks(),
        "flushing what is stale": lambda client: client.flush_stale(),
    },
    "watch": {"waiting": lambda client: client.lock_task("held").acquire(30)},
    "get": {
        "is_locked": lambda client: client.is_locked("held"),
        "clearing": lambda client: client.lock_task("held").clear(),
        "flushing by name": lambda client: client.flush_locks("held"),
    },
    "delete": {
        "releasing": lambda client: client.lock_task("free").acquire().release(),
        "clearing": lambda client: client.lock_task("held").clear(),
        "flushing all": lambda client: client.flush_locks(),
        "flushing by name": lambda client: client.flush_locks("held"),
    },
}
CASES = {
    f"{what} without {verb}": (verb, operation)
    for verb, operations in LACKING.items()
    for what, operation in operations.items()
}


def without(place: Place, control_plane: ControlPlane, verb: str) -> LockClient:
    """Return a client whose Role lacks one verb, and nothing else."""
    account = f"without-{verb}"
    return place.client(kubeconfig=grant_role(control_plane, place.namespace, account=account, without=verb))


def wait_until_renewed(place: Place) -> None:
    wait_until(lambda: (spec := place.lease("report")["spec"])["renewTime"] > spec["acquireTime"])


def test_everything_works_under_exactly_the_role_that_we_ship(place: Place, client: LockClient) -> None:
    other = place.client(watch_holds=True)
    with client.lock_task("report", ttl=3) as hold, ThreadPoolExecutor(1) as pool:
        assert other.is_locked("report")
        with pytest.raises(TaskLockedException):
            other.lock_task("report").acquire()
        waiting = pool.submit(other.lock_task("report", ttl=3).acquire, 60)
        wait_until_renewed(place)
        hold.release()
        held = waiting.result(30)
        wait_until_renewed(place)
        held.release()
    place.plant("stale", ttl=1)
    client.lock_task("stale").acquire(30).release()
    for name in ("one", "two", "three"):
        place.plant(name, ttl=600)
    assert len(client.locks()) == 3
    assert client.lock_task("one").clear()
    assert client.flush_locks("two") == {"two"}
    assert client.flush_locks() == {"three"}


@pytest.mark.parametrize(("verb", "operation"), CASES.values(), ids=CASES.keys())
def test_an_operation_names_the_verb_that_it_lacks(
    place: Place,
    control_plane: ControlPlane,
    verb: str,
    operation: Callable[[LockClient], object],
) -> None:
    client = without(place, control_plane, verb)
    place.plant("held", ttl=600)
    with pytest.raises(LockForbiddenError) as forbidden:
        operation(client)
    assert forbidden.value.verb == verb
    assert (forbidden.value.status, forbidden.value.reason) == (403, "Forbidden")
    assert f"may not {verb} leases here: bind the Role tasklock-client" in str(forbidden.value)


def test_what_needs_no_such_verb_goes_on_working(place: Place, control_plane: ControlPlane) -> None:
    for verb in ("get", "list", "watch"):
        with without(place, control_plane, verb).lock_task("report", ttl=3) as hold:
            wait_until_renewed(place)
            hold.ensure_held()


def test_a_lock_whose_renewals_are_forbidden_expires_and_its_loss_names_the_verb(
    place: Place,
    control_plane: ControlPlane,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hold = without(place, control_plane, "patch").lock_task("report", ttl=3).acquire()
    wait_until(lambda: hold.lost)
    with pytest.raises(LockLostError) as lost:
        hold.release()
    assert lost.value.reason == "expired"
    cause = lost.value.__cause__
    assert isinstance(cause, LockForbiddenError)
    assert cause.verb == "patch"
    wait_until(lambda: "may not patch leases here: bind the Role tasklock-client" in caplog.text)
    assert place.lease("report") is None


def test_a_role_that_is_taken_away_during_a_hold_and_comes_back_in_time_loses_nothing(
    place: Place,
    control_plane: ControlPlane,
) -> None:
    hold = place.client().lock_task("report", ttl=6).acquire()
    with without_role(control_plane, place.namespace):
        wait_until(lambda: hold._grant.trouble is not None)
        hold.ensure_held()
    wait_until(lambda: hold._grant.trouble is None)
    hold.release()


def test_a_release_that_is_forbidden_leaves_the_lock_to_expire(place: Place, control_plane: ControlPlane) -> None:
    hold = without(place, control_plane, "delete").lock_task("report", ttl=2).acquire()
    with pytest.raises(LockForbiddenError):
        hold.release()
    left = place.lease("report")
    assert left["metadata"]["uid"] == hold.uid
    time.sleep(1)
    assert place.lease("report") == left  # no longer renewed
    place.client(announce_process=False).lock_task("report").acquire(60).release()


def test_the_error_of_the_body_is_not_masked_by_a_forbidden_release(place: Place, control_plane: ControlPlane) -> None:
    lock = without(place, control_plane, "delete").lock_task("report", ttl=2)
    with pytest.raises(ZeroDivisionError), lock:
        1 / 0  # noqa: B018


def test_who_may_not_delete_cannot_take_over_and_is_refused(place: Place, control_plane: ControlPlane) -> None:
    client = without(place, control_plane, "delete")
    abandoned = place.plant("report", ttl=1)
    with pytest.raises(TaskLockedException):
        client.lock_task("report").acquire(3)
    assert place.lease("report") == abandoned


def test_who_may_do_nothing_is_told_the_first_verb(place: Place, control_plane: ControlPlane) -> None:
    kubeconfig = control_plane.service_account_kubeconfig(place.namespace, "nobody")
    client = place.client(kubeconfig=kubeconfig)
    with pytest.raises(LockForbiddenError, match=r"may not create leases") as forbidden:
        client.lock_task("report").acquire(None)
    assert "cannot create resource" in str(forbidden.value)  # in the API server's own words
