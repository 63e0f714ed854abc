"""Huey's locks, kept as Leases: one line changes, and every line that uses a lock stays.

    from huey import RedisHuey
    from tasklock.contrib.huey import with_kubernetes_locks

    huey = with_kubernetes_locks(RedisHuey("locking-app"))

``huey.lock_task``, ``is_locked``, ``flush_locks``, ``TaskLock`` and whatever else reads or writes a lock's key in the
storage (``djhuey``, "flush locks" buttons, the consumer's ``-f`` and ``-L``) go to Leases of the app ``locking-app``
from then on; tasks, results and schedules stay where they are. What is better than before:

* A lock frees itself when its worker dies, and not before: it is renewed for as long as the task runs.
* Leaving a lock, or ``release()``, frees what this worker holds, never the lock of whoever came after it.
* A consumer that starts with ``-f`` frees no lock of a live consumer.

In immediate mode with Huey's in-memory storage (development, tests) locks stay in memory too.
"""

from __future__ import annotations

from typing import TypeVar

from huey.api import Huey

from tasklock.client import LockClient
from tasklock.contrib.huey.adapter import KubernetesLocks, LeaseKeys, TaskLock
from tasklock.contrib.huey.locks import Locks, TaskLockedException, TaskLockUnavailable, whole
from tasklock.contrib.huey.semaphore import lock_task_semaphore
from tasklock.lease import DEFAULT_TTL
from tasklock.naming import app_of

__all__ = ["TaskLock", "TaskLockUnavailable", "TaskLockedException", "lock_task_semaphore", "with_kubernetes_locks"]

H = TypeVar("H", bound=Huey)


def with_kubernetes_locks(
    huey: H, client: LockClient | None = None, ttl: int | None = None, *, force: bool = False, bridge: bool = False
) -> H:
    """Have the locks of ``huey`` kept as Leases from now on, whatever its storage; return that same object.

    Args:
        huey: any Huey: Redis, SQLite, Postgres, file, memory, or a class of your own.
        client: whose namespace and app the locks are in; else the ambient cluster, and an app named as the Huey is
            (what no label can be is spelled differently, with a hash).
        ttl: whole seconds after which the lock of a dead worker frees itself; the client's if None, else 30.
        force: let the consumer's ``-f`` and ``-L`` free every lock, live or not, as Huey does. Else only the locks of
            workers that are known to be dead or have renewed nothing for 1.1 times the ttl.
        bridge: take each lock in the storage as well, so that workers which still use Huey's own locks are kept out.
            For the time of a rollout.

    Raises InvalidLockError for a ttl that no lock can have, TypeError for what is no Huey or has Kubernetes locks.

    """
    if not isinstance(huey, Huey) or isinstance(huey, KubernetesLocks):
        what = "has Kubernetes locks already" if isinstance(huey, Huey) else "is no Huey"
        msg = f"with_kubernetes_locks() takes a Huey once, and this {type(huey).__name__} {what}"
        raise TypeError(msg)
    if isinstance(huey.storage, LeaseKeys):
        msg = (
            f"the storage of this {type(huey).__name__} belongs to another Huey with Kubernetes locks: give it its own"
        )
        raise TypeError(msg)
    client = client or LockClient(app_of(huey.name), ttl=DEFAULT_TTL if ttl is None else whole(ttl))
    locks = Locks(client, prefix=f"{huey.name}.lock.", ttl=client.ttl if ttl is None else whole(ttl))
    kind = type(huey)
    huey.__class__ = type(kind.__name__, (KubernetesLocks, kind), {})
    huey.tasklock, huey.tasklock_force, huey.tasklock_bridge = locks, force, bridge
    huey.keep_leases(huey.storage)
    return huey
