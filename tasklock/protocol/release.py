"""Giving a lock back: delete our own incarnation, never another.

Also the two ways to end what is not ours: by a person's order (``force``), and once it is observed to be stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from tasklock.errors import InvalidLockError
from tasklock.lease import LABEL_APP, LABEL_MANAGED_BY, MANAGED_BY, Json, Lease
from tasklock.naming import lease_name, shortened
from tasklock.protocol.effects import (
    CONFLICT,
    FORBIDDEN,
    GONE,
    NOT_FOUND,
    OK,
    IsDead,
    Now,
    Reply,
    Send,
    Sleep,
    Steps,
    Time,
)
from tasklock.protocol.grant import ATTEMPT, Grant, patience
from tasklock.protocol.troubles import api_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tasklock.lease import Claim

Released = Literal["released", "gone", "unanswered"]

STALE_AFTER: Final = 1.1  # times the ttl without any change, on the observer's own clock
PAGE: Final = 500  # Leases per LIST
IN_FLIGHT: Final = 60.0  # seconds after which a request that was sent can no longer be carried out (the server's limit)


def deletion(lease: str, *, uid: str, version: str | None = None, timeout: float = ATTEMPT) -> Send:
    """Return the request that deletes one incarnation of ``lease``: that uid, and that resourceVersion if given."""
    preconditions: Json = {"uid": uid} | ({"resourceVersion": version} if version is not None else {})
    body: Json = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}
    return Send(method="DELETE", lease=lease, body=body, timeout=timeout)


def release(grant: Grant, random: Callable[[], float]) -> Steps[Released]:
    """Delete the Lease of ``grant``. Nothing is renewed from here on.

    Returns ``released``; ``gone`` where somebody had ended it before (the grant then carries its loss); or
    ``unanswered`` where no answer came while the grant was valid: the Lease is left to expire.
    Raises LockApiError for an answer that will not change (LockForbiddenError without the verb ``delete``).
    """
    grant.over = True
    maybe_done, pause = False, 0.05
    while True:
        now: Time = yield Now()
        left = grant.valid_until - now.clock
        reply: Reply = yield deletion(grant.claim.lease, uid=grant.uid, timeout=max(1.0, min(ATTEMPT, left)))
        if reply.deleted:
            return "released"
        if reply.status in {NOT_FOUND, CONFLICT} and reply.reason:
            if maybe_done:
                return "released"
            grant.lose("deleted" if reply.status == NOT_FOUND else "replaced", reply.received)
            return "gone"
        if not reply.transient:
            raise api_error(reply, "delete", grant.claim.name)
        maybe_done = maybe_done or reply.ambiguous
        wait = max(pause * (0.5 + random() / 2), patience(reply, grant.valid_until - reply.received))
        if reply.received + wait >= grant.valid_until:
            return "unanswered"
        yield Sleep(reply.received + wait)
        pause = min(2 * pause, 2.0)


def sweep(claim: Claim, until: float) -> Steps[None]:
    """Delete what an abandoned attempt of ours may still create, until ``until`` of the clock.

    A create whose answer nobody waited for can arrive late. Its nonce names it.
    """
    pause = 0.0
    now: Time = yield Now()
    while True:
        now = yield Sleep(now.clock + pause)
        reply: Reply = yield Send(method="GET", lease=claim.lease, timeout=ATTEMPT)
        lease = Lease.parse(reply.body)
        if reply.status == OK and lease.holder == claim.holder:
            yield deletion(claim.lease, uid=lease.uid)
        if reply.received >= until:
            return
        pause = min(max(0.25, 3 * pause), max(0.0, until - reply.received) + 0.1)
        now = yield Now()


def force(app: str, name: str) -> Steps[bool]:
    """End lock ``name`` of ``app`` whoever holds it; return whether it was held.

    Raises InvalidLockError where the Lease of that name is no lock of ours, LockApiError where the API fails.
    """
    lease, _ = yield from find(app, name)
    if lease is None:
        return False
    return (yield from _delete(lease))


def find(app: str, name: str) -> Steps[tuple[Lease | None, float]]:
    """GET the Lease of lock ``name``; return it, or None, and the clock of the answer. Raises as ``force`` does."""
    reply: Reply = yield Send(method="GET", lease=lease_name(app, name), timeout=ATTEMPT)
    if reply.status == NOT_FOUND and reply.reason == "NotFound":
        return None, reply.received
    if reply.status != OK or reply.body is None:
        raise api_error(reply, "get", name)
    lease = Lease.parse(reply.body)
    check_ours(lease, app, name)
    return lease, reply.received


def check_ours(lease: Lease, app: str, name: str) -> None:
    """Raise InvalidLockError unless ``lease`` is a lock of ours by that very name: we touch nothing else."""
    if not lease.is_of(app, name):
        what = f"the lock {shortened(lease.name)}" if lease.managed and lease.name else "no lock of tasklock's"
        msg = (
            f"lock {shortened(name)}: a Lease named {lease.lease} is there already and is {what}: use another name, "
            f"or, if nobody needs it, remove it with: kubectl delete lease {lease.lease}"
        )
        raise InvalidLockError(msg)


def listing(app: str | None, *, everywhere: bool = False) -> Steps[tuple[list[Lease], datetime | None]]:
    """LIST our locks (of one app or of all; of one namespace or everywhere); return them and the server's time.

    Raises LockApiError where the API fails.
    """
    found: list[Lease] = []
    selector = f"{LABEL_MANAGED_BY}={MANAGED_BY}" + (f",{LABEL_APP}={app}" if app else "")
    more, restarts = "", 3
    while True:
        query = (("labelSelector", selector), ("limit", str(PAGE))) + ((("continue", more),) if more else ())
        reply: Reply = yield Send(method="GET", query=query, timeout=2 * ATTEMPT, everywhere=everywhere)
        items = (reply.body or {}).get("items")
        if reply.status == GONE and more and restarts:  # the pages have grown too old to go on: start again
            found, more, restarts = [], "", restarts - 1
            continue
        if reply.status != OK or not isinstance(items, list):
            raise api_error(reply, "list", None, everywhere=everywhere)
        found += [lease for item in items if is_sound(lease := Lease.parse(item))]
        metadata = (reply.body or {}).get("metadata")
        last, more = more, metadata.get("continue") or "" if isinstance(metadata, dict) else ""
        if not more or more == last:  # the same page for ever is no list
            return found, reply.date


def is_sound(lease: Lease) -> bool:
    """Tell whether a Lease with our label is what the label says: its name follows from its app and lock name."""
    if not lease.managed or lease.app is None or lease.name is None:
        return False
    try:
        return lease.lease == lease_name(lease.app, lease.name)
    except InvalidLockError:
        return False


def flush(app: str) -> Steps[set[str]]:
    """End every lock of ``app``, one by one; return the names of those that were held, as their callers wrote them."""
    leases, _ = yield from listing(app)
    ended = set()
    for lease in leases:
        if (yield from _delete(lease)) and lease.name is not None:
            ended.add(lease.name)
    return ended


def flush_stale(app: str, *, recent: bool = False) -> Steps[set[str]]:
    """End the locks of ``app`` whose holders are dead, as a contender would; return their names.

    At once where the holder was a process of this machine. Where nobody renews, after 1.1 times the ttl without any
    change; looks at those that look stale, or with ``recent`` at all.
    """
    leases, date = yield from listing(app)
    ended: set[str] = set()
    suspects = {}
    for lease in leases:
        if lease.process and (yield IsDead(lease.process)):
            yield from _end_version(lease, ended)
        elif recent or lease.looks_stale(date):
            suspects[lease.uid] = lease
    now: Time = yield Now()
    for ttl in sorted({lease.ttl for lease in suspects.values()}):
        yield Sleep(now.clock + ttl * STALE_AFTER)
        again, _ = yield from listing(app)
        for lease in again:
            before = suspects.get(lease.uid)
            if before is not None and (before.version, before.ttl) == (lease.version, ttl):
                yield from _end_version(lease, ended)
    return ended


def _end_version(lease: Lease, ended: set[str]) -> Steps[None]:
    """Delete this very version, and note the lock's name where that ended it."""
    if (yield from _delete(lease, version=lease.version)):
        ended.add(str(lease.name))


def _delete(lease: Lease, *, version: str | None = None) -> Steps[bool]:
    """Delete this incarnation; return whether that ended it, or its end was already on its way."""
    maybe_done = False
    for attempt in range(4):
        reply: Reply = yield deletion(lease.lease, uid=lease.uid, version=version)
        if reply.deleted:
            return True
        if reply.status in {NOT_FOUND, CONFLICT} and reply.reason:
            return maybe_done
        if not reply.transient or reply.status == FORBIDDEN:
            break
        maybe_done = maybe_done or reply.ambiguous
        yield Sleep(reply.received + max(0.2 * 2**attempt, min(reply.retry_after or 0.0, 5.0)))
    raise api_error(reply, "delete", lease.name or lease.lease)
