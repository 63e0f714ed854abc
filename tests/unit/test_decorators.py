"""Decorated functions of every kind: the lock is held for as long as the body runs, and nothing leaks."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tasklock import InvalidLockError, LockClient, LockLostError, TaskLock, TaskLockedException, TaskLockError
from tasklock.testing import ApiServer, Fault
from unit.conftest import eventually, our_threads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator


@pytest.fixture
def lock(client: LockClient, name: str) -> TaskLock:
    return client.lock_task(name)


def test_a_function_is_run_under_the_lock(lock: TaskLock) -> None:
    @lock
    def add(a: int, b: int = 1) -> int:
        assert lock.is_locked()
        return a + b

    assert add(1, b=5) == 6
    assert not lock.is_locked()


def test_each_call_is_a_grant_of_its_own(made: Callable[[], list[str]], lock: TaskLock) -> None:
    call = lock(lambda: None)
    for _ in range(3):
        call()
    assert made() == ["POST", "DELETE"] * 3


def test_a_function_is_not_run_where_the_lock_is_held(lock: TaskLock, other: LockClient, name: str) -> None:
    ran: list[int] = []
    with other.lock_task(name), pytest.raises(TaskLockedException):
        lock(lambda: ran.append(1))()
    assert not ran


def test_a_function_that_raises_releases(lock: TaskLock) -> None:
    @lock
    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not lock.is_locked()


def test_metadata_and_kind_are_kept(lock: TaskLock) -> None:
    def plain(a: int) -> int:
        """Do it."""
        return a

    def generator() -> Generator[int, None, None]:
        yield 1

    async def coroutine() -> None:
        """Do it later."""

    async def stream() -> AsyncGenerator[int, None]:
        yield 1

    for function in (plain, generator, coroutine, stream):
        wrapped = lock(function)
        assert wrapped.__name__ == function.__name__
        assert wrapped.__doc__ == function.__doc__
        assert wrapped.__wrapped__ is function  # type: ignore[attr-defined]
        assert inspect.signature(wrapped) == inspect.signature(function)
        for kind in (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction):
            assert kind(wrapped) is kind(function)


def test_a_method_gets_its_self(lock: TaskLock) -> None:
    class Job:
        value = 5

        @lock
        def run(self) -> int:
            return self.value

    assert Job().run() == 5


def test_static_and_class_methods_are_guarded_on_either_side(lock: TaskLock) -> None:
    class Job:
        @lock
        @staticmethod
        def inner() -> bool:
            return lock.is_locked()

        @lock
        @classmethod
        def of_class(cls) -> tuple[str, bool]:
            return cls.__name__, lock.is_locked()

        @staticmethod
        @lock
        async def outer() -> bool:
            return lock.is_locked()

    assert Job.inner() is Job().inner() is True
    assert Job.of_class() == Job().of_class() == ("Job", True)
    assert asyncio.run(Job().outer())


def test_an_object_is_guarded_as_what_a_call_of_it_runs(lock: TaskLock) -> None:
    class Coroutine:
        async def __call__(self) -> bool:
            await asyncio.sleep(0)
            return lock.is_locked()

    class Generator:
        def __call__(self) -> Generator[bool, None, None]:
            yield lock.is_locked()

    class Stream:
        async def __call__(self) -> AsyncGenerator[bool, None]:
            yield lock.is_locked()

    async def streamed() -> list[bool]:
        return [item async for item in lock(Stream())()]

    assert asyncio.run(lock(Coroutine())())
    assert list(lock(Generator())()) == [True]
    assert asyncio.run(streamed()) == [True]
    assert not lock.is_locked()


def test_a_function_that_only_returns_a_body_for_later_is_an_error_that_says_so(lock: TaskLock) -> None:
    ran: list[int] = []

    async def coroutine() -> None:
        ran.append(1)

    def generator() -> Generator[int, None, None]:
        ran.append(1)
        yield 1

    async def stream() -> AsyncGenerator[int, None]:
        ran.append(1)
        yield 1

    @functools.wraps(coroutine)
    def wrapper() -> object:
        return coroutine()

    for function in (wrapper, lambda: generator(), lambda: stream()):  # noqa: PLW0108 - a lambda is the point
        with pytest.raises(TaskLockError, match="decorate the function that has the body"):
            lock(function)()
    assert not ran
    assert not lock.is_locked()


@pytest.mark.parametrize("thing", [5, None, property(lambda _: 1)])
def test_what_is_no_function_is_refused_where_it_is_decorated(lock: TaskLock, thing: Any) -> None:
    with pytest.raises(InvalidLockError, match="decorates a function"):
        lock(thing)


# generators


def test_a_generator_holds_it_until_it_is_exhausted(lock: TaskLock) -> None:
    @lock
    def count() -> Generator[int, None, None]:
        yield 1
        yield 2

    steps = count()
    assert not lock.is_locked(), "nothing runs before the first next()"
    assert next(steps) == 1
    assert lock.is_locked()
    assert list(steps) == [2]
    assert not lock.is_locked()


def test_a_generator_holds_it_until_it_is_closed(lock: TaskLock) -> None:
    closed: list[int] = []

    @lock
    def count() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
        finally:
            assert lock.is_locked()
            closed.append(1)

    steps = count()
    next(steps)
    steps.close()
    assert closed
    assert not lock.is_locked()


def test_send_throw_and_return_values_pass_through_a_generator(lock: TaskLock) -> None:
    @lock
    def echo() -> Generator[object, object, str]:
        got: object = "start"
        while got != "end":
            try:
                got = yield got
            except KeyError as error:
                got = ("caught", error.args)
        return "returned"

    steps = echo()
    assert next(steps) == "start"
    assert steps.send(5) == 5
    assert steps.throw(KeyError("k")) == ("caught", ("k",))
    with pytest.raises(StopIteration) as end:
        steps.send("end")
    assert end.value.value == "returned"
    assert not lock.is_locked()


def test_a_generator_finished_in_another_thread_releases(lock: TaskLock) -> None:
    @lock
    def count() -> Generator[int, None, None]:
        yield 1

    steps = count()
    next(steps)
    thread = threading.Thread(target=list, args=(steps,))
    thread.start()
    thread.join()
    assert not lock.is_locked()


# coroutines


def test_a_coroutine_holds_it_until_it_has_returned(lock: TaskLock) -> None:
    @lock
    async def work(a: int) -> int:
        await asyncio.sleep(0.01)
        assert lock.is_locked()
        return a + 1

    assert asyncio.run(work(1)) == 2
    assert not lock.is_locked()


def test_a_coroutine_that_raises_releases_and_is_not_masked(lock: TaskLock, other: LockClient, name: str) -> None:
    @lock
    async def work() -> None:
        other.clear(name)
        raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(work())


def test_a_coroutine_that_lost_it_is_told_at_its_end(lock: TaskLock, other: LockClient, name: str) -> None:
    @lock
    async def work() -> None:
        other.clear(name)

    with pytest.raises(LockLostError):
        asyncio.run(work())


def test_acquiring_does_not_block_the_loop(client: LockClient, other: LockClient, name: str) -> None:
    hold = other.lock_task(name).acquire()

    @client.lock_task(name, timeout=5)
    async def work() -> None:
        pass

    async def main() -> int:
        task, ticks = asyncio.create_task(work()), 0
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
            if ticks == 10:
                await asyncio.to_thread(hold.release)
        await task
        return ticks

    assert asyncio.run(main()) >= 10


def test_tasks_take_turns(client: LockClient, name: str) -> None:
    inside = most = 0

    @client.lock_task(name, timeout=20)
    async def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1

    async def main() -> None:
        await asyncio.gather(*[work() for _ in range(8)])

    asyncio.run(main())
    assert most == 1


def test_a_task_cannot_release_anothers(lock: TaskLock) -> None:
    @lock
    async def work() -> None:
        async def thief() -> None:
            with pytest.raises(TaskLockError):
                lock.release()

        await asyncio.create_task(thief())
        assert lock.is_locked()

    asyncio.run(work())


def cancelled_after(lock: TaskLock, seconds: float) -> bool:
    """Cancel a decorated coroutine after that time, or once its body has begun; return whether it had."""
    began = asyncio.Event()

    @lock
    async def work() -> None:
        began.set()
        await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(work())
        with suppress(TimeoutError):
            await asyncio.wait_for(began.wait(), seconds)
        task.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - begun < 5

    asyncio.run(main())
    return began.is_set()


def test_a_coroutine_cancelled_while_it_waits_leaks_nothing(client: LockClient, other: LockClient, name: str) -> None:
    with other.lock_task(name):
        assert cancelled_after(client.lock_task(name, timeout=None), 0.15) is False
        assert eventually(lambda: not [one for one in our_threads() if one.name in {"tasklock-call", "tasklock-watch"}])
    time.sleep(0.05)
    assert not other.is_locked(name)


def test_a_coroutine_cancelled_in_its_body_releases(lock: TaskLock, client: LockClient, name: str) -> None:
    assert cancelled_after(lock, 30) is True
    assert eventually(lambda: not client.is_locked(name))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_coroutine_cancelled_while_its_create_is_under_way_leaks_nothing(
    api: ApiServer, client: LockClient, name: str, when: str
) -> None:
    fault = Fault(delay_before=0.2) if when == "before" else Fault(delay_after=0.2)
    api.fault = lambda method, _path: fault if method == "POST" else None
    assert cancelled_after(client.lock_task(name), 0.1) is False
    api.fault = None
    time.sleep(0.15)
    assert eventually(lambda: not [info for info in client.locks() if info.name == name])


def test_a_coroutine_cancelled_at_any_moment_leaks_nothing(api: ApiServer, client: LockClient, name: str) -> None:
    async def main() -> None:
        for number in range(25):

            @client.lock_task(f"{name} {number}")
            async def work() -> None:
                await asyncio.sleep(60)

            task = asyncio.create_task(work())
            await asyncio.sleep(number * 0.0008)
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())
    assert eventually(lambda: not [info for info in client.locks() if info.name.startswith(name)])
    assert eventually(lambda: not [one for one in our_threads() if one.name == "tasklock-call"])
    del api


def test_closing_waits_for_what_a_cancelled_coroutine_is_still_getting(
    api: ApiServer, other: LockClient, name: str
) -> None:
    """Else a program that ends just then leaves a Lease behind, in everybody's way until it expires."""
    client = LockClient(kubeconfig=api.kubeconfig)
    client.is_locked(name)  # connected
    api.latency = 0.5
    assert cancelled_after(client.lock_task(name, timeout=None), 0.1) is False
    client.close()
    api.latency = 0.0
    assert not other.is_locked(name)
    assert not [thread for thread in our_threads() if thread.name == "tasklock-call"]


def test_a_timeout_around_a_waiting_coroutine(client: LockClient, other: LockClient, name: str) -> None:
    @client.lock_task(name, timeout=None)
    async def work() -> None:
        pass

    async def main() -> None:
        async with asyncio.timeout(0.1):
            await work()

    with other.lock_task(name), pytest.raises(TimeoutError):
        asyncio.run(main())
    assert eventually(lambda: not client.is_locked(name))


# asynchronous generators


def test_an_async_generator_holds_it_until_it_is_exhausted(lock: TaskLock) -> None:
    @lock
    async def count() -> AsyncGenerator[int, None]:
        for number in range(3):
            assert lock.is_locked()
            yield number

    async def main() -> list[int]:
        return [number async for number in count()]

    assert asyncio.run(main()) == [0, 1, 2]
    assert not lock.is_locked()


def test_asend_athrow_and_aclose_pass_through_an_async_generator(lock: TaskLock) -> None:
    closed: list[bool] = []

    @lock
    async def echo() -> AsyncGenerator[object, object]:
        got: object = "start"
        try:
            while True:
                try:
                    got = yield got
                except KeyError as error:
                    got = ("caught", error.args)
        finally:
            await asyncio.sleep(0)
            closed.append(lock.is_locked())

    async def main() -> None:
        steps: Any = echo()
        assert await anext(steps) == "start"
        assert await steps.asend(5) == 5
        assert await steps.athrow(KeyError("k")) == ("caught", ("k",))
        assert lock.is_locked()
        await steps.aclose()

    asyncio.run(main())
    assert closed == [True]
    assert not lock.is_locked()


def test_an_async_generator_that_raises_releases(lock: TaskLock) -> None:
    @lock
    async def fail() -> AsyncGenerator[int, None]:
        yield 1
        raise KeyError

    async def main() -> None:
        async for _ in fail():
            pass

    with pytest.raises(KeyError):
        asyncio.run(main())
    assert not lock.is_locked()


def test_what_is_thrown_in_and_not_caught_comes_out_and_releases(lock: TaskLock) -> None:
    @lock
    async def count() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    async def main() -> None:
        steps: Any = count()
        await anext(steps)
        with pytest.raises(KeyError):
            await steps.athrow(KeyError("k"))

    asyncio.run(main())
    assert not lock.is_locked()


def test_an_async_generator_that_is_left_behind_is_released_with_its_loop(lock: TaskLock, client: LockClient) -> None:
    @lock
    async def count() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    async def main() -> None:
        async for _ in count():
            break

    asyncio.run(main())
    assert eventually(lambda: not client.is_locked(lock.name))


def test_an_async_generator_cancelled_in_its_body_releases(lock: TaskLock, client: LockClient) -> None:
    @lock
    async def count() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.sleep(60)

    async def consume() -> None:
        async for _ in count():
            pass

    async def main() -> None:
        task = asyncio.create_task(consume())
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    assert eventually(lambda: not client.is_locked(lock.name))
