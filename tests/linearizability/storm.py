"""Workers in processes of their own, and what happens to them: pauses, kills and a bad network.

All of it is written down where ``histories`` reads it.
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from contract.place import kubeconfig_at, wait_until
from contract.programs import Program
from linearizability.register import Register

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contract.place import Place
    from faults.toxics import Proxy

WORKER: Final = Path(__file__).with_name("worker.py")
TTL: Final = 2  # whole seconds


class Storm:
    """A crowd of workers that increment registers; those with an even number reach the API server through a proxy."""

    def __init__(  # noqa: PLR0913 - keyword-only options
        self,
        place: Place,
        folder: Path,
        *,
        workers: int = 5,
        locks: Sequence[str] = ("register",),
        proxy: Proxy | None = None,
        work: float = 0.05,
        rest: float = 0.4,  # so that who has just released is not always first again
    ) -> None:
        self._place = place
        self._folder = folder
        self._order = {"locks": list(locks), "folder": str(folder), "work": work, "rest": rest}
        self._ways: list[str | Path] = [place.kubeconfig]
        if proxy is not None:
            self._ways.insert(0, kubeconfig_at(place.kubeconfig, proxy.port, folder / "kubeconfig"))
        self.register = Register(folder / "register.db", locks)
        self.killed: dict[int, int] = {}  # pid -> the clock, in ns, just before
        self.troubles: list[str] = []
        self._count = workers
        self._ending = ExitStack()
        self._ending.callback(self.register.close)
        self.workers: list[Program] = []

    def __enter__(self) -> Self:
        self.workers = [self._start(number) for number in range(self._count)]
        for worker in self.workers:
            self._hear(worker, "started")
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def _start(self, number: int) -> Program:
        client: dict[str, Any] = {
            "kubeconfig": str(self._ways[number % len(self._ways)]),
            "namespace": self._place.namespace,
            "ttl": TTL,
            "announce_process": False,  # as on another node: nobody sees that it died
        }
        worker = Program(WORKER, self._order | {"client": client})
        self._ending.callback(worker.close)
        return worker

    def pause(self, number: int, *, writes: int = 1) -> None:
        """Stop a worker between its last look at the lock and its writing, until others have written."""
        worker = self.workers[number]
        worker.tell("pause")
        lock = self._hear(worker, "pausing")["lock"]
        before = self.register.plain_writes(lock)
        wait_until(lambda: self.register.plain_writes(lock) >= before + writes, within=60)
        worker.send(signal.SIGCONT)

    def kill(self, number: int) -> None:
        """Kill a worker, whatever it is doing, and start another one in its place."""
        worker = self.workers[number]
        self.killed[worker.pid] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        worker.kill()
        self.workers[number] = self._start(number)
        self._hear(self.workers[number], "started")

    def progress(self, increments: int, *, within: float = 60.0) -> None:
        """Wait until so many more increments were made."""
        before = self.register.count().plain
        wait_until(lambda: self.register.count().plain >= before + increments, within=within, every=0.05)

    def end(self) -> None:
        """Have every worker end in order."""
        for worker in self.workers:
            worker.tell("end")
        for worker in self.workers:
            self._hear(worker, "ended")
            assert worker.wait() == 0

    def _hear(self, worker: Program, event: str) -> dict[str, Any]:
        try:
            while (told := worker.hear_any())["event"] == "trouble":
                self.troubles.append(told["error"])
        except AssertionError as error:  # where does it hang?
            journal = (self._folder / f"{worker.pid}.jsonl").read_text().splitlines()
            error.add_note(f"process {worker.pid} wrote down last: {journal[-1:]}; troubles: {self.troubles[-3:]}")
            raise
        assert told["event"] == event, told
        return told
