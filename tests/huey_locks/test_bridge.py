"""A rollout: for a while some workers have Huey's own locks in the storage, and some have Leases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from huey.exceptions import TaskLockedException as HueyTaskLockedException

from contract.place import APP
from tasklock.contrib.huey import TaskLockedException, with_kubernetes_locks

if TYPE_CHECKING:
    from huey.api import Huey

    from tasklock import LockClient

KEY = f"{APP}.lock.report"


def test_without_a_bridge_neither_kind_of_worker_sees_the_locks_of_the_other(
    two: tuple[Huey, Huey], own: LockClient
) -> None:
    old, new = two[0], with_kubernetes_locks(two[1], own)
    with old.lock_task("report"), new.lock_task("report"):
        pass  # both: that is what the bridge is for


def test_with_a_bridge_a_lock_is_held_by_one_of_them(two: tuple[Huey, Huey], own: LockClient) -> None:
    old, new = two[0], with_kubernetes_locks(two[1], own, bridge=True)
    with new.lock_task("report"):
        assert old.is_locked("report")
        assert own.is_locked("report")
        with pytest.raises(HueyTaskLockedException):
            old.lock_task("report").acquire()
    assert not old.is_locked("report")
    with old.lock_task("report"):
        assert new.is_locked("report")
        with pytest.raises(TaskLockedException, match="by a worker that uses Huey's own locks"):
            new.lock_task("report").acquire()
        assert not own.is_locked("report"), "the Lease was not given back"
    with new.lock_task("report"):
        pass


def test_what_a_dead_worker_with_a_bridge_left_in_the_storage_is_in_nobodys_way_with_a_bridge(
    two: tuple[Huey, Huey], own: LockClient
) -> None:
    old, new = two[0], with_kubernetes_locks(two[1], own, bridge=True)
    assert new.lock_task("report").acquire()
    own.clear("report")  # as the operator does
    assert old.is_locked("report")
    assert not new.is_locked("report")
    assert new.lock_task("report").acquire()
    assert new.lock_task("report").release()
    assert not old.is_locked("report")


def test_a_worker_that_lost_its_lock_does_not_free_that_of_the_next_in_the_storage(
    two: tuple[Huey, Huey], own: LockClient
) -> None:
    first = with_kubernetes_locks(two[0], own, bridge=True)
    second = with_kubernetes_locks(two[1], own, bridge=True)
    with first.lock_task("report"):
        own.clear("report")
        with second.lock_task("report"):
            marked = second.storage.peek_data(KEY)
            first.lock_task("report").release()
            assert second.storage.peek_data(KEY) == marked
    assert not second.is_locked("report")


def test_flushing_frees_both(two: tuple[Huey, Huey], own: LockClient) -> None:
    old, new = two[0], with_kubernetes_locks(two[1], own, bridge=True)
    assert old.lock_task("report").acquire()
    assert new.flush_locks("report") == {"report"}
    assert new.flush_locks("report") == set()
    assert new.lock_task("report").acquire()
    assert new.flush_locks() == {"report"}
    assert not old.is_locked("report")
    assert new.lock_task("report").acquire()
    assert new.lock_task("report").clear()
    assert not old.is_locked("report")


def test_a_storage_that_fails_leaves_no_lease(
    own: LockClient, two: tuple[Huey, Huey], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        message = "no storage"
        raise ConnectionError(message)

    monkeypatch.setattr(two[0].storage, "put_if_empty", fail)
    new = with_kubernetes_locks(two[0], own, bridge=True)
    monkeypatch.undo()
    with pytest.raises(ConnectionError, match="no storage"):
        new.lock_task("report").acquire()
    assert own.locks() == []
