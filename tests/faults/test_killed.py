"""Holders and waiters that are killed or paused, and who comes after them."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from contract.place import wait_until
from faults.metering import counted
from tasklock import TaskLockedException

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.control_plane import ControlPlane
    from contract.place import Place
    from contract.programs import Program, Programs
    from tasklock import LockClient


def held(program: Program) -> dict[str, object]:
    program.hear("started")
    return program.hear("held")


def test_the_lock_of_a_killed_neighbour_is_taken_at_once(
    programs: Programs,
    client: LockClient,
    record_property: Callable[[str, object], None],
) -> None:
    holder = programs.holder("report", ttl=86_400)
    token = held(holder)["token"]
    client.is_locked("report")  # connected
    holder.kill()
    start = time.monotonic()
    with client.lock_task("report") as hold:
        record_property("taken_after_ms", round(1e3 * (time.monotonic() - start), 1))
        assert hold.token > token  # type: ignore[operator]


def test_whoever_waits_for_a_neighbour_that_is_killed_goes_on_at_once(
    programs: Programs,
    client: LockClient,
    record_property: Callable[[str, object], None],
) -> None:
    holder = programs.holder("report", ttl=86_400)
    held(holder)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.lock_task("report").acquire, None)
        time.sleep(1)
        start = time.monotonic()
        holder.kill()
        hold = waiting.result(30)
        record_property("taken_after_ms", round(1e3 * (time.monotonic() - start), 1))
    hold.release()


def test_the_lock_of_a_killed_stranger_is_taken_when_it_has_expired(
    programs: Programs,
    client: LockClient,
    record_property: Callable[[str, object], None],
) -> None:
    """As from another node: 1.1 times the ttl after its last renewal, and not before."""
    holder = programs.holder("report", ttl=3, announce_process=False)
    held(holder)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.lock_task("report").acquire, None)
        time.sleep(1.5)  # it was renewed while somebody waited
        start = time.monotonic()
        holder.kill()
        hold = waiting.result(60)
        took = time.monotonic() - start
    record_property("taken_after_s", round(took, 2))
    assert 3.3 - 1.6 < took < 3.3 + 5  # the last renewal was at most half a period ago
    hold.release()


def test_every_worker_of_a_chain_of_kills_follows_the_one_before(place: Place, programs: Programs) -> None:
    tokens = []
    for _ in range(4):
        worker = programs.holder("report", timeout=60, ttl=86_400)
        tokens.append(held(worker)["token"])
        worker.kill()
    assert tokens == sorted(set(tokens), key=int)  # type: ignore[call-overload]
    with place.client().lock_task("report"):
        pass


@pytest.mark.parametrize("first", ["release", "raise", "state"])
def test_a_holder_paused_past_its_ttl_wakes_up_to_find_its_lock_lost_and_touches_nothing(
    place: Place,
    programs: Programs,
    client: LockClient,
    first: str,
) -> None:
    """The first thing that it does when it goes on is to release, to fail, or to look."""
    holder = programs.holder("report", ttl=2)
    held(holder)
    holder.send(signal.SIGSTOP)
    with client.lock_task("report", ttl=600, timeout=60) as hold:  # the next: its first renewal is minutes away
        taken = place.lease("report")
        assert taken["metadata"]["uid"] == hold.uid
        holder.tell(first)
        holder.send(signal.SIGCONT)
        events = {event["event"]: event for event in (holder.hear_any(), holder.hear_any())}
        assert events["lost"]["reason"] == "expired"
        if first == "state":
            assert events["state"]["lost"] == "expired"
            time.sleep(2.5)  # whatever its keeper had meant to do
            assert place.lease("report") == taken
            holder.tell("release")
            ended = holder.hear("ended")
        else:
            ended = events["ended"]
        assert ended["error"] == ("RuntimeError" if first == "raise" else "LockLostError")
        holder.wait()
        assert place.lease("report") == taken  # its uid, its resourceVersion: not a byte of it
        hold.ensure_held()
    assert place.lease("report") is None


def test_a_holder_paused_for_less_than_its_validity_goes_on(place: Place, programs: Programs) -> None:
    holder = programs.holder("report", ttl=9)  # valid for 6 s from a renewal
    uid = held(holder)["uid"]
    holder.send(signal.SIGSTOP)
    time.sleep(2)
    assert place.client().is_locked("report")
    holder.send(signal.SIGCONT)
    wait_until(lambda: place.lease("report")["spec"]["renewTime"] > place.lease("report")["spec"]["acquireTime"])
    assert place.lease("report")["metadata"]["uid"] == uid
    holder.tell("state")
    assert holder.hear("state")["lost"] is None
    holder.tell("release")
    assert holder.hear("ended")["error"] is None


def test_a_paused_neighbour_is_not_dead(programs: Programs, client: LockClient) -> None:
    holder = programs.holder("report", ttl=600)
    held(holder)
    holder.send(signal.SIGSTOP)
    assert client.is_locked("report")
    with pytest.raises(TaskLockedException):
        client.lock_task("report").acquire(1)
    holder.send(signal.SIGCONT)
    holder.tell("release")
    assert holder.hear("ended")["error"] is None


def test_a_killed_waiter_leaves_nothing_behind_and_delays_nobody(
    place: Place,
    programs: Programs,
    client: LockClient,
    record_property: Callable[[str, object], None],
) -> None:
    hold = client.lock_task("report", ttl=600).acquire()
    waiters = [programs.holder("report", timeout=None, ttl=600) for _ in range(2)]
    for waiter in waiters:
        waiter.hear("started")
    time.sleep(0.7)  # their watches are open
    killed, waiter = waiters
    killed.kill()
    start = time.monotonic()
    hold.release()
    held = waiter.hear("held")
    record_property("went_on_after_ms", round(1e3 * (held["at"] - start), 1))
    assert held["token"] > hold.token
    waiter.tell("release")
    assert waiter.hear("ended")["error"] is None
    assert place.leases.list()["items"] == []


def test_a_waiter_paused_while_the_lock_changes_hands_goes_on_waiting_and_gets_it_later(
    control_plane: ControlPlane,
    place: Place,
    programs: Programs,
    client: LockClient,
    other: LockClient,
) -> None:
    def refused() -> int:
        return counted(control_plane, "apiserver_request_total", resource="leases", verb="POST", code="409")

    hold = client.lock_task("report", ttl=600).acquire()
    before = refused()
    waiter = programs.holder("report", timeout=None, ttl=600)
    waiter.hear("started")
    wait_until(lambda: refused() > before)
    waiter.send(signal.SIGSTOP)
    hold.release()
    with other.lock_task("report", ttl=600) as later:
        taken = place.lease("report")
        waiter.send(signal.SIGCONT)
        assert waiter.is_silent(seconds=2)
        assert place.lease("report") == taken
        later.ensure_held()
    held = waiter.hear("held")
    assert held["token"] > later.token > hold.token
    waiter.tell("release")
    assert waiter.hear("ended")["error"] is None
    assert place.leases.list()["items"] == []
