"""The lines of a watch: read here, and those that kopf is to read written anew, with nothing that it would end with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from tasklock.transport.wire import parse, shallow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tasklock.lease import Json

BRACES: Final = 200  # in a line: more may nest deeper than Python's parsers bear
EXPIRED: Final = b'{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410}}\n'
IDENTITY: Final = ("name", "namespace", "uid", "resourceVersion")

_TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")


def read_line(line: bytes) -> Json | None:
    """Read type and object, whatever is in it; None for an error, and for what is no line of an API server's."""
    try:
        event = parse(line if line.count(b"{") + line.count(b"[") <= BRACES else shallow(line))
    except ValueError:
        return None
    if not isinstance(event, dict) or event.get("type") not in _TYPES or not isinstance(event.get("object"), dict):
        return None
    return event


def texts(metadata: object, keys: Iterable[str] = IDENTITY) -> dict[str, str]:
    """Return those of these fields of somebody's metadata that are plain text, as those of an API server are."""
    found = {key: metadata.get(key) for key in keys} if isinstance(metadata, dict) else {}
    return {key: text for key, text in found.items() if isinstance(text, str) and text and _is_plain(text)}


def for_kopf(event: Json, metadata: Mapping[str, str], at: float) -> bytes:
    """Write a line with what kopf and our handlers read of an event that came ``at`` a time."""
    obj: Json = {"metadata": {"uid": "", **metadata}}
    if "status" in event["object"]:
        obj["status"] = event["object"]["status"]
    return _line({"type": event["type"], "at": at, "object": obj})


def bookmark(version: str) -> bytes:
    """Write a line that says how far a watch has come."""
    return _line({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}})


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _line(value: Json) -> bytes:
    return json.dumps(value).encode() + b"\n"
