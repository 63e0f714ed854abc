"""What the operator costs and how late it is: next to stock kopf on the same events, then on the real API server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.operator_replay import Replay
from reaping.running import Grounds, free_port, running, terminated, wait_until
from tasklock.protocol.effects import Send
from tasklock.transport.aio import AsyncApi
from tasklock.transport.config import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.control_plane import ControlPlane

CHILD = Path(__file__).with_name("operator_child.py")


class Child:
    """An operator under measurement."""

    def __init__(self, kind: str, kubeconfig: Path, folder: Path, **settings: str) -> None:
        self.port, self.file = free_port(), folder / f"{kind}.json"
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), kind, str(self.file)],
            env={
                **os.environ,
                "KUBECONFIG": str(kubeconfig),
                "TASKLOCK_OPERATOR_LISTEN": f"127.0.0.1:{self.port}",
                **{f"TASKLOCK_OPERATOR_{name.upper()}": value for name, value in settings.items()},
            },
        )
        self.begun = time.monotonic()

    def ready(self) -> float:
        import urllib.request  # noqa: PLC0415 - only here

        def is_ready() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    return True
            except OSError:
                return False

        wait_until(is_ready, within=120, every=0.05)
        return time.monotonic() - self.begun

    def cpu(self) -> float:
        """Return the CPU seconds used until now."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> float:
        """Return the resident memory in MiB."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096 / 2**20

    def settle(self) -> None:
        """Wait until it has nothing to do."""
        before = -1.0
        while (now := self.cpu()) - before > 0.02:
            before = now
            time.sleep(0.5)

    def end(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        told: dict[str, Any] = json.loads(self.file.read_text())
        return told


@contextmanager
def replaying(folder: Path, **options: Any) -> Iterator[tuple[Replay, Callable[[], None], Path]]:
    """Run a Replay in a process of its own thread; give it, what makes it go, and its kubeconfig."""
    loop = asyncio.new_event_loop()
    replay = Replay(**options)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server, url = asyncio.run_coroutine_threadsafe(replay.serve(), loop).result()
    kubeconfig = folder / "kubeconfig"
    named = {"name": "a"}
    config = {
        "clusters": [{**named, "cluster": {"server": url}}],
        "users": [{**named, "user": {}}],
        "contexts": [{**named, "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    kubeconfig.write_text(json.dumps(config))
    try:
        yield replay, lambda: loop.call_soon_threadsafe(replay.go.set) and None, kubeconfig
    finally:
        asyncio.run_coroutine_threadsafe(replay.close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def measure(show: Callable[..., None], plane: ControlPlane, scale: float) -> None:
    """Run all of it; some five minutes at scale 1."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events(show, folder, scale)
        memory(show, folder)
        idle(show, folder, scale)
        reaps(show, plane, folder, scale)


def events(show: Callable[..., None], folder: Path, scale: float) -> None:
    """Play 1,000 events a second, of 10,000 leases, to stock kopf and to ours, one after the other.

    Renewals are nearly all that happens to locks that are held for long. Where they are taken and released all the
    time, nearly nothing is a renewal: that is the other extreme.
    """
    seconds = max(5.0, 20 * scale)
    for what, churn in (("renewals", False), ("locks taken and released", True)):
        costs = {kind: _play(show, folder, kind, what, churn=churn, seconds=seconds) for kind in ("stock", "ours")}
        ratio = costs["ours"] / costs["stock"]
        show(f"{what}: CPU per event, ours / stock kopf", f"{ratio:.2f}", "≤ 1", ok=ratio <= 1)


def _play(  # noqa: PLR0913 - keyword-only
    show: Callable[..., None], folder: Path, kind: str, what: str, *, churn: bool, seconds: float
) -> float:
    """Return milliseconds of CPU per event."""
    leases, rate = 10_000, 1_000
    with replaying(folder, leases=leases, rate=rate, seconds=seconds, churn=churn) as (replay, go, kubeconfig):
        child = Child(kind, kubeconfig, folder, pods="false", events="false")
        ready = child.ready() if kind == "ours" else 0.0
        time.sleep(5 if kind == "stock" else 1)
        child.settle()
        before = child.cpu()
        go()
        wait_until(replay.done.is_set, within=10 * seconds, every=0.1)
        child.settle()
        cpu, rss = child.cpu() - before, child.rss()
        told = child.end()
    lags = sorted(told["lags"])
    worst, p99 = lags[-1], lags[int(0.99 * len(lags))]
    seen = f"{1e3 * cpu / replay.sent:.2f} ms, {100 * cpu / seconds:.0f} % of a core, {rss:.0f} MiB"
    show(f"{kind}, {rate:,} {what}/s: CPU per event", seen, "one core", ok=cpu < seconds)
    seen = f"p50 {1e3 * statistics.median(lags):.0f} ms, p99 {1e3 * p99:.0f} ms, worst {1e3 * worst:.0f} ms"
    show(f"{kind}: from the event to its handler", seen, "p99 ≤ 100 ms, worst ≤ 1 s", ok=p99 <= 0.1 and worst <= 1)
    show(f"{kind}: events missed", str(replay.sent - len(lags)), "0", ok=replay.sent == len(lags))
    if ready:
        show(f"{kind}: ready with {leases:,} leases after", f"{ready:.1f} s", "≤ 8.5 s", ok=ready <= 8.5)
    return 1e3 * cpu / replay.sent


def memory(show: Callable[..., None], folder: Path) -> None:
    with replaying(folder, leases=10_000, pods=5_000) as (_, _go, kubeconfig):
        child = Child("ours", kubeconfig, folder)
        ready = child.ready()
        child.settle()
        rss = child.rss()
        told = child.end()
    seen = f"{rss:.0f} MiB (peak {told['rss']:.0f} MiB), ready after {ready:.1f} s"
    show("RSS with 10,000 leases and 5,000 pods", seen, "≤ 200 MiB", ok=rss <= 200)


def idle(show: Callable[..., None], folder: Path, scale: float) -> None:
    """1,000 leases, each renewed every 10 s: 100 events a second; then none at all."""
    seconds = max(5.0, 20 * scale)
    with replaying(folder, leases=1_000, rate=100, seconds=seconds) as (replay, go, kubeconfig):
        child = Child("ours", kubeconfig, folder, pods="false")
        child.ready()
        child.settle()
        before = child.cpu()
        time.sleep(seconds / 2)
        still = (child.cpu() - before) / (seconds / 2)
        before = child.cpu()
        go()
        wait_until(replay.done.is_set, within=10 * seconds, every=0.1)
        busy = (child.cpu() - before) / seconds
        child.end()
    show("CPU, 1,000 leases, none renewed", f"{100 * still:.1f} % of a core", "≤ 1 %", ok=still <= 0.01)
    show("CPU, 1,000 leases renewed every 10 s", f"{100 * busy:.1f} % of a core", "≤ 1 %, or say", ok=busy <= 0.01)


def reaps(show: Callable[..., None], plane: ControlPlane, folder: Path, scale: float) -> None:
    """On the real API server: with 10,000 held, some expire one by one, then many at once; then containers die."""
    held, singles, many, deaths = int(10_000 * scale), int(200 * scale), int(1_000 * scale), int(100 * scale)
    grounds = Grounds(plane.rest, plane.create_namespace("bench"), app="bench")
    child = Child("ours", plane.kubeconfig, folder)
    child.ready()
    asyncio.run(plant(plane, grounds, "held", held, lambda _: 3_600))
    asyncio.run(plant(plane, grounds, "single", singles, lambda number: 2 + number % 8))
    wait_until(lambda: left(grounds) <= held, within=60, every=0.5)
    begun = time.monotonic()
    asyncio.run(plant(plane, grounds, "many", many, lambda _: 12))
    planted = time.monotonic() - begun
    wait_until(lambda: left(grounds) <= held, within=90, every=0.2)
    for number in range(deaths):
        pod = grounds.pod(f"worker-{number}")
        grounds.hold(f"dies-{number}", ttl=3_600, of=pod)
    time.sleep(1.1)
    for number in range(deaths):
        last = {"name": "worker", "state": running(0), "lastState": terminated(-60, 0)}
        grounds.report(f"worker-{number}", last)
        time.sleep(0.02)
    wait_until(lambda: left(grounds) <= held, within=30, every=0.1)
    told = child.end()
    single = sorted(told["expired"][:singles])
    late = single[int(0.99 * len(single))]
    seen = f"p99 {1e3 * late:.0f} ms, worst {1e3 * single[-1]:.0f} ms"
    show(f"expired → DELETE sent, {held:,} held", seen, "p99 ≤ 1 s", ok=late <= 1)
    slowest = max(told["expired"][singles:])
    seen = f"the last one sent {slowest:.1f} s after it was due (they were made within {planted:.1f} s)"
    show(f"{many:,} leases due together", seen, "≤ 5 s", ok=slowest <= 5)
    death = sorted(told["deaths"])
    late = death[int(0.99 * len(death))]
    seen = f"p50 {1e3 * statistics.median(death):.1f} ms, p99 {1e3 * late:.1f} ms"
    show(f"a Pod's event came → DELETE sent ({len(death)})", seen, "p99 ≤ 50 ms", ok=late <= 0.05)


def left(grounds: Grounds) -> int:
    body = grounds.rest.request("GET", f"{grounds.leases}?limit=1").body
    return len(body["items"]) + int(body["metadata"].get("remainingItemCount", 0))


async def plant(plane: ControlPlane, grounds: Grounds, name: str, count: int, ttl: Callable[[int], int]) -> None:
    """Create Leases that nobody will renew, ten at a time."""
    api = AsyncApi(Source(kubeconfig=plane.kubeconfig, namespace=grounds.namespace))
    numbers = iter(range(count))

    async def create() -> None:
        for number in numbers:
            body = grounds.lease_of(f"{name}-{number}", ttl=ttl(number))
            reply = await api.send(Send(method="POST", body=body, timeout=30))
            if reply.status != 201:
                raise RuntimeError(reply)

    await asyncio.gather(*(create() for _ in range(10)))
    await api.close()
