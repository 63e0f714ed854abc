"""The columns that `kubectl get` shows: names, priorities and cells as the real server's, for the usual cases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400
_NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
_HOLDER_TEXT = (
    "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election is used, "
    "the holder identity must be equal to the elected LeaseCandidate.metadata.name field."
)
_AGE_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column; `wide` ones are shown with `-o wide` only. `cell` is given the object and the time."""

    name: str
    cell: Callable[[Json, datetime], object]
    description: str = ""
    format: str = ""
    wide: bool = False

    @property
    def json(self) -> Json:
        """Its entry in `columnDefinitions`."""
        return {
            "name": self.name,
            "type": "string",
            "format": self.format,
            "description": self.description,
            "priority": int(self.wide),
        }


def _age(obj: Json, now: datetime) -> str:
    return _since(obj["metadata"].get("creationTimestamp"), now)


def _since(moment: str | None, now: datetime) -> str:
    return human_duration(now - datetime.fromisoformat(moment)) if moment else "<unknown>"


def _ready(obj: Json, _now: datetime) -> str:
    ready = sum(1 for status in obj["status"].get("containerStatuses") or () if status.get("ready"))
    return f"{ready}/{len(obj['spec'].get('containers') or ())}"


def _restarts(obj: Json, _now: datetime) -> str:
    return str(sum(status.get("restartCount", 0) for status in obj["status"].get("containerStatuses") or ()))


def _pod_status(obj: Json, _now: datetime) -> str:
    phase = obj["status"].get("phase", "")
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else str(obj["status"].get("reason") or phase)


def _about(obj: Json, _now: datetime) -> str:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _first(*fields: str) -> Callable[[Json, datetime], object]:
    return lambda obj, _now: next((obj[field] for field in fields if obj.get(field)), "")


def _seen(*fields: str) -> Callable[[Json, datetime], str]:
    return lambda obj, now: _since(next((obj[field] for field in fields if obj.get(field)), None), now)


def _source(obj: Json, _now: datetime) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    names = (source.get("component"), source.get("host"), obj.get("reportingComponent"), obj.get("reportingInstance"))
    return ", ".join(name for name in names if name)


def _name(obj: Json, _now: datetime) -> str:
    return str(obj["metadata"]["name"])


_NAME = Column(name="Name", cell=_name, description=_NAME_TEXT, format="name")
_AGE = Column(name="Age", cell=_age, description=_AGE_TEXT)
_LAST, _FIRST = ("lastTimestamp", "deprecatedLastTimestamp"), ("firstTimestamp", "deprecatedFirstTimestamp")

COLUMNS: dict[str, tuple[Column, ...]] = {
    "leases": (
        _NAME,
        Column(
            name="Holder",
            cell=lambda obj, _now: obj["spec"].get("holderIdentity", ""),
            description=_HOLDER_TEXT,
        ),
        _AGE,
    ),
    "pods": (
        _NAME,
        Column(name="Ready", cell=_ready),
        Column(name="Status", cell=_pod_status),
        Column(name="Restarts", cell=_restarts),
        _AGE,
        Column(name="IP", cell=lambda obj, _now: obj["status"].get("podIP", "<none>"), wide=True),
        Column(name="Node", cell=lambda obj, _now: obj["spec"].get("nodeName", "<none>"), wide=True),
        Column(name="Nominated Node", cell=lambda _obj, _now: "<none>", wide=True),
        Column(name="Readiness Gates", cell=lambda _obj, _now: "<none>", wide=True),
    ),
    "namespaces": (_NAME, Column(name="Status", cell=lambda obj, _now: obj["status"]["phase"]), _AGE),
    "events": (
        Column(name="Last Seen", cell=_seen(*_LAST, "eventTime", *_FIRST)),
        Column(name="Type", cell=_first("type")),
        Column(name="Reason", cell=_first("reason")),
        Column(name="Object", cell=_about),
        Column(name="Subobject", cell=lambda _obj, _now: "", wide=True),
        Column(name="Source", cell=_source, wide=True),
        Column(name="Message", cell=_first("message", "note")),
        Column(name="First Seen", cell=_seen(*_FIRST, "eventTime"), wide=True),
        Column(name="Count", cell=lambda obj, _now: obj.get("count") or obj.get("deprecatedCount") or 1, wide=True),
        Column(name="Name", cell=_name, description=_NAME_TEXT, format="name", wide=True),
    ),
}


def human_duration(age: timedelta) -> str:
    """Write an age as `kubectl` does: 45s, 3m20s, 25m, 3h5m, 26h, 5d, 2y10d."""
    seconds = int(age.total_seconds())
    rows = (
        (0, "0s"),
        (2 * _MINUTE, f"{seconds}s"),
        (10 * _MINUTE, _two(seconds, _MINUTE, "m", 1, "s")),
        (3 * _HOUR, f"{seconds // _MINUTE}m"),
        (8 * _HOUR, _two(seconds, _HOUR, "h", _MINUTE, "m")),
        (2 * _DAY, f"{seconds // _HOUR}h"),
        (8 * _DAY, _two(seconds, _DAY, "d", _HOUR, "h")),
        (2 * _YEAR, f"{seconds // _DAY}d"),
        (8 * _YEAR, _two(seconds, _YEAR, "y", _DAY, "d")),
    )
    return next((text for below, text in rows if seconds < below), f"{seconds // _YEAR}y")


def _two(seconds: int, unit: int, letter: str, small: int, small_letter: str) -> str:
    large, rest = divmod(seconds, unit)
    return f"{large}{letter}{rest // small}{small_letter}" if rest // small else f"{large}{letter}"
