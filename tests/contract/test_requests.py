"""What a lock costs the API server, counted on the embedded one."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from contract.place import wait_until
from tasklock import TaskLockedException

if TYPE_CHECKING:
    from contract.place import Place


def test_acquire_and_release_are_two_requests(embedded: Place) -> None:
    lock = embedded.client().lock_task("report")
    for _ in range(3):
        with lock:
            pass
        assert embedded.requests() == ["POST", "DELETE"]


def test_a_refused_attempt_is_two_requests(embedded: Place) -> None:
    embedded.plant("report", ttl=600)
    lock = embedded.client().lock_task("report")
    embedded.requests()
    with pytest.raises(TaskLockedException):
        lock.acquire()
    assert embedded.requests() == ["POST", "LIST"]


def test_a_held_lock_costs_one_patch_per_third_of_its_ttl_and_nothing_else(embedded: Place) -> None:
    with embedded.client().lock_task("report", ttl=3):
        assert embedded.requests() == ["POST"]
        time.sleep(5.5)
        held = embedded.requests()
    assert set(held) == {"PATCH"}
    assert 4 <= len(held) <= 6
    assert embedded.requests() == ["DELETE"]


def test_a_held_lock_that_is_watched_costs_one_list_and_one_watch_more(embedded: Place) -> None:
    with embedded.client(watch_holds=True).lock_task("report", ttl=600):
        time.sleep(1)
    time.sleep(0.5)
    assert Counter(embedded.requests()) == Counter(["POST", "LIST", "WATCH", "DELETE"])


def test_looking_is_one_request_and_clearing_two(embedded: Place) -> None:
    client = embedded.client()
    client.is_locked("report")
    assert embedded.requests() == ["GET"]
    client.lock_task("report").clear()
    assert embedded.requests() == ["GET"]
    embedded.plant("report", ttl=600)
    embedded.requests()
    client.lock_task("report").clear()
    assert embedded.requests() == ["GET", "DELETE"]
    client.locks()
    assert embedded.requests() == ["LIST"]


def test_flushing_is_one_list_and_one_delete_by_name_for_each(embedded: Place) -> None:
    for name in ("one", "two", "three"):
        embedded.plant(name, ttl=600)
    embedded.requests()
    embedded.client().flush_locks()
    assert embedded.requests() == ["LIST", "DELETE", "DELETE", "DELETE"]


def test_waiting_is_one_list_and_one_watch_and_no_polling(embedded: Place) -> None:
    lease = embedded.plant("report", ttl=600)["metadata"]["name"]
    client = embedded.client()
    embedded.requests()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.lock_task("report").acquire, 60)
        time.sleep(2)
        assert embedded.requests() == ["POST", "LIST", "WATCH"]
        embedded.leases.delete(lease)
        hold = waiting.result(20)
    assert embedded.requests() == ["DELETE", "POST"]
    hold.release()


def test_a_takeover_is_a_look_a_delete_and_a_post(embedded: Place) -> None:
    embedded.plant("report", ttl=1)
    lock = embedded.client().lock_task("report")
    embedded.requests()
    with pytest.raises(TaskLockedException):
        lock.acquire()
    time.sleep(1.3)
    lock.acquire().release()
    assert embedded.requests() == ["POST", "LIST", "POST", "LIST", "DELETE", "POST", "DELETE"]


def test_a_client_that_holds_nothing_asks_nothing(embedded: Place) -> None:
    client = embedded.client()
    with client.lock_task("report", ttl=1):
        pass
    wait_until(embedded.requests)
    time.sleep(1.5)
    assert embedded.requests() == []
