"""What an API server told, with the moment at which it arrived on this machine's monotonic clock."""

from __future__ import annotations

import threading
import time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.rest import Rest

_SILENCE_SECONDS: Final = 600.0


class Change(NamedTuple):
    """One event of a watch."""

    moment: float
    type: str
    object: dict[str, Any]

    @property
    def name(self) -> str:
        name: str = self.object["metadata"]["name"]
        return name

    @property
    def uid(self) -> str:
        uid: str = self.object["metadata"]["uid"]
        return uid

    def annotation(self, name: str) -> str:
        """Return one of ours, or the empty string."""
        found: str = self.object["metadata"].get("annotations", {}).get(f"tasklock.dev/{name}", "")
        return found


class Watcher:
    """Watches a collection in a thread and remembers everything: ``with Watcher(rest, path) as leases:``."""

    def __init__(self, rest: Rest, path: str) -> None:
        self._rest = rest
        self._path = path
        self._changes: list[Change] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave the thread to the end of its connection, which the end of the API server brings about."""

    def of(self, name: str, *, after: float = 0.0) -> list[Change]:
        """Return what happened to an object."""
        with self._news:
            return [change for change in self._changes if change.name == name and change.moment > after]

    def wait(
        self,
        name: str,
        kind: str,
        *,
        after: float = 0.0,
        seconds: float = 30.0,
        where: Callable[[Change], bool] = lambda _: True,
    ) -> Change:
        """Return the first event of a type after a moment."""
        deadline = time.monotonic() + seconds
        while True:
            with self._news:
                for change in self._changes:
                    if change.moment > after and change.name == name and change.type == kind and where(change):
                        return change
                rest = deadline - time.monotonic()
                if rest <= 0:
                    seen = [(f"{one.moment - after:.2f}", one.type) for one in self._changes if one.name == name]
                    message = f"no {kind} of {name} within {seconds} s; seen: {seen}"
                    raise AssertionError(message)
                self._news.wait(rest)

    def holder(self, name: str) -> Change | None:
        """Return the newest state of a Lease, None when there is none now."""
        newest = self.of(name)[-1:]
        return newest[0] if newest and newest[0].type != "DELETED" else None

    def _watch(self) -> None:
        try:
            with self._rest.watch(self._path, answer_seconds=_SILENCE_SECONDS) as events:
                for event in events:
                    change = Change(time.monotonic(), event["type"], event["object"])
                    with self._news:
                        self._changes.append(change)
                        self._news.notify_all()
        except (OSError, ValueError, HTTPException):
            return
