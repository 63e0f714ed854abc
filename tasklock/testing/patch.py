"""RFC 7386 merge patch, RFC 6902 JSON patch, and the strategic merge patch as far as Leases and Pods need it."""

from __future__ import annotations

import copy
from typing import Any

Json = Any

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

_MERGE_KEYS = {
    "conditions": "type",
    "containers": "name",
    "containerStatuses": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "ephemeralContainerStatuses": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "initContainerStatuses": "name",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "ports": "containerPort",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
_SETS = {"finalizers"}
_DELETE_ITEMS = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


class PatchError(Exception):
    """Raised when an operation of a JSON patch cannot be done on this object."""


class PatchFormatError(Exception):
    """Raised when the patch itself is not one of its kind; the message is Go's."""


def merge(target: Json, patch: Json) -> Json:
    """RFC 7386: null removes, objects merge, all else replaces. Neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic_merge(target: Json, patch: Json) -> Json:
    """Merge like `merge`, but join lists that have a merge key, or are sets, item by item."""
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key == "$patch" or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE_ITEMS):
            name = key.removeprefix(_DELETE_ITEMS)
            result[name] = [item for item in result.get(name) or [] if item not in value]
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            result[key] = _merge_lists(key, result.get(key) or [], value)
        else:
            result[key] = strategic_merge(result.get(key), value)
    return result


def _merge_lists(field: str, target: list[Json], patch: list[Json]) -> list[Json]:
    if field in _SETS:
        return [*patch, *(item for item in target if item not in patch)]
    key = _MERGE_KEYS.get(field)
    if key is None or not all(isinstance(item, dict) for item in [*target, *patch]):
        return patch
    merged = {item.get(key): item for item in target}
    for item in patch:
        if item.get("$patch") == "delete":
            merged.pop(item.get(key), None)
        else:
            merged[item.get(key)] = strategic_merge(merged.get(item.get(key)), item)
    return list(merged.values())


def json_patch(target: Json, operations: Json) -> Json:
    """RFC 6902, on a copy. Raises PatchError when an operation cannot be done."""
    document = copy.deepcopy(target)
    for operation in operations:
        document = _operate(document, operation)
    return document


def _operate(document: Json, operation: Json) -> Json:
    name, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        msg = "an operation without a path"
        raise PatchError(msg)
    if name in {"add", "replace", "test"} and "value" not in operation:
        msg = f"{name} without a value"
        raise PatchError(msg)
    if name == "test":
        if _get(document, path) != operation["value"]:
            msg = f"testing value {path} failed"
            raise PatchError(msg)
        return document
    if name in {"move", "copy"}:
        value = copy.deepcopy(_get(document, operation.get("from", "")))
        document = _remove(document, operation["from"]) if name == "move" else document
        return _add(document, path, value)
    if name == "remove":
        return _remove(document, path)
    if name == "replace":  # like Go's library, it adds a key that an object does not have
        return operation["value"] if path == "" else _add(document, path, operation["value"], replace=True)
    if name == "add":
        return operation["value"] if path == "" else _add(document, path, operation["value"])
    msg = f"unexpected kind: {name}"
    raise PatchError(msg)


def _tokens(path: str) -> list[str]:
    if path and not path.startswith("/"):
        msg = f"not a JSON pointer: {path}"
        raise PatchError(msg)
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


def _get(document: Json, path: str) -> Json:
    for token in _tokens(path):
        if isinstance(document, list):
            document = document[_index(token, document)]
        elif isinstance(document, dict) and token in document:
            document = document[token]
        else:
            msg = f"missing path {path}"
            raise PatchError(msg)
    return document


def _index(token: str, items: list[Json]) -> int:
    if not token.isdecimal() or int(token) >= len(items):
        msg = f"no index {token}"
        raise PatchError(msg)
    return int(token)


def _parent(document: Json, path: str) -> tuple[Json, str]:
    head, _, _ = path.rpartition("/")
    tokens = _tokens(path)
    if not tokens:
        msg = "the whole document has no parent"
        raise PatchError(msg)
    return _get(document, head), tokens[-1]


def _add(document: Json, path: str, value: Json, *, replace: bool = False) -> Json:
    parent, token = _parent(document, path)
    if isinstance(parent, dict):
        parent[token] = value
    elif isinstance(parent, list) and replace:
        parent[_index(token, parent)] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if token in {"-", str(len(parent))} else _index(token, parent), value)
    else:
        msg = f"missing path {path}"
        raise PatchError(msg)
    return document


def _remove(document: Json, path: str) -> Json:
    _get(document, path)
    parent, token = _parent(document, path)
    if isinstance(parent, list):
        del parent[_index(token, parent)]
    else:
        del parent[token]
    return document
