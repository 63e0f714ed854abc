"""The operator: its real Book, around it what the reaper and the watches do; and the kubelets that report to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulation.world import Process
from tasklock.lease import LABEL_MANAGED_BY, MANAGED_BY
from tasklock.protocol.effects import (
    ACCEPTED,
    CONFLICT,
    NOT_FOUND,
    OK,
    Event,
    Next,
    Now,
    Reply,
    Send,
    Sleep,
    Time,
    Watch,
)
from tasklock.protocol.release import deletion
from tasklock.testing.times import format_time
from tasklock_operator.book import Book

if TYPE_CHECKING:
    from collections.abc import Generator

    from simulation.client import Client
    from simulation.world import World
    from tasklock_operator.book import Reap

PATIENCE = 60.0  # seconds without an event after which the watch is taken for dead


class Operator(Process):
    """One operator process. Its book is new at every start."""

    def __init__(self, kubelets: Kubelets, **process: Any) -> None:
        super().__init__(**process)
        self.book = Book()
        kubelets.operators.append(self)
        for pod in kubelets.pods.values():
            kubelets.tell(pod, self)
        self.start(self._watching(), name="watching")

    def _watching(self) -> Generator[Any, Any, None]:
        query = (("labelSelector", f"{LABEL_MANAGED_BY}={MANAGED_BY}"),)
        while True:
            now: Time = yield Now()
            asked = now.clock
            reply: Reply = yield Send(method="GET", query=query, timeout=5.0)
            if reply.status == OK and reply.body is not None:
                items = reply.body["items"]
                for obj in items:
                    self.book.lease_seen(obj, reply.received)
                self.book.relisted("leases", None, {obj["metadata"]["uid"] for obj in items}, asked)
                version = reply.body["metadata"]["resourceVersion"]
                reply = yield Watch(lease="", version=version, seconds=300.0, timeout=5.0)
                if reply.status == OK:
                    yield from self._listen(reply.received)
                    continue
            yield Sleep(reply.received + 1.0)

    def _listen(self, heard: float) -> Generator[Any, Any, None]:
        while True:
            due = self.book.next_due()
            event: Event = yield Next(heard + PATIENCE if due is None else min(due, heard + PATIENCE))
            if event.kind == "ENDED" or event.at > heard + PATIENCE:
                yield Sleep(event.at + 0.1)
                return
            if event.kind == "DELETED":
                self.book.lease_gone(event.object, event.at)
            elif event.kind != "QUIET":
                self.book.lease_seen(event.object, event.at)
            heard = heard if event.kind == "QUIET" else event.at
            self.reap(event.at)

    def reap(self, now: float) -> None:
        for reap in self.book.due(now):
            self.start(self._reaping(reap), name="reaping", about=reap.reason)

    def _reaping(self, reap: Reap) -> Generator[Any, Any, None]:
        reply: Reply = yield deletion(reap.entry.lease, uid=reap.entry.uid, version=reap.entry.version)
        if reply.status in {OK, ACCEPTED, NOT_FOUND}:
            self.book.settled(reap, "gone", reply.received)
        else:
            self.book.settled(reap, "changed" if reply.status == CONFLICT else "failed", reply.received)


class Kubelets:
    """Tells operators of containers that ended, by the clock of their node, late and without what came in between."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.operators: list[Operator] = []
        self.pods: dict[str, dict[str, Any]] = {}
        self._instances: dict[str, list[list[str]]] = {}  # of a pod's container: when each started, and ended

    def started(self, client: Client, pod_uid: str) -> None:
        self._instances.setdefault(pod_uid, []).append([format_time(client.wall())])

    def ended(self, client: Client, pod_uid: str, *, after: float, final: bool) -> None:
        self._instances[pod_uid][-1].append(format_time(client.wall()))
        self.world.at(self.world.now + after, self._report, pod_uid, final)

    def _report(self, pod_uid: str, final: bool) -> None:  # noqa: FBT001 - a callback's argument
        instances = self._instances[pod_uid]
        status: dict[str, Any] = {"name": "main", "state": _state(instances[-1])}
        if len(instances) > 1:
            status["lastState"] = _state(instances[-2])
        phase = "Failed" if final and len(instances[-1]) > 1 else "Running"
        self.pods[pod_uid] = {
            "metadata": {"name": f"pod-{pod_uid}", "namespace": "default", "uid": pod_uid},
            "status": {"phase": phase, "containerStatuses": [status]},
        }
        for operator in self.operators:
            self.tell(self.pods[pod_uid], operator)

    def tell(self, pod: dict[str, Any], operator: Operator) -> None:
        def told() -> None:
            if operator.paused_until > self.world.now:
                self.world.at(operator.paused_until, told)
            elif operator.alive:
                operator.book.pod_seen(pod, operator.clock())
                operator.reap(operator.clock())

        self.world.at(self.world.now + 0.01, told)


def _state(instance: list[str]) -> dict[str, Any]:
    if len(instance) == 1:
        return {"running": {"startedAt": instance[0]}}
    return {"terminated": {"startedAt": instance[0], "finishedAt": instance[1], "exitCode": 137, "reason": "Error"}}
