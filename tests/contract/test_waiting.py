"""Waiting for a lock that somebody else holds."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from contract.place import strictly_increase, wait_until
from tasklock import LockApiError, LockTimeoutError, TaskLockedException

if TYPE_CHECKING:
    from contract.place import Place
    from contract.programs import Programs
    from tasklock import Hold, LockClient


@pytest.mark.parametrize("timeout", [30, None, float("inf")])
def test_a_waiter_gets_the_lock_once_it_is_released(
    client: LockClient,
    other: LockClient,
    timeout: float | None,
) -> None:
    hold = client.lock_task("report").acquire()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.lock_task("report").acquire, timeout)
        time.sleep(0.5)
        assert not waiting.done()
        hold.release()
        taken = waiting.result(20)
    assert taken.token > hold.token
    taken.release()


def test_a_waiter_gives_up_at_its_timeout_and_not_before(client: LockClient, other: LockClient) -> None:
    with client.lock_task("report"):
        start = time.monotonic()
        with pytest.raises(LockTimeoutError, match=r"is held by .* after waiting 0\.7 s") as refusal:
            other.lock_task("report").acquire(0.7)
        assert 0.7 <= time.monotonic() - start < 5
    assert isinstance(refusal.value, TimeoutError)
    assert isinstance(refusal.value, TaskLockedException)
    assert refusal.value.holder is not None


def test_a_timeout_given_to_the_lock_counts_for_with_and_for_decorated_functions(
    client: LockClient,
    other: LockClient,
) -> None:
    lock = other.lock_task("report", timeout=0.3)
    with client.lock_task("report"):
        with pytest.raises(LockTimeoutError), lock:
            pytest.fail("two holders")
        with pytest.raises(LockTimeoutError):
            lock(lambda: pytest.fail("two holders"))()
        with pytest.raises(TaskLockedException) as refusal:
            lock.acquire()
    assert not isinstance(refusal.value, TimeoutError)


def test_a_free_lock_is_taken_at_once_with_any_timeout(client: LockClient) -> None:
    for timeout in (0, 0.5, 30, None):
        with client.lock_task("report", timeout=timeout):
            pass


def test_waiters_get_the_lock_one_after_the_other(place: Place) -> None:
    inside = threading.Semaphore(1)
    tokens = []

    def work(client: LockClient) -> None:
        for _ in range(3):
            with client.lock_task("report", timeout=60) as hold:
                assert inside.acquire(blocking=False), "two holders at the same time"
                tokens.append(hold.token)
                time.sleep(0.01)
                inside.release()

    clients = [place.client() for _ in range(6)]
    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(work, clients))
    assert len(tokens) == 18
    assert strictly_increase(tokens)


def test_a_waiter_outwaits_a_holder_that_lives_longer_than_its_ttl(client: LockClient, other: LockClient) -> None:
    with ThreadPoolExecutor(1) as pool:
        with client.lock_task("report", ttl=3) as hold:
            waiting = pool.submit(other.lock_task("report").acquire, 60)
            time.sleep(3.9)  # unrenewed, it would be stale after 3.3 s
            assert not waiting.done()
            hold.ensure_held()
        waiting.result(20).release()


def test_a_waiter_survives_that_its_watch_breaks(embedded: Place) -> None:
    assert embedded.server is not None
    hold = embedded.client().lock_task("report").acquire()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(embedded.client().lock_task("report").acquire, 60)
        wait_until(lambda: "WATCH" in embedded.requests())
        for _ in range(3):
            embedded.server.drop_watches()
            wait_until(lambda: "WATCH" in embedded.requests())
        assert not waiting.done()
        hold.release()
        waiting.result(20).release()


def test_a_waiter_that_is_interrupted_takes_nothing_afterwards(
    place: Place,
    programs: Programs,
    client: LockClient,
) -> None:
    with client.lock_task("report"):
        waiter = programs.holder("report", timeout=None)
        waiter.hear("started")
        time.sleep(0.5)  # it watches by then, or is interrupted on the way: either will do
        waiter.send(signal.SIGINT)
        assert waiter.hear("ended")["error"] == "KeyboardInterrupt"
        waiter.wait()
    assert place.lease("report") is None


def test_many_waiters_with_short_timeouts_leave_nothing_behind(place: Place, client: LockClient) -> None:
    """A create that is under way when its time is up may still arrive: what it made is removed."""

    def hurry(waiter: LockClient) -> None:
        for turn in range(5):
            try:
                hold: Hold = waiter.lock_task("report").acquire(0.02 * (turn + 1))
            except (LockTimeoutError, LockApiError):  # held all that time, or no answer in it
                continue
            hold.release()

    waiters = [place.client() for _ in range(4)]
    with ThreadPoolExecutor(len(waiters)) as pool:
        list(pool.map(hurry, waiters))
    for waiter in waiters:
        waiter.close()
    wait_until(lambda: place.lease("report") is None, within=10)
    with client.lock_task("report"):
        pass
