"""Taking over from a holder that is dead or no longer renews, without anybody's help."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from contract.place import wait_until
from tasklock import LockTimeoutError, TaskLockedException

if TYPE_CHECKING:
    from contract.place import Place
    from contract.programs import Programs
    from tasklock import LockClient


def test_a_waiter_takes_a_lock_over_that_it_saw_unchanged_for_longer_than_its_ttl(
    place: Place,
    client: LockClient,
) -> None:
    abandoned = place.plant("report", ttl=2)
    start = time.monotonic()
    with client.lock_task("report", timeout=None) as hold:
        assert time.monotonic() - start >= 2.2
        assert hold.token > int(abandoned["metadata"]["resourceVersion"])
        assert hold.uid != abandoned["metadata"]["uid"]


def test_the_second_try_takes_a_lock_over_that_the_first_saw(place: Place, client: LockClient) -> None:
    place.plant("report", ttl=3)
    lock = client.lock_task("report")
    with pytest.raises(TaskLockedException):
        lock.acquire()
    time.sleep(0.5)
    with pytest.raises(TaskLockedException):
        lock.acquire()
    time.sleep(3)
    lock.acquire().release()


def test_a_waiter_that_takes_over_is_not_refused_because_its_timeout_is_longer_than_the_ttl(
    place: Place,
    client: LockClient,
) -> None:
    place.plant("report", ttl=1)
    client.lock_task("report").acquire(30).release()


def test_one_of_many_waiters_takes_a_stale_lock_over_and_the_others_follow(place: Place) -> None:
    place.plant("report", ttl=1)
    tokens = []

    def work(client: LockClient) -> None:
        with client.lock_task("report", timeout=60) as hold:
            tokens.append(hold.token)
            time.sleep(0.05)
            hold.ensure_held()

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work, [place.client() for _ in range(5)]))
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 5


def test_a_lock_that_changes_is_not_taken_over(place: Place, client: LockClient) -> None:
    lease = place.plant("report", ttl=2)["metadata"]["name"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.lock_task("report").acquire, 2.8)
        for turn in range(30):
            reply = place.leases.patch(lease, {"spec": {"renewTime": f"2020-01-01T00:00:00.{turn:06}Z"}})
            assert reply.status == 200
            time.sleep(0.1)
        with pytest.raises(LockTimeoutError):
            waiting.result(20)
    assert place.lease("report") is not None


@pytest.mark.parametrize("where", ["client", "lock"])
def test_without_takeover_a_stale_lock_is_waited_for_in_vain(place: Place, where: str) -> None:
    abandoned = place.plant("report", ttl=1)
    client = place.client(takeover=where != "client")
    lock = client.lock_task("report", takeover=False if where == "lock" else None)
    with pytest.raises(LockTimeoutError):
        lock.acquire(1.6)
    assert place.lease("report") == abandoned


def test_a_neighbour_that_was_killed_is_followed_at_once(programs: Programs, client: LockClient) -> None:
    holder = programs.holder("report", ttl=600)
    holder.hear("started")
    token = holder.hear("held")["token"]
    with pytest.raises(TaskLockedException):
        client.lock_task("report").acquire()
    holder.kill()
    with client.lock_task("report") as hold:
        assert hold.token > token


def test_a_waiter_notices_that_the_neighbour_it_waits_for_was_killed(programs: Programs, client: LockClient) -> None:
    holder = programs.holder("report", ttl=600)
    holder.hear("started")
    holder.hear("held")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.lock_task("report").acquire, None)
        time.sleep(1)
        assert not waiting.done()
        holder.kill()
        waiting.result(20).release()


def test_a_zombie_is_not_yet_dead(programs: Programs, client: LockClient) -> None:
    holder = programs.holder("report", ttl=600)
    holder.hear("started")
    holder.hear("held")
    holder.send(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # has ended, and is not reaped
    assert client.is_locked("report")
    holder.kill()
    assert not client.is_locked("report")


def test_a_neighbour_that_does_not_announce_itself_is_not_followed_before_its_time(
    place: Place,
    programs: Programs,
    client: LockClient,
) -> None:
    holder = programs.holder("report", ttl=600, announce_process=False)
    holder.hear("started")
    holder.hear("held")
    assert "tasklock.dev/process" not in place.lease("report")["metadata"]["annotations"]
    holder.kill()
    assert client.is_locked("report")
    with pytest.raises(TaskLockedException):
        client.lock_task("report").acquire()


def test_the_holder_that_was_taken_over_from_knows_it_first(place: Place, client: LockClient) -> None:
    """It was lost at two thirds of the ttl; nobody can have taken it before 1.1 times the ttl."""
    hold = client.lock_task("report", ttl=1).acquire()
    place.leases.patch(hold.lease, {"metadata": {"labels": {"app.kubernetes.io/managed-by": "tasklock"}}})
    client.session.keeper.after_fork()  # from now on nobody renews, as if its threads got no time
    time.sleep(0.8)
    assert hold.lost is not None
    assert hold.lost.reason == "expired"
    with place.client().lock_task("report", timeout=30) as next_hold:
        wait_until(lambda: place.lease("report")["metadata"]["uid"] == next_hold.uid)
