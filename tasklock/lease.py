"""The record: what a lock looks like as a ``coordination.k8s.io/v1`` Lease, written and read.

Whatever is read was written by somebody else: parsing takes any JSON, treats a field of a wrong type as absent,
and raises nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tasklock.naming import MAX_TTL, shortened

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_APP: Final = "tasklock.dev/app"
MANAGED_BY: Final = "tasklock"
NAME: Final = "tasklock.dev/name"
TOKEN: Final = "tasklock.dev/token"  # noqa: S105 - a fencing token is no secret
NOTE: Final = "tasklock.dev/note"
POD: Final = "tasklock.dev/pod"
POD_UID: Final = "tasklock.dev/pod-uid"
CONTAINER: Final = "tasklock.dev/container"
PROCESS: Final = "tasklock.dev/process"

DEFAULT_TTL: Final = 30  # seconds; also what a Lease of ours without a usable duration counts as

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One attempt at one lock: everything that goes into its Lease but the time.

    Attributes:
        lease: the Lease's name.
        app, name: whose lock it is, and its name as the caller wrote it.
        holder: who asks, ending in the nonce of this one attempt.
        ttl: whole seconds.
        annotations: where the holder lives (pod, container, process), and the caller's note.

    """

    lease: str
    app: str
    name: str
    holder: str
    ttl: int
    annotations: Mapping[str, str]

    def body(self, now: datetime) -> Json:
        """Return the Lease to create; ``now`` is the holder's wall clock."""
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.lease,
                "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_APP: self.app},
                "annotations": {NAME: self.name, **self.annotations},
            },
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": self.ttl,
                "acquireTime": microtime(now),
                "renewTime": microtime(now),
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A Lease as it was read.

    Attributes:
        lease: the Lease's name; ``name`` is the lock's, or None where no annotation says so.
        uid, version: which incarnation, and its resourceVersion.
        managed: it carries our label.
        ttl: seconds; 30 where the Lease does not say.
        touched: the newest time in managedFields: the API server's clock, 1 s resolution, a hint.
        spec: as it came, for comparison.

    """

    lease: str
    namespace: str
    uid: str
    version: str
    managed: bool
    app: str | None
    name: str | None
    holder: str | None
    ttl: int
    acquired: datetime | None
    renewed: datetime | None
    touched: datetime | None
    token: int | None
    pod: str | None
    pod_uid: str | None
    container: str | None
    process: str | None
    note: str | None
    spec: Json

    @classmethod
    def parse(cls, obj: object) -> Lease:
        """Read a Lease from JSON, however odd."""
        body = _mapping(obj)
        metadata, spec = _mapping(body.get("metadata")), _mapping(body.get("spec"))
        labels, notes = _mapping(metadata.get("labels")), _mapping(metadata.get("annotations"))
        ttl = spec.get("leaseDurationSeconds")
        return cls(
            lease=_text(metadata.get("name")) or "",
            namespace=_text(metadata.get("namespace")) or "",
            uid=_text(metadata.get("uid")) or "",
            version=_text(metadata.get("resourceVersion")) or "",
            managed=labels.get(LABEL_MANAGED_BY) == MANAGED_BY,
            app=_text(labels.get(LABEL_APP)),
            name=_text(notes.get(NAME)),
            holder=_text(spec.get("holderIdentity")),
            ttl=ttl if type(ttl) is int and 1 <= ttl <= MAX_TTL else DEFAULT_TTL,
            acquired=parse_time(spec.get("acquireTime")),
            renewed=parse_time(spec.get("renewTime")),
            touched=_newest(metadata.get("managedFields")),
            token=_number(_text(notes.get(TOKEN))),
            pod=_text(notes.get(POD)),
            pod_uid=_text(notes.get(POD_UID)),
            container=_text(notes.get(CONTAINER)),
            process=_text(notes.get(PROCESS)),
            note=_text(notes.get(NOTE)),
            spec=dict(spec),
        )

    def is_of(self, app: str, name: str) -> bool:
        """Tell whether this is the Lease of lock ``name`` of ``app``: our label, that app and that very name."""
        return self.managed and self.app == app and self.name == name

    @property
    def first_token(self) -> int | None:
        """The resourceVersion of a Lease that was never renewed, which is its token; None of any other."""
        return _number(self.version) if self.renewed == self.acquired else None

    def looks_stale(self, now: datetime | None) -> bool:
        """Hint whether its holder stopped renewing: untouched for twice its ttl at ``now``, a server's ``Date``."""
        touched = self.touched or self.renewed
        return bool(now and touched and now - touched > timedelta(seconds=2 * self.ttl))


@dataclass(frozen=True, slots=True, kw_only=True)
class LockInfo:
    """A lock as ``client.locks()`` shows it. Times are clocks of others: for people, not for decisions.

    Attributes:
        name: as the caller wrote it. ``lease``, ``namespace`` and ``app`` tell where it is.
        holder, pod, container, note: who holds it and why; text that the holder wrote.
        since: when it was acquired; ``age`` is the seconds since, ``expires_in`` the seconds left of its ttl.
        ttl: whole seconds.
        token: the fencing token: as the first renewal writes it, before that the Lease's resourceVersion.
        stale: a hint: the API server has seen no renewal for twice the ttl.

    """

    name: str
    lease: str
    namespace: str
    app: str
    holder: str | None
    pod: str | None
    container: str | None
    note: str | None
    since: datetime | None
    age: float | None
    expires_in: float | None
    ttl: int
    token: int | None
    stale: bool

    @classmethod
    def of(cls, lease: Lease, *, now: datetime) -> LockInfo:
        """Describe ``lease`` at ``now``, the API server's time where it is known."""
        return cls(
            name=lease.name if lease.name is not None else lease.lease,
            lease=lease.lease,
            namespace=lease.namespace,
            app=lease.app or "",
            holder=lease.holder,
            pod=lease.pod,
            container=lease.container,
            note=lease.note,
            since=lease.acquired,
            age=max(0.0, (now - lease.acquired).total_seconds()) if lease.acquired else None,
            expires_in=min(lease.ttl, lease.ttl - (now - lease.renewed).total_seconds()) if lease.renewed else None,
            ttl=lease.ttl,
            token=lease.token if lease.token is not None else lease.first_token,
            stale=lease.looks_stale(now),
        )


def microtime(moment: datetime) -> str:
    """Format a time as the API server demands it: UTC, exactly six fraction digits."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(text: object) -> datetime | None:
    """Read an RFC 3339 time; None for anything else."""
    if not isinstance(text, str) or len(text) > 40:  # noqa: PLR2004 - longer than any time
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def describe(lease: Lease) -> str:
    """Say who holds a Lease and since when, as part of a sentence; safe to show."""
    who = shortened(lease.holder) if lease.holder else "nobody that it names"
    return f"{who} since {lease.acquired:%Y-%m-%d %H:%M:%S} UTC" if lease.acquired else who


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(text: str | None) -> int | None:
    """Read a resourceVersion, or a token made of one: 64 bits at most."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None  # noqa: PLR2004 - digits


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _newest(managed_fields: object) -> datetime | None:
    entries = managed_fields if isinstance(managed_fields, list) else []
    times = [time for entry in entries if (time := parse_time(_mapping(entry).get("time")))]
    return max(times, default=None)
