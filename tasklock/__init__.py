"""Kubernetes-native task locks: one lock is one ``coordination.k8s.io/v1`` Lease.

    from tasklock import LockClient, TaskLockedException

    client = LockClient(app="locking-app")
    with client.lock_task("user_count_update") as hold:
        ...

At most one holder is granted a lock at a time, and a holder that is not paused knows before anyone else that it lost
it. A paused holder cannot know: code that must not run twice even then has to pass ``hold.token`` to a store that
refuses a smaller one than it has seen.

Contents: ``LockClient``, ``TaskLock``, ``Hold``, ``Loss``, ``LockInfo``; the errors, drawn in ``tasklock.errors``;
``lock_task``, ``is_locked``, ``flush_locks`` on a default client; ``tasklock.testing`` for an embedded API server.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tasklock.client import LockClient
from tasklock.errors import (
    InvalidLockError,
    LockApiError,
    LockForbiddenError,
    LockLostError,
    LockTimeoutError,
    TaskLockedException,
    TaskLockError,
)
from tasklock.hold import Hold
from tasklock.lease import LockInfo
from tasklock.lock import TaskLock
from tasklock.protocol.grant import Loss

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Hold",
    "InvalidLockError",
    "LockApiError",
    "LockClient",
    "LockForbiddenError",
    "LockInfo",
    "LockLostError",
    "LockTimeoutError",
    "Loss",
    "TaskLock",
    "TaskLockError",
    "TaskLockedException",
    "flush_locks",
    "is_locked",
    "lock_task",
]

__version__ = "0.1.0"

_default: LockClient | None = None
_making = threading.Lock()


def _client() -> LockClient:
    global _default  # noqa: PLW0603 - the one default client
    with _making:
        _default = _default or LockClient()
        return _default


def lock_task(  # noqa: PLR0913 - keyword-only options
    name: str,
    *,
    ttl: int | None = None,
    timeout: float | None = 0,
    takeover: bool | None = None,
    note: str | None = None,
    on_lost: Callable[[Hold], object] | None = None,
) -> TaskLock:
    """Return lock ``name`` of the default client: app ``tasklock``, ambient configuration. See LockClient.lock_task."""
    return _client().lock_task(name, ttl=ttl, timeout=timeout, takeover=takeover, note=note, on_lost=on_lost)


def is_locked(name: str) -> bool:
    """Tell whether lock ``name`` of the default client is held. See LockClient.is_locked."""
    return _client().is_locked(name)


def flush_locks(*names: str) -> set[str]:
    """Force locks of the default client free, all where none is named. See LockClient.flush_locks."""
    return _client().flush_locks(*names)
