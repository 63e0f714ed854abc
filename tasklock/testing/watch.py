"""The history of all changes, and who watches it: replay after a version, live delivery, compaction."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .convert import present
from .status import expired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .kinds import Kind
    from .selectors import Selector

Json = dict[str, Any]

ADDED, MODIFIED, DELETED, BOOKMARK, ERROR = "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"


@dataclass(frozen=True, kw_only=True)
class WatchEvent:
    """What a watcher sees: a type and the whole object."""

    type: str
    object: Json

    @cached_property
    def line(self) -> bytes:
        """The event as one line of JSON, made once however many watch."""
        return json.dumps({"type": self.type, "object": self.object}, separators=(",", ":")).encode() + b"\n"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One write: the object before (None: it was created) and after (None: it is gone), at `revision`."""

    revision: int
    stored_as: str
    key: tuple[str, str]
    old: Json | None
    new: Json | None
    _memo: dict[tuple[str, str], WatchEvent] = field(default_factory=dict)

    def seen_by(self, kind: Kind, selector: Selector) -> WatchEvent | None:
        """Make the event for such a watcher; an object that stops matching its selector is deleted to it."""
        was = self.old is not None and selector.matches(present(kind, self.old))
        now = self.new is not None and selector.matches(present(kind, self.new))
        if now:
            return self._event(MODIFIED if was else ADDED, kind)
        return self._event(DELETED, kind) if was else None

    def _event(self, type_: str, kind: Kind) -> WatchEvent:
        memo = self._memo.get((type_, kind.group))
        if memo is None:
            shown = self.new
            if type_ == DELETED and self.old is not None:
                metadata = self.old["metadata"] | {"resourceVersion": str(self.revision)}
                shown = self.old | {"metadata": metadata}
            assert shown is not None  # noqa: S101 - a change has a side
            memo = self._memo[type_, kind.group] = WatchEvent(type=type_, object=present(kind, shown))
        return memo


@dataclass(kw_only=True, eq=False)
class Watch:
    """A live watch: `deliver` is called with each event, in order, from within the write that makes it."""

    kind: Kind
    selector: Selector
    deliver: Callable[[WatchEvent], None]

    @property
    def pinned(self) -> tuple[str, str, str] | None:
        """Storage, namespace and name, where the watch can see only one object."""
        selector = self.selector
        if selector.name is None or (selector.namespace is None and self.kind.namespaced):
            return None
        return (self.kind.stored_as, selector.namespace or "", selector.name)


class History:
    """All changes of all kinds in order, the newest `limit` of them kept."""

    def __init__(self, *, limit: int) -> None:
        self.compacted = 0
        self._limit = limit
        self._changes: list[Change] = []
        self._pinned: defaultdict[tuple[str, str, str], dict[Watch, None]] = defaultdict(dict)
        self._broad: defaultdict[str, dict[Watch, None]] = defaultdict(dict)

    def append(self, change: Change) -> None:
        """Remember the change and tell everybody who watches."""
        self._changes.append(change)
        if len(self._changes) > 2 * self._limit:
            self.compact(self._changes[self._limit].revision)
        pinned = self._pinned.get((change.stored_as, *change.key), ())
        for watch in [*pinned, *self._broad.get(change.stored_as, ())]:
            event = change.seen_by(watch.kind, watch.selector)
            if event is not None:
                watch.deliver(event)

    def after(self, revision: int) -> list[Change]:
        """All changes later than `revision`. Raises StatusError 410 when some of them are forgotten."""
        if revision < self.compacted:
            message = f"too old resource version: {revision} ({self.compacted})"
            raise expired(message)
        return self._changes[bisect_right(self._changes, revision, key=lambda change: change.revision) :]

    def compact(self, revision: int) -> None:
        """Forget all changes up to and including `revision`."""
        keep = bisect_right(self._changes, revision, key=lambda change: change.revision)
        del self._changes[:keep]
        self.compacted = max(self.compacted, revision)

    def attach(self, watch: Watch) -> None:
        """Deliver events to this watch from now on."""
        if watch.pinned is None:
            self._broad[watch.kind.stored_as][watch] = None
        else:
            self._pinned[watch.pinned][watch] = None

    def detach(self, watch: Watch) -> None:
        """Deliver nothing more to it; a second call is harmless."""
        if watch.pinned is None:
            self._broad[watch.kind.stored_as].pop(watch, None)
            return
        watches = self._pinned.get(watch.pinned, {})
        watches.pop(watch, None)
        if not watches:
            self._pinned.pop(watch.pinned, None)

    def replay(self, kind: Kind, selector: Selector, revision: int) -> Iterable[WatchEvent]:
        """Give the events after `revision` for such a watcher. Raises StatusError 410."""
        for change in self.after(revision):
            if change.stored_as == kind.stored_as:
                event = change.seen_by(kind, selector)
                if event is not None:
                    yield event
