"""Exit codes, in the numbers of sysexits.h: what a script can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tasklock.errors import InvalidLockError, LockApiError, LockForbiddenError, LockLostError, TaskLockedException

if TYPE_CHECKING:
    from tasklock.errors import TaskLockError

USAGE: Final = 2
UNAVAILABLE: Final = 69  # EX_UNAVAILABLE: the Kubernetes API
SOFTWARE: Final = 70  # EX_SOFTWARE: an error of our own
LOCKED: Final = 75  # EX_TEMPFAIL: try again later
LOST: Final = 76  # EX_PROTOCOL is the nearest: the lock was lost while the command ran
FORBIDDEN: Final = 77  # EX_NOPERM
NOT_EXECUTABLE: Final = 126  # as shells say it
NOT_FOUND: Final = 127
SIGNAL: Final = 128  # plus the number of the signal

_API_CODES: Final = {"Unauthorized": FORBIDDEN, "NoConfiguration": USAGE, "BadConfiguration": USAGE}


def code_of(error: TaskLockError) -> int:
    """Return the exit code for an error of the library."""
    match error:
        case TaskLockedException():
            return LOCKED
        case LockLostError():
            return LOST
        case LockForbiddenError():
            return FORBIDDEN
        case LockApiError():
            return _API_CODES.get(error.reason, UNAVAILABLE)
        case InvalidLockError():
            return USAGE
        case _:
            return SOFTWARE
