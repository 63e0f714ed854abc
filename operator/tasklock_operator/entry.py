"""One Lease as the operator keeps it: what is shown, what is decided by, and nothing more of what clients wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from tasklock.errors import InvalidLockError
from tasklock.lease import Lease
from tasklock.naming import check_namespace, lease_name

if TYPE_CHECKING:
    from datetime import datetime

MAX_SHOWN: Final = 253  # characters kept of a text that a client wrote: as many as a Pod's name may have
EXTRA: Final = 1.1  # times the ttl without any change ...
EXTRA_SECONDS: Final = 1.0  # ... and at least this many seconds more than the ttl

_UID = re.compile(r"[-0-9A-Za-z]{1,100}")  # that of any object
_PART = re.compile(r"\.q\.(?P<ticket>[0-9a-f]{8})|\.s\.(?:0|[1-9][0-9]{0,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A Lease of ours: a lock that somebody holds, a slot of a semaphore, or a waiter's ticket.

    All text but ``lease``, ``app`` and ``namespace`` is what clients wrote: hostile, and cut to 253 characters.

    Attributes:
        namespace, lease: where it is; ``name`` is the lock's, ``app`` whose lock it is.
        holder, pod, container, note: who holds it and why.
        pod_uid: of the Pod that it names as its holder's.
        acquired, renewed: the holder's clock: for people, and for comparison with its own node's.
        ttl: whole seconds.
        token: the fencing token; before the first renewal the Lease's resourceVersion, which it is.
        uid, version: which incarnation, and its resourceVersion.
        queue: of a queue ticket, 16 hex digits that stand for the lock it waits for; else None.
        first_seen, last_changed: seconds of the operator's own clock.

    """

    namespace: str
    lease: str
    app: str
    name: str
    holder: str | None
    pod: str | None
    pod_uid: str | None
    container: str | None
    note: str | None
    acquired: datetime | None
    renewed: datetime | None
    ttl: int
    token: int | None
    uid: str
    version: str
    queue: str | None
    first_seen: float
    last_changed: float

    @property
    def due(self) -> float:
        """The operator's clock at which it has expired, if nothing changes until then."""
        return self.last_changed + max(self.ttl * EXTRA, self.ttl + EXTRA_SECONDS)


def read_entry(obj: object, now: float, known: Entry | None = None) -> Entry | None:
    """Read a Lease that changed ``now``; None where it is not ours. ``known`` is the same Lease as it was before.

    Ours carries our label and the very name that its app and its lock's name lead to, or that of a ticket or a slot of
    that lock: annotations are what clients wrote, and must not point the operator at anybody else's Lease.
    """
    lease = Lease.parse(_bare(obj))
    app, name = lease.app, lease.name
    if not lease.managed or app is None or name is None or not lease.namespace or not _UID.fullmatch(lease.uid):
        return None
    if known is not None and _names(known) == (lease.namespace, lease.lease, app, name) and len(name) < MAX_SHOWN:
        queue = known.queue
    else:
        try:
            check_namespace(lease.namespace)
            base = lease_name(app, name)
        except InvalidLockError:
            return None
        part = _PART.fullmatch(lease.lease.removeprefix(base)) if lease.lease.startswith(base) else None
        if part is None and lease.lease != base:
            return None
        queue = sha256(base.encode()).hexdigest()[:16] if part and part["ticket"] else None
    return Entry(
        namespace=lease.namespace,
        lease=lease.lease,
        app=app,
        name=name[:MAX_SHOWN],
        holder=_cut(lease.holder),
        pod=_cut(lease.pod),
        pod_uid=lease.pod_uid if lease.pod_uid and _UID.fullmatch(lease.pod_uid) else None,
        container=_cut(lease.container),
        note=_cut(lease.note),
        acquired=lease.acquired,
        renewed=lease.renewed,
        ttl=lease.ttl,
        token=lease.token if lease.token is not None else lease.first_token,
        uid=lease.uid,
        version=lease.version,
        queue=queue,
        first_seen=now if known is None else known.first_seen,
        last_changed=now,
    )


def is_later(version: str, known: str) -> bool:
    """Tell whether a resourceVersion comes after another; where either is no number, whether it differs."""
    if version.isdecimal() and known.isdecimal():
        return (len(version), version) > (len(known), known)
    return version != known


def identity(obj: object) -> tuple[str, str]:
    """Return uid and resourceVersion of an object; empty where it has none."""
    metadata = obj.get("metadata") if isinstance(obj, Mapping) else None
    if not isinstance(metadata, Mapping):
        return "", ""
    uid, version = metadata.get("uid"), metadata.get("resourceVersion")
    return (uid if isinstance(uid, str) else ""), (version if isinstance(version, str) else "")


def _names(entry: Entry) -> tuple[str, str, str, str]:
    return entry.namespace, entry.lease, entry.app, entry.name


def _bare(obj: object) -> object:
    """Leave out who wrote which field when: a third of the time that reading takes, for nothing."""
    metadata = obj.get("metadata") if isinstance(obj, Mapping) else None
    if not isinstance(obj, Mapping) or not isinstance(metadata, Mapping):
        return obj
    return {"metadata": {**metadata, "managedFields": None}, "spec": obj.get("spec")}


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_SHOWN else text[:MAX_SHOWN]
