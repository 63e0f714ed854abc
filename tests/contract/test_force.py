"""Releasing by force: clear, flush, and a plain DELETE."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from contract.place import APP
from tasklock import LockLostError
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from contract.place import Place
    from tasklock import LockClient

LABELS = {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": APP}


def test_clear_frees_a_lock_whoever_holds_it_and_tells_whether_it_was_held(
    place: Place,
    client: LockClient,
    other: LockClient,
) -> None:
    lock = client.lock_task("report")
    assert lock.clear() is False
    hold = other.lock_task("report").acquire()
    assert lock.clear() is True
    assert place.lease("report") is None
    assert lock.clear() is False
    with pytest.raises(LockLostError) as lost:
        hold.release()
    assert lost.value.reason == "deleted"
    with lock:
        pass


def test_flush_frees_every_lock_of_the_app_and_returns_the_names_as_their_callers_wrote_them(
    place: Place,
    client: LockClient,
    other: LockClient,
) -> None:
    names = {"report", "user_42_processing", "Nightly Report", "отчёт"}
    holds = [other.lock_task(name).acquire() for name in names]
    assert client.flush_locks() == names
    assert place.leases.list()["items"] == []
    assert client.flush_locks() == set()
    for hold in holds:
        with pytest.raises(LockLostError):
            hold.release()


def test_flush_of_names_frees_these_and_returns_those_that_were_held(place: Place, client: LockClient) -> None:
    kept = client.lock_task("kept").acquire()
    for name in ("stale_lock_1", "stale_lock_2"):
        place.plant(name, ttl=600)
    assert client.flush_locks("stale_lock_1", "never_held", "stale_lock_2", "stale_lock_1") == {
        "stale_lock_1",
        "stale_lock_2",
    }
    assert [info.name for info in client.locks()] == ["kept"]
    kept.release()


def test_flush_leaves_other_apps_and_what_is_no_lock_alone(place: Place, client: LockClient) -> None:
    leases = place.leases
    foreign = [
        place.plant("report", ttl=600, app="another-app"),
        leases.create(lease_name(APP, "unlabelled"), metadata={"annotations": {"tasklock.dev/name": "unlabelled"}}),
        leases.create("leader-election", metadata={"labels": LABELS}),
        leases.create("leader-election-2", metadata={"labels": LABELS, "annotations": {"tasklock.dev/name": "x"}}),
        leases.create(
            lease_name(APP, "y"), metadata={"labels": LABELS | {"tasklock.dev/app": "another-app"}}
        ),
    ]  # fmt: skip
    place.plant("mine", ttl=600)
    assert client.flush_locks() == {"mine"}
    for lease in foreign:
        assert leases.get(lease["metadata"]["name"]).body == lease


def test_two_flushes_at_once_share_the_names_between_them(place: Place, client: LockClient, other: LockClient) -> None:
    names = {f"lock_{number}" for number in range(30)}
    for name in names:
        place.plant(name, ttl=600)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda flusher: flusher.flush_locks(), (client, other))
    assert first | second == names
    assert not first & second


def test_a_plain_delete_frees_a_lock_and_is_not_undone(place: Place, client: LockClient, other: LockClient) -> None:
    hold = client.lock_task("report").acquire()
    place.delete("report")
    assert not other.is_locked("report")
    with other.lock_task("report") as next_hold:
        assert next_hold.token > hold.token
        with pytest.raises(LockLostError) as lost:
            hold.release()
        assert lost.value.reason == "replaced"
        assert place.lease("report")["metadata"]["uid"] == next_hold.uid
    assert place.lease("report") is None
