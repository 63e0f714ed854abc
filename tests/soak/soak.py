"""Hours in a worker's life: everything that the other tests do to it one by one, at random, for as long as one likes.

Two workers, the elders, live through all of it and are measured; others are killed. At the end everything that all of
them saw goes to the checker of histories, and nothing of theirs is left in the cluster.
"""

from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from cluster.processes import START_SECONDS
from contract.place import Place, real_place, wait_until
from faults.metering import counted
from faults.roles import without_role
from faults.tokens import Tokens
from faults.toxics import Toxiproxy
from linearizability.histories import check, read
from linearizability.storm import TTL, Storm
from reaping.running import Operator, bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.control_plane import ControlPlane
    from contract.programs import Program
    from linearizability.register import Count

ELDERS: Final = 2  # the first through the proxy, the second directly
LOCKS: Final = ("accounts", "orders", "stock")
TOXICS: Final[tuple[tuple[str, dict[str, int]], ...]] = (
    ("latency", {"latency": 100, "jitter": 80}),
    ("bandwidth", {"rate": 8}),
    ("slicer", {"average_size": 50, "size_variation": 20, "delay": 1000}),
    ("timeout", {"timeout": 0}),
    ("reset_peer", {"timeout": 0}),
    ("limit_data", {"bytes": 600}),
)
LOOKS: Final = 12
MORE_MEMORY: Final = 12.0  # MB that an elder or the operator may grow by after it has warmed up
MORE_THREADS: Final = 2
MORE_FILES: Final = 3  # sockets and others


@dataclass(frozen=True)
class Size:
    """What a process takes: MB in memory, threads, open files."""

    memory: float
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Size:
        status = Path(f"/proc/{pid}/status").read_text()
        found = {name: int(re.findall(rf"^{name}:\s+(\d+)", status, re.MULTILINE)[0]) for name in ("VmRSS", "Threads")}
        return cls(found["VmRSS"] / 1024, found["Threads"], len(list(Path(f"/proc/{pid}/fd").iterdir())))

    @classmethod
    def least(cls, sizes: list[Size]) -> Size:
        """Return the least of each: what is in use for a moment is no leak."""
        return cls(*(min(getattr(size, name) for size in sizes) for name in ("memory", "threads", "files")))

    def leaks(self, later: Size) -> bool:
        return (
            later.memory > self.memory + MORE_MEMORY
            or later.threads > self.threads + MORE_THREADS
            or later.files > self.files + MORE_FILES
        )

    def __str__(self) -> str:
        return f"{self.memory:.0f} MB, {self.threads} threads, {self.files} files"


@dataclass
class Report:
    """What came of it; ``failures`` is empty where all is well."""

    faults: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, tuple[Size, Size]] = field(default_factory=dict)
    count: Count | None = None
    checked: dict[str, Any] = field(default_factory=dict)
    watches: tuple[int, int] = (0, 0)
    troubles: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        assert self.count is not None
        count = self.count
        lines = [
            f"faults: {', '.join(f'{number} {name}' for name, number in sorted(self.faults.items()))}",
            f"increments: {count.fenced} fenced, {count.fenced_lost} lost",
            f"increments: {count.plain} unfenced, {count.plain_lost} lost",
            f"API errors that workers were told: {self.troubles}",
            f"history: {self.checked['operations']} operations, {self.checked['result']}",
            f"watches of leases: {self.watches[0]} before, {self.watches[1]} after",
            *(f"{who}: {early}; at the end {late}" for who, (early, late) in self.sizes.items()),
            *(f"FAILED: {failure}" for failure in self.failures),
        ]
        return "\n".join(lines)


class Soak:
    """One namespace of a control plane, a proxy, an operator and some workers."""

    def __init__(
        self, plane: ControlPlane, programs: dict[str, Path], folder: Path, *, seed: int, workers: int = 5
    ) -> None:
        self._plane = plane
        self._porcupine = programs["porcupine"]
        self._folder = folder
        self._workers = workers
        self._random = random.Random(seed)
        self._ending = ExitStack()
        self._place: Place = self._ending.enter_context(real_place(plane, plane.create_namespace("soak")))
        (folder / "credentials").mkdir()
        self._tokens = Tokens(plane, self._place, folder / "credentials")
        self._place.kubeconfig = str(self._tokens.kubeconfig)
        self._secrets = 0
        self._hand_out_token()
        toxics = self._ending.enter_context(Toxiproxy(programs["toxiproxy"], folder))
        self._proxy = toxics.proxy(plane.url)
        namespace = self._place.namespace
        self._account = bind(plane, "operator", namespace, namespaces=(namespace,))
        self._operator = self._start_operator()
        self.report = Report()
        self._watches_before = self._watches()
        self._storm = self._ending.enter_context(
            Storm(self._place, folder, workers=workers, locks=LOCKS, proxy=self._proxy)
        )
        self._early: dict[str, Size] = {}  # of the elders, and of the operator since it was started
        self._kinds = self._random.sample(TOXICS, len(TOXICS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    # ---- faults

    def pause(self) -> None:
        self._storm.pause(self._random.randrange(self._workers))

    def kill(self) -> None:
        self._storm.kill(self._random.randrange(ELDERS, self._workers))

    def network(self) -> None:
        """Have each kind of bad network in its turn, every other time with a kill in the middle."""
        kind, attributes = self._kinds[self.report.faults["network"] % len(self._kinds)]
        with self._proxy.toxic(kind, "upstream", "downstream", **attributes):
            time.sleep(self._random.uniform(0.3, 1.5 * TTL))
            if self._random.random() < 0.5:
                self.kill()

    def operator(self) -> None:
        """Kill the operator, and start another one."""
        self._operator.process.kill()
        self._operator.process.wait()
        self._operator = self._start_operator()
        self._early["operator"] = Size.of(self._operator.process.pid)

    def operator_paused(self) -> None:
        self._operator.process.send_signal(signal.SIGSTOP)
        self._a_while()
        self._operator.process.send_signal(signal.SIGCONT)

    def waiter_paused(self) -> None:
        """Stop a worker that waits for a lock, while others have it."""
        waiting = [worker for worker in self._storm.workers if self._waits(worker)]
        worker = self._random.choice(waiting or self._storm.workers)
        worker.send(signal.SIGSTOP)
        self._a_while()
        worker.send(signal.SIGCONT)

    def role_removed(self) -> None:
        """Take the workers' Role away, and give it back."""
        with without_role(self._plane, self._place.namespace):
            self._a_while()

    def token_void(self) -> None:
        """Make the workers' token void, and hand out another; the old one is refused up to ten seconds later."""
        self._tokens.void(f"token-{self._secrets}")
        self._a_while()
        self._hand_out_token()

    def api_killed(self) -> None:
        self._plane.stop_api(kill=True)
        time.sleep(self._random.uniform(0, TTL))
        self._plane.start_api()

    def api_paused(self) -> None:
        with self._plane.api_paused():
            self._a_while()

    # ---- the run

    def run(
        self,
        seconds: float,
        faults: list[Callable[[], None]],
        *,
        rest: float = 1.0,
        say: Callable[[str], object] = lambda _: None,
    ) -> Report:
        """Have faults for so long, each once before any comes again; return what came of it."""
        report, storm = self.report, self._storm
        storm.progress(5)
        self._early = self._sizes()
        until = time.monotonic() + seconds
        while True:
            for fault in self._random.sample(faults, len(faults)):
                fault()
                report.faults[fault.__name__] += 1
                if report.faults.total() == len(faults):
                    self._early = self._sizes()  # warmed up: each has been met once
                time.sleep(self._random.uniform(0, rest))
            say(f"{report.faults.total()} faults, {storm.register.count().plain} increments")
            if time.monotonic() >= until:
                break
        storm.progress(5)
        late = self._sizes()
        report.sizes = {who: (self._early[who], late[who]) for who in late}
        storm.end()
        report.count, report.troubles = storm.register.count(), len(storm.troubles)
        report.checked = check(self._porcupine, read(self._folder, storm.killed), seconds=300)
        self._judge()
        return report

    def _judge(self) -> None:
        report = self.report
        assert report.count is not None
        failures = report.failures
        failures += [f"{who} has grown" for who, (early, late) in report.sizes.items() if early.leaks(late)]
        if report.checked["result"] != "Ok":
            failures.append("the history cannot be put in an order")
        if report.count.fenced_lost:
            failures.append("a fenced register lost increments")
        try:
            wait_until(lambda: not self._place.leases.list()["items"], within=10 * TTL)
            wait_until(lambda: self._watches() <= self._watches_before, within=10, every=0.5)
        except AssertionError:
            failures.append(f"left behind: {self._place.leases.list()['items']} or watches")
        report.watches = (self._watches_before, self._watches())

    def _sizes(self) -> dict[str, Size]:
        named = {f"elder {number}": self._storm.workers[number].pid for number in range(ELDERS)}
        named["operator"] = self._operator.process.pid
        looks: list[dict[str, Size]] = []
        for _ in range(LOOKS):
            time.sleep(0.05)
            looks.append({who: Size.of(pid) for who, pid in named.items()})
        return {who: Size.least([look[who] for look in looks]) for who in named}

    def _watches(self) -> int:
        """Return how many watches of leases the API server serves now."""
        return counted(self._plane, "apiserver_longrunning_requests", resource="leases", verb="WATCH")

    def _waits(self, worker: Program) -> bool:
        """Tell whether the last call that a worker wrote down is an acquisition that has not returned."""
        lines = (self._folder / f"{worker.pid}.jsonl").read_text().splitlines()
        return bool(lines) and '"op": "acquire"' in lines[-1]

    def _a_while(self) -> None:
        time.sleep(self._random.uniform(0.2, 2 * TTL))

    def _hand_out_token(self) -> None:
        self._secrets += 1
        fresh = self._tokens.file.with_suffix(".fresh")
        fresh.write_text(self._tokens.issue(f"token-{self._secrets}"))
        fresh.replace(self._tokens.file)

    def _start_operator(self) -> Operator:
        operator = Operator(self._account, self._folder, namespaces=self._place.namespace)
        self._ending.callback(operator.__exit__)
        return operator.ready(within=START_SECONDS)
