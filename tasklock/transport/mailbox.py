"""A queue for one reader, whose waits end in time.

``queue.SimpleQueue`` computes anew how long to wait when it was woken for nothing, and takes a negative rest for "as
long as it takes": a thread that the machine held up for longer than its timeout then waits for ever (CPython 3.11,
``_queuemodule.c``). ``queue.Queue`` can be left locked by Ctrl-C. A lock's own ``acquire`` has neither fault.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from queue import Empty
from typing import Generic, TypeVar

from tasklock.transport.clock import clock

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Any thread may put something in; one thread takes it out."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._bell = threading.Lock()  # free: something may be there
        self._bell.acquire()

    def put(self, item: T) -> None:
        """Add ``item``; never waits."""
        self._items.append(item)
        with suppress(RuntimeError):  # it rings already
            self._bell.release()

    def get(self, timeout: float | None = None) -> T:
        """Take the first item out, waiting for it for ``timeout`` seconds. Raises queue.Empty."""
        until = None if timeout is None else clock() + timeout
        while not self._items:
            left = -1 if until is None else min(max(0.0, until - clock()), threading.TIMEOUT_MAX)
            if not self._bell.acquire(timeout=left) and not self._items:
                raise Empty
        return self._items.popleft()
