"""Functions of every kind under a lock: each call is a grant of its own, held while the body runs."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING

import pytest

from contract.place import wait_until
from tasklock import TaskLockedException

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from contract.place import Place
    from tasklock import LockClient, TaskLock


@pytest.fixture
def lock(client: LockClient) -> TaskLock:
    return client.lock_task("report")


def test_a_decorated_function_is_locked_while_it_runs_and_is_itself_otherwise(
    lock: TaskLock,
    other: LockClient,
) -> None:
    @lock
    def report(day: str, *, copies: int = 1) -> tuple[str, int, bool]:
        """Write the report."""
        return day, copies, other.is_locked("report")

    assert report("monday", copies=2) == ("monday", 2, True)
    assert report("tuesday") == ("tuesday", 1, True)
    assert not other.is_locked("report")
    assert (report.__name__, report.__doc__) == ("report", "Write the report.")
    assert list(inspect.signature(report).parameters) == ["day", "copies"]


def test_a_decorated_function_is_refused_while_somebody_holds_the_lock(lock: TaskLock, other: LockClient) -> None:
    ran = []
    report = lock(lambda: ran.append(1))
    with other.lock_task("report"), pytest.raises(TaskLockedException):
        report()
    assert ran == []
    report()
    assert ran == [1]


def test_a_decorated_function_that_calls_itself_is_refused(lock: TaskLock) -> None:
    @lock
    def down(number: int) -> int:
        return down(number - 1) if number else 0

    with pytest.raises(TaskLockedException):
        down(1)
    assert down(0) == 0


def test_one_lock_decorates_many_functions_and_methods(lock: TaskLock) -> None:
    class Reports:
        @lock
        def write(self) -> str:
            with pytest.raises(TaskLockedException):
                self.read()
            return "written"

        @lock
        def read(self) -> str:
            return "read"

    assert Reports().write() == "written"
    assert Reports().read() == "read"


def test_an_exception_of_a_decorated_function_goes_through_and_frees_the_lock(
    lock: TaskLock,
    other: LockClient,
) -> None:
    @lock
    def fail() -> None:
        raise KeyError("day")  # noqa: EM101 - the shortest there is

    with pytest.raises(KeyError):
        fail()
    assert not other.is_locked("report")


def test_a_generator_holds_the_lock_until_it_is_exhausted(lock: TaskLock, other: LockClient) -> None:
    @lock
    def pages() -> Iterator[int]:
        assert (yield 1) == "sent"
        yield 2

    running = pages()
    assert not other.is_locked("report")  # nothing has run yet
    assert next(running) == 1
    assert other.is_locked("report")
    assert running.send("sent") == 2
    assert list(running) == []
    assert not other.is_locked("report")


def test_a_generator_that_is_closed_frees_the_lock(lock: TaskLock, other: LockClient) -> None:
    @lock
    def pages() -> Iterator[int]:
        yield from range(10)

    running = pages()
    next(running)
    assert other.is_locked("report")
    with pytest.raises(TaskLockedException):
        next(pages())
    running.close()
    assert not other.is_locked("report")


def test_a_coroutine_holds_the_lock_until_it_has_returned(lock: TaskLock, other: LockClient) -> None:
    @lock
    async def report(day: str) -> str:
        await asyncio.sleep(0.05)
        assert await asyncio.to_thread(other.is_locked, "report")
        return day

    assert asyncio.run(report("monday")) == "monday"
    assert not other.is_locked("report")
    assert inspect.iscoroutinefunction(report)


def test_of_two_tasks_that_call_a_decorated_coroutine_one_is_refused(lock: TaskLock, other: LockClient) -> None:
    refused = asyncio.Event()

    @lock
    async def report() -> str:
        await refused.wait()
        return "written"

    async def both() -> list[object]:
        tasks = [asyncio.create_task(report()) for _ in range(2)]
        await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        refused.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(both())
    assert sorted(type(result).__name__ for result in results) == ["TaskLockedException", "str"]
    assert not other.is_locked("report")


def test_tasks_that_wait_for_a_decorated_coroutine_run_one_after_the_other(client: LockClient) -> None:
    inside = 0

    @client.lock_task("report", timeout=60)
    async def report() -> None:
        nonlocal inside
        inside += 1
        await asyncio.sleep(0.02)
        assert inside == 1
        inside -= 1

    async def five() -> None:
        await asyncio.gather(*(report() for _ in range(5)))

    asyncio.run(five())


def test_an_asynchronous_generator_holds_the_lock_until_it_is_closed(lock: TaskLock, other: LockClient) -> None:
    @lock
    async def pages() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    async def read() -> None:
        running = pages()
        assert await anext(running) == 0
        assert await asyncio.to_thread(other.is_locked, "report")
        await running.aclose()  # type: ignore[attr-defined]
        assert not await asyncio.to_thread(other.is_locked, "report")
        assert [number async for number in pages()] == list(range(10))

    asyncio.run(read())
    assert not other.is_locked("report")


def test_a_task_cancelled_while_it_waits_takes_nothing_afterwards(
    place: Place,
    client: LockClient,
    other: LockClient,
) -> None:
    @client.lock_task("report", timeout=None)
    async def report() -> None:
        pytest.fail("two holders")

    async def give_up() -> None:
        waiting = asyncio.create_task(report())
        await asyncio.sleep(0.5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with other.lock_task("report"):
        asyncio.run(give_up())
    time.sleep(0.3)
    assert place.lease("report") is None


def test_a_task_cancelled_at_any_moment_leaves_no_lock_behind(place: Place, client: LockClient) -> None:
    @client.lock_task("report")
    async def report() -> None:
        await asyncio.sleep(0.005)

    async def try_it(seconds: float) -> None:
        task = asyncio.create_task(report())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for step in range(12):
        asyncio.run(try_it(0.001 * step))
        wait_until(lambda: place.lease("report") is None)
