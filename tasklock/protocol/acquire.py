"""Taking a lock: create its Lease if it is absent; otherwise look, wait by watch, and take over what is stale.

Uncontended, it is one request. A create whose answer was lost is looked for by its nonce: the Lease may be ours after
all. Somebody else's Lease is ended by a contender only where its process is surely dead (a neighbour on this machine),
or where the very same uid and resourceVersion were seen for more than 1.1 times its ttl on the contender's own clock;
always with both as preconditions, so that a holder that renews in the last moment keeps its lock.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tasklock.lease import PROCESS, Lease
from tasklock.protocol.effects import (
    CONFLICT,
    CREATED,
    FORBIDDEN,
    GONE,
    NOT_FOUND,
    OK,
    UNAUTHORIZED,
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
from tasklock.protocol.grant import ATTEMPT, EPOCH, Grant
from tasklock.protocol.release import IN_FLIGHT, STALE_AFTER, check_ours, deletion
from tasklock.protocol.sightings import ENDABLE, Sightings, Standing, standing
from tasklock.protocol.troubles import api_error, locked, too_late

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from datetime import datetime

    from tasklock.lease import Claim
    from tasklock.protocol.effects import Verb

WATCH: Final = 600.0  # seconds that a watch lasts at most, before it is opened anew
PATIENCE: Final = 10.0  # seconds that a try-once gives an API server that answers with trouble
RACES: Final = 6  # lost races after which a waiter posts at once again
NEIGHBOUR: Final = 0.25  # seconds between two looks at a holder's process on this very machine
STARTING: Final = 30.0  # seconds for which a waiter endures a 403 or a 401 to what it was allowed before
LAST_TRY: Final = 0.2  # seconds before its deadline at which a waiter that was resting tries once more
FIRST_DELAY: Final = 0.01  # seconds: the longest delay after one lost race; doubles with each, up to 0.32


class Acquisition:
    """One attempt at one lock. Run ``steps`` once; if that is cut short, ``unsettled_until`` says what may follow."""

    def __init__(  # noqa: PLR0913 - the parts of an attempt
        self,
        claim: Claim,
        *,
        timeout: float | None,
        takeover: bool,
        sightings: Sightings,
        abandoned: Container[str],
        random: Callable[[], float],
    ) -> None:
        """Prepare to take ``claim``.

        ``timeout`` is seconds to wait, 0 to try once, None to wait as long as it takes; ``abandoned`` holds the
        holder identities of attempts that this client gave up unanswered.
        """
        self.claim = claim
        self.unsettled_until = 0.0  # the clock until which a create of ours that nobody saw answered may still arrive
        self._timeout = timeout
        self._deadline: float | None = None
        self._takeover = takeover
        self._sightings = sightings
        self._abandoned = abandoned
        self._random = random
        self._first_sent: float | None = None  # the clock before our first create
        self._created: tuple[str, float] = ("", 0.0)  # the uid that a create gave us, and the clock before that create
        self._posting = False
        self._renew_time = EPOCH  # the last one that we sent: an unanswered renewal may still arrive
        self._mine = False  # a Lease of ours was seen, and is not known to be gone
        self._races = 0
        self._pause = 0.0
        self._seen: Lease | None = None  # who held it when we last looked
        self._date: datetime | None = None
        self._trouble: tuple[Reply, Verb] | None = None
        self._allowed: set[Verb] = set()  # what the API server has let us do in this attempt
        self._forbidden_since: float | None = None

    @property
    def unsettled(self) -> bool:
        """Whether a Lease of ours may exist, or come to exist, that nobody was told of."""
        return self._posting or self._mine or self.unsettled_until > 0

    def steps(self) -> Steps[Grant]:
        """Acquire the lock.

        Raises TaskLockedException (LockTimeoutError after a wait) where it is held by someone else, InvalidLockError
        where its Lease is not ours to touch, LockApiError where the API fails.
        """
        now: Time = yield Now()
        if self._timeout is not None:
            self._deadline = now.clock + (self._timeout or PATIENCE)
        lease = yield from self._post()  # 1. create if absent: the uncontended case ends here
        while True:
            if lease is None:  # 2. somebody holds it, or our create went unanswered: look
                lease, version = yield from self._look()
            if lease is not None and lease.holder == self.claim.holder:  # 3. ours
                grant = yield from self._confirmed(lease)
                if grant is not None:
                    return grant
                lease = None
                continue
            if lease is None:  # 4. free by now
                lease = yield from self._post()
                if lease is None:
                    yield from self._breathe()
                continue
            check_ours(lease, self.claim.app, self.claim.name)
            state = yield from self._standing(lease)
            if state in ENDABLE:  # 5. nobody's any more: end that very version of it
                ended = yield from self._end(lease)
                lease = (yield from self._post()) if ended else None
                if lease is None:
                    yield from self._breathe()
            elif self._timeout == 0:
                raise self._locked()
            else:  # 6. wait for its end; comes back with ours, or to look again
                lease = yield from self._wait(lease, version, state)

    def _post(self) -> Steps[Lease | None]:
        """Create the Lease; return it, or None where we have to look."""
        while True:
            now: Time = yield Now()
            self._first_sent = now.clock if self._first_sent is None else self._first_sent
            self._posting = True
            reply: Reply = yield Send(method="POST", body=self.claim.body(now.wall), timeout=self._patience(now.clock))
            self._posting = reply.status == CREATED  # until it is handed out, there is a Lease that nobody was told of
            created = reply.status == CREATED
            if created and (lease := Lease.parse(reply.body)).holder == self.claim.holder:
                if not self.unsettled_until:
                    self._created = (lease.uid, now.clock)
                return lease
            if reply.status == CONFLICT and reply.reason == "AlreadyExists":
                self._went_well("create")
                return None
            if reply.ambiguous or created:
                self.unsettled_until = reply.received + IN_FLIGHT
            yield from self._endure(reply, "create")
            if reply.ambiguous:
                return None

    def _look(self) -> Steps[tuple[Lease | None, str]]:
        """LIST the Lease by name; return it, or None, and the list's resourceVersion, from which to watch."""
        while True:
            now: Time = yield Now()
            query = (("fieldSelector", f"metadata.name={self.claim.lease}"),)
            reply: Reply = yield Send(method="GET", query=query, timeout=self._patience(now.clock))
            items = (reply.body or {}).get("items")
            if reply.status == OK and isinstance(items, list):
                metadata = (reply.body or {}).get("metadata")
                version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
                self._went_well("list")
                self._date = reply.date
                lease = Lease.parse(items[0]) if items else None
                if lease is None:
                    self._sightings.forget(self.claim.lease)
                else:
                    self._note(lease, reply.received)
                if not self.unsettled_until and (lease is None or lease.holder != self.claim.holder):
                    self._mine = False  # every create so far is answered, and left nothing
                return lease, str(version)
            yield from self._endure(reply, "list")

    def _note(self, lease: Lease, at: float) -> None:
        if lease.holder != self.claim.holder:
            self._seen = lease
            self._sightings.unchanged_since(lease, at)

    def _standing(self, lease: Lease) -> Steps[Standing]:
        return (
            yield from standing(lease, sightings=self._sightings, abandoned=self._abandoned, takeover=self._takeover)
        )

    def _end(self, lease: Lease) -> Steps[bool]:
        """Delete that very version of ``lease``; return whether the name is free now, as far as we know."""
        now: Time = yield Now()
        reply: Reply = yield deletion(
            lease.lease, uid=lease.uid, version=lease.version, timeout=self._patience(now.clock)
        )
        if reply.deleted or (reply.status == NOT_FOUND and reply.reason):
            return True
        if reply.status == FORBIDDEN:  # the cluster leaves takeover to others
            self._sightings.leave(lease, reply.received)
        elif reply.status != CONFLICT:
            yield from self._endure(reply, "delete")
        return False

    def _wait(self, lease: Lease, version: str, state: Standing) -> Steps[Lease | None]:
        """Watch ``lease`` until it ends and race for it; return our own Lease, or None where we have to look again."""
        holder: Lease | None = lease
        now: Time = yield Now()
        seconds = WATCH * (0.5 + self._random() / 2)
        reply: Reply = yield Watch(
            lease=lease.lease, version=version, seconds=seconds, timeout=self._patience(now.clock)
        )
        if reply.status != OK:
            yield from self._endure(reply, "watch")
            return None
        self._went_well("watch")
        heard = reply.received
        while True:
            event: Event = yield Next(self._until(holder or lease, state, heard, now.clock))
            now = yield Now()
            if event.kind == "QUIET" and self._deadline is not None and now.clock >= self._deadline:
                raise self._locked()
            if event.kind == "ENDED":
                yield from self._rest(now.clock)
                return None
            self._pause = 0.0
            if event.kind == "QUIET":
                state = yield from self._standing(holder or lease)
                if state != "neighbour" or now.clock >= heard + (holder or lease).ttl / 2:
                    return None
                continue
            heard = event.at
            if event.kind == "DELETED":
                self._sightings.forget(lease.lease)
                holder = yield from self._hold_back(event.at)
                if holder is None:
                    unsettled_until = self.unsettled_until
                    mine = yield from self._post()
                    if mine is not None or self.unsettled_until > unsettled_until:
                        return mine
                    self._races += 1
                    continue
            else:
                holder = Lease.parse(event.object)
                self._note(holder, event.at)
            if holder.holder == self.claim.holder:
                return holder
            check_ours(holder, self.claim.app, self.claim.name)
            state = yield from self._standing(holder)
            if state in ENDABLE:
                return None

    def _until(self, holder: Lease, state: Standing, heard: float, now: float) -> float:
        """Return the clock at which to stop listening: something is due then that no event will tell."""
        until = heard + holder.ttl / 2  # a renewal was due before: the connection may be dead
        if self._takeover and self._sightings.may_end(holder, now):
            since = self._sightings.unchanged_since(holder, heard)
            until = min(until, since + holder.ttl * STALE_AFTER + 0.001)
        if state == "neighbour":
            until = min(until, now + NEIGHBOUR)
        return until if self._deadline is None else min(until, self._deadline)

    def _hold_back(self, now: float) -> Steps[Lease | None]:
        """Wait a random moment after lost races; return the Lease of whoever was quicker, or None: post now.

        The delay grows to its longest and stays there, for so many contend; every seventh post is made at once.
        """
        if self._races % (RACES + 1) == 0:
            return None
        until = now + self._random() * FIRST_DELAY * 2.0 ** (min(self._races, RACES) - 1)
        if self._deadline is not None:
            until = min(until, self._deadline)
        while True:
            event: Event = yield Next(until)
            if event.kind == "QUIET" and self._deadline is not None and event.at >= self._deadline:
                raise self._locked()
            if event.kind in {"QUIET", "ENDED"}:
                return None
            if event.kind != "DELETED":
                quicker = Lease.parse(event.object)
                self._note(quicker, event.at)
                return quicker

    def _confirmed(self, lease: Lease) -> Steps[Grant | None]:
        """Hand out our Lease, renewed first where its validity is used up; None where it was lost by then.

        Validity counts from before the create that gave it to us, or from before our first one where a create went
        unanswered or the Lease was only found: an earlier one may have made it.
        """
        self._mine = True
        if not (lease.uid and lease.version.isdecimal() and len(lease.version) < 20):  # noqa: PLR2004 - digits of a 64-bit number
            raise api_error(Reply(status=OK), "create", self.claim.name)
        uid, sent = self._created
        grant = Grant(self.claim, lease, since=sent if uid == lease.uid else self._first_sent or 0.0)
        now: Time = yield Now()
        late = now.clock >= grant.valid_until
        while late:
            now = yield Now()
            grant = Grant(self.claim, lease, since=now.clock, renew_time=self._renew_time)
            renewal = grant.renewal(now)  # it is not handed out before this is answered
            self._renew_time = grant.renew_time
            reply: Reply = yield replace(renewal, timeout=min(renewal.timeout, self._patience(now.clock)))
            late = not grant.renewed(reply)
            if grant.loss is not None:
                yield from self._rest(reply.received)
                return None
            if late:
                yield from self._endure(reply, "patch")
        self._sightings.forget(self.claim.lease)
        grant.unsettled_until = self.unsettled_until
        return grant

    def _endure(self, reply: Reply, verb: Verb) -> Steps[None]:
        """Raise where ``reply`` will not change by itself or nobody wants to wait; otherwise rest a little."""
        passing = reply.transient or reply.status == GONE or (reply.status == CONFLICT and reply.reason != "")
        lasting = not passing and not self._forbidden_for_now(reply, verb)
        if lasting or (self._timeout == 0 and not reply.maybe_done):
            raise api_error(reply, verb, self.claim.name)
        held = self._seen is not None or "create" in self._allowed
        if not held or self._deadline is None or reply.received < self._deadline:
            self._trouble = (reply, verb)  # else it was our own deadline that cut the answer off
        yield from self._rest(reply.received, at_least=reply.retry_after or 0.0)

    def _went_well(self, verb: Verb) -> None:
        self._trouble = self._forbidden_since = None
        self._allowed.add(verb)

    def _forbidden_for_now(self, reply: Reply, verb: Verb) -> bool:
        """Whether a 403 or 401 to a waiter may pass: an API server that has just started does not know us yet."""
        known = self._timeout != 0 and verb in self._allowed and not reply.caused_by("NamespaceTerminating")
        if reply.status not in {FORBIDDEN, UNAUTHORIZED} or not known:
            return False
        self._forbidden_since = self._forbidden_since or reply.received
        return reply.received < self._forbidden_since + STARTING

    def _rest(self, now: float, *, at_least: float = 0.0) -> Steps[None]:
        self._pause = min(max(2 * self._pause, 0.05), 5.0)
        until = now + max(self._pause * (0.5 + self._random() / 2), at_least)
        if self._deadline is not None and until >= self._deadline:
            until = self._deadline - LAST_TRY
            if self._timeout == 0 or until <= now or now + at_least >= self._deadline:
                raise self._locked()
        yield Sleep(until)

    def _breathe(self) -> Steps[None]:
        """Rest after a round that got us nowhere, so that none can be repeated without a pause."""
        now: Time = yield Now()
        yield from self._rest(now.clock)

    def _patience(self, now: float) -> float:
        """Return the seconds that one request may take."""
        if self._deadline is None:
            return ATTEMPT
        return max(0.001, min(ATTEMPT, self._deadline - now))

    def _locked(self) -> Exception:
        """Return the error for a lock that we did not get: held by someone, or the API's trouble."""
        if self._trouble is not None:
            return api_error(*self._trouble, self.claim.name)
        if self._mine and self._seen is None:
            return too_late(self.claim.name, timeout=self._timeout or 0.0)
        here = self.claim.annotations.get(PROCESS)
        return locked(self.claim.name, self._seen, timeout=self._timeout or 0.0, date=self._date, here=here)
