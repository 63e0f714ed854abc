"""A TaskLock names a lock, and acquires it.

A TaskLock can be shared freely: what is held belongs to the thread or task that acquired it, never to the object. It is
not re-entrant.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tasklock.decorate import guarded
from tasklock.errors import LockApiError, TaskLockError
from tasklock.hold import Hold
from tasklock.naming import check_callback, check_text, check_timeout, check_ttl, lease_name, shortened
from tasklock.protocol.release import release
from tasklock.transport.clock import chance, clock
from tasklock.transport.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from tasklock.client import LockClient

P = ParamSpec("P")
R = TypeVar("R")


class TaskLock:
    """A named lock: a context manager, a decorator, or ``acquire()`` and ``release()``.

    ``with lock as hold:`` and decorated calls wait for ``timeout``: 0 tries once (the default, as Huey does), seconds
    wait, None waits as long as it takes.
    """

    def __init__(  # noqa: PLR0913 - keyword-only options
        self,
        client: LockClient,
        name: str,
        *,
        ttl: int | None = None,
        timeout: float | None = 0,
        takeover: bool | None = None,
        note: str | None = None,
        on_lost: Callable[[Hold], object] | None = None,
    ) -> None:
        """Name a lock; nothing is sent.

        Args:
            client: whose app and namespace it is in.
            name: any text; a DNS-1123 name of at most 170 characters is also the Lease's name.
            ttl: whole seconds from 1 to 86,400; the client's if None.
            timeout: for ``with`` and decorated calls.
            takeover: whether to end a stale lock of somebody else when it is in the way; the client's if None.
            note: free text that others see with the lock, for example a task id.
            on_lost: called once with the Hold, in a thread of its own, when a held lock is lost.

        Raises InvalidLockError for a value that no lock can have.

        """
        self.lease = lease_name(client.app, name)
        self.name = name
        self.ttl = client.ttl if ttl is None else check_ttl(ttl)
        self.timeout = check_timeout(timeout)
        if note is not None:
            check_text("a note", note)
        check_callback("on_lost", on_lost)
        self.note = note
        self.takeover = client.takeover if takeover is None else takeover
        self.on_lost = on_lost
        self._client = client
        self.session = client.session
        self._holds: list[tuple[object, Hold]] = []
        self._entered: list[tuple[FrameType, object, Hold]] = []  # by `with` (where, by whom), and not left yet

    def acquire(self, timeout: float | None = 0) -> Hold:
        """Acquire the lock; return what is held. Release that, or call ``release()`` from the same thread or task.

        Args:
            timeout: 0 tries once; seconds wait at most that long, API latency included; None waits as long as it takes.

        Raises TaskLockedException (LockTimeoutError after a wait) where someone else holds it, InvalidLockError where
        its Lease is not ours to touch, LockApiError where the API fails.

        """
        acquire, _ = self.attempt(check_timeout(timeout))
        return acquire()

    def attempt(self, timeout: float | None) -> tuple[Callable[[], Hold], Callable[[], None]]:
        """Return a function that acquires on behalf of the caller, in whatever thread, and one that calls that off."""
        driver = Driver(self.session.api)
        return partial(self._acquire, timeout, driver, caller()), driver.cancel

    def release(self) -> None:
        """Release what the calling thread or task holds of this lock.

        Raises LockLostError where it was lost meanwhile, TaskLockError where the caller does not hold it.
        """
        hold = self._own()
        if hold is None:
            msg = f"lock {shortened(self.name)} is not held by this thread or task, so it cannot release it"
            raise TaskLockError(msg)
        hold.release()

    def is_locked(self) -> bool:
        """Tell whether trying once to acquire the lock now would raise TaskLockedException.

        Raises InvalidLockError and LockApiError as ``acquire`` does.
        """
        return self.session.is_locked(self._client.app, self.name, takeover=self.takeover)

    def clear(self) -> bool:
        """Force the lock free, whoever holds it; return whether it was held. Its holder is told that it lost it.

        Raises InvalidLockError where the Lease of that name is no lock of ours, LockApiError where the API fails.
        """
        return self._client.clear(self.name)

    @property
    def holds(self) -> list[Hold]:
        """What is held through this object now, by any thread or task; the oldest first."""
        return [hold for _, hold in self._holds.copy()]

    def __enter__(self) -> Hold:
        before = self._holds.copy()
        try:
            hold = self.acquire(self.timeout)
            self._entered.append((sys._getframe(1), caller(), hold))  # noqa: SLF001 - the frame that the block is in
        except TaskLockError:
            raise
        except BaseException:  # a signal handler's, between two lines: nobody would leave what was entered
            me = caller()
            for owner, hold in [one for one in self._holds.copy() if one not in before]:
                if owner is me:
                    hold.give_up()
                    self._leave(hold)
            raise
        return hold

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hold, block = None, sys._getframe(1)  # noqa: SLF001 - as in __enter__
        try:
            if (hold := self._entered_by(block)) is not None:
                hold.__exit__(kind, error, trace)
        except TaskLockError:
            raise
        except BaseException:
            if (hold := hold or self._entered_by(block)) is not None:
                hold.give_up()
            raise
        finally:
            self._leave(hold)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function, generator, coroutine or asynchronous generator: each call is a grant of its own."""
        return guarded(self, function)

    def __repr__(self) -> str:
        return f"<TaskLock {shortened(self.name)} lease={self.lease} ttl={self.ttl}>"

    def _acquire(self, timeout: float | None, driver: Driver, owner: object) -> Hold:
        grant = self.session.grant(self, app=self._client.app, timeout=timeout, driver=driver)
        try:
            hold = Hold(grant, self, self.session, done=self._forget)
            self._holds.append((owner, hold))
        except RuntimeError as error:
            grant.over = True
            with suppress(LockApiError):
                self.session.run(release(grant, chance))
            msg = (
                f"lock {shortened(self.name)} was not kept, for no thread could be started to renew it: "
                f"{shortened(str(error))}: allow this process more threads"
            )
            raise TaskLockError(msg) from None
        except BaseException:  # Ctrl-C between the grant and its keeping
            grant.over = True
            self.session.settle(grant.claim, clock() + grant.ttl)
            raise
        return hold

    def _entered_by(self, block: FrameType) -> Hold | None:
        """Return what is left now: what that block entered, else this thread or task, else anybody.

        Of several the oldest: all but the newest are lost, for grants are exclusive. A live one is never left too soon.
        """
        entered = self._entered.copy()
        if len(entered) == 1:
            return entered[0][2]
        me = caller()
        here = [hold for one, _, hold in entered if one is block]
        mine = [hold for _, owner, hold in entered if owner is me]
        if here:
            return here[-1]
        return next(iter(mine or [hold for _, _, hold in entered]), None)

    def _own(self) -> Hold | None:
        """Return the newest hold of the calling thread or task."""
        me = caller()
        return next((hold for owner, hold in reversed(self._holds.copy()) if owner is me), None)

    def _leave(self, hold: Hold | None) -> None:
        _drop(hold, self._entered)

    def _forget(self, hold: Hold) -> None:
        _drop(hold, self._holds)


def _drop(hold: Hold | None, entries: list[Any]) -> None:
    """Take the entries that end in ``hold`` out of a list to which other threads may be adding their own."""
    for entry in entries.copy():
        if entry[-1] is hold:
            with suppress(ValueError):  # another thread ended it, too
                entries.remove(entry)


def caller() -> object:
    """Return whose a hold is: the running asyncio task, else the thread."""
    asyncio: Any = sys.modules.get("asyncio")  # no task runs where nobody imported it
    if asyncio is not None:
        try:
            task = asyncio.current_task()
        except (RuntimeError, AttributeError):  # no loop in this thread; or another thread is just importing asyncio
            task = None
        if task is not None:
            return task
    return threading.current_thread()
