"""How old a lock is and whether it is still good, as this operator saw it. Pure: both clocks are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from tasklock_operator.entry import Entry

State = Literal["held", "overdue", "stale", "free"]

BELIEVABLE: Final = 10 * 365 * 86_400.0  # seconds; an older acquireTime is a wrong clock, or a joke


def held_for(entry: Entry, *, now: float, wall: datetime) -> float:
    """Return for how many seconds it has been held: by the holder's clock where that says more than was seen here.

    ``now`` is the operator's monotonic clock, ``wall`` its time of day.
    """
    seen = now - entry.first_seen
    if entry.acquired is None:
        return max(0.0, seen)
    said = (wall - entry.acquired).total_seconds()
    return max(0.0, seen, said if said < BELIEVABLE else 0.0)


def time_left(entry: Entry, now: float) -> float:
    """Return the seconds until its ttl has passed without a renewal that this operator saw; negative since then."""
    return entry.last_changed + entry.ttl - now


def state_of(entry: Entry, now: float) -> State:
    """Tell ``held``, ``overdue`` (its ttl has passed) or ``stale`` (and the margin too: the operator frees it)."""
    if now > entry.due:
        return "stale"
    return "overdue" if time_left(entry, now) < 0 else "held"
