"""Running a function under a lock, whatever kind of function it is.

The lock is held for as long as the body runs: for a generator until it is exhausted or closed, for a coroutine until it
has returned. Acquiring blocks, so for the asynchronous kinds it runs in a thread of its own; cancelled meanwhile, that
thread gives back whatever it still gets.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from tasklock.errors import InvalidLockError, TaskLockError
from tasklock.naming import shortened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tasklock.hold import Hold
    from tasklock.lock import TaskLock

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def guarded(lock: TaskLock, function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` so that each call holds ``lock`` while its body runs.

    Raises InvalidLockError for what is no function. A call that only returns a coroutine or a generator, whose body
    would run without the lock, raises TaskLockError.
    """
    given: Any = function
    if isinstance(given, (staticmethod, classmethod)):
        return cast("Callable[P, R]", type(given)(guarded(lock, given.__func__)))
    if not callable(given):
        msg = f"a lock decorates a function, which {shortened(given)} is not: write it next to the def"
        raise InvalidLockError(msg)
    kinds: Any = (
        (inspect.isasyncgenfunction, _async_generator),
        (inspect.iscoroutinefunction, _coroutine),
        (inspect.isgeneratorfunction, _generator),
    )
    bodies = (given, type(given).__call__)  # of an object, what a call of it runs
    wrap = next((wrap for is_one, wrap in kinds if any(map(is_one, bodies))), _function)
    return cast("Callable[P, R]", functools.wraps(function)(wrap(lock, given)))


def _function(lock: TaskLock, function: Callable[..., R]) -> Callable[..., R]:
    def call(*args: object, **kwargs: object) -> R:
        with lock.acquire(lock.timeout):
            result = function(*args, **kwargs)
            if isinstance(result, (Coroutine, Generator, AsyncGenerator)):
                raise _unguarded(lock, function, result)
            return result

    return call


def _unguarded(lock: TaskLock, function: Callable[..., object], body: object) -> TaskLockError:
    """Return the error for a function that gives back a body which would run later, without the lock."""
    if inspect.iscoroutine(body) and inspect.getcoroutinestate(body) == inspect.CORO_CREATED:
        body.close()  # nobody will await it
    what = shortened(getattr(function, "__qualname__", function))
    return TaskLockError(
        f"lock {shortened(lock.name)} cannot guard {what}: it returned a {type(body).__name__}, whose body would run "
        f"after the lock is released: decorate the function that has the body, or take the lock inside it"
    )


def _generator(lock: TaskLock, function: Callable[..., Any]) -> Callable[..., Generator[Any, Any, Any]]:
    def call(*args: object, **kwargs: object) -> Generator[Any, Any, Any]:
        with lock.acquire(lock.timeout):
            return (yield from function(*args, **kwargs))

    return call


def _coroutine(lock: TaskLock, function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: object, **kwargs: object) -> Any:  # noqa: ANN401 - whatever the function returns
        async with _held(lock):
            return await function(*args, **kwargs)

    return call


def _async_generator(lock: TaskLock, function: Callable[..., Any]) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def call(*args: object, **kwargs: object) -> AsyncGenerator[Any, Any]:
        async with _held(lock, may_await=True):
            body = function(*args, **kwargs)
            try:
                item = await anext(body)
                while True:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        await body.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001 - whatever is thrown in belongs to the body
                        item = await body.athrow(error)
                    else:
                        item = await body.asend(sent)
            except StopAsyncIteration:
                return

    return call


@asynccontextmanager
async def _held(lock: TaskLock, *, may_await: bool = False) -> AsyncIterator[Hold]:
    """Hold ``lock``, acquired and released by threads of their own.

    A coroutine that is closed (not cancelled) cannot wait for the release any more; with ``may_await`` it can.
    """
    acquire, call_off = lock.attempt(lock.timeout)
    try:
        hold = await _in_thread(acquire, late=lambda hold: hold.release(), left=lock.session.leaving.add)
    except BaseException:
        call_off()
        raise
    error: BaseException | None = None

    def leave() -> None:
        hold.__exit__(type(error) if error else None, error, None)

    try:
        yield hold
    except BaseException as raised:
        error = raised
        raise
    finally:
        if (isinstance(error, GeneratorExit) and not may_await) or not _loop_is_running():
            lock.session.leaving.add(_begin(leave))
        else:
            await _in_thread(leave, left=lock.session.leaving.add)


def _loop_is_running() -> bool:
    import asyncio  # noqa: PLC0415 - only where a coroutine runs

    try:
        asyncio.get_running_loop()
    except RuntimeError:  # closed by hand, or by the collector, after the loop's end
        return False
    return True


async def _in_thread(
    function: Callable[[], T],
    *,
    late: Callable[[T], object] = lambda _: None,
    left: Callable[[threading.Thread], object] = lambda _: None,
) -> T:
    """Run ``function`` in a thread.

    Where nobody waits for its result any more, give that to ``late`` in a thread, and the threads to ``left``.
    """
    import asyncio  # noqa: PLC0415 - only where a coroutine runs

    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    settled = threading.Lock()  # taken once: by the result's arrival, or by the waiter's departure

    def deliver(result: T | None, error: BaseException | None) -> None:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:  # noqa: BLE001 - carried to the waiter
            error = raised
        if settled.acquire(blocking=False):
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(deliver, result, error)
                return
        if error is None:
            late(cast("T", result))

    def too_late(done: asyncio.Future[T]) -> None:
        if done.exception() is None:
            left(_begin(late, done.result()))

    thread = _begin(run)
    try:
        return await asyncio.shield(future)
    except BaseException:  # cancelled, or closed
        if not settled.acquire(blocking=False):  # the result is on its way to a waiter who has just left
            future.add_done_callback(too_late)
        left(thread)
        raise


def _begin(work: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, name="tasklock-call", daemon=True)
    thread.start()
    return thread
