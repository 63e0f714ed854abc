"""A pure model of the API server: objects, one revision counter, the rules of every write; no clock, thread or chance.

For tests and demos only. Time and uids come from the caller, so that a simulator can drive it with virtual time.
Objects that it returns are its own: read them, never change them. `namespace` is "" for kinds without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import deletes, managedfields, writes
from .convert import present, store_as
from .deletes import PLAIN_DELETE, DeleteOptions
from .kinds import KINDS, NAMESPACES
from .status import already_exists, conflict, expired, internal, not_found, too_large_version, warned
from .times import format_time
from .watch import ADDED, Change, History, Watch, WatchEvent
from .writes import PLAIN_WRITE, WriteOptions, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from .kinds import Kind
    from .selectors import Selector

Json = dict[str, Any]
Objects = list[Json]
Warnings = list[str]
Key = tuple[str, str]

NAMESPACES_AT_START = ("default", "kube-node-lease", "kube-public", "kube-system")


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """A finished delete: `gone`, or still there with a deletionTimestamp because of finalizers or a grace period."""

    obj: Json
    gone: bool


class Store:
    """All objects of one API server.

    `clock` returns the time (aware, UTC), `uids` a new uid at each call. Every method that writes raises StatusError
    exactly where, and as, the real server refuses. The newest `history` changes can be watched from.
    """

    def __init__(self, *, clock: Callable[[], datetime], uids: Callable[[], str], history: int = 50_000) -> None:
        self.revision = 1
        self._clock = clock
        self._uids = uids
        self._objects: dict[str, dict[Key, Json]] = {kind.stored_as: {} for kind in KINDS}
        self._history = History(limit=history)
        for name in NAMESPACES_AT_START:
            self.create(NAMESPACES, "", {"metadata": {"name": name}})

    def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """One object. Raises StatusError 404."""
        return present(kind, self._live(kind, namespace, name))

    def list(self, kind: Kind, selector: Selector, *, revision: int | None = None) -> Objects:
        """All objects that match, by namespace and name; as they were at `revision`, if given.

        Raises StatusError 410 when that revision is compacted, 504 when it is still to come.
        """
        if revision is not None and revision > self.revision:
            raise too_large_version(revision, self.revision)
        objects = self._objects[kind.stored_as]
        if revision is not None and revision < self.revision:
            objects = self._at(kind, revision)
        elif selector.name is not None and selector.namespace is not None:
            key = (selector.namespace, selector.name)
            objects = {key: objects[key]} if key in objects else {}
        shown = (present(kind, objects[key]) for key in sorted(objects))
        return [obj for obj in shown if selector.matches(obj)]

    def create(self, kind: Kind, namespace: str, value: object, options: WriteOptions = PLAIN_WRITE) -> Written:
        """POST: exactly one create of a name succeeds. Raises StatusError 400, 404, 409, 422."""
        obj, warnings = writes.decode(kind, value, options)
        with warned(warnings):
            writes.check_namespace(kind, obj, namespace)
            writes.wipe(obj)
            return self._create(kind, namespace, obj, options, warnings)

    def update(
        self, kind: Kind, namespace: str, name: str, value: object, options: WriteOptions = PLAIN_WRITE
    ) -> Written:
        """PUT: replaces, **and creates what is missing** unless the body has a uid. Raises StatusError 4xx, 500."""
        obj, warnings = writes.decode(kind, value, options)
        with warned(warnings):
            writes.check_namespace(kind, obj, namespace)
            writes.check_name(obj, name)
            live = self._objects[kind.stored_as].get((namespace, name))
            uid = obj["metadata"].get("uid", "")
            if uid and uid != (live["metadata"]["uid"] if live else ""):
                raise writes.uid_conflict(kind, namespace, name, uid, live)
            if live is not None:
                return self._replace(kind, live, obj, options, warnings)
            if not kind.create_on_update or options.subresource:
                raise not_found(kind, name)
            if writes.requested_version(obj) and not options.dry_run:
                del obj["metadata"]["resourceVersion"]
            return self._create(kind, namespace, obj, options, warnings)

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: writes.Patch,
        options: WriteOptions = PLAIN_WRITE,
    ) -> Written:
        """PATCH an object that exists. Raises StatusError 400, 404, 409, 422."""
        live = self._live(kind, namespace, name)
        obj, warnings = writes.apply_patch(kind, present(kind, live), change, options)
        with warned(warnings):
            writes.check_namespace(kind, obj, namespace)
            writes.check_name(obj, name)
            return self._replace(kind, live, obj, options, warnings)

    def delete(self, kind: Kind, namespace: str, name: str, options: DeleteOptions = PLAIN_DELETE) -> Deleted:
        """DELETE: at once, unless finalizers or a grace period hold the object. Raises StatusError 404, 409."""
        live = self._live(kind, namespace, name)
        deletes.check_preconditions(kind, live, options)
        marked = deletes.mark_deleted(kind, live, options, format_time(self._clock()))
        if marked is None:
            if not options.dry_run:
                if kind is NAMESPACES:
                    self._empty(name)
                self._commit(kind, live, None)
            return Deleted(obj=present(kind, live), gone=True)
        if marked != live and not options.dry_run:
            marked = self._commit(kind, live, marked)
        return Deleted(obj=present(kind, marked), gone=False)

    def delete_collection(self, kind: Kind, selector: Selector, options: DeleteOptions = PLAIN_DELETE) -> Objects:
        """List, then delete by name, as the real one does: no precondition per object. Returns what it listed."""
        found = self.list(kind, selector)
        for obj in found:
            self.delete(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"], options)
        return found

    def watch(
        self, kind: Kind, selector: Selector, deliver: Callable[[WatchEvent], None], *, since: int | None
    ) -> Callable[[], None]:
        """Call `deliver` with every event after revision `since` (None: with all objects first); returns how to stop.

        Live events are delivered from within the write that makes them. Raises StatusError 410.
        """
        if since is None:
            for event in self.initial_events(kind, selector):
                deliver(event)
        else:
            for event in [*self.events_after(kind, selector, since)]:
                deliver(event)
        watch = Watch(kind=kind, selector=selector, deliver=deliver)
        self._history.attach(watch)
        return lambda: self._history.detach(watch)

    def initial_events(self, kind: Kind, selector: Selector) -> Iterable[WatchEvent]:
        """Give an ADDED for every object there is."""
        for obj in self.list(kind, selector):
            yield WatchEvent(type=ADDED, object=obj)

    def events_after(self, kind: Kind, selector: Selector, revision: int) -> Iterable[WatchEvent]:
        """Replay what happened since, as such a watcher sees it. Raises StatusError 410."""
        return self._history.replay(kind, selector, revision)

    @property
    def compacted(self) -> int:
        """The revision up to which history is forgotten."""
        return self._history.compacted

    def compact(self, revision: int | None = None) -> None:
        """Forget the history up to `revision` (None: all of it): watches from before then meet 410."""
        self._history.compact(self.revision if revision is None else revision)

    def _live(self, kind: Kind, namespace: str, name: str) -> Json:
        live = self._objects[kind.stored_as].get((namespace, name))
        if live is None:
            raise not_found(kind, name)
        return live

    def _at(self, kind: Kind, revision: int) -> dict[Key, Json]:
        if revision < self._history.compacted:
            message = "The provided resource version is too old to be listed: its history has been compacted."
            raise expired(message)
        objects = dict(self._objects[kind.stored_as])
        for change in reversed(self._history.after(revision)):
            if change.stored_as == kind.stored_as:
                objects.pop(change.key, None)
                if change.old is not None:
                    objects[change.key] = change.old
        return objects

    def _create(self, kind: Kind, namespace: str, obj: Json, options: WriteOptions, warnings: Warnings) -> Written:
        uid, now = self._uids(), format_time(self._clock())
        metadata = writes.new_metadata(kind, obj["metadata"], namespace=namespace, uid=uid, now=now)
        obj = obj | {"metadata": metadata}
        managedfields.track(kind.shape, None, obj, options.writer(kind, now))
        if kind.namespaced and ("", namespace) not in self._objects["namespaces"]:
            raise not_found(NAMESPACES, namespace)
        writes.prepare_create(kind, obj)
        writes.check_new(kind, obj)
        version, name = metadata.get("resourceVersion", ""), metadata["name"]
        if writes.parse_version(version) and not options.dry_run:
            message = "resourceVersion should not be set on objects to be created"
            raise internal(message)
        live = self._objects[kind.stored_as].get((metadata.get("namespace", ""), name))
        if live is not None:
            being_deleted, generated = "deletionTimestamp" in live["metadata"], "generateName" in metadata
            raise already_exists(kind, name, being_deleted=being_deleted, generated=generated)
        if not options.dry_run:
            obj = present(kind, self._commit(kind, None, store_as(kind, obj)))
        return Written(obj=obj, created=True, warnings=tuple(warnings))

    def _replace(self, kind: Kind, live: Json, obj: Json, options: WriteOptions, warnings: Warnings) -> Written:
        shown = present(kind, live)
        managedfields.track(kind.shape, shown, obj, options.writer(kind, format_time(self._clock())))
        managedfields.keep_old_times(shown, obj)
        version = writes.requested_version(obj)
        if not version and not kind.unconditional_update:
            raise writes.missing_version(kind, obj)
        if version and version != int(live["metadata"]["resourceVersion"]):
            raise conflict(kind, obj["metadata"]["name"])
        obj = writes.prepare_update(kind, shown, obj, options)
        writes.check_changed(kind, shown, obj)
        stored = store_as(kind, obj)
        if stored != live:
            if deletes.is_finished(stored):
                if not options.dry_run:
                    self._commit(kind, live, None)
            elif not options.dry_run:
                obj = present(kind, self._commit(kind, live, stored))
        return Written(obj=obj, created=False, warnings=tuple(warnings))

    def _commit(self, kind: Kind, old: Json | None, new: Json | None) -> Json:
        """Make the write: the one place where the revision grows."""
        self.revision += 1
        side = new if new is not None else old
        assert side is not None  # noqa: S101 - a change has a side
        metadata = side["metadata"] | {"resourceVersion": str(self.revision)}
        key = (metadata.get("namespace", ""), metadata["name"])
        side = side | {"metadata": writes.in_order(metadata)}
        if new is None:
            del self._objects[kind.stored_as][key]
        else:
            self._objects[kind.stored_as][key] = side
        after = None if new is None else side
        self._history.append(Change(revision=self.revision, stored_as=kind.stored_as, key=key, old=old, new=after))
        return side

    def _empty(self, namespace: str) -> None:
        for kind in KINDS:
            for obj in [*self._objects[kind.stored_as].values()]:
                if kind.namespaced and obj["metadata"].get("namespace") == namespace:
                    self._commit(kind, obj, None)
