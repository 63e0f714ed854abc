"""Huey's own classes with their locks in Leases: the TaskLock, and what is mixed into a Huey and into its storage."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Self

from huey.api import Huey
from huey.api import TaskLock as HueyTaskLock
from huey.storage import BaseStorage

from tasklock.contrib.huey.locks import Locks, OldLocks, Taken, TaskLockedException, TaskLockUnavailable, whole
from tasklock.lock import caller
from tasklock.naming import lease_name
from tasklock.transport.config import preload

if TYPE_CHECKING:
    from tasklock.client import LockClient
    from tasklock.hold import Hold


class TaskLock(HueyTaskLock):
    """Huey's TaskLock: a context manager, a decorator, or ``acquire()`` and ``release()``; tries once, never waits.

    Attributes:
        hold: what the calling thread holds of it or None.

    """

    def __init__(self, huey: Huey, name: object, ttl: float | None = None) -> None:
        """Name a lock; nothing is sent. Raises InvalidLockError for a name or ttl that no lock can have."""
        super().__init__(huey, str(name))
        self._ttl = ttl  # Huey's own knows one since 3.4
        self._entered: list[Taken] = []
        if (locks := self._locks) is not None:
            lease_name(locks.client.app, self._name)
            self._ttl = whole(ttl) if ttl is not None else None

    def acquire(self) -> bool:
        """Acquire it and return True. Raises TaskLockedException where it is held, TaskLockUnavailable."""
        if (locks := self._locks) is None:
            return bool(super().acquire())
        locks.acquire(self._name, self._ttl)
        return True

    def release(self) -> bool:
        """Free what this thread holds of it, else what another took by ``acquire()``; return whether there was any."""
        return bool(super().clear()) if (locks := self._locks) is None else locks.release(self._name)

    def clear(self) -> bool:
        """Force it free, whoever holds it; return whether it was held. Raises TaskLockUnavailable."""
        return bool(super().clear()) if (locks := self._locks) is None else locks.clear(self._name)

    @property
    def hold(self) -> Hold | None:
        """What the calling thread holds of it: ``.token`` for fencing, ``.ensure_held()``. None in memory."""
        return None if (locks := self._locks) is None else locks.held_here(self._name)

    def __enter__(self) -> Self:
        if (locks := self._locks) is None:
            super().acquire()
        else:
            self._entered.append(locks.acquire(self._name, self._ttl, by_with=True))
        return self

    def __exit__(self, *error: object) -> None:
        me, entered = caller(), self._entered.copy()
        taken = next((one for one in reversed(entered) if one.owner is me), None)
        if taken is None and len(entered) == 1:  # entered in one thread, left in another
            taken = entered[0]
        if taken is not None:
            self._huey.tasklock.end(taken)
            self._entered.remove(taken)
        elif self._locks is None:
            super().__exit__(*error)

    @property
    def _locks(self) -> Locks | None:
        """What keeps the lock; None in immediate mode in memory, where Huey does."""
        return getattr(self._huey.storage, "tasklock", None)


class KubernetesLocks(Huey):
    """Mixed into the class of a Huey by ``with_kubernetes_locks``, which sets the attributes."""

    tasklock: Locks
    tasklock_force: bool
    tasklock_bridge: bool

    @property
    def lock_client(self) -> LockClient:
        """The client of the locks: for waiting (``timeout=``), for who holds what (``locks()``)."""
        return self.tasklock.client

    def create_storage(self) -> BaseStorage:
        """Make a storage, as at each change of immediate mode; in memory it keeps the locks as Huey's do."""
        return self.keep_leases(super().create_storage())

    def keep_leases(self, storage: BaseStorage) -> BaseStorage:
        """Have what ``storage`` does with the keys of locks done to Leases, unless in immediate mode in memory."""
        if not (self._immediate and self.immediate_use_memory):
            self.tasklock.old = OldLocks(storage, self.tasklock.prefix) if self.tasklock_bridge else None
            kind = type(storage)
            storage.__class__ = type(kind.__name__, (LeaseKeys, kind), {})
            storage.tasklock = self.tasklock
        return storage

    def lock_task(self, lock_name: object, ttl: float | None = None) -> TaskLock:
        """Return a lock. Its ttl is how long it outlives a dead worker; while one lives it is renewed."""
        return TaskLock(self, lock_name, ttl)

    def is_locked(self, lock_name: object) -> bool:
        """Tell whether acquiring the lock would be refused. Raises TaskLockUnavailable."""
        return bool(TaskLock(self, lock_name).is_locked())

    def flush_locks(self, *names: str) -> set[str]:
        """Free all locks of the app; with names, these and, as Huey does, those that this process ever named."""
        if getattr(self.storage, "tasklock", None) is None:
            return set(super().flush_locks(*names))
        known = {key.removeprefix(self.tasklock.prefix) for key in self._locks}
        return self.tasklock.flush({name.strip() for name in names} - {""}, known)

    def execute(self, task: Any, timestamp: Any = None) -> Any:  # noqa: ANN401 - as Huey has it
        """Execute a task; what its timeout cut short holds no lock afterwards."""
        with self.tasklock.nothing_left():
            return super().execute(task, timestamp)

    def create_consumer(self, **options: Any) -> Any:  # noqa: ANN401 - a Consumer
        """Make a consumer; what ``-f`` and ``-L`` ask for is done to the locks of the dead only, unless forced."""
        preload()  # before the workers are forked, and where no task's timeout can interrupt it
        flush, names = options.pop("flush_locks", None), (options.pop("extra_locks", None) or "").split(",")
        consumer = super().create_consumer(**options)
        if (flush or any(names)) and not self.tasklock_force:
            threading.Thread(target=self.tasklock.flush_dead, name="tasklock-flush", daemon=True).start()
        elif flush or any(names):
            try:
                consumer.flush_locks(*names)
            except TaskLockUnavailable as error:
                logging.getLogger("tasklock").warning("no locks were freed: %s", error)
        return consumer


class LeaseKeys(BaseStorage):
    """Mixed into the class of a storage: the keys of locks are Leases."""

    tasklock: Locks

    def put_if_empty(self, key: str, value: bytes, *args: Any, **options: Any) -> bool:  # noqa: ANN401 - a ttl
        """Write a value, or acquire the lock; return whether that was possible."""
        if (name := self.tasklock.name_of(key)) is None:
            return bool(super().put_if_empty(key, value, *args, **options))
        try:
            self.tasklock.acquire(name, *args, **options)
        except TaskLockedException:
            return False
        return True

    def has_data_for_key(self, key: str) -> bool:
        """Tell whether there is a value, or whether the lock is held."""
        if (name := self.tasklock.name_of(key)) is None:
            return bool(super().has_data_for_key(key))
        return self.tasklock.is_locked(name)

    def delete_data(self, key: str) -> bool:
        """Delete a value, or free the lock: our own hold of it, else whoever's; return whether there was any."""
        if (name := self.tasklock.name_of(key)) is None:
            return bool(super().delete_data(key))
        return self.tasklock.release(name) or self.tasklock.clear(name)
