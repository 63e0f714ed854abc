"""A Huey application as users have it; what the environment says decides where it keeps what.

It writes a journal: one line for the beginning and one for the end of whatever runs under the lock.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from huey import RedisHuey, SqliteHuey, crontab

from tasklock import LockClient
from tasklock.contrib.huey import with_kubernetes_locks

storage = os.environ["STORAGE"]
huey = RedisHuey("application", url=storage) if "://" in storage else SqliteHuey("application", filename=storage)
huey = with_kubernetes_locks(
    huey,
    LockClient("application", ttl=int(os.environ["TTL"]), announce_process=os.environ["NODE"] == "shared"),
    force=bool(os.environ.get("FORCE")),
)


def note(what: str, name: str) -> None:
    line = f"{what} {name} {os.getpid()} {time.monotonic()}\n"
    descriptor = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())  # at once: another process may be writing, too
    os.close(descriptor)


@huey.task(retries=600, retry_delay=0.2)
@huey.lock_task("critical")
def critical(name: str, until: str | None = None) -> str:
    """Run under the lock; with ``until`` as long as there is no such file."""
    note("begin", name)
    while until is not None and not Path(until).exists():
        time.sleep(0.05)
    time.sleep(0.2)
    note("end", name)
    return name


@huey.periodic_task(crontab(minute="0", hour="0", day="31", month="2"))
@huey.lock_task("tick")
def tick() -> str:
    note("begin", "tick")
    return "ticked"
