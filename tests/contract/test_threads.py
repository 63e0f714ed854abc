"""One lock, one client, many threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from contract.place import strictly_increase
from tasklock import TaskLockedException, TaskLockError

if TYPE_CHECKING:
    from contract.place import Place
    from tasklock import LockClient

THREADS = 50


def test_of_fifty_threads_that_try_one_object_at_once_exactly_one_holds_it(client: LockClient) -> None:
    lock = client.lock_task("report")
    together = threading.Barrier(THREADS)
    tried = threading.Barrier(THREADS)

    def attempt(_: int) -> bool:
        together.wait(60)
        try:
            with lock:
                tried.wait(60)
                return True
        except TaskLockedException:
            tried.wait(60)
            return False

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(2):
            assert sum(pool.map(attempt, range(THREADS))) == 1
    assert not lock.is_locked()


def test_fifty_threads_share_one_object_in_turns(client: LockClient) -> None:
    lock = client.lock_task("report", timeout=120)
    inside = threading.Semaphore(1)
    tokens = []

    def work(_: int) -> None:
        with lock as hold:
            assert inside.acquire(blocking=False), "two holders at the same time"
            tokens.append(hold.token)
            inside.release()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    assert len(tokens) == THREADS
    assert strictly_increase(tokens)


def test_what_is_held_belongs_to_the_thread_that_acquired_it(client: LockClient, other: LockClient) -> None:
    lock = client.lock_task("report")
    with ThreadPoolExecutor(1) as pool:
        hold = pool.submit(lock.acquire).result()
        with pytest.raises(TaskLockError, match="not held by this thread"):
            lock.release()
        assert other.is_locked("report")
        pool.submit(lock.release).result()
        assert not other.is_locked("report")
        hold.release()


def test_a_hold_may_be_released_by_another_thread(client: LockClient, other: LockClient) -> None:
    hold = client.lock_task("report").acquire()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold.release).result()
    assert not other.is_locked("report")


def test_one_client_holds_many_locks_in_many_threads(place: Place, client: LockClient) -> None:
    together = threading.Barrier(20)

    def work(number: int) -> int:
        with client.lock_task(f"report-{number}", ttl=2) as hold:
            together.wait(60)
            hold.ensure_held()
            assert len(place.leases.list()["items"]) >= 1
            together.wait(60)
            return hold.token

    with ThreadPoolExecutor(20) as pool:
        tokens = list(pool.map(work, range(20)))
    assert len(set(tokens)) == 20
    assert client.locks() == []
