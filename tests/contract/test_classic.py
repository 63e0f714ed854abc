"""Huey's task locking, example by example, with a ``LockClient`` in place of ``huey``.

The bodies of the examples are those of Huey's guide ("Task Locking and Concurrency"), their work filled in. ``work``
stands for the consumer: it runs tasks at once, each worker a thread with the same module-level objects.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from contract.place import wait_until
from tasklock import TaskLockedException

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from contract.place import Place
    from tasklock import LockClient


@pytest.fixture
def clients(place: Place) -> list[LockClient]:
    """Give five workers a client each."""
    return [place.client() for _ in range(5)]


def work(*tasks: Callable[[], Any], winner: Busy | None = None) -> list[Any]:
    """Run tasks at once, a worker each; return what they returned or raised, in order.

    ``winner`` is what the one does that gets the lock: it goes on until all others have ended, refused.
    """
    started = threading.Barrier(len(tasks))
    ended: list[Callable[[], Any]] = []
    if winner is not None:
        winner.until = lambda: len(ended) >= len(tasks) - 1

    def run(task: Callable[[], Any]) -> Any:
        started.wait(30)
        try:
            return task()
        except Exception as error:  # noqa: BLE001 - a consumer stores it as the task's result
            return error
        finally:
            ended.append(task)

    with ThreadPoolExecutor(len(tasks)) as workers:
        return list(workers.map(run, tasks))


def with_retries(task: Callable[[], Any]) -> Callable[[], Any]:
    """Run a task again while its lock is held, as the consumer does where the task has retries."""

    def run() -> Any:
        while True:
            try:
                return task()
            except TaskLockedException:
                time.sleep(0.05)

    return run


class Busy:
    """Work that takes a while, and fails when it is done twice at the same time."""

    def __init__(self, seconds: float = 0.4) -> None:
        self.seconds = seconds
        self.until: Callable[[], bool] = lambda: True
        self.times = 0
        self._inside = threading.Lock()

    def __call__(self) -> None:
        assert self._inside.acquire(blocking=False), "it runs twice at the same time"
        time.sleep(self.seconds)
        wait_until(self.until, within=30)
        self.times += 1
        self._inside.release()


def test_basic_task_locking(client: LockClient) -> None:
    """Only one worker executes the block at a time; the other task ends with TaskLockedException, as in Huey."""
    counting = Busy(0)

    def update_user_count() -> int:
        # Use lock as context manager
        with client.lock_task("user_count_update"):
            # Only one worker can execute this block at a time
            counting()
            return 7

    results = work(update_user_count, update_user_count, winner=counting)
    assert min(map(str, results)) == "7"
    assert sum(isinstance(result, TaskLockedException) for result in results) == 1
    assert counting.times == 1
    assert update_user_count() == 7


def test_basic_task_locking_where_the_second_waits_for_the_first_to_complete(client: LockClient) -> None:
    """The guide's comment says "Will wait for first to complete": with a timeout it does."""
    counting = Busy()

    def update_user_count() -> int:
        with client.lock_task("user_count_update", timeout=None):
            counting()
            return 7

    assert work(update_user_count, update_user_count) == [7, 7]
    assert counting.times == 2


def test_lock_as_a_reusable_decorator(client: LockClient) -> None:
    # Create a reusable lock
    user_stats_lock = client.lock_task("user_stats")
    calculating = Busy(0)

    @user_stats_lock
    def update_user_stats(user_id: int) -> dict[str, int]:
        # This entire function is protected by the lock
        calculating()
        return {"user": user_id}

    results = work(*(lambda user_id=user_id: update_user_stats(user_id) for user_id in range(4)), winner=calculating)
    assert calculating.times == 1
    assert [result for result in results if isinstance(result, dict)] == [
        {"user": user_id} for user_id, result in enumerate(results) if isinstance(result, dict)
    ]
    assert sum(isinstance(result, TaskLockedException) for result in results) == 3
    assert update_user_stats(9) == {"user": 9}


def test_lock_as_an_inline_decorator(client: LockClient) -> None:
    writing = Busy(0)

    @client.lock_task("report_generation")
    def generate_daily_report() -> str:
        # Generate report logic
        writing()
        return "Report generated"

    results = work(generate_daily_report, generate_daily_report, winner=writing)
    assert results.count("Report generated") == 1
    assert writing.times == 1
    assert generate_daily_report() == "Report generated"


def test_fine_grained_locking_with_a_lock_per_user(client: LockClient) -> None:
    done = []
    all_have_tried = threading.Barrier(5)

    def process_user_data(user_id: int) -> str:
        # Use user-specific locks
        lock_name = f"user_{user_id}_processing"

        try:
            with client.lock_task(lock_name):
                # Process user data
                all_have_tried.wait(30)
                done.append(user_id)
                return f"Processed user {user_id}"
        except TaskLockedException:
            # Another worker is already processing this user
            all_have_tried.wait(30)
            return f"User {user_id} already being processed"

    # Each user can be processed independently
    users = [1, 2, 3, 1, 2]  # Note: duplicates
    results = work(*(lambda user_id=user_id: process_user_data(user_id) for user_id in users))
    assert sorted(done) == [1, 2, 3]
    assert sorted(results) == [
        "Processed user 1",
        "Processed user 2",
        "Processed user 3",
        "User 1 already being processed",
        "User 2 already being processed",
    ]


def test_lock_status_monitoring(client: LockClient, other: LockClient) -> None:
    def monitor_locks() -> dict[str, bool]:
        # Check specific locks
        critical_locks = ["database_backup", "user_count_update", "report_generation"]

        lock_status = {}
        for lock_name in critical_locks:
            is_locked = client.is_locked(lock_name)
            lock_status[lock_name] = is_locked

        return lock_status

    with other.lock_task("user_count_update"):
        assert monitor_locks() == {"database_backup": False, "user_count_update": True, "report_generation": False}
    assert not any(monitor_locks().values())


def test_emergency_unlock_of_all_locks(place: Place, client: LockClient) -> None:
    def emergency_unlock() -> str:
        # Force release all locks (use with caution!)
        released = client.flush_locks()
        return f"Released locks: {sorted(released)}"

    for lock_name in ("database_backup", "user_42_processing"):
        place.plant(lock_name, ttl=600)
    assert emergency_unlock() == "Released locks: ['database_backup', 'user_42_processing']"
    assert emergency_unlock() == "Released locks: []"
    assert not client.is_locked("database_backup")


def test_unlocking_specific_locks(place: Place, client: LockClient) -> None:
    def unlock_specific_locks() -> str:
        # Release specific locks
        released = client.flush_locks("stale_lock_1", "stale_lock_2")
        return f"Released locks: {released}"

    place.plant("stale_lock_1", ttl=600)
    place.plant("live_lock", ttl=600)
    assert unlock_specific_locks() == "Released locks: {'stale_lock_1'}"
    assert unlock_specific_locks() == "Released locks: set()"
    assert client.is_locked("live_lock")


def test_conditional_locking(client: LockClient, other: LockClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def conditional_processing(resource_id: int) -> str:
        lock_name = f"resource_{resource_id}"

        # Check if already locked before attempting
        if client.is_locked(lock_name):
            return f"Resource {resource_id} is busy, skipping"

        try:
            with client.lock_task(lock_name):
                # Process resource
                return f"Resource {resource_id} processed"
        except TaskLockedException:
            # Lock was acquired between check and acquisition
            return f"Resource {resource_id} became busy"

    assert conditional_processing(1) == "Resource 1 processed"
    with other.lock_task("resource_1"):
        assert conditional_processing(1) == "Resource 1 is busy, skipping"
        assert conditional_processing(2) == "Resource 2 processed"

    def is_locked_until_just_after(lock_name: str) -> bool:
        other.lock_task(lock_name).acquire()
        return False

    monkeypatch.setattr(client, "is_locked", is_locked_until_just_after)
    assert conditional_processing(3) == "Resource 3 became busy"
    assert other.clear("resource_3")


@contextmanager
def timed_lock(
    huey_instance: LockClient,
    lock_name: str,
    timeout: float = 30,
    check_interval: float = 0.5,
) -> Iterator[None]:
    """Poll: a custom lock with timeout capability."""
    start_time = time.time()

    while time.time() - start_time < timeout:
        try:
            with huey_instance.lock_task(lock_name):
                yield
                return
        except TaskLockedException:
            time.sleep(check_interval)

    raise TimeoutError(f"Could not acquire lock '{lock_name}' within {timeout} seconds")  # noqa: EM102, TRY003 - the guide's


def test_lock_with_a_timeout_that_polls(client: LockClient, other: LockClient) -> None:
    """A polling loop of the user's own still works; ``timeout=`` makes it needless."""

    def process_with_timeout(data: str, timeout: float) -> str:
        try:
            with timed_lock(client, "critical_resource", timeout=timeout, check_interval=0.1):
                # Process data with timeout
                return data.upper()
        except TimeoutError as e:
            return f"Processing failed: {e}"

    waits_for_the_lock(process_with_timeout, other)


def test_lock_with_a_timeout_that_needs_no_polling(client: LockClient, other: LockClient) -> None:
    def process_with_timeout(data: str, timeout: float) -> str:
        try:
            with client.lock_task("critical_resource", timeout=timeout):
                return data.upper()
        except TimeoutError as e:
            return f"Processing failed: {e}"

    waits_for_the_lock(process_with_timeout, other)


def waits_for_the_lock(process: Callable[[str, float], str], other: LockClient) -> None:
    assert process("data", 60) == "DATA"
    hold = other.lock_task("critical_resource").acquire()
    assert process("data", 0.5).startswith("Processing failed: ")
    with ThreadPoolExecutor(1) as worker:
        result = worker.submit(process, "data", 60)
        time.sleep(0.4)
        assert not result.done()
        hold.release()
        assert result.result(60) == "DATA"


def test_database_connection_pooling_with_locks(
    client: LockClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    # Shared resource that needs protection
    db_connections: dict[str, sqlite3.Connection] = {}
    opened = []

    def database_task(query: str, db_name: str = "default") -> str:
        # Use lock to coordinate database access
        lock_name = f"db_access_{db_name}"

        with client.lock_task(lock_name):
            # Get or create database connection
            if db_name not in db_connections:
                opened.append(db_name)
                db_connections[db_name] = sqlite3.connect(f"{db_name}.db", check_same_thread=False)

            conn = db_connections[db_name]
            cursor = conn.cursor()
            cursor.execute(query)
            result = cursor.fetchall()
            conn.commit()

        return f"Query executed: {len(result)} rows"

    try:
        assert database_task("create table t (n)") == "Query executed: 0 rows"
        insert = with_retries(lambda: database_task("insert into t values (1)"))
        elsewhere = with_retries(lambda: database_task("select 1", db_name="other"))
        results = work(insert, insert, insert, insert, elsewhere, elsewhere)
        assert results == ["Query executed: 0 rows"] * 4 + ["Query executed: 1 rows"] * 2
        assert database_task("select * from t") == "Query executed: 4 rows"
        assert sorted(opened) == ["default", "other"]
    finally:
        for connection in db_connections.values():
            connection.close()


def test_singleton_task(clients: list[LockClient]) -> None:
    """One instance across all workers, each with a client of its own."""
    performing = Busy(0)

    def singleton_task(client: LockClient) -> str:
        lock_name = "singleton_task_global"

        try:
            with client.lock_task(lock_name):
                # This code runs on only one worker globally
                performing()
                return "Singleton task completed"
        except TaskLockedException:
            return "Singleton task already running"

    for client in clients:
        client.is_locked("warm")
    results = work(*(lambda client=client: singleton_task(client) for client in clients), winner=performing)
    assert sorted(results) == ["Singleton task already running"] * 4 + ["Singleton task completed"]
    assert performing.times == 1


def test_batches_and_items_with_nested_locks(client: LockClient, other: LockClient) -> None:
    batches = {1: ["a", "b", "c"], 2: ["c", "d"]}
    processed = []

    def process_item(item_id: str) -> str:
        assert other.is_locked(f"item_{item_id}")
        assert other.is_locked("batch_1")
        processed.append(item_id)
        return item_id

    def batch_processor(batch_id: int) -> tuple[str, list[str]]:
        # Lock the entire batch
        batch_lock = f"batch_{batch_id}"

        try:
            with client.lock_task(batch_lock):
                items = batches[batch_id]

                # Process items with item-level locks for fine-grained control
                results = []
                for item_id in items:
                    item_lock = f"item_{item_id}"
                    try:
                        with client.lock_task(item_lock):
                            result = process_item(item_id)
                            results.append(result)
                    except TaskLockedException:
                        results.append(f"Item {item_id} locked")

                return f"Batch {batch_id}: {len(results)} items processed", results
        except TaskLockedException:
            return f"Batch {batch_id} already being processed", []

    with other.lock_task("item_b"):
        assert batch_processor(1) == ("Batch 1: 3 items processed", ["a", "Item b locked", "c"])
    with other.lock_task("batch_1"):
        assert batch_processor(1) == ("Batch 1 already being processed", [])
    with other.lock_task("batch_2"):
        assert batch_processor(1)[1] == ["a", "b", "c"]
    assert processed == ["a", "c", "a", "b", "c"]
    assert other.locks() == []


def test_periodic_check_of_critical_locks(client: LockClient, other: LockClient) -> None:
    def cleanup_stale_locks() -> str:
        # Check critical locks
        critical_locks = ["database_backup", "report_generation"]
        stale_locks = []

        for lock_name in critical_locks:
            if client.is_locked(lock_name):
                stale_locks.append(lock_name)  # noqa: PERF401 - the guide's

        if stale_locks:
            return f"Warning: Long-running locks detected: {stale_locks}"
        return "All locks appear healthy"

    assert cleanup_stale_locks() == "All locks appear healthy"
    with other.lock_task("report_generation"):
        assert cleanup_stale_locks() == "Warning: Long-running locks detected: ['report_generation']"


def test_periodic_check_of_long_held_locks_now_that_locks_have_owners(place: Place, client: LockClient) -> None:
    """What the guide wishes for: "In production, you might want to track lock timestamps"."""

    def long_held_locks(longer_than: float) -> dict[str, tuple[str, bool]]:
        return {
            info.name: (str(info.holder), info.stale)
            for info in client.locks()
            if info.age is not None and info.since is not None and info.age > longer_than
        }

    def cleanup_stale_locks() -> set[str]:
        return client.flush_stale()

    place.plant("database_backup", ttl=1)
    with place.client().lock_task("report_generation", ttl=3) as hold:
        assert long_held_locks(600) == {}
        wait_until(lambda: len(long_held_locks(6)) == 2, every=0.1)  # twice the ttl: unrenewed, it would look stale
        assert long_held_locks(6)["database_backup"] == ("somebody_0badcafe", True)
        holder = place.lease("report_generation")["spec"]["holderIdentity"]
        assert long_held_locks(6)["report_generation"] == (holder, False)
        assert cleanup_stale_locks() == {"database_backup"}
        hold.ensure_held()


def test_force_unlock_emergency(place: Place, client: LockClient, other: LockClient) -> None:
    def force_unlock_emergency(lock_names: str | list[str]) -> str:
        """Emergency lock release (use with extreme caution)."""
        if not isinstance(lock_names, list):
            lock_names = [lock_names]

        released = client.flush_locks(*lock_names)
        return f"Emergency unlock completed. Released: {released}"

    for lock_name in ("database_backup", "report_generation", "user_stats"):
        place.plant(lock_name, ttl=600)
    assert force_unlock_emergency("database_backup") == "Emergency unlock completed. Released: {'database_backup'}"
    assert "'user_stats'" in force_unlock_emergency(["report_generation", "user_stats"])
    assert other.locks() == []
    assert force_unlock_emergency("user_stats") == "Emergency unlock completed. Released: set()"
