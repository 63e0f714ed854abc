"""A program that holds a lock over a fork, and tells what child and parent can do: see ``test_fork.py``."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

from tasklock import LockClient, TaskLockedException

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock import Hold, TaskLock

FINDINGS: dict[str, object] = {}


def in_child(work: Callable[[], object]) -> object:
    """Run ``work`` in a forked child and return what it returned."""
    read_end, write_end = os.pipe()
    if (pid := os.fork()) == 0:
        result: object = None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - told to the parent
            result = repr(error)
        os.write(write_end, json.dumps(result).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(told or b"null")


def is_refused(lock: TaskLock) -> bool:
    try:
        with lock:
            return False
    except TaskLockedException:
        return True


def leave_by_exit(hold: Hold) -> None:
    """End as a child that forgot where it came from: out of the body, with all that runs at exit."""
    if (pid := os.fork()) == 0:
        with hold:
            sys.exit(0)
    os.waitpid(pid, 0)


def main() -> None:
    order = json.loads(sys.argv[1])
    client = LockClient("contract", **order["client"])
    with client.lock_task("report", ttl=3) as hold:

        def child() -> dict[str, object]:
            hold.release()  # the parent's: must do nothing
            own = client.lock_task("own", ttl=3)
            with own as held:
                time.sleep(2.2)  # renewed by a keeper of the child's own
                held.ensure_held()
                return {
                    "sees the parent's as locked": client.is_locked("report"),
                    "is refused the parent's": is_refused(client.lock_task("report")),
                    "holds its own": is_refused(own),
                }

        FINDINGS["child"] = in_child(child)
        leave_by_exit(hold)
        time.sleep(2.2)
        hold.ensure_held()
        FINDINGS["grandchild"] = in_child(lambda: in_child(lambda: is_refused(client.lock_task("report"))))
    FINDINGS["refused afterwards"] = in_child(lambda: is_refused(client.lock_task("report")))
    sys.stdout.write(json.dumps({"event": "found", **FINDINGS}) + "\n")
    sys.stdout.flush()
    client.close()


main()
