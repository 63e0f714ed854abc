"""What the kubelet's report of a Pod proves about who in it is dead, and nothing that it does not prove.

A container's process cannot be seen from here; its instances can. The kubelet reports of each finished instance when it
started and finished, by the clock of the node on which the holder read its ``acquireTime``, cut to whole seconds. With
``S`` and ``F`` as reported, the instance really ran from somewhere in [S, S+1) to somewhere in [F, F+1). Instances of
one container follow each other, so:

- ``acquired < F``: the acquire came before this instance ended, hence from it or from one before it. All are over.
- ``F <= acquired < F+1``: it may have come from the next instance, which lives. The same second proves nothing; neither
  does a bare ``terminated``, which says only that *some* instance ended.
- ``acquired < S``: it came from an instance before this one, unless the node's clock was set back. So this instance is
  not the holder's, and we wait for the report of the one that is, or for the Lease to expire.

An ``acquireTime`` in the very second of ``S`` may belong to the instance before this one: it is over as well.

A node's clock may be set back, and then a live instance acquires in the time of one before it. So times are not all:

- Who is dead writes nothing. A Lease that was written after the report that first told of an instance's end (by the API
  server's own count, the ``resourceVersion`` of both) is not that instance's.
- Where the clock was visibly set back between two instances (the later one starts in an earlier second than that in
  which the former finished), the former's times prove nothing.

What remains: a step back that cannot be seen, between the start of an instance and its acquire, before the kubelet has
told of the end of the one before; and a runtime that gives the Pod a kernel with a clock of its own.

A Pod that is over for good needs no name: every container has finished, and at least one of them later than the
acquire, in a second after it. For the phase alone proves nothing: a controller may set it while the kubelet is cut off,
on top of statuses that are old by then. That a Pod's object is gone proves nothing either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from tasklock.lease import parse_time
from tasklock_operator.entry import identity, is_later

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasklock.lease import Json
    from tasklock_operator.entry import Entry

Death = Literal["container-terminated", "pod-finished"]

LISTS: Final = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
MAX_EARLIER: Final = 8  # finished instances remembered of one Pod, where its newest report has fewer

_UNKNOWN = "ContainerStatusUnknown"  # the kubelet lost the container: its record is made up
_FINAL = ("Succeeded", "Failed")
_EVER = datetime.min.replace(tzinfo=UTC)
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Ended:
    """One finished instance of a container.

    Attributes:
        container: its name; None stands for the whole Pod, which is over for good.
        started, finished: by the node's clock, cut to seconds.
        told: the resourceVersion of the Pod's report that first told of it.

    """

    container: str | None
    started: datetime
    finished: datetime
    told: str = field(compare=False)

    def is_of(self, entry: Entry) -> bool:
        """Tell whether the holder of this Lease is over: it acquired in this time, and wrote nothing after it."""
        acquired = entry.acquired
        if acquired is None or is_later(entry.version, self.told):
            return False
        return self.started <= acquired < self.finished


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEvidence:
    """All that is worth keeping of a Pod.

    Attributes:
        namespace, uid: which Pod; its name proves nothing, the next Pod may have it too.
        ended: finished instances of its containers.
        over: the Pod's whole time up to when its last container finished, once it is over for good; else None.
        doubted: containers of which this report shows that the clock was set back after an earlier instance.

    """

    namespace: str
    uid: str
    ended: tuple[Ended, ...]
    over: Ended | None
    doubted: tuple[str, ...] = ()

    def after(self, earlier: PodEvidence | None) -> PodEvidence:
        """Add what an earlier report of the same Pod proved: an instance that is over stays over."""
        if earlier is None:
            return self
        told = {one: one for one in earlier.ended}
        ended = [told.pop(one, one) for one in self.ended]
        ended += [one for one in told if one.container not in self.doubted]
        overs = [one for one in (earlier.over, self.over) if one]
        over = max(overs, key=lambda one: one.finished, default=None)  # of two that are equal, the earlier
        return replace(self, ended=tuple(ended[: max(len(self.ended), MAX_EARLIER)]), over=over)


def evidence_of(pod: Json) -> PodEvidence | None:
    """Read what a Pod's status proves; None, at next to no cost, where nothing of it has ended."""
    status = _mapping(pod.get("status"))
    uid, version = identity(pod)
    ended: list[Ended] = []
    doubted: list[str] = []
    for one in _statuses(status):
        state, last = _mapping(one.get("state")), _mapping(one.get("lastState")).get("terminated")
        if last is None and "terminated" not in state:
            continue
        name = one.get("name")
        if not isinstance(name, str):
            continue
        now = _ended(name, state.get("terminated"), version)
        before = _ended(name, last, version)
        end = _end_of(last)
        if end and any(began < end for began in _began(state)):
            doubted.append(name)
        elif before:
            ended.append(before)
        if now:
            ended.append(now)
    finished = _finished(status)
    over = Ended(None, _EVER, finished, version) if finished else None
    namespace = _mapping(pod.get("metadata")).get("namespace")
    if not (ended or over or doubted) or not isinstance(namespace, str) or not uid:
        return None
    return PodEvidence(namespace=namespace, uid=uid, ended=tuple(ended), over=over, doubted=tuple(doubted))


def death_of(entry: Entry, evidence: PodEvidence | None) -> Death | None:
    """Tell what proves that the holder of this Lease is dead; None where nothing does."""
    if evidence is None or entry.pod_uid != evidence.uid or entry.namespace != evidence.namespace:
        return None
    if any(one.container == entry.container and one.is_of(entry) for one in evidence.ended):
        return "container-terminated"
    return "pod-finished" if evidence.over is not None and evidence.over.is_of(entry) else None


def _finished(status: Mapping[str, Any]) -> datetime | None:
    """Return when the last container of a Pod ended that is over; None if any of them may run, or ran unseen.

    Without a status there is nothing to go by. A controller can mark a Pod as failed from what its kubelet last said,
    before it was cut off; whatever was started since acquires after all of these times.
    """
    if status.get("phase") not in _FINAL:
        return None
    times: list[datetime] = []
    for one in _statuses(status):
        end = _end_of(_mapping(one.get("state")).get("terminated"))
        if end is None:
            return None
        times.append(end)
    return max(times, default=None)


def _ended(name: str, record: object, told: str) -> Ended | None:
    started, finished = parse_time(_mapping(record).get("startedAt")), _end_of(record)
    return Ended(name, started, finished, told) if started and finished else None


def _end_of(record: object) -> datetime | None:
    terminated = _mapping(record)
    return None if terminated.get("reason") == _UNKNOWN else parse_time(terminated.get("finishedAt"))


def _began(state: Mapping[str, Any]) -> Iterator[datetime]:
    """Yield when the present instance started, whether or not it is told how it ended."""
    for key in ("running", "terminated"):
        if began := parse_time(_mapping(state.get(key)).get("startedAt")):
            yield began


def _statuses(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in LISTS:
        found = status.get(key)
        if isinstance(found, list):
            yield from (_mapping(one) for one in found)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else _NOTHING
