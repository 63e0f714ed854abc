"""`metadata.managedFields`: who wrote which field when, as the API server's field manager keeps it for plain updates.

Each write gives the fields it changed to its manager and takes them from all others, and stamps the manager's entry
with the time. Entries that have once been cleared never come back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .shapes import ListOf, Loose, MapOf, Struct

if TYPE_CHECKING:
    from .shapes import Shape

Path = tuple[str, ...]
Json = dict[str, Any]
Managed = dict[tuple[str, str, str, str], tuple[set[Path], str]]

_SYSTEM = {
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
}
_MAX_UPDATE_MANAGERS = 10
_CONTAINER = object()


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Who writes: the field manager's name, the version of the API it uses, the subresource, and the time to stamp."""

    manager: str
    api_version: str
    time: str
    subresource: str = ""
    operation: str = "Update"


def track(shape: Struct, live: Json | None, new: Json, writer: Writer) -> None:
    """Set `new["metadata"]["managedFields"]` after a write that turns `live` (None: a create) into `new`."""
    metadata = new["metadata"]
    entries = metadata.pop("managedFields", None)
    given: Managed = _decode(entries) or {}  # even a create may bring its own, for what it does not set itself
    if live is not None:
        old = live["metadata"].get("managedFields")
        cleared = entries is not None and not writer.subresource and entries in ([], [{}])
        if old is None and not _decode(entries):
            return
        given = {} if cleared else (_decode(None if writer.subresource else entries) or _decode(old) or {})
        if not given:
            return
    before, after = leaves(shape, live) if live else {}, leaves(shape, new)
    written = {path for path, value in after.items() if path not in before or before[path] != value}
    removed = before.keys() - after.keys()
    key = (writer.manager, writer.operation, writer.api_version, writer.subresource)
    sets = {owner: (fields - removed - written, time) for owner, (fields, time) in given.items()}
    if written:
        own = given[key][0] - removed if key in given else set()
        sets[key] = (own | written, writer.time)
    elif key in given:
        sets[key] = (given[key][0] - removed, given[key][1])
    sets = {owner: entry for owner, entry in sets.items() if entry[0]}
    encoded = [_encode(owner, fields, time) for owner, (fields, time) in sets.items()]
    if encoded:
        metadata["managedFields"] = sorted(encoded, key=_order)


def keep_old_times(live: Json, new: Json) -> None:
    """Where nothing but the times of managedFields differs, keep the old ones: such a write changes nothing."""
    old, fresh = live["metadata"].get("managedFields"), new["metadata"].get("managedFields")
    if old is None or fresh is None or old == fresh or len(old) != len(fresh):
        return
    if _timeless(live) == _timeless(new):
        new["metadata"]["managedFields"] = old


def leaves(shape: Struct, value: Json) -> dict[Path, object]:
    """Every field that a manager can own, with its value; what the server writes itself is left out."""
    found: dict[Path, object] = {}
    for name, field in shape.fields.items():
        if name == "metadata":
            metadata = {key: item for key, item in value["metadata"].items() if key not in _SYSTEM}
            _collect(field, metadata, ("f:metadata",), found)
        elif name not in {"kind", "apiVersion"} and value.get(name):
            _collect(field, value[name], (f"f:{name}",), found)
    return found


def _collect(shape: Shape, value: Any, path: Path, found: dict[Path, object]) -> None:  # noqa: ANN401
    if isinstance(shape, Struct) and not shape.atomic:
        for key, item in value.items():
            _collect(shape.fields[key], item, (*path, f"f:{key}"), found)
    elif isinstance(shape, MapOf):
        found[path] = _CONTAINER
        found.update({(*path, f"f:{key}"): item for key, item in value.items()})
    elif isinstance(shape, Loose) and not shape.atomic and isinstance(value, dict):
        for key, item in value.items():
            _collect(shape, item, (*path, f"f:{key}"), found)
    elif isinstance(shape, ListOf) and (shape.key or shape.set_like):
        found[path] = _CONTAINER
        for item in value:
            name = f"k:{_compact({shape.key: item[shape.key]})}" if shape.key else f"v:{_compact(item)}"
            found[(*path, name)] = item
    else:
        found[path] = value


def _compact(value: Any) -> str:  # noqa: ANN401
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _decode(entries: list[Json] | None) -> Managed | None:
    """Read entries; None when one of them is not valid (the server then takes the live object's)."""
    found = {}
    for entry in entries or []:
        if entry.get("operation") not in {"Apply", "Update"} or not entry.get("apiVersion"):
            return None
        if entry.get("fieldsType") != "FieldsV1":
            return None
        key = (
            entry.get("manager", ""),
            entry["operation"],
            entry["apiVersion"],
            entry.get("subresource", ""),
        )
        found[key] = (_paths(entry.get("fieldsV1") or {}, ()), entry.get("time", ""))
    return found


def _paths(tree: Json, at: Path) -> set[Path]:
    found: set[Path] = set()
    for key, below in tree.items():
        if key == ".":
            found.add(at)
        elif below:
            found |= _paths(below, (*at, key))
        else:
            found.add((*at, key))
    return found


def _encode(owner: tuple[str, str, str, str], fields: set[Path], time: str) -> Json:
    manager, operation, api_version, subresource = owner
    tree: Json = {}
    for path in sorted(fields):
        node = tree
        for step in path[:-1]:
            node = node.setdefault(step, {})
        node.setdefault(path[-1], {})
    for path in fields:
        node = tree
        for step in path:
            node = node[step]
        if node:
            node["."] = {}
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": tree,
        "subresource": subresource,
    }
    return {key: value for key, value in entry.items() if value or key == "fieldsV1"}


def _order(entry: Json) -> tuple[bool, str, str, str]:
    return (entry["operation"] != "Apply", entry.get("time", ""), entry.get("manager", ""), entry["apiVersion"])


def _timeless(value: Json) -> Json:
    entries = [
        {key: item for key, item in entry.items() if key != "time"}
        for entry in value["metadata"].get("managedFields", ())
    ]
    return value | {"metadata": value["metadata"] | {"managedFields": entries}}
