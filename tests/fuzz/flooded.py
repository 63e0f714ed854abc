"""Asks servers that flood, and tells by how many megabytes that made it grow: run by ``test_memory.py``."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import threading
from pathlib import Path
from typing import Any

from tasklock import LockClient, TaskLockError
from tasklock.protocol.effects import Next, Send, Watch
from tasklock.transport.aio import AsyncApi
from tasklock.transport.clock import clock
from tasklock.transport.config import Source
from tasklock.transport.driver import Driver


def reply(path: str) -> str:
    with LockClient(kubeconfig=path) as client:
        try:
            client.locks()
        except TaskLockError as error:
            return str(error)
    return "no error"


def watch(path: str) -> str:
    client = LockClient(kubeconfig=path)

    def steps() -> Any:
        opened = yield Watch(lease="x", version="1", seconds=60, timeout=20)
        event = yield Next(clock() + 30)
        return f"{opened.status} {event.kind}"

    told: str = Driver(client.session.api).run(steps())
    for thread in threading.enumerate():
        if thread.name == "tasklock-watch":
            thread.join()
    return told


async def reply_on_a_loop(path: str) -> str:
    api = AsyncApi(Source(kubeconfig=path))
    answer = await api.send(Send(method="GET", timeout=20))
    await api.close()
    return answer.error


async def watch_on_a_loop(path: str) -> str:
    api = AsyncApi(Source(kubeconfig=path))
    opened, stream = await api.open_watch(Watch(lease="x", version="1", seconds=60, timeout=20))
    kinds = [] if stream is None else [event.kind async for event in stream.events()]
    await api.close()
    return f"{opened.status} {' '.join(kinds)}"


USES = {
    "reply": reply,
    "watch": watch,
    "reply on a loop": lambda path: asyncio.run(reply_on_a_loop(path)),
    "watch on a loop": lambda path: asyncio.run(watch_on_a_loop(path)),
}


def peak() -> int:
    """Return the most memory that this process had, in kB, since it was last forgotten."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def main() -> None:
    small, cases = json.loads(sys.argv[1])
    for use in USES.values():
        use(small)  # what imports and first connections need is not the question
    told = {}
    for name, (use, path) in cases.items():
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak: see proc(5)
        before = peak()
        said = USES[use](path)
        told[name] = (said, (peak() - before) / 1024)
    print(json.dumps(told))


main()
