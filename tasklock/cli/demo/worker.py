"""One contender of the demo: takes locks at random, holds each for a moment, reports all of it as JSON lines.

Times are CLOCK_MONOTONIC, which is the machine's: the reports of different processes can be compared. On stdin it is
told ``go``, ``cling`` (keep the next lock until you are killed), and, by its end, to stop.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tasklock import LockClient, LockLostError, TaskLockError
from tasklock.transport import identity
from tasklock.transport.driver import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable


LINGER: Final = 4.0  # seconds for the last release, should the API server have gone too


class Orders:
    """What the demo wants of us, read by a thread."""

    def __init__(self) -> None:
        """Start to listen."""
        self.go, self.over, self.cling = threading.Event(), threading.Event(), threading.Event()
        self.cancel: Callable[[], None] = lambda: None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            if line.strip() in {"go", "cling"}:
                (self.go if line.strip() == "go" else self.cling).set()
        self.over.set()
        self.go.set()
        self.cancel()
        time.sleep(LINGER)
        os._exit(1)


def report(event: str, **facts: object) -> None:
    """Tell the demo."""
    print(json.dumps({"event": event, **facts}), flush=True)  # noqa: T201 - our report


def contend(client: LockClient, locks: list[str], orders: Orders, *, moment: tuple[float, float]) -> None:
    """Take locks until told to stop."""
    while not orders.over.is_set():
        lock = client.lock_task(random.choice(locks))  # noqa: S311 - no secret
        asked = time.monotonic()
        report("asks", lock=lock.name, at=asked)
        acquire, orders.cancel = lock.attempt(None)
        if orders.over.is_set():
            return
        try:
            hold = acquire()
        except TaskLockError as error:
            report("trouble", lock=lock.name, error=str(error))
            orders.over.wait(1)
            continue
        report("granted", lock=lock.name, token=hold.token, asked=asked, at=time.monotonic())
        if orders.cling.is_set():
            report("clings", lock=lock.name, at=time.monotonic())
            orders.over.wait()
        orders.over.wait(random.uniform(*moment))  # noqa: S311
        ended = time.monotonic()
        try:
            hold.release()
        except LockLostError as error:
            report("lost", lock=lock.name, token=hold.token, at=ended, reason=error.reason)
        else:
            report("released", lock=lock.name, token=hold.token, at=ended)
        orders.over.wait(random.uniform(0, moment[0]))  # noqa: S311


def main() -> None:
    """Contend as told in the argument."""
    told: dict[str, Any] = json.loads(sys.argv[1])
    orders = Orders()
    where = {key: told[key] for key in ("kubeconfig", "context", "namespace")}
    if (token := told["token"]) is not None:  # we play the container of a Pod, alone on its machine
        identity.TOKEN_FILE = Path(token)  # type: ignore[misc] # final, but for this stage
        os.environ["TASKLOCK_CONTAINER"] = told["container"]
    with LockClient(told["app"], ttl=told["ttl"], announce_process=token is None, **where) as client:
        try:
            report("ready", pid=os.getpid(), namespace=client.namespace)
            orders.go.wait()
            contend(client, told["locks"], orders, moment=tuple(told["moment"]))
        except TaskLockError as error:
            report("failed", error=str(error))
        except CancelledError:
            pass


if __name__ == "__main__":
    main()
