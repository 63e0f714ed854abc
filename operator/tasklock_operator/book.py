"""All that the operator knows: the Leases, the deadlines, and what their Pods proved.

Watches tell it what they see, in whatever order it arrives; the reaper asks what is due and says what came of it. Time
comes with every call: seconds of one clock that never goes back. The book starts empty, so after a restart the time
of every Lease starts anew.

It need not be right about the cluster, only about what it saw: a reap carries uid and resourceVersion, so that one that
rests on old news does nothing. A Lease is known by its uid. One whose end went unseen stays until a LIST or its own
reap shows that it is gone; until then its name may be here twice.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, Literal

from tasklock_operator.entry import Entry, identity, is_later, read_entry
from tasklock_operator.evidence import evidence_of
from tasklock_operator.reconcile import Reap, Reason, decide

if TYPE_CHECKING:
    from tasklock.lease import Json
    from tasklock_operator.evidence import PodEvidence

__all__ = ["Book", "Entry", "Outcome", "Reap", "Reason"]

Outcome = Literal["gone", "changed", "failed"]

KEEP_GONE: Final = 600.0  # seconds for which a late Lease finds the evidence of a Pod that is gone
MAX_GONE: Final = 10_000  # such Pods
FIRST_RETRY: Final = 0.5  # seconds after a reap failed; doubled each time
LAST_RETRY: Final = 30.0
SLACK: Final = 1_000  # outdated deadlines that may lie in the heap, besides one per Lease


@dataclass(slots=True, eq=False)
class _Held:
    """A Lease in the book.

    ``heard`` is when a watch or a list last spoke of it, ``queued`` the deadline that stands for it in the heap, if
    any. ``death`` is what its Pod proved. ``out``: the reaper has it. ``retry``: not before. ``doubtful``: the API
    server told us that what we know is outdated, so that whatever comes next is believed.
    """

    entry: Entry
    heard: float
    queued: float | None = None
    death: Reap | None = None
    out: bool = False
    failures: int = 0
    retry: float = 0.0
    doubtful: bool = False

    @property
    def deadline(self) -> float:
        when = self.entry.due if self.death is None else self.death.since
        return max(when, self.retry)


class Book:
    """Leases by uid, one heap of their deadlines, evidence by the Pod's uid. Not for use by several threads."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._by_pod: dict[str, set[str]] = {}
        self._heap: list[tuple[float, str]] = []
        self._pods: dict[str, PodEvidence] = {}
        self._gone: OrderedDict[str, tuple[float, PodEvidence]] = OrderedDict()

    def lease_seen(self, obj: Json, now: float) -> None:
        """Take notice of a Lease that was added, modified or listed. What is not ours is ignored, and forgotten."""
        uid, version = identity(obj)
        held = self._held.get(uid)
        if held is not None:
            held.heard = now
            known = held.entry.version
            if version == known or not (held.doubtful or is_later(version, known)):
                return
        entry = read_entry(obj, now, held.entry if held is not None else None)
        if entry is None:
            self._drop(uid)
        elif held is None:
            held = self._held[uid] = _Held(entry, now)
            if entry.pod_uid:
                self._by_pod.setdefault(entry.pod_uid, set()).add(uid)
            self._judge(held, now)
        else:
            self._changed(held, entry, now)

    def lease_gone(self, obj: Json, now: float) -> Entry | None:  # noqa: ARG002 - every message has its time
        """Take notice of a Lease that was deleted; return it as it was known, if it was.

        A Lease that lost our label is told as deleted, and may have got it back by now: then this is old news.
        """
        uid, version = identity(obj)
        held = self._held.get(uid)
        if held is not None and not held.doubtful and version.isdecimal() and is_later(held.entry.version, version):
            return None
        return self._drop(uid)

    def pod_seen(self, obj: Json, now: float) -> None:
        """Take notice of a Pod that was added, modified or listed."""
        evidence = evidence_of(obj)
        if evidence is None:
            return
        kept = self._gone.get(evidence.uid)
        known = kept[1] if kept else self._pods.get(evidence.uid)
        evidence = evidence.after(known)
        if evidence == known:
            return
        if kept:
            self._gone[evidence.uid] = (kept[0], evidence)
        else:
            self._pods[evidence.uid] = evidence
        for uid in self._by_pod.get(evidence.uid, ()):
            held = self._held[uid]
            if held.death is None:
                self._judge(held, now)

    def pod_gone(self, obj: Json, now: float) -> None:
        """Take notice of a Pod that was deleted: by itself no proof, but its last status counts as ever."""
        self.pod_seen(obj, now)
        self._let_go(identity(obj)[0], now)
        self._forget(now)

    def relisted(
        self, resource: Literal["leases", "pods"], namespace: str | None, uids: set[str], now: float
    ) -> list[Entry]:
        """Drop what a fresh LIST does not hold; return the Leases that vanished unseen.

        ``now`` is when that LIST was *asked for*: what was heard of since may be newer than it, and stays.
        """
        if resource == "pods":
            for uid in [
                uid
                for uid, pod in self._pods.items()
                if uid not in uids and (namespace is None or pod.namespace == namespace)
            ]:
                self._let_go(uid, now)
            self._forget(now)
            return []
        vanished = [
            held.entry
            for uid, held in self._held.items()
            if uid not in uids and held.heard < now and (namespace is None or held.entry.namespace == namespace)
        ]
        for entry in vanished:
            self._drop(entry.uid)
        return vanished

    def due(self, now: float) -> list[Reap]:
        """Return what is to be reaped now; each is handed out once, until it is settled."""
        reaps = []
        while (when := self.next_due()) is not None and when <= now:
            held = self._held[heappop(self._heap)[1]]
            held.queued = None
            verdict = replace(held.death, entry=held.entry) if held.death else decide(held.entry, None, now)
            if isinstance(verdict, Reap):
                held.out = True
                reaps.append(verdict)
        return reaps

    def next_due(self) -> float | None:
        """Return when ``due`` has something next, as far as is known."""
        heap = self._heap
        while heap:
            when, uid = heap[0]
            held = self._held.get(uid)
            if held is not None and held.queued == when:
                deadline = held.deadline
                if deadline <= when:
                    return when
                held.queued = None
                heappop(heap)
                self._queue(held)
            else:
                heappop(heap)
        return None

    def settled(self, reap: Reap, outcome: Outcome, now: float) -> None:
        """Take notice of what came of a reap.

        ``gone``: the Lease is no more, by whoever's hand. ``changed``: the API server refused, for it is not any more
        as we knew it; what it is now, a watch will tell. ``failed``: anything else; it is due again after a while.
        """
        held = self._held.get(reap.entry.uid)
        if held is None or not held.out:
            return
        held.out = False
        if outcome == "gone":
            self._drop(reap.entry.uid)
            return
        if outcome == "failed":
            held.retry = now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(held.failures, 10))
            held.failures += 1
        elif held.entry.version == reap.entry.version:
            held.entry = replace(held.entry, last_changed=now)
            held.retry = held.entry.due
            held.doubtful = True
        self._queue(held)

    def locks(self) -> list[Entry]:
        """Return all that is held, tickets and slots included."""
        return [held.entry for held in self._held.values()]

    def _changed(self, held: _Held, entry: Entry, now: float) -> None:
        before, held.entry = held.entry, entry
        held.doubtful, held.failures, held.retry = False, 0, 0.0
        if before.pod_uid != entry.pod_uid:
            self._unlink(before)
            if entry.pod_uid:
                self._by_pod.setdefault(entry.pod_uid, set()).add(entry.uid)
        same = (before.pod_uid, before.container, before.acquired) == (entry.pod_uid, entry.container, entry.acquired)
        if same and held.death is None:  # a renewal
            self._queue(held)
        else:
            self._judge(held, now, known=held.death if same else None)

    def _judge(self, held: _Held, now: float, *, known: Reap | None = None) -> None:
        """Look whether its Pod proves the holder dead, ``known`` or not, and put the deadline into the heap."""
        pod_uid = held.entry.pod_uid or ""
        gone = self._gone.get(pod_uid)
        verdict = decide(held.entry, gone[1] if gone else self._pods.get(pod_uid), now)
        held.death = (known or verdict) if isinstance(verdict, Reap) and verdict.reason != "expired" else None
        self._queue(held)

    def _queue(self, held: _Held) -> None:
        """See to it that the heap has a deadline for this Lease that is not too late; too early does no harm."""
        if held.out:
            return
        deadline = held.deadline
        if held.queued is None or deadline < held.queued:
            held.queued = deadline
            heappush(self._heap, (deadline, held.entry.uid))
            if len(self._heap) > 2 * len(self._held) + SLACK:
                self._heap = [(one.queued, uid) for uid, one in self._held.items() if one.queued is not None]
                heapify(self._heap)

    def _drop(self, uid: str) -> Entry | None:
        held = self._held.pop(uid, None)
        if held is None:
            return None
        self._unlink(held.entry)
        return held.entry

    def _unlink(self, entry: Entry) -> None:
        leases = self._by_pod.get(entry.pod_uid or "")
        if leases is not None:
            leases.discard(entry.uid)
            if not leases:
                del self._by_pod[entry.pod_uid or ""]

    def _let_go(self, uid: str, now: float) -> None:
        evidence = self._pods.pop(uid, None)
        if evidence is not None:
            self._gone[uid] = (now, evidence)

    def _forget(self, now: float) -> None:
        while self._gone and (len(self._gone) > MAX_GONE or next(iter(self._gone.values()))[0] < now - KEEP_GONE):
            self._gone.popitem(last=False)
