"""What kopf keeps of each object, kept no more: handlers of events need none of it.

No storage, no differences, no memories. That halves the work per event, and leaves no trace of objects that vanished
while nobody watched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory  # the type of kopf.operator(memories=)

if TYPE_CHECKING:
    from tasklock.lease import Json


class NoProgress(kopf.ProgressStorage):
    """Stores nothing: handlers of events have no progress."""

    def fetch(self, **_: object) -> None:
        """Know of nothing."""

    def store(self, **_: object) -> None:
        """Do nothing."""

    def purge(self, **_: object) -> None:
        """Do nothing."""

    def touch(self, **_: object) -> None:
        """Do nothing."""

    def clear(self, *, essence: Any) -> Any:  # noqa: ANN401 - kopf's signature
        """Return what is given: there is nothing of ours in it."""
        return essence


class NoDiffBase(kopf.DiffBaseStorage):
    """Compares nothing: handlers of events want no differences."""

    def build(self, **_: object) -> Any:  # noqa: ANN401 - kopf's signature
        """Return nothing of an object."""
        return {}

    def fetch(self, **_: object) -> None:
        """Know of nothing."""

    def store(self, **_: object) -> None:
        """Do nothing."""


class NoMemories(ResourceMemories):
    """Remembers no object: kopf would keep some kilobytes of each, and for ever where it gets no DELETED."""

    async def recall(self, raw_body: Json, *, memobase: Any = None, **_: Any) -> ResourceMemory:  # type: ignore[override] # noqa: ANN401, ARG002 - kopf's signature
        """Return a memory that nobody keeps; the memo is the operator's."""
        return ResourceMemory(memo=memobase)

    async def forget(self, raw_body: Json) -> None:  # type: ignore[override]
        """Do nothing."""
