"""What is held and who waits, seen at one moment: filtered, sorted, cut to a page. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from tasklock_operator.ages import State, held_for, state_of, time_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from tasklock_operator.entry import Entry
    from tasklock_operator.query import Query

SUGGESTED: Final = 100  # namespaces and apps that the filter's fields offer

_Place = tuple[str, str]  # namespace, and the Lease's name without the part of a ticket or a slot
_SLOT = re.compile(r"\.s\.[0-9]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock that is held; or that nobody holds yet though somebody waits (``free``).

    Attributes:
        entry: its Lease; where it is free, the ticket of the first in the queue.
        lease: the Lease's name, be there one or not.
        age: seconds that it has been held, or that the first has waited.
        left: seconds until its ttl has passed; negative since then.
        waiters: the tickets in the order of the queue.

    """

    entry: Entry
    lease: str
    state: State
    age: float
    left: float
    waiters: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The locks that were asked for, and how many there are of all.

    Attributes:
        locks: the page of them; ``matching`` is how many there are on all pages.
        held, waiting, overdue, stale: of everything, whatever was asked for; ``oldest`` is in seconds.
        namespaces, apps: those there are, to choose from.

    """

    locks: tuple[Lock, ...]
    matching: int
    held: int
    waiting: int
    overdue: int
    stale: int
    oldest: float
    namespaces: tuple[str, ...]
    apps: tuple[str, ...]


def picture(entries: Iterable[Entry], query: Query, *, now: float, wall: datetime) -> Picture:
    """Draw what ``query`` asks for; ``now`` is the operator's clock, ``wall`` its time of day."""
    held: list[Entry] = []
    queues: dict[_Place, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.queue is None:
            held.append(entry)
        else:
            queues[entry.namespace, entry.lease.rpartition(".q.")[0]].append(entry)
    for tickets in queues.values():
        tickets.sort(key=_turn)
    late = [state_of(entry, now) for entry in held if now - entry.last_changed > entry.ttl]
    sights = [_Sight(entry, held_for(entry, now=now, wall=wall)) for entry in held]
    oldest = max((sight.age for sight in sights), default=0.0)
    if queues:
        sights = [*_joined(sights, queues, now=now, wall=wall)]
    namespaces, apps = {sight.entry.namespace for sight in sights}, {sight.entry.app for sight in sights}
    if query.filtered:
        wanted = _filter(query, now)
        sights = [sight for sight in sights if wanted(sight)]
    key, reverse = _SORT[query.sort.removeprefix("-")], query.sort.startswith("-")
    sights.sort(key=lambda sight: (key(sight), sight.entry.namespace, sight.entry.lease), reverse=reverse)
    return Picture(
        locks=tuple(_lock(sight, now) for sight in sights[query.offset : query.offset + query.limit]),
        matching=len(sights),
        held=len(held),
        waiting=sum(map(len, queues.values())),
        overdue=late.count("overdue"),
        stale=late.count("stale"),
        oldest=oldest,
        namespaces=tuple(sorted(namespaces)[:SUGGESTED]),
        apps=tuple(sorted(apps)[:SUGGESTED]),
    )


class _Sight(NamedTuple):
    """What there is of each of ten thousand locks; the few that are shown become a Lock."""

    entry: Entry
    age: float
    waiters: Sequence[Entry] = ()
    free: bool = False


def _joined(
    sights: Iterable[_Sight], queues: Mapping[_Place, list[Entry]], *, now: float, wall: datetime
) -> Iterable[_Sight]:
    """Yield all that is held with those who wait for it, then the queues for what nobody holds."""
    taken: set[_Place] = set()
    for sight in sights:
        place = (sight.entry.namespace, _base(sight.entry.lease))
        if waiters := queues.get(place):
            taken.add(place)
            yield sight._replace(waiters=waiters)
        else:
            yield sight
    for place, tickets in queues.items():
        if place not in taken:
            yield _Sight(tickets[0], held_for(tickets[0], now=now, wall=wall), tickets, free=True)


def _lock(sight: _Sight, now: float) -> Lock:
    entry = sight.entry
    return Lock(
        entry=entry,
        lease=entry.lease.rpartition(".q.")[0] if sight.free else entry.lease,
        state="free" if sight.free else state_of(entry, now),
        age=sight.age,
        left=time_left(entry, now),
        waiters=tuple(sight.waiters),
    )


def _base(lease: str) -> str:
    """Return the name that the tickets begin with: a semaphore's slots share one queue."""
    return _SLOT.sub("", lease) if ".s." in lease else lease


def _turn(ticket: Entry) -> tuple[int, str]:
    return (ticket.token if ticket.token is not None else 1 << 64, ticket.lease)


def _filter(query: Query, now: float) -> Callable[[_Sight], bool]:
    lock, namespace, app, holder = (text.casefold() for text in (query.lock, query.namespace, query.app, query.holder))

    def wanted(sight: _Sight) -> bool:
        entry = sight.entry
        return (
            (not namespace or namespace in entry.namespace)
            and (not app or app in entry.app)
            and (not lock or lock in entry.name.casefold() or lock in entry.lease)
            and (not query.state or _is(sight, query.state, now))
            and (not holder or any(holder in name.casefold() for name in _people(sight)))
        )

    return wanted


def _is(sight: _Sight, state: str, now: float) -> bool:
    if state == "waiting":
        return bool(sight.waiters)
    return not sight.free and state_of(sight.entry, now) == state


def _people(sight: _Sight) -> Iterable[str]:
    """Yield every name by which one would look for a holder, or for who waits."""
    for entry in (sight.entry, *sight.waiters):
        yield entry.holder or ""
        yield entry.pod or ""


_SORT: Final[dict[str, Callable[[_Sight], float | str]]] = {
    "age": lambda sight: sight.age,
    "left": lambda sight: sight.entry.last_changed + sight.entry.ttl,
    "lock": lambda sight: sight.entry.name.casefold(),
    "namespace": lambda sight: sight.entry.namespace,
    "app": lambda sight: sight.entry.app,
    "holder": lambda sight: (sight.entry.holder or "").casefold(),
    "waiting": lambda sight: len(sight.waiters),
}
