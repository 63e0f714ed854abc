"""A small cluster in virtual time: a real store, and around it all that makes its news late, lost, merged or wrong.

Everything is drawn from one seeded generator, so that a history is told by its number. Operators are the real Book; the
store, with its preconditions and its watches, is the model that stands in for the API server everywhere.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from reaping.objects import Json, at
from tasklock.testing.deletes import DeleteOptions
from tasklock.testing.kinds import LEASES, NAMESPACES, PODS
from tasklock.testing.patch import MERGE
from tasklock.testing.status import StatusError
from tasklock.testing.store import Store
from tasklock.testing.writes import Patch, WriteOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock.testing.kinds import Kind

NAMESPACE = "team"
STATUS = WriteOptions(subresource="status")
LISTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


@dataclass(eq=False)
class Chaos:
    """What may go wrong in one history; seconds, or chances."""

    lag: float  # between a write and its event's handling, at most
    reports: float  # the kubelet's, at most, after a change
    delete: float  # between a reap's decision and its arrival, at most
    trouble: bool  # streams that stall or break, requests that fail, operators that restart, nodes cut off
    steps: bool  # nodes whose clock is set back or forward
    operators: int


@dataclass(eq=False)
class Node:
    """Its kubelet reports, unless it is paused or cut off; its clock is nobody else's."""

    skew: float
    silent_until: float = 0.0
    set_back: bool = False


@dataclass(eq=False)
class Instance:
    """One life of a container: `started` and `ended` are its node's clock."""

    container: str
    number: int
    started: float
    ended: float | None = None
    paused_until: float = 0.0
    told: float = math.inf  # when the API server got the kubelet's report of its end

    @property
    def alive(self) -> bool:
        return self.ended is None


@dataclass(eq=False)
class PodSim:
    """A Pod and what its kubelet knows of it."""

    name: str
    uid: str
    node: Node
    lists: dict[str, str]  # container -> status list
    named: dict[str, bool]  # container -> whether its locks say so
    restarts: bool
    lives: dict[str, list[Instance]] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)  # containers about to restart
    reporting: bool = False
    doomed: bool = False
    exists: bool = True
    sent: float = 0.0  # when its kubelet's last report arrives


@dataclass(eq=False)
class Grant:
    """One Lease that was really created, as only the world knows it."""

    uid: str
    lease: str
    ttl: int
    holder: Instance
    pod: PodSim
    acquired: float  # by the holder's clock
    written: float  # when the API server last took a write of it
    answered: float  # when the holder began its last answered request
    lost: bool = False
    gone: float | None = None
    reason: str | None = None

    @property
    def due(self) -> float:
        """For how many seconds it may stay unchanged."""
        return max(1.1 * self.ttl, self.ttl + 1)

    def believed(self, now: float) -> bool:
        """Whether its holder lives, and thinks that it holds it."""
        return self.holder.alive and not self.lost and now - self.answered < self.ttl * 2 / 3


class World:
    """Virtual time, the store, what was really granted, and chance."""

    def __init__(self, seed: int, chaos: Chaos) -> None:
        self.chance = random.Random(seed)
        self.chaos = chaos
        self.now = 0.0
        self.log: list[str] = []
        self.grants: dict[str, Grant] = {}
        self.pods: dict[str, PodSim] = {}
        self.calm = False
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.store = Store(clock=lambda: at(self.now), uids=lambda: f"uid-{next(self._count):06d}")
        self.store.create(NAMESPACES, "", {"metadata": {"name": NAMESPACE}})

    def after(self, delay: float, act: Callable[[], None]) -> None:
        heappush(self._agenda, (self.now + delay, next(self._count), act))

    def run_until(self, end: float) -> None:
        while self._agenda and self._agenda[0][0] <= end:
            self.now, _, act = heappop(self._agenda)
            act()
        self.now = end

    def some(self, most: float) -> float:
        """Draw a delay, mostly short, at most this long."""
        return most * self.chance.random() ** 2

    def note(self, text: str) -> None:
        self.log.append(f"{self.now:8.3f} {text}")

    def held(self, lease: str) -> bool:
        try:
            self.store.get(LEASES, NAMESPACE, lease)
        except StatusError as error:
            self.expect(error, 404)
            return False
        return True

    def expect(self, error: StatusError, *codes: int) -> None:
        """Let nothing pass that the store should not have said."""
        if error.code not in codes:
            raise error

    def lives_told_of(self, pod_uid: str, status: Json) -> set[Instance]:
        """Return the instances whose ends a Pod's status tells."""
        pod = self.pods[pod_uid]
        shown = {
            (one["name"], record.get("startedAt"), record.get("finishedAt"))
            for key in status.keys() & LISTS
            for one in status[key]
            for record in (one["state"].get("terminated"), (one.get("lastState") or {}).get("terminated"))
            if record
        }
        ended = [life for lives in pod.lives.values() for life in lives if life.ended is not None]
        return {life for life in ended if (life.container, cut(life.started), cut(life.ended or 0)) in shown}

    def delete(self, kind: Kind, name: str, options: DeleteOptions) -> int:
        """Return the HTTP status."""
        try:
            self.store.delete(kind, NAMESPACE, name, options)
        except StatusError as error:
            return error.code
        return 200


class Kubelet:
    """Runs the Pods of all nodes, and tells of it late, merged, and with times cut to seconds."""

    def __init__(self, world: World, start: Callable[[PodSim, Instance], None]) -> None:
        self.world = world
        self.numbers = itertools.count()
        self._start = start

    def create(self, node: Node) -> PodSim:
        chance = self.world.chance
        names = ["worker", "proxy", "debug"][: chance.choice([1, 1, 2, 3])]
        lists = dict(zip(names, LISTS, strict=False))
        if chance.random() < 0.5:
            lists = dict.fromkeys(names, "containerStatuses")
        name = f"pod-{next(self.numbers)}"
        spec = {"nodeName": "node-1", "containers": [{"name": one, "image": "x"} for one in names]}
        made = self.world.store.create(PODS, NAMESPACE, {"metadata": {"name": name}, "spec": spec}).obj
        named = {one: chance.random() < 0.85 for one in names}
        pod = PodSim(name, made["metadata"]["uid"], node, lists, named, restarts=chance.random() < 0.75)
        self.world.pods[pod.uid] = pod
        for one in names:
            self.begin(pod, one)
        return pod

    def clock(self, pod: PodSim) -> float:
        return self.world.now + pod.node.skew

    def begin(self, pod: PodSim, container: str) -> None:
        pod.pending.discard(container)
        if pod.doomed:
            return
        life = Instance(container, next(self.numbers), self.clock(pod))
        pod.lives.setdefault(container, []).append(life)
        self.world.note(f"{pod.name}/{container}: instance {life.number} starts")
        self._start(pod, life)
        self.changed(pod)

    def end(self, pod: PodSim, container: str, *, again: bool = True) -> None:
        life = pod.lives[container][-1]
        if not life.alive:
            return
        life.ended = self.clock(pod)
        self.world.note(f"{pod.name}/{container}: instance {life.number} ends")
        if again and pod.restarts and not pod.doomed:
            pod.pending.add(container)
            self.world.after(self.world.some(3.0), lambda: self.begin(pod, container))
        self.changed(pod)

    def delete(self, pod: PodSim) -> None:
        """Gracefully: its containers end, that is reported, then the object goes."""
        pod.doomed = True
        pod.exists = not self.world.store.delete(PODS, NAMESPACE, pod.name).gone  # at once, where it has failed
        for container in pod.lists:
            self.world.after(self.world.some(1.0), lambda one=container: self.end(pod, one))

    def delete_by_force(self, pod: PodSim, *, lives_on: float | None) -> None:
        """Take the object at once; the processes go later, or, on a node that is cut off, never."""
        pod.doomed, pod.exists = True, False
        self.world.note(f"{pod.name}: deleted by force")
        self.world.delete(PODS, pod.name, DeleteOptions(grace_seconds=0))
        if lives_on is not None:
            for container in pod.lists:
                self.world.after(lives_on, lambda one=container: self.end(pod, one))

    def mark_failed(self, pod: PodSim) -> None:
        """Do as a controller does for a node that is cut off: it knows nothing of the containers."""
        if pod.exists:
            self.world.note(f"{pod.name}: marked as failed")
            change = {"status": {"phase": "Failed"}}
            self.world.store.patch(PODS, NAMESPACE, pod.name, Patch(media_type=MERGE, value=change), STATUS)

    def changed(self, pod: PodSim) -> None:
        if not pod.reporting and pod.exists:
            pod.reporting = True
            self.world.after(self.world.some(self.world.chaos.reports), lambda: self._report(pod))

    def _report(self, pod: PodSim) -> None:
        world = self.world
        if world.now < pod.node.silent_until:
            world.after(pod.node.silent_until - world.now + 0.01, lambda: self._report(pod))
            return
        pod.reporting = False
        report = self._status(pod)
        pod.sent = max(pod.sent, world.now + world.some(0.1))
        over = pod.doomed and not any(lives[-1].alive for lives in pod.lives.values())
        world.after(pod.sent - world.now, lambda: self._send(pod, report, over=over))

    def _send(self, pod: PodSim, report: Json, *, over: bool) -> None:
        if not pod.exists:
            return
        change = Patch(media_type=MERGE, value={"status": report})
        self.world.store.patch(PODS, NAMESPACE, pod.name, change, STATUS)
        for life in self.world.lives_told_of(pod.uid, report):
            life.told = min(life.told, self.world.now)
        if over:
            pod.exists = False
            self.world.after(self.world.some(0.8), lambda: self._remove(pod))

    def _remove(self, pod: PodSim) -> None:
        self.world.delete(PODS, pod.name, DeleteOptions(grace_seconds=0))

    def _status(self, pod: PodSim) -> Json:
        over = not pod.pending and not any(lives[-1].alive for lives in pod.lives.values())
        final = over and (pod.doomed or not pod.restarts)
        report: Json = {"phase": self.world.chance.choice(["Succeeded", "Failed"]) if final else "Running"}
        for container, lives in pod.lives.items():
            now, before = lives[-1], lives[-2] if len(lives) > 1 else None
            state: Json
            if now.alive:
                state = {"running": {"startedAt": cut(now.started)}}
            elif container in pod.pending and self.world.chance.random() < 0.5:
                state, before = {"waiting": {"reason": "CrashLoopBackOff"}}, now
            else:
                state = self._record(now)
            one = {"name": container, "state": state, "lastState": self._record(before) if before else {}}
            one |= {"restartCount": len(lives) - 1, "ready": now.alive, "image": "x", "imageID": "x"}
            report.setdefault(pod.lists[container], []).append(one)
        return report

    def _record(self, life: Instance) -> Json:
        if self.world.chaos.trouble and self.world.chance.random() < 0.05:
            lost = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}
            return {"terminated": lost}
        assert life.ended is not None
        times = {"startedAt": cut(life.started), "finishedAt": cut(life.ended)}
        return {"terminated": {"exitCode": 137, "reason": "Error", **times}}


def cut(seconds: float) -> str:
    """Write a time as Kubernetes does, cut to whole seconds."""
    return at(seconds).isoformat(timespec="seconds").replace("+00:00", "Z")
