"""A lock that several workers may hold at once."""

from __future__ import annotations

from contextlib import ExitStack
from functools import wraps
from random import SystemRandom
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from huey.exceptions import TaskLockedException as HueyTaskLockedException

from tasklock.contrib.huey.adapter import TaskLock
from tasklock.contrib.huey.locks import TaskLockedException, TaskLockUnavailable
from tasklock.errors import InvalidLockError
from tasklock.naming import shortened

if TYPE_CHECKING:
    from collections.abc import Callable

    from huey.api import Huey

P = ParamSpec("P")
R = TypeVar("R")

_chance = SystemRandom()


def lock_task_semaphore(
    huey: Huey, lock_name: str, value: int = 1, timeout: float | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a task so that at most ``value`` workers run it at once: huey.contrib.helpers', on any storage.

    Each of them holds one of ``value`` ordinary locks, named ``lock_name`` and a number. A task that finds all taken
    raises TaskLockedException.

    Args:
        huey: a Huey with Kubernetes locks.
        lock_name: of the semaphore; one name has one value everywhere.
        value: how many, at least 1.
        timeout: seconds after which the place of a dead worker is free: the locks' ttl.

    Raises InvalidLockError for a value that no lock can have.

    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = f"a semaphore's value must be a whole number of at least 1, not {shortened(value)}"
        raise InvalidLockError(msg)
    slots = [TaskLock(huey, f"{lock_name} ({number} of {value})", timeout) for number in range(1, value + 1)]

    def enter(stack: ExitStack) -> None:
        first = _chance.randrange(value)
        for slot in slots[first:] + slots[:first]:
            try:
                stack.enter_context(slot)
            except TaskLockUnavailable:
                raise
            except HueyTaskLockedException:
                continue
            return
        msg = f"all {value} places of lock {shortened(lock_name)} are taken: try again later"
        raise TaskLockedException(msg, name=lock_name)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with ExitStack() as stack:
                enter(stack)
                return function(*args, **kwargs)

        return call

    return decorate
