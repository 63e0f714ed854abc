"""What the server serves: Leases in full; Pods, Events and Namespaces as plain stored objects."""

from __future__ import annotations

from dataclasses import dataclass

from .shapes import EVENT, EVENT_CORE, LEASE, NAMESPACE, POD, Struct


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One resource of one API version.

    `stored_as` names the storage: both Event APIs show the same objects. `fields` are the field selectors it knows.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    shape: Struct
    stored_as: str
    namespaced: bool = True
    has_status: bool = False
    create_on_update: bool = False
    unconditional_update: bool = False
    returns_deleted: bool = False
    short_names: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """`v1`, `coordination.k8s.io/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`leases.coordination.k8s.io`, as messages name the resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """`Lease.coordination.k8s.io`, as messages name the kind."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def root(self) -> str:
        """`/api/v1`, `/apis/coordination.k8s.io/v1`."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"


LEASES = Kind(
    group="coordination.k8s.io",
    version="v1",
    kind="Lease",
    plural="leases",
    singular="lease",
    shape=LEASE,
    stored_as="leases",
    create_on_update=True,
)
PODS = Kind(
    group="",
    version="v1",
    kind="Pod",
    plural="pods",
    singular="pod",
    shape=POD,
    stored_as="pods",
    has_status=True,
    returns_deleted=True,
    unconditional_update=True,
    short_names=("po",),
    fields=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
)
_OBJECT_FIELDS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_FIELDS = ("reason", "reportingComponent", "source", "type")
CORE_EVENTS = Kind(
    group="",
    version="v1",
    kind="Event",
    plural="events",
    singular="event",
    shape=EVENT_CORE,
    stored_as="events",
    create_on_update=True,
    unconditional_update=True,
    short_names=("ev",),
    fields=(*(f"involvedObject.{name}" for name in _OBJECT_FIELDS), *_EVENT_FIELDS),
)
EVENTS = Kind(
    group="events.k8s.io",
    version="v1",
    kind="Event",
    plural="events",
    singular="event",
    shape=EVENT,
    stored_as="events",
    create_on_update=True,
    unconditional_update=True,
    short_names=("ev",),
    fields=(*(f"regarding.{name}" for name in _OBJECT_FIELDS), "reason", "reportingController", "type"),
)
NAMESPACES = Kind(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    singular="namespace",
    shape=NAMESPACE,
    stored_as="namespaces",
    namespaced=False,
    has_status=True,
    returns_deleted=True,
    unconditional_update=True,
    short_names=("ns",),
    fields=("status.phase",),
)
KINDS = (LEASES, PODS, CORE_EVENTS, EVENTS, NAMESPACES)
