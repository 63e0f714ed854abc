"""What the examples have in common: a counter that is read, worked on for a while, and written back, under a lock.

Each example is one kind of storage. It has two functions, and the order in which they are called is the whole trick:

1. ``begin(token)`` raises the storage's token to ours, *then* reads. From here on nobody who came before us can write.
2. ``write(value, token)`` writes, if no token larger than ours was seen meanwhile.

Reading before the token is raised would leave a gap: an earlier holder, just woken, writes between our read and our
write, and what it wrote is lost.

Start an example in one terminal with ``--work 30``, press Ctrl-Z while it works, start it in another one, and wait: the
second takes over after 1.1 times the ttl. Then ``fg`` the first: its write is refused. With ``--unfenced`` it is not,
and one of the two increments is lost though both report success.
"""

from __future__ import annotations

import argparse
import time
from typing import Protocol

from tasklock import LockClient, LockLostError


class LateWriteError(Exception):
    """Raised when the storage refuses a write because a later holder of the lock has been there."""


class Store(Protocol):
    """Where the counter is kept."""

    def begin(self, token: int) -> int:
        """Raise the token to ours, then read. Raises LateWriteError."""

    def write(self, value: int, token: int) -> None:
        """Write, unless a larger token was seen. Raises LateWriteError."""

    def read_unfenced(self) -> int:
        """Read as if there was no token."""

    def write_unfenced(self, value: int) -> None:
        """Write as if there was no token: what a paused holder does to you otherwise."""


def arguments(what: str) -> argparse.ArgumentParser:
    """Return a parser of the arguments that all examples take."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--lock", default="counter", help="name of the lock")
    parser.add_argument("--ttl", type=int, default=10, help="whole seconds")
    parser.add_argument("--work", type=float, default=0.0, help="seconds between reading and writing")
    parser.add_argument("--unfenced", action="store_true", help="show what happens without the token")
    return parser


def increment(store: Store, options: argparse.Namespace) -> int:
    """Add one to the counter under the lock; return the exit status."""
    with LockClient(app="fencing-example", ttl=options.ttl) as client:
        try:
            with client.lock_task(options.lock, timeout=600) as hold:
                value = store.read_unfenced() if options.unfenced else store.begin(hold.token)
                print(f"read {value} under token {hold.token}", flush=True)
                time.sleep(options.work)
                if options.unfenced:
                    store.write_unfenced(value + 1)
                else:
                    store.write(value + 1, hold.token)
                print(f"wrote {value + 1}", flush=True)
        except LateWriteError as error:
            print(f"refused: {error}", flush=True)
            return 1
        except LockLostError as error:  # the write was made; that the lock was lost is known only now
            print(f"lost: {error}", flush=True)
            return 0 if options.unfenced else 2
    return 0
