"""A grant: one Lease object that is ours, until when we may rely on it, and how we would know that it is lost.

The holder knows first. It counts ``valid_until`` on its own clock, from before the first request that could have
carried its last answered renewal, and only for two thirds of the ttl; a contender waits for 1.1 times the ttl of
seeing no change before it takes over. A paused holder cannot know: only a store that checks ``token`` is safe then.

A loss is final: a late answer revives nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from tasklock.lease import TOKEN, Claim, Json, Lease, microtime
from tasklock.protocol.effects import (
    BAD_REQUEST,
    FORBIDDEN,
    NOT_FOUND,
    OK,
    UNAUTHORIZED,
    UNPROCESSABLE,
    Event,
    Next,
    Now,
    Reply,
    Send,
    Sleep,
    Steps,
    Time,
    Watch,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasklock.errors import LossReason
    from tasklock.protocol.effects import Verb

    Refused = Callable[[Reply, Verb], object]

VALIDITY: Final = 2 / 3  # of the ttl: how long an answered renewal lets the holder go on
RENEWAL: Final = 1 / 3  # of the ttl: when the next renewal is due
ATTEMPT: Final = 5.0  # seconds that one request may take while there is time for another
OURS: Final = ("holderIdentity", "leaseDurationSeconds", "acquireTime")  # the spec fields that we wrote once

EPOCH: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Loss:
    """That a held lock is held no more.

    Attributes:
        reason: ``deleted``, ``replaced``, ``expired`` or ``overwritten``.
        at: the clock when it was noticed, in seconds.

    """

    reason: LossReason
    at: float


class Grant:
    """One acquisition that succeeded. Renewed by ``renewing``, watched by ``expiring``, ended by ``release``."""

    def __init__(self, claim: Claim, lease: Lease, *, since: float, renew_time: datetime = EPOCH) -> None:
        """Take ``lease``, created by us for ``claim`` no earlier than ``since`` of the clock.

        ``renew_time`` is the last one that was sent for it before.
        """
        self.claim = claim
        self.ttl = min(claim.ttl, lease.ttl)  # what the cluster made of it is what contenders go by
        self.uid = lease.uid
        self.version = lease.version
        self.token = int(lease.version)
        self.since = since  # the clock before the first request that could have carried the last answered renewal
        self.loss: Loss | None = None
        self.over = False  # released, or being released: nothing is renewed or reported any more
        self.trouble: Reply | None = None  # the last renewal's answer, where it was none
        self.unsettled_until = 0.0  # until then a create of ours that was never answered may still arrive
        self._spec: Json = {field: lease.spec.get(field) for field in OURS}
        self.renew_time = max(renew_time, lease.renewed or EPOCH)  # the last one sent or seen: the next is later
        self._told_token = False

    @property
    def valid_until(self) -> float:
        """The clock after which this grant may not be relied upon."""
        return self.since + self.ttl * VALIDITY

    def check(self, now: float) -> Loss | None:
        """Return how the grant was lost, having looked at the clock."""
        if now >= self.valid_until:
            self.lose("expired", now)
        return self.loss

    def renewal(self, now: Time) -> Send:
        """Return the one request that renews: always with a later ``renewTime``, for a patch without change is none."""
        self.renew_time = max(now.wall, self.renew_time + timedelta(microseconds=1))
        metadata: Json = {"uid": self.uid}
        if not self._told_token:
            metadata["annotations"] = {TOKEN: str(self.token)}
        return Send(
            method="PATCH",
            lease=self.claim.lease,
            body={"metadata": metadata, "spec": {"renewTime": microtime(self.renew_time)}},
            timeout=max(0.001, min(self.valid_until - now.clock, ATTEMPT, max(0.5, self.ttl / 6))),
        )

    def renewed(self, reply: Reply) -> bool:
        """Take the answer to a renewal; return whether it renewed the grant. May find it lost."""
        if self.over or self.check(reply.received):  # over: a 404 is of our own doing
            return False
        self.trouble = reply
        if reply.status == OK:
            lease = Lease.parse(reply.body)
            if lease.uid != self.uid or lease.version == self.version:
                return False
            if {field: lease.spec.get(field) for field in OURS} != self._spec or lease.renewed != self.renew_time:
                self.lose("overwritten", reply.received)
                return False
            self.version, self.since, self._told_token, self.trouble = lease.version, reply.sent, True, None
            return True
        if reply.status == NOT_FOUND and reply.reason == "NotFound":
            self.lose("deleted", reply.received)
        elif reply.status == UNPROCESSABLE and reply.blames("metadata.uid"):
            self.lose("replaced", reply.received)
        return False

    def saw(self, lease: Lease | None, at: float) -> None:
        """Take notice of the Lease as a watch shows it, None where it is gone; the grant may be lost by that."""
        if self.over:
            return
        if lease is None:
            self.lose("deleted", at)
        elif lease.uid != self.uid:
            self.lose("replaced", at)
        elif {field: lease.spec.get(field) for field in OURS} != self._spec:
            self.lose("overwritten", at)

    def lose(self, reason: LossReason, at: float) -> None:
        """Mark the grant as lost; the first reason stays."""
        if self.loss is None:
            self.loss = Loss(reason, at)


def lasts(reply: Reply) -> bool:
    """Tell whether an answer is a refusal that somebody has to mend, and no passing trouble."""
    return reply.status in {BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, UNPROCESSABLE}


def patience(reply: Reply, left: float) -> float:
    """Return the seconds for which the server asks us to wait, or half of what is ``left`` where that is too long."""
    asked = reply.retry_after or 0.0
    return asked if asked < left else max(0.0, left / 2)


def renewing(grant: Grant, random: Callable[[], float], *, refused: Refused = lambda *_: None) -> Steps[Loss | None]:
    """Renew ``grant`` for as long as it is held; return how it was lost, or None once it was released.

    One request per third of the ttl. After a failure again and again, ever later, while any validity is left.
    ``refused`` is called with each answer that somebody has to mend, and the verb.
    """
    pause = 0.0
    while True:
        now: Time = yield Now()
        if grant.over or grant.check(now.clock):
            break
        due = grant.since + grant.ttl * RENEWAL * (0.9 + 0.2 * random()) if not pause else now.clock + pause
        now = yield Sleep(min(due, grant.valid_until))
        if grant.over or grant.check(now.clock):
            break
        reply: Reply = yield grant.renewal(now)
        if grant.renewed(reply):
            pause = 0.0
        else:
            if grant.loss is None and lasts(reply):
                refused(reply, "patch")
            wait = min(max(2 * pause, grant.ttl / 60), grant.ttl / 12)
            pause = max(wait * (0.5 + random() / 2), patience(reply, grant.valid_until - reply.received))
    return grant.loss if not grant.over else None


def expiring(grant: Grant) -> Steps[Loss | None]:
    """Notice on time that ``grant`` expired, even while its renewal hangs; return its loss, or None once released."""
    now: Time = yield Now()
    while not grant.over and not grant.check(now.clock):
        now = yield Sleep(grant.valid_until)
    return grant.loss if not grant.over else None


def watching(grant: Grant, *, refused: Refused = lambda *_: None) -> Steps[Loss | None]:
    """Watch the Lease of ``grant``, to notice within milliseconds that somebody ended or overwrote it.

    Only a help: the API's trouble is met by looking again later, and a grant is never kept for what a watch shows.
    ``refused`` is called with each answer that somebody has to mend, and the verb.
    """
    lease = grant.claim.lease
    while not grant.over and grant.loss is None:
        reply: Reply = yield Send(method="GET", query=(("fieldSelector", f"metadata.name={lease}"),), timeout=ATTEMPT)
        verb: Verb = "list"
        body = reply.body or {}
        items, metadata = body.get("items"), body.get("metadata")
        if reply.status == OK and isinstance(items, list) and isinstance(metadata, dict):
            if not items:
                grant.saw(None, reply.received)
                break
            grant.saw(Lease.parse(items[0]), reply.received)
            if grant.check(reply.received):
                break
            version = str(metadata.get("resourceVersion"))
            verb, reply = "watch", (yield Watch(lease=lease, version=version, seconds=600.0, timeout=ATTEMPT))
            event = Event("ENDED", at=reply.received)
            while reply.status == OK and not grant.over and grant.loss is None:
                event = yield Next(event.at + grant.ttl)  # our own renewals come by long before
                if event.kind in {"QUIET", "ENDED"}:
                    break
                grant.saw(None if event.kind == "DELETED" else Lease.parse(event.object), event.at)
        if grant.loss is None:
            if not grant.over and lasts(reply):
                refused(reply, verb)
            yield Sleep(reply.received + max(1.0, reply.retry_after or 0.0))
    return grant.loss if not grant.over else None
