"""The examples of Huey's guide with a Huey, as they are run with a ``LockClient`` in tests/contract."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from huey import MemoryHuey
from huey.signals import SIGNAL_LOCKED

from contract.place import APP, Place
from contract.test_classic import (
    test_basic_task_locking,
    test_batches_and_items_with_nested_locks,
    test_conditional_locking,
    test_database_connection_pooling_with_locks,
    test_emergency_unlock_of_all_locks,
    test_fine_grained_locking_with_a_lock_per_user,
    test_force_unlock_emergency,
    test_lock_as_a_reusable_decorator,
    test_lock_as_an_inline_decorator,
    test_lock_status_monitoring,
    test_lock_with_a_timeout_that_polls,
    test_periodic_check_of_critical_locks,
    test_singleton_task,
    test_unlocking_specific_locks,
    work,
)
from tasklock.contrib.huey import with_kubernetes_locks

if TYPE_CHECKING:
    from huey.api import Huey

__all__ = [
    "test_basic_task_locking",
    "test_batches_and_items_with_nested_locks",
    "test_conditional_locking",
    "test_database_connection_pooling_with_locks",
    "test_emergency_unlock_of_all_locks",
    "test_fine_grained_locking_with_a_lock_per_user",
    "test_force_unlock_emergency",
    "test_lock_as_a_reusable_decorator",
    "test_lock_as_an_inline_decorator",
    "test_lock_status_monitoring",
    "test_lock_with_a_timeout_that_polls",
    "test_periodic_check_of_critical_locks",
    "test_singleton_task",
    "test_unlocking_specific_locks",
]


@pytest.fixture
def clients(place: Place) -> list[Huey]:
    """Give five workers a Huey each."""
    return [with_kubernetes_locks(MemoryHuey(APP), place.client()) for _ in range(5)]


def test_basic_task_locking_where_the_second_is_run_when_the_first_has_completed(huey: Huey) -> None:
    """The guide's comment says "Will wait for first to complete": with retries it does."""
    counted: list[int] = []
    refused = threading.Event()
    huey.signal(SIGNAL_LOCKED)(lambda *_: refused.set())

    @huey.task(retries=1)
    def update_user_count() -> int:
        # Use lock as context manager
        with huey.lock_task("user_count_update"):
            # Only one worker can execute this block at a time
            assert refused.wait(60)
            counted.append(7)
            return len(counted)

    # Multiple workers can enqueue this task, but only one executes at a time
    result1 = update_user_count()
    result2 = update_user_count()  # Will wait for first to complete

    def worker() -> int | None:
        executed: int | None = huey.execute(huey.dequeue())
        return executed

    assert sorted(work(worker, worker), key=str) == [1, None]
    assert worker() == 2
    assert sorted([result1(), result2()]) == [1, 2]
