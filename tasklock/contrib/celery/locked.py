"""The decorator: takes the lock before the body, frees it after, and sends a task that did not get it again."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from math import inf
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, ParamSpec, TypeVar, get_args

from celery import current_app
from celery.exceptions import Reject, Retry

from tasklock.contrib.celery.key import Key
from tasklock.contrib.celery.replaced import client_of, remember
from tasklock.errors import InvalidLockError, LockApiError, LockLostError, TaskLockedException, TaskLockError
from tasklock.lease import DEFAULT_TTL
from tasklock.naming import check_timeout, check_ttl, shortened
from tasklock.protocol.release import STALE_AFTER, find

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Task

    from tasklock.client import LockClient
    from tasklock.hold import Hold
    from tasklock.lock import TaskLock

P = ParamSpec("P")
R = TypeVar("R")

WhenLocked = Literal["retry", "skip", "raise"]

LONGEST: Final = 60.0  # seconds between two tries, where nobody says otherwise
WATCHED: Final = 120  # seconds: the longest ttl of a lock that looks abandoned for whose end a worker waits
LONGEST_NAME: Final = 150  # characters of a task's name in its Lease and in logs: its id is to be seen too
LONGEST_ID: Final = 500

_log = logging.getLogger("tasklock")
_chance = SystemRandom()
_held: ContextVar[tuple[Hold, ...]] = ContextVar("tasklock_celery_held", default=())


def locked(  # noqa: PLR0913 - keyword-only options
    key: str,
    *,
    client: LockClient | None = None,
    ttl: int | None = None,
    timeout: float | None = 0,
    when_locked: WhenLocked = "retry",
    retry_after: float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
    """Decorate a task's function so that it runs under a lock. Write it below ``@app.task``.

    Args:
        key: the lock's name, in which ``{user_id}`` stands for the argument of that name. Tasks of one name, and only
            they, exclude each other.
        client: whose locks; else the ambient cluster, and an app named as the Celery app is.
        ttl: whole seconds after which the lock of a dead worker frees itself; the client's if None.
        timeout: seconds for which the worker waits for the lock; 0 tries once, None waits as long as it takes.
        when_locked: what becomes of a task that does not get the lock. ``retry``: it is sent again, which counts for no
            ``max_retries``. ``skip``: it succeeds with None; unless the lock is held by an earlier run of that very
            task, which is retried. ``raise``: it raises TaskLockedException, or LockApiError.
        retry_after: seconds until a retried task comes back; else as long as the lock has been held so far, from a
            second to a minute, or to the ttl.

    Raises InvalidLockError for a key, or another value, that no lock of this function can have. A task called directly
    or eagerly cannot come back: it raises TaskLockedException or LockApiError.

    """
    gate = _Gate(client, ttl, check_timeout(timeout), when_locked, retry_after)
    gate.check()
    remember(client)

    def decorate(function: Callable[P, R]) -> Callable[P, R | None]:
        checked = Key(key, function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
            return gate.run(checked.name(args, kwargs), lambda: function(*args, **kwargs))

        call.__signature__ = checked.signature  # type: ignore[attr-defined] # Celery checks calls by it
        return call

    return decorate


def current_hold() -> Hold | None:
    """Return what the running task holds: ``.token`` for fencing, ``.ensure_held()``. None where it has no lock."""
    return _held.get()[-1] if _held.get() else None


@dataclass(frozen=True, slots=True)
class _Gate:
    """What ``locked`` was told."""

    client: LockClient | None
    ttl: int | None
    timeout: float | None
    when_locked: WhenLocked
    retry_after: float | None

    def check(self) -> None:
        if self.ttl is not None:
            check_ttl(self.ttl)
        if self.when_locked not in get_args(WhenLocked):
            msg = f"when_locked must be 'retry', 'skip' or 'raise', not {shortened(self.when_locked)}"
            raise InvalidLockError(msg)
        seconds: Any = self.retry_after
        number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if seconds is not None and not (number and 0 <= seconds < inf):
            msg = f"retry_after must be seconds, or None (find out), not {shortened(seconds)}"
            raise InvalidLockError(msg)

    def run(self, name: str, body: Callable[[], R]) -> R | None:
        """Run ``body`` under lock ``name``, or do what is to be done without it."""
        task: Task | None = current_app.current_task
        client = self.client or client_of(task.app if task is not None else current_app)
        lock = client.lock_task(name, ttl=self.ttl, note=_note(task))
        if any(hold.lease == lock.lease for hold in _held.get()):
            msg = f"lock {shortened(name)} is held by this task already, and is not re-entrant: lock one of the two"
            raise InvalidLockError(msg)
        try:
            try:
                hold = _acquire(lock, self.timeout)
            except (TaskLockedException, LockApiError) as error:
                self._without(task, client, lock, error)
                return None
            outer = _held.set((*_held.get(), hold))
            try:
                return body()
            finally:
                _held.reset(outer)
        finally:
            _end(lock)

    def _without(
        self, task: Task | None, client: LockClient, lock: TaskLock, error: TaskLockedException | LockApiError
    ) -> None:
        """Return where the task is skipped; raise what has Celery run it again, or ``error``."""
        is_locked = isinstance(error, TaskLockedException)
        returns = task is not None and not task.request.called_directly and not task.request.is_eager
        if self.when_locked == "skip" and is_locked and not (returns and _is_its_own(client, lock)):
            _log.info("%s was skipped: %s", _named(task), error)
            return
        if self.when_locked == "raise" or task is None or not returns:
            raise error
        _send_again(task, error, _seconds_until(error) if self.retry_after is None else self.retry_after)


def _acquire(lock: TaskLock, timeout: float | None) -> Hold:
    """Acquire the lock. One that looks abandoned is watched for as long as it takes to be sure, and taken over."""
    try:
        return lock.acquire(timeout)
    except TaskLockedException as error:
        if not (error.stale and error.ttl and error.ttl <= WATCHED and lock.takeover):
            raise
        return lock.acquire(error.ttl * STALE_AFTER + 1)


def _end(lock: TaskLock) -> None:
    """Free what this thread holds. What went wrong is logged: the body is done, and its outcome stays."""
    try:
        lock.release()
    except LockLostError:  # told already
        pass
    except LockApiError as error:
        _log.warning("%s", error)
    except TaskLockError:  # it was never acquired
        pass
    except BaseException:  # a time limit's, between two lines
        for hold in lock.holds:
            hold.give_up()
        raise


def _is_its_own(client: LockClient, lock: TaskLock) -> bool:
    """Tell whether an earlier run of this very task may hold the lock: one that is just ending, or was killed.

    Skipped for that, the task would be done by nobody.
    """
    try:
        lease, _ = client.session.run(find(client.app, lock.name))
    except LockApiError:
        return True
    return lease is None or lease.note == lock.note


def _send_again(task: Task, error: TaskLockError, seconds: float) -> NoReturn:
    """Send the task again, as ``task.retry()`` does, but without counting: it did not run."""
    if isinstance(error, LockApiError):
        _log.warning("%s did not run, and comes back in %.0f s: %s", _named(task), seconds, error)
    request = task.request
    again = task.signature_from_request(request, countdown=seconds, retries=request.retries)
    try:
        again.apply_async()
    except Exception as trouble:  # whatever the broker raises
        raise Reject(trouble, requeue=True) from trouble
    raise Retry(exc=error, when=seconds, sig=again) from error


def _seconds_until(error: TaskLockError) -> float:
    """Return when to try again: what was held for long will be held for long. By the holder's clock: a guess."""
    if not isinstance(error, TaskLockedException):
        return 5 + 10 * _chance.random()
    held = (datetime.now(UTC) - error.since).total_seconds() if error.since else 0.0
    longest = min(error.ttl or DEFAULT_TTL, LONGEST)
    return round(max(1.0, min(held, longest)) * _chance.uniform(0.8, 1.2), 2)


def _note(task: Task | None) -> str | None:
    """Return what the Lease says of its holder: the task's name and id; None for a plain call."""
    if task is None or not task.request.id:
        return None
    return f"{task.name:.{LONGEST_NAME}}[{task.request.id!s:.{LONGEST_ID}}]".encode(errors="replace").decode()


def _named(task: Task | None) -> str:
    return f"task {shortened(_note(task) or task.name, limit=200)}" if task is not None else "a call"
