"""Shapes of the objects: which fields they have, of which types, in which order the server writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Scalar:
    """A string, number or boolean; `pointer` fields keep their zero value (`""`, 0)."""

    go: str
    pointer: bool = False
    bits: int = 0


@dataclass(frozen=True)
class ListOf:
    """A JSON array. `key` names the field that tells the items of a map-like list apart; `set_like` ones are sets."""

    item: Shape
    go: str
    key: str = ""
    set_like: bool = False
    pointer: bool = False


@dataclass(frozen=True)
class MapOf:
    """A JSON object with free keys and string values."""

    go: str = "map[string]string"


@dataclass(frozen=True)
class Loose:
    """Anything at all, kept as it is but for nulls; an `atomic` one is owned as a whole."""

    atomic: bool = False


@dataclass(frozen=True)
class Struct:
    """A Go struct: the known fields in the order of writing; `required` ones are written even when empty."""

    name: str
    fields: Mapping[str, Shape]
    required: frozenset[str] = frozenset()
    atomic: bool = False
    go: str = ""

    def __hash__(self) -> int:
        return hash(self.name)


Shape = Scalar | ListOf | MapOf | Loose | Struct

STRING = Scalar(go="string")
STRING_POINTER = Scalar(go="string", pointer=True)
INT32_POINTER = Scalar(go="int32", pointer=True, bits=32)
INT64 = Scalar(go="int64", bits=64)
INT64_POINTER = Scalar(go="int64", pointer=True, bits=64)
BOOL_POINTER = Scalar(go="bool", pointer=True)
TIME = Scalar(go="Time")
MICRO_TIME = Scalar(go="MicroTime")
LOOSE = Loose()
REFERENCE = Loose(atomic=True)

OWNER_REFERENCE = Struct(
    "OwnerReference",
    {
        "apiVersion": STRING,
        "kind": STRING,
        "name": STRING,
        "uid": STRING,
        "controller": BOOL_POINTER,
        "blockOwnerDeletion": BOOL_POINTER,
    },
    required=frozenset({"apiVersion", "kind", "name", "uid"}),
    atomic=True,
    go="v1.OwnerReference",
)
MANAGED_FIELDS_ENTRY = Struct(
    "ManagedFieldsEntry",
    {
        "manager": STRING,
        "operation": Scalar(go="v1.ManagedFieldsOperationType"),
        "apiVersion": STRING,
        "time": TIME,
        "fieldsType": STRING,
        "fieldsV1": LOOSE,
        "subresource": STRING,
    },
    go="v1.ManagedFieldsEntry",
)
OBJECT_META = Struct(
    "ObjectMeta",
    {
        "name": STRING,
        "generateName": STRING,
        "namespace": STRING,
        "selfLink": STRING,
        "uid": Scalar(go="types.UID"),
        "resourceVersion": STRING,
        "generation": INT64,
        "creationTimestamp": TIME,
        "deletionTimestamp": TIME,
        "deletionGracePeriodSeconds": INT64_POINTER,
        "labels": MapOf(),
        "annotations": MapOf(),
        "ownerReferences": ListOf(OWNER_REFERENCE, "[]v1.OwnerReference", key="uid"),
        "finalizers": ListOf(STRING, "[]string", set_like=True),
        "managedFields": ListOf(MANAGED_FIELDS_ENTRY, "[]v1.ManagedFieldsEntry", pointer=True),
    },
    go="v1.ObjectMeta",
)
_TYPE_META: dict[str, Shape] = {"kind": STRING, "apiVersion": STRING, "metadata": OBJECT_META}
_ALWAYS = frozenset({"metadata"})

LEASE_SPEC = Struct(
    "LeaseSpec",
    {
        "holderIdentity": STRING_POINTER,
        "leaseDurationSeconds": INT32_POINTER,
        "acquireTime": MICRO_TIME,
        "renewTime": MICRO_TIME,
        "leaseTransitions": INT32_POINTER,
        "strategy": Scalar(go="v1.CoordinatedLeaseStrategy", pointer=True),
        "preferredHolder": STRING_POINTER,
    },
    go="v1.LeaseSpec",
)
LEASE = Struct("Lease", {**_TYPE_META, "spec": LEASE_SPEC}, required=_ALWAYS | {"spec"})
POD = Struct("Pod", {**_TYPE_META, "spec": LOOSE, "status": LOOSE}, required=_ALWAYS | {"spec", "status"})
NAMESPACE = Struct("Namespace", {**_TYPE_META, "spec": LOOSE, "status": LOOSE}, required=_ALWAYS | {"spec", "status"})
_SHARED_EVENT_FIELDS: dict[str, Shape] = {
    "eventTime": MICRO_TIME,
    "series": LOOSE,
    "action": STRING,
    "reason": STRING,
    "type": STRING,
    "related": REFERENCE,
    "reportingInstance": STRING,
}
EVENT_CORE = Struct(
    "Event",
    {
        **_TYPE_META,
        "involvedObject": REFERENCE,
        **_SHARED_EVENT_FIELDS,
        "message": STRING,
        "source": LOOSE,
        "firstTimestamp": TIME,
        "lastTimestamp": TIME,
        "count": INT64,
        "reportingComponent": STRING,
    },
    required=_ALWAYS
    | {
        "eventTime",
        "firstTimestamp",
        "involvedObject",
        "lastTimestamp",
        "reportingComponent",
        "reportingInstance",
        "source",
    },
)
EVENT = Struct(
    "Event",
    {
        **_TYPE_META,
        "regarding": REFERENCE,
        **_SHARED_EVENT_FIELDS,
        "note": STRING,
        "deprecatedSource": LOOSE,
        "deprecatedFirstTimestamp": TIME,
        "deprecatedLastTimestamp": TIME,
        "deprecatedCount": INT64,
        "reportingController": STRING,
    },
    required=_ALWAYS | {"eventTime"},
)
