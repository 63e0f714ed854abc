"""Who acts in the small cluster: processes that take locks, and operators that reap them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Final

from reaping.objects import Json, at
from reaping.world import NAMESPACE, Grant, Instance, PodSim, World
from tasklock.lease import CONTAINER, POD, POD_UID, Claim, microtime
from tasklock.naming import lease_name
from tasklock.testing.deletes import DeleteOptions
from tasklock.testing.kinds import LEASES, PODS
from tasklock.testing.patch import MERGE
from tasklock.testing.selectors import select
from tasklock.testing.status import StatusError
from tasklock.testing.watch import DELETED, WatchEvent
from tasklock.testing.writes import Patch
from tasklock_operator.book import Book, Outcome, Reap

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock.testing.kinds import Kind

OURS: Final = "app.kubernetes.io/managed-by=tasklock"


class Holders:
    """The processes in the containers: each takes a lock, renews it, gives it back, and takes the next."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.locks = [f"lock-{n}" for n in range(world.chance.choice([1, 2, 3]))]

    def start(self, pod: PodSim, life: Instance) -> None:
        self.world.after(self.world.some(1.0), lambda: self._try(pod, life))

    def _awake(self, life: Instance, act: Callable[[], None]) -> bool:
        """Whether the process runs on; a paused one does the same later, a dead one nothing ever."""
        if life.alive and life.paused_until > self.world.now:
            self.world.after(life.paused_until - self.world.now, act)
            return False
        return life.alive

    def _try(self, pod: PodSim, life: Instance) -> None:
        world = self.world
        if not self._awake(life, lambda: self._try(pod, life)) or world.calm:
            return
        began = world.now
        name = world.chance.choice(self.locks)
        notes = {POD_UID: pod.uid, POD: pod.name} | ({CONTAINER: life.container} if pod.named[life.container] else {})
        claim = Claim(
            lease=lease_name("app", name),
            app="app",
            name=name,
            holder=f"{pod.name}_{life.number}_{began}",
            ttl=world.chance.choice([2, 4, 8]),
            annotations=notes,
        )
        acquired = began + pod.node.skew
        world.after(world.some(0.6), lambda: self._create(pod, life, claim, began, acquired))

    def _create(self, pod: PodSim, life: Instance, claim: Claim, began: float, acquired: float) -> None:
        world = self.world
        if world.held(claim.lease):  # as the store would answer, at a tenth of the price
            world.after(0.5 + world.some(3.0), lambda: self._try(pod, life))
            return
        made = world.store.create(LEASES, NAMESPACE, claim.body(at(acquired))).obj
        uid = made["metadata"]["uid"]
        grant = Grant(uid, claim.lease, claim.ttl, life, pod, acquired, written=world.now, answered=began)
        world.grants[uid] = grant
        world.note(f"{claim.lease} granted to instance {life.number} as {uid}, ttl {claim.ttl}")
        ends = world.now + world.some(10.0)
        world.after(world.some(0.2) + claim.ttl / 3, lambda: self._renew(pod, grant, ends))

    def _renew(self, pod: PodSim, grant: Grant, ends: float) -> None:
        world = self.world
        if not self._awake(grant.holder, lambda: self._renew(pod, grant, ends)):
            return
        if grant.gone is not None or not grant.believed(world.now):
            grant.lost = True
            self._try(pod, grant.holder)
        elif world.now > ends:
            grant.lost = True
            world.after(world.some(0.3), lambda: self._release(grant))
            world.after(world.some(2.0), lambda: self._try(pod, grant.holder))
        else:
            began, clock = world.now, world.now + pod.node.skew
            world.after(world.some(0.6), lambda: self._patch(grant, began, clock))
            world.after(grant.ttl / 3, lambda: self._renew(pod, grant, ends))

    def _patch(self, grant: Grant, began: float, clock: float) -> None:
        change: Json = {"metadata": {"uid": grant.uid}, "spec": {"renewTime": microtime(at(clock))}}
        try:
            self.world.store.patch(LEASES, NAMESPACE, grant.lease, Patch(media_type=MERGE, value=change))
        except StatusError as error:
            self.world.expect(error, 404, 422)
            grant.lost = True
            return
        grant.written = self.world.now
        if grant.holder.alive and grant.holder.paused_until <= self.world.now:
            grant.answered = max(grant.answered, began)

    def _release(self, grant: Grant) -> None:
        if self.world.delete(LEASES, grant.lease, DeleteOptions(uid=grant.uid)) == 200:
            grant.gone = self.world.now


@dataclass(eq=False)
class Stream:
    """A watch: events of one object in order, late; while it is broken they are lost."""

    kind: Kind
    stop: Callable[[], None] = lambda: None
    number: int = 0
    stalled_until: float = 0.0


class Operator:
    """The Book, fed by watches, and a reaper that asks it; both as the real ones do, with delays of their own."""

    def __init__(self, world: World, judge: Judge) -> None:
        self.world = world
        self.judge = judge
        self.book = Book()
        self.streams = [Stream(LEASES), Stream(PODS)]
        self.alive = True
        self._wake = float("inf")
        self._last: dict[str, float] = {}
        for stream in self.streams:
            self.list(stream)

    def stop(self) -> None:
        """Die: what it has sent may still arrive."""
        self.alive = False
        for stream in self.streams:
            stream.stop()

    def stall(self, stream: Stream, seconds: float) -> None:
        stream.stalled_until = self.world.now + seconds

    def break_off(self, stream: Stream, seconds: float) -> None:
        """Lose the connection: what happens meanwhile is never told, only listed afterwards."""
        stream.stop()
        if self.world.chance.random() < 0.5:
            stream.number += 1  # what was on its way is lost as well
        self.world.after(seconds, lambda: self.list(stream))

    def list(self, stream: Stream) -> None:
        world = self.world
        if not self.alive:
            return
        stream.stop()
        asked, selector = world.now, select(stream.kind, namespace=None, labels=OURS if stream.kind is LEASES else "")
        found = world.store.list(stream.kind, selector)
        uids = {obj["metadata"]["uid"] for obj in found}
        handle: Callable[[], object] = lambda: self.book.relisted(  # noqa: E731 - one of several that are mixed
            "leases" if stream.kind is LEASES else "pods", None, uids, asked
        )
        world.after(world.some(world.chaos.lag), lambda: handle() if self.alive else None)
        for obj in found:
            self._deliver(stream, WatchEvent(type="LISTED", object=obj))
        revision = world.store.revision
        stream.stop = world.store.watch(
            stream.kind, selector, lambda event: self._deliver(stream, event), since=revision
        )

    def _deliver(self, stream: Stream, event: WatchEvent) -> None:
        """Events of different objects may overtake each other; those of one never do."""
        uid, number = event.object["metadata"]["uid"], stream.number
        when = max(self.world.now, stream.stalled_until) + self.world.some(self.world.chaos.lag)
        when = max(when, self._last.get(uid, 0.0))
        self._last[uid] = when
        self.world.after(when - self.world.now, lambda: self._handle(stream, number, event))

    def _handle(self, stream: Stream, number: int, event: WatchEvent) -> None:
        if not self.alive or number != stream.number:
            return
        book, gone = self.book, event.type == DELETED
        if stream.kind is LEASES:
            (book.lease_gone if gone else book.lease_seen)(event.object, self.world.now)
        else:
            (book.pod_gone if gone else book.pod_seen)(event.object, self.world.now)
        self.judge.told(self, stream.kind, event.object)
        self._poke()

    def _poke(self) -> None:
        when = self.book.next_due()
        if when is not None and when < self._wake:
            self._wake = max(when, self.world.now)
            self.world.after(self._wake - self.world.now, self._reap)

    def _reap(self) -> None:
        self._wake = float("inf")
        if not self.alive:
            return
        for reap in self.book.due(self.world.now):
            self.world.after(self.world.some(self.world.chaos.delete), lambda one=reap: self._send(one))
        self._poke()

    def _send(self, reap: Reap) -> None:
        world = self.world
        fails = world.chaos.trouble and not world.calm and world.chance.random() < 0.2
        status = 503
        if not fails or world.chance.random() < 0.3:
            options = DeleteOptions(uid=reap.entry.uid, resource_version=reap.entry.version)
            status = world.delete(LEASES, reap.entry.lease, options)
            self.judge.answered(reap, status)
        outcome: Outcome = "failed" if fails else "changed" if status == 409 else "gone"
        world.after(world.some(0.1), lambda: self._settle(reap, outcome))

    def _settle(self, reap: Reap, outcome: Outcome) -> None:
        if self.alive:
            self.book.settled(reap, outcome, self.world.now)
            self._poke()


class Judge:
    """Knows the truth, and holds every reap against it. What is proved to an operator it works out by itself."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tally: Counter[str] = Counter()
        self.proved: dict[str, float] = {}
        self._told: dict[Operator, tuple[set[str], set[Instance]]] = {}

    def told(self, operator: Operator, kind: Kind, obj: Json) -> None:
        """Note when an operator first knew both a Lease and the end of its holder, by name and by a later second."""
        leases, ends = self._told.setdefault(operator, (set(), set()))
        uid = obj["metadata"]["uid"]
        if kind is LEASES:
            leases.add(uid)
        else:
            ends |= self.world.lives_told_of(uid, obj["status"])
        for uid in leases - self.proved.keys():
            grant = self.world.grants[uid]
            life = grant.holder
            named = grant.gone is None and grant.pod.named[life.container] and life in ends
            if named and floor(grant.acquired) < floor(life.ended or 0):
                self.proved[uid] = self.world.now

    def answered(self, reap: Reap, status: int) -> None:
        """Hold a reap that was carried out against what is true."""
        world, grant = self.world, self.world.grants[reap.entry.uid]
        world.note(f"reap of {grant.lease} {grant.uid}: {reap.reason}: {status}")
        if status != 200:
            self.tally[f"refused {status}"] += 1
            return
        grant.gone, grant.reason = world.now, reap.reason
        self.tally[reap.reason] += 1
        if reap.reason == "expired":
            unchanged = world.now - grant.written
            assert unchanged > grant.due - 1e-6, f"{grant.uid}: it was unchanged for {unchanged} s only"
            assert not grant.believed(world.now), f"{grant.uid}: its holder lives and believes that it holds it"
        elif not grant.pod.node.set_back:
            assert not grant.holder.alive, f"{grant.uid}: its holder lives"
