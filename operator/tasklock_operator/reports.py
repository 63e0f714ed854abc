"""Tells of each reap: a log line, and Kubernetes Events on the Lease and on the Pod that held it.

Events have names that follow from the Lease's uid: one sent twice, by a retry or by a second operator, is still one.
They wait in a bounded queue; a reap never waits for them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from tasklock.lease import microtime
from tasklock.naming import shortened
from tasklock.protocol.effects import CONFLICT, CREATED, FORBIDDEN, NOT_FOUND, OK
from tasklock_operator.ages import held_for
from tasklock_operator.trouble import Trouble, Troubles, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock.lease import Json
    from tasklock.protocol.effects import Method, Reply
    from tasklock_operator.book import Entry, Reap
    from tasklock_operator.metrics import Metrics

WAITING: Final = 10_000  # Events at most; then the oldest are dropped
AT_ONCE: Final = 4
BUSY_SECONDS: Final = 0.1
TRIES: Final = 10  # of one Event
ANSWER_SECONDS: Final = 10.0
MAX_NOTE: Final = 1024  # bytes, by the API's rules
CONTROLLER: Final = "tasklock.dev/operator"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_HINT = "it needs the verb create on events (events.k8s.io); or set TASKLOCK_OPERATOR_EVENTS=false"
_log = logging.getLogger("tasklock_operator")


class Api(Protocol):
    """What reports need of the API."""

    async def request(self, method: Method, path: str, body: Json | None = None, *, timeout: float) -> Reply:  # noqa: ASYNC109 - see AsyncApi
        """Send one request."""


class Reports:
    """Writes Events in the background."""

    def __init__(self, api: Api, metrics: Metrics, *, enabled: bool, busy: Callable[[], bool] = lambda: False) -> None:
        """Take what it works with; while ``busy``, many reaps wait for their turn, and Events come after them."""
        self._api = api
        self._metrics = metrics
        self._enabled = enabled
        self._busy = busy
        self._waiting: deque[tuple[int, str, Json]] = deque()
        self._some = asyncio.Semaphore(0)
        self._troubles = Troubles("write Events")
        self._full = Trouble("keep up with Events")
        self._instance = socket.gethostname()[:128] or "unknown"

    def reaped(self, reap: Reap, now: float) -> None:
        """Tell that a Lease was deleted by us; ``now`` is the clock."""
        wall = datetime.now(UTC)
        note = tell(reap, now, wall)
        _log.info("freed %s/%s: %s", reap.entry.namespace, reap.entry.lease, note)
        if self._enabled:
            for body in events_of(reap.entry, note, wall, self._instance):
                self._put(1, reap.entry.namespace, body)

    async def run(self) -> None:
        """Write Events for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(self._write(), name=f"tasklock-event-{number}")

    def _put(self, attempt: int, namespace: str, body: Json) -> None:
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self._full.met_as("full", f"more than {WAITING:,} are waiting, and the oldest are dropped")
        else:
            self._some.release()
        self._waiting.append((attempt, namespace, body))

    async def _write(self) -> None:
        while True:
            await self._some.acquire()
            while self._busy():  # noqa: ASYNC110 - one look now and then, for four writers
                await asyncio.sleep(BUSY_SECONDS)
            attempt, namespace, body = self._waiting.popleft()
            if not self._waiting:
                self._full.over()
            path = f"/apis/events.k8s.io/v1/namespaces/{quote(namespace, safe='')}/events"
            reply = await self._api.request("POST", path, body, timeout=ANSWER_SECONDS)
            if reply.status in {OK, CREATED, CONFLICT}:
                self._troubles.over(namespace)
            elif not _namespace_ends(reply):
                self._metrics.api_error("create", reply.status)
                pause = self._troubles.met(namespace, reply, hint=_HINT)
                if reply.transient and attempt < TRIES:
                    self._put(attempt + 1, namespace, body)
                    await asyncio.sleep(max(pause, min(reply.retry_after or 0.0, 30.0)))
                else:
                    _log.debug("an Event was dropped: %s", describe(reply))


def tell(reap: Reap, now: float, wall: datetime) -> str:
    """Say who lost which lock and why; at most 1,024 bytes, whatever clients wrote."""
    entry = reap.entry
    what = "a place in the queue for " if entry.queue else ""
    held = held_for(entry, now=now, wall=wall)
    late = max(0.0, now - reap.since)
    if reap.reason == "expired":
        idle = now - entry.last_changed
        why = f"it was not renewed for {idle:.1f} s, with a duration of {entry.ttl} s ({late:.1f} s overdue)"
    elif reap.reason == "pod-finished":
        why = f"its holder's Pod has finished (freed {late:.1f} s after that was known)"
    else:
        why = f"its holder's container has terminated (freed {late:.1f} s after that was known)"
    where = f" in Pod {shortened(entry.pod)}" if entry.pod else ""
    where += f", container {shortened(entry.container)}" if entry.container else ""
    who = shortened(entry.holder) if entry.holder else "nobody that it names"
    lock = f"{what}lock {shortened(entry.name)} of app {shortened(entry.app)}"
    said = f"{lock}, held by {who}{where} for {held:.0f} s: {why}"
    return said.encode("ascii", "replace")[:MAX_NOTE].decode()


def events_of(entry: Entry, note: str, wall: datetime, instance: str) -> list[Json]:
    """Return the Events on the Lease and, where it names one, on its holder's Pod."""
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "namespace": entry.namespace,
        "name": entry.lease,
        "uid": entry.uid,
    }
    bodies = [_event("lease", entry, lease, None, note=note, wall=wall, instance=instance)]
    if entry.pod and entry.pod_uid and _NAME.fullmatch(entry.pod):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": entry.namespace,
            "name": entry.pod,
            "uid": entry.pod_uid,
        }
        bodies.append(_event("pod", entry, pod, lease, note=note, wall=wall, instance=instance))
    return bodies


def _event(  # noqa: PLR0913 - keyword-only
    kind: str, entry: Entry, regarding: Json, related: Json | None, *, note: str, wall: datetime, instance: str
) -> Json:
    unique = f"{entry.uid.replace('-', '')[:32]}.{kind}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": entry.namespace, "name": f"{entry.lease[:200].rstrip('-.')}.{unique}"},
        "eventTime": microtime(wall),
        "type": "Warning",  # a holder that lives frees its lock itself
        "reason": "LockReaped",
        "action": "Reap",
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "regarding": regarding,
        **({"related": related} if related else {}),
        "note": note,
    }


def _namespace_ends(reply: Reply) -> bool:
    """Whether an Event was refused for its namespace is being deleted, or is gone."""
    ending = reply.status == FORBIDDEN and reply.caused_by("NamespaceTerminating")
    return ending or (reply.status == NOT_FOUND and bool(reply.reason))
