"""Trouble that lasts is told once when it begins, once when it changes, and once when it is over."""

from __future__ import annotations

import logging
import time
from typing import Final

from tasklock.naming import shortened
from tasklock.protocol.effects import FORBIDDEN, UNAUTHORIZED, Reply

FIRST_PAUSE: Final = 0.25  # seconds; doubled each time
LAST_PAUSE: Final = 5.0
OTHERWISE: Final = 5.0  # seconds for which it has to be another trouble until that is told

_log = logging.getLogger("tasklock_operator")


class Trouble:
    """What stands in the way of one thing that is tried again and again, for ever."""

    def __init__(self, what: str) -> None:
        """Name it, so that it fits into "cannot <what>" and into "able to <what> again"."""
        self.what = what
        self.ended = float("-inf")  # when, on the monotonic clock
        self._kind: object = None
        self._other: tuple[object, float] = (None, 0.0)
        self._since = 0.0
        self._failures = 0

    def __bool__(self) -> bool:
        return self._kind is not None

    def met(self, reply: Reply, *, hint: str = "") -> None:
        """Take notice of a request that failed."""
        self.met_as(reply.status, describe(reply, hint=hint))

    def met_as(self, kind: object, sentence: str) -> None:
        """Take notice of a failure of some kind; the first is told, and one of another kind that lasts."""
        now = time.monotonic()
        self._failures += 1
        if self._kind is None:
            self._since = now
        elif kind == self._kind:
            self._other = (None, now)
            return
        elif kind != self._other[0]:
            self._other = (kind, now)
            return
        elif now - self._other[1] < OTHERWISE:
            return
        self._kind = kind
        _log.warning("cannot %s: %s (tried again until it works; not repeated here)", self.what, sentence)

    def over(self) -> None:
        """Take notice of a success."""
        if self._kind is None:
            return
        now = time.monotonic()
        _log.info("able to %s again, after %.1f s", self.what, now - self._since)
        self._kind, self._failures, self.ended = None, 0, now

    @property
    def pause(self) -> float:
        """Seconds to wait before the next try."""
        return min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(max(0, self._failures - 1), 10))


class Troubles:
    """The same trouble in several namespaces: a missing Role is one of its own, an API server that is away is not."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._known: dict[str, Trouble] = {}

    def met(self, namespace: str, reply: Reply, *, hint: str = "") -> float:
        """Take notice of a request that failed; return how many seconds to wait."""
        if reply.status == FORBIDDEN:
            key, what = namespace, f"{self._what} in namespace {namespace}"
        else:
            key, what = "", self._what
        trouble = self._known.setdefault(key, Trouble(what))
        trouble.met(reply, hint=hint)
        return trouble.pause

    def over(self, namespace: str) -> None:
        """Take notice of a success."""
        for key in ("", namespace):
            if (trouble := self._known.pop(key, None)) is not None:
                trouble.over()


def describe(reply: Reply, *, hint: str = "") -> str:
    """Say in a sentence why a request failed; ``hint`` is what to do about a 403."""
    if reply.status == 0:
        return reply.error
    said = shortened(reply.message, limit=300)
    if reply.status == FORBIDDEN and hint:
        return f"403 {said}: {hint}"
    if reply.status == UNAUTHORIZED:
        return f"401 {said}: the credentials are not accepted, and fresh ones could not be read"
    return f"{reply.status} {said}"
