"""The examples of Huey's guide with a Huey, as they are run with a ``LockClient`` in tests/contract."""

from __future__ import annotations

from contract.test_classic import (
    test_basic_task_locking,
    test_conditional_locking,
    test_emergency_unlock_of_all_locks,
    test_fine_grained_locking_with_a_lock_per_user,
    test_lock_as_a_reusable_decorator,
    test_lock_as_an_inline_decorator,
    test_lock_status_monitoring,
    test_unlocking_specific_locks,
)

__all__ = [
    "test_basic_task_locking",
    "test_conditional_locking",
    "test_emergency_unlock_of_all_locks",
    "test_fine_grained_locking_with_a_lock_per_user",
    "test_lock_as_a_reusable_decorator",
    "test_lock_as_an_inline_decorator",
    "test_lock_status_monitoring",
    "test_unlocking_specific_locks",
]
