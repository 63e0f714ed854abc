"""What Huey's locks are made of: Leases, and what this process holds of them."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING

from huey.constants import EmptyData
from huey.exceptions import TaskLockedException as HueyTaskLockedException
from huey.exceptions import TaskTimeout

import tasklock
from tasklock.errors import LockApiError, LockLostError
from tasklock.lock import caller
from tasklock.naming import MAX_TTL, check_ttl, shortened
from tasklock.transport.fork import survive_fork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huey.storage import BaseStorage

    from tasklock.client import LockClient
    from tasklock.hold import Hold

_log = logging.getLogger("tasklock")


class TaskLockedException(tasklock.TaskLockedException, HueyTaskLockedException):
    """Raised when somebody else holds the lock: tasklock's exception, which says who, and Huey's, all in one."""


class TaskLockUnavailable(LockApiError, HueyTaskLockedException):  # noqa: N818 - as Huey names it
    """Raised when the API server does not answer, or refuses. Huey does not run the task, as if its lock were held."""


@dataclass(eq=False, slots=True)
class Taken:
    """One acquisition; it is written down before it is made, so that no exception from outside can hide it."""

    owner: object  # the thread
    name: str
    lock: tasklock.TaskLock  # acquires once
    by_with: bool  # or a decorator: it ends with its block, else by ``release()``

    @property
    def hold(self) -> Hold | None:
        """What came of it, until it is released."""
        return next(iter(self.lock.holds), None)


class Locks:
    """One Huey's locks: what this process holds of them, and the way to all others'."""

    def __init__(self, client: LockClient, *, prefix: str, ttl: int) -> None:
        self.client = client
        self.prefix = prefix  # of a lock's key in the storage
        self.ttl = ttl
        self.old: OldLocks | None = None
        self._taken: list[Taken] = []
        survive_fork(self)

    def after_fork(self) -> None:
        """Leave to the parent what it holds."""
        self._taken = []

    def name_of(self, key: object) -> str | None:
        """Return the name of the lock whose key it is, or None."""
        return key.removeprefix(self.prefix) if isinstance(key, str) and key.startswith(self.prefix) else None

    def acquire(self, name: str, ttl: float | None = None, *, by_with: bool = False) -> Taken:
        """Acquire the lock for the calling thread. Raises TaskLockedException, TaskLockUnavailable."""
        lock = self.client.lock_task(name, ttl=self.ttl if ttl is None else whole(ttl))
        taken = Taken(caller(), name, lock, by_with)
        self._taken.append(taken)
        try:
            with as_huey_knows_it():
                hold = lock.acquire()
            if self.old is not None:
                self.old.take(name, hold.uid)
        except BaseException:
            self.end(taken)
            raise
        return taken

    def held_here(self, name: str) -> Hold | None:
        """Return what the calling thread holds of the lock: the newest of it."""
        here = self._here(name)
        return here[-1].hold if here else None

    def release(self, name: str) -> bool:
        """Free what the calling thread holds, else what another of this process took by ``acquire()``.

        Returns whether there was any.
        """
        others = [one for one in self._taken.copy() if one.name == name and not one.by_with]
        found = self._here(name) or others
        return bool(found) and self.end(found[-1])

    @contextmanager
    def nothing_left(self) -> Iterator[None]:
        """Free at the end what a ``with`` in this thread began meanwhile and did not end, cut short by a timeout."""
        before = self._here()
        try:
            yield
        finally:
            for taken in self._here():
                if taken.by_with and taken not in before:
                    self.end(taken)

    def end(self, taken: Taken) -> bool:
        """Release it. What goes wrong is logged: the work under the lock is done, and would be done again."""
        hold = taken.hold
        try:
            if hold is None:
                return False
            hold.release()
        except LockLostError:  # told already
            return False
        except LockApiError as error:
            _log.warning("%s", error)
        finally:
            if hold is not None and self.old is not None:
                self.old.give(taken.name, hold.uid)
            if taken.hold is None:
                self._forget(taken)
        return True

    def clear(self, name: str) -> bool:
        """Force the lock free, whoever holds it; return whether it was held."""
        old = self.old is not None and self.old.clear(name)
        with as_huey_knows_it():
            cleared = self.client.clear(name)
        for taken in self._taken.copy():
            if taken.name == name and not taken.by_with:
                self._forget(taken)
        return cleared or old

    def flush(self, names: set[str], known: set[str]) -> set[str]:
        """Force the locks of these names free, and of the known ones those that are held; return those that were.

        Without names: all of the app.
        """
        with as_huey_knows_it():
            if names:
                held = {lock.name for lock in self.client.locks()}
                flushed = {name for name in names | (known & held) if self.client.clear(name)}
            else:
                flushed = self.client.flush_locks()
        if self.old is not None:
            flushed |= {name for name in names | known | flushed if self.old.clear(name)}
        return flushed

    def flush_dead(self) -> None:
        """Free the locks of the dead, and say which; in a thread of its own, for that may take 1.1 times their ttl."""
        try:
            flushed = self.client.flush_stale(recent=True)
        except LockApiError as error:
            _log.warning("no look was taken at the locks that dead workers may have left: %s", error)
        else:
            if flushed:
                _log.warning("freed the locks that dead workers left: %s", ", ".join(map(shortened, sorted(flushed))))

    def _forget(self, taken: Taken) -> None:
        with suppress(ValueError):  # another thread was faster
            self._taken.remove(taken)

    def _here(self, name: str | None = None) -> list[Taken]:
        me = caller()
        return [one for one in self._taken.copy() if one.owner is me and name in {None, one.name}]

    def is_locked(self, name: str) -> bool:
        """Tell whether acquiring the lock would be refused. Raises TaskLockUnavailable."""
        if self.old is not None and self.old.has(name):
            return True
        with as_huey_knows_it():
            return self.client.is_locked(name)


class OldLocks:
    """Huey's own locks in the storage, for bridge mode. Each is written by who holds its Lease, and bears its uid."""

    MARK = b"tasklock:"

    def __init__(self, storage: BaseStorage, prefix: str) -> None:
        self._prefix = prefix
        self._put, self._peek, self._delete = storage.put_if_empty, storage.peek_data, storage.delete_data

    def take(self, name: str, uid: str) -> None:
        """Take the lock for the holder of this Lease; from a holder of an earlier one, who lost that, too.

        Raises TaskLockedException where a worker holds it that uses Huey's own locks.
        """
        key = self._prefix + name
        for _ in range(3):
            if self._put(key, self.MARK + uid.encode()):
                return
            found = self._peek(key)
            if found is EmptyData:  # given back just now
                continue
            if not bytes(found).startswith(self.MARK):
                break
            self._delete(key)
        msg = f"lock {shortened(name)} is held, in the storage, by a worker that uses Huey's own locks"
        raise TaskLockedException(msg, name=name)

    def give(self, name: str, uid: str) -> None:
        """Give the lock back, if it still is this holder's. A storage that fails is logged."""
        key = self._prefix + name
        try:
            if self._peek(key) == self.MARK + uid.encode():
                self._delete(key)
        except TaskTimeout:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the storage raises
            _log.warning("lock %s was not given back in the storage: %s", shortened(name), shortened(error))

    def has(self, name: str) -> bool:
        """Tell whether a worker holds the lock that uses Huey's own; of all others the Leases tell."""
        found = self._peek(self._prefix + name)
        return found is not EmptyData and not bytes(found).startswith(self.MARK)

    def clear(self, name: str) -> bool:
        """Free the lock, whoever holds it; return whether it was held."""
        return bool(self._delete(self._prefix + name))


@contextmanager
def as_huey_knows_it() -> Iterator[None]:
    """Raise what says that a task may not run in a class that Huey treats so."""
    try:
        yield
    except tasklock.TaskLockedException as error:
        locked = TaskLockedException(str(error))
        locked.__dict__.update(error.__dict__)
        raise locked from error
    except LockApiError as error:
        raise TaskLockUnavailable(str(error), status=error.status, reason=error.reason) from error


def whole(ttl: float) -> int:
    """Return Huey's ttl as ours: whole seconds, a day at most, for a lock is renewed. Raises InvalidLockError."""
    number = isinstance(ttl, (int, float)) and not isinstance(ttl, bool) and ttl < inf
    return check_ttl(min(ceil(ttl), MAX_TTL) if number else ttl)
