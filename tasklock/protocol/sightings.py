"""What a contender knows of somebody else's Lease, and whether that is enough to end it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Literal

from tasklock.protocol.effects import IsDead, Now, Steps, Time
from tasklock.protocol.release import STALE_AFTER, find

if TYPE_CHECKING:
    from collections.abc import Container

    from tasklock.lease import Lease

LEFT_FOR: Final = 60.0  # seconds after a 403 to a takeover: a policy's lasts, that of a missing Role need not

Standing = Literal["held", "neighbour", "dead", "stale", "ours"]
ENDABLE: Final = frozenset({"dead", "stale", "ours"})


class Sightings:
    """What one client saw of other holders' Leases, and since when unchanged, over all its attempts."""

    LIMIT: Final = 10_000

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[str, str, float]] = OrderedDict()
        self._left: OrderedDict[str, float] = OrderedDict()  # by uid: when the cluster did not let us end it

    def unchanged_since(self, lease: Lease, now: float) -> float:
        """Take notice of ``lease`` as it is at ``now``; return the clock at which it was first seen just so."""
        uid, version, since = self._seen.get(lease.lease, ("", "", now))
        if (uid, version) != (lease.uid, lease.version):
            since = now
        self._seen[lease.lease] = (lease.uid, lease.version, since)
        self._seen.move_to_end(lease.lease)
        if len(self._seen) > self.LIMIT:
            self._seen.popitem(last=False)
        return since

    def leave(self, lease: Lease, now: float) -> None:
        """Take notice that the cluster did not let us end ``lease``: for a while it counts as held."""
        self._left[lease.uid] = now
        self._left.move_to_end(lease.uid)
        if len(self._left) > self.LIMIT:
            self._left.popitem(last=False)

    def may_end(self, lease: Lease, now: float) -> bool:
        """Tell whether the cluster would let us end ``lease``, as far as we know."""
        refused = self._left.get(lease.uid)
        return refused is None or now >= refused + LEFT_FOR

    def forget(self, lease: str) -> None:
        """Drop what was seen of ``lease``: it is gone, or ours."""
        self._seen.pop(lease, None)


def standing(lease: Lease, *, sightings: Sightings, abandoned: Container[str], takeover: bool) -> Steps[Standing]:
    """Say how a Lease stands: ``ours`` (an attempt we gave up), ``stale``, ``dead``, a live ``neighbour``, or ``held``.

    Stale: this very uid and resourceVersion, seen by this client for more than 1.1 times its ttl. Dead: its process ran
    on this machine and is no more. Without ``takeover`` both count as held.
    """
    now: Time = yield Now()
    since = sightings.unchanged_since(lease, now.clock)
    if not sightings.may_end(lease, now.clock):
        return "held"
    if lease.holder in abandoned:
        return "ours"
    if not takeover:
        return "held"
    if now.clock - since > lease.ttl * STALE_AFTER:
        return "stale"
    dead: bool | None = (yield IsDead(lease.process)) if lease.process else None
    if dead is None:
        return "held"
    return "dead" if dead else "neighbour"


def would_refuse(
    app: str, name: str, *, sightings: Sightings, abandoned: Container[str], takeover: bool
) -> Steps[bool]:
    """Tell whether an attempt to take lock ``name`` now would be refused. Raises as ``find`` does."""
    lease, _ = yield from find(app, name)
    if lease is None:
        return False
    state = yield from standing(lease, sightings=sightings, abandoned=abandoned, takeover=takeover)
    return state not in ENDABLE
