"""Forked and spawned children: they neither renew nor release their parent's locks, and can take their own."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from tasklock import Hold, LockClient, TaskLockedException, TaskLockError
from tasklock.transport.identity import is_dead, process_mark
from unit.conftest import eventually, our_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock.testing import ApiServer

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads, on purpose


def in_a_fork(work: Callable[[], object]) -> None:
    """Run ``work`` in a forked child; fail with its traceback where it fails, or hangs."""
    readable, writable = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - the parent shows it
            os.write(writable, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(status)
    os.close(writable)
    until = time.monotonic() + 10
    while (done := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        if time.monotonic() > until:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            os.close(readable)
            pytest.fail("the child hangs")
        time.sleep(0.005)
    with os.fdopen(readable) as pipe:
        said = pipe.read()
    assert done[1] == 0, said


def test_a_child_does_not_release_its_parents_lock(
    made: Callable[[], list[str]], client: LockClient, name: str
) -> None:
    lock = client.lock_task(name)
    with lock as hold:

        def work() -> None:
            hold.release()
            hold.__exit__(None, None, None)
            lock.release()
            assert not our_threads()

        in_a_fork(work)
        assert made() == ["POST"]
        hold.ensure_held()
        assert client.is_locked(name)


def test_a_child_that_leaves_its_parents_block_does_not_release_it(client: LockClient, name: str) -> None:
    lock = client.lock_task(name)
    with lock:
        in_a_fork(lambda: lock.__exit__(None, None, None))
        assert client.is_locked(name)


def test_a_child_that_drops_everything_does_not_release_it_either(client: LockClient, name: str) -> None:
    holds = [client.lock_task(name).acquire()]
    in_a_fork(holds.clear)
    assert client.is_locked(name)
    holds[0].release()


def test_a_child_does_not_renew_its_parents_lock(made: Callable[[], list[str]], client: LockClient, name: str) -> None:
    with client.lock_task(name, ttl=3) as hold:
        begun = time.monotonic()

        def work() -> None:
            time.sleep(2.3)
            assert hold.lost, "the child cannot rely on it"
            assert not our_threads()

        in_a_fork(work)
        hold.ensure_held()
        assert made().count("PATCH") <= 1 + (time.monotonic() - begun) / 0.9, "no more than the parent's own"


def test_a_child_tells_nobody_of_its_parents_loss(client: LockClient, other: LockClient, name: str) -> None:
    told: list[Hold] = []
    hold = client.lock_task(name, ttl=1, on_lost=told.append).acquire()

    def work() -> None:
        other.clear(name)
        time.sleep(0.8)
        assert hold.lost
        time.sleep(0.1)
        assert not told

    in_a_fork(work)
    with pytest.raises(TaskLockError):
        hold.release()


def test_a_child_takes_its_own_with_the_same_objects(client: LockClient, name: str) -> None:
    lock, another = client.lock_task(name), client.lock_task(f"{name} 2", ttl=3)
    with lock as held:

        def work() -> None:
            with pytest.raises(TaskLockedException):
                lock.acquire()
            with another as own:
                assert own.token > held.token
                acquired = own._grant.since
                assert eventually(lambda: own._grant.since > acquired), "it is renewed"

        in_a_fork(work)
        assert client.is_locked(f"{name} 2") is False
        held.ensure_held()


def test_a_fork_in_the_middle_of_everything_does_not_hang(client: LockClient, name: str) -> None:
    """Other threads hold the library's own locks at that very moment."""
    over = threading.Event()

    def busy(number: int) -> None:
        while not over.is_set():
            with client.lock_task(f"{name} busy {number}"):
                pass

    threads = [threading.Thread(target=busy, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(8):
            in_a_fork(lambda number=number: client.lock_task(f"{name} {number}").acquire().release())  # type: ignore[misc]
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_neighbours_death_frees_its_lock_at_once(client: LockClient, name: str) -> None:
    in_a_fork(lambda: client.lock_task(name).acquire())
    client.lock_task(name).acquire().release()


def test_a_child_that_lives_keeps_its_lock(client: LockClient, name: str) -> None:
    readable, writable = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            client.lock_task(name).acquire()
            os.write(writable, b"x")
            time.sleep(30)
        finally:
            os._exit(1)
    try:
        assert os.read(readable, 1) == b"x"
        with pytest.raises(TaskLockedException):
            client.lock_task(name).acquire()
    finally:
        os.kill(pid, 9)
        os.close(readable)
        os.close(writable)
    with pytest.raises(TaskLockedException):
        client.lock_task(name).acquire()  # a zombie proves nothing
    os.waitpid(pid, 0)
    client.lock_task(name).acquire(timeout=5).release()


def _child(kubeconfig: str, name: str, results: Any) -> None:
    client = LockClient(kubeconfig=kubeconfig)
    try:
        client.lock_task(name).acquire()
    except TaskLockedException as error:
        results.put(error)
    with client.lock_task(f"{name} own") as hold:
        results.put(hold.token)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_with_multiprocessing_an_error_comes_home_whole(
    api: ApiServer, client: LockClient, name: str, method: str
) -> None:
    context: Any = multiprocessing.get_context(method)
    results = context.Queue()
    with client.lock_task(name) as hold:
        child = context.Process(target=_child, args=(api.kubeconfig, name, results))
        child.start()
        error, token = results.get(timeout=60), results.get(timeout=60)
        child.join(60)
        assert child.exitcode == 0
        hold.ensure_held()
    assert isinstance(error, TaskLockedException)
    assert error.holder
    assert token > hold.token
    results.close()
    results.join_thread()


def test_a_forked_child_says_when_it_was_started_itself(client: LockClient, name: str) -> None:
    """Its pid may be that of an ancestor which is dead by then: nothing of the parent's name may be left in it."""
    process_mark(os.getpid())

    def work() -> None:
        assert process_mark.cache_info().currsize == 0
        mark = process_mark(os.getpid())
        assert mark is not None
        assert is_dead(mark) is False
        client.lock_task(name).acquire().release()

    in_a_fork(work)


def test_in_a_child_a_hold_of_its_parents_is_not_held(client: LockClient, name: str) -> None:
    with client.lock_task(name) as hold:

        def work() -> None:
            assert hold.valid_for == 0
            with pytest.raises(TaskLockError, match="held by the parent of this process"):
                hold.ensure_held()

        in_a_fork(work)
        hold.ensure_held()


FIRST_CONNECTION = """
import os, sys, threading, time
from tasklock import LockClient
client = LockClient(kubeconfig=sys.argv[1])
threading.Thread(target=client.is_locked, args=("a",), daemon=True).start()
time.sleep(float(sys.argv[2]))
pid = os.fork()
if not pid:
    client.is_locked("b")
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize("seconds", ["0.02", "0.1", "0.3"])
def test_a_fork_while_another_thread_makes_the_first_connection_does_not_hang(api: ApiServer, seconds: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FIRST_CONNECTION, api.kubeconfig, seconds]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


CLOSED_BY_A_SIGNAL = """
import os, signal, sys, threading
from tasklock import LockClient
client = LockClient(kubeconfig=sys.argv[1])
def end(*_):
    client.close()
    os._exit(7)
signal.signal(signal.SIGTERM, end)
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGTERM)).start()
while True:
    client.session.api.close()
    client.is_locked("a")
"""


@pytest.mark.parametrize("seconds", ["0.05", "0.15", "0.3"])
def test_a_signal_handler_may_close_the_client_during_its_first_connection(api: ApiServer, seconds: str) -> None:
    command = [sys.executable, "-c", CLOSED_BY_A_SIGNAL, api.kubeconfig, seconds]
    assert subprocess.run(command, check=False, timeout=60).returncode == 7
