"""A Huey's locks as Leases: what stays as it was with every storage, and which holes are closed."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from huey import MemoryHuey, crontab
from huey.api import Huey
from huey.api import TaskLock as HueyTaskLock
from huey.exceptions import TaskException, TaskTimeout
from huey.exceptions import TaskLockedException as HueyTaskLockedException
from huey.signals import SIGNAL_COMPLETE, SIGNAL_LOCKED, SIGNAL_RETRYING

import tasklock
from contract.place import APP, Place, wait_until
from tasklock.contrib.huey import TaskLock, TaskLockedException, lock_task_semaphore, with_kubernetes_locks

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock import LockClient


def run_next(huey: Huey) -> Any:
    return huey.execute(huey.dequeue())


def elsewhere(function: Callable[[], Any]) -> Any:
    """Call it in a thread of its own."""
    with ThreadPoolExecutor(1) as other:
        return other.submit(function).result(60)


def test_every_storage_keeps_its_tasks_and_results_and_no_lock(plain: Huey, own: LockClient) -> None:
    huey = with_kubernetes_locks(plain, own)
    assert huey is plain

    @huey.task()
    @huey.lock_task("report")
    def report(number: int) -> int:
        assert huey.is_locked("report")
        assert huey.result_count() == 0, "a lock is in the storage"
        return number + 1

    result = report(1)
    assert run_next(huey) == 2
    assert result() == 2
    with own.lock_task("report"):
        refused = report(2)
        assert run_next(huey) is None
        with pytest.raises(TaskException, match="lock 'report' is held by"):
            refused()
    assert not huey.is_locked("report")


def test_other_keys_of_a_storage_are_left_to_it(plain: Huey, own: LockClient) -> None:
    huey = with_kubernetes_locks(plain, own)
    assert huey.put_if_empty("key", "1")
    assert not huey.put_if_empty("key", "2")
    assert huey.storage.has_data_for_key("key")
    assert huey.get("key") == "1"
    huey.delete("key")
    assert not huey.storage.has_data_for_key("key")
    assert own.locks() == []


def test_a_lock_has_the_interface_that_it_had(huey: Huey) -> None:
    lock = huey.lock_task("report")
    assert isinstance(lock, TaskLock)
    assert isinstance(lock, HueyTaskLock)
    assert not lock.is_locked()
    assert lock.acquire() is True
    assert lock.is_locked()
    assert lock.locked()
    assert huey.is_locked("report")
    with pytest.raises(HueyTaskLockedException):
        lock.acquire()
    assert lock.release() is True
    assert lock.release() is False
    with lock as entered:
        assert entered is lock
        assert lock.clear() is True
    assert lock.clear() is False


def test_the_keys_of_locks_are_leases_too(huey: Huey, place: Place) -> None:
    """By hand, or by a lock that was made before its Huey was changed."""
    key = f"{APP}.lock.report"
    assert huey.put_if_empty(key, "1")
    assert place.lease("report") is not None
    assert not huey.put_if_empty(key, "1")
    assert huey.storage.has_data_for_key(key)
    assert huey.delete(key)
    assert not huey.delete(key)
    assert place.lease("report") is None


def test_a_lock_made_before_the_change_is_a_lease_after_it(place: Place) -> None:
    huey = MemoryHuey(APP)
    lock_task, before = huey.lock_task, huey.lock_task("report")  # djhuey keeps the one, a decorator the other
    with_kubernetes_locks(huey, place.client())
    for lock in (before, lock_task("report")):
        with lock:
            assert place.lease("report") is not None
            with pytest.raises(HueyTaskLockedException):
                huey.lock_task("report").acquire()
        assert place.lease("report") is None


def test_who_holds_it_is_told_in_an_exception_of_both_kinds(huey: Huey, other: LockClient) -> None:
    with other.lock_task("report", ttl=90), pytest.raises(TaskLockedException) as caught:
        huey.lock_task("report").acquire()
    error = caught.value
    assert isinstance(error, tasklock.TaskLockedException)
    assert isinstance(error, HueyTaskLockedException)
    assert (error.name, error.ttl, bool(error.holder)) == ("report", 90, True)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_lock_is_renewed_while_its_task_runs(huey: Huey, place: Place) -> None:
    """With Huey's own ttl the lock would be somebody else's in the middle of a long task."""
    with huey.lock_task("report", ttl=1.5) as lock:  # whole seconds: 2
        acquired = place.lease("report")["spec"]
        assert acquired["leaseDurationSeconds"] == 2
        wait_until(lambda: place.lease("report")["spec"]["renewTime"] > acquired["renewTime"])
        lock.hold.ensure_held()
        assert lock.hold.token > 0
    assert lock.hold is None


def test_what_was_lost_is_not_taken_from_the_next_holder(
    huey: Huey, other: LockClient, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with huey.lock_task("report"):
        assert other.clear("report")
        later = other.lock_task("report").acquire()
    later.ensure_held()
    assert place.lease("report")["metadata"]["uid"] == later.uid
    assert "lock 'report' was lost" in caplog.text  # and the task ends well: its work is done
    later.release()


def test_release_frees_nothing_of_somebody_else(huey: Huey, other: LockClient) -> None:
    with other.lock_task("report") as hold:
        lock = huey.lock_task("report")
        with pytest.raises(TaskLockedException):
            lock.acquire()
        assert lock.release() is False
        hold.ensure_held()


def test_leaving_a_lost_lock_leaves_that_of_another_thread_of_the_same_worker(huey: Huey) -> None:
    lock = huey.lock_task("report")
    with lock:
        assert lock.clear()
        assert elsewhere(lock.acquire)
    assert lock.is_locked()
    assert lock.release()
    assert not lock.is_locked()


def test_a_lock_acquired_by_one_object_is_released_by_another(huey: Huey) -> None:
    assert huey.lock_task("report").acquire()
    assert elsewhere(lambda: huey.lock_task("report").release())
    assert not huey.is_locked("report")


def test_release_does_not_end_the_block_of_another_thread(huey: Huey) -> None:
    """As ``finally: lock.release()`` after a refused ``acquire()`` would."""
    lock = huey.lock_task("report")
    with lock:
        assert elsewhere(lock.release) is False
        assert elsewhere(huey.lock_task("report").release) is False
        lock.hold.ensure_held()


def test_a_block_entered_in_one_thread_and_left_in_another_is_freed(huey: Huey) -> None:
    lock = huey.lock_task("report")
    elsewhere(lock.__enter__)
    assert lock.is_locked()
    lock.__exit__(None, None, None)
    assert not lock.is_locked()


def test_a_task_that_a_timeout_cuts_short_before_its_block_holds_nothing(huey: Huey) -> None:
    """The exception comes from a signal's handler, between any two steps: after the acquire, before the body."""

    @huey.task()
    def report() -> None:
        huey.lock_task("report").__enter__()
        raise TaskTimeout

    report()
    run_next(huey)
    assert not huey.is_locked("report")


def test_a_task_leaves_alone_what_was_held_before_it_and_what_it_acquired_by_hand(place: Place) -> None:
    huey = with_kubernetes_locks(MemoryHuey(APP, immediate=True, immediate_use_memory=False), place.client())

    @huey.task()
    def hand_over() -> None:
        huey.lock_task("by hand").acquire()

    with huey.lock_task("around"):
        hand_over()
        assert huey.is_locked("around")
        assert huey.is_locked("by hand")
    assert huey.lock_task("by hand").release()


def test_a_lost_lock_is_told_to_its_block_as_lost(huey: Huey) -> None:
    with huey.lock_task("report", ttl=3) as lock:
        huey.flush_locks("report")
        wait_until(lambda: lock.hold.lost, within=60)
        with pytest.raises(tasklock.LockLostError):
            lock.hold.ensure_held()


def test_empty_names_are_flushed_as_little_as_in_huey(huey: Huey, other: LockClient) -> None:
    with other.lock_task("report"):
        assert huey.flush_locks(" ", "unknown") == set()
        assert huey.is_locked("report")


def test_a_contended_task_tells_it_as_huey_does(huey: Huey, other: LockClient) -> None:
    def story(huey: Huey, holder: Any) -> list[Any]:
        told: list[Any] = []
        huey.signal()(lambda signal, *_: told.append(signal))

        @huey.task(retries=1)
        @huey.lock_task("report")
        def report() -> str:
            return "done"

        result = report()
        with holder.lock_task("report"):
            told.append(run_next(huey))
        told.append(type(result.get_raw_result(preserve=True)))
        result.reset()
        told += [run_next(huey), result.get()]
        return told

    own = MemoryHuey(APP)
    told = story(huey, other)
    assert told == story(own, own)
    assert {SIGNAL_LOCKED, SIGNAL_RETRYING, SIGNAL_COMPLETE, "done"} <= set(told)


def test_a_contended_periodic_task_leaves_nothing_in_the_result_store(plain: Huey, own: LockClient) -> None:
    huey = with_kubernetes_locks(plain, own)

    @huey.periodic_task(crontab())
    @huey.lock_task("tick")
    def tick() -> None:
        raise AssertionError

    with own.lock_task("tick"):
        for _ in range(3):
            huey.enqueue(tick.s())
            run_next(huey)
    assert huey.result_count() == 0


def test_in_immediate_mode_locks_stay_in_memory() -> None:
    """Development and tests need no API server."""
    huey = with_kubernetes_locks(MemoryHuey(APP, immediate=True), tasklock.LockClient(kubeconfig="/nowhere"))
    with huey.lock_task("report") as lock:
        assert lock.hold is None
        assert huey.is_locked("report")
        with pytest.raises(HueyTaskLockedException):
            huey.lock_task("report").acquire()
    assert lock.acquire()
    assert huey.flush_locks() == {"report"}
    assert not lock.release()


def test_immediate_mode_can_be_left_and_entered(place: Place) -> None:
    huey = with_kubernetes_locks(MemoryHuey(APP, immediate=True), place.client())
    huey.immediate = False
    with huey.lock_task("report"):
        assert place.lease("report") is not None
        huey.immediate = True
        assert not huey.is_locked("report")
        huey.immediate = False
    assert place.lease("report") is None


def test_immediate_mode_with_the_storage_of_production_has_leases(place: Place) -> None:
    huey = with_kubernetes_locks(MemoryHuey(APP, immediate=True, immediate_use_memory=False), place.client())

    @huey.task()
    @huey.lock_task("report")
    def report() -> bool:
        return place.lease("report") is not None

    assert report().get() is True


def test_a_forked_child_has_locks_of_its_own(huey: Huey) -> None:
    lock = huey.lock_task("report")
    with lock:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:  # a worker process
            released = lock.release()
            try:
                lock.acquire()
            except HueyTaskLockedException:
                os.write(writer, b"released" if released else b"refused")
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 100) == b"refused"
        os.close(reader)
        os.close(writer)
        assert lock.is_locked()
    assert not lock.is_locked()


def test_fifty_threads_share_one_lock(huey: Huey) -> None:
    lock, inside, most = huey.lock_task("report"), [], []
    go = threading.Barrier(50)

    def work() -> bool:
        go.wait(60)
        try:
            with lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()
                return True
        except HueyTaskLockedException:
            return False

    with ThreadPoolExecutor(50) as workers:
        done = [future.result(120) for future in [workers.submit(work) for _ in range(50)]]
    assert any(done)
    assert max(most) == 1
    assert not lock.is_locked()


def test_a_semaphore_lets_so_many_in_and_no_more(plain: Huey, own: LockClient) -> None:
    huey = with_kubernetes_locks(plain, own)
    inside, leave = threading.Barrier(3), threading.Event()

    @lock_task_semaphore(huey, "exports", 2)
    def export() -> str:
        inside.wait(60)
        assert leave.wait(60)
        return "exported"

    with ThreadPoolExecutor(2) as workers:
        running = [workers.submit(export) for _ in range(2)]
        inside.wait(60)
        with pytest.raises(TaskLockedException, match="all 2 places of lock 'exports' are taken"):
            export()
        assert len(own.locks()) == 2
        leave.set()
        assert [one.result(60) for one in running] == ["exported", "exported"]
    assert own.locks() == []


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_a_semaphore_of_a_value_that_is_none_is_refused(huey: Huey, value: Any) -> None:
    with pytest.raises(tasklock.InvalidLockError, match="whole number of at least 1"):
        lock_task_semaphore(huey, "exports", value)


@pytest.mark.parametrize("thing", ["huey", None, Huey])
def test_what_is_no_huey_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="is no Huey"):
        with_kubernetes_locks(thing)


def test_two_hueys_with_kubernetes_locks_have_a_storage_each(huey: Huey) -> None:
    another = MemoryHuey(APP)
    another.storage = huey.storage
    with pytest.raises(TypeError, match="belongs to another Huey"):
        with_kubernetes_locks(another)


def test_a_huey_is_changed_once(huey: Huey) -> None:
    with pytest.raises(TypeError, match="has Kubernetes locks already"):
        with_kubernetes_locks(huey)


@pytest.mark.parametrize(
    ("name", "app"),
    [
        ("locking-app", "locking-app"),
        ("Locking App", "locking-app-"),
        ("übung/../x\n", "bung-x-"),
        ("", "app-"),
        ("x" * 64, "x" * 46 + "-"),
        ("\ud800", "app-"),
    ],
)
def test_a_huey_of_any_name_has_an_app(name: str, app: str, place: Place) -> None:
    found = with_kubernetes_locks(MemoryHuey(name)).lock_client.app
    assert found == app if app == name else found.startswith(app)
    assert len(found) <= 63
    huey = with_kubernetes_locks(MemoryHuey(name), place.client(found))
    with huey.lock_task("report"):
        assert huey.flush_locks() == {"report"}


@pytest.mark.parametrize(
    "name", ["user_42_processing", "a b", "ünïcode", "../../etc", "x" * 10_000, 42, "a.lock.b", "line\nbreak\x00"]
)
def test_a_lock_of_any_name(huey: Huey, name: Any) -> None:
    with huey.lock_task(name):
        assert huey.is_locked(name)
        assert huey.flush_locks(str(name)) == {str(name)}
    assert not huey.is_locked(name)


@pytest.mark.parametrize(
    "name", ["ünï/çødé ☃ 𝄞", "line\nbreak\r\x1b[31m", "\u202e\u2028", "{}%s%(message)s", "x" * 2000]
)
def test_a_task_of_any_name_is_locked_under_its_name(
    huey: Huey, other: LockClient, place: Place, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of any that Python takes for a class, which a task becomes: no lone surrogates."""

    @huey.task(name=name)
    @huey.lock_task(name)
    def report() -> Any:
        return place.lease(name)["metadata"]["annotations"]["tasklock.dev/name"]

    report()
    assert run_next(huey) == name
    report()
    with other.lock_task(name):
        assert run_next(huey) is None
    (line,) = [line for line in caplog.messages if "not run, lock '" in line]
    assert line.isascii()
    assert line.isprintable()


@pytest.mark.parametrize(("name", "ttl"), [("", None), ("\ud800", None), ("a", 0), ("a", -1), ("a", "30"), ("a", True)])
def test_a_name_or_a_ttl_that_no_lock_can_have_is_refused_where_it_is_written(huey: Huey, name: str, ttl: Any) -> None:
    with pytest.raises(tasklock.InvalidLockError):
        huey.lock_task(name, ttl)


def test_a_ttl_of_more_than_a_day_is_a_day_for_the_lock_is_renewed(huey: Huey, place: Place) -> None:
    with huey.lock_task("report", ttl=604_800):
        assert place.lease("report")["spec"]["leaseDurationSeconds"] == 86_400


def test_a_lease_that_is_no_lock_is_told_of_and_left(huey: Huey, place: Place) -> None:
    place.leases.create(f"{APP}.report", holderIdentity="leader")
    with pytest.raises(tasklock.InvalidLockError, match="kubectl delete lease"):
        huey.lock_task("report").acquire()
    with pytest.raises(tasklock.InvalidLockError):
        huey.flush_locks("report")
    assert place.lease("report")["spec"]["holderIdentity"] == "leader"
