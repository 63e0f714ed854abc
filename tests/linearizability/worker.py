"""A process that increments registers under their locks until it is told to end, and writes down all that it saw.

Told ``pause``, it stops itself (SIGSTOP) at the worst moment: after it made sure that it still holds the lock, and
before it writes. Each call is written down before it is made, its outcome after it has returned, so that the history of
a process that was killed says what may have happened.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from linearizability.register import Register  # noqa: E402
from tasklock import LockApiError, LockClient, LockLostError  # noqa: E402

if TYPE_CHECKING:
    from tasklock import Hold


def tell(event: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def nanoseconds() -> int:
    """Return the clock that holds are counted on; all processes of a machine have the same."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Journal:
    """One file, a line at a time: what is written stays, however the process ends."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / f"{os.getpid()}.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._calls = 0

    def call(self, op: str, lock: str, **facts: object) -> int:
        self._calls += 1
        self._write(id=self._calls, op=op, lock=lock, **{"call": nanoseconds(), **facts})
        return self._calls

    def back(self, call: int, result: str, **facts: object) -> None:
        self._write(id=call, result=result, **{"return": nanoseconds(), **facts})

    def _write(self, **facts: object) -> None:
        os.write(self._file, json.dumps(facts).encode() + b"\n")


class Worker:
    """What it is told to do next, and what it does with each grant."""

    def __init__(self, order: dict[str, Any]) -> None:
        folder = Path(order["folder"])
        self._work: float = order["work"]
        self._register = Register(folder / "register.db")
        self._journal = Journal(folder)
        self._pause = False
        self.ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._pause = self._pause or line.strip() == "pause"
            self.ended = self.ended or line.strip() == "end"

    def turn(self, client: LockClient, lock: str) -> None:
        """Take a lock, increment, release."""
        call = self._journal.call("acquire", lock)
        hold = client.lock_task(lock, timeout=None).acquire(None)
        self._journal.back(call, "ok", token=hold.token)
        try:
            self._increment(hold)
        except LockLostError:
            pass
        finally:
            self._release(hold)

    def _increment(self, hold: Hold) -> None:
        lock, token, register = hold.name, hold.token, self._register
        call = self._journal.call("begin", lock, token=token)
        value = register.begin(lock, token)
        self._journal.back(call, "refused" if value is None else "ok", value=value or 0)
        plain = register.read_plain(lock)
        time.sleep(self._work * random.uniform(0.5, 1.5))
        call = self._journal.call("held", lock, token=token)
        hold.ensure_held()
        self._journal.back(call, "ok")
        if self._pause:
            self._pause = False
            tell("pausing", lock=lock)
            os.kill(os.getpid(), signal.SIGSTOP)
        if value is not None:
            call = self._journal.call("write", lock, token=token, value=value + 1)
            self._journal.back(call, "ok" if register.write(lock, token, value + 1) else "refused")
        register.write_plain(lock, plain + 1)

    def _release(self, hold: Hold) -> None:
        call = self._journal.call("release", hold.name, token=hold.token)
        try:
            hold.release()
        except LockLostError as lost:
            until = int(1e9 * hold._grant.valid_until)  # from then on it did not count on it
            self._journal.back(call, "lost", reason=lost.reason, until=until)
        except LockApiError as error:
            self._journal.back(call, "trouble", error=str(error))
        else:
            self._journal.back(call, "ok")


def main() -> None:
    order = json.loads(sys.argv[1])
    logging.getLogger("tasklock").setLevel(logging.ERROR)  # losses are what this is about
    worker = Worker(order)
    with LockClient("contract", **order["client"]) as client:
        tell("started")
        while not worker.ended:
            try:
                worker.turn(client, random.choice(order["locks"]))
            except LockApiError as error:
                tell("trouble", error=str(error))
                time.sleep(0.5)
            time.sleep(random.uniform(0, order["rest"]))
    tell("ended")


main()
