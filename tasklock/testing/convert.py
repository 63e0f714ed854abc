"""The two Event APIs show the same stored objects under different names of fields; other kinds are shown as stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kinds import Kind

Json = dict[str, Any]

_NEW_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_CORE_NAMES = {new: core for core, new in _NEW_NAMES.items()}
_EMPTY: Json = {
    "involvedObject": {},
    "source": {},
    "firstTimestamp": None,
    "lastTimestamp": None,
    "reportingComponent": "",
    "reportingInstance": "",
}
_ALWAYS = {"kind", "apiVersion"}
_NEW_API = "events.k8s.io"


def present(kind: Kind, stored: Json) -> Json:
    """Show a stored object as `kind` does."""
    if kind.group != _NEW_API:
        return stored
    shown = {_NEW_NAMES.get(key, key): value for key, value in stored.items()} | {"apiVersion": kind.api_version}
    return {key: value for key, value in shown.items() if value != "" or key in _ALWAYS}


def store_as(kind: Kind, shown: Json) -> Json:
    """Undo `present`: give the form in which the object is kept."""
    if kind.group != _NEW_API:
        return shown
    stored = {_CORE_NAMES.get(key, key): value for key, value in shown.items()} | {"apiVersion": "v1"}
    return _EMPTY | stored
