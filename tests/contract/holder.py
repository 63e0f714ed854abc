"""A program that holds one lock until it is told to end: see ``programs.py``.

It is told, a line each: ``release`` (leave the body), ``raise`` (leave it by an exception), ``state``.
"""

from __future__ import annotations

import json
import sys
import time

from tasklock import Hold, LockClient, LockLostError, TaskLock


def tell(event: str, **facts: object) -> None:
    facts |= {"event": event, "at": time.monotonic()}
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def reason(hold: Hold) -> str | None:
    loss = hold.lost
    return loss.reason if loss else None


def hold_it(lock: TaskLock, timeout: float | None) -> None:
    with lock.acquire(timeout) as hold:
        tell("held", token=hold.token, uid=hold.uid)
        for line in sys.stdin:
            match line.strip():
                case "release":
                    break
                case "raise":
                    raise RuntimeError
                case "state":
                    tell("state", lost=reason(hold))


def main() -> None:
    order = json.loads(sys.argv[1])
    client = LockClient("contract", **order["client"])
    lock = client.lock_task(order["name"], on_lost=lambda hold: tell("lost", reason=reason(hold)))
    try:
        client.is_locked("a-lock-of-nobody")  # connects
        tell("started")
        hold_it(lock, order["timeout"])
    except LockLostError as error:
        tell("ended", error=type(error).__name__, reason=error.reason)
    except BaseException as error:  # noqa: BLE001 - whatever it was is told
        tell("ended", error=type(error).__name__, reason=None)
    else:
        tell("ended", error=None, reason=None)
    client.close()


main()
