"""Frees what nobody holds any more: one task that knows the next deadline, and ten that delete.

Each DELETE carries uid and resourceVersion of what was seen, so that it does nothing to a lock that was renewed since.
"""

from __future__ import annotations

import asyncio
import logging
from random import random
from typing import TYPE_CHECKING, Final, Protocol

from tasklock.protocol.effects import CONFLICT, NOT_FOUND
from tasklock.protocol.release import deletion
from tasklock.transport.clock import clock
from tasklock_operator.trouble import Troubles

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock.protocol.effects import Reply, Send
    from tasklock_operator.book import Book, Entry, Outcome, Reap
    from tasklock_operator.metrics import Metrics

AT_ONCE: Final = 10  # requests under way; more does not help
ANSWER_SECONDS: Final = 10.0
MAX_LINGERING: Final = 1_000
MIXED_SECONDS: Final = 2.0
LOOK_EVERY: Final = 1.0  # seconds; after a suspension of the machine the clocks disagree

_HINT = "bind the operator's Role to its service account (the chart does): it needs the verb delete on leases"
_log = logging.getLogger("tasklock_operator")


_Queued = tuple[bool, float, float, str, "Reap"]


class Api(Protocol):
    """What the reaper needs of the API."""

    async def send(self, request: Send, *, namespace: str | None = None) -> Reply:
        """Send one request about a Lease."""


class Reaper:
    """Deletes what the book says is due."""

    def __init__(  # noqa: PLR0913 - keyword-only callbacks
        self,
        book: Book,
        api: Api,
        metrics: Metrics,
        *,
        blind: Callable[[str], bool],
        reaped: Callable[[Reap, float], None],
        ended: Callable[[Entry], None],
    ) -> None:
        """Take what it works with.

        ``blind`` tells whether a namespace is out of sight; ``reaped`` is called once for each reap of ours, and
        ``ended`` once for each Lease that ended while it was here, by whoever's hand.
        """
        self._book = book
        self._api = api
        self._metrics = metrics
        self._blind = blind
        self._reaped = reaped
        self._ended = ended
        self._troubles = Troubles("delete the leases of dead holders")
        self._lingering: set[str] = set()  # uids of those that finalizers keep
        self._awake = asyncio.Event()
        self._until = 0.0
        self._queue: asyncio.PriorityQueue[_Queued] = asyncio.PriorityQueue()
        self._put_off: list[Reap] = []  # expired, but out of sight
        self._unsure: dict[str, Reap] = {}  # by uid: those whose DELETE may have been done though no answer said so
        self._here: dict[str, bool] = {}  # uids that the book has handed out, and whether a watch told of their end

    def busy(self) -> bool:
        """Tell whether more is due than can be sent at once."""
        return self._queue.qsize() > AT_ONCE

    def look(self) -> None:
        """Wake up if something is due earlier than was known: to be called after every change of the book."""
        due = self._book.next_due()
        if due is not None and due < self._until:
            self._awake.set()

    def gone(self, entry: Entry) -> bool:
        """Take notice of the end of a Lease; tell whether it is here, and its end will be told by ``ended``."""
        self._lingering.discard(entry.uid)
        if entry.uid not in self._here:
            self._own_up(entry)
            return False
        self._here[entry.uid] = True
        return True

    async def run(self) -> None:
        """Reap for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(self._delete(), name=f"tasklock-reap-{number}")
            while True:
                self._take_up()
                now = clock()
                for reap in self._book.due(now):
                    if reap.entry.uid in self._here:  # it lost our label while it was here, and got it back
                        self._book.settled(reap, "failed", now)
                        continue
                    self._here[reap.entry.uid] = False
                    self._queue.put_nowait(self._order(reap))
                due = self._book.next_due()
                self._until = now + LOOK_EVERY if due is None else min(due, now + LOOK_EVERY)
                self._awake.clear()
                try:
                    async with asyncio.timeout(max(0.0, self._until - clock())):
                        await self._awake.wait()
                except TimeoutError:
                    pass

    async def _delete(self) -> None:
        while True:
            reap = (await self._queue.get())[-1]
            if self._here[reap.entry.uid]:
                self._own_up(reap.entry)
                self._settle(reap, "gone")
            elif reap.reason == "expired" and self._blind(reap.entry.namespace):
                self._put_off.append(reap)
            else:
                self._settle(reap, await self._try(reap))

    async def _try(self, reap: Reap) -> Outcome:
        try:
            return await self._reap(reap)
        except Exception:  # noqa: BLE001 - one Lease must not end the reaping of all others
            _log.exception("could not reap %s/%s", reap.entry.namespace, reap.entry.lease)
            return "failed"

    def _settle(self, reap: Reap, outcome: Outcome) -> None:
        if self._here.pop(reap.entry.uid) or outcome == "gone":
            self._ended(reap.entry)
        self._book.settled(reap, outcome, clock())
        self.look()

    def _take_up(self) -> None:
        """Have the book think again about what expired out of sight, and is in sight again."""
        waiting, self._put_off = self._put_off, []
        for reap in waiting:
            if self._blind(reap.entry.namespace):
                self._put_off.append(reap)
            else:
                self._settle(reap, "failed")

    @staticmethod
    def _order(reap: Reap) -> _Queued:
        """Put confirmed deaths first; mix what expired together, so that two operators do not race for each."""
        return reap.reason == "expired", reap.since // MIXED_SECONDS, random(), reap.entry.uid, reap  # noqa: S311 - no secret

    async def _reap(self, reap: Reap) -> Outcome:
        entry = reap.entry
        request = deletion(entry.lease, uid=entry.uid, version=entry.version, timeout=ANSWER_SECONDS)
        reply = await self._api.send(request, namespace=entry.namespace)
        if reply.deleted and not lingers(reply):
            self._done(reap, reply.received)
            return "gone"
        if reply.status == NOT_FOUND and reply.reason:
            if entry.uid in self._unsure:
                self._done(reap, reply.received)
            return "gone"
        if reply.status == CONFLICT and reply.reason:
            if entry.uid in self._unsure and "UID in precondition" in reply.message:  # another has its name already
                self._done(reap, reply.received)
                return "gone"
            self._unsure.pop(entry.uid, None)
            return "changed"
        return await self._failed(reap, reply)

    async def _failed(self, reap: Reap, reply: Reply) -> Outcome:
        entry = reap.entry
        self._metrics.api_error("delete", reply.status)
        if reply.deleted:
            if entry.uid not in self._lingering and len(self._lingering) < MAX_LINGERING:
                self._lingering.add(entry.uid)
                _log.warning(
                    "%s/%s is deleted, but not gone: it has finalizers: remove them", entry.namespace, entry.lease
                )
            return "failed"
        if reply.ambiguous:
            self._unsure[entry.uid] = reap
        self._troubles.met(entry.namespace, reply, hint=_HINT)
        if reply.retry_after:
            await asyncio.sleep(min(reply.retry_after, 5.0))
        return "failed"

    def _own_up(self, entry: Entry) -> None:
        """Report a Lease that ended as we had last known it, if a DELETE of ours may have done it."""
        reap = self._unsure.pop(entry.uid, None)
        if reap is not None and reap.entry.version == entry.version:
            self._done(reap, clock())

    def _done(self, reap: Reap, at: float) -> None:
        """Report a reap of ours, once."""
        self._unsure.pop(reap.entry.uid, None)
        self._troubles.over(reap.entry.namespace)
        delay = max(0.0, at - reap.since)
        self._metrics.reaped(reap.entry.app, reap.entry.namespace, reap.reason, delay)
        self._reaped(reap, clock())


def lingers(reply: Reply) -> bool:
    """Whether the answer to a DELETE shows the object: finalizers keep it, and with it the lock."""
    metadata = (reply.body or {}).get("metadata")
    return isinstance(metadata, dict) and bool(metadata.get("deletionTimestamp"))
