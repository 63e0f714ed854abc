"""The steps of a write: read the body, apply the patch, check, fill in what the server owns. All pure functions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from . import patch as patches
from .kinds import KINDS
from .managedfields import Writer
from .schema import DecodeError, Decoder, duplicate_fields
from .shapes import OBJECT_META
from .status import (
    StatusError,
    bad_request,
    conflict,
    go_format,
    internal,
    invalid,
    rejected_json_patch,
    unprocessable_patch,
)
from .validation import changed_object_causes, new_object_causes, wrong

if TYPE_CHECKING:
    from .kinds import Kind

Json = dict[str, Any]
FieldValidation = Literal["", "Ignore", "Warn", "Strict"]

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED_BASE = 58
_MAX_UINT64 = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """How to write: try only, under which field manager, how strictly, and to which subresource."""

    dry_run: bool = False
    manager: str = "unknown"
    field_validation: FieldValidation = ""
    subresource: str = ""

    def writer(self, kind: Kind, now: str) -> Writer:
        """Who is named in managedFields."""
        return Writer(manager=self.manager, api_version=kind.api_version, time=now, subresource=self.subresource)


PLAIN_WRITE = WriteOptions()


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A parsed patch of one of the three media types."""

    media_type: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class Written:
    """A successful write: the object, whether it is new, and the warnings about its fields."""

    obj: Json
    created: bool
    warnings: tuple[str, ...] = ()


def decode(kind: Kind, value: object, options: WriteOptions) -> tuple[Json, list[str]]:
    """Read a body into an object of `kind` and warnings. Raises StatusError 400."""
    body = value if isinstance(value, dict) else {}
    other = _other_kind(kind, body)
    if other:
        name, version = body.get("kind") or kind.kind, body.get("apiVersion") or kind.api_version
        message = f'{name} in version "{version.rpartition("/")[2]}" cannot be handled as a {kind.kind}: {other}'
        raise bad_request(message)
    decoder = Decoder()
    prefix = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
    try:
        obj = decoder.decode(kind.shape, value)
    except DecodeError as error:
        message = f"{prefix}{error}"
        raise bad_request(message) from None
    if decoder.problems and options.field_validation == "Strict":
        message = f"{prefix}strict decoding error: {', '.join(decoder.problems)}"
        raise bad_request(message)
    obj = {"kind": kind.kind, "apiVersion": kind.api_version} | {
        key: item for key, item in obj.items() if key not in {"kind", "apiVersion"}
    }
    return obj, [] if options.field_validation == "Ignore" else decoder.problems


def _other_kind(kind: Kind, body: Json) -> str:
    """Why a body that names a kind is not of this one; "" when it is, or names none."""
    name, api_version = body.get("kind") or kind.kind, body.get("apiVersion") or kind.api_version
    if (name, api_version) == (kind.kind, kind.api_version):
        return ""
    for other in KINDS:
        if (name, api_version) == (other.kind, other.api_version):
            internal_group = kind.group.partition(".")[0] or "core"
            return f"converting ({other.version}.{name}) to ({internal_group}.{kind.kind}): unknown conversion"
    return f'no kind "{name}" is registered for version "{api_version}" in scheme "pkg/runtime/scheme.go:111"'


def apply_patch(kind: Kind, live: Json, change: Patch, options: WriteOptions) -> tuple[Json, list[str]]:
    """Apply a patch to the live object and read the result. Raises StatusError 400, 422."""
    if change.media_type == patches.JSON:
        try:
            patched = patches.json_patch(live, change.value)
        except patches.PatchError:
            raise rejected_json_patch() from None
    elif change.media_type == patches.STRATEGIC:
        patched = patches.strategic_merge(live, change.value)
    else:
        patched = patches.merge(live, change.value)
    strategic = change.media_type == patches.STRATEGIC
    shown = go_format(change.value) if strategic else _as_json(patched)
    decoder = Decoder()
    decoder.problems += duplicate_fields(change.value) if change.media_type != patches.JSON else []
    try:
        obj = decoder.decode(kind.shape, patched)
    except DecodeError as error:
        raise unprocessable_patch(shown, str(error)) from None
    other = "" if strategic else _other_kind(kind, patched)
    if other:
        raise unprocessable_patch(shown, other)
    if decoder.problems and options.field_validation == "Strict":
        why = f"strict decoding error: {', '.join(decoder.problems)}"
        raise unprocessable_patch(shown, why)
    obj |= {"kind": kind.kind, "apiVersion": kind.api_version}
    return obj, [] if options.field_validation == "Ignore" else decoder.problems


def _as_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def check_namespace(kind: Kind, obj: Json, namespace: str) -> None:
    """Fill in the namespace; the body may leave it out, never name another. Raises StatusError 400."""
    given = obj["metadata"].get("namespace", "")
    if not kind.namespaced:
        obj["metadata"].pop("namespace", None)
    elif given and given != namespace:
        message = "the namespace of the provided object does not match the namespace sent on the request"
        raise bad_request(message)
    else:
        obj["metadata"]["namespace"] = namespace


def check_name(obj: Json, name: str) -> None:
    """See that the body carries the name of the URL. Raises StatusError 400."""
    given = obj["metadata"].get("name", "")
    if not given:
        message = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        raise bad_request(message)
    if given != name:
        message = f"the name of the object ({given}) does not match the name on the URL ({name})"
        raise bad_request(message)


def uid_conflict(kind: Kind, namespace: str, name: str, uid: str, live: Json | None) -> StatusError:
    """409: a PUT whose uid is not the object's, in the words of the storage layer."""
    found = live["metadata"]["uid"] if live else ""
    key = "/".join(part for part in ("/registry", kind.plural, namespace, name) if part)
    return conflict(
        kind,
        name,
        f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {uid}, UID in object meta: {found}",
    )


def wipe(obj: Json) -> None:
    """Drop what a POST may not bring along; a PUT that creates may."""
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        obj["metadata"].pop(field, None)


def new_metadata(kind: Kind, given: Json, *, namespace: str, uid: str, now: str) -> Json:
    """Make the metadata of a created object: what the server owns is its own."""
    metadata = {key: value for key, value in given.items() if key != "selfLink"}
    if kind.namespaced:
        metadata["namespace"] = namespace
    if not metadata.get("name") and metadata.get("generateName"):
        digest = int.from_bytes(hashlib.sha256(uid.encode()).digest(), "big")
        suffix = "".join(_SUFFIX_ALPHABET[digest // 27**place % 27] for place in range(5))
        metadata["name"] = metadata["generateName"][:_GENERATED_BASE] + suffix
    return metadata | {"uid": uid, "creationTimestamp": now}


def in_order(metadata: Json) -> Json:
    """Sort the fields into the order in which the real server writes them."""
    return {key: metadata[key] for key in OBJECT_META.fields if key in metadata}


def prepare_create(kind: Kind, obj: Json) -> None:
    """Drop what a create may not set and fill in defaults, as the kind's strategy does."""
    if kind.kind == "Lease":
        for field in ("strategy", "preferredHolder"):
            obj["spec"].pop(field, None)
    elif kind.kind == "Pod":
        obj["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
    elif kind.kind == "Namespace":
        name = obj["metadata"].get("name", "")
        labels = obj["metadata"].get("labels", {}) | {"kubernetes.io/metadata.name": name}
        obj["metadata"]["labels"] = labels
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}


def check_new(kind: Kind, obj: Json) -> None:
    """Raise StatusError 422 when the object may not be created."""
    causes = new_object_causes(kind, obj)
    if causes:
        raise invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), causes)


def requested_version(obj: Json) -> int:
    """Read the resourceVersion that the write demands; 0 is any. Raises StatusError 500."""
    text = obj["metadata"].get("resourceVersion", "")
    version = parse_version(text) if text else 0
    if version is None:
        message = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise internal(message)
    return version


def missing_version(kind: Kind, obj: Json) -> StatusError:
    """422: an update of this kind has to say which version it replaces."""
    cause = wrong("metadata.resourceVersion", 0, "must be specified for an update")
    return invalid(kind.group, kind.plural, obj["metadata"]["name"], [cause])


def parse_version(text: str) -> int | None:
    """Read a resourceVersion as a number; None if it is none."""
    if not (text.isascii() and text.isdecimal()) or int(text) > _MAX_UINT64:
        return None
    return int(text)


def prepare_update(kind: Kind, live: Json, obj: Json, options: WriteOptions) -> Json:
    """Restore what an update cannot change."""
    before, metadata = live["metadata"], dict(obj["metadata"])
    metadata.pop("selfLink", None)
    metadata["uid"] = metadata.get("uid") or before["uid"]
    for field in ("creationTimestamp", "generation", "resourceVersion"):
        metadata.pop(field, None)
        if field in before:
            metadata[field] = before[field]
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if field in before:
            metadata[field] = before[field]
    obj = obj | {"metadata": in_order(metadata)}
    if kind.has_status:
        if options.subresource:
            obj["spec"] = live["spec"]
        else:
            obj["status"] = live["status"]
    if kind.kind == "Lease":
        dropped = {"strategy", "preferredHolder"}
        obj["spec"] = {key: value for key, value in obj["spec"].items() if key not in dropped}
    return obj


def check_changed(kind: Kind, live: Json, obj: Json) -> None:
    """Raise StatusError 422 when the object may not be changed so."""
    causes = changed_object_causes(kind, live, obj)
    if causes:
        raise invalid(kind.group, kind.kind, obj["metadata"]["name"], causes)
