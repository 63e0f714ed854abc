"""is_locked: true exactly when trying once now would be refused."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from contract.place import process_mark
from tasklock import TaskLockedException

if TYPE_CHECKING:
    from contract.place import Place
    from contract.programs import Programs
    from tasklock import LockClient


def is_refused(client: LockClient, name: str) -> bool:
    try:
        client.lock_task(name).acquire().release()
    except TaskLockedException:
        return True
    return False


def test_a_lock_is_locked_while_it_is_held_by_anyone(client: LockClient, other: LockClient) -> None:
    lock = client.lock_task("report")
    assert not lock.is_locked()
    with lock:
        for observer in (client, other):
            assert observer.is_locked("report")
            assert observer.lock_task("report").is_locked()
            assert is_refused(observer, "report")
    for observer in (client, other):
        assert not observer.is_locked("report")
        assert not is_refused(observer, "report")


def test_a_stale_lock_is_locked_until_this_client_has_seen_it_unchanged_for_long_enough(
    place: Place,
    client: LockClient,
    other: LockClient,
) -> None:
    place.plant("report", ttl=1)
    time.sleep(1.5)
    assert client.is_locked("report")  # seen for the first time
    time.sleep(1.2)
    assert not client.is_locked("report")
    assert is_refused(other, "report")  # who sees it for the first time
    assert place.lease("report") is not None  # and looking has changed nothing
    assert not is_refused(client, "report")


def test_a_lock_that_changed_meanwhile_is_seen_anew(place: Place, client: LockClient) -> None:
    lease = place.plant("report", ttl=1)["metadata"]["name"]
    assert client.is_locked("report")
    time.sleep(0.7)
    place.leases.patch(lease, {"metadata": {"annotations": {"note": "renewed, in a way"}}})
    time.sleep(0.7)
    assert client.is_locked("report")
    assert is_refused(client, "report")


def test_without_takeover_a_stale_lock_stays_locked(place: Place) -> None:
    client = place.client(takeover=False)
    place.plant("report", ttl=1)
    assert client.is_locked("report")
    time.sleep(1.3)
    assert client.is_locked("report")
    assert is_refused(client, "report")


def test_the_lock_of_a_dead_neighbour_is_not_locked_and_that_of_a_living_one_is(
    place: Place,
    programs: Programs,
    client: LockClient,
) -> None:
    holder = programs.holder("report", ttl=600)
    holder.hear("started")
    holder.hear("held")
    assert client.is_locked("report")
    holder.kill()
    assert not client.is_locked("report")
    assert place.client(takeover=False).is_locked("report")
    assert place.lease("report") is not None
    assert not is_refused(client, "report")


@pytest.mark.parametrize("what", ["another boot", "another pid namespace", "no mark", "garbage", "a living process"])
def test_only_a_process_that_we_could_see_counts_as_dead(place: Place, client: LockClient, what: str) -> None:
    mine = process_mark()
    boot, pids, _, _ = mine.split("/")
    dead = f"{2**22 + 1}/1"  # above any pid
    marks = {
        "another boot": f"11111111-2222-3333-4444-555555555555/{pids}/{dead}",
        "another pid namespace": f"{boot}/1/{dead}",
        "garbage": f"{boot}/{pids}/-1/1",
        "a living process": mine,
    }
    annotations = {"process": marks[what]} if what in marks else {}
    place.plant("report", ttl=600, **annotations)
    assert client.is_locked("report")
    assert is_refused(client, "report")


@pytest.mark.parametrize("what", ["no such process", "its number was given to another"])
def test_a_neighbour_that_is_surely_dead_holds_nothing(place: Place, client: LockClient, what: str) -> None:
    mine = process_mark()
    boot, pids, _, _ = mine.split("/")
    process = f"{2**22 + 1}/1" if what == "no such process" else f"{os.getpid()}/1"
    place.plant("report", ttl=600, process=f"{boot}/{pids}/{process}")
    assert not client.is_locked("report")
    assert not is_refused(client, "report")
