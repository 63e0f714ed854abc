"""What can go wrong, as one tree; nothing of urllib3, aiohttp or kubernetes ever leaves the library.

    TaskLockError
    ├── TaskLockedException        someone else holds the lock
    │   └── LockTimeoutError       … and still did when the time to wait was over (also a TimeoutError)
    ├── LockLostError              the lock was held, and was lost before it was released
    ├── LockApiError               the Kubernetes API could not be used; .status and .reason say why
    │   └── LockForbiddenError     … because a verb is missing in the caller's Role; .verb says which
    └── InvalidLockError           a name, a ttl or a Lease that cannot be used (also a ValueError)

Each message is one sentence or two, names the lock, and says what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datetime import datetime

LossReason = Literal["deleted", "replaced", "expired", "overwritten"]


class TaskLockError(Exception):
    """The base of everything that tasklock raises. Can be pickled, for it may cross processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), self.args, self.__dict__)


class TaskLockedException(TaskLockError):  # noqa: N818 - the name is Huey's, and users catch it
    """Raised when a lock cannot be acquired because someone else holds it.

    Attributes:
        name: the lock's name as the caller wrote it.
        holder: who holds it (``<pod or host>_<nonce>``), or None where that could not be seen.
        since: when the holder says it acquired the lock, by the holder's clock; or None.
        pod: the holder's pod, or None outside of pods.
        ttl: the lock's duration in whole seconds, or None.
        stale: a hint: True where the API server has seen no renewal for twice the ttl. Never evidence.

    """

    def __init__(  # noqa: PLR0913 - each is one fact about the holder
        self,
        message: str,
        *,
        name: str = "",
        holder: str | None = None,
        since: datetime | None = None,
        pod: str | None = None,
        ttl: int | None = None,
        stale: bool = False,
    ) -> None:
        super().__init__(message)
        self.name = name
        self.holder = holder
        self.since = since
        self.pod = pod
        self.ttl = ttl
        self.stale = stale


class LockTimeoutError(TaskLockedException, TimeoutError):
    """Raised when a lock was still held by someone else at the end of ``timeout`` seconds."""


class LockLostError(TaskLockError):
    """Raised when a lock that was held is held no more, and nobody here released it.

    Attributes:
        name: the lock's name as the caller wrote it.
        reason: ``deleted`` (the Lease is gone), ``replaced`` (another Lease stands in its place), ``expired``
            (no renewal succeeded for two thirds of the ttl) or ``overwritten`` (somebody changed its spec).

    """

    def __init__(self, message: str, *, name: str = "", reason: LossReason = "expired") -> None:
        super().__init__(message)
        self.name = name
        self.reason = reason


class LockApiError(TaskLockError):
    """Raised when the Kubernetes API cannot be reached or will not do what was asked.

    Attributes:
        status: the HTTP status; 0 where no answer came at all.
        reason: the API server's machine-readable reason (``NotFound``, ``Unauthorized``, …) or a short word of ours.

    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class LockForbiddenError(LockApiError):
    """Raised when the caller lacks an RBAC verb on leases.

    Attributes:
        verb: the missing verb: ``get``, ``list``, ``watch``, ``create``, ``patch`` or ``delete``.

    """

    def __init__(self, message: str, *, verb: str = "", status: int = 403, reason: str = "Forbidden") -> None:
        super().__init__(message, status=status, reason=reason)
        self.verb = verb


class InvalidLockError(TaskLockError, ValueError):
    """Raised for a name, ttl, timeout or note that no lock can have, and for a Lease that is no lock of ours."""


def _remade(kind: type[TaskLockError], args: tuple[object, ...], facts: dict[str, object]) -> TaskLockError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error
