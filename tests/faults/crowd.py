"""Two hundred processes that want a few locks: see ``test_crowd.py``.

One process imports everything once and forks; each child has a client and connections of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernetes import client as _client  # noqa: F401 - imported before the forks, once for all
from kubernetes import config as _config  # noqa: F401

from tasklock import LockApiError, LockClient

if TYPE_CHECKING:
    from tasklock import Hold


class Gate:
    """Holds children back until all of them are there."""

    def __init__(self) -> None:
        self._here, self._arrive = os.pipe()
        self._pass, self._open = os.pipe()

    def wait(self) -> None:
        """Wait, in a child."""
        os.close(self._open)
        os.write(self._arrive, b".")
        os.close(self._arrive)
        os.read(self._pass, 1)  # its end comes when nobody is left who could write

    def open(self, children: int) -> None:
        """Let the children through once so many are there, or have failed and gone."""
        os.close(self._arrive)
        while children > 0 and (arrived := os.read(self._here, children)):
            children -= len(arrived)
        os.close(self._open)


def critical_section(name: str, hold: Hold, folder: Path) -> dict[str, Any]:
    """Do what two at once would spoil: an exclusive file, and a counter that is read and written apart."""
    came = time.monotonic_ns()
    mark = os.open(folder / f"{name}.inside", os.O_CREAT | os.O_EXCL)
    try:
        counter = folder / f"{name}.counter"
        before = int(counter.read_text())
        hold.ensure_held()
        counter.write_text(str(before + 1))
    finally:
        (folder / f"{name}.inside").unlink()
        os.close(mark)
    return {"lock": name, "token": hold.token, "came": came, "left": time.monotonic_ns(), "pid": os.getpid()}


def work(number: int, order: dict[str, Any], folder: Path, gate: Gate) -> None:
    """Take so many locks, one after the other, starting with another one than the neighbour."""
    client = LockClient("contract", **order["client"])
    for _ in range(10):  # connects; with so many at once that may take more than one request
        with suppress(LockApiError):
            client.is_locked("a-lock-of-nobody")
            break
    gate.wait()
    locks = order["locks"]
    with (folder / f"{number}.grants").open("w") as grants:
        for turn in range(order["turns"]):
            name = locks[(number + turn) % len(locks)]
            with client.lock_task(name, timeout=None) as hold:
                grant = critical_section(name, hold, folder)
            grants.write(json.dumps(grant) + "\n")


def main() -> None:
    order = json.loads(sys.argv[1])
    folder = Path(order["folder"])
    for name in order["locks"]:
        (folder / f"{name}.counter").write_text("0")
    children = []
    gate = Gate()
    for number in range(order["processes"]):
        if (pid := os.fork()) == 0:
            status = 1
            try:
                work(number, order, folder, gate)
                status = 0
            except BaseException as error:  # noqa: BLE001 - all of it is told
                (folder / f"{number}.error").write_text(repr(error))
            finally:
                os._exit(status)
        children.append(pid)
    gate.open(order["processes"])
    failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in children)
    sys.stdout.write(json.dumps({"event": "done", "failed": failed}) + "\n")
    sys.stdout.flush()


main()
