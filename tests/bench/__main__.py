"""``uv run python tests/bench``: what tasklock costs, next to raw requests on the same real API server in the same run.

Prints one line a figure: the target, what was seen, and whether that meets it. Machines are noisy: run it on a quiet
one, and compare ratios, not milliseconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder is the package `bench` in it

import tasklock  # noqa: E402
from bench.raw import Raw  # noqa: E402
from cluster.control_plane import ControlPlane  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from tasklock.protocol.effects import Send, Watch

DESIGN_HAND_OVER = 6.2  # ms: delete → watch → POST, raw, on the machine that the targets in milliseconds were set on


raw_hand_over: list[float] = []  # ms, of this machine in this run


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/bench")
    parser.add_argument("only", nargs="*", help=f"which of: {' '.join(BENCHES)}")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of rounds")
    options = parser.parse_args()
    if unknown := set(options.only) - BENCHES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    multiprocessing.set_start_method("fork")
    with ControlPlane(durable=True) as plane:
        for name in options.only or BENCHES:
            BENCHES[name](Where(plane), options.scale)


class Where:
    """The API server, as raw requests and as tasklock see it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.namespace = plane.create_namespace("bench")

    def raw(self) -> Raw:
        return Raw(self.plane.url, str(self.plane.ca_file), self.plane.admin_token, self.namespace)

    def client(self, **options: Any) -> tasklock.LockClient:
        return tasklock.LockClient("bench", kubeconfig=self.plane.kubeconfig, namespace=self.namespace, **options)


def show(what: str, seen: str, target: str, *, ok: bool) -> None:
    print(f"{what:<44} {seen:<46} target {target:<22} {'met' if ok else 'MISSED'}", flush=True)


def counted(client: tasklock.LockClient) -> list[str]:
    """Return a list that grows by the verb of every request that ``client`` sends."""
    verbs: list[str] = []
    api = client.session.api
    send, open_watch = api.send, api.open_watch

    def counting_send(request: Send) -> Any:
        verbs.append(request.verb)
        return send(request)

    def counting_watch(watch: Watch) -> Any:
        verbs.append("watch")
        return open_watch(watch)

    api.send, api.open_watch = counting_send, counting_watch  # type: ignore[method-assign]
    return verbs


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def uncontended(where: Where, scale: float) -> None:
    raw, client = where.raw(), where.client()
    lock, verbs = client.lock_task("uncontended"), counted(client)

    def ours() -> None:
        with lock:
            pass

    def reference() -> None:
        raw.delete(raw.create("raw-uncontended"))

    for _ in range(20):
        ours(), reference()
    verbs.clear()
    times: dict[Callable[[], None], list[float]] = {ours: [], reference: []}
    rounds = int(600 * scale)
    for index in range(rounds):
        for function in (ours, reference) if index % 2 else (reference, ours):
            times[function].append(timed(function))
    mine, theirs = statistics.median(times[ours]), statistics.median(times[reference])
    seen = f"{mine:.2f} ms / {theirs:.2f} ms = {mine / theirs:.3f}"
    show("acquire + release / raw POST + DELETE, p50", seen, "≤ 1.15", ok=mine / theirs <= 1.15)
    per = len(verbs) / rounds
    show("requests per acquire + release", f"{per:g} ({', '.join(sorted(set(verbs)))})", "2", ok=per == 2)


def hand_over(where: Where, scale: float) -> None:
    rounds = int(150 * scale)
    ours: list[float] = []
    theirs: list[float] = []
    mine, yours = multiprocessing.Pipe()
    waiter = multiprocessing.Process(target=_waiter, args=(where, yours), daemon=True)
    waiter.start()
    raw, lock = where.raw(), where.client().lock_task("handed")
    for index in range(-10, rounds):
        for kind in ("raw", "ours") if index % 2 else ("ours", "raw"):
            held: Any = raw.create("raw-handed") if kind == "raw" else lock.acquire(None)
            mine.send(kind)
            mine.recv()
            time.sleep(0.03)
            sent = time.monotonic()
            raw.delete(held) if kind == "raw" else held.release()
            took = 1e3 * (mine.recv() - sent)
            if index >= 0:
                (theirs if kind == "raw" else ours).append(took)
            mine.recv()
    mine.send("")
    waiter.join()
    a, b = statistics.median(ours), statistics.median(theirs)
    raw_hand_over.append(b)
    show(
        "hand-over / raw delete → watch → POST, p50", f"{a:.2f} ms / {b:.2f} ms = {a / b:.3f}", "≤ 1.3", ok=a / b <= 1.3
    )


def _waiter(where: Where, pipe: Connection) -> None:
    """Wait for what the parent holds, and tell when it was ours."""
    raw, watcher, client = where.raw(), where.raw(), where.client()
    lock = client.lock_task("handed")
    open_watch = client.session.api.open_watch

    def telling(watch: Watch) -> Any:
        opened = open_watch(watch)
        pipe.send("waiting")
        return opened

    client.session.api.open_watch = telling  # type: ignore[method-assign]
    while kind := pipe.recv():
        if kind == "raw":
            events = watcher.watch("raw-handed")
            next(events)
            pipe.send("waiting")
            while next(events)["type"] != "DELETED":
                pass
            created = raw.create("raw-handed")
            pipe.send(time.monotonic())
            raw.delete(created)
            watcher = where.raw()
        else:
            hold = lock.acquire(None)
            pipe.send(time.monotonic())
            hold.release()
        pipe.send("done")


def crowd(where: Where, scale: float) -> None:
    """Let a hundred processes wait for one lock; each holds it for a moment and queues again."""
    count, seconds = 100, 30 * scale
    queue: multiprocessing.SimpleQueue[Any] = multiprocessing.SimpleQueue()
    go = multiprocessing.Event()
    end = multiprocessing.Value("d", 0.0)
    workers = [multiprocessing.Process(target=_member, args=(where, go, end, queue), daemon=True) for _ in range(count)]
    for worker in workers:
        worker.start()
    for _ in workers:
        queue.get()
    end.value = time.monotonic() + seconds
    go.set()
    grants: list[tuple[int, float, float]] = []
    posts: list[float] = []
    for _ in workers:
        mine, sent = queue.get()
        grants += mine
        posts += sent
    for worker in workers:
        worker.join()
    grants.sort()
    warm = len(grants) // 5
    gaps = [1e3 * (later[1] - earlier[2]) for earlier, later in pairwise(grants[warm:])]
    overlaps = sum(later[1] < earlier[2] for earlier, later in pairwise(grants))
    since, until = grants[warm][1], grants[-1][1]
    per = sum(since <= post <= until for post in posts) / max(1, len(gaps))
    p50, p99 = statistics.median(gaps), statistics.quantiles(gaps, n=100)[98]
    raw = raw_hand_over[-1] if raw_hand_over else DESIGN_HAND_OVER
    for what, took, limit in ((f"p50 ({len(gaps)} of them)", p50, 50), ("p99", p99, 200)):
        seen, target = f"{took:.1f} ms = {took / raw:.1f} x raw", f"≤ {limit} ms = {limit / DESIGN_HAND_OVER:.1f} x raw"
        show(f"{count} waiters: hand-over {what}", seen, target, ok=took / raw <= limit / DESIGN_HAND_OVER)
    show(f"{count} waiters: POSTs per hand-over", f"{per:.1f}", "≤ 30", ok=per <= 30)
    show(f"{count} waiters: overlapping grants", str(overlaps), "0", ok=overlaps == 0)


def _member(where: Where, go: Any, end: Any, queue: Any) -> None:
    client = where.client()
    sent: list[float] = []
    send = client.session.api.send

    def counting(request: Send) -> Any:
        if request.verb == "create":
            sent.append(time.monotonic())
        return send(request)

    client.session.api.send = counting  # type: ignore[method-assign]
    client.is_locked("warm-up")
    lock = client.lock_task("crowd")
    grants = []
    queue.put("ready")
    go.wait()
    while (left := end.value - time.monotonic()) > 0:
        try:
            hold = lock.acquire(left)
        except tasklock.TaskLockError:
            break
        acquired = time.monotonic()
        time.sleep(0.005)
        releasing = time.monotonic()
        hold.release()
        grants.append((hold.token, acquired, releasing))
    queue.put((grants, sent))


def footprint(where: Where, scale: float) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def fresh(code: str) -> float:
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
        return float(done.stdout)

    timing = "import time; t = time.perf_counter(); import tasklock; print(1e3 * (time.perf_counter() - t))"
    times = [fresh(timing) for _ in range(max(3, int(15 * scale)))]
    show(
        "import tasklock, p50",
        f"{statistics.median(times):.1f} ms (best {min(times):.1f})",
        "≤ 50 ms",
        ok=statistics.median(times) <= 50,
    )
    held = (
        "import tasklock; from importlib.metadata import version\n"
        f"hold = tasklock.LockClient('bench', kubeconfig={str(where.client().session.api._source.kubeconfig)!r},"
        f" namespace={where.namespace!r}).lock_task('rss').acquire()\n"
        "import time; time.sleep(1)\n"
        "print(int(open('/proc/self/statm').read().split()[1]) * 4096 / 2**20); hold.release()"
    )
    from importlib.metadata import version  # noqa: PLC0415

    rss = fresh(held)
    show(f"RSS with one held lock (kubernetes {version('kubernetes')})", f"{rss:.1f} MiB", "≤ 60 MiB", ok=rss <= 60)
    command = [sys.executable, "-m", "tasklock", "--help"]
    helped = [
        timed(lambda: subprocess.run(command, env=environment, check=True, capture_output=True))
        for _ in range(max(3, int(15 * scale)))
    ]
    show("tasklock --help, p50", f"{statistics.median(helped):.0f} ms", "< 150 ms", ok=statistics.median(helped) < 150)


def idle(where: Where, scale: float) -> None:
    client = where.client(ttl=3)
    hold = client.lock_task("idle").acquire()
    verbs = counted(client)
    seconds = 12 * scale
    time.sleep(seconds)
    seen = ", ".join(f"{verbs.count(verb)} {verb}" for verb in sorted(set(verbs)))
    show(
        f"requests of a held lock in {seconds:g} s, ttl 3",
        seen,
        f"{seconds:g} patch",
        ok=set(verbs) == {"patch"} and abs(len(verbs) - seconds) <= 2,
    )
    hold.release()


def operator(where: Where, scale: float) -> None:
    from bench import operator_load  # noqa: PLC0415 - needs the operator's extra

    operator_load.measure(show, where.plane, scale)


BENCHES: dict[str, Callable[[Where, float], None]] = {
    "uncontended": uncontended,
    "hand-over": hand_over,
    "crowd": crowd,
    "footprint": footprint,
    "idle": idle,
    "operator": operator,
}

if __name__ == "__main__":
    os.environ.pop("KUBECONFIG", None)
    main()
