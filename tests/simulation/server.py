"""The API server of a simulation: the store model, its watches, and its own bad days.

A request is carried out at one moment, when it arrives. A LIST without a resourceVersion is a quorum read and never
stale; one from the cache (``resourceVersion=0``) is as old as the cache is, and so is a watch.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from simulation.world import EPOCH
from tasklock.protocol.effects import CREATED, OK, Reply, Send, Watch
from tasklock.testing import patch as patches
from tasklock.testing.deletes import DeleteOptions
from tasklock.testing.kinds import LEASES
from tasklock.testing.selectors import Selector, select
from tasklock.testing.status import StatusError, already_exists
from tasklock.testing.store import Store
from tasklock.testing.writes import PLAIN_WRITE, Patch, WriteOptions, Written

if TYPE_CHECKING:
    from simulation.network import Stream
    from simulation.referee import Referee
    from simulation.world import Asker, World
    from tasklock.testing.kinds import Kind

Json = dict[str, Any]

NAMESPACE = "default"
OURS = WriteOptions(manager="tasklock")
EVERYTHING = select(LEASES, namespace=NAMESPACE)


class QuickStore(Store):
    """The store, which refuses a create of a name that is taken before it reads the body: ours are always sound."""

    def create(self, kind: Kind, namespace: str, value: object, options: WriteOptions = PLAIN_WRITE) -> Written:
        name = value["metadata"].get("name") if isinstance(value, dict) else None
        if (namespace, name) in self._objects[kind.stored_as]:
            self._uids()  # as it would
            raise already_exists(kind, str(name), being_deleted=False, generated=False)
        return super().create(kind, namespace, value, options)


class Server:
    """Carries out requests one at a time, tells the referee of every change, and may be down."""

    def __init__(self, world: World, *, exact: bool = False) -> None:
        """Begin empty; ``exact`` takes no short cut through the store."""
        self.world = world
        self.up = True
        self.lag = 0.0  # seconds by which the watch cache is behind
        self.referee: Referee | None = None
        self._asker: Asker | None = None
        uids = count(1)
        self.store = (Store if exact else QuickStore)(
            clock=lambda: EPOCH + timedelta(seconds=world.now), uids=lambda: f"uid-{next(uids)}"
        )
        self.store.watch(LEASES, EVERYTHING, self._changed, since=None)
        self._open: dict[Stream, None] = {}

    @property
    def revision(self) -> int:
        return self.store.revision

    def _changed(self, event: Any) -> None:
        if self.referee is not None:
            self.referee.changed(event.type, event.object, self._asker)

    def perform(self, asker: Asker | None, effect: Send, *, copy: bool = False) -> Reply:
        """Carry out a request of ``asker``, None for a meddler; ``copy`` of one that arrived before."""
        self._asker = asker
        if self.referee is not None and asker is not None:
            self.referee.asked(asker, effect, copy=copy)
        try:
            status, body = self._do(effect)
        except StatusError as error:
            return Reply(
                status=error.code, body=error.json, retry_after=1.0 if "Retry-After" in error.headers else None
            )
        finally:
            self._asker = None
        return Reply(status=status, body=body, date=EPOCH + timedelta(seconds=int(self.world.now)))

    def _do(self, effect: Send) -> tuple[int, Json]:
        """Carry it out by the store; a PUT and a deletecollection too, though the protocol knows neither."""
        store, lease, body = self.store, effect.lease or "", effect.body or {}
        wanted = body.get("preconditions") or {}
        options = DeleteOptions(uid=wanted.get("uid"), resource_version=wanted.get("resourceVersion"))
        match (effect.method, bool(lease)):
            case "POST", _:
                done: Any = store.create(LEASES, NAMESPACE, body, OURS).obj
            case "GET", True:
                done = store.get(LEASES, NAMESPACE, lease)
            case "GET", False:
                done = self._list(dict(effect.query))
            case "PATCH", _:
                change = Patch(media_type=patches.MERGE, value=body)
                done = store.patch(LEASES, NAMESPACE, lease, change, OURS).obj
            case "DELETE", True:
                gone = store.delete(LEASES, NAMESPACE, lease, options).obj
                done = {"kind": "Status", "details": {"uid": gone["metadata"]["uid"]}}
            case "DELETE", False:
                done = {"items": store.delete_collection(LEASES, _selector(dict(effect.query)), options)}
            case _:
                done = store.update(LEASES, NAMESPACE, lease, body, OURS).obj
        return CREATED if effect.method == "POST" else OK, done

    def _list(self, query: dict[str, str]) -> Json:
        revision = self.revision
        if query.get("resourceVersion") == "0" and self.lag:
            revision = max(self.store.compacted, 1, revision - 3)
        items = self.store.list(LEASES, _selector(query), revision=revision if revision < self.revision else None)
        return {"kind": "LeaseList", "metadata": {"resourceVersion": str(revision)}, "items": items}

    def open(self, effect: Watch, stream: Stream) -> Reply:
        """Open a watch from a version: of one Lease, or of all where it names none."""
        selector = Selector(namespace=NAMESPACE, name=effect.lease) if effect.lease else EVERYTHING
        since = int(effect.version) or None  # None: whatever is there now comes as ADDED, then what follows
        try:
            stop = self.store.watch(LEASES, selector, stream.deliver, since=since)
        except StatusError as error:
            if self.referee is not None:
                self.referee.too_old(stream.task)
            if self.revision % 2:  # both are seen: a refusal at once, and a stream that begins with an ERROR
                return Reply(status=error.code, body=error.json)
            self.world.at(self.world.now, stream.end)
            return Reply(status=OK)

        def forget() -> None:
            stop()
            self._open.pop(stream, None)

        if self.referee is not None:
            self.referee.opened(stream.task)
        stream.stop = forget
        self._open[stream] = None
        stream.opened(effect.seconds)
        return Reply(status=OK)

    def restart(self, seconds: float, *, silent: bool, lag: float) -> None:
        """Go down for ``seconds``: all watches break (or fall ``silent``), and none begins from before again."""
        self.up = False
        self.world.say("server", f"goes down for {seconds:.2f} s")
        for stream in [*self._open]:
            (stream.fall_silent if silent else stream.end)()

        def back() -> None:
            self.up = True
            self.compact()
            self.lag = lag
            self.world.say("server", f"is up again, its watch cache {lag:.2f} s behind")
            self.world.at(self.world.now + 30.0, self._catch_up)

        self.world.at(self.world.now + seconds, back)

    def _catch_up(self) -> None:
        self.lag = 0.0

    def compact(self) -> None:
        self.store.compact()


def _selector(query: dict[str, str]) -> Selector:
    field = query.get("fieldSelector", "")
    if field.startswith("metadata.name="):
        return Selector(namespace=NAMESPACE, name=field.removeprefix("metadata.name="))
    return select(LEASES, namespace=NAMESPACE, labels=query.get("labelSelector", ""))
