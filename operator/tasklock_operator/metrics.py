"""What Prometheus is told. Gauges are computed when it asks, so that nothing drifts; all else is counted as it happens.

Labels are namespace and app, both bounded (series.py). What holders wrote is in no label: not even with ``per_lock``,
which adds one series a held lock, labelled with its Lease's name.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from tasklock.transport.clock import read
from tasklock_operator.ages import held_for
from tasklock_operator.series import Pair, Pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client.metrics_core import Metric

    from tasklock.protocol.effects import Time
    from tasklock_operator.entry import Entry

REASONS: Final = ("expired", "container-terminated", "pod-finished")
WHOSE: Final = ("namespace", "app")
OPEN_METRICS: Final = "application/openmetrics-text;version=1.0.0"
_FORMATS: Final = ("application/openmetrics-text", "text/plain")
KEPT_FOR: Final = 1.0  # seconds for which a page is given out again
_HOLD: Final = (0.1, 1, 10, 60, 300, 1_800, 7_200, 43_200)  # a lock per request ... a nightly job
_DELAY: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # promised: 0.05 confirmed, 1 expired
_LAG: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)  # promised: p99 0.1, worst 1


class Locks(Protocol):
    """Where the locks are; the Book."""

    def locks(self) -> Sequence[Entry]: ...  # noqa: D102 - as in book.py


class Watches(Protocol):
    """How the operator itself is; its Health."""

    def watch_age(self) -> dict[str, float]: ...  # noqa: D102 - as in health.py


class Metrics:
    """Counts what happens, and answers ``/metrics``."""

    def __init__(
        self, book: Locks, health: Watches, *, per_lock: bool = False, clocks: Callable[[], Time] = read
    ) -> None:
        self.registry = CollectorRegistry()
        self._clocks = clocks
        disable_created_metrics()  # type: ignore[no-untyped-call] # these are a third more lines, of use to nobody here
        self._pairs = Pairs(self._start, self._forget)
        self._now = _Now(book, health, self._pairs, clocks, per_lock=per_lock)
        self.registry.register(self._now)
        self._reaped = Counter(
            "tasklock_reaped", "Locks and tickets that the operator freed.", (*WHOSE, "reason"), registry=self.registry
        )
        self._delay = Histogram(
            "tasklock_reap_delay_seconds",
            "From the deadline, or the evidence of the holder's death, to the answer of the DELETE.",
            ("reason",),
            buckets=_DELAY,
            registry=self.registry,
        )
        self._hold = Histogram(
            "tasklock_hold_duration_seconds",
            "How long locks were held that were released or freed.",
            WHOSE,
            buckets=_HOLD,
            registry=self.registry,
        )
        self._errors = Counter(
            "tasklock_api_errors",
            "Requests to the API server that failed; status 0: no answer.",
            ("verb", "status"),
            registry=self.registry,
        )
        self._lag = Histogram(
            "tasklock_handler_lag_seconds",
            "From the arrival of an event to the end of its handling.",
            buckets=_LAG,
            registry=self.registry,
        )
        for reason in REASONS:
            self._delay.labels(reason)
        self._writing = asyncio.Lock()
        self._written: dict[str, tuple[float, bytes]] = {}  # by content type
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def reaped(self, app: str, namespace: str, reason: str, delay_seconds: float) -> None:
        """Count a Lease that was freed, ``delay_seconds`` after it was due or its holder's death was known."""
        self._reaped.labels(*self._pair(namespace, app), reason).inc()
        self._delay.labels(reason).observe(max(0.0, delay_seconds))

    def released(self, app: str, namespace: str, held_seconds: float) -> None:
        """Count a hold that ended, however it did."""
        self._hold.labels(*self._pair(namespace, app)).observe(max(0.0, held_seconds))

    def api_error(self, verb: str, status: int) -> None:
        """Count a request that failed; status 0 where there was no answer."""
        self._errors.labels(verb, str(status)).inc()

    def handled(self, seconds: float) -> None:
        """Count an event that was handled ``seconds`` after it came."""
        self._lag.observe(max(0.0, seconds))

    async def page(self, accept: str) -> tuple[bytes, str]:
        """Return the body of ``/metrics`` and its content type, in the format that ``accept`` asks for.

        The locks are looked at here, where they change; ten thousand lines are written in a thread, while events come.
        Whoever asks again within a second gets the same: however many ask, it is written once.
        """
        encode, content_type = choose_encoder(format_of(accept))
        async with self._writing:
            now = self._clocks().clock
            at, body = self._written.get(content_type, (float("-inf"), b""))
            if not 0 <= now - at < KEPT_FOR:
                self._now.look()
                body = await asyncio.get_running_loop().run_in_executor(self._thread, encode, self.registry)
                self._written[content_type] = (now, body)
        return body, content_type

    def _pair(self, namespace: str, app: str) -> Pair:
        return self._pairs.of(namespace, app, self._clocks().clock)

    def _start(self, pair: Pair) -> None:
        """Begin at zero: what rises from nothing rises unseen."""
        for reason in REASONS:
            self._reaped.labels(*pair, reason)
        self._hold.labels(*pair)

    def _forget(self, pair: Pair) -> None:
        for reason in REASONS:
            self._reaped.remove(*pair, reason)
        self._hold.remove(*pair)


def format_of(accept: str) -> str:
    """Return the one of our two formats that an Accept header names first; none of its parameters matters here.

    Nothing here is named or labelled by a key that would need to be escaped; a version is a stranger's text.
    """
    named = (one.partition(";")[0].strip() for one in accept.split(","))
    return OPEN_METRICS if next((one for one in named if one in _FORMATS), "") == _FORMATS[0] else ""


class _Now(Collector):
    """What was true at the last look."""

    def __init__(
        self, book: Locks, health: Watches, pairs: Pairs, clocks: Callable[[], Time], *, per_lock: bool
    ) -> None:
        self._book, self._health, self._pairs, self._clocks, self._per_lock = book, health, pairs, clocks, per_lock
        self._seen: list[Metric] = []

    def collect(self) -> list[Metric]:
        """Return the gauges."""
        return self._seen

    def look(self) -> None:
        """Compute them."""
        now = self._clocks()
        locks = self._book.locks()
        age = GaugeMetricFamily(
            "tasklock_watch_age_seconds", "Since the API server last gave a sign of life.", labels=("resource",)
        )
        for resource, seconds in self._health.watch_age().items():
            age.add_metric((resource,), seconds)
        info = GaugeMetricFamily("tasklock_operator_info", "Always 1.", labels=("version",))
        info.add_metric((_version(),), 1)
        each = [_per_lock(locks, now)] if self._per_lock else []
        self._seen = [*self._of_pairs(locks, now), *each, age, info]

    def _of_pairs(self, locks: Sequence[Entry], now: Time) -> Iterable[Metric]:
        known: dict[Pair, Pair] = {}
        sums: dict[Pair, _Sums] = defaultdict(_Sums)
        for entry in locks:
            asked = (entry.namespace, entry.app)
            pair = known.get(asked)
            if pair is None:
                pair = known[asked] = self._pairs.of(*asked, now.clock)
            sums[pair].add(entry, now)
        for name, said, value in (
            ("tasklock_locks_held", "Locks that are held, slots of semaphores included.", attrgetter("held")),
            ("tasklock_locks_waiting", "Tickets in the queues of fair locks.", attrgetter("waiting")),
            ("tasklock_locks_stale", "Locks and tickets that nobody renews: to be freed now.", attrgetter("stale")),
            ("tasklock_oldest_hold_seconds", "For how long the oldest has been held.", attrgetter("oldest")),
        ):
            family = GaugeMetricFamily(name, said, labels=WHOSE)
            for pair in self._pairs:
                family.add_metric(pair, value(sums[pair]))
            yield family


class _Sums:
    """The locks of one pair."""

    __slots__ = ("held", "oldest", "stale", "waiting")

    def __init__(self) -> None:
        self.held = self.waiting = self.stale = 0
        self.oldest = 0.0

    def add(self, entry: Entry, now: Time) -> None:
        if now.clock - entry.last_changed > entry.ttl and now.clock > entry.due:
            self.stale += 1
        if entry.queue is not None:
            self.waiting += 1
            return
        self.held += 1
        age = held_for(entry, now=now.clock, wall=now.wall)
        self.oldest = max(self.oldest, age)


def _per_lock(locks: Sequence[Entry], now: Time) -> Metric:
    family = GaugeMetricFamily(
        "tasklock_lock_held_seconds", "For how long each lock has been held.", labels=(*WHOSE, "lease")
    )
    for entry in locks:
        if entry.queue is None:
            age = held_for(entry, now=now.clock, wall=now.wall)
            family.add_metric((entry.namespace, entry.app, entry.lease), age)
    return family


def _version() -> str:
    try:
        return version("tasklock")
    except PackageNotFoundError:  # run from a tree that was never installed
        return "unknown"
